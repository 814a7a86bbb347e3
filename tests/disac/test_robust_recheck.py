"""What is stored of a robust design proves its numbers again, and spoiled numbers are noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from disac.designs.robust.of_drop import robust_problem
from disac.drops.coherent import coherent_drop
from disac.experiments.robust_tradeoff import Options, experiment
from disac.scenarios.coherent import CoherentScenario

CHOICES: list[dict[str, Any]] = [
    {"robustness": "none"},
    {"robustness": "lemma1"},
    {"robustness": "norm-ball"},
    {"robustness": "stacked-ball", "objective": "whole"},
    {"robustness": "phase"},
    {"robustness": "lemma1", "solver": "policy-iteration"},
    {"robustness": "phase", "angles": "max-min"},
    {"robustness": "norm-ball", "angles": "max-min"},
    {"robustness": "phase-exact"},
    {"robustness": "s-procedure-stacked"},
    {"robustness": "s-procedure", "solver": "reference"},
    {"robustness": "lemma1", "angles": "paper"},
    {"robustness": "lemma1", "design": "zero-forcing"},
]

LIMITED: list[tuple[dict[str, Any], str]] = [
    ({"robustness": "lemma1"}, "per-node"),
    ({"robustness": "lemma1"}, "per-antenna"),
    ({"robustness": "phase"}, "per-node"),
    ({"robustness": "norm-ball", "design": "zero-forcing-best-node"}, "per-node"),
]


def stored_of(scenario: CoherentScenario, options: Options) -> dict[str, Any]:
    """A cell as it comes back from a store: what it lacks is blank."""
    cell = experiment.run([scenario], options)[0]
    blank = {v.name: np.zeros((0,) * len(v.dims)) if v.dims else np.nan for v in experiment.variables}
    return blank | cell


def scenario_of(sinr_db: float, delta_rad: float, limit: str = "total") -> CoherentScenario:
    return CoherentScenario.model_validate(
        {
            "uncertainty": {"delta_rad": delta_rad, "angle_error_deg": 2.0},
            "layout": {"separation_deg": 120.0},
            "channel": {"realisation": 4},
            "service": {"sinr_db": sinr_db},
            "power": {"limit": limit},
        }
    )


def said_of(scenario: CoherentScenario, options: Options, stored: dict[str, Any], **spoiled: Any) -> str:
    return "; ".join(experiment.recheck(scenario, options, stored | spoiled))


@pytest.mark.parametrize(("choice", "limit"), [*((c, "total") for c in CHOICES), *LIMITED])
def test_a_stored_design_is_judged_again(choice: dict[str, Any], limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without a solver."""
    scenario, options = scenario_of(10.0, 0.05, limit), Options(draws=100, **choice)
    stored = stored_of(scenario, options)
    assert stored["status"] == "ok"
    monkeypatch.setattr("disac.optim.cones.ConeProgram.solve", None)
    monkeypatch.setattr("cvxpy.Problem.solve", None)
    assert experiment.recheck(scenario, options, stored) == []
    for name in ("objective", "claimed_kld", "kld", "whole_kld", "least_kld"):
        assert f"{name} is stored as" in said_of(scenario, options, stored, **{name: stored[name] * (1.0 + 1e-6)})
    assert "objective is stored as" in said_of(scenario, options, stored, objective=np.nan)
    for name in ("relative_gap", "power_violation", "sinr_violation", "worst_violation"):
        assert f"{name} is stored as" in said_of(scenario, options, stored, **{name: -7.0})
    louder = said_of(scenario, options, stored, user_beams=stored["user_beams"] * 1.5)
    assert "power_violation is stored as" in louder
    assert "a constraint is violated" in louder
    assert "a constraint is violated" in said_of(scenario, options, stored, user_beams=stored["user_beams"] * 0.1)
    if options.angles != "max-min":
        assert "sinr_db is stored as" in louder
    if options.design == "optimum":
        assert "least_power is stored as" in said_of(scenario, options, stored, least_power=np.nan)
        assert "dual_bound is stored as" in said_of(scenario, options, stored, dual_bound=0.5 * stored["dual_bound"])
        lit = {"sensing_covariance": 4.0 * stored["sensing_covariance"]}
        assert "is above its bound" in said_of(scenario, options, stored, **lit)


def test_a_node_s_limit_is_that_of_each_node() -> None:
    """Beams of the same power in total, stored for nodes that have limits of their own."""
    options = Options(draws=100, robustness="lemma1")
    together = stored_of(scenario_of(10.0, 0.05), options)
    scenario = scenario_of(10.0, 0.05, "per-node")
    said = said_of(scenario, options, stored_of(scenario, options) | {
        name: together[name] for name in ("user_beams", "sensing_covariance", "objective")
    })  # fmt: skip
    assert "power_violation is stored as" in said
    assert "a constraint is violated" in said


def test_errors_that_were_searched_are_searched_again() -> None:
    scenario, options = scenario_of(10.0, 0.05), Options(draws=100, robustness="phase", search=True)
    stored = stored_of(scenario, options)
    assert experiment.recheck(scenario, options, stored) == []
    for name in ("declared_excess_db", "ball_sinr_db", "phase_sinr_db"):
        assert f"{name} is stored as" in said_of(scenario, options, stored, **{name: stored[name] + 1.0})


REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({"robustness": robustness}, "total") for robustness in ("none", "lemma1", "norm-ball", "stacked-ball")),
    ({"robustness": "lemma1", "solver": "policy-iteration"}, "total"),
    ({"robustness": "norm-ball"}, "per-node"),
    ({"robustness": "lemma1"}, "per-antenna"),
    ({"robustness": "s-procedure"}, "total"),
    ({"robustness": "phase", "angles": "max-min"}, "total"),
]


@pytest.mark.parametrize(("choice", "limit"), REFUSED)
def test_stored_multipliers_prove_that_there_is_no_design(choice: dict[str, Any], limit: str) -> None:
    sinr_db, delta_rad = (60.0, 0.4) if choice["robustness"] in ("phase", "none") else (20.0, 0.3)
    scenario, options = scenario_of(sinr_db, delta_rad, limit), Options(draws=100, **choice)
    stored = stored_of(scenario, options)
    assert stored["status"] == "infeasible"
    assert stored["least_power"] > 1.0
    assert experiment.recheck(scenario, options, stored) == []
    assert "least_power is stored as" in said_of(scenario, options, stored, least_power=2.0)
    assert "least_power is stored as" in said_of(scenario, options, stored, least_power=np.nan)
    # Multipliers that point elsewhere prove less, never more than is true.
    random = np.random.default_rng(1)
    if stored["proof"].size:
        astray = said_of(scenario, options, stored, proof=random.standard_normal(stored["proof"].shape))
        assert "least_power is stored as" in astray


FEASIBLE: list[tuple[dict[str, Any], str]] = [
    *(({"robustness": robustness}, "total") for robustness in ("none", "lemma1", "norm-ball", "stacked-ball", "phase")),
    ({"robustness": "lemma1", "solver": "policy-iteration"}, "total"),
    *(({"robustness": robustness}, "per-node") for robustness in ("none", "norm-ball", "phase")),
    ({"robustness": "lemma1"}, "per-antenna"),
    ({"robustness": "s-procedure"}, "total"),
]


@pytest.mark.parametrize(("choice", "limit"), FEASIBLE)
def test_no_numbers_prove_that_a_target_that_is_met_cannot_be(choice: dict[str, Any], limit: str) -> None:
    """Zeros, infinities, what is no number, negative and huge entries, one by one and all together."""
    scenario, options = scenario_of(10.0, 0.05, limit), Options(draws=100, **choice)
    stored = stored_of(scenario, options)
    problem = robust_problem(coherent_drop(scenario))
    random = np.random.default_rng(2)
    dual, proof = stored["user_dual"], stored["proof"]
    duals = [
        dual,
        np.full(3, 100.0),
        np.array([-1e-9, 100.0, 100.0]),
        np.full(3, np.nan),
        np.full(3, np.inf),
        np.full(3, 1e300),
    ]
    proofs = [proof, 0.0 * proof, 1.0 + 0.0 * proof, np.nan * proof, np.full(proof.shape, np.inf), 1e30 * proof, 1e-30 * proof]
    for value in (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e308):
        spoiled = proof.copy()
        spoiled[random.random(proof.shape) < 0.2] = value
        proofs.append(spoiled)
    with np.errstate(all="ignore"):
        for q in duals if dual.size else [dual]:
            for numbers in proofs:
                try:
                    least, bound = options.choice.prove(problem, 10.0, options.solver, q, numbers)
                except (np.linalg.LinAlgError, ValueError, RuntimeError):
                    continue
                assert least < 1.0
                assert bound >= stored["objective"] * (1.0 - 1e-12)
    blank = dict.fromkeys(("objective", "least_power", "dual_bound"), np.nan)
    assert experiment.recheck(scenario, options, stored | blank | {"status": "infeasible"})
    assert "prove only a need of" in said_of(scenario, options, stored, status="infeasible")


def test_covering_a_box_is_refused_where_it_would_be_something_else() -> None:
    for more in ({"search": True}, {"solver": "policy-iteration", "robustness": "lemma1"}):
        with pytest.raises(ValueError, match="no search of errors and no policy iteration"):
            Options.model_validate({"angles": "max-min", **more})
    cell = experiment.run([scenario_of(10.0, 0.05, "per-node")], Options(angles="max-min", draws=100))[0]
    assert cell["status"] == "failed"
    assert "defined for total power only, not for power.limit 'per-node'" in cell["message"]

"""What is stored of a robust design proves its numbers again, and spoiled numbers are noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from disac.coherent_scenario import CoherentScenario
from disac.experiments.robust_tradeoff import Options, experiment

CHOICES: list[dict[str, Any]] = [
    {"robustness": "none"},
    {"robustness": "lemma1"},
    {"robustness": "norm-ball"},
    {"robustness": "stacked-ball", "objective": "whole"},
    {"robustness": "phase"},
    {"robustness": "lemma1", "solver": "policy-iteration"},
    {"robustness": "phase", "angles": "max-min"},
    {"robustness": "lemma1", "angles": "paper"},
    {"robustness": "lemma1", "design": "zero-forcing"},
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


@pytest.mark.parametrize("choice", CHOICES)
def test_a_stored_design_is_judged_again(choice: dict[str, Any]) -> None:
    scenario, options = scenario_of(10.0, 0.05), Options(draws=100, **choice)
    stored = stored_of(scenario, options)
    assert stored["status"] == "ok"
    assert experiment.recheck(scenario, options, stored) == []
    spoiled = stored | {"objective": stored["objective"] * (1.0 + 1e-6)}
    assert "objective is stored as" in experiment.recheck(scenario, options, spoiled)[0]
    louder = stored | {"user_beams": stored["user_beams"] * 1.5}
    assert any("of the power" in said for said in experiment.recheck(scenario, options, louder))
    if options.angles != "max-min":
        assert any("sinr_db is stored as" in said for said in experiment.recheck(scenario, options, louder))


@pytest.mark.parametrize("robustness", ["none", "lemma1", "norm-ball", "stacked-ball", "phase"])
def test_stored_multipliers_prove_the_bound(robustness: str) -> None:
    scenario, options = scenario_of(10.0, 0.05), Options(draws=100, robustness=robustness)
    stored = stored_of(scenario, options)
    closer = stored | {"dual_bound": stored["objective"] * (1.0 - 1e-6)}
    assert any("the stored multipliers prove" in said for said in experiment.recheck(scenario, options, closer))
    weaker = stored | {"user_dual": 0.5 * stored["user_dual"]}
    assert any("the stored multipliers prove" in said for said in experiment.recheck(scenario, options, weaker))


REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({"robustness": robustness}, "total") for robustness in ("lemma1", "norm-ball", "stacked-ball")),
    ({"robustness": "lemma1", "solver": "policy-iteration"}, "total"),
    ({"robustness": "norm-ball"}, "per-node"),
    ({"robustness": "lemma1"}, "per-antenna"),
    ({"robustness": "s-procedure"}, "total"),
    ({"robustness": "phase", "angles": "max-min"}, "total"),
]


@pytest.mark.parametrize(("choice", "limit"), REFUSED)
def test_stored_multipliers_prove_that_there_is_no_design(choice: dict[str, Any], limit: str) -> None:
    sinr_db, delta_rad = (40.0, 0.4) if choice["robustness"] == "phase" else (20.0, 0.3)
    scenario, options = scenario_of(sinr_db, delta_rad, limit), Options(draws=100, **choice)
    stored = stored_of(scenario, options)
    assert stored["status"] == "infeasible"
    assert stored["least_power"] > 1.0
    assert experiment.recheck(scenario, options, stored) == []
    # Multipliers that point elsewhere prove less, never more than is true.
    random = np.random.default_rng(1)
    astray = stored | {"proof": random.standard_normal(stored["proof"].shape)}
    assert "least_power is stored as" in experiment.recheck(scenario, options, astray)[0]
    assert "least_power is stored as" in experiment.recheck(scenario, options, stored | {"least_power": 2.0})[0]


OTHER: list[dict[str, Any]] = [
    {"robustness": "s-procedure"},
    {"robustness": "lemma1", "solver": "policy-iteration"},
    {"robustness": "norm-ball", "angles": "max-min"},
]


@pytest.mark.parametrize("choice", OTHER)
def test_other_methods_prove_their_bound_again(choice: dict[str, Any]) -> None:
    scenario, options = scenario_of(10.0, 0.05), Options(draws=100, **choice)
    stored = stored_of(scenario, options)
    assert stored["status"] == "ok"
    assert experiment.recheck(scenario, options, stored) == []
    closer = stored | {"dual_bound": stored["objective"] * (1.0 - 1e-6)}
    assert any("the stored multipliers prove" in said for said in experiment.recheck(scenario, options, closer))


@pytest.mark.parametrize("limit", ["per-node", "per-antenna"])
def test_a_stationary_design_is_judged_by_its_beams_and_its_bound_again(limit: str) -> None:
    scenario, options = scenario_of(10.0, 0.05, limit), Options(draws=100, robustness="lemma1")
    stored = stored_of(scenario, options)
    assert experiment.recheck(scenario, options, stored) == []
    assert experiment.recheck(scenario, options, stored | {"guarded_sinr_db": stored["guarded_sinr_db"] + 1e-3})
    closer = stored | {"dual_bound": stored["objective"] * (1.0 - 1e-6)}
    assert any("the stored multipliers prove" in said for said in experiment.recheck(scenario, options, closer))


def test_covering_a_box_is_refused_where_it_would_be_something_else() -> None:
    for more in ({"search": True}, {"solver": "policy-iteration", "robustness": "lemma1"}):
        with pytest.raises(ValueError, match="no search of errors and no policy iteration"):
            Options.model_validate({"angles": "max-min", **more})
    cell = experiment.run([scenario_of(10.0, 0.05, "per-node")], Options(angles="max-min", draws=100))[0]
    assert cell["status"] == "failed"
    assert "posed for total power, not 'per-node'" in cell["message"]

"""What is stored of a common design proves it again without a solver, and forged cells are told."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from disac.designs.cross import ROWS, Proved, tone_problem
from disac.designs.cross_evidence import best_turn_rad
from disac.designs.robust.choices import robustness
from disac.designs.robust.guards import arc_guarded_part
from disac.designs.robust.proofs import common_vertex, enough_together
from disac.drops.common import common_network
from disac.experiments import cross_table
from disac.experiments.cross_table import EVIDENCE, Options, experiment
from disac.power_limits import PER_NODE
from disac.scenarios.common import CommonScenario

Cell = dict[str, Any]
BAND = [name for name in ROWS if name.startswith("ofdm") or name in ("noncoherent-block", "coherent", "synchronised")]
TONES = ["robust-none", "robust-lemma1", "robust-phase", "robust-known-data"]
LARGEST = ["largest-sinr", "largest-sinr-coherent"]
DIVERGENCE = [name for name in ROWS if name.endswith(("-band", "-band-each"))]
FIELDS: list[dict[str, Any]] = [
    {},
    {"power": "native"},
    {"spectrum": "flat", "node_count": 1, "antennas": 4},
    {"user_count": 1, "antennas": 2, "delta_rad": 0.3, "clock_std_s": 1e-9},
]
REFUSED_DB = 55.0


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of echoes are drawn again in each check, bit for bit: their number proves nothing here."""
    monkeypatch.setattr(cross_table, "ECHO_DRAWS", 500)
    monkeypatch.setattr(cross_table, "ELEMENT_DRAWS", 500)


def small(sinr_db: float, **fields: Any) -> CommonScenario:
    """Two nodes of three antennas, two users, four subcarriers."""
    base = {"node_count": 2, "antennas": 3, "user_count": 2, "bandwidth_hz": 5e6, "subcarrier_spacing_hz": 1.25e6}
    return CommonScenario.model_validate({**base, "sinr_db": sinr_db, **fields})


def stored_of(scenario: CommonScenario, design: str) -> Cell:
    """A cell as it comes back from a store: what it lacks is blank."""
    (cell,) = experiment.run([scenario], Options(design=design))
    blank = {v.name: np.zeros((0,) * len(v.dims)) if v.dims else np.nan for v in experiment.variables}
    return blank | cell


@cache
def _cell(design: str, sinr_db: float) -> tuple[CommonScenario, Cell]:
    scenario = small(sinr_db)
    return scenario, stored_of(scenario, design)


def said_of(design: str, sinr_db: float, **forged: Any) -> str:
    scenario, stored = _cell(design, sinr_db)
    return "; ".join(experiment.recheck(scenario, Options(design=design), stored | forged))


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("design", ROWS)
def test_every_row_is_proved_again_without_a_solver(
    design: str, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [(s, stored_of(s, design)) for s in (small(sinr_db, **fields) for sinr_db in (0.0, 12.0, REFUSED_DB))]
    statuses = [stored["status"] for _, stored in cells]
    if design in DIVERGENCE and fields.get("spectrum") == "flat":
        assert statuses == ["failed"] * 3
        return
    assert statuses[0] == "ok"
    assert statuses[2] == ("ok" if design in ("isotropic", *LARGEST) else "infeasible")
    if design not in DIVERGENCE:  # their prices name multipliers that are sought again
        monkeypatch.setattr("disac.optim.cones.ConeProgram.solve", None)
    monkeypatch.setattr("disac.designs.location.structured.FastSolver.solve", None)
    monkeypatch.setattr("cvxpy.Problem.solve", None)
    for scenario, stored in cells:
        assert stored["message"] or stored["status"] == "ok"
        assert experiment.recheck(scenario, Options(design=design), stored) == []


@pytest.mark.parametrize("design", ROWS)
def test_evidence_has_variables_and_every_row_a_prover(design: str) -> None:
    assert {v.name for v in experiment.variables if v.kind == "detail" and v.optional} == set(EVIDENCE)
    assert isinstance(ROWS[design].method, Proved)
    for sinr_db in (10.0, REFUSED_DB):
        assert set(_cell(design, sinr_db)[1]) == {v.name for v in experiment.variables} | {"status", "message"}


@pytest.mark.parametrize("design", [*BAND, *TONES, *DIVERGENCE])
def test_forged_certificates_are_told(design: str) -> None:
    _, stored = _cell(design, 10.0)
    assert stored["status"] == "ok"
    value, bound = stored["design_value"], stored["design_bound"]
    for factor in (0.999, 1.001):
        assert "design_value is stored as" in said_of(design, 10.0, design_value=factor * value)
        assert "design_bound is stored as" in said_of(design, 10.0, design_bound=factor * bound)
    for name in ("design_value", "design_bound", "relative_gap"):
        assert f"{name} is stored as" in said_of(design, 10.0, **{name: np.nan})
    assert "relative_gap is stored as" in said_of(design, 10.0, relative_gap=stored["relative_gap"] - 1e-5)


@pytest.mark.parametrize("design", [*BAND, *TONES])
def test_forged_multipliers_prove_less(design: str) -> None:
    _, stored = _cell(design, 10.0)
    name, other = ("power_dual", "sinr_dual") if design in BAND else ("proof", "proof_numbers")
    random = np.random.default_rng(1)
    wrong = stored[name] * random.uniform(0.3, 3.0, stored[name].shape)
    assert "design_bound is stored as" in said_of(design, 10.0, **{name: wrong})
    assert "design_bound is stored as" in said_of(design, 10.0, **{name: np.zeros_like(wrong)})
    if design in BAND:
        assert "design_bound is stored as" in said_of(design, 10.0, **{other: 3.0 * stored[other]})
        assert "design_bound is stored as" in said_of(design, 10.0, fisher_dual=stored["fisher_dual"][::-1])
    else:
        assert "are stored" in said_of(design, 10.0, proof=stored["proof"][1:])
        counts = stored["proof_numbers"].copy()
        counts[1] = -1
        assert "are stored" in said_of(design, 10.0, proof_numbers=counts)
        proof = np.delete(stored["proof"], slice(counts[0], counts[0] + stored["proof_numbers"][1]))
        assert "subcarrier 1 has no evidence" in said_of(design, 10.0, proof_numbers=counts, proof=proof)


@pytest.mark.parametrize("design", DIVERGENCE)
def test_other_prices_prove_less(design: str) -> None:
    prices = _cell(design, 10.0)[1]["node_prices"]
    assert "design_bound is stored as" in said_of(design, 10.0, node_prices=np.array([[1.0, 1e-3]]))
    assert "relative_gap is stored as" in said_of(design, 10.0, node_prices=np.full_like(prices, np.nan)[:1])


@pytest.mark.parametrize("design", list(ROWS))
def test_forged_signals_are_told(design: str) -> None:
    _, stored = _cell(design, 10.0)
    streams = stored["user_streams"], stored["sensing_streams"]
    louder = dict(zip(("user_streams", "sensing_streams"), (1.01 * each for each in streams), strict=True))
    said = said_of(design, 10.0, **louder)
    assert "violates a power limit by 0.02" in said
    assert "radiated_w is stored as" in said
    if design != "isotropic":
        said = said_of(design, 10.0, user_streams=0.9 * streams[0])
        assert ("design_value is stored as" if design in LARGEST else "violates the SINR by 0.") in said
        if design != "robust-zero-forcing":
            assert "design_value is stored as" in said_of(design, 10.0, **louder)
    if design.startswith("robust") and design != "robust-known-data":
        # What all nodes send together is no beam of one node.
        turned = streams[1].copy()
        turned[np.abs(turned).max(axis=(1, 2)).argmax(), :, 2] = np.abs(turned).max()
        assert "violates its form" in said_of(design, 10.0, sensing_streams=turned)
    silent = {name: np.full_like(stored[name], np.nan) for name in ("user_streams", "sensing_streams")}
    assert said_of(design, 10.0, **silent) == "the cell is 'ok', and no signal is stored"
    assert "kld is stored as" in said_of(design, 10.0, kld=1.001 * stored["kld"])


@pytest.mark.parametrize("design", list(ROWS))
def test_forged_refusals_are_told(design: str) -> None:
    said = said_of(design, 10.0, status="infeasible")
    assert said.endswith("and the cell is 'infeasible'")
    if design in ("isotropic", *LARGEST):
        return
    assert _cell(design, REFUSED_DB)[1]["status"] == "infeasible"
    assert said_of(design, REFUSED_DB, status="ok") == "the cell is 'ok', and no signal is stored"
    # The same evidence for a target that can be met.
    scenario, refused = small(10.0), _cell(design, REFUSED_DB)[1]
    assert experiment.recheck(scenario, Options(design=design), refused)[-1].endswith("and the cell is 'infeasible'")
    if design in BAND:
        assert "prove a need of" in said_of(design, REFUSED_DB, sinr_dual=1e-6 * refused["sinr_dual"])
    elif design in TONES:
        without = np.full_like(refused["proof_numbers"], -1)
        assert "prove a need of 0 times" in said_of(design, REFUSED_DB, proof_numbers=without, proof=np.zeros(0))


def test_a_stored_signal_with_unmet_promises_of_an_inaccurate_cell_is_checked_for_its_numbers_alone() -> None:
    scenario, stored = _cell("ofdm-phase-agnostic", 10.0)
    weaker = {"status": "inaccurate", "user_streams": 0.9 * stored["user_streams"]}
    said = experiment.recheck(scenario, Options(design="ofdm-phase-agnostic"), stored | weaker)
    assert any(sentence.startswith("design_value is stored as") for sentence in said)
    assert not any("violates" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("nodes", "seed", "gap", "told"),
    [
        (3, 1, 0.0, ""),
        (3, 0, 0.581, "The design was delivered, but the relative gap 5.8e-01 exceeds 1e-03."),
        (4, 8, np.inf, "The design was delivered, but the echoes of its beams do not locate the target."),
    ],
)
def test_the_certificate_is_that_of_the_beams_that_are_sent(nodes: int, seed: int, gap: float, told: str) -> None:
    """One beam for the one user of a subcarrier: where the design wants more directions, the cell says what that costs."""
    fields: dict[str, Any] = {"node_count": nodes, "antennas": 6, "user_count": 1, "target_radius_m": 20.0, "seed": seed}
    scenario = small(5.0, **fields)
    cell = stored_of(scenario, "ofdm-beamforming")
    assert (cell["status"], cell["message"]) == ("inaccurate" if told else "ok", told)
    assert cell["relative_gap"] == pytest.approx(gap, abs=1e-3)
    assert experiment.recheck(scenario, Options(design="ofdm-beamforming"), cell) == []
    assert (
        "relative_gap is stored as"
        in experiment.recheck(scenario, Options(design="ofdm-beamforming"), cell | {"relative_gap": -1.0})[0]
    )


def test_few_simplices_prove_the_bound_of_all() -> None:
    scenario = small(10.0, node_count=4, antennas=6, bandwidth_hz=1.25e6)
    problem, choice = tone_problem(common_network(scenario), 0, PER_NODE), robustness("phase")
    design = choice.design(problem, 10.0).design
    enough = enough_together(problem, design.simplices, design.certificate.dual_bound)
    assert 0 < len(enough) < len(design.simplices)
    assert design.proof is not None
    proof = design.proof.reshape(len(design.simplices), -1)[enough].ravel()
    _, bound = choice.prove(problem, 10.0, "cones", np.zeros(0), proof)
    assert bound == pytest.approx(design.certificate.dual_bound, rel=2e-9)
    # Each of them is needed, or comes before one that was needed more.
    fewer = common_vertex(problem, [design.simplices[number] for number in enough[:-1]])[1]
    assert fewer > bound * (1.0 + 1e-9)


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_the_best_turn_is_the_best_of_a_fine_grid(nodes: int) -> None:
    random = np.random.default_rng(nodes)
    grid = np.exp(1j * np.linspace(0.0, 2.0 * np.pi, 20001))[:, np.newaxis]
    for arc in (1e-3, 0.2, 1.5):
        for _ in range(20):
            parts = random.standard_normal(nodes) + 1j * random.standard_normal(nodes)
            best = arc_guarded_part(parts * np.exp(1j * best_turn_rad(parts, arc)), arc).sum()
            found = arc_guarded_part(parts * grid, arc).sum(axis=1).max()
            # No part changes faster than by its own size over the cosine.
            between = np.pi / 20000 * np.abs(parts).sum() / np.cos(arc)
            assert found - 1e-12 <= best <= found + between


def drawn(number: int) -> CommonScenario:
    """A random point of the axes of the study ``joint``, with fewer antennas and subcarriers, under any limit and spectrum."""
    random = np.random.default_rng(number)
    return CommonScenario(
        realisation=number, sinr_db=float(random.choice([0, 5, 10, 15, 20, 25])), shared_antennas=24, target_radius_m=15.0,
        node_count=int(random.choice([1, 2, 3, 4, 6, 8], p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.1])),
        delta_rad=(0.0, 0.05, 0.2, 0.5, 1.0, None)[random.integers(6)], phase_bound_rad=0.05, subcarrier_spacing_hz=1.25e6,
        bandwidth_hz=1.25e6 * int(random.integers(2, 6)), user_count=int(random.integers(1, 4)),
        power=("per-node", "native")[random.integers(2)], spectrum=("free", "flat")[random.integers(2)],
    )  # fmt: skip


def unproved(scenario: CommonScenario) -> dict[str, list[str]]:
    """Sentences on what does not prove itself, by row. A cell that is not ``ok`` needs a sentence of its own."""
    found = {}
    for design in ROWS:
        stored = stored_of(scenario, design)
        told = [] if stored["message"] or stored["status"] == "ok" else [f"the cell is '{stored['status']}' without a sentence"]
        if stored["status"] != "failed":
            told += experiment.recheck(scenario, Options(design=design), stored)
        elif not any(reason in stored["message"] for reason in ("subcarriers of its own", "the spectrum is 'flat'")):
            told.append(stored["message"])
        if told:
            found[design] = told
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, 200, 25))
def test_every_row_is_proved_again_at_random_points(first: int) -> None:
    found = {number: told for number in range(first, first + 25) if (told := unproved(drawn(number)))}
    assert found == {}

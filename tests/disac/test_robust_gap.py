"""What is ``ok`` is within the stated gap: near the largest SINR, at high power to noise, and where nothing closes it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from disac.designs.robust import cones, limited_power
from disac.designs.robust.guards import LEMMA_1, NODE_BALLS, PHASES, STACKED_BALL, UNGUARDED, Margins
from disac.designs.robust.limited_power import SHARPER, LimitedPower, proven_by_limits, solve_with_outer_bound
from disac.designs.robust.matrix_inequality import InequalityProgram
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.proofs import Multipliers
from disac.experiments.robust_tradeoff import experiment
from disac.optim.certificate import GAP_LIMIT
from tests.disac.robust_cases import problem
from tests.disac.test_robust_recheck import Options, scenario_of, stored_of


def _three_nodes(limit: str, power_db: float = 30.0, realisation: int = 0) -> RobustProblem:
    return problem(
        layout__node_count=3, arrays__antennas=6, layout__user_count=3, uncertainty__delta_rad=0.05, power__limit=limit,
        power__power_to_noise_db=power_db, channel__realisation=realisation, target__lobe_swing_db=6.0,
    )  # fmt: skip


def _largest_sinr(mine: RobustProblem, margins: Margins) -> float:
    """By bisection on the largest noise that the users stand within the limits."""
    low, high = -10.0, 60.0
    for _ in range(34):
        middle = 0.5 * (low + high)
        cones = LimitedPower(mine, margins, 10.0 ** (middle / 10.0))._cones(fixed_noise=False)
        cost = np.zeros(cones.variables)
        cost[cones.start["noise"]] = 1.0
        found = cones.program.solve(cost)
        low, high = (middle, high) if found.variables[cones.start["noise"]] > 1.0 else (low, middle)
    return float(10.0 ** (low / 10.0))


@pytest.mark.parametrize("margins", [NODE_BALLS, LEMMA_1, PHASES], ids=["balls", "lemma 1", "phases"])
@pytest.mark.parametrize("limit", ["per-node", "per-antenna"])
def test_the_gap_is_closed_next_to_the_largest_sinr(margins: Margins, limit: str) -> None:
    """One hundredth of a per cent below it. The bounds must not cross the values that less SINR allows."""
    mine = _three_nodes(limit)
    top = _largest_sinr(mine, margins)
    found = [solve_with_outer_bound(mine, margins, top * (1.0 - below))[0] for below in (1e-3, 1e-4)]
    for design in found:
        assert design.certificate.status == "ok", design.certificate.message
        assert -1e-9 <= design.certificate.relative_gap <= GAP_LIMIT
        assert design.certificate.sinr_violation <= 1e-9
    assert found[1].certificate.value <= found[0].certificate.dual_bound
    assert solve_with_outer_bound(mine, margins, top * (1.0 + 1e-4))[0].certificate.status == "infeasible"


@pytest.mark.parametrize("margins", [UNGUARDED, STACKED_BALL, PHASES], ids=["none", "one ball", "phases"])
@pytest.mark.parametrize("limit", ["per-node", "per-antenna"])
def test_the_gap_is_closed_at_100_db(margins: Margins, limit: str) -> None:
    """The users need next to no power, and the divergence in units of it is that of 80 dB, where the solver has less to do."""
    found, quieter = (solve_with_outer_bound(_three_nodes(limit, db), margins, 100.0)[0].certificate for db in (100.0, 80.0))
    for certificate in (found, quieter):
        assert certificate.status == "ok", certificate.message
        assert -1e-9 <= certificate.relative_gap <= GAP_LIMIT
    assert found.value <= quieter.dual_bound * (1.0 + 1e-6)
    assert quieter.value <= found.dual_bound * (1.0 + 1e-6)


@pytest.mark.parametrize("care", SHARPER, ids=["sharper", "sharpest"])
def test_the_units_of_the_rows_change_no_result(care: limited_power.Care) -> None:
    mine = _three_nodes("per-antenna")
    for margins in (NODE_BALLS, PHASES, LEMMA_1):
        reached = []
        for each in (limited_power.USUAL, care):
            program = LimitedPower(mine, margins, 30.0, each)
            found, amplitudes = program.furthest(np.ones(3))
            share, reach = program.simplex(program.evidence(program.cones, found))
            assert share + (amplitudes**2 / reach).sum() == pytest.approx(1.0, abs=1e-5)
            reached.append(np.concatenate([amplitudes, [share], reach]))
        np.testing.assert_allclose(reached[1], reached[0], rtol=1e-4)


@pytest.mark.parametrize("limit", ["per-node", "per-antenna"])
def test_amplitudes_as_variables_change_no_result(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimum is the same; the evidence of either program proves the same simplex, read by the other one."""
    mine = _three_nodes(limit)
    plain = LimitedPower(mine, PHASES, 30.0)
    monkeypatch.setattr(cones, "SPLIT_FROM", 0)
    split = LimitedPower(mine, PHASES, 30.0)
    assert split.cones.variables == plain.cones.variables + 2 * 3 * 3 * 3
    assert split.evidence_size == plain.evidence_size
    for weights in (np.ones(3), np.array([1.0, 0.1, 0.3])):
        reached = []
        for program, reader in ((plain, split), (split, plain)):
            found, amplitudes = program.furthest(weights)
            share, reach = reader.simplex(program.evidence(program.cones, found))
            assert share + (amplitudes**2 / reach).sum() == pytest.approx(1.0, abs=1e-5)
            reached.append(np.concatenate([amplitudes, [share], reach]))
        np.testing.assert_allclose(reached[1], reached[0], rtol=1e-4)


@pytest.mark.parametrize("limit", ["per-node", "per-antenna"])
def test_what_one_nodes_limits_allow_is_a_simplex_in_closed_form(limit: str) -> None:
    """All of a node's power on the target, whoever is served: |a|^2 P / N, or (sum_m |a_m|)^2 P / (N M)."""
    mine = _three_nodes(limit)
    program = LimitedPower(mine, NODE_BALLS, 30.0)
    boxes = program.boxes()
    assert [box.size for box in boxes] == 3 * [program.evidence_size]
    for n, box in enumerate(boxes):
        _, reach = program.simplex(box)
        amplitude = np.abs(mine.steering[n])
        most = (amplitude**2).sum() if limit == "per-node" else amplitude.sum() ** 2 / mine.antennas
        assert reach[n] == pytest.approx(most / 3, rel=1e-5)
        assert (np.delete(reach, n) > 1e4 * most).all()


@pytest.mark.parametrize("limit", ["per-node", "per-antenna"])
def test_a_search_without_these_simplices_ends_at_the_same_design(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_boxes, without = [], []
    for margins in (UNGUARDED, LEMMA_1, NODE_BALLS, PHASES):
        for found in (with_boxes, without):
            with monkeypatch.context() as changed:
                if found is without:
                    changed.setattr(LimitedPower, "boxes", lambda program: [])
                found.append(solve_with_outer_bound(_three_nodes(limit), margins, 30.0)[0].certificate)
    for ours, other in zip(with_boxes, without, strict=True):
        assert ours.status == other.status == "ok"
        assert ours.value == pytest.approx(other.value, rel=GAP_LIMIT)
        assert ours.dual_bound >= other.value * (1.0 - 1e-9)
        assert other.dual_bound >= ours.value * (1.0 - 1e-9)


def test_a_gap_that_stays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive control: without more simplices and sharper programs the design next to the largest SINR is not ``ok``."""
    mine = _three_nodes("per-antenna")
    sinr = _largest_sinr(mine, NODE_BALLS) * (1.0 - 1e-4)
    monkeypatch.setattr(limited_power, "SHARPER", ())
    certificate = solve_with_outer_bound(mine, NODE_BALLS, sinr)[0].certificate
    assert certificate.status == "inaccurate"
    assert (
        certificate.message == f"The design was delivered, but the relative gap {certificate.relative_gap:.1e} exceeds 1e-03."
    )
    assert certificate.relative_gap > 1e-2


def test_a_stored_gap_above_the_limit_is_noticed() -> None:
    scenario, options = scenario_of(10.0, 0.05, "per-node"), Options(draws=100, robustness="lemma1")
    stored = stored_of(scenario, options)
    assert experiment.recheck(scenario, options, stored) == []
    # Less power at the target: a design of its own, further from the bound.
    said = experiment.recheck(scenario, options, stored | {"sensing_covariance": 0.99 * stored["sensing_covariance"]})
    assert any("the gap to the bound is" in sentence and "'ok'" in sentence for sentence in said)


def test_multipliers_that_prove_too_little_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multipliers that know of no errors bound the design loosely, so it is not ``ok``."""
    options = Options(draws=100, robustness="s-procedure-stacked", solver="reference")
    exact = InequalityProgram.multipliers

    def without_errors(program: InequalityProgram) -> NDArray[np.complex128]:
        found = exact(program)
        assert found is not None
        found[:, :-1] = found[:, :, :-1] = 0.0
        return found

    monkeypatch.setattr(InequalityProgram, "multipliers", without_errors)
    stored = stored_of(scenario_of(10.0, 0.05), options)
    assert stored["relative_gap"] > GAP_LIMIT
    assert stored["status"] == "inaccurate"
    assert "exceeds 1e-03" in stored["message"]


@pytest.mark.parametrize("seed", range(20))
def test_simplices_without_a_program_change_no_design_beyond_the_gap(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the search that solves a program for every simplex: each design is below the other one's bound."""
    random = np.random.default_rng(seed)
    margins = (UNGUARDED, LEMMA_1, NODE_BALLS, STACKED_BALL, PHASES)[seed % 5]
    mine = problem(
        layout__node_count=int(random.integers(2, 5)), layout__user_count=int(random.integers(1, 4)),
        arrays__antennas=int(random.integers(3, 9)), channel__seed=seed, uncertainty__delta_rad=0.02,
        target__lobe_swing_db=6.0, power__limit="per-antenna",
    )  # fmt: skip
    sinr = 10.0 ** random.uniform(-0.5, 1.5)
    found, _ = solve_with_outer_bound(mine, margins, sinr)
    monkeypatch.setattr(limited_power, "OUTSIDE", np.inf)
    plain, _ = solve_with_outer_bound(mine, margins, sinr)
    assert found.certificate.status == plain.certificate.status
    if found.certificate.status == "infeasible":
        assert min(found.least_power, plain.least_power) > 1.0
        return
    assert found.certificate.value <= plain.certificate.dual_bound * (1.0 + 1e-9)
    assert plain.certificate.value <= found.certificate.dual_bound * (1.0 + 1e-9)
    assert max(found.certificate.relative_gap, plain.certificate.relative_gap) <= GAP_LIMIT
    assert found.proof is not None
    _, bound = proven_by_limits(mine, margins, sinr, found.proof)
    assert bound == pytest.approx(found.certificate.dual_bound, rel=1e-9)


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_node_made_cheaper_is_that_node(nodes: int) -> None:
    mine = problem(layout__node_count=nodes, arrays__antennas=5, power__limit="per-antenna")
    program = LimitedPower(mine, NODE_BALLS, 30.0)
    evidence = np.random.default_rng(1).uniform(0.5, 1.0, program.evidence_size)
    changed = program.cheaper_nodes(evidence)
    assert changed.shape == (nodes, program.evidence_size)
    for n in range(nodes):
        assert np.flatnonzero(changed[n] != evidence).tolist() == [mine.users + 5 * n + m for m in range(5)]


@pytest.mark.parametrize("margins", [UNGUARDED, NODE_BALLS, PHASES])
def test_multipliers_prove_the_same_in_the_span_of_their_vectors(margins: Margins) -> None:
    """24 antennas, 6 vectors: power priced in all coordinates, and in those of the span."""
    mine = problem(layout__node_count=2, layout__user_count=2, arrays__antennas=12, power__limit="per-antenna")
    program = LimitedPower(mine, margins, 30.0)
    found, _ = program.furthest(np.ones(2))
    evidence = program.evidence(program.cones, found)
    within, prices = program._priced(evidence)
    assert within.wanted.shape == (2, 6)
    _, wanted, heard = program.cones.error_vectors(program._split(evidence))
    length = np.sqrt(prices.reshape(-1))
    full = Multipliers(within.q, wanted / length, heard / length)
    np.testing.assert_allclose(within.proven(30.0), full.proven(30.0), rtol=1e-9)
    np.testing.assert_allclose(within.refined(30.0).q, full.refined(30.0).q, rtol=1e-9)


def test_many_antennas_need_few_programs() -> None:
    """N = 8, M = 32, K = 8: twelve programs where every simplex asks for one."""
    mine = problem(layout__node_count=8, layout__user_count=8, arrays__antennas=32, power__limit="per-antenna")
    found = solve_with_outer_bound(mine, UNGUARDED, 100.0)[0].certificate
    assert found.status == "ok"
    assert found.relative_gap <= 2e-4
    assert found.iterations <= 130

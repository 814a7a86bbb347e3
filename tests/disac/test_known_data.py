"""Designs for which everything that is sent counts: the support function, the designs and their proofs."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest

from disac.designs.cross import ROWS
from disac.designs.robust import illumination, known_data
from disac.designs.robust.choices import NONE
from disac.designs.robust.illumination import Illumination, eliminated
from disac.designs.robust.known_data import Signals, judged_signals, proven_by_cuts, solve_known_data
from disac.designs.robust.problem import RobustProblem
from disac.drops.common import common_network
from disac.metrics.kld import EchoModel
from disac.power_limits import PER_ANTENNA, PER_NODE, TOTAL, PowerLimit
from disac.scenarios.common import CommonScenario
from disac.units import db_to_linear

LIMITS = (TOTAL, PER_NODE, PER_ANTENNA)


def cases(number: int, limit: PowerLimit | None = None, **shape: int) -> tuple[RobustProblem, float, np.random.Generator]:
    """A random small problem, an SINR that is served more often than not, and the generator for more numbers."""
    random = np.random.default_rng(number)
    nodes = shape.get("nodes", int(random.integers(1, 4)))
    antennas = shape.get("antennas", int(random.integers(2, 5)))
    users = shape.get("users", int(random.integers(1, 4)))
    h = (random.standard_normal((nodes, users, antennas)) + 1j * random.standard_normal((nodes, users, antennas))) / np.sqrt(2)
    steering = np.exp(2j * np.pi * random.uniform(size=(nodes, antennas)))
    echoes = EchoModel(random.uniform(0.1, 2.0, (nodes, nodes)) * 10 ** random.uniform(-2, 0), np.ones((nodes,) * 3))
    power, sinr = 10 ** random.uniform(0, 2), 10 ** random.uniform(-1, 1)
    chosen = LIMITS[number % 3] if limit is None else limit
    return RobustProblem(h, steering, echoes, power, 1.0, np.zeros((nodes, users)), 0.0, chosen), sinr, random


def by_cvxpy(problem: RobustProblem, sinr: float, weights: np.ndarray | None = None) -> float:
    """``max g^T t`` in units of the power, with a sensing covariance; without weights the least share of the limits."""
    import cvxpy as cp

    nodes, users, antennas = problem.channels.shape
    size = nodes * antennas
    h = problem.scaled_channels.transpose(1, 0, 2).reshape(users, size)
    streams = [cp.Variable((size, size), hermitian=True) for _ in range(users + 1)]
    whole = sum(streams[1:], streams[0])
    spent, budget = cp.real(cp.diag(whole)), problem.limit.budget_of(nodes, antennas)
    share = cp.Variable() if weights is None else 1.0
    rows: list[Any] = [stream >> 0 for stream in streams]
    rows += [cp.sum(spent[np.flatnonzero(budget == b)]) <= share / (budget.max() + 1) for b in range(budget.max() + 1)]
    for k in range(users):
        received = np.outer(h[k], h[k].conj())
        rows.append((1 + 1 / sinr) * cp.real(cp.trace(received @ streams[k])) - cp.real(cp.trace(received @ whole)) >= 1.0)
    reward = np.zeros((size, size), dtype=complex)
    for n in range(nodes if weights is not None else 0):
        mine, c = slice(n * antennas, (n + 1) * antennas), problem.steering[n].conj()
        reward[mine, mine] = weights[n] * np.outer(c, c.conj())
    goal = cp.Minimize(share) if weights is None else cp.Maximize(cp.real(cp.trace(reward @ whole)))
    program = cp.Problem(goal, rows)
    tight = {} if weights is None else {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program.solve(solver=cp.CLARABEL, **tight)
    assert program.status.startswith("optimal") or weights is None
    return float(program.value)


@pytest.mark.parametrize("number", range(50))
def test_the_most_light_is_that_of_a_conic_solver(number: int) -> None:
    """Value and bound within 1e-6; refusals where the users take more than the power."""
    problem, sinr, random = cases(number)
    weights = random.uniform(size=problem.nodes)
    weights[0] *= number % 2 or problem.nodes == 1
    programs = Illumination([problem], sinr)
    found = programs.furthest(weights[np.newaxis], np.array([0]), 1e-8)
    bound = programs.raised(0, weights, found.prices[0], found.multipliers[0]) - found.multipliers[0].sum()
    if found.refused[0]:
        assert by_cvxpy(problem, sinr) > 1
        assert bound < 0
        return
    expected = by_cvxpy(problem, sinr, weights)  # it finds covariances: the users take no more than the power
    assert found.served[0]
    assert bound == pytest.approx(expected, rel=1e-6)
    assert weights @ found.lit[0] == pytest.approx(expected, rel=1e-6)
    assert weights @ found.lit[0] <= bound


def test_covariances_meet_all_limits() -> None:
    for number in range(6):
        problem, sinr, _ = cases(number, nodes=2, antennas=3, users=2)
        programs = Illumination([problem], sinr)
        found = programs.furthest(np.ones((1, 2)), np.array([0]), 1e-7)
        if found.refused[0]:
            continue
        r, h = found.covariances[0], programs.heard[0]
        assert np.linalg.eigvalsh(r).min() > 0
        spent = np.bincount(programs.budget_of, weights=np.einsum("kdd->d", r).real)
        assert spent.max() <= (1 + 1e-9) / programs.budgets
        heard = np.einsum("ka,jab,kb->kj", h.conj(), r, h).real
        assert ((1 + 1 / sinr) * np.diagonal(heard) - heard.sum(axis=1)).min() >= 1 - 1e-9


def test_any_numbers_bound_the_light() -> None:
    """Whatever prices and multipliers, the raised ones bound what covariances reach."""
    problem, sinr, random = cases(1, TOTAL, nodes=2, antennas=3, users=2)
    programs = Illumination([problem], sinr)
    weights = np.array([0.3, 1.0])
    most = weights @ programs.furthest(weights[np.newaxis], np.array([0]), 1e-8).lit[0]
    for _ in range(200):
        prices, q = 10 ** random.uniform(-3, 1, programs.budgets), 10 ** random.uniform(-4, 1, problem.users)
        assert programs.raised(0, weights, prices, q) - q.sum() >= most * (1 - 1e-9)


def test_pivots_tell_definite_matrices() -> None:
    random = np.random.default_rng(0)
    factor = random.standard_normal((40, 5, 5)) + 1j * random.standard_normal((40, 5, 5))
    matrices = factor @ factor.conj().swapaxes(1, 2)
    matrices[::2] -= 1.1 * np.linalg.eigvalsh(matrices[::2])[:, 0, np.newaxis, np.newaxis] * np.eye(5)
    columns = random.standard_normal((40, 5, 2)) + 0j
    pivots, reduced = eliminated(matrices, columns)
    assert ((pivots > 0).all(axis=1) == (np.arange(40) % 2 == 1)).all()
    expected = np.einsum("tdk,tdk->tk", columns.conj(), np.linalg.solve(matrices, columns)).real[1::2]
    found = np.sum(np.abs(reduced) ** 2 / np.abs(pivots)[..., np.newaxis], axis=1)[1::2]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("number", range(30))
def test_designs_close_and_their_proofs_stand(number: int) -> None:
    problem, sinr, _ = cases(number + 100)
    design = solve_known_data([problem], sinr)[0]
    assert design.proof is not None
    least, bound = proven_by_cuts(problem, sinr, design.proof)
    if design.certificate.status == "infeasible":
        assert 1 < least <= by_cvxpy(problem, sinr) * (1 + 1e-5)
        return
    assert design.certificate.status == "ok", design.certificate.message
    assert bound == pytest.approx(design.certificate.dual_bound, rel=1e-12)
    assert least <= 1
    assert design.signals is not None
    again = judged_signals(problem, sinr, design.signals, bound)
    assert again.value == design.certificate.value
    assert again.worst_violation < 1e-9


def reached_from(problem: RobustProblem, sinr: float, start: np.ndarray) -> float:
    """Divergence that minorise-maximise reaches from powers ``start`` at the target."""
    lit, value = start, -np.inf
    for _ in range(3):
        weights = problem.echoes.gradient(problem.power * lit)
        found = Illumination([problem], sinr).furthest(weights[np.newaxis] / weights.max(), np.array([0]), 1e-7)
        lit = found.lit[0]
        value = max(value, float(problem.divergence(problem.power * lit)))
    return value


@pytest.mark.parametrize("number", range(6))
def test_no_start_and_no_direction_reaches_more(number: int) -> None:
    """Dense search over the directions of support, and climbs from random starts: none is above the bound, some reach it."""
    problem, sinr, random = cases(number + 200, nodes=2, antennas=3, users=2)
    sinr = min(sinr, 2.0)
    design = solve_known_data([problem], sinr)[0]
    assert design.certificate.status == "ok"
    programs, turn = Illumination([problem] * 20, sinr), np.linspace(0, np.pi / 2, 20)
    lit = programs.furthest(np.column_stack([np.cos(turn), np.sin(turn)]), np.arange(20), 1e-7).lit
    searched = float(problem.divergence(problem.power * lit).max())
    started = max(reached_from(problem, sinr, random.uniform(size=2)) for _ in range(3))
    assert max(searched, started) <= design.certificate.dual_bound * (1 + 1e-6)
    assert max(searched, started) == pytest.approx(design.certificate.value, rel=2e-3)


@pytest.mark.parametrize("limit", LIMITS)
def test_never_below_the_design_whose_sensing_signal_alone_counts(limit: PowerLimit) -> None:
    """000's design, scored with all that it sends, is one of the designs allowed here."""
    compared = 0
    for number in range(6):
        problem, sinr, _ = cases(number + 300, limit, nodes=2, antennas=3, users=2)
        alone = NONE.design(problem, sinr).design
        design = solve_known_data([problem], sinr)[0]
        assert (alone.certificate.status == "infeasible") == (design.certificate.status == "infeasible")
        if alone.beams is None:
            continue
        lit = alone.beams.beampowers(problem.steering)
        lit = lit + (np.abs(np.einsum("nm,knm->kn", problem.steering, alone.beams.users)) ** 2).sum(axis=0)
        scored = float(problem.divergence(lit))
        assert scored <= design.certificate.dual_bound * (1 + 1e-6)
        assert design.certificate.value >= scored * (1 - 1e-3)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize(("limit", "most"), [(PER_NODE, 4.0), (PER_ANTENNA, 4.0), (TOTAL, 4.0)])
def test_one_node_without_demand_puts_all_its_power_on_the_target(limit: PowerLimit, most: float) -> None:
    """One node, nearly no SINR: ``t = P |a|^2`` for every limit, since the best beam has equal moduli."""
    problem, _, _ = cases(7, limit, nodes=1, antennas=4, users=2)
    design = solve_known_data([problem], 1e-9)[0]
    expected = float(problem.divergence(np.array([problem.power * most])))
    assert design.certificate.dual_bound == pytest.approx(expected, rel=1e-6)
    assert design.certificate.value == pytest.approx(expected, rel=1e-4)


def test_one_node_and_one_user_have_a_closed_form() -> None:
    """One user: SINR ``|h|^2 cos^2 >= Gamma`` of one beam of unit power; the beam of most light at an angle from h.

    With rho the modulus of the correlation of h and c, a beam at angle theta from h has light |c|^2 cos^2(alpha - theta), where
    cos alpha = rho. It turns to c if that leaves the SINR, and else as far as the SINR allows: cos^2 theta = Gamma / |h|^2.
    """
    problem, _, _ = cases(11, TOTAL, nodes=1, antennas=3, users=1)
    h, c = problem.scaled_channels[0, 0], problem.steering[0].conj()
    loud, alpha = np.linalg.norm(h) ** 2, np.arccos(np.abs(h.conj() @ c) / np.linalg.norm(h) / np.linalg.norm(c))
    for share in (0.99, 0.9, 0.5, 0.01):
        theta = min(alpha, np.arccos(np.sqrt(share)))
        expected = float(problem.divergence(np.array([problem.power * np.linalg.norm(c) ** 2 * np.cos(alpha - theta) ** 2])))
        certificate = solve_known_data([problem], share * loud)[0].certificate
        assert certificate.status == "ok"
        assert certificate.value == pytest.approx(expected, rel=1e-4)
        assert certificate.dual_bound == pytest.approx(expected, rel=1e-4)
    beyond = solve_known_data([problem], 1.001 * loud)[0]
    assert beyond.certificate.status == "infeasible"
    assert beyond.least_power == pytest.approx(1.001, rel=1e-3)


def test_problems_solved_together_are_those_solved_apart() -> None:
    problems = [cases(number, PER_NODE, nodes=2, antennas=3, users=2)[0] for number in range(8)]
    sinr = db_to_linear(12.0)
    together = solve_known_data(problems, sinr)
    assert {design.certificate.status for design in together} == {"ok", "infeasible"}
    for problem, design in zip(problems, together, strict=True):
        apart = solve_known_data([problem], sinr)[0]
        assert apart.certificate.status == design.certificate.status
        if design.certificate.status == "ok":
            assert apart.certificate.value == pytest.approx(design.certificate.value, rel=1e-6)


def test_shapes_must_be_alike() -> None:
    with pytest.raises(ValueError, match="differ"):
        solve_known_data([cases(0, TOTAL, nodes=2)[0], cases(0, TOTAL, nodes=1)[0]], 1.0)


@pytest.mark.parametrize("limit", LIMITS)
def test_a_user_without_channel_is_refused_with_a_proof(limit: PowerLimit) -> None:
    problem, _, _ = cases(3, limit, nodes=2, antennas=3, users=2)
    channels = problem.channels.copy()
    channels[:, 1] = 0
    for silent in (dataclasses.replace(problem, channels=channels), dataclasses.replace(problem, power=0.0)):
        design = solve_known_data([silent], 1.0)[0]
        assert design.certificate.status == "infeasible"
        assert design.proof is not None
        assert proven_by_cuts(silent, 1.0, design.proof)[0] > 1


def test_a_target_that_reflects_nothing_has_no_divergence() -> None:
    problem, _, _ = cases(2, TOTAL, nodes=2, antennas=3, users=1)
    dark = dataclasses.replace(problem, echoes=EchoModel(np.zeros((2, 2)), np.ones((2, 2, 2))))
    certificate = solve_known_data([dark], 0.1)[0].certificate
    assert (certificate.status, certificate.value, certificate.dual_bound) == ("ok", 0.0, 0.0)


def test_too_good_signals_are_told() -> None:
    """Positive control: signals of more power, or with less SINR, are not ``ok``."""
    problem, _, _ = cases(0, TOTAL, nodes=2, antennas=3, users=1)
    design = solve_known_data([problem], 0.5)[0]
    assert design.signals is not None
    sent = design.signals
    louder = Signals(1.01 * sent.users, 1.01 * sent.sensing)
    assert judged_signals(problem, 0.5, louder, design.certificate.dual_bound).status == "inaccurate"
    swapped = Signals(0.5 * sent.users, sent.sensing)
    reached = swapped.sinr(problem.channels, problem.noise_power).min()
    assert judged_signals(problem, 2.0 * float(reached), swapped, 1e9).sinr_violation == pytest.approx(0.5)


def test_a_search_that_finds_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _, _ = cases(0, TOTAL, nodes=2, antennas=3, users=1)
    monkeypatch.setattr(illumination, "STEPS", 0)
    design = solve_known_data([problem], 0.5)[0]
    assert (design.certificate.status, design.signals) == ("failed", None)
    assert design.certificate.message.startswith(
        "The solver found no covariances and no proof that there are none; they take at"
    )


def test_the_row_of_the_common_table_names_what_is_refused_or_open(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = CommonScenario(bandwidth_hz=1.25e6)
    network = common_network(scenario)
    refused = ROWS["robust-known-data"].method(network, scenario.model_copy(update={"sinr_db": 60.0}))
    assert (refused.status, refused.users) == ("infeasible", None)
    assert refused.message.startswith("Subcarrier 0: No covariances give every user the SINR")
    solve = known_data.judged_signals
    monkeypatch.setattr(known_data, "judged_signals", lambda *given: solve(*given[:3], 1.01 * given[3]))
    loose = ROWS["robust-known-data"].method(network, scenario)
    assert loose.status == "inaccurate"
    assert loose.message.startswith("Subcarrier 0: The design was delivered, but the relative gap")
    assert loose.gap == pytest.approx(0.01, rel=1e-2)
    assert loose.users is not None

"""Phases guarded exactly: against a semidefinite program on a dense grid of phases, and against what margins miss."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from disac.designs.robust.choices import EXACT_PHASES, PHASE
from disac.designs.robust.phase_exact import proven_by_phases, solve_phase_exact
from disac.designs.robust.problem import RobustProblem
from disac.metrics.worst_phases import form_values, least_forms
from disac.metrics.worst_sinr import worst_sinr_under_phases
from disac.optim.conic import solve
from disac.units import db_to_linear
from tests.disac.robust_cases import problem


def small(nodes: int, antennas: int, users: int, delta: float, realisation: int, **other: Any) -> RobustProblem:
    return problem(
        layout__node_count=nodes, arrays__antennas=antennas, layout__user_count=users, uncertainty__delta_rad=delta,
        channel__realisation=realisation, **other,
    )  # fmt: skip


@pytest.mark.parametrize("nodes", [2, 3, 4])
@pytest.mark.parametrize("delta", [0.1, 0.6, 1.4])
def test_the_least_form_is_below_a_dense_search_and_proven(nodes: int, delta: float) -> None:
    random = np.random.default_rng(nodes)
    parts = random.standard_normal((6, 4, nodes)) + 1j * random.standard_normal((6, 4, nodes))
    sign = np.array([3.0, -1.0, -1.0, -1.0])
    forms = np.einsum("j,fjn,fjm->fnm", sign, parts, parts.conj())
    found = least_forms(forms, delta)
    each = {2: 1001, 3: 81, 4: 21}[nodes]
    grid = np.stack(np.meshgrid(*[np.linspace(-delta, delta, each)] * (nodes - 1), indexing="ij"), axis=-1).reshape(
        -1, nodes - 1
    )
    size = np.abs(forms).sum(axis=(1, 2))
    np.testing.assert_allclose(form_values(forms, found.phases), found.value, rtol=0, atol=1e-12 * size.max())
    assert (np.abs(found.phases) <= delta + 1e-15).all()
    assert (found.value - found.proven <= 2e-10 * size).all()
    for n in range(nodes):
        # Some node stands at the limit in a least point.
        phases = np.insert(grid, n, delta, axis=1)
        dense = form_values(forms[:, np.newaxis], np.broadcast_to(phases, (len(forms), *phases.shape))).min(axis=1)
        assert (found.proven <= dense + 1e-12 * size).all()


@pytest.mark.parametrize(
    ("antennas", "users", "delta", "sinr_db", "realisation", "least"),
    [(4, 5, 0.2, 10.0, 0, 0.001745), (4, 5, 0.2, 10.0, 2, 0.000916), (6, 6, 0.1, 15.0, 0, None), (6, 6, 0.1, 15.0, 2, None)],
)
def test_exact_phases_reach_what_margins_miss(
    antennas: int, users: int, delta: float, sinr_db: float, realisation: int, least: float | None
) -> None:
    mine = small(2, antennas, users, delta, realisation, layout__separation_deg=120.0)
    sinr = db_to_linear(sinr_db)
    exact, margins = EXACT_PHASES.design(mine, sinr).design, PHASE.design(mine, sinr).design
    assert exact.certificate.status == "ok"
    assert exact.certificate.relative_gap <= 1e-4
    if least is not None:
        assert exact.certificate.value >= least - 5e-7
    assert exact.certificate.value >= 1.02 * margins.certificate.value
    assert exact.beams is not None
    heard = (mine.channels, exact.beams.users, exact.beams.sensing, mine.noise_power, delta)
    assert worst_sinr_under_phases(*heard).min() >= sinr * (1.0 - 1e-9)


def test_exact_phases_serve_where_margins_find_no_beams() -> None:
    mine, sinr = small(2, 2, 2, 0.6, 3, layout__separation_deg=120.0), db_to_linear(20.5)
    exact, margins = EXACT_PHASES.design(mine, sinr).design, PHASE.design(mine, sinr).design
    assert margins.certificate.status == "infeasible"
    assert "with the margins of the robustness choice" in margins.certificate.message
    assert exact.certificate.status == "ok"
    assert exact.certificate.relative_gap <= 1e-3
    assert exact.beams is not None
    heard = (mine.channels, exact.beams.users, exact.beams.sensing, mine.noise_power, 0.6)
    assert worst_sinr_under_phases(*heard).min() >= sinr * (1.0 - 1e-9)


def test_exact_phases_serve_16_db_where_margins_are_wide() -> None:
    for realisation in (0, 1):
        mine = small(2, 2, 2, 0.6, realisation, layout__separation_deg=120.0)
        assert EXACT_PHASES.design(mine, db_to_linear(16.34)).design.certificate.status == "ok"


def _dense_bound(mine: RobustProblem, sinr: float, weights: np.ndarray, points: int) -> float | None:
    """Largest ``sum_n c_n t_n`` of covariances on a grid of phases, in full coordinates; None if there are none."""
    import cvxpy as cp

    nodes, users, antennas = mine.scaled_channels.shape
    size = nodes * antennas
    own = [cp.Variable((size, size), hermitian=True) for _ in range(users)]
    lit = [cp.Variable((antennas, antennas), hermitian=True) for _ in range(nodes)]
    limits = [x >> 0 for x in [*own, *lit]]
    limits.append(cp.real(sum(cp.trace(x) for x in [*own, *lit])) <= 1.0)
    delta = mine.phase_error_rad
    axis = np.linspace(-2.0 * delta, 2.0 * delta, points)
    apart = np.stack(np.meshgrid(*[axis] * (nodes - 1), indexing="ij"), axis=-1).reshape(-1, nodes - 1)
    phases = np.insert(apart, 0, 0.0, axis=1)
    phases = phases[np.ptp(phases, axis=1) <= 2.0 * delta + 1e-12]
    for k in range(users):
        form = own[k] / sinr - sum(own[j] for j in range(users) if j != k)
        leaks = sum(
            cp.real(mine.scaled_channels[n, k].conj() @ lit[n] @ mine.scaled_channels[n, k]) for n in range(nodes)
        )  # fmt: skip
        for phi in phases:
            h = (np.exp(1j * phi)[:, np.newaxis] * mine.scaled_channels[:, k]).reshape(-1)
            limits.append((cp.real(h.conj() @ form @ h) - leaks - 1.0) / float(np.linalg.norm(h)) ** 2 >= 0)
    scale = float((weights * np.linalg.norm(mine.steering, axis=1) ** 2).max())
    reached = sum(
        weights[n] / scale * cp.real(mine.steering[n] @ lit[n] @ mine.steering[n].conj()) for n in range(nodes)
    )  # fmt: skip
    program = cp.Problem(cp.Maximize(reached), limits)
    outcome, _ = solve(program, {"max_threads": 1})
    return scale * float(program.value) if outcome in ("optimal", "optimal_inaccurate") else None


def _agrees_with_a_dense_search(nodes: int, seed: int, points: int) -> None:
    random = np.random.default_rng(seed)
    mine = small(nodes, int(random.integers(2, 4)), 2, float(random.uniform(0.05, 0.8)), seed, layout__separation_deg=60.0)
    sinr = db_to_linear(float(random.uniform(0.0, 12.0)))
    design = solve_phase_exact(mine, sinr)
    best = 0.0
    for n in range(nodes):
        reached = _dense_bound(mine, sinr, np.eye(nodes)[n], points)
        if reached is not None:
            best = max(best, float(mine.divergence(mine.power * reached * np.eye(nodes)[n])))
    if design.certificate.status == "infeasible":
        assert best <= 1e-6
        return
    # The grid leaves phases out, so that its optimum is above that of all phases.
    assert design.certificate.dual_bound == pytest.approx(best, rel=1e-3)
    if design.certificate.status == "inaccurate":
        # Best covariances of more than rank one: beams do not reach them, and the certificate says so.
        assert 1e-3 < design.certificate.relative_gap <= 2e-2
        assert "the relative gap" in design.certificate.message
        return
    assert design.certificate.status == "ok"
    assert design.certificate.value == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize(("nodes", "seed", "points"), [(2, 0, 17), (2, 1, 17), (3, 2, 5)])
def test_exact_phases_agree_with_a_dense_search(nodes: int, seed: int, points: int) -> None:
    _agrees_with_a_dense_search(nodes, seed, points)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [2, 3])
@pytest.mark.parametrize("seed", range(50))
def test_exact_phases_agree_with_a_dense_search_on_100_problems(nodes: int, seed: int) -> None:
    _agrees_with_a_dense_search(nodes, 100 + seed, 25 if nodes == 2 else 9)


@pytest.mark.parametrize("limit", ["total", "per-node", "per-antenna"])
def test_what_cannot_be_served_comes_with_multipliers_that_prove_it(limit: str) -> None:
    mine = small(2, 2, 3, 1.0, 0, power__limit=limit)
    design = solve_phase_exact(mine, db_to_linear(20.0))
    assert design.certificate.status == "infeasible"
    assert "for all phase errors" in design.certificate.message
    assert design.proof is not None
    least, bound = proven_by_phases(mine, db_to_linear(20.0), design.proof)
    assert least == pytest.approx(design.least_power)
    assert least > 1.0
    assert bound == 0.0


@pytest.mark.parametrize("limit", ["total", "per-node", "per-antenna"])
def test_no_numbers_prove_less_than_what_is_reached(limit: str) -> None:
    mine, sinr = small(3, 3, 2, 0.3, 1, power__limit=limit), db_to_linear(10.0)
    design = solve_phase_exact(mine, sinr)
    assert design.certificate.status == "ok"
    assert design.proof is not None
    random = np.random.default_rng(0)
    for scale in (1e-3, 1e-1, 1.0, 1e3):
        noise = random.standard_normal(design.proof.size)
        noise[0] = 0.0
        least, bound = proven_by_phases(mine, sinr, design.proof + scale * noise * np.abs(design.proof).mean())
        assert least < 1.0
        assert bound >= design.certificate.value * (1.0 - 1e-9)
    for broken in (np.zeros(0), np.full(design.proof.size, np.nan), design.proof[:-1]):
        assert proven_by_phases(mine, sinr, broken) == (0.0, float("inf"))


def _local_search(mine: RobustProblem, sinr: float, start: int, points: int) -> float:
    """Divergence of beams found by SLSQP from a random start, with the SINR on a grid of phases; NaN where it fails.

    It shares nothing with the design: beams are free numbers on the sphere of full power.
    """
    random, h = np.random.default_rng(start), mine.scaled_channels
    nodes, users, antennas = h.shape
    axis = np.linspace(-2.0 * mine.phase_error_rad, 2.0 * mine.phase_error_rad, points)
    apart = np.stack(np.meshgrid(*[axis] * (nodes - 1), indexing="ij"), axis=-1).reshape(-1, nodes - 1)
    phases = np.insert(apart, 0, 0.0, axis=1)
    turns = np.exp(1j * phases[np.ptp(phases, axis=1) <= 2.0 * mine.phase_error_rad + 1e-12])

    def split(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        beams = (numbers / np.linalg.norm(numbers)).view(np.complex128)
        return beams[: -nodes * antennas].reshape(users, nodes, antennas), beams[-nodes * antennas :].reshape(nodes, antennas)

    def excess(numbers: np.ndarray) -> np.ndarray:
        served, lit = split(numbers)
        heard = np.abs(np.einsum("nkm,jnm->kjn", h.conj(), served) @ turns.T) ** 2
        leak = (np.abs(np.einsum("nkm,nm->kn", h.conj(), lit)) ** 2).sum(axis=1)[:, np.newaxis]
        own = np.einsum("kkp->kp", heard)
        return np.log((own + 1e-30) / (sinr * (heard.sum(axis=1) - own + leak + 1.0))).ravel()

    def reached(numbers: np.ndarray) -> float:
        return float(mine.divergence(mine.power * np.abs(np.einsum("nm,nm->n", mine.steering, split(numbers)[1])) ** 2))

    # Regularised zero forcing with random weights of the nodes, and noise; its SINR is raised first, then the divergence.
    stacked = h.transpose(1, 0, 2).reshape(users, -1) * np.repeat(random.uniform(0.3, 1.0, nodes), antennas)
    load = 10.0 ** random.uniform(-4.5, -1.5) * np.linalg.norm(stacked) ** 2 / users * np.eye(nodes * antennas)
    beams = np.linalg.solve(stacked.T @ stacked.conj() + load, stacked.T).T
    beams = beams / np.linalg.norm(beams, axis=1, keepdims=True)
    noise = random.standard_normal((2, users + 1, nodes * antennas))
    first = np.concatenate([beams, np.zeros((1, nodes * antennas))]) + 0.1 * (noise[0] + 1j * noise[1])
    point = np.append(first.ravel().view(np.float64), 0.0)
    point[-1] = excess(point[:-1]).min()
    slack = [
        {"type": "ineq", "fun": lambda x: excess(x[:-1]) - x[-1]},
        {"type": "ineq", "fun": lambda x: 0.5 - x[-1]},
    ]
    point = minimize(lambda x: -x[-1], point, constraints=slack, method="SLSQP", options={"maxiter": 300}).x[:-1]
    found = minimize(
        lambda x: -np.log(max(reached(x), 1e-300)), point / np.linalg.norm(point),
        constraints=[{"type": "ineq", "fun": excess}], method="SLSQP", options={"maxiter": 600, "ftol": 1e-11},
    )  # fmt: skip
    return reached(found.x) if excess(found.x).min() > -1e-6 else float("nan")


def _is_met_by_local_searches(nodes: int, seed: int, points: int, starts: int) -> None:
    random = np.random.default_rng(seed)
    mine = small(nodes, int(random.integers(2, 4)), 2, float(random.uniform(0.05, 0.8)), seed, layout__separation_deg=60.0)
    sinr = db_to_linear(float(random.uniform(0.0, 12.0)))
    certificate = solve_phase_exact(mine, sinr).certificate
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # steps of SLSQP that lead nowhere
        found = np.array([_local_search(mine, sinr, start, points) for start in range(starts)])
    # The grid leaves phases out, so that a search may end a little above what all phases allow.
    assert np.nanmax(found) <= certificate.dual_bound * (1.0 + 1e-3)
    assert np.nanmax(found) >= certificate.value * (1.0 - 1e-3)
    assert np.mean(found >= certificate.value * (1.0 - 1e-3)) >= 0.5


@pytest.mark.parametrize(("nodes", "seed", "points"), [(2, 0, 17), (2, 1, 17), (2, 103, 17), (3, 2, 5)])
def test_local_searches_end_at_the_exact_optimum(nodes: int, seed: int, points: int) -> None:
    _is_met_by_local_searches(nodes, seed, points, 3)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [2, 3])
def test_local_searches_end_at_the_exact_optimum_on_40_problems(nodes: int) -> None:
    for seed in range(100, 120):
        _is_met_by_local_searches(nodes, seed, 25 if nodes == 2 else 9, 6)

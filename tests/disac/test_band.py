"""Designs of 000 in a band against CVXPY, by both laws of the target's cross-section."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from disac.designs.cross import band_divergence_problem, tone_problem
from disac.designs.robust.band import (
    BandDesign,
    BandProblem,
    TangentProgram,
    proven_in_band,
    quietest_in_band,
    solve_band,
)
from disac.designs.robust.band_bounds import best_of_parts, best_of_sums
from disac.designs.robust.guards import LEMMA_1, NODE_BALLS, PHASES, STACKED_BALL, UNGUARDED, Margins
from disac.designs.robust.total_power import solve_total_power
from disac.drops.common import common_network
from disac.metrics.kld import EchoModel
from disac.metrics.worst_sinr import coherent_beam_sinr
from disac.power_limits import PER_ANTENNA, PER_NODE, TOTAL, PowerLimit
from disac.scenarios.common import CommonScenario

if TYPE_CHECKING:
    import cvxpy as cp

pytestmark = pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
"""CVXPY's solver stops a little above its tolerance on some programs. Each comparison has a tolerance of its own."""

LAWS = ("interval", "element")


def random_band(seed: int, limit: PowerLimit, law: str = "interval", *, nodes: int | None = None) -> BandProblem:
    """A small random problem: up to three nodes, three antennas, two users and three subcarriers."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 4)) if nodes is None else nodes
    antennas, users, tones = int(random.integers(2, 4)), int(random.integers(1, 3)), int(random.integers(2, 4))
    shape = (count, users, tones, antennas)
    channels = (random.standard_normal(shape) + 1j * random.standard_normal(shape)) / np.sqrt(2.0)
    steering = np.exp(2j * np.pi * random.uniform(size=(count, antennas)))
    gains = random.uniform(0.02, 0.2, (count, count))
    echoes = EchoModel(gains, np.broadcast_to(np.eye(count), (count, count, count)))
    delta = 0.1
    radius = 0.02 * np.linalg.norm(channels, axis=3)
    return BandProblem(channels, steering, echoes, 100.0, 1.0, radius, delta, limit, int(random.integers(1, 5)), law)


def posed(band: BandProblem, sinr: float) -> tuple[cp.Parameter, cp.Problem, list[cp.Expression]]:
    """CVXPY's program of a direction of the amplitudes u [L N], channels known exactly."""
    import cvxpy as cp

    nodes, users, tones, antennas = band.channels.shape
    h = band.channels * np.sqrt(band.power / band.noise_power)
    w = [[cp.Variable(nodes * antennas, complex=True) for _ in range(users)] for _ in range(tones)]
    v = [[cp.Variable(antennas, complex=True) for _ in range(nodes)] for _ in range(tones)]
    limits = []
    for tone in range(tones):
        stacked = h[:, :, tone].transpose(1, 0, 2).reshape(users, -1)
        for k in range(users):
            others = [stacked[k].conj() @ w[tone][j] for j in range(users) if j != k]
            leaks = [h[n, k, tone].conj() @ v[tone][n] for n in range(nodes)]
            own = stacked[k].conj() @ w[tone][k]
            heard = cp.hstack([cp.Constant(1.0), *others, *leaks])
            limits += [cp.imag(own) == 0, cp.real(own) >= np.sqrt(sinr) * cp.norm(heard)]
    shares = [range(nodes)] if band.limit == TOTAL else [[n] for n in range(nodes)]
    for members in shares:
        beams = [w[tone][k][n * antennas : (n + 1) * antennas] for tone in range(tones) for k in range(users) for n in members]
        beams += [v[tone][n] for tone in range(tones) for n in members]
        limits.append(cp.norm(cp.hstack(beams)) <= np.sqrt(1.0 / len(shares)))
    reached = [cp.real(band.steering[n] @ v[tone][n]) for tone in range(tones) for n in range(nodes)]
    weights = cp.Parameter(tones * nodes)
    return weights, cp.Problem(cp.Maximize(weights @ cp.hstack(reached)), limits), reached


def solved(weights: cp.Parameter, problem: cp.Problem, direction: np.ndarray) -> float:
    import cvxpy as cp

    weights.value = direction.reshape(-1)
    return float(problem.solve(solver=cp.CLARABEL, tol_gap_rel=1e-10, tol_gap_abs=1e-10, tol_feas=1e-10))


def check_total(seed: int) -> str:
    """Both laws against the best corner, each by a program of CVXPY."""
    band = random_band(seed, TOTAL)
    nodes, _, tones, _ = band.channels.shape
    sinr = float(10.0 ** np.random.default_rng(seed).uniform(-0.5, 1.5))
    weights, problem, _ = posed(band, sinr)
    corners = np.array([solved(weights, problem, own) for own in np.eye(tones * nodes)])
    for law in LAWS:
        again = replace(band, law=law)
        found = solve_band(again, UNGUARDED, sinr)
        if not np.isfinite(corners).all():
            assert found.certificate.status == "infeasible"
            assert found.prices is not None
            assert proven_in_band(again, UNGUARDED, sinr, found.prices)[0] > 1.0
            continue
        lit = band.power * corners[:, np.newaxis] ** 2 * np.eye(tones * nodes)
        best = float(again.divergence(lit.reshape(-1, tones, nodes)).max())
        assert found.certificate.status == "ok", found.certificate
        assert found.certificate.value == pytest.approx(best, rel=1e-6)
        check_kept(again, found, sinr)
    return "served" if np.isfinite(corners).all() else "refused"


def check_kept(band: BandProblem, found: BandDesign, sinr: float) -> None:
    """Divergence, service and power of the delivered signals, computed here from the signals alone; the bound proven again."""
    assert found.users is not None
    assert found.sensing is not None
    assert found.prices is not None
    lit = np.abs(np.einsum("nm,lnm->ln", band.steering, found.sensing)) ** 2
    scnr = lit @ band.echoes.gains.T
    each = band.symbols * (scnr - np.log1p(scnr)).sum()
    energy = band.symbols * scnr.sum(axis=0)
    value = float((energy - np.log1p(energy)).sum()) if band.law == "interval" else float(each)
    assert found.certificate.value == pytest.approx(value, rel=1e-9)
    for tone, (users, sensing) in enumerate(zip(found.users, found.sensing, strict=True)):
        least = coherent_beam_sinr(band.channels[:, :, tone], users, sensing, band.noise_power).min()
        assert least >= sinr * (1.0 - 1e-6)
    spent = (np.abs(found.users) ** 2).sum(axis=(0, 1, 3)) + (np.abs(found.sensing) ** 2).sum(axis=(0, 2))
    most = spent.sum() if band.limit == TOTAL else spent.max() * len(spent)
    assert most <= band.power * (1.0 + 1e-9)
    _, bound = proven_in_band(band, UNGUARDED, sinr, found.prices)
    assert value * (1.0 - 1e-9) <= bound
    assert bound <= value * (1.0 + 1e-3)


def check_nodes(seed: int) -> str:
    """Tangents agree with CVXPY; no climb by CVXPY's tangents from random starts passes the bound."""
    random = np.random.default_rng(seed)
    band = random_band(seed, PER_NODE, LAWS[seed % 2])
    sinr = float(10.0 ** random.uniform(-0.5, 1.5))
    nodes, _, tones, _ = band.channels.shape
    weights, problem, reached = posed(band, sinr)
    direction = random.uniform(0.1, 1.0, (tones, nodes))
    furthest = solved(weights, problem, direction)
    found = solve_band(band, UNGUARDED, sinr)
    if not np.isfinite(furthest):
        assert found.certificate.status == "infeasible"
        assert found.prices is not None
        assert proven_in_band(band, UNGUARDED, sinr, found.prices)[0] > 1.0
        return "refused"
    _, amplitudes = TangentProgram(band, UNGUARDED, sinr).furthest(direction)
    assert (direction * amplitudes).sum() == pytest.approx(furthest, rel=1e-6)
    assert found.certificate.status == "ok", found.certificate
    check_kept(band, found, sinr)
    for _ in range(2):
        u = random.uniform(0.1, 1.0, (tones, nodes))
        value = 0.0
        for _ in range(30):
            direction = u * band.gradient(band.power * u**2)
            solved(weights, problem, direction / np.linalg.norm(direction))
            u = np.array([own.value for own in reached]).reshape(tones, nodes).clip(0.0)
            before, value = value, float(band.divergence(band.power * u**2))
            if value <= before * (1.0 + 1e-7):
                break
        assert value <= found.certificate.dual_bound * (1.0 + 1e-7)
    return "served"


@pytest.mark.parametrize("seed", range(6))
def test_total_power_is_the_best_corner(seed: int) -> None:
    check_total(seed)


@pytest.mark.slow
def test_total_power_is_the_best_corner_on_fifty_problems() -> None:
    assert {check_total(100 + seed) for seed in range(50)} == {"served", "refused"}


@pytest.mark.parametrize("seed", range(6))
def test_limits_of_nodes_are_closed_and_no_climb_passes_the_bound(seed: int) -> None:
    check_nodes(seed)


@pytest.mark.slow
def test_limits_of_nodes_are_closed_on_fifty_problems() -> None:
    assert {check_nodes(100 + seed) for seed in range(50)} == {"served", "refused"}


@pytest.mark.parametrize("seed", [1, 4])
def test_the_simplices_of_all_prices_hold_exactly_what_covariances_reach(seed: int) -> None:
    """The reachable t are convex: ``max sum_n c_n sum_l t_{l,n}`` over covariances is that of the best prices' simplex."""
    import cvxpy as cp

    band, sinr = random_band(seed, PER_NODE, nodes=2), 3.0
    _, users, tones, antennas = band.channels.shape
    h = band.channels * np.sqrt(band.power / band.noise_power)
    served = [[cp.Variable((2 * antennas, 2 * antennas), hermitian=True) for _ in range(users)] for _ in range(tones)]
    sensing = [[cp.Variable((antennas, antennas), hermitian=True) for _ in range(2)] for _ in range(tones)]
    limits = [each >> 0 for own in (*served, *sensing) for each in own]
    powers: list[list[cp.Expression]] = [[], []]
    for tone in range(tones):
        stacked = h[:, :, tone].transpose(1, 0, 2).reshape(users, -1)
        for k in range(users):
            heard = [cp.real(stacked[k].conj() @ each @ stacked[k]) for each in served[tone]]
            leaks = [cp.real(h[n, k, tone].conj() @ sensing[tone][n] @ h[n, k, tone]) for n in range(2)]
            limits.append(heard[k] >= sinr * (sum(heard[:k] + heard[k + 1 :]) + sum(leaks) + 1.0))
        for n in range(2):
            part = slice(n * antennas, (n + 1) * antennas)
            powers[n] += [cp.real(cp.trace(each[part, part])) for each in served[tone]]
            powers[n].append(cp.real(cp.trace(sensing[tone][n])))
    limits += [sum(own) <= 0.5 for own in powers]
    direction = np.array([1.0, 0.6])
    lit = [
        direction[n] * cp.real(band.steering[n] @ sensing[tone][n] @ band.steering[n].conj())
        for tone in range(tones)
        for n in range(2)
    ]
    reached = float(
        cp.Problem(cp.Maximize(sum(lit)), limits).solve(solver=cp.CLARABEL, tol_gap_rel=1e-7, tol_gap_abs=1e-7, tol_feas=1e-7)
    )

    def claimed(log_ratio: float) -> float:
        prices = np.exp(np.array([log_ratio, -log_ratio]) / 2.0)
        service = quietest_in_band(band, UNGUARDED, sinr, prices / prices.mean())
        return (1.0 - service.share) * float((direction * service.reach).max())

    best = minimize_scalar(claimed, bounds=(-8.0, 8.0), method="bounded", options={"xatol": 1e-9})
    assert all(claimed(ratio) >= reached * (1.0 - 1e-7) for ratio in np.linspace(-3.0, 3.0, 7))
    assert float(best.fun) == pytest.approx(reached, rel=1e-5)


@pytest.mark.parametrize("margins", [LEMMA_1, NODE_BALLS, STACKED_BALL, PHASES], ids=["lemma1", "node", "stacked", "phases"])
@pytest.mark.parametrize("limit", [TOTAL, PER_NODE], ids=["total", "nodes"])
def test_margins_are_closed_too(margins: Margins, limit: PowerLimit) -> None:
    band = random_band(3, limit, "element", nodes=2)
    found = solve_band(band, margins, 2.0)
    assert found.certificate.status == "ok", found.certificate
    assert found.prices is not None
    _, bound = proven_in_band(band, margins, 2.0, found.prices)
    assert found.certificate.value <= bound * (1.0 + 1e-9)
    assert bound <= found.certificate.value * (1.0 + 1e-3)
    exact = solve_band(band, UNGUARDED, 2.0)
    assert found.certificate.value <= exact.certificate.dual_bound * (1.0 + 1e-9)


def test_a_band_of_one_subcarrier_is_the_design_of_one_subcarrier() -> None:
    network = common_network(CommonScenario(node_count=3, antennas=4, bandwidth_hz=1.25e6))
    network = replace(network, channels=network.channels[:, :, :1])
    band = band_divergence_problem(network, TOTAL, "element")
    one = solve_total_power(tone_problem(network, 0, TOTAL), PHASES, 10.0)
    assert solve_band(band, PHASES, 10.0).certificate.value == pytest.approx(band.symbols * one.certificate.value, rel=1e-7)


def test_the_free_split_gains_over_equal_shares() -> None:
    """At equal power the band's design is at least that of equal shares on every subcarrier."""
    network = common_network(CommonScenario(node_count=2, antennas=4, bandwidth_hz=5e6, subcarrier_spacing_hz=1.25e6))
    band = band_divergence_problem(network, TOTAL, "element")
    shares = [solve_total_power(tone_problem(network, tone, TOTAL), UNGUARDED, 10.0) for tone in range(4)]
    equal = band.symbols * sum(each.certificate.value for each in shares)
    assert solve_band(band, UNGUARDED, 10.0).certificate.value > 1.5 * equal


def test_a_silent_user_and_an_impossible_target_are_refused_with_a_proof() -> None:
    band = random_band(0, TOTAL, nodes=2)
    silent = band.channels.copy()
    silent[:, 0, 1] = 0.0
    refused = solve_band(replace(band, channels=silent), UNGUARDED, 1.0)
    assert refused.certificate.status == "infeasible"
    assert "user 0" in refused.certificate.message
    assert "subcarrier 1" in refused.certificate.message
    for limit in (TOTAL, PER_NODE):
        hard = replace(band, limit=limit)
        refused = solve_band(hard, PHASES, 1e6)
        assert refused.certificate.status == "infeasible"
        assert refused.least_power > 1.0
        assert refused.prices is not None
        assert proven_in_band(hard, PHASES, 1e6, refused.prices)[0] > 1.0


def test_limits_of_antennas_are_refused() -> None:
    with pytest.raises(ValueError, match="per-antenna"):
        random_band(0, PER_ANTENNA)


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_bounds_stand_above_every_powers_within_the_simplices(seed: int) -> None:
    """Random powers within random simplices: neither law exceeds its bound. Splitting finer never raises a bound."""
    random = np.random.default_rng(seed)
    nodes, tones, count = int(random.integers(1, 4)), int(random.integers(1, 4)), int(random.integers(1, 5))
    simplices = [(float(random.uniform(0.0, 0.5)), random.uniform(0.2, 2.0, (tones, nodes))) for _ in range(count)]

    def divergence(powers: np.ndarray) -> np.ndarray:
        return powers.sum(axis=-1) - np.log1p(powers.sum(axis=-1))

    corner, _, sums = best_of_sums(simplices, divergence)
    _, _, coarse = best_of_parts(simplices, divergence)
    _, _, fine = best_of_parts(simplices, divergence, 20)
    assert fine <= coarse * (1.0 + 1e-9)
    assert fine <= sums * (1.0 + 1e-6)
    assert float(divergence(corner.sum(axis=0))) == pytest.approx(sums, rel=1e-3)
    for _ in range(50):
        powers = random.exponential(size=(tones, nodes)) * (random.uniform(size=(tones, nodes)) < 0.6)
        left = min((1.0 - share) / max(float((powers / reach).sum()), 1e-12) for share, reach in simplices)
        powers *= left
        assert float(divergence(powers.sum(axis=0))) <= sums * (1.0 + 1e-6) + 1e-12
        assert float(divergence(powers).sum()) <= fine * (1.0 + 1e-6) + 1e-12


def test_a_region_in_which_no_power_is_worth_its_price_has_a_bound() -> None:
    """On this drop a region of the second law has nothing to choose from: its program has no columns."""
    scenario = CommonScenario(
        shared_antennas=16,
        subcarrier_spacing_hz=1.25e6,
        phase_bound_rad=0.05,
        target_radius_m=15.0,
        sinr_db=20.0,
        realisation=1,
    )
    band = band_divergence_problem(common_network(scenario), PER_NODE, "element")
    found = solve_band(band, UNGUARDED, 100.0)
    assert found.certificate.status == "ok", found.certificate
    check_kept(band, found, 100.0)

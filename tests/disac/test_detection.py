"""Divergence, cross-sections, detection and the search for worst errors, each against something independent."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import gamma, ncx2

from disac.designs.robust.angle_boxes import (
    boundary_angles,
    covering_beam,
    covering_reach,
    proven_covering,
    solve_max_min,
)
from disac.designs.robust.angle_cover import least_divergence
from disac.designs.robust.choices import robustness
from disac.designs.robust.guards import LEMMA_1, NODE_BALLS, PHASES, UNGUARDED, Margins, guard_of
from disac.designs.robust.limited_power import solve_with_outer_bound
from disac.designs.robust.of_drop import robust_problem
from disac.designs.robust.total_power import solve_total_power
from disac.drops.clutter import disturbance_covariance, whitened_gain
from disac.experiments.robust_tradeoff import Options
from disac.metrics.detection import (
    PAPER_THRESHOLD,
    detection_error,
    detection_probability,
    draw_echoes,
    false_alarm_rate,
    threshold_for,
)
from disac.metrics.kld import EchoModel, block_divergence, gaussian_divergence
from disac.metrics.worst_sinr import coherent_beam_sinr, trust_region, worst_sinr_in_balls, worst_sinr_under_phases
from disac.power_limits import PER_NODE
from disac.rcs import bistatic_factor, correlation, lobed_profile, mean_amplitude, square_amplitudes
from tests.disac.robust_cases import array, drop, load, problem


def test_the_divergence_is_that_of_the_covariances() -> None:
    """The scalar form against the literal log-determinants (28) of 000, with coloured clutter."""
    case = load("case_03")
    told, given = case["outputs"]["random_beams"], case["inputs"]
    still, a_r, a_t, w = array(given["R0"]), array(given["a_r"]), array(given["a_t"]), array(told["ws"])
    gains = (1 - 2 * given["delta"]) ** 2 * np.array(given["L2"]) * (np.array(given["mu"]) ** 2 + np.array(given["nu2"]))
    t = np.abs(np.einsum("nm,nm->n", a_t, w)) ** 2
    present = still + np.einsum("n,na,nb->nab", gains @ t, a_r, a_r.conj())
    assert gaussian_divergence(still, present).sum() == pytest.approx(told["kld"], rel=1e-9)
    np.testing.assert_allclose(whitened_gain(a_r, still), case["outputs"]["q_rx"], rtol=1e-12)


def test_the_whole_covariance_counts_what_the_blocks_drop() -> None:
    random = np.random.default_rng(1)
    gains, t = random.uniform(0.1, 1.0, (3, 3)), random.uniform(0.0, 2.0, 3)
    # One transmitter and links that fluctuate as one: the covariance has rank one.
    common = EchoModel(gains, correlation(1.0, 3, common=True), full=True)
    alone = np.array([0.0, t[1], 0.0])
    assert common.divergence(alone) == pytest.approx(block_divergence(common.scnr(alone).sum()), rel=1e-12)
    # Links without anything in common: the blocks are the whole.
    apart = EchoModel(gains, np.broadcast_to(np.eye(3), (3, 3, 3)).copy(), full=True)
    assert apart.divergence(t) == pytest.approx(float(apart.block(t)), rel=1e-12)
    # Against the literal form, link by link.
    part = EchoModel(gains, correlation(4.0, 3, common=False), full=True)
    shared = float(mean_amplitude(1.0, 4.0)) ** 2
    covariance = np.zeros((3, 3))
    for m, i, j in itertools.product(range(3), repeat=3):
        covariance[i, j] += t[m] * np.sqrt(gains[i, m] * gains[j, m]) * (1.0 if i == j else shared)
    literal = gaussian_divergence(np.eye(3, dtype=complex), np.eye(3) + covariance)
    assert part.divergence(t) == pytest.approx(float(literal), rel=1e-12)


@pytest.mark.parametrize("full", [False, True])
def test_the_gradient_of_the_divergence(full: bool) -> None:
    random = np.random.default_rng(2)
    model = EchoModel(random.uniform(0.1, 1.0, (4, 4)), correlation(2.0, 4, common=False), full)
    t, step = random.uniform(0.5, 2.0, 4), 1e-6
    numeric = [(model.divergence(t + step * e) - model.divergence(t - step * e)) / (2 * step) for e in np.eye(4)]
    np.testing.assert_allclose(model.gradient(t), numeric, rtol=1e-7)


def test_the_profile_has_mean_one_and_its_swing() -> None:
    around = np.linspace(0.0, 2 * np.pi, 2000, endpoint=False)
    for swing in (0.0, 6.0, 12.0, 20.0):
        profile = lobed_profile(around, swing, 0.3)
        assert profile.mean() == pytest.approx(1.0, rel=1e-12)
        assert 10 * np.log10(lobed_profile(0.3, swing, 0.3) / lobed_profile(0.3 + np.pi / 2, swing, 0.3)) == pytest.approx(
            swing
        )
    np.testing.assert_allclose(
        bistatic_factor(np.deg2rad([0.0, 120.0, 180.0, 350.0]))[0], np.cos(np.deg2rad([0, 60, 90, 5])), atol=1e-12
    )


def test_cross_sections_have_their_moments() -> None:
    random = np.random.default_rng(7)
    for shape in (1.0, 2.0, 4.0):
        squares = square_amplitudes(random, shape, (400_000,))
        error = 5.0 / np.sqrt(len(squares))
        assert squares.mean() == pytest.approx(1.0, abs=error / np.sqrt(shape))
        assert np.sqrt(squares).mean() == pytest.approx(float(mean_amplitude(1.0, shape)), abs=error)


@pytest.mark.parametrize(("nodes", "rate"), [(1, 4.5e-5), (2, 5.0e-4), (4, 1.03e-2)])
def test_the_false_alarm_rate_of_the_paper_s_threshold(nodes: int, rate: float) -> None:
    assert false_alarm_rate(PAPER_THRESHOLD, nodes) == pytest.approx(rate, rel=0.02)
    assert false_alarm_rate(PAPER_THRESHOLD, nodes) == pytest.approx(gamma.sf(10.0, nodes), rel=1e-12)
    for snapshots in (1, 100):
        eta = threshold_for(1e-3, nodes, snapshots)
        assert false_alarm_rate(eta, nodes, snapshots) == pytest.approx(1e-3, rel=1e-9)


@pytest.mark.parametrize("snapshots", [1, 100])
@pytest.mark.parametrize("law", ["chi-square", "swerling-1", "swerling-2"])
def test_detection_against_the_noncentral_distribution(law: str, snapshots: int) -> None:
    """Given the cross-sections the statistic is noncentral chi-square: shares of draws against its mean probability."""
    draws = 40_000
    echoes = draw_echoes(3, 0, law, 2, draws, snapshots, common=False)  # type: ignore[arg-type]
    gains, t = np.array([[0.5, 0.3], [0.2, 0.7]]), np.array([3.0, 5.0])
    statistics = echoes.statistics(gains, t)
    scnr = np.einsum("snm,nm,m->s", echoes.squares, gains, t)
    eta = threshold_for(1e-2, 2, snapshots)
    exact = ncx2.sf(2 * snapshots * eta, 4 * snapshots, 2 * snapshots * scnr).mean()
    assert float(detection_probability(statistics, eta)) == pytest.approx(
        exact, abs=5 * np.sqrt(exact * (1 - exact) / draws) + 1e-4
    )


@pytest.mark.parametrize("snapshots", [1, 100])
def test_separated_filters_against_the_noncentral_distribution(snapshots: int) -> None:
    """Each link has a filter of its own: N^2 noises. Shares of draws against the mean of the noncentral chi-square."""
    draws = 40_000
    echoes = draw_echoes(3, 0, "swerling-1", 2, draws, snapshots, common=False, separated=True)
    assert echoes.filters == 4
    gains, t = np.array([[0.5, 0.3], [0.2, 0.7]]), np.array([3.0, 5.0])
    statistics = echoes.statistics(gains, t)
    scnr = np.einsum("snm,nm,m->s", echoes.squares, gains, t)
    eta = threshold_for(1e-2, 4, snapshots)
    exact = ncx2.sf(2 * snapshots * eta, 8 * snapshots, 2 * snapshots * scnr).mean()
    found = float(detection_probability(statistics, eta))
    assert found == pytest.approx(exact, abs=5 * float(detection_error(exact, draws)))
    joint = draw_echoes(3, 0, "swerling-1", 2, draws, snapshots, common=False)
    np.testing.assert_array_equal(echoes.squares, joint.squares)
    silent = float((echoes.statistics(gains, 0 * t) >= eta).mean())
    assert silent == pytest.approx(1e-2, abs=5 * float(detection_error(np.array(1e-2), draws)))


def test_separated_filters_ask_for_a_higher_threshold() -> None:
    for nodes in (2, 4):
        shift_db = 10 * np.log10(threshold_for(1e-3, nodes**2) / threshold_for(1e-3, nodes))
        assert 1.0 < shift_db < 4.0
    assert threshold_for(1e-3, 1) == pytest.approx(-np.log(1e-3))


def test_the_error_of_a_share_is_the_spread_of_repeated_shares() -> None:
    shares = np.random.default_rng(1).binomial(400, 0.3, 4000) / 400
    assert shares.std() == pytest.approx(float(detection_error(np.array(0.3), 400)), rel=0.05)
    assert detection_error(np.array([0.0, 1.0]), 10).tolist() == [0.0, 0.0]


def test_draws_of_two_nodes_are_among_those_of_three() -> None:
    small, large = (draw_echoes(1, 4, "swerling-1", n, 50, 100, common=False) for n in (2, 3))
    np.testing.assert_array_equal(large.squares[:, :2, :2], small.squares)
    np.testing.assert_array_equal(large.noise[:, :2], small.noise)
    np.testing.assert_array_equal(large.rest[:, :2], small.rest)


def test_drops_contain_smaller_drops() -> None:
    small = drop(layout__node_count=2, layout__user_count=2, layout__separation_deg=90.0)
    large = drop(layout__node_count=2, layout__user_count=3, layout__separation_deg=90.0)
    np.testing.assert_array_equal(large.channels[:, :2], small.channels)
    assert np.abs(np.abs(small.channels[..., 0]) ** 2).mean() < 10
    np.testing.assert_allclose(small.target_angles_rad, 0.0, atol=1e-12)


def test_clutter_takes_gain_where_it_comes_from() -> None:
    angles = np.array([[0.3, -0.4]])
    disturbance = disturbance_covariance(angles, np.array([10.0, 5.0]), 8)
    from disac.arrays import steering_vector

    at, off = (whitened_gain(steering_vector(np.array([a]), 8), disturbance)[0] for a in (0.3, 0.9))
    assert at < 0.2 * off <= 8.0


def test_the_trust_region_is_as_good_as_any_point() -> None:
    random = np.random.default_rng(4)
    a = random.standard_normal((6, 3, 3)) + 1j * random.standard_normal((6, 3, 3))
    a = a + a.conj().swapaxes(1, 2)
    b = random.standard_normal((6, 3)) + 1j * random.standard_normal((6, 3))
    b[5] = 0.0  # the hard case

    def value(e: np.ndarray) -> np.ndarray:
        return np.real(np.einsum("...i,...ij,...j->...", e.conj(), a, e) + 2 * np.einsum("...i,...i->...", b.conj(), e))

    found = trust_region(a, b, 0.8)
    assert (np.linalg.norm(found, axis=1) <= 0.8 * (1 + 1e-9)).all()
    tried = random.standard_normal((200_000, 1, 3)) + 1j * random.standard_normal((200_000, 1, 3))
    tried = 0.8 * tried / np.linalg.norm(tried, axis=-1, keepdims=True) * random.random((200_000, 1, 1)) ** (1 / 6)
    best = np.array([value(np.broadcast_to(t, (6, 3))) for t in tried[:2000]]).min(axis=0)
    assert (value(found) <= best + 1e-9).all()
    assert value(found)[5] == pytest.approx(0.64 * np.linalg.eigvalsh(a[5])[0], rel=1e-6)


def test_searches_find_no_less_than_random_errors() -> None:
    mine = problem(layout__node_count=2, uncertainty__delta_rad=0.1)
    beams = solve_total_power(mine, UNGUARDED, 10.0).beams
    assert beams is not None
    heard = (beams.users, beams.sensing, mine.noise_power)
    random = np.random.default_rng(8)
    errors = random.standard_normal((2000, *mine.channels.shape)) + 1j * random.standard_normal((2000, *mine.channels.shape))
    errors *= 0.1 / np.linalg.norm(errors, axis=-1, keepdims=True)
    sampled = coherent_beam_sinr(mine.channels + errors, *heard).min(axis=0)
    ball = worst_sinr_in_balls(mine.channels, *heard, mine.ball_radius, stacked=False)
    stacked = worst_sinr_in_balls(mine.channels, *heard, mine.ball_radius, stacked=True)
    assert (ball <= sampled).all()
    assert (stacked <= ball * (1 + 1e-9)).all()
    phases = random.uniform(-0.1, 0.1, (5000, 2))
    turned = mine.channels * np.exp(1j * phases)[:, :, np.newaxis, np.newaxis]
    sampled = coherent_beam_sinr(turned, *heard).min(axis=0)
    found = worst_sinr_under_phases(mine.channels, *heard, 0.1)
    assert (found <= sampled).all()
    assert (found >= sampled * 0.9).all()


def test_steering_to_a_boundary_is_worse_than_ignoring_the_box() -> None:
    """(36) of 000 picks the angles before the beams, which then miss most of the box; max-min beams cover it."""
    half = np.deg2rad(2.0)
    least = []
    for realisation in range(3):
        here = drop(layout__separation_deg=120.0, channel__realisation=realisation, service__sinr_db=20.0)
        mine = robust_problem(here)
        moved = robust_problem(here, angles_rad=boundary_angles(here, half))
        beams = [solve_total_power(each, LEMMA_1, 100.0).beams for each in (mine, moved)]
        spread = [np.einsum("na,nb->nab", b.sensing, b.sensing.conj()) for b in beams if b is not None]
        covering = solve_max_min(here, mine, LEMMA_1, 100.0, half)
        assert covering.certificate.worst_violation <= 1e-9
        assert covering.sensing is not None
        assert least_divergence(here, covering.sensing, half)[0] == pytest.approx(covering.certificate.value)
        least.append([*(least_divergence(here, s, half)[0] for s in spread), covering.certificate.value])
    nominal, paper, max_min = np.mean(least, axis=0)
    assert paper < 0.8 * nominal
    assert max_min > nominal


@pytest.mark.parametrize("margins", [UNGUARDED, NODE_BALLS], ids=["none", "norm-ball"])
def test_covering_beams_attain_their_bound(margins: Margins) -> None:
    """And so does the power that they put on their angles, computed from themselves."""
    here = drop(layout__separation_deg=120.0, uncertainty__delta_rad=0.03)
    mine = robust_problem(here)
    q, guard = solve_total_power(mine, margins, 100.0).user_dual, guard_of(mine, margins)
    assert q is not None
    line = np.deg2rad(np.linspace(-3.0, 3.0, 9))
    for node in range(2):
        responses = here.steering(here.target_angles_rad[node] + line).conj()
        beam = covering_beam(mine, guard, q, node, line, responses)
        w, h, r = beam.covariance, mine.scaled_channels[node], guard.sensing_radius[node]
        leaks = np.real(np.einsum("ka,ab,kb->k", h.conj(), w, h)) + 2 * r * np.linalg.norm(w @ h.T, axis=0)
        trace = float(np.real(np.trace(w)))
        assert trace + float(q @ (leaks + r**2 * trace)) == pytest.approx(1.0, rel=1e-9)
        reached = np.real(np.einsum("ga,ab,gb->g", responses.conj(), w, responses)).min()
        angles, shares = np.tile(line, (2, 1)), np.tile(beam.shares, (2, 1))
        errors = np.tile(beam.errors, (2, 1, 1))
        bound = covering_reach(mine, here, guard, q, np.ones((2, 9)), angles, shares, errors)[node]
        assert bound * (1 - 1e-5) <= reached <= bound * (1 + 1e-9)


@pytest.mark.parametrize("margins", [UNGUARDED, LEMMA_1, NODE_BALLS, PHASES])
@pytest.mark.parametrize("aspect", ["transmit", "bisector"])
def test_no_design_has_a_least_divergence_above_the_proven_one(margins: Margins, aspect: str) -> None:
    """Covering reaches its bound where gains move together, and spoiled proofs bound all the same."""
    half = np.deg2rad(4.0)
    here = drop(
        layout__separation_deg=120.0, channel__realisation=2, uncertainty__delta_rad=0.05, target__lobe_swing_db=6.0,
        target__lobe_deg=30.0, target__aspect=aspect,
    )  # fmt: skip
    mine = robust_problem(here)
    design = solve_max_min(here, mine, margins, 100.0, half)
    assert design.proof is not None
    assert design.user_dual is not None
    assert -1e-9 <= design.certificate.relative_gap <= (3e-4 if aspect == "transmit" else 0.5)
    moved = robust_problem(here, angles_rad=here.target_angles_rad + 0.02)
    others = [solve_total_power(each, margins, 100.0).beams for each in (mine, moved)]
    others.append(solve_with_outer_bound(dataclasses.replace(mine, limit=PER_NODE), margins, 100.0)[0].beams)
    values = [design.certificate.value]
    for beams in others:
        assert beams is not None
        covariance = np.einsum("na,nb->nab", beams.sensing, beams.sensing.conj())
        values.append(least_divergence(here, covariance, half)[0])
    random = np.random.default_rng(6)
    for spread in (0.0, 0.1, 3.0):
        proof = design.proof * (1.0 + spread * random.standard_normal(design.proof.shape))
        least, bound = proven_covering(here, mine, margins, 100.0, half, design.user_dual, proof)
        assert least < 1.0
        assert max(values) <= bound * (1.0 + 1e-9)


def test_choices_that_do_not_go_together_are_refused() -> None:
    mine = problem(power__limit="per-node")
    with pytest.raises(ValueError, match="defined for total power only"):
        robustness("s-procedure").design(mine, 1.0)
    with pytest.raises(ValueError, match="a limit on total power"):
        robustness("norm-ball").design(mine, 1.0, "policy-iteration")
    with pytest.raises(ValueError, match="not for 'norm-ball'"):
        robustness("norm-ball").design(mine, 1.0, "reference")
    with pytest.raises(ValidationError, match="solver reference"):
        Options(robustness="phase", solver="reference")
    with pytest.raises(ValueError, match="quarter turn"):
        guard_of(problem(uncertainty__delta_rad=1.499), PHASES) and guard_of(
            type(mine)(**{**mine.__dict__, "phase_error_rad": 1.6}), PHASES
        )

"""Wrong lobes: the search against brute force, their probabilities against simulation, and coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dmimo_bound_cases import HALF, TARGETS_M, reference_network, reference_snr_m4
from scipy.stats import binomtest

from disac.metrics.access_point_terms import AccessPoints
from disac.metrics.coverage import coverage, right_lobe_map
from disac.metrics.lobe_probability import Lobes, correlated_failure, simulated_failure, strongest_lobes
from disac.metrics.lobe_search import Scene, scores
from disac.metrics.position_error_map import position_error_map_m

WAVELENGTH_M = 299_792_458.0 / 3.5e9


def close_scene(snr_db: float, seed: int = 2) -> Scene:
    """Three transmitters and three receivers with four antennas within some 30 m: the region of search is metres wide."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-30.0, 30.0, (6, 2))
    network = AccessPoints(positions, rng.uniform(0.0, 2.0 * np.pi, 6), 4, 3.5e9)
    scene = Scene(network, np.array([2.0, -3.0]), (0, 1, 2), (3, 4, 5), 1.0)
    return Scene(network, scene.target_m, (0, 1, 2), (3, 4, 5), 10.0 ** (snr_db / 10.0) / scene.snr)


def templates(scene: Scene, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of what transmitters and receivers see from points, element by element: [P, 3 * 4] each."""
    network, found = scene.network, []
    for role in (scene.transmitters, scene.receivers):
        parts = []
        for node in role:
            v = points - network.positions_m[node]
            d = np.hypot(v[:, 0], v[:, 1])
            angle = np.arctan2(v[:, 1], v[:, 0]) - network.boresights_rad[node]
            steering = np.exp(1j * np.pi * np.arange(network.antennas) * np.sin(angle)[:, np.newaxis])
            parts.append(np.exp(-2j * np.pi / WAVELENGTH_M * d)[:, np.newaxis] * steering / d[:, np.newaxis])
        stacked = np.concatenate(parts, axis=1)
        found.append(stacked / np.linalg.norm(stacked, axis=1, keepdims=True))
    return found[0], found[1]


def grid(scene: Scene, half_m: float, pitch: float) -> np.ndarray:
    line = np.arange(-half_m, half_m, pitch * WAVELENGTH_M)
    return scene.target_m + np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def test_search_finds_the_lobes_of_brute_force() -> None:
    scene = close_scene(24.0)
    points = grid(scene, 1.6, 1.0 / 14.0)
    ours = strongest_lobes(scene, gap=60.0, most=4000)
    here = templates(scene, scene.target_m[np.newaxis])
    field = np.ones(len(points))
    for all_of, own in zip(templates(scene, points), here, strict=True):
        field *= np.abs(all_of @ own[0].conj()) ** 2
    side = round(np.sqrt(len(points)))
    field = field.reshape(side, side)
    inner = field[1:-1, 1:-1]
    peak = np.ones_like(inner, dtype=bool)
    for i in (0, 1, 2):
        for j in (0, 1, 2):
            if (i, j) != (1, 1):
                peak &= inner >= field[i : side - 2 + i, j : side - 2 + j]
    places = points.reshape(side, side, 2)[1:-1, 1:-1][peak]
    gaps = scene.snr * (1.0 - inner[peak])
    wrong = (gaps < 45.0) & (np.linalg.norm(places - scene.target_m, axis=1) > WAVELENGTH_M / 4.0)
    assert wrong.sum() >= 5
    for place, gap in zip(places[wrong], gaps[wrong], strict=True):
        number = np.linalg.norm(ours.positions_m - place, axis=1).argmin()
        assert np.linalg.norm(ours.positions_m[number] - place) < WAVELENGTH_M / 8.0
        # The grid misses the top of a lobe by a little.
        assert ours.gaps[number] <= gap + 1e-6
        assert ours.gaps[number] > gap - 0.1 * scene.snr


@pytest.mark.parametrize("snr_db", [10.0, 17.0])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 0.99])
def test_failure_of_a_comparison_is_that_of_draws(snr_db: float, correlation: float) -> None:
    rng, draws = np.random.default_rng(3), 400_000
    snr = 10.0 ** (snr_db / 10.0)
    noise = (rng.standard_normal((draws, 2, 2)) @ [1.0, 1.0j]) * np.sqrt(0.5)
    right = np.sqrt(snr) + noise[:, 0]
    wrong = correlation * right + np.sqrt(1.0 - correlation**2) * noise[:, 1]
    failed = int((np.abs(wrong) > np.abs(right)).sum())
    interval = binomtest(failed, draws).proportion_ci(0.9999)
    assert interval.low <= float(correlated_failure(snr, np.array(correlation))) <= interval.high


def test_scores_are_the_fits_of_the_amplitudes() -> None:
    rng = np.random.default_rng(1)
    z = rng.standard_normal((50, 9)) + 1j * rng.standard_normal((50, 9)) + 0.7
    weights = rng.uniform(0.1, 1.0, 9)
    phase = np.exp(-1j * np.linspace(0.0, 2.0 * np.pi, 20_001))[:, np.newaxis, np.newaxis]
    turned = (z * phase).real
    free, nonnegative = (turned**2).sum(-1).max(0), (np.maximum(turned, 0.0) ** 2).sum(-1).max(0)
    np.testing.assert_allclose(scores("sign-free", z, weights)[0], free, rtol=1e-6)
    residual = z - (z @ weights)[:, np.newaxis] * weights / (weights @ weights)
    fit = (np.abs(z) ** 2).sum(-1) - (np.abs(residual) ** 2).sum(-1)
    np.testing.assert_allclose(scores("structured", z, weights)[0], fit, rtol=1e-12)
    # The phase is a local maximum from a good start: nearly always the largest.
    ratio = scores("nonnegative", z, weights)[0] / nonnegative
    assert (ratio < 1.0 + 1e-6).all()
    assert (ratio > 1.0 - 1e-6).mean() > 0.9


@pytest.mark.parametrize("amplitudes", ["structured", "nonnegative", "sign-free"])
def test_failure_of_each_lobe_is_that_of_simulation(amplitudes: Any) -> None:
    power = 15.0 if amplitudes == "sign-free" else 10.0
    scene = Scene(reference_network(), TARGETS_M[0], *HALF, reference_snr_m4(power))
    lobes = strongest_lobes(scene, amplitudes, most=20)
    assert (np.diff(lobes.failures) <= 0).all()
    for number in (0, 9):
        one = Lobes(*(part[number : number + 1] for part in (lobes.positions_m, lobes.gaps, lobes.failures)))
        simulated = simulated_failure(scene, one, np.random.default_rng(number), 4000, amplitudes)
        # Free amplitudes of weak pairs are not normal: the formula is a little large.
        widest = 2.5 if amplitudes == "nonnegative" else 1.25
        assert simulated / widest - 3e-3 <= lobes.failures[number] <= widest * simulated + 3e-3


def brute_force(scene: Scene, draws: int, seed: int) -> int:
    """Trials in which the best of all places is not on the right lobe: every sample, every place of a fine grid, refined."""
    points = grid(scene, 2.5, 1.0 / 11.0)
    sent, heard = (part.astype(np.complex64) for part in templates(scene, points))
    own_sent, own_heard = (part[0] for part in templates(scene, scene.target_m[np.newaxis]))
    rng, failed = np.random.default_rng(seed), 0
    far = np.flatnonzero(np.linalg.norm(points - scene.target_m, axis=1) > WAVELENGTH_M / 4.0)
    for _ in range(draws):
        noise = (rng.standard_normal((12, 12, 2)) @ [1.0, 1.0j]) * np.sqrt(0.5)
        seen = (np.sqrt(scene.snr) * np.outer(own_sent, own_heard) + noise).astype(np.complex64)
        score = np.abs(np.einsum("pi,pi->p", sent.conj() @ seen, heard.conj()))
        # Half a pitch takes from a peak what tells lobes apart: the best few hundred places are refined.
        best = far[np.argpartition(-score[far], 300)[:300]]
        failed += refined(scene, seen, points[best]) > refined(scene, seen, scene.target_m[np.newaxis])
    return failed


def refined(scene: Scene, seen: np.ndarray, places: np.ndarray) -> float:
    """The largest score on the lobes around some places."""
    step = WAVELENGTH_M / 22.0
    pattern = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]), axis=-1).reshape(-1, 2)
    score = np.zeros((len(places), 9))
    for _ in range(7):
        tried = places[:, np.newaxis] + step * pattern
        sent, heard = templates(scene, tried.reshape(-1, 2))
        score = np.abs(np.einsum("pi,pi->p", sent.conj() @ seen, heard.conj())).reshape(-1, 9)
        places, step = tried[np.arange(len(places)), score.argmax(axis=1)], 0.5 * step
    return float(score.max())


@pytest.mark.slow
@pytest.mark.parametrize("snr_db", [25.0, 28.0])
def test_predicted_failures_are_those_of_maximum_likelihood(snr_db: float) -> None:
    scene, draws = close_scene(snr_db), 200
    failed = brute_force(scene, draws, 7)
    lobes = strongest_lobes(scene)
    predicted = simulated_failure(scene, lobes, np.random.default_rng(1), 5000)
    share = failed / draws
    deviation = np.sqrt(max(share * (1.0 - share), 1.0 / draws) / draws)
    assert abs(predicted - share) < 0.04 + 2.0 * deviation
    assert 1.0 - lobes.right > share - 3.0 * deviation


def test_sign_free_amplitudes_have_more_lobes_and_errors_of_phases_cost() -> None:
    scene = close_scene(26.0)
    right = {kind: strongest_lobes(scene, kind) for kind in ("structured", "nonnegative", "sign-free")}  # type: ignore[arg-type]
    sums = [right[kind].failures.sum() for kind in ("structured", "nonnegative", "sign-free")]
    assert sums[0] < sums[1] < sums[2]
    worse = [strongest_lobes(scene, node_phase_std_rad=std).failures.sum() for std in (0.1, 0.3)]
    assert (np.diff([sums[0], *worse]) > 0).all()
    by_place = strongest_lobes(scene, node_position_std_m=0.3 * WAVELENGTH_M / (2.0 * np.pi))
    np.testing.assert_allclose(by_place.failures.sum(), worse[1], rtol=1e-9)


def test_phase_errors_fail_as_often_as_drawn_ones() -> None:
    # Noise is negligible: what is left is the normal law of the linearised phases.
    scene = close_scene(38.0)
    lobes = strongest_lobes(scene, node_phase_std_rad=0.35, gap=1500.0, most=6)
    rng, weights = np.random.default_rng(5), scene.amplitudes.reshape(-1)
    draws = 20_000
    phi = 0.35 * rng.standard_normal((draws, 6))
    turned = scene.amplitudes * np.exp(1j * (phi[:, :3, np.newaxis] + phi[:, np.newaxis, 3:]))
    right = scores("structured", turned.reshape(draws, -1), weights)[0]
    for number in range(2):
        c = scene.likenesses(lobes.positions_m[number : number + 1])[0] / scene.amplitudes
        there = scene.amplitudes_at(lobes.positions_m[number : number + 1]).reshape(-1)
        wrong = scores("structured", (turned * c).reshape(draws, -1), there)[0]
        share = float((wrong > right).mean())
        assert 0.4 * share < lobes.failures[number] < 2.5 * share + 1e-3


def test_coverage_counts_the_right_lobe() -> None:
    network = reference_network()
    points = np.random.default_rng(0).uniform(400.0, 600.0, (2, 2))
    limit, snr = WAVELENGTH_M / 10.0, reference_snr_m4(12.5)
    errors = position_error_map_m(network, points, *HALF, snr)
    right = right_lobe_map(network, points, *HALF, snr, errors_m=errors, limit_m=limit)
    assert ((right >= 0) & (right <= 1)).all()
    plain, counted = float(coverage(errors, limit)), float(coverage(errors, limit, right))
    assert plain == np.mean(errors <= limit)
    assert counted == pytest.approx(np.mean((errors <= limit) * right))
    assert 0 < counted < plain
    assert coverage(np.stack([errors, np.full(2, np.inf)]), limit).tolist() == [plain, 0.0]

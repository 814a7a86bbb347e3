"""Levels of fusion: bits by hand, bounds against full Fisher matrices and Monte Carlo, detection and lobes by trials."""

from __future__ import annotations

import numpy as np
import pytest
from dmimo_cases import CARRIER_HZ, deployment, energy_over_noise
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ive, ndtr
from scipy.stats import gamma, ncx2

from disac.metrics.fusion_bits import FusionLoad, bits_for
from disac.metrics.fusion_bounds import (
    WhitenedEcho,
    fused_positions,
    information_of_receivers,
    quantised_bound,
    whitened_echo,
)
from disac.metrics.fusion_detection import matched_sum, own_decisions, sum_of_squares
from disac.metrics.fusion_lobes import lobe_correlation, right_lobe_bound, wrong_lobe_chance
from disac.metrics.pair_information import PairInformation, coherent_pairs, squared_bound
from disac.metrics.quantisation import best_step, information_kept, kept_with_dither, quantised, thresholds

POINT = np.array([[430.0, 570.0]])


def scene(seed: int, senders: int, hearers: int, antennas: int, power_w: float = 1.0) -> dict[str, object]:
    """A deployment with its echo and tables at one point."""
    positions, orientations = deployment(seed, senders + hearers)
    sends = np.arange(senders + hearers) < senders
    model = {
        "antennas": antennas,
        "carrier_hz": CARRIER_HZ,
        "energy_over_noise": energy_over_noise(64, power_w, antennas=antennas),
    }
    return {
        "positions": positions,
        "orientations": orientations,
        "sends": sends,
        "model": model,
        "echo": whitened_echo(positions, orientations, sends, POINT, **model),  # type: ignore[arg-type]
        "coherent": coherent_pairs(positions, orientations, POINT, **model),  # type: ignore[arg-type]
        "noncoherent": coherent_pairs(positions, orientations, POINT, coherent=False, **model),  # type: ignore[arg-type]
    }


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)


def test_loads_are_counted() -> None:
    load = FusionLoad(transmitters=6, receivers=4, antennas=8, slots_per_transmitter=64, updates_per_s=10.0)
    assert load.raw_samples_bit_s(12) == 4 * 8 * (6 * 64) * 2 * 12 * 10
    assert load.statistics_bit_s(12) == 4 * 6 * 64 * 2 * 12 * 10
    assert load.raw_samples_bit_s(12) / load.statistics_bit_s(12) == 64 / 8
    assert load.matched_outputs_bit_s(2, 8) == 4 * 6 * 2 * 2 * 8 * 10
    assert load.maps_bit_s(40_000, 8) == 4 * 40_000 * 8 * 10
    assert load.positions_bit_s(2, 16) == 4 * 2 * 32 * 10
    assert load.positions_bit_s(2, 16, covariance_bits=8) == 4 * 2 * (32 + 24) * 10
    assert [bits_for(1000.0, step) for step in (1000.0, 1.0, 1000.0 / 1024)] == [1, 10, 10]
    with pytest.raises(ValueError, match="cannot be numbered"):
        bits_for(1.0, 0.0)


def test_known_quantisers_keep_their_known_shares() -> None:
    """One bit: 2/pi. Two and three bits at the best step for zero mean: 0.8825 and 0.9642 (Max's table of uniform steps)."""
    assert information_kept(np.zeros(1), 1.0, 1)[0] == pytest.approx(2 / np.pi, rel=1e-12)
    assert information_kept(np.zeros(1), best_step(2), 2)[0] == pytest.approx(0.8825, abs=2e-4)
    assert best_step(2) == pytest.approx(0.9957, rel=0.05)
    fine = information_kept(np.linspace(-1, 1, 5), 0.05, 8)
    assert fine == pytest.approx(kept_with_dither(0.05), rel=1e-6)
    kept = [information_kept(np.zeros(1), best_step(bits), bits)[0] for bits in range(1, 9)]
    assert np.all(np.diff(kept) > 0)
    for bits in (2, 3, 4):
        steps = best_step(bits) * np.array([0.8, 1.0, 1.25])
        assert np.argmax([information_kept(np.zeros(1), step, bits)[0] for step in steps]) == 1


@settings(max_examples=50, deadline=None)
@given(mean=st.floats(-12, 12), step=st.floats(0.02, 3.0), bits=st.integers(1, 8))
def test_the_information_of_cells_is_that_of_their_chances(mean: float, step: float, bits: int) -> None:
    inner = np.concatenate([[-np.inf], thresholds(step, bits), [np.inf]])

    def chances(m: float) -> np.ndarray:
        low, high = inner[:-1] - m, inner[1:] - m
        return np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))

    change = (chances(mean + 1e-4) - chances(mean - 1e-4)) / 2e-4
    counted = chances(mean) > 1e-250
    expected = float((change[counted] ** 2 / chances(mean)[counted]).sum())
    found = float(information_kept(np.array([mean]), step, bits)[0])
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert 0.0 <= found <= 1.0 + 1e-12


def test_cells_have_their_middles() -> None:
    values = np.array([-9.0, -1.2, -0.1, 0.1, 0.6, 9.0])
    assert quantised(values, 0.5, 2) == pytest.approx([-0.75, -0.75, -0.25, 0.25, 0.75, 0.75])


@pytest.mark.parametrize("coherent", [True, False])
def test_the_quantised_bound_is_that_of_all_unknowns_together(coherent: bool) -> None:
    """Position, phases and every amplitude: cells' chances differentiated, one matrix, inverted at once."""
    case = scene(1, 2, 3, 4)
    echo: WhitenedEcho = case["echo"]  # type: ignore[assignment]
    step, bits, pairs = 0.9, 3, 6

    def parts(theta: np.ndarray) -> np.ndarray:
        moved = whitened_echo(case["positions"], case["orientations"], case["sends"], theta[np.newaxis, :2], **case["model"])  # type: ignore[arg-type]
        turn = theta[2 + pairs :]
        phase = moved.phase[0] + (turn[0] if coherent else turn.reshape(2, 3, 1, 1))
        mean = theta[2 : 2 + pairs].reshape(2, 3, 1, 1) * np.exp(1j * phase)
        return np.sqrt(2) * np.concatenate([mean.real.ravel(), mean.imag.ravel()])

    theta = np.concatenate([POINT[0], echo.amplitude.ravel(), np.full(1 if coherent else pairs, 0.7)])
    steps = np.concatenate([[1e-5, 1e-5], 1e-5 * echo.amplitude.ravel(), np.full(len(theta) - 8, 1e-5)])
    slopes = np.stack([(parts(theta + e) - parts(theta - e)) / (2 * h) for h, e in zip(steps, np.diag(steps), strict=True)])
    weights = information_kept(parts(theta), np.sqrt(2) * step, bits)
    fisher = (slopes * weights) @ slopes.T
    scale = 1 / np.sqrt(np.diag(fisher))
    inverse = scale[:, np.newaxis] * np.linalg.inv(fisher * np.outer(scale, scale)) * scale
    found = quantised_bound(echo, bits, step=step, target_phase_rad=0.7, coherent=coherent)
    assert found.squared_m2[0] == pytest.approx(inverse[0, 0] + inverse[1, 1], rel=1e-5)


@pytest.mark.parametrize("coherent", [True, False])
def test_many_bits_lose_nothing_and_few_bits_more(coherent: bool) -> None:
    case = scene(2, 4, 4, 8)
    sends: np.ndarray = case["sends"]  # type: ignore[assignment]
    exact = PairInformation(case["coherent" if coherent else "noncoherent"], np.ones(1)).squared_bounds(sends)[0]  # type: ignore[arg-type]
    bounds = [quantised_bound(case["echo"], bits, coherent=coherent) for bits in (1, 2, 3, 4, 6, 10)]  # type: ignore[arg-type]
    squared = [float(b.squared_m2[0]) for b in bounds]
    assert np.all(np.diff(squared) < 0)
    assert exact < squared[-1] < exact * 1.0002
    assert np.all(np.diff([b.information_kept[0] for b in bounds]) > 0)
    # Weak echoes in one bit: the loss is pi/2 in squared error.
    weak = whitened_echo(
        case["positions"], case["orientations"], sends, POINT, **{**case["model"], "energy_over_noise": 1e6}  # type: ignore[arg-type,dict-item]
    )  # fmt: skip
    assert weak.amplitude.max() < 0.1
    one, many = (quantised_bound(weak, bits, coherent=coherent).squared_m2[0] for bits in (1, 8))
    assert one / many == pytest.approx(np.pi / 2, rel=5e-3)


def test_the_maximum_likelihood_of_cells_reaches_the_quantised_bound() -> None:
    """Fisher scoring on the likelihood of three-bit cells, all unknowns free, 1500 trials: within five standard errors."""
    case, rng, trials = scene(3, 2, 3, 4, power_w=2.0), np.random.default_rng(0), 1500
    echo: WhitenedEcho = case["echo"]  # type: ignore[assignment]
    step, bits, phi = 0.9, 3, 0.3
    echo_gradient = echo.gradient[0]
    inner = np.concatenate([[-np.inf], thresholds(np.sqrt(2) * step, bits), [np.inf]])
    true = echo.mean(phi)[0]
    data = true + noise(rng, (trials, *true.shape))
    cells = [np.searchsorted(inner, np.sqrt(2) * part) - 1 for part in (data.real, data.imag)]
    # Lobes are left to other tests: the phase is linear around the truth.
    theta = np.tile(np.concatenate([np.zeros(3), echo.amplitude.ravel()]), (trials, 1))
    for _ in range(6):
        phase = echo.phase[0] + phi + np.einsum("trnmi,ki->ktrnm", echo_gradient, theta[:, :2])
        phase = phase + theta[:, 2, np.newaxis, np.newaxis, np.newaxis, np.newaxis]
        unit = np.exp(1j * phase)
        size = theta[:, 3:].reshape(trials, 2, 3, 1, 1)
        slopes = np.empty((trials, *true.shape, 9), dtype=complex)
        slopes[..., :2] = (1j * size * unit)[..., np.newaxis] * echo_gradient
        slopes[..., 2] = 1j * size * unit
        slopes[..., 3:] = unit[..., np.newaxis] * np.eye(6).reshape(2, 3, 1, 1, 6)
        score, fisher = np.zeros((trials, 9)), np.zeros((trials, 9, 9))
        for cell, mean, slope in zip(cells, ((size * unit).real, (size * unit).imag), (slopes.real, slopes.imag), strict=True):
            low, high = inner[cell] - np.sqrt(2) * mean, inner[cell + 1] - np.sqrt(2) * mean
            chance = np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
            push = (
                np.sqrt(2) * (np.exp(-(low**2) / 2) - np.exp(-(high**2) / 2)) / np.sqrt(2 * np.pi) / np.maximum(chance, 1e-200)
            )
            flat = slope.reshape(trials, -1, 9)
            score += np.einsum("ke,kei->ki", push.reshape(trials, -1), flat)
            kept = 2 * information_kept(np.sqrt(2) * mean, np.sqrt(2) * step, bits).reshape(trials, -1)
            fisher += (flat * kept[..., np.newaxis]).swapaxes(1, 2) @ flat
        scale = 1 / np.sqrt(np.einsum("kii->ki", fisher))
        scaled = fisher * scale[:, :, np.newaxis] * scale[:, np.newaxis]
        theta = theta + scale * np.linalg.solve(scaled, (scale * score)[..., np.newaxis])[..., 0]
    squared = (theta[:, :2] ** 2).sum(axis=1)
    bound = quantised_bound(echo, bits, step=step, target_phase_rad=phi).squared_m2[0]
    assert abs(squared.mean() - bound) < 5 * squared.std() / np.sqrt(trials)
    assert squared.std() / np.sqrt(trials) < 0.05 * bound


def test_a_receiver_of_its_own_phase_knows_what_its_full_matrix_says() -> None:
    """Unknown position, phases of receivers and amplitudes of pairs in one matrix; so does the sum of maps."""
    case = scene(4, 3, 3, 8)
    echo: WhitenedEcho = case["echo"]  # type: ignore[assignment]
    own = information_of_receivers(case["coherent"], case["sends"])  # type: ignore[arg-type]
    total = np.zeros((5, 5))
    for r in range(3):
        slope = np.concatenate([echo.gradient[0, :, r], np.zeros((3, 8, 8, 3))], axis=-1)
        slope[..., 2 + r] = 1.0
        weight = 2 * echo.amplitude[0, :, r] ** 2
        total += np.einsum("t,tnmi,tnmj->ij", weight, slope, slope)
        alone = np.einsum("t,tnmi,tnmj->ij", weight, slope, slope)[np.ix_([0, 1, 2 + r], [0, 1, 2 + r])]
        inverse = np.linalg.inv(alone)
        assert squared_bound(own[..., r])[0] == pytest.approx(inverse[0, 0] + inverse[1, 1], rel=1e-6)
    inverse = np.linalg.inv(total)
    assert squared_bound(own.sum(axis=-1))[0] == pytest.approx(inverse[0, 0] + inverse[1, 1], rel=1e-6)


def test_levels_stand_in_their_order() -> None:
    """Statistics, maps of coherent receivers, maps of sums of squares; weighted positions lose nothing, the others do."""
    case = scene(5, 5, 4, 8)
    sends: np.ndarray = case["sends"]  # type: ignore[assignment]
    central = PairInformation(case["coherent"], np.ones(1)).squared_bounds(sends)[0]  # type: ignore[arg-type]
    own = information_of_receivers(case["coherent"], sends)  # type: ignore[arg-type]
    alone = information_of_receivers(case["noncoherent"], sends)  # type: ignore[arg-type]
    maps, sums = squared_bound(own.sum(axis=-1))[0], squared_bound(alone.sum(axis=-1))[0]
    assert central < maps < 1e-3 * sums
    noncoherent = PairInformation(case["noncoherent"], np.ones(1)).squared_bounds(sends)[0]  # type: ignore[arg-type]
    assert sums == pytest.approx(noncoherent, rel=1e-9)
    for information, best in ((own, maps), (alone, sums)):
        assert fused_positions(information)[0] == pytest.approx(best, rel=1e-9)
        assert fused_positions(information, covariances=False)[0] > best
        pitch = 3.0 * np.sqrt(best)
        rounded = fused_positions(information, pitch_m=pitch)[0]
        matrices = [np.array([[a, b], [b, c]]) for a, b, c in information[:, 0].T]
        slow = np.linalg.inv(sum(np.linalg.inv(np.linalg.inv(m) + pitch**2 / 12 * np.eye(2)) for m in matrices))
        assert rounded == pytest.approx(np.trace(slow), rel=1e-6)
    # Of one transmitter with one antenna a receiver knows nothing; weights leave it out.
    blind = np.stack([alone[:, :, 0], np.zeros((3, 1))], axis=-1)
    assert np.isinf(fused_positions(blind, covariances=False)[0])
    assert fused_positions(blind, pitch_m=1.0)[0] == pytest.approx(squared_bound(alone[:, 0, 0])[()] + 1 / 6, rel=1e-6)


def test_positions_of_receivers_reach_the_bound_of_their_fusion() -> None:
    """Each receiver maximises its own sum of squares; positions are fused by covariances, or evenly, or after rounding."""
    case, rng, trials = scene(6, 4, 3, 8, power_w=20.0), np.random.default_rng(1), 800
    echo: WhitenedEcho = case["echo"]  # type: ignore[assignment]
    model = {**case["model"]}  # type: ignore[dict-item]
    information = information_of_receivers(case["noncoherent"], case["sends"])[:, 0]  # type: ignore[arg-type]
    true = echo.mean(0.4)[0]
    data = true + noise(rng, (trials, *true.shape))
    found = np.empty((3, trials, 2))
    for r in range(3):
        matrix = np.array([[information[0, r], information[1, r]], [information[1, r], information[2, r]]])
        places = np.tile(POINT[0], (trials, 1))

        def scores(points: np.ndarray, r: int = r) -> np.ndarray:
            phase = whitened_echo(case["positions"], case["orientations"], case["sends"], points, **model).phase[:, :, r]  # type: ignore[arg-type]
            z = (data[:, :, r] * np.exp(-1j * phase)).sum(axis=(2, 3)) / 8
            return (np.abs(z) ** 2).sum(axis=1)

        for _ in range(6):
            h = 1e-3 * np.eye(2)
            gradient = np.stack([(scores(places + e) - scores(places - e)) / 2e-3 for e in h], axis=1)
            places = places + np.linalg.solve(matrix, gradient.T).T
        found[r] = places - POINT[0]
    matrices = np.moveaxis(np.array([[information[0], information[1]], [information[1], information[2]]]), -1, 0)
    pitch = 2.0 * float(np.sqrt(fused_positions(information[:, np.newaxis])[0]))
    rounded = pitch * np.round((found + POINT[0]) / pitch) - POINT[0]
    for estimates, step in ((found, 0.0), (rounded, pitch)):
        weights = np.linalg.inv(np.linalg.inv(matrices) + step**2 / 12 * np.eye(2))
        fused = np.linalg.solve(weights.sum(axis=0), np.einsum("rij,rkj->ik", weights, estimates)).T
        squared = (fused**2).sum(axis=1)
        expected = fused_positions(information[:, np.newaxis], pitch_m=step)[0]
        assert abs(squared.mean() - expected) < 5 * squared.std() / np.sqrt(trials)
    even = (found.mean(axis=0) ** 2).sum(axis=1)
    expected = fused_positions(information[:, np.newaxis], covariances=False)[0]
    assert abs(even.mean() - expected) < 5 * even.std() / np.sqrt(trials)
    assert even.mean() > 1.05 * fused_positions(information[:, np.newaxis])[0]


def test_detection_is_that_of_trials() -> None:
    """20000 draws per level at one false-alarm probability: every share within five standard errors."""
    rng, trials, alarm = np.random.default_rng(2), 20_000, 0.02
    snr = np.array([[2.0, 0.5, 1.0], [1.0, 0.2, 3.0]])
    for present in (0.0, 1.0):
        z = np.sqrt(present * snr) + noise(rng, (trials, 2, 3))
        silent = noise(np.random.default_rng(3), (200_000, 2, 3))
        weights = np.sqrt(snr) / np.sqrt(snr.sum())
        statistics = {
            "squares": ((np.abs(v) ** 2).sum(axis=(1, 2)) for v in (z, silent)),
            "matched": (np.abs((weights * v).sum(axis=(1, 2))) ** 2 for v in (z, silent)),
        }
        expected = {
            "squares": sum_of_squares(present * snr.sum(), 6, alarm),
            "matched": matched_sum(present * snr.sum(), alarm),
        }
        for name, (seen, empty) in statistics.items():
            share = (seen > np.quantile(empty, 1 - alarm)).mean()
            assert abs(share - expected[name]) < 5 * np.sqrt(expected[name] * (1 - expected[name]) / trials) + 1e-3
        for least in (1, 2, 3):
            p = own_decisions(present * snr.sum(axis=0), 2, alarm, least)
            assert p.shape == ()
            # The threshold of a single receiver by bisection on the binomial tail.
            low, high = 0.0, 1.0
            for _ in range(60):
                q = (low + high) / 2
                tail = {1: 1 - (1 - q) ** 3, 2: 3 * q**2 * (1 - q) + q**3, 3: q**3}[least]
                low, high = (q, high) if tail < alarm else (low, q)
            cut = np.quantile((np.abs(silent[:, :, 0]) ** 2).sum(axis=1), 1 - low)
            share = (((np.abs(z) ** 2).sum(axis=1) > cut).sum(axis=1) >= least).mean()
            assert abs(share - p) < 5 * np.sqrt(p * (1 - p) / trials) + 3e-3
    with pytest.raises(ValueError, match="4 of 3 receivers"):
        own_decisions(np.ones(3), 2, 0.1, 4)


def test_fused_detection_beats_single_decisions() -> None:
    snr = np.array([1.5, 4.0, 2.0, 0.5])
    central = sum_of_squares(snr.sum(), 16, 1e-6)
    assert all(own_decisions(snr * 3, 4, 1e-6, least) < sum_of_squares(3 * snr.sum(), 16, 1e-6) for least in (1, 2, 3, 4))
    assert central < matched_sum(snr.sum(), 1e-6)


@settings(max_examples=40, deadline=None)
@given(snr=st.floats(0.5, 300.0), correlation=st.floats(0.0, 0.999))
def test_one_block_has_the_formula_of_two_correlated_signals(snr: float, correlation: float) -> None:
    """Marcum's function and a Bessel function, as for noncoherent detection of two signals."""
    s = np.sqrt(1 - correlation**2)
    a, b = np.sqrt(snr / 2 * (1 - s)), np.sqrt(snr / 2 * (1 + s))
    expected = ncx2.sf(b * b, 2, a * a) - 0.5 * np.exp(-((a - b) ** 2) / 2) * ive(0, a * b)
    # The difference of two nearly equal numbers loses digits, ours does not.
    assert float(wrong_lobe_chance(np.array([snr]), np.array([correlation]))) == pytest.approx(expected, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("network", [True, False])
def test_wrong_lobes_win_as_often_as_in_trials(network: bool) -> None:
    """Scores of a right and two wrong places from the same noise, 200000 draws."""
    rng, trials = np.random.default_rng(4), 200_000
    snr = rng.uniform(0.3, 1.5, (3, 4))
    # Amplitudes of the radar equation are a product of one factor per access point; weights are the amplitudes.
    turn = np.stack([rng.normal(0, 0.6, (3, 4)), rng.uniform(-np.pi, np.pi, (3, 4))])
    z = np.sqrt(snr) * np.exp(0.9j) + noise(rng, (trials, 3, 4))

    def score(turned: np.ndarray) -> np.ndarray:
        summed = np.sqrt(snr) * z * np.exp(-1j * turned)
        if network:
            return np.abs(summed.sum(axis=(1, 2))) ** 2 / snr.sum()
        return (np.abs(summed.sum(axis=1)) ** 2 / snr.sum(axis=0)).sum(axis=1)

    right = score(np.zeros((3, 4)))
    chances = wrong_lobe_chance(*lobe_correlation(snr, turn, network=network))
    assert chances.shape == (2,)
    shares = [(score(t) > right).mean() for t in turn]
    for share, chance in zip(shares, chances, strict=True):
        assert abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / trials)
    assert min(shares) > 1e-3
    best = ((score(turn[0]) <= right) & (score(turn[1]) <= right)).mean()
    assert best >= right_lobe_bound(chances) - 5 / np.sqrt(trials)
    assert wrong_lobe_chance(np.array([5.0]), np.array([1.0])) == 0.5


@pytest.mark.parametrize("bits", [1, 2])
def test_detection_from_few_bits_is_that_of_the_information_left(bits: int) -> None:
    """An SNR scaled by the share that is kept predicts detection from quantised statistics within four points."""
    case, rng, trials, alarm = scene(7, 3, 3, 8, power_w=0.02), np.random.default_rng(6), 1500, 1e-3
    echo: WhitenedEcho = case["echo"]  # type: ignore[assignment]
    step = np.sqrt(0.5) * best_step(bits)

    def statistics(mean: np.ndarray | float) -> np.ndarray:
        data = mean + noise(rng, (trials, *echo.phase[0].shape))
        sent = quantised(data.real, step, bits) + 1j * quantised(data.imag, step, bits)
        return (np.abs((sent * np.exp(-1j * echo.phase[0])).sum(axis=(3, 4)) / 8) ** 2).sum(axis=(1, 2))

    empty = statistics(0.0)
    share = (statistics(echo.mean(0.4)[0]) * 9 / empty.mean() > gamma.isf(alarm, 9)).mean()
    kept = quantised_bound(echo, bits, step=step).information_kept[0]
    predicted = sum_of_squares(kept * echo.snr[0].sum(), 9, alarm)
    assert 0.2 < predicted < 0.95
    assert abs(share - predicted) < 0.04 + 5 * np.sqrt(predicted * (1 - predicted) / trials)
    assert predicted < sum_of_squares(echo.snr[0].sum(), 9, alarm) - 0.02

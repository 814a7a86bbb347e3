"""Tables of pairs against the echoes' Fisher information by differentiation, a reference case and published sums."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dmimo_cases import CARRIER_HZ, deployment, energy_over_noise, grid, information
from hypothesis import given, settings
from hypothesis import strategies as st

from disac.designs.dmimo.sensing_score import Coverage, MeanLog, mean_score, score_all_splits
from disac.metrics.pair_information import (
    PairInformation,
    all_splits,
    coherent_pairs,
    squared_bound,
    totals_of_all_splits,
)

CASE = Path(__file__).parents[1] / "data" / "dmimo" / "peb_1.json"


def differentiated(
    positions: np.ndarray, orientations: np.ndarray, sends: np.ndarray, point: np.ndarray, gain: float, *, coherent: bool
) -> float:
    """The squared bound from central differences of the mean, every amplitude and phase a parameter, all inverted at once."""
    antennas, wave = 8, 2 * np.pi * CARRIER_HZ / 299792458.0
    transmitters, receivers = np.flatnonzero(sends), np.flatnonzero(~sends)
    pairs = len(transmitters) * len(receivers)

    def mean(theta: np.ndarray) -> np.ndarray:
        v = positions - theta[:2]
        distance = np.hypot(*v.T)
        kappa = np.pi * np.sin(np.arctan2(v[:, 1], v[:, 0]) - orientations)
        turns = np.exp(1j * np.outer(kappa, np.arange(antennas)))
        phases = theta[2 + pairs :]
        echoes = []
        for number, (t, r) in enumerate((t, r) for t in transmitters for r in receivers):
            phase = phases[0] - wave * (distance[t] + distance[r]) if coherent else phases[number]
            echoes.append(theta[2 + number] * np.exp(1j * phase) * np.outer(turns[r], turns[t]).ravel())
        return np.concatenate(echoes)

    distance = np.hypot(*(positions - point).T)
    wavelength = 299792458.0 / CARRIER_HZ
    amplitudes = [
        np.sqrt(gain * wavelength**2 / (4 * np.pi) ** 3) / (distance[t] * distance[r]) for t in transmitters for r in receivers
    ]
    theta = np.concatenate([point, amplitudes, np.full(1 if coherent else pairs, 0.4)])
    steps = np.concatenate([[1e-5, 1e-5], 1e-4 * np.array(amplitudes), np.full(len(theta) - 2 - pairs, 1e-5)])
    columns = [(mean(theta + e) - mean(theta - e)) / (2 * h) for h, e in zip(steps, np.diag(steps), strict=True)]
    derivative = np.stack(columns, axis=1)
    fisher = 2 * np.real(derivative.conj().T @ derivative)
    scale = 1 / np.sqrt(np.diag(fisher))
    inverse = scale[:, np.newaxis] * np.linalg.inv(fisher * np.outer(scale, scale)) * scale
    return float(inverse[0, 0] + inverse[1, 1])


@pytest.mark.parametrize("coherent", [True, False])
def test_bounds_agree_with_differentiation_of_the_mean(coherent: bool) -> None:
    positions, orientations = deployment(3, 6)
    point = np.array([[431.0, 587.0]])
    gain = energy_over_noise(8, 0.1)
    entries = coherent_pairs(
        positions, orientations, point, antennas=8, carrier_hz=CARRIER_HZ, energy_over_noise=gain, coherent=coherent
    )
    pairs = PairInformation(entries, np.ones(1))
    for sends in np.array([[1, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0], [1, 0, 1, 1, 0, 1]], dtype=bool):
        expected = differentiated(positions, orientations, sends, point[0], gain, coherent=coherent)
        assert pairs.squared_bounds(sends)[0] == pytest.approx(expected, rel=1e-5)


def test_the_first_scenario_of_the_study_has_its_bounds() -> None:
    rng = np.random.default_rng(1)
    positions, orientations = rng.uniform(0, 1000, (12, 2)), rng.uniform(0, 2 * np.pi, 12)
    sends = np.arange(12) < 6
    for coherent, expected in ((True, 0.53217e-3), (False, 2.16952)):
        entries = coherent_pairs(
            positions,
            orientations,
            np.array([[420.0, 610.0]]),
            antennas=8,
            carrier_hz=CARRIER_HZ,
            energy_over_noise=energy_over_noise(64, 0.1),
            coherent=coherent,
        )
        bound = np.sqrt(PairInformation(entries, np.ones(1)).squared_bounds(sends)[0])
        assert bound == pytest.approx(expected, rel=1e-5)


def test_the_reference_case_has_its_bound() -> None:
    case = json.loads(CASE.read_text())
    given_, constants = case["inputs"], case["constants"]
    sends = np.isin(np.arange(12), given_["T"])
    for coherent, name in ((True, "peb_coh"), (False, "peb_nc")):
        entries = coherent_pairs(
            np.array(given_["P"]),
            np.array(given_["o"]),
            np.array(given_["targets"]),
            antennas=given_["N"],
            carrier_hz=constants["fc"],
            energy_over_noise=given_["L0"] * (1 - given_["rho"]) * given_["Pt_W"] / given_["N"] / constants["sigma2"],
            coherent=coherent,
        )
        bound = np.sqrt(PairInformation(entries, np.ones(1)).squared_bounds(sends)[0])
        assert bound == pytest.approx(np.ravel(case["outputs"][name])[0], rel=1e-6)


@pytest.mark.parametrize("slots", ["per-transmitter", "in-total"])
@pytest.mark.parametrize("coherent", [True, False])
@pytest.mark.parametrize("skewed", [True, False])
def test_all_splits_have_the_scores_of_each(slots: str, coherent: bool, skewed: bool) -> None:
    """Also where exchanging roles matters, and where points have unequal weights."""
    pairs = information(5, 7, 4, slots=slots, coherent=coherent)  # type: ignore[arg-type]
    if skewed:
        weights = np.linspace(1.0, 2.0, 16)
        powers = np.linspace(0.5, 2.0, 7)[:, np.newaxis]
        pairs = PairInformation(pairs.entries * powers, weights / weights.sum(), pairs.slots)
    limit = float(np.sqrt(np.median(pairs.squared_bounds(np.arange(7) < 3))))
    scores, sets = score_all_splits(pairs, limit), all_splits(7)
    assert scores.mean_log_bound[1:-1] == pytest.approx(-mean_score(MeanLog(), pairs, sets[1:-1]), rel=1e-9)
    assert scores.coverage == pytest.approx(mean_score(Coverage(limit), pairs, sets), abs=1e-12)
    assert 0.1 < scores.coverage[0b111] < 0.9
    assert np.all(np.isinf(scores.mean_log_bound[[0, -1]]))


def test_sums_by_halves_are_sums_over_pairs() -> None:
    entries = np.random.default_rng(0).uniform(size=(2, 6, 5, 5))
    entries[..., np.arange(5), np.arange(5)] = 0.0
    pairs = PairInformation(entries, np.full(2, 0.5), "in-total")
    sets = all_splits(5)
    for point, summed in totals_of_all_splits(pairs):
        for number in (1, 6, 13, 22, 30):
            t, r = np.flatnonzero(sets[number]), np.flatnonzero(~sets[number])
            direct = entries[point][:, t][:, :, r].sum(axis=(1, 2)) / len(t)
            assert summed[:, number] == pytest.approx(direct, rel=1e-12)
            assert pairs.totals(sets[number])[point] == pytest.approx(direct, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), receivers=st.integers(1, 5))
def test_sharing_a_phase_never_harms_and_roles_can_be_exchanged(seed: int, receivers: int) -> None:
    """The law of total variance (C26), and ``J(T, R) = J(R, T)`` at equal slots per transmitter."""
    sends = np.random.default_rng(seed).permutation(6) >= receivers
    bounds = information(seed, 6, 3).squared_bounds(np.stack([sends, ~sends]))
    assert np.all(bounds[0] <= information(seed, 6, 3, coherent=False).squared_bounds(sends) * (1 + 1e-9))
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-9)


def test_what_is_not_known_is_infinite() -> None:
    assert np.isinf(squared_bound(np.zeros((6, 1)))[0])
    # One direction only.
    assert np.isinf(squared_bound(np.array([[1.0], [0.0], [0.0]]))[0])
    pairs = information(1, 4, 2)
    assert np.all(np.isinf(pairs.squared_bounds(np.array([[True] * 4, [False] * 4]))))


def test_tables_that_cannot_be_meant_are_refused() -> None:
    pairs = information(1, 4, 2)
    with pytest.raises(ValueError, match="diagonal"):
        PairInformation(pairs.entries + 1.0, pairs.weights)
    with pytest.raises(ValueError, match="sum must be one"):
        PairInformation(pairs.entries, 2 * pairs.weights)
    with pytest.raises(ValueError, match=r"\[P, 3 or 6, A, A\]"):
        PairInformation(pairs.entries[:, :4], pairs.weights)
    with pytest.raises(ValueError, match="on an access point"):
        coherent_pairs(grid(2), np.zeros(4), grid(2), antennas=8, carrier_hz=CARRIER_HZ, energy_over_noise=1.0)

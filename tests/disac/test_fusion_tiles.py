"""The search that receivers share against the search over everything, on echoes and on noise."""

from __future__ import annotations

import numpy as np
import pytest
from dmimo_cases import CARRIER_HZ, deployment, energy_over_noise
from hypothesis import given, settings
from hypothesis import strategies as st

from disac.metrics.fusion_bounds import whitened_echo
from disac.metrics.fusion_tiles import search_tiles, tile_scores


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), bits=st.integers(1, 12))
def test_sharing_scores_changes_no_result(seed: int, bits: int) -> None:
    """Any outputs, weights and gradients, also with a silent receiver."""
    rng = np.random.default_rng(seed)
    outputs = (rng.normal(size=(12, 3, 4)) + 1j * rng.normal(size=(12, 3, 4))) * rng.exponential(size=(12, 1, 1))
    outputs[:, :, 0] *= seed % 2
    weights, gradients = rng.uniform(0.2, 2.0, (12, 3, 4)), rng.normal(0, 70, (12, 3, 4, 2))
    across = rng.uniform(-0.5, 0.5, 9)
    scores = np.stack([tile_scores(z, w, g, across) for z, w, g in zip(outputs, weights, gradients, strict=True)])
    found = search_tiles(outputs, weights, gradients, across, score_bits=bits)
    tile, x, y = np.unravel_index(int(scores.argmax()), scores.shape)
    assert found.tile == tile
    assert np.array_equal(found.offset_m, across[[x, y]])
    assert found.score == scores.max()
    assert 1 <= found.opened <= found.tiles == 12
    assert found.bits == 12 * 4 * bits + found.opened * 4 * 3 * 2 * 32


def test_an_echo_opens_few_tiles_and_lies_in_its_lobe() -> None:
    """Tiles of 1 m over 20 m x 20 m around a target of 30 dB: the right lobe, and a third of the outputs stay."""
    positions, orientations = deployment(1, 12)
    sends, truth = np.arange(12) < 6, np.array([430.2, 570.4])
    model = {"antennas": 8, "carrier_hz": CARRIER_HZ, "energy_over_noise": energy_over_noise(64, 0.1)}
    middles = np.stack(np.meshgrid(*(t + np.arange(-10, 10) + 0.5 for t in np.floor(truth))), axis=-1).reshape(-1, 2)
    echo = whitened_echo(positions, orientations, sends, truth[np.newaxis], **model)  # type: ignore[arg-type]
    rng = np.random.default_rng(5)
    data = echo.mean(0.8)[0]
    data = data + (rng.normal(size=data.shape) + 1j * rng.normal(size=data.shape)) / np.sqrt(2)
    templates = whitened_echo(positions, orientations, sends, middles, **model)  # type: ignore[arg-type]
    outputs = (data * np.exp(-1j * templates.phase)).sum(axis=(3, 4)) / 8
    gradients = templates.gradient.mean(axis=(3, 4))
    pitch = 0.085655 / 16
    across = np.arange(-0.5, 0.5, pitch)
    found = search_tiles(outputs, templates.amplitude, gradients, across, score_bits=14)
    assert np.linalg.norm(middles[found.tile] + found.offset_m - truth) < 0.085655 / 8
    all_outputs = found.tiles * 6 * 6 * 2 * 32
    assert found.bits < 0.7 * all_outputs
    everything = [tile_scores(*row, across).max() for row in zip(outputs, templates.amplitude, gradients, strict=True)]
    assert found.score == pytest.approx(max(everything), rel=1e-12)
    assert int(np.argmax(everything)) == found.tile

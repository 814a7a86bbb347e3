"""Closed-form position bounds: against the reference case, against the information of all samples, and what must hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dmimo_bound_cases import (
    COHERENT,
    HALF,
    NOISE_W,
    TARGETS_M,
    WAVELENGTH_M,
    as_sensing_model,
    even_covariance,
    reference_network,
    reference_snr_m4,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from disac.metrics.access_point_terms import AccessPoints
from disac.metrics.position_error_map import (
    pair_snr_m4,
    position_error_m,
    position_error_map_m,
    split_information,
    split_position_error_m,
)
from disac.metrics.structured_amplitudes import location_information, target_errors_m

PHASES: dict[str, dict[str, Any]] = {"coherent": COHERENT, "noncoherent": {}}


def test_anchors_of_the_reference_scenario() -> None:
    network, snr = reference_network(), reference_snr_m4(20.0)
    coherent = position_error_map_m(network, TARGETS_M[0], *HALF, snr)
    noncoherent = position_error_map_m(network, TARGETS_M[0], *HALF, snr, phases="noncoherent")
    np.testing.assert_allclose(coherent, 0.53217e-3, rtol=1e-5)
    np.testing.assert_allclose(noncoherent, 2.16952, rtol=2e-6)


def test_reference_case_of_raw_samples() -> None:
    case = json.loads((Path(__file__).parents[1] / "data" / "dmimo" / "peb_1.json").read_text())
    given, expected = case["inputs"], case["outputs"]
    network = AccessPoints(np.array(given["P"]), np.array(given["o"]) + np.pi, given["N"], case["constants"]["fc"])
    energy = given["L0"] * (1.0 - given["rho"]) * given["Pt_W"]
    snr = pair_snr_m4(energy, case["constants"]["lam"], given["N"], 1.0, case["constants"]["sigma2"])
    masks = np.isin(np.arange(12), given["T"])[np.newaxis]
    targets = np.array(given["targets"])
    for phases, name in (("coherent", "coh"), ("noncoherent", "nc")):
        found = split_information(network, targets, masks, snr, phases=phases)  # type: ignore[arg-type]
        xx, yy, xy = found[:, 0, 0]
        np.testing.assert_allclose([[xx, xy], [xy, yy]], expected[f"efim_{name}"], rtol=1e-6)
        np.testing.assert_allclose(position_error_m(found)[0], expected[f"peb_{name}"], rtol=1e-6)


@pytest.mark.parametrize("fields", [{}, {"bandwidth_hz": 20e6, "subcarriers": 8}], ids=["one tone", "band"])
@pytest.mark.parametrize("amplitudes", ["sign-free", "nonnegative", "structured"])
@pytest.mark.parametrize("phases", ["coherent", "noncoherent"])
@pytest.mark.parametrize("roles", [HALF, ((0, 3, 4), (3, 5)), ((2,), (7, 8, 9))], ids=["half", "both", "one"])
def test_map_is_the_bound_of_all_samples(fields: Any, amplitudes: Any, phases: Any, roles: Any) -> None:
    network, energy = reference_network(antennas=4, **fields), 3.2
    snr = pair_snr_m4(energy, WAVELENGTH_M, 4, 1.0, NOISE_W)
    for target in TARGETS_M[:, np.newaxis]:
        model = as_sensing_model(network, target, *roles, **PHASES[phases])
        covariance = even_covariance(network, np.full(len(roles[0]), energy))
        expected = target_errors_m(location_information(model, covariance, amplitudes), 1)
        found = position_error_map_m(network, target, *roles, snr, phases=phases, amplitudes=amplitudes)
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_single_pair_tells_no_more_with_phases() -> None:
    network = reference_network()
    known = position_error_map_m(network, TARGETS_M, (2,), (7,), 1e8)
    np.testing.assert_array_equal(known, position_error_map_m(network, TARGETS_M, (2,), (7,), 1e8, phases="noncoherent"))
    assert np.isfinite(known).all()


def test_transmitters_may_spend_different_energies() -> None:
    network, energies = reference_network(antennas=4), np.array([1.0, 5.0, 0.2])
    snr = np.zeros(12)
    snr[[0, 3, 4]] = pair_snr_m4(energies, WAVELENGTH_M, 4, 1.0, NOISE_W)
    model = as_sensing_model(network, TARGETS_M[:1], (0, 3, 4), (1, 2), **COHERENT)
    expected = target_errors_m(location_information(model, even_covariance(network, energies)), 1)
    np.testing.assert_allclose(position_error_map_m(network, TARGETS_M[:1], (0, 3, 4), (1, 2), snr), expected, rtol=1e-9)


@pytest.mark.parametrize("phases", ["coherent", "noncoherent"])
@pytest.mark.parametrize("amplitudes", ["sign-free", "structured"])
def test_all_divisions_are_the_maps_of_each(phases: Any, amplitudes: Any) -> None:
    network, snr = reference_network(5, bandwidth_hz=5e6, subcarriers=4), reference_snr_m4(20.0)
    points = np.random.default_rng(5).uniform(0.0, 1000.0, (3001, 2))
    masks = (np.arange(1, 31)[:, np.newaxis] >> np.arange(5) & 1).astype(bool)
    every = split_position_error_m(network, points, masks, snr, phases=phases, amplitudes=amplitudes)
    for mask, found in zip(masks, every, strict=True):
        roles = tuple(np.flatnonzero(mask)), tuple(np.flatnonzero(~mask))
        alone = position_error_map_m(network, points, *roles, snr, phases=phases, amplitudes=amplitudes)
        np.testing.assert_allclose(found, alone, rtol=1e-9)
    in_total = split_position_error_m(
        network, points, masks, snr / masks.sum(axis=1, keepdims=True), phases=phases, amplitudes=amplitudes
    )  # fmt: skip
    np.testing.assert_allclose(in_total, every * np.sqrt(masks.sum(axis=1, keepdims=True)), rtol=1e-9)
    matrices = split_information(network, points, masks, snr, phases=phases, amplitudes=amplitudes)
    np.testing.assert_array_equal(position_error_m(matrices), every)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.sampled_from([1, 2, 8]), st.sampled_from([0.0, 20e6]))
def test_coherent_is_never_worse_and_roles_may_be_exchanged(seed: int, count: int, antennas: int, band: float) -> None:
    network = reference_network(count, antennas, seed, bandwidth_hz=band, subcarriers=8)
    points = np.random.default_rng(seed + 1).uniform(0.0, 1000.0, (20, 2))
    masks = (np.arange(1, 2**count - 1)[:, np.newaxis] >> np.arange(count) & 1).astype(bool)
    known = split_information(network, points, masks, 1e8)
    unknown = split_information(network, points, masks, 1e8, phases="noncoherent")
    more = known - unknown
    trace, determinant = more[0] + more[1], more[0] * more[1] - more[2] ** 2
    scale = known[0] + known[1]
    assert (trace >= -1e-9 * scale).all()
    assert (determinant >= -1e-9 * scale**2).all()
    # The last mask is the complement of the first, and so on: as many slots each way, the same information.
    np.testing.assert_allclose(known[:, ::-1], known, rtol=1e-9, atol=1e-12 * scale.max())


def test_chunks_change_no_value() -> None:
    network = reference_network()
    points = np.random.default_rng(8).uniform(0.0, 1000.0, (20_000, 2))
    whole = position_error_map_m(network, points, *HALF, 1e8)
    np.testing.assert_array_equal(
        whole.reshape(100, 200), position_error_map_m(network, points.reshape(100, 200, 2), *HALF, 1e8)
    )
    np.testing.assert_allclose(
        whole[12_345:12_350], position_error_map_m(network, points[12_345:12_350], *HALF, 1e8), rtol=1e-12
    )


def test_one_antenna_tells_nothing_without_phases() -> None:
    network = reference_network(antennas=1)
    assert np.isinf(position_error_map_m(network, TARGETS_M, *HALF, 1e8, phases="noncoherent")).all()
    assert np.isfinite(position_error_map_m(network, TARGETS_M, *HALF, 1e8)).all()


def test_a_point_at_an_access_point_and_an_empty_role_are_refused() -> None:
    network = reference_network()
    with pytest.raises(ValueError, match="at an access point"):
        position_error_map_m(network, network.positions_m[:3], *HALF, 1e8)
    with pytest.raises(ValueError, match="at an access point"):
        split_position_error_m(network, network.positions_m[:3], np.eye(12, dtype=bool), 1e8)
    with pytest.raises(ValueError, match="a transmitter and a receiver"):
        position_error_map_m(network, TARGETS_M, (0, 1), (), 1e8)

"""Residual errors of access points: closed form against the hybrid information, limits, anchors of the common scenario."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dmimo_bound_cases import HALF, NOISE_W, TARGETS_M, WAVELENGTH_M, as_sensing_model, even_covariance, reference_network

from disac.metrics.access_point_terms import AccessPoints
from disac.metrics.fisher import fisher_information, location_derivatives, location_prior, mean_derivatives
from disac.metrics.position_error_map import pair_snr_m4, position_error_map_m
from disac.metrics.residual_errors import uncertain_position_error_m
from disac.metrics.structured_amplitudes import location_information, target_errors_m

ENERGY_W = 3.2


def snr(antennas: int = 8) -> float:
    return float(pair_snr_m4(ENERGY_W, WAVELENGTH_M, antennas, 1.0, NOISE_W))


@pytest.mark.parametrize("phase_std", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("position_std", [0.0, 1e-3, 0.05])
@pytest.mark.parametrize("roles", [HALF, ((1, 2, 5), (7, 9))])
def test_closed_form_is_the_hybrid_bound(phase_std: float, position_std: float, roles: Any) -> None:
    network = reference_network(antennas=4)
    known = {"phase_std_rad": phase_std, "link_phase_std_rad": 0.0, "node_position_std_m": position_std}
    covariance = even_covariance(network, np.full(len(roles[0]), ENERGY_W))
    for target in TARGETS_M[:, np.newaxis]:
        model = as_sensing_model(network, target, *roles, **known)
        expected = target_errors_m(location_information(model, covariance), 1)
        found = uncertain_position_error_m(
            network, target, *roles, snr(4), node_phase_std_rad=phase_std, node_position_std_m=position_std
        )  # fmt: skip
        np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_limits_are_the_maps() -> None:
    network, points = reference_network(), np.random.default_rng(2).uniform(0.0, 1000.0, (50, 2))
    exact = uncertain_position_error_m(network, points, *HALF, snr())
    np.testing.assert_allclose(exact, position_error_map_m(network, points, *HALF, snr()), rtol=1e-9)
    unknown = uncertain_position_error_m(network, points, *HALF, snr(), node_phase_std_rad=np.inf)
    np.testing.assert_allclose(unknown, position_error_map_m(network, points, *HALF, snr(), phases="noncoherent"), rtol=1e-9)


def test_errors_grow_with_every_deviation_and_power_cannot_undo_displacements() -> None:
    network, target = reference_network(), TARGETS_M[:1]
    stds = [0.0, 1e-4, 1e-3, 1e-2]
    errors = [uncertain_position_error_m(network, target, *HALF, snr(), node_position_std_m=std)[0] for std in stds]
    assert (np.diff(errors) > 0).all()
    # Any unbiased weighting of twelve displacements keeps at least their mean's deviation, in each coordinate.
    for std in stds[1:]:
        strong = uncertain_position_error_m(network, target, *HALF, 1e6 * snr(), node_position_std_m=std)[0]
        assert strong >= std * np.sqrt(2.0 / 12.0)
        assert strong < 3.0 * std


def test_displacements_are_derivatives_of_the_response() -> None:
    network = reference_network(4, 2, seed=5)
    roles = ((0, 1), (2, 3))

    def responses(moved: np.ndarray) -> Any:
        return as_sensing_model(AccessPoints(moved, network.boresights_rad, 2, network.carrier_hz), TARGETS_M, *roles,
                                phase_std_rad=0.0, link_phase_std_rad=0.0, node_position_std_m=1e-3)  # fmt: skip

    model = responses(network.positions_m)
    derivatives = location_derivatives(model)
    information = fisher_information(derivatives, even_covariance(network, np.ones(2)), model.noise_power)
    assert information.shape == location_prior(model).shape
    np.testing.assert_allclose(np.diag(location_prior(model))[4:12], 1e6)
    # All nodes and all targets moved alike change no echo: the translation has no information of its own.
    shift = np.zeros(len(information))
    shift[:2] = 1.0
    shift[4:8] = 1.0
    seen = np.tensordot(shift, derivatives, axes=1)
    assert np.abs(seen).max() < 1e-9 * np.abs(derivatives[:4]).max()
    assert np.abs(mean_derivatives(model)).max() > 0


def test_anchors_of_the_common_scenario() -> None:
    bearing = np.deg2rad([0, 80, 170, 250])
    nodes = 100.0 * np.stack([np.cos(bearing), np.sin(bearing)], axis=1)
    network = AccessPoints(nodes, bearing + np.pi, 8, 3.5e9, 20e6, 64)
    noise = 1.380649e-23 * 290 * 10**0.7 * 20e6
    # Half of 100 symbols for each of two transmitters, each with half of 0.1 W.
    strength = pair_snr_m4(50 * 0.05, WAVELENGTH_M, 8, 1.0, noise / 64)
    target = np.array([12.0, -7.0])
    coherent = position_error_map_m(network, target, (0, 2), (1, 3), strength)
    unknown = position_error_map_m(network, target, (0, 2), (1, 3), strength, phases="noncoherent")
    np.testing.assert_allclose([unknown, coherent], [0.335204, 6.64473e-4], rtol=1e-5)


def test_both_roles_and_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="one role"):
        uncertain_position_error_m(reference_network(), TARGETS_M, (0, 1), (1, 2), 1e8)
    with pytest.raises(ValueError, match="no band"):
        uncertain_position_error_m(reference_network(bandwidth_hz=1e6, subcarriers=4), TARGETS_M, *HALF, 1e8)

"""Fisher information against an independent implementation and against differentiation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cases import NAMES, array, given_covariances, load, sensing_model
from hypothesis import given
from hypothesis import strategies as st

from disac.arrays import delay_vector, signal_space_coordinates, steering_derivative, steering_vector
from disac.geometry import angle_gradient, angles_rad, delay_gradient, delays_s
from disac.metrics import fisher
from disac.metrics.fisher import (
    SensingModel,
    fisher_information,
    localization_crb,
    location_derivatives,
    location_jacobian,
    mean_derivatives,
    null_vector,
)


@pytest.mark.parametrize("name", NAMES)
def test_angles_and_delays_agree_with_the_cases(name: str) -> None:
    case = load(name)
    model = sensing_model(case)
    np.testing.assert_allclose(angles_rad(model.nodes_m, model.targets_m, case["orient"]), case["theta"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(delays_s(model.nodes_m, model.targets_m), case["tau"], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_fisher_information_agrees_with_the_cases(name: str) -> None:
    case = load(name)
    model = sensing_model(case)
    ours = fisher_information(mean_derivatives(model), given_covariances(case), model.noise_power)
    theirs = np.array(case["FIM_psi"])
    scale = np.sqrt(np.outer(np.diag(theirs), np.diag(theirs)))
    # The cases store their numbers with ten digits after the point.
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["hybrid", "tof", "aoa", "tof_nui", "aoa_nui"])
def test_location_crb_agrees_with_the_cases(name: str, mode: str) -> None:
    case = load(name)
    model = sensing_model(case)
    information = fisher_information(location_derivatives(model, mode), given_covariances(case), model.noise_power)
    ours, theirs = localization_crb(information, case["K"]), case["crb_test"][mode]
    if theirs is None:
        assert np.isinf(ours)
    else:
        assert ours == pytest.approx(theirs, rel=1e-9)


def response(model: SensingModel, angle: np.ndarray, delay: np.ndarray, b: np.ndarray) -> np.ndarray:
    """H_{n,l} written out with loops, as the paper's (5) reads."""
    nodes, targets, spacing = len(angle), angle.shape[1], model.bandwidth_hz / model.subcarriers
    h = np.zeros((nodes, model.subcarriers, model.receive_antennas, nodes * model.transmit_antennas), dtype=complex)
    for n, m, k, tone in np.ndindex(nodes, nodes, targets, model.subcarriers):
        receive = np.exp(1j * np.pi * np.arange(model.receive_antennas) * np.sin(angle[n, k]))
        transmit = np.exp(1j * np.pi * np.arange(model.transmit_antennas) * np.sin(angle[m, k]))
        turn = np.exp(-2j * np.pi * spacing * tone * (delay[n, k] + delay[m, k]))
        columns = slice(m * model.transmit_antennas, (m + 1) * model.transmit_antennas)
        h[n, tone, :, columns] += b[n, m, k] * turn * np.outer(receive, transmit)
    return h


@pytest.mark.parametrize(("nodes", "targets"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_mean_derivatives_agree_with_differentiation(nodes: int, targets: int) -> None:
    random = np.random.default_rng(nodes * 10 + targets)
    model = SensingModel(
        random.uniform(-50, 50, (nodes, 2)), random.uniform(-20, 20, (targets, 2)),
        random.standard_normal((nodes, nodes, targets)) + 1j * random.standard_normal((nodes, nodes, targets)),
        3, 4, 5, 20e6, 0.01,
    )  # fmt: skip
    angle = angles_rad(model.nodes_m, model.targets_m, "origin")
    delay = delays_s(model.nodes_m, model.targets_m)
    ours = mean_derivatives(model)
    steps = [(angle, 1e-6), (delay, 1e-14)]
    number = 0
    for values, step in steps:
        for place in np.ndindex(values.shape):
            up, down = values.copy(), values.copy()
            up[place] += step
            down[place] -= step
            pair = [response(model, *((v, delay) if values is angle else (angle, v)), model.amplitudes) for v in (up, down)]
            numeric = (pair[0] - pair[1]) / (2 * step)
            np.testing.assert_allclose(ours[number], numeric, atol=1e-8 * np.abs(numeric).max())
            number += 1
    for turn in (1.0, 1j):
        for place in np.ndindex(model.amplitudes.shape):
            unit = np.zeros_like(model.amplitudes)
            unit[place] = turn
            np.testing.assert_allclose(ours[number], response(model, angle, delay, unit), atol=1e-12)
            number += 1
    assert number == len(ours)


def test_the_jacobian_agrees_with_differentiation() -> None:
    nodes, targets = np.array([[-40.0, 3.0], [25.0, -30.0]]), np.array([[1.0, 2.0], [-7.0, 9.0]])
    for k, axis in np.ndindex(2, 2):
        step = np.zeros((2, 2))
        step[k, axis] = 1e-5
        for function, gradient in (
            (lambda q: angles_rad(nodes, q, "origin"), angle_gradient),
            (lambda q: delays_s(nodes, q), delay_gradient),
        ):
            numeric = (function(targets + step) - function(targets - step)) / 2e-5
            expected = np.zeros((2, 2))
            expected[:, k] = gradient(nodes, targets)[:, k, axis]
            np.testing.assert_allclose(numeric, expected, rtol=1e-7, atol=1e-15)


def test_the_jacobian_has_the_papers_shape() -> None:
    model = sensing_model(load("case_05"))
    assert location_jacobian(model).shape == (2 + 8, 4 + 8)


def random_covariances(random: np.random.Generator, model: SensingModel) -> np.ndarray:
    size = len(model.nodes_m) * model.transmit_antennas
    factor = random.standard_normal((model.subcarriers, size, 3)) + 1j * random.standard_normal((model.subcarriers, size, 3))
    return factor @ factor.conj().swapaxes(-1, -2)


@given(seed=st.integers(0, 2**32 - 1))
def test_information_is_linear_semidefinite_and_grows_with_power(seed: int) -> None:
    random = np.random.default_rng(seed)
    model = sensing_model(load("case_05"))
    derivatives = location_derivatives(model)
    a, b = random_covariances(random, model), random_covariances(random, model)
    fa, fb, both = (fisher_information(derivatives, r, model.noise_power) for r in (a, b, a + 2 * b))
    np.testing.assert_allclose(both, fa + 2 * fb, rtol=1e-9, atol=1e-9 * np.abs(both).max())
    assert np.linalg.eigvalsh(fa / np.sqrt(np.outer(np.diag(fa), np.diag(fa))))[0] > -1e-12
    assert localization_crb(both, 1) <= localization_crb(fa, 1) * (1 + 1e-9)


@given(seed=st.integers(0, 2**32 - 1))
def test_orthogonal_signals_do_not_know_the_node_phases(seed: int) -> None:
    """Rotating a node's oscillator changes nothing when no two nodes share a covariance block (cross-paper note A1)."""
    random = np.random.default_rng(seed)
    case = load("case_05")
    model = sensing_model(case)
    covariances = random_covariances(random, model)
    antennas = model.transmit_antennas
    covariances[:, :antennas, antennas:] = covariances[:, antennas:, :antennas] = 0.0
    turned = array(case["b"]) * np.exp(1j * random.uniform(0, 2 * np.pi, 2))[np.newaxis, :, np.newaxis]
    other = SensingModel(**{**vars(model), "amplitudes": turned})
    crb = [
        localization_crb(fisher_information(location_derivatives(m), covariances, m.noise_power), 1)
        for m in (model, other)
    ]  # fmt: skip
    assert crb[0] == pytest.approx(crb[1], rel=1e-8)


@given(array_shift=st.floats(-20.0, 20.0), delay_shift=st.floats(-20.0, 20.0))
def test_the_bound_does_not_know_where_phases_are_counted_from(array_shift: float, delay_shift: float) -> None:
    """The reference of arrays and subcarriers is a phase of each link: the amplitudes, being unknown, absorb it."""
    case = load("case_05")
    model = sensing_model(case)
    spacing = model.bandwidth_hz / model.subcarriers

    def array_phase(angle: np.ndarray) -> np.ndarray:
        return np.exp(1j * np.pi * array_shift * np.sin(angle))

    def delay_phase(delay: np.ndarray) -> np.ndarray:
        return np.exp(-2j * np.pi * spacing * delay_shift * delay)

    def steering(angle: np.ndarray, elements: int) -> np.ndarray:
        return array_phase(angle)[..., np.newaxis] * steering_vector(angle, elements)

    def d_steering(angle: np.ndarray, elements: int) -> np.ndarray:
        rate = 1j * np.pi * array_shift * np.cos(angle)[..., np.newaxis]
        return rate * steering(angle, elements) + array_phase(angle)[..., np.newaxis] * steering_derivative(angle, elements)

    def delay_line(delay: np.ndarray, *rest: float) -> np.ndarray:
        return delay_phase(delay)[..., np.newaxis] * delay_vector(delay, *rest)

    def delay_rate(shifted: SensingModel) -> np.ndarray:
        return -2j * np.pi * spacing * (np.arange(shifted.subcarriers) + delay_shift)

    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    delay = delays_s(model.nodes_m, model.targets_m)
    turned = array_phase(angle)[:, np.newaxis] * array_phase(angle) * delay_phase(delay[:, np.newaxis] + delay)
    moved = dataclasses.replace(model, amplitudes=model.amplitudes / turned)
    expected = localization_crb(
        fisher_information(location_derivatives(model), given_covariances(case), model.noise_power), 1
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, function in (
            ("steering_vector", steering), ("steering_derivative", d_steering),
            ("delay_vector", delay_line),
        ):  # fmt: skip
            patch.setattr(fisher, name, function)
        patch.setattr(SensingModel, "delay_rate", property(delay_rate))
        information = fisher_information(location_derivatives(moved), given_covariances(case), model.noise_power)
    assert localization_crb(information, 1) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("elements", [1, 3, 8])
def test_signal_space_coordinates_keep_inner_products(elements: int) -> None:
    angle = np.array([[0.3, -1.1], [0.0, 0.9]])
    given = steering_vector(angle, elements), steering_derivative(angle, elements)
    found = signal_space_coordinates(*given)
    expected, ours = (np.concatenate(pair, axis=1) for pair in (given, found))
    assert ours.shape == (2, 4, min(4, elements))
    assert np.abs(ours.conj() @ ours.swapaxes(-1, -2) - expected.conj() @ expected.swapaxes(-1, -2)).max() < 1e-11


@pytest.mark.parametrize(("mode", "nodes", "subcarriers"), [("tof", 1, 5), ("tof", 2, 1), ("aoa", 1, 4)])
def test_what_cannot_be_located_has_a_null_vector(mode: str, nodes: int, subcarriers: int) -> None:
    """No covariance has information along it, and it moves a target; where targets can be located there is none."""
    case = load("case_05")
    full = sensing_model(case)
    model = dataclasses.replace(
        full, nodes_m=full.nodes_m[:nodes], amplitudes=full.amplitudes[:nodes, :nodes], subcarriers=subcarriers
    )
    derivatives = location_derivatives(model, mode)
    size, r = nodes * model.transmit_antennas, np.random.default_rng(2)
    even = np.broadcast_to(np.eye(size, dtype=complex), (subcarriers, size, size))
    found = null_vector(fisher_information(derivatives, even, model.noise_power), 1)
    assert found is not None
    assert np.linalg.norm(found[:2]) == pytest.approx(1.0)
    for _ in range(3):
        factor = r.standard_normal((subcarriers, size, size)) + 1j * r.standard_normal((subcarriers, size, size))
        information = fisher_information(derivatives, factor @ factor.conj().swapaxes(-1, -2), model.noise_power)
        assert np.isinf(localization_crb(information, 1))
        assert abs(found @ information @ found) <= 1e-9 * (found**2 @ np.diag(information))
    known = fisher_information(location_derivatives(full), given_covariances(case), full.noise_power)
    assert null_vector(known, 1) is None


def test_a_bound_without_information_is_infinite() -> None:
    model = sensing_model(load("case_05"))
    nothing = np.zeros((model.subcarriers, 8, 8), dtype=complex)
    information = fisher_information(location_derivatives(model), nothing, model.noise_power)
    assert np.isinf(localization_crb(information, 1))

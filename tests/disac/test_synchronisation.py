"""Synchronisation priors: derivatives, averages, limits and anchors of the hybrid bound."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from cases import array, load_prior, sensing_model

from disac.arrays import baseband_hz, steering_vector
from disac.geometry import angles_rad, delays_s
from disac.metrics.fisher import (
    SensingModel,
    attenuation,
    fisher_information,
    localization_crb,
    location_derivatives,
    location_prior,
)
from disac.metrics.synchronisation import Synchronisation, clock_basis, link_phases, spread

BOLTZMANN_J_K = 1.380649e-23
SPLIT = {"transmitters": (0, 2), "receivers": (1, 3)}


def x0(carrier_hz: float = 3.5e9, split: bool = False, **known: Any) -> tuple[SensingModel, np.ndarray]:
    """The common scenario of four nodes around one target, and full isotropic power.

    100 symbols of 64 subcarriers; nodes that transmit and receive in turn have half of them, and twice the power.
    """
    bearing = np.deg2rad([0, 80, 170, 250])
    nodes, target = 100 * np.stack([np.cos(bearing), np.sin(bearing)], axis=1), np.array([[12.0, -7.0]])
    wavelength, subcarriers, antennas = 299792458.0 / carrier_hz, 64, 8
    noise = BOLTZMANN_J_K * 290 * 10**0.7 * 20e6
    distance = np.linalg.norm(nodes - target, axis=1)
    roles: dict[str, Any] = SPLIT if split else {}
    senders, hearers = roles.get("transmitters", range(4)), roles.get("receivers", range(4))
    symbols = 50 if split else 100
    amplitude = np.array([[wavelength / ((4 * np.pi) ** 1.5 * distance[n] * distance[m]) for m in senders] for n in hearers])
    phase = np.exp(2j * np.pi * np.random.default_rng(3).random(amplitude.shape))
    model = SensingModel(
        nodes, target, (np.sqrt(symbols) * amplitude * phase)[..., np.newaxis], antennas, antennas, subcarriers, 20e6, noise,
        synchronisation=Synchronisation(carrier_hz=carrier_hz, **known), **roles,
    )  # fmt: skip
    size = len(senders) * antennas
    even = 0.1 / (size * subcarriers) * np.eye(size, dtype=complex)
    return model, np.broadcast_to(even, (subcarriers, size, size))


def rcrb(model: SensingModel, covariances: np.ndarray, mode: Any = "hybrid") -> float:
    information = fisher_information(location_derivatives(model, mode), covariances * attenuation(model), model.noise_power)
    return float(np.sqrt(localization_crb(information + location_prior(model, mode), len(model.targets_m))))


def small(seed: int = 0, targets: int = 1, split: bool = False, **known: Any) -> tuple[SensingModel, np.ndarray]:
    """A small network with correlated node signals."""
    rng = np.random.default_rng(seed)
    senders, hearers = ((0, 2), (1,)) if split else ((0, 1, 2), (0, 1, 2))
    shape = (len(hearers), len(senders), targets)
    model = SensingModel(
        rng.uniform(-50, 50, (3, 2)), rng.uniform(-20, 20, (targets, 2)), rng.normal(size=shape) + 1j * rng.normal(size=shape),
        3, 4, 5, 20e6, 0.1, transmitters=senders, receivers=hearers,
        synchronisation=Synchronisation(**({"carrier_hz": 1e9} | known)),
    )  # fmt: skip
    factor = rng.normal(size=(5, 3 * len(senders), 4)) + 1j * rng.normal(size=(5, 3 * len(senders), 4))
    return model, factor @ factor.conj().swapaxes(-1, -2)


def response(model: SensingModel, position: np.ndarray, offsets: np.ndarray, log_b: np.ndarray) -> np.ndarray:
    """H_{n,l} with loops; ``log_b`` holds ln magnitude and phase of each link at the true position."""
    known = model.synchronisation
    assert known is not None
    base, truth = baseband_hz(model.subcarriers, model.bandwidth_hz), delays_s(model.nodes_m, model.targets_m)
    angle, delay = angles_rad(model.nodes_m, position, model.orientation), delays_s(model.nodes_m, position)
    h = np.zeros((len(model.receive_nodes), model.subcarriers, model.receive_antennas,
                  len(model.transmit_nodes), model.transmit_antennas), dtype=complex)  # fmt: skip
    for (r, n), (t, m) in ((a, b) for a in enumerate(model.receive_nodes) for b in enumerate(model.transmit_nodes)):
        for k in range(len(position)):
            b = np.exp(log_b[r, t, k])
            moved = delay[n, k] + delay[m, k] - truth[n, k] - truth[m, k]
            # The amplitude is that of the first subcarrier at the true position.
            at_truth = np.exp(-2j * np.pi * (base - base[0]) * (truth[n, k] + truth[m, k]))
            turn = at_truth * np.exp(-2j * np.pi * (known.carrier_hz + base) * moved)
            turn = turn * np.exp(-2j * np.pi * base * (offsets[n] - offsets[m]))
            a_r = steering_vector(angle[n, k], model.receive_antennas)
            a_t = steering_vector(angle[m, k], model.transmit_antennas)
            h[r, :, :, t] += b * turn[:, np.newaxis, np.newaxis] * np.outer(a_r, a_t)
    return h.reshape(*h.shape[:3], -1)


@pytest.mark.parametrize("split", [False, True])
def test_derivatives_agree_with_differences(split: bool) -> None:
    model, _ = small(1, 2, split, clock_std_s=1e-9, phase_std_rad=0.0, link_phase_std_rad=0.3)
    ours = location_derivatives(model)
    log_b, clocks, basis = np.log(model.amplitudes), np.zeros(3), clock_basis(3)
    steps: list[np.ndarray] = []
    for c in range(4):
        step = np.zeros((2, 2))
        step[c % 2, c // 2] = 1e-6
        up, down = (response(model, model.targets_m + s * step, clocks, log_b) for s in (1, -1))
        steps.append((up - down) / 2e-6)
    for i in range(2):
        up, down = (response(model, model.targets_m, s * 1e-12 * basis[:, i], log_b) for s in (1, -1))
        steps.append((up - down) / 2e-12)
    for link in np.ndindex(log_b.shape):
        step = np.zeros_like(log_b)
        step[link] = 1e-6
        up, down = (response(model, model.targets_m, clocks, np.log(model.amplitudes + s * step)) for s in (1, -1))
        steps.append((up - down) / 2e-6)
    for number, theirs in enumerate(steps):
        np.testing.assert_allclose(ours[number], theirs, atol=2e-8 * np.abs(theirs).max(), err_msg=str(number))
    assert len(ours) == 4 + 2 + 2 * log_b.size
    np.testing.assert_array_equal(ours[6 + log_b.size :], 1j * ours[6 : 6 + log_b.size])


def attenuated(covariances: np.ndarray, kept: np.ndarray, antennas: int) -> np.ndarray:
    same = np.kron(np.eye(covariances.shape[1] // antennas), np.ones((antennas, antennas))) > 0
    return np.where(same, covariances, kept[:, np.newaxis, np.newaxis] * covariances)


@pytest.mark.parametrize("clock_std_s", [0.0, 5e-9])
def test_virtual_receivers_see_attenuated_covariances(clock_std_s: float) -> None:
    known = {"clock_std_s": clock_std_s, "phase_std_rad": 0.4, "link_phase_std_rad": 0.3}
    model, covariances = small(2, **known)
    kept = model.synchronisation.coherence(5, 20e6)
    assert kept[2] == pytest.approx(np.exp(-0.25))
    derivatives = location_derivatives(model)
    ours = fisher_information(spread(derivatives, kept, 3), covariances, model.noise_power)
    np.testing.assert_array_equal(attenuation(model) * covariances, attenuated(covariances, kept, 3))
    theirs = fisher_information(derivatives, attenuated(covariances, kept, 3), model.noise_power)
    scale = np.sqrt(np.outer(np.diag(theirs), np.diag(theirs)))
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-12)


def test_attenuation_is_the_mean_over_phases_and_clocks() -> None:
    """Monte Carlo over oscillators, links and clocks, in polar coordinates that turn with the phases; five deviations."""
    known = {"clock_std_s": 4e-9, "phase_std_rad": 0.5, "link_phase_std_rad": 0.4}
    model, covariances = small(3, **known)
    rng, draws = np.random.default_rng(5), 3000
    base = baseband_hz(5, 20e6)
    nominal = location_derivatives(model)
    first = len(nominal) - 2 * model.links
    magnitude = model.amplitudes.reshape(-1)[:, np.newaxis, np.newaxis, np.newaxis, np.newaxis]
    polar = np.concatenate([nominal[:first], magnitude * nominal[first : first + model.links],
                            1j * magnitude * nominal[first : first + model.links]])  # fmt: skip
    blocks = polar.reshape(*polar.shape[:4], 3, 3)
    samples = []
    for _ in range(draws):
        node, link, clock = rng.normal(0, 0.5, 3), rng.normal(0, 0.4, (3, 3)), rng.normal(0, 4e-9, 3)
        delta = node[:, np.newaxis] - node + link
        late = clock[:, np.newaxis] - clock
        turn = np.exp(1j * delta[:, np.newaxis] - 2j * np.pi * base[:, np.newaxis] * late[:, np.newaxis])
        turned = (blocks * turn[:, :, np.newaxis, :, np.newaxis]).reshape(polar.shape)
        samples.append(fisher_information(turned, covariances, model.noise_power))
    mean, spread_of = np.mean(samples, axis=0), np.std(samples, axis=0) / np.sqrt(draws)
    kept = model.synchronisation.coherence(5, 20e6)
    expected = fisher_information(polar, attenuated(covariances, kept, 3), model.noise_power)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert (np.abs(mean - expected) <= 5 * spread_of + 1e-9 * scale).all()
    # The nominal information is far from the mean: the test can fail.
    assert (np.abs(fisher_information(polar, covariances, model.noise_power) - mean) > 20 * spread_of + 1e-3 * scale).any()


ANCHORS = [
    ({"link_phase_std_rad": 1e-3}, 3.2490e-4, 6.6455e-4), ({"link_phase_std_rad": 1e-2}, 3.2889e-4, 6.7223e-4),
    ({"link_phase_std_rad": 0.1}, 5.9868e-4, 1.2063e-3), ({"link_phase_std_rad": 1.0}, 4.9899e-3, 1.0030e-2),
    ({"link_phase_std_rad": 10.0}, 4.7636e-2, 9.5857e-2), ({"link_phase_std_rad": 100.0}, 0.15562, 0.31755),
    ({"phase_std_rad": 1e-3}, 3.24856e-4, 6.6462e-4), ({"phase_std_rad": 1e-2}, 3.24856e-4, 6.7939e-4),
    ({"phase_std_rad": 0.1}, 3.24856e-4, 1.5640e-3), ({"phase_std_rad": 1.0}, 3.24856e-4, 1.4161e-2),
    ({"phase_std_rad": 10.0}, 3.24856e-4, 1.3026e-1), ({"phase_std_rad": 100.0}, 3.24856e-4, 0.3260),
]  # fmt: skip


@pytest.mark.parametrize(("known", "together", "apart"), ANCHORS)
def test_isotropic_bounds_between_coherent_and_noncoherent(known: dict[str, float], together: float, apart: float) -> None:
    """Independent values, with four digits (full duplex, and two nodes that transmit to two that receive)."""
    exact = {"phase_std_rad": 0.0, "link_phase_std_rad": 0.0} | known
    assert rcrb(*x0(**exact)) == pytest.approx(together, rel=2e-4)
    assert rcrb(*x0(split=True, **exact)) == pytest.approx(apart, rel=2e-4)


def test_limits() -> None:
    coherent, nothing = {"phase_std_rad": 0.0, "link_phase_std_rad": 0.0}, {}
    assert rcrb(*x0(**coherent)) == pytest.approx(3.248555e-4, rel=1e-6)
    assert rcrb(*x0(split=True, **coherent)) == pytest.approx(6.64473e-4, rel=1e-5)
    assert rcrb(*x0(**nothing)) == pytest.approx(0.16392, rel=1e-4)
    assert rcrb(*x0(split=True, **nothing)) == pytest.approx(0.335204, rel=1e-5)
    # Poorly known link phases: the bound of 002, at any carrier.
    for carrier_hz in (0.7e9, 3.5e9, 28e9):
        model, covariances = x0(carrier_hz)
        plain = dataclasses.replace(model, synchronisation=None)
        assert rcrb(model, covariances) == pytest.approx(rcrb(plain, covariances), rel=1e-9)
        # Links that are known a little keep the carrier among their derivatives; their phases absorb it.
        hardly, _ = x0(carrier_hz, phase_std_rad=0.0, link_phase_std_rad=1e6)
        assert rcrb(hardly, covariances) == pytest.approx(rcrb(plain, covariances), rel=1e-5)
    # Well known link phases: their limit is reached smoothly.
    near = {"phase_std_rad": 0.0, "link_phase_std_rad": 1e-6}
    assert rcrb(*x0(**near)) == pytest.approx(rcrb(*x0(**coherent)), rel=1e-6)


def test_unknown_node_phases_are_the_noncoherent_limit_only_where_roles_are_apart() -> None:
    unknown = {"phase_std_rad": np.inf, "link_phase_std_rad": 0.0}
    assert rcrb(*x0(split=True, **unknown)) == pytest.approx(rcrb(*x0(split=True)), rel=1e-8)
    assert rcrb(*x0(**unknown)) == pytest.approx(rcrb(*x0(phase_std_rad=0.0, link_phase_std_rad=0.0)), rel=1e-9)
    # The same by precisions of the links instead of phases that are parameters.
    floor = {"phase_std_rad": np.inf, "link_phase_std_rad": 1e-2}
    assert rcrb(*x0(split=True, **floor)) == pytest.approx(rcrb(*x0(split=True)), rel=1e-7)


@pytest.mark.parametrize(
    ("clock_std_s", "hybrid", "tof"),
    [(1e-12, 0.335204, 0.40115), (1e-10, 0.335913, None), (3e-10, 0.341443, None), (1e-9, 0.391373, 0.50549),
     (3e-9, 0.540899, None), (1e-8, 0.646323, 3.094), (1e-7, None, 30.7), (np.inf, 0.664199, None)],
)  # fmt: skip
def test_clocks(clock_std_s: float, hybrid: float | None, tof: float | None) -> None:
    model, covariances = x0(split=True, clock_std_s=clock_std_s)
    if hybrid is not None:
        assert rcrb(model, covariances) == pytest.approx(hybrid, rel=1e-5)
    if tof is not None:
        assert rcrb(model, covariances, "tof") == pytest.approx(tof, rel=1e-3)
    if np.isinf(clock_std_s):
        assert np.isinf(rcrb(model, covariances, "tof"))
    # Nodes that send and receive measure both ways: their offsets cancel.
    assert rcrb(*x0(clock_std_s=clock_std_s)) == pytest.approx(rcrb(*x0()), rel=1e-9)


def test_what_a_carrier_phase_is_worth_over_one_link() -> None:
    """One link, its phase known: ``1 + 12 (f_c/B)^2 / (1 - 1/L^2)`` times the information of the delay."""
    for carrier_hz, gain in ((3.5e9, 367590.74), (28e9, 23525745.0)):
        model, _ = x0(carrier_hz, link_phase_std_rad=0.0)
        rate = np.abs(model.delay_rate) ** 2
        centred = np.abs(model.delay_rate - model.delay_rate.mean()) ** 2
        assert rate.mean() / centred.mean() == pytest.approx(gain, rel=1e-7)
        assert gain == pytest.approx(1 + 12 * (carrier_hz / 20e6) ** 2 / (1 - 64.0**-2), rel=1e-7)


def test_precision_of_phases_is_the_inverse_of_their_covariance_without_the_targets_phase() -> None:
    known = Synchronisation(phase_std_rad=0.7, link_phase_std_rad=0.2)
    ours = known.phase_precision((0, 1, 2), (0, 2), 3, 2)
    a, o = link_phases((0, 1, 2), (0, 2), 3, 2)
    # A very wide phase of each target is no information on it.
    wide = np.linalg.inv(0.04 * np.eye(len(a)) + 0.49 * a @ a.T + 1e8 * o @ o.T)
    np.testing.assert_allclose(ours, wide, atol=1e-6 * np.abs(wide).max())
    np.testing.assert_allclose(ours @ o, 0.0, atol=1e-9)


def test_a_position_that_is_known_bounds_the_error() -> None:
    model, covariances = x0(position_std_m=0.1)
    free = rcrb(*x0())
    assert rcrb(model, covariances) < min(free, 0.1 * np.sqrt(2))
    assert rcrb(model, 0.0 * covariances + 1e-30 * covariances) == pytest.approx(0.1 * np.sqrt(2), rel=1e-6)


def test_information_agrees_with_an_independent_case() -> None:
    case = load_prior("case_pa_n2u2")
    model = dataclasses.replace(sensing_model(case), synchronisation=Synchronisation())
    base = baseband_hz(case["L"], case["B"])
    delay = delays_s(model.nodes_m, model.targets_m)
    # The case counts amplitudes at the middle of the band.
    first = array(case["b"]) * np.exp(-2j * np.pi * base[0] * (delay[:, np.newaxis] + delay))
    model = dataclasses.replace(model, amplitudes=first)
    size = case["N"] * case["Mt"]
    uniform = np.broadcast_to(np.eye(size, dtype=complex) * case["PT"] / case["L"], (case["L"], size, size))
    derivative = location_derivatives(model)
    b = first.reshape(-1, 1, 1, 1, 1)
    amplitude = b * derivative[2 : 2 + b.size]
    polar = np.concatenate([derivative[:2], amplitude, 1j * amplitude])
    ours = fisher_information(polar, uniform, model.noise_power)
    theirs = np.array(case["FIM_uniform"])
    scale = np.sqrt(np.outer(np.diag(theirs), np.diag(theirs)))
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-9)
    assert rcrb(model, uniform) ** 2 == pytest.approx(case["crb_uniform"], rel=1e-8)


def test_deviations_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="clock_std_s is -1"):
        Synchronisation(clock_std_s=-1.0)
    with pytest.raises(ValueError, match="phase_std_rad is nan"):
        Synchronisation(phase_std_rad=float("nan"))
    with pytest.raises(ValueError, match="positive deviation"):
        Synchronisation(position_std_m=0.0)

"""Position error bounds of D-MIMO drops: the closed form, sampled echoes, laws of scale, and bounds of other papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dmimo_network_cases import FIRST_TARGET_M, SECOND_TARGET_M, b0
from scipy.optimize import approx_fprime

from disac.designs.dmimo.precoding import sensing_covariance
from disac.drops.dmimo import DmimoDrop, dmimo_drop, echo_amplitudes
from disac.metrics.dmimo_position import (
    PositionBounds,
    dmimo_sensing_model,
    integrated_snr,
    phase_weights,
    position_error_bounds,
)
from disac.metrics.fisher import localization_crb
from disac.scenarios.dmimo import DmimoScenario
from disac.units import SPEED_OF_LIGHT_M_S

NONCOHERENT = {"link_phase_std_rad": None}
FIRST, LAST = tuple(range(6)), tuple(range(6, 12))


def isotropic(drop: DmimoDrop, transmitters: tuple[int, ...]) -> np.ndarray:
    """Covariance of the sensing signals, [L, M_t N, M_t N]."""
    scenario = drop.scenario
    signal, antennas = scenario.signal, scenario.arrays.antennas
    power = (1.0 - signal.communication_share) * scenario.power.transmit_w / signal.subcarriers
    one = sensing_covariance(len(transmitters), antennas, power * signal.slots_per_transmitter)
    return np.broadcast_to(one, (signal.subcarriers, *one.shape))


def peb_m(scenario: DmimoScenario, transmitters: tuple[int, ...] = FIRST, receivers: tuple[int, ...] = LAST) -> np.ndarray:
    drop = dmimo_drop(scenario)
    return PositionBounds(dmimo_sensing_model(drop, transmitters, receivers)).peb_m(isotropic(drop, transmitters))


def closed_form_m(drop: DmimoDrop, transmitters: tuple[int, ...], receivers: tuple[int, ...], *, coherent: bool) -> float:
    """One target, isotropic signals: within-pair and between-pair scatter of the gradients of the phase."""
    scenario, n = drop.scenario, drop.scenario.arrays.antennas
    wave = 2.0 * np.pi / scenario.signal.wavelength_m
    v = drop.targets_m[0] - drop.access_points_m
    d = np.hypot(v[:, 0], v[:, 1])
    theta = np.arctan2(v[:, 1], v[:, 0]) - drop.boresights_rad
    kappa = np.pi * np.cos(theta)[:, np.newaxis] * np.stack([-v[:, 1], v[:, 0]], axis=1) / d[:, np.newaxis] ** 2
    g = -wave * v / d[:, np.newaxis] + (n - 1) / 2.0 * kappa
    spread = (n**2 - 1) / 12.0 * kappa[:, :, np.newaxis] * kappa[:, np.newaxis]
    energy = float(np.real(isotropic(drop, transmitters)[0, 0, 0]))
    weights, sums, within = [], [], np.zeros((2, 2))
    for t in transmitters:
        for r in receivers:
            weight = 2.0 * np.abs(echo_amplitudes(drop)[r, t, 0]) ** 2 * energy * n**2 / drop.noise_w
            weights.append(weight)
            sums.append(g[t] + g[r])
            within += weight * (spread[t] + spread[r])
    w, s = np.array(weights), np.array(sums)
    away = s - w @ s / w.sum()
    information = within + (away.T @ (w[:, np.newaxis] * away) if coherent else 0.0)
    return float(np.sqrt(np.trace(np.linalg.inv(information))))


def test_anchors_of_scenario_b0() -> None:
    assert peb_m(b0())[0] == pytest.approx(0.53217e-3, rel=1e-5)
    assert peb_m(b0(synchronisation=NONCOHERENT))[0] == pytest.approx(2.16952, rel=1e-5)
    for target, snr_db in ((FIRST_TARGET_M, 39.7), (SECOND_TARGET_M, 47.9)):
        drop = dmimo_drop(b0(target, power={"transmit_dbm": 30.0}))
        snr = integrated_snr(dmimo_sensing_model(drop, FIRST, LAST), isotropic(drop, FIRST))
        assert 10.0 * np.log10(snr[0]) == pytest.approx(snr_db, abs=0.06)


@pytest.mark.parametrize("realisation", range(4))
def test_the_bound_of_one_target_is_the_closed_form(realisation: int) -> None:
    random = np.random.default_rng(realisation)
    chosen = random.permutation(12)
    count = int(random.integers(1, 11))
    transmitters, receivers = tuple(sorted(chosen[:count].tolist())), tuple(sorted(chosen[count:].tolist()))
    for antennas in (2, 5):
        for known, coherent in (({}, True), (NONCOHERENT, False)):
            scenario = DmimoScenario.model_validate(
                {"layout": {"target_count": 1}, "arrays": {"antennas": antennas}, "channel": {"realisation": realisation},
                 "synchronisation": known}
            )  # fmt: skip
            expected = closed_form_m(dmimo_drop(scenario), transmitters, receivers, coherent=coherent)
            assert peb_m(scenario, transmitters, receivers)[0] == pytest.approx(expected, rel=1e-7)


def _numeric_m(scenario: DmimoScenario) -> np.ndarray:
    """Bounds by finite differences of noiseless echoes with every unknown of section III of 004 kept; two APs each side."""
    drop, transmitters, receivers = dmimo_drop(scenario), (0, 1), (2, 3)
    n, wave = scenario.arrays.antennas, 2.0 * np.pi / scenario.signal.wavelength_m
    coherent = scenario.synchronisation.link_phase_std_rad == 0
    random = np.random.default_rng(0)
    signal = random.standard_normal((2, n, 12)) + 1j * random.standard_normal((2, n, 12))
    amplitudes = np.abs(echo_amplitudes(drop))[np.ix_(receivers, transmitters)]
    scale = np.sqrt(2.0 / drop.noise_w)

    def echoes(unknown: np.ndarray) -> np.ndarray:
        places = drop.targets_m + unknown[:4].reshape(2, 2).T
        pairs = unknown[4:12].reshape(2, 2, 2)
        received = np.zeros((2, n, 12), dtype=np.complex128)
        for s, place in enumerate(places):
            v = place - drop.access_points_m
            d = np.hypot(v[:, 0], v[:, 1])
            sine = np.sin(np.arctan2(v[:, 1], v[:, 0]) - drop.boresights_rad)
            a = np.exp(1j * np.pi * sine[:, np.newaxis] * np.arange(n))
            for r in range(2):
                for t in range(2):
                    start = drop.reflection_phases_rad[s]
                    if coherent:
                        phase = start + unknown[12 + s] - wave * (d[r + 2] + d[t])
                    else:
                        fixed = np.hypot(*(drop.targets_m[s] - drop.access_points_m).T)
                        phase = start + unknown[12:].reshape(2, 2, 2)[r, t, s] - wave * (fixed[r + 2] + fixed[t])
                    gain = amplitudes[r, t, s] * (1.0 + pairs[r, t, s])
                    received[r] += gain * np.exp(1j * phase) * np.outer(a[r + 2], a[t] @ signal[t])
        return scale * np.concatenate([received.real.ravel(), received.imag.ravel()])

    start = np.zeros(12 + (2 if coherent else 8))
    steps = np.where(np.arange(len(start)) < 4, 1e-7 if coherent else 1e-4, 1e-6)
    forward, back = (approx_fprime(start, echoes, sign * steps) for sign in (1.0, -1.0))
    jacobian = (forward + back) / 2.0
    model = dmimo_sensing_model(drop, transmitters, receivers)
    stacked = signal.reshape(2 * n, 12)
    ours = PositionBounds(model).peb_m((stacked @ stacked.conj().T)[np.newaxis])
    return np.stack([position_error_bounds(jacobian.T @ jacobian, 2), ours])


@pytest.mark.parametrize("known", [{}, NONCOHERENT], ids=["coherent", "noncoherent"])
def test_the_bound_of_two_targets_and_any_signal_is_that_of_differentiated_echoes(known: dict[str, Any]) -> None:
    """Four access points close to two targets; both transmitters send at once, correlated samples as they come."""
    scenario = DmimoScenario.model_validate(
        {"layout": {"access_point_count": 4, "receiver_count": 2, "side_m": 60.0}, "arrays": {"antennas": 4},
         "channel": {"realisation": 7}, "synchronisation": known}
    )  # fmt: skip
    numeric, ours = _numeric_m(scenario)
    np.testing.assert_allclose(ours, numeric, rtol=2e-5)


@pytest.mark.parametrize("known", [{}, NONCOHERENT], ids=["coherent", "noncoherent"])
def test_laws_of_scale(known: dict[str, Any]) -> None:
    """PEB falls with the root of slots, power and 1 - rho; exchanging transmitters and receivers changes nothing."""
    usual = peb_m(b0(FIRST_TARGET_M, SECOND_TARGET_M, synchronisation=known))
    for section in (
        {"signal": {"slots_per_transmitter": 256.0}}, {"power": {"transmit_dbm": 20.0 + 20.0 * np.log10(2.0)}},
        {"signal": {"communication_share": 0.875, "slots_per_transmitter": 1024.0}},
    ):  # fmt: skip
        np.testing.assert_allclose(peb_m(b0(FIRST_TARGET_M, SECOND_TARGET_M, synchronisation=known, **section)), usual / 2.0)
    np.testing.assert_allclose(peb_m(b0(FIRST_TARGET_M, SECOND_TARGET_M, synchronisation=known), LAST, FIRST), usual, rtol=1e-7)
    coherent = peb_m(b0(FIRST_TARGET_M, SECOND_TARGET_M))
    assert (coherent <= usual).all()


def test_bounds_of_targets_add_up_to_the_common_one() -> None:
    drop = dmimo_drop(b0(FIRST_TARGET_M, SECOND_TARGET_M))
    information = PositionBounds(dmimo_sensing_model(drop, FIRST, LAST)).information(isotropic(drop, FIRST))
    each = position_error_bounds(information, 2)
    assert np.sum(each**2) == pytest.approx(localization_crb(information, 2), rel=1e-12)
    blind = information.copy()
    blind[1] = blind[:, 1] = 0.0
    assert np.isinf(position_error_bounds(blind, 2)).all()
    doubled = np.block([[information, information], [information, information]])
    assert np.isinf(position_error_bounds(doubled, 2)).all()


def test_phases_with_a_law_weaken_what_transmitters_send_together() -> None:
    same = np.kron(np.eye(6), np.ones((8, 8)))
    for std, weight in ((0.0, 1.0), (0.3, np.exp(-0.09)), (None, 1.0)):
        drop = dmimo_drop(b0(synchronisation={"link_phase_std_rad": std}))
        found = phase_weights(dmimo_sensing_model(drop, FIRST, LAST))
        np.testing.assert_allclose(found[0], np.where(same > 0, 1.0, weight))


def test_one_pair_of_access_points_locates_by_angles_alone() -> None:
    """With a single pair the phase of the target absorbs that of the carrier: coherent is noncoherent."""
    for antennas in (2, 8):
        coherent, noncoherent = (
            peb_m(b0(arrays={"antennas": antennas}, synchronisation=known), (0,), (7,)) for known in ({}, NONCOHERENT)
        )
        # The carrier's part is eight orders larger and cancels.
        np.testing.assert_allclose(coherent, noncoherent, rtol=1e-3)


def common_network(**sections: dict[str, Any]) -> DmimoScenario:
    """The network of the common table in the words of this family: two transmitters at half the power in half the symbols."""
    bearings = np.deg2rad([0.0, 80.0, 170.0, 250.0])
    whole: dict[str, dict[str, Any]] = {
        "layout": {
            "access_point_count": 4, "receiver_count": 2, "target_count": 1, "targets_m": [[12.0, -7.0]],
            "access_points_m": (100.0 * np.stack([np.cos(bearings), np.sin(bearings)], axis=1)).tolist(),
            "boresights_rad": (bearings + np.pi).tolist(),
        },
        "signal": {
            "bandwidth_hz": 20e6, "subcarriers": 64, "communication_share": 0.0, "slots_per_transmitter": 50.0,
        },
        "power": {"transmit_dbm": 10.0 * np.log10(50.0), "noise_figure_db": 7.0},
    }  # fmt: skip
    for name, section in sections.items():
        whole[name] = whole.get(name, {}) | section
    return DmimoScenario.model_validate(whole)


def test_a_wide_band_has_the_bounds_of_the_other_papers() -> None:
    """Half duplex on the common network, 002's information: 0.335 m with unknown phases, 0.664 mm with known ones."""
    noncoherent = peb_m(common_network(synchronisation=NONCOHERENT), (0, 2), (1, 3))[0]
    assert noncoherent == pytest.approx(0.335, rel=1.5e-3)
    assert peb_m(common_network(), (0, 2), (1, 3))[0] == pytest.approx(0.664e-3, rel=1e-3)
    # The same energy without delays is worth less: one subcarrier, a 64th of the noise.
    narrow = {"bandwidth_hz": 312.5e3, "subcarriers": 1}
    assert peb_m(common_network(synchronisation=NONCOHERENT, signal=narrow), (0, 2), (1, 3))[0] > 1.9 * noncoherent


def test_range_information_is_that_of_the_band() -> None:
    """Single antennas, unknown phases: F = sum over pairs of ``2 SNR (2 pi B_rms)^2 grad tau grad tau^T``."""
    scenario = common_network(
        arrays={"antennas": 1}, synchronisation=NONCOHERENT, layout={"access_point_count": 4, "receiver_count": 2}
    )
    drop = dmimo_drop(scenario)
    v = drop.targets_m[0] - drop.access_points_m
    unit = v / np.hypot(v[:, 0], v[:, 1])[:, np.newaxis]
    energy = float(np.real(isotropic(drop, (0, 2))[0, 0, 0])) * 64.0
    square = (20e6 / 64.0) ** 2 * (64.0**2 - 1.0) / 12.0
    information = np.zeros((2, 2))
    for t in (0, 2):
        for r in (1, 3):
            snr = np.abs(echo_amplitudes(drop)[r, t, 0]) ** 2 * energy / (drop.noise_w / 64.0)
            gradient = (unit[t] + unit[r]) / SPEED_OF_LIGHT_M_S
            information += 2.0 * snr * (2.0 * np.pi) ** 2 * square * np.outer(gradient, gradient)
    expected = float(np.sqrt(np.trace(np.linalg.inv(information))))
    assert peb_m(scenario, (0, 2), (1, 3))[0] == pytest.approx(expected, rel=1e-7)

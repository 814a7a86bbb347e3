"""Random node phases, phase-honest rates, delay sidelobes: each against a slow or closed form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cases import array, load, sensing_model

from disac.designs.location.design import METHODS, Designer
from disac.designs.location.phase_agnostic import scrambling
from disac.designs.location.problem import DesignProblem
from disac.metrics.delay import delay_margin, delay_response, delay_sidelobes, illumination
from disac.metrics.fisher import fisher_information, localization_crb, location_derivatives, receiver_derivatives
from disac.metrics.phases import crb_under_phases, phase_rates
from disac.metrics.sinr import noncoherent_sinr
from disac.units import SPEED_OF_LIGHT_M_S, db_to_linear


def given() -> tuple[DesignProblem, float]:
    case = load("case_05")
    problem = DesignProblem(sensing_model(case), array(case["h"]), case["PT"], case["sigma_c2"])
    return problem, db_to_linear(case["gamma_db"])


@pytest.mark.parametrize("method", METHODS)
def test_turned_covariances_give_the_bound_of_turned_oscillators(method: str) -> None:
    """Each draw against the model with ``b_{n,m} -> b_{n,m} e^{j phi_m}``, from its own derivatives."""
    problem, sinr = given()
    design = Designer(problem, method).design(sinr)
    assert design.streams is not None
    sent = design.streams.sum(axis=0)
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (5, problem.nodes))
    phases[0] = 0.0
    found = crb_under_phases(problem.receiver_derivatives, sent, problem.sensing.noise_power, problem.targets, phases)
    for crb, phase in zip(found, phases, strict=True):
        turned = problem.sensing.amplitudes * np.exp(1j * phase)[np.newaxis, :, np.newaxis]
        other = dataclasses.replace(problem, sensing=dataclasses.replace(problem.sensing, amplitudes=turned))
        information = fisher_information(other.derivatives, sent, problem.sensing.noise_power)
        assert crb == pytest.approx(localization_crb(information, problem.targets), rel=1e-8)
    spread = np.ptp(found) / found[0]
    assert spread > 0.01 if method.startswith("unconstrained") else spread < 1e-9


def test_roles_may_have_different_numbers_of_nodes() -> None:
    """Two transmitters and three receivers, each draw against the model with turned amplitudes."""
    problem, _ = given()
    random = np.random.default_rng(3)
    sensing = dataclasses.replace(
        problem.sensing, nodes_m=np.array([[90.0, 0.0], [-40.0, 80.0], [-50.0, -70.0]]), orientation=None,
        transmitters=(0, 1), receivers=(0, 1, 2), amplitudes=random.normal(size=(3, 2, problem.targets)) + 1j,
    )  # fmt: skip
    pieces, size = tuple(receiver_derivatives(sensing)), 2 * sensing.transmit_antennas
    root = random.normal(size=(sensing.subcarriers, size, 2)) + 1j * random.normal(size=(sensing.subcarriers, size, 2))
    sent, phases = root @ root.conj().swapaxes(-1, -2), random.uniform(0, 2 * np.pi, (3, 2))
    found = crb_under_phases(pieces, sent, sensing.noise_power, problem.targets, phases)
    for crb, phase in zip(found, phases, strict=True):
        turned = dataclasses.replace(sensing, amplitudes=sensing.amplitudes * np.exp(1j * phase)[:, np.newaxis])
        information = fisher_information(location_derivatives(turned), sent, sensing.noise_power)
        assert crb == pytest.approx(localization_crb(information, problem.targets), rel=1e-8)


def test_a_signal_that_locates_nothing_has_no_bound_under_any_phases() -> None:
    problem, _ = given()
    silent = np.zeros((problem.subcarriers, *(problem.nodes * problem.antennas,) * 2), dtype=complex)
    phases = np.zeros((2, problem.nodes))
    assert np.isinf(crb_under_phases(problem.receiver_derivatives, silent, 1.0, problem.targets, phases)).all()


def test_rates_against_symbols_sent_one_by_one() -> None:
    problem, sinr = given()
    designer = Designer(problem, "phase-agnostic")
    sent = designer.delivered(designer.design(sinr), sinr)
    assert sent.beams is not None
    assert sent.remainder is not None
    phases = np.random.default_rng(1).uniform(0, 2 * np.pi, (30, problem.nodes))
    code = scrambling(problem.nodes, problem.nodes)
    ours = phase_rates(problem.channels, sent.beams, sent.remainder, problem.noise_power, phases, code)
    noise, rates, all_sinr = problem.noise_power / problem.subcarriers, [], []
    for draw in phases:
        for t in range(problem.nodes):
            turn = np.repeat(np.exp(1j * draw) * code[:, t], problem.antennas)
            for user, subcarrier in np.ndindex(problem.users, problem.subcarriers):
                h = problem.channels[:, user, subcarrier].reshape(-1)
                powers = [abs(h.conj() @ (turn * w[subcarrier])) ** 2 for w in sent.beams[0]]
                rest = turn[:, np.newaxis] * sent.remainder[subcarrier] * turn.conj()
                unwanted = sum(powers) - powers[user] + np.real(h.conj() @ rest @ h) + noise
                all_sinr.append(powers[user] / unwanted)
                rates.append(np.log2(1 + powers[user] / unwanted))
    assert ours.honest_se == pytest.approx(np.mean(rates), rel=1e-10)
    assert ours.sinr_p5 == pytest.approx(np.quantile(all_sinr, 0.05), rel=1e-9)
    assert sent.transmitted is not None
    rank_one = np.einsum("uli,ulj->ulij", sent.beams[0], sent.beams[0].conj())
    nominal = noncoherent_sinr(problem.channels, rank_one, sent.transmitted, problem.noise_power)
    assert ours.nominal_se == pytest.approx(np.log2(1 + nominal).mean(), rel=1e-9)


def test_the_loss_of_two_equal_nodes_has_a_closed_form() -> None:
    """Two equal powers, together 20 dB: E log2(1 + 100 (1 + cos phi)) = log2((101 + sqrt(101^2 - 100^2)) / 2)."""
    channels = np.ones((2, 1, 1, 1), dtype=complex)
    beams = np.full((1, 1, 1, 2), np.sqrt(50.0), dtype=complex)
    phases = np.stack([np.zeros(4000), np.linspace(0, 2 * np.pi, 4000, endpoint=False)], axis=1)
    rates = phase_rates(channels, beams, np.zeros((1, 2, 2), dtype=complex), 1.0, phases, np.ones((2, 1)))
    assert rates.nominal_se == pytest.approx(np.log2(101))
    assert rates.honest_se == pytest.approx(np.log2((101 + np.sqrt(101**2 - 100**2)) / 2), rel=1e-6)
    assert 10 * np.log10(rates.sinr_p5) == pytest.approx(1.0, abs=0.2)


def test_a_flat_spectrum_has_the_sidelobes_of_the_dirichlet_kernel() -> None:
    subcarriers = 64
    x = np.arange(16 * subcarriers) / 16
    with np.errstate(invalid="ignore", divide="ignore"):
        kernel = np.nan_to_num((np.sin(np.pi * x) / (subcarriers * np.sin(np.pi * x / subcarriers))) ** 2, nan=1.0)
    assert np.abs(delay_response(np.ones(subcarriers)) - kernel).max() < 1e-12
    peak, integrated = delay_sidelobes(np.ones((2, subcarriers)))
    assert 10 * np.log10(peak) == pytest.approx([-13.26, -13.26], abs=0.05)
    assert integrated == pytest.approx([0.1076, 0.1076], abs=0.004)  # 1 - 0.9028 of the energy lies outside the nulls


def test_a_comb_repeats_and_a_single_tone_tells_no_delay() -> None:
    comb = np.zeros(16)
    comb[::2] = 1.0
    peak, _ = delay_sidelobes(comb)
    assert peak == pytest.approx(1.0)
    tone = np.zeros(16)
    tone[3] = 1.0
    assert delay_response(tone).min() == pytest.approx(1.0)


def test_signals_without_sidelobes_tell_their_least_response() -> None:
    """One subcarrier has a constant response; two adjacent ones have ``(1 + a^2 + 2 a cos x) / (1 + a)^2``."""
    power = np.zeros((3, 16))
    power[0, 5], power[1, [3, 4]], power[2, [3, 4]] = 1.0, 1.0, (1.0, 0.5)
    peak, _ = delay_sidelobes(power)
    assert peak == pytest.approx([1.0, 0.0, (0.5 / 1.5) ** 2], abs=1e-12)


def test_illumination_and_margin_by_hand() -> None:
    r = np.random.default_rng(0)
    factor = r.standard_normal((3, 4, 4)) + 1j * r.standard_normal((3, 4, 4))
    covariances = factor @ factor.conj().swapaxes(-1, -2)
    transmit = np.exp(2j * np.pi * r.random((2, 1, 2)))
    found = illumination(covariances, transmit)
    for node, subcarrier in np.ndindex(2, 3):
        a = transmit[node, 0]
        block = covariances[subcarrier][2 * node : 2 * node + 2, 2 * node : 2 * node + 2]
        assert found[node, 0, subcarrier] == pytest.approx(np.real(a @ block @ a.conj()))
    delays = np.array([[30.0], [90.0]]) / SPEED_OF_LIGHT_M_S  # sums 60, 120 and 180 m
    spread = 120.0 / SPEED_OF_LIGHT_M_S
    assert delay_margin(delays[:, np.newaxis] + delays, 16, 20e6, 1.0) == pytest.approx(16 / 20e6 - spread)
    assert delay_margin(delays[:, np.newaxis] + delays, 16, 20e6, 0.2e-6) == pytest.approx(0.2e-6 - spread)

"""Echoes and maximum-likelihood positions: covariances of what is sent, the bound attained, the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from disac.designs.design import Designer
from disac.designs.phase_agnostic import scrambling
from disac.estimators.maximum_likelihood import Area, locate
from disac.experiments.ofdm_echoes import SINR_QUANTILES, Options, assigned_error_m2, experiment
from disac.experiments.ofdm_tradeoff import design_problem
from disac.metrics.fisher import fisher_information, link_responses, localization_crb, location_derivatives
from disac.metrics.phases import phase_rates
from disac.scenario import Scenario
from disac.waveforms import echoes, instantaneous_sinr, qpsk, transmitted_signal


def scene(amplitude_db: float = -40.0, **layout: object) -> Scenario:
    return Scenario.model_validate(
        {"sensing": {"amplitude_db": amplitude_db}, "layout": {"targets_m": [(3.0, 7.0)]} | layout,
         "waveform": {"subcarriers": 8}, "arrays": {"transmit_antennas": 3, "receive_antennas": 4}}
    )  # fmt: skip


def test_symbols_have_unit_power_and_four_phases() -> None:
    symbols = qpsk(np.random.default_rng(0), (4000,))
    np.testing.assert_allclose(np.abs(symbols), 1.0)
    assert len(np.unique(np.round(symbols, 12))) == 4


def test_signals_have_the_covariances_of_the_design() -> None:
    """Sample covariance over 20,000 symbols: every entry within five of its deviations; scrambled nodes are uncorrelated."""
    random, symbols = np.random.default_rng(1), 20_000
    beams = random.standard_normal((2, 1, 6)) + 1j * random.standard_normal((2, 1, 6))
    factor = random.standard_normal((1, 6, 2)) + 1j * random.standard_normal((1, 6, 2))
    remainder = factor @ factor.conj().swapaxes(-1, -2)
    data, sensing = transmitted_signal(beams[np.newaxis], remainder, scrambling(2, 2), symbols, random)
    x = data.sum(axis=0) + sensing
    sample = (x @ x.conj().swapaxes(-1, -2))[0] / symbols
    same = np.kron(np.eye(2), np.ones((3, 3)))
    expected = np.einsum("uli,ulj->ij", beams, beams.conj()) * same + remainder[0]
    size = np.sqrt(np.outer(np.diag(expected).real, np.diag(expected).real) / symbols)
    assert (np.abs(sample - expected) < 5 * size).all()
    # Without the factors the data of a user tie its nodes together.
    plain, _ = transmitted_signal(beams[np.newaxis, :1], 0 * remainder, np.ones((2, 1)), 64, random)
    tied = (plain[0] @ plain[0].conj().swapaxes(-1, -2))[0] / 64
    np.testing.assert_allclose(tied, np.outer(beams[0, 0], beams[0, 0].conj()), atol=1e-12)


def test_echoes_without_noise_are_the_responses() -> None:
    problem = design_problem(scene())
    model = problem.sensing
    random = np.random.default_rng(2)
    signal = random.standard_normal((8, 6, 3)) + 1j * random.standard_normal((8, 6, 3))
    seen = echoes(model, signal, 400, random)
    expected = link_responses(model) @ seen.signal
    deviation = np.sqrt(seen.noise * np.einsum("lii->li", seen.signal).real / 400)[:, np.newaxis]
    assert (np.abs(seen.received.mean(axis=0) - expected) < 5 * deviation).all()
    # One transmitter and target at a time, with its amplitude, they add up to the whole.
    each = link_responses(model, each=True)
    b = model.amplitudes.reshape(2, -1)
    np.testing.assert_allclose(np.einsum("na,nalij->nlij", b, each), link_responses(model), atol=1e-14)


@pytest.mark.parametrize("targets", [1, 2])
def test_the_bound_is_attained_where_noise_is_low(targets: int) -> None:
    """Mean of the squared error over its CRB: chi-square with 2K degrees a trial; within 4.5 deviations of one."""
    positions = [(3.0, 7.0)] if targets == 1 else [(-20.0, 5.0), (15.0, -3.0)]
    scenario = scene(-15.0, target_count=targets, targets_m=positions)
    problem = design_problem(scenario)
    designer = Designer(problem, "phase-agnostic")
    sent = designer.delivered(designer.design(10.0), 10.0)
    assert sent.beams is not None
    assert sent.remainder is not None
    random, trials = np.random.default_rng(4), 120 if targets == 1 else 40
    data, sensing = transmitted_signal(sent.beams, sent.remainder, designer.symbol_code(), 4, random)
    seen = echoes(problem.sensing, data.sum(axis=0) + sensing, trials, random)
    found = locate(problem.sensing, seen, Area(40.0, 2.0))
    information = fisher_information(location_derivatives(problem.sensing), seen.signal, problem.sensing.noise_power)
    bound = localization_crb(information, targets)
    total = assigned_error_m2(found, np.array(positions)).sum(axis=1)
    error = total.mean() / bound
    spread = total.std(ddof=1) / np.sqrt(trials) / bound
    assert abs(error - 1.0) < 4.5 * spread
    assert spread < 0.3


def test_the_threshold_shows_and_aliasing_is_named() -> None:
    options = Options(trials=20, symbols=2, area_m=40.0)
    low, high = (experiment.run([scene(a)], options)[0] for a in (-65.0, -30.0))
    assert low["outlier_share"] > 0.3
    assert low["squared_error_m2"] > 3 * low["bound_squared_error_m2"]
    assert high["outlier_share"] == 0.0
    assert high["squared_error_m2"] < 2.5 * high["bound_squared_error_m2"]
    assert high["expected_bound_m2"] == pytest.approx(high["bound_squared_error_m2"], rel=0.3)
    assert experiment.recheck(scene(-30.0), options, high) == []
    assert "squared_error_m2" in experiment.recheck(scene(-30.0), options, high | {"squared_error_m2": 1.0})[0]
    short = scene(-30.0).model_copy(update={"waveform": scene().waveform.model_copy(update={"bandwidth_hz": 200e6})})
    wide = experiment.run([short], options)[0]
    assert wide["delay_margin_s"] < 0
    assert "fold or overlap" in wide["message"]
    out_of_reach = scene().model_copy(update={"service": scene().service.model_copy(update={"sinr_db": 80.0})})
    infeasible = experiment.run([out_of_reach], options)[0]
    assert infeasible["status"] == "infeasible"


def test_instantaneous_sinr_agrees_with_the_rates_of_single_symbols() -> None:
    """With one subcarrier a symbol's SINR is that of its phases: the same quantile, and the same without interference."""
    random = np.random.default_rng(6)
    channels = random.standard_normal((2, 1, 1, 3)) + 1j * random.standard_normal((2, 1, 1, 3))
    beams = random.standard_normal((1, 1, 6)) + 1j * random.standard_normal((1, 1, 6))
    phases = random.uniform(0, 2 * np.pi, (500, 2))
    data, sensing = transmitted_signal(beams[np.newaxis], np.zeros((1, 6, 6)), np.ones((2, 1)), 500, random)
    ours = instantaneous_sinr(channels, data, sensing, 0.3, phases)
    theirs = phase_rates(channels, beams[np.newaxis], np.zeros((1, 6, 6)), 0.3, phases, np.ones((2, 1)))
    assert np.quantile(ours, 0.05) == pytest.approx(theirs.sinr_p5)
    assert np.log2(1 + ours).mean() == pytest.approx(theirs.honest_se)


def test_every_variable_is_given_and_draws_are_the_same_again() -> None:
    options = Options(trials=3, symbols=2, area_m=30.0, grid_m=3.0)
    first, again = (experiment.run([scene()], options)[0] for _ in range(2))
    assert {v.name for v in experiment.variables} <= set(first)
    assert first["instantaneous_sinr_db"].shape == (1, len(SINR_QUANTILES))
    assert first["estimate_m"].shape == (3, 1, 2)
    np.testing.assert_array_equal(first["estimate_m"], again["estimate_m"])
    # More trials leave the first ones alone.
    more = experiment.run([scene()], options.model_copy(update={"trials": 5}))[0]
    np.testing.assert_array_equal(more["estimate_m"][:3], first["estimate_m"])

"""Echoes and maximum-likelihood positions: covariances of what is sent, the bound attained, the threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from disac.arrays import steering_vector
from disac.designs.location.design import Designer
from disac.designs.location.of_scenario import design_problem
from disac.designs.location.phase_agnostic import scrambling
from disac.estimators.maximum_likelihood import Area, locate
from disac.estimators.projections import Projections
from disac.experiments import ofdm_tradeoff
from disac.experiments.ofdm_echoes import SINR_BINS_DB, SINR_QUANTILES, Options, assigned_error_m2, experiment
from disac.geometry import angles_rad
from disac.metrics.delay import delay_margin, range_ambiguous
from disac.metrics.fisher import (
    SensingModel,
    fisher_information,
    link_responses,
    localization_crb,
    location_derivatives,
    mean_derivatives,
)
from disac.metrics.phases import phase_rates
from disac.scenarios.noncoherent import Scenario
from disac.waveforms import (
    SampledEchoes,
    clean_echoes,
    echoes,
    heard_powers,
    instantaneous_sinr,
    overlap_matrices,
    qpsk,
    symbols_before,
    transmitted_signal,
)

TWO = [(-20.0, 5.0), (15.0, -3.0)]


def scene(amplitude_db: float = -40.0, waveform: dict[str, Any] | None = None, **layout: object) -> Scenario:
    return Scenario.model_validate(
        {"sensing": {"amplitude_db": amplitude_db}, "layout": {"targets_m": [(3.0, 7.0)]} | layout,
         "waveform": {"subcarriers": 8} | (waveform or {}), "arrays": {"transmit_antennas": 3, "receive_antennas": 4}}
    )  # fmt: skip


def gaussian(random: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return random.standard_normal(shape) + 1j * random.standard_normal(shape)


def covered(model: SensingModel, signal: np.ndarray[Any, Any], trials: int, random: np.random.Generator) -> SampledEchoes:
    """Echoes within the cyclic prefix."""
    return echoes(model, signal, signal[..., :0], 0.0, trials, random)


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


@pytest.mark.parametrize("symbols", [3, 40])
def test_echoes_are_the_responses_and_white_noise_and_symbols_in_excess_lose_nothing(symbols: int) -> None:
    """Correlations with the signal decide the likelihood; their noise has the covariance of the signal, within 5 deviations."""
    model, random, trials = design_problem(scene()).sensing, np.random.default_rng(2), 400
    signal = gaussian(random, 8, 6, symbols)
    seen = covered(model, signal, trials, random)
    assert seen.signal.shape[-1] == min(symbols, 6)
    expected = signal @ signal.conj().swapaxes(-1, -2)
    np.testing.assert_allclose(seen.covariances, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    clean = seen.clean @ seen.signal.conj().swapaxes(-1, -2)
    np.testing.assert_allclose(clean, link_responses(model) @ expected, rtol=0, atol=1e-11 * np.abs(clean).max())
    assert seen.noise_power == model.noise_power / 8
    noise = seen.noise @ seen.signal.conj().swapaxes(-1, -2)
    power = seen.noise_power * np.einsum("lii->li", expected).real[:, np.newaxis]
    assert (np.abs(noise.mean(axis=0)) < 5 * np.sqrt(power / trials)).all()
    assert np.abs((np.abs(noise) ** 2 / power).mean() - 1.0) < 5 / np.sqrt(trials * noise[0].size / 8)


def in_time(model: SensingModel, frames: np.ndarray[Any, Any], earlier: int, prefix_s: float) -> np.ndarray[Any, Any]:
    """Windows of all symbols by the waveform in time, at 30,000 instants each: nothing is known of matrices here."""
    subcarriers, spacing = model.subcarriers, model.bandwidth_hz / model.subcarriers
    useful = 1.0 / spacing
    period, first = useful + prefix_s, model.bistatic_s.min()
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    number, inside = np.arange(subcarriers), (np.arange(30_000) + 0.5) / 30_000 * useful
    symbols = frames.shape[-1] - earlier
    found = np.zeros((len(model.receive_nodes), subcarriers, model.receive_antennas, symbols), dtype=np.complex128)
    for (n, m, k), delay in np.ndenumerate(model.bistatic_s):
        receive = steering_vector(angle[model.receive_nodes[n], k], model.receive_antennas)
        transmit = steering_vector(angle[model.transmit_nodes[m], k], model.transmit_antennas)
        sent = np.einsum(
            "j,ljt->lt", transmit, frames.reshape(subcarriers, -1, model.transmit_antennas, frames.shape[-1])[:, m]
        )
        for t in range(symbols):
            left_at = t * period + prefix_s + first + inside - delay  # when what arrives now was sent; symbol 0 began at 0
            which = np.floor(left_at / period).astype(int)
            phase = np.exp(2j * np.pi * spacing * number[:, np.newaxis] * (left_at - which * period - prefix_s))
            wave = (sent[:, earlier + which] * phase).sum(axis=0)
            spectrum = (wave * np.exp(-2j * np.pi * spacing * number[:, np.newaxis] * (inside + first))).mean(axis=1)
            found[n, :, :, t] += model.amplitudes[n, m, k] * spectrum[:, np.newaxis] * receive
    return found


@pytest.mark.parametrize(("bandwidth_hz", "prefix", "back"), [(20e6, 0.05, 1), (40e6, 0.0, 2), (60e6, 0.25, 2), (20e6, 0.6, 0)])
def test_overlapping_symbols_are_those_of_the_waveform_in_time(bandwidth_hz: float, prefix: float, back: int) -> None:
    waveform = {"bandwidth_hz": bandwidth_hz, "cyclic_prefix_s": prefix * 8 / bandwidth_hz}
    scenario = scene(0.0, waveform, target_count=2, targets_m=TWO, receivers=[1])
    model, random = design_problem(scenario).sensing, np.random.default_rng(8)
    prefix_s = scenario.waveform.prefix_s
    assert symbols_before(model, prefix_s) == back
    frames = gaussian(random, 8, 6, back + 2)
    clean = clean_echoes(model, frames[..., back:], frames[..., :back], prefix_s)
    # The instants miss where a symbol ends by at most half of their distance.
    np.testing.assert_allclose(clean, in_time(model, frames, back, prefix_s), rtol=0, atol=3e-4 * np.abs(clean).max())
    ideal = link_responses(model) @ frames[..., back:]
    if back:
        assert np.abs(clean - ideal).max() > 0.05 * np.abs(ideal).max()
    else:
        np.testing.assert_array_equal(clean, ideal)


def test_links_within_the_prefix_keep_their_subcarriers_and_what_others_lose_comes_from_the_symbols_before() -> None:
    scenario = scene(0.0, {"cyclic_prefix_s": 0.03e-6}, target_count=2, targets_m=TWO)
    model = design_problem(scenario).sensing
    matrices = overlap_matrices(model, scenario.waveform.prefix_s)
    inside = model.bistatic_s - model.bistatic_s.min() <= scenario.waveform.prefix_s
    assert 0 < inside.sum() < inside.size
    diagonal = np.exp(-2j * np.pi * 2.5e6 * np.arange(8) * model.bistatic_s[..., np.newaxis])
    np.testing.assert_allclose(matrices[0][inside], diagonal[inside][:, np.newaxis] * np.eye(8), atol=1e-13)
    np.testing.assert_allclose(matrices[1][inside], 0.0, atol=1e-13)
    # The shares of the window that the symbols fill add up to the whole.
    share = np.abs(np.einsum("qnmkll->qnmkl", matrices)).sum(axis=0)
    np.testing.assert_allclose(share, 1.0)
    # Long enough for all: nothing but (5) of 002.
    long = overlap_matrices(model, 1e-6)
    np.testing.assert_allclose(long[0], diagonal[..., np.newaxis, :] * np.eye(8), atol=1e-13)
    assert len(long) == 1


def test_short_symbols_and_short_prefixes_are_two_things() -> None:
    both = design_problem(scene(target_count=2, targets_m=TWO)).sensing.bistatic_s
    spread = np.ptp(both)
    for symbol, prefix, folds in ((2.0, 2.0, 0), (2.0, 0.5, 0), (0.5, 2.0, 1), (0.5, 0.5, 1)):
        bandwidth_hz = 8 / (symbol * spread)
        assert range_ambiguous(both, 8, bandwidth_hz) == bool(folds)
        assert (delay_margin(both, 8, bandwidth_hz, prefix * spread) < 0) == (min(symbol, prefix) < 1)
        waveform = {"bandwidth_hz": bandwidth_hz, "cyclic_prefix_s": prefix * spread}
        cell = experiment.run([scene(-30.0, waveform, target_count=2, targets_m=TWO)], Options(trials=1, area_m=30.0))[0]
        assert cell["range_ambiguous"] == folds
        other = ofdm_tradeoff.experiment.run([scene(-30.0, waveform, target_count=2, targets_m=TWO)], ofdm_tradeoff.Options())[
            0
        ]
        assert other["range_ambiguous"] == folds
        assert other["delay_margin_s"] == pytest.approx(cell["delay_margin_s"])
        assert ("they fold" in cell["message"]) == bool(folds)
        assert ("symbols overlap" in cell["message"]) == (prefix < 1)


def test_a_prefix_that_is_too_short_costs_accuracy_which_the_bound_does_not_say() -> None:
    options = Options(trials=20, symbols=4, area_m=30.0)
    spread = np.ptp(design_problem(scene()).sensing.bistatic_s)
    ratio = []
    for prefix in (1.0, 0.5, 0.0):
        cell = experiment.run([scene(10.0, {"cyclic_prefix_s": prefix * spread})], options)[0]
        ratio.append(cell["squared_error_m2"] / cell["bound_squared_error_m2"])
    assert ratio[0] < 2.0
    assert ratio[0] < 0.2 * ratio[1] < 0.04 * ratio[2]


def test_more_bandwidth_than_the_grid_was_made_for_is_found_on_a_finer_one() -> None:
    cell = experiment.run([scene(0.0, {"bandwidth_hz": 60e6})], Options(trials=20, symbols=4, area_m=30.0))[0]
    assert cell["outlier_share"] == 0.0
    assert cell["squared_error_m2"] < 2.5 * cell["bound_squared_error_m2"]


@pytest.mark.parametrize("targets", [1, 2])
def test_projections_are_least_squares_and_their_step_is_gauss_newton(targets: int) -> None:
    model = design_problem(scene(0.0, target_count=targets, targets_m=TWO[:targets], receivers=[0])).sensing
    random, truth = np.random.default_rng(9), np.array(TWO[:targets])
    seen = covered(model, gaussian(random, 8, 6, 3), 1, random)
    projections, clean = Projections(model, seen), seen.clean[np.newaxis]
    near = truth + 0.3 * random.standard_normal(truth.shape)
    at = replace(model, targets_m=near, amplitudes=np.ones_like(model.amplitudes))
    # Each link's response as a column.
    columns = mean_derivatives(at)[-2 * model.links : -model.links] @ seen.signal
    columns = columns.reshape(model.links, -1).T
    gram, image = projections.alone(clean + seen.noise, near[np.newaxis])
    echo = (seen.clean + seen.noise[0]).ravel()
    np.testing.assert_allclose(gram[0, 0], columns.conj().T @ columns, atol=1e-9 * np.abs(gram).max())
    np.testing.assert_allclose(image[0, 0], columns.conj().T @ echo, atol=1e-9 * np.abs(image).max())
    left = echo - columns @ np.linalg.lstsq(columns, echo)[0]
    explained = projections.fit(clean + seen.noise, near[np.newaxis]).likelihood[0]
    assert explained == pytest.approx(np.vdot(echo, echo).real - np.vdot(left, left).real, rel=1e-9)
    # Without noise the truth fits exactly: steps stop there, deviations are those of the CRB, and Gauss-Newton is quadratic.
    there = projections.fit(clean, truth[np.newaxis])
    bound = localization_crb(fisher_information(location_derivatives(model), seen.covariances, model.noise_power), targets)
    assert (there.deviation**2).sum() == pytest.approx(bound, rel=1e-6)
    assert np.abs(there.step).max() < 1e-8
    away = truth + 0.02 * random.standard_normal(truth.shape)
    missed = []
    for part in (1.0, 0.1):
        start = truth + part * (away - truth)
        missed.append(np.abs(start + projections.fit(clean, start[np.newaxis]).step[0] - truth).max())
    assert missed[0] < 0.3 * np.abs(away - truth).max()
    assert missed[1] < 0.02 * missed[0]


@pytest.mark.parametrize("targets", [1, 2])
def test_r2_a_trial_does_not_depend_on_the_trials_beside_it(targets: int) -> None:
    model = design_problem(scene(-45.0, target_count=targets, targets_m=TWO[:targets])).sensing
    signal = gaussian(np.random.default_rng(10), 8, 6, 3)
    area, amplitudes = Area(30.0, 3.0), [0.5, 1.0, 2.0]
    many = locate(model, covered(model, signal, 67, np.random.default_rng(11)), area, amplitudes)
    for trials in (1, 2):
        few = locate(model, covered(model, signal, trials, np.random.default_rng(11)), area, amplitudes[1:])
        np.testing.assert_array_equal(few, many[1:, :trials])


@pytest.mark.parametrize("targets", [1, 2])
def test_the_bound_is_attained_where_noise_is_low(targets: int) -> None:
    """Mean of the squared error over its CRB: chi-square with 2K degrees a trial; within 4.5 deviations of one."""
    positions = [(3.0, 7.0)] if targets == 1 else TWO
    scenario = scene(-15.0, target_count=targets, targets_m=positions)
    problem = design_problem(scenario)
    designer = Designer(problem, "phase-agnostic")
    sent = designer.delivered(designer.design(10.0), 10.0)
    assert sent.beams is not None
    assert sent.remainder is not None
    random, trials = np.random.default_rng(4), 120 if targets == 1 else 40
    data, sensing = transmitted_signal(sent.beams, sent.remainder, designer.symbol_code(), 4, random)
    seen = covered(problem.sensing, data.sum(axis=0) + sensing, trials, random)
    found = locate(problem.sensing, seen, Area(40.0, 2.0), [1.0])[0]
    information = fisher_information(location_derivatives(problem.sensing), seen.covariances, problem.sensing.noise_power)
    bound = localization_crb(information, targets)
    total = assigned_error_m2(found, np.array(positions)).sum(axis=1)
    error = total.mean() / bound
    spread = total.std(ddof=1) / np.sqrt(trials) / bound
    assert abs(error - 1.0) < 4.5 * spread
    assert spread < 0.3


@pytest.mark.parametrize(
    "options",
    [
        Options(trials=6, symbols=2, area_m=40.0),
        pytest.param(Options(trials=20, symbols=2, area_m=40.0), marks=pytest.mark.slow),
    ],
    ids=["small", "large"],
)
def test_the_threshold_shows_and_aliasing_is_named(options: Options) -> None:
    low, high = (experiment.run([scene(a)], options)[0] for a in (-65.0, -30.0))
    assert low["outlier_share"] > 0.3
    assert low["squared_error_m2"] > 3 * low["bound_squared_error_m2"]
    assert high["outlier_share"] == 0.0
    assert high["squared_error_m2"] < 2.5 * high["bound_squared_error_m2"]
    assert high["expected_bound_m2"] == pytest.approx(high["bound_squared_error_m2"], rel=0.3)
    assert experiment.recheck(scene(-30.0), options, high) == []
    assert "squared_error_m2" in experiment.recheck(scene(-30.0), options, high | {"squared_error_m2": 1.0})[0]
    for bandwidth_hz, folds in ((200e6, 0), (300e6, 1)):  # the delays spread over 35 ns, a symbol is 40 or 27 ns long
        # A wide band has a fine grid: a small area suffices for what is said of it.
        wide = experiment.run([scene(-30.0, {"bandwidth_hz": bandwidth_hz})], options.model_copy(update={"area_m": 10.0}))[0]
        assert wide["delay_margin_s"] < 0
        assert wide["range_ambiguous"] == folds
        assert ("ranges are ambiguous" in wide["message"]) == bool(folds)
        assert "symbols overlap" in wide["message"]
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


def test_powers_at_the_users_average_to_the_promised_sinr() -> None:
    """Means over 20,000 symbols and random phases, against (6) of 001 in closed form, within five of their deviations."""
    random, symbols, users, nodes, antennas = np.random.default_rng(7), 20_000, 2, 2, 3
    channels = gaussian(random, nodes, users, 1, antennas)
    beams, factor = gaussian(random, users, 1, 6), gaussian(random, 1, 6, 2)
    # Sensing signals of different nodes are independent, as the design's are.
    remainder = factor @ factor.conj().swapaxes(-1, -2) * np.kron(np.eye(2), np.ones((3, 3)))
    data, sensing = transmitted_signal(beams[np.newaxis], remainder, np.ones((2, 1)), symbols, random)
    wanted, other = heard_powers(channels, data, sensing, 0.3, random.uniform(0, 2 * np.pi, (symbols, nodes)))
    by_node = np.einsum("num,vnm->uvn", channels[:, :, 0].conj(), beams.reshape(users, nodes, antennas))
    power = (np.abs(by_node) ** 2).sum(axis=-1)
    blocks = np.einsum("ninj->nij", remainder.reshape(nodes, antennas, nodes, antennas))
    radar = np.einsum("num,nmk,nuk->u", channels[:, :, 0].conj(), blocks, channels[:, :, 0]).real
    for found, expected in ((wanted, np.diag(power)), (other, power.sum(axis=1) - np.diag(power) + radar + 0.3)):
        assert (np.abs(found.mean(axis=1) - expected) < 5 * found.std(axis=1) / np.sqrt(symbols)).all()
    # With phases that stay, what varies is the symbols alone.
    alone, _ = heard_powers(channels, data, sensing, 0.3, np.zeros((symbols, nodes)))
    np.testing.assert_allclose(alone, np.abs(by_node.sum(axis=-1).diagonal())[:, np.newaxis] ** 2 * np.ones(symbols))


@pytest.mark.parametrize("user_phases", ["each-symbol", "fixed"])
def test_the_density_of_the_sinr_agrees_with_its_quantiles_and_share(user_phases: str) -> None:
    options = Options(trials=1, symbols=1, area_m=10.0, clusters=1, user_phases=user_phases)  # type: ignore[arg-type]
    scenario = scene(user_count=2).model_copy(
        update={"service": scene().service.model_copy(update={"sinr_db": 15.0}),
                "channel": scene().channel.model_copy(update={"selectivity": "flat"})}
    )  # fmt: skip
    cell = experiment.run([scenario], options)[0]
    density, quantiles = cell["instantaneous_sinr_density"], cell["instantaneous_sinr_db"]
    assert density.shape == (2, len(SINR_BINS_DB))
    np.testing.assert_allclose(density.sum(axis=1), 1.0, atol=2e-3)  # bins of 1 dB; a deep fade may lie below them
    middle = SINR_QUANTILES.index(0.5)
    for user in range(2):
        median = np.interp(0.5, np.cumsum(density[user]), np.array(SINR_BINS_DB) + 0.5)
        assert median == pytest.approx(quantiles[user, middle], abs=1.0)
        below = density[user, np.array(SINR_BINS_DB) < 15.0].sum()  # 15 dB is an edge
        assert below == pytest.approx(cell["below_target_share"][user], abs=1.5e-3)
    assert cell["median_spread_db"] == pytest.approx(np.ptp(quantiles[:, middle]))
    # Where phases stay, the scrambled symbols of two nodes add up and cancel in turn: their average is the promise, too.
    np.testing.assert_allclose(cell["average_sinr_db"], 15.0, atol=1.0 if user_phases == "each-symbol" else 0.2)
    settled = np.ptp(quantiles[:, :4], axis=1).max() < 0.2  # one of the two values, over a quarter of the symbols
    assert settled == (user_phases == "fixed")


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

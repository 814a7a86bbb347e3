"""Whitened echoes, closed costs and the joint fit, against reference cases, brute force and numerical differentiation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dmimo_scenes import B0_TARGETS_M, STRENGTH_M2, b0, case, complex_of, model_of, noise, trial
from scipy.optimize import nnls

from disac.estimators.dmimo.costs import cost_at, printed_cost, printed_phase, reflection_phase
from disac.estimators.dmimo.echoes import (
    EchoModel,
    echoes,
    factors,
    isotropic_roots,
    radar_gains,
    statistics,
    unit_images,
    waveforms,
)
from disac.estimators.dmimo.fit import Amplitudes, fit, fitted_echoes

MODELS: tuple[Amplitudes, ...] = ("free", "structured", "nonnegative", "sign-free")


def small(rng: np.random.Generator, *, at_once: bool = False, power: float = 1e-3) -> EchoModel:
    """Three transmitters with random signals, four receivers, three antennas, targets about 300 m away."""
    sent = noise(rng, 3, 3, 24) * np.sqrt(power)
    nodes, boresight = rng.uniform(0.0, 1000.0, (7, 2)), rng.uniform(0.0, 6.0, 7)
    return EchoModel(nodes, boresight, 3, 0.0857, (0, 2, 4), (1, 3, 5, 6), waveforms(sent, 4e-16, at_once=at_once).roots)


@pytest.mark.parametrize("at_once", [False, True])
def test_reference_costs(at_once: bool) -> None:
    loaded = case("cost_1")
    given, expected = loaded["inputs"], loaded["outputs"]
    power, received = given["sigma2"], complex_of(given["y"])
    sent = waveforms(complex_of(given["X"]), power, at_once=at_once)
    model = model_of(given, loaded["constants"]["lam"], sent.roots)
    # Every group is given all slots: a transmitter is silent in those of the others.
    samples = statistics(received[np.newaxis], sent)
    unseen = np.sum(np.abs(received) ** 2) / power - np.sum(np.abs(samples) ** 2)
    points = np.array(expected["points"])
    names = {"free": "nc", "sign-free": "coh_signfree", "nonnegative": "coh_nonneg", "structured": "coh_struct"}
    for amplitudes in MODELS:
        costs = np.array([row[names[amplitudes]] for row in expected["costs"]])
        if not at_once:
            tolerance = 1e-7 if amplitudes == "nonnegative" else 1e-8
            np.testing.assert_allclose((cost_at(model, samples, points, amplitudes) + unseen) * power, costs, rtol=tolerance)
        if amplitudes in ("free", "structured"):
            fitted = fit(model, samples, points[:, np.newaxis], amplitudes, most_steps=0)
            np.testing.assert_allclose((fitted.cost + unseen) * power, costs, rtol=1e-8)


def test_reference_estimate() -> None:
    loaded = case("estimate_1")
    given, expected = loaded["inputs"], loaded["outputs"]
    model = model_of(given, loaded["constants"]["lam"], isotropic_roots(4, 4, 1.0))
    samples, targets = complex_of(given["D"]), np.array(given["targets"])
    z, _ = unit_images(model, samples, np.array(expected["stat_points"]))
    np.testing.assert_allclose(np.sum(np.abs(z) ** 2, axis=(1, 2, 3)), expected["stat"], rtol=1e-8)
    coarse = fit(model, samples, np.array([[expected["stat_points"][3]]]), "free")
    np.testing.assert_allclose(coarse.positions_m[0], expected["nc_detections"], atol=1e-2)
    for amplitudes, positions, cost in (
        ("structured", "coh_struct", "cost_struct"),
        ("nonnegative", "coh_nonneg", "cost_free_alpha"),
    ):
        found = fit(model, samples, targets[np.newaxis] + 1e-3, amplitudes)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.positions_m[0], expected[positions], atol=1e-5)
        assert found.cost[0] == pytest.approx(expected[cost], rel=1e-8)
    gains = np.transpose(np.array(given["b"]) * np.exp(1j * given["phi"][0]), (1, 2, 0))
    clean = echoes(model, targets, gains)
    for amplitudes, bound in (("sign-free", "peb_coh"), ("free", "peb_nc")):
        there = fit(model, clean, targets[np.newaxis], amplitudes, phases_rad=np.array([given["phi"]]), most_steps=0)  # type: ignore[arg-type]
        assert np.sqrt(np.trace(np.linalg.inv(there.information[0]))) == pytest.approx(expected[bound][0], rel=1e-6)


def mean_of(model: EchoModel, amplitudes: Amplitudes, targets: int, unknowns: np.ndarray) -> np.ndarray:
    """Mean of the statistics by all unknowns, real: positions, then gains (and phases) in the form of the model."""
    places, rest = unknowns[: 2 * targets].reshape(targets, 2), unknowns[2 * targets :]
    pairs = len(model.transmitters), len(model.receivers), targets
    if amplitudes == "structured":
        gains = radar_gains(model, places, rest[:targets] + 1j * rest[targets:])
    elif amplitudes == "free":
        gains = (rest[: rest.size // 2] + 1j * rest[rest.size // 2 :]).reshape(pairs)
    else:
        gains = rest[targets:].reshape(pairs) * np.exp(1j * rest[:targets])
    mean = echoes(model, places, gains).ravel()
    return np.concatenate([mean.real, mean.imag])


@pytest.mark.parametrize("amplitudes", MODELS)
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("targets", [1, 2])
def test_information_is_that_of_all_unknowns(amplitudes: Amplitudes, at_once: bool, targets: int) -> None:
    rng = np.random.default_rng(5)
    model = small(rng, at_once=at_once)
    places = np.array([[400.0, 500.0], [402.0, 503.0]])[:targets]
    phases = rng.uniform(0.0, 6.0, targets)
    if amplitudes == "structured":
        strength = STRENGTH_M2 * np.exp(1j * phases) * 1e3
        rest, gains = np.concatenate([strength.real, strength.imag]), radar_gains(model, places, strength)
    else:
        size = (
            1e-4
            * rng.uniform(0.5, 1.5, (3, 4, targets))
            * (1.0 if amplitudes != "sign-free" else rng.choice([-1.0, 1.0], (3, 4, targets)))
        )
        gains = size * np.exp(1j * phases)
        rest = (
            np.concatenate([gains.real.ravel(), gains.imag.ravel()])
            if amplitudes == "free"
            else np.concatenate([phases, size.ravel()])
        )
    there = fit(
        model, echoes(model, places, gains), places[np.newaxis], amplitudes, phases_rad=phases[np.newaxis], most_steps=0
    )
    assert abs(there.cost[0]) < 1e-6 * np.sum(np.abs(echoes(model, places, gains)) ** 2)
    unknowns = np.concatenate([places.ravel(), rest])
    steps = np.concatenate([np.full(2 * targets, 1e-5), np.full(rest.size, 1e-3 * np.abs(rest).max())])
    columns = [
        (
            mean_of(model, amplitudes, targets, unknowns + step * unit)
            - mean_of(model, amplitudes, targets, unknowns - step * unit)
        )
        / (2 * step)
        for step, unit in zip(steps, np.eye(unknowns.size), strict=True)
    ]
    slope = np.stack(columns, axis=1)
    nuisance = slope[:, 2 * targets :]
    left = slope[:, : 2 * targets] - nuisance @ np.linalg.lstsq(nuisance, slope[:, : 2 * targets], rcond=None)[0]
    scale = np.abs(there.information[0]).max()
    np.testing.assert_allclose(there.information[0], 2.0 * left.T @ left, atol=2e-5 * scale)


@pytest.mark.parametrize("amplitudes", MODELS)
@pytest.mark.parametrize("at_once", [False, True])
def test_fit_ends_where_the_cost_is_flat_and_says_what_it_fitted(amplitudes: Amplitudes, at_once: bool) -> None:
    rng = np.random.default_rng(8)
    model = small(rng, at_once=at_once, power=1.0)
    places = np.array([[400.0, 500.0], [550.0, 380.0]])
    _, samples, _ = trial(model, places, rng)
    found = fit(model, samples, places[np.newaxis], amplitudes)
    energy = float(np.sum(np.abs(samples) ** 2))
    residual = samples - fitted_echoes(model, found, amplitudes).sum(axis=0)
    assert np.sum(np.abs(residual) ** 2) == pytest.approx(found.cost[0], abs=1e-9 * energy)
    spread = np.sqrt(np.diag(np.linalg.inv(found.information[0]))).reshape(2, 2)
    for s, axis in np.ndindex(2, 2):
        moved = found.positions_m.copy()
        moved[0, s, axis] += 0.05 * spread[s, axis]
        up = fit(model, samples, moved, amplitudes, phases_rad=found.phases_rad, most_steps=0).cost[0]
        moved[0, s, axis] -= 0.1 * spread[s, axis]
        down = fit(model, samples, moved, amplitudes, phases_rad=found.phases_rad, most_steps=0).cost[0]
        assert min(up, down) > found.cost[0]


def test_gains_that_may_not_be_negative_are_the_best_such() -> None:
    rng = np.random.default_rng(3)
    model = small(rng)
    places = np.array([[400.0, 500.0], [401.0, 500.0]])
    samples = noise(rng, *model.shape)
    phases = np.array([[0.3, 2.0]])
    fitted = fit(model, samples, places[np.newaxis], "nonnegative", phases_rad=phases, most_steps=0)
    receive, transmit = factors(model, places, carrier=True, weighted=False)
    total = 0.0
    for q, r in np.ndindex(3, 4):
        columns = [np.exp(1j * phases[0, s]) * np.outer(receive[r, s, 0], transmit[q, 0, s, 0]).ravel() for s in range(2)]
        stacked = np.stack([np.concatenate([c.real, c.imag]) for c in columns], axis=1)
        scale = np.linalg.norm(stacked)
        data = np.concatenate([samples[q, r].ravel().real, samples[q, r].ravel().imag])
        total += nnls(stacked / scale, data)[1] ** 2
    assert fitted.cost[0] == pytest.approx(total, rel=1e-9)
    assert np.all(fitted.gains >= 0.0)
    assert np.any(fitted.gains == 0.0)


def test_batches_change_nothing_but_rounding() -> None:
    rng = np.random.default_rng(2)
    model = b0(20.0)
    data = np.stack([trial(model, B0_TARGETS_M, rng)[1] for _ in range(4)])
    starts = np.repeat(B0_TARGETS_M[np.newaxis], 4, axis=0) + rng.normal(0.0, 1e-3, (4, 2, 2))
    together = fit(model, data, starts, "structured")
    for number in range(4):
        alone = fit(model, data[number], starts[number : number + 1], "structured")
        np.testing.assert_array_equal(alone.positions_m[0], together.positions_m[number])


def test_rank_deficient_signals_lose_nothing() -> None:
    rng = np.random.default_rng(4)
    sent = noise(rng, 3, 3, 2)
    whitened = waveforms(sent, 0.5)
    assert whitened.roots.shape == (3, 1, 2, 3)
    model = EchoModel(rng.uniform(0.0, 500.0, (5, 2)), rng.uniform(0.0, 6.0, 5), 3, 0.0857, (0, 1, 2), (3, 4), whitened.roots)
    gains = noise(rng, 3, 2, 1)
    place = np.array([[200.0, 210.0]])
    receive, _ = factors(model, place, carrier=True, weighted=False)
    plain = replace(model, roots=isotropic_roots(3, 3, 1.0))
    _, response = factors(plain, place, carrier=True, weighted=False)
    received = np.einsum("trs,rsn,tsm,tml->trnl", gains, receive[:, :, 0], response[:, 0, :, 0], sent)
    np.testing.assert_allclose(statistics(received, whitened), echoes(model, place, gains), atol=1e-9)


def test_phase_as_printed_is_not_the_phase() -> None:
    model, place, phase = b0(30.0), B0_TARGETS_M[:1], 0.7
    clean = echoes(model, place, radar_gains(model, place, np.array([STRENGTH_M2 * np.exp(1j * phase)])))
    z, _ = unit_images(model, clean, place)
    assert reflection_phase(z.reshape(1, -1))[0] == pytest.approx(phase, abs=1e-9)
    turned = np.mod(printed_phase(model, clean, place[0]) - phase + np.pi / 2.0, np.pi) - np.pi / 2.0
    assert abs(turned) > 0.1


def test_cost_as_printed_holds_for_one_target_only() -> None:
    rng = np.random.default_rng(6)
    model = b0(30.0)
    clean, samples, _ = trial(model, B0_TARGETS_M, rng)
    near = B0_TARGETS_M[:1] + 0.01
    assert printed_cost(model, samples, near) == pytest.approx(cost_at(model, samples, near, "sign-free")[0], rel=1e-9)
    # Two noiseless targets at their places: nothing is left in truth, a large part as printed.
    energy = np.sum(np.abs(clean) ** 2)
    exact = fit(model, clean, B0_TARGETS_M[np.newaxis], "structured", most_steps=0).cost[0]
    assert abs(exact) < 1e-9 * energy
    assert printed_cost(model, clean, B0_TARGETS_M) > 0.05 * energy


def test_errors_from_the_right_lobe_reach_the_bound() -> None:
    rng = np.random.default_rng(11)
    model = b0(20.0)
    trials = [trial(model, B0_TARGETS_M, rng) for _ in range(400)]
    clean, samples = np.stack([t[0] for t in trials]), np.stack([t[1] for t in trials])
    start = np.repeat(B0_TARGETS_M[np.newaxis], 400, axis=0)
    covariance = np.linalg.inv(fit(model, clean, start, "structured", most_steps=0).information)
    found = fit(model, samples, start, "structured").positions_m
    # Each error in units of its own covariance: a chi-square mean over 400 x 4 degrees, 3.9 standard deviations wide.
    error = (found - start).reshape(400, 4)
    whitened = np.einsum("bi,bij,bj->b", error, np.linalg.inv(covariance), error)
    assert whitened.mean() / 4.0 == pytest.approx(1.0, abs=3.9 * np.sqrt(2.0 / 1600.0))

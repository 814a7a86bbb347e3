"""Joint fit of positions to whitened echoes: gains put in by least squares (variable projection), then Levenberg-Marquardt.

What is known of the gains makes the models. ``free``: a complex gain for each pair and target (the noncoherent fit (17) of
004). ``structured``: the radar law, one complex strength for each target. ``nonnegative`` and ``sign-free``: a real gain for
each pair and one phase for each target, the latter as (10) of 004 has it. The derivatives of the projected mean (Kaufman's)
give the step, and twice their Gram matrix is the information on what is fitted.

A response is an outer product of a receive and a transmit factor, so that all inner products come from two small Gram matrices.
The structured model is the free one of a network whose receivers are one array, and whose transmitters are one too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from disac.estimators.dmimo.echoes import Complex, EchoModel, Float, factors

Amplitudes = Literal["free", "structured", "nonnegative", "sign-free"]
Array = NDArray[Any]

MOST_STEPS = 60
_ENOUGH = 1e-9
"""A fit ends when a full step would lower the cost by less, in units of the noise variance."""
_FREE_CLAMP_M = 10.0
_SWEEPS = 200
"""Sweeps of coordinate descent on gains that may not be negative."""


@dataclass(frozen=True)
class Fit:
    """Fits of B starts.

    Attributes
    ----------
    positions_m
        float64 [B, S, 2], m.
    cost
        Squared residual in units of the noise variance, float64 [B].
    gains
        [B, Q, M_r, J, S]; for the structured model the strengths [B, 1, 1, 1, S]; real where a phase is fitted beside them.
    phases_rad
        Reflection phases that real gains go with, float64 [B, S]; zero where gains are complex.
    information
        Of positions, with gains and phases eliminated, float64 [B, 2S, 2S], 1/m^2.
    """

    positions_m: Float
    cost: Float
    gains: Array
    phases_rad: Float
    information: Float


def fit(
    model: EchoModel,
    samples: Complex,
    starts_m: Float,
    amplitudes: Amplitudes,
    *,
    phases_rad: Float | None = None,
    most_steps: int = MOST_STEPS,
) -> Fit:
    """Least squares from every start; a step is kept where the cost falls.

    Parameters
    ----------
    samples
        Statistics, complex128 [Q, M_r, N, W] for all starts or [B, Q, M_r, N, W].
    starts_m
        Positions, shape [B, S, 2], m.
    phases_rad
        Phases to start from, [B, S]; by default those that complex gains of all targets suggest. Only for real gains.
    """
    work = _Work(model, samples, amplitudes)
    real = amplitudes in ("nonnegative", "sign-free")
    now = np.concatenate([starts_m, np.zeros((*starts_m.shape[:2], 1))], axis=2) if real else starts_m.copy()
    if real:
        now[..., 2] = work.phases(starts_m) if phases_rad is None else phases_rad
    clamp = _FREE_CLAMP_M if amplitudes == "free" else 0.1 * model.wavelength_m
    state = work.at(now, slice(None))
    damping = np.full(len(now), 1e-3)
    moving = np.arange(len(now))
    for _ in range(most_steps):
        if not moving.size:
            break
        step, promised = _step(state.normal[moving], state.gradient[moving], damping[moving])
        step = step.reshape(len(moving), *now.shape[1:])
        length = np.hypot(step[..., 0], step[..., 1]).max(axis=1)
        shrink = np.minimum(1.0, clamp / np.maximum(length, 1e-300))
        tried = now[moving] + shrink[:, np.newaxis, np.newaxis] * step
        there = work.at(tried, moving)
        better = there.cost <= state.cost[moving]
        kept = moving[better]
        now[kept] = tried[better]
        state.take(kept, there, better)
        damping[kept] = np.maximum(damping[kept] / 5.0, 1e-12)
        damping[moving[~better]] *= 6.0
        over = (promised < _ENOUGH) & (shrink == 1.0) | (damping[moving] > 1e9)
        moving = moving[~over]
    phases = now[..., 2] if real else np.zeros(now.shape[:2])
    return Fit(now[..., :2].copy(), state.cost, state.gains, phases, 2.0 * _of_positions(state.normal, now.shape[1]))


def fitted_echoes(model: EchoModel, fit: Fit, amplitudes: Amplitudes, number: int = 0) -> Complex:
    """What the targets of one of the starts send back by the fit, one after the other: complex128 [S, Q, M_r, N, W]."""
    positions, gains = fit.positions_m[number], fit.gains[number] * np.exp(1j * fit.phases_rad[number])
    structured = amplitudes == "structured"
    receive, transmit = factors(model, positions, carrier=amplitudes != "free", weighted=structured)
    if structured:
        sent = np.einsum("s,qjsw->qsw", gains[0, 0, 0], transmit[:, :, :, 0])
        return np.einsum("rsn,qsw->sqrnw", receive[:, :, 0], sent, optimize=True)
    return np.einsum("qrjs,rsn,qjsw->sqrnw", gains, receive[:, :, 0], transmit[:, :, :, 0], optimize=True)


@dataclass
class _State:
    cost: Float
    gains: Array
    gradient: Float
    normal: Float

    def take(self, rows: NDArray[np.int_], other: _State, chosen: NDArray[np.bool_]) -> None:
        for name in ("cost", "gains", "gradient", "normal"):
            getattr(self, name)[rows] = getattr(other, name)[chosen]


class _Work:
    """Cost, gains, gradient and normal matrix at given positions."""

    def __init__(self, model: EchoModel, samples: Complex, amplitudes: Amplitudes) -> None:
        self._model, self._amplitudes = model, amplitudes
        self._whole = amplitudes == "structured"
        self._many = samples.ndim == 5
        self._energy = np.sum(samples.real**2 + samples.imag**2, axis=(-4, -3, -2, -1))
        if self._whole:
            groups, receivers, antennas, coordinates = model.shape
            whole = np.moveaxis(samples, -4, -2).reshape(*samples.shape[:-4], receivers * antennas, groups * coordinates)
            samples = whole[..., np.newaxis, np.newaxis, :, :]
        self._samples = samples

    def phases(self, positions: Float) -> Float:
        """Phases from complex gains of all targets together, [B, S]; the corrected (14) of 004, with its sign resolved."""
        gram, _, image, _ = self._products(positions, slice(None))
        z = _solved(gram, image[..., 0]) * np.sqrt(np.maximum(np.einsum("...aa->...a", gram).real, 1e-300))
        split = z.reshape(*z.shape[:3], -1, positions.shape[1])
        phase = 0.5 * np.angle(np.sum(split**2, axis=(1, 2, 3)))
        turned = np.sum((split * np.exp(-1j * phase)[:, np.newaxis, np.newaxis, np.newaxis]).real, axis=(1, 2, 3))
        return np.where(turned < 0.0, phase + np.pi, phase)

    def at(self, now: Float, rows: Any) -> _State:
        real = now.shape[2] == 3
        gram, mixed, image, second = self._products(now[..., :2], rows)
        # gram [B, Bt, Br, a, a], mixed: <u, d u> [.., a, a, I], image [.., a, 1 + I], second: <d u, d u> [.., a, I, a, I].
        if real:
            links = gram.shape[-1] // now.shape[1]
            phase = np.exp(1j * np.tile(now[..., 2], links))[:, np.newaxis, np.newaxis]  # [B, 1, 1, a]
            gram, mixed, image, second = _with_phases(gram, mixed, image, second, phase)
        own = image[..., 0]
        gains = _solved(gram, own) if self._amplitudes != "nonnegative" else _nonnegative(gram, own)
        fitted = np.sum(gains.conj() * own, axis=-1).real
        if self._amplitudes == "nonnegative":
            # Gains at zero have no part in the projection.
            held = gains > 0.0
            gram = np.where(held[..., np.newaxis] & held[..., np.newaxis, :], gram, 0.0)
            gram = gram + np.where(held, 0.0, 1.0)[..., np.newaxis] * np.eye(gram.shape[-1])
            mixed = np.where(held[..., np.newaxis, np.newaxis], mixed, 0.0)
        energy = self._energy[rows] if self._many else self._energy
        cost = energy - fitted.sum(axis=(1, 2))
        unknowns = mixed.shape[-1]
        size = gram.shape[-1]
        flat = mixed.reshape(*mixed.shape[:3], size, size * unknowns)
        left = image[..., 1:] - np.einsum("...abi,...a->...bi", mixed.conj(), gains)
        inner = second.reshape(*second.shape[:3], size * unknowns, -1) - flat.conj().swapaxes(-1, -2) @ _solved_many(gram, flat)
        inner = inner.reshape(second.shape)
        gradient = (gains.conj()[..., np.newaxis] * left).real.sum(axis=(1, 2))
        outer = gains.conj()[..., :, np.newaxis] * gains[..., np.newaxis, :]
        normal = (outer[..., :, np.newaxis, :, np.newaxis] * inner).real
        normal = normal.sum(axis=(1, 2))
        targets = now.shape[1]
        links = size // targets
        gradient = gradient.reshape(len(now), links, targets, unknowns).sum(axis=1)
        normal = normal.reshape(len(now), links, targets, unknowns, links, targets, unknowns).sum(axis=(1, 4))
        kept = gains.reshape(*gains.shape[:3], links, targets)
        return _State(cost, kept, gradient.reshape(len(now), -1), normal.reshape(len(now), targets * unknowns, -1))

    def _products(self, positions: Float, rows: Any) -> tuple[Complex, Complex, Complex, Complex]:
        """Inner products of responses and derivatives among themselves and with the data."""
        structured, free = self._whole, self._amplitudes == "free"
        receive, transmit = factors(self._model, positions, carrier=not free, weighted=structured)
        batch, targets = positions.shape[:2]
        if structured:
            receive = np.moveaxis(receive, -4, -2).reshape(batch, 1, targets, 3, -1)
            transmit = np.moveaxis(transmit.sum(axis=2), 1, -2).reshape(batch, 1, 1, targets, 3, -1)
        links = transmit.shape[2]
        get = receive.reshape(batch, receive.shape[1], targets * 3, -1)
        send = transmit.reshape(batch, transmit.shape[1], links * targets * 3, -1)
        r = get.conj() @ get.swapaxes(-1, -2)
        t = send.conj() @ send.swapaxes(-1, -2)
        r = r.reshape(batch, 1, -1, 1, targets, 3, 1, targets, 3)
        t = t.reshape(batch, -1, 1, links, targets, 3, links, targets, 3)
        size = links * targets

        def part(a: int | slice, b: int | slice) -> tuple[Complex, Complex]:
            return r[..., a, :, :, b], t[..., a, :, :, b]

        two = slice(1, 3)
        (r00, t00), (r01, t01), (r10, t10), (r11, t11) = part(0, 0), part(0, two), part(two, 0), part(two, two)
        gram = (r00 * t00).reshape(batch, t.shape[1], r.shape[2], size, size)
        mixed = (r01 * t00[..., np.newaxis] + r00[..., np.newaxis] * t01).reshape(*gram.shape, 2)
        # Axes of part(two, 0): [.., links, S, 2, links, S]; of part(two, two): [.., links, S, 2, links, S, 2].
        up = (..., slice(None), np.newaxis, slice(None), slice(None), np.newaxis)
        second = (
            r11 * t00[up]
            + r10[..., np.newaxis] * t01[..., np.newaxis, :, :, :]
            + r01[..., np.newaxis, :, :, :] * t10[..., np.newaxis]
            + r00[up] * t11
        ).reshape(*gram.shape[:4], 2, size, 2)
        samples = self._samples[rows] if self._many else self._samples
        half = get.conj()[:, np.newaxis] @ samples  # [B, Bt, Br, 3 S, w]
        half = half.reshape(*half.shape[:3], targets, 3, -1)
        there = send.conj().reshape(batch, -1, 1, links, targets, 3, send.shape[-1])
        # [B, Bt, Br, links, S, 3 of receive, 3 of transmit]
        seen = half[:, :, :, np.newaxis] @ there.swapaxes(-1, -2)
        image = np.concatenate([seen[..., :1, 0], seen[..., 1:, 0] + seen[..., 0, 1:]], axis=-1)
        return gram, mixed, image.reshape(*gram.shape[:4], 3), second


def _with_phases(gram: Complex, mixed: Complex, image: Complex, second: Complex, phase: Complex) -> tuple[Array, ...]:
    """The same for real gains of responses turned by phases, with the derivative by the phase as a third one; real parts."""
    size = gram.shape[-1]
    turn = phase.conj()[..., :, np.newaxis] * phase[..., np.newaxis, :]
    gram = turn * gram
    mixed = turn[..., np.newaxis] * mixed
    image = phase.conj()[..., np.newaxis] * image
    second = turn[..., :, np.newaxis, :, np.newaxis] * second
    wide = np.empty((*gram.shape[:3], size, 3, size, 3), dtype=np.complex128)
    wide[..., :2, :, :2] = second
    back = np.swapaxes(mixed, -3, -2).conj()  # <d u_b, u_a> as [.., b, a, I]
    wide[..., :2, :, 2] = 1j * np.moveaxis(back, -1, -2)
    wide[..., 2, :, :2] = -1j * mixed
    wide[..., 2, :, 2] = gram
    mixed = np.concatenate([mixed, 1j * gram[..., np.newaxis]], axis=-1)
    image = np.concatenate([image, -1j * image[..., :1]], axis=-1)
    return gram.real, mixed.real, image.real, wide.real


def _solved(gram: Array, right: Array) -> Array:
    return _solved_many(gram, right[..., np.newaxis])[..., 0]


def _solved_many(gram: Array, right: Array) -> Array:
    """Solutions of small systems; those of one unknown by division."""
    size = gram.shape[-1]
    scale = np.maximum(np.einsum("...aa->...a", gram).real, 1e-300)
    if size == 1:
        return right / scale[..., np.newaxis]
    # A little on the diagonal: targets that stand at one place have no gains to tell apart.
    root = np.sqrt(scale)
    scaled = gram / (root[..., :, np.newaxis] * root[..., np.newaxis, :]) + 1e-12 * np.eye(size)
    return np.linalg.solve(scaled, right / root[..., np.newaxis]) / root[..., np.newaxis]


def _nonnegative(gram: Array, right: Array) -> Array:
    """Least-squares gains that are not negative, by coordinate descent, then exactly on the gains that are not at zero."""
    size = gram.shape[-1]
    scale = np.maximum(np.einsum("...aa->...a", gram), 1e-300)
    gains = np.maximum(right / scale, 0.0)
    if size == 1:
        return gains
    for _ in range(_SWEEPS):
        before = gains.copy()
        for a in range(size):
            rest = right[..., a] - np.sum(gram[..., a, :] * gains, axis=-1) + gram[..., a, a] * gains[..., a]
            gains[..., a] = np.maximum(rest / scale[..., a], 0.0)
        if np.all(np.abs(gains - before) <= 1e-10 * (1e-300 + np.abs(gains).max())):
            break
    held = gains > 0.0
    cut = np.where(held[..., np.newaxis] & held[..., np.newaxis, :], gram, 0.0)
    cut = cut + np.where(held, 0.0, scale)[..., np.newaxis] * np.eye(size)
    exact = _solved(cut, np.where(held, right, 0.0))
    return np.where((exact >= 0.0) | ~held, exact, gains)


def _step(normal: Float, gradient: Float, damping: Float) -> tuple[Float, Float]:
    """Damped step of each start, and by how much the cost would fall at the end of the undamped one."""
    size = normal.shape[-1]
    scale = 1.0 / np.sqrt(np.maximum(np.einsum("bpp->bp", normal), 1e-300))
    scaled = normal * scale[:, :, np.newaxis] * scale[:, np.newaxis]
    right = (scale * gradient)[..., np.newaxis]
    damped = scaled + (damping + 1e-14)[:, np.newaxis, np.newaxis] * np.eye(size)
    step = np.linalg.solve(damped, right)[..., 0]
    return scale * step, np.sum(step * right[..., 0], axis=1)


def _of_positions(normal: Float, targets: int) -> Float:
    """The normal matrix [B, S I, S I] with what is not a position eliminated, [B, 2S, 2S]."""
    unknowns = normal.shape[-1] // targets
    if unknowns == 2:
        return normal
    place = np.ravel([[unknowns * s, unknowns * s + 1] for s in range(targets)])
    other = np.setdiff1d(np.arange(normal.shape[-1]), place)
    mixed = normal[:, place[:, np.newaxis], other]
    own = normal[:, place[:, np.newaxis], place]
    return own - mixed @ np.linalg.solve(normal[:, other[:, np.newaxis], other], mixed.swapaxes(-1, -2))

"""Costs of one target at given places, with gains and phase eliminated in closed form, and (14), (15) of 004 as printed.

All costs are squared residuals in units of the noise variance, for transmitters in slots of their own. With the image ``z`` of
each pair (response of norm one, way removed): ``free`` is ``||D||^2 - sum |z|^2`` (18); ``sign-free`` is
``||D||^2 - (sum |z|^2 + |sum z^2|) / 2``, what (15) means for one target; ``nonnegative`` keeps only positive parts of
``Re(z e^{-j phi})``; ``structured`` is ``||D||^2 - |sum w z|^2 / sum w^2`` with the radar law ``w``.
"""

from __future__ import annotations

import numpy as np

from disac.estimators.dmimo.echoes import Complex, EchoModel, Float, distances_m, seen, unit_images
from disac.estimators.dmimo.fit import Amplitudes

_PHASES = 64
_GOLDEN_STEPS = 40


def cost_at(model: EchoModel, samples: Complex, points_m: Float, amplitudes: Amplitudes) -> Float:
    """Cost of one target at each place [P, 2] for the statistics of one trial [Q, M_r, N, W], float64 [P].

    Raises
    ------
    ValueError
        If echoes of several transmitters overlap: fit gains jointly then (``fit``).
    """
    if model.groups[1] > 1:
        raise ValueError("Closed forms of one target need transmitters in slots of their own; use fit() for these.")
    energy = np.sum(samples.real**2 + samples.imag**2)
    z, norms = unit_images(model, samples, points_m)
    flat = z.reshape(len(points_m), -1)
    if amplitudes == "free":
        return energy - np.sum(np.abs(flat) ** 2, axis=1)
    if amplitudes == "sign-free":
        return energy - 0.5 * np.sum(np.abs(flat) ** 2, axis=1) - 0.5 * np.abs(np.sum(flat**2, axis=1))
    if amplitudes == "nonnegative":
        return energy - _positive_part(flat)[0]
    distance = distances_m(model, points_m)
    pair = distance[:, list(model.transmitters), np.newaxis] * distance[:, np.newaxis, list(model.receivers)]
    weight = (norms.reshape(len(points_m), -1, 1) / pair).reshape(len(points_m), -1)
    return energy - np.abs(np.sum(weight * flat, axis=1)) ** 2 / np.sum(weight**2, axis=1)


def reflection_phase(z: Complex) -> Float:
    """Phase of one target from images [..., pairs] whose gains are not negative: (14) corrected, with its sign resolved.

    ``phi = angle(sum z^2) / 2``, plus pi if that makes the sum of ``Re(z e^{-j phi})`` positive.
    """
    phase = 0.5 * np.angle(np.sum(z**2, axis=-1))
    turned = np.sum((z * np.exp(-1j * phase)[..., np.newaxis]).real, axis=-1)
    return np.where(turned < 0.0, phase + np.pi, phase)


def printed_phase(model: EchoModel, samples: Complex, point_m: Float) -> float:
    """(14) as printed, for one target and A = 0: half the angle of ``sum y_check^H c e^{+j 4 pi f tau}``, rad.

    With ``c = conj(z) u / 2`` and ``y_check = y - z u / 2`` of each pair, ``y_check^H c`` is ``conj(z0)^2 / 4`` of the image z0
    with its way, so that the way is added a second time where it should be taken away.
    """
    inner = _checked(model, samples, point_m)
    return float(0.5 * np.angle(np.sum(inner[0] * inner[1])))


def printed_cost(model: EchoModel, samples: Complex, targets_m: Float) -> float:
    """(15) as printed, at positions [S, 2]: one modulus over all targets, and no phase in its second term."""
    checked, turned = samples.copy(), np.zeros_like(samples)
    for target in targets_m:
        z0, unit = _with_way(model, samples, target)
        checked = checked - 0.5 * z0[..., np.newaxis, np.newaxis] * unit
        way = _way(model, target)
        part = np.exp(-2j * way)[..., np.newaxis, np.newaxis] * (0.5 * z0.conj()[..., np.newaxis, np.newaxis] * unit)
        turned = turned + part
    return float(np.sum(np.abs(checked) ** 2) + np.sum(np.abs(turned) ** 2) - 2.0 * abs(np.vdot(checked, turned)))


def _way(model: EchoModel, target_m: Float) -> Float:
    """``2 pi f tau`` of each pair [M_t, M_r], rad."""
    distance = model.wavenumber * distances_m(model, target_m)
    return distance[list(model.transmitters), np.newaxis] + distance[list(model.receivers)]


def _with_way(model: EchoModel, samples: Complex, target_m: Float) -> tuple[Complex, Complex]:
    """Images with the phase of the way still in them [Q, M_r], and responses of norm one without it [Q, M_r, N, W]."""
    z, _ = unit_images(model, samples, target_m[np.newaxis], carrier=False)
    kept = z[0, :, 0]
    _, kappa = seen(model, target_m)
    response = np.exp(1j * np.arange(model.antennas) * kappa[:, np.newaxis])
    sent = np.einsum("qn,qwn->qw", response[list(model.transmitters)], model.roots[:, 0])
    receive = response[list(model.receivers)] / np.sqrt(model.antennas)
    sent = sent / np.linalg.norm(sent, axis=-1, keepdims=True)
    return kept, receive[np.newaxis, :, :, np.newaxis] * sent[:, np.newaxis, np.newaxis]


def _checked(model: EchoModel, samples: Complex, point_m: Float) -> tuple[Complex, Complex]:
    """``y_check^H c`` of each pair, and ``e^{+j 4 pi f tau}``."""
    z0, _ = _with_way(model, samples, point_m)
    return 0.25 * z0.conj() ** 2, np.exp(2j * _way(model, point_m))


def _positive_part(z: Complex) -> tuple[Float, Float]:
    """``max over phi of sum [Re(z e^{-j phi})]_+^2`` and where it is reached, for images [P, pairs]."""

    def value(phase: Float) -> Float:
        part = np.maximum((z * np.exp(-1j * phase)[:, np.newaxis]).real, 0.0)
        return np.sum(part**2, axis=1)

    step = 2.0 * np.pi / _PHASES
    grid = step * np.arange(_PHASES)
    centre = grid[np.argmax(np.stack([value(np.full(len(z), g)) for g in grid]), axis=0)]
    low, high = centre - step, centre + step
    ratio = 0.5 * (np.sqrt(5.0) - 1.0)
    for _ in range(_GOLDEN_STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        up = value(left) < value(right)
        low, high = np.where(up, left, low), np.where(up, high, right)
    middle = 0.5 * (low + high)
    return value(middle), middle

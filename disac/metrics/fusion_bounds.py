"""How accurately a target is located where receivers send less than their samples: bounds for each level of fusion.

- Samples or whitened statistics: one phase per target is common to all pairs (:mod:`disac.metrics.pair_information`).
- Statistics in b bits: the same phase; every real number keeps a share of its information.
- A map of each receiver: a receiver's scores do not say its phase, so that each receiver has a phase of its own, or every
  pair where it sums the squares of its matched filters. The sum of the latter maps is the central noncoherent score: it loses
  nothing against (18) of 004.
- Positions: each receiver locates the target by itself, and positions are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.metrics.pair_information import PACKED, squared_bound
from disac.metrics.quantisation import best_step, information_kept
from disac.units import SPEED_OF_LIGHT_M_S

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class WhitenedEcho:
    """Mean of the whitened statistics of one target at each point, and the gradient of its phase.

    ``D_tr = b_tr e^{j psi} + W`` with independent complex noise of unit variance. ``amplitude`` [P, T, R]; ``phase`` and
    ``gradient`` [P, T, R, N, N] and [..., 2] over receive and transmit antennas, in rad and rad/m, without the target's own
    phase.
    """

    amplitude: Float
    phase: Float
    gradient: Float

    @property
    def snr(self) -> Float:
        """``b^2 N^2`` of each pair, [P, T, R]."""
        return self.amplitude**2 * self.phase.shape[-1] ** 2

    def mean(self, target_phase_rad: float = 0.0) -> Complex:
        """Mean of the statistics, [P, T, R, N, N]."""
        turned = np.exp(1j * (self.phase + target_phase_rad))
        return np.asarray(self.amplitude[..., np.newaxis, np.newaxis] * turned, dtype=np.complex128)


def whitened_echo(
    positions_m: Float,
    orientations_rad: Float,
    transmitters: Bool,
    points_m: Float,
    *,
    antennas: int,
    carrier_hz: float,
    energy_over_noise: float,
    cross_section_m2: float = 1.0,
) -> WhitenedEcho:
    """The echo of a target by the radar equation for an isotropic sensing signal (004, (2), (3), section V-A).

    Parameters
    ----------
    positions_m, orientations_rad
        Of the access points, [A, 2] and [A].
    transmitters
        Which of them transmit, [A]; the others receive.
    points_m
        Places of the target, [P, 2].
    energy_over_noise
        ``c / sigma^2`` as in :func:`disac.metrics.pair_information.coherent_pairs`.
    """
    wavelength = SPEED_OF_LIGHT_M_S / carrier_hz
    v = positions_m - points_m[:, np.newaxis]
    distance = np.hypot(v[..., 0], v[..., 1])
    angle = np.arctan2(v[..., 1], v[..., 0])
    turned = np.stack([v[..., 1], -v[..., 0]], axis=-1) / distance[..., np.newaxis] ** 2
    kappa = np.pi * np.sin(angle - orientations_rad)
    d_kappa = np.pi * np.cos(angle - orientations_rad)[..., np.newaxis] * turned
    wave, count = 2.0 * np.pi / wavelength, np.arange(antennas)
    phase = -wave * distance[..., np.newaxis] + kappa[..., np.newaxis] * count
    gradient = (wave * v / distance[..., np.newaxis])[:, :, np.newaxis] + d_kappa[:, :, np.newaxis] * count[:, np.newaxis]
    t, r = np.flatnonzero(transmitters), np.flatnonzero(~np.asarray(transmitters))
    gain = np.sqrt(energy_over_noise * cross_section_m2 * wavelength**2 / (4.0 * np.pi) ** 3)
    return WhitenedEcho(
        gain / (distance[:, t, np.newaxis] * distance[:, np.newaxis, r]),
        phase[:, t, np.newaxis, np.newaxis, :] + phase[:, np.newaxis, r, :, np.newaxis],
        gradient[:, t, np.newaxis, np.newaxis, :] + gradient[:, np.newaxis, r, :, np.newaxis],
    )


@dataclass(frozen=True)
class QuantisedBound:
    """``squared_m2`` [P]: squared position error bound; ``information_kept`` [P]: share of the information on phases."""

    squared_m2: Float
    information_kept: Float


def quantised_bound(
    echo: WhitenedEcho, bits: int, *, step: float | None = None, target_phase_rad: float = 0.0, coherent: bool = True
) -> QuantisedBound:  # fmt: skip
    """Bound from whitened statistics of which every real number has b bits.

    The information is exact: that of the cells, with every pair's amplitude, and one phase (coherent) or a phase of each pair,
    unknown.

    Parameters
    ----------
    step
        Width of a cell in units of the statistics; None for the best step of each pair.
    """
    means, root = echo.mean(target_phase_rad), np.sqrt(2.0)
    squared, share = np.empty(len(means)), np.empty(len(means))
    for point, mean in enumerate(means):
        parts = root * np.stack([mean.real, mean.imag])
        kept = np.empty_like(parts)
        for pair in np.ndindex(mean.shape[:2]):
            width = best_step(bits, float(root * echo.amplitude[point][pair])) if step is None else root * step
            kept[:, *pair] = information_kept(parts[:, *pair], width, bits)
        b = echo.amplitude[point][..., np.newaxis, np.newaxis]
        slope = np.concatenate([echo.gradient[point], np.ones((*mean.shape, 1))], axis=-1)
        # Noise of variance 1/2 in each part; sin and cos of the phase are the parts over b.
        turning = 2.0 * (kept[0] * mean.imag**2 + kept[1] * mean.real**2)
        growing = 2.0 * (kept[0] * mean.real**2 + kept[1] * mean.imag**2) / b**2
        mixed = 2.0 * (kept[1] - kept[0]) * mean.real * mean.imag / b
        information = np.einsum("trnm,trnmi,trnmj->trij", turning, slope, slope, optimize=True)
        cross = np.einsum("trnm,trnmi->tri", mixed, slope)
        own = growing.sum(axis=(2, 3))
        information -= cross[..., :, np.newaxis] * cross[..., np.newaxis, :] / own[..., np.newaxis, np.newaxis]
        if coherent:
            packed = np.array([information[..., i, j].sum() for i, j in PACKED])
        else:
            free = information[..., :2, 2]
            left = information[..., :2, :2] - free[..., :, np.newaxis] * free[..., np.newaxis, :] / information[..., 2:, 2:]
            packed = np.array([left[..., i, j].sum() for i, j in PACKED[:3]])
        squared[point] = squared_bound(packed)
        energy = np.stack([mean.imag**2, mean.real**2])
        share[point] = float((kept * energy).sum() / energy.sum())
    return QuantisedBound(squared, share)


def information_of_receivers(entries: Float, transmitters: Bool) -> Float:
    """What each receiver knows of the position by itself.

    Parameters
    ----------
    entries
        Tables of pairs [P, 6, A, A] (a phase of each receiver is eliminated: it compares its own pairs coherently), or
        [P, 3, A, A] (a phase of each pair).
    transmitters
        Which access points transmit, [A].

    Returns
    -------
    float64, shape [3, P, R]
        Entries (x, x), (x, y), (y, y) of each receiver, 1/m^2. Their sum over the receivers is the information of the sum of
        the receivers' own maps.
    """
    sends = np.asarray(transmitters, dtype=bool)
    summed = np.moveaxis(entries[:, :, sends][..., ~sends].sum(axis=2), 1, 0)
    if len(summed) == 3:
        return summed
    xx, xy, yy, xp, yp, pp = summed
    return np.stack([xx - xp * xp / pp, xy - xp * yp / pp, yy - yp * yp / pp])


def fused_positions(information: Float, *, pitch_m: float = 0.0, covariances: bool = True) -> Float:
    """Squared error where positions of the receivers are averaged, m^2.

    Each receiver's position has the covariance of its own bound, and ``pitch^2 / 12`` per coordinate where positions are
    rounded to a grid.

    Parameters
    ----------
    information
        Of each receiver, [3, ..., R], e.g. of :func:`information_of_receivers`.
    covariances
        Whether receivers send their covariances, by which positions are weighted: then nothing but rounding is lost against the
        sum of maps, as long as each receiver reaches its bound. Without them all positions weigh the same.

    Returns
    -------
    float64, shape [...]
        Infinite where positions weigh the same and one receiver cannot locate the target.
    """
    xx, xy, yy = information
    determinant = xx * yy - xy * xy
    known = determinant > 1e-12 * (xx + yy) ** 2
    rounding = pitch_m**2 / 12.0
    if not covariances:
        spread = np.divide(xx + yy, determinant, out=np.full_like(determinant, np.inf), where=known)
        return (spread + 2.0 * rounding).sum(axis=-1) / information.shape[-1] ** 2
    if rounding == 0.0:
        return squared_bound(information.sum(axis=-1))
    # (J^-1 + c I)^-1 = J (I + c J)^-1, also where J is singular.
    scale = 1.0 + rounding * (xx + yy) + rounding**2 * np.maximum(determinant, 0.0)
    added = rounding * np.maximum(determinant, 0.0)
    weighted = np.stack([(xx + added) / scale, xy / scale, (yy + added) / scale])
    return squared_bound(weighted.sum(axis=-1))

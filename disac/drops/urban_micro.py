"""Path loss, line of sight, Rician factor and local scattering of an urban micro cell (UMi of 3GPP TR 36.814, table B.1.2.1-1).

A line of sight has the loss of :func:`disac.drops.fading.urban_micro_gain`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

SIGHT_FACTOR_DB = 9.0
"""Mean Rician factor of a line of sight where links have one by chance."""


def no_sight_gain(distance_m: ArrayLike, carrier_hz: float) -> Float:
    """Power gain without a line of sight, [...]: loss ``36.7 log10 d + 22.7 + 26 log10 f`` in dB, f in GHz."""
    loss_db = 36.7 * np.log10(distance_m) + 22.7 + 26.0 * np.log10(carrier_hz / 1e9)
    return np.asarray(10.0 ** (-loss_db / 10.0), dtype=np.float64)


def sight_probability(distance_m: ArrayLike) -> Float:
    """Probability of a line of sight, ``min(18/d, 1) (1 - e^{-d/36}) + e^{-d/36}``, [...], d in m."""
    distance = np.asarray(distance_m, dtype=np.float64)
    near = np.exp(-distance / 36.0)
    return np.minimum(18.0 / distance, 1.0) * (1.0 - near) + near


def distance_rician_factor(distance_m: ArrayLike) -> Float:
    """Rician factor that falls with distance, ``13 - 0.03 d`` in dB, as a ratio, [...], d in m."""
    return np.asarray(10.0 ** ((13.0 - 0.03 * np.asarray(distance_m)) / 10.0), dtype=np.float64)


def local_scattering(angles_rad: ArrayLike, spread_rad: float, elements: int) -> Complex:
    """Correlation of a half-wavelength array under paths from angles near one, for small spreads.

    ``R_mn = exp(j pi (m - n) sin theta) exp(-(pi (m - n) s cos theta)^2 / 2)``: the mean of
    ``a(theta + d) a(theta + d)^H`` over normal d of deviation s, the sine taken as linear around theta.

    Parameters
    ----------
    angles_rad
        Nominal angles theta, [...], rad.
    spread_rad
        Standard deviation s of the paths' angles, rad.
    elements
        Number of antennas N.

    Returns
    -------
    complex128, shape [..., N, N]
        Hermitian, positive semidefinite, of unit diagonal.
    """
    angles = np.asarray(angles_rad, dtype=np.float64)[..., np.newaxis, np.newaxis]
    apart = np.pi * np.subtract.outer(np.arange(elements), np.arange(elements))
    return np.exp(1j * apart * np.sin(angles) - (apart * spread_rad * np.cos(angles)) ** 2 / 2.0)


def correlated(correlation: Complex, samples: Complex) -> Complex:
    """Samples with the wanted correlation from samples [..., N] without any: ``L z`` with ``R = L L^H`` and L triangular.

    Antenna n depends on the samples 0 to n alone. So an array with more antennas changes no entry of a smaller one.
    """
    # A correlation may be singular (no spread, or a user in line with the array): 1e-12 covers rounding.
    root = np.linalg.cholesky(correlation + 1e-12 * np.eye(correlation.shape[-1]))
    return (root @ samples[..., np.newaxis])[..., 0]

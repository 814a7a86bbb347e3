"""Steering vectors of half-wavelength uniform linear arrays and of OFDM subcarriers, with their derivatives.

Phases are counted from the first element and the first subcarrier. The location bound does not depend on that choice, as
the complex amplitudes are unknown nuisances.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Complex = NDArray[np.complex128]


def steering_vector(angle_rad: ArrayLike, elements: int) -> Complex:
    """Array response ``a_m(theta) = exp(j pi m sin theta)``, m = 0..M-1 (002, below (5), with d_0 = lambda/2).

    Parameters
    ----------
    angle_rad
        Angles from boresight, shape [...], rad.
    elements
        Number of antennas M.

    Returns
    -------
    complex128, shape [..., M]
    """
    angle = np.asarray(angle_rad, dtype=np.float64)[..., np.newaxis]
    return np.exp(1j * np.pi * np.arange(elements) * np.sin(angle))


def steering_derivative(angle_rad: ArrayLike, elements: int) -> Complex:
    """Derivative ``da/dtheta`` of :func:`steering_vector`, shape [..., M], per rad."""
    angle = np.asarray(angle_rad, dtype=np.float64)[..., np.newaxis]
    return 1j * np.pi * np.arange(elements) * np.cos(angle) * steering_vector(angle_rad, elements)


def signal_space_coordinates(vectors: Complex, derivatives: Complex) -> tuple[Complex, Complex]:
    """Steering vectors and their derivatives in an orthonormal basis of their common span: inner products are the same.

    Parameters
    ----------
    vectors, derivatives
        Of K angles at each of N arrays of M antennas, shape [N, K, M] each.

    Returns
    -------
    complex128, shape [N, K, r] each
        With r = 2K, or M if that is less: rows of the triangular factor of their QR decomposition.
    """
    coordinates = np.linalg.qr(np.concatenate([vectors, derivatives], axis=1).swapaxes(-1, -2), mode="r")
    first, second = (part.swapaxes(-1, -2) for part in np.split(coordinates, 2, axis=-1))
    return first, second


def delay_vector(delay_s: ArrayLike, subcarriers: int, bandwidth_hz: float) -> Complex:
    """Subcarrier response ``d_l(tau) = exp(-j 2 pi (B/L) l tau)``, l = 0..L-1 (002, below (5)).

    Parameters
    ----------
    delay_s
        Delays, shape [...], s.
    subcarriers
        Number of subcarriers L.
    bandwidth_hz
        Signal bandwidth B, Hz.

    Returns
    -------
    complex128, shape [..., L]
    """
    delay = np.asarray(delay_s, dtype=np.float64)[..., np.newaxis]
    return np.exp(-2j * np.pi * (bandwidth_hz / subcarriers) * np.arange(subcarriers) * delay)


def baseband_hz(subcarriers: int, bandwidth_hz: float) -> NDArray[np.float64]:
    """Subcarrier frequencies from the middle of the band, ``(l - (L-1)/2) B/L``, shape [L], Hz."""
    number = np.arange(subcarriers, dtype=np.float64)
    return (number - (subcarriers - 1) / 2.0) * (bandwidth_hz / subcarriers)

"""What a node radiates over angle. No experiment reaches this module: an edit here runs no cell again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.arrays import steering_vector

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def array_gain(covariance: Complex, angles_rad: Float) -> Float:
    """Power of a node's signal over angle, relative to that of the same power sent by one antenna.

    ``G(theta) = a(theta)^T R a(theta)^* / tr R``: the targets are lit by ``a^T x`` (002, (5)). The largest value is M, that of
    a beam matched to its angle; independent signals of equal power on all antennas have 1 at every angle. Over ``sin theta``
    from -1 to 1 the mean of a half-wavelength array is 1. The array radiates behind itself as in front: ``G(pi - theta) =
    G(theta)``.

    Parameters
    ----------
    covariance
        ``R = E[x x^H]`` of the node's signal, summed over subcarriers, [M, M], W.
    angles_rad
        Angles from boresight, [A], rad.

    Returns
    -------
    float64, shape [A]
        Linear; zero for a node that is silent.
    """
    power = float(np.real(np.trace(covariance)))
    if power <= 0.0:
        return np.zeros(len(angles_rad))
    a = steering_vector(angles_rad, len(covariance))
    return np.maximum(np.real(np.einsum("am,mn,an->a", a, covariance, a.conj(), optimize=True)), 0.0) / power

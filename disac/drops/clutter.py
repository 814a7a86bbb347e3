"""Clutter as echoes of random patches around the target (000, section II-C: complex normal, its covariance left open)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.arrays import steering_vector

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def disturbance_covariance(patch_angles_rad: Float, patch_powers: Float, elements: int) -> Complex:
    """Clutter and noise of unit power at every node, ``R_0,n = sum_p c_p a(theta_p) a(theta_p)^H + I``, (22) of 000.

    Parameters
    ----------
    patch_angles_rad
        Angle of each patch at each node, [N, patches], rad.
    patch_powers
        Power of each patch per antenna, over the noise, [patches].
    elements
        Receive antennas.

    Returns
    -------
    complex128, shape [N, M, M]
    """
    response = steering_vector(patch_angles_rad, elements)
    clutter = np.einsum("p,npa,npb->nab", patch_powers, response, response.conj())
    return clutter + np.eye(elements)


def whitened_gain(response: Complex, disturbance: Complex) -> Float:
    """``q_n = a_n^H R_0,n^-1 a_n`` of receive responses [N, M], shape [N]: the array gain, reduced by clutter."""
    solved = np.linalg.solve(disturbance, response[..., np.newaxis])[..., 0]
    return np.real(np.einsum("na,na->n", response.conj(), solved))

"""Maximum-ratio precoding and the division of each access point's power, section II and V-A of 004; what is sent in all.

The signal (1) of access point t is ``x_t = sqrt(rho) sum_k sqrt(p_tk) w_tk q_k + delta_t sqrt((1 - rho) P_t) q_0``. 004 has the
share rho twice, in (1) and in ``sum_k p_tk = rho P_t``. Here it counts once, in (1), so that ``sum_k p_tk = P_t``; the other
reading sends rho^2 P_t for the users.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def maximum_ratio(channels: Complex) -> Complex:
    """Normalised maximum-ratio beams ``w = g / |g|`` of channels [..., N], the same shape (004, below (1))."""
    return channels / np.linalg.norm(channels, axis=-1, keepdims=True)


def power_split(strengths: Float, power_w: float) -> Float:
    """Users' powers ``p_tk = P beta_tk / sum_j beta_tj`` of each access point, by channel strength (004, V-A).

    Parameters
    ----------
    strengths
        Large-scale gains beta, [..., M_t, K].
    power_w
        What the coefficients of one access point add up to, W.

    Returns
    -------
    float64, shape [..., M_t, K], W
    """
    return power_w * strengths / strengths.sum(axis=-1, keepdims=True)


def sensing_covariance(transmitters: int, antennas: int, energy_w: float) -> Complex:
    """Sum over slots of the sensing signal's covariances, isotropic and without correlation between access points.

    Every transmitter senses in slots of its own, so the sum has diagonal blocks alone: ``energy / N`` times the identity.

    Parameters
    ----------
    energy_w
        Power of one sensing signal times its number of slots, ``L0 (1 - rho) P_t``.

    Returns
    -------
    complex128, shape [M_t N, M_t N]
    """
    return (energy_w / antennas) * np.eye(transmitters * antennas, dtype=np.complex128)


def data_covariance(beams: Complex, powers_w: Float, slots: float) -> Complex:
    """Sum over slots of the mean covariance of the users' signals, ``L sum_k w_k w_k^H``.

    All transmitters send a user the same symbol, so the stacked beam ``w_k = [sqrt(p_tk) w_tk]_t`` correlates them. The symbols
    are replaced by their mean, of which the Fisher information of many slots is close.

    Parameters
    ----------
    beams
        Of unit norm, [M_t, K, ..., N].
    powers_w
        Powers sent to the users, rho p_tk, [M_t, K].
    slots
        Number of slots L, of all transmitters together.

    Returns
    -------
    complex128, shape [..., M_t N, M_t N]
    """
    weighted = beams * np.sqrt(powers_w).reshape(*powers_w.shape, *(1,) * (beams.ndim - 2))
    # [..., M_t, N, K], then transmitters and antennas as one axis.
    stacked = np.moveaxis(weighted, (0, 1), (-3, -1))
    stacked = stacked.reshape(*stacked.shape[:-3], -1, stacked.shape[-1])
    return slots * (stacked @ stacked.conj().swapaxes(-1, -2))

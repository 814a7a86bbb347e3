"""Position error bound of one target when access points know their phases and their own positions only so well.

Each access point has an unknown phase ``phi ~ N(0, phase_std^2)`` and is displaced by ``e ~ N(0, position_std^2 I)`` (004 names
both as future work). With the closed form of :mod:`disac.metrics.position_error_map` the information of coherent phases splits
into a part of the transmitters and one of the receivers, since the target's own phase absorbs their means,

    min over c of sum_t W_t [(g_t . (p - e_t) + phi_t - c)^2 + (p - e_t)^T Lambda_t (p - e_t)] + phi_t^2 / phase_std^2 + ...,

with ``W_t = C W_R w_t``. Phases turn ``W_t`` into ``1 / (1 / W_t + phase_std^2)``; displacements turn the matrix A of an
access point into ``(I + position_std^2 A)^-1 A``. So nothing larger than a 2 by 2 matrix is inverted. Several targets, bands,
clocks and nodes in both roles go by :class:`disac.metrics.synchronisation.Synchronisation`, with which this agrees.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.metrics.access_point_terms import AccessPoints
from disac.metrics.position_error_map import position_error_m

Float = NDArray[np.float64]


def uncertain_position_error_m(
    network: AccessPoints,
    points_m: Float,
    transmitters: tuple[int, ...],
    receivers: tuple[int, ...],
    snr_m4: float,
    *,
    node_phase_std_rad: float = 0.0,
    node_position_std_m: float = 0.0,
) -> Float:
    """Hybrid bound at points [..., 2] with the residual errors of the access points as nuisances with a prior: [...], m.

    Parameters
    ----------
    snr_m4
        Of a pair (:func:`disac.metrics.position_error_map.pair_snr_m4`).
    node_phase_std_rad
        Zero where phases are known, infinite where they are not: then the bound is the noncoherent one.
    node_position_std_m
        Of each coordinate, m. All access points displaced alike displace the target, which no echo shows.

    Raises
    ------
    ValueError
        If an access point has both roles, or the signal has a band.
    """
    if set(transmitters) & set(receivers) or network.band_spread > 0:
        raise ValueError("residual errors in closed form: an access point has one role, and the signal no band")
    points = np.asarray(points_m, dtype=np.float64).reshape(-1, 2)
    v = points[:, np.newaxis] - network.positions_m
    d = np.linalg.norm(v, axis=-1)
    away, across = v / d[..., np.newaxis], np.stack([-v[..., 1], v[..., 0]], axis=-1) / d[..., np.newaxis]
    facing = np.stack([np.cos(network.boresights_rad), np.sin(network.boresights_rad)], axis=-1)
    turn = (np.pi * (away * facing).sum(axis=-1) / d)[..., np.newaxis] * across  # grad kappa
    half, scatter = (network.antennas - 1) / 2.0, (network.antennas**2 - 1) / 12.0
    g = -network.wavenumber_rad_m * away + half * turn
    weight = d**-2.0
    total = np.zeros((2, 2, len(points)))
    for role, other in ((transmitters, receivers), (receivers, transmitters)):
        own = list(role)
        strength = 2.0 * snr_m4 * weight[:, list(other)].sum(axis=1, keepdims=True) * weight[:, own]
        known = 1.0 / (1.0 / strength + node_phase_std_rad**2)
        b = known[..., np.newaxis] * g[:, own]
        a = b[..., np.newaxis] * g[:, own, np.newaxis]
        a += (strength * scatter)[..., np.newaxis, np.newaxis] * turn[:, own, :, np.newaxis] * turn[:, own, np.newaxis]
        # Displacements are absorbed by what they cannot be told from.
        left = np.linalg.inv(np.eye(2) + node_position_std_m**2 * a)
        by_place = (left @ a).sum(axis=1)
        by_both = (left @ b[..., np.newaxis])[..., 0]
        by_phase = (known - node_position_std_m**2 * (b * by_both).sum(axis=-1)).sum(axis=1)
        mean = by_both.sum(axis=1)
        scale = np.where(by_phase > 0, by_phase, 1.0)[:, np.newaxis, np.newaxis]
        total += (by_place - mean[:, :, np.newaxis] * mean[:, np.newaxis] / scale).transpose(1, 2, 0)
    error = position_error_m(np.stack([total[0, 0], total[1, 1], 0.5 * (total[0, 1] + total[1, 0])]))
    return error.reshape(np.shape(points_m)[:-1])

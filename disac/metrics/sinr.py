"""SINR of users: powers of the nodes' signals added (002, (7) and (22)), or their amplitudes (26 of the survey, coherent)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
SinrType = Literal["noncoherent", "coherent", "cbf"]


def received_power(channels: Complex, covariances: Complex, *, coherent: bool = False) -> Float:
    """Power of a signal at every user: ``sum_n h_n^H R_nn h_n``, or ``h^H R h`` with the stacked channel if coherent.

    Parameters
    ----------
    channels
        ``h_{n,u,l}``, shape [N, U, L, M_t].
    covariances
        One for all users, shape [L, N M_t, N M_t], or one for each, [U, L, N M_t, N M_t].

    Returns
    -------
    float64, shape [U, L]
    """
    nodes, users, subcarriers, antennas = channels.shape
    each = np.broadcast_to(covariances, (users, *covariances.shape[-3:]))
    if coherent:
        h = channels.transpose(1, 2, 0, 3).reshape(users, subcarriers, -1)
        return np.real(np.einsum("uli,ulij,ulj->ul", h.conj(), each, h))
    power = np.zeros((users, subcarriers))
    for node in range(nodes):
        block, h = slice(node * antennas, (node + 1) * antennas), channels[node]
        power += np.real(np.einsum("uli,ulij,ulj->ul", h.conj(), each[:, :, block, block], h))
    return power


def noncoherent_sinr(channels: Complex, streams: Complex, covariances: Complex, noise_power: float) -> Float:
    """SINR of every user on every subcarrier by powers summed over nodes (22).

    ``sum_n h^H R_{c,n,u} h / (sum_n h^H (R_nn - R_{c,n,u}) h + sigma_c^2 / L)``: a ratio of expectations over the unknown
    node phases, which the paper's designs constrain.

    Parameters
    ----------
    channels
        ``h_{n,u,l}``, shape [N, U, L, M_t].
    streams
        Covariance of each user's stream ``R_{c,u,l}``, shape [U, L, N M_t, N M_t]; only the node blocks enter. What follows
        the users' is not wanted by anybody.
    covariances
        Total covariance ``R_l``, shape [L, N M_t, N M_t].
    noise_power
        ``sigma_c^2`` over all subcarriers.

    Returns
    -------
    float64, shape [U, L], linear
    """
    return _ratio(channels, streams, covariances, noise_power, coherent=False)


def coherent_sinr(channels: Complex, streams: Complex, covariances: Complex, noise_power: float) -> Float:
    """SINR of users to whom the nodes' signals arrive in step: ``h^H R_{c,u} h / (h^H (R - R_{c,u}) h + sigma_c^2 / L)``.

    h stacks the nodes' channels, so the relative phases of the nodes at the users must be known. Arguments and result are
    those of :func:`noncoherent_sinr`.
    """
    return _ratio(channels, streams, covariances, noise_power, coherent=True)


def _ratio(channels: Complex, streams: Complex, covariances: Complex, noise_power: float, *, coherent: bool) -> Float:
    wanted = received_power(channels, streams[: channels.shape[1]], coherent=coherent)
    total = received_power(channels, covariances, coherent=coherent)
    return wanted / (total - wanted + noise_power / channels.shape[2])

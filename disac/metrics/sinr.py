"""SINR of users that combine the nodes' signals noncoherently (002, (7) and (22))."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def noncoherent_sinr(channels: Complex, streams: Complex, covariances: Complex, noise_power: float) -> Float:
    """SINR of every user on every subcarrier by powers summed over nodes (22).

    ``sum_n h^H R_{c,n,u} h / (sum_n h^H (R_nn - R_{c,n,u}) h + sigma_c^2 / L)``: a ratio of expectations over the unknown
    node phases, which the paper's designs constrain.

    Parameters
    ----------
    channels
        ``h_{n,u,l}``, shape [N, U, L, M_t].
    streams
        Covariance of each user's stream ``R_{c,u,l}``, shape [U, L, N M_t, N M_t]; only the node blocks enter.
    covariances
        Total covariance ``R_l``, shape [L, N M_t, N M_t].
    noise_power
        ``sigma_c^2`` over all subcarriers.

    Returns
    -------
    float64, shape [U, L], linear
    """
    nodes, _, subcarriers, antennas = channels.shape
    total = np.zeros(channels.shape[1:3])
    wanted = np.zeros_like(total)
    for node in range(nodes):
        block = slice(node * antennas, (node + 1) * antennas)
        h = channels[node]
        total += np.real(np.einsum("uli,lij,ulj->ul", h.conj(), covariances[:, block, block], h))
        wanted += np.real(np.einsum("uli,ulij,ulj->ul", h.conj(), streams[:, :, block, block], h))
    return wanted / (total - wanted + noise_power / subcarriers)

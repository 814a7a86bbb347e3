"""Beams of single nodes from stream covariances: what all extractions share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.problem import DesignProblem

Complex = NDArray[np.complex128]


def node_beams(problem: DesignProblem, streams: Complex) -> Complex:
    """``w_n = R_{c,n} h_n / sqrt(h_n^H R_{c,n} h_n)`` of every node, user and subcarrier (002, (27) and (33)).

    Each keeps its user's received power, ``h^H w w^H h = h^H R_c h``, and ``w w^H <= R_{c,n}``; its phase says nothing of the
    other nodes'. Zero where a node sends nothing to the user.

    Parameters
    ----------
    streams
        Stream covariances [U, L, D, D]; their node blocks count.

    Returns
    -------
    complex128, shape [U, L, D]
    """
    beams = np.zeros(streams.shape[:3], dtype=np.complex128)
    for node in range(problem.nodes):
        mine, channel = problem.node_antennas(node), problem.channels[node]
        image = np.einsum("ulij,ulj->uli", streams[:, :, mine[:, np.newaxis], mine], channel)
        gain = np.einsum("uli,uli->ul", channel.conj(), image).real
        beams[:, :, mine] = image / np.sqrt(np.where(gain > 0, gain, np.inf))[..., np.newaxis]
    return beams

"""Unconstrained design (P.1) of 002: every subcarrier is transmitted by all nodes together.

Solved in the tight relaxation of (23) that keeps the full N M_t x N M_t stream covariances. For one user it is the printed
problem (24) exactly; for more, (24) drops blocks and gives a lower, looser optimum. Its location bound makes use of the
relative phases of the nodes, which a noncoherent network does not know: read it as a bound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.problem import DesignProblem, Part, Structure

Complex = NDArray[np.complex128]


def structure(problem: DesignProblem) -> Structure:
    """All antennas of all nodes on every subcarrier (002, section IV-B)."""
    everything = np.arange(problem.nodes * problem.antennas)
    subcarriers = range(problem.subcarriers)
    return Structure("unconstrained", tuple(Part(s, everything) for s in subcarriers), tuple((s,) for s in subcarriers))


def extract_beams(problem: DesignProblem, streams: Complex) -> tuple[Complex, Complex]:
    """Rank-one beams that keep the phases between nodes, and a sensing remainder that no user hears.

    With ``X = R^{1/2} blkdiag(h_n)`` and v the principal eigenvector of ``X X^H``, ``w = R^{1/2} v`` has
    ``w w^H <= R_{c,u}``. The paper's (27) sets each node's phase by itself and so breaks both SINR and power. The remainder
    is projected on the null space of the users' channels at each node.

    Returns
    -------
    beams, remainder
        Shapes [U, L, D] and [L, D, D].
    """
    users, subcarriers, size = streams.shape[:3]
    beams = np.zeros((users, subcarriers, size), dtype=np.complex128)
    remainder = np.zeros((subcarriers, size, size), dtype=np.complex128)
    for subcarrier in range(subcarriers):
        for user in range(users):
            values, vectors = np.linalg.eigh(streams[user, subcarrier])
            root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.conj().T
            heard = np.zeros((size, problem.nodes), dtype=np.complex128)
            for node in range(problem.nodes):
                heard[problem.node_antennas(node), node] = problem.channels[node, user, subcarrier]
            left, _, _ = np.linalg.svd(root @ heard, full_matrices=False)
            beams[user, subcarrier] = root @ left[:, 0]
        w = beams[:, subcarrier]
        rest = streams[:, subcarrier].sum(axis=0) - w.T @ w.conj()
        silent = _silent_projection(problem, subcarrier)
        remainder[subcarrier] = silent @ _positive_part(rest) @ silent
    return beams, remainder


def _silent_projection(problem: DesignProblem, subcarrier: int) -> Complex:
    """Projection on what no user hears, node by node, [D, D]."""
    size = problem.nodes * problem.antennas
    projection = np.zeros((size, size), dtype=np.complex128)
    for node in range(problem.nodes):
        basis, _ = np.linalg.qr(problem.channels[node, :, subcarrier].T)
        mine = problem.node_antennas(node)
        projection[np.ix_(mine, mine)] = np.eye(problem.antennas) - basis @ basis.conj().T
    return projection


def _positive_part(matrix: Complex) -> Complex:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0.0)) @ vectors.conj().T

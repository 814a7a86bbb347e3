"""Problem (P.1) of 002 as printed in (24): each stream has one covariance for each node (Remark 2).

    R_l >= 0 on all antennas,  R_{c,n,u,l} >= 0,  R_{nn,l} - sum_u R_{c,n,u,l} >= 0  on the antennas of a node.

The blocks of R_l between two nodes belong to no stream. So for two users or more the optimum is below that of (23) without its
rank-one constraint (``unconstrained_tight``), and no signal reaches it. For one user the two problems are the same. Both
problems give bounds that need the relative phases of the nodes.

The users receive a node's streams only in the span of the node's channels. Let Q be an orthonormal basis of that span. The
streams may be replaced by ``K_u`` with ``sum_u K_u = Q^H R_nn Q``. Equality loses nothing: any power outside the streams can
be added to the stream of some user at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.designs.location import unconstrained_tight
from disac.designs.location.problem import SENSING, DesignProblem, Part, Structure

Complex = NDArray[np.complex128]


def structure(problem: DesignProblem) -> Structure:
    """The loose structure of (24). For one user it is the tight structure, since the two problems are then the same.

    Raises
    ------
    ValueError
        If the SINR is not the noncoherent one of (24), in which users add up the powers of all nodes.
    """
    if problem.sinr_type != "noncoherent":
        raise ValueError(f"the design 'unconstrained' is (24) of 002, with the noncoherent SINR; not '{problem.sinr_type}'")
    return unconstrained_tight.structure(problem) if problem.users == 1 else within_whole(problem)


def within_whole(problem: DesignProblem) -> Structure:
    """Streams on each node's antennas, within a covariance on all of them (002, (24))."""
    everything, users = np.arange(problem.nodes * problem.antennas), tuple(range(problem.users))
    subcarriers = range(problem.subcarriers)
    parts = [Part((s,), problem.node_antennas(node), users) for s in subcarriers for node in range(problem.nodes)]
    parts += [Part((s,), everything, (SENSING,)) for s in subcarriers]
    return Structure("unconstrained", tuple(parts), tuple((s,) for s in subcarriers), loose=True)


@dataclass(frozen=True)
class Heard:
    """Spans of the users' channels: ``basis`` Q [N, cells, M_t, m] for each node and each cell of subcarriers."""

    basis: Complex

    def whole_ties(self, cells: NDArray[np.int64]) -> Complex:
        """``Q_n^T`` on the antennas of node n, zero on the antennas of other nodes: shape [c, N, m, N M_t]."""
        nodes, _, antennas, size = self.basis.shape
        ties = np.zeros((len(cells), nodes, size, nodes, antennas), dtype=np.complex128)
        for node in range(nodes):
            ties[:, node, :, node] = self.basis[node, cells].swapaxes(-1, -2)
        return ties.reshape(*ties.shape[:3], -1)

    def held_ties(self, node: int, cells: int) -> Complex:
        """The identity in the tie of this node, zero in the ties of other nodes: shape [c, N, m, m].

        The streams of the node are already in the coordinates of its tie.
        """
        nodes, size = self.basis.shape[0], self.basis.shape[-1]
        ties = np.zeros((cells, nodes, size, size), dtype=np.complex128)
        ties[:, node] = np.eye(size)
        return ties

    def prices(self, multipliers: Complex, groups: Sequence[tuple[int, ...]]) -> Complex:
        """Multipliers Z of ``sum_u R_{c,n,u,l} = R_nn,l`` [L, N, M_t, M_t] from the multipliers of the ties of each cell."""
        by_cell = self.basis @ multipliers.swapaxes(0, 1) @ self.basis.conj().swapaxes(-1, -2)
        z = np.zeros((sum(map(len, groups)), len(by_cell), *by_cell.shape[2:]), dtype=np.complex128)
        for cell, group in enumerate(groups):
            z[list(group)] = by_cell[:, cell] / len(group)
        return z


def heard_basis(channels: Complex) -> Complex:
    """Orthonormal basis Q of the span of the channels from a node to its users.

    Parameters
    ----------
    channels
        Shape [..., channels, M_t].

    Returns
    -------
    complex128, shape [..., M_t, min(channels, M_t)]
    """
    # Channels are rows: h^T = u S V^H, so h is in the span of the columns of (V^H)^T.
    basis: Complex = np.linalg.svd(channels, full_matrices=False)[2].swapaxes(-1, -2)
    return basis


def node_streams(covariance: Complex, basis: Complex, heard: Complex) -> Complex:
    """Covariances ``R_{c,n,u}`` within the covariance of a node. The users receive the same power from them as from ``K_u``.

    ``R_nn^{1/2} Q = P L^H`` with L the Cholesky factor of ``Q^H R_nn Q`` and P orthonormal. Then ``R_{c,u} = R_nn^{1/2} P
    (M^{-1} K_u M^{-H}) P^H R_nn^{1/2}`` with M the Cholesky factor of ``sum_u K_u``. Without rounding, ``L = M``. The sum of
    the covariances is at most R_nn even if rounding makes L and M differ.

    Parameters
    ----------
    covariance, basis, heard
        ``R_nn`` [..., M_t, M_t], Q [..., M_t, m] and K [..., U, m, m].

    Returns
    -------
    complex128, shape [..., U, M_t, M_t]
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))[..., np.newaxis, :]) @ vectors.conj().swapaxes(-1, -2)
    p, triangle = np.linalg.qr(root @ basis)
    diagonal = np.einsum("...ii->...i", triangle)
    p = p * np.where(diagonal == 0, 1.0, diagonal / np.abs(np.where(diagonal == 0, 1.0, diagonal)))[..., np.newaxis, :]
    whitened = np.linalg.inv(np.linalg.cholesky(heard.sum(axis=-3)))
    image: Complex = (root @ p @ whitened)[..., np.newaxis, :, :]
    return image @ heard @ image.conj().swapaxes(-1, -2)

"""What of a node's antenna space serves anybody: the span of its users' channels and its steering vectors.

A covariance counts by ``h^H R h`` for channels h and by ``H R H^H`` for the rows of H, which are along ``a(theta)^T`` and its
derivative. With an orthonormal basis Q of their span on each node, ``Q Q^H R Q Q^H`` counts the same. Its power is at most that
of R node by node, not antenna by antenna. So where no antenna has a limit of its own, a design needs no more dimensions than
there are users and twice the number of targets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]

_NOTHING = 1e-13
"""Singular value, relative to the largest, of a direction that is rounding."""


def spanning_basis(vectors: Complex) -> Complex:
    """Orthonormal bases of what sets of vectors span, all of the size that the largest needs.

    Parameters
    ----------
    vectors
        Of any length, shape [..., v, M].

    Returns
    -------
    complex128, shape [..., M, r]
        The unit vectors where the whole space is spanned, or needed by some set.
    """
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = vectors / np.where(length > 0.0, length, 1.0)
    _, size, rows = np.linalg.svd(unit, full_matrices=False)
    rank = int((size > _NOTHING * size[..., :1]).sum(axis=-1).max())
    antennas = vectors.shape[-1]
    if rank == antennas:
        return np.broadcast_to(np.eye(antennas, dtype=np.complex128), (*vectors.shape[:-2], antennas, antennas))
    # Vectors are rows: x^T = u S V^H, so x is in the span of the columns of (V^H)^T.
    basis: Complex = rows[..., :rank, :].swapaxes(-1, -2)
    return basis


def of_nodes(bases: Complex) -> Complex:
    """Bases of several nodes as one of their stacked antennas: [c, N, M, r] to block-diagonal [c, N M, N r]."""
    count, nodes, antennas, size = bases.shape
    whole = np.zeros((count, nodes, antennas, nodes, size), dtype=np.complex128)
    for node in range(nodes):
        whole[:, node, :, node] = bases[:, node]
    return whole.reshape(count, nodes * antennas, nodes * size)

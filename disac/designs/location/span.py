"""Part of a node's antenna space that users or targets can see: the span of the users' channels and the steering vectors.

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
"""Length of what is left of unit vectors where it is rounding."""


def with_heard(echoed: Complex, heard: Complex) -> Complex:
    """Orthonormal bases that begin with those of what receivers see and go on with what users hear beyond it.

    Parameters
    ----------
    echoed
        Orthonormal columns, shape [N, M, e].
    heard
        Channels of any length, shape [c, N, v, M].

    Returns
    -------
    complex128, shape [c, N, M, r]
        All have the number of columns r that the largest needs.
    """
    length = np.linalg.norm(heard, axis=-1, keepdims=True)
    unit = heard / np.where(length > 0.0, length, 1.0)
    beyond = unit - (unit @ echoed.conj()) @ echoed.swapaxes(-1, -2)
    # Vectors are rows: x^T = u S V^H, so x is in the span of the columns of (V^H)^T.
    _, size, rows = np.linalg.svd(beyond, full_matrices=False)
    more = rows[..., : int((size > _NOTHING).sum(axis=-1).max()), :].swapaxes(-1, -2)
    first = np.broadcast_to(echoed, (len(heard), *echoed.shape))
    # A channel that is nearly within the first leaves a direction that is not quite orthogonal to them.
    basis = np.linalg.qr(np.concatenate([first, more], axis=-1))[0]
    return np.concatenate([first, basis[..., echoed.shape[-1] :]], axis=-1)


def of_nodes(bases: Complex) -> Complex:
    """Bases of several nodes as one of their stacked antennas: [c, N, M, r] to block-diagonal [c, N M, N r]."""
    count, nodes, antennas, size = bases.shape
    whole = np.zeros((count, nodes, antennas, nodes, size), dtype=np.complex128)
    for node in range(nodes):
        whole[:, node, :, node] = bases[:, node]
    return whole.reshape(count, nodes * antennas, nodes * size)

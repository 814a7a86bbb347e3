"""Part of a node's antenna space that users or targets can see: the span of the users' channels and the steering vectors.

A covariance R enters the SINR by ``h^H R h`` for channels h, and the information by ``H R H^H``, where the rows of H are along
``a(theta)^T`` and its derivative. Let Q be an orthonormal basis of their span on each node. Then ``Q Q^H R Q Q^H`` has the same
SINR and information as R. Its power is at most that of R for each node, but not for each antenna. So if no antenna has a limit
of its own, a design needs one dimension per user and two per target on each node.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]

_NOTHING = 1e-13
"""Largest length of a unit vector's remainder after projection that counts as rounding."""


def with_heard(echoed: Complex, heard: Complex) -> Complex:
    """Orthonormal bases of the span of given columns and channels. The given columns come first.

    Parameters
    ----------
    echoed
        Orthonormal columns of the space that receivers see, shape [N, M, e].
    heard
        Users' channels of any length, shape [c, N, v, M].

    Returns
    -------
    complex128, shape [c, N, M, r]
        All have the number of columns r of the largest basis.
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

"""Hermitian equations between covariances, ``E = 0``, as rows ``v^H E v = 0``: Newton's method then works with vectors only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def rank_one_basis(size: int) -> Complex:
    """Unit vectors b_k whose ``b_k b_k^H`` are a basis of the Hermitian matrices over the reals.

    Returns
    -------
    complex128, shape [size^2, size]
    """
    axes = np.eye(size, dtype=np.complex128)
    rows, columns = np.triu_indices(size, 1)
    pairs = [(axes[rows] + turn * axes[columns]) / np.sqrt(2.0) for turn in (1.0, 1j)]
    return np.concatenate([axes, *pairs])


def tie_vectors(held: Complex) -> Complex:
    """Vectors ``v_k = L^-H b_k`` for ``held = L L^H``: in their coordinates the held matrix is the identity.

    So the rows ``v_k^H E v_k`` have similar curvatures even if the held matrix is nearly singular, as it is at most optima.
    Rows along fixed vectors left gaps of 1e-7 to 1e-6 there, and SINRs short by 3e-6.

    Parameters
    ----------
    held
        Positive definite, shape [..., m, m].

    Returns
    -------
    complex128, shape [..., m^2, m]
    """
    inverse = np.linalg.inv(np.linalg.cholesky(held))
    # Row vectors: (L^-H b)^T = b^T L^-*.
    vectors: Complex = rank_one_basis(held.shape[-1]) @ inverse.conj()
    return vectors


def combined(coefficients: Float, vectors: Complex) -> Complex:
    """``sum_k c_k v_k v_k^H`` for c [..., m^2] and v [..., m^2, m]: shape [..., m, m]."""
    columns = vectors.swapaxes(-1, -2)
    return (columns * coefficients[..., np.newaxis, :]) @ vectors.conj()

"""Kullback-Leibler divergence of target-present against target-absent for Gaussian echoes (000, section III).

Per receiving node the echo's covariance has rank one, so with the output SCNR ``x_n`` of its whitened matched filter the
divergence (28) is ``sum_n f(x_n)``, ``f(x) = x - ln(1 + x)``: no covariance has to be formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def divergence_of_scnr(scnr: ArrayLike) -> Float:
    """``f(x) = x - ln(1 + x)``, the divergence of one node's echo of output SCNR x, nats.

    Convex and increasing for x >= 0. For small x the series x^2/2 - x^3/3 + ... cancels; log1p keeps its leading digits.
    """
    x = np.asarray(scnr, dtype=np.float64)
    return x - np.log1p(x)


def block_divergence(scnr: ArrayLike) -> Float:
    """KLD (28) with the block-diagonal covariance (25): ``sum_n f(x_n)`` over the last axis, nats.

    With ``x = B t`` and second moments of the RCS in B this is the lower bound (33) of the mean over the RCS (Jensen).

    Parameters
    ----------
    scnr
        Output SCNR of each receiving node, shape [..., N].

    Returns
    -------
    float64, shape [...]
    """
    return divergence_of_scnr(scnr).sum(axis=-1)


def divergence_slope(scnr: ArrayLike) -> Float:
    """``f'(x) = x / (1 + x)``."""
    x = np.asarray(scnr, dtype=np.float64)
    return x / (1.0 + x)


def gaussian_divergence(absent: Complex, present: Complex) -> Float:
    """KLD (28) from the covariances themselves: ``log |R_0| / |R_1| + tr(R_0^-1 R_1) - d``, nats.

    Parameters
    ----------
    absent, present
        Covariances R_0 and R_1, positive definite, shape [..., d, d].

    Returns
    -------
    float64, shape [...]
    """
    factor = np.linalg.cholesky(absent)
    half = np.linalg.solve(factor, present)
    whitened = np.linalg.solve(factor, half.conj().swapaxes(-1, -2))
    values = np.linalg.eigvalsh((whitened + whitened.conj().swapaxes(-1, -2)) / 2.0)
    return divergence_of_scnr(values - 1.0).sum(axis=-1)


@dataclass(frozen=True)
class EchoModel:
    """Map from powers t [N] at the target to a divergence.

    ``gains`` B [N, N] of receiving and transmitting node are the whitened echo powers per power at the target: output SCNR
    ``x = B t``. ``correlation`` [N, N, N] (transmitter, receiver, receiver) holds ``E[beta_nm beta_n'm^*]`` in units of the
    root mean squares of its links: ones on the diagonal, ones throughout where all links fluctuate as one. With ``full`` the
    divergence is that of the whole covariance, cross-node blocks included, which (25) of 000 drops.
    """

    gains: Float
    correlation: Float
    full: bool = False

    def scnr(self, beampowers: Float) -> Float:
        """Output SCNR of the receiving nodes, [..., N]."""
        return beampowers @ self.gains.T

    def block(self, beampowers: Float) -> Float:
        """Divergence (33) with block-diagonal covariance, nats, [...]."""
        return block_divergence(self.scnr(beampowers))

    def whole(self, beampowers: Float) -> Float:
        """Divergence with the whole covariance of all nodes' whitened echoes, nats, [...].

        Propagation phases of a link are those of its two nodes added, so that they leave the eigenvalues alone.
        """
        covariance = np.einsum("...m,mij->...ij", beampowers, self._links)
        return block_divergence(np.maximum(np.linalg.eigvalsh(covariance), 0.0))

    @cached_property
    def _links(self) -> Float:
        root = np.sqrt(self.gains.T)
        return root[:, :, np.newaxis] * root[:, np.newaxis, :] * self.correlation

    def divergence(self, beampowers: Float) -> Float:
        """The chosen divergence, :meth:`whole` or :meth:`block`. Both are convex and increasing in t."""
        return self.whole(beampowers) if self.full else self.block(beampowers)

    def gradient(self, beampowers: Float) -> Float:
        """Gradient of :meth:`divergence` in t [..., N]: ``tr(C_m) - tr((I + C)^-1 C_m)``, or ``sum_n B_nm f'(x_n)``."""
        if not self.full:
            return divergence_slope(self.scnr(beampowers)) @ self.gains
        covariance = np.einsum("...m,mij->...ij", beampowers, self._links)
        whole = np.eye(covariance.shape[-1])
        return np.einsum("...ij,mji->...m", whole - np.linalg.inv(whole + covariance), self._links)

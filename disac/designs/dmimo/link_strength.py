"""Spectral efficiency of a set of transmitters from what is known on the large scale (004, section IV-A)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class PrintedRate:
    """The approximate sum spectral efficiency (19), as printed.

    ``SINR_k = b_k^2 / (sum_{i != k} b_i^2 + s)`` with ``b_k = sum_{t in T} beta_tk``. The denominator has the other users' own
    strengths, which are not what user k hears. ``strengths`` [A, K]: power gains of the links. ``effective_noise``: ``s`` of
    (19), which the paper does not define. Two readings: ``sigma^2 / (rho P_t)``, and its square, which has the unit of ``b^2``.
    """

    strengths: Float
    effective_noise: float

    def __call__(self, transmitters: Bool) -> Float:
        """Sum over the users, bit/s/Hz: ``transmitters`` [..., A] to [...]."""
        wanted = (np.asarray(transmitters, dtype=np.float64) @ self.strengths) ** 2
        others = wanted.sum(axis=-1, keepdims=True) - wanted
        return np.log2(1.0 + wanted / (others + self.effective_noise)).sum(axis=-1)


@dataclass(frozen=True)
class LargeScaleRate:
    """A surrogate that has the interference that user k hears; ours, in place of (19).

    ``SINR_k = (sum_t sqrt(rho p_tk beta_tk N))^2 / (sum_t sum_{i != k} rho p_ti beta_tk |a_tk^H a_ti|^2 / N
    + (1 - rho) P_t mean_t beta_tk + sigma^2)`` with the powers ``p_tk = P_t beta_tk / sum_j beta_tj`` of maximum-ratio beams.
    Beams add in phase at their own user and in power at the others. ``strengths`` [A, K]; ``responses`` [A, K, N], of unit
    modulus: the array's response towards each user; powers in W.
    """

    strengths: Float
    responses: Complex
    power_w: float
    communication_share: float
    noise_w: float

    def __call__(self, transmitters: Bool) -> Float:
        """Sum over the users, bit/s/Hz: ``transmitters`` [..., A] to [...]; zero for the empty set."""
        sends = np.asarray(transmitters, dtype=np.float64)
        antennas = self.responses.shape[-1]
        powers = self.power_w * self.strengths / self.strengths.sum(axis=1, keepdims=True)
        wanted = np.sqrt(self.communication_share * powers * self.strengths * antennas)
        overlap = np.abs(np.einsum("tkn,tin->tki", self.responses.conj(), self.responses)) ** 2 / antennas
        same = np.arange(self.strengths.shape[1])
        overlap[:, same, same] = 0.0
        heard = self.communication_share * np.einsum("ti,tki->tk", powers, overlap) * self.strengths
        sensing = (1.0 - self.communication_share) * self.power_w * self.strengths
        count = np.maximum(sends.sum(axis=-1, keepdims=True), 1.0)
        disturbed = sends @ heard + sends @ sensing / count + self.noise_w
        return np.log2(1.0 + (sends @ wanted) ** 2 / disturbed).sum(axis=-1)

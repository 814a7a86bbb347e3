"""Detection of a target by whitened matched filters at every node (000, section V-B and Figs. 5-7).

Each receiving node's filter gives ``sqrt(x_n) s + z_n`` with a symbol s of unit modulus and unit noise; the statistic is the
mean over T snapshots of ``sum_n |.|^2``. Against a fixed threshold, as in 000, the false-alarm rate depends on N and T; it is
reported, and the threshold for a wanted rate is at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc, gammainccinv

from disac.rcs import FAST, SHAPE, RcsLaw, square_amplitudes
from disac.streams import complex_normal, stream

Float = NDArray[np.float64]

PAPER_THRESHOLD = 10.0
"""10 dB, for one snapshot's statistic."""


def false_alarm_rate(threshold: float, nodes: int, snapshots: int = 1) -> float:
    """Probability that noise alone exceeds the threshold: the mean of N T unit exponentials, ``Q(N T, T eta)``."""
    return float(gammaincc(nodes * snapshots, snapshots * threshold))


def threshold_for(rate: float, nodes: int, snapshots: int = 1) -> float:
    """Threshold with a given false-alarm rate."""
    return float(gammainccinv(nodes * snapshots, rate)) / snapshots


@dataclass(frozen=True)
class EchoDraws:
    """Common random numbers of one drop: ``squares`` beta^2 over its mean [S, N, N] and ``noise`` [S, N] along the signal,
    complex; ``rest`` [S, N] is the noise power of the other T - 1 dimensions. ``snapshots`` T."""

    squares: Float
    noise: NDArray[np.complex128]
    rest: Float
    snapshots: int

    def statistics(self, gains: Float, beampowers: Float) -> Float:
        """Statistic of every draw, [..., S], for mean echo gains B [N, N] and powers t [..., N] at the target."""
        scnr = np.einsum("snm,nm,...m->...sn", self.squares, gains, beampowers, optimize=True)
        heard = np.abs(np.sqrt(self.snapshots * scnr) + self.noise) ** 2 + self.rest
        return heard.sum(axis=-1) / self.snapshots


def draw_echoes(
    seed: int, realisation: int, law: RcsLaw, nodes: int, draws: int, snapshots: int, *, common: bool
) -> EchoDraws:  # fmt: skip
    """Draws for T snapshots: slow laws hold one cross-section over them, fast ones draw T and enter by their mean.

    The signal's energy over the snapshots lies in one complex dimension, so one complex normal and a Gamma variable stand for
    the noise of all. Every link and node has a stream of its own: more nodes change no draw of fewer.
    """
    # A mean of T Gamma variables of shape k is a Gamma variable of shape T k with the same mean.
    shape = SHAPE[law] * (snapshots if law in FAST else 1)
    squares = np.empty((draws, nodes, nodes))
    for n, m in np.ndindex(nodes, nodes):
        link = {"receiver": 0, "transmitter": 0} if common else {"receiver": n, "transmitter": m}
        random = stream(seed, "cross-section", realisation=realisation, **link)
        squares[:, n, m] = square_amplitudes(random, shape, (draws,))
    noise, rest = np.empty((draws, nodes), dtype=np.complex128), np.zeros((draws, nodes))
    for n in range(nodes):
        random = stream(seed, "echo-noise", realisation=realisation, receiver=n)
        noise[:, n] = complex_normal(random, draws)
        if snapshots > 1:
            rest[:, n] = random.gamma(snapshots - 1, 1.0, draws)
    return EchoDraws(squares, noise, rest, snapshots)


def detection_probability(statistics: Float, threshold: float) -> Float:
    """Share of draws [..., S] at or above the threshold."""
    return np.mean(statistics >= threshold, axis=-1)

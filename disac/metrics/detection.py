"""Detection of a target by whitened matched filters at every node (000, section V-B and Figs. 5-7).

Two receivers are modelled. With *joint* filters each receiving node has one, matched to what all transmitters send together:
it gives ``sqrt(x_n) s + z_n`` with a symbol s of unit modulus and unit noise. With *separated* filters, which 000 describes in
section II-C, each receiving node has one for every transmitter's orthogonal waveform: N^2 outputs ``sqrt(x_nm) s + z_nm``, each
with noise of its own. The statistic is the mean over T snapshots of the sum of ``|.|^2`` over all filters. Against a fixed
threshold, as in 000, the false-alarm rate depends on the number of filters and on T; it is reported, and :func:`threshold_for`
gives the threshold for a wanted rate.
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


def false_alarm_rate(threshold: float, filters: int, snapshots: int = 1) -> float:
    """Probability that noise alone exceeds the threshold: the mean of F T unit exponentials, ``Q(F T, T eta)``.

    Parameters
    ----------
    filters
        F: N with joint filters, N^2 with separated ones.
    """
    return float(gammaincc(filters * snapshots, snapshots * threshold))


def threshold_for(rate: float, filters: int, snapshots: int = 1) -> float:
    """Threshold with a given false-alarm rate for so many filters."""
    return float(gammainccinv(filters * snapshots, rate)) / snapshots


@dataclass(frozen=True)
class EchoDraws:
    """Common random numbers of one drop: ``squares`` beta^2 over its mean [S, N, N] and ``noise`` [S, N] along the signal,
    complex; ``rest`` [S, N] is the noise power of the other T - 1 dimensions. ``snapshots`` T.

    With separated filters ``noise`` and ``rest`` are [S, N, N]: receiver, transmitter.
    """

    squares: Float
    noise: NDArray[np.complex128]
    rest: Float
    snapshots: int

    @property
    def filters(self) -> int:
        """Number of filters of all receivers, F."""
        return int(np.prod(self.noise.shape[1:]))

    def statistics(self, gains: Float, beampowers: Float) -> Float:
        """Statistic of every draw, [..., S], for mean echo gains B [N, N] and powers t [..., N] at the target."""
        if self.noise.ndim == 3:
            each = np.einsum("snm,nm,...m->...snm", self.squares, gains, beampowers, optimize=True)
            apart = np.abs(np.sqrt(self.snapshots * each) + self.noise) ** 2 + self.rest
            return apart.sum(axis=(-2, -1)) / self.snapshots
        scnr = np.einsum("snm,nm,...m->...sn", self.squares, gains, beampowers, optimize=True)
        return self.heard(scnr).sum(axis=-1) / self.snapshots

    def heard(self, scnr: Float) -> Float:
        """Energy of all snapshots in each filter, in units of the noise, for the mean SCNR of each draw, [..., S, N]."""
        return np.asarray(np.abs(np.sqrt(self.snapshots * scnr) + self.noise) ** 2 + self.rest)


def draw_echoes(
    seed: int, realisation: int, law: RcsLaw, nodes: int, draws: int, snapshots: int, *, common: bool, separated: bool = False
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
    shape_of_filters = (nodes, nodes) if separated else (nodes,)
    noise, rest = np.empty((draws, *shape_of_filters), dtype=np.complex128), np.zeros((draws, *shape_of_filters))
    for place in np.ndindex(shape_of_filters):
        of_filter = dict(zip(("receiver", "transmitter"), place, strict=False))
        random = stream(seed, "echo-noise", realisation=realisation, **of_filter)
        noise[:, *place] = complex_normal(random, draws)
        if snapshots > 1:
            rest[:, *place] = random.gamma(snapshots - 1, 1.0, draws)
    return EchoDraws(squares, noise, rest, snapshots)


def detection_probability(statistics: Float, threshold: float) -> Float:
    """Share of draws [..., S] at or above the threshold."""
    return np.mean(statistics >= threshold, axis=-1)


def detection_error(probability: Float, draws: int) -> Float:
    """Standard error of a share of so many independent draws, ``sqrt(p (1 - p) / S)``."""
    return np.sqrt(np.asarray(probability) * (1.0 - np.asarray(probability)) / draws)

"""Noise of a statistic over a lattice, from differences between neighbouring points of the same draw.

A draw is paired with itself along the lattice, so what it has in common at all points is no noise: only what jumps from one
point of the finest step to the next. The fourth difference of five neighbours shows that: it removes every cubic trend and
multiplies independent noise by the root of 70 (J. J. More and S. M. Wild, "Estimating computational noise").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, stdtrit

from pipeline.refining.boxes import Float, Whole
from pipeline.refining.known import USABLE, Kinds, Noise, Tolerance

POINTS = 5
FEW_PROBES, MORE_PROBES = (1, 2), 4
"""Probes of each axis of a small and of a large lattice; further probes if the few say that the tolerance is too small."""
LARGE_LATTICE = 1000
NOISE_SHARE = 3.0
"""A tolerance is at least so many times the noise of the statistic."""
_FOURTH = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Probes:
    """Runs of five neighbouring lattice points [probes, 5, axes]."""

    points: Whole

    @property
    def cells(self) -> Whole:
        """Return the different points of all runs [points, axes]."""
        return np.unique(self.points.reshape(-1, self.points.shape[-1]), axis=0)


def few_probes(shape: tuple[int, ...]) -> int:
    """Return the number of probes of each axis with which a lattice is tried first."""
    return FEW_PROBES[math.prod(shape) >= LARGE_LATTICE]


def place_probes(shape: tuple[int, ...], count: int, random: np.random.Generator) -> Probes:
    """Return ``count`` runs of neighbours along each axis that has five points, at random places."""
    runs = []
    for axis, labels in enumerate(shape):
        if labels < POINTS:
            continue
        for _ in range(count):
            start = np.array([int(random.integers(0, n - (POINTS - 1 if a == axis else 0))) for a, n in enumerate(shape)])
            run = np.tile(start, (POINTS, 1))
            run[:, axis] += np.arange(POINTS)
            runs.append(run)
    return Probes(np.array(runs, dtype=np.int64).reshape(-1, POINTS, len(shape)))


def estimate_noise(kinds: Kinds, values: Float, tolerance: Tolerance) -> Noise:
    """Estimate the noise of a single draw from the values at probes.

    The median over the probes keeps a kink at one of them from being taken for noise.

    Parameters
    ----------
    kinds, values
        Outcomes of the probes [probes, 5, draws]. A draw counts at a probe if all its five cells are usable.

    Returns
    -------
    Noise
        Without a deviation if no probe has five usable cells.
    """
    squares, weights = [], []
    for probe_kinds, probe_values in zip(kinds, values, strict=True):
        usable = (probe_kinds == USABLE).all(axis=0)
        if usable.any():
            inside = probe_values[:, usable]
            scale = abs(float(inside.mean())) if tolerance.relative else 1.0
            # Differences below the rounding of the values are no noise.
            difference = _FOURTH @ inside / scale if scale > 0.0 else np.zeros(int(usable.sum()))
            squares.append(float(np.mean(difference**2)) / float((_FOURTH**2).sum()))
            weights.append(int(usable.sum()))
    if not squares:
        return Noise()
    middle = int(np.argsort(squares, kind="stable")[(len(squares) - 1) // 2])
    count = int(np.median(weights))
    # The median of a mean of squares lies below its expectation.
    bias = 2.0 * float(gammaincinv(count / 2, 0.5)) / count  # the median of chi-square over its mean
    freedom = max(1, sum(weights) // 2)
    return Noise(math.sqrt(squares[middle] / bias), float(stdtrit(freedom, 0.5 + _CONFIDENCE / 2)))


def draws_needed(noise: Noise, tolerance: Tolerance, draws: int) -> int:
    """Return the number of draws for which a tolerance is three times the noise of the mean over them; at most ``draws`` if it
    is so already."""
    needed = math.ceil((NOISE_SHARE * noise.deviation / tolerance.size) ** 2)
    return needed if needed > draws else draws


def statistic(values: Float, kinds: NDArray[np.uint8]) -> Float:
    """Return the mean over the usable draws, [...] of [..., draws]; NaN without any."""
    usable = kinds == USABLE
    count = usable.sum(axis=-1)
    mean = np.full(count.shape, np.nan)
    np.divide(np.where(usable, values, 0.0).sum(axis=-1), count, out=mean, where=count > 0)
    return mean

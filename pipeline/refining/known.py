"""What is known of one lattice: kinds and values of its cells, the tolerance of their mean, and its noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.refining.boxes import Float, Whole

UNKNOWN, USABLE, INFEASIBLE, FAILED, VALUELESS = range(5)
"""Kinds of cells: not computed; feasible with a value; infeasible; failed; feasible without a value."""

Kinds = NDArray[np.uint8]


@dataclass(frozen=True)
class Tolerance:
    """How far an interpolated statistic may be from the computed one.

    Parameters
    ----------
    size
        A share of the value if ``relative``, else a number in the unit of the variable.
    """

    size: float
    relative: bool = True

    def allowed(self, values: Float) -> Float:
        """Return the allowed error at points where the statistic has these values."""
        return self.size * np.abs(values) if self.relative else np.full(values.shape, self.size)


@dataclass(frozen=True)
class Noise:
    """Noise of one cell's value: its standard deviation, as a share of the value or absolute as the tolerance is.

    ``quantile`` is Student's 97.5 % quantile for the number of differences from which it was estimated.
    """

    deviation: float = 0.0
    quantile: float = 0.0

    def band(self, tolerance: Tolerance, draws: int, gain: Float) -> Float:
        """Return the half width of the 95 % interval of a residual in allowed errors: of a mean over draws, with its gain."""
        return self.quantile * self.deviation * gain / (tolerance.size * np.sqrt(draws))


class Known:
    """The cells of a lattice that are known.

    Parameters
    ----------
    shape
        Number of labels of each axis, each at least 2.
    draws
        Number of draws at each point.
    tolerance
        Allowed error of the mean over the usable draws.
    """

    def __init__(self, shape: tuple[int, ...], draws: int, tolerance: Tolerance) -> None:
        self.shape, self.draws, self.tolerance, self.noise = shape, draws, tolerance, Noise()
        self.kinds: Kinds = np.full((*shape, draws), UNKNOWN, dtype=np.uint8)
        self.values: Float = np.full((*shape, draws), np.nan)
        self.geometric = tolerance.relative
        """Whether logarithms may be interpolated: if the tolerance is a share, until a value is not above zero."""

    def put(self, cells: Whole, kinds: Kinds, values: Float) -> None:
        """Take the outcome of computed cells [cells, axes + 1]."""
        place = tuple(cells.T)
        self.kinds[place] = kinds
        self.values[place] = np.where(kinds == USABLE, values, np.nan)
        if (values[kinds == USABLE] <= 0.0).any():
            self.geometric = False

    @property
    def scales(self) -> tuple[bool, ...]:
        """Return the scales on which boxes may be interpolated, the preferred one first: whether logarithms are."""
        return (True, False) if self.geometric else (False,)

    def shares(self, values: Float, logs: bool) -> Float:
        """Return the weights [points, draws] with which residuals of the draws make that of the mean, in allowed errors."""
        if logs:
            return values / values.sum(axis=1, keepdims=True) / np.log1p(self.tolerance.size)
        allowed = self.tolerance.allowed(values.mean(axis=1, keepdims=True))
        return np.divide(1.0 / values.shape[1], allowed, out=np.full(values.shape, np.inf), where=allowed > 0.0)

    def at(self, points: Whole, draws: Whole) -> Float:
        """Return the values at points [points, axes], [points, draws]; NaN where a cell has none."""
        found: Float = self.values[tuple(points.T)][:, draws]
        return found

    def band(self, draws: Whole, gain: Float) -> Float:
        """Return the half width of the 95 % interval of a residual of the mean over draws, with its gain, in allowed errors."""
        return self.noise.band(self.tolerance, len(draws), gain)


def weighted(residual: Float, shares: Float) -> Float:
    """Return the weighted sum over draws, [...] of [..., draws]; no residual counts as none, whatever its weight."""
    found: Float = np.where(residual == 0.0, 0.0, residual * shares).sum(axis=-1)
    return found


def forth(values: Float, logs: bool) -> Float:
    """Return values as they are interpolated: their logarithms, or the values themselves."""
    return np.log(values) if logs else values


def back(interpolated: Float, logs: bool) -> Float:
    """Return the values of what was interpolated."""
    return np.exp(interpolated) if logs else interpolated

"""Boxes of a lattice, the points at which they are sampled, and the interpolation between these points.

A box is sampled at its corners, at the middles of its edges and at its centre. Its interpolant is hierarchical: the multilinear
function of the corners, plus for each edge what its middle is off (a parabola along the edge, linear across it), plus what the
centre is off (a product of parabolas). In two dimensions this is the biquadratic interpolant of nine samples.
What the middle of an edge is off is the error that multilinear interpolation makes along the edge's axis.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Box:
    """A box of a lattice: its lowest and its highest point, both inside, as label numbers."""

    low: tuple[int, ...]
    high: tuple[int, ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Return the number of lattice intervals along each axis."""
        return tuple(high - low for low, high in zip(self.low, self.high, strict=True))

    @property
    def block(self) -> tuple[slice, ...]:
        """Return the slices of all lattice points inside, ends included."""
        return tuple(slice(low, high + 1) for low, high in zip(self.low, self.high, strict=True))

    @property
    def divisible(self) -> tuple[int, ...]:
        """Return the axes along which there is a lattice point between the ends."""
        return tuple(axis for axis, length in enumerate(self.lengths) if length > 1)

    def halves(self, axis: int) -> tuple[Box, Box]:
        """Return the two parts on either side of the middle along an axis; they share the points of the middle."""
        middle = (self.low[axis] + self.high[axis]) // 2
        until = (*self.high[:axis], middle, *self.high[axis + 1 :])
        since = (*self.low[:axis], middle, *self.low[axis + 1 :])
        return Box(self.low, until), Box(since, self.high)


@dataclass(frozen=True)
class Pattern:
    """The samples of all boxes of the same lengths, and what follows from their values.

    Parameters
    ----------
    offsets
        Samples [samples, axes], counted from the lowest point of the box; the corners come first.
    axis
        For each sample the axis of its edge; -1 for a corner, -2 for a centre.
    surpluses
        Matrix [samples, samples] from the samples' values to the coefficients of the interpolant: the value of a corner; what
        the middle of an edge or a centre is off the interpolant of the samples before it.
    block
        Matrix [points, samples] from the samples' values to the interpolant at all lattice points of the box, in C order.
    """

    offsets: Whole
    axis: Whole
    surpluses: Float
    block: Float
    lengths: tuple[int, ...]

    @property
    def corners(self) -> int:
        """Return the number of corners."""
        return int((self.axis == -1).sum())

    @property
    def inside(self) -> Whole:
        """Return the numbers of the samples in the flattened block of the box."""
        return np.ravel_multi_index(tuple(self.offsets.T), tuple(n + 1 for n in self.lengths)).astype(np.int64)

    def weights(self, points: Float) -> Float:
        """Return the matrix [points, samples] from the samples' values to the interpolant at points [points, axes].

        Points are counted from the lowest point of the box and need not be lattice points.
        """
        return _basis(self.lengths, self.axis, self.offsets, points) @ self.surpluses


@lru_cache(maxsize=4096)
def pattern(lengths: tuple[int, ...]) -> Pattern:
    """Return the samples of a box with these lengths, each at least 1."""
    ends = [(0, n) for n in lengths]
    middles = [n // 2 for n in lengths]
    divisible = [a for a, n in enumerate(lengths) if n > 1]
    offsets, axis = list(itertools.product(*ends)), [-1] * 2 ** len(lengths)
    for a in divisible:
        found = list(itertools.product(*[(middles[b],) if b == a else ends[b] for b in range(len(lengths))]))
        offsets, axis = offsets + found, axis + [a] * len(found)
    if len(divisible) > 1:
        found = list(itertools.product(*[(middles[b],) if b in divisible else ends[b] for b in range(len(lengths))]))
        offsets, axis = offsets + found, axis + [-2] * len(found)
    places, kind = np.array(offsets, dtype=np.int64), np.array(axis, dtype=np.int64)
    # The basis functions at the samples form a lower triangular matrix of blocks with a unit diagonal.
    surpluses = np.linalg.inv(_basis(lengths, kind, places, places.astype(np.float64)))
    every = np.stack([m.ravel() for m in np.meshgrid(*[np.arange(n + 1.0) for n in lengths], indexing="ij")], axis=1)
    block = _basis(lengths, kind, places, every) @ surpluses
    return Pattern(places, kind, surpluses, block, lengths)


def _basis(lengths: tuple[int, ...], axis: Whole, offsets: Whole, points: Float) -> Float:
    """Return the basis functions of the samples at points, [points, samples].

    Along an axis on which the sample is a middle the function is a parabola, on the other axes it is linear.
    """
    found = np.ones((len(points), len(offsets)))
    for a, length in enumerate(lengths):
        share, middle = points[:, a, np.newaxis] / length, (length // 2) / length
        at = offsets[:, a]
        linear = np.where(at == 0, 1.0 - share, share)
        parabola = share * (1.0 - share) / (middle * (1.0 - middle)) if length > 1 else share
        found *= np.where((axis == a) | ((axis == -2) & (length > 1)), parabola, linear)
    return found

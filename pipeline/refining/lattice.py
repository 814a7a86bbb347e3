"""The lattice of a refinement: the values that the numeric axes may take between their ends (rule G2).

A lattice divides each axis into equal intervals on the axis's own scale. By default their number is a power of two, so that a
finer lattice holds every label of a coarser one, and a cell keeps its label and its key.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.values import spaced

Scale = Literal["linear", "log"]
Number = int | float

DEFAULT_INTERVALS = 64
MOST_INTERVALS = 4096
_RATIO_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Step:
    """The finest step of an axis: a number of equal intervals, or a size in the axis's unit (linear axes alone)."""

    intervals: int | None = None
    size: Decimal | None = None


@dataclass(frozen=True)
class LatticeAxis:
    """An axis of a lattice.

    Parameters
    ----------
    name
        Name of the axis in the cube.
    labels
        All labels of the lattice from one end of the axis to the other, equally spaced on ``scale``.
    scale
        ``linear`` or ``log``.
    unit
        Unit of the labels.
    """

    name: str
    labels: tuple[Number, ...]
    scale: Scale = "linear"
    unit: str = "1"

    @property
    def intervals(self) -> int:
        """Return the number of intervals between the ends."""
        return len(self.labels) - 1

    def positions(self, values: object) -> NDArray[np.float64]:
        """Return where values lie on the lattice: 0 at the first label, 1 at the second, and between them on the axis's scale.

        Parameters
        ----------
        values
            Values in the axis's unit, any shape.

        Raises
        ------
        ValueError
            If a value lies outside the ends of the axis.
        """
        given = np.asarray(values, dtype=np.float64)
        first, last = float(self.labels[0]), float(self.labels[-1])
        if not ((given >= min(first, last)) & (given <= max(first, last))).all():
            raise ValueError(f"'{self.name}': values from {min(first, last):g} to {max(first, last):g} are accepted")
        log = self.scale == "log"
        share = np.log(given / first) / math.log(last / first) if log else (given - first) / (last - first)
        place: NDArray[np.float64] = share * self.intervals
        # A label has its number exactly, although the logarithm rounds.
        whole = np.rint(place).astype(np.int64)
        return np.where(np.asarray(self.labels, dtype=np.float64)[whole] == given, whole, place)


def parse_step(text: str) -> Step:
    """Return the step that a text means: ``1/64`` of the axis, or a size such as ``0.5``.

    Raises
    ------
    ValueError
        If the text is neither.
    """
    share, slash, parts = text.partition("/")
    if slash:
        if share.strip() != "1" or not parts.strip().isascii() or not parts.strip().isdigit():
            raise ValueError(f"'{text}' is no step; write 1/64 for a share of the axis, or a size such as 0.5")
        return Step(intervals=_checked(int(parts)))
    try:
        size = Decimal(text.strip())
    except DecimalException as error:
        raise ValueError(f"'{text}' is no step; write 1/64 for a share of the axis, or a size such as 0.5") from error
    if not size.is_finite() or size <= 0:
        raise ValueError(f"'{text}' is no step; it is a size above zero")
    return Step(size=size)


def _checked(intervals: int) -> int:
    if not 1 <= intervals <= MOST_INTERVALS:
        raise ValueError(f"{intervals} intervals; 1 to {MOST_INTERVALS} are accepted")
    return intervals


def is_geometric(values: Sequence[Number]) -> bool:
    """Return whether at least three values above zero follow each other in one ratio: 5, 10, 20, 40."""
    if len(values) < 3 or min(values) <= 0:
        return False
    ratios = [later / earlier for earlier, later in itertools.pairwise(values)]
    return all(abs(ratio / ratios[0] - 1.0) < _RATIO_TOLERANCE for ratio in ratios) and abs(ratios[0] - 1.0) > _RATIO_TOLERANCE


def lattice_axis(
    name: str, values: Sequence[Number], step: Step | None = None, *, whole: bool = False, scale: Scale = "linear",
    unit: str = "1",
) -> LatticeAxis:  # fmt: skip
    """Return the lattice between the ends of an axis.

    Parameters
    ----------
    values
        Values of the axis in the study; the least and the largest are the ends.
    step
        Finest step; None: a 64th of the axis.
    whole
        Whether the axis has whole numbers: then there is no point between neighbouring integers.
    scale
        Scale of the axis; an axis of whole numbers is linear.

    Raises
    ------
    ValueError
        If the axis has fewer than two values, or the step does not divide it.
    """
    low, high = min(values), max(values)
    if low == high:
        raise ValueError(f"the axis '{name}' has one value, {low}: there is nothing between its ends")
    if whole:
        return LatticeAxis(name, _whole_labels(name, int(low), int(high), step), "linear", unit)
    if step is not None and step.size is not None:
        if scale == "log":
            raise ValueError(f"the axis '{name}' is logarithmic: give its step as a share of it, such as 1/64")
        intervals = _checked(_divided(name, low, high, step.size))
    else:
        intervals = (step.intervals if step is not None else None) or DEFAULT_INTERVALS
    return LatticeAxis(name, spaced(low, high, intervals + 1, scale), scale, unit)


def _whole_labels(name: str, low: int, high: int, step: Step | None) -> tuple[int, ...]:
    """Return whole labels from end to end: every integer, or every integer that a wider step meets."""
    if step is None:
        return tuple(range(low, high + 1))
    if step.size is not None:
        if step.size != int(step.size):
            raise ValueError(f"the axis '{name}' has whole numbers: its step is a whole number, not {step.size}")
        _divided(name, low, high, step.size)
        return tuple(range(low, high + 1, int(step.size)))
    assert step.intervals is not None
    # A share that is no whole number of steps is finer than the axis; then every integer is a point.
    width, rest = divmod(high - low, step.intervals)
    return tuple(range(low, high + 1, width if width and not rest else 1))


def _divided(name: str, low: Number, high: Number, size: Decimal) -> int:
    intervals = (Fraction(repr(high)) - Fraction(repr(low))) / Fraction(size)
    if intervals.denominator != 1 or intervals < 1:
        raise ValueError(f"the step {size} does not divide the axis '{name}' from {low:g} to {high:g} into equal parts")
    return int(intervals)

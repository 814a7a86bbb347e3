"""How a cube is cut for its surfaces: into regions, one for each task, and these into blocks, each with a key of its own.

Every point of surfaces needs all cells along the averaged, the edge and the paired axis, and no others. So a cube is cut along
its other, *free* axes alone. The cut follows from the lengths of the axes, so that an axis that grows moves no block before its
new values, unless its length passes a power of two.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

Box = tuple[slice, ...]
"""A place for each free axis: from its start to its stop."""

SHARE = 25
"""Fewest blocks along a long axis: one changed value of any axis changes at most one block in twenty-five."""
MOST_BLOCKS = 2**15
"""Most blocks of a cube: each costs some microseconds of hashing for each variable."""


def block_sides(lengths: Sequence[int]) -> tuple[int, ...]:
    """Return the sides of a block along the free axes: powers of two."""
    sides = [2 ** max(0, (length // SHARE).bit_length() - 1) for length in lengths]
    while math.prod(-(-n // side) for n, side in zip(lengths, sides, strict=True)) > MOST_BLOCKS:
        shortest = max(range(len(sides)), key=lambda a: (lengths[a] / sides[a], -a))
        sides[shortest] *= 2
    return tuple(sides)


def region_sides(lengths: Sequence[int], sides: Sequence[int], most: float) -> tuple[int, ...]:
    """Return the sides of a region: blocks doubled along the axis where the region is shortest, up to ``most`` points."""
    found = list(sides)
    while True:
        open_ = [a for a, (length, side) in enumerate(zip(lengths, found, strict=True)) if side < length]
        if not open_:
            return tuple(found)
        shortest = min(open_, key=lambda a: (found[a], -a))
        if 2 * math.prod(min(n, side) for n, side in zip(lengths, found, strict=True)) > most:
            return tuple(found)
        found[shortest] *= 2


def boxes(lengths: Sequence[int], sides: Sequence[int]) -> Iterator[Box]:
    """Yield boxes that fill the axes, in the order of the first axis, then of the second and so on."""
    steps = (
        [slice(i, min(i + side, length)) for i in range(0, length, side)] for length, side in zip(lengths, sides, strict=True)
    )
    yield from itertools.product(*steps)


def shape_of(box: Box) -> tuple[int, ...]:
    """Return the lengths of a box."""
    return tuple(side.stop - side.start for side in box)


def overlap(one: Box, other: Box) -> tuple[Box, Box] | None:
    """Return where two boxes meet, as places inside the one and inside the other; None if they do not meet."""
    ends = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)]
    if any(start >= stop for start, stop in ends):
        return None
    inside = [
        tuple(slice(start - side.start, stop - side.start) for (start, stop), side in zip(ends, box, strict=True))
        for box in (one, other)
    ]
    return inside[0], inside[1]

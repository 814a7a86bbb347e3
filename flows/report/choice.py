"""Choose which of many values a page shows, and write the sentence that says what the page leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_CURVES = 24
"""In one plot: their legend fits on a screen, and every study that comes with the project stays whole."""
MOST_VALUES = 200
"""Points of one curve; a plot is a thousand dots wide."""
MOST_POINTS = 12_000
"""Points on a page: they make most of its bytes."""
MOST_PANELS = 12
"""Plots or tables of one kind."""
MOST_PLOTS = 20
"""Trade-offs on a page."""
MOST_ROWS = 40
"""In one table."""
MOST_COLUMNS = 24
"""In one table, and names along one axis."""
MOST_LETTERS = 20
"""Of a name along an axis."""

EXPORT = "`disac export` writes all values."


@dataclass(frozen=True)
class Choice:
    """Places of a grid that are shown, in its order.

    ``thinned`` says of an axis (by number) how many of its values are shown, and of how many.
    """

    places: list[tuple[int, ...]]
    total: int
    thinned: dict[int, tuple[int, int]]

    def left_out(self, what: str, axes: Sequence[str], way: str) -> str:
        """The sentence on what is not shown, with the way to see it; empty where everything is."""
        if len(self.places) == self.total:
            return ""
        values = [f"{kept} of {count} values of {axes[number]}" for number, (kept, count) in self.thinned.items()]
        return (
            f"{len(self.places):,} of {self.total:,} {what} are shown, the first, the last and evenly spaced ones between"
            f"{': ' if values else ''}{' and '.join(values)}. {way}"
        )


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of ``count`` numbers from 0 on: both ends and evenly spaced ones between."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def choose(full: NDArray[np.bool_], most: int, limits: Sequence[int] | None = None) -> Choice:
    """At most so many of the places where there is something.

    Longest axes first, values are left out until what remains fits: both ends stay, and evenly spaced values between. On a
    sparse grid, where that would meet little, places are taken evenly from all that have something.

    Parameters
    ----------
    full
        Where there is something.
    most
        Places to choose.
    limits
        Per axis the most values that may stay when some must go; of equally long axes that with the lowest limit gives way.
    """
    places = np.argwhere(full)
    if len(places) <= most:
        return Choice([tuple(place) for place in places.tolist()], len(places), {})
    met = [np.flatnonzero(full.any(axis=tuple(b for b in range(full.ndim) if b != a))) for a in range(full.ndim)]
    limits = [most] * full.ndim if limits is None else limits
    kept = [min(len(values), limit, most) for values, limit in zip(met, limits, strict=True)]
    while math.prod(kept) > most:
        kept[max(range(full.ndim), key=lambda a: (kept[a], -limits[a], a))] -= 1
    chosen = [values[evenly(len(values), n)] for values, n in zip(met, kept, strict=True)]
    mask = np.zeros(full.shape, dtype=bool)
    mask[np.ix_(*chosen)] = full[np.ix_(*chosen)]
    thinned = {a: (n, len(values)) for a, (n, values) in enumerate(zip(kept, met, strict=True)) if n < len(values)}
    found = np.argwhere(mask)
    if 2 * len(found) < most:
        found, thinned = places[evenly(len(places), most)], {}
    return Choice([tuple(place) for place in found.tolist()], len(places), thinned)

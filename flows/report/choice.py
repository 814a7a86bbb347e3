"""Choose which of many values a page shows, and write the sentence that says what the page leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_CURVES = 24
"""Most curves of a plot: the legend fits on a screen, and every study that comes with the project is shown whole."""
MOST_VALUES = 200
"""Most points of a curve: a plot is a thousand dots wide."""
MOST_POINTS = 12_000
"""Most points on a page: points make most of the page's bytes."""
MOST_PANELS = 12
"""Most plots of one variable."""
MOST_TABLES = 8
"""Most tables side by side."""
MOST_PLOTS = 20
"""Most trade-offs on a page."""
MOST_ROWS = 40
"""Most rows of a table."""
MOST_COLUMNS = 24
"""Most columns of a table, most rows of a table side by side, and most names along an axis."""
MOST_LETTERS = 20
"""Most letters of a name along an axis."""

EXPORT = "`disac export` writes all values."


@dataclass(frozen=True)
class Choice:
    """The places of a grid that are shown, in the order of the grid.

    ``thinned`` gives for an axis (by its number) how many of its values are shown, and how many it has.
    """

    places: list[tuple[int, ...]]
    total: int
    thinned: dict[int, tuple[int, int]]

    def left_out(self, what: str, axes: Sequence[str], way: str) -> str:
        """Return the sentence on the parts that are not shown and the way to see them; empty if all parts are shown."""
        if len(self.places) == self.total:
            return ""
        values = [f"{kept} of {count} values of {axes[number]}" for number, (kept, count) in self.thinned.items()]
        return (
            f"{len(self.places):,} of {self.total:,} {what} are shown, the first, the last and evenly spaced ones between"
            f"{': ' if values else ''}{' and '.join(values)}. {way}"
        )


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` of the numbers from 0 to ``count`` - 1: both ends, and evenly spaced numbers between."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def choose(full: NDArray[np.bool_], most: int, limits: Sequence[int] | None = None) -> Choice:
    """Choose at most ``most`` of the places that hold data.

    The function leaves out values of the longest axes until the remaining places fit; both ends and evenly spaced values
    between stay. On a sparse grid few of these places may hold data; then places are taken evenly from all that hold data.

    Parameters
    ----------
    full
        Mask of the places that hold data.
    most
        Number of places to choose at most.
    limits
        For each axis the most values that may stay if some must be left out. Of equally long axes, the axis with the lowest
        limit loses values first.
    """
    places = np.argwhere(full)
    if len(places) <= most:
        return Choice([tuple(place) for place in places.tolist()], len(places), {})
    met = [np.flatnonzero(full.any(axis=tuple(b for b in range(full.ndim) if b != a))) for a in range(full.ndim)]
    limits = [most] * full.ndim if limits is None else limits
    kept = [min(len(values), limit, most) for values, limit in zip(met, limits, strict=True)]
    while math.prod(kept) > most:
        kept[max(range(full.ndim), key=lambda a: (kept[a], -limits[a], a))] -= 1
    for a in sorted(range(full.ndim), key=lambda a: (limits[a], -a), reverse=True):
        # One value less of the longest axis may have left room for more values of another axis.
        while kept[a] < min(len(met[a]), limits[a]) and math.prod(kept) // kept[a] * (kept[a] + 1) <= most:
            kept[a] += 1
    chosen = [values[evenly(len(values), n)] for values, n in zip(met, kept, strict=True)]
    mask = np.zeros(full.shape, dtype=bool)
    mask[np.ix_(*chosen)] = full[np.ix_(*chosen)]
    thinned = {a: (n, len(values)) for a, (n, values) in enumerate(zip(kept, met, strict=True)) if n < len(values)}
    found = np.argwhere(mask)
    if 2 * len(found) < most:
        found, thinned = places[evenly(len(places), most)], {}
    return Choice([tuple(place) for place in found.tolist()], len(places), thinned)

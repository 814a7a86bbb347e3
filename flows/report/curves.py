"""The curves of a trade-off: the choice of the curves that are drawn, and the looks of each curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from flows.report.choice import EXPORT, MOST_CURVES, choose
from flows.report.words import DASHES, axis_title, colours, label, lighter, unit_of_axis
from pipeline.statistics import statistic

_WAY = f"To see others, give an axis plots of its own by `report.panels`, or narrow the study by `where`; {EXPORT}"

_SHADES = 5
"""Shades of one colour that a reader can tell apart. There are fewer shades than dashes, and fewer dashes than colours."""


@dataclass(frozen=True)
class Curve:
    """A curve: the labels and the place that it stands for, its name, and its looks.

    The name is the labels in words; it is empty if the plot has only one curve.
    """

    chosen: dict[str, Any]
    name: str
    at: tuple[int, ...]
    colour: str
    dash: str


def curve_axes(surfaces: xr.Dataset, spec: dict[str, Any], variable: str) -> list[str]:
    """Return the axes whose every combination of values has a curve."""
    return [str(d) for d in statistic(surfaces, variable, "mean_feasible").dims if d != spec["x"]]


def curve_series(surfaces: xr.Dataset, spec: dict[str, Any], variable: str) -> tuple[list[Curve], str]:
    """Return the curves of a plot, no two of which look alike, and a sentence on the curves that are left out.

    A hue stands for a value of the axis ``colour``, a dash for a value of ``style``. Lighter shades stand for the values of
    all other axes, and for values of ``style`` beyond the number of dashes.
    """
    dims, hued, dashed = curve_axes(surfaces, spec, variable), spec.get("colour"), spec.get("style")
    full = np.isfinite(along(surfaces, statistic(surfaces, variable, "mean_feasible"), dims, spec["x"])).any(axis=-1)
    choice = choose(full, MOST_CURVES, [MOST_CURVES if d == hued else len(DASHES) if d == dashed else _SHADES for d in dims])
    # If all curves are drawn, a value has the same looks in every panel, whichever other cells are feasible there.
    whole = len(choice.places) == choice.total and max(full.shape, default=1) <= MOST_CURVES
    rank = {
        d: {i: n for n, i in enumerate(range(size) if whole else sorted({at[a] for at in choice.places}))}
        for a, (d, size) in enumerate(zip(dims, full.shape, strict=True))
    }
    ordered = hued in surfaces.coords and surfaces[hued].dtype.kind in "iuf"
    palette = colours(len(rank.get(hued, [0])), ordered=ordered)
    shaded = [d for d in dims if d not in (hued, dashed)]
    sizes = (-(-len(rank.get(dashed, [0])) // len(DASHES)), *(len(rank[d]) for d in shaded))
    curves = []
    for at in choice.places:
        number = {d: rank[d][i] for d, i in zip(dims, at, strict=True)}
        more, dash = divmod(number.get(dashed, 0), len(DASHES))
        shade = int(np.ravel_multi_index((more, *(number[d] for d in shaded)), sizes))
        colour = lighter(palette[number.get(hued, 0)], shade / math.prod(sizes))
        chosen = {d: np.asarray(surfaces[d].values[i]).item() for d, i in zip(dims, at, strict=True)}
        name = ", ".join(label(axis, value, unit_of_axis(surfaces, axis)) for axis, value in chosen.items())
        curves.append(Curve(chosen, name, at, colour, DASHES[dash]))
    return curves, choice.left_out("curves", [axis_title(surfaces, d) for d in dims], _WAY)


def along(surfaces: xr.Dataset, values: xr.DataArray, dims: list[str], x: str) -> np.ndarray[Any, Any]:
    """Return the values [*dims, x], repeated along the dimensions that they lack."""
    missing = {d: surfaces.sizes[d] for d in (*dims, x) if d not in values.dims}
    return np.asarray(values.expand_dims(missing).transpose(*dims, x).values)

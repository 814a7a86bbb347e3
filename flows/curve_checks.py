"""Checks on curves: where they cross a level, and how far apart two of them are."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flows.evidence import Outcome, has_labels, log_ratio, mean_and_half_width, undecided, values_of


def crossing_gap(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, along: str, level: float, axis: str, low: Any, high: Any,
    least: float, most: float = np.inf,
) -> Outcome:  # fmt: skip
    """How much further along an axis one label crosses a level than another, realisation by realisation, in that axis's unit.

    Each crossing is interpolated between neighbours. Holds if the mean over realisations lies between ``least`` and ``most`` at
    every point of the other axes with all of its 95 % band, and fails if a band lies outside.
    """
    if not has_labels(cube, axis, low, high) or along not in cube.dims:
        return undecided(f"the study lacks {low}, {high} or {along}")
    over = surfaces.attrs.get("over")
    places = []
    for label in (low, high):
        values = values_of(cube, variable).sel({axis: label}, drop=True).transpose(..., over, along)
        table = values.values.reshape(-1, values.sizes[over], values.sizes[along])
        places.append(_crossings(table, np.asarray(cube[along].values, dtype=np.float64), level))
    gaps = [row[np.isfinite(row)] for row in places[1] - places[0]]
    points = [mean_and_half_width(row) for row in gaps if row.size]
    if not points:
        return undecided(f"no line crosses {level:g}")
    inside = sum(least <= m - h and m + h <= most for m, h in points)
    outside = sum(m + h < least or m - h > most for m, h in points)
    unit = str(cube[along].attrs.get("units", ""))
    ours = f"{high} crosses {level:g} {', '.join(f'{m:+.2f}' for m, _ in points)} {unit} after {low}".replace("  ", " ")
    bands = ", ".join(f"{m - h:.2f} to {m + h:.2f}" for m, h in points)
    evidence = f"95 % bands {bands}; {sum(row.size for row in gaps)} pairs of lines"
    return ("fails" if outside else "holds" if inside == len(points) else "undecided"), ours, evidence


def _crossings(table: NDArray[np.float64], along: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Where rising lines [..., along] first reach a level, interpolated; NaN where they do not, or start above it."""
    below, above = table[..., :-1], table[..., 1:]
    crosses = (below < level) & (above >= level)
    first = crosses.argmax(axis=-1)[..., np.newaxis]
    start, end = (np.take_along_axis(part, first, axis=-1)[..., 0] for part in (below, above))
    share = (level - start) / np.where(end > start, end - start, 1.0)
    place = along[first[..., 0]] + share * (along[first[..., 0] + 1] - along[first[..., 0]])
    return np.where(crosses.any(axis=-1), place, np.nan)


def ratio_is(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, axis: str, low: Any, high: Any, least: float, most: float
) -> Outcome:  # fmt: skip
    """The ratio of the values at two labels lies between two limits: its geometric mean over realisations, at every point.

    Holds if every 95 % band lies inside, fails if one lies outside.
    """
    if not has_labels(cube, axis, low, high):
        return undecided(f"the study lacks {low} or {high}")
    ratio = log_ratio(cube, variable, axis, low, high)
    over = surfaces.attrs.get("over") or ratio.dims[-1]
    table = ratio.transpose(..., over).values.reshape(-1, ratio.sizes[over])
    points = [mean_and_half_width(row) for row in table if np.isfinite(row).any()]
    if not points:
        return undecided("no realisation is feasible for both")
    bands = [(float(np.exp(m - h)), float(np.exp(m + h))) for m, h in points]
    inside = sum(least <= a and b <= most for a, b in bands)
    outside = sum(b < least or a > most for a, b in bands)
    means = np.exp([m for m, _ in points])
    ours = f"{high} / {low} = {means.min():.3f} to {means.max():.3f}"
    evidence = f"{inside} of {len(bands)} points with all of their band in {least:g} to {most:g}, {outside} outside"
    return ("fails" if outside else "holds" if inside == len(bands) else "undecided"), ours, evidence

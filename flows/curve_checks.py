"""Checks on curves: the place where a curve crosses a level, its steepness, and the distance of two curves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flows.evidence import Outcome, has_labels, log_ratio, mean_and_half_width, undecided, values_of


def crossing_gap(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, along: str, level: float, axis: str, low: Any, high: Any,
    least: float, most: float = np.inf, largest: bool = False,
) -> Outcome:  # fmt: skip
    """Judge how much further along an axis the curve of one label crosses a level than the curve of another label.

    The distance is taken for each realisation, in the axis's unit. Each crossing is interpolated between neighbours. The check
    holds if the mean over realisations, with all of its 95 % band, lies between ``least`` and ``most`` at every point of the
    other axes. It fails if a band lies outside. With ``largest`` it judges only the point whose mean is the largest, for a
    statement of the form "up to".
    """
    if not has_labels(cube, axis, low, high) or along not in cube.dims:
        return undecided(f"the study lacks {low}, {high} or {along}")
    first, second = (_places(cube, surfaces, variable, along, level, axis, label) for label in (low, high))
    rows = second - first
    rows = rows[np.isfinite(rows).any(axis=-1)]
    if not rows.size:
        return undecided(f"no line crosses {level:g}")
    if largest:
        rows = rows[[int(np.nanmean(rows, axis=-1).argmax())]]
    unit = str(cube[along].attrs.get("units", ""))
    verdict, means, evidence = _between(rows, least, most, "pairs of lines")
    told = f"{high} crosses {level:g} {means} {unit} after {low}".replace("  ", " ")
    return verdict, f"at most, {told}" if largest else told, evidence


def crossings_rise(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, along: str, level: float, axis: str
) -> Outcome:  # fmt: skip
    """Judge whether the curves cross a level further along as the value of another axis grows.

    The check compares all neighbouring values of that axis. It holds if the mean distance over realisations, with all of its
    95 % band, is positive between all neighbours at every point of the other axes. It fails if a band lies below zero.
    """
    if along not in cube.dims or axis not in cube.dims or cube.sizes[axis] < 2:
        return undecided(f"the study lacks {along} or has one value of {axis}")
    labels = cube[axis].values.tolist()
    places = [_places(cube, surfaces, variable, along, level, axis, label) for label in labels]
    steps = [after - before for before, after in pairwise(places)]
    known = [step[np.isfinite(step).any(axis=-1)] for step in steps]
    if not all(step.size for step in known):
        return undecided(f"no line crosses {level:g} at two neighbouring values of {axis}")
    verdict, _, evidence = _between(np.concatenate(known), 0.0, np.inf, "pairs of lines")
    unit = str(cube[along].attrs.get("units", ""))
    each = (
        f"{low:g} to {high:g}: {', '.join(f'{np.nanmean(row):+.2f}' for row in step)}"
        for low, high, step in zip(labels[:-1], labels[1:], known, strict=True)
    )
    return verdict, f"{'; '.join(each)} {unit}".rstrip(), evidence


def _places(
    cube: xr.Dataset, surfaces: xr.Dataset, variable: str, along: str, level: float, axis: str, label: Any
) -> NDArray[np.float64]:  # fmt: skip
    """Return the places where the curves of one label cross a level [points of the other axes, realisations]."""
    over = surfaces.attrs.get("over")
    values = values_of(cube, variable).sel({axis: label}, drop=True).transpose(..., over, along)
    table = values.values.reshape(-1, values.sizes[over], values.sizes[along])
    return _crossings(table, np.asarray(cube[along].values, dtype=np.float64), level)


def rise_width(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, along: str, start: float, end: float, most: float
) -> Outcome:  # fmt: skip
    """Judge the distance along an axis over which a curve rises from one level to another.

    The distance is taken for each realisation, in the axis's unit. The check holds if the mean over realisations, with all of
    its 95 % band, lies below ``most`` at every point of the other axes. It fails if a band lies above.
    """
    if along not in cube.dims:
        return undecided(f"the study lacks {along}")
    over = surfaces.attrs.get("over")
    values = values_of(cube, variable).transpose(..., over, along)
    table = values.values.reshape(-1, values.sizes[over], values.sizes[along])
    grid = np.asarray(cube[along].values, dtype=np.float64)
    widths = _crossings(table, grid, end) - _crossings(table, grid, start)
    verdict, means, evidence = _between(widths, 0.0, most, "lines")
    if not means:
        return undecided(f"no line crosses {start:g} and {end:g}")
    unit = str(cube[along].attrs.get("units", ""))
    return verdict, f"from {start:g} to {end:g} within {means.replace('+', '')} {unit}".rstrip(), evidence


def _between(rows: NDArray[np.float64], least: float, most: float, what: str) -> Outcome:
    """Judge the mean of each row's finite values against two limits; return verdict, means and bands.

    The text of the means is empty if no value is finite.
    """
    kept = [row[np.isfinite(row)] for row in rows]
    points = [mean_and_half_width(row) for row in kept if row.size]
    inside = sum(least <= m - h and m + h <= most for m, h in points)
    outside = sum(m + h < least or m - h > most for m, h in points)
    means = ", ".join(f"{m:+.2f}" for m, _ in points)
    bands = ", ".join(f"{m - h:.2f} to {m + h:.2f}" for m, h in points)
    evidence = f"95 % bands {bands}; {sum(row.size for row in kept)} {what}"
    return ("fails" if outside else "holds" if inside == len(points) else "undecided"), means, evidence


def _crossings(table: NDArray[np.float64], along: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return where rising curves [..., along] first reach a level, interpolated.

    The place is NaN if a curve does not reach the level or starts above it.
    """
    below, above = table[..., :-1], table[..., 1:]
    crosses = (below < level) & (above >= level)
    first = crosses.argmax(axis=-1)[..., np.newaxis]
    start, end = (np.take_along_axis(part, first, axis=-1)[..., 0] for part in (below, above))
    share = (level - start) / np.where(end > start, end - start, 1.0)
    place = along[first[..., 0]] + share * (along[first[..., 0] + 1] - along[first[..., 0]])
    return np.where(crosses.any(axis=-1), place, np.nan)


def ratio_is(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, axis: str, low: Any, high: Any, least: float, most: float,
    averaged: bool = False,
) -> Outcome:  # fmt: skip
    """Judge whether the ratio of the values at two labels lies between two limits at every point.

    The ratio is the geometric mean of the realisations' ratios or, with ``averaged``, the ratio of the averaged curves. The
    check holds if every 95 % band lies inside the limits. It fails if a band lies outside.
    """
    if not has_labels(cube, axis, low, high):
        return undecided(f"the study lacks {low} or {high}")
    ratio = np.exp(log_ratio(cube, variable, axis, low, high))
    over = surfaces.attrs.get("over") or ratio.dims[-1]
    table = _rows(ratio, over)
    if averaged:
        below = _rows(values_of(cube, variable).sel({axis: low}, drop=True).transpose(*ratio.dims), over)
        points = [_ratio_of_means(below[i], row) for i, row in enumerate(table) if np.isfinite(row).any()]
    else:
        logs = [mean_and_half_width(np.log(row)) for row in table if np.isfinite(row).any()]
        points = [(float(np.exp(m)), float(np.exp(m - h)), float(np.exp(m + h))) for m, h in logs]
    if not points:
        return undecided("no realisation is feasible for both")
    inside = sum(least <= a and b <= most for _, a, b in points)
    outside = sum(b < least or a > most for _, a, b in points)
    means = [mean for mean, _, _ in points]
    ours = f"{high} / {low} = {min(means):.3f} to {max(means):.3f}"
    middle = [float(np.nanmedian(row)) for row in table if np.isfinite(row).any()]
    evidence = (
        f"{inside} of {len(points)} points with all of their band in {least:g} to {most:g}, {outside} outside; "
        f"median over realisations {min(middle):.3f} to {max(middle):.3f}"
    )
    return ("fails" if outside else "holds" if inside == len(points) else "undecided"), ours, evidence


def _rows(values: xr.DataArray, over: Any) -> NDArray[np.float64]:
    """Return the values as rows [points, realisations]."""
    return values.transpose(..., over).values.reshape(-1, values.sizes[over])


def _ratio_of_means(below: NDArray[np.float64], ratio: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the ratio of the means of ``below * ratio`` and ``below``, with its 95 % band by the delta method.

    Both means are taken over the common realisations.
    """
    known = np.isfinite(ratio)
    base, above = below[known], below[known] * ratio[known]
    mean = float(above.mean() / base.mean())
    _, half = mean_and_half_width((above - mean * base) / base.mean())
    return mean, mean - half, mean + half

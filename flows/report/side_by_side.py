"""The table of several variables side by side: a row for each value of the report's x, a column for each variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from flows.field_values import Scaled, plain_digits, scaled
from flows.report.best import best_of, same
from flows.report.choice import EXPORT, MOST_COLUMNS, MOST_TABLES, choose, evenly
from flows.report.measured import Measured, best_is, is_measured, measured
from flows.report.words import entry, short, with_unit, within

MOST_QUANTITIES = 32
"""Most columns: the table scrolls in a box of its own."""


@dataclass(frozen=True)
class Cell:
    """An entry, and whether it is the best of those that it is compared with."""

    text: str
    best: bool


@dataclass(frozen=True)
class Table:
    """A table with its heading and a note for the reader."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def side_by_side(surfaces: xr.Dataset, spec: Mapping[str, Any]) -> list[Table]:
    """Return a table for each place of the other axes: a row for each value of ``x``, a column for each variable of the table.

    A column whose entries agree for all rows is told in a sentence and left out.
    """
    x, over = str(spec["x"]), surfaces.attrs.get("over")
    found = [measured(surfaces, name) for name in spec.get("table") or () if is_measured(surfaces, name)]
    found = [one for one in found if x in one.axes][:MOST_QUANTITIES]
    if not found:
        return []
    axes = [axis for axis in found[0].axes if axis != x]
    kept = evenly(found[0].sizes[x], MOST_COLUMNS)
    found = [one.ordered((*axes, x)).taken(x, kept) for one in found if set(one.axes) == {x, *axes}]
    choice = choose(np.any([np.isfinite(one.mean).any(axis=-1) for one in found], axis=0), MOST_TABLES)
    note = f"Mean over the {over}s that are feasible, ± half of its 95 % band." if over else "One value per cell."
    note += " The best of each column, and what its band does not tell from it, is bold."
    if len(kept) < surfaces.sizes[x]:
        note += f" {len(kept)} of {surfaces.sizes[x]:,} values of {found[0].title_of(x)} are shown, evenly spaced. {EXPORT}"
    more = choice.left_out("tables", [found[0].title_of(axis) for axis in axes], EXPORT)
    return [_table(found, axes, at, str(spec["y"]), f"{note} {more}".strip()) for at in choice.places]


def _table(found: list[Measured], axes: list[str], at: tuple[int, ...], main: str, note: str) -> Table:
    x = found[0].axes[-1]
    shown, agreed = [], []
    for one in found:
        part = one.part(dict(zip(axes, at, strict=True)))
        if not np.isfinite(part.mean).any():
            continue
        if one.name != main and same(part.mean, part.low, part.high):
            agreed.append(f"{within(part.title)}: {_one(part)}")
        else:
            shown.append(part)
    values, unit = found[0].values_of(x), found[0].unit_of(x)
    columns = [_column(part) for part in shown]
    rows = [[short(entry(x, value, unit)), *(cells[r] for _, cells in columns)] for r, value in enumerate(values)]
    met = [r for r in range(len(values)) if any(np.isfinite(part.mean[r]) for part in shown)]
    if agreed:
        note += f" The same in every row, within the bands: {'; '.join(agreed)}."
    title = ", ".join(["Side by side", *found[0].words(axes, at)])
    return Table(title, note, ["", *(title for title, _ in columns)], [rows[r] for r in met])


def _column(part: Measured) -> tuple[str, list[Cell]]:
    """Return the heading and the entries of one variable."""
    scale = scaled(part.mean, part.unit)
    best = best_of(part.name, part.mean, part.low, part.high)
    half = part.high - part.mean
    cells = [Cell(with_band(m, h, scale), bool(b)) for m, h, b in zip(part.mean, half, best, strict=True)]
    mark = {"smallest": "\u00a0↓", "largest": "\u00a0↑"}.get(str(best_is(part.name)), "")
    return with_unit(part.title, scale.unit if scale.common else "") + mark, cells


def with_band(mean: float, half: float, scale: Scaled) -> str:
    """Return a mean with half of its band; a band that is too narrow for the shown digits is left out."""
    if not np.isfinite(mean):
        return "–"
    if not np.isfinite(half) or half <= 1e-4 * abs(mean):
        return scale.text(mean)
    return f"{scale.text(mean)} ± {scale.text(half, 2)}"


def _one(part: Measured) -> str:
    """Return the value that all entries of a variable have."""
    middle = float(np.nanmean(part.mean))
    scale = scaled([middle], part.unit)
    return f"{scale.text(middle, 3)} {scale.unit}".strip() if scale.common else plain_digits(middle, 3)

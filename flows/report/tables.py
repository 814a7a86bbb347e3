"""The tables of a report: numbers of the surfaces side by side. A sentence names the parts that a table leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from flows.report.choice import EXPORT, MOST_COLUMNS, MOST_PANELS, MOST_ROWS, Choice, choose, evenly
from flows.report.words import axis_title, entry, field_words, label, number, place, seconds, short, unit_of_axis
from pipeline.experiment import RAISED, STATUS_CODES
from pipeline.statistics import SECONDS, cell_count, edge_variable, has_statistic, statistic


@dataclass(frozen=True)
class Table:
    """A table with its heading and a note for the reader."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def tables(surfaces: xr.Dataset, spec: dict[str, Any]) -> list[Table]:
    """Return all tables for which the surfaces have data."""
    found = [_edges(surfaces), _paired(surfaces, spec["y"]), _cost(surfaces)]
    return [*_side_by_side(surfaces, spec), *(table for table in found if table is not None)]


def failed_cells(cube: xr.Dataset) -> Table | None:
    """Return the table of the failed cells, each with its place and its sentence."""
    status = cube["status"]
    choice = choose(status.values == STATUS_CODES["failed"], MOST_ROWS)
    if not choice.places:
        return None
    axes = [str(d) for d in status.dims]
    rows = []
    for at in choice.places:
        where = ", ".join(place(cube, d, _label(cube, d, i)) for d, i in zip(axes, at, strict=True))
        rows.append([short(where, _LONG), short(str(cube["message"].values[at]), _LONG)])
    ways = f"`disac why` shows all about one cell; {EXPORT}"
    left_out = choice.left_out("failed cells", [axis_title(cube, d) for d in axes], ways)
    return Table("Failed cells", f"{_program_errors(cube)}{left_out}".strip(), [], rows)


def _program_errors(cube: xr.Dataset) -> str:
    """Return a sentence on the failed cells that raised an exception: an error of the program, no finding of the method."""
    failed = cube["message"].values[cube["status"].values == STATUS_CODES["failed"]]
    raised = sum(str(sentence).startswith(RAISED) for sentence in failed)
    if not raised:
        return ""
    return (
        f"{raised:,} of {len(failed):,} raised an exception: an error of the program, not a finding of the method. "
        "`disac why` shows the traceback. "
    )


_LONG = 300
"""Most letters in one entry of a table."""


def _side_by_side(surfaces: xr.Dataset, spec: dict[str, Any]) -> list[Table]:
    """Return a table for each place of the other axes: each quantity is a row, each value of ``x`` a column."""
    x, over = spec["x"], surfaces.attrs.get("over")
    named = [v for v in spec.get("table", []) if has_statistic(surfaces, v, "mean_feasible")]
    means = {v: mean for v in named if x in (mean := statistic(surfaces, v, "mean_feasible")).dims}
    if not means:
        return []
    axes = [str(d) for d in next(iter(means.values())).dims if d != x]
    means = {v: mean for v, mean in means.items() if set(mean.dims) == {x, *axes}}
    kept = evenly(surfaces.sizes[x], MOST_COLUMNS)
    values = {v: mean.isel({x: kept}).transpose(*axes, x).values for v, mean in means.items()}
    highs = {v: statistic(surfaces, v, "ci_high").isel({x: kept}).transpose(*axes, x).values for v in means}
    titles = {v: axis_title(surfaces, v) for v in means}
    choice = choose(np.any([np.isfinite(value).any(axis=-1) for value in values.values()], axis=0), MOST_PANELS)
    note = f"Mean over the {over}s that are feasible, ± half of its 95 % band." if over else "One value per cell."
    if len(kept) < surfaces.sizes[x]:
        note += f" {len(kept)} of {surfaces.sizes[x]:,} values of {axis_title(surfaces, x)} are shown, evenly spaced. {EXPORT}"
    note = f"{note} {_left_out(surfaces, choice, 'tables', axes)}".rstrip()
    columns = ["", *(short(entry(x, value, unit_of_axis(surfaces, x))) for value in surfaces[x].values[kept].tolist())]
    found = []
    for at in choice.places:
        shown = [v for v in means if np.isfinite(values[v][at]).any()]
        rows = [[titles[v], *(_with_band(m, h) for m, h in zip(values[v][at], highs[v][at], strict=True))] for v in shown]
        found.append(Table(", ".join(["Side by side", *_words(surfaces, axes, at, label)]), note, columns, rows))
    return found


def _with_band(mean: float, high: float) -> str:
    # A band that is too narrow for the shown digits is left out.
    return number(mean) + (f" ± {high - mean:.2g}" if np.isfinite(high) and high - mean > 1e-4 * abs(mean) else "")


def _edges(surfaces: xr.Dataset) -> Table | None:
    edge = surfaces.attrs.get("edge")
    if not edge or not has_statistic(surfaces, edge_variable(edge), "mean_feasible"):
        return None
    found = [statistic(surfaces, edge_variable(edge), word) for word in ("mean_feasible", "min", "max", "count")]
    axes = [str(d) for d in found[0].dims]
    mean, low, high, count = (part.values for part in found)
    choice = choose(count > 0, MOST_ROWS)
    rows = [
        [*_words(surfaces, axes, at, label), number(mean[at]), f"{number(low[at])} to {number(high[at])}", int(count[at])]
        for at in choice.places
    ]
    note = "Largest feasible value on the study's grid in each realisation; mean and range over realisations."
    return Table(
        f"Largest feasible values: {axis_title(surfaces, edge)}",
        f"{note} {_left_out(surfaces, choice, 'rows', axes)}".rstrip(),
        [*(axis_title(surfaces, d) for d in axes), "mean", "range", "realisations"], rows,
    )  # fmt: skip


def _paired(surfaces: xr.Dataset, y: str | None) -> Table | None:
    """Return the table of the paired axis: its values side by side, on the realisations that are feasible for all of them."""
    paired = surfaces.attrs.get("paired")
    if not paired or not y or not has_statistic(surfaces, y, "mean_paired"):
        return None
    means = statistic(surfaces, y, "mean_paired").transpose(..., paired)
    counts = cell_count(surfaces, "paired").broadcast_like(means).transpose(*means.dims).values
    axes, kept = [str(d) for d in means.dims[:-1]], evenly(means.sizes[paired], MOST_COLUMNS)
    choice = choose(np.isfinite(means.values).sum(axis=-1) > 1, MOST_ROWS)
    if not choice.places:
        return None
    rows = [
        [*_words(surfaces, axes, at, entry), *(number(v) for v in means.values[at][kept]), int(counts[at].max())]
        for at in choice.places
    ]
    note = f"{axis_title(surfaces, y)}: mean over the realisations that are feasible for every {paired} planned there."
    if len(kept) < means.sizes[paired]:
        note += f" {len(kept)} of {means.sizes[paired]:,} values of {axis_title(surfaces, paired)} are shown, evenly spaced."
    titles = [axis_title(surfaces, d) for d in axes]
    unit = unit_of_axis(surfaces, paired)
    columns = [*titles, *(short(label(paired, v, unit)) for v in means[paired].values[kept].tolist()), "realisations"]
    note = f"{note} {_left_out(surfaces, choice, 'rows', axes)}".rstrip()
    return Table(field_words().paired, note, columns, rows)


def _cost(surfaces: xr.Dataset) -> Table | None:
    if SECONDS not in surfaces or not surfaces[SECONDS].dims:
        return None
    total = surfaces[SECONDS]
    paired = surfaces.attrs.get("paired")
    axis = str(paired if paired in total.dims else total.dims[-1])
    parts = (part.transpose(axis, ...).values for part in (total, cell_count(surfaces, "planned")))
    spent, cells = (part.reshape(len(part), -1).sum(axis=1) for part in parts)
    choice = choose(cells > 0, MOST_ROWS)
    rows = [
        [*_words(surfaces, [axis], at, label), int(cells[at]), seconds(float(spent[at])), f"{spent[at] / cells[at]:.2f} s"]
        for at in choice.places
    ]
    note = "Wall time in the solver, summed over the cells."
    note = f"{note} {_left_out(surfaces, choice, 'rows', [axis])}".rstrip()
    return Table("Cost", note, ["", "cells", "total", "per cell"], rows)


def _left_out(surfaces: xr.Dataset, choice: Choice, what: str, axes: list[str]) -> str:
    return choice.left_out(what, [axis_title(surfaces, d) for d in axes], EXPORT)


def _label(data: xr.Dataset, axis: str, number: int) -> Any:
    return np.asarray(data[axis].values[number]).item()


def _words(data: xr.Dataset, axes: list[str], at: tuple[int, ...], words: Callable[[str, Any, str], str]) -> list[str]:
    return [short(words(d, _label(data, d, i), unit_of_axis(data, d))) for d, i in zip(axes, at, strict=True)]

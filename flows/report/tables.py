"""The tables of a report: numbers of the surfaces side by side. A sentence names the parts that a table leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from flows.field_values import Scaled, scaled
from flows.report.answers import answer_tables
from flows.report.best import best_of
from flows.report.choice import EXPORT, MOST_COLUMNS, MOST_ROWS, Choice, choose, evenly
from flows.report.measured import best_is, is_measured, measured
from flows.report.side_by_side import Cell, Table, side_by_side
from flows.report.words import axis_title, entry, field_words, label, place, seconds, short, unit_of_axis, with_unit
from pipeline.experiment import RAISED, STATUS_CODES
from pipeline.statistics import SECONDS, cell_count, edge_variable, has_statistic, statistic


def tables(surfaces: xr.Dataset, spec: Mapping[str, Any], answers: xr.Dataset | None = None) -> list[Table]:
    """Return all tables for which the surfaces, and the answers to standing questions, have data."""
    found = [_edges(surfaces), _paired(surfaces, spec["y"]), *answer_tables(answers, surfaces), _cost(surfaces)]
    return [*side_by_side(surfaces, spec), *(table for table in found if table is not None)]


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


def _edges(surfaces: xr.Dataset) -> Table | None:
    edge = surfaces.attrs.get("edge")
    if not edge or not has_statistic(surfaces, edge_variable(edge), "mean_feasible"):
        return None
    found = [statistic(surfaces, edge_variable(edge), word) for word in ("mean_feasible", "min", "max", "count")]
    axes = [str(d) for d in found[0].dims]
    mean, low, high, count = (part.values for part in found)
    choice = choose(count > 0, MOST_ROWS)
    scale = scaled([low, high], unit_of_axis(surfaces, edge))
    text = scale.text
    rows = [
        [*_words(surfaces, axes, at, entry), text(mean[at]), _range(text(low[at]), text(high[at])), int(count[at])]
        for at in choice.places
    ]
    note = "Largest feasible value on the study's grid in each realisation; mean and range over realisations."
    return Table(
        f"Largest feasible values: {_titled(surfaces, edge, scale)}",
        f"{note} {_left_out(surfaces, choice, 'rows', axes)}".rstrip(),
        [*(axis_title(surfaces, d) for d in axes), "mean", "range", "realisations"], rows,
    )  # fmt: skip


def _paired(surfaces: xr.Dataset, y: str | None) -> Table | None:
    """Return the table of the paired axis: its values side by side, on the realisations that are feasible for all of them."""
    paired = surfaces.attrs.get("paired")
    found = measured(surfaces, str(y)) if is_measured(surfaces, y) else None
    if not paired or found is None or found.paired is None or paired not in found.axes or found.own:
        return None
    axes = [axis for axis in found.axes if axis != paired]
    found = found.ordered((*axes, paired))
    means = np.asarray(found.paired)
    counts = cell_count(surfaces, "paired")
    counts = counts.broadcast_like(surfaces[paired]).transpose(*found.axes).values
    kept = evenly(found.sizes[paired], MOST_COLUMNS)
    choice = choose(np.isfinite(means).sum(axis=-1) > 1, MOST_ROWS)
    if not choice.places:
        return None
    scale = scaled([means[at] for at in choice.places], found.unit)
    rows = []
    for at in choice.places:
        best = best_of(found.name, means[at], means[at], means[at])
        cells = [Cell(scale.text(v), bool(b)) for v, b in zip(means[at][kept], best[kept], strict=True)]
        rows.append([*_words(surfaces, axes, at, entry), *cells, int(counts[at].max())])
    note = (
        f"{with_unit(found.title, scale.unit if scale.common else '')}: mean over the realisations that are feasible for every "
        f"{paired} planned there.{_BEST if best_is(found.name) else ''}"
    )
    if len(kept) < found.sizes[paired]:
        note += f" {len(kept)} of {found.sizes[paired]:,} values of {found.title_of(paired)} are shown, evenly spaced."
    columns = [*(found.title_of(a) for a in axes), *(found.words([paired], (int(i),))[0] for i in kept), "realisations"]
    note = f"{note} {_left_out(surfaces, choice, 'rows', axes)}".rstrip()
    return Table(field_words().paired, note, columns, rows)


_BEST = " The best of each row is bold."


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


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _titled(surfaces: xr.Dataset, axis: str, scale: Scaled) -> str:
    """Return the title of an axis with the unit in which its values are shown."""
    title = axis_title(surfaces, axis).removesuffix(f" [{unit_of_axis(surfaces, axis)}]")
    return with_unit(title, scale.unit if scale.common else "")


def _left_out(surfaces: xr.Dataset, choice: Choice, what: str, axes: list[str]) -> str:
    return choice.left_out(what, [axis_title(surfaces, d) for d in axes], EXPORT)


def _label(data: xr.Dataset, axis: str, number: int) -> Any:
    return np.asarray(data[axis].values[number]).item()


def _words(data: xr.Dataset, axes: list[str], at: tuple[int, ...], words: Callable[[str, Any, str], str]) -> list[str]:
    return [short(words(d, _label(data, d, i), unit_of_axis(data, d))) for d, i in zip(axes, at, strict=True)]

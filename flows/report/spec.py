"""The report section of a study, completed, and the variables that a page needs for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from flows.report.words import field_words
from pipeline.statistics import CELLS, SECONDS, STATE, STATISTIC, edge_variable, summarised


def completed_spec(cube: xr.Dataset, surfaces: xr.Dataset, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the entries that the study leaves open: a numeric axis for x, the first variable with statistics for y.

    If ``x`` is a variable, it becomes ``across``, and ``x`` the axis whose values are joined.
    """
    over = surfaces.attrs.get("over")
    completed = dict(spec)
    completed["y"] = spec.get("y") or next(iter(summarised(surfaces)), None)
    if spec.get("x") in summarised(surfaces) and spec["x"] not in surfaces.dims:
        completed |= {"across": spec["x"], "x": None}
    named = [completed.get("x"), spec.get("colour"), spec.get("style"), *(spec.get("panels") or ())]
    axes = [str(d) for d in cube["status"].dims if d != over]
    free = [a for a in axes if a not in named]
    numeric = [a for a in free if cube[a].dtype.kind in "iuf"] or free or axes
    completed["x"] = completed.get("x") or max(numeric, key=lambda a: cube.sizes[a])
    rest = [a for a in free if a != completed["x"]]
    completed["colour"] = spec.get("colour") or (rest.pop(0) if rest else None)
    completed["style"] = spec.get("style") or (rest.pop(0) if rest else None)
    return completed


def axis_of_cells(cube: xr.Dataset, surfaces: xr.Dataset, spec: Mapping[str, Any]) -> str:
    """Return the report's x if it is an axis of the cells, else the axis that would be chosen without it.

    The report's x may be no axis of the cells, such as the bins of a density.
    """
    return str(spec["x"] if spec["x"] in cube["status"].dims else completed_spec(cube, surfaces, {})["x"])


def drawn_variables(report_spec: Mapping[str, Any], edge: str | None) -> tuple[frozenset[str], frozenset[str]]:
    """Return the variables of a cube and of its surfaces that a report shows, beside their coordinates.

    A large study has many more variables; reading them all would take longer than drawing the report.
    """
    further = [name for key in ("also", "table", "front") for name in report_spec.get(key) or ()]
    shown = [report_spec["y"], *further, *field_words().rates, *filter(None, [report_spec.get("x")])]
    always = (CELLS, SECONDS, STATISTIC, STATE, *([edge_variable(edge)] if edge else []))
    drawn = (f"{word}{name}" for word in ("", *(f"{beside}_" for beside in field_words().beside)) for name in shown)
    return frozenset(("status", "message", "relative_gap", "worst_violation")), frozenset((*always, *drawn))

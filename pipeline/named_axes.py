"""The axes that a study's ``surfaces`` and ``report`` name, by the names of their dimensions in the cube."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.columns import column_names
from pipeline.errors import near_miss
from pipeline.experiment import Headlined
from pipeline.grid import Axis, Cells
from pipeline.scene_cells import cells_named
from pipeline.statistics import STATE, STATISTIC, TAKEN_NAMES
from pipeline.study import SurfaceSpec
from pipeline.values import KeyPath

NONE = "none"
"""In ``surfaces.over``: average over no axis."""
DEFAULT_OVER = "realisation"
"""Name of the axis that surfaces average over, if a study names none."""


def surface_axes(cells: Cells) -> SurfaceSpec:
    """Return the study's ``surfaces`` with every axis under the name of its dimension.

    ``over`` is the averaged axis: the axis that the study names, else the axis whose name or path is ``realisation``. It is
    None if the study says ``none`` or has no such axis.

    Raises
    ------
    UsageError
        If a named axis does not exist, the edge axis has texts as labels, ``edge`` or ``paired`` is the averaged axis, or an
        axis or a variable has a name that surfaces use themselves.
    """
    spec = cells.study.surfaces
    _refuse_taken_names(cells)
    over = _averaged(cells, spec.over)
    found: dict[str, str | None] = {"over": over}
    for key in ("edge", "paired"):
        wanted = getattr(spec, key)
        found[key] = None if wanted is None else _dimension(cells, ("surfaces", key), wanted)
        _refuse_averaged(cells, ("surfaces", key), found[key], over)
    edge = next((axis for axis in cells.axes if axis.name == found["edge"]), None)
    if edge is not None and not all(isinstance(label, int | float) and not isinstance(label, bool) for label in edge.labels):
        raise cells.study.source.error(("surfaces", "edge"), f"the axis '{edge.name}' is not numeric: it has no largest value")
    return spec.model_copy(update=found)


def report_axes(cells: Cells, over: str | None) -> dict[str, Any]:
    """Return the study's ``report`` with every axis under the name of its dimension, and a ``y`` if the study names none.

    ``x`` may be a variable; it stays as it is.

    Raises
    ------
    UsageError
        If a named axis or variable does not exist, the surfaces average over the axis, or ``cell`` names no planned cell.
    """
    report = dict(cells.study.report)
    experiment = cells.study.experiment
    variables = [*(variable.name for variable in experiment.variables), *column_names(experiment)]
    if report.get("y") not in (None, *variables):
        raise cells.study.source.error(
            ("report", "y"), f"no variable '{report['y']}'{near_miss(report['y'], variables)}; there are {', '.join(variables)}"
        )
    report["y"] = report.get("y") or _main_metric(cells)
    own = sorted({dim for variable in experiment.variables for dim in variable.dims})
    for key in ("x", "colour", "style"):
        if key == "x" and report.get(key) in variables and not _is_axis(cells, report[key], own):
            continue
        if report.get(key) is not None:
            report[key] = _dimension(cells, ("report", key), report[key], own)
            _refuse_averaged(cells, ("report", key), report[key], over)
    panels = list(enumerate(report.get("panels", [])))
    report["panels"] = [_dimension(cells, ("report", "panels", i), name) for i, name in panels]
    for i, name in enumerate(report["panels"]):
        _refuse_averaged(cells, ("report", "panels", i), name, over)
    cells_named(cells)
    return report


def _main_metric(cells: Cells) -> str | None:
    """Return the variable that the experiment names, if the study keeps it.

    Otherwise return the first kept variable that is a single real number and is not volatile.
    """
    kept, experiment = cells.study.keep, cells.study.experiment
    if isinstance(experiment, Headlined) and (kept is None or experiment.main_metric in kept):
        return experiment.main_metric
    for variable in cells.study.experiment.variables:
        single = variable.kind == "cube" and variable.dtype.startswith("float") and not variable.dims
        if single and not variable.volatile and (kept is None or variable.name in kept):
            return variable.name
    return None


def _refuse_taken_names(cells: Cells) -> None:
    """Refuse names that :mod:`pipeline.surfaces` would refuse after the cells are computed."""
    variables = (v.name for v in cells.study.experiment.variables if v.kind == "cube" and v.dtype.startswith("float"))
    labels = (name for axis in cells.axes for name in (axis.name, *axis.members))
    for what, names, taken in (("axis", labels, TAKEN_NAMES), ("variable", variables, TAKEN_NAMES - {STATISTIC, STATE})):
        for name in names:
            if name in taken:
                words = f"surfaces use the name '{name}' themselves: give the {what} another name"
                raise cells.study.source.error(_place(cells, name) if what == "axis" else ("experiment",), words)


def _place(cells: Cells, name: str) -> KeyPath:
    """Return the place in the study's text where an axis is written, by its name or by a path that ends with it."""
    source = cells.study.source
    written = (path for path in (*source.overridden, *source.lines) if len(path) > 1 and path[-2] == "axes")
    return next((path for path in written if _last(str(path[-1])) == name), ("axes", name))


def _averaged(cells: Cells, wanted: str | None) -> str | None:
    if wanted == NONE:
        return None
    if wanted is not None:
        return _dimension(cells, ("surfaces", "over"), wanted)
    by_name = [axis.name for axis in cells.axes if axis.name == DEFAULT_OVER]
    by_path = [axis.name for axis in cells.axes if [_last(path) for path in axis.paths] == [DEFAULT_OVER]]
    return next(iter(by_name + by_path), None)


def _dimension(cells: Cells, at: KeyPath, wanted: str, own: Iterable[str] = ()) -> str:
    """Return the dimension whose name is ``wanted``, or whose axis sets a path that equals or ends with ``wanted``."""
    names = [*(axis.name for axis in cells.axes), *own]
    if wanted in names:
        return wanted
    found = [axis.name for axis in cells.axes if _sets(axis, wanted)]
    if len(found) == 1:
        return found[0]
    none = f", or '{NONE}'" if at == ("surfaces", "over") else ""
    raise cells.study.source.error(
        at, f"no axis '{wanted}'{near_miss(wanted, names)}; there are {', '.join(names) or 'none'}{none}"
    )


def _is_axis(cells: Cells, wanted: str, own: Iterable[str]) -> bool:
    return wanted in own or any(axis.name == wanted or _sets(axis, wanted) for axis in cells.axes)


def _sets(axis: Axis, wanted: str) -> bool:
    return any(path == wanted or path.endswith(f".{wanted}") for path in axis.paths)


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _refuse_averaged(cells: Cells, at: KeyPath, name: str | None, over: str | None) -> None:
    if name is not None and name == over:
        raise cells.study.source.error(
            at, f"the surfaces average over '{name}': name another axis, or average over none by 'surfaces: {{over: {NONE}}}'"
        )

"""What a page draws of each variable: which kind of plot suits its axes, and the section with its panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from flows.report.choice import EXPORT, MOST_VALUES, evenly
from flows.report.curves import curve_series
from flows.report.dots import dots_plot, dotted, row_axis
from flows.report.maps import LONG, best_legend, best_plot, best_values, ground, map_legend, map_plot, verdict_of
from flows.report.measured import Measured, best_is, is_measured, measured
from flows.report.panels import Panel, Section, panel_places
from flows.report.plots import curves_plot, longest_sentence, most_points, plane, value_axis
from flows.report.words import COLOURS, field_words

_FEW = 6
"""Most values of an axis that dots of several colours show in one row."""
_CELLS, _MOST_CELLS = 2, 13_000
"""Places of a map that take as many bytes as a point of a curve, and most places of the maps of one variable."""
_HIGH, _LOW = 420, 300
"""Heights of a plot that stands alone, and of one among several."""


@dataclass(frozen=True)
class Room:
    """How much a section may draw: panels and points."""

    panels: int
    points: int


def section(
    surfaces: xr.Dataset, spec: Mapping[str, Any], name: str, room: Room, answers: xr.Dataset | None = None
) -> Section:  # fmt: skip
    """Draw one variable of the surfaces as a map, as dots, or as curves.

    Parameters
    ----------
    surfaces
        As published.
    spec
        The completed ``report`` section; its ``x`` is an axis of the variable.
    name
        The variable.
    room
        What may be drawn at most.
    answers
        Answers to standing questions: they say where the best is told from the others.
    """
    found = measured(surfaces, name)
    over = map_axes(found, spec)
    if over is not None:
        return _maps(found, spec, over, room, answers)
    rows = row_of(found, spec)
    return _dots(found, spec, rows, room) if rows is not None else _curves(surfaces, found, spec, room)


def map_axes(found: Measured, spec: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the two axes of a map: two of the variable's own, or two long numeric axes of the cells; None for no map."""
    named = {spec.get(word) for word in ("x", "colour", "style")} | set(spec.get("panels") or ())
    own = [axis for axis in found.own if axis not in named and _numeric(found, axis) and found.sizes[axis] > 1]
    if len(own) >= 2:
        return own[0], own[1]
    if spec.get("across"):
        return None
    panels = spec.get("panels") or ()
    long = [a for a in found.axes if _numeric(found, a) and found.sizes[a] >= LONG and a not in panels]
    if len(long) < 2 or spec["x"] not in long:
        return None
    return str(spec["x"]), max((a for a in long if a != spec["x"]), key=lambda a: found.sizes[a])


def row_of(found: Measured, spec: Mapping[str, Any]) -> str | None:
    """Return the axis that has a row of dots for each value; None if curves can be drawn.

    It is the axis ``x`` if its values have no order, or the axis ``colour`` if that has more values than colours that a reader
    tells apart, has no order, and there are few values of ``x``.
    """
    x, colour = str(spec["x"]), spec.get("colour")
    if spec.get("across"):
        return None
    if _unordered(found, x):
        return x
    many = colour in found.axes and _unordered(found, colour) and found.sizes[colour] > len(COLOURS)
    return str(colour) if many and found.sizes[x] <= _FEW else None


def _numeric(found: Measured, axis: str) -> bool:
    return axis not in found.labels or found.labels[axis].dtype.kind in "iuf"


def _unordered(found: Measured, axis: str) -> bool:
    """Return whether the labels of an axis are texts other than rising numbers."""
    if _numeric(found, axis):
        return False
    try:
        numbers = [float(v) for v in found.values_of(axis)]
    except ValueError:
        return True
    return numbers != sorted(numbers)


def _curves(surfaces: xr.Dataset, found: Measured, spec: Mapping[str, Any], room: Room) -> Section:
    x, log = str(spec["x"]), bool(spec.get("log_y")) and bool((found.mean > 0).any())
    if x in found.own:
        found = found.taken(x, _occupied(found, x))
    split = [a for a in spec.get("panels") or () if a in found.axes and a != x]
    series = curve_series(found, spec, (x, *split))
    places = panel_places(found, split, room.panels)
    across = _across(surfaces, spec, found)
    shared = plane(found, x, log=log, across=across)
    most = most_points(len(series.curves) * max(1, len(places.found)), room.points)
    others = {word: f"{word}_{found.name}" for word in field_words().beside}
    beside = {w: measured(surfaces, n).ordered(found.axes) for w, n in others.items() if is_measured(surfaces, n)}
    if x in found.own:
        beside = {}
    order, panels = (*series.axes, x), []
    for number, (name, chosen) in enumerate(places.found):
        part, *also = (m.part(chosen).ordered(order) for m in (found, *beside.values()))
        along = None if across is None else across.part(chosen).ordered(order)
        key = f"{found.name} {number}"
        height = _HIGH if len(places.found) == 1 else _LOW
        plot = curves_plot(part, series, shared, dict(zip(beside, also, strict=True)), most, height, found.name, along)
        panels.append(Panel(key, name, plot))
    notes = [places.left_out, series.left_out, longest_sentence(found.ordered((*series.axes, *split, x)), series, x, most)]
    return Section(found.name, found.title, _said(notes), panels, series.legend)


def _across(surfaces: xr.Dataset, spec: Mapping[str, Any], found: Measured) -> Measured | None:
    """Return the variable that is drawn along x, if the report's x is a variable."""
    if not spec.get("across"):
        return None
    across = measured(surfaces, str(spec["across"]))
    return across.ordered(found.axes) if set(across.axes) == set(found.axes) else None


def _dots(found: Measured, spec: Mapping[str, Any], rows: str, room: Room) -> Section:
    x, log = str(spec["x"]), bool(spec.get("log_y")) and bool((found.mean > 0).any())
    split = [a for a in spec.get("panels") or () if a in found.axes and a not in (rows, x)]
    looks = dict(spec) if rows == x else dict(spec) | {"colour": x}
    series = curve_series(found, looks, (rows, *split))
    places = panel_places(found, split, room.panels)
    axis, kept, fewer = row_axis(found, rows, room.points // max(1, len(series.curves) * len(places.found)))
    values, panels = value_axis(found, log=log), []
    for number, (name, chosen) in enumerate(places.found):
        part = found.part(chosen).ordered((*series.axes, rows))
        panels.append(
            Panel(
                f"{found.name} {number}",
                name,
                dots_plot(part, series, axis, kept, values, found.name, narrow=len(places.found) > 1),
            )
        )
    return Section(found.name, found.title, _said([places.left_out, series.left_out, fewer]), panels, dotted(series.legend))


def _maps(
    found: Measured, spec: Mapping[str, Any], over: tuple[str, str], room: Room, answers: xr.Dataset | None
) -> Section:  # fmt: skip
    points = min(_CELLS * room.points, _MOST_CELLS)
    found, fewer = _thinned(found, over, points)
    log = bool(spec.get("log_y")) and bool((found.mean > 0).any())
    split = [a for a in found.axes if a not in over]
    cells = found.sizes[over[0]] * found.sizes[over[1]]
    most = max(1, min(room.panels, points // cells))
    compared = next((a for a in split if not _numeric(found, a) and found.sizes[a] > 1), None)
    best = best_is(found.name) if compared is not None and not found.own and most > 1 else None
    places = panel_places(found, split, max(1, most - (best is not None)))
    shared = ground(found, *over, log=log)
    panels = [
        Panel(f"{found.name} {number}", name, map_plot(found.part(chosen).ordered(over), shared))
        for number, (name, chosen) in enumerate(places.found)
    ]
    notes = [places.left_out, fewer]
    if compared is not None and best is not None:
        rest = [a for a in split if a != compared]
        name, chosen = panel_places(found, rest, 1).found[0]
        part = found.part(chosen).ordered((*over, compared))
        verdict = verdict_of(answers, part, compared, chosen)
        plot, winners = best_plot(part, compared, shared, best, verdict)
        heading = ", ".join(filter(None, (f"Best {found.title_of(compared).lower()}", name)))
        panels.append(Panel(f"{found.name} best", heading, plot, best_legend(found, compared, winners)))
        means = "means over the realisations that are feasible for all" if best_values(part) is part.paired else "means"
        sure = "pale where paired realisations do not tell it from another one with 95 % confidence"
        by = f"by paired realisations; it is {sure}" if verdict else f"by {means}; how sure that is, the map does not say"
        notes.append(f"The best has the {best} value {by}.")
    return Section(found.name, found.title, _said(notes), panels, map_legend(found, shared))


def _thinned(found: Measured, over: tuple[str, str], points: int) -> tuple[Measured, str]:
    """Leave out values of the axes of a map if it would have too many places, and return the sentence that says so."""
    said, share = [], min(1.0, np.sqrt(points / (found.sizes[over[0]] * found.sizes[over[1]])))
    for axis in over:
        count = found.sizes[axis]
        most = min(MOST_VALUES, max(LONG, int(share * count)))
        if count > most:
            found = found.taken(axis, evenly(count, most))
            said.append(f"{most} of {count:,} values of {found.title_of(axis)}")
    return found, f"{' and '.join(said)} are shown, evenly spaced. {EXPORT}" if said else ""


def _occupied(found: Measured, x: str) -> Any:
    """Return the bins from the first to the last that is not empty, and one more bin on either side."""
    profile = np.moveaxis(found.mean, found.axes.index(x), 0).reshape(found.sizes[x], -1)
    full = np.flatnonzero((np.nan_to_num(profile) != 0).any(axis=1))
    return np.arange(max(0, full[0] - 1), min(len(profile), full[-1] + 2)) if len(full) else np.arange(len(profile))


def _said(notes: list[str]) -> list[str]:
    return [note for note in notes if note]

"""Curves with their confidence bands, drawn from what surfaces and cube hold; nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flows.report.axes import Axis, amount, geometric, number_axis, text_axis
from flows.report.choice import EXPORT, MOST_VALUES, evenly
from flows.report.curves import Curve, Series
from flows.report.drawing import layer, panel
from flows.report.measured import Float, Measured, Place
from flows.report.words import COLOURS, label, short
from pipeline.experiment import STATUS_CODES

MOST_CERTIFICATES = 4000
"""Most certificates in one plot."""

_DOTS = 60
"""Number of points along a curve that a reader can tell apart."""


@dataclass(frozen=True)
class Plane:
    """What all panels of a section share: both axes, and where the values of ``x`` stand."""

    x: Axis
    y: Axis
    at: Float
    names: list[str]


def plane(measured: Measured, x: str, *, log: bool, across: Measured | None = None) -> Plane:
    """Return the axes of plots of a variable along its axis ``x``, or against ``across`` at each value of ``x``."""
    values, unit = measured.values_of(x), measured.unit_of(x)
    if across is not None:
        names = [measured.words([x], (i,))[0] for i in range(len(values))]
        return Plane(value_axis(across, log=False), value_axis(measured, log=log), np.arange(len(values), dtype=float), names)
    names = [short(label_below(value, unit)) for value in values]
    if isinstance(values[0], str):
        at = np.arange(len(values), dtype=float)
        across = text_axis(measured.title_of(x), [short(label(x, v, unit)) for v in values])
    else:
        at = np.asarray(values, dtype=float)
        on_log = geometric(values, unit)
        title = measured.title_of(x).removesuffix(f" [{unit}]")
        across = number_axis(title, unit, at, log=on_log, own=at.tolist(), room=0.03)
    return Plane(across, value_axis(measured, log=log), at, names)


def label_below(value: Any, unit: str) -> str:
    """Return a value of an axis with its unit, for tooltips."""
    return value if isinstance(value, str) else amount(value, unit)


def value_axis(measured: Measured, *, log: bool) -> Axis:
    """Return the axis of a variable's values.

    The means set its range: a band of two realisations may be ten times as wide as all curves. A band widens it by at most as
    much as the means span.
    """
    mean, low, high = measured.mean, measured.low, measured.high
    shown = np.isfinite(mean) & ((mean > 0) if log else True)
    ends = [mean[shown], *(band[shown & np.isfinite(band) & ((band > 0) if log else True)] for band in (low, high))]
    drawn = np.concatenate(ends)
    if shown.any():
        inner = np.log(mean[shown]) if log else mean[shown]
        span = np.ptp(inner) or 0.1 * (1.0 if log else abs(float(inner[0])) or 1.0)
        least, most = inner.min() - 0.25 * span, inner.max() + 0.25 * span
        if not log and inner.min() >= 0:
            least = max(least, 0.0)
        drawn = np.clip(drawn, *(np.exp([least, most]) if log else (least, most)))
    return number_axis(measured.title, measured.unit, drawn, log=log, room=0.05)


def curves_plot(
    measured: Measured, series: Series, shared: Plane, beside: Mapping[str, Measured], most: int, height: int, key: str,
    across: Measured | None = None,
) -> hv.Overlay:  # fmt: skip
    """Draw the mean over feasible realisations with its band, a curve for each combination of the other axes.

    Parameters
    ----------
    measured
        The variable in one panel, with its axes in the order of the curves' places, ``x`` last.
    series, shared
        The curves and the axes of the section.
    beside
        Variables that are drawn as hollow squares beside it, by the word for them, in the same order of axes.
    most
        Most points of a curve.
    height
        Pixels.
    key
        Name of the section: a legend fades what stands in its own section.
    across
        Variable that gives the places along ``x`` where a variable, not an axis, is drawn there.
    """
    log, joined = shared.y.log, shared.x.names is None
    bands, lines, dots, squares = [], [], [], []
    numbers: list[int] = []
    banded_numbers: list[int] = []
    for n, curve in enumerate(series.curves):
        places = shared.at if across is None else across.mean[curve.at]
        kept = _drawn(np.where(np.isfinite(places), measured.mean[curve.at], np.nan), most, log=log)
        if not len(kept):
            continue
        here, height_of, low, high = places[kept], *(v[curve.at][kept] for v in (measured.mean, measured.low, measured.high))
        banded = np.isfinite(low) & (low > 0 if log else True)
        if banded.sum() > 1 and joined:
            outline = np.append(here[banded], here[banded][::-1]), np.append(low[banded], high[banded][::-1])
            bands.append({"x": outline[0], "y": outline[1], "color": curve.colour})
            banded_numbers.append(n)
        lines.append({"x": here, "y": height_of, "color": curve.colour, "line_dash": curve.dash})
        numbers.append(n)
        dots.append(_points(measured, shared, curve, n, kept, places))
        for word, other in beside.items():
            also = _drawn(other.mean[curve.at], most, log=log)
            if len(also):
                squares.append(_points(other, shared, curve, n, also, places, f"{word}: "))
    layers = []
    if bands:
        outlines = hv.Polygons(bands, ["x", "y"], ["color"])
        layers.append(layer(outlines, numbers=banded_numbers, whole=0.12, color=hv.dim("color"), line_width=0))
    if joined and lines:
        looks = {"color": hv.dim("color"), "line_dash": hv.dim("line_dash"), "line_width": 2}
        layers.append(layer(hv.Contours(lines, ["x", "y"], ["color", "line_dash"]), numbers=numbers, **looks))
    size = 7 if sum(len(p["x"]) for p in dots) <= _DOTS * len(lines) else 4
    full = {"color": hv.dim("color"), "size": size, "line_alpha": 0}
    hollow = {"marker": "square", "size": 11, "fill_alpha": 0, "line_color": hv.dim("color"), "line_width": 1.5}
    for parts, looks in ((dots, full), (squares, hollow)):
        if parts:
            table = stacked(parts)
            layers.append(layer(points(table), _tips(shared), numbers=table["number"], **looks))
    return panel(layers, shared.x, shared.y, height, key=key, narrow=height < 400)


def stacked(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return tables with the same columns as one, one below the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def points(table: Mapping[str, NDArray[Any]]) -> hv.Points:
    """Return points at the columns ``x`` and ``y``; all others but their numbers are value dimensions."""
    return hv.Points(table, ["x", "y"], [name for name in table if name not in ("x", "y", "number")])


def _tips(shared: Plane) -> list[tuple[str, str]]:
    across, up = (axis.title.partition(" [")[0] for axis in (shared.x, shared.y))
    return [("", "@curve"), (across, "@at"), (up, "@value"), ("95 % band", "@band"), ("feasible", "@count")]


def _points(
    measured: Measured, shared: Plane, curve: Curve, n: int, kept: NDArray[np.int64], places: Float, before: str = ""
) -> dict[str, NDArray[Any]]:
    """Return the columns of the points of a curve."""
    name = short(f"{before}{curve.name or measured.title}")
    told = told_of(measured, curve.at, kept)
    fixed = {"curve": name, "color": curve.colour}
    return {
        "x": places[kept], "y": measured.mean[curve.at][kept], "at": texts(shared.names[i] for i in kept),
        **{c: texts([v] * len(kept)) for c, v in fixed.items()}, **told,
        "number": np.full(len(kept), n),
    }  # fmt: skip


def told_of(measured: Measured, at: Place, kept: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return what a tooltip tells of some values along the last axis: value, band, and how many realisations are feasible."""
    mean, low, high, feasible, planned = (
        values[at][kept] for values in (measured.mean, measured.low, measured.high, measured.feasible, measured.planned)
    )
    unit = measured.unit
    bands = (
        f"{amount(a, unit)} to {amount(b, unit)}" if np.isfinite(a) else "one value" for a, b in zip(low, high, strict=True)
    )
    return {
        "value": texts(amount(v, unit) for v in mean), "band": texts(bands),
        "count": texts(f"{f:.0f} of {p:.0f}" for f, p in zip(feasible, planned, strict=True)),
    }  # fmt: skip


def _drawn(heights: Float, most: int, *, log: bool) -> NDArray[np.int64]:
    """Return the places of the values of a curve that are drawn."""
    known = np.flatnonzero(np.isfinite(heights) & ((heights > 0) if log else True))
    return known[evenly(len(known), most)] if len(known) else known


def longest_sentence(measured: Measured, series: Series, x: str, most: int) -> str:
    """Return the sentence on the values along the curves that are left out; empty if none is."""
    finite = np.isfinite(measured.mean)
    longest = max((int(finite[curve.at].sum(axis=-1).max()) for curve in series.curves), default=0)
    if longest <= most:
        return ""
    return (
        f"Of {longest:,} values of {measured.title_of(x)} a curve shows {most}, both ends and evenly spaced ones "
        f"between: `where` in the study shows a part of them whole; {EXPORT}"
    )


def most_points(curves: int, room: int) -> int:
    """Return the most points of a curve if ``room`` points may be drawn."""
    return min(MOST_VALUES, max(2, room // max(1, curves)))


def texts(words: Iterable[str]) -> NDArray[Any]:
    """Return texts as a column."""
    return np.array(list(words), dtype=object)


def certificates(cube: xr.Dataset) -> hv.Overlay:
    """Draw the relative gap of every delivered cell against its worst violation, as the certificates state them."""
    feasible = np.isin(cube["status"].values, (STATUS_CODES["ok"], STATUS_CODES["inaccurate"]))
    gap, violation = (np.abs(cube[n].values[feasible]) for n in ("relative_gap", "worst_violation"))
    kept = np.isfinite(gap)
    table = {"gap": np.maximum(gap[kept], 1e-16), "violation": np.maximum(violation[kept], 1e-16)}
    if len(table["gap"]) > MOST_CERTIFICATES:
        # The cells with the largest values of either kind are drawn, and an even sample of the others.
        worst = [np.argpartition(-values, MOST_CERTIFICATES // 4)[: MOST_CERTIFICATES // 4] for values in table.values()]
        even = evenly(len(table["gap"]), MOST_CERTIFICATES // 2)
        table = {name: values[np.unique(np.concatenate([*worst, even]))] for name, values in table.items()}
    # The limits are set here: if no cell violates anything, a range of the single value would reach below zero.
    across, up = (
        number_axis(title, "1", [3e-17, max(1e-6, 3.0 * float(values.max(initial=0.0)))], log=True, room=0.0)
        for title, values in zip(
            ("Relative gap to the dual bound", "Worst relative violation (1e-16: none)"), table.values(), strict=True
        )
    )
    points = layer(hv.Points(table, ["gap", "violation"]), color=COLOURS[0], alpha=0.5, size=6, line_alpha=0)
    return panel([points], across, up, 380)

"""Dots with intervals, a row for each value of an unordered axis: no line joins what has no order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from textwrap import fill

import holoviews as hv
import numpy as np

from flows.report.axes import Axis, text_axis
from flows.report.choice import EXPORT, MOST_ROWS, evenly
from flows.report.curves import Series
from flows.report.drawing import GRID, SIZES, layer, panel
from flows.report.legends import Group
from flows.report.measured import Measured
from flows.report.plots import points, stacked, texts, told_of
from flows.report.words import DASHES, label, short

MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "plus")
"""Forms of dots; they stand for what dashes stand for in curves."""
_LETTERS, _LINE = 44, 23
"""Letters of a row's name, and of one of its two lines: longer names would leave no room on a telephone."""


def row_axis(measured: Measured, rows: str, most: int = MOST_ROWS) -> tuple[Axis, list[int], str]:
    """Return the axis of at most ``most`` rows, the values that have rows, and a sentence on those that are left out."""
    values, unit = measured.values_of(rows), measured.unit_of(rows)
    kept = [int(i) for i in evenly(len(values), max(2, min(most, MOST_ROWS)))]
    names = [fill(short(label(rows, values[i], unit), _LETTERS), _LINE) for i in kept]
    axis = text_axis("", names, letters=_LETTERS + 1, most=MOST_ROWS)
    left_out = ""
    if len(kept) < len(values):
        left_out = f"{len(kept)} of {len(values):,} values of {measured.title_of(rows)} are shown, evenly spaced. {EXPORT}"
    # The first value stands at the top.
    return replace(axis, limits=axis.limits[::-1]), kept, left_out


def marker_of(dash: str) -> str:
    """Return the form of a dot that stands for what a dash stands for in curves."""
    return MARKERS[DASHES.index(dash)]


def dotted(legend: Sequence[Group]) -> list[Group]:
    """Return a legend of curves as a legend of dots."""
    return [
        Group(g.title, [replace(e, kind="dot", marker=marker_of(e.dash)) for e in g.entries]) for g in legend
    ]  # fmt: skip


def dots_plot(
    measured: Measured, series: Series, rows: Axis, kept: Sequence[int], values: Axis, key: str, *, narrow: bool
) -> hv.Overlay:
    """Draw the mean of every row's combinations of the other axes as a dot, and its 95 % band as a line.

    Parameters
    ----------
    measured
        The variable in one panel, with its axes in the order of the series' places, the axis of the rows last.
    series
        The combinations, with their looks.
    rows, kept
        Axis of the rows, and the values that have rows.
    values
        Axis of the variable.
    key
        Name of the section, for its legend.
    narrow
        Whether several such plots stand side by side.
    """
    wrapped = any("\n" in name for name in rows.names or ())
    numbers = np.array(kept, dtype=np.int64)
    names = texts(short(label(measured.axes[-1], v, "")) for v in measured.values_of(measured.axes[-1]))
    step = min(0.16, 0.8 / max(1, len(series.curves)))
    columns: list[dict[str, np.ndarray]] = []  # type: ignore[type-arg]
    for n, curve in enumerate(series.curves):
        mean = measured.mean[curve.at][numbers]
        shown = np.flatnonzero(np.isfinite(mean) & ((mean > 0) if values.log else True))
        if not len(shown):
            continue
        low, high = (band[curve.at][numbers[shown]] for band in (measured.low, measured.high))
        least = values.limits[0]
        low = np.where(np.isfinite(low), np.maximum(low, least), mean[shown])
        columns.append(
            {
                "x": mean[shown], "y": shown + step * (n - 0.5 * (len(series.curves) - 1)), "low": low,
                "high": np.where(np.isfinite(high), high, mean[shown]), "row": names[numbers[shown]],
                "curve": texts([curve.name] * len(shown)), "color": texts([curve.colour] * len(shown)),
                "marker": texts([marker_of(curve.dash)] * len(shown)), **told_of(measured, curve.at, numbers[shown]),
                "number": np.full(len(shown), n),
            }
        )  # fmt: skip
    layers = []
    if columns:
        table = stacked(columns)
        ends = {name: table[name] for name in ("low", "y", "high", "color")} | {"level": table["y"]}
        bands = hv.Segments(ends, ["low", "y", "high", "level"], ["color"])
        title = values.title.partition(" [")[0]
        tips = [("", "@row"), ("", "@curve"), (title, "@value"), ("95 % band", "@band"), ("feasible", "@count")]
        looks = {"marker": hv.dim("marker"), "size": 8, "color": hv.dim("color"), "line_alpha": 0}
        layers = [
            layer(bands, numbers=table["number"], color=hv.dim("color"), line_width=2),
            layer(points(table), tips, numbers=table["number"], **looks),
        ]
    return panel(
        layers, values, rows, _height(len(kept), len(series.curves), wrapped=wrapped), key=key, narrow=narrow,
        fontsize=SIZES | {"yticks": "8pt"}, gridstyle=GRID | {"ygrid_line_color": None},
    )  # fmt: skip


def _height(rows: int, dots: int, *, wrapped: bool) -> int:
    return int(min(1200, 80 + rows * max(27 if wrapped else 18, 7 * min(dots, 8))))

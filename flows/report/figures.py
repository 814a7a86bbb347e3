"""Draw the trade-off of a study as a figure for a paper: png, svg or pdf, by matplotlib."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from flows.field_values import scaled
from flows.report.axes import Axis
from flows.report.curves import Series, curve_series
from flows.report.maps import EDGE, edge_segments, ground
from flows.report.measured import Measured, is_measured, measured
from flows.report.panels import panel_places
from flows.report.plots import Plane, plane
from flows.report.sections import map_axes
from flows.report.spec import completed_spec
from flows.report.words import DASHES, with_unit
from pipeline.errors import UsageError

FORMATS = (".png", ".svg", ".pdf")
WIDTHS_MM = {"column": 88.0, "page": 181.0}
"""Widths of one column and of a page of a two-column journal."""

_TITLE = 32
"""Letters along an axis of a figure as wide as a column."""
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LETTERS = 20
"""Letters side by side below an axis, on an inch."""

_TEXT = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 6.5,
    "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "disac", "axes.linewidth": 0.6, "savefig.dpi": 400,
}  # fmt: skip


def write_figures(
    cube: xr.Dataset, surfaces: xr.Dataset, spec: dict[str, Any], file: Path, *, width: str = "column",
    say: Callable[[str], None] = lambda _: None,
) -> list[Path]:  # fmt: skip
    """Draw the main trade-off of the study's report, as curves, dots or a map, a figure for each of its panels.

    Parameters
    ----------
    cube, surfaces
        As published.
    spec
        The study's ``report`` section.
    file
        File that ends with .png, .svg or .pdf; text stays text in the latter two. A panel's name is added to the stem.
    width
        ``column`` (88 mm) or ``page`` (181 mm).
    say
        Receives a sentence on every figure that leaves curves out.

    Returns
    -------
    The files written.

    Raises
    ------
    UsageError
        If the file has another ending, or no cell is feasible.
    """
    if file.suffix not in FORMATS:
        raise UsageError(f"'{file}': figures are written as {', '.join(FORMATS)}")
    completed = completed_spec(cube, surfaces, spec)
    if not is_measured(surfaces, completed["y"]) or not np.isfinite(measured(surfaces, completed["y"]).mean).any():
        raise UsageError("no cell is feasible: there is nothing to draw")
    found = measured(surfaces, completed["y"])
    x, log = completed["x"], bool(completed.get("log_y"))
    over = map_axes(found, completed)
    split = [axis for axis in completed.get("panels") or () if axis in found.axes and axis != x]
    if over is not None:
        split = [axis for axis in found.axes if axis not in over]
    draw, left_out = _curves(found, completed, split) if over is None else _map(found, over, log=log)
    places = panel_places(found, split, found.mean.size)
    written = []
    file.parent.mkdir(parents=True, exist_ok=True)
    for name, chosen in places.found:
        # Signs are kept: panels of -5 and 5 dB are two files.
        words = re.sub(r"[^\w.+-]+", "-", name.lower())
        path = file.with_stem(f"{file.stem}-{words}".rstrip("-"))
        if left_out:
            say(f"{path.name}: {left_out}")
        with mpl.rc_context(_TEXT):
            figure = draw(found.part(chosen), WIDTHS_MM[width] / 25.4)
            # The file holds no date, so that the same cells give the same file.
            dated: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
            figure.savefig(path, metadata=dated[file.suffix])
        written.append(path)
    return written


Draw = Callable[[Measured, float], Figure]
"""Draws a panel, given its width in inches."""


def _curves(found: Measured, spec: Mapping[str, Any], split: Sequence[str]) -> tuple[Draw, str]:
    """Return what draws the curves of a panel, and a sentence on the curves that are left out."""
    x = str(spec["x"])
    series, shared = curve_series(found, spec, (x, *split)), plane(found, x, log=bool(spec.get("log_y")))
    return lambda part, width: _drawn(part.ordered((*series.axes, x)), series, shared, width), series.left_out


def _map(found: Measured, over: tuple[str, str], *, log: bool) -> tuple[Draw, str]:
    """Return what draws the map of a panel; nothing is left out."""
    shared = ground(found, *over, log=log)

    def draw(part: Measured, width: float) -> Figure:
        part = part.ordered(over)
        figure = Figure(figsize=(width, 0.74 * min(width, 4.8)), layout="constrained")
        axes = figure.add_subplot()
        mean = np.where(part.mean > 0, part.mean, np.nan) if log else part.mean
        norm = (LogNorm if log else Normalize)(*shared.span)
        colours = ListedColormap(shared.palette)
        filled = axes.pcolormesh(*shared.borders, mean.T, norm=norm, cmap=colours, rasterized=True)
        scale = scaled(shared.lines or shared.span, part.unit)
        words = FuncFormatter(lambda value, _: scale.text(value))
        centres = (np.asarray(part.values_of(axis), dtype=float) for axis in over)
        if shared.lines and np.isfinite(mean).sum() > 3:
            lines = axes.contour(*centres, np.ma.masked_invalid(mean).T, levels=shared.lines, colors="white", linewidths=0.7)
            axes.clabel(lines, fmt=scale.text, fontsize=6)
        for ends in () if part.own else (edge_segments(part, shared),):
            axes.plot(ends[:, :, 0].T, ends[:, :, 1].T, color=EDGE, linewidth=1.2)
        _scale(axes, shared.x, shared.y)
        bar = figure.colorbar(filled, ax=axes, label=fill(with_unit(part.title, scale.unit if scale.common else ""), 32))
        bar.set_ticks(shared.lines or list(shared.span), minor=False)
        bar.ax.yaxis.set_major_formatter(words)
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        return figure

    return draw, ""


def _scale(axes: Axes, x: Axis, y: Axis) -> None:
    """Give the axes their scales, limits, titles, and ticks whose labels do not overlap: minor ticks have none."""
    for axis, drawn, scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        scale(axis.positions)
        if axis.ticks is not None:
            inside = [tick for tick in axis.ticks if min(axis.limits) <= tick <= max(axis.limits)]
            drawn.set_major_locator(FixedLocator(inside))
        drawn.set_major_formatter(FuncFormatter(lambda value, _, axis=axis: axis.text(value)))
        drawn.set_minor_formatter(NullFormatter())
    axes.set(xlim=x.limits, ylim=y.limits, xlabel=x.title, ylabel=fill(y.title, _TITLE))


def _drawn(found: Measured, series: Series, shared: Plane, width_inches: float) -> Figure:
    """Draw one panel; its axes fill the figure, and the legend stands below in as many columns as fit."""
    figure = Figure(figsize=(width_inches, 0.74 * min(width_inches, 4.8)))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    joined, names = shared.x.names is None, 0
    for n, curve in enumerate(series.curves):
        mean, low, high = (values[curve.at] for values in (found.mean, found.low, found.high))
        kept = np.isfinite(mean) & ((mean > 0) if shared.y.log else True)
        banded = kept & np.isfinite(low) & ((low > 0) if shared.y.log else True)
        if not kept.any():
            continue
        names += 1
        looks: dict[str, Any] = {"color": curve.colour, "label": curve.name or found.title}
        if joined:
            axes.fill_between(shared.at[banded], low[banded], high[banded], color=curve.colour, alpha=0.12, linewidth=0)
            axes.plot(shared.at[kept], mean[kept], "o", ls=_line_style(curve.dash), linewidth=1.0, ms=2.5, **looks)
        else:
            # Texts have no order: dots with intervals stand beside each other, and no line joins them.
            at = shared.at + 0.6 * ((n + 0.5) / len(series.curves) - 0.5)
            half = np.abs(np.where(banded, np.stack([mean - low, high - mean]), 0.0))
            axes.errorbar(at[kept], mean[kept], half[:, kept], fmt=_MARKERS[DASHES.index(curve.dash)], ms=3, lw=0.8, **looks)
    _scale(axes, shared.x, shared.y)
    axes.grid(linewidth=0.3, alpha=0.6)
    longest = max(map(len, shared.x.names or ("",)))
    turned = not joined and len(shared.x.names or ()) * longest > _LETTERS * width_inches
    if turned:
        axes.tick_params(axis="x", rotation=90)
    _placed(figure, axes, width_inches, lines=names, below=0.055 * longest if turned else 0.0)
    return figure


def _placed(figure: Figure, axes: Axes, width_inches: float, *, lines: int, below: float) -> None:
    columns = 1 if width_inches < 5 else 2
    rows = -(-lines // columns) if lines > 1 else 0
    height = 0.74 * min(width_inches, 4.8) + 0.125 * rows + below
    figure.set_size_inches(width_inches, height)
    low = (0.42 + 0.125 * rows + below) / height
    axes.set_position((0.62 / width_inches, low, 1 - 0.7 / width_inches, 0.97 - low))
    if rows:
        figure.legend(
            *axes.get_legend_handles_labels(), loc="lower center", ncols=columns, frameon=False, handlelength=2.6,
            labelspacing=0.25, borderaxespad=0.1,
        )  # fmt: skip


def _line_style(dash: str) -> Any:
    """Return a dash of the plots on a page, at half the size."""
    return "-" if dash == "solid" else (0, tuple(0.5 * float(length) for length in dash.split()))

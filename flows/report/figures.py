"""Draw the trade-off of a study as a figure for a paper: png, svg or pdf, by HoloViews and matplotlib."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from matplotlib.ticker import FuncFormatter

from flows.report.curves import along, curve_axes, curve_series
from flows.report.page import completed_spec, panels
from flows.report.words import axis_title
from pipeline.errors import UsageError
from pipeline.statistics import statistic

FORMATS = (".png", ".svg", ".pdf")
WIDTHS_MM = {"column": 88.0, "page": 181.0}
"""Widths of one column and of a page of a two-column journal."""

_TEXT = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 6.5,
    "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "disac", "axes.linewidth": 0.6, "savefig.dpi": 400,
}  # fmt: skip


def write_figures(
    cube: xr.Dataset, surfaces: xr.Dataset, spec: dict[str, Any], file: Path, *, width: str = "column",
    say: Callable[[str], None] = lambda _: None,
) -> list[Path]:  # fmt: skip
    """Draw the study's trade-off curves with their confidence bands, a figure for each of its panels.

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
    import matplotlib as mpl

    before = hv.Store.current_backend
    hv.extension("matplotlib", logo=False)
    written = []
    completed = completed_spec(cube, surfaces, spec)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for name, part in panels(surfaces, completed)[0]:
            # Signs are kept: panels of -5 and 5 dB are two files.
            words = re.sub(r"[^\w.+-]+", "-", name.lower())
            path = file.with_stem(f"{file.stem}-{words}".rstrip("-"))
            plot, left_out = _overlay(part, completed)
            if left_out:
                say(f"{path.name}: {left_out}")
            with mpl.rc_context(_TEXT):
                figure = hv.render(plot, backend="matplotlib")
                _finish(figure, WIDTHS_MM[width] / 25.4)
                # The file holds no date, so that the same cells give the same file.
                dated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}[file.suffix]
                figure.savefig(path, metadata=dated)
                mpl.pyplot.close(figure)
            written.append(path)
    finally:
        hv.Store.set_current_backend(before)
    if not written:
        raise UsageError("no cell is feasible: there is nothing to draw")
    return written


def _finish(figure: Any, width_inches: float) -> None:
    """Give the figure its width, let the axes fill it, and put the legend below in as many columns as fit."""
    axes = figure.axes[0]
    handles, words = axes.get_legend_handles_labels()
    shown = [(h, w) for h, w in zip(handles, words, strict=True) if w and not w.startswith("_")]
    columns = 1 if width_inches < 5 else 2
    lines = -(-len(shown) // columns) if len(shown) > 1 else 0
    height = 0.74 * min(width_inches, 4.8) + 0.125 * lines
    figure.set_size_inches(width_inches, height)
    axes.set_aspect("auto")
    axes.set_box_aspect(None)
    low = (0.42 + 0.125 * lines) / height
    axes.set_position((0.62 / width_inches, low, 1 - 0.7 / width_inches, 0.97 - low))
    axes.grid(linewidth=0.3, alpha=0.6)
    axes.autoscale(enable=True, axis="x")
    axes.margins(x=0.03)
    if axes.get_yscale() == "log":
        for kind in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            kind(FuncFormatter(lambda value, _: f"{value:.3g}"))
    if lines:
        figure.legend(
            *zip(*shown, strict=True), loc="lower center", ncols=columns, frameon=False, handlelength=2.6, labelspacing=0.25,
            borderaxespad=0.1,
        )  # fmt: skip


def _line_style(dash: str) -> Any:
    """Return a dash of the plots on a page, at half the size."""
    return "-" if dash == "solid" else (0, tuple(0.5 * float(length) for length in dash.split()))


def _overlay(surfaces: xr.Dataset, spec: dict[str, Any]) -> tuple[Any, str]:
    """Return the plot, and a sentence on the curves that it leaves out."""
    x, y = spec["x"], spec["y"]
    series, left_out = curve_series(surfaces, spec, y)
    labels = surfaces[x].values
    dims = curve_axes(surfaces, spec, y)
    means, lows, highs = (along(surfaces, statistic(surfaces, y, s), dims, x) for s in ("mean_feasible", "ci_low", "ci_high"))
    bands, curves = [], []
    for one in series:
        mean, low, high = means[one.at], lows[one.at], highs[one.at]
        kept = np.isfinite(mean)
        banded = kept & np.isfinite(low) & (low > 0 if spec.get("log_y") else True)
        if banded.sum() > 1:
            area = hv.Area((labels[banded], low[banded], high[banded]), x, [f"{y}_low", f"{y}_high"])
            bands.append(area.opts(facecolor=one.colour, edgecolor="none", alpha=0.12, backend="matplotlib"))
        curve = hv.Curve((labels[kept], mean[kept]), x, y, label=one.name or axis_title(surfaces, y))
        looks = {"color": one.colour, "linestyle": _line_style(one.dash), "linewidth": 1.0, "marker": "o", "ms": 2.5}
        curves.append(curve.opts(**looks, backend="matplotlib"))
    heights = np.array([means[one.at] for one in series])
    lowest, highest = np.nanmin(heights), np.nanmax(heights)
    # The curves set the scale, because a band of two realisations may be ten times as wide as all curves.
    if spec.get("log_y"):
        limits = (lowest * (lowest / highest) ** 0.08, highest * (highest / lowest) ** 0.08)
    else:
        limits = (lowest - 0.08 * (highest - lowest), highest + 0.08 * (highest - lowest))
    plot = hv.Overlay([*bands, *curves]).opts(
        logy=bool(spec.get("log_y")), xlabel=axis_title(surfaces, x), ylim=tuple(map(float, limits)),
        ylabel=axis_title(surfaces, y), show_legend=False, aspect=1.4,
        fontsize={"labels": 7, "xticks": 7, "yticks": 7}, backend="matplotlib",
    )  # fmt: skip
    return plot, left_out

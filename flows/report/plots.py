"""The plots of a report, built with HoloViews on Bokeh. They draw what surfaces and cube hold and compute nothing.

HoloViews makes the axes of a trade-off, and a hook of its options draws into the figure. An element with options of its own for
every band, curve and row of points was a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.models import CDSView, ColumnDataSource, HoverTool, Legend, LegendItem, Line

from flows.field_values import below_heading
from flows.report.choice import EXPORT, MOST_COLUMNS, MOST_LETTERS, MOST_POINTS, MOST_VALUES, evenly
from flows.report.curves import Curve, along, curve_axes, curve_series
from flows.report.words import COLOURS, axis_title, field_words, short
from pipeline.experiment import STATUS_CODES
from pipeline.statistics import cell_count, has_statistic, statistic

hv.extension("bokeh", logo=False)

MOST_CERTIFICATES = 4000
"""Most certificates in one plot."""

SIZES = {
    "responsive": True, "min_height": 380, "height": 460, "toolbar": "above",
    "default_tools": ["save", "pan", "box_zoom", "reset"],
    "fontsize": {"labels": "11pt", "xticks": "10pt", "yticks": "10pt"},
}  # fmt: skip

_DOTS = 60
"""Number of points along a curve that a reader can tell apart."""
_ROOM = 100
"""Letters that fit side by side below an axis."""
_TITLE = 48
"""Letters that fit along a y axis, or in a line of a legend on a telephone."""

Float = np.ndarray[Any, np.dtype[np.float64]]


def tradeoff(surfaces: xr.Dataset, spec: dict[str, Any], room: int = MOST_POINTS) -> tuple[Any, str]:
    """Draw the mean over feasible realisations with its confidence band, a curve per combination of the other axes.

    Parameters
    ----------
    surfaces
        Surfaces of one panel.
    spec
        The completed ``report`` section.
    room
        Most points to draw.

    Returns
    -------
    plot
        A HoloViews element.
    left_out
        A sentence on the parts that the plot leaves out; empty if it shows all.
    """
    x, y = spec["x"], spec["y"]
    if x not in cell_count(surfaces, "feasible").dims:
        surfaces = surfaces.isel({x: _occupied(statistic(surfaces, y, "mean_feasible").transpose(x, ...).values)})
    curves, left_out = curve_series(surfaces, spec, y)
    most = min(MOST_VALUES, max(2, room // max(1, len(curves))))
    dims, labels = curve_axes(surfaces, spec, y), surfaces[x].values
    means, lows, highs = (along(surfaces, statistic(surfaces, y, s), dims, x) for s in ("mean_feasible", "ci_low", "ci_high"))
    counts = [along(surfaces, cell_count(surfaces, state), dims, x) for state in ("feasible", "planned")]
    log = bool(spec.get("log_y")) and bool((means > 0).any())
    text = labels.dtype.kind not in "iuf"
    # Labels that are texts stand at whole numbers.
    at = np.arange(len(labels), dtype=float) if text else labels.astype(float)
    bands, lines, points = [], [], []
    for curve in curves:
        kept = _drawn(means[curve.at], most)
        here, height, lower, upper = at[kept], *(values[curve.at][kept] for values in (means, lows, highs))
        banded = np.isfinite(lower) & (lower > 0 if log else True)
        name = short(curve.name or axis_title(surfaces, y))
        if banded.sum() > 1:
            outline = np.append(here[banded], here[banded][::-1]), np.append(lower[banded], upper[banded][::-1])
            bands.append((*outline, curve.colour))
        lines.append((here, height, curve, name))
        told = zip(lower, upper, *(count[curve.at][kept] for count in counts), strict=True)
        words = [(f"{a:.4g} to {b:.4g}" if np.isfinite(a) else "one value", f"{f} of {p}") for a, b, f, p in told]
        points.append((here, height, *_words(surfaces[x][kept], curve.colour, name), *map(_texts, zip(*words, strict=True))))
    layers = Layers(
        bands, lines, _joined(("x", "y", "at", "colour", "curve", "band", "count"), points),
        _joined(("x", "y", "at", "colour", "curve"), _squares(surfaces, spec, curves, most, at)),
        axis_title(surfaces, x), axis_title(surfaces, y),
    )  # fmt: skip
    ticks = (
        {"xticks": [(int(i), short(str(labels[i]), MOST_LETTERS)) for i in evenly(len(labels), MOST_COLUMNS)]} if text else {}
    )
    below = sum(len(word) for _, word in ticks.get("xticks", []))
    # The legend below the plot has one entry a line: several columns would be cut off on a telephone.
    rows = sum(1 + fill(name, _TITLE).count("\n") for *_, name in lines) if len(lines) > 1 else 0
    plot = hv.Points([]).opts(
        show_grid=True, logy=log, xlabel=layers.x_title, ylabel=fill(axis_title(surfaces, y), _TITLE), yformatter="%.3g",
        xlim=(-0.5, len(at) - 0.5) if text else _limits(layers.points["x"], 0.03),
        ylim=_limits(layers.heights(), 0.05, log=log), xrotation=45 if below > _ROOM else 0,
        yticks=_log_ticks(layers.points["y"]) if log else None, hooks=[layers.draw],
        **SIZES | ticks | {"height": 440 + 24 * max(1, rows), "min_height": 440 + 24 * max(1, rows)},
    )  # fmt: skip
    longest = max((int(np.isfinite(means[curve.at]).sum()) for curve in curves), default=0)
    if longest > most:
        left_out += (
            f" Of {longest:,} values of {axis_title(surfaces, x)} a curve shows {most}, both ends and evenly spaced ones "
            f"between: `where` in the study shows a part of them whole; {EXPORT}"
        )
    return plot, left_out.strip()


def _drawn(heights: Float, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the places of the values of a curve that are drawn."""
    known = np.flatnonzero(np.isfinite(heights))
    return known[evenly(len(known), most)]


@dataclass(frozen=True)
class Layers:
    """The layers of a plot, from below: bands, lines, points, squares."""

    bands: list[tuple[Float, Float, str]]
    lines: list[tuple[Float, Float, Curve, str]]
    points: dict[str, Any]
    squares: dict[str, Any]
    x_title: str
    y_title: str

    def heights(self) -> Float:
        """Return all heights that are drawn."""
        return np.concatenate([self.points["y"], *(edge for _, edge, _ in self.bands), self.squares.get("y", [])])

    def draw(self, plot: Any, _: Any) -> None:
        """Draw the layers into the figure of a HoloViews plot, as a hook of its options."""
        figure = plot.state
        figure.renderers = []
        if self.bands:
            outlines = dict(zip(("xs", "ys", "colour"), map(list, zip(*self.bands, strict=True)), strict=True))
            figure.patches("xs", "ys", fill_color="colour", fill_alpha=0.12, line_width=0, source=outlines)
        # All lines share one table: a table for each line would cost more than the lines.
        source, view, items = ColumnDataSource(_columns(self.lines)), CDSView(), []
        for n, (_, _, curve, name) in enumerate(self.lines):
            looks = {"line_color": curve.colour, "line_dash": curve.dash, "line_width": 2}
            shown, muted = (Line(x=f"x{n}", y=f"y{n}", line_alpha=alpha, **looks) for alpha in (1.0, 0.2))
            line = figure.add_glyph(source, shown, muted_glyph=muted, view=view)
            items.append(LegendItem(label=fill(name, _TITLE), renderers=[line]))
        common = [("", "@curve"), (self.x_title, "@at")]
        tips = [*common, (self.y_title, "@y{0.0000e}"), ("95 % band", "@band"), ("feasible", "@count")]
        # Many points get small dots: large ones would overlap.
        size = 7 if len(self.points["x"]) <= _DOTS * len(self.lines) else 4
        points = figure.scatter("x", "y", color="colour", size=size, source=self.points)
        figure.add_tools(HoverTool(tooltips=tips, renderers=[points]))
        if self.squares:
            looks = {"fill_alpha": 0, "line_color": "colour", "line_width": 1.5}
            squares = figure.scatter("x", "y", marker="square", size=11, source=self.squares, **looks)
            figure.add_tools(HoverTool(tooltips=[*common, ("mean", "@y{0.0000e}")], renderers=[squares]))
        if len(items) > 1:
            legend = Legend(items=items, location=(0, 0), click_policy="mute", label_text_font_size="10pt")
            figure.add_layout(legend, "below")


def _columns(lines: list[tuple[Float, Float, Curve, str]]) -> dict[str, Float]:
    """Return the places of every line as two columns; shorter lines end with NaN, which is not drawn."""
    longest = max((len(xs) for xs, *_ in lines), default=0)
    numbered = ((f"{axis}{n}", values) for n, (xs, ys, *_) in enumerate(lines) for axis, values in (("x", xs), ("y", ys)))
    return {name: np.append(values, np.full(longest - len(values), np.nan)) for name, values in numbered}


def _joined(columns: tuple[str, ...], parts: list[tuple[np.ndarray[Any, Any], ...]]) -> dict[str, Any]:
    """Join the columns of several tables, one table below the other."""
    return {c: np.concatenate(column) for c, column in zip(columns, zip(*parts, strict=True), strict=True)} if parts else {}


def _squares(
    surfaces: xr.Dataset, spec: dict[str, Any], curves: list[Curve], most: int, at: Float
) -> list[tuple[np.ndarray[Any, Any], ...]]:
    """Return hollow squares for a variable that the study keeps beside the drawn variable, such as its bound, if any."""
    beside = next((w for w in field_words().beside if has_statistic(surfaces, f"{w}_{spec['y']}", "mean_feasible")), None)
    if beside is None:
        return []
    means = statistic(surfaces, f"{beside}_{spec['y']}", "mean_feasible")
    values = along(surfaces, means, curve_axes(surfaces, spec, spec["y"]), spec["x"])
    found = []
    for curve in curves:
        kept = _drawn(values[curve.at], most)
        words = _words(surfaces[spec["x"]][kept], curve.colour, short(f"{beside}: {curve.name}"))
        found.append((at[kept], values[curve.at][kept], *words))
    return found


def _words(labels: xr.DataArray, colour: str, name: str) -> tuple[np.ndarray[Any, Any], ...]:
    """Return for each point of a curve the value of x in words, the colour and the curve's name."""
    unit = str(labels.attrs.get("units", "1"))
    return _texts(short(below_heading(v, unit)) for v in labels.values.tolist()), *(
        _texts([word] * len(labels)) for word in (colour, name)
    )


def _texts(words: Iterable[str]) -> np.ndarray[Any, Any]:
    return np.array(list(words), dtype=object)


def _limits(values: Float, room: float, *, log: bool = False) -> tuple[float, float]:
    """Return the limits of an axis: the range of the drawn values with some room."""
    drawn = values[np.isfinite(values) & ((values > 0) if log else True)]
    low, high = (float(np.log10(v)) if log else float(v) for v in (drawn.min(), drawn.max()))
    more = room * (high - low) or (0.1 if log else 0.05 * abs(high) or 1.0)
    return (10.0 ** (low - more), 10.0 ** (high + more)) if log else (low - more, high + more)


def _log_ticks(heights: np.ndarray[Any, Any]) -> list[float] | None:
    """Return ticks for a logarithmic axis over less than two decades, else None.

    On such an axis Bokeh's even steps would leave the lower part without ticks.
    """
    drawn = heights[np.isfinite(heights) & (heights > 0)]
    if not drawn.size or not 5.0 < drawn.max() / drawn.min() < 100.0:
        return None
    decades = 10.0 ** np.arange(np.floor(np.log10(drawn.min())), np.log10(drawn.max()) + 1.0)
    return [float(f"{step * decade:.3g}") for decade in decades for step in (1.0, 2.0, 5.0)]


def _occupied(profile: np.ndarray[Any, Any]) -> slice:
    """Return the bins [x, ...] from the first to the last that is not empty, and one more bin on either side."""
    full = np.flatnonzero((np.nan_to_num(profile.reshape(len(profile), -1)) != 0).any(axis=1))
    return slice(max(0, full[0] - 1), full[-1] + 2) if len(full) else slice(None)


def certificates(cube: xr.Dataset) -> Any:
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
    points = hv.Points(table, ["gap", "violation"])
    # The limits are set here: if no cell violates anything, automatic padding of the single value would reach below zero.
    most = {name: max(1e-6, 3.0 * float(values.max(initial=0.0))) for name, values in table.items()}
    return points.opts(
        logx=True, logy=True, xlim=(3e-17, most["gap"]), ylim=(3e-17, most["violation"]),
        color=COLOURS[0], alpha=0.5, size=6, xlabel="Relative gap to the dual bound",
        ylabel="Worst relative violation (1e-16: none)", show_grid=True, **SIZES,
    )  # fmt: skip

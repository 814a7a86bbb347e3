"""The plots of a report, built with HoloViews on Bokeh. They draw what surfaces and cube hold and compute nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from textwrap import fill
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.models import HoverTool

from flows.report.words import COLOURS, DASHES, STATUS_COLOURS, axis_title, colours, label, lighter, number
from pipeline.experiment import STATUS_CODES, STATUS_NAMES

hv.extension("bokeh", logo=False)

MOST_ROWS, MOST_COLUMNS, MOST_POINTS = 48, 120, 4000
"""What a page can show and a person can read."""

_SIZES = {
    "responsive": True, "min_height": 380, "height": 460, "toolbar": "above",
    "default_tools": ["save", "pan", "box_zoom", "reset"],
    "fontsize": {"labels": "11pt", "xticks": "10pt", "yticks": "10pt", "legend": "10pt"},
}  # fmt: skip


def curve_series(
    surfaces: xr.Dataset, spec: dict[str, Any], variable: str
) -> list[tuple[dict[str, Any], str, str, xr.Dataset]]:
    """(selection, colour, dash, part) of every curve that has a value.

    A hue stands for a value of the axis ``colour``, a dash for one of ``style``, lighter shades for those of all other axes.
    """
    dims = [str(d) for d in surfaces[variable].dims if d != spec["x"]]
    shaded = [d for d in dims if d not in (spec.get("colour"), spec.get("style"))]
    sizes = tuple(surfaces.sizes[d] for d in shaded)
    axis = spec.get("colour") or ""
    palette = colours(surfaces.sizes.get(axis, 1))
    found = []
    for values in itertools.product(*(surfaces[d].values.tolist() for d in dims)):
        chosen = dict(zip(dims, values, strict=True))
        part = surfaces.sel(chosen)
        if not np.isfinite(part[variable].values).any():
            continue
        number = {d: surfaces[d].values.tolist().index(v) for d, v in chosen.items()}
        shade = int(np.ravel_multi_index([number[d] for d in shaded], sizes)) if shaded else 0
        colour = lighter(palette[number.get(axis, 0)], shade / int(np.prod(sizes)))
        dash = DASHES[number.get(spec.get("style") or "", 0) % len(DASHES)]
        found.append((chosen, colour, dash, part))
    return found


def _hover(columns: list[tuple[str, str]], renderers: str = "hover") -> HoverTool:
    return HoverTool(tooltips=columns, name=renderers)


_ROOM = 100
"""Letters that stand side by side below an axis."""


def tradeoff(surfaces: xr.Dataset, spec: dict[str, Any]) -> Any:
    """Mean over feasible realisations with its confidence band, one curve per combination of the other axes."""
    x, y = spec["x"], spec["y"]
    mean, low, high = (f"{y}_{s}_feasible" for s in ("mean", "ci_low", "ci_high"))
    layers = []
    if x not in surfaces["feasible_count"].dims:
        surfaces = surfaces.isel({x: _occupied(surfaces[mean].transpose(x, ...).values)})
    for chosen, colour, dash, part in curve_series(surfaces, spec, mean):
        kept = np.isfinite(part[mean].values)
        name = ", ".join(label(str(d), v) for d, v in chosen.items()) or axis_title(surfaces, y)
        xs, ys = part[x].values[kept], part[mean].values[kept]
        lows, highs = part[low].values[kept], part[high].values[kept]
        banded = np.isfinite(lows) & (lows > 0 if spec.get("log_y") else True)
        if banded.sum() > 1:
            area = hv.Area((xs[banded], lows[banded], highs[banded]), x, [f"{y}_low", f"{y}_high"])
            layers.append(area.opts(color=colour, alpha=0.12, line_width=0))
        table = {
            x: xs, y: ys, "curve": np.full(len(xs), name, dtype=object),
            "band": _texts(f"{a:.4g} to {b:.4g}" if np.isfinite(a) else "one value" for a, b in zip(lows, highs, strict=True)),
            "count": _texts(f"{f} of {p}" for f, p in zip(*(part[c].broadcast_like(part[mean]).values[kept]
                                                            for c in ("feasible_count", "planned_count")), strict=True)),
        }  # fmt: skip
        extra = ["curve", "band", "count"]
        layers.append(hv.Curve((xs, ys), x, y, label=name).opts(color=colour, line_dash=dash, line_width=2))
        tips = [("", "@curve"), (axis_title(surfaces, x), f"@{x}"), (axis_title(surfaces, mean), f"@{y}{{0.0000e}}"),
                ("95 % band", "@band"), ("feasible", "@count")]  # fmt: skip
        points = hv.Points(table, [x, y], extra)
        layers.append(points.opts(color=colour, size=7, tools=[_hover(tips)]))
    curves = sum(bool(layer.label) for layer in layers)
    layers += _markers(surfaces, spec)
    names = [str(v) for v in surfaces[x].values.tolist()] if surfaces[x].dtype.kind in "OUT" else []
    layers = [*_places(names, surfaces[mean].values, x, y), *layers]
    # One entry a line below the plot: several columns are cut off on a telephone.
    sizes = _SIZES | {"height": 440 + 24 * curves, "min_height": 440 + 24 * curves}
    return hv.Overlay(layers).opts(
        logy=bool(spec.get("log_y")), xlabel=axis_title(surfaces, x), ylabel=_mean_title(surfaces, mean), show_grid=True,
        yformatter="%.3g", padding=(0.03, 0.05), show_legend=curves > 1, legend_position="bottom", legend_cols=1,
        legend_limit=len(layers) + 1, xrotation=45 if sum(map(len, names)) > _ROOM else 0,
        yticks=_log_ticks(surfaces[mean].values) if spec.get("log_y") else None, **sizes,
    )  # fmt: skip


def _places(names: list[str], heights: np.ndarray[Any, Any], x: str, y: str) -> list[Any]:
    """Something invisible at every place of an axis of texts, which stand in the order in which they are met first."""
    drawn = heights[np.isfinite(heights)]
    if not names or not drawn.size:
        return []
    return [hv.Points((names, np.full(len(names), drawn.max())), [x, y]).opts(alpha=0.0, size=0)]


def _log_ticks(heights: np.ndarray[Any, Any]) -> list[float] | None:
    """Ticks of a logarithmic axis over less than two decades, where even steps leave its lower part bare; else none of ours."""
    drawn = heights[np.isfinite(heights) & (heights > 0)]
    if not drawn.size or not 5.0 < drawn.max() / drawn.min() < 100.0:
        return None
    decades = 10.0 ** np.arange(np.floor(np.log10(drawn.min())), np.log10(drawn.max()) + 1.0)
    return [float(f"{step * decade:.3g}") for decade in decades for step in (1.0, 2.0, 5.0)]


def _occupied(profile: np.ndarray[Any, Any]) -> slice:
    """The bins [x, ...] from the first to the last in which anything is, and one more on either side."""
    full = np.flatnonzero((np.nan_to_num(profile.reshape(len(profile), -1)) != 0).any(axis=1))
    return slice(max(0, full[0] - 1), full[-1] + 2) if len(full) else slice(None)


def _texts(values: Iterable[str]) -> np.ndarray[Any, Any]:
    return np.array(list(values), dtype=object)


_TITLE = 48
"""Letters that stand along a y axis."""


def _mean_title(surfaces: xr.Dataset, mean: str) -> str:
    """The y axis is shorter than some titles: those take a second line."""
    return fill(axis_title(surfaces, mean).replace(", mean feasible", ""), _TITLE)


def _markers(surfaces: xr.Dataset, spec: dict[str, Any]) -> list[Any]:
    """Hollow squares for what the extracted beams reach, or for the bound of what was measured, where the study keeps it."""
    beside = [word for word in ("extracted", "bound") if f"{word}_{spec['y']}_mean_feasible" in surfaces]
    if not beside:
        return []
    extracted = f"{beside[0]}_{spec['y']}_mean_feasible"
    marks = []
    for chosen, colour, _, part in curve_series(surfaces, spec, extracted):
        kept = np.isfinite(part[extracted].values)
        name = f"{beside[0]}: " + ", ".join(label(str(d), v) for d, v in chosen.items())
        table = {spec["x"]: part[spec["x"]].values[kept], spec["y"]: part[extracted].values[kept],
                 "curve": np.full(kept.sum(), name, dtype=object)}  # fmt: skip
        tips = [
            ("", "@curve"),
            (axis_title(surfaces, spec["x"]), f"@{spec['x']}"),
            ("mean", f"@{spec['y']}{{0.0000e}}"),
        ]
        points = hv.Points(table, [spec["x"], spec["y"]], ["curve"])
        marks.append(
            points.opts(marker="square", size=11, fill_alpha=0, line_color=colour, line_width=1.5, tools=[_hover(tips)])
        )
    return marks


def status_map(cube: xr.Dataset, spec: dict[str, Any], over: str | None) -> Any:
    """The status of every place on the grid: the report's x axis against the other axes, one row per combination.

    What has no row of its own, the realisations and where there are very many rows the longest axes too, is told by its
    gravest status, with the counts on hover.
    """
    x = spec["x"]
    status, rows, names = _status_rows(cube, x, over)
    blocks = _blocks(rows.shape[1])
    ends = [[number(v) for v in (status[x].values[a], status[x].values[b - 1])] for a, b in blocks]
    at = [first if first == last else f"{first} to {last}" for first, last in ends]
    columns: dict[str, list[Any]] = {"x0": [], "y0": [], "x1": [], "y1": [], "code": [], "at": [], "row": [], "counts": []}
    for (i, (a, b)), (j, name) in itertools.product(enumerate(blocks), enumerate(names)):
        codes = rows[j, a:b].ravel()
        codes = codes[codes != STATUS_CODES["not_planned"]]
        if len(codes):
            place = (
                i - 0.5,
                j - 0.5,
                i + 0.5,
                j + 0.5,
                list(STATUS_COLOURS).index(gravest(codes)),
                at[i],
                name,
                _counted(codes),
            )
            for column, value in zip(columns.values(), place, strict=True):
                column.append(value)
    frame = {k: np.array(v, dtype=object if k in ("at", "row", "counts") else float) for k, v in columns.items()}
    tips = [(axis_title(cube, x), "@at"), ("", "@row"), ("", "@counts")]
    # Rectangles at whole numbers, not a heat map of texts: that one is sorted and grouped again on the way to the page.
    cells = hv.Rectangles(frame, ["x0", "y0", "x1", "y1"], ["code", "at", "row", "counts"])
    # Labels of the x axis lean over below it.
    height = min(1400, 75 + 17 * len(names) + int(5.5 * max(8, *map(len, at))))
    return cells.opts(
        color="code", cmap=list(STATUS_COLOURS.values()), clim=(-0.5, len(STATUS_COLOURS) - 0.5), tools=[_hover(tips)],
        xlabel=axis_title(cube, x), ylabel="", responsive=True, height=height, min_height=height, toolbar=None,
        default_tools=[], line_color="white", fontsize={"yticks": "8pt", "xticks": "10pt"}, colorbar=False, invert_yaxis=True,
        xrotation=60, xticks=list(enumerate(at)), yticks=list(enumerate(names)), xlim=(-0.5, len(at) - 0.5),
        ylim=(-0.5, len(names) - 0.5), show_grid=False,
    )  # fmt: skip


def _status_rows(cube: xr.Dataset, x: str, over: str | None) -> tuple[xr.DataArray, np.ndarray[Any, Any], list[str]]:
    """Statuses as (row, x, rest), with the name of each row; the longest axes are folded while there are too many rows."""
    status = cube["status"]
    folded = [d for d in map(str, status.dims) if d == over]
    shown = [d for d in map(str, status.dims) if d not in (x, *folded)]
    while shown and np.prod([status.sizes[d] for d in shown]) > MOST_ROWS:
        folded.append(max(shown, key=lambda d: status.sizes[d]))
        shown.remove(folded[-1])
    values = status.transpose(*shown, x, *folded).values
    rows = values.reshape(int(np.prod([status.sizes[d] for d in shown])), status.sizes[x], -1)
    places = itertools.product(*(cube[d].values.tolist() for d in shown))
    names = [", ".join(label(d, v) for d, v in zip(shown, place, strict=True)) or "all" for place in places]
    return status, rows, names


def _blocks(count: int) -> list[tuple[int, int]]:
    """Neighbouring values of x told together where there are very many."""
    size = -(-count // MOST_COLUMNS)
    return [(a, min(a + size, count)) for a in range(0, count, size)] if count else []


def gravest(codes: np.ndarray[Any, Any]) -> str:
    """The status that a place with these cells shows, as a key of ``STATUS_COLOURS``."""
    for name in ("failed", "missing", "inaccurate"):
        if (codes == STATUS_CODES[name]).any():
            return name
    infeasible = codes == STATUS_CODES["infeasible"]
    return "infeasible" if infeasible.all() else "partly infeasible" if infeasible.any() else "ok"


def _counted(codes: np.ndarray[Any, Any]) -> str:
    found, counts = np.unique(codes, return_counts=True)
    return ", ".join(f"{STATUS_NAMES[int(code)]} {count}" for code, count in zip(found, counts, strict=True))


def certificates(cube: xr.Dataset) -> Any:
    """Relative gap of every delivered cell against its worst violation, as the certificates state them."""
    feasible = cube["status"].isin([STATUS_CODES["ok"], STATUS_CODES["inaccurate"]]).values.ravel()
    gap, violation = (np.abs(cube[n].values.ravel()[feasible]) for n in ("relative_gap", "worst_violation"))
    kept = np.isfinite(gap)
    table = {"gap": np.maximum(gap[kept], 1e-16), "violation": np.maximum(violation[kept], 1e-16)}
    if len(table["gap"]) > MOST_POINTS:
        # The worst of either kind, and an even sample of the rest.
        worst = np.argsort(-table["gap"])[: MOST_POINTS // 4], np.argsort(-table["violation"])[: MOST_POINTS // 4]
        even = np.linspace(0, len(table["gap"]) - 1, MOST_POINTS // 2).astype(int)
        table = {name: values[np.unique(np.concatenate([*worst, even]))] for name, values in table.items()}
    points = hv.Points(table, ["gap", "violation"])
    # Limits of our own: with nothing violated anywhere, padding one value would reach below zero.
    most = {name: max(1e-6, 3.0 * float(values.max(initial=0.0))) for name, values in table.items()}
    return points.opts(
        logx=True, logy=True, xlim=(3e-17, most["gap"]), ylim=(3e-17, most["violation"]),
        color=COLOURS[0], alpha=0.5, size=6, xlabel="Relative gap to the dual bound",
        ylabel="Worst relative violation (1e-16: none)", show_grid=True, **_SIZES,
    )  # fmt: skip

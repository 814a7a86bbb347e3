"""The plots of a report, built with HoloViews on Bokeh. They draw what surfaces and cube hold and compute nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.models import HoverTool

from flows.report.words import COLOURS, DASHES, STATUS_COLOURS, axis_title, label, number
from pipeline.experiment import STATUS_CODES

hv.extension("bokeh", logo=False)

_SIZES = {
    "responsive": True, "min_height": 380, "height": 460, "toolbar": "above",
    "default_tools": ["save", "pan", "box_zoom", "reset"],
    "fontsize": {"labels": "11pt", "xticks": "10pt", "yticks": "10pt", "legend": "10pt"},
}  # fmt: skip


def _series(surfaces: xr.Dataset, spec: dict[str, Any], variable: str) -> list[tuple[dict[str, Any], str, str, xr.Dataset]]:
    """(selection, colour, dash, part) of every curve that has a value."""
    dims = [str(d) for d in surfaces[variable].dims if d != spec["x"]]
    found = []
    for values in itertools.product(*(surfaces[d].values.tolist() for d in dims)):
        chosen = dict(zip(dims, values, strict=True))
        part = surfaces.sel(chosen)
        if not np.isfinite(part[variable].values).any():
            continue
        number = {d: surfaces[d].values.tolist().index(v) for d, v in chosen.items()}
        colour = COLOURS[number.get(spec.get("colour") or "", 0) % len(COLOURS)]
        dash = DASHES[number.get(spec.get("style") or "", 0) % len(DASHES)]
        found.append((chosen, colour, dash, part))
    return found


def _hover(columns: list[tuple[str, str]], renderers: str = "hover") -> HoverTool:
    return HoverTool(tooltips=columns, name=renderers)


def tradeoff(surfaces: xr.Dataset, spec: dict[str, Any]) -> Any:
    """Mean over feasible realisations with its confidence band, one curve per combination of the other axes."""
    x, y = spec["x"], spec["y"]
    mean, low, high = (f"{y}_{s}_feasible" for s in ("mean", "ci_low", "ci_high"))
    layers = []
    for chosen, colour, dash, part in _series(surfaces, spec, mean):
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
            "count": _texts(f"{f} of {p}" for f, p in zip(part["feasible_count"].values[kept],
                                                          part["planned_count"].values[kept], strict=True)),
        }  # fmt: skip
        extra = ["curve", "band", "count"]
        layers.append(hv.Curve((xs, ys), x, y, label=name).opts(color=colour, line_dash=dash, line_width=2))
        tips = [("", "@curve"), (axis_title(surfaces, x), f"@{x}"), (axis_title(surfaces, mean), f"@{y}{{0.0000e}}"),
                ("95 % band", "@band"), ("feasible", "@count")]  # fmt: skip
        points = hv.Points(table, [x, y], extra)
        layers.append(points.opts(color=colour, size=7, tools=[_hover(tips)]))
    curves = sum(isinstance(layer, hv.Curve) for layer in layers)
    layers += _markers(surfaces, spec)
    # One entry a line below the plot: several columns are cut off on a telephone.
    sizes = _SIZES | {"height": 440 + 24 * curves, "min_height": 440 + 24 * curves}
    return hv.Overlay(layers).opts(
        logy=bool(spec.get("log_y")), xlabel=axis_title(surfaces, x), ylabel=_mean_title(surfaces, mean), show_grid=True,
        yformatter="%.3g", padding=(0.03, 0.05), show_legend=curves > 1, legend_position="bottom", legend_cols=1, **sizes,
    )  # fmt: skip


def _texts(values: Iterable[str]) -> np.ndarray[Any, Any]:
    return np.array(list(values), dtype=object)


def _mean_title(surfaces: xr.Dataset, mean: str) -> str:
    return axis_title(surfaces, mean).replace(", mean feasible", "")


def _markers(surfaces: xr.Dataset, spec: dict[str, Any]) -> list[Any]:
    """Hollow squares for what the extracted beams reach, where the study keeps them."""
    extracted = f"extracted_{spec['y']}_mean_feasible"
    if extracted not in surfaces:
        return []
    marks = []
    for chosen, colour, _, part in _series(surfaces, spec, extracted):
        kept = np.isfinite(part[extracted].values)
        name = "extracted: " + ", ".join(label(str(d), v) for d, v in chosen.items())
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


def status_map(cube: xr.Dataset, spec: dict[str, Any]) -> Any:
    """The status of every cell: the report's x axis against all other axes, one row per combination."""
    x = spec["x"]
    dims = [str(d) for d in cube["status"].dims if d != x]
    words = {code: name for name, code in STATUS_CODES.items()}
    columns: dict[str, list[Any]] = {"at": [], "row": [], "code": [], "status": [], "message": []}
    status, message = cube["status"].transpose(x, *dims), cube["message"].transpose(x, *dims)
    rows = list(itertools.product(*(cube[d].values.tolist() for d in dims)))
    names = [", ".join(label(d, v) for d, v in zip(dims, row, strict=True)) or "all" for row in rows]
    flat, told = status.values.reshape(status.shape[0], -1), message.values.reshape(status.shape[0], -1)
    for (i, j), code in np.ndenumerate(flat):
        if words[int(code)] != "not_planned":
            columns["at"].append(number(cube[x].values[i]))
            columns["row"].append(names[j])
            columns["code"].append(float(code))
            columns["status"].append(words[int(code)])
            columns["message"].append(str(told[i, j]))
    frame = {k: np.array(v, dtype=float if k == "code" else object) for k, v in columns.items()}
    tips = [(axis_title(cube, x), "@at"), ("", "@row"), ("status", "@status"), ("", "@message")]
    cells = hv.HeatMap(frame, ["at", "row"], ["code", "status", "message"])
    height = min(1400, 120 + 13 * len(set(columns["row"])))
    return cells.opts(
        cmap=[STATUS_COLOURS[name] for name in STATUS_CODES], clim=(-0.5, len(STATUS_CODES) - 0.5),
        tools=[_hover(tips)], xlabel=axis_title(cube, x),
        ylabel="", responsive=True, height=height, min_height=height, toolbar=None, default_tools=[], line_color="white",
        fontsize={"yticks": "8pt", "xticks": "10pt"}, colorbar=False, invert_yaxis=True, xrotation=60,
    )  # fmt: skip


def certificates(cube: xr.Dataset) -> Any:
    """Relative gap of every delivered cell against its worst violation, as the certificates state them."""
    feasible = cube["status"].isin([STATUS_CODES["ok"], STATUS_CODES["inaccurate"]]).values.ravel()
    gap, violation = (np.abs(cube[n].values.ravel()[feasible]) for n in ("relative_gap", "worst_violation"))
    kept = np.isfinite(gap)
    table = {"gap": np.maximum(gap[kept], 1e-16), "violation": np.maximum(violation[kept], 1e-16)}
    points = hv.Points(table, ["gap", "violation"])
    return points.opts(
        logx=True, logy=True, color=COLOURS[0], alpha=0.5, size=6, xlabel="Relative gap to the dual bound",
        ylabel="Worst relative violation (1e-16: none)", show_grid=True, **_SIZES,
    )  # fmt: skip

"""The report page: one HTML file that asks nothing of the network."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import holoviews as hv
import jinja2
import markupsafe
import numpy as np
import xarray as xr
from bokeh.embed import components
from bokeh.resources import Resources

from flows.report.plots import certificates, status_map, tradeoff
from flows.report.words import STATUS_COLOURS, axis_title, entry, label, number, place, seconds
from pipeline.experiment import STATUS_CODES

_PAPERS = {"robust", "noncoherent", "ofdm", "network", "dmimo"}


def build_report(cube: xr.Dataset, surfaces: xr.Dataset, claims: list[dict[str, Any]], *, report_spec: dict[str, Any]) -> str:
    """Draw a study's report.

    Parameters
    ----------
    cube, surfaces
        As published.
    claims
        Rows of :func:`flows.claims.evaluate_claims`.
    report_spec
        ``x``, ``y``, ``colour``, ``style``, ``log_y``, ``panels``, ``also``, ``table``; what is not given is chosen from the
        data.

    Returns
    -------
    str
        A self-contained HTML page.
    """
    spec = completed_spec(cube, surfaces, report_spec)
    over = surfaces.attrs.get("over")
    # The bins of a density are no axis of the cells.
    x = spec["x"] if spec["x"] in cube["status"].dims else completed_spec(cube, surfaces, {})["x"]
    drawn = {"status": status_map(cube, spec | {"x": x}, over)}
    further = [y for y in spec.get("also", []) if f"{y}_mean_feasible" in surfaces]
    curves = {spec["y"]: _panels(surfaces, spec)}
    curves |= {y: _panels(surfaces, spec | {"y": y, "log_y": False}) for y in further}
    drawn |= {f"{y} {panel}": plot for y, plots in curves.items() for panel, plot in plots.items()}
    if {"relative_gap", "worst_violation"} <= set(cube.variables) and np.isfinite(cube["relative_gap"].values).any():
        drawn["certificates"] = certificates(cube)
    script, divs = components({name: hv.render(plot, backend="bokeh") for name, plot in drawn.items()})
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("template.html").read_text(encoding="utf-8"))
    counts = json.loads(cube.attrs["cells_by_status"])
    return template.render(
        title=cube.attrs["title"],
        kicker=_kicker(cube),
        resources=_bokeh_script(),
        script=markupsafe.Markup(script),
        plots={"certificates": ""} | {name: markupsafe.Markup(div) for name, div in divs.items()},
        summary=_summary(cube, claims),
        tiles=_tiles(cube, counts),
        tradeoff_note=_tradeoff_note(surfaces, spec),
        tradeoff=[(panel, f"{spec['y']} {panel}") for panel in curves[spec["y"]]],
        further=[
            (axis_title(surfaces, f"{y}_mean_feasible").replace(", mean feasible", ""), [(p, f"{y} {p}") for p in curves[y]])
            for y in further
            if curves[y]
        ],
        tables=[
            *_scores(surfaces, spec),
            *(t for t in (_edge_table(surfaces), _paired_table(surfaces, spec), _cost_table(surfaces)) if t),
        ],
        claims=claims,
        status_colours=_status_legend(cube),
        failed=_failed(cube),
        provenance=_provenance(cube, surfaces),
        folded=_folded(cube),
    )


def panels(surfaces: xr.Dataset, spec: dict[str, Any]) -> Iterator[tuple[str, xr.Dataset]]:
    """The part of every combination of the axes ``panels`` of which something is feasible, with its name in words."""
    mean = f"{spec['y']}_mean_feasible"
    axes = [axis for axis in spec.get("panels", []) if axis in surfaces[mean].dims]
    for values in itertools.product(*(surfaces[axis].values.tolist() for axis in axes)):
        part = surfaces.sel(dict(zip(axes, values, strict=True)), drop=True)
        if np.isfinite(part[mean].values).any():
            yield ", ".join(label(axis, value) for axis, value in zip(axes, values, strict=True)), part


def _panels(surfaces: xr.Dataset, spec: dict[str, Any]) -> dict[str, Any]:
    """The trade-off of every panel, by its name."""
    return {name: tradeoff(part, spec) for name, part in panels(surfaces, spec)}


def _bokeh_script() -> markupsafe.Markup:
    """BokehJS in the page. Not ``Resources.render()``: that adds scripts of Panel, which HoloViews loads, by address."""
    scripts = Resources(mode="inline", components=["bokeh"]).js_raw
    return markupsafe.Markup("".join(f"<script>\n{script}\n</script>\n" for script in scripts))


def completed_spec(cube: xr.Dataset, surfaces: xr.Dataset, spec: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the study leaves open: a numeric axis for x, the first variable with statistics for y."""
    over = surfaces.attrs.get("over")
    axes = [str(d) for d in cube["status"].dims if d != over]
    numeric = [a for a in axes if cube[a].dtype.kind in "iuf"] or axes
    means = [str(n).removesuffix("_mean_feasible") for n in surfaces.data_vars if str(n).endswith("_mean_feasible")]
    completed = dict(spec)
    completed["x"] = spec.get("x") or max(numeric, key=lambda a: cube.sizes[a])
    completed["y"] = spec.get("y") or means[0]
    rest = [a for a in axes if a not in (completed["x"], spec.get("colour"), spec.get("style"))]
    completed["colour"] = spec.get("colour") or (rest.pop(0) if rest else None)
    completed["style"] = spec.get("style") or (rest.pop(0) if rest else None)
    return completed


def _kicker(cube: xr.Dataset) -> str:
    parts = [f"Study {cube.attrs['study']}"]
    if cube.attrs.get("paper") in _PAPERS:
        parts.append(f"paper '{cube.attrs['paper']}'" + (f", {cube.attrs['figure']}" if cube.attrs.get("figure") else ""))
    return " · ".join(parts)


def _summary(cube: xr.Dataset, claims: list[dict[str, Any]]) -> str:
    planned, present = int(cube.attrs["planned"]), int(cube.attrs["present"])
    verdicts = [c["verdict"] for c in claims]
    judged = ""
    if claims:
        judged = (
            f" Of the paper's {len(claims)} statements checked here, {verdicts.count('holds')} hold, "
            f"{verdicts.count('fails')} fail and {verdicts.count('undecided')} are undecided."
        )
    done = "All" if present == planned else f"{present} of"
    return f"{done} {planned} planned cells are computed.{judged}"


def _tiles(cube: xr.Dataset, counts: dict[str, int]) -> list[tuple[str, str]]:
    tiles = [(str(cube.attrs["planned"]), "planned cells")]
    to_do = int(cube.attrs["planned"]) - int(cube.attrs["present"])
    if to_do:
        tiles.append((str(to_do), "missing"))
    return tiles + [(str(count), name.replace("_", " ")) for name, count in counts.items()]


def _status_legend(cube: xr.Dataset) -> list[tuple[str, str]]:
    """Every status that the map may show for these cells, in words, with its colour."""
    shown = {name for name, code in STATUS_CODES.items() if (cube["status"].values == code).any()}
    if {"ok", "infeasible"} <= shown:
        shown.add("partly infeasible")
    blank = [("not planned (blank)", "#FFFFFF")] if "not_planned" in shown else []
    return [(name, colour) for name, colour in STATUS_COLOURS.items() if name in shown] + blank


def _tradeoff_note(surfaces: xr.Dataset, spec: dict[str, Any]) -> str:
    over = surfaces.attrs.get("over")
    if not np.isfinite(surfaces[f"{spec['y']}_mean_feasible"].values).any():
        return "No cell is feasible: there is nothing to draw."
    if not over:
        return "One value per cell; hover to name it."
    text = (
        f"Mean over the {over}s that are feasible, with the 95 % band of the mean (Student t). "
        "Where only some are feasible the mean is over those alone: hover shows how many."
    )
    if surfaces.attrs.get("paired"):
        text += " The paired table compares like with like."
    if f"extracted_{spec['y']}_mean_feasible" in surfaces:
        text += " Hollow squares: the beams extracted from each design, as transmitted."
    if f"bound_{spec['y']}_mean_feasible" in surfaces:
        text += " Hollow squares: the bound."
    return text


def _scores(surfaces: xr.Dataset, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Several quantities, a row each, over the values of ``x`` next to each other: a table for each place of the other axes."""
    shown = [v for v in spec.get("table", []) if f"{v}_mean_feasible" in surfaces]
    if not shown:
        return []
    x, over = spec["x"], surfaces.attrs.get("over")
    note = f"Mean over the {over}s that are feasible, ± half of its 95 % band." if over else "One value per cell."
    first = surfaces[f"{shown[0]}_mean_feasible"].transpose(x, ...)
    titles = [axis_title(surfaces, f"{v}_mean_feasible").replace(", mean feasible", "") for v in shown]
    tables = []
    for chosen, at in _places(first.isel({x: 0}, drop=True)):
        rows = []
        for variable, title in zip(shown, titles, strict=True):
            mean, high = (surfaces[f"{variable}_{part}_feasible"].transpose(*first.dims) for part in ("mean", "ci_high"))
            values = [(float(m[at]), float(h[at])) for m, h in zip(mean.values, high.values, strict=True)]
            if np.isfinite([value for value, _ in values]).any():
                rows.append([title, *(_with_band(*value) for value in values)])
        if rows:
            title = ", ".join(["Side by side", *chosen])
            columns = ["", *(entry(x, value) for value in surfaces[x].values.tolist())]
            tables.append({"title": title, "note": note, "columns": columns, "rows": rows})
    return tables


def _with_band(mean: float, high: float) -> str:
    # A band too narrow for the digits shown is none.
    return number(mean) + (f" ± {high - mean:.2g}" if np.isfinite(high) and high - mean > 1e-4 * abs(mean) else "")


def _edge_table(surfaces: xr.Dataset) -> dict[str, Any] | None:
    edge = surfaces.attrs.get("edge")
    name = f"{edge}_feasible_edge_mean"
    if not edge or name not in surfaces:
        return None
    low, high, count = (surfaces[f"{edge}_feasible_edge_{w}"] for w in ("min", "max", "count"))
    rows = []
    for chosen, at in _places(surfaces[name]):
        if int(count.values[at]):
            span = f"{number(low.values[at])} to {number(high.values[at])}"
            rows.append([*chosen, number(surfaces[name].values[at]), span, int(count.values[at])])
    title = f"How far it is feasible: {axis_title(surfaces, edge)}"
    columns = [*(axis_title(surfaces, str(d)) for d in surfaces[name].dims), "mean", "range", "realisations"]
    return {
        "title": title,
        "note": "Largest feasible value on the study's grid in each realisation; mean and range over realisations.",
        "columns": columns,
        "rows": rows,
    }


def _places(array: xr.DataArray, words: Callable[[str, Any], str] = label) -> list[tuple[list[str], tuple[int, ...]]]:
    """Labels in words and index of every entry."""
    labels = {d: array[d].values.tolist() for d in array.dims}
    return [
        ([words(str(d), labels[d][i]) for d, i in zip(array.dims, at, strict=True)], at)
        for at in itertools.product(*(range(n) for n in array.shape))
    ]


def _paired_table(surfaces: xr.Dataset, spec: dict[str, Any]) -> dict[str, Any] | None:
    """Designs side by side on the realisations feasible for all of them."""
    paired, name = surfaces.attrs.get("paired"), f"{spec['y']}_mean_paired"
    if not paired or name not in surfaces:
        return None
    means = surfaces[name].transpose(..., paired)
    counts = surfaces["paired_count"].broadcast_like(means).transpose(*means.dims)
    rows = []
    for chosen, at in _places(means.isel({paired: 0}, drop=True), entry):
        values = means.values[at]
        if np.isfinite(values).sum() > 1:
            rows.append([*chosen, *(number(v) for v in values), int(counts.values[at].max())])
    if not rows:
        return None
    columns = [
        *(axis_title(surfaces, str(d)) for d in means.dims[:-1]),
        *(label(paired, v) for v in means[paired].values),
        "realisations",
    ]
    quantity = axis_title(surfaces, name.replace("_paired", "_feasible")).replace(", mean feasible", "")
    note = f"{quantity}: mean over the realisations that are feasible for every design planned there."
    return {"title": "Designs compared on common ground", "note": note, "columns": columns, "rows": rows}


def _cost_table(surfaces: xr.Dataset) -> dict[str, Any] | None:
    if "solve_seconds_total" not in surfaces:
        return None
    total, planned = surfaces["solve_seconds_total"], surfaces["planned_count"]
    axis = "design" if "design" in total.dims else str(total.dims[-1])
    rows = []
    for i, value in enumerate(surfaces[axis].values.tolist()):
        spent = float(total.isel({axis: i}).values.sum())
        cells = int(planned.isel({axis: i}).values.sum())
        if cells:
            rows.append([label(axis, value), cells, seconds(spent), f"{spent / cells:.2f} s"])
    return {
        "title": "Cost", "note": "Wall time in the solver, summed over the cells.",
        "columns": ["", "cells", "total", "per cell"], "rows": rows,
    }  # fmt: skip


def _failed(cube: xr.Dataset) -> list[tuple[str, str]]:
    found = []
    dims = cube["status"].dims
    for at in np.argwhere(cube["status"].values == STATUS_CODES["failed"])[:200]:
        where = ", ".join(place(cube, str(d), cube[d].values[i]) for d, i in zip(dims, at, strict=True))
        found.append((where, str(cube["message"].values[tuple(at)])))
    return found


def _provenance(cube: xr.Dataset, surfaces: xr.Dataset) -> list[tuple[str, str]]:
    names = ("experiment", "cube_key", "code_digest", "git_revision", "created", "disac_version")
    rows = [(name.replace("_", " "), str(cube.attrs[name])) for name in names if cube.attrs.get(name)]
    return rows + [("surface key", str(key)) for key in [surfaces.attrs.get("surface_key")] if key]


def _folded(cube: xr.Dataset) -> list[tuple[str, str]]:
    texts = [
        ("Base scenario", "scenario"),
        ("Options", "options"),
        ("Code: digest of every module", "manifest"),
        ("Software", "environment"),
    ]
    return [(title, json.dumps(json.loads(cube.attrs[name]), indent=1)) for title, name in texts if cube.attrs.get(name)]

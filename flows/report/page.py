"""The report page: one HTML file that loads nothing from the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import holoviews as hv
import jinja2
import markupsafe
import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.embed import components
from bokeh.resources import Resources

from flows.papers import Paper, read_papers, split_at_papers
from flows.report.choice import EXPORT, MOST_PANELS, MOST_PLOTS, MOST_POINTS, choose
from flows.report.plots import certificates, tradeoff
from flows.report.status import status_map
from flows.report.tables import failed_cells, tables
from flows.report.words import STATUS_COLOURS, axis_title, field_words, label, short, unit_of_axis
from flows.verdicts import counted
from pipeline.experiment import STATUS_CODES
from pipeline.statistics import CELLS, SECONDS, STATE, STATISTIC, edge_variable, has_statistic, only, statistic, summarised


def build_report(cube: xr.Dataset, surfaces: xr.Dataset, claims: list[dict[str, Any]], *, report_spec: dict[str, Any]) -> str:
    """Draw a study's report.

    Parameters
    ----------
    cube, surfaces
        As published.
    claims
        Rows of :func:`flows.claims.evaluate_claims`.
    report_spec
        ``x``, ``y``, ``colour``, ``style``, ``log_y``, ``panels``, ``also``, ``table``; an entry that is not given is chosen
        from the data.

    Returns
    -------
    str
        A self-contained HTML page.
    """
    if not set(cube["status"].dims) - {surfaces.attrs.get("over")}:
        # A study of one point gets an axis of one value, because all plots need an axis.
        cube, surfaces = (data.expand_dims({"place": ["all"]}) for data in (cube, surfaces))
    spec = completed_spec(cube, surfaces, report_spec)
    status, folded = status_map(cube, _axis_of_cells(cube, surfaces, spec), surfaces.attrs.get("over"))
    shown = [y for y in dict.fromkeys([spec["y"], *spec.get("also", [])]) if has_statistic(surfaces, y, "mean_feasible")]
    most = max(1, min(MOST_PANELS, MOST_PLOTS // max(1, len(shown))))
    sections = [_tradeoffs(cube, surfaces, spec, y, most, MOST_POINTS // len(shown)) for y in shown[:MOST_PLOTS]]
    drawn = {"status": status} | {panel.key: panel.plot for section in sections for panel in section.panels}
    if {"relative_gap", "worst_violation"} <= set(cube.variables) and np.isfinite(cube["relative_gap"].values).any():
        drawn["certificates"] = certificates(cube)
    script, divs = _embedded(drawn)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["code"] = _code
    papers = read_papers()
    environment.filters["cited"] = lambda text: _cited(text, papers)
    paper = papers.get(str(cube.attrs.get("paper", "")))
    template = environment.from_string(Path(__file__).with_name("template.html").read_text(encoding="utf-8"))
    counts = json.loads(cube.attrs["cells_by_status"])
    return template.render(
        title=cube.attrs["title"],
        kicker=_kicker(cube, paper),
        paper=paper,
        papers=_papers_named(paper, claims, papers),
        resources=_bokeh_script(),
        script=markupsafe.Markup(script),
        plots={"certificates": ""} | {name: markupsafe.Markup(div) for name, div in divs.items()},
        summary=_summary(cube, claims),
        tiles=_tiles(cube, counts),
        tradeoff_note=_tradeoff_note(surfaces, spec),
        more_variables=_left_out_variables(shown),
        sections=sections,
        tables=tables(surfaces, spec),
        certificates_note=field_words().certificates,
        claims=[row | {key: short(row[key], _EVIDENCE) for key in ("ours", "evidence")} for row in claims],
        status_colours=_status_legend(cube),
        folded_cells=folded,
        failed=failed_cells(cube),
        provenance=_provenance(cube, surfaces),
        folded=_folded(cube),
    )


_EVIDENCE = 1000
"""Most letters of a claim's evidence: some evidence lists a band for every point of the grid."""


def drawn_variables(report_spec: dict[str, Any], edge: str | None) -> tuple[frozenset[str], frozenset[str]]:
    """Return the variables of a cube and of its surfaces that a report shows, beside their coordinates.

    A large study has many more variables; reading them all would take longer than drawing the report.
    """
    shown = [report_spec["y"], *report_spec.get("also", []), *report_spec.get("table", [])]
    always = (CELLS, SECONDS, STATISTIC, STATE, *([edge_variable(edge)] if edge else []))
    drawn = (f"{word}{name}" for word in _beginnings() for name in shown)
    return frozenset(("status", "message", "relative_gap", "worst_violation")), frozenset((*always, *drawn))


def _beginnings() -> tuple[str, ...]:
    """Return the prefixes of the names of a variable and of the variables that are drawn beside it."""
    return ("", *(f"{word}_" for word in field_words().beside))


@dataclass(frozen=True)
class Panel:
    """A plot, with its heading and a sentence on the parts that it leaves out."""

    key: str
    heading: str
    left_out: str
    plot: Any


@dataclass(frozen=True)
class Section:
    """The trade-offs of one variable, and a sentence on the parts that they leave out together."""

    left_out: str
    panels: list[Panel]


def _tradeoffs(cube: xr.Dataset, surfaces: xr.Dataset, spec: dict[str, Any], y: str, most: int, room: int) -> Section:
    """Draw the plots of one variable. Plots of variables other than ``y`` of the report have a name and a linear scale."""
    further = y != spec["y"]
    spec = spec | {"y": y} | ({"log_y": False} if further else {})
    if spec["x"] not in statistic(surfaces, y, "mean_feasible").dims:
        spec |= {"x": _axis_of_cells(cube, surfaces, spec)}
    title = axis_title(surfaces, y) if further else ""
    parts, left_out = panels(surfaces, spec, most)
    found = []
    for number, (name, part) in enumerate(parts):
        plot, missing = tradeoff(part, spec, room // max(1, len(parts)))
        found.append(Panel(f"{y} {number}", ": ".join(filter(None, (title, name))), missing, plot))
    return Section(left_out, found)


def _axis_of_cells(cube: xr.Dataset, surfaces: xr.Dataset, spec: dict[str, Any]) -> str:
    """Return the report's x if it is an axis of the cells, else the axis that would be chosen without it.

    The report's x may be no axis of the cells, such as the bins of a density.
    """
    return str(spec["x"] if spec["x"] in cube["status"].dims else completed_spec(cube, surfaces, {})["x"])


def panels(surfaces: xr.Dataset, spec: dict[str, Any], most: int | None = None) -> tuple[list[tuple[str, xr.Dataset]], str]:
    """Return the panels: the combinations of values of the axes ``panels`` that have a feasible cell.

    Each panel is its name in words and its part of the surfaces. If there are more than ``most`` panels, the function chooses
    some of them and returns a sentence on those that are left out.
    """
    means = statistic(surfaces, spec["y"], "mean_feasible")
    axes = [axis for axis in spec.get("panels", []) if axis in means.dims and axis != spec["x"]]
    values = means.transpose(*axes, ...).values
    full = np.isfinite(values).any(axis=tuple(range(len(axes), values.ndim)))
    choice = choose(full, most or full.size)
    part = only(surfaces, [f"{word}{spec['y']}" for word in _beginnings()])
    found = []
    for at in choice.places:
        chosen = part.isel(dict(zip(axes, at, strict=True)))
        values = {axis: np.asarray(chosen[axis].values).item() for axis in axes}
        name = ", ".join(label(axis, value, unit_of_axis(chosen, axis)) for axis, value in values.items())
        found.append((name, chosen.drop_vars(axes)))
    way = f"Narrow the study by `where` to see others; {EXPORT}"
    return found, choice.left_out("plots", [axis_title(surfaces, axis) for axis in axes], way)


def _left_out_variables(shown: list[str]) -> str:
    if len(shown) <= MOST_PLOTS:
        return ""
    return f"{MOST_PLOTS} of {len(shown)} variables are drawn: the first ones of `report.also`. {EXPORT}"


def _embedded(drawn: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the script of several plots, and their places in a page."""
    figures = {name: hv.render(plot, backend="bokeh") for name, plot in drawn.items()}
    document = Document()
    # Without the freeze bokeh goes through all models again for each plot that is added.
    with document.models.freeze():
        for figure in figures.values():
            document.add_root(figure)
    script, divs = components(figures)
    return script, dict(divs)


def _code(text: str) -> markupsafe.Markup:
    """Return a sentence as markup; words in backticks become code."""
    parts = [markupsafe.escape(part) for part in text.split("`")]
    return markupsafe.Markup("").join(
        markupsafe.Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def _bokeh_script() -> markupsafe.Markup:
    """Return the scripts of BokehJS, to be put into the page.

    ``Resources.render()`` cannot be used: it adds addresses of scripts of Panel, which HoloViews loads.
    """
    scripts = Resources(mode="inline", components=["bokeh"]).js_raw
    return markupsafe.Markup("".join(f"<script>\n{script}\n</script>\n" for script in scripts))


def completed_spec(cube: xr.Dataset, surfaces: xr.Dataset, spec: dict[str, Any]) -> dict[str, Any]:
    """Fill in the entries that the study leaves open: a numeric axis for x, the first variable with statistics for y."""
    over = surfaces.attrs.get("over")
    named = [spec.get("x"), spec.get("colour"), spec.get("style"), *spec.get("panels", [])]
    axes = [str(d) for d in cube["status"].dims if d != over]
    free = [a for a in axes if a not in named]
    numeric = [a for a in free if cube[a].dtype.kind in "iuf"] or free or axes
    completed = dict(spec)
    completed["x"] = spec.get("x") or max(numeric, key=lambda a: cube.sizes[a])
    completed["y"] = spec.get("y") or next(iter(summarised(surfaces)), None)
    rest = [a for a in free if a != completed["x"]]
    completed["colour"] = spec.get("colour") or (rest.pop(0) if rest else None)
    completed["style"] = spec.get("style") or (rest.pop(0) if rest else None)
    return completed


def _kicker(cube: xr.Dataset, paper: Paper | None) -> str:
    """Return the name of the study, and the figure of the paper that the study is about."""
    figure = cube.attrs.get("figure", "") if paper else ""
    return " · ".join(filter(None, (f"Study {cube.attrs['study']}", figure)))


_CITING = ("statement", "source", "reading", "reason", "evidence")
"""Parts of a claim that may name a paper by its number."""


def _cited(text: str, papers: Mapping[str, Paper]) -> markupsafe.Markup:
    """Return a sentence with the titles of papers in place of their numbers; a title links to the page's list of papers."""
    link = markupsafe.Markup('<a href="#paper-{}"><cite>{}</cite></a>')
    pieces = split_at_papers(text, papers)
    return markupsafe.Markup("").join(link.format(p.number, p.title) if isinstance(p, Paper) else p for p in pieces)


def _papers_named(paper: Paper | None, claims: list[dict[str, Any]], papers: Mapping[str, Paper]) -> list[Paper]:
    """Return the papers that the page names, by number: the paper of the study, and the papers of its claims."""
    texts = [str(row.get(key, "")) for row in claims for key in _CITING]
    named = {piece.number for text in texts for piece in split_at_papers(text, papers) if isinstance(piece, Paper)}
    return sorted((p for p in papers.values() if p == paper or p.number in named), key=lambda p: p.number)


def _summary(cube: xr.Dataset, claims: list[dict[str, Any]]) -> str:
    planned, present = int(cube.attrs["planned"]), int(cube.attrs["present"])
    done = "All" if present == planned else f"{present} of"
    return f"{done} {planned} planned cells are computed. {counted(claims)}".rstrip()


def _tiles(cube: xr.Dataset, counts: dict[str, int]) -> list[tuple[str, str]]:
    tiles = [(str(cube.attrs["planned"]), "planned cells")]
    to_do = int(cube.attrs["planned"]) - int(cube.attrs["present"])
    if to_do:
        tiles.append((str(to_do), "missing"))
    return tiles + [(str(count), name.replace("_", " ")) for name, count in counts.items()]


def _status_legend(cube: xr.Dataset) -> list[tuple[str, str]]:
    """Return every status that the map may show for these cells, in words, with its colour."""
    count = np.bincount(cube["status"].values.ravel(), minlength=len(STATUS_CODES))
    shown = {name for name, code in STATUS_CODES.items() if count[code]}
    if {"ok", "infeasible"} <= shown:
        shown.add("partly infeasible")
    blank = [("not planned (blank)", "#FFFFFF")] if "not_planned" in shown else []
    return [(name, colour) for name, colour in STATUS_COLOURS.items() if name in shown] + blank


def _tradeoff_note(surfaces: xr.Dataset, spec: dict[str, Any]) -> str:
    over = surfaces.attrs.get("over")
    if not has_statistic(surfaces, spec["y"], "mean_feasible"):
        what = f"The study keeps no statistics of '{spec['y']}'" if spec["y"] else "No variable of the study has statistics"
        return f"{what}: there is nothing to draw."
    if not np.isfinite(statistic(surfaces, spec["y"], "mean_feasible").values).any():
        return "No cell is feasible: there is nothing to draw."
    if not over:
        return "One value per cell; point at a value to see its name."
    text = (
        f"Mean over the {over}s that are feasible, with the 95 % band of the mean (Student t). "
        "Where only some are feasible, the mean is over these: point at a value to see how many."
    )
    if surfaces.attrs.get("paired"):
        text += " The paired table compares the same realisations."
    beside = field_words().beside.items()
    notes = (note for word, note in beside if has_statistic(surfaces, f"{word}_{spec['y']}", "mean_feasible"))
    return " ".join((text, *notes))


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
    found = [(title, json.dumps(json.loads(cube.attrs[name]), indent=1)) for title, name in texts if cube.attrs.get(name)]
    return [
        (title, text if len(text) <= _FOLDED else f"{text[:_FOLDED]}\n… the cube's attributes hold all")
        for title, text in found
    ]


_FOLDED = 50_000
"""Most letters of a folded text."""

"""The report page: one HTML file that loads nothing from the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.embed import components
from bokeh.resources import Resources

from flows.papers import Paper, read_papers, split_at_papers
from flows.report.choice import EXPORT, MOST_PANELS, MOST_PLOTS, MOST_POINTS
from flows.report.drawing import rendered
from flows.report.filled import filled_section
from flows.report.fronts import front_section
from flows.report.geometry import network_section
from flows.report.legends import sign
from flows.report.measured import is_measured
from flows.report.panels import Section
from flows.report.plots import certificates
from flows.report.sections import Room, section
from flows.report.spec import axis_of_cells, completed_spec
from flows.report.status import status_map
from flows.report.tables import failed_cells, tables
from flows.report.words import STATUS_COLOURS, field_words, short
from flows.verdicts import count_verdicts, counted
from pipeline.experiment import STATUS_CODES
from pipeline.scene_cells import DrawnPlace, DrawnScene
from pipeline.statistics import has_statistic, statistic


def build_report(
    cube: xr.Dataset, surfaces: xr.Dataset, claims: list[dict[str, Any]], *, report_spec: dict[str, Any],
    answers: xr.Dataset | None = None,
    network: tuple[DrawnPlace, list[DrawnScene]] | None = None, filled: xr.Dataset | None = None,
) -> str:  # fmt: skip
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
    answers
        Answers to the standing questions (:func:`flows.analyses.analyses_of`); None: the page has none.
    network
        The place whose network is drawn, and the scenes of its designs; None if the experiment has none.
    filled
        The lattice that a refinement has filled; None if the study is no refined one.

    Returns
    -------
    str
        A self-contained HTML page.
    """
    if not set(cube["status"].dims) - {surfaces.attrs.get("over")}:
        # A study of one point gets an axis of one value, because all plots need an axis.
        cube, surfaces = (data.expand_dims({"place": ["all"]}) for data in (cube, surfaces))
    spec = completed_spec(cube, surfaces, report_spec)
    status, folded = status_map(cube, axis_of_cells(cube, surfaces, spec), surfaces.attrs.get("over"))
    shown = [y for y in dict.fromkeys([spec["y"], *(spec.get("also") or ())]) if is_measured(surfaces, y)]
    sections = _sections(cube, surfaces, spec, shown, answers)
    lattice = None if filled is None else filled_section(filled, log=bool(spec.get("log_y")), panels=MOST_PANELS)
    if lattice is not None:
        # The computed cells alone make a map with few places; the filled one holds them all.
        sections = [lattice, *(section for section in sections if section.key != lattice.key)]
    at_one_cell = None if network is None else network_section(cube, spec, *network)
    every = [*sections, *([at_one_cell] if at_one_cell else [])]
    drawn = {"status": status} | {panel.key: panel.plot for section in every for panel in section.panels}
    if {"relative_gap", "worst_violation"} <= set(cube.variables) and np.isfinite(cube["relative_gap"].values).any():
        drawn["certificates"] = certificates(cube)
    script, divs = _embedded(drawn)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"code": _code, "sign": sign}
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
        network=at_one_cell,
        tables=tables(surfaces, spec, answers),
        certificates_note=field_words().certificates,
        claims=_claims_by_author([row | {key: short(row[key], _EVIDENCE) for key in ("ours", "evidence")} for row in claims]),
        status_colours=_status_legend(cube),
        folded_cells=folded,
        failed=failed_cells(cube),
        provenance=_provenance(cube, surfaces),
        folded=_folded(cube),
    )


def _sections(
    cube: xr.Dataset, surfaces: xr.Dataset, spec: dict[str, Any], shown: list[str], answers: xr.Dataset | None
) -> list[Section]:  # fmt: skip
    """Draw the section of every variable: the first one has the most panels, the others have a linear scale; then the front."""
    further = max(1, MOST_PLOTS // (len(shown) + 1))
    found = []
    for y in shown[:MOST_PLOTS]:
        if not np.isfinite(statistic(surfaces, y, "mean_feasible").values).any():
            continue
        first = y == spec["y"]
        panels = max(1, min(MOST_PANELS, MOST_PLOTS - further * (len(shown) - 1))) if first else further
        own = spec if first else spec | {"log_y": False}
        if own["x"] not in statistic(surfaces, y, "mean_feasible").dims:
            own = own | {"x": axis_of_cells(cube, surfaces, own)}
        # The first variable has half of the points.
        points = MOST_POINTS if len(shown) == 1 else MOST_POINTS // 2 // (1 if first else len(shown) - 1)
        found.append(section(surfaces, own, y, Room(panels, points), answers))
    front = front_section(surfaces, spec) if shown else None
    return found if front is None else [found[0], front, *found[1:]] if found else []


_EVIDENCE = 1000
"""Most letters of a claim's evidence: some evidence lists a band for every point of the grid."""


def _left_out_variables(shown: list[str]) -> str:
    if len(shown) <= MOST_PLOTS:
        return ""
    return f"{MOST_PLOTS} of {len(shown)} variables are drawn: the first ones of `report.also`. {EXPORT}"


def _embedded(drawn: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the script of several plots, and their places in a page."""
    document, figures = Document(), {name: rendered(plot) for name, plot in drawn.items()}
    # Without the freeze bokeh goes through all models again for each plot that is added.
    with document.models.freeze():
        for root in figures.values():
            document.add_root(root)
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

    ``Resources.render()`` is not used: where Panel is loaded it adds addresses of its scripts.
    """
    scripts = Resources(mode="inline", components=["bokeh"]).js_raw
    return markupsafe.Markup("".join(f"<script>\n{script}\n</script>\n" for script in scripts))


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


_AUTHORS = {"paper": "The paper's statements", "ours": "Our statements"}


def _claims_by_author(claims: list[dict[str, Any]]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return the claims of the paper and ours: a heading, the counts of their verdicts, and the rows."""
    found, counts = [], count_verdicts(claims)
    singular = {"holds": "holds", "fails": "fails", "undecided": "undecided"}
    plural = {"holds": "hold", "fails": "fail", "undecided": "undecided"}
    for whose, heading in _AUTHORS.items():
        rows = [row for row in claims if row["whose"] == whose]
        if rows:
            met = {verdict: count for verdict, count in counts[whose].items() if count}
            words = (f"{n} {(singular if n == 1 else plural)[verdict]}" for verdict, n in met.items())
            found.append((heading, ", ".join(words), rows))
    return found


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

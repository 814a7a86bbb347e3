"""Reports: one file that asks nothing of the network, says everything in words, and draws at two widths."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import chromium
import fake_cube
import numpy as np
import pytest
import xarray as xr
from bokeh.models import ColumnDataSource, MultiLine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import flows.report.page as page_module
from flows.claims import evaluate_claims
from flows.papers import read_papers
from flows.report.axes import log_ticks
from flows.report.choice import MOST_PLOTS, MOST_POINTS, MOST_ROWS, choose
from flows.report.curves import curve_series
from flows.report.drawing import rendered
from flows.report.fronts import MOST_FRONTS
from flows.report.measured import measured
from flows.report.page import build_report
from flows.report.panels import Section
from flows.report.sections import Room, section
from flows.report.status import MOST_MAP_COLUMNS, MOST_MAP_ROWS, status_map
from flows.report.words import STATUS_COLOURS, label, short
from flows.verdicts import count_verdicts, counted
from pipeline.experiment import STATUS_CODES
from pipeline.statistics import statistic
from pipeline.surfaces import compute_surfaces


def report_of(cube: xr.Dataset) -> str:
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    return build_report(cube, surfaces, evaluate_claims("quick", cube, surfaces), report_spec=fake_cube.REPORT)


def toy_report(**spec: Any) -> str:
    cube = fake_cube.toy_cube()
    return build_report(cube, compute_surfaces(cube, over="draw", edge=None, paired=None), [], report_spec=spec)


def own_part(page: str) -> str:
    """The page without scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)


@pytest.fixture(scope="module")
def page() -> str:
    return report_of(fake_cube.quick_cube(failed=3, missing=2))


def test_the_page_says_why_a_statement_fails(page: str) -> None:
    assert "It is not the CRB of any signal." in own_part(page)


def test_the_page_is_one_file_below_3_mb(page: str) -> None:
    assert len(page.encode()) < 3_000_000
    assert not re.search(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"'](?!data:)", page)
    assert "@import" not in own_part(page)


def test_the_page_says_what_was_computed_in_words(page: str) -> None:
    text = own_part(page)
    assert "198 of 200 planned cells are computed." in text
    for words in (
        "Orthogonal design (P.2)", "Beamforming design (P.3)", "Unconstrained (P.1T): a bound, needs node phases", "Fig. 5",
    ):  # fmt: skip
        assert words in text
    for heading in ("Trade-off", "Largest feasible values", "Designs compared", "Cost", "Every cell", "Certificates"):
        assert heading in text
    for status in ("missing", "not planned (blank)", "ok", "inaccurate", "infeasible", "failed"):
        assert f"</i>{status}</span>" in text


def test_legends_name_the_curves_with_units_on_the_axes(page: str) -> None:
    for words in ("1 user, Orthogonal design (P.2)", "2 users, Beamforming design (P.3)", "SINR target [dB]"):
        assert words in page
    # Each name stands once in the legend, whatever the number of curves.
    for words in ("Orthogonal design (P.2)", "Beamforming design (P.3)", "1 user", "2 users"):
        assert own_part(page).count(f"<span>{words}</span>") == 1
    assert "Root CRB of the design's objective [mm]" in html.unescape(page).replace("\\n", " ")


def test_failed_cells_are_listed_by_place_with_their_sentence_escaped(page: str) -> None:
    text = own_part(page)
    assert "SINR target 0 dB, 2 users, Orthogonal design (P.2), channel realisation 0" in text
    assert text.count("The solver stopped: &lt;numerical&gt; trouble &amp; no step.") == 3
    assert "Failed cells" not in own_part(report_of(fake_cube.quick_cube()))


def test_every_claim_has_a_badge_and_its_evidence(page: str) -> None:
    text = own_part(page)
    assert text.count('class="badge ') == len(re.findall(r"<tr><td><span", text)) == 15
    assert 'class="badge fails">fails' in text
    assert "cells at or below 1e-06" in text


def test_the_page_counts_the_papers_statements_apart_from_ours(page: str) -> None:
    cube = fake_cube.quick_cube(failed=3, missing=2)
    rows = evaluate_claims("quick", cube, compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design"))
    ours = sum(row["whose"] == "ours" for row in rows)
    text = html.unescape(own_part(page))
    assert f"planned cells are computed. {counted(rows)}" in text
    parts = text.split('<details class="claims">')[1:]
    assert [part.split(":")[0] for part in parts] == ["<summary>The paper's statements", "<summary>Our statements"]
    assert [part.count('class="badge ') for part in parts] == [len(rows) - ours, ours]
    for part, whose in zip(parts, ("paper", "ours"), strict=True):
        found = {
            word: int(count) for count, word in re.findall(r"(\d+) (hold|fail|undecided)", part[: part.index("</summary>")])
        }
        met = {verdict.removesuffix("s"): n for verdict, n in count_verdicts(rows)[whose].items() if n}
        assert found == met


def test_provenance_is_folded_in_the_page(page: str) -> None:
    text = own_part(page)
    for words in ("Base scenario", "Code: digest of every module", "Software", "c" * 32, "2026-01-01T00:00:00+00:00"):
        assert words in text
    assert "git revision" not in text


def test_c5_the_page_shows_the_surfaces_own_numbers() -> None:
    cube = fake_cube.quick_cube()
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    surfaces["sinr_db_feasible_edge"].loc[{"statistic": "mean_feasible"}] = 123.25
    surfaces["rcrb_m"].loc[{"statistic": "mean_paired"}] = 0.6789
    text = own_part(build_report(cube, surfaces, [], report_spec=fake_cube.REPORT))
    assert text.count("<td>123.2</td>") == 5
    assert "<td>0.6789</td>" in text
    assert "What the paper says" not in text


def test_a_complete_study_says_so() -> None:
    text = own_part(report_of(fake_cube.quick_cube()))
    assert "All 200 planned cells are computed." in text
    assert "missing</span>" not in text


def test_a_study_of_another_field_needs_no_design_and_no_spec() -> None:
    text = own_part(toy_report())
    assert "A &lt;toy&gt; &amp; its yield" in text
    assert "<toy>" not in text
    for absent in ("paper '", "Certificates", "paired table", "SINR", "Cost"):
        assert absent not in text


def test_nothing_feasible_still_gives_a_page() -> None:
    cube = fake_cube.quick_cube()
    feasible = np.isin(cube["status"].values, (2, 3))
    cube["status"].values[feasible] = 4
    for name in cube.data_vars:
        if cube[name].dtype.kind == "f" and name != "solve_seconds":
            cube[name].values[:] = np.nan
    cube.attrs["cells_by_status"] = json.dumps({"infeasible": 200})
    text = own_part(report_of(cube))
    assert "No cell is feasible" in text
    assert "Every cell" in text


def test_a_script_end_in_a_message_does_not_end_the_script() -> None:
    cube = fake_cube.quick_cube(failed=1)
    cube["message"].values[cube["status"].values == 5] = "</script><script>alert(1)</script>"
    assert "<script>alert(1)" not in report_of(cube)


@pytest.mark.parametrize("low", [3e-4, 0.12, 1.0, 7.7e5])
@pytest.mark.parametrize("ratio", [1.1, 1.4, 3.0, 40.0, 3e3, 1e7])
def test_a_logarithmic_axis_has_a_few_round_ticks_whatever_its_range(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    inside = [tick for tick in ticks if low <= tick <= low * ratio]
    assert 3 <= len(inside) <= 10
    assert all(len(f"{tick:.5e}".partition("e")[0].replace(".", "").strip("0")) <= 3 for tick in inside)


_FADED = """(() => {
  const renderers = Bokeh.documents.flatMap(d => d.roots()).flatMap(root => [...root.references()]).filter(m => m.glyph);
  const faded = kind => renderers.filter(r => r.glyph.type === kind && r.data_source.tags.length)
    .map(r => Array.from(r.data_source.data.alpha).filter(a => a < (kind === 'MultiPolygons' ? 0.1 : 1)).length);
  return ['MultiLine', 'MultiPolygons', 'Scatter'].map(kind => Math.max(...faded(kind)));
})()"""
"""Numbers of lines, bands and points that a legend has faded."""


@pytest.mark.browser
@pytest.mark.skipif(chromium.find_chromium() is None, reason="no Chromium here: install the package `chromium`")
def test_wide_tables_scroll_in_a_box_of_their_own_on_a_telephone(tmp_path: Path) -> None:
    cube = fake_cube.quick_cube()
    names = [str(n) for n, v in cube.data_vars.items() if v.dtype.kind == "f"]
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    spec = fake_cube.REPORT | {"x": "design", "colour": "user_count", "style": None, "panels": ["sinr_db"], "table": names}
    file = tmp_path / "index.html"
    file.write_text(build_report(cube, surfaces, [], report_spec=spec), encoding="utf-8")
    with chromium.browse(tmp_path) as tab:
        tab.open(file.as_uri(), width=480)
        assert tab.errors == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= 480
        boxes = "[...document.querySelectorAll('.scroll')]"
        assert tab.evaluate(f"Math.max(...{boxes}.map(box => box.getBoundingClientRect().right))") <= 480
        assert tab.evaluate(f"{boxes}.some(box => box.scrollWidth > box.clientWidth + 100)"), "a table is wider than its box"


@pytest.mark.browser
@pytest.mark.skipif(chromium.find_chromium() is None, reason="no Chromium here: install the package `chromium`")
@pytest.mark.parametrize("width", [pytest.param(1280, marks=pytest.mark.slow), 480])
def test_in_a_browser_it_draws_and_asks_for_nothing(page: str, tmp_path: Path, width: int) -> None:
    file = tmp_path / "index.html"
    file.write_text(page, encoding="utf-8")
    with chromium.browse(tmp_path) as tab:
        tab.open(file.as_uri(), width=width)
        outside = [url for url in tab.requests if not url.startswith(("data:", "blob:"))]
        assert outside == [file.as_uri()]
        assert tab.errors == []
        assert tab.evaluate("Bokeh.documents.reduce((n, d) => n + d.roots().length, 0)") == 3
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.screenshot(tmp_path / "page.png")
        assert tab.evaluate(_FADED) == [0, 0, 0]
        cube = fake_cube.quick_cube(failed=3, missing=2)
        means = statistic(compute_surfaces(cube, over="realisation", edge=None, paired="design"), "rcrb_m", "mean_feasible")
        points = int(np.isfinite(means.sel(design="orthogonal")).sum())
        assert tab.evaluate(f"document.querySelector('.key button').click(); {_FADED}") == [2, 2, points]
        assert tab.evaluate(f"document.querySelector('.key button').click(); {_FADED}") == [0, 0, 0]
        assert tab.errors == []
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_the_status_map_shows_each_place_by_its_gravest_cell() -> None:
    cube = fake_cube.quick_cube(failed=3, missing=2)
    x, over = "sinr_db", "realisation"
    plot, sentence = status_map(cube, x, over)
    drawn = rendered(plot)
    assert sentence == "A place stands for all 4 values of Channel realisation."
    overrides = [axis.major_label_overrides for axis in (drawn.yaxis[0], drawn.xaxis[0])]
    rows, columns = ({int(place): name for place, name in words.items()} for words in overrides)
    (quads,) = drawn.renderers
    table = quads.data_source.data
    seen = 0
    for x0, y0, colour, at, row in zip(*(table[k] for k in ("left", "bottom", "color", "at", "row")), strict=True):
        assert (columns[round(x0 + 0.5)], rows[round(y0 + 0.5)]) == (at, short(row, 36))
        place = {label(d, v): {d: v} for d in ("design", "user_count") for v in cube[d].values.tolist()}
        chosen = {
            k: v for words in row.split(", ") for text, one in place.items() if text.startswith(words) for k, v in one.items()
        }
        cells = cube["status"].sel(sinr_db=float(at), **chosen).values
        names = {c: n for n, c in STATUS_CODES.items()}
        here = {names[int(c)] for c in cells.ravel()} - {"not_planned"}
        order = ["failed", "missing", "inaccurate"]
        want = next((n for n in order if n in here), "partly infeasible" if {"ok", "infeasible"} <= here else None)
        assert colour == STATUS_COLOURS[want or here.pop()]
        seen += 1
    planned = (cube["status"] != STATUS_CODES["not_planned"]).any(over)
    assert seen == int(planned.sum())


def test_a_density_is_drawn_over_its_bins_with_a_curve_for_each_entry() -> None:
    cube = fake_cube.quick_cube()
    shape = (*cube["status"].shape, 2, 3)
    density = np.broadcast_to(np.array([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]]), shape)
    attributes = {"units": "1/dB", "long_name": "density of the SINR", "volatile": 0}
    cube["density"] = ((*cube["status"].dims, "user", "level_db"), density, attributes)
    cube = cube.assign_coords(level_db=[0.5, 1.5, 2.5]).isel(sinr_db=[0], user_count=[0])
    profiles = {"over": "realisation", "edge": None, "paired": "design", "profiles": ["density"]}
    surfaces = compute_surfaces(cube, **profiles)  # type: ignore[arg-type]
    spec = {"x": "level_db", "y": "density", "colour": "user", "style": "design", "also": ["rcrb_m_not_kept"]}
    page = build_report(cube, surfaces, [], report_spec=spec)
    for words in ("Level [dB]", "Density of the SINR [1/dB]", "Orthogonal design (P.2), user 1"):
        assert words in html.unescape(page)
    # The map of cells keeps to an axis of the cells.
    assert "SINR target [dB]" in page


def test_an_axis_of_frequencies_is_told_with_prefixes() -> None:
    cube = fake_cube.quick_cube().rename(user_count="bandwidth")
    about = {"units": "Hz", "long_name": "signal bandwidth"}
    cube = cube.assign_coords(bandwidth=("bandwidth", [5e6, 4e7], about))
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    page = own_part(build_report(cube, surfaces, [], report_spec=fake_cube.REPORT | {"panels": ["bandwidth"], "style": None}))
    assert "<figcaption>bandwidth 5 MHz</figcaption>" in page
    assert "<td>40 MHz</td>" in page
    assert "e+0" not in page


def test_further_variables_are_drawn_below_in_words() -> None:
    cube = fake_cube.quick_cube()
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    page = build_report(cube, surfaces, [], report_spec=fake_cube.REPORT | {"also": ["extracted_min_sinr_db", "absent"]})
    assert "<h3>Least SINR of the extracted beams</h3>" in own_part(page)
    assert own_part(page).count('class="plot"') == own_part(report_of(cube)).count('class="plot"') + 1


def test_panels_have_a_plot_each_without_what_they_stand_for() -> None:
    cube = fake_cube.quick_cube()
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    spec = fake_cube.REPORT | {"style": None, "panels": ["user_count"], "also": ["extracted_min_sinr_db"]}
    page = html.unescape(own_part(build_report(cube, surfaces, [], report_spec=spec)))
    users = cube["user_count"].values.tolist()
    plain = own_part(report_of(cube)).count('class="plot"')
    assert page.count('class="plot"') == plain - 1 + 2 * len(users)
    for count in users:
        word = f"{count} user" + ("s" if count > 1 else "")
        assert page.count(f"<figcaption>{word}</figcaption>") == 2


def drawn_section(surfaces: xr.Dataset, y: str, spec: dict[str, Any], panels: int = 12) -> Section:
    return section(surfaces, spec | {"y": y}, y, Room(panels, MOST_POINTS))


def test_every_curve_is_named_in_the_legend() -> None:
    cube = fake_cube.quick_cube()
    one = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    surfaces = xr.concat([one, one], dim="kind").assign_coords(kind=["a", "b"])
    spec = {"x": "sinr_db", "colour": "design", "style": "user_count"}
    for data, groups in ((surfaces, 1), (one, 2)):
        found = drawn_section(data, "rcrb_m", spec)
        (panel,) = found.panels
        (lines,) = [r for r in rendered(panel.plot).renderers if isinstance(r.glyph, MultiLine)]
        assert lines.data_source.tags == [found.key]
        assert lines.glyph.line_alpha == "alpha"
        mean = statistic(data, "rcrb_m", "mean_feasible").transpose("sinr_db", ...)
        curves = int(np.isfinite(mean.values).any(axis=0).sum())
        assert len(found.legend) == groups, "a curve by itself, or a hue and a dash"
        for group in found.legend:
            named = sorted(number for entry in group.entries for number in entry.numbers)
            assert named == sorted(lines.data_source.data["number"]) == list(range(curves))


def test_places_of_a_text_axis_stand_in_their_order() -> None:
    """Whatever band begins elsewhere."""
    names = ["2", "3", "4", "5"]
    cube = xr.Dataset(
        {
            "seconds": (("nodes", "realisation"), np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 1.5], [1.0, 1.2]]), {"units": "s"}),
            "status": (("nodes", "realisation"), np.full((4, 2), STATUS_CODES["ok"], dtype=np.uint8)),
        },
        {"nodes": np.array(names, dtype=object), "realisation": [0, 1]},
    )
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired=None)
    # The band of the second place reaches below zero and is left out on a logarithmic axis.
    surfaces["seconds"].loc[{"statistic": "ci_low"}] = [0.5, -1.0, 0.5, 0.5]
    (panel,) = drawn_section(surfaces, "seconds", {"x": "nodes", "log_y": True}).panels
    plot = rendered(panel.plot)
    axis = plot.xaxis[0]
    assert [axis.major_label_overrides[tick] for tick in axis.ticker.ticks] == [f"nodes {name}" for name in names]
    assert (plot.x_range.start, plot.x_range.end) == (-0.6, 3.6)


def test_quantities_stand_side_by_side() -> None:
    cube = fake_cube.quick_cube()
    cube["pinned_w"] = cube["rcrb_m"] * 0 + 0.025
    cube["pinned_w"].attrs = {"units": "W", "long_name": "radiated power"}
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired=None)
    spec = fake_cube.REPORT | {"table": ["rcrb_m", "worst_violation", "pinned_w", "absent"]}
    page = build_report(cube, surfaces, [], report_spec=spec)
    assert page.count("<h2>Side by side, ") == 2 * 2 + 1  # one place has no feasible cell
    table = page[page.index("<h2>Side by side, 2 users, Beamforming design (P.3)</h2>") :]
    table = table[: table.index("</table>")]
    assert "Mean over the realisations that are feasible" in table
    assert "The same in every row, within the bands: radiated power: 25 mW." in table
    assert table.count("<th>") == 1 + 2
    at = {"user_count": 2, "design": "beamforming"}
    means, highs = (statistic(surfaces, "rcrb_m", part).sel(at) for part in ("mean_feasible", "ci_high"))
    assert table.count("<tr>") == 1 + int(np.isfinite(means).sum())
    mean, high = (1e3 * float(part.sel(sinr_db=10.0)) for part in (means, highs))
    assert f">{mean:.4g} ± {high - mean:.2g}</td>" in table
    without = build_report(cube, surfaces, [], report_spec=fake_cube.REPORT)
    assert "Side by side" not in without


def test_no_two_curves_look_alike() -> None:
    cube = fake_cube.quick_cube()
    found = measured(compute_surfaces(cube, over="realisation", edge=None, paired=None), "rcrb_m")
    for spec in (fake_cube.REPORT, {"x": "sinr_db", "colour": "user_count"}, {"x": "sinr_db", "style": "design"}):
        series = curve_series(found, spec, ("sinr_db",))
        assert (len(series.curves), series.left_out) == (5, "")
        assert len({(curve.colour, curve.dash) for curve in series.curves}) == 5


def large(sizes: dict[str, int], **arguments: Any) -> tuple[xr.Dataset, xr.Dataset]:
    cube = fake_cube.grid_cube(sizes, **arguments)
    return cube, compute_surfaces(cube, over="realisation" if "realisation" in sizes else None, edge=None, paired=None)


def test_a_plot_of_many_curves_draws_some_of_them_and_says_which() -> None:
    cube, surfaces = large({"x": 20, "text": 10, "texts": 20})
    spec = {"x": "x", "y": "v0", "colour": "text", "style": "texts"}
    found = drawn_section(surfaces, "v0", spec)
    said = " ".join(found.notes)
    assert said.startswith(
        "24 of 200 curves are shown, the first, the last and evenly spaced ones between: 6 of 10 values of Text"
    )
    for way in ("`report.panels`", "`where`", "`disac export`"):
        assert way in said
    series = curve_series(measured(surfaces, "v0"), spec, ("x",))
    assert len({(curve.colour, curve.dash) for curve in series.curves}) == 24, "no two look alike"
    for number, size in enumerate((10, 20)):
        assert {0, size - 1} <= {curve.at[number] for curve in series.curves}, "both ends"
    assert "24 of 200 curves are shown" in own_part(build_report(cube, surfaces, [], report_spec=spec))
    whole = surfaces.isel(text=slice(4), texts=slice(6))
    assert drawn_section(whole, "v0", spec).notes == [], "24 curves are drawn without a word"


SHAPES: list[dict[str, int]] = [
    {"x": 20, "nodes": 10, "draw": 20},
    {"x": 3000, "nodes": 10, "realisation": 2},
    {"text": 3000, "realisation": 2},
    {"text": 400, "texts": 400},
    {"x": 65, "z": 33, "text": 5},
    {"realisation": 100},
    {"a": 6, "b": 5, "c": 5, "d": 5, "e": 5, "realisation": 2},
    {},
]


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_c5_a_page_is_bounded_whatever_the_cube(sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a time: it is plots, their models and their bytes that cost."""
    counts = watched(monkeypatch)
    spec = {"panels": ["b", "d"], "also": ["v1", "v2", "v3"], "table": ["v0", "v1"], "log_y": True}
    cube, surfaces = large(sizes, variables=4, failed=60)
    page = build_report(cube, surfaces, [], report_spec=spec)
    assert counts["plots"] <= MOST_PLOTS + MOST_FRONTS + 3
    assert counts["models"] <= 400 * (MOST_PLOTS + 2)
    assert counts["points"] <= 4 * MOST_POINTS + 4 * MOST_MAP_ROWS * MOST_MAP_COLUMNS
    assert len(page.encode()) < 3_000_000
    assert len(re.findall("<tr", page)) <= 8 * MOST_ROWS
    assert page.count("The solver stopped") <= MOST_ROWS


def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts of what the page embeds: plots, models, and the longest columns of their tables."""
    counts = {"plots": 0, "models": 0, "points": 0}
    embed = page_module.components

    def components(figures: dict[str, Any]) -> Any:
        models = {model for figure in figures.values() for model in figure.references()}
        tables = [model.data for model in models if isinstance(model, ColumnDataSource)]
        counts["plots"], counts["models"] = len(figures), len(models)
        counts["points"] = sum(max((len(column) for column in table.values()), default=0) for table in tables)
        return embed(figures)

    monkeypatch.setattr(page_module, "components", components)
    return counts


def test_what_a_page_leaves_out_is_said_each_time() -> None:
    cube, surfaces = large({"x": 500, "nodes": 30, "text": 20}, failed=100)
    spec = {"x": "x", "y": "v0", "panels": ["nodes"], "table": ["v0"]}
    text = html.unescape(own_part(build_report(cube, surfaces, [], report_spec=spec)))
    for sentence in (
        "12 of 30 plots are shown", "Of 500 values of X a curve shows", "8 of 600 tables are shown",
        "24 of 500 values of X are shown", "30 of 100 failed cells are shown", "A place stands for all 30 values of Nodes",
    ):  # fmt: skip
        assert sentence in re.sub(r"</?code>", "`", text), sentence


@settings(deadline=None, max_examples=100)
@given(arrays(np.bool_, array_shapes(max_dims=3, max_side=9)), st.integers(1, 12))
def test_a_choice_shows_something_where_there_is_something_and_never_too_much(full: Any, most: int) -> None:
    choice = choose(full, most)
    assert choice.total == full.sum()
    assert len(choice.places) <= most
    assert bool(choice.places) == bool(full.any())
    assert all(full[at] for at in choice.places)
    assert choice.places == sorted(set(choice.places))
    assert (choice.left_out("rows", ["a", "b", "c"], "") == "") == (len(choice.places) == choice.total)
    if choice.total <= most:
        assert len(choice.places) == choice.total


def test_a_study_without_statistics_still_gives_a_page() -> None:
    cube, surfaces = large({"x": 3, "realisation": 2}, variables=0)
    assert "No variable of the study has statistics" in own_part(build_report(cube, surfaces, [], report_spec={}))
    said = own_part(build_report(cube, surfaces, [], report_spec={"y": "left_out"}))
    assert "The study keeps no statistics of 'left_out'" in html.unescape(said)


def test_the_page_names_papers_by_title_with_authors_year_and_a_link(page: str) -> None:
    own = html.unescape(own_part(page))
    paper = read_papers()["ofdm"]
    assert f'<a href="#paper-002"><cite>{paper.title}</cite></a>. {paper.byline}' in own
    for words, address in paper.links.items():
        assert f'<a href="{address}">{words}</a>' in own
    assert own.count('<tr id="paper-002">') == 1
    claims = own[own.index("What the paper says") : own.index("<h2>Papers</h2>")]
    assert f"<cite>{paper.title}</cite></a>, section V-B" in claims
    assert not re.search(r"(?<![\w.,-])00[0-4](?!\w|[.,]\d)", claims)


def test_what_a_claim_says_is_escaped_where_it_cites_a_paper() -> None:
    cube = fake_cube.quick_cube()
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    row = {
        "verdict": "fails",
        "whose": "ours",
        "ours": "1",
        "statement": "<b> 004",
        "source": "000 & x",
        "reading": "",
        "reason": "",
        "evidence": "",
    }
    own = own_part(build_report(cube, surfaces, [row], report_spec=fake_cube.REPORT))
    assert '&lt;b&gt; <a href="#paper-004"><cite>Phase-Coherent D-MIMO ISAC' in own
    assert [number for number in ("000", "001", "002", "003", "004") if f'id="paper-{number}"' in own] == ["000", "002", "004"]

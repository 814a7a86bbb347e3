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

from flows.claims import evaluate_claims
from flows.report import build_report
from flows.report.plots import _log_ticks, curve_series, status_map, tradeoff
from flows.report.words import STATUS_COLOURS, label
from pipeline.experiment import STATUS_CODES
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
    assert "which is not the CRB of any signal" in own_part(page)


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
    for heading in ("Trade-off", "How far it is feasible", "Designs compared", "Cost", "Every cell", "Certificates"):
        assert heading in text
    for status in ("missing", "not planned (blank)", "ok", "inaccurate", "infeasible", "failed"):
        assert f"</i>{status}</span>" in text


def test_legends_name_the_curves_with_units_on_the_axes(page: str) -> None:
    for words in ("1 user, Orthogonal design (P.2)", "2 users, Beamforming design (P.3)", "SINR target [dB]"):
        assert words in page
    assert "Root CRB of the design's objective [m]" in html.unescape(page)


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


def test_provenance_is_folded_in_the_page(page: str) -> None:
    text = own_part(page)
    for words in ("Base scenario", "Code: digest of every module", "Software", "c" * 32, "2026-01-01T00:00:00+00:00"):
        assert words in text
    assert "git revision" not in text


def test_c5_the_page_shows_the_surfaces_own_numbers() -> None:
    cube = fake_cube.quick_cube()
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    surfaces["sinr_db_feasible_edge_mean"][:] = 123.25
    surfaces["rcrb_m_mean_paired"][:] = 0.6789
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


def test_a_logarithmic_axis_has_ticks_in_its_lower_part() -> None:
    ticks = _log_ticks(np.array([[0.12, np.nan], [0.9, 4.8]]))
    assert ticks is not None
    assert [tick for tick in ticks if 0.12 <= tick <= 4.8] == [0.2, 0.5, 1.0, 2.0]
    assert _log_ticks(np.array([1.0, 1.4])) is None
    assert _log_ticks(np.array([np.nan, 0.0])) is None


@pytest.mark.browser
@pytest.mark.skipif(chromium.find_chromium() is None, reason="no Chromium here: install the package `chromium`")
@pytest.mark.parametrize("width", [1280, 480])
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
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_the_status_map_shows_each_place_by_its_gravest_cell() -> None:
    cube = fake_cube.quick_cube(failed=3, missing=2)
    x, over = "sinr_db", "realisation"
    drawn = status_map(cube, {"x": x}, over)
    options = drawn.opts.get("plot").kwargs
    rows, columns = dict(options["yticks"]), dict(options["xticks"])
    table = drawn.data
    seen = 0
    for x0, y0, code, at, row in zip(*(table[k] for k in ("x0", "y0", "code", "at", "row")), strict=True):
        assert (columns[round(x0 + 0.5)], rows[round(y0 + 0.5)]) == (at, row)
        place = {label(d, v): {d: v} for d in ("design", "user_count") for v in cube[d].values.tolist()}
        chosen = {
            k: v for words in row.split(", ") for text, one in place.items() if text.startswith(words) for k, v in one.items()
        }
        cells = cube["status"].sel(sinr_db=float(at), **chosen).values
        names = {c: n for n, c in STATUS_CODES.items()}
        here = {names[int(c)] for c in cells.ravel()} - {"not_planned"}
        order = ["failed", "missing", "inaccurate"]
        want = next((n for n in order if n in here), "partly infeasible" if {"ok", "infeasible"} <= here else None)
        assert list(STATUS_COLOURS)[int(code)] == (want or here.pop())
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


def test_further_variables_are_drawn_below_in_words() -> None:
    cube = fake_cube.quick_cube()
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    page = build_report(cube, surfaces, [], report_spec=fake_cube.REPORT | {"also": ["extracted_min_sinr_db", "absent"]})
    assert "<h3>Least SINR of the extracted beams [dB]</h3>" in own_part(page)
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
        assert f"<h3>{word}</h3>" in page
        assert f"<h3>Least SINR of the extracted beams [dB]: {word}</h3>" in page


def test_every_curve_is_named_in_the_legend() -> None:
    """However many layers there are: past a number of its own, HoloViews leaves the legend out."""
    import holoviews as hv

    cube = fake_cube.quick_cube()
    one = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    surfaces = xr.concat([one, one], dim="kind").assign_coords(kind=["a", "b"])
    figure = hv.render(tradeoff(surfaces, {"x": "sinr_db", "y": "rcrb_m", "colour": "design", "style": "user_count"}), "bokeh")
    mean = surfaces["rcrb_m_mean_feasible"].transpose("sinr_db", ...)
    curves = int(np.isfinite(mean.values).any(axis=0).sum())
    assert curves > 6
    assert [len(legend.items) for legend in figure.legend] == [curves]


def test_places_of_a_text_axis_stand_in_their_order() -> None:
    """Whatever band begins elsewhere: bokeh takes texts in the order in which it meets them."""
    import holoviews as hv

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
    surfaces["seconds_ci_low_feasible"][:] = [0.5, -1.0, 0.5, 0.5]
    figure = hv.render(tradeoff(surfaces, {"x": "nodes", "y": "seconds", "log_y": True}), "bokeh")
    assert list(figure.x_range.factors) == names


def test_quantities_stand_side_by_side() -> None:
    cube = fake_cube.quick_cube()
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired=None)
    page = build_report(cube, surfaces, [], report_spec=fake_cube.REPORT | {"table": ["rcrb_m", "worst_violation", "absent"]})
    assert page.count("<h2>Side by side, ") == 2 * 2 + 1  # one place has no feasible cell
    table = page[page.index("<h2>Side by side, 2 users, Beamforming design (P.3)</h2>") :]
    table = table[: table.index("</table>")]
    assert "Mean over the realisations that are feasible" in table
    assert table.count("<th>") == 1 + cube.sizes["sinr_db"]
    assert table.count("<tr>") == 1 + 2
    mean, high = (
        float(surfaces[f"rcrb_m_{part}_feasible"].sel(sinr_db=10.0, user_count=2, design="beamforming"))
        for part in ("mean", "ci_high")
    )
    assert f"<td>{mean:.4g} ± {high - mean:.2g}</td>" in table
    without = build_report(cube, surfaces, [], report_spec=fake_cube.REPORT)
    assert "Side by side" not in without


def test_no_two_curves_look_alike() -> None:
    cube = fake_cube.quick_cube()
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired=None)
    for spec in (fake_cube.REPORT, {"x": "sinr_db", "colour": "user_count"}, {"x": "sinr_db", "style": "design"}):
        series = curve_series(surfaces, spec, "rcrb_m_mean_feasible")
        assert len(series) == 5
        assert len({(colour, dash) for _, colour, dash, _ in series}) == 5

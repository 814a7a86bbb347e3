"""The plots of a report: which kind suits which axes, and that each shows the numbers of the surfaces."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from typing import Any

import fake_cube
import numpy as np
import pytest
import xarray as xr
from bokeh.models import HoverTool, Line, MultiLine, Quad, Scatter, Segment
from hypothesis import given
from hypothesis import strategies as st

from flows.analyses import analyses_of
from flows.field_values import prefixed, scaled
from flows.report.axes import geometric, levels, number_axis
from flows.report.best import best_of, same
from flows.report.drawing import rendered
from flows.report.fronts import front_section
from flows.report.measured import best_is, measured
from flows.report.page import build_report
from flows.report.panels import Section
from flows.report.plots import label_below
from flows.report.sections import Room, map_axes, row_of, section
from flows.report.spec import completed_spec
from flows.report.status import status_map
from pipeline.dominance import is_nondominated
from pipeline.experiment import STATUS_CODES
from pipeline.statistics import statistic
from pipeline.study import SurfaceSpec
from pipeline.surfaces import compute_surfaces

ROOM = Room(6, 12_000)


def lattice(sinrs: int = 65, bandwidths: int = 33) -> xr.Dataset:
    """Two long axes, one of them in equal ratios, and three designs: which of them is the best depends on the bandwidth."""
    axes = ("sinr_db", "bandwidth_hz", "design", "realisation")
    sinr = np.linspace(0.0, 40.0, sinrs).reshape(-1, 1, 1, 1)
    band = np.geomspace(1e6, 1e8, bandwidths).reshape(1, -1, 1, 1)
    slope = np.array([-0.4, 0.4, 0.0]).reshape(1, 1, -1, 1)
    draw = np.arange(4).reshape(1, 1, 1, -1)
    limit = 38.0 - 3.0 * np.log10(band / 1e6) + 0.8 * (draw - 1.5) + 0 * slope
    decades = np.log10(band / 1e7)
    error = 1.5e-2 * (1.2 + slope * decades) * np.sqrt(1e7 / band) * (1 + 0.08 * (draw - 1.5)) * (1 + sinr / 40)
    feasible = sinr <= limit
    status = np.where(feasible, STATUS_CODES["ok"], STATUS_CODES["infeasible"]).astype(np.uint8)
    rate = np.log2(1 + 10 ** (sinr / 10)) + 0 * error
    data: dict[str, Any] = {
        "rcrb_m": (axes, np.where(feasible, error, np.nan), {"units": "m", "long_name": "root CRB", "volatile": 0}),
        "se_bps_hz": (axes, np.where(feasible, rate, np.nan), {"units": "bit/s/Hz", "long_name": "rate", "volatile": 0}),
    }
    coordinates = {
        "sinr_db": ("sinr_db", sinr.ravel(), {"long_name": "SINR target", "units": "dB"}),
        "bandwidth_hz": ("bandwidth_hz", band.ravel(), {"long_name": "bandwidth", "units": "Hz"}),
        "design": ("design", np.array(fake_cube.DESIGNS, dtype=object), {"long_name": "design method", "units": "1"}),
        "realisation": ("realisation", np.arange(4), {}),
    }
    told = {"study": "lattice", "title": "A lattice", "paper": "", "figure": ""}
    return fake_cube._finished(axes, status, data, coordinates, told)


def surfaces_of(cube: xr.Dataset) -> xr.Dataset:
    return compute_surfaces(cube, over="realisation", edge=None, paired="design")


def drawn(cube: xr.Dataset, surfaces: xr.Dataset, y: str, **spec: Any) -> Section:
    return section(surfaces, completed_spec(cube, surfaces, {"y": y} | spec), y, ROOM)


def glyphs(plot: Any, kind: type) -> list[dict[str, Any]]:
    """The tables of the glyphs of a kind in a Bokeh figure."""
    return [r.data_source.data for r in plot.renderers if isinstance(r.glyph, kind)]


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return lattice()


@pytest.fixture(scope="module")
def surfaces(cube: xr.Dataset) -> xr.Dataset:
    return surfaces_of(cube)


def test_two_long_axes_make_a_map_for_each_design_and_one_of_the_best(cube: xr.Dataset, surfaces: xr.Dataset) -> None:
    found = drawn(cube, surfaces, "rcrb_m", log_y=True)
    assert [panel.heading for panel in found.panels[:-1]] == [
        "Orthogonal design (P.2)", "Beamforming design (P.3)", "Unconstrained (P.1T): a bound, needs node phases",
    ]  # fmt: skip
    plot = rendered(found.panels[0].plot)
    means = statistic(surfaces, "rcrb_m", "mean_feasible").isel(design=0)
    _, filled = glyphs(plot, Quad)
    assert filled["value"] == pytest.approx(means.transpose("sinr_db", "bandwidth_hz").values.ravel(), rel=1e-6, nan_ok=True)
    sinr, band = cube["sinr_db"].values, cube["bandwidth_hz"].values
    assert list(filled["across"]) == [label_below(v, "dB") for v in sinr for _ in band]
    assert list(filled["up"]) == [label_below(v, "Hz") for _ in sinr for v in band]
    inside = (filled["left"] < np.repeat(sinr, len(band))) & (np.repeat(sinr, len(band)) < filled["right"])
    assert (inside & (filled["bottom"] < np.tile(band, len(sinr))) & (np.tile(band, len(sinr)) < filled["top"])).all()
    assert len(glyphs(plot, MultiLine)) == 1
    assert type(plot.y_scale).__name__ == "LogScale", "an axis in equal ratios"
    assert type(plot.x_scale).__name__ == "LinearScale", "levels in dB"
    assert (plot.yaxis[0].axis_label, plot.yaxis[0].formatter.args["factor"]) == ("Bandwidth [MHz]", 1e6)


def test_every_tooltip_finds_its_columns_and_every_drawn_value_has_one(
    cube: xr.Dataset, surfaces: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    quick = fake_cube.quick_cube()
    curves = drawn(quick, surfaces_of(quick), "rcrb_m", x="sinr_db", colour="design", style="user_count", log_y=True)
    dots = drawn(quick, surfaces_of(quick), "rcrb_m", x="design", colour="user_count", panels=["sinr_db"])
    front = front_section(surfaces, completed_spec(cube, surfaces, {"y": "rcrb_m"}))
    assert front is not None
    maps = drawn(cube, surfaces, "rcrb_m", log_y=True)
    found = [panel.plot for part in (curves, front, maps) for panel in part.panels] + [dots.panels[0].plot]
    told = 0
    for plot in map(rendered, [*found, status_map(quick, "sinr_db", "realisation")[0]]):
        tools = [tool for tool in plot.tools if isinstance(tool, HoverTool)]
        for renderer, tips in ((renderer, tool.tooltips) for tool in tools for renderer in tool.renderers):
            named = {name for _, words in tips for name in re.findall(r"@\{?(\w+)", words)}
            assert named <= set(renderer.data_source.data)
            assert len(named) == len(tips)
        covered = {renderer.id for tool in tools for renderer in tool.renderers}
        values = [r.id for r in plot.renderers if isinstance(r.glyph, Scatter | Quad) and len(r.data_source.data) > 4]
        assert covered == set(values)
        told += len(covered)
    assert told == 2 + 2 + 4 + 1 + 1, "curves and squares, front, maps, dots, statuses"
    assert caplog.records == [], "HoloViews logs options and hooks that fail"


def test_what_a_legend_fades_has_its_number_and_opacity() -> None:
    quick = fake_cube.quick_cube()
    spec = {"x": "sinr_db", "colour": "design", "style": "user_count", "log_y": True}
    (panel,) = drawn(quick, surfaces_of(quick), "rcrb_m", **spec).panels
    both = {"fill_alpha", "line_alpha"}
    expected = {"MultiPolygons": (0.12, both), "MultiLine": (1.0, {"line_alpha"}), "Scatter": (1.0, {"fill_alpha"})}
    met = set()
    for renderer in rendered(panel.plot).renderers:
        kind, table = type(renderer.glyph).__name__, renderer.data_source.data
        whole, parts = expected[kind] if getattr(renderer.glyph, "marker", "") != "square" else (1.0, {"line_alpha"})
        assert renderer.data_source.tags == ["rcrb_m"]
        assert set(table["number"]) <= set(range(5))
        assert len(table["number"]) == len(table["alpha"]) == len(next(iter(table.values())))
        assert table["alpha"] == pytest.approx(whole)
        assert {part for part in both if getattr(renderer.glyph, part, 0) == "alpha"} == parts
        met.add(kind)
    assert met == set(expected)


def test_the_tools_of_a_panel_are_those_of_its_frame_and_tooltips(cube: xr.Dataset, surfaces: xr.Dataset) -> None:
    plot = rendered(drawn(cube, surfaces, "rcrb_m", log_y=True).panels[0].plot)
    assert {type(tool).__name__ for tool in plot.tools} == {"PanTool", "BoxZoomTool", "SaveTool", "ResetTool", "HoverTool"}
    assert (plot.sizing_mode, plot.height, plot.toolbar.logo, plot.toolbar.autohide) == ("stretch_width", 360, None, True)
    assert plot.xaxis[0].axis_label_text_font_style == "normal"


@pytest.mark.parametrize("log", [False, True])
def test_a_map_of_equal_values_has_no_lines_of_equal_value(log: bool) -> None:
    cube = lattice(12, 9)
    cube["rcrb_m"] = cube["rcrb_m"].where(cube["rcrb_m"].isnull(), 0.3)
    found = drawn(cube, surfaces_of(cube), "rcrb_m", log_y=log)
    filled = glyphs(rendered(found.panels[0].plot), Quad)[-1]["value"]
    assert np.unique(filled[np.isfinite(filled)]).tolist() == [np.float32(0.3)]
    assert not glyphs(rendered(found.panels[0].plot), MultiLine)


def test_reading_claims_and_surfaces_does_without_the_library_that_draws() -> None:
    code = "import sys, flows.derive; sys.exit('holoviews' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_edge_of_a_map_lies_where_the_first_realisation_becomes_infeasible(cube: xr.Dataset, surfaces: xr.Dataset) -> None:
    plot = rendered(drawn(cube, surfaces, "rcrb_m", log_y=True).panels[0].plot)
    (edge,) = glyphs(plot, Segment)
    sinr, whole = cube["sinr_db"].values, (cube["status"].isel(design=0) == STATUS_CODES["ok"]).all("realisation").values
    step = sinr[1] - sinr[0]
    upright = np.isclose(edge["x0"], edge["x1"])
    assert upright.sum() == len(cube["bandwidth_hz"])
    expected = sinr[whole.sum(axis=0) - 1] + step / 2
    assert sorted(edge["x0"][upright]) == pytest.approx(sorted(expected))


def test_the_best_design_of_a_map_is_that_of_the_paired_means(cube: xr.Dataset, surfaces: xr.Dataset) -> None:
    found = drawn(cube, surfaces, "rcrb_m", log_y=True)
    (table,) = glyphs(rendered(found.panels[-1].plot), Quad)
    means = statistic(surfaces, "rcrb_m", "mean_paired").transpose("sinr_db", "bandwidth_hz", "design")
    known = np.isfinite(means.values).any(axis=-1)
    best = np.where(np.isfinite(means.values), means.values, np.inf).argmin(axis=-1)[known]
    names = {"orthogonal": "Orthogonal", "beamforming": "Beamforming", "unconstrained-tight": "Unconstrained"}
    assert [word.split()[0] for word in np.array(table["best"])[known.ravel()]] == [names[fake_cube.DESIGNS[i]] for i in best]
    assert table["value"][known.ravel()].tolist() == best.tolist()
    assert np.isnan(table["value"][~known.ravel()]).all()
    assert len(set(best.tolist())) > 1
    assert [len(group.entries) for group in found.panels[-1].legend] == [len(set(best.tolist()))]


def test_a_winner_that_is_not_told_apart_is_pale(cube: xr.Dataset, surfaces: xr.Dataset) -> None:
    answers = analyses_of(cube, "rcrb_m", SurfaceSpec(over="realisation", paired="design"))
    spec = completed_spec(cube, surfaces, {"y": "rcrb_m", "log_y": True})
    found = section(surfaces, spec, "rcrb_m", ROOM, answers)
    (table,) = glyphs(rendered(found.panels[-1].plot), Quad)
    over = ("sinr_db", "bandwidth_hz")
    winner, status = (answers[f"best_{name}"].transpose(*over).values.ravel() for name in ("winner", "status"))
    number = [fake_cube.DESIGNS.index(name) if name else np.nan for name in winner]
    sure = np.isin(status, ("best", "equal", "only_one"))
    np.testing.assert_array_equal(table["value"], np.where(sure, number, np.add(number, 3)).astype(np.float32))
    assert 0 < sure.sum() < len(sure)
    told = [word.endswith(", not told from another") for word in table["best"]]
    assert told == [bool(name) and not s for name, s in zip(winner, sure, strict=True)]
    assert "it is pale where" in " ".join(found.notes)


def test_a_map_of_many_values_shows_some_of_them_and_says_so() -> None:
    cube = fake_cube.grid_cube({"x": 300, "z": 250})
    found = drawn(cube, compute_surfaces(cube, over=None, edge=None, paired=None), "v0")
    assert "124 of 300 values of X and 104 of 250 values of Z are shown" in " ".join(found.notes)
    assert [len(t["left"]) for t in glyphs(rendered(found.panels[0].plot), Quad)][-1] == 124 * 104


def test_a_variable_with_two_dimensions_of_its_own_is_a_map_over_them() -> None:
    cube = fake_cube.quick_cube()
    pattern = np.add.outer(np.arange(5.0), np.arange(7.0)) + np.zeros((*cube["status"].shape, 1, 1))
    pattern = np.where(np.isin(cube["status"].values, (2, 3))[..., None, None], pattern, np.nan)
    cube["pattern"] = ((*cube["status"].dims, "lag", "shift"), pattern, {"units": "1", "long_name": "ambiguity", "volatile": 0})
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired="design", profiles=["pattern"])
    found = drawn(cube, surfaces, "pattern", x="sinr_db")
    assert map_axes(measured(surfaces, "pattern"), {"x": "sinr_db"}) == ("lag", "shift")
    (table,) = glyphs(rendered(found.panels[0].plot), Quad)
    assert sorted(table["value"]) == sorted(np.add.outer(np.arange(5.0), np.arange(7.0)).ravel())
    assert len(found.panels) <= ROOM.panels
    assert "plots are shown" in found.notes[0]
    assert "pattern" in build_report(cube, surfaces, [], report_spec=fake_cube.REPORT | {"also": ["pattern"]})
    assert map_axes(measured(surfaces.isel(lag=[0]), "pattern"), {"x": "sinr_db"}) != ("lag", "shift"), "one lag is no axis"


def test_no_line_joins_values_without_an_order() -> None:
    cube = fake_cube.quick_cube()
    surfaces = surfaces_of(cube)
    found = drawn(cube, surfaces, "rcrb_m", x="design", colour="user_count", log_y=True, panels=["sinr_db"])
    assert row_of(measured(surfaces, "rcrb_m"), {"x": "design"}) == "design"
    assert all({type(r.glyph) for r in rendered(panel.plot).renderers} == {Segment, Scatter} for panel in found.panels)
    assert found.panels[0].heading == "SINR 0 dB"
    plot = rendered(found.panels[0].plot)
    (table,), (bands,) = glyphs(plot, Scatter), glyphs(plot, Segment)
    means = statistic(surfaces, "rcrb_m", "mean_feasible").sel(sinr_db=0.0).values
    assert sorted(table["x"]) == pytest.approx(sorted(means[np.isfinite(means)]))
    assert bands["y"].tolist() == bands["level"].tolist() == table["y"].tolist()
    assert (bands["low"] <= table["x"]).all()
    assert (table["x"] <= bands["high"]).all()
    (group,) = found.legend
    assert [entry.words for entry in group.entries] == ["1 user", "2 users"]


def test_many_designs_over_few_numbers_get_rows() -> None:
    cube = fake_cube.grid_cube({"nodes": 3, "text": 19, "realisation": 2})
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired=None)
    spec = {"x": "nodes", "colour": "text"}
    assert row_of(measured(surfaces, "v0"), spec) == "text"
    assert row_of(measured(surfaces.isel(text=slice(5)), "v0"), spec) is None
    (panel,) = drawn(cube, surfaces, "v0", **spec).panels
    plot = rendered(panel.plot)
    assert len(plot.yaxis[0].ticker.ticks) == 19
    assert plot.y_range.start > plot.y_range.end, "the first one at the top"


def test_a_front_greys_what_is_dominated(cube: xr.Dataset, surfaces: xr.Dataset) -> None:
    found = front_section(surfaces, completed_spec(cube, surfaces, {"y": "rcrb_m"}))
    assert found is not None
    plot = rendered(found.panels[0].plot)
    grey, front = glyphs(plot, Scatter)
    assert set(grey["color"]) == {"#C3C9D1"}
    assert set(front["color"]) & {"#C3C9D1"} == set()
    x, y = (statistic(surfaces, n, "mean_feasible").values.ravel() for n in ("se_bps_hz", "rcrb_m"))
    known = np.isfinite(x) & np.isfinite(y)
    free = is_nondominated(np.stack([-x[known], y[known]], axis=1))
    assert sorted(front["y"]) == pytest.approx(sorted(y[known][free]))
    (steps,) = glyphs(plot, Line)
    assert set(front["y"]) <= set(steps["y"])
    assert all(np.diff(steps["x"])[i] == 0 or np.diff(steps["y"])[i] == 0 for i in range(len(steps["x"]) - 1)), "steps"
    only = surfaces.drop_vars("se_bps_hz")
    assert front_section(only, completed_spec(cube, only, {"y": "rcrb_m"})) is None
    spec = {"y": "rcrb_m", "front": ["rcrb_m", "se_bps_hz"]}
    other = front_section(surfaces, completed_spec(cube, surfaces, spec))
    assert other is not None
    assert other.title == "Rate against root CRB"


def test_a_curve_may_run_over_a_variable() -> None:
    cube = fake_cube.quick_cube()
    surfaces = surfaces_of(cube)
    found = drawn(cube, surfaces, "rcrb_m", x="extracted_min_sinr_db", colour="design", style="user_count")
    plot = rendered(found.panels[0].plot)
    table = glyphs(plot, Scatter)[0]
    x, y = (statistic(surfaces, n, "mean_feasible").values for n in ("extracted_min_sinr_db", "rcrb_m"))
    known = np.isfinite(x) & np.isfinite(y)
    assert sorted(zip(table["x"], table["y"], strict=True)) == sorted(zip(x[known], y[known], strict=True))
    assert plot.xaxis[0].axis_label == "Least SINR of the extracted beams [dB]"
    spec = fake_cube.REPORT | {"x": "extracted_min_sinr_db"}
    assert "Every cell" in build_report(cube, surfaces, [], report_spec=spec)


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        ([1, 2, 4, 8], "1", True), ([5e6, 1e7, 2e7, 4e7], "Hz", True), ([1, 2, 5, 10, 20, 50], "1", True),
        ([1, 2, 3, 4], "1", False), ([5, 10, 20, 40], "dB", False), ([30, 40, 50], "1", False), ([0, 1, 10, 100], "1", False),
        ([1, 4], "1", False), ([4, 2, 1], "1", False),
    ],
)  # fmt: skip
def test_an_axis_in_equal_ratios_is_drawn_logarithmic(values: list[float], unit: str, expected: bool) -> None:
    assert geometric(np.array(values), unit) is expected


def test_one_prefix_serves_an_axis_and_each_tick_has_its_own_beyond_that() -> None:
    near, wide = (number_axis("Error", "m", v, log=True) for v in ([2e-3, 5e-3], [1e-3, 1e2]))
    assert (near.title, near.factor, near.unit) == ("Error [mm]", 1e-3, None)
    assert (wide.title, wide.factor, wide.unit) == ("Error", 1.0, "m")
    assert [near.text(v) for v in (2e-3, 2.5e-3)] == ["2", "2.5"]
    assert [wide.text(v) for v in (1e-3, 0.1, 10.0)] == ["1 mm", "0.1 m", "10 m"]


@given(st.floats(1e-14, 9e12), st.sampled_from(["m", "Hz", "s", "W"]))
def test_a_prefix_never_changes_a_value(value: float, unit: str) -> None:
    powers = {"f": -15, "p": -12, "n": -9, "µ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}
    shown, symbol = prefixed(value, unit).split()
    assert float(shown) * 10.0 ** powers[symbol.removesuffix(unit)] == pytest.approx(value, rel=6e-4)
    assert "e" not in shown
    scale = scaled([value], unit)
    assert float(scale.text(value)) * scale.factor == pytest.approx(value, rel=6e-4)


@pytest.mark.parametrize("log", [False, True])
def test_levels_are_few_and_between_the_ends(log: bool) -> None:
    for low, high in ((1e-3, 2e-3), (0.7, 1e4), (3.0, 3.001)):
        found = levels(low, high, log=log)
        assert 1 <= len(found) <= 8
        assert all(low < level < high for level in found)


def test_the_best_is_marked_with_what_its_band_does_not_tell_from_it() -> None:
    means, half = np.array([1.0, 1.1, 2.0, np.nan]), np.array([0.2, 0.2, 0.1, np.nan])
    assert best_of("rcrb_m", means, means - half, means + half).tolist() == [True, True, False, False]
    assert best_of("se_bps_hz", means, means - half, means + half).tolist() == [False, False, True, False]
    assert not best_of("unheard_of", means, means, means).any(), "nobody said which is better"
    assert not best_of("rcrb_m", np.ones(3), np.ones(3), np.ones(3)).any(), "all are equal"
    assert [best_is(n) for n in ("kld", "mean_kld_error", "peak_delay_sidelobe_db")] == ["largest", "smallest", "smallest"]


def test_only_what_agrees_within_narrow_bands_is_left_out() -> None:
    pinned = np.array([2.768, 2.7681, 2.7679])
    assert same(pinned, pinned - 0.01, pinned + 0.01)
    assert same(np.ones(3), np.full(3, np.nan), np.full(3, np.nan))
    assert not same(pinned, pinned - 1e-5, pinned + 1e-5), "the bands tell them apart"
    noisy = np.array([1.0, 1.3, 0.8])
    assert not same(noisy, noisy - 1.0, noisy + 1.0), "noise is no agreement"


def test_the_best_of_each_row_and_column_is_bold() -> None:
    cube = fake_cube.quick_cube()
    surfaces = surfaces_of(cube)
    page = build_report(cube, surfaces, [], report_spec=fake_cube.REPORT | {"x": "design", "table": ["rcrb_m", "objective"]})
    text = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    table = text[text.index("<h2>Designs compared") :]
    table = table[: table.index("</table>")]
    for row in re.findall(r"<tr>(.*?)</tr>", table)[1:]:
        bold = [float(v) for v in re.findall(r'<td class="best">([\d.]+)</td>', row)]
        plain = [float(v) for v in re.findall(r"<td>(\d\.\d+)</td>", row)]
        assert len(bold) == 1
        assert all(bold[0] <= value for value in plain)
    assert "Root CRB of the design's objective [mm]\u00a0↓" in html.unescape(text)

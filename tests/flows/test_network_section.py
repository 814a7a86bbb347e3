"""The network of one cell in a report: ellipses and patterns as drawn, to scale, with words for what is not there."""

from __future__ import annotations

import html
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chromium
import fake_cube
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from disac.arrays import steering_vector
from disac.experiments.ofdm_tradeoff import Options
from disac.metrics.location_error import error_ellipses
from disac.scenarios.noncoherent import Layout, Scenario
from disac.scenes.base import beams_of
from disac.scenes.noncoherent import tradeoff
from flows.report.drawing import rendered
from flows.report.geometry import HELD, KEY, SCALE, network_section, outline
from flows.report.page import build_report
from flows.report.polar import FLOOR_DB, Pattern, polar_plot, radius, rim_db
from flows.report.words import COLOURS
from flows.run import Run
from pipeline.scene_cells import DrawnCell, DrawnPlace, DrawnScene
from pipeline.surfaces import compute_surfaces
from pipeline.sweep import Sweep

DESIGNS = list(fake_cube.DESIGNS)
SCENARIO = Scenario(layout=Layout(target_count=2))
STREAMS = np.broadcast_to(np.eye(12, dtype=complex) / 16, (1, 16, 12, 12))
SPEC = fake_cube.REPORT

STUDY = """
study: small-network
experiment: ofdm-tradeoff
scenario: {waveform: {subcarriers: 4}, arrays: {transmit_antennas: 3, receive_antennas: 3}}
grids:
  - axes:
      sinr_db: {path: service.sinr_db, values: [0, 5, 60]}
      design: {path: options.design, values: [phase-agnostic, orthogonal]}
report: {x: sinr_db, y: rcrb_m, colour: design}
"""


def place_of(count: int, planned: int = 3) -> DrawnPlace:
    cells = [
        DrawnCell(labels={"design": name}, number=n, status="ok", scenario={}, options={}, key="", segment=None, row=0)
        for n, name in enumerate(DESIGNS[:count])
    ]
    at = {"sinr_db": 30.0, "user_count": 1, "realisation": 0}
    return DrawnPlace(
        experiment="ofdm-tradeoff", at=at, named=False, designs={"design": DESIGNS}, cells=cells, feasible=count,
        planned=planned,
    )  # fmt: skip


def drawn(*powers: float) -> tuple[DrawnPlace, list[DrawnScene]]:
    """Scenes of designs with isotropic power; a design of power zero has no signal."""
    place = place_of(len(powers))
    scenes = []
    for cell, power in zip(place.cells, powers, strict=True):
        stored = {"stream_covariance": power * STREAMS} if power else None
        scene = tradeoff.scene(SCENARIO, Options(design="isotropic"), stored)
        scenes.append(DrawnScene(cell, scene, "" if power else "The cell is infeasible: no signal is sent."))
    return place, scenes


@dataclass(frozen=True)
class Faded:
    """A line that the legend fades."""

    number: int
    words: str
    places: np.ndarray[Any, Any]


def lines(plot: Any) -> list[Faded]:
    """The lines of a panel that the legend fades."""
    (table,) = [r.data_source.data for r in rendered(plot).renderers if r.data_source.tags == [KEY]]
    assert set(table["alpha"]) == {1.0}
    columns = (table[name] for name in ("number", "words", "xs", "ys"))
    return [Faded(number, words, np.array([x, y])) for number, words, x, y in zip(*columns, strict=True)]


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return fake_cube.quick_cube()


def test_an_outline_holds_its_share_of_the_errors() -> None:
    covariance = np.array([[0.04, 0.01], [0.01, 0.02]])
    (ellipse,) = error_ellipses(covariance, np.zeros((1, 2)))
    places = np.stack(outline(ellipse))
    squares = np.einsum("ia,ij,ja->a", places, np.linalg.inv(covariance), places)
    np.testing.assert_allclose(squares, SCALE**2)
    count = 40_000
    errors = np.random.default_rng(2).multivariate_normal(np.zeros(2), covariance, count)
    inside = (np.einsum("ai,ij,aj->a", errors, np.linalg.inv(covariance), errors) <= SCALE**2).mean()
    assert abs(inside - HELD) < 5 * np.sqrt(HELD * (1 - HELD) / count)


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.integers(1, 4))
def test_a_radius_is_linear_in_decibels_above_the_floor(first: float, second: float, tens: int) -> None:
    a, b = radius(np.array([first, second]), 10 * tens)
    assert (a <= b) or first > second
    level = 10 * np.log10(first)
    assert a == pytest.approx(max(0.0, (level - FLOOR_DB) / (10 * tens - FLOOR_DB)), abs=1e-12)


def test_a_matched_beam_points_at_its_angle() -> None:
    at = 0.4
    beam = steering_vector(at, 8).conj()
    beams = beams_of(np.outer(beam, beam.conj())[np.newaxis], (0,))
    plot = polar_plot([Pattern(beams[0], 0, "Matched", "#000000")], [], rim_db(beams), 1, KEY)
    (line,) = lines(plot)
    x, y = line.places
    far = int(np.argmax(np.hypot(x, y)))
    # The boresight points upwards, and angles count anticlockwise.
    assert np.arctan2(-x[far], y[far]) == pytest.approx(at, abs=0.01)
    assert np.hypot(x, y)[far] == pytest.approx((10 * np.log10(8) - FLOOR_DB) / (10 - FLOOR_DB), abs=1e-3)
    assert line.words == "Matched: up to 9.0 dB at 23.0°, 100 % of the power"


def test_the_section_has_a_map_ellipses_and_a_pattern_for_each_node(cube: xr.Dataset) -> None:
    section = network_section(cube, SPEC, *drawn(1.0, 0.25, 0.0))
    headings = [panel.heading for panel in section.panels]
    assert headings == [
        "Map", "Error ellipses about target 0", "Error ellipses about target 1", "Beam pattern of node 0",
        "Beam pattern of node 1",
    ]  # fmt: skip
    assert section.title == "SINR target 30 dB, 1 user, channel realisation 0"
    entries = section.legend[0].entries
    assert [entry.colour for entry in entries] == list(COLOURS[:2])  # the colours of the page's other plots
    first, second = (float(re.search(r", ([\d.]+) mm", entry.words)[1]) for entry in entries)
    assert second == pytest.approx(2 * first, rel=5e-3)  # a quarter of the power: twice the root of the bound
    text = " ".join(section.notes)
    assert "most designs are feasible (3 of 3), this one" in text
    assert "Unconstrained (P.1T): a bound, needs node phases: the cell is infeasible: no signal is sent." in text
    for panel in section.panels[1:]:
        assert [line.number for line in lines(panel.plot)] == [0, 1]


def test_even_power_is_the_circle_of_0_db(cube: xr.Dataset) -> None:
    section = network_section(cube, SPEC, *drawn(1.0))
    (line,) = lines(section.panels[-1].plot)
    distance = np.hypot(*line.places)
    np.testing.assert_allclose(distance, -FLOOR_DB / (10 - FLOOR_DB), rtol=1e-6)
    assert section.legend == []


def test_without_a_signal_the_network_is_drawn_with_the_reason(cube: xr.Dataset) -> None:
    section = network_section(cube, SPEC, *drawn(0.0))
    assert [panel.heading for panel in section.panels] == ["Map"]
    assert "The cell is infeasible: no signal is sent." in section.notes[0]
    assert "Users have no places here" in section.notes[-1]


def test_designs_that_are_left_out_are_counted(cube: xr.Dataset) -> None:
    place, scenes = drawn(1.0, 1.0)
    shown = network_section(cube, SPEC, place.model_copy(update={"planned": 30, "feasible": 20}), scenes)
    assert "2 of 30 designs are drawn, evenly spaced ones" in shown.notes[0]


def test_an_ellipse_far_longer_than_the_others_does_not_hide_them(cube: xr.Dataset) -> None:
    section = network_section(cube, SPEC, *drawn(1.0, 1.0, 1e-8))
    assert any("runs out of its plot" in note for note in section.notes)
    plot = section.panels[1].plot
    (edge,) = rendered(plot).x_range.renderers
    longest = max(float(np.max(line.places[0])) for line in lines(plot)[:2])
    assert longest < np.max(edge.data_source.data["x"]) < 10 * longest


def test_the_page_of_a_study_with_a_network_draws_it(tmp_path: Path) -> None:
    """From a study's text to the page: the ellipses in the page have the stored bound."""
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    run = Run(str(file), str(tmp_path / "store"))
    with ThreadPoolExecutor(1) as pool:
        Sweep(run.plan, run.store, pool, lambda: 1).run()
    run.publish()
    run.aggregate()
    run.report()
    page = html.unescape(run.report_file.read_text(encoding="utf-8"))
    assert "The network at one cell" in page
    assert "Promised SINR 5 dB" in page
    assert "Beam pattern of node 1" in page
    assert not run.stale()


def test_a_page_without_a_network_says_nothing_of_it(cube: xr.Dataset) -> None:
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    assert "The network at one cell" not in build_report(cube, surfaces, [], report_spec=SPEC)
    with_network = build_report(cube, surfaces, [], report_spec=SPEC, network=drawn(1.0, 0.5))
    assert "The network at one cell" in with_network
    assert len(with_network.encode()) < 3_000_000


@pytest.mark.browser
@pytest.mark.skipif(chromium.find_chromium() is None, reason="no Chromium here: install the package `chromium`")
@pytest.mark.parametrize("width", [pytest.param(1280, marks=pytest.mark.slow), 480])
def test_in_a_browser_it_is_to_scale_and_the_legend_fades_a_design(cube: xr.Dataset, tmp_path: Path, width: int) -> None:
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    file = tmp_path / "index.html"
    file.write_text(build_report(cube, surfaces, [], report_spec=SPEC, network=drawn(1.0, 0.5)), encoding="utf-8")
    with chromium.browse(tmp_path) as tab:
        tab.open(file.as_uri(), width=width)
        assert tab.errors == []
        scales = tab.evaluate(
            "Bokeh.documents.flatMap(d => d.roots()).filter(r => r.match_aspect).map(r => "
            "[r.inner_width / (r.x_range.end - r.x_range.start), r.inner_height / (r.y_range.end - r.y_range.start)])"
        )
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.evaluate(f"document.querySelector('.key[data-section={KEY}] button').click()")
        faded = tab.evaluate(
            "Bokeh.documents.flatMap(d => d.roots()).flatMap(r => r.renderers ?? []).map(r => r.data_source)"
            ".filter(s => s.tags[0] === 'network').flatMap(s => Array.from(s.data.number, (n, i) => [n, s.data.alpha[i]]))"
        )
    assert sorted(faded) == [[0, pytest.approx(0.08)]] * 4 + [[1, 1]] * 4
    assert len(scales) == 5
    for across, up in scales:
        assert across == pytest.approx(up, rel=0.01)

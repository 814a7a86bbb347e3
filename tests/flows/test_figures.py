"""Figures for paper: size, text as text, and the same file from the same cells."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from fake_cube import grid_cube, quick_cube
from matplotlib.image import imread

from flows.report.figures import write_figures
from pipeline.errors import UsageError
from pipeline.surfaces import compute_surfaces

SPEC = {"x": "sinr_db", "y": "rcrb_m", "colour": "design", "style": "user_count", "log_y": True}


@pytest.fixture(scope="module")
def published() -> tuple[xr.Dataset, xr.Dataset]:
    cube = quick_cube()
    return cube, compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")


@pytest.mark.parametrize(("width", "millimetres"), [("column", 88), ("page", 181)])
def test_a_png_has_the_width_of_a_column_or_a_page(
    published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path, width: str, millimetres: float
) -> None:
    image = imread(write_figures(*published, SPEC, tmp_path / "f.png", width=width)[0])
    assert image.shape[1] / 400 * 25.4 == pytest.approx(millimetres, rel=0.01)
    assert 0.02 < np.mean(image[..., :3].min(axis=-1) < 0.6) < 0.5, "something is drawn, and not everything"


def test_an_svg_holds_its_text_and_a_pdf_its_fonts(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    text = write_figures(*published, SPEC, tmp_path / "f.svg")[0].read_text()
    words = re.findall(r">([^<>]+)</text>", text)
    assert any("SINR" in word for word in words), words
    assert any("Orthogonal design" in word for word in words)
    pdf = write_figures(*published, SPEC, tmp_path / "f.pdf")[0].read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Type3" not in pdf


@pytest.mark.parametrize("ending", [".svg", ".pdf", ".png"])
def test_the_same_cells_give_the_same_file(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path, ending: str) -> None:
    first = write_figures(*published, SPEC, tmp_path / f"a{ending}")[0].read_bytes()
    assert write_figures(*published, SPEC, tmp_path / f"b{ending}")[0].read_bytes() == first


def test_another_ending_is_refused(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"figures are written as \.png, \.svg, \.pdf"):
        write_figures(*published, SPEC, tmp_path / "f.jpg")


def test_every_panel_is_a_file_of_its_own(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    files = write_figures(*published, SPEC | {"panels": ["user_count"]}, tmp_path / "f.svg")
    assert len(files) == published[1].sizes["user_count"] > 1
    assert [file.name for file in files] == ["f-1-user.svg", "f-2-users.svg"]
    words = [set(re.findall(r">([^<>]+)</text>", file.read_text())) for file in files]
    assert all(any("design" in word for word in found) for found in words)
    assert not any(" user" in word for found in words for word in found), "a panel's own axis needs no word in its legend"


def test_panels_of_either_sign_are_two_files(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    cube, surfaces = (data.assign_coords(user_count=[-1, 1]) for data in published)
    files = write_figures(cube, surfaces, SPEC | {"panels": ["user_count"]}, tmp_path / "f.svg")
    assert len(set(files)) == 2


def test_nothing_feasible_is_told(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    cube, surfaces = published
    with pytest.raises(UsageError, match="nothing to draw"):
        write_figures(cube, surfaces.assign(rcrb_m=np.nan * surfaces["rcrb_m"]), SPEC, tmp_path / "f.svg")


def test_a_figure_that_leaves_curves_out_says_so(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    cube = grid_cube({"x": 4, "nodes": 10, "draw": 20})
    surfaces = compute_surfaces(cube, over=None, edge=None, paired=None)
    said: list[str] = []
    write_figures(cube, surfaces, {"x": "x", "y": "v0"}, tmp_path / "many.svg", say=said.append)
    assert len(said) == 1
    assert said[0].startswith("many.svg: 24 of 200 curves are shown")
    write_figures(*published, SPEC, tmp_path / "few.svg", say=said.append)
    assert len(said) == 1


def test_two_long_axes_give_a_map_for_each_place_and_labels_that_do_not_overlap(tmp_path: Path) -> None:
    cube = grid_cube({"x": 12, "z": 9, "text": 2})
    surfaces = compute_surfaces(cube, over=None, edge=None, paired=None)
    files = write_figures(cube, surfaces, {"y": "v0", "log_y": True}, tmp_path / "map.svg")
    assert [file.name for file in files] == ["map-text-number-0.svg", "map-text-number-1.svg"]
    again = write_figures(cube, surfaces, {"y": "v0", "log_y": True}, tmp_path / "again.svg")
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]
    words = re.findall(r">([^<>]+)</text>", files[0].read_text())
    assert {"X", "Z"} <= set(words)
    assert any("Quantity [m" in word for word in words)


@pytest.mark.parametrize("highest", [1.4, 4.8, 30.0, 3e4])
def test_labels_along_a_logarithmic_axis_do_not_overlap(tmp_path: Path, highest: float) -> None:
    cube = quick_cube()
    cube["rcrb_m"] = 1e-3 * (cube["rcrb_m"] / cube["rcrb_m"].min()) ** (np.log(highest) / np.log(3.0))
    cube["rcrb_m"].attrs = {"units": "m", "long_name": "error"}
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired=None)
    text = write_figures(cube, surfaces, SPEC, tmp_path / "f.svg")[0].read_text()
    places = [float(y) for y in re.findall(r'<text [^>]*text-anchor: end[^>]* y="([\d.]+)"', text)]
    assert len(places) >= 3
    assert min(np.diff(sorted(places))) > 8, "the letters are 7 points high"

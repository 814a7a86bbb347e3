"""Figures for paper: size, text as text, and the same file from the same cells."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from fake_cube import quick_cube
from matplotlib.image import imread

from flows.report.figures import write_figure
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
    image = imread(write_figure(*published, SPEC, tmp_path / "f.png", width=width))
    assert image.shape[1] / 400 * 25.4 == pytest.approx(millimetres, rel=0.01)
    assert 0.02 < np.mean(image[..., :3].min(axis=-1) < 0.6) < 0.5, "something is drawn, and not everything"


def test_an_svg_holds_its_text_and_a_pdf_its_fonts(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    text = write_figure(*published, SPEC, tmp_path / "f.svg").read_text()
    words = re.findall(r">([^<>]+)</text>", text)
    assert any("SINR" in word for word in words), words
    assert any("Orthogonal design" in word for word in words)
    pdf = write_figure(*published, SPEC, tmp_path / "f.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Type3" not in pdf


@pytest.mark.parametrize("ending", [".svg", ".pdf", ".png"])
def test_the_same_cells_give_the_same_file(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path, ending: str) -> None:
    first = write_figure(*published, SPEC, tmp_path / f"a{ending}").read_bytes()
    assert write_figure(*published, SPEC, tmp_path / f"b{ending}").read_bytes() == first


def test_another_ending_is_refused(published: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"figures are written as \.png, \.svg, \.pdf"):
        write_figure(*published, SPEC, tmp_path / "f.jpg")

"""Answers to standing questions: they are those of the analyses, published beside the surfaces, and pages show them."""

from __future__ import annotations

import json
from typing import Any

import fake_cube
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import flows.derive
from flows.analyses import analyses_of
from flows.derivation import Derivation
from flows.derive import answers_of, labelled
from flows.report.answers import answer_tables
from flows.report.side_by_side import Cell, Table
from pipeline import analysis
from pipeline.analysis.variance import GRIDS
from pipeline.cube import publish_group
from pipeline.layout import cube_folder
from pipeline.store import open_store_backend
from pipeline.study import SurfaceSpec
from pipeline.surfaces import compute_surfaces

SPEC = SurfaceSpec(over="realisation", edge="sinr_db", paired="design")


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return fake_cube.quick_cube(failed=2, missing=1).sel(design=["orthogonal", "beamforming"])


@pytest.fixture(scope="module")
def answers(cube: xr.Dataset) -> xr.Dataset:
    return analyses_of(cube, "rcrb_m", SPEC, ("rcrb_m", "extracted_min_sinr_db"))


def tables_of(cube: xr.Dataset, answers: xr.Dataset) -> dict[str, Table]:
    surfaces = compute_surfaces(cube, over=SPEC.over, edge=SPEC.edge, paired=SPEC.paired)
    return {table.title: table for table in answer_tables(answers, surfaces)}


def test_steps_shares_edge_and_front_are_those_of_the_analyses(cube: xr.Dataset, answers: xr.Dataset) -> None:
    steps = analysis.change_per_step(cube, "rcrb_m", "sinr_db")
    for name in ("change", "rate", "ratio"):
        np.testing.assert_array_equal(answers[f"sinr_db_{name}"].values, steps[name].values)
        assert answers[f"sinr_db_{name}"].attrs == steps[name].attrs
    np.testing.assert_array_equal(answers["sinr_db_from"], steps["sinr_db_from"])
    assert answers["sinr_db"].attrs == cube["sinr_db"].attrs
    shares = analysis.variance_shares(cube, "rcrb_m")
    np.testing.assert_array_equal(answers["variance_share"], shares["share"])
    assert answers["variance_status"].item() == shares["status"].item() == "refused"
    edge = analysis.feasibility_edge(cube, "sinr_db")
    np.testing.assert_array_equal(answers["edge_last_feasible_mean"], edge["last_feasible_mean"])
    front = analysis.nondominated(cube, {"rcrb_m": "min", "extracted_min_sinr_db": "max"})
    np.testing.assert_array_equal(answers["front_margin"], front["margin"])
    assert json.loads(answers.attrs["refused"]) == {}


def test_margins_of_positive_values_are_factors(cube: xr.Dataset, answers: xr.Dataset) -> None:
    """Two designs are compared by the ratio of their errors in each realisation."""
    assert answers.attrs["scale"] == "factor"
    at = {"sinr_db": 0.0, "user_count": 1}
    best = answers.sel(at)
    values = cube["rcrb_m"].sel(at)
    ratios = np.log(values.sel(design="beamforming") / values.sel(design="orthogonal")).values
    band = stats.ttest_1samp(ratios, 0.0).confidence_interval(0.95)
    assert best["best_winner"].item() == "orthogonal"
    assert best["best_status"].item() == "best"
    expected = [*np.exp([ratios.mean(), band.low, band.high]), 4.0]
    np.testing.assert_allclose(best["best_margin"].values, expected, rtol=1e-12)


def test_values_that_may_be_negative_are_compared_by_differences(cube: xr.Dataset) -> None:
    shifted = cube.assign(rcrb_m=(cube["rcrb_m"] - 1.0).assign_attrs(cube["rcrb_m"].attrs))
    found = analyses_of(shifted, "rcrb_m", SPEC)
    assert found.attrs["scale"] == "difference"
    expected = analysis.best_value(shifted, "rcrb_m", "design", "min")
    np.testing.assert_array_equal(found["best_margin"], expected["margin"])
    (table,) = (t for title, t in tables_of(shifted, found).items() if title.startswith("Best"))
    assert "%" not in str(table.rows[0][-1])


def test_what_has_no_answer_has_a_sentence(cube: xr.Dataset) -> None:
    found = analyses_of(cube.rename(user_count="term"), "rcrb_m", SPEC)
    refused = json.loads(found.attrs["refused"])
    assert "rename" in refused["variance"]
    assert "variance_share" not in found
    assert "best_winner" in found
    nothing = analyses_of(cube, "eror_m", SPEC)
    assert "did you mean" in json.loads(nothing.attrs["refused"])["variance"] or not nothing.data_vars
    assert tables_of(cube, nothing) == {}


def test_a_page_has_tables_of_winners_shares_and_steps(cube: xr.Dataset, answers: xr.Dataset) -> None:
    best, refused, *steps = tables_of(cube, answers).values()
    assert (refused.rows, refused.note) == ([], GRIDS["refused"])
    easy = cube.sel(sinr_db=slice(0, 25), user_count=[1])
    whole = analyses_of(easy, "rcrb_m", SPEC)
    assert whole["variance_status"].item() == "whole_grid"
    (shares,) = (table for table in tables_of(easy, whole).values() if "depends on" in table.title)
    assert best.title.startswith("Best design method by")
    told = [row for row in best.rows if isinstance(row[-3], Cell) and row[-3].best]
    assert told
    assert all(row[-2] == "" for row in told)
    listed = [float(str(row[1]).removesuffix(" %")) for row in shares.rows]
    assert sum(listed) == pytest.approx(100.0, abs=0.1 * len(listed))
    assert len(steps) == 2
    first = next(table for table in steps if "SINR" in table.title)
    assert str(first.rows[0][1]).startswith("×")
    assert len(first.rows) == 11


def test_cubes_that_are_too_large_are_refused_with_a_way(
    cube: xr.Dataset, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    store = open_store_backend(str(tmp_path / "results"))
    publish_group(store, cube_folder("quick"), "0" * 32, labelled(cube), cube.attrs)
    derivation = Derivation("quick", store.location(), SPEC, {"y": "rcrb_m"}, tuple(map(str, cube.coords)), "s", "a", "r")
    assert "best_winner" in answers_of(derivation)
    monkeypatch.setattr(flows.derive, "MOST_CELLS", cube["status"].size - 1)
    assert "more than 191" in json.loads(answers_of(derivation).attrs["refused"])["all"]

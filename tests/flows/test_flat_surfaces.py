"""Surfaces in the layout of earlier versions: they open, and the surfaces of today give the same values under their names."""

from __future__ import annotations

import tarfile
from pathlib import Path

import fake_cube
import numpy as np
import pytest
import xarray as xr

from flows.report.figures import write_figures
from flows.report.words import axis_title
from pipeline.flat_surfaces import flat_names
from pipeline.results import open_store
from pipeline.statistics import cell_count, edge_variable, has_statistic, statistic, summarised
from pipeline.surfaces import compute_surfaces

ARCHIVE = Path(__file__).parent.parent / "data" / "surfaces-0.1.0.tar.gz"
"""Surfaces of `quick_cube(failed=2, missing=1)` with some of its variables, written before statistics had a dimension."""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    return open_store(folder / "store")["quick/surfaces"].to_dataset().load()


@pytest.fixture(scope="module")
def new(old: xr.Dataset) -> xr.Dataset:
    cube = fake_cube.quick_cube(failed=2, missing=1)[["status", *summarised(old)]]
    return compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")


def test_c5_flat_names_give_the_values_of_before(old: xr.Dataset, new: xr.Dataset) -> None:
    flat = flat_names(new)
    assert set(old.data_vars) <= set(flat.data_vars)
    for name, before in old.data_vars.items():
        assert (flat[name].dims, flat[name].dtype) == (before.dims, before.dtype)
        np.testing.assert_array_equal(flat[name].values, before.values, err_msg=str(name))
        if not str(name).endswith("_count"):
            assert flat[name].attrs == before.attrs
    xr.testing.assert_identical(flat_names(old), old)


def test_c5_one_statistic_reads_the_same_from_both_layouts(old: xr.Dataset, new: xr.Dataset) -> None:
    assert summarised(new) == summarised(old)
    variables = [*summarised(old), "feasible", edge_variable("sinr_db")]
    names = ["mean_feasible", "ci_low", "ci_high", "q05", "q50", "q95", "mean_paired", "min", "max", "share", "count"]
    pairs = [(v, n) for v in variables for n in names if has_statistic(old, v, n)]
    assert len(pairs) == 7 * len(summarised(old)) + 1 + 4
    for variable, name in pairs:
        before, now = (statistic(layout, variable, name) for layout in (old, new))
        np.testing.assert_array_equal(now.values, before.values, err_msg=f"{variable} {name}")
        assert now.dims == before.dims
        assert (variable, name) == ("feasible", "share") or axis_title(new, variable) == axis_title(old, variable)
    for state in ("planned", "feasible", "inaccurate", "infeasible", "failed", "missing", "paired"):
        np.testing.assert_array_equal(cell_count(new, state).values, cell_count(old, state).values)


def test_c5_a_figure_of_old_surfaces_is_that_of_new_ones(old: xr.Dataset, new: xr.Dataset, tmp_path: Path) -> None:
    cube = fake_cube.quick_cube(failed=2, missing=1)
    figures = [
        write_figures(cube, layout, fake_cube.REPORT, tmp_path / f"{n}.svg")[0].read_bytes()
        for n, layout in enumerate((old, new))
    ]
    assert figures[0] == figures[1]

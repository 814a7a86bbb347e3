"""Text axes of published cubes work in every xarray operation, opened by this project or by xarray alone (rule C7)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pipeline
from pipeline.cube import publish_cube, publish_group
from pipeline.plan import make_plan, refreshed
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep
from pipeline.zarrio import Labelled

METHOD = ("size.count: [1, 2]", "size.count: [1, 2]\n      design: {path: options.method, values: [plain, fancy]}")
READERS: dict[str, Callable[[Path, str], xr.Dataset]] = {
    "ours": lambda root, study: pipeline.open_store(root)[f"{study}/cube"].to_dataset(),
    "plain": lambda root, study: xr.open_zarr((root / "cubes" / study / "latest").resolve()),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the cube of a study that has a text axis and text variables, some of them empty."""
    from toy_study import TOY_STUDY

    root = tmp_path_factory.mktemp("texts")
    plan, store = make_plan(load_study(TOY_STUDY.replace(*METHOD)), LocalStore(root)), LocalStore(root)
    with ThreadPoolExecutor(1) as pool:
        Sweep(plan, store, pool, lambda: 1).run()
    publish_cube(refreshed(plan, store), store)
    return root


@pytest.mark.parametrize("reader", READERS)
def test_c7_text_axes_work_in_every_operation(root: Path, tmp_path: Path, reader: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cube = READERS[reader](root, "toy-study")
        mean = cube["error_m"].sel(level=0.0).mean("realisation")
        # The fancy method has half of the error of the plain one.
        assert mean.idxmin("design").values.tolist() == ["fancy"] * 2
        assert mean.idxmax("design").values.tolist() == ["plain"] * 2
        assert mean.groupby("design").mean().sel(design="fancy").shape == (2,)
        assert mean.sel(design=["fancy"]).sizes == {"count": 2, "design": 1}
        assert cube[["error_m", "message"]].to_dataframe().xs("fancy", level="design").shape[0] == cube["status"].size // 2
        assert cube.where(cube["design"] == "fancy", drop=True)["design"].values.tolist() == ["fancy"]
        assert mean.reindex(design=["fancy", "other"]).isnull().sel(design="other").all()
        assert cube["note"].reindex(design=["fancy", "other"]).isnull().sel(design="other").all()
        stacked = mean.stack(both=("count", "design")).unstack()
        assert stacked.sizes == mean.sizes
        assert cube.sortby("design")["design"].values.tolist() == ["fancy", "plain"]
        assert set(np.unique(cube["message"].values)) == {"", "The level is out of reach."}
        assert (cube["message"] == "").sum() == (cube["status"] == 2).sum()
        assert "missing_value" not in cube["design"].attrs
        cube[["error_m", "message"]].load().to_netcdf(tmp_path / "again.nc", engine="scipy")
        with xr.open_dataset(tmp_path / "again.nc", engine="scipy") as again:
            assert again["design"].values.tolist() == ["plain", "fancy"]
            assert (again["message"] == "").sum() == (cube["message"] == "").sum()


@pytest.mark.parametrize("reader", READERS)
def test_c7_no_text_is_taken_for_a_missing_one(tmp_path: Path, reader: str) -> None:
    texts = ["", "(missing)", "((missing))", "\0", "ä\U0001f600", "nan"]
    for number in range(1, len(texts) + 1):
        here = np.array(texts[:number], dtype=np.dtypes.StringDType())
        arrays = {"x": Labelled(("x",), here), "v": Labelled(("x",), here), "empty": Labelled(("none",), here[:0])}
        publish_group(LocalStore(tmp_path), "cubes/s/", f"key{number}", arrays, {})
        opened = READERS[reader](tmp_path, "s")
        assert opened["x"].values.tolist() == opened["v"].values.tolist() == texts[:number]
        assert opened["empty"].shape == (0,)

"""Columns that follow from what cells store, and that no cell stores (rule C8)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import toy
import xarray as xr

from pipeline.cube import publish_cube
from pipeline.errors import UsageError
from pipeline.plan import Plan, make_plan
from pipeline.statistics import statistic
from pipeline.store import LocalStore, Store
from pipeline.study import load_study
from pipeline.surfaces import compute_surfaces
from pipeline.sweep import Sweep

Write = Callable[..., Path]

MODULE = """
from dataclasses import dataclass
from typing import Any
import numpy as np
from toy import ToyVariable

@dataclass(frozen=True)
class Scaled:
    variables: tuple[Any, ...] = (ToyVariable("scaled_m", unit="m"), ToyVariable("whole", "int64"))
    needs: tuple[str, ...] = ("error_m", "profile")

    def compute(self, options, stored):
        factor = {"plain": 2.0, "fancy": 3.0}[options.method]
        error = stored["error_m"]
        return {"scaled_m": factor * error + stored["profile"].sum(axis=1), "whole": np.arange(len(error))}

columns = Scaled()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install columns for the toy experiment, or other ones in their place."""

    def installed(*changes: tuple[str, str], name: str = "toy.scaled") -> None:
        text = MODULE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        number = len(list(tmp_path.glob("plugin-*")))
        # A name of its own in each test, since Python keeps modules by name.
        folder, module = tmp_path / f"plugin-{number}", f"{tmp_path.name}_{number}"
        (folder / "scaled_columns-1.dist-info").mkdir(parents=True)
        (folder / "scaled_columns-1.dist-info" / "METADATA").write_text("Name: scaled-columns\nVersion: 1\n")
        (folder / "scaled_columns-1.dist-info" / "entry_points.txt").write_text(f"[disac.columns]\n{name} = {module}:columns\n")
        (folder / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(str(folder))  # the first distribution of a name hides the others

    return installed


METHODS = ("size.count: [1, 2]", "size.count: [1, 2]\n      options.method: [plain, fancy]")


def swept(file: Path, store: Store) -> tuple[Plan, int]:
    toy.COUNTED.clear()
    with ThreadPoolExecutor(2) as pool:
        Sweep(make_plan(load_study(file), store), store, pool, lambda: 2).run()
    return make_plan(load_study(file), store), len(set(toy.COUNTED))


def opened(plan: Plan, store: LocalStore) -> xr.Dataset:
    return xr.open_zarr(Path(store.location()) / publish_cube(plan, store)).load()


def test_c8_columns_follow_from_stored_values_and_options(
    study_file: Write, tmp_path: Path, install: Callable[..., None]
) -> None:
    store, file = LocalStore(tmp_path / "store"), study_file(METHODS)
    before, ran = swept(file, store)
    assert ran == 5 * 2 * 3
    assert "scaled_m" not in opened(before, store)
    install()
    plan = make_plan(load_study(file), store)
    assert len(plan.todo) == 0, "a new column runs nothing"
    cube = opened(plan, store)
    factor = xr.where(cube["method"] == "fancy", 3.0, 2.0)
    expected = factor * cube["error_m"] + cube["profile"].sum("tap", skipna=False)
    xr.testing.assert_allclose(cube["scaled_m"], expected.transpose(*cube["scaled_m"].dims))
    assert cube["scaled_m"].attrs["units"] == "m"
    assert np.isnan(cube["scaled_m"].values[cube["error_m"].isnull().values]).all()
    assert cube["whole"].dtype == np.int64
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired=None)
    xr.testing.assert_allclose(
        statistic(surfaces, "scaled_m", "mean_feasible").drop_attrs(), cube["scaled_m"].mean("realisation").drop_attrs()
    )


def test_c8_an_edited_column_makes_another_cube_and_runs_nothing(
    study_file: Write, tmp_path: Path, install: Callable[..., None]
) -> None:
    store, file = LocalStore(tmp_path / "store"), study_file()
    plan, _ = swept(file, store)
    keys = {plan.cube_key}
    for changes in ((), (("2.0", "5.0"),)):
        install(*changes)
        plan = make_plan(load_study(file), store)
        assert len(plan.todo) == 0
        assert plan.cube_key not in keys
        keys.add(plan.cube_key)
    cube = opened(plan, store)
    xr.testing.assert_allclose(cube["scaled_m"], 5.0 * cube["error_m"] + cube["profile"].sum("tap", skipna=False))


def test_c8_a_cube_has_the_columns_for_which_it_keeps_all(
    study_file: Write, tmp_path: Path, install: Callable[..., None]
) -> None:
    store, file = LocalStore(tmp_path / "store"), study_file(("grids:", "keep: [error_m, steps]\ngrids:"))
    plain, _ = swept(file, store)
    install()
    plan = make_plan(load_study(file), store)
    assert plan.cube_key == plain.cube_key
    assert "scaled_m" not in opened(plan, store)


def test_c8_cells_that_are_not_there_have_no_columns(study_file: Write, tmp_path: Path, install: Callable[..., None]) -> None:
    install()
    store = LocalStore(tmp_path / "store")
    cube = opened(make_plan(load_study(study_file()), store), store)
    assert cube["scaled_m"].isnull().all()
    assert (cube["whole"] == -1).all()


@pytest.mark.parametrize(("changes", "sentence"), [
    ((('"scaled_m", unit="m"', '"steps"'),), "columns 'toy.scaled' declare 'steps', which the experiment 'toy' declares, too"),
    ((('"whole", "int64"', '"scaled_m"'),), "columns 'toy.scaled' declare 'scaled_m', which 'toy.scaled' declares, too"),
    ((('"whole": np', '"other": np'),), "declare ['scaled_m', 'whole'] and give ['other', 'scaled_m']"),
    ((('np.arange(len(error))', "np.zeros(2)"),), "'whole' has shape (2,) for 30 cells"),
])  # fmt: skip
def test_c8_columns_that_break_their_promise_are_refused(
    study_file: Write, tmp_path: Path, install: Callable[..., None], changes: tuple[tuple[str, str], ...], sentence: str
) -> None:
    store, file = LocalStore(tmp_path / "store"), study_file()
    swept(file, store)
    install(*changes)
    with pytest.raises(UsageError) as told:
        publish_cube(make_plan(load_study(file), store), store)
    assert sentence in str(told.value)


def test_c8_studies_name_columns_where_cubes_are_shown(study_file: Write, install: Callable[..., None]) -> None:
    install()
    load_study(study_file(("y: error_m", "y: scaled_m, also: [scaled_m], table: [whole]")))
    with pytest.raises(UsageError, match="no variable 'scaled_m'; there are error_m"):
        load_study(study_file(("grids:", "keep: [scaled_m]\ngrids:")))


def test_c8_columns_of_other_experiments_are_not_loaded(study_file: Write, install: Callable[..., None]) -> None:
    install(("columns = Scaled()", "raise RuntimeError"), name="toy-two.scaled")
    load_study(study_file())

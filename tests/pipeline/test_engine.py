"""From study to cube with threads in place of a cluster: what runs, what is reused, and why (rules I1-I7, W1-W3, C1-C4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import xarray as xr

from pipeline import plan as plan_module
from pipeline import sweep as sweep_module
from pipeline.cube import nondeterminism, publish_cube
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES
from pipeline.inputs import put_inputs
from pipeline.plan import Plan, make_plan, write_record
from pipeline.results import open_store
from pipeline.store import LocalStore, Store
from pipeline.study import load_study
from pipeline.sweep import Sweep
from pipeline.testing import check_line_independence

Write = Callable[..., Path]


@pytest.fixture(params=["local"])
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "results")


def sweep(file: Path, store: Store, *overrides: str) -> tuple[Plan, int]:
    """Run what is missing; returns the plan afterwards and the number of cells executed."""
    plan = make_plan(load_study(file, overrides=overrides), store)
    write_record(plan, store)
    toy.COUNTED.clear()
    with ThreadPoolExecutor(2) as pool:
        Sweep(plan, store, pool, lambda: 2).run()
    return make_plan(load_study(file, overrides=overrides), store), len(set(toy.COUNTED))


def opened(plan: Plan, store: Store) -> xr.Dataset:
    path = store.path(publish_cube(plan, store))
    assert path is not None
    return xr.open_zarr(path).load()


def test_c4_a_new_name_of_an_axis_or_variable_publishes_the_cube_again(study_file: Write, store: Store) -> None:
    plan, _ = sweep(study_file(), store)
    assert opened(plan, store)["error_m"].attrs["long_name"] == "error"
    error, *others = plan.study.experiment.variables
    level, *rest = plan.cells.axes

    def of_variables(**changes: Any) -> Plan:
        experiment = replace(plan.study.experiment, variables=(replace(error, **changes), *others))  # type: ignore[type-var]
        study = replace(plan.study, experiment=experiment)
        return replace(plan, study=study, cells=replace(plan.cells, study=study))

    named = of_variables(long_name="root of the mean square")
    axes = [replace(plan.cells, axes=(replace(level, **changes), *rest)) for changes in ({"long_name": "x"}, {"unit": "x"})]
    changed = [named, of_variables(unit="km"), of_variables(volatile=True), *(replace(plan, cells=cells) for cells in axes)]
    assert len({plan.cube_key, *(one.cube_key for one in changed)}) == 1 + len(changed)
    assert replace(plan).cube_key == plan.cube_key
    assert opened(named, store)["error_m"].attrs["long_name"] == "root of the mean square"


def test_a_study_becomes_a_labelled_cube(study_file: Write, store: Store) -> None:
    plan, executed = sweep(study_file(), store)
    assert executed == 5 * 2 * 3
    assert len(plan.todo) == 0
    cube = opened(plan, store)
    assert dict(cube.sizes) == {"level": 5, "count": 2, "realisation": 3, "tap": 2}
    assert cube["error_m"].attrs["units"] == "m"
    assert cube["status"].dtype == np.uint8
    assert (cube["status"].sel(level=[30, 40]) == STATUS_CODES["infeasible"]).all()
    assert (cube["status"].sel(level=[0, 10, 20]) == STATUS_CODES["ok"]).all()
    assert cube["message"].sel(level=40, count=1, realisation=0).item() == "The level is out of reach."
    assert cube["n_tap"].sel(level=0, count=1, realisation=0).item() == 1
    assert "samples" not in cube


def test_c3_missing_values_keep_their_dtypes(study_file: Write, store: Store) -> None:
    plan, _ = sweep(study_file(), store)
    cube = opened(plan, store)
    out_of_reach = cube.sel(level=40)
    assert out_of_reach["steps"].dtype == np.int64
    assert (out_of_reach["steps"] == -1).all()
    assert np.isnan(out_of_reach["error_m"]).all()
    assert (out_of_reach["note"] == "").all()
    assert np.isnan(out_of_reach["gain"].values.imag).all()
    assert "_FillValue" not in cube["status"].attrs
    assert "_FillValue" not in cube["status"].encoding or cube["status"].dtype == np.uint8


def test_g1_what_no_grid_plans_is_not_planned(study_file: Write, store: Store) -> None:
    file = study_file(("surfaces:", "  - axes:\n      level: {path: signal.level_db, values: [25]}\nsurfaces:"))
    plan, executed = sweep(file, store)
    assert executed == 31
    cube = opened(plan, store)
    statuses, counts = np.unique(cube["status"], return_counts=True)
    assert dict(zip(statuses.tolist(), counts.tolist(), strict=True)) == {1: 5, 2: 19, 4: 12}
    assert cube.attrs["planned"] == 31


@pytest.mark.parametrize(
    ("old", "new", "executed"),
    [
        ('"0:40:10"', "[0, 10, 15, 20, 30, 40]", 6),
        ('"0:40:10"', '"0:40:5"', 4 * 6),
        ('"0:2:1"', '"0:4:1"', 5 * 2 * 2),
        ("[1, 2]", "[1, 2, 3]", 5 * 3),
        ("size.count: [1, 2]", "size.count: [1, 2]\n      shape: {path: signal.shape, values: [flat]}", 0),
        ("size.count: [1, 2]", "size.count: [1, 2]\n      shape: {path: signal.shape, values: [flat, round]}", 30),
        ("experiment: toy", "experiment: toy\nscenario: {draw: {seed: 2}}", 30),
        ("experiment: toy", "experiment: toy\nscenario: {draw: {seed: 1}}", 0),
        ("[1, 2]", "[2, 1]", 0),
        ("surfaces:", "cell_timeout_s: 5\nsurfaces:", 0),
    ],
)  # fmt: skip
def test_i1_a_change_runs_what_it_touches(study_file: Write, store: Store, old: str, new: str, executed: int) -> None:
    sweep(study_file(), store)
    plan, count = sweep(study_file((old, new)), store)
    assert count == executed
    assert len(plan.todo) == 0


def test_i5_keeping_another_variable_runs_again_with_its_reason(study_file: Write, store: Store) -> None:
    sweep(study_file(("surfaces:", "keep: [error_m]\nsurfaces:")), store)
    wider = study_file(("surfaces:", "keep: [error_m, steps]\nsurfaces:"))
    plan = make_plan(load_study(wider), store)
    assert plan.summary()["reasons"] == {"variable steps not kept": 30}
    plan, count = sweep(wider, store)
    assert (count, len(plan.todo)) == (30, 0)
    assert (opened(plan, store)["steps"].sel(level=0) > 0).all()
    assert not nondeterminism(plan)
    plan, count = sweep(study_file(("surfaces:", "keep: [steps]\nsurfaces:")), store)
    assert count == 0


def test_i7_reasons_name_the_field_and_the_new_values(study_file: Write, store: Store) -> None:
    assert make_plan(load_study(study_file()), store).summary()["reasons"] == {"not computed yet": 30}
    sweep(study_file(), store)
    changed = make_plan(load_study(study_file(), overrides=["draw.seed=2"]), store)
    assert changed.summary()["reasons"] == {"field: draw.seed 1 -> 2": 30}
    grown = make_plan(load_study(study_file(("[1, 2]", "[1, 2, 3]"))), store)
    assert grown.summary()["reasons"] == {"new value on axis count: 3": 15}


def test_w3_a_cell_that_raises_fails_alone_and_is_not_run_again(study_file: Write, store: Store) -> None:
    file = study_file(('"0:40:10"', "[0, 13, 20]"))
    plan, executed = sweep(file, store)
    assert executed == 18
    assert plan.by_status() == {"ok": 12, "failed": 6}
    cube = opened(plan, store)
    assert "thirteen is refused" in cube["message"].sel(level=13, count=1, realisation=0).item()
    _, again = sweep(file, store)
    assert again == 0


def test_s5_a_cube_is_the_same_whatever_the_order_and_the_interruptions(study_file: Write, tmp_path: Path) -> None:
    whole, pieces = LocalStore(tmp_path / "whole"), LocalStore(tmp_path / "pieces")
    plan, _ = sweep(study_file(), whole)
    sweep(study_file(('"0:40:10"', "[40, 0]")), pieces)
    sweep(study_file(('"0:2:1"', "[2]")), pieces)
    grown, _ = sweep(study_file(), pieces)
    a, b = opened(plan, whole), opened(grown, pieces)
    for name in a.variables:
        if not a[name].attrs.get("volatile"):
            xr.testing.assert_identical(a[name], b[name])


def test_s2_a_damaged_segment_counts_as_absent_and_is_reported(study_file: Write, store: Store) -> None:
    plan, _ = sweep(study_file(), store)
    name = plan.ledger.segments[0].name
    path = store.path(f"ledger/segments/{name}.zip")
    assert path is not None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    plan = make_plan(load_study(study_file()), store)
    assert 0 < len(plan.todo) <= 30
    assert name in plan.summary()["damaged"][0]
    healed, executed = sweep(study_file(), store)
    assert executed == len(plan.todo)
    assert len(healed.todo) == 0


def test_s3_copies_that_differ_are_reported(study_file: Write, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = study_file(("surfaces:", "keep: [error_m]\nsurfaces:"))
    plan, _ = sweep(file, store)
    assert not nondeterminism(plan)
    monkeypatch.setattr(toy.np.random, "default_rng", lambda seed: np.random.Generator(np.random.PCG64(99)))
    plan, _ = sweep(study_file(("surfaces:", "keep: [error_m, steps]\nsurfaces:")), store)
    assert len(nondeterminism(plan)) == 18


def test_w1_the_shared_experiment_test_holds_for_any_cut_of_a_line(study_file: Write) -> None:
    assert [cell["status"] for cell in check_line_independence(load_study(study_file()))] == ["ok"] * 3 + ["infeasible"] * 2


def _number_in_line(scenarios: list[toy.ToyScenario], i: int) -> int:
    return i


def _falls(scenarios: list[toy.ToyScenario], i: int) -> bool:
    return i > 0 and scenarios[i].signal.level_db < scenarios[i - 1].signal.level_db


def _seen_before(scenarios: list[toy.ToyScenario], i: int) -> int:
    return max(count for _, count, _ in toy.COUNTED)


@pytest.mark.parametrize(
    ("leak", "found"), [(_number_in_line, "pieces of 1"), (_falls, "permuted"), (_seen_before, "after the last cell")]
)
def test_w1_the_shared_experiment_test_finds_what_a_cell_takes_from_another(
    study_file: Write, leak: Callable[[list[toy.ToyScenario], int], int], found: str
) -> None:
    class Leaks(toy.Toy):
        def run(self, scenarios: list[toy.ToyScenario], options: toy.ToyOptions) -> list[dict[str, Any]]:
            cells = super().run(scenarios, options)
            return [cell | {"steps": leak(scenarios, i)} for i, cell in enumerate(cells)]

    toy.COUNTED.clear()
    study = load_study(study_file(), experiment_loader=lambda name: Leaks())
    with pytest.raises(AssertionError, match=f"{found}: cell .*'steps' differs"):
        check_line_independence(study)


def test_i4_a_worker_reads_the_stored_copy_of_a_file(study_file: Write, store: Store, tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("2.5", encoding="utf-8")
    study = load_study(study_file(("experiment: toy", f"experiment: toy\nscenario: {{table: {table}}}")))
    plan = make_plan(study, store)
    put_inputs(plan.cells, store)
    table.write_text("7.5", encoding="utf-8")
    with ThreadPoolExecutor(2) as pool:
        Sweep(plan, store, pool, lambda: 2).run()
    again = make_plan(study, store)
    assert len(again.todo) == 30, "the edited file makes other cells"
    table.write_text("2.5", encoding="utf-8")
    cube = opened(make_plan(study, store), store)
    np.testing.assert_array_equal(cube["error_m"].sel(level=[0, 10, 20]), 2.5)


def test_i4_a_file_that_changes_before_it_is_stored_is_refused(study_file: Write, store: Store, tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("2.5", encoding="utf-8")
    plan = make_plan(load_study(study_file(("experiment: toy", f"experiment: toy\nscenario: {{table: {table}}}"))), store)
    table.write_text("7.5", encoding="utf-8")
    with pytest.raises(UsageError, match=r"table\.txt: the file changed"):
        put_inputs(plan.cells, store)
    assert store.list("inputs/") == []


def test_the_cube_is_published_during_a_run_for_a_bounded_share_of_its_time(
    study_file: Write, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "PUBLISH_EVERY_S", 0.2)
    monkeypatch.setattr(sweep_module, "TARGET_SECONDS", 0.1)
    file = study_file(('"0:2:1"', '"0:11:1"'), ("experiment: toy", "experiment: toy\noptions: {act: sleep}"))
    plan = make_plan(load_study(file), store)
    spent: list[float] = []
    seen: list[int] = []

    def publish() -> None:
        started = time.monotonic()
        seen.append(int(make_plan(load_study(file), store).choice.present.sum()))
        time.sleep(0.02)
        spent.append(time.monotonic() - started)

    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        Sweep(plan, store, pool, lambda: 2, publish=publish).run()
    took = time.monotonic() - started
    assert len(seen) >= 2
    assert 0 < seen[0] < len(plan.keys)
    assert sum(spent[:-1]) <= sweep_module.PUBLISH_SHARE * took


def test_stored_keys_are_the_keys_and_are_made_again_when_damaged(
    study_file: Write, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "MANY_CELLS", 10)
    file = study_file()
    first = make_plan(load_study(file), store)
    assert store.list("ledger/keys/") == [], "a plan writes nothing"
    write_record(first, store)
    (entry,) = store.list("ledger/keys/")
    monkeypatch.setattr(plan_module, "cell_keys", lambda *_: pytest.fail("the stored keys are not read"))
    second = make_plan(load_study(file), store)
    np.testing.assert_array_equal(first.keys, second.keys)
    np.testing.assert_array_equal(first.scenario_keys, second.scenario_keys)
    for changed in ("draw.seed=2", "axes.level=[0]", "signal.shape=round"):
        with pytest.raises(pytest.fail.Exception):
            make_plan(load_study(file, overrides=[changed, "axes.realisation=0:20:1"]), store)
    monkeypatch.undo()
    monkeypatch.setattr(plan_module, "MANY_CELLS", 10)
    data = bytearray(store.get(entry.name))
    data[5] ^= 1
    store.delete(entry.name)
    store.put_if_absent(entry.name, bytes(data))
    np.testing.assert_array_equal(first.keys, make_plan(load_study(file), store).keys)


def test_g4_parts_of_a_study_open_as_one_tree(study_file: Write, store: Store) -> None:
    for name, levels in (("low", "[0, 10]"), ("high", "[20, 30]")):
        plan, _ = sweep(study_file(('"0:40:10"', levels), ("study: toy-study", f"study: {name}")), store)
        publish_cube(plan, store)
    tree = open_store(store.location(), "low", "high")
    assert set(tree.children) == {"low", "high"}
    whole = xr.concat([tree[f"{n}/cube"]["status"].load() for n in ("low", "high")], "level")
    assert whole["level"].values.tolist() == [0, 10, 20, 30]
    with pytest.raises(UsageError, match=r"no study 'lou' in .*did you mean 'low'"):
        open_store(store.location(), "lou", "high")

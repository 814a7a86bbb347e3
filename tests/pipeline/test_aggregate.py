"""Surfaces block by block: the bits of the whole computation, whatever the blocks and who is killed (rule C9)."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.aggregate import Aggregation, aggregate_blocks
from pipeline.archive import StoredFiles
from pipeline.blocks import MOST_BLOCKS, Box, block_sides, boxes, overlap, region_sides, shape_of
from pipeline.cube import publish_group, published_version
from pipeline.experiment import STATUS_CODES
from pipeline.layout import cube_folder, parts_of, surface_folder
from pipeline.parts import make_part
from pipeline.store import LocalStore
from pipeline.study import SurfaceSpec
from pipeline.surfaces import compute_surfaces
from pipeline.zarrio import Labelled, numpy_dtype, read_group

FOLDER = surface_folder("study")
SPEC = SurfaceSpec(over="draw")
REGION = 600
"""Bytes of a region in these tests: a cube of `cube_of` has several."""


def cube_of(sizes: dict[str, int], seed: int = 0) -> xr.Dataset:
    """A cube of random statuses and values, with a profile; the axis ``kind`` has texts."""
    random, axes, shape = np.random.default_rng(seed), tuple(sizes), tuple(sizes.values())
    status = random.choice(list(STATUS_CODES.values()), p=[0.05, 0.05, 0.6, 0.1, 0.15, 0.05], size=shape).astype(np.uint8)
    data: dict[str, Any] = {"status": (axes, status)}
    for name, own in (("error_m", ()), ("solve_seconds", ()), ("density", ("bin",))):
        values = random.lognormal(size=(*shape, *(3 for _ in own)))
        values[random.random(values.shape) < 0.1] = np.nan
        data[name] = ((*axes, *own), values, {"units": "m", "long_name": name, "volatile": int(name == "solve_seconds")})
    labels = {a: [f"{a} {i}" for i in range(n)] if a == "kind" else np.arange(n) * 1.5 for a, n in sizes.items()}
    return xr.Dataset(data, labels | {"bin": [0.5, 1.5, 2.5]}, {"cube_key": "c"})


def arrays_of(dataset: xr.Dataset) -> dict[str, Labelled]:
    stored = {}
    for name, variable in dataset.variables.items():
        text = variable.dtype.kind in "OU"
        data = variable.values.astype(numpy_dtype("str")) if text else variable.values
        stored[str(name)] = Labelled(tuple(map(str, variable.dims)), data, dict(variable.attrs))
    return stored


def published(folder: Path, cube: xr.Dataset, key: str = "first") -> tuple[LocalStore, str]:
    store = LocalStore(folder)
    return store, publish_group(store, cube_folder("study"), key, arrays_of(cube), cube.attrs)


def whole(cube: xr.Dataset, spec: SurfaceSpec) -> xr.Dataset:
    return compute_surfaces(cube, over=spec.over, edge=spec.edge, paired=spec.paired, profiles=spec.profiles)


def assert_same(store: LocalStore, version: str, expected: xr.Dataset) -> None:
    found, wanted = read_group(StoredFiles(store, version)), arrays_of(expected)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert (found[name].dims, found[name].dtype) == (array.dims, array.dtype)
        attributes = {k: v for k, v in found[name].attributes.items() if k != "missing_value"}
        assert attributes == dict(array.attributes)
        if array.dtype.kind == "T":
            assert found[name].data.tolist() == array.data.tolist()
        else:
            assert found[name].data.tobytes() == array.data.tobytes(), name


def aggregate(store: LocalStore, version: str, spec: SurfaceSpec = SPEC, key: str = "k", **more: Any) -> Aggregation:
    return aggregate_blocks(store, version, FOLDER, key, spec, region_bytes=more.pop("region_bytes", REGION), **more)


# --- the cut ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 200), max_size=3), st.integers(1, 10**6))
def test_c9_regions_and_blocks_fill_the_axes_once(lengths: list[int], most: int) -> None:
    sides = block_sides(lengths)
    regions = region_sides(lengths, sides, most)
    assert all(n % side == 0 for n, side in zip(regions, sides, strict=True))
    shortened = [min(n, 40) for n in lengths]
    for cut in (sides, regions):
        seen = np.zeros(shortened, dtype=int)
        for box in boxes(shortened, cut):
            seen[box] += 1
        assert (seen == 1).all()


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=4))
def test_c9_one_value_of_a_long_axis_changes_few_blocks(lengths: list[int]) -> None:
    counts = [-(-n // side) for n, side in zip(lengths, block_sides(lengths), strict=True)]
    assert np.prod(counts) <= MOST_BLOCKS
    if np.prod([min(n, 50) for n in lengths]) <= MOST_BLOCKS:
        assert all(count >= min(n, 20) for n, count in zip(lengths, counts, strict=True))


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=3))
def test_boxes_overlap_where_both_have_a_place(ends: list[tuple[int, int, int, int]]) -> None:
    one: Box = tuple(slice(min(a, b), max(a, b) + 1) for a, b, _, _ in ends)
    other: Box = tuple(slice(min(c, d), max(c, d) + 1) for _, _, c, d in ends)
    grids = [np.zeros((10,) * len(ends), dtype=bool) for _ in range(2)]
    grids[0][one], grids[1][other] = True, True
    met = overlap(one, other)
    assert (met is not None) == bool((grids[0] & grids[1]).any())
    if met is not None:
        assert shape_of(met[0]) == shape_of(met[1])
        assert grids[0][one][met[0]].size == (grids[0] & grids[1]).sum()
        corner = [side.start + place.start for side, place in zip(one, met[0], strict=True)]
        np.testing.assert_array_equal(np.argwhere(grids[0] & grids[1])[0], corner)


# --- the bits --------------------------------------------------------------------------------------------------------

SPECS = {
    "average": SurfaceSpec(over="draw"),
    "all": SurfaceSpec(over="draw", edge="level", paired="kind", profiles=["density"]),
    "edge": SurfaceSpec(over="draw", edge="level"),
    "no average": SurfaceSpec(paired="kind", profiles=["density"]),
    "nothing is free": SurfaceSpec(over="size", edge="level", paired="kind"),
}


@pytest.mark.parametrize("region_bytes", [10**9, 2000])
@pytest.mark.parametrize("name", SPECS)
def test_c9_blocks_give_the_bits_of_the_whole(tmp_path: Path, name: str, region_bytes: int) -> None:
    sizes = {"level": 6, "draw": 5, "kind": 3, "size": 4}
    if name == "nothing is free":
        del sizes["draw"]
    cube = cube_of(sizes)
    store, version = published(tmp_path, cube)
    done = aggregate(store, version, SPECS[name], region_bytes=region_bytes)
    assert done.computed == done.blocks
    assert_same(store, done.version, whole(cube, SPECS[name]))


def test_c9_the_place_of_the_averaged_axis_changes_no_bit() -> None:
    """So many draws are added in another order where they do not stand side by side."""
    cube = cube_of({"level": 5, "size": 4, "draw": 300})
    turned = cube.transpose("draw", "size", "level", "bin")
    turned = turned.map(lambda variable: variable.copy(data=np.ascontiguousarray(variable.values)), keep_attrs=True)
    xr.testing.assert_identical(whole(turned, SPEC).transpose("level", "size", ...), whole(cube, SPEC))


def test_c9_order_and_number_of_workers_change_no_bit(tmp_path: Path) -> None:
    cube = cube_of({"level": 12, "size": 6, "draw": 7})
    store, version = published(tmp_path, cube)
    expected = whole(cube, SPEC)
    with ThreadPoolExecutor(3) as pool:
        assert_same(store, aggregate(store, version, executor=pool).version, expected)
    for entry in store.list(parts_of(FOLDER)):
        store.delete(entry.name)
    assert_same(store, aggregate(store, version, executor=Backwards(), key="other").version, expected)


class Backwards(Executor):
    """Runs what it was given when the first answer is asked for, the last task first."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any]] = []

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future = Later(self)
        self.waiting.append((future, lambda: function(*arguments, **named)))
        return future


class Later(Future[Any]):
    def __init__(self, executor: Backwards) -> None:
        super().__init__()
        self.executor = executor

    def result(self, timeout: float | None = None) -> Any:
        while self.executor.waiting:
            future, work = self.executor.waiting.pop()
            future.set_result(work())
        return super().result(timeout)


# --- what runs -------------------------------------------------------------------------------------------------------


def test_c9_after_one_percent_of_the_cells_changed_few_blocks_run(tmp_path: Path) -> None:
    sizes = {"level": 100, "size": 21, "draw": 4}
    cube = cube_of(sizes)
    store, version = published(tmp_path, cube)
    first = aggregate(store, version, region_bytes=10**5)
    assert (first.blocks, first.computed) == (25 * 21, 25 * 21)
    again = aggregate(store, version, key="again", region_bytes=10**5)
    assert (again.blocks, again.computed) == (first.blocks, 0)
    changed = cube.copy(deep=True)
    changed["error_m"][{"level": 57}] += 1.0
    done = aggregate(store, published(tmp_path, changed, "second")[1], key="second", region_bytes=10**5)
    assert done.computed == 21 <= 0.05 * done.blocks
    assert "21 of 525 blocks of the surfaces were computed" in done.summary
    assert_same(store, done.version, whole(changed, SPEC))


def test_c9_an_axis_that_grows_at_its_end_runs_its_new_blocks_alone(tmp_path: Path) -> None:
    grown = cube_of({"level": 30, "size": 8, "draw": 4})
    store, version = published(tmp_path, grown.isel(level=slice(0, 28)))
    assert aggregate(store, version).computed == 28 * 8
    done = aggregate(store, published(tmp_path, grown, "second")[1], key="second")
    assert done.computed == 2 * 8
    assert_same(store, done.version, whole(grown, SPEC))


def test_c9_other_choices_or_other_code_run_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = cube_of({"level": 6, "size": 4, "draw": 4})
    store, version = published(tmp_path, cube)
    aggregate(store, version)
    paired = aggregate(store, version, SurfaceSpec(over="draw", paired="size"), "paired")
    assert paired.computed == paired.blocks
    monkeypatch.setattr("pipeline.aggregate._FORMAT", 2)
    assert aggregate(store, version, SurfaceSpec(over="draw", paired="size"), "format").computed == paired.blocks


def test_c9_labels_of_the_edge_axis_count(tmp_path: Path) -> None:
    cube, spec = cube_of({"level": 6, "size": 4, "draw": 4}), SurfaceSpec(over="draw", edge="level")
    store, version = published(tmp_path, cube)
    aggregate(store, version, spec)
    moved = cube.assign_coords(level=cube["level"] + 0.25)
    done = aggregate(store, published(tmp_path, moved, "second")[1], spec, "moved")
    assert done.computed == done.blocks
    assert_same(store, done.version, whole(moved, spec))


def test_c9_parts_that_are_gone_or_damaged_cost_time_alone(tmp_path: Path) -> None:
    cube = cube_of({"level": 8, "size": 4, "draw": 4})
    store, version = published(tmp_path, cube)
    expected, blocks = whole(cube, SPEC), aggregate(store, version).blocks
    names = [entry.name for entry in store.list(parts_of(FOLDER))]
    assert len(names) > 3
    paths = [Path(store.location()) / name for name in names]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-7])
    paths[2].write_bytes(paths[3].read_bytes())  # a part of another region with fewer or other blocks
    done = aggregate(store, version, key="again")
    assert 0 < done.computed < blocks
    assert_same(store, done.version, expected)
    assert [entry.name for entry in store.list(parts_of(FOLDER))] == names


def test_c9_parts_that_nothing_needs_are_removed(tmp_path: Path) -> None:
    store, version = published(tmp_path, cube_of({"level": 8, "size": 4, "draw": 4}))
    aggregate(store, version)
    before = {entry.name for entry in store.list(parts_of(FOLDER))}
    aggregate(store, published(tmp_path, cube_of({"level": 8, "size": 4, "draw": 4}, seed=1), "second")[1], key="second")
    after = {entry.name for entry in store.list(parts_of(FOLDER))}
    assert len(after) == len(before)
    assert after.isdisjoint(before)


def test_c9_the_attributes_follow_from_the_edge(tmp_path: Path) -> None:
    cube, spec = cube_of({"level": 6, "size": 4, "draw": 4}), SurfaceSpec(over="draw", edge="level")
    store, version = published(tmp_path, cube)
    seen: list[xr.Dataset] = []

    def attributes(edge: xr.Dataset) -> dict[str, str]:
        seen.append(edge)
        return {"claims": "[]"}

    path = store.path(aggregate(store, version, spec, attributes=attributes).version)
    assert path is not None
    expected = whole(cube, spec)
    xr.testing.assert_identical(seen[0]["level_feasible_edge"], expected["level_feasible_edge"])
    stored = xr.open_zarr(path)
    assert {k: v for k, v in stored.attrs.items() if k != "files"} == expected.attrs | {"claims": "[]"}
    assert json.loads(stored.attrs["files"])


# --- who is killed ---------------------------------------------------------------------------------------------------


class Killed(ProcessPoolExecutor):
    """A pool of one real process, which is killed when it has done its first task."""

    def __init__(self) -> None:
        super().__init__(1, mp_context=multiprocessing.get_context("spawn"))
        self.done = 0

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future = super().submit(function, *arguments, **named)
        if not self.done:
            future.result()
            self.done = 1
            for number in list(self._processes):
                os.kill(number, signal.SIGKILL)
        return future


def test_c9_a_killed_worker_costs_its_parts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = cube_of({"level": 8, "size": 4, "draw": 4})
    store, version = published(tmp_path, cube)
    here: list[Any] = []
    monkeypatch.setattr("pipeline.aggregate.make_part", lambda task: (here.append(task), make_part(task))[1])
    with Killed() as pool:
        monkeypatch.setattr(pool, "submit", lambda _, task: Killed.submit(pool, make_part, task))
        done = aggregate(store, version, executor=pool)
    assert pool.done == 1
    assert len(here) == len(store.list(parts_of(FOLDER))) - 1, "this process does what the lost worker had"
    assert done.computed == done.blocks
    assert_same(store, done.version, whole(cube, SPEC))


COORDINATOR = """
import os, signal, sys
from pipeline.aggregate import aggregate_blocks
from pipeline.store import LocalStore
from pipeline.study import SurfaceSpec

folder, version, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
put = LocalStore.put_if_absent

def counted(store, name, data, *, durable=True):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return put(store, name, data, durable=durable)

LocalStore.put_if_absent = counted
aggregate_blocks(LocalStore(folder), version, "surfaces/study/", "second", SurfaceSpec(over="draw"), region_bytes=600)
"""


def test_c9_a_killed_coordinator_leaves_what_was_published_and_the_next_goes_on(tmp_path: Path) -> None:
    """It is killed among the parts, then, going on, among the arrays: what a process stored is not computed again."""
    old, new = (cube_of({"level": 8, "size": 4, "draw": 4}, seed) for seed in (0, 1))
    store, version = published(tmp_path, old)
    first = aggregate(store, version)
    parts = len(store.list(parts_of(FOLDER)))
    second = published(tmp_path, new, "second")[1]
    for puts in (parts // 2, parts - parts // 2 + 3):
        command = [sys.executable, "-c", COORDINATOR, store.location(), second, str(puts)]
        assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
        assert published_version(store, FOLDER) == first.version
        assert_same(store, first.version, whole(old, SPEC))
    done = aggregate(store, second, key="second")
    assert done.computed == 0, "all parts were stored before the second kill"
    assert_same(store, done.version, whole(new, SPEC))
    assert published_version(store, FOLDER) == done.version

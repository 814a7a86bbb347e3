"""Compaction and garbage collection change nothing that anyone sees (rule S4)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.account import account
from pipeline.compact import GRACE_SECONDS, collect_garbage, compact
from pipeline.cube import nondeterminism, publish_cube
from pipeline.key_index import write_index
from pipeline.layout import INDEX
from pipeline.ledger import open_ledger, segment_file
from pipeline.plan import make_plan, refreshed
from pipeline.results import open_store
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

Write = Callable[..., Path]
LATER = GRACE_SECONDS + 60


@pytest.fixture
def store(study_file: Write, tmp_path: Path) -> LocalStore:
    """A store with many small segments, of several shapes and of a failure."""
    store = LocalStore(tmp_path / "results")
    study = load_study(study_file(('"0:40:10"', "[0, 10, 13, 20, 30]")))
    for part in ("axes.level=[0, 10]", "axes.level=[13, 20]", "axes.realisation=[1]", "axes.count=[2]"):
        run(store, load_study(study.source.name, overrides=[part]))
    run(store, study)
    return store


def run(store: LocalStore, study: object) -> None:
    with ThreadPoolExecutor(2) as pool:
        Sweep(make_plan(study, store), store, pool, lambda: 2).run()  # type: ignore[arg-type]


@pytest.fixture
def study(study_file: Write) -> object:
    return load_study(study_file(('"0:40:10"', "[0, 10, 13, 20, 30]")))


def cube(store: LocalStore, study: object) -> xr.Dataset:
    path = store.path(publish_cube(make_plan(study, store), store))  # type: ignore[arg-type]
    assert path is not None
    return xr.open_zarr(path).load()


def test_s4_compaction_changes_no_key_and_no_bit(store: LocalStore, study: object, tmp_path: Path) -> None:
    before, plan = cube(store, study), make_plan(study, store)  # type: ignore[arg-type]
    written = compact(store)
    assert len(open_ledger(store).segments) > len(plan.ledger.segments)
    after = make_plan(study, store)  # type: ignore[arg-type]
    assert after.cube_key == plan.cube_key
    assert len(after.todo) == 0
    assert not nondeterminism(after)
    assert set(after.choice.segment) != set(plan.choice.segment), "the compacted copies are the ones read"
    assert compact(store) == {}, "nothing is left to compact"
    assert collect_garbage(store) == [], "nothing is old enough"
    gone = collect_garbage(store, now=time.time() + LATER)
    assert {r.name for r in gone} == {segment_file(n) for sources in written.values() for n in sources}
    left = make_plan(study, store)  # type: ignore[arg-type]
    assert (left.cube_key, len(left.todo)) == (plan.cube_key, 0)
    path = store.path(publish_cube(left, LocalStore(tmp_path / "elsewhere")))
    other = LocalStore(tmp_path / "elsewhere").path(f"cubes/{left.study.name}/latest")
    assert path is not None
    assert other is not None
    with xr.open_zarr(other) as again:
        for name in before.variables:
            xr.testing.assert_identical(before[name], again[name].load())


def test_s4_a_dry_run_removes_nothing_and_says_the_same(store: LocalStore) -> None:
    compact(store)
    count = len(store.list("ledger/segments/"))
    would = collect_garbage(store, now=time.time() + LATER, dry_run=True)
    assert would
    assert len(store.list("ledger/segments/")) == count
    assert collect_garbage(store, now=time.time() + LATER) == would


def test_s4_a_damaged_compacted_segment_saves_its_sources(store: LocalStore, study: object) -> None:
    cells = len(make_plan(study, store).keys)  # type: ignore[arg-type]
    written = compact(store)
    for name in written:
        path = store.path(segment_file(name))
        assert path is not None
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 4
        path.write_bytes(data)
    assert collect_garbage(store, now=time.time() + LATER) == []
    plan = make_plan(study, store)  # type: ignore[arg-type]
    assert (int(plan.complete.sum()), len(plan.ledger.damaged)) == (cells, len(written))


def test_s4_a_reader_that_finds_a_listed_segment_gone_lists_once_more(store: LocalStore, study: object) -> None:
    plan = make_plan(study, store)  # type: ignore[arg-type]
    compact(store)
    collect_garbage(store, now=time.time() + LATER)
    path = store.path(publish_cube(plan, store))
    assert path is not None
    assert (xr.open_zarr(path)["status"] >= 2).all()


def test_s4_the_key_index_may_be_deleted_and_may_lie_about_nothing(store: LocalStore, study: object) -> None:
    compact(store)
    plain = open_ledger(store)
    write_index(plain)
    indexed = open_ledger(store)
    for name in ("keys", "scenario_keys", "status", "origin", "row", "segment"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(indexed, name))
    assert indexed.segments == plain.segments
    for entry in store.list(INDEX):
        store.delete(entry.name)
    assert open_ledger(store).segments == plain.segments


def test_s2_damage_that_keeps_size_and_date_is_found_when_it_is_read(store: LocalStore, study: object) -> None:
    plan = make_plan(study, store)  # type: ignore[arg-type]
    write_index(plan.ledger)
    path = store.path(segment_file(plan.ledger.segments[0].name))
    assert path is not None
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    published = store.path(publish_cube(make_plan(study, store), store))  # type: ignore[arg-type]
    assert published is not None
    statuses = xr.open_zarr(published)["status"].values
    lost = plan.ledger.segments[0].cells
    assert 0 < (statuses == 0).sum() <= lost
    assert len(make_plan(study, store).todo) == (statuses == 0).sum(), "the index that hid the damage is gone"  # type: ignore[arg-type]
    assert len(refreshed(plan, store, use_index=False).todo) == (statuses == 0).sum()


def test_s4_details_and_failures_stay_reachable(store: LocalStore, study: object) -> None:
    key = make_plan(study, store).keys[0].tobytes().hex()  # type: ignore[arg-type]
    before = open_store(store.location()).disac.detail(key)
    compact(store)
    compacted = account(make_plan(study, store), 0)  # type: ignore[arg-type]
    assert (compacted["copies"], compacted["origin"] != "") == (1, True), "a compacted copy is no second computation"
    collect_garbage(store, now=time.time() + LATER)
    after = open_store(store.location()).disac.detail(key)
    np.testing.assert_array_equal(before["samples"], after["samples"])
    failed = make_plan(study, store)  # type: ignore[arg-type]
    assert failed.by_status()["failed"] == 6

"""Knowing and correcting what a store holds: locks, retries, cells by name, accounts (rules I6, I7, W3, W5)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import xarray as xr

from pipeline.account import account
from pipeline.address import describe, find_cell, find_cells
from pipeline.cube import nondeterminism, publish_cube
from pipeline.errors import UsageError
from pipeline.ledger import open_ledger, read_segment
from pipeline.lock import StudyLockedError, study_lock
from pipeline.memory_store import MemoryStore
from pipeline.plan import Plan, make_plan, refreshed
from pipeline.recompute import recompute
from pipeline.store import LocalStore, Store
from pipeline.study import load_study
from pipeline.sweep import Sweep, WorkerEnd
from pipeline.worker import record_failure

Write = Callable[..., Path]
THIRTEEN = ('"0:40:10"', "[0, 13, 20]")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "results")


def run(plan: Plan, store: LocalStore) -> Plan:
    with ThreadPoolExecutor(2) as pool:
        Sweep(plan, store, pool, lambda: 2).run()
    return refreshed(plan, store)


def test_w5_a_lock_says_who_holds_it_and_yields_to_force(store: LocalStore) -> None:
    with study_lock(store, "s"):
        with pytest.raises(StudyLockedError, match=rf"'s' is being run by .* process {os.getpid()}, since 20.*--force"):
            study_lock(store, "s").__enter__()
        with study_lock(store, "other"):
            pass
        with study_lock(store, "s", force=True):
            assert len(store.list("locks/")) == 1
    assert store.list("locks/") == []


def test_w5_a_lock_of_a_dead_process_is_taken_over_and_one_of_another_machine_is_not(store: LocalStore) -> None:
    code = "import sys; from pipeline.lock import study_lock; from pipeline.store import LocalStore, Store\n"
    code += f"lock = study_lock(LocalStore({store.location()!r}), 's')\nlock.__enter__(); import os; os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 9
    assert len(store.list("locks/")) == 1
    with study_lock(store, "s"):
        pass
    store.put_if_absent("locks/s.json", json.dumps({"host": "elsewhere", "process": 1, "born": 0.0}).encode())
    with pytest.raises(StudyLockedError, match="on elsewhere"):
        study_lock(store, "s").__enter__()
    store.delete("locks/s.json")
    for torn in (b'{"torn', b"[]", json.dumps({"host": os.uname().nodename, "process": os.getpid()}).encode()):
        store.delete("locks/s.json")
        store.put_if_absent("locks/s.json", torn)
        with study_lock(store, "s"):
            pass


def _elsewhere(store: LocalStore, minutes_ago: float, sign_minutes_ago: float | None = None, **more: object) -> None:
    def moment(minutes: float) -> datetime:
        return datetime.now(UTC) - timedelta(minutes=minutes)

    store.delete("locks/s.json")
    store.delete("locks/s.alive")
    held = {"host": "elsewhere", "process": 1, "born": 0.0, "user": "eve", "since": moment(minutes_ago).isoformat()} | more
    store.put_if_absent("locks/s.json", json.dumps(held).encode())
    if sign_minutes_ago is not None:
        store.publish_pointer("locks/s.alive", f"locks/at/{moment(sign_minutes_ago):%Y%m%dT%H%M%SZ}")


def test_w5_a_lock_of_another_machine_ends_with_its_lease(store: LocalStore) -> None:
    for since, sign in ((1, None), (600, 1), (600, 14), (5, 600)):
        _elsewhere(store, since, sign, lease_s=900.0)
        with pytest.raises(StudyLockedError, match=r"eve on elsewhere.*Its lock ends at .*give --force"):
            study_lock(store, "s").__enter__()
    for since, sign in ((16, None), (600, 16)):
        _elsewhere(store, since, sign, lease_s=900.0)
        with study_lock(store, "s"):
            pass
    _elsewhere(store, 600)
    with pytest.raises(StudyLockedError, match="not known: if it has ended, --force takes its lock"):
        study_lock(store, "s").__enter__()
    for torn in ({"lease_s": "long"}, {"lease_s": 1e300}, {"since": "once", "lease_s": 900.0}, {"since": None}):
        _elsewhere(store, 600, **torn)
        with pytest.raises(StudyLockedError):
            study_lock(store, "s").__enter__()


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_w5_a_holder_renews_its_lock_until_it_is_released_or_taken(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    held: Store = store if kind == "folder" else MemoryStore()
    monkeypatch.setattr("pipeline.lock.RENEW_S", 0.02)

    def alive() -> bool:
        held.delete("locks/s.alive")
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            if held.read_pointer("locks/s.alive") is not None:
                return True
            time.sleep(0.005)
        return False

    with study_lock(held, "s") as release:
        assert held.read_pointer("locks/s.alive") is not None
        assert alive()
        release()
        assert not held.list("locks/")
        assert held.read_pointer("locks/s.alive") is None
        assert not alive()
    with study_lock(held, "s"), study_lock(held, "s", force=True) as other:
        other()
        assert not alive(), "neither renews a lock that is not its own"


def test_w5_of_many_that_ask_at_once_one_holds_the_lock(store: LocalStore) -> None:
    holding, most, guard = [0], [0], threading.Lock()

    def ask(number: int) -> bool:
        try:
            with study_lock(store, "s"):
                with guard:
                    holding[0] += 1
                    most[0] = max(most[0], holding[0])
                threading.Event().wait(0.01)
                with guard:
                    holding[0] -= 1
                return True
        except StudyLockedError:
            return False

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(ask, range(40)))
    assert most[0] == 1
    assert any(got)


def test_w5_two_runs_of_one_study_end_correct(study_file: Write, store: LocalStore, tmp_path: Path) -> None:
    plan = make_plan(load_study(study_file()), store)
    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(lambda _: run(plan, store), range(2)))
    assert all(len(p.todo) == 0 for p in ended)
    last = refreshed(plan, store)
    assert not nondeterminism(last)
    alone = LocalStore(tmp_path / "alone")
    reference = run(make_plan(load_study(study_file()), alone), alone)
    with (
        xr.open_zarr(store.path(publish_cube(last, store))) as a,
        xr.open_zarr(alone.path(publish_cube(reference, alone))) as b,
    ):
        for name in a.variables:
            if not a[name].attrs.get("volatile"):
                xr.testing.assert_identical(a[name].load(), b[name].load())


def test_w3_retry_computes_failures_again_and_a_result_counts_over_them(
    study_file: Write, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = run(make_plan(load_study(study_file(THIRTEEN)), store), store)
    assert (int(plan.failed.sum()), len(plan.todo)) == (6, 0)
    again = run(replace(plan, retry=True), store)
    assert int(again.failed.sum()) == 6, "what fails again stays failed"
    monkeypatch.setattr(toy, "RAISES_AT_DB", -1.0)
    toy.COUNTED.clear()
    healed = run(replace(plan, retry=True), store)
    assert {level for level, _, _ in toy.COUNTED} == {13.0}
    assert healed.by_status() == {"ok": 18}
    assert replace(plan, retry=True).summary()["reasons"] == {"failed before, tried again": 6}


class _TimesOut(Executor):
    """A worker whose cells run into their time limit: the failure is stored, then the process is gone."""

    def submit(self, fn: Any, task: Any, /, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if task.cells == 1:
            record_failure(task, task.lines[0][0], "still running after 1 s", time.monotonic())
        future.set_exception(ChildProcessError("gone"))
        return future


def test_w3_a_retried_cell_that_times_out_again_is_blamed_once(study_file: Write, store: LocalStore) -> None:
    plan = run(make_plan(load_study(study_file(THIRTEEN)), store), store)
    before = len(open_ledger(store).keys)
    Sweep(replace(plan, retry=True), store, _TimesOut(), lambda: 2, worker_end=lambda e: WorkerEnd(True, "gone")).run()
    after = open_ledger(store)
    assert len(after.keys) == before + 6
    added = {info.name for info in after.segments} - {info.name for info in plan.ledger.segments}
    said = {str(read_segment(store, name).arrays["message"][0]) for name in added}
    assert said == {"still running after 1 s"}


def test_cells_are_found_by_coordinates_and_by_keys(study_file: Write, store: LocalStore) -> None:
    plan = make_plan(load_study(study_file()), store)
    cell = find_cell(plan, ["level=10", "count=2", "draw.realisation=1"])
    assert plan.cells.coordinates(cell) == {"level": 10.0, "count": 2, "realisation": 1}
    key = plan.keys[cell].tobytes().hex()
    for length in (12, 13, 32):
        assert find_cell(plan, [key[:length].upper()]) == cell
    assert len(find_cells(plan, ["level=10.0"])) == 6
    assert len(find_cells(plan, [])) == 30
    assert key[:12] in describe(plan, cell)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["levle=10"], r"no axis 'levle' \(did you mean 'level'\?\); axes: level, count, realisation"),
        (["level=11"], "not a value of 'level'"),
        (["level=10", "count=2"], r"(?s)names 3 cells; give more.*level=10.0 count=2 realisation=0  \["),
        (["zz"], "expected name=value"),
        (["00000000"], "no planned cell"),
        ([], "no CELL is given; there are 30 cells"),
    ],
)
def test_a_cell_that_is_not_one_is_refused_with_the_candidates(
    study_file: Write, store: LocalStore, words: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        find_cell(make_plan(load_study(study_file()), store), words)


def test_i6_the_account_of_a_cell_says_when_where_and_under_what(study_file: Write, store: LocalStore) -> None:
    fresh = make_plan(load_study(study_file(THIRTEEN)), store)
    assert account(fresh, 0)["reason"] == "not computed yet"
    plan = run(fresh, store)
    found = account(plan, find_cell(plan, ["level=13", "count=1", "realisation=0"]))
    assert found["status"] == "failed"
    assert "thirteen is refused" in found["message"]
    assert 'raise RuntimeError("thirteen is refused")' in found["traceback"]
    assert found["host"] == os.uname().nodename
    assert found["finished"].startswith("20")
    assert found["environment"]["numpy"] == np.__version__
    assert "blas" in found["environment"]


def test_a_cell_computed_again_is_what_is_stored(study_file: Write, store: LocalStore) -> None:
    plan = run(make_plan(load_study(study_file()), store), store)
    count = len(open_ledger(store).segments)
    cell = find_cell(plan, ["level=0", "count=2", "realisation=1"])
    again = recompute(plan, store, cell)
    stored = account(plan, cell)
    assert again.arrays["key"][0].tobytes().hex() == stored["key"]
    assert len(open_ledger(store).segments) == count
    with xr.open_zarr(store.path(publish_cube(plan, store))) as cube:
        assert cube["error_m"].sel(level=0, count=2, realisation=1).values == again.arrays["error_m"][0]

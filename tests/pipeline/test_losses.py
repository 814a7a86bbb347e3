"""A worker that is lost is a matter of the surroundings until it is proven that its cell ended it (rules W3, W4); budgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import sweep as sweep_module
from pipeline.account import account
from pipeline.budget import Budget
from pipeline.compact import collect_garbage, compact
from pipeline.cube import publish_cube
from pipeline.key_index import write_index
from pipeline.ledger import open_ledger
from pipeline.plan import Plan, make_plan, refreshed
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Progress, Sweep, WorkerEnd
from pipeline.worker import compute_task

Write = Callable[..., Path]
OUTSIDE, OWN = WorkerEnd(False, "SIGKILL from outside on node7", "node7"), WorkerEnd(True, "exit status 5", "node7")
SMALL = (('"0:2:1"', "[0]"), ("[1, 2]", "[1]"))
"""Five cells in one line: three are ok, two infeasible."""


class LostError(Exception):
    """What the executor of these tests reports for a task whose worker ended."""

    def __init__(self, end: WorkerEnd) -> None:
        self.end = end


class Losing(Executor):
    """Loses the worker of every task with the cell at 20 dB, ``times`` times while that is alone."""

    def __init__(self, end: WorkerEnd, times: int) -> None:
        self.end, self.left, self.submitted = end, times, 0

    def submit(self, fn: Any, task: Any, /, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.submitted += 1
        if any(cell.values["signal.level_db"] == 20 for line in task.lines for cell in line) and self.left:
            self.left -= task.cells == 1
            future.set_exception(LostError(self.end))
        else:
            future.set_result(compute_task(task))
        return future


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "results")


def sweep(plan: Plan, store: LocalStore, executor: Executor, **more: Any) -> tuple[Plan, Progress]:
    told = lambda error: error.end if isinstance(error, LostError) else None  # noqa: E731
    progress = Sweep(plan, store, executor, lambda: 2, worker_end=told, **more).run()
    return refreshed(plan, store), progress


def planned(file: Path, store: LocalStore) -> Plan:
    return make_plan(load_study(file), store)


def test_w3_a_cell_whose_worker_is_taken_away_is_computed_on_another(study_file: Write, store: LocalStore) -> None:
    after, progress = sweep(planned(study_file(*SMALL), store), store, Losing(OUTSIDE, 2))
    assert after.by_status() == {"ok": 3, "infeasible": 2}
    assert (progress.done, len(after.todo)) == (5, 0)


def test_w3_after_its_attempts_it_is_stored_as_failed_and_the_next_run_tries_again(
    study_file: Write, store: LocalStore
) -> None:
    plan = planned(study_file(*SMALL), store)
    after, progress = sweep(plan, store, Losing(OUTSIDE, 99))
    assert after.by_status() == {"ok": 2, "failed": 1, "infeasible": 2}
    assert progress.done == 5
    (cell,) = after.todo
    said = account(after, int(cell))
    assert said["status"] == "failed"
    assert said["message"] == "The cell lost its worker 3 times (SIGKILL from outside on node7). The next run tries it again."
    assert after.summary()["reasons"] == {"lost its workers before, tried again": 1}
    healed, _ = sweep(planned(study_file(*SMALL), store), store, ThreadPoolExecutor(1))
    assert healed.by_status() == {"ok": 3, "infeasible": 2}
    assert len(healed.todo) == 0


@pytest.mark.parametrize(("attempts", "losses"), [(1, 1), (5, 5)])
def test_w3_the_number_of_attempts_can_be_chosen(study_file: Write, store: LocalStore, attempts: int, losses: int) -> None:
    losing = Losing(OUTSIDE, 99)
    sweep(planned(study_file(*SMALL), store), store, losing, attempts=attempts)
    assert 99 - losing.left == losses


def test_w3_a_cell_that_ends_its_process_itself_has_failed_for_good(study_file: Write, store: LocalStore) -> None:
    losing = Losing(OWN, 99)
    after, _ = sweep(planned(study_file(*SMALL), store), store, losing)
    assert losing.left == 98, "it is not tried again"
    assert after.by_status()["failed"] == 1
    assert len(after.todo) == 0
    message = account(after, int(after.failed.nonzero()[0][0]))["message"]
    assert message == "The cell ended its worker process: exit status 5."
    retried = replace(after, retry=True)
    assert retried.summary()["reasons"] == {"failed before, tried again": 1}


def test_s3_what_failed_for_good_counts_over_what_was_lost_and_a_result_over_both(study_file: Write, store: LocalStore) -> None:
    file = study_file(*SMALL)
    sweep(planned(file, store), store, Losing(OUTSIDE, 99))
    final, _ = sweep(planned(file, store), store, Losing(OWN, 99))
    assert len(final.todo) == 0
    write_index(open_ledger(store))
    assert len(planned(file, store).todo) == 0, "the index knows it, too"
    healed, _ = sweep(replace(planned(file, store), retry=True), store, ThreadPoolExecutor(1))
    assert healed.by_status() == {"ok": 3, "infeasible": 2}


def test_s4_compaction_keeps_what_the_next_run_tries_again(study_file: Write, store: LocalStore) -> None:
    text = (('"0:2:1"', "[0, 1]"), ("[1, 2]", "[1]"))
    sweep(planned(study_file(*text), store), store, Losing(OUTSIDE, 99))
    assert len(planned(study_file(*text), store).todo) == 2
    compact(store)
    collect_garbage(store, older_than_s=-1.0)
    plan = planned(study_file(*text), store)
    assert any(info.compacted and info.retryable for info in plan.ledger.segments)
    assert len(plan.todo) == 2
    publish_cube(plan, store)


def test_w3_a_lost_cell_goes_to_another_machine(study_file: Write, store: LocalStore) -> None:
    avoided: list[frozenset[str]] = []
    there = ThreadPoolExecutor(1)

    def elsewhere(hosts: frozenset[str]) -> Executor:
        avoided.append(hosts)
        return there

    after, _ = sweep(planned(study_file(*SMALL), store), store, Losing(OUTSIDE, 99), elsewhere=elsewhere)
    assert avoided == [frozenset({"node7"})]
    assert after.by_status() == {"ok": 3, "infeasible": 2}


# --- budgets


def test_a_budget_of_core_hours_ends_the_run_in_good_order(
    study_file: Write, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "TARGET_SECONDS", 0.05)
    slow = study_file(("experiment: toy", "experiment: toy\noptions: {act: sleep}"), ('"0:2:1"', '"0:9:1"'))
    plan = planned(slow, store)
    with ThreadPoolExecutor(2) as pool:
        after, progress = sweep(plan, store, pool, budget=Budget(core_seconds=1.0))
    assert progress.stopped == "the budget of 0.000277778 core hours leaves no room for another task"
    assert 0 < progress.done < len(plan.keys)
    assert progress.core_seconds <= 1.6, "what is in work when the budget is reached ends"
    assert int(after.complete.sum()) == progress.done
    with ThreadPoolExecutor(2) as pool:
        rest, progress = sweep(after, store, pool)
    assert (len(rest.todo), progress.stopped) == (0, "")


def test_a_budget_that_is_spent_begins_nothing(study_file: Write, store: LocalStore) -> None:
    for budget in (Budget(core_seconds=0.0), Budget(ends_at=time.monotonic() - 1.0)):
        losing = Losing(OUTSIDE, 0)
        _, progress = sweep(planned(study_file(*SMALL), store), store, losing, budget=budget)
        assert (losing.submitted, progress.done) == (0, 0)
        assert progress.stopped


def test_a_deadline_ends_the_run_and_leaves_what_is_in_work(study_file: Write, store: LocalStore) -> None:
    text = "study: waits\nexperiment: poison\naxes: {kind: [waits, good]}\n"
    study = load_study(text)
    plan = make_plan(study, store)
    pool = ThreadPoolExecutor(1)
    started = time.monotonic()
    _, progress = sweep(plan, store, pool, budget=Budget(ends_at=started + 0.6))
    assert time.monotonic() - started < 2.0
    assert progress.stopped == "the deadline has passed"
    pool.shutdown()
    assert len(make_plan(study, store).todo) == 0, "what was in work when the deadline came is stored, not lost"


def test_a_task_begins_only_if_it_is_expected_to_end_in_time() -> None:
    soon = Budget(ends_at=time.monotonic() + 10.0)
    assert soon.refusal(0.0, 0.0, 4.0) == ""
    assert "before the deadline" in soon.refusal(0.0, 0.0, 6.0)
    hours = Budget(core_seconds=7200.0)
    assert hours.refusal(7000.0, 100.0, 100.0) == ""
    assert hours.refusal(7000.0, 100.0, 101.0) == "the budget of 2 core hours leaves no room for another task"

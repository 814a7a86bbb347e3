"""The sweep: a sliding window of tasks on any executor (rules W1-W4).

This module decides how cells become tasks, how a task that kills its worker is split until the guilty cell is alone, what a
lost worker means for a cell that was alone on it, and when a cell counts as finished: as soon as its segment has its name (the
receipt only reports it).
The executor schedules tasks and restarts workers. It may be any ``concurrent.futures.Executor``.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.budget import NO_LIMIT, Budget
from pipeline.environment import revision
from pipeline.errors import SurroundingsError
from pipeline.experiment import STATUS_CODES
from pipeline.identity import cell_text
from pipeline.inputs import relocate
from pipeline.ledger import open_ledger
from pipeline.plan import Plan
from pipeline.store import Store
from pipeline.values import plain
from pipeline.worker import CellInput, Receipt, TaskInput, compute_task, record_failure

TARGET_SECONDS = 2.5
FIRST_CELLS = 4
MOST_CELLS = 4096
GROWTH = 8
ATTEMPTS = 3
"""Number of times that one run computes a cell that is alone on its worker and loses the worker each time."""
PUBLISH_SHARE = 0.05
PUBLISH_EVERY_S = 30.0


@dataclass
class Progress:
    """Counts for a progress display; ``by_status`` uses the status codes of rule C1."""

    total: int
    done: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    core_seconds: float = 0.0
    stopped: str = ""
    """Reason why a budget ended the run before all cells were computed; empty if no budget did."""

    def add(self, receipt: Receipt) -> None:
        """Count a finished task."""
        self.done += receipt.cells
        self.core_seconds += receipt.seconds
        self.by_status.update(receipt.by_status)


@dataclass(frozen=True)
class WorkerEnd:
    """The end of a worker process that had a task.

    Parameters
    ----------
    own_doing
        True if the task ended the worker (rule W3); False if the worker was ended from outside, or the cause is unknown.
    cause
        Part of a sentence, such as ``exit status 5``.
    host
        The machine, if it is known.
    """

    own_doing: bool
    cause: str
    host: str = ""


@dataclass
class _Task:
    """Positions of the cells of a task, line by line, and the ends of the workers on which the task was alone."""

    lines: list[NDArray[np.int64]]
    cost_class: str
    losses: tuple[WorkerEnd, ...] = ()
    since: float = 0.0

    @property
    def cells(self) -> int:
        return sum(len(line) for line in self.lines)

    def halves(self) -> list[_Task]:
        flat = np.concatenate(self.lines)
        cut = len(flat) // 2
        left, right = [], []
        seen = 0
        for line in self.lines:
            at = min(max(cut - seen, 0), len(line))
            left += [line[:at]] if at else []
            right += [line[at:]] if at < len(line) else []
            seen += len(line)
        return [_Task(left, self.cost_class), _Task(right, self.cost_class)]


class _Lines:
    """Cells to compute, grouped into lines by cost class; tasks of about the target duration are taken from them."""

    def __init__(self, plan: Plan) -> None:
        self._seconds: dict[str, float] = dict(plan.ledger.cost_per_cell())
        self._last: dict[str, int] = {}
        self._queues: dict[str, deque[NDArray[np.int64]]] = {}
        for cost_class, line in _lines(plan):
            self._queues.setdefault(cost_class, deque()).append(line)
        # The most expensive class comes first, so that no long task is left alone at the end.
        self._order = deque(sorted(self._queues, key=lambda c: -self._seconds.get(c, float("inf"))))

    def learn(self, cost_class: str, receipt: Receipt) -> None:
        """Update the seconds per cell; newer measurements count more."""
        now = receipt.seconds / max(1, receipt.cells)
        old = self._seconds.get(cost_class, now)
        self._seconds[cost_class] = 0.5 * old + 0.5 * now

    def expected(self, task: _Task) -> float:
        """Return the seconds that a task is expected to take; 0 if no cell of its class has been measured."""
        return task.cells * self._seconds.get(task.cost_class, 0.0)

    def _size(self, cost_class: str) -> int:
        if cost_class not in self._seconds:
            return FIRST_CELLS
        size = int(TARGET_SECONDS / max(self._seconds[cost_class], 1e-9))
        grown = GROWTH * self._last.get(cost_class, FIRST_CELLS)
        return max(1, min(size, grown, MOST_CELLS))

    def take(self) -> _Task | None:
        """Return the next task, or None if no cell is left."""
        while self._order and not self._queues[self._order[0]]:
            self._order.popleft()
        if not self._order:
            return None
        cost_class = self._order[0]
        if cost_class not in self._seconds:
            # Until this class is measured, take tasks of the other classes, so that they are measured too.
            self._order.rotate(-1)
        queue, size = self._queues[cost_class], self._size(cost_class)
        self._last[cost_class] = size
        lines: list[NDArray[np.int64]] = []
        while queue and size > 0:
            line = queue.popleft()
            lines.append(line[:size])
            if len(line) > size:
                queue.appendleft(line[size:])
            size -= len(lines[-1])
        return _Task(lines, cost_class)


def _lines(plan: Plan) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Group the cells to compute into lines: cells of a line differ only along the experiment's ``line_axes``."""
    todo, index = plan.todo, plan.cells.index[plan.todo]
    along = set(plan.study.experiment.line_axes)
    fixed = [a for a, axis in enumerate(plan.cells.axes) if not set(axis.paths) <= along]
    order = np.lexsort(tuple(index[:, a] for a in reversed(fixed))) if fixed else np.arange(len(todo))
    rest = index[order][:, fixed]
    if len(todo):
        starts = np.flatnonzero((rest[1:] != rest[:-1]).any(axis=1)) + 1
        for part in np.split(order, starts):
            yield plan.cost_classes[part[0]], todo[part]


def task_input(plan: Plan, store: Store, lines: list[NDArray[np.int64]], cost_class: str) -> TaskInput:
    """Return all data that a worker needs for a task, as plain data."""
    first = int(lines[0][0])
    replace = relocate(plan.cells, store)
    return TaskInput(
        store=store.location(),
        experiment=plan.study.experiment.name,
        code_digest=plan.code.digest,
        manifest=dict(plan.code.manifest),
        revision=revision(),
        scenario=replace(plain(plan.study.scenario)),
        options=plain(plan.cells.options(first)),
        cost_class=cost_class,
        keep=plan.keep,
        cell_timeout_s=plan.study.cell_timeout_s,
        lines=tuple(tuple(_cell(plan, int(i), replace) for i in line) for line in lines),
    )


@dataclass
class Sweep:
    """One pass over a plan's missing cells.

    Parameters
    ----------
    workers
        Returns the number of workers; it is called repeatedly, so that the window follows a cluster that grows or shrinks.
    worker_end
        Returns how a worker ended, from the error of a task that the worker had; None for an error of another kind.
    attempts
        Number of times that this run computes a cell that is alone on its worker and loses the worker from outside.
    elsewhere
        Returns the executor for such a cell, given the machines that lost it.
    budget
        Limits of the run; a run that reaches a limit ends in good order.
    """

    plan: Plan
    store: Store
    executor: Executor
    workers: Callable[[], int]
    on_progress: Callable[[Progress], None] = lambda progress: None
    publish: Callable[[], None] | None = None
    worker_end: Callable[[BaseException], WorkerEnd | None] = lambda error: None
    attempts: int = ATTEMPTS
    elsewhere: Callable[[frozenset[str]], Executor] | None = None
    budget: Budget = NO_LIMIT

    def run(self) -> Progress:
        """Compute the missing cells, as far as the budget allows; return the final counts.

        Raises
        ------
        SurroundingsError
            If a task could not be carried out for a reason outside its cells.
        """
        self._source, self._again = _Lines(self.plan), deque[_Task]()
        self._flying: dict[Future[Receipt], _Task] = {}
        self._progress = Progress(total=len(self.plan.todo))
        self._published = time.monotonic()
        try:
            while True:
                self._fill_window()
                if not self._flying:
                    return self._progress
                done, _ = wait(self._flying, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    task = self._flying.pop(future)
                    self._again.extend(self._settle(task, future))
                self.on_progress(self._progress)
                if self.budget.over():
                    self._progress.stopped = "the deadline has passed"
                    return self._progress
                self._publish_now_and_then()
        finally:
            for future in self._flying:
                future.cancel()

    def _fill_window(self) -> None:
        """Submit tasks until every worker has a task in work and a task waiting, as far as the budget allows."""
        while len(self._flying) < 2 * max(1, self.workers()):
            task = self._again.popleft() if self._again else self._source.take()
            if task is None:
                return
            refusal = self._refusal(task)
            while refusal and task.cells > 1:  # a part of the task may still fit
                task, rest = task.halves()
                self._again.appendleft(rest)
                refusal = self._refusal(task)
            if refusal:
                self._progress.stopped = refusal
                self._again.appendleft(task)
                return
            self._progress.stopped = ""
            self._flying[self._submit(task)] = task

    def _refusal(self, task: _Task) -> str:
        promised = sum(self._source.expected(other) for other in self._flying.values())
        return self.budget.refusal(self._progress.core_seconds, promised, self._source.expected(task))

    def _submit(self, task: _Task) -> Future[Receipt]:
        executor = self.executor
        if task.losses and self.elsewhere is not None:
            executor = self.elsewhere(frozenset(end.host for end in task.losses if end.host))
        task.since = time.monotonic()
        return executor.submit(compute_task, task_input(self.plan, self.store, task.lines, task.cost_class))

    def _settle(self, task: _Task, future: Future[Receipt]) -> list[_Task]:
        """Count a finished task; return the tasks that must be tried again."""
        try:
            receipt = future.result()
        except CancelledError as error:
            raise SurroundingsError("the connection to the scheduler was lost; run again to go on where it stopped") from error
        except SurroundingsError:
            raise
        except Exception as error:
            end = self.worker_end(error)
            if end is None:
                raise SurroundingsError(f"a task could not be carried out: {type(error).__name__}: {error}") from error
            self._progress.core_seconds += time.monotonic() - task.since
            return self._after_loss(task, end)
        self._source.learn(task.cost_class, receipt)
        self._progress.add(receipt)
        return []

    def _after_loss(self, task: _Task, end: WorkerEnd) -> list[_Task]:
        """Split a task whose worker ended (rule W4).

        A cell that was alone has failed if it ended the worker; otherwise it is tried again (rule W3).
        """
        if task.cells > 1:
            return task.halves()
        task.losses += (end,)
        if not self._stored_since(int(task.lines[0][0])):
            if not end.own_doing and len(task.losses) < self.attempts:
                return [task]
            self._record_loss(task, end)
        self._progress.add(Receipt("", 1, {STATUS_CODES["failed"]: 1}, 0.0))
        return []

    def _record_loss(self, task: _Task, end: WorkerEnd) -> None:
        inputs = task_input(self.plan, self.store, task.lines, task.cost_class)
        if end.own_doing:
            message = f"The cell ended its worker process: {end.cause}."
        else:
            causes = "; ".join(dict.fromkeys(loss.cause for loss in task.losses))
            message = f"The cell lost its worker {len(task.losses)} times ({causes}). The next run tries it again."
        record_failure(inputs, inputs.lines[0][0], message, retryable=not end.own_doing)

    def _stored_since(self, cell: int) -> bool:
        """Return whether an outcome of the cell was stored after the plan was made, such as a failure by its time limit."""
        ledger = open_ledger(self.store)
        holding = np.unique(ledger.segment[(ledger.keys == self.plan.keys[cell]).all(axis=1)])
        known = {info.name for info in self.plan.ledger.segments}
        return any(ledger.segments[s].name not in known for s in holding)

    def _publish_now_and_then(self) -> None:
        """Publish the cube during the run, for at most a twentieth of the run's time."""
        now = time.monotonic()
        if self.publish is None or now - self._published < PUBLISH_EVERY_S:
            return
        self.publish()
        took = time.monotonic() - now
        # The next publication waits until the duration of this one is within the allowed share.
        self._published = time.monotonic() + max(0.0, took / PUBLISH_SHARE - PUBLISH_EVERY_S)


def _cell(plan: Plan, i: int, replace: Callable[[Mapping[str, Any]], dict[str, Any]]) -> CellInput:
    return CellInput(
        plan.keys[i].tobytes(),
        plan.scenario_keys[i].tobytes(),
        cell_text(plan.cells, i),
        replace(plan.cells.scenario_values(i)),
    )

"""The part that runs on a worker: it computes the cells of one task and writes their segment before it returns (W2, W3)."""

from __future__ import annotations

import faulthandler
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ValidationError

from pipeline.accepted import BrokenOutputError, accepted, storable
from pipeline.digest import CodeDigest
from pipeline.environment import environment
from pipeline.errors import broken_rule
from pipeline.experiment import RAISED, Experiment, Variable
from pipeline.ledger import put_segment
from pipeline.loaded import experiment_as_planned
from pipeline.segment import CellRecord, encode_segment, failed_record
from pipeline.store import open_store_backend
from pipeline.values import build, replace_values

TIME_LIMIT_EXIT = 77
MOST_MESSAGE, MOST_TRACEBACK = 2_000, 20_000
"""Letters that are kept of an experiment's message, and of a traceback."""


class CellInput(NamedTuple):
    """One cell as it is sent to a worker: its identity, and the scenario values that differ from the study's base."""

    key: bytes
    scenario_key: bytes
    canonical: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TaskInput:
    """All data that a worker needs to compute one task."""

    store: str
    experiment: str
    code_digest: str
    manifest: Mapping[str, str]
    revision: str
    scenario: Mapping[str, Any]
    options: Mapping[str, Any]
    cost_class: str
    keep: tuple[str, ...]
    cell_timeout_s: float
    lines: tuple[tuple[CellInput, ...], ...]

    @property
    def cells(self) -> int:
        """Return the number of cells in the task."""
        return sum(len(line) for line in self.lines)


@dataclass(frozen=True)
class Receipt:
    """The answer of a worker: counts and the segment's name, never the results themselves."""

    segment: str
    cells: int
    by_status: Mapping[int, int]
    seconds: float


def compute_task(task: TaskInput) -> Receipt:
    """Compute a task's cells, put their segment into the ledger, and only then return the segment's name."""
    started = time.perf_counter()
    planned = CodeDigest(task.code_digest, task.manifest)
    experiment = experiment_as_planned(task.experiment, planned, task.revision)
    variables = kept_variables(experiment, task)
    records: list[CellRecord] = []
    for line in task.lines:
        with _time_limit(task, line):
            records.extend(compute_line(experiment, task, line))
    seconds = time.perf_counter() - started
    name, records = _write(task, variables, records, seconds)
    statuses, counts = np.unique([r.status for r in records], return_counts=True)
    return Receipt(name, len(records), {int(s): int(n) for s, n in zip(statuses, counts, strict=True)}, seconds)


def kept_variables(experiment: Experiment, task: TaskInput) -> tuple[Variable, ...]:
    """Return the variables that a task's segment holds."""
    return tuple(v for v in experiment.variables if v.name in task.keep)


def record_failure(task: TaskInput, cell: CellInput, message: str, seconds: float = 0.0, *, retryable: bool = False) -> str:
    """Store a failure of one cell (rule W3) and return the segment's name.

    Parameters
    ----------
    retryable
        The surroundings caused the failure: the next plain run computes the cell again.
    """
    return _write(task, (), [_failed(cell, message)], seconds, retryable=retryable)[0]


def _write(
    task: TaskInput, variables: Sequence[Variable], records: list[CellRecord], seconds: float, *, retryable: bool = False
) -> tuple[str, list[CellRecord]]:
    """Store records as one segment; return its name and the records as they are stored."""
    attributes = {
        "experiment": task.experiment,
        "options": dict(task.options),
        "code_digest": task.code_digest,
        "manifest": dict(task.manifest),
        "environment": environment(),
        "host": platform.node(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "cost": {task.cost_class: [len(records), seconds]},
    } | ({"retryable": True} if retryable else {})
    try:
        data = encode_segment(records, variables, attributes)
    except Exception:  # whatever one cell contains, the other cells are stored (rule W3)
        records = [_encodable(record, variables) for record in records]
        data = encode_segment(records, variables, attributes)
    return put_segment(open_store_backend(task.store), data), records


def _encodable(record: CellRecord, variables: Sequence[Variable]) -> CellRecord:
    """Return the record, or in its place a failure if the record cannot be encoded."""
    try:
        encode_segment([record], variables, {})
    except Exception as error:
        message = storable(f"The cell's result cannot be stored: {_said(error)}", MOST_MESSAGE)
        return failed_record(record.key, record.scenario_key, record.canonical, message, storable(traceback.format_exc()))
    return record


def compute_line(experiment: Experiment, task: TaskInput, line: Sequence[CellInput]) -> list[CellRecord]:
    """Run one line of cells; if the line raises, run its cells one by one so that only the guilty cells fail."""
    options = build(experiment.options_model, task.options)
    ready: list[tuple[CellInput, BaseModel]] = []
    records: list[CellRecord] = []
    for cell in line:
        try:
            ready.append((cell, scenario_of(experiment, task, cell)))
        except ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {broken_rule(e)}" for e in error.errors())
            records.append(_failed(cell, f"The scenario of this cell is not valid: {reasons}"))
    if ready:
        records.extend(_run(experiment, options, ready))
    return records


def scenario_of(experiment: Experiment, task: TaskInput, cell: CellInput) -> BaseModel:
    return build(experiment.scenario_model, replace_values(task.scenario, cell.values))


def _run(experiment: Experiment, options: BaseModel, ready: Sequence[tuple[CellInput, BaseModel]]) -> list[CellRecord]:
    cells = [cell for cell, _ in ready]
    try:
        answers = experiment.run([scenario for _, scenario in ready], options)
        if len(answers) != len(ready):
            raise ValueError(f"the experiment returned {len(answers)} results for {len(ready)} cells")
        answers = list(answers)
    except BaseException as error:
        # Every exception, SystemExit too, is a failure of the cell; but a person who interrupts `disac cell` means the program.
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        if len(ready) > 1:
            return [record for one in ready for record in _run(experiment, options, [one])]
        return [_failed(cells[0], f"{RAISED}{_said(error)}{_place(error)}", traceback.format_exc())]
    return [_record(cell, answer, experiment.variables) for cell, answer in zip(cells, answers, strict=True)]


def _record(cell: CellInput, answer: Any, variables: Sequence[Variable]) -> CellRecord:
    """Return the record of one answer; an answer that breaks the declared schema is a failure of its cell (rule W6)."""
    try:
        status, message, values = accepted(answer, variables)
    except BrokenOutputError as error:
        return _failed(cell, f"The experiment's output is not as declared: {error}.")
    except Exception as error:  # the answer's own objects may raise when they are read
        return _failed(cell, f"The experiment's answer cannot be read: {_said(error)}", traceback.format_exc())
    return CellRecord(cell.key, cell.scenario_key, cell.canonical, status, storable(message, MOST_MESSAGE), "", values)


def _said(error: BaseException) -> str:
    """Return the kind and the text of an exception; making the text may itself raise."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__}, whose text cannot be made"


def _place(error: BaseException) -> str:
    """Return the place where an exception was raised, as the end of a sentence; the traceback tells the whole way."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f" ({Path(last.filename).name}, line {last.lineno}, in {last.name})"


def _failed(cell: CellInput, message: str, trace: str = "") -> CellRecord:
    message, trace = storable(message, MOST_MESSAGE), storable(trace, MOST_TRACEBACK)
    return failed_record(cell.key, cell.scenario_key, cell.canonical, message, trace)


@contextmanager
def _time_limit(task: TaskInput, line: Sequence[CellInput]) -> Iterator[None]:
    """End this worker process if a line takes longer than the time limits of its cells; a lone cell is recorded first."""
    limit = task.cell_timeout_s * len(line)

    def end_process() -> None:
        if len(line) == 1:
            sentence = f"The cell was still running after {task.cell_timeout_s:g} s (cell_timeout_s)."
            record_failure(task, line[0], sentence, seconds=limit)
        os._exit(TIME_LIMIT_EXIT)

    timer = threading.Timer(limit, end_process)
    timer.daemon = True
    timer.start()
    # Compiled code that never releases the interpreter would block the timer; this watch needs no interpreter.
    faulthandler.dump_traceback_later(limit * 1.1 + 5.0, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        timer.cancel()

"""What runs on a worker: compute the cells of one task and write their segment before returning (rules W2, W3)."""

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
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ValidationError

from pipeline.digest import CodeDigest
from pipeline.environment import environment
from pipeline.errors import broken_rule
from pipeline.experiment import STATUS_CODES, Experiment, Variable
from pipeline.ledger import put_segment
from pipeline.loaded import experiment_as_planned
from pipeline.segment import CellRecord, encode_segment, failed_record
from pipeline.store import open_store_backend
from pipeline.values import build, replace_values
from pipeline.zarrio import numpy_dtype

TIME_LIMIT_EXIT = 77


class CellInput(NamedTuple):
    """One cell on its way to a worker: identity, and the scenario values in which it differs from the study's base."""

    key: bytes
    scenario_key: bytes
    canonical: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TaskInput:
    """Everything a worker needs to compute one task."""

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
        """Number of cells in the task."""
        return sum(len(line) for line in self.lines)


@dataclass(frozen=True)
class Receipt:
    """What a worker returns: never the results themselves."""

    segment: str
    cells: int
    by_status: Mapping[int, int]
    seconds: float


def compute_task(task: TaskInput) -> Receipt:
    """Compute a task's cells, put their segment into the ledger, and only then return its name."""
    started = time.perf_counter()
    planned = CodeDigest(task.code_digest, task.manifest)
    experiment = experiment_as_planned(task.experiment, planned, task.revision)
    variables = kept_variables(experiment, task)
    records: list[CellRecord] = []
    for line in task.lines:
        with _time_limit(task, line):
            records.extend(compute_line(experiment, variables, task, line))
    seconds = time.perf_counter() - started
    name = _write(task, variables, records, seconds)
    statuses, counts = np.unique([r.status for r in records], return_counts=True)
    return Receipt(name, len(records), {int(s): int(n) for s, n in zip(statuses, counts, strict=True)}, seconds)


def kept_variables(experiment: Experiment, task: TaskInput) -> tuple[Variable, ...]:
    """The variables that a task's segment holds."""
    return tuple(v for v in experiment.variables if v.name in task.keep)


def record_failure(task: TaskInput, cell: CellInput, message: str, seconds: float = 0.0) -> str:
    """Store a failure of one cell itself (rule W3) and return the segment's name."""
    record = failed_record(cell.key, cell.scenario_key, cell.canonical, message)
    return _write(task, (), [record], seconds)


def _write(task: TaskInput, variables: Sequence[Variable], records: Sequence[CellRecord], seconds: float) -> str:
    data = encode_segment(
        records,
        variables,
        {
            "experiment": task.experiment,
            "options": dict(task.options),
            "code_digest": task.code_digest,
            "manifest": dict(task.manifest),
            "environment": environment(),
            "host": platform.node(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "cost": {task.cost_class: [len(records), seconds]},
        },
    )
    return put_segment(open_store_backend(task.store), data)


def compute_line(
    experiment: Experiment, variables: Sequence[Variable], task: TaskInput, line: Sequence[CellInput]
) -> list[CellRecord]:
    """Run one line; when it raises, run its cells one by one so that only the guilty ones fail."""
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
        records.extend(_run(experiment, variables, options, ready))
    return records


def scenario_of(experiment: Experiment, task: TaskInput, cell: CellInput) -> BaseModel:
    return build(experiment.scenario_model, replace_values(task.scenario, cell.values))


def _run(
    experiment: Experiment,
    variables: Sequence[Variable],
    options: BaseModel,
    ready: Sequence[tuple[CellInput, BaseModel]],
) -> list[CellRecord]:
    cells = [cell for cell, _ in ready]
    try:
        results = experiment.run([scenario for _, scenario in ready], options)
        if len(results) != len(ready):
            raise ValueError(f"the experiment returned {len(results)} results for {len(ready)} cells")
    except Exception as error:
        if len(ready) > 1:
            return [record for one in ready for record in _run(experiment, variables, options, [one])]
        return [_failed(cells[0], f"{type(error).__name__}: {error}", traceback.format_exc())]
    return [_record(cell, result, variables) for cell, result in zip(cells, results, strict=True)]


def _record(cell: CellInput, result: Mapping[str, Any], variables: Sequence[Variable]) -> CellRecord:
    """Check one result against the declared schema; a result that breaks it is a failure of the cell."""
    try:
        status, message = STATUS_CODES[result["status"]], str(result.get("message", ""))
        values = {}
        for variable in variables:
            if variable.name in result:
                value = np.asarray(result[variable.name], dtype=numpy_dtype(variable.dtype))
                if value.ndim != len(variable.dims):
                    raise ValueError(f"'{variable.name}' has shape {value.shape}, declared dimensions {variable.dims}")
                values[variable.name] = value
    except (KeyError, TypeError, ValueError) as error:
        return _failed(cell, f"The experiment broke its declared output: {error}", traceback.format_exc())
    return CellRecord(cell.key, cell.scenario_key, cell.canonical, status, message, "", values)


def _failed(cell: CellInput, message: str, trace: str = "") -> CellRecord:
    return failed_record(cell.key, cell.scenario_key, cell.canonical, message, trace)


@contextmanager
def _time_limit(task: TaskInput, line: Sequence[CellInput]) -> Iterator[None]:
    """End this worker process when a line takes longer than its cells are granted; a lone cell is recorded first."""
    limit = task.cell_timeout_s * len(line)

    def end_process() -> None:
        if len(line) == 1:
            sentence = f"The cell was still running after {task.cell_timeout_s:g} s (cell_timeout_s)."
            record_failure(task, line[0], sentence, seconds=limit)
        os._exit(TIME_LIMIT_EXIT)

    timer = threading.Timer(limit, end_process)
    timer.daemon = True
    timer.start()
    # Compiled code that never releases the interpreter would hold the timer up; this watch needs no interpreter.
    faulthandler.dump_traceback_later(limit * 1.1 + 5.0, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        timer.cancel()

"""The plan: the cells of a study that are stored, the cells that must be computed, and the reasons (rules G4, I5, I7).

A plan needs the study, the code digest and the keys of the ledger. It reads no result and starts no cluster.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from pipeline.adoptions import adopted_by
from pipeline.columns import columns_digest
from pipeline.digest import CodeDigest, code_digest, explain_change
from pipeline.experiment import STATUS_CODES, STATUS_NAMES, Sharing
from pipeline.grid import Cells, expand
from pipeline.identity import canonical_options, canonical_scenario, cell_keys, keyed_content, keys_under, option_texts
from pipeline.layout import KEYS, latest_of, plan_folder
from pipeline.ledger import Choice, Ledger, as_words, open_ledger
from pipeline.segment import KEY_BYTES, Text
from pipeline.sizes import dense_bytes, kept_names
from pipeline.store import MOST_RECORD_BYTES, Store, content_name
from pipeline.study import Study

CUBE_FORMAT = 3
MANY_CELLS = 50_000
"""Number of cells from which a run stores the keys: a million keys take 3 s to make and 0.1 s to read."""
MOST_NAMED = 20
"""New values of an axis that a plan names one by one."""


@dataclass(frozen=True)
class Plan:
    """The cells of a study, compared with a ledger."""

    study: Study
    cells: Cells
    code: CodeDigest
    keep: tuple[str, ...]
    keys: NDArray[np.uint8]
    scenario_keys: NDArray[np.uint8]
    ledger: Ledger
    choice: Choice
    lacking: Mapping[str, NDArray[np.bool_]]
    within: NDArray[np.bool_] | None = None
    """Mask of the cells that this run may compute; None for all cells (a preview computes a thin slice)."""
    retry: bool = False
    """Whether the run computes failed cells again; a new result then counts over the failure (rules S3, W3)."""

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """Return a mask of the planned cells that valid segments hold with every kept variable (rule I5)."""
        complete = self.choice.present
        for lacks in self.lacking.values():
            complete = complete & ~lacks
        return complete

    @cached_property
    def failed(self) -> NDArray[np.bool_]:
        """Return a mask of the planned cells whose result is a failure of the cell itself (rule W3)."""
        return self.choice.present & (self.choice.status == STATUS_CODES["failed"])

    @cached_property
    def retryable(self) -> NDArray[np.bool_]:
        """Return a mask of the cells that failed because of the surroundings, such as a lost worker: a run tries them again."""
        failed = self.failed.copy()
        failed[failed] = self.ledger.retryable[self.choice.segment[failed]] == 1
        return failed

    @cached_property
    def todo(self) -> NDArray[np.int64]:
        """Return the positions of the planned cells that must be computed."""
        needed = ~self.complete | (self.failed if self.retry else self.retryable)
        if self.within is not None:
            needed = needed & self.within
        return np.flatnonzero(needed)

    @property
    def left(self) -> int:
        """Return the number of requested cells that are missing; a preview requests only the cells of its slice."""
        lacking = ~self.complete if self.within is None else ~self.complete & self.within
        return int(lacking.sum())

    def by_status(self) -> dict[str, int]:
        """Return the number of present cells by the names of their statuses."""
        codes, counts = np.unique(self.choice.status[self.choice.present], return_counts=True)
        return {STATUS_NAMES[int(c)]: int(n) for c, n in zip(codes, counts, strict=True)}

    @cached_property
    def cost_classes(self) -> NDArray[np.object_]:
        """Return the cost class (text of the options) of each cell to compute."""
        return cost_classes(self.cells, self.todo)

    def expected_seconds(self) -> float | None:
        """Return the worker seconds that the missing cells will take, from past cells; None if a class has no past cells."""
        past = self.ledger.cost_per_cell()
        if not past:
            return None
        total = 0.0
        for cost_class, count in Counter(self.cost_classes).items():
            if cost_class not in past:
                return None
            total += count * past[cost_class]
        return total

    @cached_property
    def cube_key(self) -> str:
        """Return the digest of all that the published cube shows.

        That is the grid, the identity, the chosen copy of every cell, and the names and units of axes and variables.
        """
        digest = blake2b(digest_size=16)
        study = self.study
        variables = [variable for variable in study.experiment.variables if variable.name in self.keep]
        head = {
            "format": CUBE_FORMAT,
            "study": [study.name, study.title, study.paper, study.figure],
            "axes": [[axis.name, list(axis.labels), axis.unit, axis.long_name, axis.paths] for axis in self.cells.axes],
            "keep": [[v.name, v.dtype, v.dims, dict(v.coords), v.unit, v.long_name, bool(v.volatile)] for v in variables],
        }
        if columns := columns_digest(study):
            head["columns"] = columns
        digest.update(json.dumps(head, sort_keys=True, default=str).encode())
        names = b"".join(map(bytes.fromhex, self.ledger.origins))
        table = np.frombuffer(names, dtype=np.uint8).reshape(-1, 16)
        masks = {self.ledger.holding(v).tobytes(): self.ledger.holding(v) for v in self.keep}
        choices = [self.choice] + [self.ledger.choose(self.keys, mask) for mask in masks.values() if not mask.all()]
        for part in (self.cells.flat, self.keys):
            digest.update(np.ascontiguousarray(part).tobytes())
        for choice in choices:
            digest.update(table[choice.origin[choice.present]].tobytes())
            digest.update(choice.present.tobytes())
        return digest.hexdigest()

    def dense_bytes(self) -> int:
        """Return the size of the dense cube in bytes."""
        return dense_bytes(self.study, math.prod(self.cells.shape))

    def solves(self) -> int:
        """Return how often the costly part runs for the missing cells: once for all cells that share it, else once a cell."""
        experiment, count = self.study.experiment, 0
        if not isinstance(experiment, Sharing):
            return len(self.todo)
        for options, places in self.cells.by_options(self.todo):
            shared = set(experiment.shared_axes(options))
            apart = [a for a, axis in enumerate(self.cells.axes) if not shared.issuperset(axis.paths)]
            count += len(np.unique(self.cells.index[self.todo[places]][:, apart], axis=0))
        return count

    def summary(self) -> dict[str, Any]:
        """Return the plan as plain data, for people and machines."""
        return {
            "study": self.study.name,
            "experiment": self.study.experiment.name,
            "axes": {axis.name: len(axis.labels) for axis in self.cells.axes},
            "planned": len(self.keys),
            "reuse": int(self.complete.sum()),
            "compute": len(self.todo),
            "left": self.left,
            "solves": self.solves(),
            "reused_by_status": self.by_status(),
            "reasons": reasons(self),
            "expected_seconds": self.expected_seconds() if len(self.todo) else 0.0,
            "dense_bytes": self.dense_bytes(),
            "environment_changes": environment_changes(self),
            "damaged": list(self.ledger.damaged),
            "warnings": list(self.cells.warnings),
        }


def make_plan(study: Study, store: Store, only: Callable[[Cells], NDArray[np.bool_]] | None = None) -> Plan:
    """Expand the study, key its cells and look them up in the ledger.

    Parameters
    ----------
    only
        Returns a mask of the study's cells; the other cells are not planned (rule G1).

    Raises
    ------
    UsageError
        If the dense cube would be larger than the study allows.
    """
    cells = expand(study)
    if only is not None:
        cells = replace(cells, index=cells.index[only(cells)])
    return plan_cells(cells, code_digest(study.experiment.modules), store)


def plan_cells(cells: Cells, code: CodeDigest, store: Store) -> Plan:
    """Key cells of a study under a code and look them up in the ledger."""
    keep = kept_names(cells.study)
    keys, scenario_keys = _stored_keys(cells, code.digest, store) or cell_keys(cells, code.digest)
    ledger = open_ledger(store)
    keys = _with_adopted(ledger, code.digest, keys, scenario_keys, keep)
    choice, lacking = ledger.present(keys, keep)
    return Plan(cells.study, cells, code, keep, keys, scenario_keys, ledger, choice, lacking)


def _stored_keys(cells: Cells, digest: str, store: Store) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Return the keys that a run of the same study has stored; None if they were deleted or are damaged."""
    if len(cells.index) < MANY_CELLS:
        return None
    half = len(cells.index) * KEY_BYTES
    try:
        data = store.get(f"{KEYS}{keyed_content(cells, digest)}", 2 * half + KEY_BYTES)
    except KeyError:
        return None
    if len(data) != 2 * half + KEY_BYTES or bytes.fromhex(content_name(data[:-KEY_BYTES])) != data[-KEY_BYTES:]:
        return None
    both = np.frombuffer(data, dtype=np.uint8, count=2 * half).reshape(2, -1, KEY_BYTES)
    return both[0], both[1]


def _store_keys(plan: Plan, store: Store) -> None:
    if len(plan.keys) >= MANY_CELLS:
        data = keys_under(plan.scenario_keys, plan.code.digest).tobytes() + plan.scenario_keys.tobytes()
        name = f"{KEYS}{keyed_content(plan.cells, plan.code.digest)}"
        store.put_if_absent(name, data + bytes.fromhex(content_name(data)), durable=False)


def plan_under(plan: Plan, code: CodeDigest, store: Store) -> Plan:
    """Return the plan of the same study under the keys of other code, with the same ledger; adopted cells do not count."""
    keys = keys_under(plan.scenario_keys, code.digest)
    choice, lacking = plan.ledger.present(keys, plan.keep)
    return replace(plan, code=code, keys=keys, choice=choice, lacking=lacking, within=None, retry=False)


def _with_adopted(
    ledger: Ledger, digest: str, keys: NDArray[np.uint8], scenario_keys: NDArray[np.uint8], keep: tuple[str, ...]
) -> NDArray[np.uint8]:
    """Return the keys of the cells; a cell that is stored only under adopted code has its key under that code (rule I7)."""
    for older in adopted_by(ledger.store, digest):
        missing = np.flatnonzero(~ledger.choose(keys).present)
        if not len(missing):
            break
        there = keys_under(scenario_keys[missing], older)
        choice, lacking = ledger.present(there, keep)
        whole = choice.present
        for lacks in lacking.values():
            whole = whole & ~lacks
        keys = keys.copy()
        keys[missing[whole]] = there[whole]
    return keys


def refreshed(plan: Plan, store: Store, *, use_index: bool = True) -> Plan:
    """Return the same plan, compared with the ledger as it is now."""
    ledger = open_ledger(store, use_index=use_index)
    choice, lacking = ledger.present(plan.keys, plan.keep)
    return replace(plan, ledger=ledger, choice=choice, lacking=lacking)


def cost_classes(cells: Cells, positions: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return the cost class (text of the options) of the given cells: cells of one class are expected to cost alike."""
    option_axes = [a for a, axis in enumerate(cells.axes) if any(p.startswith("options.") for p in axis.paths)]
    if not len(positions):
        return np.empty(0, dtype=object)
    index = cells.index[positions][:, option_axes]
    unique, first, inverse = np.unique(index, axis=0, return_index=True, return_inverse=True)
    texts = np.array(option_texts(cells, cells.index[positions[first]]), dtype=object)
    return texts[inverse.reshape(-1)] if len(unique) else np.empty(0, dtype=object)


def record_of(plan: Plan) -> dict[str, Any]:
    """Return the data from which a later plan explains new cells: base scenario, options, axes and manifest."""
    return {
        "scenario": canonical_scenario(plan.study.scenario),
        "options": json.loads(canonical_options(plan.study.options)),
        "axes": {axis.name: {"paths": list(axis.paths), "labels": [str(x) for x in axis.labels]} for axis in plan.cells.axes},
        "manifest": dict(plan.code.manifest),
    }  # fmt: skip


def write_record(plan: Plan, store: Store) -> None:
    """Store the plan of a run under ``plans/<study>/latest``, and the keys if there are many cells."""
    _store_keys(plan, store)
    data = json.dumps(record_of(plan), sort_keys=True).encode()
    folder = plan_folder(plan.study.name)
    name = f"{folder}{content_name(data)}.json"
    store.put_if_absent(name, data, durable=False)
    store.publish_pointer(latest_of(folder), name)


class _AxisRecord(BaseModel):
    labels: list[Text]


class _PlanRecord(BaseModel):
    scenario: dict[str, Any]
    axes: dict[str, _AxisRecord]


def _last_record(plan: Plan) -> _PlanRecord | None:
    """Return the record of the study's last run; a damaged record counts as absent."""
    folder = plan_folder(plan.study.name)
    target = plan.ledger.store.read_pointer(latest_of(folder))
    if target is None or not target.startswith(folder):
        return None
    try:
        return _PlanRecord.model_validate_json(plan.ledger.store.get(target, MOST_RECORD_BYTES))
    except (KeyError, ValidationError):
        return None


def reasons(plan: Plan) -> dict[str, int]:
    """Return the reasons why cells must be computed: sentence -> number of cells (rule I7)."""
    counts: Counter[str] = Counter()
    explained = np.zeros(len(plan.keys), dtype=bool)
    for variable, lacks in plan.lacking.items():
        fresh = lacks & ~explained
        if fresh.any():
            counts[f"variable {variable} not kept"] += int(fresh.sum())
        explained |= lacks
    if plan.retry and plan.failed.any():
        counts["failed before, tried again"] = int(plan.failed.sum())
    elif plan.retryable.any():
        counts["lost its workers before, tried again"] = int(plan.retryable.sum())
    missing = np.flatnonzero(~plan.choice.present)
    older = _same_scenario(plan, missing)
    for segment in np.unique(older[older >= 0]):
        change = explain_change(dict(plan.ledger.segments[segment].manifest), dict(plan.code.manifest))
        counts["code: " + "; ".join(change)] += int((older == segment).sum())
    fresh_cells = missing[older < 0]
    if len(fresh_cells):
        counts.update(_why_new(plan, fresh_cells))
    return dict(counts)


def _same_scenario(plan: Plan, missing: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return for each missing cell a segment that holds the same scenario under other code, or -1."""
    ledger = plan.ledger
    other = np.array([info.code_digest != plan.code.digest for info in ledger.segments], dtype=bool)
    rows = np.flatnonzero(other[ledger.segment])  # cells that this code has stored are not missing
    if not len(rows) or not len(missing):
        return np.full(len(missing), -1, dtype=np.int32)
    stored = as_words(ledger.scenario_keys[rows])
    order = np.lexsort((ledger.segment[rows], stored["lo"], stored["hi"]))
    rows, stored = rows[order], stored[order]
    wanted = as_words(plan.scenario_keys[missing])
    # Of equal keys the last one is taken.
    place = np.maximum(np.searchsorted(stored["hi"], wanted["hi"], side="right") - 1, 0)
    found = stored[place] == wanted
    return np.where(found, ledger.segment[rows][place], -1).astype(np.int32)


def _why_new(plan: Plan, cells: NDArray[np.int64]) -> Counter[str]:
    """Count reasons by comparison with the study's last run: changed base fields, new axes, new values of axes."""
    last = _last_record(plan)
    if last is None:
        return Counter({"not computed yet": len(cells)})
    now = record_of(plan)
    on_axis = {path for axis in plan.cells.axes for path in axis.paths}
    changed = [
        f"{path} {last.scenario.get(path, '(absent)')} -> {now['scenario'].get(path, '(absent)')}"
        for path in sorted({*last.scenario, *now["scenario"]} - on_axis)
        if last.scenario.get(path) != now["scenario"].get(path)
    ]
    if changed:
        return Counter({"field: " + "; ".join(changed): len(cells)})
    counts: Counter[str] = Counter()
    left = np.ones(len(cells), dtype=bool)
    for a, axis in enumerate(plan.cells.axes):
        known = set(last.axes[axis.name].labels) if axis.name in last.axes else set()
        new = np.array([str(label) not in known for label in axis.labels])
        fresh = new[plan.cells.index[cells, a]] & left
        left &= ~fresh
        kind = "new value on axis" if axis.name in last.axes else "new axis"
        values, numbers = np.unique(plan.cells.index[cells[fresh], a], return_counts=True)
        for value, count in zip(values[:MOST_NAMED], numbers[:MOST_NAMED], strict=True):
            counts[f"{kind} {axis.name}: {axis.labels[value]}"] += int(count)
        if len(values) > MOST_NAMED:
            counts[f"{kind} {axis.name}: {len(values) - MOST_NAMED:,} more"] += int(numbers[MOST_NAMED:].sum())
    if left.any():
        counts["not computed yet"] += int(left.sum())
    return counts


def environment_changes(plan: Plan) -> list[str]:
    """Return sentences on reused cells that other versions of the software computed (rule I6: reported, not identity)."""
    from pipeline.environment import environment

    now = environment()
    used = np.unique(plan.choice.segment[plan.choice.present])
    found = {
        f"{name} {then[name]} (now {now.get(name, 'absent')})"
        for then in (plan.ledger.segments[s].environment for s in used)
        for name in then
        if name != "revision" and then[name] != now.get(name)
    }
    return sorted(found)

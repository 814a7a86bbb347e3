"""Cubes: the dense labelled view of one study, always rebuilt whole (rules C1-C4).

A version is an immutable folder of plain Zarr v3; ``latest`` is a link to the newest version. Cubes are copies of data in the
ledger: if all cubes are deleted, the next run writes them again.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.archive import StoredFiles
from pipeline.columns import computed_columns
from pipeline.environment import environment
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES, Variable
from pipeline.file_list import ROOT, check_file_list, with_file_list
from pipeline.identity import canonical_options
from pipeline.layout import INDEX, cube_folder, latest_of, versions_of
from pipeline.ledger import Choice, DamagedSegmentError, read_segment
from pipeline.plan import Plan, refreshed
from pipeline.segment import Segment, cell_values
from pipeline.store import Store
from pipeline.zarrio import FormatError, Labelled, Pieces, consolidated, group_stream, missing_value, numpy_dtype

KEPT_VERSIONS = 3
_WRITERS = 16
GRACE_SECONDS = 24 * 3600.0
MISSING_TEXT = "missing_value"
"""Attribute of published texts; xarray removes it when it opens them."""


STUDY_TEXT = "study_text"
"""Attribute of a cube: the study whose cells it shows, for readers who ask about one cell."""


class SchemaError(UsageError):
    """A stored variable's dtype or unit differs from what the experiment declares now (rule S5)."""


def build_cube(plan: Plan) -> tuple[dict[str, Labelled], dict[str, Any]]:
    """Assemble the dense cube of a plan from the ledger.

    Returns
    -------
    arrays
        Axis coordinates, ``status``, ``message`` and every kept variable of kind ``cube``.
    attributes
        Provenance: scenario, options, manifest, environments, counts.
    """
    axes = tuple(axis.name for axis in plan.cells.axes)
    shape = plan.cells.shape
    variables = {v.name: v for v in plan.study.experiment.variables if v.name in plan.keep and v.kind == "cube"}
    segments = _read_segments(plan, variables)
    _check_dense_size(plan, variables, segments)
    arrays = _coordinates(plan)
    status = np.full(int(np.prod(shape)), STATUS_CODES["not_planned"], dtype=np.uint8)
    status[plan.cells.flat] = STATUS_CODES["missing"]
    here = plan.choice.present
    status[plan.cells.flat[here]] = plan.choice.status[here]
    _check_index(plan, status, segments)
    arrays["status"] = Labelled(axes, status.reshape(shape), _status_attributes())
    message = np.full(status.shape, "", dtype=numpy_dtype("str"))
    _scatter(message, "message", plan, plan.choice, segments)
    arrays["message"] = Labelled(axes, message.reshape(shape), {"long_name": "what happened in the cell"})
    for name, variable in variables.items():
        holding = plan.ledger.holding(name)
        choice = plan.choice if holding.all() else plan.ledger.choose(plan.keys, holding)
        own = tuple(_own_size(segments, variable, i) for i in range(len(variable.dims)))
        dense = np.full((status.size, *own), missing_value(variable.dtype), dtype=numpy_dtype(variable.dtype))
        _scatter(dense, name, plan, choice, segments)
        attributes = {"units": variable.unit, "long_name": variable.long_name, "volatile": int(variable.volatile)}
        arrays[name] = Labelled((*axes, *variable.dims), dense.reshape(*shape, *own), attributes)
        for dim in variable.dims:
            _own_dimension(arrays, dim, variable, plan, choice, segments)
    arrays |= _columns(plan, variables, arrays)
    return arrays, _attributes(plan, arrays)


def _columns(plan: Plan, variables: Iterable[str], arrays: Mapping[str, Labelled]) -> dict[str, Labelled]:
    """Return the columns that are computed from the variables of the stored cells (rule C8)."""
    shape, here = plan.cells.shape, plan.cells.flat[plan.choice.present]
    stored = {
        name: arrays[name].data.reshape(math.prod(shape), *arrays[name].data.shape[len(shape) :])[here] for name in variables
    }
    axes, found = tuple(axis.name for axis in plan.cells.axes), {}
    for variable, values in computed_columns(plan.study, plan.cells, plan.choice.present, stored):
        dense = np.full(math.prod(shape), missing_value(variable.dtype), dtype=numpy_dtype(variable.dtype))
        dense[here] = values
        attributes = {"units": variable.unit, "long_name": variable.long_name, "volatile": int(variable.volatile)}
        found[variable.name] = Labelled(axes, dense.reshape(shape), attributes)
    return found


@dataclass(frozen=True)
class _Part:
    """The rows of one segment that a choice uses."""

    segment: Segment
    rows: NDArray[np.int64]

    def values(self, name: str, rows: NDArray[np.int32]) -> NDArray[Any]:
        """Return an array's values at rows of the segment."""
        return self.segment.arrays[name][np.searchsorted(self.rows, rows)]


def _read_segments(plan: Plan, variables: Mapping[str, Variable]) -> dict[int, _Part]:
    """Decode the rows that a choice uses, limited to the cube's variables."""
    masks = {plan.ledger.holding(name).tobytes(): plan.ledger.holding(name) for name in variables}
    choices = [plan.choice, *(plan.ledger.choose(plan.keys, m) for m in masks.values() if not m.all())]
    pairs = np.concatenate([np.stack([c.segment, c.row], axis=1) for c in choices]).astype(np.int64)
    used, first = np.unique(pairs, axis=0, return_index=True)
    numbers, starts = np.unique(used[:, 0], return_index=True)
    parts: dict[int, _Part] = {}
    for number, here in zip(numbers.tolist(), np.split(np.arange(len(used)), starts[1:]), strict=True):
        if number >= 0:
            info, rows, keys = plan.ledger.segments[number], used[here, 1], plan.keys[first[here] % len(plan.keys)]
            wanted = None if len(rows) == info.cells else rows
            segment = read_segment(plan.ledger.store, info.name, variables, ("key", "status", "message"), wanted, keys)
            parts[number] = _Part(segment, rows)
            _check_schema(info.name, segment, variables)
    return parts


def _check_dense_size(plan: Plan, variables: Mapping[str, Variable], segments: Mapping[int, _Part]) -> None:
    """Refuse own dimensions that are so long that the cube would exceed the study's limit (rule G4)."""
    cells, limit = int(np.prod(plan.cells.shape)), plan.study.max_dense_bytes
    for name, variable in variables.items():
        own = tuple(_own_size(segments, variable, i) for i in range(len(variable.dims)))
        size = cells * math.prod(own) * int(numpy_dtype(variable.dtype).itemsize)
        if size > limit:
            raise UsageError(
                f"{plan.study.source.name}: '{name}' with dimensions {variable.dims} of lengths {own} would take {size:,} "
                f"bytes in the cube, the limit is max_dense_bytes: {limit:,}. Leave it out of keep, or raise the limit"
            )


def _check_index(plan: Plan, status: NDArray[np.uint8], segments: Mapping[int, _Part]) -> None:
    """Check that the key index gives each cell the status that the cell's segment holds."""
    here, found = plan.cells.flat[plan.choice.present], np.zeros(status.shape, dtype=np.uint8)
    _scatter(found, "status", plan, plan.choice, segments)
    if (found[here] != status[here]).any():
        raise DamagedSegmentError(f"the key index and the segments disagree on statuses; remove the folder {INDEX}")


def _check_schema(name: str, segment: Segment, variables: Mapping[str, Variable]) -> None:
    for variable, stored in segment.attributes["schema"].items():
        if variable in variables:
            now = variables[variable]
            for what, old, new in (("dtype", stored["dtype"], now.dtype), ("unit", stored["units"], now.unit)):
                if old != new:
                    raise SchemaError(
                        f"variable '{variable}': segment {name} stores the {what} '{old}', the experiment declares "
                        f"'{new}'; give the changed variable a new name"
                    )


def _scatter(
    dense: NDArray[Any], name: str, plan: Plan, choice: Choice, segments: Mapping[int, _Part]
) -> None:  # fmt: skip
    """Copy one variable's rows from the chosen copies to their places in the dense array."""
    order = np.argsort(choice.segment, kind="stable")
    numbers, starts = np.unique(choice.segment[order], return_index=True)
    for number, rows in zip(numbers, np.split(order, starts[1:]), strict=True):
        if number >= 0 and name in segments[int(number)].segment.arrays:
            values = segments[int(number)].values(name, choice.row[rows])
            place: tuple[Any, ...] = (plan.cells.flat[rows], *(slice(n) for n in values.shape[1:]))
            dense[place] = values


def _own_size(segments: Mapping[int, _Part], variable: Variable, axis: int) -> int:
    """Return the length of an own dimension: the number of its labels, else the largest length in any segment (rule C3)."""
    dim = variable.dims[axis]
    if dim in variable.coords:
        return len(variable.coords[dim])
    stored = (part.segment.arrays.get(variable.name) for part in segments.values())
    return max((array.shape[axis + 1] for array in stored if array is not None), default=0)


def _own_dimension(
    arrays: dict[str, Labelled],
    dim: str,
    variable: Variable,
    plan: Plan,
    choice: Choice,
    segments: Mapping[int, _Part],
) -> None:
    """Add the labels of an own dimension, or the number of used entries per cell if the length varies."""
    if dim in variable.coords:
        arrays[dim] = Labelled((dim,), _label_array(variable.coords[dim]))
    elif f"n_{dim}" not in arrays:
        shape = plan.cells.shape
        counts = np.full(int(np.prod(shape)), -1, dtype=np.int64)
        _scatter(counts, f"n_{dim}", plan, choice, segments)
        axes = tuple(axis.name for axis in plan.cells.axes)
        arrays[f"n_{dim}"] = Labelled(axes, counts.reshape(shape), {"long_name": f"entries used along {dim}"})


def _label_array(labels: Iterable[Any]) -> NDArray[Any]:
    values = list(labels)
    text = any(isinstance(v, str) for v in values)
    return np.array([str(v) for v in values] if text else values, dtype=numpy_dtype("str") if text else None)


def _coordinates(plan: Plan) -> dict[str, Labelled]:
    arrays: dict[str, Labelled] = {}
    for axis in plan.cells.axes:
        attributes = {"units": axis.unit, "long_name": axis.long_name, "path": ", ".join(axis.paths)}
        arrays[axis.name] = Labelled((axis.name,), _label_array(axis.labels), attributes)
        for member, values in axis.members.items():
            arrays[member] = Labelled((axis.name,), _label_array(values), {"along": axis.name})
    return arrays


def _status_attributes() -> dict[str, Any]:
    return {
        "long_name": "status of the cell",
        "flag_values": list(STATUS_CODES.values()),
        "flag_meanings": " ".join(STATUS_CODES),
    }


def _attributes(plan: Plan, arrays: Mapping[str, Labelled]) -> dict[str, Any]:
    study = plan.study
    members = [member for axis in plan.cells.axes for member in axis.members]
    used = np.unique(plan.choice.segment[plan.choice.present])
    environments = {json.dumps(dict(plan.ledger.segments[s].environment), sort_keys=True) for s in used}
    attributes = {
        "study": study.name,
        "title": study.title,
        "paper": study.paper,
        "figure": study.figure,
        "experiment": study.experiment.name,
        STUDY_TEXT: study.text,
        "scenario": study.scenario.model_dump_json(),
        "options": canonical_options(study.options),
        "manifest": json.dumps(dict(plan.code.manifest), sort_keys=True),
        "code_digest": plan.code.digest,
        "environment": json.dumps(environment(), sort_keys=True),
        "environments_of_cells": json.dumps(sorted(environments)),
        "cube_key": plan.cube_key,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "planned": len(plan.keys),
        "present": int(plan.complete.sum()),
        "cells_by_status": json.dumps(plan.by_status()),
        "disac_version": environment().get("disac", "unknown"),
        "git_revision": environment().get("revision", ""),
    }
    # Without this CF attribute xarray would show the members of a coupled axis as data variables.
    return attributes | ({"coordinates": " ".join(members)} if members else {})


def publish_group(
    store: Store, folder: str, key: str, arrays: Mapping[str, Labelled | Pieces], attributes: Mapping[str, Any]
) -> str:
    """Write one immutable version of a cube or surface and let ``latest`` point to it (rule C4); return the version's name.

    The group's root metadata is written last. So a version that a kill left half written never opens, and the next
    publication of the same content completes it. A damaged version (rule C6) is written again. The arrays are read chunk by
    chunk.
    """
    version = f"{versions_of(folder)}{key}"
    if version_damage(store, version):
        # The root is removed first, so that the version does not open meanwhile.
        store.delete(f"{version}/{ROOT}")
        there = {entry.name.removeprefix(f"{version}/"): entry.size for entry in store.list(version)}
        metadata: dict[str, bytes] = {}
        sizes: dict[str, int] = {}
        under_way: deque[Future[Any]] = deque()
        # Threads write the files side by side, because most of the time is spent waiting for the disk after each file.
        with ThreadPoolExecutor(_WRITERS) as pool:
            for name, data in group_stream({name: _declared(a) for name, a in arrays.items()}, attributes):
                if name.endswith(ROOT):
                    metadata[name] = data
                if name != ROOT:
                    sizes[name] = len(data)
                    if there.pop(name, len(data)) != len(data):
                        store.delete(f"{version}/{name}")
                    under_way.append(pool.submit(store.put_if_absent, f"{version}/{name}", data))
                if len(under_way) > _WRITERS:
                    under_way.popleft().result()
            for future in under_way:
                future.result()
        for name in there:
            store.delete(f"{version}/{name}")
        store.put_if_absent(f"{version}/{ROOT}", with_file_list(consolidated(metadata), sizes))
    store.publish_pointer(latest_of(folder), version)
    remove_old_versions(store, folder)
    return version


def _declared(labelled: Labelled | Pieces) -> Labelled | Pieces:
    """Declare a missing value that no text equals, so that xarray opens the texts as objects.

    Otherwise Zarr gives texts of NumPy's StringDType, and ``idxmin``, ``where`` and ``reindex`` fail on these.
    """
    if isinstance(labelled, Pieces) or not isinstance(labelled.dtype, np.dtypes.StringDType):
        return labelled
    unused = "(missing)"
    while (labelled.data == unused).any():
        unused = f"({unused})"
    return replace(labelled, attributes={**labelled.attributes, MISSING_TEXT: unused})


def version_damage(store: Store, version: str) -> str:
    """Return a clause that says what is wrong with the files of a published version; empty if nothing is (rule C6)."""
    try:
        check_file_list(StoredFiles(store, version))
    except FormatError as error:
        return str(error)
    return ""


def published_whole(store: Store, folder: str, key: str) -> bool:
    """Return whether ``latest`` names the version of a key, and all files of the version are there with their sizes."""
    version = published_version(store, folder)
    return version == f"{versions_of(folder)}{key}" and not version_damage(store, version)


def publish_cube(plan: Plan, store: Store) -> str:
    """Build and publish the cube of a plan as it stands; return the version's name.

    If a segment is gone or was damaged since it was listed, the ledger is read once more and every segment is checked.
    """
    try:
        arrays, attributes = build_cube(plan)
    except (KeyError, DamagedSegmentError):
        store.delete(latest_of(INDEX))
        plan = refreshed(plan, store, use_index=False)
        arrays, attributes = build_cube(plan)
    return publish_group(store, cube_folder(plan.study.name), plan.cube_key, arrays, attributes)


def published_key(store: Store, folder: str) -> str | None:
    """Return the key of the version that ``latest`` names."""
    version = published_version(store, folder)
    return None if version is None else version.rsplit("/", 1)[-1]


def published_version(store: Store, folder: str) -> str | None:
    """Return the store name of the version that ``latest`` names; None if nothing is published or it names no version."""
    target = store.read_pointer(latest_of(folder))
    return target if target is not None and f"{target.rpartition('/')[0]}/" == versions_of(folder) else None


def remove_old_versions(
    store: Store, folder: str, *, now: float | None = None, grace_s: float = GRACE_SECONDS, dry_run: bool = False
) -> dict[str, int]:
    """Remove the versions that are not the latest, exceed the kept number and are older than the grace period (rule C4).

    Returns
    -------
    dict
        Key of each version removed -> its bytes.
    """
    now = time.time() if now is None else now
    latest = published_key(store, folder)
    versions: dict[str, list[Any]] = {}
    place = versions_of(folder)
    for entry in store.list(place):
        versions.setdefault(entry.name.removeprefix(place).split("/", 1)[0], []).append(entry)
    newest = {key: max(e.mtime_ns for e in entries) / 1e9 for key, entries in versions.items()}
    ranked = sorted((key for key in versions if key != latest), key=lambda key: -newest[key])
    removed = [key for key in ranked[KEPT_VERSIONS:] if now - newest[key] > grace_s]
    for entry in (entry for key in removed if not dry_run for entry in versions[key]):
        store.delete(entry.name)
    return {key: sum(e.size for e in versions[key]) for key in removed}


def nondeterminism(plan: Plan) -> list[str]:
    """Return sentences on planned cells whose copies differ in a non-volatile bit (rule S3)."""
    sentences = []
    duplicates = plan.ledger.duplicates(plan.keys)
    rows: dict[str, set[int]] = {}
    for name, row in (copy for _, copies in duplicates for copy in copies):
        rows.setdefault(name, set()).add(row)
    parts: dict[str, _Part] = {}
    for name, wanted in rows.items():
        stored = np.array(sorted(wanted), dtype=np.int64)
        with contextlib.suppress(KeyError, DamagedSegmentError):
            parts[name] = _Part(read_segment(plan.ledger.store, name, rows=stored), stored)
    for key, copies in duplicates:
        known = ((parts[name], row) for name, row in copies if name in parts)
        images = {cell_image(part.segment, int(np.searchsorted(part.rows, row))) for part, row in known}
        shared = set.intersection(*({n for n, _ in image} for image in images)) if images else set()
        if len({frozenset(item for item in image if item[0] in shared) for image in images}) > 1:
            sentences.append(f"cell {key.hex()}: {len(copies)} copies differ, in segments {[n for n, _ in copies]}")
    return sentences


def cell_image(segment: Segment, row: int) -> frozenset[tuple[str, bytes]]:
    """Return the non-volatile content of one cell, in a form that can be compared bit for bit."""
    schema = segment.attributes["schema"]
    items = [("status", segment.arrays["status"][row].tobytes())]
    for name, value in cell_values(segment, row).items():
        if not schema[name]["volatile"]:
            items.append((name, str(value).encode() if schema[name]["dtype"] == "str" else np.asarray(value).tobytes()))
    return frozenset(items)

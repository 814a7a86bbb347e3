"""Compaction and garbage collection (rule S4): write first, delete after a grace period.

Compaction copies the rows of many small segments into few large ones and deletes nothing. Each row remembers its origin, the
segment that a worker wrote, so no choice between copies changes and no cube becomes stale. Garbage collection then removes each
segment whose rows all stand in compacted segments that are older than the grace period. It also removes all other objects that
nothing points to.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cube import GRACE_SECONDS, remove_old_versions
from pipeline.key_index import SegmentInfo
from pipeline.layout import (
    ANALYSES,
    CUBES,
    DECIDED,
    INDEX,
    KEYS,
    PLANS,
    REFINED,
    SURFACES,
    decided_folder,
    latest_of,
    plan_folder,
    study_of,
    versions_of,
)
from pipeline.ledger import Ledger, open_ledger, put_segment, read_segment, segment_file
from pipeline.segment import ABOUT, Segment, SegmentError, encode_arrays
from pipeline.store import LocalStore, Store
from pipeline.zarrio import missing_value, numpy_dtype

SMALL_BYTES = 16 * 2**20
LARGE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Removal:
    """An object that garbage collection removes, or would remove."""

    name: str
    size: int
    reason: str


def compact(store: Store, *, small_bytes: int = SMALL_BYTES, large_bytes: int = LARGE_BYTES) -> dict[str, tuple[str, ...]]:
    """Copy small segments of one experiment, code, schema and environment into large ones.

    Returns
    -------
    dict
        Name of each compacted segment -> names of the segments whose rows it holds.
    """
    ledger = open_ledger(store)
    superseded = {info.name for info, _ in _superseded(ledger)}
    groups: dict[str, list[SegmentInfo]] = defaultdict(list)
    for info in ledger.segments:
        if info.size < small_bytes and info.name not in superseded:
            alike = (info.experiment, info.code_digest, info.manifest, info.schema, info.environment, info.retryable)
            groups[json.dumps(alike, sort_keys=True)].append(info)
    return {name: sources for group in groups.values() for name, sources in _merge_group(store, group, large_bytes)}


def _merge_group(store: Store, group: Sequence[SegmentInfo], large_bytes: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Merge segments that are alike, grouped by their options, into segments of a limited size."""
    batches: dict[str, list[tuple[SegmentInfo, Segment]]] = defaultdict(list)
    for info in group:
        try:
            segment = read_segment(store, info.name)
        except (KeyError, SegmentError):
            continue
        options = json.dumps(segment.attributes["options"], sort_keys=True)
        batches[options].append((info, segment))
        if sum(one.size for one, _ in batches[options]) >= large_bytes:
            yield from _merge(store, batches.pop(options))
    for batch in batches.values():
        yield from _merge(store, batch)


def _merge(store: Store, batch: Sequence[tuple[SegmentInfo, Segment]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if len(batch) > 1:
        yield put_segment(store, merged([(info.name, segment) for info, segment in batch])), tuple(i.name for i, _ in batch)


def merged(parts: Sequence[tuple[str, Segment]]) -> bytes:
    """Return the bytes of one segment with the rows of several segments that are alike in schema, code and environment."""
    schema: Mapping[str, Any] = parts[0][1].attributes["schema"]
    counts = sorted({f"n_{dim}" for spec in schema.values() for dim in spec["dims"] if dim not in spec["coords"]})
    arrays: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
    for name in (*ABOUT, *counts, *schema):
        dtype = schema[name]["dtype"] if name in schema else None
        arrays[name] = (parts[0][1].dims[name], _stacked([segment.arrays[name] for _, segment in parts], dtype))
    origins: dict[str, dict[str, str]] = {}
    number_of: dict[str, int] = {}
    numbers: list[NDArray[np.int32]] = []
    cost: dict[str, tuple[int, float]] = {}
    for name, segment in parts:
        attributes = segment.attributes
        own: dict[str, str] = {"name": name}
        own |= {k: attributes[k] for k in ("host", "finished") if k in attributes}
        known = attributes.get("origins", [own])
        places = np.array([number_of.setdefault(o["name"], len(number_of)) for o in known], dtype=np.int32)
        origins |= {o["name"]: o for o in known}
        numbers.append(places[segment.arrays.get("origin", np.zeros(len(segment.arrays["key"]), dtype=np.int32))])
        for cost_class, (cells, seconds) in attributes["cost"].items():
            n, s = cost.get(cost_class, (0, 0.0))
            cost[cost_class] = (n + cells, s + seconds)
    arrays["origin"] = (("cell",), np.concatenate(numbers))
    alike = ("experiment", "options", "code_digest", "manifest", "environment", "retryable")
    shared = {k: parts[0][1].attributes[k] for k in alike if k in parts[0][1].attributes}
    return encode_arrays(arrays, schema, {**shared, "cost": cost, "origins": list(origins.values())})


def _stacked(blocks: Sequence[NDArray[Any]], dtype: str | None) -> NDArray[Any]:
    """Return the rows of all blocks; own dimensions of different lengths are padded (rule C3)."""
    sizes = np.max([block.shape[1:] for block in blocks], axis=0, initial=0).astype(int)
    if dtype is None or all(block.shape[1:] == tuple(sizes) for block in blocks):
        return np.concatenate(blocks)
    whole = np.full((sum(map(len, blocks)), *sizes), missing_value(dtype), dtype=numpy_dtype(dtype))
    start = 0
    for block in blocks:
        place: tuple[Any, ...] = (slice(start, start + len(block)), *(slice(n) for n in block.shape[1:]))
        whole[place] = block
        start += len(block)
    return whole


def _superseded(ledger: Ledger) -> list[tuple[SegmentInfo, tuple[str, ...]]]:
    """Return the segments whose every origin stands whole in larger compacted segments, with the names of the latter."""
    cells = {(info.name, origin): n for info in ledger.segments for origin, n in _cells_by_origin(ledger, info).items()}
    holders: dict[str, list[SegmentInfo]] = defaultdict(list)
    for info in ledger.segments:
        if info.compacted:
            for origin in info.origins:
                holders[origin].append(info)
    found = []
    for info in ledger.segments:
        better = {
            origin: [h.name for h in holders[origin]
                     if h.cells > info.cells and cells[h.name, origin] == cells[info.name, origin]]
            for origin in info.origins
        }  # fmt: skip
        if all(better.values()):
            found.append((info, tuple(sorted({name for names in better.values() for name in names}))))
    return found


def _cells_by_origin(ledger: Ledger, info: SegmentInfo) -> dict[str, int]:
    if not info.compacted:
        return {info.name: info.cells}
    rows = ledger.origin[ledger.segment == ledger.segments.index(info)]
    numbers, counts = np.unique(rows, return_counts=True)
    return {ledger.origins[i]: int(n) for i, n in zip(numbers, counts, strict=True)}


def collect_garbage(
    store: Store, *, older_than_s: float = GRACE_SECONDS, dry_run: bool = False, now: float | None = None
) -> list[Removal]:
    """Remove the objects that nothing needs and that are older than the grace period. No cell is ever lost.

    Removed are segments that compaction superseded (each compacted segment is read and checked first), superseded versions of
    cubes, surfaces, refinements and plans, stale indices, and temporary files of writers that were killed.
    """
    now = time.time() if now is None else now
    removals = list(_old_segments(store, now - older_than_s))
    for kind in (CUBES, SURFACES, ANALYSES, REFINED):
        for name in sorted({study_of(entry.name) for entry in store.list(kind)}):
            folder = f"{kind}{name}/"
            versions = remove_old_versions(store, folder, now=now, grace_s=older_than_s, dry_run=dry_run)
            removals += [Removal(f"{versions_of(folder)}{key}", size, "an older version") for key, size in versions.items()]
    removals += _unnamed(store, now - older_than_s)
    if isinstance(store, LocalStore):
        removals += [
            Removal(name, size, "left behind by a writer that was killed")
            for name, size in store.sweep_temporaries(older_than_s=older_than_s, dry_run=dry_run)
        ]
    if not dry_run:
        for removal in removals:
            store.delete(removal.name)
    return removals


def _old_segments(store: Store, limit: float) -> Iterator[Removal]:
    ledger = open_ledger(store)
    moment = {info.name: info.mtime_ns / 1e9 for info in ledger.segments}
    sound: dict[str, bool] = {}
    for info, holders in _superseded(ledger):
        for holder in holders:
            if holder not in sound:
                sound[holder] = _reads(store, holder)
        if all(sound[h] and moment[h] < limit for h in holders):
            yield Removal(segment_file(info.name), info.size, f"its cells are also in {', '.join(h[:12] for h in holders)}")


def _reads(store: Store, name: str) -> bool:
    try:
        read_segment(store, name)
    except (KeyError, SegmentError):
        return False
    return True


def _unnamed(store: Store, limit: float) -> Iterator[Removal]:
    """Yield key indices and records that no pointer names, and stored keys.

    The next run of a study makes its stored keys again.
    """
    named = {store.read_pointer(latest_of(INDEX))}
    plans = store.list(PLANS)
    named |= {store.read_pointer(latest_of(plan_folder(study_of(entry.name)))) for entry in plans}
    decided = store.list(DECIDED)
    named |= {store.read_pointer(latest_of(decided_folder(study_of(entry.name)))) for entry in decided}
    for entry in (*store.list(INDEX), *store.list(KEYS), *plans, *decided):
        if entry.name not in named and entry.mtime_ns / 1e9 < limit:
            yield Removal(entry.name, entry.size, "no pointer names it")

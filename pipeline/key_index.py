"""The key index: the keys of all segments in one file, so that the ledger opens fast. It is only a cache (rule S4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from pipeline.archive import Archive, pack
from pipeline.experiment import STATUS_CODES
from pipeline.layout import INDEX, latest_of
from pipeline.segment import KEY_BYTES, Count, Name, Seconds, Text
from pipeline.store import Store, content_name

if TYPE_CHECKING:
    from pipeline.ledger import Ledger

_INDEX_FORMAT = 3
_STATUSES = [STATUS_CODES[name] for name in ("ok", "inaccurate", "infeasible", "failed")]
"""Codes of the statuses that a stored cell may have."""


@dataclass(frozen=True)
class SegmentInfo:
    """The facts about one segment that the ledger knows without opening the segment."""

    name: str
    size: int
    mtime_ns: int
    cells: int
    variables: tuple[str, ...]
    schema: Mapping[str, Any]
    experiment: str
    code_digest: str
    manifest: Mapping[str, str]
    environment: Mapping[str, str]
    cost: Mapping[str, tuple[int, float]]
    """Per cost class (text of the options): number of cells and seconds spent."""
    origins: tuple[str, ...]
    """Names of the segments that the rows come from: the segment itself, or the segments that it was compacted from."""
    retryable: bool = False
    """Whether the surroundings caused the failures in the segment: the next run tries these cells again (rule W3)."""

    @property
    def compacted(self) -> bool:
        """Return whether compaction wrote the segment."""
        return self.origins != (self.name,)


@dataclass(frozen=True)
class Rows:
    """The rows of one segment."""

    info: SegmentInfo
    keys: NDArray[np.uint8]
    scenario_keys: NDArray[np.uint8]
    status: NDArray[np.uint8]
    origin: NDArray[np.int32]
    """Number of each row's origin in ``info.origins``."""

    @property
    def sound(self) -> bool:
        """Return whether every row has a key, a status that a cell can have, and an origin."""
        shapes = (self.keys.shape, self.scenario_keys.shape, self.status.shape, self.origin.shape)
        n = self.info.cells
        return (
            shapes == ((n, KEY_BYTES), (n, KEY_BYTES), (n,), (n,))
            and bool(np.isin(self.status, _STATUSES).all())
            and (not n or bool(0 <= self.origin.min() <= self.origin.max() < len(self.info.origins)))
        )


def write_index(ledger: Ledger) -> None:
    """Store the key index of a ledger. The index is only a cache."""
    infos = [
        {k: v for k, v in vars(info).items() if k not in ("schema", "manifest", "environment")}
        | {k: _shared(getattr(info, k)) for k in ("schema", "manifest", "environment")}
        for info in ledger.segments
    ]
    shared = {_shared(v): v for info in ledger.segments for v in (info.schema, info.manifest, info.environment)}
    head = json.dumps({"format": _INDEX_FORMAT, "segments": infos, "shared": shared}).encode()
    columns = {"keys": ledger.keys, "scenario_keys": ledger.scenario_keys, "status": ledger.status}
    columns |= {"origin": _local_origins(ledger).astype("<i4")}
    data = pack({"head.json": head} | {name: column.tobytes() for name, column in columns.items()})
    name = f"{INDEX}{content_name(data)}.zip"
    old = ledger.store.read_pointer(latest_of(INDEX))
    ledger.store.put_if_absent(name, data, durable=False)
    ledger.store.publish_pointer(latest_of(INDEX), name)
    if old is not None and old != name and old.startswith(INDEX):
        ledger.store.delete(old)


def _local_origins(ledger: Ledger) -> NDArray[np.int32]:
    """Return for each row the number of its origin within the row's own segment."""
    number = {origin: i for i, origin in enumerate(ledger.origins)}
    local = np.zeros(len(ledger.keys), dtype=np.int32)
    start = 0
    for info in ledger.segments:
        stop = start + info.cells
        if info.compacted:
            places = np.array([number[origin] for origin in info.origins])
            order = np.argsort(places)
            local[start:stop] = order[np.searchsorted(places, ledger.origin[start:stop], sorter=order)]
        start = stop
    return local


def _shared(value: Mapping[str, Any]) -> str:
    return content_name(json.dumps(value, sort_keys=True).encode())


class _IndexedSegment(BaseModel):
    name: Name
    size: Count
    mtime_ns: int
    cells: Count
    variables: tuple[Text, ...]
    declared: Text = Field(alias="schema")
    experiment: Text
    code_digest: Name
    manifest: Text
    environment: Text
    cost: dict[str, tuple[Count, Seconds]]
    origins: tuple[Name, ...]
    retryable: bool


class _IndexHead(BaseModel):
    format: Literal[3]
    segments: list[_IndexedSegment]
    shared: dict[str, dict[str, Any]]


def read_index(store: Store) -> list[Rows]:
    """Return the rows of the key index; none if the index is absent, damaged or of another format."""
    target = store.read_pointer(latest_of(INDEX))
    if target is None or not target.startswith(INDEX):
        return []
    try:
        with store.open(target) as file:
            if content_name(file) != target.removeprefix(INDEX).removesuffix(".zip"):
                return []
            files = Archive(file)
            head = _IndexHead.model_validate_json(files["head.json"])
            keys, scenario_keys, status = (np.frombuffer(files[n], dtype=np.uint8) for n in ("keys", "scenario_keys", "status"))
            origin = np.frombuffer(files["origin"], dtype="<i4").astype(np.int32, copy=False)
        return list(_indexed_rows(head, keys.reshape(-1, KEY_BYTES), scenario_keys.reshape(-1, KEY_BYTES), status, origin))
    except (KeyError, ValueError):
        return []


def _indexed_rows(head: _IndexHead, *columns: NDArray[Any]) -> Iterator[Rows]:
    """Yield the rows of each segment; ValueError if the rows of a segment are not sound."""
    start = 0
    for about in head.segments:
        values = dict(about)
        values["schema"] = head.shared[values.pop("declared")]
        values |= {part: head.shared[values[part]] for part in ("manifest", "environment")}
        rows = Rows(SegmentInfo(**values), *(column[start : start + about.cells] for column in columns))
        if not rows.sound:
            raise ValueError("the index does not hold the rows of its segments")
        yield rows
        start += about.cells

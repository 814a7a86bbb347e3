"""The ledger: all segments of a store, the truth (rules S2-S5, I5).

Nothing in it is ever edited. Which copy of a cell counts is decided by content alone: a result over a failure, then the
smallest segment name (rule S3), so that every reader decides alike. Compaction copies rows into larger segments that
remember each row's *origin*, the segment a worker wrote; origins are what is compared, so compaction changes no choice.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from pipeline.archive import MOST_BYTES, Archive, pack
from pipeline.errors import broken_field
from pipeline.experiment import STATUS_CODES
from pipeline.files import told
from pipeline.segment import ABOUT, KEY_BYTES, Count, Name, Seconds, Segment, SegmentError, Text, decode_segment
from pipeline.store import Entry, Store, content_name

SEGMENTS = "ledger/segments/"
INDEX = "ledger/index/"
_NAME = re.compile("[0-9a-f]{32}")
_INDEX_FORMAT = 3
_FAILED = STATUS_CODES["failed"]
_RESULTS = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"], STATUS_CODES["infeasible"])


class DamagedSegmentError(SegmentError):
    """A file of the ledger whose content does not match its name or cannot be read; it counts as absent."""


def segment_file(name: str) -> str:
    """Store name of a segment."""
    return f"{SEGMENTS}{name}.zip"


def put_segment(store: Store, data: bytes) -> str:
    """Write a segment under the digest of its content (rule S2) and return its name."""
    name = content_name(data)
    store.put_if_absent(segment_file(name), data)
    return name


class _Origin(BaseModel):
    name: Name
    host: Text = ""
    finished: Text = ""


class _Provenance(BaseModel):
    """What the ledger needs of a segment's attributes."""

    experiment: Text
    code_digest: Name
    options: dict[str, Any]
    manifest: dict[str, Text]
    environment: dict[str, Text]
    cost: dict[str, tuple[Count, Seconds]]
    host: Text = ""
    finished: Text = ""
    origins: list[_Origin] = []


def read_segment(
    store: Store,
    name: str,
    names: Iterable[str] | None = None,
    about: Iterable[str] = ABOUT,
    rows: NDArray[np.int64] | None = None,
    keys: NDArray[np.uint8] | None = None,
) -> Segment:
    """Read and check one segment.

    Parameters
    ----------
    names, about, rows
        What to decode, as :func:`pipeline.segment.decode_segment` takes it.
    keys
        Keys that the ledger says those rows have; compared with those that are decoded.

    Raises
    ------
    DamagedSegmentError
        If its content does not match its name, is no segment, or holds other cells than ``keys``.
    KeyError
        If it is gone.
    """
    place = segment_file(name)
    try:
        with store.open(place) as file, told(store.path(place) or Path(place)):
            if file.seek(0, io.SEEK_END) > MOST_BYTES:
                raise SegmentError("not a segment: it is larger than 2 GiB")
            if content_name(file) != name:
                raise SegmentError("the content does not match the name")
            segment = decode_segment(file, names, about, rows)
        _Provenance.model_validate(segment.attributes)
    except ValidationError as error:
        raise DamagedSegmentError(f"segment {name}: not a segment: {broken_field(error)}; it counts as absent") from error
    except SegmentError as error:
        raise DamagedSegmentError(f"segment {name}: {error}; it counts as absent") from error
    if keys is not None and not np.array_equal(segment.arrays["key"], keys):
        raise DamagedSegmentError(f"segment {name}: the key index says other cells than it holds; remove the folder {INDEX}")
    return segment


@dataclass(frozen=True)
class SegmentInfo:
    """What the ledger remembers of one segment without opening it."""

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
    """Per cost class (options text): number of cells and seconds spent."""
    origins: tuple[str, ...]
    """Names of the segments that its rows come from: its own, or those it was compacted from."""
    retryable: bool = False
    """Whether its failures are those of the surroundings, which the next run tries again (rule W3)."""

    @property
    def compacted(self) -> bool:
        """Whether compaction wrote it."""
        return self.origins != (self.name,)


@dataclass(frozen=True)
class Choice:
    """For planned cells the copy that counts: ``segment`` (-1 where absent), ``row`` in it, ``status``, ``origin``."""

    segment: NDArray[np.int32]
    row: NDArray[np.int32]
    status: NDArray[np.uint8]
    origin: NDArray[np.int32]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Where a copy exists."""
        return self.segment >= 0


@dataclass(frozen=True)
class Ledger:
    """A snapshot of the segments of a store."""

    store: Store
    segments: tuple[SegmentInfo, ...]
    keys: NDArray[np.uint8]
    scenario_keys: NDArray[np.uint8]
    segment: NDArray[np.int32]
    row: NDArray[np.int32]
    status: NDArray[np.uint8]
    origins: tuple[str, ...]
    """Names of all origins, sorted."""
    origin: NDArray[np.int32]
    damaged: tuple[str, ...] = field(default=())
    """Sentences on files that count as absent."""

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Rows sorted by key, then results before failures and these before retryable ones, then origin, then compacted copies
        first; and the sorted keys."""
        view = as_words(self.keys)
        order = np.argsort(view["hi"])
        leading = view["hi"][order]
        if not (leading[1:] == leading[:-1]).any():
            return order, view[order]  # no cell has two copies: a sort by the leading words says it all, in a tenth of the time
        failed = (self.status == _FAILED) * (1 + self.retryable[self.segment])
        loose = np.array([not info.compacted for info in self.segments], dtype=np.int32)
        copy = self.segment + loose[self.segment] * len(self.segments)
        order = np.lexsort((self.row, copy, self.origin, failed, view["lo"], view["hi"]))
        return order, view[order]

    def choose(self, keys: NDArray[np.uint8], segments: NDArray[np.bool_] | None = None) -> Choice:
        """The copies that count for ``keys`` (n, 16), optionally among a subset of the segments (rule S3)."""
        order, ordered = self._order
        if segments is not None:
            inside = segments[self.segment[order]]
            order, ordered = order[inside], ordered[inside]
        return self._look_up(as_words(keys), order, ordered)

    def _look_up(self, wanted: NDArray[Any], order: NDArray[np.int64], ordered: NDArray[Any]) -> Choice:
        segment = np.full(len(wanted), -1, dtype=np.int32)
        row, status = np.zeros(len(wanted), dtype=np.int32), np.zeros(len(wanted), dtype=np.uint8)
        origin = np.full(len(wanted), -1, dtype=np.int32)
        if len(order):
            # In order of their keys, neighbours land side by side: a million look-ups take half as long, sorting included.
            asked = np.argsort(wanted["hi"])
            hi, lo = wanted["hi"][asked], wanted["lo"][asked]
            place = np.minimum(np.searchsorted(ordered["hi"], hi), len(order) - 1)
            # Different keys with equal leading words are next to impossible, yet never wrong: walk on to the match.
            while True:
                same = ordered["hi"][place] == hi
                later = same & (ordered["lo"][place] < lo) & (place < len(order) - 1)
                if not later.any():
                    break
                place = place + later
            same &= ordered["lo"][place] == lo
            found, chosen = asked[same], order[place[same]]
            segment[found], row[found] = self.segment[chosen], self.row[chosen]
            status[found], origin[found] = self.status[chosen], self.origin[chosen]
        return Choice(segment, row, status, origin)

    @cached_property
    def retryable(self) -> NDArray[np.int8]:
        """1 for every segment whose failures the next run tries again, 0 for the others."""
        return np.array([info.retryable for info in self.segments], dtype=np.int8)

    def holding(self, variable: str) -> NDArray[np.bool_]:
        """Which segments hold a variable."""
        return np.array([variable in info.variables for info in self.segments], dtype=bool)

    def present(self, keys: NDArray[np.uint8], keep: Sequence[str]) -> tuple[Choice, dict[str, NDArray[np.bool_]]]:
        """Where each planned cell stands, and per kept variable the cells that lack it (rule I5).

        A cell is present when valid segments hold every variable in ``keep``; a failure of the cell itself holds all.
        """
        best = self.choose(keys)
        lacking: dict[str, NDArray[np.bool_]] = {}
        for variable in keep:
            holding = self.holding(variable)
            if holding.all():
                continue
            lacks = best.present & (best.status != _FAILED) & ~self.choose(keys, holding).present
            if lacks.any():
                lacking[variable] = lacks
        return best, lacking

    def duplicates(self, keys: NDArray[np.uint8]) -> list[tuple[bytes, list[tuple[str, int]]]]:
        """Planned cells that have several results, each with all its (segment name, row) (rule S3)."""
        order, ordered = self._order
        kept = np.isin(self.status[order], _RESULTS)
        order, ordered = order[kept], ordered[kept]
        same = np.zeros(len(order), dtype=bool)
        same[1:] = (ordered[1:] == ordered[:-1]) & (self.origin[order][1:] != self.origin[order][:-1])
        wanted = {k.tobytes() for k in keys} if same.any() else set()
        groups: list[tuple[bytes, list[tuple[str, int]]]] = []
        for i in np.flatnonzero(same):
            copy = (self.segments[self.segment[order[i]]].name, int(self.row[order[i]]))
            key = self.keys[order[i]].tobytes()
            if groups and groups[-1][0] == key:
                groups[-1][1].append(copy)
            elif key in wanted:
                first = order[i - 1]
                groups.append((key, [(self.segments[self.segment[first]].name, int(self.row[first])), copy]))
        return groups

    def cost_per_cell(self) -> dict[str, float]:
        """Mean seconds per cell of the past, by cost class; what was compacted counts once."""
        total: dict[str, tuple[int, float]] = {}
        merged = {origin for info in self.segments if info.compacted for origin in info.origins}
        for info in self.segments:
            if info.name in merged:
                continue
            for cost_class, (cells, seconds) in info.cost.items():
                n, s = total.get(cost_class, (0, 0.0))
                total[cost_class] = (n + cells, s + seconds)
        return {cost_class: s / n for cost_class, (n, s) in total.items() if n}


def as_words(keys: NDArray[np.uint8]) -> NDArray[Any]:
    """View 16-byte keys as two big-endian words, which sort as the bytes do."""
    words = np.ascontiguousarray(keys).reshape(-1, KEY_BYTES).view(">u8").astype(np.uint64).reshape(-1, 2)
    pairs = np.empty(len(words), dtype=[("hi", np.uint64), ("lo", np.uint64)])
    pairs["hi"], pairs["lo"] = words[:, 0], words[:, 1]
    return pairs


@dataclass(frozen=True)
class _Rows:
    """One segment's rows for the index."""

    info: SegmentInfo
    keys: NDArray[np.uint8]
    scenario_keys: NDArray[np.uint8]
    status: NDArray[np.uint8]
    origin: NDArray[np.int32]
    """Number of each row's origin in ``info.origins``."""

    @property
    def sound(self) -> bool:
        """Whether every row has a key, a status that a cell can have, and an origin."""
        shapes = (self.keys.shape, self.scenario_keys.shape, self.status.shape, self.origin.shape)
        n = self.info.cells
        return (
            shapes == ((n, KEY_BYTES), (n, KEY_BYTES), (n,), (n,))
            and bool(np.isin(self.status, (*_RESULTS, _FAILED)).all())
            and (not n or bool(0 <= self.origin.min() <= self.origin.max() < len(self.info.origins)))
        )


def _rows_of(store: Store, entry: Entry, name: str) -> _Rows:
    segment = read_segment(store, name, (), ("key", "scenario_key", "status"))
    a = segment.attributes
    info = SegmentInfo(
        name=name, size=entry.size, mtime_ns=entry.mtime_ns, cells=len(segment.arrays["status"]),
        variables=segment.variables, schema=a["schema"], experiment=a["experiment"], code_digest=a["code_digest"],
        manifest=a["manifest"], environment=a["environment"],
        cost={cost_class: (int(n), float(s)) for cost_class, (n, s) in a["cost"].items()},
        origins=tuple(origin["name"] for origin in a.get("origins", ())) or (name,), retryable=a.get("retryable") is True,
    )  # fmt: skip
    arrays = segment.arrays
    rows = _Rows(
        info, arrays["key"], arrays["scenario_key"], arrays["status"],
        arrays.get("origin", np.zeros(info.cells, dtype=np.int32)),
    )  # fmt: skip
    if not rows.sound:
        raise DamagedSegmentError(f"segment {name}: not a segment: a status or an origin is unknown; it counts as absent")
    return rows


def open_ledger(store: Store, *, use_index: bool = True) -> Ledger:
    """List the segments and load their keys, from the key index where it is fresh (rule S4: it may be deleted).

    A segment is read again whenever its size or time stamp differs from the index's, so a changed file is noticed; without
    the index every segment is read and checked.
    """
    known = {rows.info.name: rows for rows in _read_index(store)} if use_index else {}
    rows: list[_Rows] = []
    damaged: list[str] = []
    for entry in store.list(SEGMENTS):
        name = entry.name.removeprefix(SEGMENTS).removesuffix(".zip")
        if entry.name != segment_file(name):
            continue
        if not _NAME.fullmatch(name):
            damaged.append(f"{entry.name!r} is not the name of a segment; it counts as absent")
            continue
        cached = known.get(name)
        if cached is not None and (cached.info.size, cached.info.mtime_ns) == (entry.size, entry.mtime_ns):
            rows.append(cached)
            continue
        try:
            rows.append(_rows_of(store, entry, name))
        except KeyError:
            continue
        except SegmentError as error:
            damaged.append(str(error))
    return _assemble(store, rows, tuple(damaged))


def _assemble(store: Store, rows: Sequence[_Rows], damaged: tuple[str, ...]) -> Ledger:
    counts = [r.info.cells for r in rows]
    origins = tuple(sorted({origin for r in rows for origin in r.info.origins}))
    number = {origin: i for i, origin in enumerate(origins)}
    places = [np.array([number[o] for o in r.info.origins], dtype=np.int32)[r.origin] for r in rows]
    blank = np.empty((0, KEY_BYTES), dtype=np.uint8)
    return Ledger(
        store=store,
        segments=tuple(r.info for r in rows),
        keys=np.concatenate([r.keys for r in rows] or [blank]),
        scenario_keys=np.concatenate([r.scenario_keys for r in rows] or [blank]),
        segment=np.repeat(np.arange(len(rows), dtype=np.int32), counts),
        row=np.concatenate([np.arange(n, dtype=np.int32) for n in counts] or [np.empty(0, dtype=np.int32)]),
        status=np.concatenate([r.status for r in rows] or [np.empty(0, dtype=np.uint8)]),
        origins=origins,
        origin=np.concatenate(places or [np.empty(0, dtype=np.int32)]),
        damaged=damaged,
    )


def write_index(ledger: Ledger) -> None:
    """Store the key index of a ledger; only a cache."""
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
    old = ledger.store.read_pointer(f"{INDEX}latest")
    ledger.store.put_if_absent(name, data, durable=False)
    ledger.store.publish_pointer(f"{INDEX}latest", name)
    if old is not None and old != name and old.startswith(INDEX):
        ledger.store.delete(old)


def _local_origins(ledger: Ledger) -> NDArray[np.int32]:
    """Number of each row's origin within its own segment."""
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


class _IndexHead(BaseModel):
    format: Literal[3]
    segments: list[_IndexedSegment]
    shared: dict[str, dict[str, Any]]


def _read_index(store: Store) -> list[_Rows]:
    """Rows of the key index; none when it is absent, damaged or of another format."""
    target = store.read_pointer(f"{INDEX}latest")
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


def _indexed_rows(head: _IndexHead, *columns: NDArray[Any]) -> Iterator[_Rows]:
    """Rows of each segment; ValueError if one is not sound."""
    start = 0
    for about in head.segments:
        values = dict(about)
        values["schema"] = head.shared[values.pop("declared")]
        values |= {part: head.shared[values[part]] for part in ("manifest", "environment")}
        rows = _Rows(SegmentInfo(**values), *(column[start : start + about.cells] for column in columns))
        if not rows.sound:
            raise ValueError("the index does not hold the rows of its segments")
        yield rows
        start += about.cells

"""The ledger: all segments of a store, the truth (rules S2-S5, I5).

A segment in the ledger is never edited. The content alone decides which copy of a cell counts: a result counts over a failure,
then the smallest segment name counts (rule S3). So all readers decide alike. Compaction copies rows into larger segments.
These remember each row's *origin*, the segment that a worker wrote. The names of origins are compared, so compaction changes
no choice.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from pipeline.archive import MOST_BYTES
from pipeline.errors import broken_field
from pipeline.experiment import STATUS_CODES
from pipeline.files import told
from pipeline.key_index import Rows, SegmentInfo, read_index
from pipeline.layout import INDEX, SEGMENTS
from pipeline.segment import ABOUT, KEY_BYTES, Count, Name, Seconds, Segment, SegmentError, Text, decode_segment
from pipeline.store import Entry, Store, content_name

_NAME = re.compile("[0-9a-f]{32}")
_FAILED = STATUS_CODES["failed"]
_RESULTS = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"], STATUS_CODES["infeasible"])


class DamagedSegmentError(SegmentError):
    """A file of the ledger is damaged: its content does not match its name or cannot be read. It counts as absent."""


def segment_file(name: str) -> str:
    """Return the store name of a segment."""
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
    """The part of a segment's attributes that the ledger needs."""

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
        The parts to decode, as :func:`pipeline.segment.decode_segment` takes them.
    keys
        Keys of those rows according to the ledger; they are compared with the decoded keys.

    Raises
    ------
    DamagedSegmentError
        If the content does not match the segment's name, is no segment, or holds other cells than ``keys``.
    KeyError
        If the segment is gone.
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
        raise DamagedSegmentError(
            f"segment {name}: the key index and the segment disagree on its cells; remove the folder {INDEX}"
        )
    return segment


@dataclass(frozen=True)
class Choice:
    """The copy that counts for each planned cell: ``segment`` (-1 if absent), ``row`` in it, ``status``, ``origin``."""

    segment: NDArray[np.int32]
    row: NDArray[np.int32]
    status: NDArray[np.uint8]
    origin: NDArray[np.int32]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Return a mask of the planned cells that have a copy."""
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
    """Sentences on the files that count as absent."""

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the sorted order of the rows, and the sorted keys.

        Rows are sorted by key; then results before failures, and failures before retryable ones; then by origin; then
        compacted copies first.
        """
        view = as_words(self.keys)
        order = np.argsort(view["hi"])
        leading = view["hi"][order]
        if not (leading[1:] == leading[:-1]).any():
            return order, view[order]  # no cell has two copies: a sort by the leading words is enough, in a tenth of the time
        failed = (self.status == _FAILED) * (1 + self.retryable[self.segment])
        loose = np.array([not info.compacted for info in self.segments], dtype=np.int32)
        copy = self.segment + loose[self.segment] * len(self.segments)
        order = np.lexsort((self.row, copy, self.origin, failed, view["lo"], view["hi"]))
        return order, view[order]

    def choose(self, keys: NDArray[np.uint8], segments: NDArray[np.bool_] | None = None) -> Choice:
        """Return the copies that count for ``keys`` (n, 16), optionally among a subset of the segments (rule S3)."""
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
            # Sorted keys are found side by side: a million look-ups take half as long, the sorting included.
            asked = np.argsort(wanted["hi"])
            hi, lo = wanted["hi"][asked], wanted["lo"][asked]
            place = np.minimum(np.searchsorted(ordered["hi"], hi), len(order) - 1)
            # Two different keys almost never have equal leading words; if they do, walk on to the key that matches.
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
        """Return 1 for every segment whose failures the next run tries again, 0 for the others."""
        return np.array([info.retryable for info in self.segments], dtype=np.int8)

    def holding(self, variable: str) -> NDArray[np.bool_]:
        """Return a mask of the segments that hold a variable."""
        return np.array([variable in info.variables for info in self.segments], dtype=bool)

    def present(self, keys: NDArray[np.uint8], keep: Sequence[str]) -> tuple[Choice, dict[str, NDArray[np.bool_]]]:
        """Return the copy that counts for each planned cell, and per kept variable the cells that lack it (rule I5).

        A cell is present if valid segments hold every variable in ``keep``. A failure of the cell itself counts as holding all.
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
        """Return the planned cells that have several results, each with all its pairs (segment name, row) (rule S3)."""
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
        """Return the mean seconds per stored cell, by cost class; compacted cells count once."""
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
    """View 16-byte keys as two big-endian words: the words sort in the order of the bytes."""
    words = np.ascontiguousarray(keys).reshape(-1, KEY_BYTES).view(">u8").astype(np.uint64).reshape(-1, 2)
    pairs = np.empty(len(words), dtype=[("hi", np.uint64), ("lo", np.uint64)])
    pairs["hi"], pairs["lo"] = words[:, 0], words[:, 1]
    return pairs


def _rows_of(store: Store, entry: Entry, name: str) -> Rows:
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
    rows = Rows(
        info, arrays["key"], arrays["scenario_key"], arrays["status"],
        arrays.get("origin", np.zeros(info.cells, dtype=np.int32)),
    )  # fmt: skip
    if not rows.sound:
        raise DamagedSegmentError(f"segment {name}: not a segment: a status or an origin is unknown; it counts as absent")
    return rows


def open_ledger(store: Store, *, use_index: bool = True) -> Ledger:
    """List the segments and load their keys, from the key index if the index is fresh (rule S4: it may be deleted).

    A segment is read again whenever its size or time stamp differs from that in the index, so a changed file is noticed.
    Without the index every segment is read and checked.
    """
    known = {rows.info.name: rows for rows in read_index(store)} if use_index else {}
    rows: list[Rows] = []
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


def _assemble(store: Store, rows: Sequence[Rows], damaged: tuple[str, ...]) -> Ledger:
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

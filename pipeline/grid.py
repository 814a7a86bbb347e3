"""Grids: a study's axes become planned cells of one dense cube (rules G1-G4)."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from pipeline.alike import nearly_equal, refused_label
from pipeline.columns import column_names
from pipeline.conditions import labels_named
from pipeline.sizes import refuse_too_large, refuse_too_many
from pipeline.study import OPTIONS, AxisFile, SpacedValues, Study, known_paths, long_name, resolve_path
from pipeline.typed import typed_entries
from pipeline.values import (
    KeyPath,
    as_text,
    axis_values,
    build,
    canonical_text,
    count_values,
    label_of,
    labels_of,
    leaf_value,
    plain,
    replace_values,
    same_value,
    short_name,
    unit_of,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Axis:
    """A dimension of the cube: its labels, and the values that each label sets."""

    name: str
    paths: tuple[str, ...]
    labels: tuple[Any, ...]
    entries: tuple[Mapping[str, Any], ...]
    members: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    unit: str = "1"
    long_name: str = ""


@dataclass(frozen=True)
class Cells:
    """The planned cells of a study.

    ``index`` (n, axes) holds the label numbers of each planned cell, unique and in C order of the cube.
    """

    study: Study
    axes: tuple[Axis, ...]
    index: NDArray[np.int32]
    warnings: tuple[str, ...] = ()
    """Sentences on inputs that are accepted although they were perhaps not meant."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the dense cube."""
        return tuple(len(axis.labels) for axis in self.axes)

    @cached_property
    def flat(self) -> NDArray[np.int64]:
        """Return the position of each planned cell in the flattened dense cube."""
        if not self.axes:
            return np.zeros(len(self.index), dtype=np.int64)
        return np.ravel_multi_index(tuple(self.index.T.astype(np.int64)), self.shape).astype(np.int64)

    def values(self, i: int) -> dict[str, Any]:
        """Return the values that cell ``i`` sets by their dotted paths, ``options.`` paths included."""
        found: dict[str, Any] = {}
        for axis, number in zip(self.axes, self.index[i], strict=True):
            found.update(axis.entries[number])
        return found

    def scenario_values(self, i: int) -> dict[str, Any]:
        """Return the scenario values that cell ``i`` sets by their paths."""
        return {path: value for path, value in self.values(i).items() if not path.startswith(OPTIONS)}

    def coordinates(self, i: int) -> dict[str, Any]:
        """Return the labels of cell ``i`` by the names of the axes."""
        return {axis.name: axis.labels[n] for axis, n in zip(self.axes, self.index[i], strict=True)}

    def scenario(self, i: int) -> BaseModel:
        """Return the validated scenario of cell ``i``."""
        return build(type(self.study.scenario), replace_values(plain(self.study.scenario), self.scenario_values(i)))

    def options(self, i: int) -> BaseModel:
        """Return the validated options of cell ``i``."""
        values = {p.removeprefix(OPTIONS): v for p, v in self.values(i).items() if p.startswith(OPTIONS)}
        return build(type(self.study.options), replace_values(plain(self.study.options), values))

    def by_options(self, numbers: NDArray[np.int64]) -> Iterator[tuple[BaseModel, NDArray[np.int64]]]:
        """Yield the different options of the cells ``numbers``, each with the places in ``numbers`` where it occurs."""
        axes = [a for a, axis in enumerate(self.axes) if any(path.startswith(OPTIONS) for path in axis.paths)]
        if len(numbers):
            _, first, group = np.unique(self.index[numbers][:, axes], axis=0, return_index=True, return_inverse=True)
            for one, cell in enumerate(numbers[first]):
                yield self.options(int(cell)), np.flatnonzero(group.reshape(-1) == one)


def expand(study: Study) -> Cells:
    """Expand a study's grids into the planned cells of their outer join.

    Raises
    ------
    UsageError
        For an unknown path, a value that the scenario refuses, a duplicate, names that clash, or more cells than can be held.
        The number of cells is checked before anything of that size is built.
    """
    with _no_collection():
        return _expanded(study)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Switch off Python's search for cycles: with a million entries of an axis it takes longer than all the rest."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _expanded(study: Study) -> Cells:
    placed = tuple(zip(study.grids, study.grid_paths, strict=True))
    lengths = [{k: _length(study, spec, (*at, "axes", k)) for k, spec in grid.axes.items()} for grid, at in placed]
    refuse_too_large(study, lengths)
    written = [[_raw_axis(study, key, spec, (*at, "axes", key)) for key, spec in grid.axes.items()] for grid, at in placed]
    grids = [_grid_axes(study, raws) for raws in written]
    axes = _outer_join(study, grids)
    refuse_too_many(study, {axis.name: len(axis.labels) for axis in axes})
    _check_names(study, axes)
    _refuse_idle_overrides(study, grids)
    parts = _indices(study, grids, axes)
    index = np.concatenate(parts)
    shape = tuple(len(axis.labels) for axis in axes)
    if len(parts) > 1 and axes:
        # Sorted and compared with the neighbour: np.unique hashes, which takes eight times as long at a million cells.
        flat = np.sort(np.ravel_multi_index(tuple(index.T.astype(np.int64)), shape))
        flat = flat[np.concatenate(([True], flat[1:] != flat[:-1]))] if len(flat) else flat
        index = np.stack(np.unravel_index(flat, shape), axis=1).astype(np.int32)
    if not len(index):
        raise study.source.error(("grids",), "no cell is left: 'where' and 'exclude' remove them all")
    return Cells(study, axes, index, tuple(_warnings(axes)))


def _warnings(axes: Sequence[Axis]) -> Iterator[str]:
    for axis in axes:
        yield from nearly_equal(axis.name, axis.labels)
        for member, values in axis.members.items():
            yield from nearly_equal(member, values)


def _refuse_idle_overrides(study: Study, grids: Sequence[Mapping[str, Axis]]) -> None:
    """Refuse a value on the command line that an axis sets in every grid: it would change nothing. The error names the way."""
    for path in study.source.overridden:
        name = ".".join(map(str, path[1:] if path[0] == "scenario" else path))
        setting = [axis.name for grid in grids for axis in grid.values() if name in axis.paths]
        if path[0] in ("scenario", "options") and len(setting) == len(grids):
            raise study.source.error(path, f"the axis '{setting[0]}' sets it in every cell; use --set axes.{setting[0]}=...")


@dataclass(frozen=True)
class _Raw:
    """An axis as written: for each entry the paths with untyped values, and the place in the file."""

    key: str
    at: KeyPath
    entries: tuple[Mapping[str, Any], ...]
    places: tuple[KeyPath, ...]
    labels: tuple[str, ...] | None = None


def _grid_axes(study: Study, raws: Sequence[_Raw]) -> dict[str, Axis]:
    first = {path: value for raw in raws for path, value in raw.entries[0].items()}
    found: dict[str, Axis] = {}
    setting: dict[str, str] = {}
    for raw in raws:
        axis = _typed_axis(study, raw, {p: v for p, v in first.items() if p not in raw.entries[0]})
        if axis.name in found:
            raise study.source.error(raw.at, f"a second axis named '{axis.name}'; write 'name: {{path: ..., values: ...}}'")
        for path in axis.paths:
            if path in setting:
                raise study.source.error(raw.at, f"two axes set '{path}'; the other is '{setting[path]}'")
            setting[path] = axis.name
        found[axis.name] = axis
    return found


def _raw_axis(study: Study, key: str, spec: Any, at: KeyPath) -> _Raw:
    if not isinstance(spec, AxisFile) or spec.entries is None:
        long = isinstance(spec, AxisFile)
        path = resolve_path(study, (spec.path if long else None) or key, at)
        entries = tuple({path: value} for value in _values(study, spec.values if long else spec, at))
        return _Raw(key, at, entries, (at,) * len(entries))
    if spec.path is not None or spec.values is not None:
        raise study.source.error(at, "give either path with values, or entries")
    if not spec.entries or not all(entry.set for entry in spec.entries):
        raise study.source.error(at, "a coupled axis needs at least one entry, and each sets at least one path")
    places = tuple((*at, "entries", i) for i in range(len(spec.entries)))
    entries = tuple(
        {resolve_path(study, path, (*place, "set", path)): value for path, value in entry.set.items()}
        for entry, place in zip(spec.entries, places, strict=True)
    )
    for entry, place in zip(entries, places, strict=True):
        if set(entry) != set(entries[0]):
            raise study.source.error(place, f"every entry sets the same paths; the first sets {', '.join(sorted(entries[0]))}")
    return _Raw(key, at, entries, places, tuple(entry.label for entry in spec.entries))


def _length(study: Study, spec: Any, at: KeyPath) -> int:
    """Return the number of values of an axis as written."""
    if isinstance(spec, AxisFile) and spec.entries is not None:
        return len(spec.entries)
    return _of_values(study, count_values, spec.values if isinstance(spec, AxisFile) else spec, at)


def _values(study: Study, spec: Any, at: KeyPath) -> Sequence[Any]:
    return _of_values(study, axis_values, spec, at)


def _of_values(study: Study, act: Callable[[Any], T], spec: Any, at: KeyPath) -> T:
    try:
        return act(spec.model_dump() if isinstance(spec, SpacedValues) else spec)
    except ValueError as error:
        raise study.source.error(at, str(error)) from error


def _typed_axis(study: Study, raw: _Raw, beside: Mapping[str, Any]) -> Axis:
    entries = typed_entries(study, raw.entries, raw.places, beside)
    paths, known = tuple(sorted(entries[0])), known_paths(study)
    if raw.labels is not None:
        _refuse_duplicates(study, raw.labels, raw.at)
        _refuse_duplicates(study, entries, raw.at)
        for texts in (raw.labels, *([entry[path] for entry in entries] for path in paths)):
            _refuse_labels(study, texts, raw.at)
        members = {short_name(path, known): labels_of(e[path] for e in entries) for path in paths}
        return Axis(raw.key, paths, raw.labels, entries, members, "1", raw.key)
    path, typed = paths[0], tuple(e[paths[0]] for e in entries)
    _refuse_duplicates(study, typed, raw.at)
    _refuse_labels(study, typed, raw.at)
    labels = labels_of(typed)
    name = short_name(path, known) if path == raw.key or "." in raw.key else raw.key
    return Axis(name, paths, labels, entries, {}, unit_of(path), long_name(study, path))


def _refuse_duplicates(study: Study, values: Sequence[Any], at: KeyPath) -> None:
    seen: set[str] = set()
    one_kind = {type(value) for value in values} in ({int}, {float}, {str})
    for value in values if not one_kind or len(set(values)) < len(values) else ():
        text = canonical_text(value)
        if text in seen:
            raise study.source.error(at, f"the value {text} is written twice")
        seen.add(text)


def _refuse_labels(study: Study, values: Sequence[Any], at: KeyPath) -> None:
    if refusal := refused_label(values):
        raise study.source.error(at, refusal)


def _outer_join(study: Study, grids: Sequence[Mapping[str, Axis]]) -> tuple[Axis, ...]:
    """Return the axes of the cube, each with the union of its labels (rule G1).

    A grid that lacks an axis has the base scenario's value on it.
    """
    if len(grids) == 1:
        return tuple(grids[0].values())
    names = list(dict.fromkeys(name for grid in grids for name in grid))
    joined = []
    for name in names:
        versions = [grid[name] for grid in grids if name in grid]
        if any(v.paths != versions[0].paths for v in versions):
            raise study.source.error(("grids",), f"the axis '{name}' means different paths in different grids")
        if len(versions) < len(grids):
            versions.append(_base_axis(study, versions))
        entries: dict[str, tuple[Any, Mapping[str, Any]]] = {}
        for version in versions:
            for label, entry in zip(version.labels, version.entries, strict=True):
                known = entries.setdefault(as_text(label), (label, entry))
                if known[1] is not entry and not same_value(known[1], entry):
                    raise study.source.error(
                        ("grids",), f"the label '{label}' of axis '{name}' sets different values in different grids"
                    )
        merged = list(entries.values())
        if refusal := refused_label(label for label, _ in merged):
            raise study.source.error(("grids",), f"axis '{name}': {refusal}")
        numeric = all(isinstance(label, int | float) and not isinstance(label, bool) for label, _ in merged)
        if numeric and len(grids) > 1:
            merged.sort(key=lambda pair: pair[0])
        names_of = {short_name(p, known_paths(study)): p for p in versions[0].paths}
        members = {member: labels_of(entry[names_of[member]] for _, entry in merged) for member in versions[0].members}
        labels, sets = labels_of(label for label, _ in merged), tuple(entry for _, entry in merged)
        joined.append(Axis(name, versions[0].paths, labels, sets, members, versions[0].unit, versions[0].long_name))
    return tuple(joined)


def _base_axis(study: Study, versions: Sequence[Axis]) -> Axis:
    """Return the axis reduced to the base scenario's own value, under the label that some grid gives that value."""
    first = versions[0]
    entry = {
        p: plain(leaf_value(study.options if p.startswith(OPTIONS) else study.scenario, p.removeprefix(OPTIONS)))
        for p in first.paths
    }
    for version in versions:
        for label, known in zip(version.labels, version.entries, strict=True):
            if same_value(known, entry):
                return Axis(first.name, first.paths, (label,), (entry,))
    label = "base" if first.members else label_of(entry[first.paths[0]])
    return Axis(first.name, first.paths, (label,), (entry,))


def _check_names(study: Study, axes: Sequence[Axis]) -> None:
    variables = study.experiment.variables
    taken = {dim: f"an output dimension of '{v.name}'" for v in variables for dim in v.dims}
    taken |= {f"n_{dim}": f"the count along '{dim}'" for v in variables for dim in v.dims}
    taken |= {v.name: "an output variable" for v in variables}
    taken |= dict.fromkeys(column_names(study.experiment), "a column of the cube")
    taken |= dict.fromkeys(("status", "message"), "a variable of every cube")
    setting: dict[str, str] = {}
    for axis in axes:
        for path in axis.paths:
            if path in setting:
                raise study.source.error(
                    ("grids",), f"the axes '{setting[path]}' and '{axis.name}' of different grids both set '{path}'; "
                    f"call both '{setting[path]}': {{path: {path}, values: ...}}"
                )  # fmt: skip
            setting[path] = axis.name
        for name in dict.fromkeys((axis.name, *axis.members)):
            proposals = f"'{axis.paths[0].replace('.', '_')}' or 'study_{axis.name}'"
            advice = f"name it, e.g. {proposals}: {{path: {axis.paths[0]}, values: ...}}"
            if not _NAME.match(name):
                raise study.source.error(("axes",), f"{name!a} cannot name an axis (letters, digits, '_', '-'); {advice}")
            if name in taken:
                raise study.source.error(("axes",), f"'{name}' is already the name of {taken[name]}; {advice}")
        taken |= dict.fromkeys((axis.name, *axis.members), f"another coordinate, of the axis '{axis.name}'")


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


def _places(axis: Axis) -> dict[str, int]:
    """Return the number of each label by the label's text."""
    return {as_text(label): i for i, label in enumerate(axis.labels)}


def _indices(study: Study, grids: Sequence[Mapping[str, Axis]], axes: Sequence[Axis]) -> list[NDArray[np.int32]]:
    """Return for each grid the label numbers of its cells in the joined cube."""
    conditional = any(grid.where or grid.exclude for grid in study.grids)
    places = [_places(axis) if conditional or len(grids) > 1 else {} for axis in axes]
    # A grid that lacks an axis has the base value on it. The label is found once, because the search looks through all labels.
    lacked = [any(axis.name not in own for own in grids) for axis in axes]
    bases = [_base_axis(study, [axis]).labels[:1] if lacks else () for axis, lacks in zip(axes, lacked, strict=True)]
    names = [(axis.name, *axis.paths) for axis in axes]
    labels = [axis.labels for axis in axes]
    parts = []
    for grid, at, own in zip(study.grids, study.grid_paths, grids, strict=True):
        numbers = [
            np.arange(len(axis.labels), dtype=np.int32)
            if own.get(axis.name) is axis
            else np.array([there[as_text(x)] for x in (own[axis.name].labels if axis.name in own else base)], np.int32)
            for axis, there, base in zip(axes, places, bases, strict=True)
        ]
        kept = [labels_named(study, {n: c}, (*at, "where"), names, places, labels, own) for n, c in grid.where.items()]
        dropped = [
            labels_named(study, condition, (*at, "exclude", i), names, places, labels, own)
            for i, condition in enumerate(grid.exclude)
        ]
        parts.append(_cells_left(numbers, kept, dropped))
    return parts


Hits = Mapping[int, NDArray[np.bool_]]


def _cells_left(numbers: list[NDArray[np.int32]], kept: Sequence[Hits], dropped: Sequence[Hits]) -> NDArray[np.int32]:
    """Return the cells of the product of the axes' label numbers, without the cells that a condition leaves out."""
    if not numbers:
        return np.zeros((1, 0), dtype=np.int32)
    for condition in kept:
        for a, matching in condition.items():
            numbers[a] = numbers[a][matching[numbers[a]]]
    mesh = np.meshgrid(*numbers, indexing="ij", copy=False)
    index = np.stack([m.ravel() for m in mesh], axis=1).astype(np.int32, copy=False)
    if not dropped:
        return index
    # One item drops a box of cells, so each item costs the cells that it drops and not all cells.
    left = np.ones([len(own) for own in numbers], dtype=bool)
    for condition in dropped:
        box = [np.flatnonzero(condition[a][own]) if a in condition else np.arange(len(own)) for a, own in enumerate(numbers)]
        left[np.ix_(*box)] = False
    return index[left.ravel()]

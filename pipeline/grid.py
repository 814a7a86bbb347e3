"""Grids: a study's axes become planned cells of one dense cube (rules G1-G4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from pipeline.errors import UsageError, near_miss
from pipeline.study import AxisFile, GridFile, KeyPath, SpacedValues, Study, known_paths, same_value
from pipeline.values import (
    build,
    canonical_text,
    is_range,
    leaf_fields,
    leaf_value,
    parse_range,
    plain,
    replace_values,
    spaced,
    unit_of,
)
from pipeline.zarrio import numpy_dtype

OPTIONS = "options."


@dataclass(frozen=True)
class Axis:
    """A dimension of the cube: labels, and the values that each label sets."""

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

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dense cube."""
        return tuple(len(axis.labels) for axis in self.axes)

    @cached_property
    def flat(self) -> NDArray[np.int64]:
        """Position of each planned cell in the dense cube, flattened."""
        if not self.axes:
            return np.zeros(len(self.index), dtype=np.int64)
        return np.ravel_multi_index(tuple(self.index.T.astype(np.int64)), self.shape).astype(np.int64)

    def values(self, i: int) -> dict[str, Any]:
        """Dotted path -> value that cell ``i`` sets, ``options.`` paths included."""
        found: dict[str, Any] = {}
        for axis, number in zip(self.axes, self.index[i], strict=True):
            found.update(axis.entries[number])
        return found

    def scenario_values(self, i: int) -> dict[str, Any]:
        """Scenario paths and values that cell ``i`` sets."""
        return {path: value for path, value in self.values(i).items() if not path.startswith(OPTIONS)}

    def coordinates(self, i: int) -> dict[str, Any]:
        """Axis name -> label of cell ``i``."""
        return {axis.name: axis.labels[n] for axis, n in zip(self.axes, self.index[i], strict=True)}

    def scenario(self, i: int) -> BaseModel:
        """The validated scenario of cell ``i``."""
        return build(type(self.study.scenario), replace_values(plain(self.study.scenario), self.scenario_values(i)))

    def options(self, i: int) -> BaseModel:
        """The validated options of cell ``i``."""
        values = {p.removeprefix(OPTIONS): v for p, v in self.values(i).items() if p.startswith(OPTIONS)}
        return build(type(self.study.options), replace_values(plain(self.study.options), values))


def expand(study: Study) -> Cells:
    """Expand a study's grids into the planned cells of their outer join.

    Raises
    ------
    UsageError
        For an unknown path, a value that the scenario refuses, a duplicate, or names that clash.
    """
    grids = [_grid_axes(study, grid, at) for grid, at in zip(study.grids, study.grid_paths, strict=True)]
    axes = _outer_join(study, grids)
    _check_names(study, axes)
    _refuse_idle_overrides(study, grids)
    parts = [_grid_index(study, g, at, own, axes) for g, at, own in zip(study.grids, study.grid_paths, grids, strict=True)]
    index = np.concatenate(parts)
    shape = tuple(len(axis.labels) for axis in axes)
    if len(parts) > 1 and axes:
        flat = np.unique(np.ravel_multi_index(tuple(index.T.astype(np.int64)), shape))
        index = np.stack(np.unravel_index(flat, shape), axis=1).astype(np.int32)
    if not len(index):
        raise study.source.error(("grids",), "no cell is left: 'where' and 'exclude' remove them all")
    return Cells(study, axes, index)


def _refuse_idle_overrides(study: Study, grids: Sequence[Mapping[str, Axis]]) -> None:
    """A value set on the command line that an axis sets in every grid would change nothing: say what does."""
    for path in study.source.overridden:
        name = ".".join(map(str, path[1:] if path[0] == "scenario" else path))
        setting = [axis.name for grid in grids for axis in grid.values() if name in axis.paths]
        if path[0] in ("scenario", "options") and len(setting) == len(grids):
            raise study.source.error(path, f"the axis '{setting[0]}' sets it in every cell; use --set axes.{setting[0]}=...")


def _grid_axes(study: Study, grid: GridFile, at: KeyPath) -> dict[str, Axis]:
    found: dict[str, Axis] = {}
    for key, spec in grid.axes.items():
        axis = _axis(study, key, spec, (*at, "axes", key))
        if axis.name in found:
            raise study.source.error(
                (*at, "axes", key), f"a second axis named '{axis.name}'; write 'name: {{path: ..., values: ...}}'"
            )
        found[axis.name] = axis
    set_twice = [p for axis in found.values() for p in axis.paths]
    for path in set_twice:
        if set_twice.count(path) > 1:
            raise study.source.error((*at, "axes"), f"two axes set '{path}'")
    return found


def _axis(study: Study, key: str, spec: Any, at: KeyPath) -> Axis:
    if isinstance(spec, AxisFile) and spec.entries is not None:
        if spec.path is not None or spec.values is not None:
            raise study.source.error(at, "give either path with values, or entries")
        return _coupled_axis(study, key, spec, at)
    long = isinstance(spec, AxisFile)
    path = _resolve_path(study, (spec.path if long else None) or key, at)
    values = _listed(study, spec.values if long else spec, at)
    typed = tuple(_typed(study, {path: value}, at)[path] for value in values)
    _refuse_duplicates(study, typed, at)
    structured = any(isinstance(v, list | dict) for v in typed)
    labels = tuple(canonical_text(v) for v in typed) if structured else typed
    name = _short_name(study, path) if path == key or "." in key else key
    return Axis(name, (path,), labels, tuple({path: v} for v in typed), {}, unit_of(path), _long_name(study, path))


def _coupled_axis(study: Study, key: str, spec: AxisFile, at: KeyPath) -> Axis:
    entries, labels = [], []
    for i, entry in enumerate(spec.entries or []):
        values = {_resolve_path(study, path, (*at, "entries", i, "set", path)): v for path, v in entry.set.items()}
        entries.append(_typed(study, values, (*at, "entries", i)))
        labels.append(entry.label)
    if not entries:
        raise study.source.error(at, "a coupled axis needs at least one entry")
    paths = tuple(sorted(entries[0]))
    for i, entered in enumerate(entries):
        if tuple(sorted(entered)) != paths:
            raise study.source.error((*at, "entries", i), f"every entry sets the same paths; the first sets {', '.join(paths)}")
    _refuse_duplicates(study, tuple(labels), at)
    members = {
        _short_name(study, path): tuple(
            canonical_text(e[path]) if isinstance(e[path], list | dict) else e[path] for e in entries
        )
        for path in paths
    }
    return Axis(key, paths, tuple(labels), tuple(entries), members, "1", key)


def _listed(study: Study, values: Any, at: KeyPath) -> Sequence[Any]:
    try:
        if values is None:
            raise ValueError("an axis needs 'values' or 'entries'")
        if isinstance(values, SpacedValues):
            return spaced(values.start, values.stop, values.points, values.scale)
        if is_range(values):
            return parse_range(values)
        listed = values if isinstance(values, list) else [values]
        if not listed:
            raise ValueError("an axis needs at least one value")
        return listed
    except ValueError as error:
        raise study.source.error(at, str(error)) from error


def _resolve_path(study: Study, path: str, at: KeyPath) -> str:
    """A full dotted path from itself or from an unambiguous ending."""
    known = known_paths(study)
    if path in known:
        return path
    ending = [k for k in known if k.endswith(f".{path}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise study.source.error(at, f"'{path}' is ambiguous: {', '.join(ending)}")
    names = [*known, *(k.rsplit(".", 1)[-1] for k in known)]
    raise study.source.error(at, f"no field '{path}'{near_miss(path, names)}; there are {', '.join(known)}")


def _short_name(study: Study, path: str) -> str:
    """The shortest ending of a path that no other path shares (rule G3)."""
    known, parts = known_paths(study), path.split(".")
    for n in range(1, len(parts)):
        ending = ".".join(parts[-n:])
        if sum(k == ending or k.endswith(f".{ending}") for k in known) == 1:
            return ending.replace(".", "_")
    return path.replace(".", "_")


def _long_name(study: Study, path: str) -> str:
    model = study.experiment.options_model if path.startswith(OPTIONS) else study.experiment.scenario_model
    fields = dict(leaf_fields(model))
    return fields[path.removeprefix(OPTIONS)].description or path


def _typed(study: Study, values: Mapping[str, Any], at: KeyPath) -> dict[str, Any]:
    """Values as the scenario's fields type them (rule G2)."""
    scenario = {p: v for p, v in values.items() if not p.startswith(OPTIONS)}
    options = {p.removeprefix(OPTIONS): v for p, v in values.items() if p.startswith(OPTIONS)}
    typed: dict[str, Any] = {}
    for base, chosen, prefix in ((study.scenario, scenario, ""), (study.options, options, OPTIONS)):
        if not chosen:
            continue
        try:
            model = build(type(base), replace_values(plain(base), chosen))
        except ValidationError as error:
            first = error.errors()[0]
            found = ", ".join(f"{p} = {v!r}" for p, v in values.items())
            raise study.source.error(at, f"{found}: {first['msg']}") from error
        except (ValueError, TypeError) as error:
            raise study.source.error(at, str(error)) from error
        typed |= {prefix + path: plain(leaf_value(model, path)) for path in chosen}
    return typed


def _refuse_duplicates(study: Study, values: Sequence[Any], at: KeyPath) -> None:
    seen: set[str] = set()
    for value in values:
        text = canonical_text(value)
        if text in seen:
            raise study.source.error(at, f"the value {text} stands twice")
        seen.add(text)


def _outer_join(study: Study, grids: Sequence[Mapping[str, Axis]]) -> tuple[Axis, ...]:
    """Axes of the cube: the union of labels; a grid without an axis sits at the base scenario's value on it (G1)."""
    names = list(dict.fromkeys(name for grid in grids for name in grid))
    joined = []
    for name in names:
        versions = [grid[name] for grid in grids if name in grid]
        if any(v.paths != versions[0].paths for v in versions):
            raise study.source.error(("grids",), f"the axis '{name}' means different paths in different grids")
        if len(versions) < len(grids):
            versions.append(_base_axis(study, versions[0]))
        entries: dict[str, tuple[Any, Mapping[str, Any]]] = {}
        for version in versions:
            for label, entry in zip(version.labels, version.entries, strict=True):
                known = entries.setdefault(canonical_text(label), (label, entry))
                if not same_value(known[1], entry):
                    raise study.source.error(
                        ("grids",), f"the label '{label}' of axis '{name}' sets different values in different grids"
                    )
        merged = list(entries.values())
        numeric = all(isinstance(label, int | float) and not isinstance(label, bool) for label, _ in merged)
        if numeric and len(grids) > 1:
            merged.sort(key=lambda pair: pair[0])
        members = {}
        for member in versions[0].members:
            path = next(p for p in versions[0].paths if _short_name(study, p) == member)
            values = [entry[path] for _, entry in merged]
            members[member] = tuple(canonical_text(v) if isinstance(v, list | dict) else v for v in values)
        first = versions[0]
        labels, sets = tuple(label for label, _ in merged), tuple(entry for _, entry in merged)
        joined.append(Axis(name, first.paths, labels, sets, members, first.unit, first.long_name))
    return tuple(joined)


def _base_axis(study: Study, axis: Axis) -> Axis:
    """The axis reduced to the base scenario's own value."""
    entry = {
        p: plain(leaf_value(study.options if p.startswith(OPTIONS) else study.scenario, p.removeprefix(OPTIONS)))
        for p in axis.paths
    }
    for label, known in zip(axis.labels, axis.entries, strict=True):
        if same_value(known, entry):
            return Axis(axis.name, axis.paths, (label,), (entry,))
    if axis.members:
        return Axis(axis.name, axis.paths, ("base",), (entry,))
    value = entry[axis.paths[0]]
    return Axis(axis.name, axis.paths, (canonical_text(value) if isinstance(value, list | dict) else value,), (entry,))


def _check_names(study: Study, axes: Sequence[Axis]) -> None:
    variables = study.experiment.variables
    taken = {dim: f"an output dimension of '{v.name}'" for v in variables for dim in v.dims}
    taken |= {v.name: "an output variable" for v in variables}
    taken |= dict.fromkeys(("status", "message"), "a variable of every cube")
    for axis in axes:
        for name in (axis.name, *axis.members):
            if name in taken:
                proposals = f"'{axis.paths[0].replace('.', '_')}' or 'study_{name}'"
                raise study.source.error(
                    ("axes",), f"the axis '{name}' has the name of {taken[name]}; name it, e.g. {proposals}: "
                    f"{{path: {axis.paths[0]}, values: ...}}"
                )  # fmt: skip


def _grid_index(study: Study, grid: GridFile, at: KeyPath, own: Mapping[str, Axis], axes: Sequence[Axis]) -> NDArray[np.int32]:
    """Label numbers of one grid's cells in the joined cube."""
    numbers = []
    for axis in axes:
        places = {canonical_text(label): i for i, label in enumerate(axis.labels)}
        source = own.get(axis.name) or _base_axis(study, axis)
        numbers.append(np.array([places[canonical_text(label)] for label in source.labels], dtype=np.int32))
    masks = [_matches(study, condition, (*at, "exclude", i), axes, own) for i, condition in enumerate(grid.exclude)]
    kept = [_matches(study, {name: c}, (*at, "where"), axes, own) for name, c in grid.where.items()]
    for condition in kept:
        for a, matching in condition.items():
            numbers[a] = numbers[a][matching[numbers[a]]]
    if not axes:
        return np.zeros((1, 0), dtype=np.int32)
    mesh = np.meshgrid(*numbers, indexing="ij", copy=False)
    index = np.stack([m.ravel() for m in mesh], axis=1).astype(np.int32, copy=False)
    for mask in masks:
        matched = np.ones(len(index), dtype=bool)
        for a, matching in mask.items():
            matched &= matching[index[:, a]]
        index = index[~matched]
    return index


def _matches(
    study: Study, condition: Mapping[str, Any], at: KeyPath, axes: Sequence[Axis], own: Mapping[str, Axis]
) -> dict[int, NDArray[np.bool_]]:
    """Per axis of the cube (by number) which of its labels a condition names."""
    found: dict[int, NDArray[np.bool_]] = {}
    for name, wanted in condition.items():
        number = next((a for a, axis in enumerate(axes) if name in (axis.name, *axis.paths)), None)
        if number is None or axes[number].name not in own:
            raise study.source.error(
                (*at, name), f"no axis '{name}' in this grid{near_miss(name, own)}; axes: {', '.join(own)}"
            )
        labels = axes[number].labels
        if isinstance(wanted, dict):
            if not set(wanted) <= {"min", "max"} or not wanted:
                raise study.source.error((*at, name), f"found {wanted!r}; write a value, a list, or {{min: ..., max: ...}}")
            low, high = wanted.get("min", -np.inf), wanted.get("max", np.inf)
            try:
                found[number] = np.array([low <= label <= high for label in labels])
            except TypeError as error:
                raise study.source.error((*at, name), f"the labels of '{name}' have no order; write a list") from error
            continue
        options = parse_range(wanted) if is_range(wanted) else wanted if isinstance(wanted, list) else [wanted]
        texts = {canonical_text(o) for o in options} | {canonical_text(float(o)) for o in options if _is_number(o)}
        hit = np.array([canonical_text(label) in texts for label in labels])
        if not hit.any():
            raise study.source.error(
                (*at, name), f"{wanted!r} names no value of the axis '{name}': {', '.join(map(str, labels))}"
            )
        found[number] = hit
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def dense_bytes(cells: Cells, keep: Iterable[str]) -> int:
    """Bytes of the dense cube in memory; own dimensions of open length count as one entry."""
    per_cell = 1 + 16
    for variable in cells.study.experiment.variables:
        if variable.name in keep and variable.kind == "cube":
            entries = int(np.prod([len(variable.coords.get(dim, (0,))) for dim in variable.dims], dtype=np.int64))
            per_cell += entries * numpy_dtype(variable.dtype).itemsize
    return per_cell * int(np.prod(cells.shape, dtype=np.int64))


def check_dense_size(cells: Cells, keep: Iterable[str]) -> None:
    """Refuse a cube above the study's limit and say how to split it (rule G4).

    Raises
    ------
    UsageError
        If it is too large.
    """
    size, limit = dense_bytes(cells, tuple(keep)), cells.study.max_dense_bytes
    if size <= limit:
        return
    longest = max(cells.axes, key=lambda axis: len(axis.labels))
    raise UsageError(
        f"{cells.study.source.name}: the dense cube would take {size:,} bytes for {cells.shape} cells, the limit is "
        f"max_dense_bytes: {limit:,}. Split it along '{longest.name}' ({len(longest.labels)} values) into one study for each "
        f"value (--set axes.{longest.name}=...) and open them together as an xarray DataTree, or raise the limit"
    )

"""Join published cubes into one cube with a dimension ``source``.

Axes are joined by their labels, as grids of one study are (rule G1): a cell that a source does not plan has the status
``not_planned``. What does not fit together is refused, or left out and named by a sentence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES
from pipeline.sizes import MOST_CELLS
from pipeline.study import MOST_DENSE_BYTES
from pipeline.zarrio import missing_value

SOURCE = "source"
"""Name of the dimension whose labels are the sources."""

DIFFERENCE = "difference_"
"""Beginning of the name of a variable that holds the differences from the first source."""

_FEASIBLE = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"])

_BYTES = 16
"""Bytes of an entry of a variable: a number and its difference, or a text's place."""

Labels = NDArray[Any]


@dataclass(frozen=True)
class Joined:
    """A joined cube, and a sentence on each part of its sources that did not fit."""

    cube: xr.Dataset
    sentences: tuple[str, ...]


def join_cubes(cubes: Mapping[str, xr.Dataset]) -> Joined:
    """Join cubes into one.

    Parameters
    ----------
    cubes
        Two or more cubes with ``status``, by the labels of the sources. Their dimensions are axes with labels.

    Returns
    -------
    Joined
        The cube has the dimensions ``source``, then the axes of all cubes in the order of their first appearance. Labels of a
        numeric axis ascend if they do in every cube; other labels stand in the order of their first appearance. An axis that a
        cube lacks has, in this cube, the base value of its scenario or options. A variable ``v`` of real numbers that has no
        dimension of its own comes with ``difference_v``: its difference from the first source, in the cells that are feasible
        in both.

    Raises
    ------
    UsageError
        If axes do not fit together: other paths, units or kinds of labels under one name, an axis without a known base value,
        labels of a coupled axis that mean different values; or if the cube would be too large.
    """
    sentences: list[str] = []
    parts = _with_common_names(cubes, sentences)
    axes = list(dict.fromkeys(str(d) for part in parts.values() for d in part["status"].dims))
    for axis in axes:
        _check_axis(parts, axis)
    parts = {source: _with_all_axes(source, part, parts, axes) for source, part in parts.items()}
    labels = {axis: _union([part[axis].values for part in parts.values()]) for axis in axes}
    coordinates: dict[str, Any] = {SOURCE: (SOURCE, np.array(list(parts), dtype=object), {"long_name": "source", "units": "1"})}
    for axis in axes:
        coordinates[axis] = (axis, labels[axis], dict(next(p[axis].attrs for p in parts.values() if axis in p.coords)))
    members = _members(parts, axes, labels, sentences)
    own = _OwnDimensions(parts, axes, labels)
    names = list(dict.fromkeys(str(name) for part in parts.values() for name in part.data_vars))
    found: dict[str, Any] = {}
    cells, size = len(parts) * math.prod(len(labels[axis]) for axis in axes), 0
    for name in names:
        holders = {source: part[name] for source, part in parts.items() if name in part.data_vars}
        if why := own.misfit(name, holders):
            sentences.append(f"the variable '{name}' is left out: {why}")
            continue
        if len(holders) < len(parts):
            sentences.append(f"the variable '{name}' is only in {_listed(holders)}: the other sources have no values of it")
        dims = own.dims(holders)
        size += cells * math.prod(own.size(d) for d in dims) * _BYTES
        _refuse_large(cells, size)
        found[name] = ((SOURCE, *axes, *dims), own.dense(name, holders, dims), dict(next(iter(holders.values())).attrs))
    found |= _differences(found, axes, next(iter(parts)))
    coordinates |= members | own.coordinates({d for dims, *_ in found.values() for d in dims})
    return Joined(xr.Dataset(found, coordinates, _attributes(cubes, found["status"][1], list(members))), tuple(sentences))


def _with_common_names(cubes: Mapping[str, xr.Dataset], sentences: list[str]) -> dict[str, xr.Dataset]:
    """Give the axes that set one path the name that they have in the first cube with them."""
    names: dict[str, str] = {}
    parts: dict[str, xr.Dataset] = {}
    for source, cube in cubes.items():
        renamed = {}
        if SOURCE in cube["status"].dims:
            raise UsageError(f"'{source}' is itself a comparison: name the studies that it compares")
        for axis in map(str, cube["status"].dims):
            path = str(cube[axis].attrs.get("path", axis))
            name = names.setdefault(path, axis)
            if name != axis:
                if name in cube.variables:
                    raise UsageError(
                        f"'{source}': the axis '{axis}' sets {path}, which is '{name}' elsewhere, but has a '{name}'"
                    )
                renamed[axis] = name
                sentences.append(f"the axis '{axis}' of {source} is called '{name}' here: both set {path}")
        parts[source] = cube.rename(renamed)
    return parts


def _check_axis(parts: Mapping[str, xr.Dataset], axis: str) -> None:
    """Check that an axis means the same in every cube that has it."""
    holders = {source: part[axis] for source, part in parts.items() if axis in part["status"].dims}
    for what, of in {"sets": _path, "has the unit": _unit, "has labels that are": _kind}.items():
        told = {source: of(labels) for source, labels in holders.items()}
        if len(set(told.values())) > 1:
            words = ", ".join(f"{what} {value} in {source}" for source, value in told.items())
            raise UsageError(f"the axis '{axis}' does not fit: it {words}")


def _path(labels: xr.DataArray) -> str:
    return str(labels.attrs.get("path", labels.name))


def _unit(labels: xr.DataArray) -> str:
    return repr(labels.attrs.get("units", "1"))


def _kind(labels: xr.DataArray) -> str:
    return {"i": "numbers", "u": "numbers", "f": "numbers", "b": "true or false"}.get(labels.dtype.kind, "texts")


def _with_all_axes(source: str, part: xr.Dataset, parts: Mapping[str, xr.Dataset], axes: Sequence[str]) -> xr.Dataset:
    """Add the axes that a cube lacks, each with the base value of the cube's scenario or options as its only label."""
    lacking = [axis for axis in axes if axis not in part["status"].dims]
    own = {axis: _base_value(source, part, axis, parts) for axis in lacking}
    dims = part["status"].dims
    for axis, value in own.items():
        label = np.array([value], dtype=object if isinstance(value, str) else None)
        extended = {n: v.expand_dims({axis: label}) for n, v in part.data_vars.items() if set(dims) <= set(v.dims)}
        part = part.assign(extended)
    return part


def _base_value(source: str, part: xr.Dataset, axis: str, parts: Mapping[str, xr.Dataset]) -> Any:
    holder, labels = next((s, p[axis]) for s, p in parts.items() if axis in p["status"].dims)
    path = _path(labels)
    trees = {"options": part.attrs.get("options", "{}"), "": part.attrs.get("scenario", "{}")}
    first, _, rest = path.partition(".")
    value: Any = json.loads(trees["options"] if first == "options" else trees[""])
    for key in (rest if first == "options" else path).split("."):
        value = value.get(key) if isinstance(value, dict) else None
    known = {"numbers": (int, float), "texts": (str,), "true or false": (bool,)}[_kind(labels)]
    if not isinstance(value, known) or (bool not in known and isinstance(value, bool)):
        raise UsageError(
            f"'{source}' has no axis '{axis}', which {holder} has, and no single value of {path} in scenario and options: "
            f"give its study the axis '{axis}' with one value"
        )
    return value


def _union(found: Sequence[Labels]) -> Labels:
    """Return all labels once: ascending if they are numbers that ascend everywhere, else by first appearance."""
    together = list(dict.fromkeys(label for labels in found for label in labels.tolist()))
    if any(isinstance(label, str) for label in together):
        return np.array(together, dtype=object)
    ascending = all((np.diff(labels) > 0).all() for labels in found if labels.dtype.kind in "iuf")
    return np.array(sorted(together) if ascending else together)


def _places(labels: Labels, all_labels: Labels) -> NDArray[np.int64]:
    place = {label: i for i, label in enumerate(all_labels.tolist())}
    return np.array([place[label] for label in labels.tolist()], dtype=np.int64)


def _members(
    parts: Mapping[str, xr.Dataset], axes: Sequence[str], labels: Mapping[str, Labels], sentences: list[str]
) -> dict[str, Any]:
    """Return the members of coupled axes: coordinates along an axis that have another name."""
    found: dict[str, Any] = {}
    names = dict.fromkeys((str(n), str(c.dims[0])) for p in parts.values() for n, c in p.coords.items() if c.ndim == 1)
    for name, axis in names:
        if name in axes or axis not in axes:
            continue
        holders = [(source, part) for source, part in parts.items() if name in part.coords]
        values: dict[Any, Any] = {}
        for source, part in holders:
            for label, value in zip(part[axis].values.tolist(), part[name].values.tolist(), strict=True):
                if values.setdefault(label, value) != value:
                    means = f"{name} {value} in {source} and {values[label]} elsewhere"
                    raise UsageError(f"the label '{label}' of the axis '{axis}' means {means}")
        if len(values) < len(labels[axis]):
            sentences.append(f"'{name}' along the axis '{axis}' is left out: only {_listed(s for s, _ in holders)} has it")
            continue
        of_axis = [values[label] for label in labels[axis].tolist()]
        data = np.array(of_axis, dtype=object if any(isinstance(v, str) for v in of_axis) else None)
        found[name] = (axis, data, dict(holders[0][1][name].attrs))
    return found


class _OwnDimensions:
    """The dimensions of variables that are no axes, joined by label, or by position where they have no labels."""

    def __init__(self, parts: Mapping[str, xr.Dataset], axes: Sequence[str], labels: Mapping[str, Labels]) -> None:
        self._parts, self._axes, self._labels = parts, tuple(axes), labels
        names = dict.fromkeys(str(d) for part in parts.values() for d in part.dims if d not in axes)
        self._with = {dim: [s for s, p in parts.items() if dim in p.dims and dim in p.coords] for dim in names}
        self._lengths = {dim: max(part.sizes.get(dim, 0) for part in parts.values()) for dim in names}
        self._union = {
            dim: _union([parts[s][dim].values for s in sources]) for dim, sources in self._with.items() if sources
        }  # fmt: skip

    def misfit(self, name: str, holders: Mapping[str, xr.DataArray]) -> str:
        """Return why a variable cannot be joined; empty if it can."""
        units = {source: repr(v.attrs.get("units", "1")) for source, v in holders.items()}
        kinds = {source: v.dtype.kind.replace("U", "O").replace("T", "O") for source, v in holders.items()}
        shapes = {source: repr(self.dims({source: v})) for source, v in holders.items()}
        for what, told in (("unit", units), ("kind of values", kinds), ("dimensions", shapes)):
            if len(set(told.values())) > 1:
                return f"its {what} is " + ", ".join(f"{value} in {source}" for source, value in told.items())
        if not all(set(v.dims) >= set(self._axes) for v in holders.values()):
            return "it does not have all axes of its cube"
        for dim in self.dims(holders):
            lacking = [s for s in holders if dim not in self._parts[s].coords]
            if lacking and self._with[dim]:
                return f"its dimension '{dim}' has labels in {_listed(self._with[dim])} and none in {_listed(lacking)}"
            if len({_unit(self._parts[s][dim]) for s in self._with[dim]} | set()) > 1:
                return f"the labels of its dimension '{dim}' have several units"
            if len({_kind(self._parts[s][dim]) for s in self._with[dim]}) > 1:
                return f"the labels of its dimension '{dim}' are of several kinds"
        return ""

    def dims(self, holders: Mapping[str, xr.DataArray]) -> tuple[str, ...]:
        """Return a variable's own dimensions in their order."""
        return tuple(str(d) for d in next(iter(holders.values())).dims if d not in self._axes)

    def size(self, dim: str) -> int:
        """Return the length of an own dimension in the joined cube."""
        return len(self._union[dim]) if dim in self._union else self._lengths[dim]

    def dense(self, name: str, holders: Mapping[str, xr.DataArray], dims: Sequence[str]) -> NDArray[Any]:
        """Return a variable's values for all sources and labels, with the missing value where there is none."""
        text = any(v.dtype.kind in "OUT" for v in holders.values())
        dtype = np.dtype(object) if text else np.result_type(*(v.dtype for v in holders.values()))
        missing = STATUS_CODES["not_planned"] if name == "status" else missing_value("str" if text else dtype.name)
        shape = (len(self._parts), *(len(self._labels[a]) for a in self._axes), *(self.size(d) for d in dims))
        dense = np.full(shape, missing, dtype=dtype)
        for number, (source, part) in enumerate(self._parts.items()):
            if source in holders:
                at = [_places(part[axis].values, self._labels[axis]) for axis in self._axes]
                at += [_places(part[d].values, self._union[d]) if d in self._union else np.arange(part.sizes[d]) for d in dims]
                dense[number][np.ix_(*at)] = holders[source].transpose(*self._axes, *dims).values
        return dense

    def coordinates(self, used: Iterable[str]) -> dict[str, Any]:
        """Return the labels of the own dimensions that variables use."""
        return {
            dim: (dim, self._union[dim], dict(self._parts[self._with[dim][0]][dim].attrs)) for dim in used if dim in self._union
        }


def _differences(found: Mapping[str, Any], axes: Sequence[str], first: str) -> dict[str, Any]:
    """Return the differences of each real variable from the first source, cell by cell."""
    feasible = np.isin(found["status"][1], _FEASIBLE)
    both = feasible & feasible[:1]
    differences = {}
    for name, (dims, values, attributes) in found.items():
        if dims == (SOURCE, *axes) and values.dtype.kind == "f" and f"{DIFFERENCE}{name}" not in found:
            told = {"long_name": f"{attributes.get('long_name', name)}, difference from {first}"}
            difference = np.full(values.shape, np.nan, dtype=values.dtype)
            np.subtract(values, values[:1], out=difference, where=both & np.isfinite(values) & np.isfinite(values[:1]))
            differences[f"{DIFFERENCE}{name}"] = (dims, difference, attributes | told)
    return differences


def _refuse_large(cells: int, size: int) -> None:
    if cells > MOST_CELLS or size > MOST_DENSE_BYTES:
        raise UsageError(
            f"the joined cube would have {cells:,} cells and take {size:,} bytes or more; the limits are {MOST_CELLS:,} and "
            f"{MOST_DENSE_BYTES:,}. Labels that few sources share make it large: compare studies of one grid, or fewer of them"
        )


def _attributes(cubes: Mapping[str, xr.Dataset], status: NDArray[Any], members: Sequence[str]) -> dict[str, Any]:
    counts = {name: int((status == code).sum()) for name, code in STATUS_CODES.items()}
    planned = status.size - counts.pop("not_planned")
    present = planned - counts.pop("missing")
    found: dict[str, Any] = {
        "planned": planned, "present": present,
        "cells_by_status": json.dumps({name: count for name, count in counts.items() if count}),
    }  # fmt: skip
    for name in ("paper", "figure", "experiment", "code_digest", "disac_version", "git_revision"):
        said = dict.fromkeys(str(cube.attrs.get(name, "")) for cube in cubes.values())
        found[name] = next(iter(said)) if len(said) == 1 else "" if name in ("paper", "figure") else ", ".join(said)
    for name in ("scenario", "options", "manifest", "environment"):
        found[name] = json.dumps({source: json.loads(cube.attrs.get(name, "null")) for source, cube in cubes.items()})
    return found | ({"coordinates": " ".join(members)} if members else {})


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)

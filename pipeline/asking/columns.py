"""What a wish can name: the axes and the metrics of a cube as arrays of numbers, with their units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.archive import Files
from pipeline.asking.units import Unit, unit_of_variable
from pipeline.errors import UsageError, near_miss
from pipeline.experiment import STATUS_CODES
from pipeline.values import unit_of
from pipeline.zarrio import Labelled, array_about, read_group

if TYPE_CHECKING:
    import xarray as xr

NONE = "none"
"""In ``over``: no axis counts realisations; each cell is a point of its own."""
_REALISATION = "realisation"
_OF_CUBES = ("status", "message")


@dataclass(frozen=True)
class Column:
    """A variable of a cube: its dimensions, its values when they are asked for, and what is said of it."""

    dims: tuple[str, ...]
    kind: str
    load: Callable[[], NDArray[Any]]
    attributes: Mapping[str, Any]
    labels: bool
    """Whether these are labels: of an axis, or of a member of a coupled axis."""


class Columns:
    """The axes and metrics of one cube, in the order (points, realisations).

    Arrays have one dimension for each axis, the axis of realisations last. An axis is a broadcastable array. Without an axis of
    realisations the last dimension has length 1.

    Parameters
    ----------
    columns
        The variables of the cube by their names, axes and members of coupled axes among them.
    over
        Axis of the realisations; None: the axis whose name or path is ``realisation``; ``none``: no axis.

    Raises
    ------
    UsageError
        If the cube has no status, or not the axis ``over``.
    """

    def __init__(self, columns: Mapping[str, Column], over: str | None = None) -> None:
        if "status" not in columns:
            raise UsageError("this is no cube: it has no variable 'status'")
        self._columns, dims = columns, columns["status"].dims
        self.over = self._realisations(dims, over)
        self.axes = tuple(d for d in dims if d != self.over)
        """The axes of the points."""

    def _realisations(self, dims: tuple[str, ...], over: str | None) -> str | None:
        if over == NONE:
            return None
        if over is not None:
            if over not in dims:
                raise UsageError(f"the cube has no axis '{over}'{near_miss(over, dims)}; axes: {', '.join(dims)}")
            return over
        if _REALISATION in dims:
            return _REALISATION
        return next((d for d in dims if d in self._columns and _REALISATION in self._path_ends(d)), None)

    def _path_ends(self, axis: str) -> set[str]:
        """Return the paths that an axis sets, and all endings of these."""
        paths = str(self._columns[axis].attributes.get("path", "")).split(", ")
        return {".".join(path.split(".")[n:]) for path in paths for n in range(path.count(".") + 1)} - {""}

    @cached_property
    def status(self) -> NDArray[np.uint8]:
        """Return the status of each cell."""
        return self._ordered("status").astype(np.uint8, copy=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the lengths of the axes of the points."""
        return self.status.shape[:-1]

    def labels(self, axis: str) -> NDArray[Any]:
        """Return the labels of an axis; numbers count the places of an axis that has none."""
        if axis in self._columns:
            return self._columns[axis].load()
        return np.arange(self.status.shape[self.axes.index(axis)])

    def unit_text(self, name: str) -> str:
        """Return the unit that a variable states, empty if it has none."""
        column = self._columns.get(self._known(name))
        return "" if column is None else self._unit_text(name, column)

    def _unit_text(self, name: str, column: Column) -> str:
        units = str(column.attributes.get("units", "") or ("" if "along" not in column.attributes else unit_of(name)))
        return "" if units == "1" else units

    def unit(self, name: str) -> Unit:
        """Return the unit of a variable."""
        return unit_of_variable(self.unit_text(name))

    def is_axis(self, name: str) -> bool:
        """Return whether a name is that of an axis, of a path that an axis sets, or of a member of a coupled axis."""
        return self._columns[self._known(name)].labels

    def same(self, name: str, axis: str) -> bool:
        """Return whether a name means an axis."""
        return self._known(name) == axis

    def _known(self, name: str) -> str:
        """Return the variable that a name means.

        Raises
        ------
        UsageError
            If there is none, or it has no single number in each cell.
        """
        found = name
        if name not in self._columns or name in _OF_CUBES:
            dims = self._columns["status"].dims
            by_path = [axis for axis in dims if axis in self._columns and name in self._path_ends(axis)]
            if len(by_path) != 1:
                known = self.names()
                words = [*known, *(end for axis in self.axes if axis in self._columns for end in self._path_ends(axis))]
                raise UsageError(
                    f"the cube has no metric and no axis '{name}'{near_miss(name, words)}; there are {', '.join(known)}"
                )
            found = by_path[0]
        column = self._columns[found]
        if own := sorted(set(column.dims) - set(self._columns["status"].dims)):
            raise UsageError(f"'{name}' has several values in each cell, along '{own[0]}': a wish needs one number")
        if column.kind == "c":
            raise UsageError(f"'{name}' is complex: it can be compared with no number")
        if self.over is not None and column.dims == (self.over,):
            raise UsageError(f"'{name}' counts the realisations: a wish is about all of them, and --minimise, too")
        return found

    def names(self) -> list[str]:
        """Return the names of all metrics and axes that a wish may use."""
        dims = self._columns["status"].dims
        return sorted(
            name for name, column in self._columns.items()
            if name not in _OF_CUBES and set(column.dims) <= set(dims) and column.kind != "c" and column.dims != (self.over,)
        )  # fmt: skip

    def has_metric(self, name: str) -> bool:
        """Return whether each cell has one number of this name."""
        return (
            name in self._columns
            and self._columns[name].dims == self._columns["status"].dims
            and self._columns[name].kind in "fiu"
        )

    def number(self, name: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return the numbers of a metric or an axis, and a mask of the cells that do not have the metric.

        A label of an axis that is no number is NaN.

        Raises
        ------
        UsageError
            If the name means nothing, or holds texts alone.
        """
        found = self._known(name)
        column, values = self._columns[found], self._ordered(found)
        if values.dtype.kind in "OUST":
            return self._labels_as_numbers(name, column, values), None
        if column.labels:
            return values.astype(np.float64), None
        unknown = np.isnan(values) if values.dtype.kind == "f" else values == -1 if values.dtype.kind == "i" else None
        return values, unknown

    def _labels_as_numbers(self, name: str, column: Column, values: NDArray[Any]) -> NDArray[np.float64]:
        texts = [str(text) for text in values.ravel().tolist()] if column.labels else []
        numbers = [_as_number(text) for text in texts]
        if all(np.isnan(number) for number in numbers):
            some = ", ".join(repr(text) for text in texts[:4])
            advice = f"; write {name} == {texts[0]!r}; labels: {some}{' ...' if len(texts) > 4 else ''}" if texts else ""
            raise UsageError(f"'{name}' holds texts, which are compared with no number{advice}")
        return np.array(numbers).reshape(values.shape)

    def has_label(self, name: str, label: str) -> NDArray[np.bool_]:
        """Return where an axis has a label.

        Raises
        ------
        UsageError
            If the name is no axis with texts, or the axis has no such label.
        """
        found = self._known(name)
        values, column = self._ordered(found), self._columns[found]
        if not column.labels or values.dtype.kind not in "OUST":
            raise UsageError(f"'{name}' is no axis of texts: only labels of axes are compared with texts")
        texts = np.array([str(text) for text in values.ravel().tolist()])
        if label not in texts.tolist():
            known = ", ".join(map(repr, texts[:40].tolist()))
            raise UsageError(f"'{name}' has no label {label!r}{near_miss(label, texts.tolist())}; labels: {known}")
        return (texts == label).reshape(values.shape)

    def _ordered(self, name: str) -> NDArray[Any]:
        """Return the values with one dimension for each axis of the cube, the realisations last."""
        column = self._columns[name]
        every = [*self.axes, *([] if self.over is None else [self.over])]
        values, order = np.asarray(column.load()), [a for a in every if a in column.dims]
        values = values.transpose([column.dims.index(a) for a in order])
        sizes = dict(zip(order, values.shape, strict=True))
        shape = [sizes.get(a, 1) for a in self.axes] + [sizes.get(self.over, 1) if self.over is not None else 1]
        return values.reshape(shape)


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def of_dataset(cube: xr.Dataset | xr.DataTree, over: str | None = None) -> Columns:
    """Return the columns of a cube that xarray holds; values are loaded when they are needed."""
    found = {}
    for name, variable in cube.variables.items():

        def load(variable: xr.Variable = variable) -> NDArray[Any]:
            return np.asarray(variable.values)

        found[str(name)] = Column(
            tuple(map(str, variable.dims)), variable.dtype.kind, load, variable.attrs, name in cube.coords
        )
    return Columns(found, over)


def of_arrays(arrays: Mapping[str, Labelled], over: str | None = None) -> Columns:
    """Return the columns of labelled arrays, as :func:`pipeline.cube.build_cube` makes them."""
    found = {}
    for name, labelled in arrays.items():

        def load(labelled: Labelled = labelled) -> NDArray[Any]:
            return labelled.data

        labels = labelled.dims == (name,) or "along" in labelled.attributes
        found[name] = Column(labelled.dims, labelled.data.dtype.kind, load, labelled.attributes, labels)
    return Columns(found, over)


def of_files(files: Files, over: str | None = None) -> Columns:
    """Return the columns of the files of a published cube; an array is read when it is needed.

    Raises
    ------
    FormatError
        If a file is not as a publication writes it.
    """
    found = {}
    for name in {name.split("/", 1)[0] for name in files if "/" in name}:
        dims, kind, attributes = array_about(files, name)

        def load(name: str = name) -> NDArray[Any]:
            return read_group(files, frozenset({name}))[name].data

        found[name] = Column(dims, kind, cache(load), attributes, dims == (name,) or "along" in attributes)
    return Columns(found, over)


def feasible(status: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return a mask of the cells that have a design."""
    return (status == STATUS_CODES["ok"]) | (status == STATUS_CODES["inaccurate"])

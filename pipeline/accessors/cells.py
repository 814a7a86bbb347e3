"""One cell of a cube: its values, its key, and the account of how it came to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from pipeline.account import account, account_lines
from pipeline.cube import STUDY_TEXT
from pipeline.digest import CodeDigest
from pipeline.errors import UsageError, broken_field, near_miss
from pipeline.experiment import STATUS_NAMES
from pipeline.grid import Axis, Cells, expand
from pipeline.layout import store_of
from pipeline.plan import Plan, plan_cells
from pipeline.store import open_store_backend
from pipeline.study import load_study
from pipeline.terminal_text import printable

_MOST_LISTED = 40


@dataclass(frozen=True)
class Cell:
    """One cell of a cube.

    ``values`` holds the value of each variable by its name: a number or a text, or an array [own dimensions] without padding.
    ``units`` holds the units of those that have one.
    """

    coordinates: Mapping[str, Any]
    status: str
    message: str
    values: Mapping[str, Any]
    units: Mapping[str, str]
    _cube: xr.Dataset

    @cached_property
    def key(self) -> str:
        """Return the hexadecimal key of the cell, as the ledger and ``disac why`` know it.

        Raises
        ------
        UsageError
            If the data set does not say which store it is from, or the study's experiment is not installed.
        """
        return _plan_of(self._cube, self.coordinates).keys[0].tobytes().hex()

    def __repr__(self) -> str:
        where = " ".join(f"{name}={value}" for name, value in self.coordinates.items())
        lines = [f"{where}: {self.status}. {self.message}".rstrip(". ")]
        width = max(map(len, self.values), default=0)
        for name, value in self.values.items():
            shown = value if np.ndim(value) == 0 else f"{np.asarray(value).dtype} {np.shape(value)}"
            shown = f"{shown:.6g}" if isinstance(shown, float) else shown
            lines.append(f"  {name:{width}s}  {shown} {self.units.get(name, '')}".rstrip())
        return printable("\n".join(lines))


class Account(dict[str, Any]):
    """All facts about one cell, as ``disac why --json`` gives them; printed as ``disac why`` prints them."""

    def __repr__(self) -> str:
        return printable("\n".join(account_lines(self)))


def cell_of(cube: xr.Dataset, coordinates: Mapping[str, Any]) -> Cell:
    """Return the cell at the given labels.

    Raises
    ------
    UsageError
        If a name is no axis, a label is no value of its axis, or an axis with several values is not named.
    """
    labels, place = _place(cube, coordinates)
    here = cube.isel(place).load()
    values, units = {}, {}
    for name, variable in here.data_vars.items():
        if name in ("status", "message") or str(name).removeprefix("n_") in here.dims:
            continue
        for dim in variable.dims:
            if f"n_{dim}" in here:
                variable = variable.isel({dim: slice(max(0, int(here[f"n_{dim}"])))})
        values[str(name)] = variable.values if variable.ndim else variable.values.item()
        if variable.attrs.get("units") not in (None, "", "1"):
            units[str(name)] = str(variable.attrs["units"])
    message = str(here["message"].values) if "message" in here else ""
    return Cell(labels, STATUS_NAMES.get(int(here["status"]), "unknown"), message, values, units, cube)


def account_of(cube: xr.Dataset, coordinates: Mapping[str, Any]) -> Account:
    """Return the account of the cell at the given labels, under the code that the cube was published with.

    Raises
    ------
    UsageError
        As :func:`cell_of`; and if the data set does not say which store it is from, the experiment is not installed, or the
        study does not plan the cell.
    """
    labels, _ = _place(cube, coordinates)
    return Account(account(_plan_of(cube, labels), 0))


def _place(cube: xr.Dataset, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the labels of all axes at one cell, and the positions along the axes that the cube still has."""
    dims = [str(dim) for dim in cube["status"].dims]
    fixed = {str(name) for name, c in cube.coords.items() if c.ndim == 0 and "along" not in c.attrs}
    for name in given:
        if name not in dims and name not in fixed:
            raise UsageError(f"no axis '{name}'{near_miss(name, dims)}; axes: {', '.join(dims)}")
    open_dims = [dim for dim in dims if dim not in given and cube.sizes[dim] > 1]
    if open_dims:
        raise UsageError(f"one cell is asked for: give a value of {', '.join(open_dims)}, too")
    place = {dim: position_of(cube[dim], given[dim]) if dim in given else 0 for dim in dims}
    labels = {dim: _plain(cube[dim].values[place[dim]]) for dim in dims}
    for name in fixed:
        labels[name] = _plain(cube[name].values)
        if name in given:
            position_of(cube[name].expand_dims(name), given[name])
    return labels, place


def position_of(axis: xr.DataArray, label: Any) -> int:
    """Return the position of a label on an axis.

    Raises
    ------
    UsageError
        If the axis has no such value.
    """
    values = [_plain(value) for value in axis.values]
    found = [i for i, value in enumerate(values) if value == label]
    if not found:
        some = ", ".join(map(str, values[:_MOST_LISTED])) + (", ..." if len(values) > _MOST_LISTED else "")
        raise UsageError(f"{label!r} is not a value of '{axis.name}'{near_miss(str(label), map(str, values))}: {some}")
    return found[0]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _plan_of(cube: xr.Dataset, labels: Mapping[str, Any]) -> Plan:
    """Return the plan of one cell, under the code that the cube was published with."""
    root = store_of(Path(str(cube.encoding.get("source", ""))))
    if root is None:
        raise UsageError(
            "this data set does not say from which store it is: ask the cube as pipeline.open_store opens it. "
            "sel and isel keep the store, where and arithmetic do not"
        )
    if not cube.attrs.get(STUDY_TEXT):
        raise UsageError(f"'{root}' holds a cube of an earlier version: `disac report {cube.attrs.get('study', '')}` renews it")
    cells = expand(load_study(f"{cube.attrs[STUDY_TEXT]}\n"))  # with a line's end it is no path
    if {axis.name for axis in cells.axes} != set(labels):
        raise UsageError(f"the cube's axes {', '.join(labels)} are not those of its attribute '{STUDY_TEXT}'")
    index = np.array([_label_number(axis, labels) for axis in cells.axes], dtype=np.int32).reshape(1, -1)
    if not (cells.index == index).all(axis=1).any():
        raise UsageError(f"the study '{cells.study.name}' does not plan this cell")
    one: Cells = replace(cells, index=index, warnings=())
    return plan_cells(one, _code_of(cube), open_store_backend(str(root)))


def _code_of(cube: xr.Dataset) -> CodeDigest:
    """Return the code with which a cube was published."""
    try:
        manifest = TypeAdapter(dict[str, str]).validate_json(str(cube.attrs.get("manifest")))
    except ValidationError as error:
        raise UsageError(f"the cube's attribute 'manifest' is damaged: {broken_field(error)}") from error
    return CodeDigest(str(cube.attrs.get("code_digest")), manifest)


def _label_number(axis: Axis, labels: Mapping[str, Any]) -> int:
    wanted = labels.get(axis.name)
    text = any(isinstance(label, str) for label in axis.labels)
    found = [i for i, label in enumerate(axis.labels) if (str(label) if text else label) == wanted]
    if not found:
        raise UsageError(f"the study has no value {wanted!r} on its axis '{axis.name}': the data set is no part of its cube")
    return found[0]

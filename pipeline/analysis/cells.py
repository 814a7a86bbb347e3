"""What every analysis reads of a cube: its axes, which cells are feasible, and the values of a metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import UsageError, near_miss
from pipeline.experiment import STATUS_CODES

REALISATION = "realisation"
"""The axis of paired realisations, unless a caller names another."""

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Worded = tuple[tuple[str, ...], NDArray[Any], dict[str, str]]

_FEASIBLE = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"])
_INFEASIBLE = STATUS_CODES["infeasible"]


def axes_of(cube: xr.Dataset) -> tuple[str, ...]:
    """Return the names of the cube's axes, in order.

    Raises
    ------
    UsageError
        If the dataset has no ``status`` and so is no cube.
    """
    if "status" not in cube:
        raise UsageError(f"no variable 'status': a cube is needed; there are {_listed(map(str, cube.data_vars))}")
    return tuple(str(dim) for dim in cube["status"].dims)


def other_axes(cube: xr.Dataset, over: str | None, *named: str) -> tuple[str, ...]:
    """Return the axes that are neither averaged nor named, after it is checked that all of these are different axes.

    Raises
    ------
    UsageError
        If an axis does not exist or is named twice.
    """
    axes = axes_of(cube)
    taken = [name for name in (*named, over) if name is not None]
    for name in taken:
        if name not in axes:
            extra = ", or None for no realisations" if name == over else ""
            raise UsageError(f"no axis '{name}'{near_miss(name, axes)}; there are {_listed(axes)}{extra}")
        if taken.count(name) > 1:
            raise UsageError(f"the axis '{name}' is named twice: {_listed(taken)}")
    return tuple(name for name in axes if name not in taken)


def check_names(cube: xr.Dataset, *names: str) -> None:
    """Refuse a cube with an axis or a coordinate whose name the answer uses for a dimension of its own."""
    taken = [name for name in ("statistic", *names) if name in axes_of(cube) or name in cube.coords]
    if taken:
        raise UsageError(
            f"the answer has a dimension '{taken[0]}' of its own: rename that of the cube, cube.rename({taken[0]}=...)"
        )


def numeric_labels(cube: xr.Dataset, axis: str) -> Float:
    """Return the labels of a numeric axis as float64, in the cube's order.

    Raises
    ------
    UsageError
        If the axis has no numbers as labels.
    """
    labels = np.asarray(cube[axis].values)
    if labels.dtype.kind not in "iuf" or axis not in cube.coords:
        numeric = [a for a in axes_of(cube) if a in cube.coords and cube[a].dtype.kind in "iuf"]
        raise UsageError(f"the axis '{axis}' is not numeric; numeric axes are {_listed(numeric)}")
    return labels.astype(np.float64)


def feasible_cells(cube: xr.Dataset, order: Sequence[str], over: str | None) -> tuple[Bool, Bool]:
    """Return which cells are feasible and which are infeasible; a cell that is neither is not decided.

    Parameters
    ----------
    cube
        A cube.
    order
        The axes other than ``over``, in the order in which they are wanted.
    over
        Axis that stands last; without it an axis of length 1 stands there.

    Returns
    -------
    feasible, infeasible
        Each of the shape ``[*order, over]``.
    """
    status = _ordered(cube["status"], order, over)
    return np.isin(status, _FEASIBLE), status == _INFEASIBLE


def metric_of(cube: xr.Dataset, name: str) -> xr.DataArray:
    """Return a real variable with one number for each cell.

    Raises
    ------
    UsageError
        If the cube has no such variable.
    """
    axes = set(axes_of(cube))
    scalars = [str(n) for n, v in cube.data_vars.items() if n != "status" and v.dtype.kind in "iuf" and set(v.dims) == axes]
    if name in scalars:
        return cube[name]
    if name not in cube.data_vars:
        raise UsageError(f"no variable '{name}'{near_miss(name, scalars)}; there are {_listed(scalars)}")
    raise UsageError(f"the variable '{name}' is not one real number for each cell; such variables are {_listed(scalars)}")


def metric_values(cube: xr.Dataset, name: str, order: Sequence[str], over: str | None) -> tuple[Float, Bool]:
    """Return the values of a metric as float64 and which are usable: of feasible cells, and finite.

    Integers below zero are missing values (rule C3). The arrays have the shape ``[*order, over]``.
    """
    variable = metric_of(cube, name)
    values = _ordered(variable, order, over)
    known = np.isfinite(values) if values.dtype.kind == "f" else values >= 0
    feasible, _ = feasible_cells(cube, order, over)
    return values.astype(np.float64), feasible & known


def units_of(variable: xr.DataArray) -> str:
    """Return the units of a variable or of an axis; "1" if none are written."""
    return str(variable.attrs.get("units", "1"))


def units_per(units: str, of: str) -> str:
    """Return the units of a ratio: ``m/dB`` of metres per decibel, ``m`` of metres per count."""
    return units if of == "1" else f"{units}/{of}"


def long_name_of(variable: xr.DataArray) -> str:
    """Return the long name of a variable or of an axis; its name if none is written."""
    return str(variable.attrs.get("long_name", variable.name))


def worded(dims: Sequence[str], codes: NDArray[Any], sentences: Mapping[str, str], long_name: str) -> Worded:
    """Return a variable of words, with the sentence of each word as an attribute of that name.

    Parameters
    ----------
    dims
        Dimensions of ``codes``.
    codes
        Integers that count the words of ``sentences`` from zero.
    sentences
        Each word and what it says.
    long_name
        What the words are about.
    """
    table = np.array(list(sentences), dtype=object)
    return tuple(dims), table[codes], {"long_name": long_name, **sentences}


def coordinates(cube: xr.Dataset, dims: Iterable[str]) -> dict[str, Any]:
    """Return the coordinates of the cube that lie along these dimensions alone, members of coupled axes included."""
    kept = set(dims)
    return {str(n): c.variable for n, c in cube.coords.items() if set(map(str, c.dims)) <= kept}


def _ordered(variable: xr.DataArray, order: Sequence[str], over: str | None) -> NDArray[Any]:
    if over is None:
        return np.asarray(variable.transpose(*order).values)[..., np.newaxis]
    return np.asarray(variable.transpose(*order, over).values)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"

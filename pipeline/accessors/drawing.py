"""A quick look at one variable of a cube, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pipeline.accessors.cells import position_of
from pipeline.errors import UsageError, near_miss
from pipeline.statistics import statistic
from pipeline.surfaces import compute_surfaces

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(
    cube: xr.Dataset, variable: str, *, x: str | None, colour: str | None, over: str | None, ax: Axes | None,
    at: Mapping[str, Any],
) -> Axes:  # fmt: skip
    """Draw the mean of a variable over the feasible cells along ``x``; see :meth:`CubeAccessor.plot`."""
    axes = [str(dim) for dim in cube["status"].dims]
    single = [str(n) for n, v in cube.data_vars.items() if v.dims == cube["status"].dims and v.dtype.kind == "f"]
    if variable not in single:
        raise UsageError(f"no variable '{variable}'{near_miss(variable, single)} to draw; there are {', '.join(single)}")
    for name in (*at, *(n for n in (x, colour) if n is not None)):
        if name not in axes:
            raise UsageError(f"no axis '{name}'{near_miss(name, axes)}; axes: {', '.join(axes)}")
    part = cube[[variable, "status"]].isel({name: position_of(cube[name], label) for name, label in at.items()})
    left = [axis for axis in axes if axis not in at and part.sizes[axis] > 1]
    over = over if over in left else None
    left = [axis for axis in left if axis != over]
    x = x or _longest(part, [axis for axis in left if axis != colour])
    rest = [axis for axis in left if axis not in (x, colour)]
    if colour is None and len(rest) == 1:
        colour = rest.pop()
    if rest:
        raise UsageError(
            f"give a label of {', '.join(rest)}, such as plot('{variable}', {rest[0]}={part[rest[0]].values[0]!r})"
        )
    part = part.isel({axis: 0 for axis in axes if axis not in (*at, x, colour, over)}).load()
    surfaces = compute_surfaces(part, over=over, edge=None, paired=None)
    return _drawn(ax, surfaces, part, variable, x, colour)


def _longest(part: xr.Dataset, left: list[str]) -> str:
    if not left:
        raise UsageError("every axis has a label or is averaged: no axis is left to draw along")
    numeric = [axis for axis in left if part[axis].dtype.kind in "iuf"]
    return max(numeric or left, key=lambda axis: part.sizes[axis])


def _drawn(
    ax: Axes | None, surfaces: xr.Dataset, part: xr.Dataset, variable: str, x: str, colour: str | None
) -> Axes:  # fmt: skip
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    labels = part[x].values
    numeric = labels.dtype.kind in "iuf"
    groups = [None] if colour is None else list(part[colour].values)
    for number, group in enumerate(groups):
        chosen = surfaces if group is None else surfaces.isel({colour: number})
        mean, low, high = (
            np.asarray(statistic(chosen, variable, name).values) for name in ("mean_feasible", "ci_low", "ci_high")
        )
        name = None if group is None else str(group)
        if numeric:
            (line,) = ax.plot(labels, mean, marker=".", label=name)
            ax.fill_between(labels, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
        else:
            places = np.arange(len(labels)) + 0.6 * ((number + 0.5) / len(groups) - 0.5)
            ax.errorbar(places, mean, np.nan_to_num([mean - low, high - mean]), fmt="o", capsize=3, label=name)
    if not numeric:
        ax.set_xticks(np.arange(len(labels)), [str(label) for label in labels])
    ax.set_xlabel(_title(part[x]))
    ax.set_ylabel(f"{_title(part[variable])}, mean of feasible cells")
    if colour is not None:
        ax.legend(title=_title(part[colour]))
    return ax


def _title(variable: xr.DataArray) -> str:
    unit = variable.attrs.get("units", "1")
    return str(variable.attrs.get("long_name") or variable.name) + (f" ({unit})" if unit not in ("", "1") else "")

"""What surfaces are called, and one statistic of them by its name, whatever the layout in which they are stored.

Surfaces of earlier versions have a variable of its own for each statistic, such as ``rcrb_m_q05_feasible``
(:mod:`pipeline.flat_surfaces` gives these names). The functions here read both layouts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

STATISTIC = "statistic"
"""Dimension of the statistics of a variable."""
STATE = "state"
"""Dimension of the numbers of cells."""
CELLS = "cells"
"""Variable with the numbers of cells."""
FEASIBLE = "feasible"
"""Variable with the feasible share."""
SECONDS = "solve_seconds_total"
"""Variable with the sum of the solver's seconds."""
TAKEN_NAMES = frozenset((STATISTIC, STATE, CELLS, FEASIBLE, SECONDS))
"""Names that neither an axis nor a variable of a study may have."""
UNITLESS = ("count", "share")
"""Statistics that have the unit 1, whatever the variable."""

_MEAN = "mean_feasible"


def edge_variable(edge: str) -> str:
    """Return the name of the variable with the statistics of the feasibility edge along an axis."""
    return f"{edge}_feasible_edge"


def statistic(surfaces: xr.Dataset, variable: str, name: str) -> xr.DataArray:
    """Return one statistic of a variable over the axes of the surfaces.

    Parameters
    ----------
    surfaces
        Surfaces of a study, as :func:`pipeline.surfaces.compute_surfaces` makes them.
    variable
        Name of the cube's variable, ``feasible``, or a name that :func:`edge_variable` gives.
    name
        ``mean_feasible``, ``ci_low``, ``ci_high``, ``q05``, ``q50``, ``q95``, ``min``, ``max``, ``mean_paired``, ``count`` or
        ``share``.

    Returns
    -------
    xarray.DataArray
        The statistic with its unit; its long name is that of the variable.

    Raises
    ------
    KeyError
        If the surfaces do not have it.
    """
    if not has_statistic(surfaces, variable, name):
        raise KeyError(f"the surfaces have no statistic '{name}' of '{variable}'")
    if STATISTIC in surfaces.dims:
        found = surfaces[variable].sel({STATISTIC: name}, drop=True)
        return found.assign_attrs(units="1") if name in UNITLESS else found
    found = surfaces[flat_name(variable, name)]
    return found.assign_attrs(long_name=str(found.attrs.get("long_name", variable)).removesuffix(flat_words(variable, name)))


def has_statistic(surfaces: xr.Dataset, variable: str, name: str) -> bool:
    """Return whether the surfaces have this statistic of the variable."""
    if STATISTIC not in surfaces.dims:
        return flat_name(variable, name) in surfaces
    return variable in surfaces.data_vars and STATISTIC in surfaces[variable].dims and name in surfaces.indexes[STATISTIC]


def cell_count(surfaces: xr.Dataset, state: str) -> xr.DataArray:
    """Return the number of cells at each point that are ``planned``, ``feasible``, ``infeasible``, ``paired`` and so on.

    Raises
    ------
    KeyError
        If the surfaces do not have it; ``paired`` is there only if an axis is paired.
    """
    return surfaces[CELLS].sel({STATE: state}, drop=True) if STATE in surfaces.dims else surfaces[f"{state}_count"]


def summarised(surfaces: xr.Dataset) -> list[str]:
    """Return the variables of the cube that have statistics, in the order of the cube."""
    if STATISTIC not in surfaces.dims:
        return [str(n).removesuffix(f"_{_MEAN}") for n in surfaces.data_vars if str(n).endswith(f"_{_MEAN}")]
    beside = {FEASIBLE, edge_variable(str(surfaces.attrs.get("edge", "")))}
    return [str(n) for n, v in surfaces.data_vars.items() if STATISTIC in v.dims and n not in beside]


def described(data: xr.Dataset, name: str) -> dict[str, Any]:
    """Return the attributes of a variable or label of a cube or of surfaces; empty if it has none."""
    if name in data.variables:
        return dict(data[name].attrs)
    return dict(statistic(data, name, _MEAN).attrs) if has_statistic(data, name, _MEAN) else {}


def only(surfaces: xr.Dataset, variables: Iterable[str]) -> xr.Dataset:
    """Return the part of the surfaces with all statistics of some variables, and the numbers of cells.

    Names that the surfaces do not have are left out.
    """
    if STATISTIC in surfaces.dims:
        return surfaces[[name for name in (*variables, CELLS) if name in surfaces]]
    begins = tuple(f"{name}_" for name in variables)
    kept = (str(name) for name in surfaces.data_vars)
    return surfaces[[name for name in kept if name.startswith(begins) or name.endswith("_count")]]


def flat_name(variable: str, name: str) -> str:
    """Return the name that a statistic has in surfaces of the old layout."""
    if variable == FEASIBLE:
        return "feasible_fraction" if name == "share" else f"feasible_fraction_{name}"
    if variable.endswith(edge_variable("")):
        return f"{variable}_{name.removesuffix('_feasible')}"
    return f"{variable}_{name}" if name.startswith("mean_") else f"{variable}_{name}_feasible"


def flat_words(variable: str, name: str) -> str:
    """Return what the long name of a statistic ends with in surfaces of the old layout."""
    if variable == FEASIBLE:
        return "" if name == "share" else f", {name.replace('_', ' ')}"
    return ", " + flat_name(variable, name).removeprefix(f"{variable}_").replace("_", " ")

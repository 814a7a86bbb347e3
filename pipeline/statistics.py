"""One statistic of the surfaces by its name, whatever the layout in which they are stored."""

from __future__ import annotations

import xarray as xr


def statistic(surfaces: xr.Dataset, variable: str, name: str) -> xr.DataArray:
    """Return one statistic of a variable over the axes of the surfaces.

    Parameters
    ----------
    surfaces
        Surfaces of a study, as :func:`pipeline.surfaces.compute_surfaces` makes them.
    variable
        Name of the cube's variable.
    name
        ``mean_feasible``, ``ci_low``, ``ci_high``, ``q05``, ``q50``, ``q95`` or ``mean_paired``.

    Raises
    ------
    KeyError
        If the surfaces do not have it.
    """
    return surfaces[f"{variable}_{_flat(name)}"]


def has_statistic(surfaces: xr.Dataset, variable: str, name: str) -> bool:
    """Return whether the surfaces have this statistic of the variable."""
    return f"{variable}_{_flat(name)}" in surfaces


def cell_count(surfaces: xr.Dataset, state: str) -> xr.DataArray:
    """Return the number of cells at each point that are ``planned``, ``feasible``, ``infeasible``, ``paired`` and so on."""
    return surfaces[f"{state}_count"]


def _flat(name: str) -> str:
    return name if name.startswith("mean_") else f"{name}_feasible"

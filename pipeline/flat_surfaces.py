"""Surfaces with a variable for each statistic, as earlier versions stored them and as tables show them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pipeline.statistics import CELLS, FEASIBLE, STATE, STATISTIC, UNITLESS, flat_name, flat_words


def flat_names(surfaces: xr.Dataset) -> xr.Dataset:
    """Return surfaces with a variable for each statistic and each state of cells, under the names of the old layout.

    Parameters
    ----------
    surfaces
        Surfaces of either layout; those of the old layout are returned as they are.

    Returns
    -------
    xarray.Dataset
        ``rcrb_m_mean_feasible``, ``rcrb_m_ci_low_feasible``, ``rcrb_m_mean_paired``, ``feasible_count``,
        ``feasible_fraction``, ``sinr_db_feasible_edge_max`` and so on, each over the axes of the surfaces. Statistics that the
        old layout lacked follow the same rule: ``rcrb_m_share_feasible``, ``feasible_fraction_ci_low``. Counts are int64.
    """
    if STATISTIC not in surfaces.dims:
        return surfaces
    found: dict[str, xr.DataArray] = {}
    for name, variable in ((str(n), v) for n, v in surfaces.data_vars.items()):
        if name == CELLS:
            for state in variable[STATE].values.tolist():
                words = {"long_name": f"{state} realisations", "units": "1"}
                found[f"{state}_count"] = variable.sel({STATE: state}, drop=True).drop_attrs().assign_attrs(words)
        elif STATISTIC not in variable.dims:
            found[name] = variable
        else:
            for label in _told(name, variable):
                found[flat_name(name, label)] = _one(name, variable, label)
    return xr.Dataset(found, attrs=surfaces.attrs)


def _told(name: str, variable: xr.DataArray) -> list[str]:
    labels: list[str] = variable[STATISTIC].values.tolist()
    return [label for label in labels if name != FEASIBLE or label in ("share", "ci_low", "ci_high", "count")]


def _one(name: str, variable: xr.DataArray, label: str) -> xr.DataArray:
    part = variable.sel({STATISTIC: label}, drop=True)
    words = {"long_name": f"{variable.attrs.get('long_name', name)}{flat_words(name, label)}"}
    if label in UNITLESS:
        words["units"] = "1"
    return (part.astype(np.int64) if label == "count" else part).assign_attrs(part.attrs | words)

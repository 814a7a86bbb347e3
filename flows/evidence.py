"""Functions that all checks use: values of feasible cells, ratios of two labels, and means with their bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtrit

from pipeline.experiment import STATUS_CODES

Outcome = tuple[str, str, str]
"""Verdict, our number in words, and evidence."""

FEASIBLE = [STATUS_CODES["ok"], STATUS_CODES["inaccurate"]]
SLACK = 1e-3
"""Relative difference that decides nothing: it is within the certificates' gap limit."""


def undecided(reason: str) -> Outcome:
    """Return the outcome without a verdict, with its reason."""
    return "undecided", "-", reason


def values_of(cube: xr.Dataset, variable: str) -> xr.DataArray:
    """Return the values at feasible cells, NaN elsewhere."""
    return cube[variable].where(cube["status"].isin(FEASIBLE))


def has_labels(cube: xr.Dataset, axis: str, *labels: Any) -> bool:
    return axis in cube.coords and all(label in cube[axis].values.tolist() for label in labels)


def log_ratio(cube: xr.Dataset, variable: str, axis: str, low: Any, high: Any) -> xr.DataArray:
    """Return the logarithm of the ratio of the values at two labels; for a variable in decibels the ratio of the powers."""
    low_values, high_values = (values_of(cube, variable).sel({axis: label}, drop=True) for label in (low, high))
    if cube[variable].attrs.get("units") == "dB":
        return (high_values - low_values) * (np.log(10.0) / 10.0)
    return np.log(high_values / low_values)


def mean_and_half_width(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean of the finite values and the half width of its Student-t 95 % band, infinite for one value."""
    known = values[np.isfinite(values)]
    if known.size < 2:
        return float(known.mean()), np.inf
    half = stdtrit(known.size - 1, 0.975) * known.std(ddof=1) / np.sqrt(known.size)
    return float(known.mean()), float(half)

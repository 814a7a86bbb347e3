"""Surfaces: statistics over a cube's realisations, labelled like the cube (rule C5).

A statistic over feasible cells alone has ``_feasible`` in its name; ``feasible_count`` stands beside it. Designs are
compared on the realisations that are feasible for all of them (``_paired``).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtrit

from pipeline.experiment import STATUS_CODES

QUANTILES = {"q05": 0.05, "q50": 0.50, "q95": 0.95}
CONFIDENCE = 0.95
_FEASIBLE = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"])

Float = NDArray[np.float64]
Variables = dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]


def compute_surfaces(
    cube: xr.Dataset, *, over: str | None, edge: str | None, paired: str | None, profiles: Collection[str] = ()
) -> xr.Dataset:
    """Compute statistics over the axis ``over`` of every real variable of a cube.

    The statistics of a volatile variable are volatile.

    Parameters
    ----------
    cube
        A cube with ``status``; its dimensions are the study's axes.
    over
        Axis to average over; without it the surfaces are the cube's own values, with counts of 0 or 1.
    edge
        Numeric axis along which the largest feasible value of each realisation is sought.
    paired
        Axis whose values are compared on the realisations that are feasible for all values planned at a point.
    profiles
        Variables with dimensions of their own (such as a density over its bins) that are averaged as well, entry by entry.

    Returns
    -------
    xarray.Dataset
        For each variable ``v``: ``v_mean_feasible``, quantiles ``v_q05_feasible`` ... (linear between order statistics), a
        Student-t 95 % band of the mean (``v_ci_low_feasible``, ``v_ci_high_feasible``; NaN below two values),
        ``v_mean_paired``; counts, the feasible fraction, and the feasibility edge.
    """
    axes = tuple(str(d) for d in cube["status"].dims)
    rest = tuple(d for d in axes if d != over)
    status = _over_last(cube["status"], over, rest)
    feasible, planned = np.isin(status, _FEASIBLE), status != STATUS_CODES["not_planned"]
    own = {str(d) for name in profiles if name in cube for d in cube[name].dims}
    # The dataset is made once at the end: a variable that is added later would be aligned with all earlier ones.
    found: Variables = {}
    _add_counts(found, rest, status, feasible, planned)
    common = _paired_mask(rest, paired, feasible, planned)
    if common is not None:
        found["paired_count"] = (rest, common.sum(-1), {"long_name": f"realisations feasible for every {paired}"})
    for name, variable in cube.data_vars.items():
        dims = (*rest, *(str(d) for d in variable.dims if d not in axes))
        if (variable.dims == axes or name in profiles) and variable.dtype.kind == "f":
            values = _over_last(variable, over, dims).astype(np.float64)
            between = tuple(range(len(rest), len(dims)))
            usable = np.expand_dims(feasible, between) & np.isfinite(values)
            shared = _paired_mask(rest, paired, usable, np.expand_dims(planned, between))
            _add_statistics(found, str(name), dims, values, usable, shared, variable.attrs)
    _add_cost(found, cube, over, rest)
    if edge is not None:
        _add_edge(found, cube[edge], edge, rest, feasible)
    coordinates = {n: c for n, c in cube.coords.items() if set(c.dims) <= {*rest, *own} - {over}}
    told = {"over": over or "", "edge": edge or "", "paired": paired or "", "confidence": CONFIDENCE}
    return xr.Dataset(found, coordinates, told)


def _over_last(variable: xr.DataArray, over: str | None, rest: tuple[str, ...]) -> NDArray[Any]:
    """Return the values with the averaged axis last; an axis of length 1 stands there if no axis is averaged."""
    if over is None:
        return np.asarray(variable.transpose(*rest).values)[..., np.newaxis]
    return np.asarray(variable.transpose(*rest, over).values)


def _add_counts(
    found: Variables, rest: tuple[str, ...], status: NDArray[Any], feasible: NDArray[Any], planned: NDArray[Any]
) -> None:
    counts = {"planned_count": planned.sum(-1), "feasible_count": feasible.sum(-1)}
    for name in ("inaccurate", "infeasible", "failed", "missing"):
        counts[f"{name}_count"] = (status == STATUS_CODES[name]).sum(-1)
    for name, count in counts.items():
        words = name.removesuffix("_count").replace("_", " ")
        found[name] = (rest, count.astype(np.int64), {"long_name": f"{words} realisations", "units": "1"})
    known = counts["planned_count"] - counts["missing_count"] - counts["failed_count"]
    fraction = np.full(known.shape, np.nan)
    np.divide(counts["feasible_count"], known, out=fraction, where=known > 0)
    attributes = {"long_name": "feasible share of the decided realisations", "units": "1"}
    found["feasible_fraction"] = (rest, fraction, attributes)


def _paired_mask(
    rest: tuple[str, ...], paired: str | None, feasible: NDArray[np.bool_], planned: NDArray[np.bool_]
) -> NDArray[np.bool_] | None:
    """Return a mask of the realisations that are feasible for every value of the paired axis.

    At each point only values with planned realisations count. If one value is planned for fewer realisations, all values are
    compared on these: means over different draws cannot be compared.
    """
    if paired is None:
        return None
    axis = rest.index(paired)
    compared = planned.any(axis=-1, keepdims=True)
    common: NDArray[np.bool_] = (feasible | ~compared).all(axis=axis, keepdims=True) & feasible
    return common


def _add_statistics(
    found: Variables, name: str, rest: tuple[str, ...], values: Float, usable: NDArray[np.bool_],
    common: NDArray[np.bool_] | None, attributes: dict[str, Any],
) -> None:  # fmt: skip
    units = attributes.get("units", "1")
    label = attributes.get("long_name", name)
    count = usable.sum(-1)
    mean = _mean(values, usable)
    half = _half_width(values, usable, mean, count)
    statistics = {"mean_feasible": mean, "ci_low_feasible": mean - half, "ci_high_feasible": mean + half}
    statistics |= _quantiles(values, usable, count)
    if common is not None:
        statistics["mean_paired"] = _mean(values, common)
    for suffix, value in statistics.items():
        words = suffix.replace("_", " ")
        outside = {"volatile": 1} if attributes.get("volatile") else {}
        found[f"{name}_{suffix}"] = (rest, value, {"units": units, "long_name": f"{label}, {words}"} | outside)


def _mean(values: Float, usable: NDArray[np.bool_]) -> Float:
    count = usable.sum(-1)
    mean = np.full(count.shape, np.nan)
    np.divide(np.where(usable, values, 0.0).sum(-1), count, out=mean, where=count > 0)
    return mean


def _half_width(values: Float, usable: NDArray[np.bool_], mean: Float, count: NDArray[np.int64]) -> Float:
    """Return the half width of the Student-t band of the mean; NaN for fewer than two values."""
    enough = count > 1
    deviations = np.where(usable, values - np.where(count > 0, mean, 0.0)[..., np.newaxis], 0.0)
    freedom = np.where(enough, count - 1, 1)
    deviation = np.sqrt((deviations**2).sum(-1) / freedom)
    # Student's quantile is slow: it is computed once for each count.
    counts, which = np.unique(freedom, return_inverse=True)
    quantile = stdtrit(counts, 0.5 + CONFIDENCE / 2)[which].reshape(freedom.shape)
    width = quantile * deviation / np.sqrt(np.where(enough, count, 1))
    return np.where(enough, width, np.nan)


def _quantiles(values: Float, usable: NDArray[np.bool_], count: NDArray[np.int64]) -> dict[str, Float]:
    """Return quantiles of the usable values, linear between order statistics; NaN if there is no usable value."""
    ordered = np.sort(np.where(usable, values, np.nan), axis=-1)
    last = np.maximum(count - 1, 0)
    found: dict[str, Float] = {}
    for name, share in QUANTILES.items():
        place = share * last
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, last)
        at_low = np.take_along_axis(ordered, low[..., np.newaxis], -1)[..., 0]
        at_high = np.take_along_axis(ordered, high[..., np.newaxis], -1)[..., 0]
        between: Float = at_low + (place - low) * (at_high - at_low)
        found[f"{name}_feasible"] = np.where(count > 0, between, np.nan)
    return found


def _add_cost(found: Variables, cube: xr.Dataset, over: str | None, rest: tuple[str, ...]) -> None:
    """Add the total of ``solve_seconds`` if the cube has it. A cost is outside the promise of equal bits."""
    if "solve_seconds" not in cube or cube["solve_seconds"].dims != cube["status"].dims:
        return
    seconds = _over_last(cube["solve_seconds"], over, rest).astype(np.float64)
    total = np.where(np.isfinite(seconds), seconds, 0.0).sum(-1)
    attributes = {"units": "s", "long_name": "solver seconds, summed", "volatile": 1}
    found["solve_seconds_total"] = (rest, total, attributes)


def _add_edge(found: Variables, labels: xr.DataArray, edge: str, rest: tuple[str, ...], feasible: NDArray[np.bool_]) -> None:
    """Add mean, least and greatest of the largest feasible value along the edge axis, taken for each realisation."""
    if edge not in rest or labels.dtype.kind not in "iuf":
        raise ValueError(f"the edge axis '{edge}' must be a numeric axis other than the averaged one")
    axis = rest.index(edge)
    others = tuple(d for d in rest if d != edge)
    shape = [1] * feasible.ndim
    shape[axis] = -1
    values = np.asarray(labels.values, dtype=np.float64).reshape(shape)
    largest = np.where(feasible, values, -np.inf).max(axis=axis)
    has = np.isfinite(largest)
    count = has.sum(-1)
    statistics = {
        "mean": _mean(largest, has),
        "min": np.where(count > 0, np.where(has, largest, np.inf).min(-1), np.nan),
        "max": np.where(count > 0, np.where(has, largest, -np.inf).max(-1), np.nan),
    }
    units = labels.attrs.get("units", "1")
    for word, value in statistics.items():
        attributes = {"units": units, "long_name": f"largest feasible {labels.attrs.get('long_name', edge)}, {word}"}
        found[f"{edge}_feasible_edge_{word}"] = (others, value, attributes)
    found[f"{edge}_feasible_edge_count"] = (
        others,
        count.astype(np.int64),
        {"long_name": "realisations with an edge"},
    )

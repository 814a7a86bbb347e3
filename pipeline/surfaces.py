"""Surfaces: statistics over a cube's realisations, labelled like the cube (rule C5).

Each variable of the cube stays one variable, with the dimension ``statistic`` in place of the averaged axis. The statistics are
over feasible cells; ``cells`` counts the cells by their state, and ``feasible`` is the share of feasible ones. Designs are
compared on the realisations that are feasible for all of them (``mean_paired``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

from pipeline.experiment import STATUS_CODES
from pipeline.statistics import CELLS, FEASIBLE, SECONDS, STATE, STATISTIC, edge_variable

QUANTILES = {"q05": 0.05, "q50": 0.50, "q95": 0.95}
CONFIDENCE = 0.95
_FEASIBLE = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"])
_STATISTICS = ("mean_feasible", "ci_low", "ci_high", *QUANTILES, "min", "max", "count", "share")

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]
Variables = dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]


def compute_surfaces(
    cube: xr.Dataset, *, over: str | None, edge: str | None, paired: str | None, profiles: Collection[str] = ()
) -> xr.Dataset:
    """Compute statistics over the axis ``over`` of every real variable of a cube.

    The statistics of a volatile variable are volatile. Each point is computed for itself, so that a part of the cube along
    any axis but ``over``, ``edge`` and ``paired`` gives the same bits as the whole cube.

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
        Every variable has the axes that are left and, as its last dimension, ``statistic``: ``mean_feasible``; ``ci_low`` and
        ``ci_high``, a Student-t 95 % band of the mean (NaN below two values); quantiles ``q05``, ``q50``, ``q95`` (linear
        between order statistics); ``min`` and ``max``; ``mean_paired`` if an axis is paired; ``count``, the number of values
        used; ``share``, this number divided by that of the decided cells. Beside them stand:

        ``cells``
            Number of cells at each point, int64, along ``state``: planned, feasible, inaccurate, infeasible, failed, missing,
            and paired if an axis is paired.
        ``feasible``
            ``share`` of the decided cells that is feasible, its 95 % interval by Clopper and Pearson (``ci_low``,
            ``ci_high``), and the number of decided cells (``count``); the other statistics are NaN.
        ``<edge>_feasible_edge``
            Statistics of the largest feasible value of the edge axis.
        ``solve_seconds_total``
            Sum of ``solve_seconds``.

    Raises
    ------
    ValueError
        If the edge axis is not numeric, or a name of the cube is one that surfaces use themselves.
    """
    axes = tuple(str(d) for d in cube["status"].dims)
    rest = tuple(d for d in axes if d != over)
    status = _over_last(cube["status"], over, rest)
    feasible, planned = np.isin(status, _FEASIBLE), status != STATUS_CODES["not_planned"]
    decided = feasible | (status == STATUS_CODES["infeasible"])
    labels = (*_STATISTICS, "mean_paired") if paired else _STATISTICS
    own = {str(d) for name in profiles if name in cube for d in cube[name].dims}
    # The dataset is made once at the end: a variable that is added later would be aligned with all earlier ones.
    found: Variables = {}
    for name, variable in cube.data_vars.items():
        dims = (*rest, *(str(d) for d in variable.dims if d not in axes))
        if (variable.dims == axes or name in profiles) and variable.dtype.kind == "f":
            between = tuple(range(len(rest), len(dims)))
            values = _over_last(variable, over, dims).astype(np.float64, copy=False)
            usable = np.expand_dims(feasible, between) & np.isfinite(values)
            shared = _paired_mask(rest, paired, usable, np.expand_dims(planned, between))
            known = np.expand_dims(decided.sum(-1), between)
            found[str(name)] = _described(dims, _statistics(values, usable, known, shared, labels), variable.attrs, str(name))
    _refuse_taken_names(cube, found, edge)
    found[CELLS], states = _cells(rest, status, feasible, planned, paired)
    found[FEASIBLE] = _feasible(rest, feasible.sum(-1), decided.sum(-1), labels)
    _add_cost(found, cube, over, rest)
    if edge is not None:
        found[edge_variable(edge)] = _edge(cube[edge], edge, rest, paired, feasible, planned, decided, labels)
    coordinates: dict[Any, Any] = {n: c for n, c in cube.coords.items() if set(c.dims) <= {*rest, *own} - {over}}
    words = "statistic over the feasible cells; count and share have the unit 1"
    coordinates[STATISTIC] = (STATISTIC, np.array(labels, dtype=object), {"long_name": words})
    coordinates[STATE] = (STATE, np.array(states, dtype=object), {"long_name": "state of the counted cells"})
    told = {"over": over or "", "edge": edge or "", "paired": paired or "", "confidence": CONFIDENCE}
    return xr.Dataset(found, coordinates, told)


def _refuse_taken_names(cube: xr.Dataset, found: Collection[str], edge: str | None) -> None:
    """Refuse axes and variables of the cube with a name that surfaces use themselves."""
    labels = {*map(str, cube.dims), *map(str, cube.coords)}
    variables = {CELLS, FEASIBLE, SECONDS, *([edge_variable(edge)] if edge else [])}
    taken = sorted((variables & {*found, *labels}) | ({STATISTIC, STATE} & labels))
    if taken:
        raise ValueError(f"surfaces use the name '{taken[0]}' themselves: the cube needs another name for it")


def _over_last(variable: xr.DataArray, over: str | None, rest: tuple[str, ...]) -> NDArray[Any]:
    """Return the values with the averaged axis last; an axis of length 1 stands there if no axis is averaged.

    The values of one point stand side by side in memory, so that NumPy adds them in one order, whatever the cube's.
    """
    if over is None:
        return np.asarray(variable.transpose(*rest).values, order="C")[..., np.newaxis]
    return np.asarray(variable.transpose(*rest, over).values, order="C")


def _described(
    dims: tuple[str, ...], values: Float, attributes: Mapping[Any, Any], name: str
) -> tuple[tuple[str, ...], Float, dict[str, Any]]:
    told = {"units": attributes.get("units", "1"), "long_name": attributes.get("long_name", name)}
    return (*dims, STATISTIC), values, told | ({"volatile": 1} if attributes.get("volatile") else {})


def _cells(
    rest: tuple[str, ...], status: NDArray[Any], feasible: Mask, planned: Mask, paired: str | None
) -> tuple[tuple[tuple[str, ...], Int, dict[str, Any]], tuple[str, ...]]:
    """Return the numbers of cells by their state, and the states."""
    counted = {"planned": planned, "feasible": feasible}
    counted |= {word: status == STATUS_CODES[word] for word in ("inaccurate", "infeasible", "failed", "missing")}
    common = _paired_mask(rest, paired, feasible, planned)
    if common is not None:
        counted["paired"] = common
    numbers = np.stack([mask.sum(-1, dtype=np.int64) for mask in counted.values()], axis=-1)
    return ((*rest, STATE), numbers, {"long_name": "number of realisations", "units": "1"}), tuple(counted)


def _feasible(
    rest: tuple[str, ...], count: Int, decided: Int, labels: tuple[str, ...]
) -> tuple[tuple[str, ...], Float, dict[str, Any]]:
    """Return the feasible share of the decided cells with its interval."""
    values = np.full((*count.shape, len(labels)), np.nan)
    low, high = _clopper_pearson(count, decided)
    for label, value in {"share": _quotient(count, decided), "ci_low": low, "ci_high": high, "count": decided}.items():
        values[..., labels.index(label)] = value
    return (*rest, STATISTIC), values, {"long_name": "feasible share of the decided realisations", "units": "1"}


def _clopper_pearson(count: Int, trials: Int) -> tuple[Float, Float]:
    """Return the ends of the two-sided interval of a share (Clopper and Pearson, Biometrika 1934); NaN without trials."""
    pairs, which = np.unique(np.stack([count.ravel(), trials.ravel()]), axis=1, return_inverse=True)
    k, n = pairs.astype(np.float64)
    tail = (1 - CONFIDENCE) / 2
    low = np.where(k > 0, betaincinv(np.maximum(k, 1), n - k + 1, tail), 0.0)
    high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail), 1.0)
    ends = np.where(n > 0, np.stack([low, high]), np.nan)[:, which.ravel()]
    return ends[0].reshape(count.shape), ends[1].reshape(count.shape)


def _paired_mask(rest: tuple[str, ...], paired: str | None, feasible: Mask, planned: Mask) -> Mask | None:
    """Return a mask of the realisations that are feasible for every value of the paired axis.

    At each point only values with planned realisations count. If one value is planned for fewer realisations, all values are
    compared on these: means over different draws cannot be compared.
    """
    if paired is None:
        return None
    axis = rest.index(paired)
    compared = planned.any(axis=-1, keepdims=True)
    common: Mask = (feasible | ~compared).all(axis=axis, keepdims=True) & feasible
    return common


def _statistics(values: Float, usable: Mask, decided: Int, common: Mask | None, labels: tuple[str, ...]) -> Float:
    """Return the statistics over the last axis, along a new last axis in the order of the labels."""
    count = usable.sum(-1)
    mean = _mean(values, usable, count)
    half = _half_width(values, usable, mean, count)
    ordered = np.sort(np.where(usable, values, np.nan), axis=-1)
    found = {"mean_feasible": mean, "ci_low": mean - half, "ci_high": mean + half}
    found |= {name: _quantile(ordered, count, share) for name, share in QUANTILES.items()}
    found |= {"min": ordered[..., 0], "max": _quantile(ordered, count, 1.0)}
    found |= {"count": count.astype(np.float64), "share": _quotient(count, decided)}
    if common is not None:
        found["mean_paired"] = _mean(values, common, common.sum(-1))
    return np.stack([found[name] for name in labels], axis=-1)


def _quotient(count: Int, whole: Int) -> Float:
    whole = np.broadcast_to(whole, count.shape)
    return np.divide(count, whole, out=np.full(count.shape, np.nan), where=whole > 0)


def _mean(values: Float, usable: Mask, count: Int) -> Float:
    total = np.where(usable, values, 0.0).sum(-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _half_width(values: Float, usable: Mask, mean: Float, count: Int) -> Float:
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


def _quantile(ordered: Float, count: Int, share: float) -> Float:
    """Return a quantile of the first ``count`` values, linear between order statistics; NaN if there is none."""
    last = np.maximum(count - 1, 0)
    place = share * last
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, last)
    at_low = np.take_along_axis(ordered, low[..., np.newaxis], -1)[..., 0]
    at_high = np.take_along_axis(ordered, high[..., np.newaxis], -1)[..., 0]
    between: Float = at_low + (place - low) * (at_high - at_low)
    return np.where(count > 0, between, np.nan)


def _add_cost(found: Variables, cube: xr.Dataset, over: str | None, rest: tuple[str, ...]) -> None:
    """Add the total of ``solve_seconds`` if the cube has it. A cost is outside the promise of equal bits."""
    if "solve_seconds" not in cube or cube["solve_seconds"].dims != cube["status"].dims:
        return
    seconds = _over_last(cube["solve_seconds"], over, rest).astype(np.float64, copy=False)
    total = np.where(np.isfinite(seconds), seconds, 0.0).sum(-1)
    attributes = {"units": "s", "long_name": "solver seconds, summed", "volatile": 1}
    found[SECONDS] = (rest, total, attributes)


def _edge(
    axis_values: xr.DataArray, edge: str, rest: tuple[str, ...], paired: str | None, feasible: Mask, planned: Mask,
    decided: Mask, labels: tuple[str, ...],
) -> tuple[tuple[str, ...], Float, dict[str, Any]]:  # fmt: skip
    """Return the statistics of the largest feasible value along the edge axis, taken for each realisation.

    A realisation is decided if it has an edge, or if all its planned cells are decided.
    """
    if edge not in rest or axis_values.dtype.kind not in "iuf":
        raise ValueError(f"the edge axis '{edge}' must be a numeric axis other than the averaged one")
    axis = rest.index(edge)
    others = tuple(d for d in rest if d != edge)
    shape = [1] * feasible.ndim
    shape[axis] = -1
    values = np.asarray(axis_values.values, dtype=np.float64).reshape(shape)
    largest = np.where(feasible, values, -np.inf).max(axis=axis)
    has, meant = np.isfinite(largest), planned.any(axis=axis)
    known = (has | (meant & (decided | ~planned).all(axis=axis))).sum(-1)
    statistics = _statistics(largest, has, known, _paired_mask(others, paired, has, meant), labels)
    words = f"largest feasible {axis_values.attrs.get('long_name', edge)}"
    return _described(others, statistics, {"units": axis_values.attrs.get("units", "1"), "long_name": words}, edge)

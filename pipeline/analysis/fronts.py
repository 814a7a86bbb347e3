"""The cells that no other cell beats in every metric, each with the margin by which it stands on that front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.best import Direction, check_direction
from pipeline.analysis.cells import (
    REALISATION,
    Bool,
    Float,
    check_names,
    coordinates,
    feasible_cells,
    long_name_of,
    metric_of,
    metric_values,
    other_axes,
    units_of,
    worded,
)
from pipeline.analysis.intervals import CONFIDENCE, STATISTIC_AXIS, check_confidence, student
from pipeline.dominance import Margins, is_nondominated, margins
from pipeline.errors import UsageError

POINTS = {
    "nondominated": "No other point is at least as good in every metric and better in one.",
    "dominated": "Another point is at least as good in every metric and better in one.",
    "infeasible": "One realisation or more is infeasible: the point is left out.",
    "missing": "One realisation or more is missing, failed, not planned or without a value: the point is left out.",
}
"""What is known of each point of the grid."""

MARGINS = {
    "distinguishable": "The interval of the margin is above zero.",
    "not_distinguishable": "The interval of the margin holds zero: in other realisations the point may be dominated.",
    "equal": "Another point has the same value in every metric.",
    "one_realisation": "The margin has no interval: there is one realisation, or none is averaged.",
    "alone": "No other point is compared: the margin is infinite.",
}
"""What is known of the margin of each point of the front."""


def nondominated(
    cube: xr.Dataset,
    metrics: Mapping[str, Direction],
    over: str | None = REALISATION,
    *,
    scales: Mapping[str, float] | None = None,
    confidence: float = CONFIDENCE,
) -> xr.Dataset:
    """Find the points that no other point beats in every metric, with the margin of each.

    A point is a set of labels of all axes but ``over``. It is compared by its means over all realisations, so that all
    points are compared on the same ones. Points that are not usable in every realisation are left out and told by a
    status. Beside it stands in how many realisations the point is nondominated among the points that are usable there.

    With costs c (a metric to be maximised enters negatively) and scales s, the margin of a point p is

        min over other points q of max over metrics m of (c_m(q) - c_m(p)) / s_m

    that is the largest number e so that p stays nondominated when each of its metrics m is worse by less than e s_m. The
    margin of one metric alone, in its own unit, is the same for a change of this metric while the others keep their values:
    the least c_m(q) - c_m(p) of points q that are at least as good in all others; infinite if there is none.

    Parameters
    ----------
    cube
        A cube.
    metrics
        Names with ``min`` or ``max``: real variables with one number for each cell, or numeric axes such as a bandwidth.
    over
        Axis of realisations; with None each cell is a point.
    scales
        For each metric the amount, in its unit, that counts as one. Without it the spread of the metric over all points that
        are compared (1 if there is none).
    confidence
        Of each interval.

    Returns
    -------
    xarray.Dataset
        Over the grid: ``status`` (words of :data:`POINTS`), ``nondominated_count`` and ``compared_count`` (realisations).
        For each ``point`` of the front, with its labels as coordinates ``point_<axis>``: ``value_<metric>`` with the
        dimension ``statistic`` and ``margin_<metric>`` (units of the metric), ``margin`` with the dimension ``statistic``
        (in scales), ``margin_status`` (words of :data:`MARGINS`), and as coordinates ``rival_<axis>`` and ``rival_metric``
        the point q and the metric that set the margin. The interval is Student's of the paired differences between these
        two points in this metric; it leaves out that another point may take the place of q. ``scale`` of each ``metric``.

    Raises
    ------
    UsageError
        If an axis or a metric does not exist, there is no metric, a direction or a scale is not usable, or there are many
        points and the library of the extra ``pareto`` is not installed.
    """
    check_confidence(confidence)
    check_names(cube, "point", "metric")
    rest = other_axes(cube, over)
    costs, usable = _costs(cube, metrics, rest, over)
    shape = usable.shape[:-1]
    costs, usable = costs.reshape(len(metrics), -1, usable.shape[-1]), usable.reshape(-1, usable.shape[-1])
    whole = np.flatnonzero(usable.all(-1))
    means = costs[:, whole].mean(-1).T
    front, scale = is_nondominated(means), _scales(metrics, scales, means)
    found = margins(means, front, scale)
    chosen, rival = whole[front], np.where(found.rival < 0, -1, np.append(whole, -1)[found.rival])
    _, infeasible = feasible_cells(cube, rest, over)
    status = np.where(infeasible.any(-1).ravel(), 2, 3)
    status[whole] = np.where(front, 0, 1)
    data: dict[str, Any] = {"status": worded(rest, status.reshape(shape), POINTS, "whether the point is on the front")}
    data |= _counts(costs, usable, rest, shape)
    for i, (name, direction) in enumerate(metrics.items()):
        about = _about(cube, name)
        units, words = units_of(about), long_name_of(about)
        own = costs[i, chosen] if direction == "min" else -costs[i, chosen]
        value = student(own, np.ones_like(own, dtype=np.bool_), confidence)
        data[f"value_{name}"] = (("point", "statistic"), value, {"units": units, "long_name": words})
        alone = {"units": units, "long_name": f"{words}: how much worse it may be while all else stays"}
        data[f"margin_{name}"] = ("point", found.alone[:, i], alone)
    interval = _interval(costs, chosen, rival, found, scale, confidence)
    data["margin"] = (("point", "statistic"), interval, {"units": "1", "long_name": "how much worse all may be, in scales"})
    data["margin_status"] = worded(["point"], _told(found, interval), MARGINS, "what is known of the margin")
    names = np.array(list(metrics), dtype=object)
    data["scale"] = ("metric", scale, {"long_name": "what counts as one, in the unit of the metric"})
    sets = np.where(found.rival < 0, "", names[found.metric])
    kept = coordinates(cube, rest) | {"statistic": STATISTIC_AXIS, "metric": ("metric", names)}
    kept |= _labels(cube, rest, shape, chosen, "point") | _labels(cube, rest, shape, rival, "rival")
    kept["rival_metric"] = ("point", sets, {"long_name": "metric that sets the margin"})
    told = {f"direction_{name}": word for name, word in metrics.items()}
    return xr.Dataset(data, kept, told | {"over": over or "", "confidence": confidence})


def _about(cube: xr.Dataset, name: str) -> xr.DataArray:
    """Return the variable or the coordinate of a metric."""
    return cube[name] if name in cube.coords else metric_of(cube, name)


def _costs(cube: xr.Dataset, metrics: Mapping[str, Direction], rest: tuple[str, ...], over: str | None) -> tuple[Float, Bool]:
    """Return what is to be small, [M, *rest, over], and the cells that are usable for every metric."""
    if not metrics:
        raise UsageError("no metric: name one or more with 'min' or 'max', such as {'rcrb_m': 'min'}")
    usable, _ = feasible_cells(cube, rest, over)
    found = []
    for name, direction in metrics.items():
        check_direction(direction, name)
        values, known = _along(cube, name, rest, over) if name in cube.coords else metric_values(cube, name, rest, over)
        usable = usable & known
        found.append(np.broadcast_to(values if direction == "min" else -values, usable.shape))
    return np.stack(found), usable


def _along(cube: xr.Dataset, name: str, rest: tuple[str, ...], over: str | None) -> tuple[Float, Bool]:
    """Return the labels of an axis, or of a member of a coupled one, for every point."""
    coordinate = cube[name]
    if coordinate.dtype.kind not in "iuf" or not set(map(str, coordinate.dims)) <= set(rest):
        raise UsageError(f"'{name}' is no numeric axis of the points; these are {', '.join(_numeric(cube, rest)) or 'none'}")
    shape = [cube.sizes[d] if d in coordinate.dims else 1 for d in rest]
    order = [d for d in rest if d in coordinate.dims]
    values = np.asarray(coordinate.transpose(*order).values, dtype=np.float64).reshape(*shape, 1)
    return values, np.isfinite(values)


def _numeric(cube: xr.Dataset, rest: tuple[str, ...]) -> list[str]:
    return [str(n) for n, c in cube.coords.items() if c.dtype.kind in "iuf" and set(map(str, c.dims)) <= set(rest)]


def _scales(metrics: Mapping[str, Direction], given: Mapping[str, float] | None, means: Float) -> Float:
    if given is None:
        spread = np.ptp(means, axis=0) if len(means) else np.zeros(len(metrics))
        return np.where(spread > 0, spread, 1.0)
    if set(given) != set(metrics) or not all(np.isfinite(s) and s > 0 for s in given.values()):
        raise UsageError(f"scales {dict(given)}: one positive number for each metric is needed: {', '.join(metrics)}")
    return np.array([given[name] for name in metrics], dtype=np.float64)


def _counts(costs: Float, usable: Bool, rest: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, Any]:
    """Count the realisations in which each point is nondominated among the points that are usable there."""
    count = np.zeros(len(usable), dtype=np.int64)
    for r in range(usable.shape[-1]):
        there = np.flatnonzero(usable[:, r])
        count[there] += is_nondominated(costs[:, there, r].T)
    words = {"nondominated_count": count, "compared_count": usable.sum(-1)}
    return {
        name: (rest, number.reshape(shape), {"units": "1", "long_name": f"realisations in which the point is {name[:-6]}"})
        for name, number in words.items()
    }


def _interval(
    costs: Float, chosen: NDArray[np.int64], rival: NDArray[np.int64], found: Margins, scale: Float, confidence: float
) -> Float:
    """Return the statistics [F, 4] of the paired differences that set the margins."""
    if len(found.rival) and found.rival[0] < 0:
        return np.broadcast_to([np.inf, np.nan, np.nan, float(costs.shape[-1])], (len(chosen), 4)).copy()
    difference = (costs[found.metric, rival] - costs[found.metric, chosen]) / scale[found.metric][:, np.newaxis]
    return student(difference, np.ones_like(difference, dtype=np.bool_), confidence)


def _told(found: Margins, interval: Float) -> NDArray[np.int64]:
    """Return codes of MARGINS."""
    words = list(MARGINS)
    chosen = {
        "alone": found.rival < 0,
        "equal": found.joint == 0,
        "one_realisation": interval[:, 3] < 2,
        "distinguishable": interval[:, 1] > 0,
    }
    return np.select(list(chosen.values()), [words.index(w) for w in chosen], default=words.index("not_distinguishable"))


def _labels(
    cube: xr.Dataset, rest: tuple[str, ...], shape: tuple[int, ...], points: NDArray[np.int64], prefix: str
) -> dict[str, Any]:
    """Return the labels of points as coordinates along ``point``; no label for the point -1."""
    found: dict[str, Any] = {}
    places = np.unravel_index(np.maximum(points, 0), shape)
    for axis, place in zip(rest, places, strict=True):
        labels = np.asarray(cube[axis].values)[place]
        if (points < 0).any():
            empty = np.nan if labels.dtype.kind in "iuf" else ""
            labels = np.where(points < 0, empty, labels)
        found[f"{prefix}_{axis}"] = ("point", labels, dict(cube[axis].attrs))
    return found

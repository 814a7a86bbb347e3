"""What a step along an axis changes in a metric, and what one axis buys of another at an equal metric.

All numbers come from differences within one realisation, so that what the realisations have in common cancels. Nothing is
interpolated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from contourpy import contour_generator
from numpy.typing import NDArray
from scipy.special import stdtrit

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
    numeric_labels,
    other_axes,
    units_of,
    units_per,
    worded,
)
from pipeline.analysis.intervals import CONFIDENCE, STATISTIC_AXIS, check_confidence, student
from pipeline.errors import UsageError

PAIRS = {
    "paired": "Two pairs of realisations or more: mean and interval are given.",
    "one_pair": "One realisation alone is usable at both values: there is no interval.",
    "no_pair": "No realisation is usable at both values.",
}
"""What is known of one step."""

RATIOS = {**PAIRS, "not_positive": "A value of a pair is zero or negative: there is no ratio."}
"""What is known of the ratio of one step."""

WORTHS = {
    **PAIRS,
    "averaged": "The next value of the axis is more than one away: the change is that of one, on average over the step.",
    "one_pair_averaged": "As `averaged`, but one realisation alone is usable at both values: there is no interval.",
}
"""What is known of one more at one value of the axis."""

EXCHANGES = {
    "bounded": "The interval is given.",
    "unbounded": "The metric may not change along the given axis at all: the exchange rate may be any number or nearly so.",
    "no_change": "The metric does not change along the given axis: nothing of it buys anything.",
    "one_pair": "One realisation alone is usable at all four corners: there is no interval.",
    "no_pair": "No realisation is usable at all four corners.",
    "not_positive": "A value is zero or negative: it has no logarithm.",
}
"""What is known of the exchange rate of one box of the grid."""

LINES = {
    "found": "There are lines.",
    "level_too_high": "The level is above the surface.",
    "level_too_low": "The level is below the surface.",
    "no_values": "The surface has no value.",
    "between_holes": "The surface passes the level only where points are missing.",
}
"""Whether a surface has lines of a level."""


def change_per_step(
    cube: xr.Dataset, metric: str, axis: str, over: str | None = REALISATION, *, confidence: float = CONFIDENCE
) -> xr.Dataset:
    """Compute what each step of a numeric axis changes in a metric, by paired differences.

    A step leads from one label to the next greater one. Its change is metric(to) - metric(from), its rate that change over the
    length of the step, its ratio metric(to) / metric(from), averaged as the exponential of the mean logarithm.

    Parameters
    ----------
    cube
        A cube.
    metric
        Real variable with one number for each cell.
    axis
        Numeric axis; its labels may stand in any order.
    over
        Axis of paired realisations; None if there is none.
    confidence
        Of each Student interval.

    Returns
    -------
    xarray.Dataset
        With the dimension ``step`` in place of the axis and the coordinates ``<axis>_from`` and ``<axis>_to``: ``change``
        (units of the metric), ``rate`` (units of the metric per unit of the axis) and ``ratio``, each with the dimension
        ``statistic``; ``status`` (words of :data:`PAIRS`) and ``ratio_status`` (words of :data:`RATIOS`);
        ``became_feasible`` and ``became_infeasible``, the numbers of realisations that the step makes so.

    Raises
    ------
    UsageError
        If an axis or the metric does not exist or has no numbers, or the axis has one value.
    """
    check_confidence(confidence)
    check_names(cube, "step", f"{axis}_from", f"{axis}_to")
    rest = other_axes(cube, over, axis)
    order, labels = _sorted(cube, axis)
    values, usable = metric_values(cube, metric, (*rest, axis), over)
    values, usable = values[..., order, :], usable[..., order, :]
    pairs = usable[..., 1:, :] & usable[..., :-1, :]
    steps = np.diff(labels)
    change = student(np.diff(np.where(usable, values, 0.0), axis=-2), pairs, confidence)
    rate = change.copy()
    rate[..., :3] /= steps[:, np.newaxis]
    positive = pairs & (values[..., 1:, :] > 0) & (values[..., :-1, :] > 0)
    logarithms = np.log(np.where(usable & (values > 0), values, 1.0))
    ratio = student(np.diff(logarithms, axis=-2), positive, confidence)
    with np.errstate(over="ignore"):
        ratio[..., :3] = np.exp(ratio[..., :3])  # An infinite end says that the factor may be any number above the other end.
    impossible = (pairs & ~positive).any(-1)
    ratio[impossible, :3] = np.nan
    about, along = metric_of(cube, metric), cube[axis]
    dims = (*rest, "step")
    unit, name = units_of(about), long_name_of(about)
    count = pairs.sum(-1)
    data: dict[str, Any] = {
        "change": ((*dims, "statistic"), change, {"units": unit, "long_name": f"change of {name} by the step"}),
        "rate": (
            (*dims, "statistic"),
            rate,
            {"units": units_per(unit, units_of(along)), "long_name": f"change of {name} per unit of {long_name_of(along)}"},
        ),
        "ratio": ((*dims, "statistic"), ratio, {"units": "1", "long_name": f"ratio of {name} after and before the step"}),
        "status": worded(dims, _pairs(count), PAIRS, "what is known of the step"),
        "ratio_status": worded(dims, np.where(impossible, 3, _pairs(count)), RATIOS, "what is known of the ratio"),
    }
    feasible, infeasible = (a[..., order, :] for a in feasible_cells(cube, (*rest, axis), over))
    for word, turned in {
        "became_feasible": infeasible[..., :-1, :] & feasible[..., 1:, :],
        "became_infeasible": feasible[..., :-1, :] & infeasible[..., 1:, :],
    }.items():
        data[word] = (dims, turned.sum(-1), {"units": "1", "long_name": f"realisations that {word.replace('_', ' ')}"})
    kept = coordinates(cube, rest) | {"statistic": STATISTIC_AXIS, "step": ("step", np.arange(steps.size))}
    kept |= _ends(cube, axis, order, "step")
    return xr.Dataset(data, kept, {"metric": metric, "axis": axis, "over": over or "", "confidence": confidence})


def worth_of_one_more(
    cube: xr.Dataset, metric: str, axis: str, over: str | None = REALISATION, *, confidence: float = CONFIDENCE
) -> xr.Dataset:
    """Compute what one more of something that is counted changes in a metric, at each count.

    It is the step from each count to the next greater one of the axis, by paired differences. Where the axis leaves counts
    out, the change of the step is divided by its length, and ``status`` says so.

    Parameters
    ----------
    cube, metric, over, confidence
        As for :func:`change_per_step`.
    axis
        Axis whose labels are whole numbers, such as a number of nodes.

    Returns
    -------
    xarray.Dataset
        Over the counts of the axis but the greatest, sorted: ``worth`` (units of the metric) and ``ratio`` (for one more), each
        with the dimension ``statistic``; ``status`` (words of :data:`WORTHS`), ``ratio_status`` (words of :data:`RATIOS`),
        ``became_feasible``, ``became_infeasible``, and the coordinate ``next_value``, the count that is compared.

    Raises
    ------
    UsageError
        As :func:`change_per_step`, and if a label is no whole number.
    """
    other_axes(cube, over, axis)
    labels = numeric_labels(cube, axis)
    if (labels != np.round(labels)).any():
        raise UsageError(f"the axis '{axis}' is not counted: its labels are no whole numbers; use change_per_step")
    steps = change_per_step(cube, metric, axis, over, confidence=confidence)
    length = (steps[f"{axis}_to"] - steps[f"{axis}_from"]).values
    status, ratio = steps["status"].values.copy(), steps["ratio"].values.copy()
    wide = np.broadcast_to(length > 1, status.shape)
    status[wide & (status == "paired")] = "averaged"
    status[wide & (status == "one_pair")] = "one_pair_averaged"
    ratio[..., :3] **= 1.0 / length[:, np.newaxis]
    name, counted = long_name_of(metric_of(cube, metric)), long_name_of(cube[axis])
    worth = steps["rate"].copy()
    worth.attrs = {"units": units_of(metric_of(cube, metric)), "long_name": f"change of {name} by one more {counted}"}
    found = steps.drop_vars(["step", "change", "rate"]).assign(worth=worth.drop_vars("step"))
    found["ratio"] = steps["ratio"].drop_vars("step").copy(data=ratio)
    found["ratio"].attrs["long_name"] = f"ratio of {name} after and before one more {counted}"
    found["status"] = (steps["status"].dims, status, {"long_name": "what is known of one more", **WORTHS})
    return found.swap_dims(step=f"{axis}_from").rename({f"{axis}_from": axis, f"{axis}_to": "next_value"})


def exchange_rate(
    cube: xr.Dataset, metric: str, of: str, per: str, over: str | None = REALISATION, *, logarithmic: bool = False,
    confidence: float = CONFIDENCE,
) -> xr.Dataset:  # fmt: skip
    """Compute how much of one axis one unit of another is worth at an equal metric, such as MHz per node.

    At equal metric d(of)/d(per) = - (d metric/d per) / (d metric/d of). In each box of the grid, between two neighbouring
    labels of both axes, a realisation gives two slopes: each is the mean of the differences along both sides of the box. The
    rate is minus the ratio of the mean slopes. Its interval is that of Fieller: the rates rho for which the paired sums
    slope(per) + rho slope(of) have a Student interval that holds zero. For a metric that is linear in both axes the rate is
    exact; for others it belongs to the middle of the box.

    Parameters
    ----------
    cube, metric, over, confidence
        As for :func:`change_per_step`.
    of, per
        Numeric axes: the rate is in units of ``of`` for one unit of ``per``. It is negative where more of one replaces
        the other.
    logarithmic
        Whether slopes are of the logarithm of a positive metric: for metrics that change by factors.

    Returns
    -------
    xarray.Dataset
        With the dimensions ``<of>_box`` and ``<per>_box`` in place of the axes, and the ends of each box as coordinates:
        ``exchange`` (units of ``of`` per unit of ``per``) with the dimension ``statistic``; ``status`` (words of
        :data:`EXCHANGES`).

    Raises
    ------
    UsageError
        If an axis or the metric does not exist or has no numbers, or an axis has one value.
    """
    check_confidence(confidence)
    check_names(cube, *(f"{axis}_{word}" for axis in (of, per) for word in ("box", "from", "to")))
    rest = other_axes(cube, over, of, per)
    (of_order, of_labels), (per_order, per_labels) = _sorted(cube, of), _sorted(cube, per)
    values, usable = metric_values(cube, metric, (*rest, of, per), over)
    values, usable = (values[..., of_order, :, :][..., per_order, :], usable[..., of_order, :, :][..., per_order, :])
    pairs = _corners(usable, np.logical_and)
    impossible = np.zeros(pairs.shape[:-1], dtype=np.bool_)
    if logarithmic:
        impossible = (pairs & ~_corners(values > 0, np.logical_and)).any(-1)
        usable = usable & (values > 0)
        values = np.log(np.where(usable, values, 1.0))
    values = np.where(usable, values, 0.0)
    along_of = np.diff(values, axis=-3) / np.diff(of_labels)[:, np.newaxis, np.newaxis]
    along_per = np.diff(values, axis=-2) / np.diff(per_labels)[:, np.newaxis]
    slope_of = (along_of[..., 1:, :] + along_of[..., :-1, :]) / 2
    slope_per = (along_per[..., 1:, :, :] + along_per[..., :-1, :, :]) / 2
    rate, code = _fieller(slope_per, slope_of, pairs, confidence)
    rate[impossible, :3] = np.nan
    code[impossible] = list(EXCHANGES).index("not_positive")
    name = long_name_of(metric_of(cube, metric))
    words = f"{long_name_of(cube[of])} for one unit of {long_name_of(cube[per])} at equal {name}"
    dims = (*rest, f"{of}_box", f"{per}_box")
    units = units_per(units_of(cube[of]), units_of(cube[per]))
    data: dict[str, Any] = {
        "exchange": ((*dims, "statistic"), rate, {"units": units, "long_name": words}),
        "status": worded(dims, code, EXCHANGES, "what is known of the exchange rate"),
    }
    kept = coordinates(cube, rest) | {"statistic": STATISTIC_AXIS}
    kept |= _ends(cube, of, of_order, f"{of}_box") | _ends(cube, per, per_order, f"{per}_box")
    told = {"metric": metric, "of": of, "per": per, "over": over or "", "confidence": confidence}
    return xr.Dataset(data, kept, told | {"logarithmic": int(logarithmic)})


def _fieller(upper: Float, lower: Float, pairs: Bool, confidence: float) -> tuple[Float, NDArray[np.int64]]:
    """Return minus the ratio of the means of paired values [..., R], with Fieller's interval, and codes of EXCHANGES."""
    count = pairs.sum(-1)
    size = np.maximum(count, 1)
    unit_a, unit_b = (_unit(values, pairs) for values in (upper, lower))
    a, b = upper / unit_a[..., np.newaxis], lower / unit_b[..., np.newaxis]
    mean_a, mean_b = (np.where(pairs, x, 0.0).sum(-1) / size for x in (a, b))
    centred_a, centred_b = (np.where(pairs, x - m[..., np.newaxis], 0.0) for x, m in ((a, mean_a), (b, mean_b)))
    freedom = np.maximum(count - 1, 1)
    counts, which = np.unique(freedom, return_inverse=True)
    share = stdtrit(counts, 0.5 + confidence / 2)[which].reshape(freedom.shape) ** 2 / size / freedom
    aa, ab, bb = ((x * y).sum(-1) * share for x, y in ((centred_a,) * 2, (centred_a, centred_b), (centred_b,) * 2))
    square = mean_b**2 - bb
    # The discriminant without its cancelling terms, so that values without noise give an interval without width.
    across = mean_b[..., np.newaxis] * centred_a - mean_a[..., np.newaxis] * centred_b
    root = np.sqrt(np.maximum((across**2).sum(-1) * share - (aa * bb - ab**2), 0.0))
    flat = (mean_b == 0) & (bb == 0)
    code = np.select([count == 0, flat, count == 1, square <= 0], [4, 2, 3, 1], default=0)
    scale = unit_a / unit_b
    rate = np.full((*count.shape, 4), np.nan)
    some = (count > 0) & (mean_b != 0)
    np.divide(-mean_a * scale, mean_b, out=rate[..., 0], where=some)
    middle = -(mean_a * mean_b - ab)
    np.divide((middle - root) * scale, square, out=rate[..., 1], where=code == 0)
    np.divide((middle + root) * scale, square, out=rate[..., 2], where=code == 0)
    rate[..., 3] = count
    return rate, code


def iso_lines(surface: xr.DataArray, level: float) -> xr.Dataset:
    """Draw the lines on which a surface of two numeric axes has a level. They are for views only.

    The lines are interpolated linearly between neighbouring points (contourpy), with NaN left out as holes. No number of an
    analysis comes from them: for these see :func:`exchange_rate`.

    Parameters
    ----------
    surface
        A statistic over two numeric axes, such as a mean over realisations.
    level
        In the units of the surface.

    Returns
    -------
    xarray.Dataset
        With the dimension ``point``: both coordinates by the names of the axes, and ``line``, the number of the line from zero.
        ``status`` (words of :data:`LINES`).

    Raises
    ------
    UsageError
        If the surface has not two numeric axes of two labels or more.
    """
    dims = tuple(str(d) for d in surface.dims)
    numeric = [d for d in dims if d in surface.coords and surface[d].dtype.kind in "iuf" and surface.sizes[d] > 1]
    if len(dims) != 2 or len(numeric) != 2:
        raise UsageError(f"iso-lines need a surface of two numeric axes with two labels or more; this one has {dims}")
    surface = surface.sortby(list(dims))
    values = np.asarray(surface.values, dtype=np.float64)
    down, across = (np.asarray(surface[d].values, dtype=np.float64) for d in dims)
    masked = np.ma.masked_invalid(values)
    lines = contour_generator(across, down, masked, name="serial", line_type="Separate", corner_mask=False).lines(level)
    points = np.concatenate([np.asarray(line) for line in lines] or [np.zeros((0, 2))])
    number = np.repeat(np.arange(len(lines)), [len(np.asarray(line)) for line in lines])
    known = values[np.isfinite(values)]
    code = 0 if lines else 3 if not known.size else 1 if level > known.max() else 2 if level < known.min() else 4
    data: dict[str, Any] = {
        dims[0]: ("point", points[:, 1], dict(surface[dims[0]].attrs)),
        dims[1]: ("point", points[:, 0], dict(surface[dims[1]].attrs)),
        "line": ("point", number, {"units": "1", "long_name": "number of the line"}),
        "status": worded((), np.asarray(code), LINES, "whether there are lines"),
    }
    told = {"level": level, "units": units_of(surface), "note": "interpolated linearly between points: for views only"}
    return xr.Dataset(data, attrs=told)


def _sorted(cube: xr.Dataset, axis: str) -> tuple[NDArray[np.int64], Float]:
    """Return the order that sorts a numeric axis, and its sorted labels."""
    labels = numeric_labels(cube, axis)
    if labels.size < 2:
        raise UsageError(f"the axis '{axis}' has one value: a step needs two")
    order = np.argsort(labels, kind="stable")
    return order, labels[order]


def _ends(cube: xr.Dataset, axis: str, order: NDArray[np.int64], dim: str) -> dict[str, Any]:
    """Return both ends of each step along a sorted axis as coordinates, in the dtype of the axis."""
    labels, attributes = np.asarray(cube[axis].values)[order], dict(cube[axis].attrs)
    return {f"{axis}_from": (dim, labels[:-1], attributes), f"{axis}_to": (dim, labels[1:], attributes)}


def _pairs(count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return codes of PAIRS."""
    return np.select([count > 1, count == 1], [0, 1], default=2)


def _corners(mask: Bool, join: np.ufunc) -> Bool:
    """Join the four corners of each box of the axes -3 and -2."""
    found: Bool = join(join(mask[..., 1:, 1:, :], mask[..., 1:, :-1, :]), join(mask[..., :-1, 1:, :], mask[..., :-1, :-1, :]))
    return found


def _unit(values: Float, pairs: Bool) -> Float:
    largest = np.abs(np.where(pairs, values, 0.0)).max(-1, initial=0.0)
    return np.where(largest > 0, largest, 1.0)

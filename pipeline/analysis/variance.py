"""How much of a metric's variance each axis and each interaction explains: the exact decomposition of the full grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from pipeline.analysis.cells import (
    REALISATION,
    Bool,
    Float,
    axes_of,
    check_names,
    coordinates,
    long_name_of,
    metric_of,
    metric_values,
    other_axes,
    units_of,
    worded,
)
from pipeline.analysis.full_grid import largest_full_grid
from pipeline.analysis.intervals import CONFIDENCE, STATISTIC_AXIS, check_confidence
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES

GRIDS = {
    "whole_grid": "Every cell of the grid is used.",
    "largest_full_grid": "Cells are missing: the largest full grid within the grid is used.",
    "full_grid": "Cells are missing: a full grid within the grid is used, and a larger one may exist.",
    "refused": "Cells are missing, and the full grid within the grid is smaller than `least_share` allows: nothing is said.",
    "constant": "The metric is the same in every cell that is used: there is no variance to explain.",
}
"""What the shares are of."""

INTERVALS = {
    "given": "Shares of all realisations have an interval.",
    "too_few_realisations": "Three realisations or more are needed for an interval.",
    "one_realisation_varies": "Without one of the realisations the metric is constant: there is no interval.",
    "no_realisations": "There is no axis of realisations, or one of them is used: nothing is known of others.",
    "no_shares": "There are no shares.",
}
"""Why there are intervals or none."""

_MOST_AXES = 12


@dataclass(frozen=True)
class _Part:
    """Mean squares of one effect, from its values in each of R realisations.

    ``common`` is the mean square of the mean over realisations. ``cross`` [R] is the mean product of that mean with the
    deviation of each realisation, and ``own`` [R] is the mean square of this deviation.
    """

    common: float
    cross: Float
    own: Float

    def variances(self) -> tuple[float, float]:
        """Return the variance of the effect and of its interaction with the realisations."""
        return self.common, float(self.own.mean())

    def unbiased(self) -> Float:
        """Return estimates of both variances for all realisations [2], and those without each realisation [R, 2]."""
        number = self.own.size
        whole = _unbiased(np.array([self.common]), np.array([self.own.mean()]), number)
        if number < 3:
            return whole
        rest = number - 1
        common = self.common - 2 * self.cross / rest + self.own / rest**2
        own = (self.own.sum() - self.own) / rest - self.own / rest**2
        return np.concatenate([whole, _unbiased(common, own, rest)])


def _unbiased(common: Float, own: Float, number: int) -> Float:
    spread = own * number / (number - 1)
    return np.stack([common - spread / number, spread], axis=-1)


def variance_shares(
    cube: xr.Dataset, metric: str, over: str | None = REALISATION, *, least_share: float = 0.5, confidence: float = CONFIDENCE
) -> xr.Dataset:
    """Divide the variance of a metric over the grid between its axes and their interactions.

    y = sum over sets u of axes of f_u, where f_u depends on the axes of u alone and has the mean zero along each of them
    (Hoeffding's decomposition with equal weights; functional ANOVA). The share of u is the mean square of f_u over the
    variance of y. The realisations are an axis like the others.

    The decomposition needs every cell. Where cells are infeasible or missing, labels are left out until the rest is full; no
    value is made up.

    Parameters
    ----------
    cube
        A cube.
    metric
        Real variable with one number for each cell.
    over
        Axis of realisations; None if there is none.
    least_share
        Share of the grid's cells that the full grid must hold; with 1 any missing cell has the analysis refused.
    confidence
        Of the intervals.

    Returns
    -------
    xarray.Dataset
        ``share`` for each ``term`` (a set of axes with two labels or more, such as ``sinr_db x design``), of the cells used;
        the shares add to one. ``share_all_realisations`` with the dimension ``statistic``: estimated without bias for
        realisations that were not drawn, with a jackknife interval (leaving out one realisation at a time, Student's
        quantile). Small shares may be estimated below zero. ``order`` and ``contains`` of each term; ``first_order`` and
        ``total_share`` of each ``axis``, alone and with all its interactions; ``variance`` (units of the metric, squared);
        ``kept_<axis>``, which labels are used; ``cells``, counted by ``state``; ``status`` (words of :data:`GRIDS`) and
        ``interval_status`` (words of :data:`INTERVALS`).

    Raises
    ------
    UsageError
        If an axis or the metric does not exist, or there are too many axes.
    """
    check_confidence(confidence)
    if not 0 < least_share <= 1:
        raise UsageError(f"least_share {least_share!r}: a number above 0 and up to 1 is needed")
    check_names(cube, "term", "axis", "state")
    rest = other_axes(cube, over)
    if sum(cube.sizes[a] > 1 for a in rest) > _MOST_AXES:
        raise UsageError(f"more than {_MOST_AXES} axes with two labels or more: select one label of some of {', '.join(rest)}")
    values, usable = metric_values(cube, metric, rest, over)
    masks, proven = largest_full_grid(usable)
    used = values[np.ix_(*masks)]
    status = "whole_grid" if used.size == values.size else "largest_full_grid" if proven else "full_grid"
    if used.size < least_share * values.size:
        status = "refused"
    elif used.min() == used.max():
        status = "constant"
    names = [a for a, m in zip(rest, masks[:-1], strict=True) if m.sum() > 1]
    repeated = over if over is not None and masks[-1].sum() > 1 else None
    told = {"metric": metric, "over": over or "", "confidence": confidence, "least_share": least_share}
    table = _Table(names, repeated)
    if status in ("refused", "constant"):
        found = table.empty()
    else:
        found = table.filled(used, [d for d, m in enumerate(masks[:-1]) if m.sum() > 1], confidence)
    found["variance"] = ((), used.var() if used.size else np.nan, _squared(metric_of(cube, metric)))
    found["status"] = _one(status, GRIDS, "what the shares are of")
    for axis, mask in zip((*rest, *([over] if over else [])), masks, strict=False):
        found[f"kept_{axis}"] = (axis, mask, {"long_name": f"whether the label of {axis} is used"})
    found["cells"] = _counted(cube, usable, used.size)
    kept = coordinates(cube, axes_of(cube)) | table.coordinates()
    kept["state"] = ("state", np.array(_STATES, dtype=object), {"long_name": "what a cell is"})
    return xr.Dataset(found, kept, told)


class _Table:
    """The terms of a decomposition and what is said of each."""

    def __init__(self, names: list[str], repeated: str | None) -> None:
        self.repeated = repeated
        self.axes = [*names, *([repeated] if repeated else [])]
        every = (c for size in range(1, len(self.axes) + 1) for c in combinations(range(len(self.axes)), size))
        self.terms = list(every)
        self.contains = np.array([[i in t for i in range(len(self.axes))] for t in self.terms], dtype=np.bool_)
        self.contains = self.contains.reshape(len(self.terms), len(self.axes))

    def coordinates(self) -> dict[str, Any]:
        labels = [" x ".join(self.axes[i] for i in t) for t in self.terms]
        return {
            "statistic": STATISTIC_AXIS,
            "term": ("term", np.array(labels, dtype=object), {"long_name": "axes whose joint effect it is"}),
            "axis": ("axis", np.array(self.axes, dtype=object), {"long_name": "axis of the cube"}),
        }

    def empty(self) -> dict[str, Any]:
        nothing = np.full(len(self.terms), np.nan)
        return self._variables(nothing, np.full((nothing.size, 4), np.nan), "no_shares")

    def filled(self, used: Float, split: list[int], confidence: float) -> dict[str, Any]:
        """Decompose the used cells [..., R] along the axes ``split`` and the realisations."""
        centred = used - used.mean()
        place = {axis: i for i, axis in enumerate(split)}
        parts = {tuple(place[a] for a in chosen): _part(f) for chosen, f in _effects(centred, split, ())}
        variance = float((centred**2).mean())
        last = len(split)
        shares = np.array([self._of(t, last, {u: p.variances() for u, p in parts.items()}) for t in self.terms]) / variance
        number = used.shape[-1]
        if self.repeated is None:
            return self._variables(shares, _without_interval(shares, number), "no_realisations")
        unbiased = {u: p.unbiased() for u, p in parts.items()}
        estimates = np.stack([self._of(t, last, {u: e.T for u, e in unbiased.items()}) for t in self.terms])
        total = estimates.sum(0)
        estimates = estimates / np.where(total > 0, total, np.nan)
        if number < 3 or (total[1:] <= 0).any():
            why = "too_few_realisations" if number < 3 else "one_realisation_varies"
            return self._variables(shares, _without_interval(estimates[:, 0], number), why)
        leaves = estimates[:, 1:]
        error = np.sqrt((number - 1) / number * ((leaves - leaves.mean(-1, keepdims=True)) ** 2).sum(-1))
        half = stdtrit(number - 1, 0.5 + confidence / 2) * error
        mean = estimates[:, 0]
        intervals = np.stack([mean, mean - half, mean + half, np.full(mean.shape, float(number))], axis=-1)
        return self._variables(shares, intervals, "given")

    @staticmethod
    def _of(term: tuple[int, ...], last: int, pairs: dict[tuple[int, ...], Any]) -> Any:
        """Return the entry of a term: of the effect itself, or of its interaction with the realisations."""
        return pairs[tuple(i for i in term if i != last)][int(last in term)]

    def _variables(self, shares: Float, intervals: Float, interval_status: str) -> dict[str, Any]:
        contains = self.contains
        alone = contains & (contains.sum(-1, keepdims=True) == 1)
        total, first = ((np.where(m, shares[:, np.newaxis], 0.0)).sum(0) for m in (contains, alone))
        return {
            "share": ("term", shares, {"units": "1", "long_name": "share of the variance over the cells used"}),
            "share_all_realisations": (
                ("term", "statistic"),
                intervals,
                {"units": "1", "long_name": "share of the variance, for all realisations that may be drawn"},
            ),
            "order": ("term", contains.sum(-1), {"units": "1", "long_name": "number of axes of the term"}),
            "contains": (("term", "axis"), contains, {"long_name": "whether the term is an effect of the axis"}),
            "first_order": ("axis", first, {"units": "1", "long_name": "share of the axis alone"}),
            "total_share": ("axis", total, {"units": "1", "long_name": "share of the axis with all its interactions"}),
            "interval_status": _one(interval_status, INTERVALS, "why there are intervals or none"),
        }


def _effects(values: Float, axes: list[int], chosen: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Float]]:
    """Yield every set of axes with its effect; axes that are not in the set have length 1."""
    if not axes:
        yield chosen, values
        return
    mean = values.mean(axes[0], keepdims=True)
    yield from _effects(mean, axes[1:], chosen)
    yield from _effects(values - mean, axes[1:], (*chosen, axes[0]))


def _part(effect: Float) -> _Part:
    flat = effect.reshape(-1, effect.shape[-1])
    mean = flat.mean(-1, keepdims=True)
    deviation = flat - mean
    return _Part(float((mean**2).mean()), (mean * deviation).mean(0), (deviation**2).mean(0))


def _without_interval(estimates: Float, number: int) -> Float:
    unknown = np.full(estimates.shape, np.nan)
    return np.stack([estimates, unknown, unknown, np.full(estimates.shape, float(number))], axis=-1)


_STATES = ("used", "left_out", "without_value", *(w for w in STATUS_CODES if w not in ("ok", "inaccurate")))


def _counted(cube: xr.Dataset, usable: Bool, used: int) -> tuple[str, Any, dict[str, str]]:
    """Count the cells by what they are: the usable ones are used or left out, the others say why they are not usable."""
    status = cube["status"].values
    codes = {word: int((status == STATUS_CODES[word]).sum()) for word in _STATES[3:]}
    good = int(usable.sum())
    counts = [used, good - used, status.size - good - sum(codes.values()), *codes.values()]
    return "state", np.array(counts), {"units": "1", "long_name": "cells of the whole grid"}


def _squared(variable: xr.DataArray) -> dict[str, str]:
    units = units_of(variable)
    return {"units": units if units == "1" else f"({units})^2", "long_name": f"variance of {long_name_of(variable)}"}


def _one(word: str, sentences: dict[str, str], long_name: str) -> Any:
    return worded((), np.asarray(list(sentences).index(word)), sentences, long_name)

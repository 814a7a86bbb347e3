"""The best value of an unordered axis, such as the designs, at each point, by differences within realisations."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

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
from pipeline.errors import UsageError

Direction = Literal["min", "max"]

STATES = {
    "best": "No other value is better in the mean over the realisations that both have.",
    "equal": "The same as the best one in every realisation that both have.",
    "worse": "Worse than the best one: the interval of the difference is above zero.",
    "not_distinguishable": "The interval of the difference to the best one holds zero.",
    "too_few_pairs": "Fewer than two realisations are usable for this value and for the best one.",
    "infeasible": "No realisation is usable, and one or more are infeasible.",
    "missing": "No realisation is usable: cells are missing, failed or not planned.",
    "no_best": "No value is the best one.",
}
"""What is known of each value at a point."""

VERDICTS = {
    "best": "The winner is better than every other value that is usable.",
    "equal": "The winner is better than every other value, but for those that are the same in every realisation.",
    "not_distinguishable": "The winner is the best in the mean, and may be no better than another value.",
    "too_few_pairs": "The winner cannot be compared with every other value: fewer than two common realisations.",
    "only_one": "One value alone is usable.",
    "none": "No value is usable.",
    "cycle": "Each value is worse than another one on the realisations that both have: there is no winner.",
}
"""What is known of a point."""


def check_direction(direction: str, name: str) -> None:
    """Refuse a direction that is neither ``min`` nor ``max``."""
    if direction not in ("min", "max"):
        raise UsageError(f"direction '{direction}' of {name}: 'min' or 'max' is needed")


def best_value(
    cube: xr.Dataset, metric: str, axis: str, direction: Direction = "min", over: str | None = REALISATION, *,
    confidence: float = CONFIDENCE,
) -> xr.Dataset:  # fmt: skip
    """Find the best value of an axis at each point, and whether it is distinguishable from the others.

    Two values are compared on the realisations that are usable for both. The winner is the value that no other one beats in the
    mean. Its difference to each other value has a Student interval. The intervals of a point hold together with the stated
    confidence: each is widened for all pairs of the c values that are usable there, c (c - 1) / 2 comparisons (Bonferroni).

    A value that is feasible in few realisations may win on these: ``usable_count`` stands beside the verdict.

    Parameters
    ----------
    cube
        A cube.
    metric
        Real variable with one number for each cell.
    axis
        Axis whose values are compared; its order does not matter, but for naming the first of equal values.
    direction
        Whether the least (``min``) or the greatest (``max``) metric is best.
    over
        Axis of paired realisations; None if there is none.
    confidence
        Of all intervals of a point together.

    Returns
    -------
    xarray.Dataset
        At each point ``winner`` and ``runner_up`` (labels of the axis; an empty text or NaN where ``status`` says that there is
        none), ``margin`` (units of the metric, how much worse the runner-up is) with the dimension ``statistic`` and
        ``status`` (words of :data:`VERDICTS`). For each value ``behind`` (how much worse than the winner) with the dimension
        ``statistic``, ``state`` (words of :data:`STATES`) and ``usable_count``. The runner-up is the value with the least
        mean difference, those that equal the winner left out.

    Raises
    ------
    UsageError
        If an axis or the metric does not exist, or the direction is another word.
    """
    check_confidence(confidence)
    check_direction(direction, metric)
    check_names(cube)
    rest = other_axes(cube, over, axis)
    values, usable = metric_values(cube, metric, (*rest, axis), over)
    costs = np.where(usable, values if direction == "min" else -values, 0.0)
    counts = usable.sum(-1)
    best, cycle = _winner(costs, usable, counts)
    own, own_usable = (np.take_along_axis(a, best[..., np.newaxis, np.newaxis], -2) for a in (costs, usable))
    pairs = usable & own_usable & ~cycle[..., np.newaxis, np.newaxis]
    difference = np.where(pairs, costs - own, 0.0)
    compared = (counts > 0).sum(-1)
    comparisons = np.broadcast_to((compared * (compared - 1) // 2)[..., np.newaxis], counts.shape)
    behind = student(difference, pairs, confidence, comparisons)
    _, infeasible = feasible_cells(cube, (*rest, axis), over)
    same = (difference == 0).all(-1) & pairs.any(-1)
    state = _states(behind, best, cycle, counts, same, infeasible.any(-1))
    status = _verdicts(state, compared, cycle)
    margin, runner_up = _margin(behind, state)
    winner = np.where(cycle | (compared == 0), -1, best)
    labels = cube[axis].values if axis in cube.coords else np.arange(cube.sizes[axis])
    unit, name, along = units_of(metric_of(cube, metric)), long_name_of(metric_of(cube, metric)), long_name_of(cube[axis])
    about = {"units": units_of(cube[axis])} if labels.dtype.kind in "iuf" else {}
    data: dict[str, Any] = {
        "winner": (rest, _labelled(labels, winner), about | {"long_name": f"{along} with the best {name}"}),
        "runner_up": (rest, _labelled(labels, runner_up), about | {"long_name": f"{along} with the next best {name}"}),
        "margin": (
            (*rest, "statistic"), margin, {"units": unit, "long_name": f"{name}: how much worse the runner-up is"},
        ),
        "status": worded(rest, status, VERDICTS, "what is known of the winner"),
        "behind": (
            (*rest, axis, "statistic"), behind, {"units": unit, "long_name": f"{name}: how much worse than the winner"},
        ),
        "state": worded((*rest, axis), state, STATES, f"what is known of each {along}"),
        "usable_count": ((*rest, axis), counts, {"units": "1", "long_name": "usable realisations"}),
    }  # fmt: skip
    kept = coordinates(cube, (*rest, axis)) | {"statistic": STATISTIC_AXIS}
    told = {"metric": metric, "axis": axis, "direction": direction, "over": over or "", "confidence": confidence}
    return xr.Dataset(data, kept, told | {"intervals": "Student, Bonferroni over all pairs of the values usable at a point"})


def _winner(costs: Float, usable: Bool, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], Bool]:
    """Return the value [...] that no other one beats in the mean over common realisations, and where there is none.

    Of several the one with the most usable realisations wins, and of these the first.
    """
    unbeaten = counts > 0
    for i, j in combinations(range(counts.shape[-1]), 2):
        common = usable[..., i, :] & usable[..., j, :]
        mean = student(np.where(common, costs[..., i, :] - costs[..., j, :], 0.0), common)[..., 0]
        unbeaten[..., i] &= ~(mean > 0)
        unbeaten[..., j] &= ~(mean < 0)
    cycle = ~unbeaten.any(-1) & (counts > 0).any(-1)
    return np.where(unbeaten, counts, -1).argmax(-1), cycle


def _states(
    behind: Float, best: NDArray[np.int64], cycle: Bool, counts: NDArray[np.int64], same: Bool, infeasible: Bool
) -> NDArray[np.int64]:
    """Return codes of STATES [..., D]."""
    is_best = np.arange(counts.shape[-1]) == best[..., np.newaxis]
    words = list(STATES)
    chosen = {
        "infeasible": (counts == 0) & infeasible,
        "missing": counts == 0,
        "no_best": np.broadcast_to(cycle[..., np.newaxis], counts.shape),
        "best": is_best,
        "equal": same,
        "too_few_pairs": behind[..., 3] < 2,
        "worse": behind[..., 1] > 0,
    }
    return np.select(list(chosen.values()), [words.index(w) for w in chosen], default=words.index("not_distinguishable"))


def _verdicts(state: NDArray[np.int64], compared: NDArray[np.int64], cycle: Bool) -> NDArray[np.int64]:
    """Return codes of VERDICTS [...]."""
    words, states = list(VERDICTS), list(STATES)
    some = {word: (state == states.index(word)).any(-1) for word in ("not_distinguishable", "too_few_pairs", "equal")}
    chosen = {"none": compared == 0, "only_one": compared == 1, "cycle": cycle, **some}
    return np.select(list(chosen.values()), [words.index(w) for w in chosen], default=words.index("best"))


def _margin(behind: Float, state: NDArray[np.int64]) -> tuple[Float, NDArray[np.int64]]:
    """Return the statistics [..., 4] of the runner-up and its place; -1 where there is none."""
    words = list(STATES)
    others = np.isin(state, [words.index(w) for w in ("worse", "not_distinguishable", "too_few_pairs")])
    means = np.where(others & (behind[..., 3] > 0), behind[..., 0], np.inf)
    place = means.argmin(-1)
    margin = np.take_along_axis(behind, place[..., np.newaxis, np.newaxis], -2)[..., 0, :]
    none = np.isinf(means.min(-1))
    margin[none] = [np.nan, np.nan, np.nan, 0.0]
    return margin, np.where(none, -1, place)


def _labelled(labels: NDArray[Any], place: NDArray[np.int64]) -> NDArray[Any]:
    """Return the labels at these places; an empty text or NaN at -1."""
    if labels.dtype.kind in "iuf":
        return np.append(labels.astype(np.float64), np.nan)[place]
    return np.append(labels.astype(object), "")[place]

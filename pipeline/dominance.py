"""Which points are dominated, and by how much each nondominated one may become worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
Float = NDArray[np.float64]

_BLOCK = 200_000


@dataclass(frozen=True)
class Margins:
    """Margins of the F nondominated points of n points, in M costs."""

    joint: Float
    """[F]: how much worse all costs may be, in scales; infinite without another point."""
    alone: Float
    """[F, M]: how much worse each cost alone may be; infinite where nothing is as good in the others."""
    rival: NDArray[np.int64]
    """[F]: index of the point of the n that sets the joint margin; -1 without another point."""
    metric: NDArray[np.int64]
    """[F]: the cost in which it does."""


def distinct(costs: Float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a point of each different row of costs (the first one), in the order of the rows, and each point's row."""
    code = np.zeros(len(costs), dtype=np.int64)
    first = np.arange(min(1, len(costs)))
    for column in costs.T:
        _, place = np.unique(column, return_inverse=True)
        _, first, code = np.unique(code * (place.max(initial=0) + 1) + place, return_index=True, return_inverse=True)
    return first, code


def is_nondominated(costs: Float) -> Bool:
    """Return which points no other point dominates: none is at most as costly in every cost and less so in one.

    Equal points do not dominate each other. Of three costs or more the library moocore, if it is installed, is faster.

    Parameters
    ----------
    costs
        Array [n, M] of numbers; less is better.
    """
    if costs.shape[1] > 2 and len(costs) and np.isfinite(costs).all():
        try:
            import moocore
        except ImportError:
            pass
        else:
            return np.asarray(moocore.is_nondominated(np.ascontiguousarray(costs), keep_weakly=True), dtype=np.bool_)
    first, code = distinct(costs)
    rows = costs[first]  # in lexicographic order: a row is dominated by earlier ones alone
    kept = np.zeros(len(rows), dtype=np.bool_)
    if rows.shape[1] == 2:
        least = np.minimum.accumulate(rows[:, 1])
        kept[:1] = True
        kept[1:] = rows[1:, 1] < least[:-1]
        return kept[code]
    left = np.arange(len(rows))
    while len(left):
        kept[left[0]] = True
        left = left[(rows[left] < rows[left[0]]).any(axis=1)]
    return kept[code]


def margins(costs: Float, front: Bool, scale: Float) -> Margins:
    """Compute the margins of the nondominated points.

    The joint margin of p is the least over other points q of the greatest over costs of (q - p) / scale. Only the front and
    what would be the front without it need to be looked at: any other point is dominated by one of the second set, which is
    not p and gives no greater number.

    Parameters
    ----------
    costs
        Array [n, M].
    front
        Array [n]: which points are nondominated.
    scale
        Array [M] of positive numbers.
    """
    chosen, others = np.flatnonzero(front), np.flatnonzero(~front)
    near = np.concatenate([chosen, others[is_nondominated(costs[others])]])
    count, number = len(chosen), costs.shape[1]
    joint, alone = np.full(count, np.inf), np.full((count, number), np.inf)
    rival, metric = np.full(count, -1), np.zeros(count, dtype=np.int64)
    # One cost after the other: a maximum over a short last axis takes ten times as long.
    columns = [np.ascontiguousarray(costs[near, m]) for m in range(number)]
    step = max(1, _BLOCK // max(len(near), 1))
    for start in range(0, count if len(near) > 1 else 0, step):
        rows = np.arange(start, min(start + step, count))
        self = (np.arange(len(rows)), rows)
        differences = [column - costs[chosen[rows], m, np.newaxis] for m, column in enumerate(columns)]
        worst = differences[0] / scale[0]
        for m in range(1, number):
            np.maximum(worst, differences[m] / scale[m], out=worst)
        worst[self] = np.inf
        at = worst.argmin(-1)
        joint[rows] = worst[self[0], at]
        rival[rows] = near[at]
        metric[rows] = ((costs[near[at]] - costs[chosen[rows]]) / scale).argmax(-1)
        good = [difference <= 0 for difference in differences]
        for m in range(number):
            as_good = np.logical_and.reduce([g for k, g in enumerate(good) if k != m] or [np.ones_like(good[0])])
            as_good[self] = False
            alone[rows, m] = np.where(as_good, differences[m], np.inf).min(-1)
    return Margins(joint, alone, rival, metric)

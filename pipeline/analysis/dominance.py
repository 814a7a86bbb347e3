"""Which points are dominated, and by how much each nondominated one may become worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.cells import Bool, Float
from pipeline.errors import UsageError

MOST_WITHOUT_LIBRARY = 5_000
"""Points that are compared one by one when moocore is not installed."""
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


def is_nondominated(costs: Float) -> Bool:
    """Return which points no other point dominates: none is at most as costly in every cost and less so in one.

    Equal points do not dominate each other.

    Parameters
    ----------
    costs
        Array [n, M] of finite numbers; less is better.

    Raises
    ------
    UsageError
        If there are many points and moocore is not installed.
    """
    try:
        import moocore
    except ImportError as error:
        if len(costs) > MOST_WITHOUT_LIBRARY:
            raise UsageError(
                f"a front of {len(costs):,} points needs a library that is not installed: pip install 'disac[pareto]'; "
                f"up to {MOST_WITHOUT_LIBRARY:,} points are compared without it"
            ) from error
        return _one_by_one(costs)
    if not len(costs):
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(moocore.is_nondominated(np.ascontiguousarray(costs), keep_weakly=True), dtype=np.bool_)


def _one_by_one(costs: Float) -> Bool:
    found = np.ones(len(costs), dtype=np.bool_)
    for i, cost in enumerate(costs):
        as_good = (costs <= cost).all(-1)
        found[i] = not (as_good & (costs < cost).any(-1)).any()
    return found


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

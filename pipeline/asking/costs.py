"""What is to be small: costs of points, their order, and the points that no other one dominates."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.asking.columns import Columns
from pipeline.asking.evaluate import Evaluation
from pipeline.asking.expression import Number

Float = NDArray[np.float64]


def needed(counted: NDArray[np.int64], share: Fraction | None) -> NDArray[np.int64]:
    """Return how many of the counted realisations make up the share, at least 1."""
    exact = Fraction(1) if share is None else share
    return np.maximum(1, -(-counted * exact.numerator // exact.denominator))


def kept_by_share(
    values: Float, counted: NDArray[np.bool_], feasible: NDArray[np.bool_], share: Fraction | None
) -> Float:  # fmt: skip
    """Return the largest number that a share of the counted realisations reaches or exceeds, at each point.

    An infeasible realisation, or one without a value, counts as minus infinity. A point without a counted realisation has NaN.

    Parameters
    ----------
    values, counted, feasible
        (points, realisations)
    share
        None: all counted realisations.
    """
    number = counted.sum(axis=-1)
    usable = counted & feasible & ~np.isnan(values)
    ordered = np.sort(np.where(usable, -values, np.inf), axis=-1)
    place = np.minimum(needed(number, share), values.shape[-1]) - 1
    found = -np.take_along_axis(ordered, place[:, np.newaxis], axis=-1)[:, 0]
    return np.where(number > 0, found, np.nan)


def point_costs(
    columns: Columns, numbers: Sequence[tuple[str, Number]], counted: NDArray[np.bool_], feasible: NDArray[np.bool_],
    share: Fraction | None,
) -> Float:  # fmt: skip
    """Return the costs of all points, (points, costs); infinite where a point does not have one.

    A cost of axes alone is a number of the point. One with a metric is what the share of realisations does not exceed.
    """
    shape, found = (*columns.shape, counted.shape[-1]), []
    for _, number in numbers:
        quantity = Evaluation(columns).number(number)
        values = np.asarray(quantity.values, dtype=np.float64)
        if (values.ndim and values.shape[-1] > 1) or quantity.unknown is not None:
            if quantity.unknown is not None:
                values = np.where(quantity.unknown, np.nan, values)
            whole = np.broadcast_to(values, shape).reshape(counted.shape)
            cost = -kept_by_share(-whole, counted, feasible, share)
        else:
            cost = np.broadcast_to(values, (*columns.shape, 1)).reshape(-1)
        found.append(np.where(np.isnan(cost), np.inf, cost))
    return np.stack(found, axis=1) if found else np.zeros((len(counted), 0))


def in_order(costs: Float) -> NDArray[np.int64]:
    """Return the points by the first cost, then by the second, and so on; equal ones in their own order."""
    if not costs.shape[1]:
        return np.arange(len(costs))
    return np.lexsort(tuple(costs[:, n] for n in reversed(range(costs.shape[1]))))


def distinct(costs: Float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a point of each different row of costs (the first one), in the order of the rows, and each point's row."""
    code = np.zeros(len(costs), dtype=np.int64)
    first = np.arange(min(1, len(costs)))
    for column in costs.T:
        _, place = np.unique(column, return_inverse=True)
        _, first, code = np.unique(code * (place.max(initial=0) + 1) + place, return_index=True, return_inverse=True)
    return first, code


def nondominated(costs: Float) -> NDArray[np.bool_]:
    """Return the points that no other point dominates: none is at most as large in every cost and smaller in one."""
    first, code = distinct(costs)
    rows = costs[first]  # in lexicographic order: a row is dominated by earlier ones alone
    kept = np.zeros(len(rows), dtype=bool)
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


def dominated_by_any(costs: Float, others: Float) -> NDArray[np.bool_]:
    """Return the points that a point of ``others`` dominates or equals."""
    found = np.zeros(len(costs), dtype=bool)
    front = others[nondominated(others)] if len(others) else others
    for other in np.unique(front, axis=0) if costs.shape[1] else front[:1]:
        found |= (other <= costs).all(axis=1)
    return found

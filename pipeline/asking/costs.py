"""What is to be small: costs of points, their order, and the points that no other one dominates."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.asking.columns import Columns
from pipeline.asking.evaluate import Evaluation
from pipeline.asking.expression import Number
from pipeline.dominance import is_nondominated

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


def dominated_by_any(costs: Float, others: Float) -> NDArray[np.bool_]:
    """Return the points that a point of ``others`` dominates or equals."""
    found = np.zeros(len(costs), dtype=bool)
    front = others[is_nondominated(others)] if len(others) else others
    for other in np.unique(front, axis=0) if costs.shape[1] else front[:1]:
        found |= (other <= costs).all(axis=1)
    return found

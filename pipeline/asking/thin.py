"""Few rows of many: points whose costs differ by less than a tolerance are shown by one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.dominance import distinct


def thin(costs: NDArray[np.float64], most: int) -> tuple[NDArray[np.int64], float, NDArray[np.int64]]:
    """Keep at most so many points, each of the others within a tolerance of a kept one.

    A tolerance is a share of the range of each cost. Points are taken in their order: one is kept if no kept one is within the
    tolerance in every cost. The tolerance is the smallest of 0, 1/1024, 2/1024, ... that leaves so few.

    Parameters
    ----------
    costs
        (points, costs) Finite costs of the points, the best first.
    most
        Most points that are kept, at least 1.

    Returns
    -------
    kept
        Numbers of the points that are kept.
    tolerance
        The tolerance, between 0 and 1.
    stands_for
        Number of points that each kept one stands for, itself among them; a point belongs to the first one near it.
    """
    unique, first, sizes = _distinct(costs)
    span = np.ptp(unique, axis=0) if len(unique) else np.ones(costs.shape[1])
    scaled = unique / np.where(span > 0, span, 1.0)
    low, high = 0, 1024
    while low < high:  # more tolerance leaves fewer points, but for rare exceptions of the greedy choice
        middle = (low + high) // 2
        if len(_kept(scaled, middle / 1024, most + 1)[0]) <= most:
            high = middle
        else:
            low = middle + 1
    kept, owner = _kept(scaled, high / 1024, len(scaled))
    while len(kept) > most:
        high += 1
        kept, owner = _kept(scaled, high / 1024, len(scaled))
    stands_for = np.bincount(owner, weights=sizes, minlength=len(kept)).astype(np.int64)
    return first[kept], high / 1024, stands_for


def _distinct(costs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct costs in the order of their first points, these points, and how many points have each."""
    first, code = distinct(costs)
    order = np.argsort(first, kind="stable")
    return costs[first[order]], first[order], np.bincount(code, minlength=len(first))[order]


def _kept(scaled: NDArray[np.float64], tolerance: float, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the points that are kept, at most so many, and for each point the number of the kept one that stands for it."""
    owner = np.full(len(scaled), -1, dtype=np.int64)
    kept: list[int] = []
    while len(kept) < most:
        free = np.flatnonzero(owner < 0)
        if not len(free):
            break
        near = (np.abs(scaled[free] - scaled[free[0]]) <= tolerance).all(axis=1)
        owner[free[near]] = len(kept)
        kept.append(int(free[0]))
    return np.array(kept, dtype=np.int64), owner

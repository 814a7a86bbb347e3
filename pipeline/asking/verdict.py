"""Verdicts on points by counting realisations: met, not met, undecided.

A point meets a wish if at least a share P of all realisations does. Of n computed realisations, k do. The verdicts are
one-sided Clopper-Pearson bounds at 95 %:

- met: the lower bound of the share is at least P, that is, P(X >= k) <= 5 % for X binomial with n and P;
- not met: the upper bound is below P, that is, P(X <= k) <= 5 %.

So 4 of 4 prove 47 %, and 59 of 59 prove 95 %. At a point only one of both errors is possible, so each bound has the whole 5 %:
a point that does not meet the wish is called met with a probability of at most 5 %, and the other way round. The probability is
that of one point; :func:`together` judges all points together.

Repeated looks. Realisations that are added because the verdict was open are looked at again, at numbers that are fixed before
(:func:`looks`). A look may spend half of what the looks before it have left of the 5 %. What it spends is exactly
its probability to call a point met that just fails to meet the wish (for binomial counts mostly less than it may spend, and
nothing if it has too few realisations for any verdict). The sum over all looks is at most 5 %, so the promise holds
whenever the looks end. The first look may spend all: a study that was planned as it stands is judged by plain Clopper-Pearson.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

RISK = 0.05
"""Largest probability of a wrong verdict of one kind on one point."""
GROWTH = 1.5
"""Factor between the numbers of realisations of two looks."""
VERDICTS = {"not_planned": 0, "undecided": 1, "not_met": 2, "met": 3}
"""Codes of the verdicts; these numbers never change."""
WORDS = {code: name.replace("_", " ") for name, code in VERDICTS.items()}


def at_least(hits: Any, counted: Any, share: float) -> Float:
    """Return P(X >= hits) for X binomial with ``counted`` trials of probability ``share``."""
    hits, counted = np.asarray(hits, dtype=np.float64), np.asarray(counted, dtype=np.float64)
    inside = (hits > 0) & (hits <= counted)
    value = betainc(np.where(inside, hits, 1.0), np.where(inside, counted - hits + 1.0, 1.0), share)
    return np.where(inside, value, np.where(hits <= 0, 1.0, 0.0))


def at_most(hits: Any, counted: Any, share: float) -> Float:
    """Return P(X <= hits) for X binomial with ``counted`` trials of probability ``share``."""
    return at_least(np.asarray(counted) - hits, counted, 1.0 - share)


def lower_bound(hits: Any, counted: Any, risk: Any = RISK) -> Float:
    """Return the one-sided lower Clopper-Pearson bound of a share; 0 without realisations."""
    hits, counted = np.asarray(hits, dtype=np.float64), np.asarray(counted, dtype=np.float64)
    some = hits > 0
    return np.where(some, betaincinv(np.where(some, hits, 1.0), np.where(some, counted - hits + 1.0, 1.0), risk), 0.0)


def upper_bound(hits: Any, counted: Any, risk: Any = RISK) -> Float:
    """Return the one-sided upper Clopper-Pearson bound of a share; 1 without realisations."""
    return 1.0 - lower_bound(np.asarray(counted) - hits, counted, risk)


def fewest(share: float, risk: float = RISK) -> int:
    """Return the fewest realisations that prove a share, if all of them meet the wish."""
    return math.ceil(math.log(risk) / math.log(share) - 1e-9)


def looks(planned: int, share: float, most: int) -> tuple[int, ...]:
    """Return the numbers of realisations at which a point is looked at, ``planned`` first and at most ``most``.

    The later looks depend on the share alone: the fewest realisations that can prove it with half of the risk, a half and a
    quarter of that (these refute early), and multiples by powers of 1.5.
    """
    first = fewest(share, RISK / 2)
    later = {math.ceil(first / 4), math.ceil(first / 2)}
    number = float(first)
    while number <= most:
        later.add(math.ceil(number))
        number *= GROWTH
    return (planned, *sorted(n for n in later if planned < n <= most))


@dataclass(frozen=True)
class Verdicts:
    """The verdict on each point.

    Parameters
    ----------
    code
        One of :data:`VERDICTS`.
    low, high
        Bounds of the share at the look that decided, or at the last one.
    p_value
        Probability of such a count, or a better one, at a point that just fails to meet the wish; for judging points together.
    awaited
        Realisations that the next look of an undecided point waits for; 0 if no look is left.
    """

    code: NDArray[np.uint8]
    low: Float
    high: Float
    p_value: Float
    awaited: Int


def judge(hits: Int, counted: Int, there: Mask, share: float, awaited: tuple[int, ...] = (0,)) -> Verdicts:
    """Return the verdict on each point from its counts at each look.

    Parameters
    ----------
    hits, counted
        (points, looks) Realisations up to the look that meet the wish, and that are known to meet it or not.
    there
        (points, looks) Whether the look can be made: none of its realisations is missing. The first one always can.
    share
        P, between 0 and 1.
    awaited
        (looks) Numbers of realisations of the looks.
    """
    points, number = hits.shape
    code = np.full(points, VERDICTS["undecided"], dtype=np.uint8)
    weights = _weights(awaited, share)
    low, high, p_value = np.zeros(points), np.ones(points), np.ones(points)
    waits = np.zeros(points, dtype=np.int64)
    spent = {"met": np.zeros(points), "not_met": np.zeros(points)}
    open_ = np.ones(points, dtype=bool)
    for look in range(number):
        waits = np.where(open_ & ~there[:, look] & (waits == 0), awaited[look], waits)
        open_ = open_ & there[:, look]
        if not open_.any():
            break
        k, n = hits[open_, look], counted[open_, look]
        part = 1.0 if look == 0 else 0.5
        may = {side: part * (RISK - used[open_]) for side, used in spent.items()}
        tails = {"met": at_least(k, n, share), "not_met": at_most(k, n, share)}
        now = np.full(len(k), VERDICTS["undecided"], dtype=np.uint8)
        for side in ("met", "not_met"):
            now[tails[side] <= may[side]] = VERDICTS[side]
            if number > 1:
                spent[side][open_] += _spent(n, may[side], share, side)
        code[open_], low[open_], high[open_] = now, lower_bound(k, n, may["met"]), upper_bound(k, n, may["not_met"])
        if weights[look]:
            p_value[open_] = np.minimum(p_value[open_], tails["met"] / weights[look])
        open_ = open_ & (code == VERDICTS["undecided"])
    return Verdicts(code, low, high, p_value, np.where(code == VERDICTS["undecided"], waits, 0))


def _weights(numbers: tuple[int, ...], share: float) -> list[float]:
    """Return the weight of each look in a p-value over all looks: a half, a quarter, ... of those that can prove the share."""
    if len(numbers) == 1:
        return [1.0]
    weights, left = [], 1.0
    for number in numbers:
        weights.append(left / 2 if number >= fewest(share) else 0.0)
        left -= weights[-1]
    return weights


def _spent(counted: Int, may: Float, share: float, side: str) -> Float:
    """Return the exact probability that a look calls a point met (or not met) whose share is P."""
    pairs, which = np.unique(np.stack([counted.astype(np.float64), may]), axis=1, return_inverse=True)
    found = np.array([attained(int(n), float(risk), share, side) for n, risk in pairs.T])
    return found[which.reshape(-1)] if len(found) else np.zeros(0)


@lru_cache(maxsize=4096)
def attained(counted: int, risk: float, share: float, side: str) -> float:
    """Return the largest tail probability of a count that is at most ``risk``; 0 if there is none."""
    every = np.arange(counted + 1)
    tails = (at_least if side == "met" else at_most)(every, counted, share)
    below = tails[tails <= risk]
    return float(below.max()) if len(below) else 0.0


def together(p_value: Float, risk: float = RISK) -> Mask:
    """Return the points that stand if all are judged together, by Benjamini and Hochberg.

    Of these points at most 5 % are expected not to meet the wish, however many points there are; for points that are
    independent, or that depend positively on each other as those with the same channels do.
    """
    order = np.argsort(p_value, kind="stable")
    below = p_value[order] <= risk * np.arange(1, len(p_value) + 1) / max(1, len(p_value))
    last = np.flatnonzero(below)
    stands = np.zeros(len(p_value), dtype=bool)
    stands[order[: last[-1] + 1 if len(last) else 0]] = True
    return stands

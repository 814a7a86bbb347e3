"""Every split of up to 16 access points: the best of a size, and the exact front of spectral efficiency, bound and coverage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from disac.designs.dmimo.sensing_score import Score, score_all_splits
from disac.metrics.pair_information import PairInformation, all_splits, squared_bound

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Rate = Callable[[Bool], Float]
"""Spectral efficiency of sets of transmitters: [..., A] to [...], bit/s/Hz."""

LARGEST_EXHAUSTIVE = 16
"""Access points up to which all splits are computed."""

FEW_SPLITS = 200_000
"""Splits of one size up to which each is computed, whatever the number of access points."""

_BATCH = 4096


@dataclass(frozen=True)
class SplitTable:
    """All splits with at least one transmitter and one receiver.

    ``transmitters`` [S, A]; ``rate_bit_s_hz`` [S]; ``mean_log_bound`` [S], mean of ln(PEB / 1 m); ``coverage`` [S].
    """

    transmitters: Bool
    rate_bit_s_hz: Float
    mean_log_bound: Float
    coverage: Float

    @property
    def receivers(self) -> NDArray[np.intp]:
        """Number of receivers of each split, [S]."""
        return (~self.transmitters).sum(axis=1)

    def front(self) -> Bool:
        """Splits that no other split beats: none is at least as good in rate, bound and coverage and better in one. [S]"""
        return not_dominated(np.stack([self.rate_bit_s_hz, -self.mean_log_bound, self.coverage], axis=1))

    def best(self, values: Float, receivers: int, among: Bool | None = None) -> int:
        """Number of the split with the largest of ``values`` [S] among those with so many receivers; the first of equals.

        Raises
        ------
        ValueError
            No split is left to choose from.
        """
        allowed = self.receivers == receivers
        if among is not None:
            allowed &= among
        if not allowed.any():
            raise ValueError(f"no split has {receivers} receivers and satisfies the condition")
        return int(np.argmax(np.where(allowed, values, -np.inf)))


def split_table(information: PairInformation, rate: Rate, limit_m: float) -> SplitTable:
    """Scores of every split with the rate that each set of transmitters reaches.

    Raises
    ------
    ValueError
        There are more than 16 access points.
    """
    count = information.access_points
    if not 2 <= count <= LARGEST_EXHAUSTIVE:
        raise ValueError(f"{count} access points: all splits are computed for 2 to {LARGEST_EXHAUSTIVE}")
    scores, kept = score_all_splits(information, limit_m), slice(1, 2**count - 1)
    transmitters = all_splits(count)[kept]
    rates = [rate(transmitters[first : first + _BATCH]) for first in range(0, len(transmitters), _BATCH)]
    return SplitTable(transmitters, np.concatenate(rates), scores.mean_log_bound[kept], scores.coverage[kept])


def best_of_size(information: PairInformation, receivers: int, score: Score) -> Bool:
    """The split with the largest mean score among all with so many receivers, by computing each: transmitters, [A].

    The smaller side is enumerated. With ``S`` on it the sum over pairs is that of all pairs from S to any AP, or to S from any,
    less the pairs within S.

    Raises
    ------
    ValueError
        There are more than 200000 such splits.
    """
    count = information.access_points
    few = min(receivers, count - receivers)
    if few < 1 or comb(count, few) > FEW_SPLITS:
        raise ValueError(f"{receivers} receivers of {count} access points make too many splits, or none, to compute each")
    sets = np.array(list(combinations(range(count), few)))
    receives = few == receivers
    values, share = np.zeros(len(sets)), information.share(count - receivers)
    for weight, table in zip(information.weights, information.entries, strict=True):
        sums = table.sum(axis=1 if receives else 2)
        summed = sums[:, sets].sum(axis=2)
        for first, second in combinations(range(few), 2):
            summed -= table[:, sets[:, first], sets[:, second]] + table[:, sets[:, second], sets[:, first]]
        values += weight * score.of(squared_bound(summed * share))
    chosen = np.isin(np.arange(count), sets[int(np.argmax(values))])
    return ~chosen if receives else chosen


def not_dominated(values: Float) -> Bool:
    """Rows [S, D] that no other row exceeds: at least as large in every column and larger in one. Equal rows stay together."""
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in values.T], axis=1)
    left, kept = np.argsort(-ranks.sum(axis=1), kind="stable"), np.zeros(len(values), dtype=bool)
    # No row with a smaller sum of ranks dominates the first one. Ranks, since infinite values have no sum.
    while len(left):
        first = ranks[left[0]]
        kept[left[0]] = True
        rest = left[1:]
        below, equal = (ranks[rest] <= first).all(axis=1), (ranks[rest] == first).all(axis=1)
        kept[rest[equal]] = True
        left = rest[~below]
    return kept

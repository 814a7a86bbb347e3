"""Rules that say which access points transmit: the paper's (19)-(21), a random one, and ours.

A rule returns a boolean array [A], true where an AP transmits. Of equal candidates the first is taken.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from disac.designs.dmimo.sensing_score import MeanLog, Score
from disac.metrics.pair_information import PairInformation, squared_bound

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Rate = Callable[[Bool], Float]

_GAIN = 1e-12
"""Least gain of the score for which two APs are exchanged."""


def communication_centric(rate: Rate, access_points: int, receivers: int) -> Bool:
    """The greedy choice (20) of transmitters by their spectral efficiency; the APs that remain receive.

    Parameters
    ----------
    rate
        Spectral efficiency of sets [..., A], bit/s/Hz: (19) for the paper's rule.
    """
    _checked(access_points, receivers)
    sends = np.zeros(access_points, dtype=bool)
    for _ in range(access_points - receivers):
        candidates, sets = _each(sends, wanted=True)
        sends[candidates[np.argmax(rate(sets))]] = True
    return sends


def sensing_centric(positions_m: Float, receivers: int, start: int | None = None) -> Bool:
    """Farthest-point sampling (21): each new receiver is the AP farthest from the nearest of those chosen.

    Parameters
    ----------
    start
        The first receiver, which (21) leaves open. None: the AP farthest from the centroid of all APs.
    """
    count = len(positions_m)
    _checked(count, receivers)
    if start is None:
        start = int(np.argmax(np.linalg.norm(positions_m - positions_m.mean(axis=0), axis=1)))
    chosen = np.zeros(count, dtype=bool)
    chosen[start] = True
    nearest = np.linalg.norm(positions_m - positions_m[start], axis=1)
    for _ in range(receivers - 1):
        new = int(np.argmax(np.where(chosen, -np.inf, nearest)))
        chosen[new] = True
        nearest = np.minimum(nearest, np.linalg.norm(positions_m - positions_m[new], axis=1))
    return ~chosen


def random_split(generator: np.random.Generator, access_points: int, receivers: int) -> Bool:
    """Receivers drawn without replacement, all sets equally likely."""
    _checked(access_points, receivers)
    sends = np.ones(access_points, dtype=bool)
    sends[generator.permutation(access_points)[:receivers]] = False
    return sends


def greedy(information: PairInformation, receivers: int, score: Score | None = None) -> Bool:
    """From all APs transmitting, the AP that leaves the best mean score becomes a receiver, one after the other.

    Parameters
    ----------
    score
        None for the mean logarithm of the bound.
    """
    _checked(information.access_points, receivers)
    score = MeanLog() if score is None else score
    state = _State(information, np.ones(information.access_points, dtype=bool))
    for _ in range(receivers):
        candidates = np.flatnonzero(state.sends)
        state.flip(int(candidates[np.argmax(state.scores_of_flips(candidates, score))]))
    return state.sends


def swapped(
    information: PairInformation,
    transmitters: Bool,
    score: Score | None = None,
    *,
    rate: Rate | None = None,
    sensing_weight: float = 1.0,
    most: int = 1000,
) -> Bool:
    """The split improved by the best exchange of a transmitter and a receiver until none improves the mean score.

    Parameters
    ----------
    rate
        With a spectral efficiency, exchanges improve ``SE(T) / SE(all) + sensing_weight * mean score`` instead.
    most
        Exchanges at most.
    """
    score = MeanLog() if score is None else score
    state = _State(information, np.array(transmitters, dtype=bool))
    worth = _worth(rate, sensing_weight, information.access_points)
    current = float(worth(state.sends[np.newaxis], np.array([state.score(score)]))[0])
    for _ in range(most):
        out, into, value = state.best_exchange(score, worth)
        # Minus infinity stays: an exchange between splits that locate nothing gains nothing.
        if not value > current + _GAIN:
            break
        state.flip(out)
        state.flip(into)
        current = value
    return state.sends


def backward_joint(
    rate: Rate, information: PairInformation, receivers: int, *, sensing_weight: float = 1.0, score: Score | None = None
) -> Bool:
    """Greedy choice of receivers for both services; ours.

    From all APs transmitting, the AP becomes a receiver that leaves the largest
    ``SE(T) / SE(all) + sensing_weight * mean score(T)``.

    Parameters
    ----------
    rate
        Spectral efficiency of sets [..., A], bit/s/Hz, e.g. :class:`disac.designs.dmimo.link_strength.LargeScaleRate`.
    sensing_weight
        Zero for spectral efficiency alone. One weighs a factor e of the geometric mean bound as much as all of SE(all).
    """
    count = information.access_points
    _checked(count, receivers)
    score = MeanLog() if score is None else score
    state = _State(information, np.ones(count, dtype=bool))
    worth = _worth(rate, sensing_weight, count)
    for _ in range(receivers):
        candidates, sets = _each(state.sends, wanted=False)
        state.flip(int(candidates[np.argmax(worth(sets, state.scores_of_flips(candidates, score)))]))
    return state.sends


def joint_with_exchanges(
    rate: Rate, information: PairInformation, receivers: int, *, sensing_weight: float = 1.0, score: Score | None = None
) -> Bool:  # fmt: skip
    """The best split for both services that exchanges find from three starts; ours.

    The starts are the greedy choices for both services, for spectral efficiency alone and for sensing alone.
    """
    score = MeanLog() if score is None else score
    weights = (sensing_weight, 0.0)
    starts = [backward_joint(rate, information, receivers, sensing_weight=weight, score=score) for weight in weights]
    starts.append(greedy(information, receivers, score))
    found = np.stack([swapped(information, s, score, rate=rate, sensing_weight=sensing_weight) for s in starts])
    scores = np.array([_State(information, sends).score(score) for sends in found])
    return found[int(np.argmax(_worth(rate, sensing_weight, information.access_points)(found, scores)))]


Worth = Callable[[Bool, Float], Float]
"""What sets of transmitters [C, A] with these mean scores [C] are worth, [C]."""


def _worth(rate: Rate | None, sensing_weight: float, access_points: int) -> Worth:
    if rate is None:
        return lambda _, scores: scores
    whole = float(rate(np.ones(access_points, dtype=bool)))

    def joint(sets: Bool, scores: Float) -> Float:
        # Without a weight, scores of minus infinity count nothing.
        return rate(sets) / whole + (sensing_weight * scores if sensing_weight else 0.0)

    return joint


class _State:
    """A split with its sums over pairs and their change where one AP changes its role.

    ``q = u^T F (1 - u)`` changes by ``+- (F 1 - (F + F^T) u)_m`` where AP m does, and by both changes and ``F_tr + F_rt`` where
    t and r are exchanged.
    """

    def __init__(self, information: PairInformation, sends: Bool) -> None:
        self.information, self.sends = information, sends.copy()
        u = sends.astype(np.float64)
        entries = information.entries
        self.gradient = entries.sum(axis=3) - entries @ u - u @ entries
        self.total = np.einsum("a,pca->pc", u, entries @ (1.0 - u))

    def flip(self, access_point: int) -> None:
        sign = -1.0 if self.sends[access_point] else 1.0
        entries = self.information.entries
        self.total = self.total + sign * self.gradient[..., access_point]
        self.gradient = self.gradient - sign * (entries[..., access_point] + entries[..., access_point, :])
        self.sends[access_point] ^= True

    def score(self, score: Score) -> float:
        """Mean score of the split as it is."""
        return float(self._means(self.total[..., np.newaxis], np.array([float(self.sends.sum())]), score)[0])

    def scores_of_flips(self, candidates: NDArray[np.intp], score: Score) -> Float:
        """Mean scores of the splits in which one candidate changes its role."""
        signs = np.where(self.sends[candidates], -1.0, 1.0)
        summed = self.total[..., np.newaxis] + signs * self.gradient[..., candidates]
        count = int(self.sends.sum()) + signs
        return self._means(summed, count, score)

    def best_exchange(self, score: Score, worth: Worth) -> tuple[int, int, float]:
        """The transmitter and the receiver whose exchange leaves the split of most worth, and that worth."""
        senders, receivers = np.flatnonzero(self.sends), np.flatnonzero(~self.sends)
        entries, best = self.information.entries, (-1, -1, -np.inf)
        count = np.full(len(receivers), float(len(senders)))
        for out in senders:
            crossed = entries[..., out, :][..., receivers] + entries[..., out][..., receivers]
            summed = (self.total - self.gradient[..., out])[..., np.newaxis] + self.gradient[..., receivers] + crossed
            sets = np.repeat(self.sends[np.newaxis], len(receivers), axis=0)
            sets[:, out] = False
            sets[np.arange(len(receivers)), receivers] = True
            values = worth(sets, self._means(summed, count, score))
            if values.max() > best[2]:
                best = (int(out), int(receivers[np.argmax(values)]), float(values.max()))
        return best

    def _means(self, summed: Float, transmitters: Float, score: Score) -> Float:
        """Of sums [P, 3 or 6, C] with so many transmitters [C]: mean scores [C]."""
        shares = np.array([self.information.share(int(count)) for count in transmitters])
        squared = squared_bound(np.moveaxis(summed * shares, 1, 0))
        return self.information.weights @ score.of(squared)


def _each(sends: Bool, *, wanted: bool) -> tuple[NDArray[np.intp], Bool]:
    """The APs that may change their role to ``wanted``, and the set after each change."""
    candidates = np.flatnonzero(sends != wanted)
    sets = np.repeat(sends[np.newaxis], len(candidates), axis=0)
    sets[np.arange(len(candidates)), candidates] = wanted
    return candidates, sets


def _checked(access_points: int, receivers: int) -> None:
    if not 1 <= receivers < access_points:
        raise ValueError(f"{receivers} receivers of {access_points} access points: at least one must receive and one transmit")

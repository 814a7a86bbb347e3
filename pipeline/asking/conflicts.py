"""Why nothing meets a wish: the smallest sets of its parts that conflict, and how far each part must give way.

A set of parts conflicts if every point is refuted for the set: at each, so few realisations meet all parts of the set that the
point does not reach the share, at 95 %. A set is smallest if it does not conflict without any one of its parts.
Sets are found at realisations: two parts may conflict although each holds in enough realisations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.asking.costs import kept_by_share
from pipeline.asking.evaluate import Truth
from pipeline.asking.verdict import RISK, at_least, at_most
from pipeline.errors import UsageError

MOST_PARTS = 12
_WITNESSES = 64
State = Literal["met", "reached", "open", "refuted"]

Mask = NDArray[np.bool_]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Relaxation:
    """How far one part must give way, so that a point meets the parts of its set.

    Parameters
    ----------
    part
        Number of the part in the wish.
    by
        By how much, in the unit in which the part compares; infinite if giving way does not help, or the part compares nothing.
    point
        Number of the point that then meets them; -1 if there is none.
    state
        What the point then is: ``met``; ``reached``, if its stored realisations reach the share but are too few to prove it; or
        ``open``, if it is no longer refuted.
    whole
        Whether the point then meets the whole wish, not this set alone.
    """

    part: int
    by: float
    point: int
    state: State
    whole: bool


@dataclass(frozen=True)
class Conflict:
    """A smallest set of parts that conflict; without parts, no point has enough feasible realisations."""

    parts: tuple[int, ...]
    relaxations: tuple[Relaxation, ...]


class Realisations:
    """The parts of a wish at each realisation of the planned points.

    Parameters
    ----------
    parts
        For each part where it is true and where it is false, (points, realisations).
    impossible
        (parts, points) Whether the axes alone make a part false.
    slacks
        For each part its slack, (points, realisations); None for a part that compares nothing.
    feasible, infeasible
        (points, realisations) Realisations with a design, and with the proof that there is none.
    share
        None: each point is one cell.
    """

    def __init__(
        self, parts: list[Truth], impossible: Mask, slacks: list[Float | None], feasible: Mask, infeasible: Mask,
        share: Fraction | None,
    ) -> None:  # fmt: skip
        if len(parts) > MOST_PARTS:
            raise UsageError(f"a wish has at most {MOST_PARTS} parts joined by 'and', this one has {len(parts)}")
        self._yes = np.zeros(feasible.shape, dtype=np.uint16)
        self._no = np.zeros(feasible.shape, dtype=np.uint16)
        for number, part in enumerate(parts):
            self._yes |= np.where(part.yes, np.uint16(1 << number), np.uint16(0))
            self._no |= np.where(part.no, np.uint16(1 << number), np.uint16(0))
        self._impossible, self._slacks, self._share = impossible, slacks, share
        self._feasible, self._infeasible = feasible, infeasible
        self._witnesses: list[int] = []
        self.number = len(parts)

    def conflicts(self) -> tuple[Conflict, ...]:
        """Return the smallest sets that conflict, the smaller ones first; none if the whole wish does not conflict."""
        found = list(self._smallest()) if self._conflict(range(self.number)) else []
        return tuple(Conflict(parts, tuple(self._relaxed(part, parts) for part in parts)) for parts in found)

    def _smallest(self) -> Iterator[tuple[int, ...]]:
        found: list[set[int]] = []
        for size in range(self.number + 1):
            for parts in itertools.combinations(range(self.number), size):
                if not any(known <= set(parts) for known in found) and self._conflict(parts):
                    found.append(set(parts))
                    yield parts

    def _conflict(self, parts: range | tuple[int, ...]) -> bool:
        """Return whether every point is refuted for the parts; a few points that were not refuted before are tried first."""
        if self._witnesses and not self._refuted(parts, np.array(self._witnesses)).all():
            return False
        open_ = np.flatnonzero(~self._refuted(parts, None))
        self._witnesses = (open_[: _WITNESSES // 4].tolist() + self._witnesses)[:_WITNESSES]
        return not len(open_)

    def _refuted(self, parts: range | tuple[int, ...], points: NDArray[np.int64] | None) -> Mask:
        chosen = slice(None) if points is None else points
        mask = np.uint16(sum(1 << part for part in parts))
        feasible = self._feasible[chosen]
        yes = feasible & ((self._yes[chosen] & mask) == mask)
        no = self._infeasible[chosen] | (feasible & ((self._no[chosen] & mask) != 0))
        hits, counted = np.count_nonzero(yes, axis=-1), np.count_nonzero(yes | no, axis=-1)
        impossible: Mask = self._impossible[list(parts)][:, chosen].any(axis=0)
        if self._share is None:
            return impossible | ((counted > 0) & (hits == 0))
        return impossible | ((counted > 0) & (at_most(hits, counted, float(self._share)) <= RISK))

    def _relaxed(self, part: int, parts: tuple[int, ...]) -> Relaxation:
        """Return the least relaxation of one part: for the whole wish if it alone is enough, else for its set."""
        for whole, states in ((True, _MET), (False, _MET), (False, _OPEN)):
            others = set(range(self.number) if whole else parts) - {part}
            for state in states:
                by, point = self._least(part, tuple(sorted(others)), state)
                if np.isfinite(by):
                    return Relaxation(part, by, point, state, whole)
        return Relaxation(part, np.inf, -1, "refuted", False)

    def _least(self, part: int, others: tuple[int, ...], state: State) -> tuple[float, int]:
        """Return by how much a part must give way so that, with the others, some point is in a state; and that point."""
        slack = self._slacks[part]
        if slack is None:
            return np.inf, -1
        mask = np.uint16(sum(1 << other for other in others))
        hold = self._feasible & ((self._yes & mask) == mask)
        known = (hold & ~np.isnan(slack)) | (self._feasible & ((self._no & mask) != 0))
        counted = self._infeasible | known
        number = counted.sum(axis=-1)
        if state == "reached" or self._share is None:
            return _best(kept_by_share(slack, counted, hold, self._share))
        rank = _fewest_hits(number, float(self._share), state)
        enough = (rank <= number) & (rank > 0)
        reached = np.full(len(number), np.nan)
        reached[enough] = _at_rank(slack[enough], (counted & hold)[enough], rank[enough])
        return _best(reached)


_MET: tuple[State, ...] = ("met", "reached")
_OPEN: tuple[State, ...] = ("open",)


def _best(reached: Float) -> tuple[float, int]:
    """Return the least amount by which a part must give way, and the point where that is so."""
    usable = np.where(np.isnan(reached), -np.inf, reached)
    point = int(np.argmax(usable))
    return (max(0.0, -float(usable[point])), point) if np.isfinite(usable[point]) else (np.inf, -1)


def _at_rank(values: Float, usable: Mask, rank: NDArray[np.int64]) -> Float:
    """Return the value of a rank, the largest first, at each point; minus infinity if fewer are usable."""
    ordered = np.sort(np.where(usable & ~np.isnan(values), -values, np.inf), axis=-1)
    return -np.take_along_axis(ordered, rank[:, np.newaxis] - 1, axis=-1)[:, 0]


def _fewest_hits(counted: NDArray[np.int64], share: float, state: State) -> NDArray[np.int64]:
    """Return how many of the counted realisations must meet the wish for a state; more than there are if none do."""
    unique, which = np.unique(counted, return_inverse=True)
    found = []
    for n in unique.tolist():
        every = np.arange(n + 1)
        enough = at_least(every, n, share) <= RISK if state == "met" else at_most(every, n, share) > RISK
        found.append(int(np.argmax(enough)) if enough.any() else n + 1)
    return np.array(found, dtype=np.int64)[which.reshape(-1)]

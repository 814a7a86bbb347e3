"""The boxes of one lattice: which cells they ask for, when they split, and what they say about cells that were not computed.

A lattice point has one cell for each *draw* (realisation). A box stands for some draws. It splits

- if its known cells of a draw differ in kind (feasible, infeasible, failed): for this draw, down to the finest step;
- if the mean of the other draws bends: along the axis that bends most.

Every known cell inside a box counts, also one that a neighbour asked for. So an edge of feasibility that one box has met is
followed from box to box until it closes or leaves the lattice.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.refining.boxes import Box, Float, Whole, pattern
from pipeline.refining.estimate import bends, centre_error
from pipeline.refining.known import FAILED, INFEASIBLE, UNKNOWN, USABLE, VALUELESS, Kinds, Known, Tolerance, back, forth


@dataclass
class Leaf:
    """A box that is not split, for some draws.

    Parameters
    ----------
    box, draws
        The box, and the numbers of the draws.
    kind
        Kind of all cells inside once the box is settled; UNKNOWN for a box of the finest step whose cells are all known.
    settled
        Whether the box needs no more cells.
    known
        Number of known cells inside when it was settled.
    logs
        Whether logarithms are interpolated in a settled box.
    behind
        For an open box the box that was split: its interpolant stands in if the budget ends.
    urgency
        How far the box is off, in allowed errors; infinite for a box with mixed kinds.
    wanted
        Cells that the box needs, [cells, axes + 1]: label numbers and draw.
    first
        Whether the box is one of those with which the refinement began.
    """

    box: Box
    draws: Whole
    first: bool = False
    behind: Box | None = None
    urgency: float = np.inf
    kind: int = UNKNOWN
    settled: bool = False
    known: int = 0
    logs: bool = False
    wanted: Whole = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))


class Tree(Known):
    """All boxes of one lattice; parameters as of :class:`pipeline.refining.known.Known`."""

    def __init__(self, shape: tuple[int, ...], draws: int, tolerance: Tolerance) -> None:
        super().__init__(shape, draws, tolerance)
        every = np.arange(draws)
        self.leaves = [Leaf(box, every, first=True) for box in first_boxes(shape)]

    def put(self, cells: Whole, kinds: Kinds, values: Float) -> None:
        """Take the outcome of computed cells [cells, axes + 1]."""
        before = self.geometric
        super().put(cells, kinds, values)
        if before != self.geometric:
            for leaf in self.leaves:
                leaf.known = -1  # what was settled is examined again

    def advance(self) -> None:
        """Split boxes as far as the known cells decide; afterwards each open leaf has the cells that it wants."""
        waiting, kept = deque(self.leaves), list[Leaf]()
        while waiting:
            leaf = waiting.popleft()
            parts = [leaf] if leaf.settled and self._count(leaf) == leaf.known else self._examined(leaf)
            for part in parts:
                (kept if part.settled or len(part.wanted) else waiting).append(part)
        self.leaves = kept

    def open(self) -> list[Leaf]:
        """Return the leaves that want cells."""
        return [leaf for leaf in self.leaves if not leaf.settled]

    def _known(self, leaf: Leaf) -> Kinds:
        """Return the kinds inside a box, [points, draws of the leaf]."""
        inside = self.kinds[leaf.box.block].reshape(-1, self.draws)
        return inside if len(leaf.draws) == self.draws else inside[:, leaf.draws]

    def _count(self, leaf: Leaf) -> int:
        return int(np.count_nonzero(self._known(leaf)))

    def _examined(self, leaf: Leaf) -> list[Leaf]:
        """Return what becomes of a leaf: its parts, settled, open or to be examined."""
        known = self._known(leaf)
        there = np.stack([(known == kind).any(axis=0) for kind in (USABLE, INFEASIBLE, FAILED, VALUELESS)])
        mixed = there.sum(axis=0) > 1
        found: list[Leaf] = []
        if mixed.any():
            found += self._split_mixed(leaf, known[:, mixed], leaf.draws[mixed])
        rest = np.flatnonzero(~mixed)
        if not len(rest):
            return found
        own = pattern(leaf.box.lengths)
        lacks = self._lacking(leaf, leaf.draws[rest], own.corners)
        if len(lacks):
            return [*found, _part(leaf, leaf.draws[rest], wanted=lacks)]
        kinds = 1 + there[:, rest].argmax(axis=0)
        for kind in np.unique(kinds):
            draws = leaf.draws[rest[kinds == kind]]
            if kind == USABLE:
                found += self._usable(leaf, draws)
            else:
                lacks = self._lacking(leaf, draws, len(own.offsets) if leaf.first else own.corners)
                done = _part(leaf, draws, kind=int(kind), wanted=lacks, settled=not len(lacks))
                done.known = self._count(done)
                found.append(done)
        return found

    def _split_mixed(self, leaf: Leaf, known: Kinds, draws: Whole) -> list[Leaf]:
        if not leaf.box.divisible:
            lacks = self._lacking(leaf, draws, pattern(leaf.box.lengths).corners)
            done = _part(leaf, draws, wanted=lacks, settled=not len(lacks), urgency=np.inf)
            done.known = self._count(done)
            return [done]
        halves = leaf.box.halves(self._crossing(leaf.box, known))
        return [Leaf(half, draws) for half in halves]

    def _crossing(self, box: Box, known: Kinds) -> int:
        """Return the axis along which to split a box of mixed kinds.

        It is the axis along which most corners differ; of equal axes the one that is longest, measured by the lattice.
        """
        lengths = box.lengths
        grid = known.reshape(*(n + 1 for n in lengths), -1)
        ends = grid[np.ix_(*[[0, n] for n in lengths], np.arange(grid.shape[-1]))]

        def score(axis: int) -> tuple[int, float]:
            low, high = np.take(ends, 0, axis=axis), np.take(ends, 1, axis=axis)
            differ = (low != high) & (low != UNKNOWN) & (high != UNKNOWN)
            return int(differ.sum()), lengths[axis] / (self.shape[axis] - 1)

        return max(box.divisible, key=score)

    def _usable(self, leaf: Leaf, draws: Whole) -> list[Leaf]:
        """Return what becomes of a box whose known cells are all usable: it is settled, splits, or wants its samples."""
        box, own = leaf.box, pattern(leaf.box.lengths)
        lacks = self._lacking(leaf, draws, len(own.offsets))
        if len(lacks):
            return [_part(leaf, draws, wanted=lacks)]
        tried = []
        for logs in self.scales:
            tried.append(self._off(box, draws, logs))
            if tried[-1][1] <= 1.0:
                done = _part(leaf, draws, kind=USABLE, settled=True, wanted=lacks, logs=logs)
                done.known = self._count(done)
                return [done]
        axis = tried[0][0]
        urgency = min(off for _, off in tried)
        return [Leaf(half, draws, behind=box, urgency=urgency) for half in box.halves(axis)]

    def _off(self, box: Box, draws: Whole, logs: bool) -> tuple[int, float]:
        """Return the axis along which the mean over draws bends most on a scale, and how far the box may be off in all."""
        if not box.divisible:
            return -1, 0.0
        sampled = self._sampled(box, draws)
        bent = bends(self, box, draws, logs)
        longest = {axis: box.lengths[axis] / (self.shape[axis] - 1) for axis in box.divisible}
        most = max(box.divisible, key=lambda axis: (bent[axis], longest[axis]))
        worst = sum(bent.values()) + centre_error(self, box, sampled, logs)
        return most, max(worst, self._test(box, draws, logs))

    def _test(self, box: Box, draws: Whole, logs: bool) -> float:
        """Return by how many allowed errors the interpolant misses a computed cell: a neighbour or a check asked for it."""
        own = pattern(box.lengths)
        inside = self.values[box.block].reshape(-1, self.draws)[:, draws]
        known = np.isfinite(inside).all(axis=1)
        now = inside[known].mean(axis=1)
        told = back(own.block[known] @ forth(self._sampled(box, draws), logs), logs)
        error = np.abs(told.mean(axis=1) - now)
        ratio = np.divide(error, self.tolerance.allowed(now), out=np.where(error > 0, np.inf, 0.0), where=now != 0.0)
        gain = np.sqrt(1.0 + (own.block[known] ** 2).sum(axis=1))
        return float((ratio / np.maximum(1.0, self.band(draws, gain))).max())

    def _lacking(self, leaf: Leaf, draws: Whole, samples: int) -> Whole:
        """Return the first ``samples`` samples of a box that are not known, as cells [cells, axes + 1]."""
        points = pattern(leaf.box.lengths).offsets[:samples] + np.array(leaf.box.low)
        unknown = self.kinds[tuple(points.T)][:, draws] == UNKNOWN
        point, draw = np.nonzero(unknown)
        return np.column_stack([points[point], draws[draw]])

    def filled(self) -> tuple[Float, Kinds]:
        """Return values and kinds of all cells, [*shape, draws]; a cell that was not computed has what its box says.

        A cell on the boundary of several boxes has what the smallest of them says.
        """
        values, kinds = np.full(self.values.shape, np.nan), np.full(self.kinds.shape, UNKNOWN, dtype=np.uint8)
        for box, draws, kind, logs in self._spoken():
            place = (*box.block, slice(None))
            inside_kinds, inside_values = kinds[place].copy(), values[place].copy()
            inside_kinds[..., draws] = kind
            inside_values[..., draws] = np.nan
            if kind == USABLE:
                told = back(pattern(box.lengths).block @ forth(self._sampled(box, draws), logs), logs)
                inside_values[..., draws] = told.reshape(*(n + 1 for n in box.lengths), len(draws))
            kinds[place], values[place] = inside_kinds, inside_values
        known = self.kinds != UNKNOWN
        return np.where(known, self.values, values), np.where(known, self.kinds, kinds).astype(np.uint8)

    def predict(self, positions: Float) -> tuple[Float, Kinds]:
        """Return values and kinds, each [points, draws], at positions [points, axes] on the lattice, also between its points.

        The kind is UNKNOWN between computed cells of different kinds, and where the budget ended.
        """
        values = np.full((len(positions), self.draws), np.nan)
        kinds = np.full((len(positions), self.draws), UNKNOWN, dtype=np.uint8)
        for box, draws, kind, logs in self._spoken():
            low, high = np.array(box.low), np.array(box.high)
            here = np.flatnonzero(((positions >= low) & (positions <= high)).all(axis=1))
            if len(here):
                cells = np.ix_(here, draws)
                kinds[cells], values[cells] = kind, np.nan
                if kind == USABLE:
                    weights = pattern(box.lengths).weights(positions[here] - low)
                    values[cells] = back(weights @ forth(self._sampled(box, draws), logs), logs)
        whole = np.rint(positions).astype(np.int64)
        on = np.flatnonzero((whole == positions).all(axis=1))
        place = tuple(whole[on].T)
        known = self.kinds[place] != UNKNOWN
        kinds[on] = np.where(known, self.kinds[place], kinds[on])
        values[on] = np.where(known, self.values[place], values[on])
        return values, kinds

    def _sampled(self, box: Box, draws: Whole) -> Float:
        return self.at(pattern(box.lengths).offsets + np.array(box.low), draws)

    def _spoken(self) -> Iterator[tuple[Box, Whole, int, bool]]:
        """Yield box, draws, kind and scale of all leaves, the largest first.

        An open leaf speaks through the box that was split.
        """
        found = []
        for leaf in self.leaves:
            if leaf.settled:
                found.append((leaf.box, leaf.draws, leaf.kind, leaf.logs))
            elif leaf.behind is not None:
                found.append((leaf.behind, leaf.draws, USABLE, self.geometric))
        return iter(sorted(found, key=lambda one: -int(np.prod(one[0].lengths))))


def _part(leaf: Leaf, draws: Whole, **changed: object) -> Leaf:
    """Return a leaf for some draws of another leaf, with other parts."""
    same = {"first": leaf.first, "behind": leaf.behind, "urgency": leaf.urgency}
    return Leaf(leaf.box, draws, **(same | changed))  # type: ignore[arg-type]


def first_boxes(shape: tuple[int, ...]) -> list[Box]:
    """Return the boxes with which a refinement begins: four along a long axis, two along a short one, one below that."""
    cuts = []
    for labels in shape:
        intervals = labels - 1
        parts = 4 if intervals >= 32 else 2 if intervals >= 8 else 1
        cuts.append([intervals * i // parts for i in range(parts + 1)])
    ends = [list(itertools.pairwise(cut)) for cut in cuts]
    return [Box(tuple(a for a, _ in box), tuple(b for _, b in box)) for box in itertools.product(*ends)]

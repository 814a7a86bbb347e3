"""Refine lattices until their interpolants are accurate: rounds, each one batch of cells.

The loop knows neither studies nor clusters. It asks for cells by numbers and takes statuses and values. Its decisions follow
from the cells alone, so a loop that was ended anywhere repeats them, and finds the cells that were computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.experiment import STATUS_CODES
from pipeline.refining.boxes import Float, Whole
from pipeline.refining.known import FAILED, INFEASIBLE, UNKNOWN, USABLE, VALUELESS, Kinds, Noise, Tolerance
from pipeline.refining.noise import MORE_PROBES, Probes, draws_needed, estimate_noise, few_probes, place_probes, statistic
from pipeline.refining.tree import Tree

LEAST_CHECKS, MOST_CHECKS, CHECK_SHARE = 8, 59, 0.02
"""Fresh check points of a round: a share of the lattice; 59 that agree prove 95 % of the points."""

QUIET = 0.05
"""Noise of a mean, as its interval in allowed errors, below which few probes are enough."""

Compute = Callable[[Whole], None]
Read = Callable[[Whole], tuple[NDArray[np.uint8], Float]]
End = Literal["agreed", "complete", "budget", "stopped"]


class NoisyError(Exception):
    """The tolerance is below three times the noise of the statistic.

    Parameters
    ----------
    noise
        Standard deviation of the statistic's noise: a share of its value, or in its unit if the tolerance is absolute.
    draws, needed
        Number of draws, and the number for which the tolerance would be three times the noise.
    """

    def __init__(self, noise: float, draws: int, needed: int) -> None:
        super().__init__(f"noise {noise:.3g} of the mean over {draws} draws; {needed} draws are needed")
        self.noise, self.draws, self.needed = noise, draws, needed


@dataclass(frozen=True)
class Goal:
    """What a refinement should reach.

    Parameters
    ----------
    tolerance
        Largest error of the statistic that is accepted.
    budget
        Most cells that may be asked for, stored cells included; None for no limit.
    seed
        Seed of the check points and of the probes for noise.
    """

    tolerance: Tolerance
    budget: int | None = None
    seed: int = 1


@dataclass(frozen=True)
class Round:
    """A round of a refinement: its number, the cells of its batch, the boxes that wanted them, and its check points."""

    number: int
    cells: int
    boxes: int
    checks: int
    disagreed: int = 0


@dataclass(frozen=True)
class Refined:
    """A refined set of lattices, one for each slice.

    Parameters
    ----------
    trees
        The boxes of each slice.
    end
        ``agreed``: all fresh check points agree; ``complete``: every cell was computed; ``budget``; ``stopped``: a batch was
        not computed.
    rounds
        The rounds, in order.
    checks
        Number of check points of the last round of checks, and of those that disagreed.
    noise
        Largest noise of the statistic among the slices, as the tolerance is given.
    """

    trees: tuple[Tree, ...]
    end: End
    rounds: tuple[Round, ...]
    checks: int
    disagreed: int
    noise: float

    @property
    def cells(self) -> int:
        """Return the number of cells that were computed or found."""
        return sum(int(np.count_nonzero(tree.kinds)) for tree in self.trees)

    @property
    def lattice_cells(self) -> int:
        """Return the number of cells of the dense lattice."""
        return sum(tree.kinds.size for tree in self.trees)

    @property
    def open_boxes(self) -> int:
        """Return the number of boxes that still want cells."""
        return sum(len(tree.open()) for tree in self.trees)

    def proven_share(self, confidence: float = 0.95) -> float:
        """Return the share of the lattice's points that agree, proven by the last check points that all agreed."""
        if self.end == "complete":
            return 1.0
        return float((1.0 - confidence) ** (1.0 / self.checks)) if self.checks and not self.disagreed else 0.0


@dataclass
class _Loop:
    """The state of a refinement."""

    trees: list[Tree]
    compute: Compute
    read: Read
    goal: Goal
    asked: int = 0
    rounds: list[Round] = field(default_factory=list)

    def batch(self, cells: Whole) -> bool:
        """Compute and take cells [cells, 1 + axes + 1]; return whether all of them were computed."""
        cells = cells[self._unknown(cells)]
        if len(cells):
            self.asked += len(cells)
            self.compute(cells)
            statuses, values = self.read(cells)
            kinds = kinds_of(statuses, values)
            for number, tree in enumerate(self.trees):
                mine = cells[:, 0] == number
                tree.put(cells[mine, 1:], kinds[mine], values[mine])
            return bool((kinds != UNKNOWN).all())
        return True

    def _unknown(self, cells: Whole) -> NDArray[np.bool_]:
        found = np.zeros(len(cells), dtype=bool)
        for number, tree in enumerate(self.trees):
            mine = np.flatnonzero(cells[:, 0] == number)
            found[mine] = tree.kinds[tuple(cells[mine, 1:].T)] == UNKNOWN
        return found

    def wanted(self) -> tuple[list[Whole], int]:
        """Return the cells that open boxes want, those of the most urgent boxes first, and the number of the boxes."""
        found = [(leaf.urgency, number, leaf.wanted) for number, tree in enumerate(self.trees) for leaf in tree.open()]
        found.sort(key=lambda one: -one[0])
        return [with_slice(number, cells) for _, number, cells in found], len(found)

    def affordable(self, parts: list[Whole]) -> tuple[Whole, bool]:
        """Return the cells of the first parts that the budget allows, sorted, and whether these are all parts."""
        whole = unique(np.concatenate(parts))
        left = None if self.goal.budget is None else self.goal.budget - self.asked
        if left is None or len(whole) <= left:
            return whole, True
        kept: set[tuple[int, ...]] = set()
        for part in parts:
            more = kept | {tuple(cell) for cell in part.tolist()}
            if len(more) <= left:
                kept = more
        return np.array(sorted(kept), dtype=np.int64).reshape(-1, whole.shape[1]), False


def refine(
    shape: tuple[int, ...], slices: int, draws: int, compute: Compute, read: Read, goal: Goal,
    on_round: Callable[[Round], None] = lambda one: None,
) -> Refined:  # fmt: skip
    """Refine the lattices of all slices until their interpolants agree with computed cells.

    Parameters
    ----------
    shape
        Number of labels of each refined axis, each at least 2.
    slices, draws
        Number of lattices, and of draws (realisations) at each of their points.
    compute
        Computes a batch of cells [cells, 1 + axes + 1]: slice, label numbers, draw. It is called once in a round.
    read
        Returns statuses (rule C1; 0 for a cell that was not computed) and values of cells.
    goal
        Tolerance, budget and seed.
    on_round
        Is called after each round.

    Returns
    -------
    Refined
        The boxes of all slices, and how the refinement ended.

    Raises
    ------
    NoisyError
        If the tolerance is below three times the noise of the statistic in a slice.
    """
    loop = _Loop([Tree(shape, draws, goal.tolerance) for _ in range(slices)], compute, read, goal)

    def ended(end: End, checks: int = 0, disagreed: int = 0) -> Refined:
        for tree in loop.trees:
            tree.advance()
        noise = max(tree.noise.deviation for tree in loop.trees) / np.sqrt(draws)
        return Refined(tuple(loop.trees), end, tuple(loop.rounds), checks, disagreed, float(noise))

    judge = _NoiseJudge(shape, slices, draws, goal.seed)
    first = judge.wanted()
    while True:
        for tree in loop.trees:
            tree.advance()
        parts, boxes = loop.wanted()
        if first or parts:
            cells, whole = loop.affordable(first + parts)
            if not len(cells):
                return ended("budget")
            done = loop.batch(cells)
            loop.rounds.append(Round(len(loop.rounds) + 1, len(cells), boxes, 0))
            on_round(loop.rounds[-1])
            if not done:
                return ended("stopped")
            if whole:
                first = judge.judged(loop.trees) if first else []
            continue
        checks = _check_points(loop, len(loop.rounds))
        if not len(checks):
            return ended("complete")
        cells = np.concatenate([with_slice(int(point[0]), _all_draws(point[np.newaxis, 1:], draws)) for point in checks])
        if goal.budget is not None and loop.asked + len(cells) > goal.budget:
            return ended("budget")
        told = [_told(tree.filled(), checks[checks[:, 0] == number, 1:]) for number, tree in enumerate(loop.trees)]
        done = loop.batch(unique(cells))
        disagreed = sum(
            _disagreed(tree, checks[checks[:, 0] == number, 1:], *before)
            for number, (tree, before) in enumerate(zip(loop.trees, told, strict=True))
        )
        loop.rounds.append(Round(len(loop.rounds) + 1, len(cells), 0, len(checks), disagreed))
        on_round(loop.rounds[-1])
        if not done:
            return ended("stopped")
        if not disagreed:
            for tree in loop.trees:
                tree.advance()
            if not loop.wanted()[1]:
                return ended("agreed", len(checks))


@dataclass
class _NoiseJudge:
    """Estimates the noise of each slice from few probes; before noise has a say, or refuses a tolerance, it asks for more.

    A kink at most of the few would be taken for noise.
    """

    shape: tuple[int, ...]
    slices: int
    draws: int
    seed: int
    probes: list[Probes] = field(default_factory=list)
    final: bool = False

    def wanted(self) -> list[Whole]:
        """Return the cells of new probes of each slice."""
        count = MORE_PROBES if self.probes else few_probes(self.shape)
        stage = int(bool(self.probes))
        more = [place_probes(self.shape, count, np.random.default_rng([self.seed, 0, stage, i])) for i in range(self.slices)]
        old = self.probes or [Probes(one.points[:0]) for one in more]
        self.probes = [Probes(np.concatenate([a.points, b.points])) for a, b in zip(old, more, strict=True)]
        return [with_slice(number, _all_draws(one.cells, self.draws)) for number, one in enumerate(more)]

    def judged(self, trees: list[Tree]) -> list[Whole]:
        """Let each tree know its noise; return the cells of more probes if they are needed.

        Raises
        ------
        NoisyError
            If the tolerance is too small for the noisiest slice.
        """
        worst, needed, heard = Noise(), self.draws, False
        for tree, probe in zip(trees, self.probes, strict=True):
            place = tuple(np.moveaxis(probe.points, -1, 0))
            tree.noise = estimate_noise(tree.kinds[place], tree.values[place], tree.tolerance)
            heard |= bool(tree.noise.band(tree.tolerance, self.draws, np.ones(1))[0] > QUIET)
            if tree.noise.deviation > worst.deviation:
                worst, needed = tree.noise, draws_needed(tree.noise, tree.tolerance, self.draws)
        if heard and not self.final:
            self.final = True
            return self.wanted()
        if needed <= self.draws:
            return []
        raise NoisyError(worst.deviation / float(np.sqrt(self.draws)), self.draws, needed)


def _check_points(loop: _Loop, number: int) -> Whole:
    """Return random points [points, 1 + axes] of which a cell is not known, the same ones whenever the loop is repeated."""
    found = [with_slice(number, np.argwhere((tree.kinds == UNKNOWN).any(axis=-1))) for number, tree in enumerate(loop.trees)]
    unknown = np.concatenate(found)
    points = sum(tree.kinds[..., 0].size for tree in loop.trees)
    count = min(len(unknown), max(LEAST_CHECKS, min(MOST_CHECKS, round(CHECK_SHARE * points))))
    random = np.random.default_rng([loop.goal.seed, 1, number])
    return unknown[np.sort(random.choice(len(unknown), count, replace=False))] if count else unknown


def _told(filled: tuple[Float, Kinds], points: Whole) -> tuple[Float, Kinds]:
    place = tuple(points.T)
    return filled[0][place], filled[1][place]


def _disagreed(tree: Tree, points: Whole, values: Float, kinds: Kinds) -> int:
    """Return at how many points the computed cells disagree with what the boxes said before."""
    place = tuple(points.T)
    now_values, now_kinds = tree.values[place], tree.kinds[place]
    before, now = statistic(values, kinds), statistic(now_values, now_kinds)
    off = np.abs(before - now) > tree.tolerance.allowed(now)
    return int(((kinds != now_kinds).any(axis=-1) | off).sum())


def kinds_of(statuses: NDArray[np.uint8], values: Float) -> Kinds:
    """Return the kinds of cells with these statuses (rule C1) and values."""
    kinds = np.full(len(statuses), UNKNOWN, dtype=np.uint8)
    feasible = np.isin(statuses, [STATUS_CODES["ok"], STATUS_CODES["inaccurate"]])
    kinds[feasible] = np.where(np.isfinite(values[feasible]), USABLE, VALUELESS)
    kinds[statuses == STATUS_CODES["infeasible"]] = INFEASIBLE
    kinds[statuses == STATUS_CODES["failed"]] = FAILED
    return kinds


def with_slice(number: int, cells: Whole) -> Whole:
    """Return cells or points with the number of their slice in front."""
    return np.column_stack([np.full(len(cells), number, dtype=np.int64), cells])


def _all_draws(points: Whole, draws: int) -> Whole:
    """Return the cells of all draws at points."""
    return np.column_stack([np.repeat(points, draws, axis=0), np.tile(np.arange(draws), len(points))])


def unique(cells: Whole) -> Whole:
    """Return different cells in their order."""
    found: Whole = np.unique(cells, axis=0)
    return found

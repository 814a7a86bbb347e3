"""Robust designs of a band: all subcarriers together where one Newton's method serves them, one after another elsewhere.

Under per-node power ``limited_power`` climbs to a stationary point by tangents, one cone program for each, and proves a bound
by their multipliers. ``subcarriers_newton`` finds stationary points of all subcarriers at once. A point is taken for a design
only if

- its multipliers prove in closed form that no design is further along the tangent, up to ``TANGENT_GAP``,
- climbs by tangents do not lead away from it, and
- the simplices that are proven for its subcarrier bound the divergence as closely as ``limited_power`` asks for. Where they do
  not yet, the tangent at the best vertex of what they have in common gives another simplex, and a start for another point.

Every other subcarrier is designed by cone programs, which stay the reference, and so is every refusal proven.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust import subcarriers_newton
from disac.designs.robust.choices import Robustness
from disac.designs.robust.guards import Margins
from disac.designs.robust.limited_power import CLIMB, CLOSED, CUTS, SHORT
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.proofs import common_vertex
from disac.designs.robust.subcarriers import Point, Subcarriers, has_coordinates, subcarriers_of
from disac.designs.robust.subcarriers_newton import Found
from disac.designs.robust.subcarriers_proofs import Simplices, box_evidence, boxes, evidence, simplices
from disac.designs.robust.total_power import RobustDesign, judged
from disac.power_limits import PER_NODE

Float = NDArray[np.float64]
Index = NDArray[np.intp]

TOGETHER = 64
"""Subcarriers that are solved in one call, so that memory does not grow with the band."""

TANGENT_GAP = 5e-8
"""Largest relative distance along the tangent between a design and what its multipliers prove."""


def design_each(choice: Robustness, problems: Sequence[RobustProblem], sinr: float) -> Iterator[RobustDesign]:
    """Design every subcarrier for an SINR target (linear), as ``choice.design`` does for each by itself.

    Parameters
    ----------
    problems
        One for each subcarrier.

    Yields
    ------
    RobustDesign
        One for each problem, in order. Designs are made as they are asked for, at most ``TOGETHER`` in advance.
    """
    for first in range(0, len(problems), TOGETHER):
        some = problems[first : first + TOGETHER]
        margins = choice.margins
        together = design_together(some, margins, sinr) if margins is not None and suits(some, margins) else [None] * len(some)
        for problem, found in zip(some, together, strict=True):
            yield choice.design(problem, sinr).design if found is None else found


def suits(problems: Sequence[RobustProblem], margins: Margins) -> bool:
    """Whether :func:`design_together` is made for these problems and margins."""
    first = problems[0]
    alike = all(
        p.channels.shape == first.channels.shape and p.phase_error_rad == first.phase_error_rad and p.limit == PER_NODE
        for p in problems
    )
    if not alike or not has_coordinates(margins, first.phase_error_rad):
        return False
    return not any(p.echoes.full or p.unheard_user is not None for p in problems)


def design_together(problems: Sequence[RobustProblem], margins: Margins, sinr: float) -> list[RobustDesign | None]:
    """Designs of problems that :func:`suits` accepts, and None for each that has to be designed by itself."""
    started = time.perf_counter()
    # A subcarrier without a design ends in numbers that are not finite. They prove nothing and are not taken.
    with np.errstate(all="ignore"):
        search = _Search(problems, margins, sinr)
        search.close()
    found = search.designs()
    seconds = (time.perf_counter() - started) / len(problems)
    return [each and replace(each, certificate=replace(each.certificate, seconds=seconds)) for each in found]


class _Search:
    """Best stationary points so far, and the simplices that enclose all designs, for each subcarrier."""

    def __init__(self, problems: Sequence[RobustProblem], margins: Margins, sinr: float) -> None:
        self.problems, self.margins, self.sinr = problems, margins, sinr
        self.tones = subcarriers_of(problems, margins, sinr)
        count = len(problems)
        self.value, self.bound = np.full(count, -np.inf), np.full(count, np.inf)
        self.enclosing: list[list[tuple[float, Float]]] = [[] for _ in problems]
        self.proofs: list[list[Float]] = [[] for _ in problems]
        found = subcarriers_newton.solve(self.tones)
        self.best = found.point
        self._take(np.arange(count), self.tones, found)
        for own, simplex in enumerate(boxes(self.tones)):
            evidence_of_box = box_evidence(self.evidence_size, self.tones.users, self.tones.nodes)[own]
            for number in range(count):
                self._enclose(number, simplex, number, evidence_of_box)

    def _enclose(self, number: int, simplex: Simplices, place: int, proof: Float) -> None:
        """Add the simplex at a place to those of a subcarrier."""
        self.enclosing[number].append((float(simplex.share[place]), simplex.reach[place]))
        self.proofs[number].append(proof)

    def _prove(self, index: Index, tones: Subcarriers, point: Point) -> Simplices:
        """Add the simplices of points, and return them."""
        simplex, proofs = simplices(tones, point), evidence(tones, point)
        self.evidence_size = proofs.shape[1]
        for place, number in enumerate(index.tolist()):
            if np.isfinite(simplex.share[place]) and np.isfinite(simplex.reach[place]).all():
                self._enclose(number, simplex, place, proofs[place])
        return simplex

    def _take(self, index: Index, tones: Subcarriers, found: Found) -> None:
        """Add the simplices of stationary points, and keep the points that are proven to be so and better than before."""
        simplex = self._prove(index, tones, found.point)
        amplitudes = tones.amplitudes(found.point)
        weights, _ = tones.slopes(amplitudes)
        stationary = simplex.furthest(weights) <= (1.0 + TANGENT_GAP) * np.sum(weights * amplitudes, axis=-1)
        value = tones.divergence(amplitudes)
        better = stationary & (found.stable > 0) & (value > self.value[index])
        self.value[index[better]] = value[better]
        self.best.put(index[better], found.point.take(better))

    def close(self) -> None:
        """Add simplices and designs until every bound is close or nothing changes."""
        index = np.flatnonzero(np.isfinite(self.value))
        known = np.full((2, len(self.problems)), np.nan)
        for _ in range(CUTS):
            corners = np.zeros((len(index), self.tones.nodes))
            for place, number in enumerate(index.tolist()):
                corners[place], self.bound[number] = common_vertex(self.problems[number], self.enclosing[number])
            state = np.stack([self.bound, self.value])[:, index]
            # The same vertex would give the same simplex.
            unclosed = (state[0] > state[1] * (1.0 + CLOSED)) & (state != known[:, index]).any(axis=0)
            known[:, index] = state
            index, corners = index[unclosed], corners[unclosed]
            if index.size == 0:
                break
            tones = self.tones.take(index)
            point = subcarriers_newton.furthest(tones, self.best.take(index), np.sqrt(corners))
            self._prove(index, tones, point)
            higher = np.flatnonzero(tones.divergence(tones.amplitudes(point)) > self.value[index] * (1.0 + CLIMB * CLOSED))
            if higher.size:
                some, rising = tones.take(higher), index[higher]
                before = self.value[rising]
                self._take(rising, some, subcarriers_newton.climb(some, point.take(higher)))
                # A better design is known to be there, but not what it is: cone programs may find it.
                lost = rising[self.value[rising] <= before]
                self.value[lost] = -np.inf
                index = index[~np.isin(index, lost)]

    def designs(self) -> list[RobustDesign | None]:
        """Designs whose bounds are close, and None elsewhere."""
        found: list[RobustDesign | None] = [None] * len(self.problems)
        users, sensing = self.tones.beams(self.best)
        for number in np.flatnonzero(self.bound <= self.value * (1.0 + CLOSED)).tolist():
            problem, beams = self.problems[number], Beams(users[number], sensing[number])
            certificate = judged(problem, self.margins, self.sinr, beams, float(self.bound[number]))
            if certificate.status != "ok" or certificate.sinr_violation > SHORT:
                continue
            reached = beams.beampowers(problem.steering)
            found[number] = RobustDesign(
                certificate, beams, reached, int(np.argmax(reached)),
                least_power=max(share for share, _ in self.enclosing[number]), proof=np.concatenate(self.proofs[number]),
                simplices=self.enclosing[number],
            )  # fmt: skip
        return found

"""A wish on one cube, evaluated: which realisations meet it, which count, and what follows for the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.asking.columns import Columns, feasible
from pipeline.asking.conflicts import Conflict, Realisations
from pipeline.asking.costs import kept_by_share
from pipeline.asking.evaluate import Evaluation, Truth
from pipeline.asking.expression import Compare, Number, Wish, names_in
from pipeline.asking.verdict import VERDICTS, Verdicts, judge, looks
from pipeline.experiment import STATUS_CODES

Mask = NDArray[np.bool_]
Float = NDArray[np.float64]
Int = NDArray[np.int64]


class Asked:
    """A wish on one cube: the arrays from which an answer is made, (points, realisations)."""

    def __init__(
        self, columns: Columns, wish: Wish, share: Fraction | None, minimise: Sequence[tuple[str, Number]],
        planned: int | None = None,
    ) -> None:  # fmt: skip
        self.columns, self.wish, self.share, self.minimise = columns, wish, share, minimise
        self.evaluation = Evaluation(columns)
        by_axes = Evaluation(columns, without_metrics=True)
        self.parts = [self.evaluation.truth(part) for part in wish.parts]
        self.status = columns.status.reshape(-1, columns.status.shape[-1])
        self.feasible, self.infeasible = feasible(self.status), self.status == STATUS_CODES["infeasible"]
        yes, no = (self.flat(self._joined([getattr(p, which) for p in self.parts], which)) for which in ("yes", "no"))
        self.yes = self.feasible & yes
        """Realisations that meet the wish."""
        self.counted = self.infeasible | self.yes | (self.feasible & no)
        """Realisations that are known to meet the wish or not."""
        self.impossible = np.stack([self._over_points(by_axes.truth(part).no) for part in wish.parts])
        self.own = self.status.shape[-1] if planned is None else planned
        """Realisations planned before any was looked at; the others were added because a verdict was open."""
        self.planned = (self.status != STATUS_CODES["not_planned"]).any(axis=-1)

    @staticmethod
    def _joined(masks: Sequence[Mask], which: str) -> Mask:
        found = masks[0]
        for mask in masks[1:]:
            found = found & mask if which == "yes" else found | mask
        return found

    def flat(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return broadcastable values as (points, realisations)."""
        return np.broadcast_to(values, self.columns.status.shape).reshape(self.status.shape)

    def _over_points(self, values: Mask) -> Mask:
        return np.broadcast_to(values, (*self.columns.shape, 1)).reshape(-1)

    def of(self, values: NDArray[Any], points: Int) -> NDArray[Any]:
        """Return the values of some points, (points, realisations), without an array of all points."""
        whole = np.broadcast_to(values, self.columns.status.shape)
        return whole[np.unravel_index(points, self.columns.shape)] if self.columns.shape else whole[np.newaxis]

    def kept_slack(self, part: int, points: Int) -> Float:
        """Return by how much the share of realisations meets a part, at some points."""
        comparison = self.wish.parts[part]
        assert isinstance(comparison, Compare)
        slack = self.of(self.evaluation.slack(comparison)[0], points)
        known = self.infeasible[points] | (self.feasible[points] & ~np.isnan(slack))
        return kept_by_share(slack, known, self.feasible[points], self.share)

    def place(self, point: int) -> dict[str, Any]:
        """Return the label of a point on each axis."""
        index = np.unravel_index(point, self.columns.shape) if self.columns.shape else ()
        labels = {axis: self.columns.labels(axis)[i] for axis, i in zip(self.columns.axes, index, strict=True)}
        return {axis: label.item() if isinstance(label, np.generic) else label for axis, label in labels.items()}

    def judged(self) -> tuple[Verdicts, Int, Int]:
        """Return the verdicts, and the realisations of each point that meet the wish and that are counted."""
        total = self.status.shape[-1]
        if self.share is None:
            code = np.select(
                [self.yes[:, 0], self.counted[:, 0]], [VERDICTS["met"], VERDICTS["not_met"]], VERDICTS["undecided"]
            )  # fmt: skip
            hits, counted = self.yes[:, 0].astype(np.int64), self.counted[:, 0].astype(np.int64)
            low, high = (code == VERDICTS["met"]).astype(float), (code != VERDICTS["not_met"]).astype(float)
            found = Verdicts(code.astype(np.uint8), low, high, 1.0 - low, np.zeros(len(code), dtype=np.int64))
        else:
            at = looks(self.own, float(self.share), total) if self.own < total else (total,)
            hits, counted, there = self._by_look(at)
            found = judge(hits, counted, there, float(self.share), at)
            hits, counted = np.count_nonzero(self.yes, axis=-1), np.count_nonzero(self.counted, axis=-1)
        found.code[self.impossible.any(axis=0)] = VERDICTS["not_met"]  # whatever is computed there
        found.code[~self.planned] = VERDICTS["not_planned"]
        return found, hits, counted

    def _by_look(self, at: Sequence[int]) -> tuple[Int, Int, Mask]:
        missing = np.isin(self.status, (STATUS_CODES["missing"], STATUS_CODES["not_planned"]))
        hits = [np.count_nonzero(self.yes[:, :n], axis=-1) for n in at]
        counted = [np.count_nonzero(self.counted[:, :n], axis=-1) for n in at]
        there = [np.ones(len(self.status), bool), *(~missing[:, :n].any(axis=-1) for n in at[1:])]
        return np.stack(hits, axis=1), np.stack(counted, axis=1), np.stack(there, axis=1)

    def threshold(self, comparison: Compare) -> tuple[float, bool] | None:
        """Return the number with which a part compares, and whether it stands on the right; None if both sides have names."""
        unit = self.evaluation.unit(comparison)
        for right, side in ((True, comparison.right), (False, comparison.left)):
            if not list(names_in(side)):
                return float(self.evaluation.number(side).under(unit)), right
        return None

    def missing(self, points: Int | None = None) -> Int:
        """Return how many of the study's own realisations are missing at some points, or at all."""
        here = self.status[:, : self.own] if points is None else self.status[points, : self.own]
        return np.count_nonzero(here == STATUS_CODES["missing"], axis=-1)

    def conflicts(self) -> tuple[Conflict, ...]:
        """Return the smallest sets of parts that conflict at the planned points."""
        here = np.flatnonzero(self.planned)
        slacks = [
            self.flat(self.evaluation.slack(part)[0])[here] if isinstance(part, Compare) and part.sign != "!=" else None
            for part in self.wish.parts
        ]
        parts = [Truth(self.flat(part.yes)[here], self.flat(part.no)[here]) for part in self.parts]
        found = Realisations(
            parts, self.impossible[:, here], slacks, self.feasible[here], self.infeasible[here], self.share
        ).conflicts()  # fmt: skip
        return tuple(
            Conflict(c.parts, tuple(replace(r, point=int(here[r.point])) if r.point >= 0 else r for r in c.relaxations))
            for c in found
        )

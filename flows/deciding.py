"""Decide points that are undecided: compute more of their realisations, in rounds, by the ordinary sweep.

A round takes each undecided point to its next look (see :mod:`pipeline.asking.verdict`). With a budget a round takes the
cheapest points that fit into a quarter of what is left, so that the money goes to the points that may become the answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flows.asking import Question, axis_number, point_of_cells
from flows.rounds import SweepRound
from pipeline.asking.answer import Answer
from pipeline.asking.costs import dominated_by_any
from pipeline.asking.verdict import VERDICTS, looks
from pipeline.budget import NO_LIMIT, Budget
from pipeline.decided import record_decided
from pipeline.experiment import STATUS_CODES
from pipeline.inputs import put_inputs
from pipeline.key_index import write_index
from pipeline.plan import Plan, refreshed

MOST_REALISATIONS = 100


def decide(
    question: Question, sweep: SweepRound, *, most: int = MOST_REALISATIONS, budget: Budget = NO_LIMIT,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Answer:  # fmt: skip
    """Answer a question, and compute realisations of undecided points until none is left, or a limit is reached.

    Parameters
    ----------
    sweep
        Computes the missing cells of a plan within a budget, and returns the worker seconds that this took.
    most
        Most realisations of a point.
    budget
        Worker time and end of all rounds together.
    tell
        Receives a sentence on each round.

    Raises
    ------
    UsageError
        If the study has no axis of realisations that can go on.
    """
    over, store = question.over, question.base.store
    question.labels(most)  # raises if there can be no more
    assert over is not None
    answer, left = question.answer(), budget
    while True:
        targets = _targets(answer, len(over.labels), most)
        if not targets.any():
            return answer
        if left.core_seconds <= 0 or left.over():
            tell("Stopped: the budget is spent.")
            return answer
        plan = question.longer(max(int(targets.max()), answer.realisations))
        chosen = _affordable(plan, answer, targets, over.name, left)
        asked = np.zeros_like(targets)
        asked[chosen] = targets[chosen]
        plan = replace(plan, within=_within(plan, asked, over.name))
        record_decided(store, question.base.study.name, ", ".join(over.paths), int(asked.max()))
        if len(plan.todo):
            longest = f"up to {int(asked.max())} realisations of a point"
            tell(f"{np.count_nonzero(targets):,} points to decide; {len(plan.todo):,} cells of {len(chosen):,}, {longest}")
            put_inputs(plan.cells, store)
            left = replace(left, core_seconds=left.core_seconds - sweep(plan, left))
            plan = refreshed(plan, store)
            write_index(plan.ledger)
        answer = question.answer()
        if len(plan.todo) or np.array_equal(_targets(answer, len(over.labels), most), targets):
            tell("Stopped: not all of these cells were computed.")
            return answer


def _targets(answer: Answer, planned: int, most: int) -> NDArray[np.int64]:
    """Return how many realisations each point needs for its next look; 0 if it is decided, or no look is left."""
    assert answer.share is not None
    status = answer.statuses
    planned_here = status != STATUS_CODES["not_planned"]
    ready = (status != STATUS_CODES["missing"]) & planned_here
    leading = np.where(ready.all(axis=-1), ready.shape[-1], np.argmin(ready, axis=-1))
    own = planned_here[:, :planned].all(axis=-1)  # a point of a grid with fewer realisations has no more
    at = np.array([*looks(planned, float(answer.share), max(most, planned)), 0])
    following = at[np.minimum(np.searchsorted(at[:-1], leading, side="right"), len(at) - 1)]
    open_ = (answer.points.verdicts.code == VERDICTS["undecided"]) & own
    return np.where(open_, following, 0)


def _within(plan: Plan, targets: NDArray[np.int64], over: str) -> NDArray[np.bool_]:
    within: NDArray[np.bool_] = plan.cells.index[:, axis_number(plan, over)] < targets[point_of_cells(plan, over)]
    return within


def _affordable(plan: Plan, answer: Answer, targets: NDArray[np.int64], over: str, left: Budget) -> NDArray[np.int64]:
    """Return the points of a round, the cheapest first; points that a point that is met dominates come last."""
    costs, met = answer.points.costs, answer.points.verdicts.code == VERDICTS["met"]
    order = answer.points.order[targets[answer.points.order] > 0]
    if answer.minimised:
        order = order[np.argsort(dominated_by_any(costs[order], costs[met]), kind="stable")]
    seconds = min(left.core_seconds, left.ends_at - time.monotonic())
    past = plan.ledger.cost_per_cell()
    if math.isinf(seconds) or not past:
        return order
    missing = replace(plan, within=_within(plan, targets, over)).todo
    cells = np.bincount(point_of_cells(plan, over)[missing], minlength=len(targets))[order]
    spent = np.cumsum(cells) * (sum(past.values()) / len(past))
    return order[: max(1, int(np.searchsorted(spent, seconds / 4, side="right")))]

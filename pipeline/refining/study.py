"""Refine a study: the loop of :mod:`pipeline.refining.refine` on the cells of a study and the ledger of a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from pipeline.experiment import Variable
from pipeline.inputs import put_inputs
from pipeline.key_index import write_index
from pipeline.plan import Plan, refreshed
from pipeline.refining.boxes import Float, Whole
from pipeline.refining.filled import Refinement
from pipeline.refining.of_study import StudyLattice
from pipeline.refining.refine import Goal, Round, refine
from pipeline.store import Store

Sweep = Callable[[Plan], object]
"""Computes the missing cells of a plan; cells that it leaves out end the refinement."""


def refine_study(
    lattice: StudyLattice, metric: Variable, goal: Goal, store: Store, sweep: Sweep,
    on_round: Callable[[Round], None] = lambda one: None,
) -> Refinement:  # fmt: skip
    """Refine the lattices of a study on one of its variables.

    Parameters
    ----------
    lattice
        The lattices, from :func:`pipeline.refining.study_lattice`.
    metric
        The variable, from :func:`pipeline.refining.metric_of`.
    goal
        Tolerance, budget and seed.
    store
        Its ledger holds the cells. Cells that are there already are not computed again.
    sweep
        Computes the missing cells of a plan. It is called once in a round, and only if cells are missing.
    on_round
        Is called after each round.

    Raises
    ------
    NoisyError
        If the tolerance is below three times the noise of the statistic.
    UsageError
        If the study refuses a point of the lattice.
    """
    plans: list[Plan] = []

    def compute(cells: Whole) -> None:
        plan = lattice.plan(cells, store)
        put_inputs(plan.cells, store)
        if len(plan.todo):
            sweep(plan)
            plan = refreshed(plan, store)
            write_index(plan.ledger)
        plans[:] = [plan]

    def read(cells: Whole) -> tuple[NDArray[Any], Float]:
        return lattice.outcomes(plans[0], cells, metric.name)

    refined = refine(lattice.shape, len(lattice.slices), lattice.draws, compute, read, goal, on_round)
    return Refinement(lattice, refined, metric)

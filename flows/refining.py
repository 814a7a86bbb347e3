"""Refine a study by the ordinary sweep: what a person asks for, checked, and the rounds that answer it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console

from flows.data_files import study_path
from flows.papers import check_paper
from flows.rounds import SweepRound
from pipeline.budget import Budget
from pipeline.errors import SurroundingsError, UsageError
from pipeline.experiment import Variable
from pipeline.layout import refined_study
from pipeline.plan import Plan
from pipeline.refining import (
    Goal,
    NoisyError,
    Refinement,
    Round,
    Step,
    StudyLattice,
    Tolerance,
    derived_name,
    metric_of,
    parse_step,
    refine_study,
    study_lattice,
)
from pipeline.store import Store
from pipeline.study import Study, load_study


@dataclass(frozen=True)
class Wish:
    """What a person asks of a refinement, as typed.

    Parameters
    ----------
    study
        Name or file of the study.
    metric
        Variable or column that is refined.
    tolerance
        ``2%``, or a number in the unit of the variable, such as ``0.5`` or ``0.5 dB``.
    axes
        Axes to refine; none: all numeric axes with points between their ends.
    steps
        ``1/64`` or ``NAME=1/64`` or ``NAME=0.5``.
    budget
        Most cells that may be asked for, stored cells included.
    overrides
        Changes of the study, as ``--set`` takes them.
    """

    study: str
    metric: str
    tolerance: str
    axes: Sequence[str] = ()
    steps: Sequence[str] = ()
    budget: int | None = None
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Asked:
    """A wish that was checked: lattices, variable and goal."""

    lattice: StudyLattice
    metric: Variable
    goal: Goal

    @property
    def derived(self) -> str:
        """Return the name of the derived study."""
        return derived_name(self.lattice.base.study.name)


def asked_for(wish: Wish) -> Asked:
    """Check a wish.

    Raises
    ------
    UsageError
        If a word of it cannot be used; the error names the option and the near miss.
    """
    file = study_path(wish.study)

    def load(more: Sequence[str]) -> Study:
        return check_paper(load_study(file, overrides=[*wish.overrides, *more]))

    metric = metric_of(load(()), wish.metric)
    lattice = study_lattice(load, wish.axes, _steps(wish.steps))
    return Asked(lattice, metric, Goal(tolerance_of(wish.tolerance, metric), wish.budget))


def tolerance_of(text: str, metric: Variable) -> Tolerance:
    """Return the tolerance that a text means: a share in per cent, or a number in the unit of the variable.

    Raises
    ------
    UsageError
        If the text is neither, is not above zero, or has another unit than the variable.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(\S*)\s*", text)
    accepted = f"a share such as 2%, or a number above zero in the unit of {metric.name} ({metric.unit})"
    try:
        size, unit = float(match[1]) if match else 0.0, match[2] if match else ""
    except ValueError:
        size, unit = 0.0, ""
    if not size > 0.0:
        raise UsageError(f"--tolerance {text}: expected {accepted}")
    if unit == "%":
        return Tolerance(size / 100.0)
    if unit not in ("", metric.unit):
        raise UsageError(f"--tolerance {text}: {metric.name} is in {metric.unit}, not in '{unit}'; expected {accepted}")
    return Tolerance(size, relative=False)


def _steps(texts: Sequence[str]) -> dict[str, Step]:
    found: dict[str, Step] = {}
    for text in texts:
        name, equals, step = text.rpartition("=")
        if equals and not name.strip():
            raise UsageError(f"--step {text}: expected 1/64, NAME=1/64 or NAME=0.5")
        if name.strip() in found:
            raise UsageError(f"--step {text}: this step is given twice")
        try:
            found[name.strip()] = parse_step(step)
        except ValueError as error:
            raise UsageError(f"--step {text}: {error}") from error
    return found


def refined(asked: Asked, store: Store, sweep: SweepRound, budget: Budget, console: Console) -> Refinement:
    """Refine a study, and publish the filled lattice and the file of the derived study.

    Parameters
    ----------
    sweep
        Computes the missing cells of a plan, as :mod:`flows.rounds` gives it.
    budget
        Worker time and end of all rounds together.

    Raises
    ------
    UsageError
        If the tolerance is below three times the noise, or a point of the lattice or the cluster cannot be used.
    SurroundingsError
        If disk, network or scheduler failed, or the limits left no time for a single cell.
    """
    left = budget

    def one(plan: Plan) -> None:
        nonlocal left
        left = replace(left, core_seconds=left.core_seconds - sweep(plan, left))

    try:
        refinement = refine_study(asked.lattice, asked.metric, asked.goal, store, one, partial(_tell, console))
    except NoisyError as error:
        raise UsageError(_too_noisy(asked, error)) from error
    if not refinement.refined.cells:
        raise SurroundingsError("no cell was computed within the limits: give more worker time, or a later deadline")
    refinement.publish(store)
    return refinement


def _tell(console: Console, one: Round) -> None:
    what = f"{one.checks} check points, {one.disagreed} disagree" if one.checks else f"{one.cells} cells for {one.boxes} boxes"
    console.print(f"Round {one.number}: {what}", highlight=False)


def _too_noisy(asked: Asked, error: NoisyError) -> str:
    size, lattice = asked.goal.tolerance, asked.lattice
    unit = "" if asked.metric.unit == "1" else f" {asked.metric.unit}"

    def told(value: float) -> str:
        return f"{100.0 * value:.3g} %" if size.relative else f"{value:.3g}{unit}"

    if lattice.over is None:
        way_out = f"average over {error.needed} realisations (surfaces.over)"
    else:
        axis = lattice.base.axes[lattice.over].name
        way_out = f"it takes {error.needed} values of '{axis}' in place of {error.draws}, such as --set axes.{axis}=..."
    return (
        f"--tolerance {told(size.size)}: the noise of {asked.metric.name} is {told(error.noise)}, and a tolerance is at least "
        f"three times that: {told(3.0 * error.noise)}. For this tolerance {way_out}"
    )


def derived_file(asked: Asked, store: Store) -> str:
    """Return the path of the file of the derived study."""
    return str(store.path(refined_study(asked.derived)))

"""Refine a study on a cluster: all rounds share one open cluster, and the derived study is published as any other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from flows import lifecycle
from flows.data_files import study_path
from flows.papers import check_paper
from flows.profiles import choose_profile
from flows.progress import Display
from flows.terms import Terms
from pipeline.errors import UsageError
from pipeline.experiment import Variable
from pipeline.lock import study_lock
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

if TYPE_CHECKING:
    from flows.connected import Cluster
    from flows.worker_ends import WorkerEnds


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


def refine_on_cluster(asked: Asked, store: Store, terms: Terms, console: Console) -> Refinement:
    """Refine a study, and publish the filled lattice and the file of the derived study.

    Raises
    ------
    UsageError
        If the tolerance is below three times the noise, or a point of the lattice or the cluster cannot be used.
    SurroundingsError
        If disk, network or scheduler failed, or another refinement of the study holds the lock.
    """
    choose_profile(terms.cluster)  # a wrong name raises before anything starts
    with study_lock(store, asked.derived, force=terms.force) as release, lifecycle.at_the_end(release):
        lifecycle.end_on_signals(_FAREWELL)
        try:
            with _sweeps(store, terms, console) as sweep:
                told = partial(_tell, console)
                refinement = refine_study(asked.lattice, asked.metric, asked.goal, store, sweep, told)
        except NoisyError as error:
            raise UsageError(_too_noisy(asked, error)) from error
        finally:
            lifecycle.end_children()
        refinement.publish(store)
    return refinement


_FAREWELL = "Stopping. Finished cells are kept; the same command goes on where it stopped."


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


@contextmanager
def _sweeps(store: Store, terms: Terms, console: Console) -> Iterator[Callable[[Plan], None]]:
    """Give a function that computes the missing cells of a plan; its first call opens the cluster for all later ones."""
    opened: list[tuple[Cluster, WorkerEnds]] = []
    spent = 0.0

    def sweep(plan: Plan) -> None:
        nonlocal spent
        if not opened:
            opened.append(_open(terms, console, stack))
        spent += _sweep(plan, store, *opened[0], terms, spent, console)

    with ExitStack() as stack:
        yield sweep


def _open(terms: Terms, console: Console, stack: ExitStack) -> tuple[Cluster, WorkerEnds]:
    console.print("Starting Dask ...", highlight=False)
    from flows.cluster import connect
    from flows.worker_ends import WorkerEnds

    cluster = stack.enter_context(connect(terms.cluster, terms.workers, insecure=terms.insecure))
    lifecycle.end_on_signals(_FAREWELL)  # a library of a cluster may have set handlers of its own
    ends = stack.enter_context(WorkerEnds(cluster.client))
    console.print(f"Dask dashboard: {cluster.dashboard}", highlight=False, soft_wrap=True)
    return cluster, ends


def _sweep(
    plan: Plan, store: Store, cluster: Cluster, ends: WorkerEnds, terms: Terms, spent: float, console: Console
) -> float:  # fmt: skip
    """Compute the missing cells of a plan; return the worker seconds that this took."""
    from pipeline.sweep import Sweep

    resources = cluster.granted(plan.study.experiment)

    def elsewhere(hosts: frozenset[str]) -> Executor:
        return cluster.executor(resources, hosts if cluster.retry.other_host else frozenset())

    display = Display(console, int(plan.complete.sum()), len(plan.todo))
    budget = replace(terms.budget, core_seconds=terms.budget.core_seconds - spent)
    try:
        progress = Sweep(
            plan, store, cluster.executor(resources), lambda: cluster.workers(resources), display.show, None, ends.end_of,
            cluster.retry.attempts, elsewhere, budget,
        ).run()  # fmt: skip
    finally:
        display.close()
    if progress.stopped:
        console.print(f"Stopped: {progress.stopped}.", highlight=False, soft_wrap=True)
    return progress.core_seconds


def publish_derived(asked: Asked, store: Store, terms: Terms, console: Console) -> str:
    """Publish cube, surfaces and report of the derived study from its file; return the path of the report."""
    from flows.execute import execute
    from flows.run import Run
    from pipeline.layout import refined_study

    run = Run(str(store.path(refined_study(asked.derived))), store.location())
    if run.stale():
        execute(run, terms, console)
    return str(run.report_file)

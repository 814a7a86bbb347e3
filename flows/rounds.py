"""Sweeps of several rounds on one open cluster: the first round opens it, and it stays open for all later ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from flows import lifecycle
from flows.profiles import choose_profile
from flows.progress import Display
from flows.terms import Terms
from pipeline.budget import Budget
from pipeline.lock import study_lock
from pipeline.plan import Plan
from pipeline.store import Store

if TYPE_CHECKING:
    from flows.connected import Cluster
    from flows.worker_ends import WorkerEnds

_FAREWELL = "Stopping. Finished cells are kept; the same command goes on where it stopped."

SweepRound = Callable[[Plan, Budget], float]
"""Computes the missing cells of a plan within a budget; returns the worker seconds that this took."""


@contextmanager
def rounds(store: Store, study: str, terms: Terms, console: Console) -> Iterator[SweepRound]:
    """Give a function that sweeps the missing cells of a plan, to a command: a signal ends all processes in order.

    While the context is open, the study is locked.

    Raises
    ------
    UsageError
        If the cluster does not exist, or no cluster answers at the address.
    SurroundingsError
        If disk, network or scheduler failed, or another run holds the study's lock.
    """
    choose_profile(terms.cluster)  # a wrong name raises before anything starts

    def heed_signals() -> None:
        lifecycle.end_on_signals(_FAREWELL)

    with study_lock(store, study, force=terms.force) as release, lifecycle.at_the_end(release):
        heed_signals()
        try:
            # A library of a cluster may set handlers of its own when the cluster opens.
            with sweeps(store, terms, console, heed_signals) as sweep:
                yield sweep
        finally:
            lifecycle.end_children()


@contextmanager
def sweeps(
    store: Store, terms: Terms, console: Console, when_open: Callable[[], None] = lambda: None
) -> Iterator[SweepRound]:  # fmt: skip
    """Give a function that sweeps the missing cells of a plan; its first call opens the cluster for all later ones.

    Nothing here touches signals or locks.

    Raises
    ------
    UsageError
        If the cluster does not exist, or no cluster answers at the address.
    SurroundingsError
        If disk, network or scheduler failed.
    """
    choose_profile(terms.cluster)
    opened: list[tuple[Cluster, WorkerEnds]] = []

    def sweep(plan: Plan, budget: Budget) -> float:
        if not opened:
            opened.append(_open(terms, console, stack))
            when_open()
        return _sweep(plan, store, *opened[0], budget, console)

    with ExitStack() as stack:
        yield sweep


def _open(terms: Terms, console: Console, stack: ExitStack) -> tuple[Cluster, WorkerEnds]:
    console.print("Starting Dask ...", highlight=False)
    from flows.cluster import connect
    from flows.worker_ends import WorkerEnds

    cluster = stack.enter_context(connect(terms.cluster, terms.workers, insecure=terms.insecure))
    ends = stack.enter_context(WorkerEnds(cluster.client))
    console.print(f"Dask dashboard: {cluster.dashboard}", highlight=False, soft_wrap=True)
    return cluster, ends


def _sweep(plan: Plan, store: Store, cluster: Cluster, ends: WorkerEnds, budget: Budget, console: Console) -> float:
    from pipeline.sweep import Sweep

    resources = cluster.granted(plan.study.experiment)

    def elsewhere(hosts: frozenset[str]) -> Executor:
        return cluster.executor(resources, hosts if cluster.retry.other_host else frozenset())

    display = Display(console, int(plan.complete.sum()), len(plan.todo))
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

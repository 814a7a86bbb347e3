"""Compute the missing cells of a study on Dask, and show people how far the work is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager

from rich.console import Console

from flows.connected import Cluster
from flows.progress import Artifact, Display
from flows.run import Run
from flows.terms import Terms
from flows.worker_ends import WorkerEnds
from pipeline.sweep import Progress, Sweep

Connect = Callable[[], AbstractContextManager[Cluster]]


def compute_missing(run: Run, terms: Terms, connect: Connect, console: Console, when_gone: Callable[[], None]) -> int:
    """Compute the missing cells; return the number of cells done.

    Parameters
    ----------
    connect
        Opens the cluster, if there are cells to compute.
    when_gone
        Is called if Prefect's server takes no more messages; the work goes on.
    """
    todo = len(run.plan.todo)
    if not todo:
        return 0
    with connect() as cluster, WorkerEnds(cluster.client) as ends:
        console.print(f"{todo} cells to compute on {cluster.description}", highlight=False)
        console.print(f"Dask dashboard: {cluster.dashboard}", highlight=False, soft_wrap=True)
        resources = cluster.granted(run.study.experiment)
        display, artifact = Display(console, int(run.plan.complete.sum()), todo), Artifact(run.study.name, when_gone)

        def on_progress(progress: Progress) -> None:
            display.show(progress)
            artifact.show(progress)

        def elsewhere(hosts: frozenset[str]) -> Executor:
            return cluster.executor(resources, hosts if cluster.retry.other_host else frozenset())

        try:
            progress = Sweep(
                run.plan, run.store, cluster.executor(resources), lambda: cluster.workers(resources), on_progress,
                run.publish_partial, ends.end_of, cluster.retry.attempts, elsewhere, terms.budget,
            ).run()  # fmt: skip
        finally:
            display.close()
            artifact.close()
    if progress.stopped:
        left = progress.total - progress.done
        words = f"Stopped: {progress.stopped}. {left} cells are left; run again to go on."
        console.print(words, highlight=False, soft_wrap=True)
    return progress.done

"""The Prefect flow of a study: one flow per sweep, a handful of tasks, never one per cell."""

from __future__ import annotations

from collections.abc import Callable

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from rich.console import Console

from flows.cluster import connect
from flows.progress import Artifact, Display
from flows.run import Run
from flows.worker_ends import WorkerEnds
from pipeline.sweep import Progress, Sweep


def run_study(run: Run, address: str | None, workers: int | None, console: Console, guard: Callable[[], None]) -> None:
    """Run a study's flow: plan, sweep, publish, then downstream aggregate and report.

    The run is held by closures: Prefect sees names and numbers, so nothing large is serialised for its records. ``guard``
    sets the signal handlers again inside the flow, since Prefect puts its own in their place for as long as a flow runs.
    """

    @task(name="plan", cache_policy=NO_CACHE)
    def plan() -> int:
        run.begin()
        return len(run.plan.todo)

    @task(name="sweep", cache_policy=NO_CACHE)
    def sweep() -> int:
        return _sweep(run, address, workers, console)

    @task(name="publish", cache_policy=NO_CACHE)
    def publish() -> str:
        return run.publish()

    @task(name="aggregate", cache_policy=NO_CACHE)
    def aggregate() -> str:
        return run.aggregate()

    @task(name="report", cache_policy=NO_CACHE)
    def report() -> str:
        return str(run.report())

    @flow(name="disac-aggregate")
    def downstream(study: str) -> None:
        aggregate()
        report()

    @flow(name="disac-study")
    def study_flow(study: str) -> None:
        guard()
        if plan():
            sweep()
        publish()
        downstream(study)
        words = f"{run.study.title}: {len(run.plan.keys)} cells, {run.plan.by_status()}; report {run.report_file}"
        create_markdown_artifact(words, key=f"study-{study}")

    study_flow(run.study.name)


def _sweep(run: Run, address: str | None, workers: int | None, console: Console) -> int:
    """Compute what is missing on Dask; returns the number of cells done."""
    todo = len(run.plan.todo)
    with connect(address, workers) as cluster, WorkerEnds(cluster.client) as ends:
        console.print(f"{todo} cells to compute on {cluster.description}", highlight=False)
        console.print(f"Dask dashboard: {cluster.dashboard}", highlight=False, soft_wrap=True)
        display, artifact = Display(console, int(run.plan.complete.sum()), todo), Artifact(run.study.name)

        def on_progress(progress: Progress) -> None:
            display.show(progress)
            artifact.show(progress)

        try:
            progress = Sweep(
                run.plan, run.store, cluster.client.get_executor(pure=False, retries=0), cluster.workers, on_progress,
                run.publish_partial, ends.end_of,
            ).run()  # fmt: skip
        finally:
            display.close()
    return progress.done

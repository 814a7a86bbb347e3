"""The Prefect flow of a study: one flow per sweep, a handful of tasks, never one per cell."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote
from rich.console import Console

from flows.cluster import connect, killed_worker
from flows.progress import Artifact, Display
from flows.run import Run
from pipeline.sweep import Sweep


@task(name="plan", cache_policy=NO_CACHE)
def plan_task(run: quote[Run]) -> int:
    """Store inputs and the record of the plan; returns the number of cells to compute."""
    current = _of(run)
    current.begin()
    return len(current.plan.todo)


@task(name="sweep", cache_policy=NO_CACHE)
def sweep_task(run: quote[Run], address: str | None, workers: int | None, console: quote[Console]) -> int:
    """Compute what is missing on Dask; returns the number of cells done."""
    current, screen = _of(run), console.unquote()
    todo = len(current.plan.todo)
    with connect(address, workers) as cluster:
        screen.print(
            f"{todo} cells to compute on {cluster.description}; dashboard {cluster.dashboard}", highlight=False
        )
        display, artifact = Display(screen, len(current.plan.keys) - todo, todo), Artifact(current.study.name)

        def on_progress(progress):  # type: ignore[no-untyped-def]
            display.show(progress)
            artifact.show(progress)

        try:
            progress = Sweep(
                current.plan, current.store, cluster.client.get_executor(pure=False, retries=0), cluster.workers,
                on_progress, current.publish_partial, killed_worker,
            ).run()  # fmt: skip
        finally:
            display.close()
    return progress.done


@task(name="publish", cache_policy=NO_CACHE)
def publish_task(run: quote[Run]) -> str:
    """Publish the cube."""
    return _of(run).publish()


@task(name="aggregate", cache_policy=NO_CACHE)
def aggregate_task(run: quote[Run]) -> str:
    """Publish surfaces and claims."""
    return _of(run).aggregate()


@task(name="report", cache_policy=NO_CACHE)
def report_task(run: quote[Run]) -> Path:
    """Write the report."""
    return _of(run).report()


@flow(name="disac-aggregate", validate_parameters=False)
def aggregate_flow(run: quote[Run]) -> None:
    """Downstream of the cube: surfaces, claims and report, each only if it is not up to date."""
    aggregate_task(run)
    report_task(run)


@flow(name="disac-study", validate_parameters=False)
def study_flow(run: quote[Run], address: str | None, workers: int | None, console: quote[Console]) -> None:
    """Plan, sweep, publish, aggregate, report."""
    if plan_task(run):
        sweep_task(run, address, workers, console)
    publish_task(run)
    aggregate_flow(run)
    current = _of(run)
    create_markdown_artifact(
        f"{current.study.title}: {len(current.plan.keys)} cells, {current.plan.by_status()}; report {current.report_file}",
        key=f"study-{current.study.name.lower().replace('_', '-')}",
    )


def _of(run: quote[Run]) -> Run:
    return run.unquote() if isinstance(run, quote) else run

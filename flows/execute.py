"""Run a study's flow in this process: Prefect's server, the flow, and an orderly end of every process started."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from flows import lifecycle, prefect_server
from flows.run import Run
from pipeline.lock import study_lock


def execute(run: Run, cluster: str | None, workers: int | None, console: Console, *, force: bool = False) -> None:
    """Run the study's flow to its end; ``run`` then holds the plan as the ledger stands.

    Raises
    ------
    UsageError
        If no cluster answers at the address.
    SurroundingsError
        If disk, network or scheduler failed, or another run holds the study's lock; running again goes on.
    """

    def guard() -> None:
        again = f"run `disac run {run.study.name}` again to go on where it stopped."
        lifecycle.end_on_signals(f"Stopping. Finished cells are kept; {again}")

    with study_lock(run.store, run.study.name, force=force):
        _execute(run, cluster, workers, console, guard)
    run.refresh()


def _execute(run: Run, cluster: str | None, workers: int | None, console: Console, guard: Callable[[], None]) -> None:
    guard()
    for pid in prefect_server.end_orphans():
        console.print(f"Ended the Prefect server {pid} that a killed run had left behind.", highlight=False)
    try:
        console.print("Starting Prefect ...", highlight=False)
        prefect_server.start()
        from flows.study_flow import run_study

        run_study(run, cluster, workers, console, guard)
    finally:
        lifecycle.end_children()
        prefect_server.forget()

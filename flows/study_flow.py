"""The Prefect flow of a study: a flow per sweep with a few tasks, never a task per cell.

Prefect's server shows and records a run. A run does not need the server: if the server ends, the run does the remaining steps
without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from httpx import HTTPError
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from rich.console import Console

from flows.beside import Beside
from flows.beside_prefect import Relay
from flows.connected import Cluster
from flows.prefect_server import RunServer, answers
from flows.progress import Artifact, Display
from flows.run import Run
from flows.steps import Steps
from flows.terms import Terms
from flows.worker_ends import WorkerEnds
from pipeline.sweep import Progress, Sweep

Connect = Callable[[], AbstractContextManager[Cluster]]


_LOOK_EVERY_S, _PATIENCE_S = 2.0, 5.0


class _Absence:
    """A watch on Prefect's server: it looks every two seconds and reports once that the server is gone.

    If the run started the server and the server hangs, the watch ends it. The run never waits for a server: see
    :mod:`flows.beside_prefect`.
    """

    def __init__(self, console: Console, server: RunServer) -> None:
        self._console, self._server, self._lock = console, server, threading.Lock()
        self._ended, self.noticed = threading.Event(), False

    def __enter__(self) -> _Absence:
        threading.Thread(target=self._watch, name="prefect-watch", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            if not answers(self._server.url, _PATIENCE_S):
                self.notice()
                return

    def notice(self) -> None:
        """Report that the server is gone, unless that was reported or the run has ended."""
        with self._lock:
            if not self.noticed and not self._ended.is_set():
                self.noticed = True
                self._console.print("Prefect's server does not answer: the run goes on without it.", highlight=False)
                self._server.end()


def run_study(
    run: Run, terms: Terms, connect: Connect, beside: Beside, server: RunServer, console: Console
) -> None:  # fmt: skip
    """Run a study's flow: plan, sweep, publish, aggregate and report.

    Parameters
    ----------
    connect
        Opens the cluster, if there are cells to compute.
    beside
        Process that makes surfaces and report.
    server
        Prefect's server. It answers when this function is called, and may end at any moment.
    """
    with _Absence(console, server) as absence:

        def sweep() -> int:
            return _sweep(run, terms, connect, console, absence) if len(run.plan.todo) else 0

        steps = Steps(
            {
                "plan": run.begin,
                "sweep": sweep,
                "publish": run.publish,
                "aggregate": lambda: beside.make("aggregate", run.derivation),
                "report": lambda: beside.make("report", run.derivation),
            }
        )
        try:
            Relay(steps, partial(_flow, run)).run(lambda: absence.noticed)
        except Exception as error:
            # The error of a step is an error of the run. Every other error is Prefect's: while its server is gone, of any kind.
            if steps.error is not None:
                raise steps.error from None
            if not isinstance(error, HTTPError | PrefectException) and answers(server.url, _PATIENCE_S):
                raise
            absence.notice()
        if steps.error is not None:
            raise steps.error
        steps.rest()


def _flow(run: Run, do: Callable[[str], Any]) -> None:
    """Run the steps as Prefect's tasks. Prefect gets only names and texts, so its records hold no large data."""

    def as_task(name: str) -> Callable[[], str]:
        @task(name=name, cache_policy=NO_CACHE)
        def carried_out() -> str:
            return str(do(name))

        return carried_out

    @flow(name="disac-aggregate")
    def downstream(study: str) -> None:
        as_task("aggregate")()
        as_task("report")()

    @flow(name="disac-study")
    def study_flow(study: str) -> None:
        for name in ("plan", "sweep", "publish"):
            as_task(name)()
        downstream(study)
        words = f"{run.study.title}: {len(run.plan.keys)} cells, {run.plan.by_status()}; report {run.report_file}"
        create_markdown_artifact(words, key=f"study-{study}")

    # A flow that ends waits up to a second for its heartbeat, and no process here uses the heartbeat.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        study_flow(run.study.name)


def _sweep(run: Run, terms: Terms, connect: Connect, console: Console, absence: _Absence) -> int:
    """Compute the missing cells on Dask; return the number of cells done."""
    todo = len(run.plan.todo)
    with connect() as cluster, WorkerEnds(cluster.client) as ends:
        console.print(f"{todo} cells to compute on {cluster.description}", highlight=False)
        console.print(f"Dask dashboard: {cluster.dashboard}", highlight=False, soft_wrap=True)
        resources = cluster.granted(run.study.experiment)
        display, artifact = Display(console, int(run.plan.complete.sum()), todo), Artifact(run.study.name, absence.notice)

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

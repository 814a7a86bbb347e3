"""Carry out work under Prefect: its flow runs in a thread of its own, and the steps of the work in the calling thread.

Prefect's server shows and records the work. The work does not need the server: if the server ends, the remaining steps are
done without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from httpx import HTTPError
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from rich.console import Console

from flows import deployable
from flows.beside import Beside
from flows.beside_prefect import Relay
from flows.prefect_server import RunServer, answers
from flows.run import Run
from flows.steps import Steps, Work
from flows.sweeping import Connect, compute_missing
from flows.terms import Terms

_LOOK_EVERY_S, _PATIENCE_S = 2.0, 5.0


class Absence:
    """A watch on Prefect's server: it looks every two seconds and reports once that the server is gone.

    If the run started the server and the server hangs, the watch ends it. The run never waits for a server: see
    :mod:`flows.beside_prefect`.
    """

    def __init__(self, console: Console, server: RunServer) -> None:
        self._console, self.server, self._lock = console, server, threading.Lock()
        self._ended, self.noticed = threading.Event(), False

    def __enter__(self) -> Absence:
        threading.Thread(target=self._watch, name="prefect-watch", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            if not answers(self.server.url, _PATIENCE_S):
                self.notice()
                return

    def notice(self) -> None:
        """Report that the server is gone, unless that was reported or the run has ended."""
        with self._lock:
            if not self.noticed and not self._ended.is_set():
                self.noticed = True
                self._console.print("Prefect's server does not answer: the run goes on without it.", highlight=False)
                self.server.end()


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
    with Absence(console, server) as absence:
        steps = Steps(
            {
                "plan": run.begin,
                "sweep": lambda: compute_missing(run, terms, connect, console, absence.notice),
                "publish": run.publish,
                "aggregate": lambda: beside.make("aggregate", run.derivation),
                "report": lambda: beside.make("report", run.report_derivation),
            }
        )
        carry_out(steps, partial(_flow, run), absence)


def run_steps(
    name: str, work: Work, steps: Steps, parameters: Mapping[str, Any], server: RunServer, console: Console
) -> None:  # fmt: skip
    """Run the flow ``name`` of :mod:`flows.deployable` with the given steps; see :class:`flows.execute.FlowCall`."""
    with Absence(console, server) as absence:
        flow = getattr(deployable, name)
        carry_out(steps, lambda do: call_flow(flow, replace(work, do=do), **parameters), absence)


def carry_out(steps: Steps, flow: Callable[[Callable[[str], Any]], None], absence: Absence) -> None:
    """Do the steps as a flow's tasks, and without Prefect those that its flow does not come to.

    Parameters
    ----------
    steps
        The steps of the work. They are done in the calling thread.
    flow
        Calls the flow; it receives a function that does a step by its name.
    absence
        Watch on the server that records the flow.

    Raises
    ------
    Exception
        The error that a step raised, or an error of Prefect while its server answers.
    """
    try:
        Relay(steps, flow).run(lambda: absence.noticed)
    except Exception as error:
        # The error of a step is an error of the run. Every other error is Prefect's: while its server is gone, of any kind.
        if steps.error is not None:
            raise steps.error from None
        if not isinstance(error, HTTPError | PrefectException) and answers(absence.server.url, _PATIENCE_S):
            raise
        absence.notice()
    if steps.error is not None:
        raise steps.error
    steps.rest()


def call_flow(flow: Callable[..., Any], work: Work, **parameters: Any) -> None:
    """Call a flow of :mod:`flows.deployable`, and let it take its steps from ``work``.

    Prefect gets only names and texts, so its records hold no large data.
    """
    # A flow that ends waits up to a second for its heartbeat, and no process here uses the heartbeat.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), deployable.steps_from(work):
        flow(**parameters)


def _flow(run: Run, do: Callable[[str], Any]) -> None:
    """Call the flow of a study."""
    call_flow(deployable.study, Work(run.study.name, do, run.words), **run.parameters)

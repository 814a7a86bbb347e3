"""Run a study's flow in this process, with Prefect's server and the cluster. Every process that was started ends in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flows import lifecycle, prefect_server
from flows.beside import Beside
from flows.profiles import Profile, choose_profile
from flows.run import Run
from flows.settings import make_prefect_home
from flows.steps import Steps, Work
from flows.terms import Terms
from pipeline.lock import study_lock

if TYPE_CHECKING:
    from flows.connected import Cluster


def execute(run: Run, terms: Terms, console: Console) -> None:
    """Run the study's flow to its end; ``run`` then holds the plan for the ledger as it stands.

    Raises
    ------
    UsageError
        If the cluster does not exist, or no cluster answers at the address.
    SurroundingsError
        If disk, network or scheduler failed, or another run holds the study's lock; the next run continues the work.
    """
    _ready(choose_profile(terms.cluster))  # a wrong name raises before anything starts
    again = f"run `disac run {run.study.name}` again to go on where it stopped."
    with study_lock(run.store, run.study.name, force=terms.force) as release, lifecycle.at_the_end(release):
        lifecycle.end_on_signals(f"Stopping. Finished cells are kept; {again}")
        try:
            _execute(run, terms, console)
        finally:
            lifecycle.end_children()
    run.refresh()


@dataclass(frozen=True)
class FlowCall:
    """A call of a flow of :mod:`flows.deployable`, whose steps are done by the thread that executes it.

    Parameters
    ----------
    name
        Name of the flow in that module.
    work, steps
        The work, and its steps.
    parameters
        Parameters of the flow, for the record.
    """

    name: str
    work: Work
    steps: Steps
    parameters: Mapping[str, Any]


def execute_flows(calls: Sequence[FlowCall], cluster: str | None, console: Console) -> None:
    """Do the steps of flows, one after the other, with Prefect's server, which records them.

    Parameters
    ----------
    calls
        The flows; without any, nothing starts.
    cluster
        Profile or address that the steps use; a wrong name raises before anything starts.

    Raises
    ------
    UsageError, SurroundingsError
        As the steps raise them.
    """
    _ready(choose_profile(cluster))
    if not calls:
        return
    lifecycle.end_on_signals("Stopping. What is published stays; the same command goes on.")
    try:
        make_prefect_home()
        with prefect_server.run_server() as server:
            console.print("Starting Prefect ...", highlight=False)
            from flows.study_flow import run_steps

            server.wait()
            for call in calls:
                run_steps(call.name, call.work, call.steps, call.parameters, server, console)
    finally:
        lifecycle.end_children()


def _ready(profile: Profile) -> None:
    """Import what must be imported before our signal handlers are set."""
    if profile.kind == "slurm":
        # The library sets a signal handler when it is imported, which only the main thread may do. Ours is set afterwards.
        with suppress(ImportError):  # the part that makes the cluster reports a missing library
            import dask_jobqueue  # noqa: F401


def _execute(run: Run, terms: Terms, console: Console) -> None:
    make_prefect_home()
    # Server and cluster start at the same time, and the libraries are imported meanwhile.
    with prefect_server.run_server() as server, Beside() as beside, _cluster_soon(run, terms) as connect:
        console.print(f"Starting Prefect{' and Dask' if len(run.plan.todo) else ''} ...", highlight=False)
        from flows.study_flow import run_study

        server.wait()
        run_study(run, terms, connect, beside, server, console)


@contextmanager
def _cluster_soon(run: Run, terms: Terms) -> Iterator[Callable[[], AbstractContextManager[Cluster]]]:
    """Begin to start the cluster, if there are cells to compute.

    The context gives a function that opens a context: it waits for the cluster and closes it after use.
    """

    def begin() -> Cluster:
        from flows.cluster import connect

        return stack.enter_context(connect(terms.cluster, terms.workers, insecure=terms.insecure))

    with ExitStack() as stack, ThreadPoolExecutor(1) as thread:
        begun = thread.submit(begin) if len(run.plan.todo) else None

        @contextmanager
        def connected() -> Iterator[Cluster]:
            assert begun is not None
            try:
                yield begun.result()
            finally:
                thread.submit(stack.close)  # the publication need not wait until the cluster is closed

        yield connected

"""Publish what is not up to date of the stored cells: cube, surfaces, report. No cell is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from flows.profiles import choose_profile
from flows.run import Run
from pipeline.errors import UsageError


def fresh_surfaces(run: Run, cluster: str | None = None, workers: int | None = None, *, insecure: bool = False) -> str:
    """Publish cube and surfaces if they are not up to date; return the key of the surfaces.

    Parameters
    ----------
    cluster, workers, insecure
        As in ``disac run``. If one of the first two is given, workers of that cluster compute the blocks of a large cube, else
        this process does. Surfaces of small cubes are computed in this process.

    Raises
    ------
    UsageError
        If no cell of the study is stored, or the cluster does not exist.
    SurroundingsError
        If disk or network failed.
    """
    require_cells(run)
    if "cube" in run.stale():
        run.publish()
    if "surfaces" in run.stale():
        if cluster is None and workers is None:
            run.aggregate()
        else:
            _aggregate_on(run, cluster, workers, insecure)
    return run.surface_key


def require_cells(run: Run) -> None:
    """Refuse a study of which no cell is stored.

    Raises
    ------
    UsageError
        If no cell is stored.
    """
    if not run.plan.choice.present.any():
        named, store = run.parameters["study"], run.store.location()
        raise UsageError(f"no cell of '{run.study.name}' is in '{store}' yet: run `disac run {named}` first")


class _OnDemand(Executor):
    """An executor of a cluster that is connected when the first task is submitted: small cubes need none."""

    def __init__(self, connect: Callable[[], Executor]) -> None:
        self._connect = connect

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """See :class:`concurrent.futures.Executor`."""
        return self._executor.submit(function, *arguments, **named)

    @cached_property
    def _executor(self) -> Executor:
        return self._connect()


def _aggregate_on(run: Run, cluster: str | None, workers: int | None, insecure: bool) -> None:
    choose_profile(cluster)  # a wrong name raises, also where no task is submitted

    def connected() -> Executor:
        from flows.cluster import connect

        return stack.enter_context(connect(cluster, workers, insecure=insecure)).executor()

    with ExitStack() as stack:
        run.aggregate(_OnDemand(connected))


def fresh_report(run: Run) -> str:
    """Publish cube, surfaces and report if they are not up to date; return the report's version."""
    fresh_surfaces(run)
    if run.stale():
        run.report()
    return run.derivation.report_version

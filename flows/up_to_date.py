"""Publish what is not up to date of the stored cells: cube, surfaces, report. No cell is computed."""

from __future__ import annotations

from flows.run import Run
from pipeline.errors import SurroundingsError, UsageError


def fresh_surfaces(run: Run, cluster: str | None = None, workers: int | None = None, *, insecure: bool = False) -> str:
    """Publish cube and surfaces if they are not up to date; return the key of the surfaces.

    Parameters
    ----------
    cluster, workers, insecure
        As in ``disac run``. If one of the first two is given, a worker of that cluster makes the surfaces, else this process.

    Raises
    ------
    UsageError
        If no cell of the study is stored, or the cluster does not exist.
    SurroundingsError
        If the worker ended, or disk or network failed.
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


def _aggregate_on(run: Run, cluster: str | None, workers: int | None, insecure: bool) -> None:
    from distributed import CancelledError, KilledWorker

    from flows.cluster import connect

    with connect(cluster, workers, insecure=insecure) as connected:
        try:
            run.aggregate(connected.executor())
        except (KilledWorker, CancelledError) as error:
            raise SurroundingsError(
                f"the worker that made the surfaces was lost ({type(error).__name__}): aggregate again"
            ) from error


def fresh_report(run: Run) -> str:
    """Publish cube, surfaces and report if they are not up to date; return the report's version."""
    fresh_surfaces(run)
    if run.stale():
        run.report()
    return run.derivation.report_version

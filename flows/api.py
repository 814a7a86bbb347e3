"""What the command line does, in one call each, from Python: ``flows.api.run("quick")`` opens the results of the study.

A study is a name of ``data/studies`` or a path, a store is a folder, and ``set`` holds what ``--set`` changes:
``{"axes.sinr_db": "0:40:10", "power.power_to_noise_db": 30}``. Each function raises the UsageError or the SurroundingsError
whose sentence the command prints.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from flows.diff import Comparison
    from flows.run import Run
    from flows.verify import Check

Changes = Mapping[str, Any] | None
Place = str | Path


def studies() -> pd.DataFrame:
    """Return the studies that come with the project: a row for each, with paper, figure, cells and rough seconds."""
    import pandas as pd

    from flows.catalogue import catalogue

    return pd.DataFrame(catalogue()).set_index("study")


def plan(study: Place, *, store: Place = "results", set: Changes = None) -> dict[str, Any]:
    """Return what a run would compute, and why, as ``disac plan --json`` gives it. Nothing runs."""
    return _opened(study, store, set).plan.summary()


def run(
    study: Place, *, store: Place = "results", set: Changes = None, cluster: str | None = None, workers: int | None = None,
    preview: bool = False, force: bool = False, max_core_hours: float | None = None, deadline: str | None = None,
    quiet: bool = False,
) -> xr.DataTree:  # fmt: skip
    """Compute what is missing, publish cube, surfaces and report, and open them.

    The run is a process of its own, so it leaves no signal handler, thread or cluster behind. An interrupt ends it in
    order, and finished cells are kept. It ends when this process ends.

    Parameters
    ----------
    study, store, set
        Study, folder of the results, and what differs from the study's file.
    cluster
        Profile of ``dask_config.yaml``, or address of a scheduler.
    workers
        Local worker processes; default one per core.
    preview
        Compute few cells only: the ends and the middle of each axis.
    force
        Run although another run of the study holds its lock.
    max_core_hours, deadline
        Worker time that the run may spend, and its latest end; the same call goes on later.
    quiet
        Print no progress.

    Returns
    -------
    xarray.DataTree
        The study as :func:`pipeline.open_store` opens it. Cells that failed or are still missing have that status.

    Raises
    ------
    UsageError
        If the input cannot be used as written.
    SurroundingsError
        If disk, network or scheduler failed. Finished cells are kept.
    """
    words = _options(cluster=cluster, workers=workers, max_core_hours=max_core_hours, deadline=deadline)
    words += [f"--{name}" for name, chosen in (("preview", preview), ("force", force)) if chosen]
    return _run("run", study, [], store, set, words, quiet)


def retry(
    study: Place, *cells: str, store: Place = "results", set: Changes = None, cluster: str | None = None,
    workers: int | None = None, quiet: bool = False,
) -> xr.DataTree:  # fmt: skip
    """Compute failed cells again, and open the results: all of them, or those that words such as ``sinr_db=30`` name."""
    return _run("retry", study, list(cells), store, set, _options(cluster=cluster, workers=workers), quiet)


def report(study: Place, *, store: Place = "results", set: Changes = None) -> Path:
    """Write the report of the cells that are stored; return its file. No cell is computed.

    Raises
    ------
    UsageError
        If no cell of the study is stored.
    """
    from flows.up_to_date import fresh_report

    current = _opened(study, store, set)
    fresh_report(current)
    return current.report_file


def claims(study: Place, *, store: Place = "results", set: Changes = None) -> pd.DataFrame:
    """Return the paper's statements, and ours, beside what the study found: a row for each.

    Raises
    ------
    UsageError
        If the study has no surfaces yet.
    """
    import pandas as pd

    from flows.derive import published_claims

    current = _opened(study, store, set)
    return pd.DataFrame(published_claims(current.store, current.study.name))


def export(
    study: Place, *files: Place, store: Place = "results", set: Changes = None, surfaces: bool = False,
    width: str = "column", say: Callable[[str], None] = lambda _: None,
) -> list[Path]:  # fmt: skip
    """Write published results as tables or figures; the ending of a file chooses the format.

    Parameters
    ----------
    files
        Tables: .csv .parquet .nc .mat; figures: .png .svg .pdf.
    surfaces
        Write statistics over realisations in place of cells.
    width
        Width of a figure: ``column`` (88 mm) or ``page`` (181 mm).
    say
        Receives a sentence on every figure that leaves curves out.

    Returns
    -------
    The files written.

    Raises
    ------
    UsageError
        If an ending or the width is unknown, or nothing is published.
    """
    from flows.exported import export_files

    return export_files(_opened(study, store, set), [Path(file) for file in files], surfaces=surfaces, width=width, say=say)


def verify(study: Place, *, store: Place = "results", set: Changes = None, sample: int = 50) -> list[Check]:
    """Check everything again: the ledger's hashes, cube and surfaces against it, and a sample of stored certificates."""
    from flows.verify import verify as check_all

    return check_all(_opened(study, store, set), sample=sample)


def diff(
    study: Place, first: str, second: str = "latest", *, store: Place = "results", set: Changes = None,
    relative: float = 0.0, absolute: float = 0.0,
) -> Comparison:  # fmt: skip
    """Compare two published versions, or the results of two code revisions, cell by cell."""
    from flows.diff import compare, version_or_code

    current = _opened(study, store, set)
    both = (version_or_code(current, name) for name in (first, second))
    return compare(*both, relative=relative, absolute=absolute)


def _opened(study: Place, store: Place, set: Changes) -> Run:
    from flows.run import Run

    return Run(str(study), str(store), _overrides(set))


def _overrides(set: Changes) -> list[str]:
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in (set or {}).items()]


def _options(**given: Any) -> list[str]:
    named = [(f"--{name.replace('_', '-')}", value) for name, value in given.items() if value is not None]
    return [str(word) for pair in named for word in pair]


def _run(
    command: str, study: Place, cells: Sequence[str], store: Place, set: Changes, words: Sequence[str], quiet: bool
) -> xr.DataTree:  # fmt: skip
    import pipeline
    from flows.run_process import run_process

    overrides = [word for override in _overrides(set) for word in ("--set", override)]
    arguments = [command, "--json", "--store", str(store), *overrides, *words, "--", str(study), *cells]
    summary = run_process(arguments, quiet=quiet)
    return pipeline.open_store(store, str(summary["study"]))

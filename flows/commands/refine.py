"""The command ``refine``: few cells of a dense lattice, and an interpolant of stated accuracy between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from flows.commands.common import (
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    AsJson,
    Overrides,
    StoreFolder,
    StudyName,
    emit,
)

if TYPE_CHECKING:
    from flows.refining import Asked


def refine(
    study: StudyName,
    on: Annotated[str, typer.Option("--on", help="Variable or column that is refined.")],
    tolerance: Annotated[
        str, typer.Option("--tolerance", help="Largest error of its mean: a share such as 2%, or a number in its unit.")
    ] = "2%",
    axes: Annotated[
        str | None, typer.Option("--axes", help="Axes to refine, with commas; default: numeric axes with points between.")
    ] = None,
    step: Annotated[
        list[str] | None, typer.Option("--step", help="Finest step: 1/64 (default) of each axis, NAME=1/32 or NAME=0.5.")
    ] = None,
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="Most cells, stored ones included.")] = None,
    store: StoreFolder = "results",
    set_: Overrides = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="A profile of dask_config.yaml, or an address.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Local worker processes.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Connect the workers without encryption.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run although another refinement holds the lock.")] = False,
    max_core_hours: Annotated[
        float | None, typer.Option("--max-core-hours", min=0, help="Worker time that the refinement may spend.")
    ] = None,
    deadline: Annotated[str | None, typer.Option("--deadline", help="Latest end: a duration, a time or a moment.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute few cells of a dense lattice of the numeric axes, so that interpolation between them keeps a tolerance."""
    from flows.execute import execute
    from flows.limits import budget_of
    from flows.refined_words import sentences, summary_of
    from flows.refining import Wish, asked_for, derived_file, refined
    from flows.rounds import rounds
    from flows.run import Run
    from flows.terms import Terms
    from pipeline.store import open_store_backend

    console = Console(stderr=as_json)
    names = [name.strip() for name in (axes or "").split(",") if name.strip()]
    asked = asked_for(Wish(study, on, tolerance, names, step or (), budget, set_ or ()))
    terms = Terms(cluster, workers, insecure, force, budget_of(max_core_hours, deadline))
    backend = open_store_backend(store)
    told = " x ".join(f"{axis.name} {len(axis.labels)}" for axis in asked.lattice.axes)
    console.print(f"Lattice of {asked.lattice.base.study.name}: {told}, {_counts(asked)}", highlight=False)
    with rounds(backend, asked.derived, terms, console) as sweep:
        refinement = refined(asked, backend, sweep, terms.budget, console)
    run = Run(derived_file(asked, backend), backend.location())
    if run.stale():
        execute(run, terms, console)
    summary = summary_of(asked, refinement) | {"report": str(run.report_file)}
    if as_json:
        emit(summary)
    else:
        for sentence in sentences(summary):
            console.print(sentence, highlight=False, soft_wrap=True)
    raise typer.Exit(exit_code(summary))


def _counts(asked: Asked) -> str:
    lattice = asked.lattice
    parts = [(len(lattice.slices), "lattice", "lattices"), (lattice.draws, "draw", "draws")]
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in parts)


def exit_code(summary: dict[str, Any]) -> int:
    """Return the exit code: 0 within the tolerance, 1 some cells failed, 3 stopped by a budget (3 wins over 1)."""
    if summary["end"] in ("budget", "stopped"):
        return EXIT_INCOMPLETE
    return EXIT_FAILED if summary["failed"] else 0

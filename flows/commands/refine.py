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
    from pipeline.refining import Refinement


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
    from flows.limits import budget_of
    from flows.refining import Wish, asked_for, publish_derived, refine_on_cluster
    from flows.terms import Terms
    from pipeline.store import open_store_backend

    console = Console(stderr=as_json)
    names = [name.strip() for name in (axes or "").split(",") if name.strip()]
    asked = asked_for(Wish(study, on, tolerance, names, step or (), budget, set_ or ()))
    terms = Terms(cluster, workers, insecure, force, budget_of(max_core_hours, deadline))
    backend = open_store_backend(store)
    told = " x ".join(f"{axis.name} {len(axis.labels)}" for axis in asked.lattice.axes)
    console.print(f"Lattice of {asked.lattice.base.study.name}: {told}, {_counts(asked)}", highlight=False)
    refinement = refine_on_cluster(asked, backend, terms, console)
    report = publish_derived(asked, backend, terms, console)
    summary = summary_of(asked, refinement) | {"report": report}
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


def summary_of(asked: Asked, refinement: Refinement) -> dict[str, Any]:
    """Return the outcome of a refinement as plain data."""
    from pipeline.layout import refined_study
    from pipeline.refining import coarsest_dense
    from pipeline.refining.known import FAILED

    refined, tolerance = refinement.refined, asked.goal.tolerance
    dense = coarsest_dense(refined.trees)
    return {
        "study": asked.derived,
        "on": asked.metric.name,
        "tolerance": tolerance.size,
        "tolerance_is_relative": tolerance.relative,
        "unit": asked.metric.unit,
        "end": refined.end,
        "rounds": len(refined.rounds),
        "cells": refined.cells,
        "lattice_cells": refined.lattice_cells,
        "failed": sum(int((tree.kinds == FAILED).sum()) for tree in refined.trees),
        "open_boxes": refined.open_boxes,
        "checks": refined.checks,
        "proven_share": refined.proven_share(),
        "noise": refined.noise,
        "dense": None if dense is None else {"labels": dense.labels, "cells": dense.cells},
        "axes": {axis.name: {"labels": len(axis.labels), "scale": axis.scale} for axis in asked.lattice.axes},
        "study_file": refined_study(asked.derived),
    }


def sentences(summary: dict[str, Any]) -> list[str]:
    """Return the outcome of a refinement in sentences."""
    size, unit = summary["tolerance"], "" if summary["unit"] == "1" else f" {summary['unit']}"
    tolerance = f"{100.0 * size:g} %" if summary["tolerance_is_relative"] else f"{size:g}{unit}"
    share = summary["cells"] / summary["lattice_cells"]
    cells = f"{summary['cells']:,} of {summary['lattice_cells']:,} cells of the lattice ({share:.1%})"
    agree = f"{summary['checks']} fresh check points agree, so with 95 % confidence at least {summary['proven_share']:.0%}"
    found = {
        "agreed": f"{summary['on']} within {tolerance} from {cells}: {agree} of the other points do.",
        "complete": f"{summary['on']} is computed on the whole lattice: {cells}.",
        "budget": f"The budget ended with {cells}; {summary['open_boxes']:,} boxes still want cells. Give a larger --budget.",
        "stopped": f"Stopped with {cells}; {summary['open_boxes']:,} boxes still want cells. The same command goes on.",
    }
    lines = [found[summary["end"]]]
    names = list(summary["axes"])
    if summary["dense"] is not None:
        labels = summary["dense"]["labels"]
        shape = " x ".join(f"{name} {count}" for name, count in zip(names, labels, strict=True))
        lines.append(f"The coarsest dense grid of equal accuracy: {shape}, {summary['dense']['cells']:,} cells.")
    if summary["failed"]:
        lines.append(f"{summary['failed']:,} cells failed; see `disac status {summary['study_file']}`.")
    lines.append(f"Study: {summary['study']}, its file in the store: {summary['study_file']}")
    lines.append(f"Report: {summary['report']}")
    return lines


def exit_code(summary: dict[str, Any]) -> int:
    """Return the exit code: 0 within the tolerance, 1 some cells failed, 3 stopped by a budget (3 wins over 1)."""
    if summary["end"] in ("budget", "stopped"):
        return EXIT_INCOMPLETE
    return EXIT_FAILED if summary["failed"] else 0

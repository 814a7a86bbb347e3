"""Commands that work on published cubes and stored cells: ``aggregate``, ``compare``. No cell is computed."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from flows.commands.common import (
    AsJson,
    ClusterName,
    Insecure,
    Overrides,
    StoreFolder,
    WorkerCount,
    emit,
    exit_code_of_what_is_there,
    words,
)

_STUDIES = Annotated[list[str], typer.Argument(metavar="STUDY...", help="Studies of data/studies, or paths to study files.")]
_SOURCES = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE SOURCE...", help="Published cubes: STUDY, STUDY@BEGINNING-OF-ITS-VERSION, or STORE:STUDY."),
]


def aggregate(
    studies: _STUDIES, store: StoreFolder = "results", set_: Overrides = None,
    cluster: ClusterName = None, workers: WorkerCount = None, insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Publish the surfaces and claims of the cells that are stored. No cell is computed."""
    from flows.execute import FlowCall, execute_flows
    from flows.run import Run
    from flows.steps import Steps, Work
    from flows.up_to_date import fresh_surfaces, require_cells

    console = Console(stderr=as_json)
    runs = [Run(study, store, set_ or ()) for study in studies]
    calls = []
    for run in runs:
        require_cells(run)
        if {"cube", "surfaces"} & set(run.stale()):
            steps = Steps({"aggregate": partial(fresh_surfaces, run, cluster, workers, insecure=insecure)})
            parameters = run.parameters | {"cluster": cluster, "workers": workers}
            calls.append(FlowCall("aggregate", Work(run.study.name, steps.do, run.words), steps, parameters))
    execute_flows(calls, cluster, console)
    rows = []
    for run in runs:
        summary = run.plan.summary()
        rows.append({"study": run.study.name, "surface_key": run.surface_key, "cells": summary["reused_by_status"]})
        told = f"{run.study.name}: surfaces {run.surface_key} of {summary['reuse']} of {summary['planned']} cells"
        console.print(words(told), highlight=False, soft_wrap=True)
    if as_json:
        emit(rows)
    raise typer.Exit(max(exit_code_of_what_is_there(run.plan.summary()) for run in runs))


def compare(
    sources: _SOURCES, store: StoreFolder = "results",
    name: Annotated[str | None, typer.Option(help="Name of the comparison; without it the sources make the name.")] = None,
    over: Annotated[str | None, typer.Option(help="Axis to average over, or none; default realisation.")] = None,
    edge: Annotated[str | None, typer.Option(help="Numeric axis along which the largest feasible value is found.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Join published cubes into one with a dimension `source`; publish it with surfaces and report. No cell is computed.

    Differences are those from the first source, taken cell by cell.
    """
    from flows.comparison import Comparison
    from flows.execute import FlowCall, execute_flows
    from flows.steps import Steps, Work

    console = Console(stderr=as_json)
    comparison = Comparison(sources, store, name, over=over, edge=edge)
    steps = Steps(comparison.steps)
    work = Work(comparison.name, steps.do, comparison.words)
    execute_flows([FlowCall("compare", work, steps, comparison.parameters)], None, console)
    page = str(comparison.page)
    if as_json:
        emit({"comparison": comparison.name, "left_out": list(comparison.sentences), "report": page})
        return
    for sentence in comparison.sentences:
        console.print(words(f"note: {sentence}"), highlight=False, soft_wrap=True)
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)


def report_of_comparison(name: str, store: str) -> str | None:
    """Write the report of a published comparison and return its path; None if there is no comparison of the name."""
    from flows.comparison import comparison_of, fresh_comparison, page_of
    from pipeline.store import open_store_backend

    backend = open_store_backend(store)
    found = comparison_of(backend, name)
    if found is None:
        return None
    fresh_comparison(found)
    return str(page_of(backend, name))

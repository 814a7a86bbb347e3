"""Commands that inspect results: ``why``, ``cell``, ``verify``, ``diff``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from flows.commands.common import (
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    AsJson,
    CellWords,
    Overrides,
    StoreFolder,
    StudyName,
    emit,
    words,
)


def why(
    study: StudyName, cell: CellWords = None, store: StoreFolder = "results", set_: Overrides = None, as_json: AsJson = False
) -> None:  # fmt: skip
    """Explain one cell: its status and reason, its traceback, when and where it was computed, with which software."""
    from flows.run import Run
    from pipeline.account import account, account_lines
    from pipeline.address import find_cell

    plan = Run(study, store, set_ or ()).plan
    found = account(plan, find_cell(plan, cell or []))
    if as_json:
        emit(found)
        return
    console = Console(highlight=False)
    for line in account_lines(found):
        console.print(words(line), soft_wrap=True)


def cell(
    study: StudyName, cell: CellWords = None, store: StoreFolder = "results", set_: Overrides = None,
    debug: Annotated[bool, typer.Option("--debug", help="Open the debugger where the cell raises an exception.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Compute one cell in the foreground, store nothing, and compare with what is stored."""
    from flows.run import Run
    from pipeline.account import stored_segment
    from pipeline.address import describe, find_cell
    from pipeline.cube import cell_image
    from pipeline.experiment import STATUS_NAMES
    from pipeline.recompute import models_of, recompute
    from pipeline.segment import cell_values

    current = Run(study, store, set_ or ())
    number = find_cell(current.plan, cell or [])
    if debug:
        _debug(current.plan.study.experiment, *models_of(current.plan, current.store, number))
        return
    segment = recompute(current.plan, current.store, number)
    status = STATUS_NAMES[int(segment.arrays["status"][0])]
    values = {name: _short(value) for name, value in cell_values(segment, 0).items()}
    there = stored_segment(current.plan, number)
    same = "nothing is stored" if there is None else "equal to what is stored, bit for bit"
    if there is not None:
        before, now = dict(cell_image(*there)), dict(cell_image(segment, 0))
        unlike = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
        same = f"different from what is stored in {', '.join(unlike)}" if unlike else same
    found = {
        "cell": describe(current.plan, number), "status": status, "message": str(segment.arrays["message"][0]),
        "traceback": str(segment.arrays["traceback"][0]), "stored": same, "values": values,
    }  # fmt: skip
    if as_json:
        emit(found)
    else:
        console = Console(highlight=False)
        console.print(words(f"{found['cell']}: {status}. {found['message']}"), soft_wrap=True)
        if found["traceback"]:
            console.print(words(found["traceback"]), soft_wrap=True)
        for name, value in values.items():
            console.print(f"  {name:24s} {value}", markup=False, soft_wrap=True)
        console.print(f"  this result is {same}" if there else f"  {same}", markup=False)
    raise typer.Exit(EXIT_FAILED if status == "failed" else 0)


def _debug(experiment: Any, scenario: Any, options: Any) -> None:
    """Run the experiment directly, and open the debugger where the experiment raises."""
    import pdb

    try:
        results = experiment.run([scenario], options)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        pdb.post_mortem(error.__traceback__)
        raise typer.Exit(EXIT_FAILED) from error
    print(f"The cell raised no exception; its status is {results[0]['status']}.")


def _short(value: Any) -> str:
    array = np.asarray(value)
    return str(array.item()) if array.ndim == 0 else f"{array.dtype} {array.shape}"


def verify(
    study: StudyName, store: StoreFolder = "results", set_: Overrides = None,
    sample: Annotated[int, typer.Option(min=0, help="Number of certificates to check again.")] = 50,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check everything again: the hashes of the ledger, cube and surfaces against it, and stored certificates."""
    from flows.run import Run
    from flows.verify import verify as check_all

    current = Run(study, store, set_ or ())
    console = Console(stderr=True)
    with console.status("verifying") as status:
        checks = check_all(current, sample=sample, progress=lambda what: status.update(f"verifying {what}"))
    if as_json:
        emit([vars(check) for check in checks])
    else:
        table = Table("check", "looked at", "found", box=None)
        for check in checks:
            table.add_row(check.name, words(check.counted), words("\n".join(check.wrong[:10]) or "good"))
        Console().print(table)
    raise typer.Exit(EXIT_FAILED if any(check.wrong for check in checks) else 0)


def diff(
    study: StudyName,
    first: Annotated[str, typer.Argument(help="A published version (key), 'latest', a code digest or a git revision.")],
    second: Annotated[str, typer.Argument(help="What to compare it with.")] = "latest",
    store: StoreFolder = "results", set_: Overrides = None,
    relative: Annotated[float, typer.Option(min=0, help="Relative tolerance.")] = 0.0,
    absolute: Annotated[float, typer.Option(min=0, help="Absolute tolerance, in each variable's unit.")] = 0.0,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Compare two published versions, or the results of two code revisions, cell by cell. Exit code 1: they differ."""
    from flows.diff import compare, version_or_code
    from flows.run import Run

    current = Run(study, store, set_ or ())
    found = compare(
        version_or_code(current, first), version_or_code(current, second), relative=relative, absolute=absolute
    )  # fmt: skip
    if as_json:
        emit({**vars(found), "differences": [vars(d) for d in found.differences], "equal": found.equal})
    else:
        console = Console(highlight=False)
        console.print(f"{found.names[0]} and {found.names[1]}: {found.compared} cells in common", markup=False)
        for side, count in zip(found.names, found.only, strict=True):
            if count:
                console.print(f"  {count} cells only in {side}", markup=False)
        for change, count in found.statuses.items():
            console.print(f"  {count} cells {change}", markup=False)
        table = Table("variable", "cells", "largest difference", "relative", "at", box=None)
        for d in found.differences:
            row = (d.variable, d.cells, f"{d.largest_absolute:.3g}", f"{d.largest_relative:.3g}", d.where)
            table.add_row(*map(words, row))
        console.print(table if found.differences else "  no value differs")
    sys.stdout.flush()
    if not found.compared:
        raise typer.Exit(EXIT_INCOMPLETE)
    raise typer.Exit(0 if found.equal else EXIT_FAILED)

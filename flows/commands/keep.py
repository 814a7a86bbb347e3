"""Commands that keep a store in order: ``adopt``, ``compact``, ``gc``, ``doctor``."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.commands.common import EXIT_FAILED, AsJson, Overrides, StoreFolder, StudyName, emit, words
from pipeline.errors import UsageError
from pipeline.terminal_text import printable

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def adopt(
    study: StudyName,
    revision: Annotated[str, typer.Argument(help="Git revision, or the beginning of a code digest, of the older code.")],
    store: StoreFolder = "results", set_: Overrides = None,
    check: Annotated[int, typer.Option(min=1, help="Cells to compute again; all bits must agree.")] = 20,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Keep the cells of older code after a refactoring. A sample is computed again; every bit must agree."""
    from flows.run import Run
    from pipeline.adopt import adopt as attempt
    from pipeline.adopt import code_of

    current = Run(study, store, set_ or ())
    with Console(stderr=True).status("checking") as status:
        found = attempt(
            current.plan, current.store, code_of(current.plan, revision), check=check,
            progress=lambda i, n: status.update(f"{i} of {n} cells computed again"),
        )  # fmt: skip
    if as_json:
        emit({"older": found.older.digest, "newer": current.plan.code.digest, "cells": found.cells, "checked": found.checked,
              "different": found.different, "adopted": not found.different})  # fmt: skip
    elif found.different:
        print(f"Not adopted: {len(found.different)} of {found.checked} cells differ, first {found.different[0]}")
    else:
        print(
            f"Adopted: {found.checked} cells computed again are equal bit for bit; {found.cells} cells of code "
            f"{found.older.digest[:12]} now count for {current.plan.code.digest[:12]}"
        )
    raise typer.Exit(EXIT_FAILED if found.different else 0)


def compact(store: StoreFolder = "results", as_json: AsJson = False) -> None:
    """Copy small segments into large ones. Nothing is removed before `disac gc`."""
    from pipeline.compact import compact as merge
    from pipeline.key_index import write_index
    from pipeline.ledger import open_ledger
    from pipeline.store import open_store_backend

    backend = open_store_backend(store)
    written = merge(backend)
    write_index(open_ledger(backend))
    if as_json:
        emit(written)
        return
    sources = sum(map(len, written.values()))
    print(f"{sources} segments copied into {len(written)}; `disac gc` removes the copied segments when they are old enough")


def gc(
    store: StoreFolder = "results",
    older_than: Annotated[str, typer.Option("--older-than", help="Least age: a number with s, m, h or d.")] = "24h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove unused files: segments that were compacted, old versions, temporary files of killed processes."""
    from pipeline.compact import collect_garbage
    from pipeline.store import open_store_backend

    removals = collect_garbage(open_store_backend(store), older_than_s=_seconds(older_than), dry_run=dry_run)
    if as_json:
        emit([vars(removal) for removal in removals])
        return
    for removal in removals:
        print(printable(f"{removal.size:12d}  {removal.name}  {removal.reason}"))
    total = sum(removal.size for removal in removals)
    print(f"{'would remove' if dry_run else 'removed'} {len(removals)} objects, {total / 1e6:.3g} MB; no cell is lost")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise UsageError(f"--older-than '{text}': expected a number with s, m, h or d, such as 24h")
    return float(match[1]) * _UNITS[match[2]]


def doctor(store: StoreFolder = "results", as_json: AsJson = False) -> None:
    """Check solvers, BLAS threads, Prefect, disk and store. Exit code 1: something is wrong."""
    from flows.doctor import examine

    findings = list(examine(store))
    if as_json:
        emit([vars(finding) for finding in findings])
    else:
        table = Table("what", "state", "found", box=None)
        for finding in findings:
            table.add_row(finding.what, finding.state, words(finding.words))
        Console().print(table)
    raise typer.Exit(EXIT_FAILED if any(finding.state == "wrong" for finding in findings) else 0)

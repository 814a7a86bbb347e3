"""The command line: one program with a command for each task.

Exit codes: 0 done, 1 some cells failed, 2 the input cannot be used as written, 3 requested cells are still missing, or disk,
network or store failed (3 wins over 1). A preview requests the cells of its slice, a report only the stored cells.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows import lifecycle
from flows.commands import ask, design, downstream, export, keep, look, refine, server
from flows.commands.common import (
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    AsJson,
    CellWords,
    ClusterName,
    CoreHours,
    Deadline,
    Force,
    Insecure,
    Overrides,
    StoreFolder,
    StudyName,
    WorkerCount,
    exit_code_of_what_is_there,
    words,
)
from flows.commands.common import duration as _duration
from flows.commands.common import emit as _emit
from flows.commands.common import exit_code as _exit_code
from flows.limits import budget_of
from flows.on_end import OnEnd
from flows.settings import prepare_environment
from flows.terms import Terms
from pipeline.errors import SurroundingsError, UsageError
from pipeline.terminal_text import printable

Notify = Annotated[
    str | None, typer.Option("--on-end", help="A command or a URL that receives the result as JSON when the run has ended.")
]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    help="Studies of distributed integrated sensing and communication: certified designs, resumable sweeps, labelled cubes.",
)  # fmt: skip


@app.command()
def studies(as_json: AsJson = False) -> None:
    """List the studies with paper, figure, cells and rough cost."""
    from flows.catalogue import catalogue

    rows = catalogue()
    if as_json:
        _emit(rows)
        return
    table = Table("study", "paper", "figure", "cells", "rough cost, one core", "title", box=None)
    for row in rows:
        cost = _duration(row["rough_seconds"])
        table.add_row(row["study"], row["paper"], row["figure"], str(row["cells"]), cost, row["title"])
    Console().print(table)


@app.command()
def plan(
    study: StudyName, store: StoreFolder = "results", set_: Overrides = None, as_json: AsJson = False
) -> None:  # fmt: skip
    """Show what a run would compute, and why. Nothing runs."""
    from flows.run import Run

    summary = Run(study, store, set_ or ()).plan.summary()
    _emit(summary) if as_json else _print_plan(Console(), summary)


def _print_plan(console: Console, summary: dict[str, Any]) -> None:
    axes = " x ".join(f"{name} {size}" for name, size in summary["axes"].items())
    console.print(f"[bold]{summary['study']}[/bold] ({summary['experiment']}): {axes}", highlight=False)
    console.print(
        f"  planned {summary['planned']}, reuse {summary['reuse']}, compute {summary['compute']}; "
        f"dense cube {summary['dense_bytes'] / 1e6:.3g} MB",
        highlight=False,
    )
    if summary["compute"]:
        console.print(f"  worker time from past cells: {_duration(summary['expected_seconds'])}", highlight=False)
        if summary["solves"] < summary["compute"]:
            counts = f"at most {summary['solves']} designs for {summary['compute']} cells"
            told = f"  {counts}: cells share a design along the axes that it ignores"
            console.print(told, highlight=False)
    for sentence, count in sorted(summary["reasons"].items(), key=lambda item: -item[1]):
        console.print(words(f"  {count:6d}  {sentence}"), highlight=False)
    for status, count in summary["reused_by_status"].items():
        if status == "failed":
            console.print(f"  {count} cells failed and are kept as failed; see `disac status`", highlight=False)
    for sentence in (*summary["warnings"], *summary["damaged"], *(f"computed by {e}" for e in summary["environment_changes"])):
        console.print(words(f"  note: {sentence}"), highlight=False)


@app.command()
def run(
    study: StudyName,
    store: StoreFolder = "results",
    set_: Overrides = None,
    cluster: ClusterName = None,
    workers: WorkerCount = None,
    insecure: Insecure = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Compute few cells only: the ends and the middle of each axis.")
    ] = False,
    force: Force = False,
    max_core_hours: CoreHours = None,
    deadline: Deadline = None,
    on_end: Notify = None,
    as_json: AsJson = False,
) -> None:
    """Compute what is missing, publish the cube, its surfaces and the report."""
    from flows.run import Run

    current = Run(study, store, set_ or (), preview=preview)
    terms = _terms(current, cluster, workers, insecure, force, max_core_hours, deadline, on_end)
    _carry_out(current, terms, as_json)


@app.command()
def retry(
    study: StudyName,
    cell: CellWords = None,
    store: StoreFolder = "results",
    set_: Overrides = None,
    cluster: ClusterName = None,
    workers: WorkerCount = None,
    insecure: Insecure = False,
    force: Force = False,
    max_core_hours: CoreHours = None,
    deadline: Deadline = None,
    on_end: Notify = None,
    as_json: AsJson = False,
) -> None:
    """Compute failed cells again: all of them, or those that CELL names. A new result replaces the failure."""
    from flows.run import Run

    current = Run(study, store, set_ or (), retry=cell or ())
    terms = _terms(current, cluster, workers, insecure, force, max_core_hours, deadline, on_end)
    _carry_out(current, terms, as_json)


def _terms(
    current: Any, cluster: str | None, workers: int | None, insecure: bool, force: bool, max_core_hours: float | None,
    deadline: str | None, on_end: str | None,
) -> Terms:  # fmt: skip
    told = OnEnd(on_end, {"study": current.study.name, "store": current.store.location(), "host": platform.node()})
    return Terms(cluster, workers, insecure, force, budget_of(max_core_hours, deadline), told)


def _carry_out(current: Any, terms: Terms, as_json: bool) -> None:
    console = Console(stderr=as_json)

    def tell(code: int, sentence: str, **more: Any) -> None:
        if trouble := terms.on_end.tell(code, sentence, **more):
            console.print(trouble, style="yellow", markup=False, highlight=False)

    try:
        with lifecycle.at_the_end(lambda: tell(_code_of(None), "The run was ended by a signal.")):
            summary = _run(current, terms, console, as_json)
    except BaseException as error:
        tell(_code_of(error), f"{type(error).__name__}: {error}".removesuffix(": "))
        raise
    counts = {"planned": summary["planned"], "present": summary["reuse"], "by_status": summary["reused_by_status"]}
    tell(_exit_code(summary), _result_words(summary), report=str(current.report_file), **counts)
    _finish(current, summary, console, as_json)


def _code_of(error: BaseException | None) -> int:
    """Return the exit code of the process: that of the signal if a signal ended the run, else that of the error."""
    if (of_signal := lifecycle.exit_code()) is not None:
        return of_signal
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_INCOMPLETE


def _run(current: Any, terms: Terms, console: Console, as_json: bool) -> dict[str, Any]:
    """Run the steps that are not up to date; return the summary of the plan afterwards."""
    summary: dict[str, Any] = current.plan.summary()
    if not as_json:
        _print_plan(console, summary)
    for sentence in current.damage():
        console.print(words(f"note: {sentence}"), style="yellow", soft_wrap=True)
    if summary["compute"] or current.stale():
        from flows.execute import execute

        execute(current, terms, console)
        summary = current.plan.summary()
    else:
        console.print("Nothing to do: cells, cube, surfaces and report are up to date.")
    for sentence in current.nondeterminism():
        console.print(f"nondeterminism: {sentence}", style="red")
    return summary


def _result_words(summary: dict[str, Any]) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in summary["reused_by_status"].items())
    missing = summary["planned"] - summary["reuse"]
    return f"{summary['reuse']} of {summary['planned']} cells present: {counts}" + (f"; {missing} missing" if missing else "")


def _finish(current: Any, summary: dict[str, Any], console: Console, as_json: bool) -> None:
    if as_json:
        _emit(summary | {"report": str(current.report_file)})
    else:
        console.print(_result_words(summary), highlight=False)
        console.print(f"Report: {current.report_file}", soft_wrap=True, highlight=False)
    sys.stdout.flush()
    raise typer.Exit(_exit_code(summary))


@app.command()
def status(study: StudyName, store: StoreFolder = "results", set_: Overrides = None, as_json: AsJson = False) -> None:
    """Show how much of a study is computed, and each failed cell with its reason."""
    from flows.run import Run
    from pipeline.failures import failed_cells

    current = Run(study, store, set_ or ())
    summary = current.plan.summary()
    failed = failed_cells(current.plan)
    if as_json:
        _emit(summary | {"failed_cells": failed, "stale": current.stale()})
    else:
        console = Console()
        counts = ", ".join(f"{name} {count}" for name, count in summary["reused_by_status"].items()) or "none yet"
        console.print(
            f"{summary['study']}: {summary['reuse']} of {summary['planned']} cells present ({counts})", highlight=False
        )
        console.print(f"out of date: {', '.join(current.stale()) or 'nothing'}", highlight=False)
        for sentence in current.damage():
            console.print(words(f"  note: {sentence}"), highlight=False, soft_wrap=True)
        for cell in failed:
            where = " ".join(f"{k}={v}" for k, v in cell["coordinates"].items())
            console.print(words(f"  failed {where}: {cell['message']}"), highlight=False)
    raise typer.Exit(_exit_code(summary))


@app.command()
def report(study: StudyName, store: StoreFolder = "results", set_: Overrides = None, as_json: AsJson = False) -> None:
    """Write the report of the cells that are stored, or of a comparison, and print its path. No cell is computed."""
    from flows.data_files import is_study
    from flows.run import Run
    from flows.up_to_date import fresh_report

    if not is_study(study) and (page := downstream.report_of_comparison(study, store)) is not None:
        _emit({"comparison": study, "report": page}) if as_json else print(page)
        return
    current = Run(study, store, set_ or ())
    fresh_report(current)
    summary = current.plan.summary()
    if as_json:
        _emit(summary | {"report": str(current.report_file)})
    else:
        print(current.report_file)
        if summary["left"]:
            print(_result_words(summary), file=sys.stderr)
    raise typer.Exit(exit_code_of_what_is_there(summary))


@app.command()
def claims(study: StudyName, store: StoreFolder = "results", set_: Overrides = None, as_json: AsJson = False) -> None:
    """Show the paper's statements, and ours, beside what the study found."""
    from flows.derive import published_claims
    from flows.papers import read_papers
    from flows.run import Run
    from flows.verdicts import count_verdicts, counted

    current = Run(study, store, set_ or ())
    rows = published_claims(current.store, current.study.name)
    if as_json:
        _emit({"count": count_verdicts(rows), "claims": rows})
        return
    table = Table("verdict", "whose", "statement", "our number", "reading, and why where it fails", show_lines=True)
    for row in rows:
        told = f"{row['reading']} {row.get('reason', '')}".rstrip()
        statement = f"{row['statement']} ({row['paper']}, {row['figure']})"
        table.add_row(*map(words, (row["verdict"], row["whose"], statement, row["ours"], told)))
    known = read_papers()
    for name in sorted({row["paper"] for row in rows} & set(known)):
        print(f"{name}: {known[name].title}. {known[name].byline}")
    Console().print(table)
    print(counted(rows))


@app.command()
def papers(as_json: AsJson = False) -> None:
    """Print the papers that studies and claims are about, as the page docs/papers.md."""
    from flows.papers import papers_page, read_papers

    known = read_papers()
    if as_json:
        _emit([{"paper": name} | paper.model_dump() for name, paper in known.items()])
        return
    print(papers_page(known), end="")


@app.command()
def schema() -> None:
    """Print the JSON schema of study files, for editors."""
    from flows.catalogue import study_schema

    print(study_schema(), end="")


for command in (
    ask.ask,
    design.design,
    export.export,
    refine.refine,
    look.why,
    look.cell,
    look.verify,
    look.diff,
    downstream.aggregate,
    downstream.compare,
    keep.adopt,
    keep.compact,
    keep.gc,
    keep.doctor,
    server.server,
):
    app.command()(command)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})(
    server.prefect
)


def main() -> None:
    """Entry point. An expected error is printed as one sentence, without a traceback, and sets the exit code."""
    prepare_environment()
    code: int | str | None = 0
    try:
        app(standalone_mode=True)
    except UsageError as error:
        print(f"disac: {printable(error)}", file=sys.stderr)
        code = EXIT_USAGE
    except SurroundingsError as error:
        print(f"disac: {printable(error)}", file=sys.stderr)
        code = EXIT_INCOMPLETE
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        code = 128 + signal.SIGHUP  # the terminal was closed while something was printed
    except SystemExit as end:
        code = end.code
    code = code if lifecycle.exit_code() is None else lifecycle.exit_code()  # Typer has one code for every interrupt
    if "prefect" in sys.modules:
        # Threads of Prefect's client would wait for its server, which has ended. All results are on the disk.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
    sys.exit(code)


if __name__ == "__main__":
    main()

"""Parts that the commands share: option types, exit codes, printing."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from pipeline.terminal_text import printable

EXIT_FAILED, EXIT_USAGE, EXIT_INCOMPLETE = 1, 2, 3

StudyName = Annotated[str, typer.Argument(help="A study of data/studies by name, or a path to a study file.")]
StoreFolder = Annotated[str, typer.Option("--store", help="Folder that holds ledger, cubes, surfaces and reports.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a value, e.g. --set power.power_to_noise_db=30 or --set axes.sinr_db=0:40:10."),
]
ClusterName = Annotated[
    str | None, typer.Option("--cluster", help="A profile of dask_config.yaml, or an address such as tls://10.0.0.1:8786.")
]
WorkerCount = Annotated[int | None, typer.Option("--workers", min=1, help="Local worker processes; default one per core.")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Connect the workers without encryption: whoever reaches a port can run code as you.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
CellWords = Annotated[
    list[str] | None, typer.Argument(metavar="CELL", help="Coordinates (sinr_db=30 user_count=2) or the beginning of a key.")
]
ClusterName = Annotated[
    str | None, typer.Option("--cluster", help="A profile of dask_config.yaml, or an address such as tls://10.0.0.1:8786.")
]
WorkerCount = Annotated[int | None, typer.Option("--workers", min=1, help="Local worker processes; default one per core.")]
CoreHours = Annotated[
    float | None,
    typer.Option("--max-core-hours", min=0, help="Worker time that the run may spend. The same command goes on later."),
]
Deadline = Annotated[
    str | None, typer.Option("--deadline", help="Latest end: a duration (90m, 2.5h), a time of day (18:30) or a moment (ISO).")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Connect the workers without encryption: whoever reaches a port can run code as you.")
]
Force = Annotated[bool, typer.Option("--force", help="Run although another run of the study holds its lock.")]


def words(text: object) -> Text:
    """Return text from a store in a form that is safe for a terminal: control characters have no effect."""
    return Text(printable(text))


def emit(data: Any) -> None:
    """Print data as JSON."""
    print(json.dumps(data, indent=2, default=str))


def exit_code(summary: dict[str, Any]) -> int:
    """Return the exit code: 0 done, 1 some cells failed, 3 requested cells are missing (3 wins over 1)."""
    return EXIT_INCOMPLETE if summary["left"] else exit_code_of_what_is_there(summary)


def exit_code_of_what_is_there(summary: dict[str, Any]) -> int:
    """Return the exit code 1 if some cells failed, else 0; missing cells do not count."""
    return EXIT_FAILED if summary["reused_by_status"].get("failed") else 0


def duration(seconds: float | None) -> str:
    """Return a number of seconds in words."""
    if seconds is None:
        return "not known yet"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

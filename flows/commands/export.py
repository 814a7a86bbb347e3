"""``export``: write a study's results for other programs. The ending of the file chooses the format."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import AsJson, Overrides, StoreFolder, StudyName, emit


def export(
    study: StudyName,
    files: Annotated[list[Path], typer.Argument(help="Tables: .csv .parquet .nc .mat; figures: .png .svg .pdf.")],
    store: StoreFolder = "results", set_: Overrides = None,
    surfaces: Annotated[bool, typer.Option("--surfaces", help="Statistics over realisations in place of cells.")] = False,
    width: Annotated[str, typer.Option(help="Width of a figure: column (88 mm) or page (181 mm).")] = "column",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write published results as tables or as figures for a paper. Nothing is computed."""
    from flows.exported import export_files
    from flows.run import Run

    tell = partial(typer.echo, err=True)
    written = export_files(Run(study, store, set_ or ()), files, surfaces=surfaces, width=width, say=tell)
    if as_json:
        emit([str(path) for path in written])
    else:
        print("\n".join(map(str, written)))

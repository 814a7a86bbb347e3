"""``export``: write a study's results for other programs. The ending of the file chooses the format."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import AsJson, Overrides, StoreFolder, StudyName, emit
from pipeline.errors import UsageError


def export(
    study: StudyName,
    files: Annotated[list[Path], typer.Argument(help="Tables: .csv .parquet .nc .mat; figures: .png .svg .pdf.")],
    store: StoreFolder = "results", set_: Overrides = None,
    surfaces: Annotated[bool, typer.Option("--surfaces", help="Statistics over realisations in place of cells.")] = False,
    width: Annotated[str, typer.Option(help="Width of a figure: column (88 mm) or page (181 mm).")] = "column",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write published results as tables or as figures for a paper. Nothing is computed."""
    from flows.derive import load_published
    from flows.run import Run
    from pipeline.export import FORMATS, tables_of, write_tables
    from pipeline.files import told
    from pipeline.flat_surfaces import flat_names
    from pipeline.layout import cube_folder, surface_folder

    figures = (".png", ".svg", ".pdf")
    for file in files:
        if file.suffix not in (*FORMATS, *figures):
            raise UsageError(
                f"'{file}': the ending chooses the format; tables {', '.join(FORMATS)}, figures {', '.join(figures)}"
            )
    if width not in ("column", "page"):
        raise UsageError(f"--width '{width}': expected column or page")
    current = Run(study, store, set_ or ())
    try:
        cube = load_published(current.store, cube_folder(current.study.name))
        statistics = load_published(current.store, surface_folder(current.study.name))
    except KeyError as error:
        raise UsageError(f"'{current.study.name}' is not published in '{store}' yet: run `disac run {study}` first") from error
    names = ("study", "cube_key", "code_digest", "git_revision", "disac_version", "created")
    provenance = {name: str(cube.attrs[name]) for name in names if cube.attrs.get(name)}
    written: list[Path] = []
    for file in files:
        if file.suffix in FORMATS:
            with told(file, writing=0):
                written += write_tables(tables_of(flat_names(statistics) if surfaces else cube), file, provenance)
        else:
            from flows.report.figures import write_figures

            tell = partial(typer.echo, err=True)
            with told(file, writing=0):
                written += write_figures(cube, statistics, current.report_spec, file, width=width, say=tell)
    if as_json:
        emit([str(path) for path in written])
    else:
        print("\n".join(map(str, written)))

"""Published results as files for other programs: tables and figures. The ending of the file chooses the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flows.run import Run
from pipeline.errors import UsageError

_FIGURES = (".png", ".svg", ".pdf")
_WIDTHS = ("column", "page")
_PROVENANCE = ("study", "cube_key", "code_digest", "git_revision", "disac_version", "created")


def export_files(
    run: Run, files: Sequence[Path], *, surfaces: bool, width: str, say: Callable[[str], None]
) -> list[Path]:  # fmt: skip
    """Write published results; see :func:`flows.api.export`."""
    from flows.derive import load_published
    from pipeline.export import FORMATS, tables_of, write_tables
    from pipeline.files import told
    from pipeline.flat_surfaces import flat_names
    from pipeline.layout import cube_folder, surface_folder

    for file in files:
        if file.suffix not in (*FORMATS, *_FIGURES):
            raise UsageError(
                f"'{file}': the ending chooses the format; tables {', '.join(FORMATS)}, figures {', '.join(_FIGURES)}"
            )
    if width not in _WIDTHS:
        raise UsageError(f"width '{width}': expected {' or '.join(_WIDTHS)}")
    name = run.study.name
    try:
        cube = load_published(run.store, cube_folder(name))
        statistics = load_published(run.store, surface_folder(name))
    except KeyError as error:
        raise UsageError(f"'{name}' is not published in '{run.store.location()}' yet: run `disac run {name}` first") from error
    provenance = {name: str(cube.attrs[name]) for name in _PROVENANCE if cube.attrs.get(name)}
    written: list[Path] = []
    for file in files:
        with told(file, writing=0):
            if file.suffix in FORMATS:
                written += write_tables(tables_of(flat_names(statistics) if surfaces else cube), file, provenance)
            else:
                from flows.report.figures import write_figures

                written += write_figures(cube, statistics, run.report_spec, file, width=width, say=say)
    return written

"""Find the data folder: `data/` in a checkout, `flows/data` in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UsageError, near_miss


def data_dir() -> Path:
    """The data folder that belongs to this installation.

    Raises
    ------
    UsageError
        If the installation is broken.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "data", here.parent / "data"):
        if (folder / "studies").is_dir():
            return folder
    raise UsageError(f"the installation has no data folder beside {here}")


def papers_file() -> Path:
    """The file that lists the papers."""
    return data_dir() / "papers.yaml"


def words_file() -> Path:
    """The file with the words that pages use for this field."""
    return data_dir() / "words.yaml"


def study_path(name: str) -> Path:
    """Path of a study: a file by its path, else one of data/studies by its name.

    Raises
    ------
    UsageError
        If there is neither.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"no study file '{name}'")
        return path
    path = data_dir() / "studies" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise UsageError(f"no study '{name}'{near_miss(name, known)}; there are {', '.join(known)}, or give a path")
    return path

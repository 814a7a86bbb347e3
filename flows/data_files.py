"""Find the data folder: `data/` in a checkout, `flows/data` in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UsageError, near_miss


def data_dir() -> Path:
    """Return the data folder of this installation.

    Raises
    ------
    UsageError
        If the installation has no data folder.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "data", here.parent / "data"):
        if (folder / "studies").is_dir():
            return folder
    raise UsageError(f"the installation has no data folder beside {here}")


def papers_file() -> Path:
    """Return the file that lists the papers."""
    return data_dir() / "papers.yaml"


def words_file() -> Path:
    """Return the file with the words that pages use for this field."""
    return data_dir() / "words.yaml"


def is_study(name: str) -> bool:
    """Return whether the name is that of a study in data/studies, or the path of a file."""
    return _is_path(name) or (data_dir() / "studies" / f"{name}.yaml").is_file()


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or "/" in name


def study_path(name: str) -> Path:
    """Return the path of a study, given as the path of a file or as the name of a study in data/studies.

    Raises
    ------
    UsageError
        If there is neither such a file nor such a study.
    """
    if _is_path(name):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"no study file '{name}'")
        return path
    path = data_dir() / "studies" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise UsageError(f"no study '{name}'{near_miss(name, known)}; there are {', '.join(known)}, or give a path")
    return path

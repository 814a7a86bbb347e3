"""Files that scenarios refer to: each content is stored once, and workers read the files from the store (rule I4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import SurroundingsError, UsageError
from pipeline.grid import Cells
from pipeline.identity import input_files
from pipeline.layout import INPUTS
from pipeline.store import Store, content_name


def put_inputs(cells: Cells, store: Store) -> None:
    """Store the content of every file that the cells refer to.

    Raises
    ------
    UsageError
        If a file has changed since the cells were keyed.
    SurroundingsError
        If the store holds another content under the file's name.
    """
    for path, digest in input_files(cells).values():
        data = path.read_bytes()
        if content_name(data) != digest:
            raise UsageError(f"{path}: the file changed while the run was being prepared; run again")
        if not store.put_if_absent(f"{INPUTS}{digest}", data) and store.get(f"{INPUTS}{digest}", len(data)) != data:
            raise SurroundingsError(f"the store's copy '{INPUTS}{digest}' of {path} is damaged: remove it and run again")


def relocate(cells: Cells, store: Store) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return a function that replaces file names in (nested) scenario values by the paths of the stored copies."""
    places = {}
    for text, (_, digest) in input_files(cells).items():
        stored = store.path(f"{INPUTS}{digest}")
        places[text] = text if stored is None else str(stored)

    def replace(values: Mapping[str, Any]) -> dict[str, Any]:
        if not places:
            return dict(values)
        return {
            name: replace(v) if isinstance(v, Mapping) else places.get(v, v) if isinstance(v, str) else v
            for name, v in values.items()
        }

    return replace

"""Files that scenarios refer to: stored once by content, handed to workers from the store (rule I4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.grid import Cells
from pipeline.identity import file_digest, input_files
from pipeline.store import Store

INPUTS = "inputs/"


def put_inputs(cells: Cells, store: Store) -> None:
    """Store the content of every file that the cells refer to."""
    for path in input_files(cells).values():
        store.put_if_absent(f"{INPUTS}{file_digest(path)}", path.read_bytes())


def relocate(cells: Cells, store: Store) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A function that replaces file names in (nested) scenario values by the stored copies' paths."""
    places = {}
    for text, path in input_files(cells).items():
        stored = store.path(f"{INPUTS}{file_digest(path)}")
        places[text] = text if stored is None else str(stored)

    def replace(values: Mapping[str, Any]) -> dict[str, Any]:
        if not places:
            return dict(values)
        return {
            name: replace(v) if isinstance(v, Mapping) else places.get(v, v) if isinstance(v, str) else v
            for name, v in values.items()
        }

    return replace

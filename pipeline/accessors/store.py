"""What an open store offers: ``tree.disac``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.accessors.summary import Summary, store_summary
from pipeline.errors import UsageError
from pipeline.ledger import open_ledger, read_segment
from pipeline.results import STORE
from pipeline.store import open_store_backend


class StoreAccessor:
    """The studies of a tree that :func:`pipeline.open_store` has opened."""

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def studies(self) -> list[str]:
        """Return the names of the studies that are open."""
        return sorted(self._tree.root.children)

    def detail(self, key: str) -> Mapping[str, NDArray[Any]]:
        """Return all stored values of one cell, detail variables included, by its hexadecimal key or the key's beginning.

        Raises
        ------
        UsageError
            If no cell has such a key, or several cells have one.
        """
        if STORE not in self._tree.root.attrs:
            raise UsageError("this tree does not say which store it shows: open it by pipeline.open_store")
        store = open_store_backend(str(self._tree.root.attrs[STORE]))
        ledger = open_ledger(store)
        found = sorted({row.tobytes() for row in ledger.keys if row.tobytes().hex().startswith(key.lower())})
        if len(found) != 1:
            raise UsageError(f"{len(found)} cells have a key that begins with '{key}'")
        keys = np.frombuffer(found[0], dtype=np.uint8).reshape(1, -1)
        choice = ledger.choose(keys)
        name = ledger.segments[choice.segment[0]].name
        segment = read_segment(store, name, rows=choice.row.astype(np.int64), keys=keys)
        return {name: np.asarray(array[0]) for name, array in segment.arrays.items()}

    def _summary(self) -> Summary:
        root = self._tree.root
        cubes = {n: root[n]["cube"].to_dataset() if "cube" in root[n].children else xr.Dataset() for n in self.studies()}
        return store_summary(str(root.attrs.get(STORE, "")), cubes)

    def __repr__(self) -> str:
        return self._summary().text()

    def _repr_html_(self) -> str:
        return self._summary().html()

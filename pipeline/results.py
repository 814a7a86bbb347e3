"""Open results in Python: ``pipeline.open_store("results").cube("quick")``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.archive import StoredFiles
from pipeline.cube import published_version
from pipeline.errors import UsageError, near_miss
from pipeline.file_list import check_file_list
from pipeline.files import check_plain
from pipeline.layout import CUBES, cube_folder, study_of, surface_folder
from pipeline.ledger import open_ledger, read_segment
from pipeline.store import Store, open_store_backend
from pipeline.zarrio import check_group

if TYPE_CHECKING:
    import xarray as xr


class Results:
    """A store that is open for reading."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def studies(self) -> list[str]:
        """Return the names of the studies that have a published cube."""
        names = {study_of(entry.name) for entry in self._store.list(CUBES)}
        return sorted(n for n in names if published_version(self._store, cube_folder(n)))

    def cube(self, study: str) -> xr.Dataset:
        """Open the latest cube of a study, lazily. The link is resolved once, so all data are of one version (rule C4).

        Raises
        ------
        UsageError
            If the study has no published cube, or a damaged one.
        """
        return self._open("cubes", cube_folder(study), study)

    def tree(self, *studies: str) -> xr.DataTree:
        """Open the latest cubes of several studies, each as a node of a tree (rule G4).

        The studies may be the parts of a study whose dense cube would be too large.

        Raises
        ------
        UsageError
            If one of them has no published cube.
        """
        import xarray as xr

        return xr.DataTree.from_dict({f"/{study}": self.cube(study) for study in studies})

    def surfaces(self, study: str) -> xr.Dataset:
        """Open the latest surfaces of a study, lazily.

        Raises
        ------
        UsageError
            If the study has no published surfaces, or damaged ones.
        """
        return self._open("surfaces", surface_folder(study), study)

    def _open(self, kind: str, folder: str, study: str) -> xr.Dataset:
        import xarray as xr

        version = published_version(self._store, folder)
        path = None if version is None else self._store.path(version)
        if version is None or path is None:
            known = self.studies()
            raise UsageError(f"no {kind} of '{study}' in {self._store.location()}{near_miss(study, known)}; there are {known}")
        try:
            check_plain(path)
            files = StoredFiles(self._store, version)
            check_file_list(files)
            check_group(files)
        except ValueError as error:
            raise UsageError(f"'{path}' is damaged ({error}): remove it, and `disac report` makes it again") from error
        return xr.open_zarr(path)

    def detail(self, key: str) -> Mapping[str, NDArray[Any]]:
        """Return all stored values of one cell, detail variables included, by its hexadecimal key or the key's beginning.

        Raises
        ------
        UsageError
            If no cell has such a key, or several cells have one.
        """
        ledger = open_ledger(self._store)
        found = sorted({row.tobytes() for row in ledger.keys if row.tobytes().hex().startswith(key.lower())})
        if len(found) != 1:
            raise UsageError(f"{len(found)} cells have a key that begins with '{key}'")
        keys = np.frombuffer(found[0], dtype=np.uint8).reshape(1, -1)
        choice = ledger.choose(keys)
        name = ledger.segments[choice.segment[0]].name
        segment = read_segment(self._store, name, rows=choice.row.astype(np.int64), keys=keys)
        return {name: np.asarray(array[0]) for name, array in segment.arrays.items()}


def open_store(location: str | Path) -> Results:
    """Open a store for reading.

    Raises
    ------
    UsageError
        If the folder does not exist.
    """
    if not Path(location).is_dir():
        raise UsageError(f"no store at '{location}'")
    return Results(open_store_backend(str(location)))

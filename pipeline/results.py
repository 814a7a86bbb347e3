"""Open results in Python: ``pipeline.open_store("results")["quick/cube"]``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.archive import StoredFiles
from pipeline.cube import published_version
from pipeline.errors import UsageError, near_miss
from pipeline.file_list import check_file_list
from pipeline.files import check_plain, scan, told
from pipeline.layout import CUBES, SURFACES, analysis_folder, cube_folder, surface_folder
from pipeline.store import Store, open_store_backend
from pipeline.study import STUDY_NAME
from pipeline.zarrio import check_group

if TYPE_CHECKING:
    import xarray as xr

STORE = "store"
"""Attribute of an open tree: the folder of its store."""


def open_store(location: str | Path, *studies: str) -> xr.DataTree:
    """Open the latest cubes and surfaces of a store, lazily.

    Each link ``latest`` is resolved once, so all data of a node are of one version (rule C4). The accessor ``.disac`` of the
    tree and of its nodes offers what studies need beyond xarray (:mod:`pipeline.accessors`).

    Parameters
    ----------
    location
        Folder of the store.
    studies
        Names of the studies to open; default all of which something is published. They may be the parts of a study whose
        dense cube would be too large (rule G4).

    Returns
    -------
    xarray.DataTree
        For each study the nodes ``<study>/cube``, ``<study>/surfaces`` and ``<study>/answers``, as far as they are published.

    Raises
    ------
    UsageError
        If the folder does not exist, nothing is published of a named study, or a published version is damaged (rule C6).
    """
    if not Path(location).is_dir():
        raise UsageError(f"no store at '{location}'")
    import xarray as xr

    import pipeline.accessors  # noqa: F401  # it registers the accessors

    store = open_store_backend(str(location))
    known = published_studies(store)
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs={STORE: store.location()})}
    for study in studies or known:
        if study not in known:
            raise UsageError(f"no study '{study}' in {store.location()}{near_miss(study, known)}; there are {known}")
        for kind, folder in (
            ("cube", cube_folder(study)),
            ("surfaces", surface_folder(study)),
            ("answers", analysis_folder(study)),
        ):
            if (version := published_version(store, folder)) is not None:
                nodes[f"/{study}/{kind}"] = _open(store, version, study)
    return xr.DataTree.from_dict(nodes)


def published_studies(store: Store) -> list[str]:
    """Return the names of the studies that have a published cube or published surfaces, whole or damaged."""
    found = set()
    for kind, folder in ((CUBES, cube_folder), (SURFACES, surface_folder)):
        path = store.path(kind)
        with told(Path(store.location())):
            names = [] if path is None else [item.name for item in scan(str(path)) if re.fullmatch(STUDY_NAME, item.name)]
        found |= {name for name in names if published_version(store, folder(name))}
    return sorted(found)


def _open(store: Store, version: str, study: str) -> xr.Dataset:
    """Open a version of a cube or of surfaces."""
    import xarray as xr

    path = store.path(version)
    assert path is not None
    try:
        check_plain(path)
        files = StoredFiles(store, version)
        check_file_list(files)
        check_group(files)
    except ValueError as error:
        raise UsageError(
            f"'{path}' is damaged ({error}): remove it, and `disac report {study}` makes it again. "
            "open_store(location, 'name', ...) opens other studies meanwhile"
        ) from error
    return xr.open_zarr(path)

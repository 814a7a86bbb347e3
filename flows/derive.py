"""Make surfaces, claims and report from a published cube. This module is separate because it imports xarray, which is slow."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Literal

import numpy as np
import xarray as xr
from psutil import virtual_memory
from pydantic import BaseModel, Json, ValidationError

from flows.analyses import MOST_CELLS, analyses_of
from flows.claims import evaluate_claims
from flows.derivation import Derivation
from flows.verdicts import Whose
from pipeline.aggregate import WHOLE_BYTES, aggregate_blocks, statistics_bytes
from pipeline.archive import StoredFiles
from pipeline.cube import MISSING_TEXT, publish_group, published_version, published_whole
from pipeline.errors import SurroundingsError, UsageError, broken_field
from pipeline.file_list import check_file_list
from pipeline.files import check_plain
from pipeline.layout import (
    ANALYSES,
    CUBES,
    REFINED,
    SURFACES,
    analysis_folder,
    cube_folder,
    latest_of,
    refined_folder,
    report_folder,
    report_page,
    surface_folder,
    versions_of,
)
from pipeline.parts import open_cube
from pipeline.scene_cells import DrawnPlace, drawn_scenes
from pipeline.store import Store
from pipeline.surfaces import compute_surfaces
from pipeline.zarrio import Labelled, array_shape, check_group, group_attributes, read_group


class _CubeAttributes(BaseModel):
    """The attributes of a cube that this module reads."""

    study: str
    title: str
    planned: int
    present: int
    cube_key: str
    cells_by_status: Json[dict[str, int]]
    scenario: Json[Any] = None
    options: Json[Any] = None
    manifest: Json[Any] = None
    environment: Json[Any] = None


class _Claim(BaseModel):
    id: str
    whose: Whose | None = None
    verdict: Literal["holds", "fails", "undecided"]
    statement: str
    source: str
    paper: str
    figure: str
    reading: str
    evidence: str
    ours: str
    reason: str = ""


class _AnalysisAttributes(BaseModel):
    """The attributes of the answers to standing questions that this module reads."""

    metric: str
    refused: Json[dict[str, str]]


class _SurfaceAttributes(BaseModel):
    """The attributes of surfaces that this module reads."""

    over: str
    edge: str
    paired: str
    claims: Json[list[_Claim]]


class _RefinedAttributes(BaseModel):
    """The attributes of a filled lattice that the page reads."""

    refined_variable: str
    tolerance: float
    tolerance_is_relative: bool
    cells: int
    lattice_cells: int
    axes: Json[dict[str, Any]]


_ATTRIBUTES: dict[str, type[BaseModel]] = {
    CUBES: _CubeAttributes,
    SURFACES: _SurfaceAttributes,
    ANALYSES: _AnalysisAttributes,
    REFINED: _RefinedAttributes,
}


def load_published(store: Store, folder: str, names: frozenset[str] | None = None) -> xr.Dataset:
    """Read a published cube, surfaces or answers. ``latest`` is resolved once, so all data are of one version (rule C4).

    Parameters
    ----------
    store, folder
        Store, and folder of what was published in it.
    names
        Variables and coordinates to read, as far as they exist; default all.

    Raises
    ------
    KeyError
        If nothing has been published in the folder.
    SurroundingsError
        If the published version is damaged.
    """
    version = published_version(store, folder)
    if version is None:
        raise KeyError(f"nothing is published under {folder}")
    return read_version(store, version, names)


def read_version(store: Store, version: str, names: frozenset[str] | None = None) -> xr.Dataset:
    """Read one version of what was published, or only its variables with the given names.

    Raises
    ------
    SurroundingsError
        If the version is damaged, or takes more than half of the free memory.
    """
    files = StoredFiles(store, version)
    try:
        check_file_list(files)
        arrays = read_group(files, names, most=virtual_memory().available // 2)
        found = as_dataset(arrays, group_attributes(files))
        _ATTRIBUTES[f"{version.partition('/')[0]}/"].model_validate(found.attrs)
    except ValidationError as error:
        raise _damaged(version, broken_field(error)) from error
    except ValueError as error:
        raise _damaged(version, error) from error
    return found


def _damaged(version: str, why: object) -> SurroundingsError:
    return SurroundingsError(f"'{version}' in the store is damaged ({why}). Remove that folder: `disac report` makes it again")


def as_dataset(arrays: Mapping[str, Labelled], attributes: Mapping[str, Any]) -> xr.Dataset:
    """Return a dataset of labelled arrays.

    An array whose dimension has the array's own name is a coordinate, and so is each array that the attributes name.
    """
    coordinates = {name for name, a in arrays.items() if a.dims == (name,)}
    coordinates |= set(str(attributes.get("coordinates", "")).split())
    variables = {name: (a.dims, _plain(a.data), _plain_attributes(a.attributes)) for name, a in arrays.items()}
    return xr.Dataset(
        {n: v for n, v in variables.items() if n not in coordinates},
        {n: v for n, v in variables.items() if n in coordinates},
        {k: v for k, v in attributes.items() if k != "coordinates"},
    )


def _plain(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert variable-length strings to objects, which every part of xarray and pandas accepts."""
    return data.astype(object) if isinstance(data.dtype, np.dtypes.StringDType) else data


def _plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as xarray shows them."""
    return {name: value for name, value in attributes.items() if name != MISSING_TEXT}


def labelled(dataset: xr.Dataset) -> dict[str, Labelled]:
    """Return a dataset's variables as labelled arrays, with strings in the stored form."""
    arrays = {}
    for name, variable in dataset.variables.items():
        data = variable.values
        if data.dtype.kind in "OU":
            data = data.astype(np.dtypes.StringDType())
        arrays[str(name)] = Labelled(tuple(map(str, variable.dims)), data, dict(variable.attrs))
    return arrays


def publish_surfaces(
    derivation: Derivation, executor: Executor | None = None, say: Callable[[str], None] = lambda _: None
) -> str:
    """Compute the surfaces and claims of the latest cube and publish them; return their key.

    Parameters
    ----------
    executor
        Where the blocks of a large cube are computed; default in this process. Small cubes are computed here.
    say
        Receives a sentence on the blocks of a large cube.
    """
    store, folder, key = derivation.store, surface_folder(derivation.study), derivation.surface_key
    if not published_whole(store, folder, key):
        _publish_statistics(derivation, executor, say)
    publish_analyses(derivation)
    return key


def _publish_statistics(derivation: Derivation, executor: Executor | None, say: Callable[[str], None]) -> None:
    store, folder, key = derivation.store, surface_folder(derivation.study), derivation.surface_key
    large = _large_cube(derivation)
    if large is None:
        surfaces = surfaces_of(derivation)
        publish_group(store, folder, key, labelled(surfaces), surfaces.attrs)
        return
    cube = open_cube(store, large)
    told = aggregate_blocks(
        store, large, folder, key, derivation.surfaces, executor=executor,
        attributes=lambda edge: _told_with(derivation, cube, edge),
    )  # fmt: skip
    say(told.summary)


def publish_analyses(derivation: Derivation) -> None:
    """Answer the standing questions to the main variable of the report, and publish the answers."""
    store, folder, key = derivation.store, analysis_folder(derivation.study), derivation.analysis_key
    if not published_whole(store, folder, key):
        answers = answers_of(derivation)
        publish_group(store, folder, key, labelled(answers), answers.attrs)


def answers_of(derivation: Derivation) -> xr.Dataset:
    """Answer the standing questions of the latest cube, with the keys in the attributes.

    A cube of more than :data:`flows.analyses.MOST_CELLS` cells is refused with a sentence in the attribute ``refused``.
    """
    store, metric = derivation.store, derivation.report.get("y")
    front = [str(name) for name in derivation.report.get("front") or ()]
    version = published_version(store, cube_folder(derivation.study))
    if version is None:
        raise KeyError(f"nothing is published under {cube_folder(derivation.study)}")
    try:
        cells = math.prod(array_shape(StoredFiles(store, version), "status"))
    except ValueError as error:
        raise _damaged(version, error) from error
    why = "" if metric else "the study keeps no variable that a report draws"
    if cells > MOST_CELLS:
        why = f"the cube has {cells:,} cells, more than {MOST_CELLS:,}: call pipeline.analysis for parts of it"
    if why:
        answers = xr.Dataset(attrs={"metric": str(metric or ""), "refused": json.dumps({"all": why})})
    else:
        names = frozenset(("status", str(metric), *front, *derivation.labels))
        answers = analyses_of(read_version(store, version, names), str(metric), derivation.surfaces, front)
    return answers.assign_attrs(study=derivation.study, surface_key=derivation.surface_key)


def _large_cube(derivation: Derivation) -> str | None:
    """Return the version of the latest cube if its surfaces are computed block by block, after a check of its files."""
    store = derivation.store
    version = published_version(store, cube_folder(derivation.study))
    path = None if version is None else store.path(version)
    if version is None or path is None:
        return None
    files = StoredFiles(store, version)
    try:
        arrays = sum(name.endswith("/zarr.json") for name in files)
        if "status/zarr.json" not in files or 8 * arrays * math.prod(array_shape(files, "status")) <= WHOLE_BYTES:
            return None
        check_plain(path)
        check_file_list(files)
        check_group(files)
    except ValueError as error:
        raise _damaged(version, error) from error
    return version if statistics_bytes(open_cube(store, version), derivation.surfaces) > WHOLE_BYTES else None


def surfaces_of(derivation: Derivation) -> xr.Dataset:
    """Compute the surfaces of the latest cube as a whole, with the claims in the attributes."""
    cube = load_published(derivation.store, cube_folder(derivation.study))
    spec = derivation.surfaces
    surfaces = compute_surfaces(cube, over=spec.over, edge=spec.edge, paired=spec.paired, profiles=spec.profiles)
    surfaces.attrs.update(_told_with(derivation, cube, surfaces))
    return surfaces


def _told_with(derivation: Derivation, cube: xr.Dataset, surfaces: xr.Dataset) -> dict[str, str]:
    """Return the attributes that surfaces have beside those of their computation."""
    claims = json.dumps(evaluate_claims(derivation.study, cube, surfaces))
    keys = {"cube_key": cube.attrs["cube_key"], "surface_key": derivation.surface_key}
    return {"study": derivation.study, **keys, "claims": claims}


def write_report(derivation: Derivation) -> str:
    """Draw the report of the latest cube and surfaces and let ``index.html`` point to it; return the version's name."""
    # Only this function draws: what reads surfaces and claims does without HoloViews.
    from flows.report.page import build_report
    from flows.report.spec import drawn_variables

    store, name, version = derivation.store, derivation.study, derivation.report_version
    labels = frozenset(derivation.labels)
    in_cube, in_surfaces = drawn_variables(dict(derivation.report), derivation.surfaces.edge)
    cube = load_published(store, cube_folder(name), in_cube | labels)
    surfaces = load_published(store, surface_folder(name), in_surfaces | labels)
    claims = json.loads(surfaces.attrs["claims"])
    publish_analyses(derivation)
    answers = load_published(store, analysis_folder(name))
    place = None if derivation.network is None else DrawnPlace.model_validate(derivation.network)
    network = None if place is None else (place, drawn_scenes(store, place))
    lattice = published_version(store, refined_folder(name))
    filled = None if lattice is None else read_version(store, lattice)
    html = build_report(
        cube, surfaces, claims, report_spec=dict(derivation.report), answers=answers, network=network, filled=filled
    )  # fmt: skip
    store.put_if_absent(version, html.encode(), durable=False)
    store.publish_pointer(report_page(name), version)
    store.publish_pointer(latest_of(report_folder(name)), version)
    for entry in store.list(versions_of(report_folder(name))):
        if entry.name != version:
            store.delete(entry.name)
    return version


def _claims_of(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the claims in the attributes of surfaces."""
    try:
        return [dict(claim) for claim in _SurfaceAttributes.model_validate(attributes).claims]
    except ValidationError as error:
        raise ValueError(broken_field(error)) from error


def published_claims(store: Store, study: str) -> list[dict[str, Any]]:
    """Return the claims of the latest surfaces.

    Raises
    ------
    UsageError
        If the study has no surfaces yet, or its surfaces are of an earlier version without the source of each statement.
    """
    target = published_version(store, surface_folder(study))
    if target is None:
        raise UsageError(f"'{study}' has no surfaces yet: run `disac run {study}` first")
    try:
        rows = _claims_of(group_attributes(StoredFiles(store, target)))
    except ValueError as error:
        raise _damaged(target, error) from error
    if any(row["whose"] is None for row in rows):
        raise UsageError(f"the surfaces of '{study}' are of an earlier version: run `disac report {study}` first")
    return rows

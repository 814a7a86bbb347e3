"""The run of one study, from plan to report: the steps that the Prefect flow calls. They work without Prefect, too.

A :class:`Run` holds a study, a store and the current plan. Keys alone decide which results are up to date, before Prefect, Dask
or xarray is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from flows.data_files import study_path
from flows.derivation import Derivation, analysis_code, analysis_key, report_code, report_key, surface_code, surface_key
from flows.papers import check_paper
from pipeline.address import find_cells
from pipeline.cube import (
    nondeterminism,
    publish_cube,
    published_key,
    published_version,
    published_whole,
    version_damage,
)
from pipeline.inputs import put_inputs
from pipeline.key_index import write_index
from pipeline.layout import (
    analysis_folder,
    cube_folder,
    latest_of,
    refined_folder,
    report_folder,
    report_page,
    surface_folder,
    versions_of,
)
from pipeline.named_axes import report_axes, surface_axes
from pipeline.plan import Plan, make_plan, refreshed, write_record
from pipeline.scene_cells import drawn_place
from pipeline.store import Store, open_store_backend
from pipeline.study import load_study


class Run:
    """A study and the store that holds its results."""

    def __init__(
        self,
        source: str | Path,
        store: str,
        overrides: Sequence[str] = (),
        *,
        preview: bool = False,
        retry: Sequence[str] | None = None,
    ) -> None:
        file = study_path(str(source))
        self.study = check_paper(load_study(file, overrides=overrides))
        self.store: Store = open_store_backend(store)
        named = str(source) if str(source) == file.stem else str(file.resolve())
        self.parameters: dict[str, Any] = {
            "study": named, "store": self.store.location(), "overrides": list(overrides)
        }  # fmt: skip
        """The same study and store for a flow, which may run in another folder."""
        self.plan: Plan = make_plan(self.study, self.store)
        self.surfaces = surface_axes(self.plan.cells)
        self.report_spec = report_axes(self.plan.cells, self.surfaces.over)
        if preview:
            self.plan = replace(self.plan, within=preview_mask(self.plan, self.surfaces.over))
        if retry is not None:
            chosen = np.zeros(len(self.plan.keys), dtype=bool)
            chosen[find_cells(self.plan, retry)] = True
            self.plan = replace(self.plan, within=chosen & self.plan.failed, retry=True)

    def refresh(self) -> None:
        """Read the ledger again."""
        self.plan = refreshed(self.plan, self.store)

    @cached_property
    def _surface_code(self) -> str:
        """Return the digest of the code that makes surfaces, as it was when this process began."""
        return surface_code()

    @cached_property
    def _analysis_code(self) -> str:
        """Return the digest of the code that answers the standing questions, as it was when this process began."""
        return analysis_code()

    @cached_property
    def _report_code(self) -> str:
        """Return the digest of the code that draws a report, as it was when this process began."""
        return report_code(self.study.experiment.name)

    @property
    def surface_key(self) -> str:
        """Return the digest of all that the surfaces depend on: the cube, the study's choices, and the code."""
        return surface_key(self.plan.cube_key, self.surfaces, self._surface_code)

    @property
    def analysis_key(self) -> str:
        """Return the digest of all that the answers to the standing questions depend on."""
        return analysis_key(self.surface_key, self.report_spec, self._analysis_code)

    @property
    def report_key(self) -> str:
        """Return the digest of all that the report depends on."""
        lattice = published_version(self.store, refined_folder(self.study.name))
        return report_key(self.analysis_key, self.report_spec, self._report_code, lattice)

    @property
    def report_file(self) -> Path:
        """Return the file with which a person opens the report."""
        path = self.store.path(report_page(self.study.name))
        if path is None:
            raise TypeError("this store has no local files to open a report from")
        return path

    def stale(self) -> list[str]:
        """Return those of cube, surfaces and report that are not up to date."""
        name = self.study.name
        if published_key(self.store, cube_folder(name)) != self.plan.cube_key:
            return ["cube", "surfaces", "report"]  # surfaces and report belong to another cube
        checks = {
            "cube": published_whole(self.store, cube_folder(name), self.plan.cube_key),
            "surfaces": published_whole(self.store, surface_folder(name), self.surface_key)
            and published_whole(self.store, analysis_folder(name), self.analysis_key),
            "report": self._report_stands(),
        }
        return [what for what, fresh in checks.items() if not fresh]

    def damage(self) -> list[str]:
        """Return sentences on published cube, surfaces and answers if files of them are missing or incomplete (rule C6)."""
        sentences = []
        for folder in (folder_of(self.study.name) for folder_of in (cube_folder, surface_folder, analysis_folder)):
            version = published_version(self.store, folder)
            if version is not None and (why := version_damage(self.store, version)):
                sentences.append(f"'{version}' is damaged ({why}): `disac run` or `disac report` publishes it again")
        return sentences

    def _report_stands(self) -> bool:
        folder, version = report_folder(self.study.name), self.derivation.report_version
        links = {self.store.read_pointer(link) for link in (latest_of(folder), report_page(self.study.name))}
        return links == {version} and version in {entry.name for entry in self.store.list(versions_of(folder))}

    def begin(self) -> None:
        """Store the files that the workers need, and the record of the plan."""
        put_inputs(self.plan.cells, self.store)
        write_record(self.plan, self.store)

    def publish(self) -> str:
        """Publish the cube from the ledger as it stands; return its key."""
        self.refresh()
        write_index(self.plan.ledger)
        if not published_whole(self.store, cube_folder(self.study.name), self.plan.cube_key):
            publish_cube(self.plan, self.store)
        return self.plan.cube_key

    def publish_partial(self) -> None:
        """Publish the cube during a sweep. The ledger is read again; the plan of the sweep does not change."""
        plan = refreshed(self.plan, self.store)
        write_index(plan.ledger)
        publish_cube(plan, self.store)

    @property
    def derivation(self) -> Derivation:
        """Return the inputs of surfaces and report for the cube as it stands."""
        labels = {name for axis in self.plan.cells.axes for name in (axis.name, *axis.members)}
        labels |= {dim for variable in self.study.experiment.variables for dim in variable.dims}
        return Derivation(
            self.study.name, self.store.location(), self.surfaces, self.report_spec, tuple(sorted(labels)), self.surface_key,
            self.analysis_key, self.report_key,
        )  # fmt: skip

    @property
    def report_derivation(self) -> Derivation:
        """Return the inputs of the report: those of the surfaces, and the place whose network is drawn."""
        place = drawn_place(self.plan, self.surfaces.over)
        return replace(self.derivation, network=None if place is None else place.model_dump(mode="json"))

    def aggregate(self, executor: Executor | None = None) -> str:
        """Compute and publish the surfaces and claims of the latest cube; return their key.

        Parameters
        ----------
        executor
            Where the blocks of a large cube are computed; default in this process.
        """
        from flows.derive import publish_surfaces

        return publish_surfaces(self.derivation, executor)

    def report(self) -> str:
        """Write the report of the latest surfaces."""
        from flows.derive import write_report

        return write_report(self.report_derivation)

    def words(self) -> str:
        """Return a sentence on the cells and the report."""
        return f"{self.study.title}: {len(self.plan.keys)} cells, {self.plan.by_status()}; report {self.report_file}"

    def nondeterminism(self) -> list[str]:
        """Return sentences on cells whose copies differ (rule S3)."""
        return nondeterminism(self.plan)


def preview_mask(plan: Plan, over: str | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return the mask of a thin slice of cells.

    The slice has the ends and the middle of each axis, and the first value of the axis that the surfaces average over.
    """
    mask = np.ones(len(plan.keys), dtype=bool)
    for a, axis in enumerate(plan.cells.axes):
        count = len(axis.labels)
        kept = [0] if axis.name == over else sorted({0, count // 2, count - 1})
        mask &= np.isin(plan.cells.index[:, a], kept)
    return mask

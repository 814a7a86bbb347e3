"""The dense lattice of a refinement: computed cells, and between them what the accepted boxes say, told apart by a mask."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cube import publish_group, published_version
from pipeline.errors import UsageError, near_miss
from pipeline.experiment import STATUS_CODES, Variable
from pipeline.layout import REFINED, refined_folder, refined_study, study_of
from pipeline.refining.boxes import Float, Whole
from pipeline.refining.known import FAILED, INFEASIBLE, UNKNOWN, USABLE, VALUELESS
from pipeline.refining.noise import statistic
from pipeline.refining.of_study import StudyLattice, derived_name, derived_study
from pipeline.refining.refine import Refined, with_slice
from pipeline.store import Store, content_name
from pipeline.values import as_text
from pipeline.zarrio import Labelled, numpy_dtype

if TYPE_CHECKING:
    import xarray as xr

_STATUS = np.zeros(5, dtype=np.uint8)
for _kind, _name in ((USABLE, "ok"), (INFEASIBLE, "infeasible"), (FAILED, "failed"), (VALUELESS, "ok"), (UNKNOWN, "missing")):
    _STATUS[_kind] = STATUS_CODES[_name]


@dataclass(frozen=True)
class Refinement:
    """A refined study: its lattices, their boxes, and the variable that was refined."""

    lattice: StudyLattice
    refined: Refined
    metric: Variable

    @property
    def known(self) -> Whole:
        """Return the cells that were computed, [cells, 1 + refined axes + 1]: slice, label numbers, draw."""
        return np.concatenate(
            [with_slice(number, np.argwhere(tree.kinds != UNKNOWN)) for number, tree in enumerate(self.refined.trees)]
        )

    def predict(self, points: Mapping[str, object], **others: object) -> tuple[Float, NDArray[np.uint8]]:
        """Return values and statuses at points of one lattice, also between its labels.

        Parameters
        ----------
        points
            Values on each refined axis, [points] each, in the unit of the axis.
        others
            The label of each further axis, without the averaged axis; an axis with one label may be left out.

        Returns
        -------
        values, statuses
            Each [points, draws]: NaN and 4 (rule C1) where a cell is infeasible, NaN and 0 where nothing is known: between
            computed cells of different statuses, or where the budget ended.

        Raises
        ------
        UsageError
            If an axis or a label does not exist, or a value lies outside the ends of its axis.
        """
        names = [axis.name for axis in self.lattice.axes]
        for name in points:
            if name not in names:
                raise UsageError(f"no refined axis '{name}'{near_miss(name, names)}; refined: {', '.join(names)}")
        if set(points) != set(names):
            raise UsageError(f"predict needs values on every refined axis: {', '.join(names)}")
        try:
            positions = np.stack([np.atleast_1d(axis.positions(points[axis.name])) for axis in self.lattice.axes], axis=1)
        except ValueError as error:
            raise UsageError(str(error)) from error
        values, kinds = self.refined.trees[self._slice(others)].predict(positions)
        return values, _STATUS[kinds]

    def _slice(self, others: Mapping[str, object]) -> int:
        axes = [self.lattice.base.axes[a] for a in self.lattice.others]
        matching = np.ones(len(self.lattice.slices), dtype=bool)
        for name in others:
            if name not in [axis.name for axis in axes]:
                known = [axis.name for axis in axes]
                raise UsageError(f"no axis '{name}'{near_miss(name, known)}; axes: {', '.join(known) or 'none'}")
        for a, axis in enumerate(axes):
            if axis.name in others:
                labels = [as_text(label) for label in axis.labels]
                wanted = as_text(others[axis.name])
                if wanted not in labels:
                    raise UsageError(f"'{wanted}' is no label of '{axis.name}'{near_miss(wanted, labels)}; {', '.join(labels)}")
                matching &= self.lattice.slices[:, a] == labels.index(wanted)
        found = np.flatnonzero(matching)
        if len(found) != 1:
            raise UsageError(f"{len(found)} lattices match; name a label of each of: {', '.join(axis.name for axis in axes)}")
        return int(found[0])

    def arrays(self) -> tuple[dict[str, Labelled], dict[str, Any]]:
        """Return the dense lattice as labelled arrays over the axes of the study, and its attributes.

        Returns
        -------
        arrays
            Labels; the metric; ``status`` (rule C1); ``computed``: 1 for a computed cell, 0 for one that a box says; the mean
            of the metric over feasible draws, and ``computed_share``: the share of the draws that were computed.
        attributes
            How the refinement ended, as text and numbers.
        """
        lattice, name = self.lattice, self.metric.name
        shape = lattice.dense_shape
        values, kinds = np.full(shape, np.nan), np.full(shape, UNKNOWN, dtype=np.uint8)
        computed, planned = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=bool)
        for number, tree in enumerate(self.refined.trees):
            place = self._place(number)
            told_values, told_kinds = tree.filled()
            for dense, own in ((values, told_values), (kinds, told_kinds), (computed, tree.kinds != UNKNOWN)):
                dense[place] = self._ordered(own)
            planned[place] = True
        axes = tuple(axis.name for axis in lattice.base.axes)
        status = np.where(planned, _STATUS[kinds], STATUS_CODES["not_planned"]).astype(np.uint8)
        about = {"units": self.metric.unit, "long_name": self.metric.long_name}
        flags = {"flag_values": list(STATUS_CODES.values()), "flag_meanings": " ".join(STATUS_CODES)}
        found = self._labels()
        found[name] = Labelled(axes, values, about)
        found["status"] = Labelled(axes, status, {"long_name": "status of the cell, computed or interpolated"} | flags)
        found["computed"] = Labelled(axes, computed, {"long_name": "1: computed, 0: interpolated"})
        over = lattice.over if lattice.over is not None else len(axes)
        rest = tuple(axis for a, axis in enumerate(axes) if a != over)
        draws_last: list[NDArray[Any]] = [
            np.moveaxis(one, over, -1) if over < len(axes) else one[..., np.newaxis] for one in (values, kinds, computed)
        ]
        mean = statistic(draws_last[0], draws_last[1])
        found[f"{name}_mean_feasible"] = Labelled(rest, mean, about | {"long_name": f"{self.metric.long_name}, mean feasible"})
        share = draws_last[2].mean(axis=-1)
        found["computed_share"] = Labelled(rest, share, {"long_name": "share of the cells that were computed", "units": "1"})
        return found, self._attributes()

    def _place(self, number: int) -> tuple[Any, ...]:
        """Return the index of a slice in the dense arrays."""
        place: list[Any] = [slice(None)] * len(self.lattice.base.axes)
        for axis, label in zip(self.lattice.others, self.lattice.slices[number], strict=True):
            place[axis] = int(label)
        return tuple(place)

    def _ordered(self, own: NDArray[Any]) -> NDArray[Any]:
        """Return an array of a tree [refined axes, draws] with its axes in the order of the cube."""
        lattice = self.lattice
        if lattice.over is None:
            return own[..., 0]
        order = [a for a in range(len(lattice.base.axes)) if a in lattice.places or a == lattice.over]
        return own.transpose([len(lattice.places) if a == lattice.over else lattice.places.index(a) for a in order])

    def _labels(self) -> dict[str, Labelled]:
        found = {}
        for a, axis in enumerate(self.lattice.base.axes):
            labels: Sequence[Any] = axis.labels
            if a in self.lattice.places:
                labels = self.lattice.axes[self.lattice.places.index(a)].labels
            attributes = {"units": axis.unit, "long_name": axis.long_name, "path": ", ".join(axis.paths)}
            text = any(isinstance(label, str) for label in labels)
            data = np.array([str(x) for x in labels] if text else list(labels), dtype=numpy_dtype("str") if text else None)
            found[axis.name] = Labelled((axis.name,), data, attributes)
        return found

    def _attributes(self) -> dict[str, Any]:
        refined = self.refined
        tolerance = refined.trees[0].tolerance
        return {
            "study": derived_name(self.lattice.base.study.name),
            "refined_variable": self.metric.name,
            "tolerance": tolerance.size,
            "tolerance_is_relative": int(tolerance.relative),
            "end": refined.end,
            "cells": refined.cells,
            "lattice_cells": refined.lattice_cells,
            "checks": refined.checks,
            "checks_disagreed": refined.disagreed,
            "noise": refined.noise,
            "axes": json.dumps({axis.name: {"labels": len(axis.labels), "scale": axis.scale} for axis in self.lattice.axes}),
        }

    def dataset(self) -> xr.Dataset:
        """Return the dense lattice as a dataset, as :meth:`arrays` describes it."""
        import xarray as xr

        arrays, attributes = self.arrays()
        variables = {
            name: (a.dims, a.data.astype(object) if isinstance(a.data.dtype, np.dtypes.StringDType) else a.data, a.attributes)
            for name, a in arrays.items()
        }
        labels = {name for name, a in arrays.items() if a.dims == (name,)}
        return xr.Dataset(
            {n: v for n, v in variables.items() if n not in labels},
            {n: v for n, v in variables.items() if n in labels},
            attributes,
        )

    def publish(self, store: Store) -> str:
        """Publish the filled lattice and the file of the derived study; return the store name of the file."""
        name, text = derived_name(self.lattice.base.study.name), derived_study(self.lattice, self.known).encode()
        folder = refined_folder(name)
        file = f"{folder}studies/{content_name(text)}.yaml"
        store.put_if_absent(file, text)
        store.publish_pointer(refined_study(name), file)
        for entry in store.list(f"{folder}studies/"):
            if entry.name != file:
                store.delete(entry.name)
        arrays, attributes = self.arrays()
        digest = blake2b(json.dumps(attributes, sort_keys=True).encode() + text, digest_size=16)
        for array in (values for name, values in sorted(arrays.items()) if values.dims != (name,)):
            digest.update(np.ascontiguousarray(array.data).tobytes())
        publish_group(store, folder, digest.hexdigest(), arrays, attributes)
        return refined_study(name)


def open_refined(store: Store, study: str) -> xr.Dataset:
    """Open the filled lattice of a refined study, lazily.

    Parameters
    ----------
    study
        Name of the study that was refined.

    Raises
    ------
    UsageError
        If the store has no refinement of the study.
    """
    import xarray as xr

    version = published_version(store, refined_folder(derived_name(study)))
    path = None if version is None else store.path(version)
    if path is None:
        names = sorted({study_of(entry.name).removesuffix("-refined") for entry in store.list(REFINED)})
        raise UsageError(f"no refinement of '{study}' in {store.location()}{near_miss(study, names)}; there are {names}")
    return xr.open_zarr(path)

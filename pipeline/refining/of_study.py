"""The lattices of a study: one for each combination of the axes that are not refined, and the plans of their cells."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.columns import column_names, columns_of
from pipeline.cube import build_cube
from pipeline.errors import UsageError, near_miss
from pipeline.experiment import Variable
from pipeline.grid import Axis, Cells, expand
from pipeline.named_axes import surface_axes
from pipeline.plan import Plan, make_plan
from pipeline.refining.boxes import Float, Whole
from pipeline.refining.lattice import LatticeAxis, Scale, Step, is_geometric, lattice_axis
from pipeline.sizes import MOST_CELLS, kept_names
from pipeline.store import Store
from pipeline.study import SpacedValues, Study
from pipeline.values import canonical_text, plain

Load = Callable[[Sequence[str]], Study]
"""Loads the study with further overrides (``key=value``)."""


@dataclass(frozen=True)
class StudyLattice:
    """The lattices of a study.

    Parameters
    ----------
    load
        Loads the study; its overrides change the values of the refined axes.
    base
        The study's own cells; all axes but the refined ones stay as they are there.
    axes
        The refined axes.
    places
        Number of each refined axis among the axes of the cube.
    over
        Number of the axis of the draws among the axes of the cube; None if the surfaces average over no axis.
    slices
        Label numbers of the other axes, in the order of the cube [slices, other axes].
    """

    load: Load
    base: Cells
    axes: tuple[LatticeAxis, ...]
    places: tuple[int, ...]
    over: int | None
    slices: Whole

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the number of labels of each refined axis."""
        return tuple(len(axis.labels) for axis in self.axes)

    @property
    def draws(self) -> int:
        """Return the number of cells at a lattice point: of the labels of the averaged axis, or 1."""
        return 1 if self.over is None else len(self.base.axes[self.over].labels)

    @property
    def others(self) -> tuple[int, ...]:
        """Return the numbers of the axes that are neither refined nor averaged."""
        return tuple(a for a in range(len(self.base.axes)) if a not in self.places and a != self.over)

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """Return the shape of the cube of the dense lattice, in the order of the cube's axes."""
        labels = [len(axis.labels) for axis in self.base.axes]
        for place, axis in zip(self.places, self.axes, strict=True):
            labels[place] = len(axis.labels)
        return tuple(labels)

    def dense_index(self, cells: Whole) -> Whole:
        """Return the label numbers on all axes of the cube of the dense lattice.

        Parameters
        ----------
        cells
            Cells [cells, 1 + refined axes + 1]: slice, label numbers, draw.
        """
        found = np.zeros((len(cells), len(self.base.axes)), dtype=np.int64)
        found[:, list(self.others)] = self.slices[cells[:, 0]]
        found[:, list(self.places)] = cells[:, 1:-1]
        if self.over is not None:
            found[:, self.over] = cells[:, -1]
        return found

    def plan(self, cells: Whole, store: Store) -> Plan:
        """Return the plan of these cells alone.

        Raises
        ------
        UsageError
            If the scenario refuses a label of the lattice, or the study leaves some of the cells out.
        """
        used = [np.unique(cells[:, 1 + a]) for a in range(len(self.axes))]
        texts = [
            f"axes.{axis.name}={json.dumps([axis.labels[int(i)] for i in numbers])}"
            for axis, numbers in zip(self.axes, used, strict=True)
        ]
        wanted = np.sort(self._flat(self.dense_index(cells)))

        def only(planned: Cells) -> NDArray[np.bool_]:
            return np.isin(self._flat(self._dense_index_of(planned)), wanted, assume_unique=True)

        try:
            plan = make_plan(self.load(texts), store, only)
        except UsageError as error:
            steps = " ".join(f"--step {axis.name}=..." for axis in self.axes)
            raise UsageError(
                f"a point of the lattice cannot be used: {error}. Choose axes or steps that fit: {steps}"
            ) from error
        if len(plan.keys) != len(wanted):
            what = "'where' or 'exclude' leaves out cells of the lattice; only whole lattices are refined"
            raise UsageError(f"{self.base.study.source.name}: {what}")
        return plan

    def _dense_index_of(self, planned: Cells) -> Whole:
        """Return planned cells by their label numbers in the cube of the dense lattice."""
        index = planned.index.astype(np.int64)
        for place, axis in zip(self.places, self.axes, strict=True):
            number = {label: i for i, label in enumerate(axis.labels)}
            index[:, place] = np.array([number[label] for label in planned.axes[place].labels])[index[:, place]]
        return index

    def _flat(self, index: Whole) -> Whole:
        return np.ravel_multi_index(tuple(index.T), self.dense_shape).astype(np.int64)

    def outcomes(self, plan: Plan, cells: Whole, metric: str) -> tuple[NDArray[np.uint8], Float]:
        """Return statuses and values of a metric of cells, from the ledger that a plan of these cells was compared with."""
        if any(variable.name == metric for variable in plan.study.experiment.variables):
            # Nothing else is read; a column needs the variables from which it follows.
            plan = replace(plan, keep=(metric,), study=replace(plan.study, keep=(metric,)))
        arrays, _ = build_cube(plan)
        flat = plan.cells.flat
        order = np.argsort(self._flat(self._dense_index_of(plan.cells)))
        rank = np.argsort(np.argsort(self._flat(self.dense_index(cells))))
        found = flat[order][rank]
        values = arrays[metric].data.reshape(-1)[found].astype(np.float64)
        return arrays["status"].data.reshape(-1)[found], values


def study_lattice(load: Load, names: Sequence[str] = (), steps: Mapping[str, Step] | None = None) -> StudyLattice:
    """Return the lattices of a study.

    Parameters
    ----------
    load
        Loads the study with overrides.
    names
        Axes to refine; without names all numeric axes between whose ends there are points, without the averaged axis.
    steps
        Finest step of axes by name; under an empty name that of all other axes.

    Raises
    ------
    UsageError
        If an axis does not exist, is not numeric or cannot be divided, or the lattices have more cells than a plan holds.
    """
    study = load(())
    cells = expand(study)
    over = surface_axes(cells).over
    numeric = [axis for axis in cells.axes if _is_numeric(axis) and axis.name != over]
    chosen = _chosen(study, numeric, names, [axis.name for axis in cells.axes])
    steps = dict(steps or {})
    for name in set(steps) - {axis.name for axis in chosen} - {""}:
        known = [axis.name for axis in chosen]
        raise UsageError(f"--step {name}: no refined axis '{name}'{near_miss(name, known)}; refined: {', '.join(known)}")
    try:
        axes = tuple(
            lattice_axis(axis.name, axis.labels, steps.get(axis.name, steps.get("")), whole=_is_whole(axis),
                         scale=_scale(study, axis), unit=axis.unit)
            for axis in chosen
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"--step: {error}") from error
    places = tuple(cells.axes.index(axis) for axis in chosen)
    number = next((a for a, axis in enumerate(cells.axes) if axis.name == over), None)
    others = [a for a in range(len(cells.axes)) if a not in places and a != number]
    slices = np.unique(cells.index[:, others], axis=0).astype(np.int64)
    found = StudyLattice(load, cells, axes, places, number, slices)
    size = math.prod(found.shape) * found.draws * len(slices)
    if size > MOST_CELLS:
        told = " x ".join(f"{axis.name} {len(axis.labels)}" for axis in axes)
        raise UsageError(
            f"the dense lattice has {size:,} cells ({told}); a plan holds {MOST_CELLS:,}. Refine fewer axes (--axes)"
        )
    return found


def _is_numeric(axis: Axis) -> bool:
    numbers = all(isinstance(label, int | float) and not isinstance(label, bool) for label in axis.labels)
    return numbers and len(axis.paths) == 1 and not axis.members


def _is_whole(axis: Axis) -> bool:
    return all(isinstance(label, int) for label in axis.labels)


def _has_points_between(axis: Axis) -> bool:
    return max(axis.labels) - min(axis.labels) > (1 if _is_whole(axis) else 0)


def _chosen(study: Study, numeric: Sequence[Axis], names: Sequence[str], known: Sequence[str]) -> list[Axis]:
    if not names:
        chosen = [axis for axis in numeric if _has_points_between(axis)]
        if not chosen:
            raise UsageError(f"'{study.name}' has no numeric axis with points between its ends; axes: {', '.join(known)}")
        return chosen
    by_name = {axis.name: axis for axis in numeric}
    for name in names:
        if name not in by_name:
            what = "is not numeric, or is the averaged axis" if name in known else f"does not exist{near_miss(name, known)}"
            raise UsageError(f"--axes: the axis '{name}' {what}; numeric axes: {', '.join(by_name) or 'none'}")
        if names.count(name) > 1:
            raise UsageError(f"--axes: '{name}' is written twice")
    return [axis for axis in numeric if axis.name in names]


def _scale(study: Study, axis: Axis) -> Scale:
    """Return the scale of an axis: logarithmic if the study writes it so, or its values follow each other in one ratio."""
    for grid in study.grids:
        for written in grid.axes.values():
            values = getattr(written, "values", written)
            if isinstance(values, SpacedValues) and values.scale == "log" and {values.start, values.stop} == {
                axis.labels[0], axis.labels[-1],
            }:  # fmt: skip
                return "log"
    return "log" if is_geometric(axis.labels) else "linear"


def metric_of(study: Study, name: str) -> Variable:
    """Return the variable or column of a study that is refined.

    Raises
    ------
    UsageError
        If the study does not keep it, or it is not one real number for each cell.
    """
    kept, found = kept_names(study), dict[str, Variable]()
    for variable in study.experiment.variables:
        if variable.name in kept:
            found[variable.name] = variable
    for columns in columns_of(study.experiment).values():
        if set(columns.needs) <= set(kept):
            found |= {variable.name: variable for variable in columns.variables}
    single = {n: v for n, v in found.items() if not v.dims and v.kind == "cube" and v.dtype.startswith(("float", "int"))}
    steady = {n: v for n, v in single.items() if not v.volatile}
    if name in steady:
        return steady[name]
    why = "no variable"
    if name in single:
        why = "a volatile variable, which no interpolation repeats:"
    elif name in found or name in {*(v.name for v in study.experiment.variables), *column_names(study.experiment)}:
        why = "not kept, or not one real number for each cell:"
    raise UsageError(f"--on: {why} '{name}'{near_miss(name, steady)}; there are {', '.join(steady)}")


def derived_name(study: str) -> str:
    """Return the name of the study that holds the cells of a refinement."""
    return f"{study}-refined"


def derived_study(lattice: StudyLattice, cells: Whole) -> str:
    """Return the text of a study whose planned cells are these, as a union of grids (rule G1).

    Parameters
    ----------
    cells
        Cells [cells, 1 + refined axes + 1]: slice, label numbers, draw.
    """
    study = lattice.base.study
    head = {
        "study": derived_name(study.name),
        "title": f"{study.title}, refined",
        **({"paper": study.paper} if study.paper else {}),
        **({"figure": study.figure} if study.figure else {}),
        "experiment": study.experiment.name,
        "scenario": plain(study.scenario),
        "options": plain(study.options),
        **({"keep": list(study.keep)} if study.keep is not None else {}),
        "surfaces": study.surfaces.model_dump(),
        "report": dict(study.report),
        "cell_timeout_s": study.cell_timeout_s,
        "max_dense_bytes": study.max_dense_bytes,
    }
    lines = [f"# The cells that `disac refine {study.name}` asked for."]
    lines += [f"{key}: {canonical_text(value)}" for key, value in head.items()]
    lines.append("grids:")
    along = [*([] if lattice.over is None else [lattice.over]), *lattice.places]
    boxes = _products(lattice.dense_index(cells), along)
    boxes.sort(key=lambda numbers: ([numbers[a] for a in lattice.others], numbers))  # texts keep their order on their axes
    for numbers in boxes:
        axes = {axis.name: _written(lattice, a, numbers[a]) for a, axis in enumerate(lattice.base.axes)}
        lines.append(f"- axes: {json.dumps(axes)}")  # the axes keep their order
    return "\n".join(lines) + "\n"


def _written(lattice: StudyLattice, place: int, numbers: Sequence[int]) -> dict[str, object]:
    """Return an axis of a grid with some of its labels, as a study file has it."""
    axis = lattice.base.axes[place]
    if place in lattice.places:
        labels = lattice.axes[lattice.places.index(place)].labels
        return {"path": axis.paths[0], "values": [labels[i] for i in numbers]}
    if axis.members:
        return {"entries": [{"label": axis.labels[i], "set": plain(axis.entries[i])} for i in numbers]}
    return {"path": axis.paths[0], "values": [plain(axis.entries[i][axis.paths[0]]) for i in numbers]}


def _products(index: Whole, along: Sequence[int]) -> list[list[tuple[int, ...]]]:
    """Return cells [cells, axes] as few products of label numbers: cells that differ along one axis alone are joined."""
    boxes: list[tuple[tuple[int, ...], ...]] = [tuple((int(number),) for number in cell) for cell in index]
    for axis in along:
        joined: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for box in boxes:
            joined.setdefault((*box[:axis], (), *box[axis + 1 :]), []).extend(box[axis])
        boxes = [(*rest[:axis], tuple(sorted(numbers)), *rest[axis + 1 :]) for rest, numbers in joined.items()]
    return [list(box) for box in boxes]

"""The cube to which a question goes: the published one if it is current, else the ledger as a cube in memory.

Points that ``--decide`` has decided have more realisations than the study plans. Then the question goes to a cube with a longer
axis of realisations, which is never published: the study's own cube stays what the study says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flows.run import Run
from pipeline.archive import StoredFiles
from pipeline.asking.answer import Answer, ask
from pipeline.asking.columns import NONE, Columns, of_arrays, of_files
from pipeline.columns import kept_columns
from pipeline.cube import build_cube, published_version, published_whole
from pipeline.decided import decided_realisations
from pipeline.errors import SurroundingsError, UsageError
from pipeline.grid import Axis
from pipeline.layout import cube_folder
from pipeline.plan import Plan
from pipeline.zarrio import FormatError


class Question:
    """A wish on a study, and the cells that answer it.

    Parameters
    ----------
    source, store, overrides
        As :class:`flows.run.Run` takes them.
    wish, minimise
        As :func:`pipeline.asking.ask` takes them.
    """

    def __init__(self, source: str | Path, store: str, overrides: Sequence[str], wish: str, minimise: Sequence[str]) -> None:
        self.source, self.overrides, self.wish, self.minimise = source, tuple(overrides), wish, tuple(minimise)
        self.base = Run(source, store, overrides)
        self.plan: Plan = self.base.plan
        """The plan of the cells that the last answer rests on."""

    @property
    def over(self) -> Axis | None:
        """Return the axis of the realisations, as the study plans it."""
        return realisations(self.base)

    def answer(self) -> Answer:
        """Answer from the cells that the ledger holds now.

        Raises
        ------
        UsageError
            If the wish cannot be read, or does not fit the cube.
        """
        self.base.refresh()
        over, self.plan = self.over, self.base.plan
        if over is None:
            return self._own()
        longer = self._longer(decided_realisations(self.base.store, self.base.study.name, ", ".join(over.paths)))
        if longer is None:
            return self._own()
        self.plan = longer
        return ask(in_memory(longer, over.name), self.wish, minimise=self.minimise, planned=len(over.labels))

    def longer(self, number: int) -> Plan:
        """Return the plan of the study with so many realisations.

        Raises
        ------
        UsageError
            If the axis of realisations cannot be made longer, or other cells would change.
        """
        over, labels = self.over, self.labels(number)
        assert over is not None
        longer = Run(self.source, self.base.store.location(), [*self.overrides, f"axes.{over.name}={labels}"])
        axis = realisations(longer)
        if axis is None or axis.labels[: len(over.labels)] != over.labels or _places(longer) != _places(self.base):
            raise UsageError(
                f"the axis '{over.name}' of '{self.base.study.name}' cannot be made longer without changing other cells"
            )
        return longer.plan

    def labels(self, number: int) -> list[int]:
        """Return the labels of so many realisations: those of the study, then the next whole numbers.

        Raises
        ------
        UsageError
            If the study has no axis of realisations, or one that whole numbers do not go on.
        """
        over = self.over
        if over is None or not countable(over):
            told = "no axis of realisations" if over is None else f"realisations '{over.name}' that are not whole numbers"
            raise UsageError(f"'{self.base.study.name}' has {told}: no more can be computed")
        next_one = max(over.labels) + 1
        return [*over.labels, *range(next_one, next_one + number - len(over.labels))]

    def _longer(self, number: int) -> Plan | None:
        """Return the plan with the realisations that were decided; None if it holds no cell beyond the study's own."""
        over = self.over
        if over is None or number <= len(over.labels) or not countable(over):
            return None
        longer = self.longer(number)
        beyond = longer.cells.index[:, axis_number(longer, over.name)] >= len(over.labels)
        return longer if (longer.choice.present & beyond).any() else None

    def _own(self) -> Answer:
        try:
            return ask(self._columns(), self.wish, minimise=self.minimise)
        except FormatError as error:
            version = published_version(self.base.store, cube_folder(self.base.study.name))
            raise SurroundingsError(
                f"'{version}' in the store is damaged ({error}). Remove that folder: `disac report` makes it again"
            ) from error

    def _columns(self) -> Columns:
        """Return the columns of the study's own cube."""
        run, folder = self.base, cube_folder(self.base.study.name)
        over = NONE if self.over is None else self.over.name
        if published_whole(run.store, folder, run.plan.cube_key):
            version = published_version(run.store, folder)
            assert version is not None
            return of_files(StoredFiles(run.store, version), over)
        return in_memory(run.plan, over)


def in_memory(plan: Plan, over: str) -> Columns:
    """Return the columns of a plan's cells, with the variables that have one number in each cell."""
    needed = {name for columns in kept_columns(plan.study).values() for name in columns.needs}
    scalars = {variable.name for variable in plan.study.experiment.variables if not variable.dims} | needed
    arrays, _ = build_cube(replace(plan, keep=tuple(name for name in plan.keep if name in scalars)))
    return of_arrays(arrays, over)


def realisations(run: Run) -> Axis | None:
    """Return the axis of the realisations of a run."""
    return next((axis for axis in run.plan.cells.axes if axis.name == run.surfaces.over), None)


def countable(axis: Axis) -> bool:
    """Return whether the labels of an axis are whole numbers, so that more can follow."""
    return len(axis.paths) == 1 and all(isinstance(label, int) and not isinstance(label, bool) for label in axis.labels)


def axis_number(plan: Plan, name: str) -> int:
    """Return the place of an axis among the axes of a plan."""
    return [axis.name for axis in plan.cells.axes].index(name)


def _places(run: Run) -> list[tuple[str, tuple[Any, ...]]]:
    return [(axis.name, axis.labels) for axis in run.plan.cells.axes if axis.name != run.surfaces.over]


def point_of_cells(plan: Plan, over: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the number of the point to which each planned cell belongs, as answers count points."""
    rest = [a for a, axis in enumerate(plan.cells.axes) if axis.name != over]
    if not rest:
        return np.zeros(len(plan.cells.index), dtype=np.int64)
    shape = tuple(len(plan.cells.axes[a].labels) for a in rest)
    return np.ravel_multi_index(tuple(plan.cells.index[:, rest].T.astype(np.int64)), shape).astype(np.int64)

"""Functions on lattices with known values: kinks, plateaus, curved edges of feasibility, draws and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.experiment import STATUS_CODES
from pipeline.refining import Goal, Refined, Tolerance, refine
from pipeline.refining.known import INFEASIBLE, USABLE
from pipeline.refining.noise import statistic

Array = NDArray[np.float64]


@dataclass
class Dense:
    """A dense lattice [*shape, draws] with NaN where a cell is infeasible; it counts how often each cell is computed."""

    values: Array
    batches: list[int] = field(default_factory=list)
    counted: dict[tuple[int, ...], int] = field(default_factory=dict)

    def compute(self, cells: NDArray[np.int64]) -> None:
        self.batches.append(len(cells))
        for cell in map(tuple, cells.tolist()):
            self.counted[cell] = self.counted.get(cell, 0) + 1

    def read(self, cells: NDArray[np.int64]) -> tuple[NDArray[np.uint8], Array]:
        values = self.values[tuple(cells[:, 1:].T)]
        status = np.where(np.isnan(values), STATUS_CODES["infeasible"], STATUS_CODES["ok"])
        return status.astype(np.uint8), values

    def refine(self, tolerance: float = 0.02, budget: int | None = None, *, relative: bool = True) -> Refined:
        goal = Goal(Tolerance(tolerance, relative), budget)
        return refine(self.values.shape[:-1], 1, self.values.shape[-1], self.compute, self.read, goal)


@dataclass(frozen=True)
class Verdict:
    """A refinement beside the dense lattice: share of its cells, worst error of the mean, cells of a wrong kind."""

    share: float
    worst: float
    wrong: int


def judged(dense: Dense, refined: Refined, *, relative: bool = True) -> Verdict:
    """Compare every cell of the dense lattice with what the boxes say."""
    values, kinds = refined.trees[0].filled()
    true = np.where(np.isnan(dense.values), INFEASIBLE, USABLE)
    told, now = statistic(values, kinds), statistic(dense.values, true.astype(np.uint8))
    error = np.abs(told - now)
    error = error / np.abs(now) if relative else error
    return Verdict(refined.cells / refined.lattice_cells, float(np.nanmax(error)), int((kinds != true).sum()))


def lattice(
    function: Callable[..., Array], shape: tuple[int, ...], infeasible: Callable[..., NDArray[np.bool_]] | None = None
) -> Dense:
    """Return a dense lattice of one draw over the unit cube."""
    axes = np.meshgrid(*[np.linspace(0.0, 1.0, n) for n in shape], indexing="ij")
    values = np.broadcast_to(function(*axes), shape).copy()
    if infeasible is not None:
        values[np.broadcast_to(infeasible(*axes), shape)] = np.nan
    return Dense(values[..., np.newaxis])

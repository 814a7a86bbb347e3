"""Small second-order cone programs, given to Clarabel directly, since a modelling layer would take longer than the solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

TOLERANCE = 1e-11
SOLVED = ("Solved", "AlmostSolved")


@dataclass(frozen=True)
class ConeSolution:
    """Answer of the solver: its status, the variables, and a multiplier vector for every block of rows, in their order."""

    outcome: str
    variables: Float
    multipliers: list[Float]
    iterations: int

    @property
    def solved(self) -> bool:
        """Whether the solver returned a point. A certificate then judges that point."""
        return self.outcome in SOLVED


class ConeProgram:
    """``max c^T x`` subject to rows ``F_i x + g_i`` in cones. Rows are added block by block.

    A block is dense in the columns that it names. The sparse matrix is put together once, from all blocks.
    """

    def __init__(self, variables: int) -> None:
        self._size = variables
        self._blocks: list[tuple[str, NDArray[np.intp], Float, Float]] = []
        self._solver: Any = None

    def second_order(self, columns: Sequence[int] | NDArray[np.intp], rows: Float, offset: Float | None = None) -> None:
        """``(F x + g)[0] >= |(F x + g)[1:]|`` with F [m, columns] and g [m], zero where none is given."""
        self._add("second-order", columns, rows, offset)

    def nonnegative(self, columns: Sequence[int] | NDArray[np.intp], rows: Float, offset: Float | None = None) -> None:
        """``F x + g >= 0`` with F [m, columns] and g [m]."""
        self._add("nonnegative", columns, rows, offset)

    def equal(self, columns: Sequence[int] | NDArray[np.intp], rows: Float, value: Float) -> None:
        """``F x = g``."""
        self._add("zero", columns, rows, -value)

    def include(self, other: ConeProgram, first: int, blocks: int) -> None:
        """Add the first blocks of another program. Its variables stand in the columns from ``first`` on."""
        self._blocks += [(cone, where + first, rows, offset) for cone, where, rows, offset in other._blocks[:blocks]]

    def _add(self, cone: str, columns: Sequence[int] | NDArray[np.intp], rows: Float, offset: Float | None) -> None:
        where = np.asarray(columns, dtype=np.intp)
        self._blocks.append((cone, where, rows, np.zeros(len(rows)) if offset is None else offset))

    def solve(self, cost: Float) -> ConeSolution:
        """Maximise ``cost^T x``. A second call changes only the cost and keeps the set-up of the factorisation."""
        import clarabel
        from scipy import sparse

        if self._solver is None:
            kinds = {
                "second-order": clarabel.SecondOrderConeT,
                "nonnegative": clarabel.NonnegativeConeT,
                "zero": clarabel.ZeroConeT,
            }
            cones = [kinds[cone](len(rows)) for cone, _, rows, _ in self._blocks]
            columns = [where for _, where, rows, _ in self._blocks for _ in rows]
            place = np.repeat(np.arange(len(columns)), [len(where) for where in columns])
            entries = -np.concatenate([rows.reshape(-1) for _, _, rows, _ in self._blocks])
            kept = entries != 0.0
            index = (place[kept], np.concatenate(columns)[kept])
            matrix = sparse.csc_array((entries[kept], index), shape=(len(columns), self._size))
            offset = np.concatenate([block[3] for block in self._blocks])
            quadratic = sparse.csc_array((self._size, self._size))
            self._solver = clarabel.DefaultSolver(quadratic, -cost, matrix, offset, cones, _settings())
        else:
            self._solver.update(q=-cost)
        found = self._solver.solve()
        multipliers = self.split(np.asarray(found.z))
        return ConeSolution(str(found.status), np.asarray(found.x), multipliers, int(found.iterations))

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return sum(len(rows) for _, _, rows, _ in self._blocks)

    @property
    def blocks(self) -> int:
        """Number of blocks so far."""
        return len(self._blocks)

    def split(self, multipliers: Float) -> list[Float]:
        """Divide the multipliers of rows by block, in order. If there are fewer multipliers, only the first blocks get some."""
        found, start = [], 0
        for _, _, rows, _ in self._blocks:
            found.append(multipliers[start : start + len(rows)])
            start += len(rows)
        return found


def _settings() -> Any:
    """Settings of the solver: one thread, tight tolerances, and no presolve, so that the cost may change between solves."""
    import clarabel

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.presolve_enable = False
    settings.chordal_decomposition_enable = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = TOLERANCE
    return settings

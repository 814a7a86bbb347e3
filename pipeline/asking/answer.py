"""Ask a cube: which points meet a wish, which of them are cheapest, what nearly meets it, and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.asking.asked import Asked
from pipeline.asking.columns import Columns, of_dataset
from pipeline.asking.conflicts import Conflict
from pipeline.asking.costs import in_order, point_costs
from pipeline.asking.expression import DEFAULT_SHARE, Compare, Constant, Number, Wish, read_numbers, read_wish
from pipeline.asking.rows import Points, Row, make_rows
from pipeline.asking.thin import thin
from pipeline.asking.units import Unit
from pipeline.asking.verdict import VERDICTS, WORDS, together
from pipeline.dominance import is_nondominated
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

MOST_ROWS, MOST_NEAR, FEWEST_ROWS = 20, 5, 5
Mask = NDArray[np.bool_]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """The answer to a wish: see :func:`ask`.

    Parameters
    ----------
    wish
        The wish as it was read.
    share
        Share of realisations that must meet it; None if each point is one cell.
    over
        Axis of the realisations, or None.
    minimised
        Texts of the costs.
    rows
        Points that meet the wish: the nondominated ones, thinned, and the next cheapest ones if these are few.
    tolerance
        Tolerance with which the rows were thinned, as a share of the range of each cost.
    near
        Points that just miss: cheaper neighbours of the rows; without rows, the points that come closest.
    conflicts
        The smallest sets of parts that conflict, if every point is refuted.
    notes
        Sentences on what a reader must know.
    """

    wish: Wish
    share: Fraction | None
    over: str | None
    minimised: tuple[str, ...]
    rows: tuple[Row, ...]
    tolerance: float
    near: tuple[Row, ...]
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...]
    points: Points = field(repr=False)
    _asked: Asked = field(repr=False)

    @property
    def columns(self) -> Columns:
        """Return the axes and metrics of the cube."""
        return self._asked.columns

    @cached_property
    def counts(self) -> dict[str, int]:
        """Return the number of points by verdict."""
        return {name: int((self.points.verdicts.code == code).sum()) for name, code in VERDICTS.items()}

    @property
    def statuses(self) -> NDArray[np.uint8]:
        """Return the status of each cell, (points, realisations)."""
        return self._asked.status

    @property
    def realisations(self) -> int:
        """Return the length of the axis of realisations; 1 without one."""
        return int(self.statuses.shape[-1])

    @property
    def verdicts(self) -> xr.DataArray:
        """Return the verdict on each point over the axes of the cube, as codes with ``flag_meanings``."""
        import xarray as xr

        return xr.DataArray(
            self.points.verdicts.code.reshape(self.columns.shape),
            {axis: self.columns.labels(axis) for axis in self.columns.axes}, self.columns.axes, "verdict",
            {"long_name": self.wish.text, "flag_values": list(VERDICTS.values()), "flag_meanings": " ".join(VERDICTS)},
        )  # fmt: skip

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each planned point, the cheapest first: place, verdict, counts, share, costs, margins."""
        import pandas as pd

        points = self.points.order[self.points.verdicts.code[self.points.order] != VERDICTS["not_planned"]]
        index = np.unravel_index(points, self.columns.shape) if self.columns.shape else ()
        data: dict[str, Any] = {
            axis: self.columns.labels(axis)[i] for axis, i in zip(self.columns.axes, index, strict=True)
        }  # fmt: skip
        v = self.points.verdicts
        data |= {
            "verdict": [WORDS[int(code)] for code in v.code[points]], "hits": self.points.hits[points],
            "counted": self.points.counted[points], "share_low": v.low[points], "share_high": v.high[points],
            "nondominated": self.points.front[points], "together": self.points.together[points],
        }  # fmt: skip
        data |= {f"cost: {text}": self.points.costs[points, n] for n, text in enumerate(self.minimised)}
        for number, part in enumerate(self.wish.parts):
            if isinstance(part, Compare):
                data[f"margin: {part.text}"] = self._asked.kept_slack(number, points)
        return pd.DataFrame(data)

    def labels(self, point: int) -> dict[str, Any]:
        """Return the place of a point: its label on each axis."""
        return self._asked.place(point)

    def part_unit(self, part: int) -> Unit:
        """Return the unit in which a part of the wish compares."""
        comparison = self.wish.parts[part]
        assert isinstance(comparison, Compare)
        return self._asked.evaluation.unit(comparison)

    def cost_unit(self, cost: int) -> str:
        """Return the unit of a cost, empty if it has none."""
        unit = self._asked.evaluation.number(self._asked.minimise[cost][1]).unit
        return "" if unit is None or not unit.powers else unit.text

    @property
    def costs(self) -> Sequence[tuple[str, Number]]:
        """Return the costs, each with its text."""
        return self._asked.minimise

    def written_unit(self, part: int) -> Unit | None:
        """Return the unit in which the person wrote the number of a part; None for a bare number, or without one number."""
        comparison = self.wish.parts[part]
        sides = (comparison.left, comparison.right) if isinstance(comparison, Compare) else ()
        return next((side.unit for side in sides if isinstance(side, Constant)), None)

    def threshold(self, part: int) -> tuple[float, bool] | None:
        """Return the number with which a part compares, and whether it stands on the right; None if both sides have names."""
        comparison = self.wish.parts[part]
        return self._asked.threshold(comparison) if isinstance(comparison, Compare) else None

    def other_side(self, part: int) -> str:
        """Return the text of what a part compares with its number."""
        comparison, told = self.wish.parts[part], self.threshold(part)
        assert isinstance(comparison, Compare)
        left, right = comparison.text.split(f" {comparison.sign} ")
        return right if told is not None and not told[1] else left

    def __repr__(self) -> str:
        from pipeline.asking.shown import as_text

        return as_text(self)


def ask(
    cube: xr.Dataset | xr.DataTree | Columns, wish: str, *, minimise: str | Sequence[str] = (), over: str | None = None,
    planned: int | None = None,
) -> Answer:  # fmt: skip
    """Return which points of a cube meet a wish, in so many of their realisations.

    Parameters
    ----------
    cube
        A cube as :func:`pipeline.open_store` opens it, or its columns.
    wish
        Such as ``rcrb_m <= 5 cm and se_bps_hz >= 4 in 90 % of realisations``. Without a share, 90 % of the realisations count.
    minimise
        What is to be small, the most important first: axes, metrics, or arithmetic of them, such as ``-se_bps_hz``. Of a
        metric, the value that the share of realisations does not exceed counts. Without it, the best proven points come first.
    over
        Axis of the realisations; by default the axis whose name or path is ``realisation``. ``none``: each cell is a point.
    planned
        Number of realisations, the first ones of the axis, that were planned before any was looked at; by default all.

    Raises
    ------
    UsageError
        If the wish cannot be read, names what the cube does not have, or compares units that do not fit.
    """
    columns = cube if isinstance(cube, Columns) else of_dataset(cube, over)
    read = read_wish(wish)
    texts = [minimise] if isinstance(minimise, str) else list(minimise)
    numbers = [number for text in texts if text.strip() for number in read_numbers(text)]
    if columns.over is None and read.share is not None:
        raise UsageError("the cube has no axis of realisations: each point is one cell, so leave the share of realisations out")
    share = None if columns.over is None else DEFAULT_SHARE if read.share is None else read.share
    asked = Asked(columns, read, share, numbers, planned)
    verdicts, hits, counted = asked.judged()
    costs = point_costs(columns, numbers, asked.counted, asked.feasible, share)
    met = np.flatnonzero(verdicts.code == VERDICTS["met"])
    front = np.zeros(len(costs), dtype=bool)
    if numbers:
        front[met] = is_nondominated(costs[met])
    order = in_order(costs if numbers else np.stack([-verdicts.low, -hits / np.maximum(1, counted)], axis=1))
    judged_together = np.zeros(len(costs), dtype=bool)
    judged_together[asked.planned] = together(
        np.where(verdicts.code == VERDICTS["not_met"], 1.0, verdicts.p_value)[asked.planned]
    )
    points = Points(verdicts, hits, counted, costs, order, front, judged_together & (verdicts.code == VERDICTS["met"]))
    rows, tolerance = _rows(asked, points)
    every_point_refuted = bool(asked.planned.any()) and not len(met) and not (verdicts.code == VERDICTS["undecided"]).any()
    conflicts = asked.conflicts() if every_point_refuted else ()
    if len(met):
        close = _near(asked, points, np.array([row.point for row in rows], dtype=np.int64))
    else:
        close = _closest(asked, points, [r.point for conflict in conflicts for r in conflict.relaxations if r.point >= 0])
    near = make_rows(asked, points, close)
    return Answer(
        read, share, columns.over, tuple(text for text, _ in numbers), rows, tolerance, near, conflicts,
        tuple(_notes(asked, points)), points, asked,
    )  # fmt: skip


def _rows(asked: Asked, points: Points) -> tuple[tuple[Row, ...], float]:
    """Return the rows of points that meet the wish, and the tolerance with which they were thinned."""
    met = points.order[points.verdicts.code[points.order] == VERDICTS["met"]]
    if not len(met):
        return (), 0.0
    most = MOST_ROWS - MOST_NEAR
    if asked.minimise:
        best = met[points.front[met]]
        kept, tolerance, stands_for = thin(points.costs[best], most)
        chosen, number = best[kept], stands_for
        rest = met[~points.front[met]][: max(0, FEWEST_ROWS - len(chosen))]
        chosen, number = np.concatenate([chosen, rest]), np.concatenate([number, np.ones(len(rest), dtype=np.int64)])
    else:  # spread over the region where the wish is met
        index = np.unravel_index(met, asked.columns.shape) if asked.columns.shape else (np.zeros(len(met)),)
        kept, tolerance, number = thin(np.stack(index, axis=1).astype(np.float64), most)
        chosen = met[kept]
    first = np.argsort(_rank(points)[chosen], kind="stable")
    return make_rows(asked, points, chosen[first], number[first]), tolerance


def _near(asked: Asked, points: Points, shown: Int) -> Int:
    """Return the points that just miss: neighbours of the rows that do not meet the wish and are cheaper in some cost."""
    beside = np.array(sorted(_neighbours(asked, points, shown)), dtype=np.int64)
    beside = beside[_open(points)[beside]]
    reached = points.hits[beside] / np.maximum(1, points.counted[beside])
    return beside[np.lexsort((_rank(points)[beside], -reached, asked.impossible[:, beside].any(axis=0)))][:MOST_NEAR]


def _closest(asked: Asked, points: Points, first: Sequence[int]) -> Int:
    """Return the points that come closest to a wish that none is known to meet.

    ``first`` come those where a relaxed part is met, then those where most realisations meet the wish, then most of its parts.
    """
    here = np.flatnonzero(_open(points))
    reached = points.hits[here] / np.maximum(1, points.counted[here])
    parts = sum((np.count_nonzero(asked.flat(part.yes) & asked.feasible, axis=-1) for part in asked.parts), np.zeros(1, int))
    order = np.lexsort((_rank(points)[here], -parts[here], -reached, asked.impossible[:, here].any(axis=0)))
    return np.array(list(dict.fromkeys([*first, *here[order][:MOST_NEAR].tolist()]))[:MOST_NEAR], dtype=np.int64)


def _open(points: Points) -> Mask:
    """Return the planned points that are not known to meet the wish."""
    return (points.verdicts.code == VERDICTS["not_met"]) | (points.verdicts.code == VERDICTS["undecided"])


def _rank(points: Points) -> Int:
    """Return the rank of each point, the cheapest first."""
    place = np.empty(len(points.order), dtype=np.int64)
    place[points.order] = np.arange(len(points.order))
    return place


def _neighbours(asked: Asked, points: Points, shown: Int) -> set[int]:
    """Return the points one step along a numeric axis from a row, or at another label of a text axis, that cost less."""
    shape, found = asked.columns.shape, set[int]()
    for point in shown.tolist():
        index = [int(i) for i in np.unravel_index(point, shape)] if shape else []
        for a, axis in enumerate(asked.columns.axes):
            text = asked.columns.labels(axis).dtype.kind in "OUST"
            for there in range(shape[a]) if text else (index[a] - 1, index[a] + 1):
                if 0 <= there < shape[a] and there != index[a]:
                    other = int(np.ravel_multi_index([*index[:a], there, *index[a + 1 :]], shape))
                    if not asked.minimise or (points.costs[other] < points.costs[point]).any():
                        found.add(other)
    return found


def _notes(asked: Asked, points: Points) -> list[str]:
    notes = []
    if asked.share is not None and asked.wish.share is None:
        notes.append(f"The wish names no share of realisations: {float(asked.share):.0%} are taken.")
    failed = np.count_nonzero(asked.status == STATUS_CODES["failed"])
    for number, word in ((int(asked.missing().sum()), "are missing"), (failed, "failed")):
        if number:
            notes.append(f"{number:,} cells {word}; they count neither as a hit nor as a miss.")
    known = np.count_nonzero(asked.feasible & ~asked.counted)
    if known:
        notes.append(f"{known:,} cells lack a value of the wish; they count neither as a hit nor as a miss.")
    met = int((points.verdicts.code == VERDICTS["met"]).sum())
    if asked.share is not None:
        told = "The confidence of 95% is that of one point: one that misses the wish is called met with at most 5% probability."
        if met:
            told += f" Judged all together (false discovery rate 5%), {int(points.together.sum()):,} of the {met:,} are met."
        notes.append(told)
    return notes

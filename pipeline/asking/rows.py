"""The rows of an answer: what is told of a point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.asking.asked import Asked
from pipeline.asking.expression import Compare
from pipeline.asking.verdict import WORDS, Verdicts
from pipeline.experiment import STATUS_CODES

CERTIFICATES = ("relative_gap", "worst_violation")
"""Metrics that prove optimised numbers: a row shows the largest of its realisations."""

Mask = NDArray[np.bool_]
Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Points:
    """All points of a cube, flattened: counts, verdicts and costs."""

    verdicts: Verdicts
    hits: Int
    counted: Int
    costs: Float
    order: Int
    """The points, the cheapest first."""
    front: Mask
    """Points that meet the wish and that no other such point dominates."""
    together: Mask
    """Points that meet the wish if all points are judged together."""


@dataclass(frozen=True)
class Margin:
    """How a part of the wish stands at a point.

    Parameters
    ----------
    part
        Number of the part in the wish.
    hits
        Counted realisations that meet this part.
    value
        What the share of realisations keeps of the compared quantity; NaN without a comparison with one number.
    slack
        By how much the share of realisations meets the part, negative if it misses it; NaN if the part compares nothing.
    """

    part: int
    hits: int
    value: float
    slack: float


@dataclass(frozen=True)
class Row:
    """A point of an answer: its place, verdict, counts, costs, margins and certificates."""

    point: int
    place: Mapping[str, Any]
    verdict: str
    hits: int
    counted: int
    low: float
    high: float
    statuses: Mapping[str, int]
    costs: tuple[float, ...]
    margins: tuple[Margin, ...]
    certificates: Mapping[str, float]
    nondominated: bool
    stands_for: int = 1


def make_rows(asked: Asked, points: Points, chosen: Int, stands_for: Int | None = None) -> tuple[Row, ...]:
    """Return the rows of the chosen points, in their order."""
    verdicts, status = points.verdicts, asked.status[chosen]
    margins = [_margins(asked, part, chosen) for part in range(len(asked.wish.parts))]
    certificates = {
        name: np.where(asked.feasible[chosen], asked.of(asked.columns.number(name)[0], chosen), -np.inf).max(axis=-1)
        for name in CERTIFICATES if asked.columns.has_metric(name)
    }  # fmt: skip
    statuses = {name: np.count_nonzero(status == code, axis=-1) for name, code in STATUS_CODES.items() if name != "not_planned"}
    statuses["missing"] = asked.missing(chosen)
    return tuple(
        Row(
            point=int(p), place=asked.place(int(p)), verdict=WORDS[int(verdicts.code[p])], hits=int(points.hits[p]),
            counted=int(points.counted[p]), low=float(verdicts.low[p]), high=float(verdicts.high[p]),
            statuses={name: int(count[n]) for name, count in statuses.items()}, costs=tuple(points.costs[p].tolist()),
            margins=tuple(margin[n] for margin in margins),
            certificates={name: float(values[n]) for name, values in certificates.items() if np.isfinite(values[n])},
            nondominated=bool(points.front[p]), stands_for=1 if stands_for is None else int(stands_for[n]),
        )
        for n, p in enumerate(chosen)
    )  # fmt: skip


def _margins(asked: Asked, part: int, chosen: Int) -> list[Margin]:
    comparison = asked.wish.parts[part]
    hits = np.count_nonzero(asked.of(asked.parts[part].yes, chosen) & asked.feasible[chosen], axis=-1).tolist()
    if not isinstance(comparison, Compare):
        return [Margin(part, n, np.nan, np.nan) for n in hits]
    slack, threshold = asked.kept_slack(part, chosen), asked.threshold(comparison)
    value = np.full(len(chosen), np.nan)
    if threshold is not None and comparison.sign not in ("==", "!="):
        number, on_the_right = threshold
        value = number + (1.0 if (comparison.sign in (">", ">=")) == on_the_right else -1.0) * slack
    return [Margin(part, n, v, s) for n, v, s in zip(hits, value.tolist(), slack.tolist(), strict=True)]

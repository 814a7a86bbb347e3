"""Estimates of what the interpolant of a box may be off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.refining.boxes import Box, Float, Whole, pattern
from pipeline.refining.known import Known, forth, weighted
from pipeline.refining.lines import BEYOND, Lines, half_error


def bends(known: Known, box: Box, draws: Whole, logs: bool) -> dict[int, float]:
    """Return by axis what the mean over draws may be off along this axis between samples of a box, in allowed errors.

    Parameters
    ----------
    logs
        Whether logarithms of the values are interpolated.
    """
    return {axis: _bend(known, box, axis, draws, logs) for axis in box.divisible}


def _bend(known: Known, box: Box, axis: int, draws: Whole, logs: bool) -> float:
    if box.lengths[axis] <= 2 and len(box.divisible) <= 2:
        return 0.0  # every lattice point along the axis is a sample
    lines = _lines(known, box, axis, draws, logs)

    def band(gain: float) -> float:
        return float(known.band(draws, np.array(gain)))

    return max(float(half_error(one, band).max()) for one in (lines, lines.mirrored()))


def _lines(known: Known, box: Box, axis: int, draws: Whole, logs: bool) -> Lines:
    """Return the lines along an axis through samples of a box, and what is known beyond them, in allowed errors."""
    own = pattern(box.lengths)
    through = (own.axis == axis) | ((own.axis == -2) & (len(box.divisible) == 2))
    middles = own.offsets[through] + np.array(box.low)
    places, values = _extended(known, middles, axis, (box.low[axis], int(middles[0, axis]), box.high[axis]), draws)
    shares, values = known.shares(known.at(middles, draws), logs), forth(values, logs)
    differences = values - values[:, BEYOND + 1, np.newaxis]
    return Lines(places, np.where(np.isnan(places), np.nan, weighted(differences, shares[:, np.newaxis])))


def _extended(
    known: Known, points: Whole, axis: int, samples: tuple[int, int, int], draws: Whole
) -> tuple[Float, Float]:  # fmt: skip
    """Return the places [lines, points] of samples and of the next known points beyond, and values [lines, points, draws]."""
    places = np.full((len(points), 3 + 2 * BEYOND), np.nan)
    places[:, BEYOND:-BEYOND] = samples
    low, middle, high = samples
    for end, sign, length in ((BEYOND, -1, middle - low), (BEYOND + 2, 1, high - middle)):
        for step in range(BEYOND):
            before, now = places[:, end + sign * step], places[:, end + sign * (step + 1)]
            for distance in (length, 2 * length, 4 * length):
                at = before + sign * distance
                there = np.isnan(now) & (at >= 0) & (at < known.shape[axis])
                there[there] = np.isfinite(known.at(_moved(points[there], axis, at[there]), draws)).all(axis=1)
                now[there] = at[there]
    values = np.full((*places.shape, len(draws)), np.nan)
    line, number = np.nonzero(np.isfinite(places))
    values[line, number] = known.at(_moved(points[line], axis, places[line, number]), draws)
    return places, values


def _moved(points: Whole, axis: int, to: NDArray[np.float64] | int) -> Whole:
    found = points.copy()
    found[:, axis] = to
    return found


def centre_error(known: Known, box: Box, sampled: Float, logs: bool) -> float:
    """Return what the centres of a box are off the interpolant of its corners and edges, in allowed errors.

    Parameters
    ----------
    sampled
        Values of the samples [samples, draws].
    logs
        Whether logarithms of the values are interpolated.
    """
    own = pattern(box.lengths)
    centres = own.axis == -2
    if not centres.any() or (max(box.lengths) <= 2 and len(box.divisible) <= 2):
        return 0.0
    weights = own.surpluses[centres]
    surplus = np.abs(weighted(weights @ forth(sampled, logs), known.shares(sampled[centres], logs)))
    band = known.band(np.arange(sampled.shape[1]), np.sqrt((weights**2).sum(axis=1)))
    return float(np.where(surplus <= band, 0.0, surplus).max())

"""Student intervals of means over paired realisations, in one layout for every analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pipeline.analysis.cells import Bool, Float
from pipeline.errors import UsageError

CONFIDENCE = 0.95
STATISTICS = ("mean", "ci_low", "ci_high", "count")
STATISTIC_AXIS = ("statistic", np.array(STATISTICS, dtype=object), {"long_name": "statistic over realisations"})


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is not a share between zero and one."""
    if not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence!r}: a number between 0 and 1 is needed, such as 0.95")


def student(values: Float, usable: Bool, confidence: float = CONFIDENCE, comparisons: NDArray[Any] | int = 1) -> Float:
    """Compute the mean over the last axis with its Student interval.

    The interval is m -+ t s / sqrt(n), where t is the quantile of n - 1 degrees of freedom at 1 - (1 - confidence) / (2 c),
    and c is the number of comparisons that shall hold together (Bonferroni).

    Parameters
    ----------
    values
        Array [..., R] of one value for each realisation.
    usable
        Array [..., R]: which values count.
    confidence
        Share of repetitions in which all intervals of a point hold what they are of.
    comparisons
        Number of comparisons, one for all points or an array [...].

    Returns
    -------
    numpy.ndarray
        Array [..., 4] of float64: mean, lower end, upper end, number of values. The mean is NaN without a value, the ends are
        NaN below two values.
    """
    count = usable.sum(-1)
    mean = _mean(values, usable, count)
    enough = count > 1
    freedom = np.where(enough, count - 1, 1)
    deviations = np.where(usable, values - np.where(count > 0, mean, 0.0)[..., np.newaxis], 0.0)
    # A factor of two more at most keeps squares of any finite deviation from overflow and from underflow.
    largest = np.abs(deviations).max(-1, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    spread = unit * np.sqrt(((deviations / unit[..., np.newaxis]) ** 2).sum(-1) / freedom)
    half = _quantile(freedom, confidence, comparisons) * spread / np.sqrt(freedom + 1)
    return np.stack(
        [mean, np.where(enough, mean - half, np.nan), np.where(enough, mean + half, np.nan), count.astype(np.float64)], axis=-1
    )


def _mean(values: Float, usable: Bool, count: NDArray[np.int64]) -> Float:
    """Return the mean of the usable values, exact where they are all the same."""
    first = np.take_along_axis(values, usable.argmax(-1)[..., np.newaxis], -1)
    first = np.where(count[..., np.newaxis] > 0, first, 0.0)
    total = np.where(usable, values - first, 0.0).sum(-1)
    return np.where(count > 0, first[..., 0] + total / np.maximum(count, 1), np.nan)


def _quantile(freedom: NDArray[np.int64], confidence: float, comparisons: NDArray[Any] | int) -> Float:
    """Return Student's quantile; it is slow, so it is computed once for each pair of numbers that occurs."""
    number = np.broadcast_to(np.maximum(comparisons, 1), freedom.shape).astype(np.int64)
    pairs = freedom * (int(number.max(initial=1)) + 1) + number
    _, first, which = np.unique(pairs, return_index=True, return_inverse=True)
    tail = (1 - confidence) / (2 * number.ravel()[first])
    found: Float = -stdtrit(freedom.ravel()[first], tail)[which].reshape(freedom.shape)
    return found

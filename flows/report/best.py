"""The best entries of a table, and the columns that say nothing because all their entries agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flows.report.measured import Float, best_is

_EQUAL = 1e-6
"""Relative difference up to which two means count as one."""
_PINNED = 0.01
"""Relative spread up to which means whose bands overlap count as the same."""


def best_of(name: str, means: Float, lows: Float, highs: Float) -> NDArray[np.bool_]:
    """Return which of several means are the best: the best one, and all equal to it; nothing where all are equal.

    A mean whose band holds the best mean is not told apart from it by the bands and counts as well, if the best mean lies
    within the band of that mean and vice versa.
    """
    known, way = np.isfinite(means), best_is(name)
    if way is None or known.sum() < 2:
        return np.zeros(means.shape, dtype=bool)
    sign = 1.0 if way == "smallest" else -1.0
    top = int(np.nanargmin(sign * means))
    close = np.abs(means - means[top]) <= _EQUAL * np.abs(means[top])
    mutual = (lows <= means[top]) & (means[top] <= highs) & (lows[top] <= means) & (means <= highs[top])
    found: NDArray[np.bool_] = known & (close | mutual)
    return np.zeros(means.shape, dtype=bool) if found.sum() == known.sum() else found


def same(means: Float, lows: Float, highs: Float) -> bool:
    """Return whether all means agree: they are equal, or spread by less than a hundredth and all bands have a common part."""
    known = np.isfinite(means)
    if known.sum() < 2:
        return False
    means = means[known]
    spread, size = float(np.ptp(means)), float(np.abs(means).max())
    if spread <= _EQUAL * size:
        return True
    lows, highs = lows[known], highs[known]
    banded = np.isfinite(lows) & np.isfinite(highs)
    return bool(banded.all() and spread <= _PINNED * size and lows.max() <= highs.min())

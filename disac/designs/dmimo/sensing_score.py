"""What a split is worth for sensing: means over the points of a concave function of ``x = 1 / PEB^2``.

``x`` is concave in the information (it is ``1 / tr(E^T I^{-1} E)``), so that both scores are concave in the sum over pairs. The
bounds of :mod:`disac.designs.dmimo.selection_bound` rest on that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.metrics.pair_information import PairInformation, squared_bound, totals_of_all_splits

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_PRODUCTS = 12
"""Points whose squared bounds are multiplied before one logarithm."""


@dataclass(frozen=True)
class MeanLog:
    """Minus the mean over the points of ``ln(PEB / 1 m)``: the logarithm of the inverse geometric mean."""

    def of(self, squared_m2: Float) -> Float:
        """Score at each squared bound; minus infinity where there is no bound."""
        with np.errstate(divide="ignore"):
            return -0.5 * np.log(squared_m2)

    def slope(self, inverse: Float) -> Float:
        """Derivative with respect to ``x``, 1/m^-2, at ``inverse`` = x."""
        return 0.5 / inverse

    def intercept(self, slope: Float) -> Float:
        """Largest value of ``score(x) - slope x`` over all x: infinite where the slope is zero."""
        with np.errstate(divide="ignore"):
            return 0.5 * np.log(0.5 / slope) - 0.5


@dataclass(frozen=True)
class Coverage:
    """Share of the points whose PEB is at most ``limit_m`` (004, section V-A: f_SC)."""

    limit_m: float

    def of(self, squared_m2: Float) -> Float:
        """One at each point that is covered, zero at the others."""
        return (squared_m2 <= self.limit_m**2).astype(np.float64)

    def slope(self, inverse: Float) -> Float:
        """Slope of a smooth concave function beside ``min(1, limit^2 x)``, the least concave function above the score."""
        relative = self.limit_m**2 * inverse
        return self.limit_m**2 * (1.0 + relative**_SHARPNESS) ** (-1.0 - 1.0 / _SHARPNESS)

    def intercept(self, slope: Float) -> Float:
        """Largest value of ``score(x) - slope x`` over x >= 0."""
        return np.maximum(1.0 - slope / self.limit_m**2, 0.0)


Score = MeanLog | Coverage

_SHARPNESS = 12.0
"""How close the smooth function comes to its corner."""


def mean_score(score: Score, information: PairInformation, transmitters: Bool) -> Float:
    """Mean of the score over the points for each split: ``transmitters`` [..., A] to [...]."""
    return score.of(information.squared_bounds(transmitters)) @ information.weights


@dataclass(frozen=True)
class AllSplits:
    """Scores of all 2^A splits, in the order of :func:`disac.metrics.pair_information.all_splits`.

    ``mean_log_bound`` is the mean of ln(PEB / 1 m) and infinite where a point has no bound; ``coverage`` a share of the points.
    """

    mean_log_bound: Float
    coverage: Float


def score_all_splits(information: PairInformation, limit_m: float) -> AllSplits:
    """Mean log bound and coverage of every split.

    Where exchanging roles changes nothing but the number of slots, half of the splits are computed and the rest follow.

    Parameters
    ----------
    limit_m
        The bound at which a point counts as covered.
    """
    count = information.access_points
    mirrored = information.symmetric and information.slots == "per-transmitter"
    splits = 2 ** (count - 1) if mirrored else 2**count
    coverage, logs = np.zeros(splits), np.zeros(splits)
    product, factors, limit = np.ones(splits), 0, limit_m**2
    equal = bool(np.allclose(information.weights, information.weights[0], rtol=1e-12))
    for point, packed in totals_of_all_splits(information, half=mirrored):
        squared = squared_bound(packed)
        weight = information.weights[point]
        coverage += weight * (squared <= limit)
        if not equal:
            with np.errstate(invalid="ignore"):
                logs += 0.5 * weight * np.log(squared)
            continue
        product *= squared
        factors += 1
        if factors == _PRODUCTS or point == len(information.weights) - 1:
            logs += 0.5 * weight * np.log(product)
            product[:], factors = 1.0, 0
    # A split that lacks transmitters or receivers locates nothing; rounding must not say otherwise.
    logs[0] = np.inf
    coverage[0] = 0.0
    if not mirrored:
        logs[-1], coverage[-1] = np.inf, 0.0
        return AllSplits(logs, coverage)
    return AllSplits(np.concatenate([logs, logs[::-1]]), np.concatenate([coverage, coverage[::-1]]))

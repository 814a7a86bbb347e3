"""GOSPA: distance between the targets that are there and those that an estimator reports, with misses and false ones priced.

``d^p = min over assignments of sum d(x, y)^p + (c^p / alpha) (missed + false)`` with pairs further apart than ``c`` unassigned
(Rahmathullah, Garcia-Fernandez and Svensson, "Generalized optimal sub-pattern assignment metric", alpha = 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Gospa:
    """A comparison of two sets of positions.

    Attributes
    ----------
    distance_m
        The metric, m.
    localisation
        Sum of the p-th powers of the distances of assigned pairs, m^p.
    missed, false
        Targets that nothing is assigned to, and reports that no target is assigned to.
    pairs
        Numbers of assigned targets and reports, int [pairs, 2].
    """

    distance_m: float
    localisation: float
    missed: int
    false: int
    pairs: NDArray[np.intp]


def gospa(targets_m: Float, reported_m: Float, cutoff_m: float, power: float = 2.0) -> Gospa:
    """GOSPA with alpha = 2 of reported positions [R, 2] against targets [S, 2], m.

    Raises
    ------
    ValueError
        If the cut-off is not above zero, or the power is below one.
    """
    if not cutoff_m > 0.0 or not power >= 1.0:
        raise ValueError(f"GOSPA needs a cut-off above 0 m and a power of at least 1; got {cutoff_m} and {power}.")
    away = np.linalg.norm(targets_m[:, np.newaxis] - reported_m[np.newaxis], axis=2)
    # An assigned pair saves a missed and a false one, which together cost c^p.
    cost = np.minimum(away, cutoff_m) ** power
    rows, columns = linear_sum_assignment(cost)
    near = away[rows, columns] < cutoff_m
    pairs = np.stack([rows[near], columns[near]], axis=1).astype(np.intp)
    localisation = float(cost[rows[near], columns[near]].sum())
    missed, false = len(targets_m) - len(pairs), len(reported_m) - len(pairs)
    total = localisation + 0.5 * cutoff_m**power * (missed + false)
    return Gospa(float(total ** (1.0 / power)), localisation, missed, false, pairs)

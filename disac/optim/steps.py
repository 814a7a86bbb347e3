"""Directions of the interior point and the lengths of steps along them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def settled(slack: Float, row: Float) -> Float:
    """The slack minus the residual of its row, if the residual is small relative to the slack."""
    return np.where(np.abs(row) < 0.1 * slack, slack - row, slack)


def ratio(value: Float, change: Float) -> float:
    """The step at which the first of several positive values reaches zero; infinite if no value decreases."""
    falling = change < 0
    return float((-value[falling] / change[falling]).min()) if falling.any() else float("inf")


def longest(base: Complex, linear: Complex, bent: Complex | None, most: float, accuracy: float) -> float:
    """A length a, at most ``most``, with ``base + a linear - a^2 bent > 0`` (bent >= 0), to a relative accuracy.

    The method is bisection. Its test is Cholesky's factorisation, far cheaper than eigenvalues. Matrices are taken a few at a
    time; most of them only have to pass at the length that the earlier ones allow.

    Parameters
    ----------
    base, linear
        Shape [c, u, d, d].
    bent
        Shape [c, 1, d, d], or none.
    """
    few = max(1, len(base) // _PARTS)
    for start in range(0, len(base), few):
        part = slice(start, start + few)
        most = _longest_of(base[part], linear[part], None if bent is None else bent[part], most, accuracy)
    return most


def _longest_of(base: Complex, linear: Complex, bent: Complex | None, most: float, accuracy: float) -> float:
    low, high, a = 0.0, most, most
    while True:
        moved = base + a * linear if bent is None else base + a * linear - (a * a) * bent
        try:
            np.linalg.cholesky(moved)
        except np.linalg.LinAlgError:
            high = a
        else:
            low = a
        if high - low <= accuracy * high or high < 1e-6:
            return low
        a = 0.5 * (low + high)


_PARTS = 16
"""Number of parts into which the matrices are divided: a few parts find the short lengths."""


@dataclass
class Move:
    """A block's change: H(dY), dPhi (linear part), the curvature H(dY)^H H(dY), dR."""

    response: Complex
    phi: Complex
    curvature: Complex
    r: Complex


@dataclass
class Direction:
    """A change of all variables and slacks."""

    fisher: Float
    power: Float
    service: Float
    ties: Complex
    power_slack: Float
    service_slack: Float
    blocks: list[Move]

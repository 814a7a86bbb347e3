"""The error ellipse of each target: its part of the location bound as half axes and a direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_SINGULAR = 1e-13
"""As in :func:`disac.metrics.fisher.localization_crb`: relative eigenvalue below which there is no information."""


@dataclass(frozen=True)
class Ellipse:
    """The ellipse of one standard deviation about a place: points ``q`` with ``(q - p)^T C^-1 (q - p) = 1``.

    Attributes
    ----------
    centre_m
        The place p, (x, y), m.
    semi_axes_m
        Half axes, the longer one first, m; the squares of both add up to the trace of C.
    orientation_rad
        Direction of the longer half axis from the x axis, from -pi/2 to pi/2, rad.
    """

    centre_m: tuple[float, float]
    semi_axes_m: tuple[float, float]
    orientation_rad: float


def location_covariance(information: Float, targets: int) -> Float | None:
    """Location bound: the location entries of the inverse Fisher information, of which (13) of 002 is the trace.

    Parameters
    ----------
    information
        Fisher information [P, P] of Theta: x of all targets, y of all targets, then the nuisances.
    targets
        K.

    Returns
    -------
    float64, shape [2K, 2K], m^2
        None where the targets cannot be located.
    """
    scale = np.sqrt(np.maximum(np.diag(information), 0.0))
    if np.any(scale[: 2 * targets] <= 0):
        return None
    kept = np.flatnonzero(scale > 0)
    values, vectors = np.linalg.eigh(information[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept]))
    if values[0] <= _SINGULAR * values[-1]:
        return None
    rows = vectors[: 2 * targets] / scale[kept][: 2 * targets, np.newaxis]
    return (rows / values) @ rows.T


def error_ellipses(covariance: Float, targets_m: Float) -> tuple[Ellipse, ...]:
    """The ellipse of each target, whatever the errors of the others.

    Parameters
    ----------
    covariance
        As :func:`location_covariance` gives it, [2K, 2K], m^2.
    targets_m
        Positions, [K, 2], m.
    """
    found = []
    for number, place in enumerate(targets_m):
        own = [number, len(targets_m) + number]
        squares, directions = np.linalg.eigh(covariance[np.ix_(own, own)])
        x, y = directions[:, 1]
        # A line has no arrow: the direction is the one with x >= 0.
        turn = float(np.arctan2(y, x) if x > 0 or (x == 0 and y > 0) else np.arctan2(-y, -x))
        short, long = np.sqrt(np.maximum(squares, 0.0))
        found.append(Ellipse((float(place[0]), float(place[1])), (float(long), float(short)), turn))
    return tuple(found)

"""Coverage: the share of positions where a target is located well enough (004, section V-A), with the right lobe counted.

004 counts the positions with a bound of at most a tenth of a wavelength. The bound speaks of the right lobe alone, so that it
calls positions covered where most estimates are half a wavelength or metres off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from disac.metrics.access_point_terms import AccessPoints, Amplitudes
from disac.metrics.lobe_probability import strongest_lobes
from disac.metrics.lobe_search import Scene

Float = NDArray[np.float64]


def coverage(errors_m: Float, limit_m: float, right: ArrayLike = 1.0) -> Float:
    """Share of positions within the limit, each counted with its probability of the right lobe: shape [...].

    Parameters
    ----------
    errors_m
        Bounds of positions, [..., P], m; infinite where a target cannot be located.
    limit_m
        A tenth of a wavelength in 004.
    right
        Probability of the right lobe (:func:`right_lobe_map`), [..., P]; one gives the coverage of 004.
    """
    return np.mean(np.where(errors_m <= limit_m, right, 0.0), axis=-1)


def right_lobe_map(
    network: AccessPoints,
    points_m: Float,
    transmitters: tuple[int, ...],
    receivers: tuple[int, ...],
    snr_m4: float,
    amplitudes: Amplitudes = "structured",
    *,
    errors_m: Float | None = None,
    limit_m: float = float("inf"),
    node_phase_std_rad: float = 0.0,
    node_position_std_m: float = 0.0,
) -> Float:
    """Probability of the right lobe for a target at each point [..., 2], from below (union bound): [...].

    Parameters
    ----------
    errors_m, limit_m
        Bounds at the points, [...]: where they exceed the limit nothing is searched and the probability is zero, since no
        coverage counts such a point.
    """
    points = np.asarray(points_m, dtype=np.float64)
    flat = points.reshape(-1, 2)
    wanted = np.ones(len(flat), dtype=bool) if errors_m is None else np.ravel(errors_m) <= limit_m
    found = np.zeros(len(flat))
    for number in np.flatnonzero(wanted):
        scene = Scene(network, flat[number], transmitters, receivers, snr_m4)
        found[number] = strongest_lobes(
            scene, amplitudes, node_phase_std_rad=node_phase_std_rad, node_position_std_m=node_position_std_m
        ).right  # fmt: skip
    return found.reshape(points.shape[:-1])

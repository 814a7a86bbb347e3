"""Positions to angles and delays, with their gradients (002, section II-D and (12))."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.units import SPEED_OF_LIGHT_M_S

Orientation = Literal["origin", "global"] | tuple[float, ...]
Float = NDArray[np.float64]


def chosen_nodes(numbers: tuple[int, ...] | None, count: int) -> tuple[int, ...]:
    """Numbers of the nodes that have a role: those given, all of ``count`` where none are."""
    return tuple(range(count)) if numbers is None else numbers


def boresight_rad(nodes_m: Float, orientation: Orientation) -> Float:
    """Direction each array faces: to the origin (002, V-A), along the x axis for ``global`` (001), or as given; [N], rad."""
    if isinstance(orientation, tuple):
        return np.array(orientation, dtype=np.float64)
    if orientation == "global":
        return np.zeros(len(nodes_m))
    return np.arctan2(-nodes_m[:, 1], -nodes_m[:, 0])


def angles_rad(nodes_m: Float, targets_m: Float, orientation: Orientation) -> Float:
    """Angle of each target from each node's boresight, in (-pi, pi].

    ``theta_n^k = arctan2(y_k - y_n, x_k - x_n) - phi_n``.

    Parameters
    ----------
    nodes_m, targets_m
        Positions, shapes [N, 2] and [K, 2], m.

    Returns
    -------
    float64, shape [N, K], rad
    """
    away = targets_m[np.newaxis] - nodes_m[:, np.newaxis]
    angle = np.arctan2(away[..., 1], away[..., 0]) - boresight_rad(nodes_m, orientation)[:, np.newaxis]
    return np.pi - np.mod(np.pi - angle, 2 * np.pi)


def delays_s(nodes_m: Float, targets_m: Float) -> Float:
    """One-way delay ``tau_n^k = |q_k - p_n| / c``, shape [N, K], s."""
    away = targets_m[np.newaxis] - nodes_m[:, np.newaxis]
    return np.hypot(away[..., 0], away[..., 1]) / SPEED_OF_LIGHT_M_S


def angle_gradient(nodes_m: Float, targets_m: Float) -> Float:
    """Gradient of each angle with respect to its target's (x, y), shape [N, K, 2], rad/m; independent of boresight."""
    away = targets_m[np.newaxis] - nodes_m[:, np.newaxis]
    squared = (away**2).sum(-1, keepdims=True)
    return np.stack([-away[..., 1], away[..., 0]], axis=-1) / squared


def delay_gradient(nodes_m: Float, targets_m: Float) -> Float:
    """Gradient of each one-way delay with respect to its target's (x, y), shape [N, K, 2], s/m."""
    away = targets_m[np.newaxis] - nodes_m[:, np.newaxis]
    return away / (np.linalg.norm(away, axis=-1, keepdims=True) * SPEED_OF_LIGHT_M_S)

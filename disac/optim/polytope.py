"""Vertices of a polytope: half-spaces and the nonnegative orthant. A convex function is largest at one of its vertices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def polytope_vertices(normals: Float, supports: Float) -> Float:
    """Vertices of ``{u >= 0, normals u <= supports}``.

    Parameters
    ----------
    normals
        g_i >= 0, [cuts, N]. Every coordinate must be bounded by some cut.
    supports
        s_i > 0, [cuts].

    Returns
    -------
    float64, shape [vertices, N]
    """
    from scipy.spatial import HalfspaceIntersection

    with np.errstate(divide="ignore"):
        scale = np.where(normals > 0, supports[:, np.newaxis] / normals, np.inf).min(axis=0)
    nodes = len(scale)
    if nodes == 1:
        return np.array([[0.0], scale])
    # In units of the axes' intercepts the set is near a unit box, and half of its smallest ray is inside.
    scaled = normals * scale
    inside = np.full(nodes, 0.5 * float((supports / scaled.sum(axis=1)).min()))
    halves = np.vstack([np.column_stack([scaled, -supports]), np.column_stack([-np.eye(nodes), np.zeros(nodes)])])
    found: Any = HalfspaceIntersection(halves, inside)
    vertices: Float = np.maximum(found.intersections, 0.0) * scale
    return vertices

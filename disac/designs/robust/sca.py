"""The successive convex approximation of 000 (Algorithm 1), each step solved exactly.

Under total power the reachable t form a simplex with corners ``t*_m e_m``, and the surrogate (39a) is linear in t with
weights ``c = grad F(t_v)``: its optimum is the corner with the largest ``c_m t*_m``. So the iteration walks between corners,
and stops at the first that is best for its own weights, whether or not another has the larger divergence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.metrics.kld import EchoModel

Float = NDArray[np.float64]

STEPS = 100


@dataclass(frozen=True)
class Walk:
    """``divergences`` of the start and of every step, nats, and the ``nodes`` that the steps light."""

    divergences: tuple[float, ...]
    nodes: tuple[int, ...]


def successive_convex(echoes: EchoModel, corners: Float, start: Float, tolerance: float) -> Walk:
    """Walk from powers ``start`` [N] at the target until the divergence changes by no more than ``tolerance``, nats.

    Parameters
    ----------
    corners
        t*_m of each node alone, [N].
    """
    point, values, nodes = np.asarray(start, dtype=np.float64), [float(echoes.divergence(start))], []
    for _ in range(STEPS):
        node = int(np.argmax(echoes.gradient(point) * corners))
        point = np.zeros(len(corners))
        point[node] = corners[node]
        nodes.append(node)
        values.append(float(echoes.divergence(point)))
        if abs(values[-1] - values[-2]) <= tolerance:
            break
    return Walk(tuple(values), tuple(nodes))


def walk_ends(echoes: EchoModel, corners: Float, starts: Float, tolerance: float) -> Float:
    """Divergence, nats, [S], where the walk from each start [S, N] ends: after one step it depends on that corner alone."""
    first = np.argmax(echoes.gradient(starts) * corners, axis=-1)
    ends = np.empty(len(starts))
    for node in np.unique(first):
        corner = corners * (np.arange(len(corners)) == node)
        ends[first == node] = successive_convex(echoes, corners, corner, tolerance).divergences[-1]
    return ends

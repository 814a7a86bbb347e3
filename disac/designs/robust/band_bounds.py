"""Largest divergence of a band within simplices that enclose all designs, for both laws of the target's cross-section.

Simplex i says ``share_i + sum_l sum_n t_{l,n} / tau^i_{l,n} <= 1`` for the powers t_{l,n} at the target, in units of the limit.
What the simplices have in common is a polytope in L N dimensions, too many to list its vertices. Both laws need less.

One cross-section for an interval: the divergence depends on the sums ``t_n = sum_l t_{l,n}`` alone. For weights mu >= 0 of the
simplices the sums obey ``sum_n t_n min_l sum_i mu_i / tau^i_{l,n} <= sum_i mu_i (1 - share_i)``: a simplex in N dimensions. The
best vertex of such simplices bounds the divergence. A linear program tells whether powers with these sums exist. Where they do
not, its multipliers are the weights of a new simplex.

A new cross-section for each element: the divergence is a sum over subcarriers. The powers of one subcarrier lie in a polytope
in N dimensions, with vertices v. For weights mu >= 0 the divergence is at most
``sum_i mu_i (1 - share_i) + sum_l max_v (F(v) - sum_i mu_i sum_n v_n / tau^i_{l,n})``, since a convex function minus a linear
one is largest at a vertex. A linear program finds the weights of the least bound. Any weights are valid, in both cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disac.optim.polytope import polytope_vertices

Float = NDArray[np.float64]

FITS = 1e-7
"""Powers exist for given sums where the simplices must be larger by at most this share."""

WHOLE = 1e-5
"""A chord counts as the divergence itself where it is above it by at most this share of the bound."""

SUM_CUTS = 40
"""Most simplices of sums that are added for one bound."""


def best_of_sums(simplices: Sequence[tuple[float, Float]], divergence: Callable[[Float], Float]) -> tuple[Float, Float, float]:
    """The best powers for one cross-section of an interval, and the bound.

    Parameters
    ----------
    simplices
        share and tau [L, N] of each simplex.
    divergence
        Of sums of powers over subcarriers [..., N], in units of the limit: convex and increasing.

    Returns
    -------
    corner
        Powers t [L, N] with the sums of the best vertex, within all simplices if there are such powers.
    weights
        Of the simplices that hold the corner back, [simplices].
    bound
        Largest divergence of any powers within all simplices.
    """
    left, inverse = _known(simplices)
    if (left <= 0.0).any():
        return np.zeros(inverse.shape[1:]), np.ones(len(left)), 0.0
    # One row is known to be a simplex of sums: that of each simplex alone.
    rows, heights = inverse.min(axis=1), left
    weights, bound, corner = np.ones(len(left)), float("inf"), np.zeros(inverse.shape[1:])
    for _ in range(SUM_CUTS):
        vertices = polytope_vertices(rows, heights)
        values = divergence(vertices)
        best = int(np.argmax(values))
        sums, bound = vertices[best], float(values[best])
        corner, weights, excess = _split(sums, left, inverse)
        if excess <= FITS:
            break
        rows = np.vstack([rows, np.tensordot(weights, inverse, 1).min(axis=0)])
        heights = np.append(heights, weights @ left)
    return corner, weights, bound


def _split(sums: Float, left: Float, inverse: Float) -> tuple[Float, Float, float]:
    """Powers t [L, N] with given sums, for which the simplices grow the least; weights of the simplices that prove it, and the
    share by which they must grow.
    """
    from scipy.optimize import linprog

    count, subcarriers, nodes = inverse.shape
    # In units of the sums. The last unknown is the factor of all simplices.
    lit = sums > 0
    size = subcarriers * int(lit.sum())
    rows = np.column_stack([(inverse * sums)[:, :, lit].reshape(count, size) / left[:, np.newaxis], -np.ones(count)])
    shares = np.column_stack([np.tile(np.eye(int(lit.sum())), subcarriers), np.zeros(int(lit.sum()))])
    found: Any = linprog(np.eye(1, size + 1, size)[0], rows, np.zeros(count), shares, np.ones(len(shares)), method="highs")
    parts = np.zeros((subcarriers, nodes))
    parts[:, lit] = np.maximum(found.x[:size], 0.0).reshape(subcarriers, -1) * sums[lit]
    return parts, np.maximum(-found.ineqlin.marginals, 0.0) / left, float(found.fun) - 1.0


def best_of_parts(
    simplices: Sequence[tuple[float, Float]], divergence: Callable[[Float], Float], regions: int = 1
) -> tuple[Float, Float, float]:
    """The best powers for a new cross-section in each element, and the bound.

    The linear program lets a subcarrier take a share of a vertex: it follows a chord of the divergence. Where it does, the
    powers of one node on this subcarrier are divided in two regions, below and above what the program gives it.

    Parameters
    ----------
    simplices
        share and tau [L, N] of each simplex.
    divergence
        Of powers of one subcarrier [..., N], in units of the limit: convex, increasing, and zero at zero.
    regions
        Most regions into which the powers are divided.

    Returns
    -------
    corner
        Powers t [L, N] of the linear program of the best region.
    weights
        Of the simplices that hold the corner back, [simplices].
    bound
        Largest sum of divergences of any powers within all simplices.
    """
    left, inverse = _known(simplices)
    if (left <= 0.0).any():
        return np.zeros(inverse.shape[1:]), np.ones(len(left)), 0.0
    whole = _Region(left, inverse, divergence, np.zeros(inverse.shape[1:]), np.full(inverse.shape[1:], np.inf))
    open_regions = [whole]
    for _ in range(regions - 1):
        best = max(open_regions, key=lambda region: region.bound)
        if best.division is None:
            break
        open_regions.remove(best)
        open_regions += best.divided()
    best = max(open_regions, key=lambda region: region.bound)
    return best.corner, best.weights, best.bound


class _Region:
    """Powers t [L, N] between two others, and the linear program of their best divergence within the simplices."""

    def __init__(
        self, left: Float, inverse: Float, divergence: Callable[[Float], Float], least: Float, most: Float
    ) -> None:  # fmt: skip
        from scipy import sparse
        from scipy.optimize import linprog

        self._posed, self.least, self.most = (left, inverse, divergence), least, most
        subcarriers, nodes = least.shape
        self.corner, self.weights, self.bound = least, np.ones(len(left)), 0.0
        self.division: tuple[int, int, float] | None = None
        spare = left - np.einsum("iln,ln->i", inverse, least)
        if (spare <= 0.0).any():
            # Not even the least powers are within the simplices.
            self.bound = -np.inf
            return
        each = []
        for place in range(subcarriers):
            capped = np.flatnonzero(np.isfinite(most[place]))
            normals = np.vstack([inverse[:, place], np.eye(nodes)[capped]])
            each.append(polytope_vertices(normals, np.append(spare, (most - least)[place, capped])))
        where = np.repeat(np.arange(subcarriers), [len(own) for own in each])
        added = np.concatenate(each)
        base = divergence(least)
        gains = divergence(least[where] + added) - base[where]
        used = np.einsum("ivn,vn->iv", inverse[:, where], added)
        unit = max(float(gains.max()), 1e-300)
        single = sparse.csr_array((np.ones(len(where)), (where, np.arange(len(where)))), shape=(subcarriers, len(where)))
        rows = sparse.vstack([sparse.csr_array(used / spare[:, np.newaxis]), single])
        found: Any = linprog(-gains / unit, rows, np.ones(len(left) + subcarriers), method="highs")
        self.weights = np.maximum(-found.ineqlin.marginals[: len(left)], 0.0) * unit / spare
        beyond = np.zeros(subcarriers)
        np.maximum.at(beyond, where, gains - self.weights @ used)
        self.bound = float(base.sum() + self.weights @ spare + beyond.sum())
        taken = np.zeros((subcarriers, nodes))
        np.add.at(taken, where, np.maximum(found.x, 0.0)[:, np.newaxis] * added)
        self.corner = least + taken
        lost = divergence(self.corner) - base
        np.subtract.at(lost, where, found.x * gains)
        worst = int(np.argmin(lost))
        if lost[worst] < -WHOLE * self.bound:
            node = int(np.argmax(taken[worst]))
            self.division = worst, node, float(self.corner[worst, node])

    def divided(self) -> list[_Region]:
        """The two regions below and above the power at which this one divides."""
        assert self.division is not None
        subcarrier, node, power = self.division
        most, least = self.most.copy(), self.least.copy()
        most[subcarrier, node] = least[subcarrier, node] = power
        return [_Region(*self._posed, self.least, most), _Region(*self._posed, least, self.most)]


def _known(simplices: Sequence[tuple[float, Float]]) -> tuple[Float, Float]:
    """What the users leave of the power [simplices], and 1 / tau [simplices, L, N]."""
    return 1.0 - np.array([share for share, _ in simplices]), 1.0 / np.array([reach for _, reach in simplices])

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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disac.optim.polytope import polytope_vertices

Float = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]

FITS = 1e-7
"""Powers exist for given sums where the simplices must be larger by at most this share."""

WHOLE = 1e-5
"""A chord counts as the divergence itself where it is above it by at most this share of the bound."""

NEGLIGIBLE = 1e-12
"""A vertex joins a linear program where it gains by more than this share of the largest gain."""

MORE = 8
"""Most vertices that join a linear program in one go."""

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
    open_regions = [_whole(left, inverse, divergence)]
    for _ in range(regions - 1):
        best = max(open_regions, key=lambda region: region.bound)
        if best.division is None:
            break
        open_regions.remove(best)
        open_regions += best.divided()
    best = max(open_regions, key=lambda region: region.bound)
    return best.corner, best.weights, best.bound


@dataclass(frozen=True)
class _Vertices:
    """Vertices of the powers that each subcarrier may have above its least ones.

    Attributes
    ----------
    where
        Subcarrier of each vertex, [vertices].
    added
        Powers above the least ones, [vertices, N].
    gains
        What they add to the divergence, [vertices].
    used
        What they use of each simplex, [simplices, vertices].
    chosen
        Which ones a linear program has asked for, [vertices].
    """

    where: Index
    added: Float
    gains: Float
    used: Float
    chosen: Flags

    def but(self, subcarrier: int) -> _Vertices:
        """All vertices except those of one subcarrier."""
        kept = self.where != subcarrier
        return _Vertices(self.where[kept], self.added[kept], self.gains[kept], self.used[:, kept], self.chosen[kept])

    def with_others(self, other: _Vertices) -> _Vertices:
        """These vertices and others."""
        return _Vertices(
            np.concatenate([self.where, other.where]), np.concatenate([self.added, other.added]),
            np.concatenate([self.gains, other.gains]), np.concatenate([self.used, other.used], axis=1),
            np.concatenate([self.chosen, other.chosen]),
        )  # fmt: skip


class _Region:
    """Powers t [L, N] between two others, and the linear program of their best divergence within the simplices.

    Of all vertices the program needs few. It starts with those that the region around this one asked for. A vertex joins them
    where its gain exceeds what its subcarrier and the simplices ask for it. In the end none does, and that is the bound.
    """

    def __init__(self, posed: _Posed, least: Float, most: Float, vertices: _Vertices, outer_bound: float) -> None:
        self._posed, self.least, self.most, self._vertices = posed, least, most, vertices
        subcarriers, nodes = least.shape
        spare = posed.left - np.einsum("iln,ln->i", posed.inverse, least)
        self.division: tuple[int, int, float] | None = None
        base, where, gains = posed.divergence(least), vertices.where, vertices.gains
        chosen, unit = vertices.chosen.copy(), max(float(vertices.gains.max()), 1e-300)
        while True:
            some = np.flatnonzero(chosen)
            shares, self.weights = _best_shares(vertices, some, spare, unit)
            beyond = np.zeros((2, subcarriers))
            priced = gains - self.weights @ vertices.used
            np.maximum.at(beyond[0], where, priced)
            np.maximum.at(beyond[1], where[some], priced[some])
            more = priced - beyond[1, where]
            best = np.flatnonzero((priced >= beyond[0, where]) & (more > NEGLIGIBLE * unit) & ~chosen)
            if best.size == 0:
                break
            chosen[best[np.argsort(-more[best])[:MORE]]] = True
        self._vertices = replace(vertices, chosen=chosen)
        # A smaller region has no larger bound, up to rounding.
        self.bound = min(float(base.sum() + self.weights @ spare + beyond[0].sum()), outer_bound)
        taken, reached = np.zeros((subcarriers, nodes)), np.zeros(subcarriers)
        np.add.at(taken, where[some], shares[:, np.newaxis] * vertices.added[some])
        np.add.at(reached, where[some], shares * gains[some])
        self.corner = least + taken
        lost = posed.divergence(self.corner) - base - reached
        worst = int(np.argmin(lost))
        # At the limit of a node there is nothing to divide.
        inside = np.where(self.corner[worst] < most[worst] * (1.0 - FITS), taken[worst], 0.0)
        if lost[worst] < -WHOLE * self.bound and inside.any():
            node = int(np.argmax(inside))
            self.division = worst, node, float(self.corner[worst, node])

    def divided(self) -> list[_Region]:
        """The regions below and above the power at which this one divides, where they have any powers within the simplices."""
        assert self.division is not None
        subcarrier, node, power = self.division
        most, least = self.most.copy(), self.least.copy()
        most[subcarrier, node] = least[subcarrier, node] = power
        found, others = [], self._vertices.but(subcarrier)
        for low, high in ((self.least, most), (least, self.most)):
            own = self._posed.vertices(subcarrier, low, high)
            if own is not None:
                found.append(_Region(self._posed, low, high, others.with_others(own), self.bound))
        return found


@dataclass(frozen=True)
class _Posed:
    """What the simplices leave, ``left`` [simplices] and ``inverse`` 1 / tau [simplices, L, N], and the divergence."""

    left: Float
    inverse: Float
    divergence: Callable[[Float], Float]

    def vertices(self, subcarrier: int, least: Float, most: Float) -> _Vertices | None:
        """Vertices of one subcarrier for powers between two others [L, N], all of them chosen; None without such powers."""
        spare = self.left - np.einsum("iln,ln->i", self.inverse, least)
        if (spare <= 0.0).any():
            return None
        inverse, low, high = self.inverse[:, subcarrier], least[subcarrier], most[subcarrier]
        capped = np.flatnonzero(np.isfinite(high))
        normals = np.vstack([inverse, np.eye(len(low))[capped]])
        added = polytope_vertices(normals, np.append(spare, (high - low)[capped]))
        gains = self.divergence(low + added) - self.divergence(low)
        number = len(added)
        return _Vertices(np.full(number, subcarrier), added, gains, inverse @ added.T, np.ones(number, dtype=np.bool_))


def _whole(left: Float, inverse: Float, divergence: Callable[[Float], Float]) -> _Region:
    """The region of all powers. Its program starts with the best vertex of all."""
    posed, shape = _Posed(left, inverse, divergence), inverse.shape[1:]
    least, most = np.zeros(shape), np.full(shape, np.inf)
    each = [own for subcarrier in range(shape[0]) if (own := posed.vertices(subcarrier, least, most)) is not None]
    most_gain = max(float(own.gains.max()) for own in each)
    whole = _Vertices(
        np.concatenate([own.where for own in each]), np.concatenate([own.added for own in each]),
        np.concatenate([own.gains for own in each]), np.concatenate([own.used for own in each], axis=1),
        np.concatenate([own.gains == most_gain for own in each]),
    )  # fmt: skip
    return _Region(posed, least, most, whole, float("inf"))


def _best_shares(vertices: _Vertices, some: Index, spare: Float, unit: float) -> tuple[Float, Float]:
    """Shares of some vertices with the largest gain, and weights of the simplices, which have ``spare`` [simplices] left."""
    from scipy.optimize import linprog

    where, place = np.unique(vertices.where[some], return_inverse=True)
    single = np.zeros((len(where), len(some)))
    single[place, np.arange(len(some))] = 1.0
    rows = np.vstack([vertices.used[:, some] / spare[:, np.newaxis], single])
    found: Any = linprog(-vertices.gains[some] / unit, rows, np.ones(len(rows)), method="highs", options={"presolve": False})
    weights = np.maximum(-found.ineqlin.marginals[: len(spare)], 0.0) * unit / spare
    return np.maximum(found.x, 0.0), weights


def _known(simplices: Sequence[tuple[float, Float]]) -> tuple[Float, Float]:
    """What the users leave of the power [simplices], and 1 / tau [simplices, L, N]."""
    return 1.0 - np.array([share for share, _ in simplices]), 1.0 / np.array([reach for _, reach in simplices])

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
from dataclasses import dataclass
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

FACETS = 16
"""Most simplices whose common vertices are listed for a subcarrier: the number of vertices grows fast with theirs. All of them
hold in the linear program."""

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
    shape = inverse.shape[1:]
    open_regions = [_Region(_Posed(left, inverse, divergence), np.zeros(shape), np.full(shape, np.inf), left, {})]
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
    """Vertices of the powers of a subcarrier above its least ones.

    Attributes
    ----------
    added
        Powers above the least ones, [vertices, N].
    gains
        What they add to the divergence, [vertices].
    used
        What they use of each simplex, [simplices, vertices].
    """

    added: Float
    gains: Float
    used: Float

    def take(self, index: Index | slice) -> _Vertices:
        """Some of them."""
        return _Vertices(self.added[index], self.gains[index], self.used[:, index])

    def priced(self, weights: Float) -> Float:
        """Gains without the price of what is used, for weights [simplices]."""
        # Few simplices have a weight.
        weighted = np.flatnonzero(weights)
        priced: Float = self.gains - weights[weighted] @ self.used[weighted]
        return priced


def _all_of(each: Sequence[_Vertices]) -> _Vertices:
    """Vertices one after another."""
    return _Vertices(
        np.concatenate([own.added for own in each]), np.concatenate([own.gains for own in each]),
        np.concatenate([own.used for own in each], axis=1),
    )  # fmt: skip


class _Posed:
    """The simplices, the divergence, and the vertices of all subcarriers for powers from zero on."""

    def __init__(self, left: Float, inverse: Float, divergence: Callable[[Float], Float]) -> None:
        self.left, self.inverse, self.divergence = left, inverse, divergence
        self.facets = _apart(left, inverse)
        shape = inverse.shape[1:]
        least, most = np.zeros(shape), np.full(shape, np.inf)
        each = [self.vertices(subcarrier, left, least, most) for subcarrier in range(shape[0])]
        self.whole, self.ends = _all_of(each), np.cumsum([len(own.gains) for own in each])
        self.starts = self.ends - [len(own.gains) for own in each]

    def vertices(self, subcarrier: int, spare: Float, least: Float, most: Float) -> _Vertices:
        """Vertices of one subcarrier for powers between two others [L, N] that leave ``spare`` [simplices]."""
        inverse, low, high = self.inverse[:, subcarrier], least[subcarrier], most[subcarrier]
        capped = np.flatnonzero(np.isfinite(high))
        normals = np.vstack([inverse[self.facets], np.eye(len(low))[capped]])
        added = polytope_vertices(normals, np.append(spare[self.facets], (high - low)[capped]))
        return _Vertices(added, self.divergence(low + added) - self.divergence(low), inverse @ added.T)

    def spare(self, least: Float) -> Float | None:
        """What least powers [L, N] leave of the simplices, [simplices], a little at least; None where they exceed one."""
        spare = self.left - np.einsum("iln,ln->i", self.inverse, least)
        return np.maximum(spare, FITS * self.left) if (spare > 0.0).all() else None


class _Region:
    """Powers t [L, N] between two others, and the linear program of their best divergence within the simplices.

    Of all vertices the program needs few. It starts with those that the region around this one asked for. A vertex joins them
    where its gain exceeds what its subcarrier and the simplices ask for it. In the end none does, and that is the bound.

    Parameters
    ----------
    spare
        What the least powers leave of the simplices, [simplices].
    own
        Vertices of the subcarriers whose powers are divided.
    outer, divided
        The region around this one, and the subcarrier whose powers it divided; none around the region of all powers.
    """

    def __init__(
        self, posed: _Posed, least: Float, most: Float, spare: Float, own: dict[int, _Vertices],
        outer: _Region | None = None, divided: int = -1,
    ) -> None:  # fmt: skip
        self.posed, self.least, self.most, self.own = posed, least, most, own
        self.division: tuple[int, int, float] | None = None
        subcarriers, nodes = least.shape
        base = posed.divergence(least)
        unit = max(float(posed.whole.gains.max()), 1e-300)
        self.where: Index = np.zeros(0, dtype=np.intp)
        self.some, self.weights = posed.whole.take(slice(0, 0)), np.zeros(len(spare))
        if outer is not None:
            # The subcarrier divided last has other vertices now.
            kept = np.flatnonzero(outer.where != divided)
            self.where, self.some, self.weights = outer.where[kept], outer.some.take(kept), outer.weights
        shares: Float | None = None
        while True:
            beyond, asked = self._beyond(self.weights), np.zeros(subcarriers)
            np.maximum.at(asked, self.where, self.some.priced(self.weights))
            more = beyond - asked
            best = np.argsort(-more)[:MORE]
            best = best[more[best] > NEGLIGIBLE * unit]
            if best.size == 0 and self.where.size == 0:
                # No vertex is worth its price: there is nothing to choose from, and the weights prove the bound.
                shares = np.zeros(0)
            if best.size == 0 and shares is not None:
                break
            self.where = np.append(self.where, best)
            self.some = _all_of([self.some, *(self._best(subcarrier, self.weights) for subcarrier in best.tolist())])
            found = _best_shares(self.where, self.some, spare, unit)
            if found is None:
                # The weights of the program before prove a bound, too.
                shares = np.zeros(len(self.where))
                break
            shares, self.weights = found
        self.bound = float(base.sum() + self.weights @ spare + beyond.sum())
        if outer is not None:
            # A part has no larger bound, up to rounding.
            self.bound = min(self.bound, outer.bound)
        taken, reached = np.zeros((subcarriers, nodes)), np.zeros(subcarriers)
        np.add.at(taken, self.where, shares[:, np.newaxis] * self.some.added)
        np.add.at(reached, self.where, shares * self.some.gains)
        self.corner = least + taken
        lost = posed.divergence(self.corner) - base - reached
        worst = int(np.argmin(lost))
        # At the limit of a node there is nothing to divide.
        inside = np.where(self.corner[worst] < most[worst] * (1.0 - FITS), taken[worst], 0.0)
        if lost[worst] < -WHOLE * self.bound and inside.any():
            node = int(np.argmax(inside))
            self.division = worst, node, float(self.corner[worst, node])

    def _beyond(self, weights: Float) -> Float:
        """The most that each subcarrier gains beyond the price of what it uses, [L]."""
        beyond = np.maximum.reduceat(self.posed.whole.priced(weights), self.posed.starts)
        for subcarrier, vertices in self.own.items():
            beyond[subcarrier] = vertices.priced(weights).max()
        return np.maximum(beyond, 0.0)

    def _best(self, subcarrier: int, weights: Float) -> _Vertices:
        """The vertex at which a subcarrier gains most."""
        start, end = self.posed.starts[subcarrier], self.posed.ends[subcarrier]
        vertices = self.own.get(subcarrier) or self.posed.whole.take(slice(start, end))
        return vertices.take(np.array([np.argmax(vertices.priced(weights))]))

    def divided(self) -> list[_Region]:
        """The regions below and above the power at which this one divides, where they have any powers within the simplices."""
        assert self.division is not None
        subcarrier, node, power = self.division
        most, least = self.most.copy(), self.least.copy()
        most[subcarrier, node] = least[subcarrier, node] = power
        found = []
        for low, high in ((self.least, most), (least, self.most)):
            spare = self.posed.spare(low)
            if spare is not None:
                own = self.own | {subcarrier: self.posed.vertices(subcarrier, spare, low, high)}
                found.append(_Region(self.posed, low, high, spare, own, self, subcarrier))
        return found


def _apart(left: Float, inverse: Float) -> Index:
    """Simplices that are far from each other, at most ``FACETS`` of them: those of few nodes, and then the last one first."""
    size = len(left)
    if size <= FACETS:
        return np.arange(size)
    whole: Flags = np.asarray((inverse > 0).all(axis=(1, 2)))
    logs = np.log(np.where(whole[:, np.newaxis], (inverse / left[:, np.newaxis, np.newaxis]).reshape(size, -1), 1.0))
    of_few, of_all = np.flatnonzero(~whole), np.flatnonzero(whole)
    spread = spread_first(logs[of_all], [len(of_all) - 1])
    return np.concatenate([of_few, of_all[spread]])[:FACETS]


def _best_shares(where: Index, some: _Vertices, spare: Float, unit: float) -> tuple[Float, Float] | None:
    """Shares of some vertices of subcarriers ``where`` with the largest gain, and weights of the simplices, which have
    ``spare`` [simplices] left; None where the solver finds none.
    """
    from scipy.optimize import linprog

    subcarriers, place = np.unique(where, return_inverse=True)
    single = np.zeros((len(subcarriers), len(where)))
    single[place, np.arange(len(where))] = 1.0
    rows = np.vstack([some.used / spare[:, np.newaxis], single])
    found: Any = linprog(-some.gains / unit, rows, np.ones(len(rows)), method="highs", options={"presolve": False})
    if found.status != 0:
        return None
    weights = np.maximum(-found.ineqlin.marginals[: len(spare)], 0.0) * unit / spare
    return np.maximum(found.x, 0.0), weights


def spread_first(points: Float, first: Sequence[int]) -> Index:
    """An order of points [n, d]: those that come first, and then again and again the one that is furthest from all so far."""
    order, away = list(first), np.full(len(points), np.inf)
    for place in range(len(points)):
        if place == len(order):
            order.append(int(np.argmax(away)))
        away = np.minimum(away, np.linalg.norm(points - points[order[place]], axis=1))
        away[order[place]] = -np.inf
    return np.array(order)


def _known(simplices: Sequence[tuple[float, Float]]) -> tuple[Float, Float]:
    """What the users leave of the power [simplices], and 1 / tau [simplices, L, N]."""
    return 1.0 - np.array([share for share, _ in simplices]), 1.0 / np.array([reach for _, reach in simplices])

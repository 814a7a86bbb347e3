"""Service and tangents of a whole band by Newton's method: all subcarriers at once, the prices of the nodes' powers shared.

A band has one limit for each node's power over all subcarriers, so that one price of it holds on all of them. At fixed prices
each subcarrier has its own service with the least priced power. For weights g of the amplitudes at the target the beams that
go furthest are found with the prices. Each subcarrier's multipliers are eliminated by themselves, so that N unknowns stay, the
changes of the prices (``subcarriers_step`` has the conditions).

Nothing is promised of a point. Its multipliers prove a simplex in closed form (``subcarriers_proofs``), and the beams tell how
close that is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.subcarriers import Point, Subcarriers, solved_each
from disac.designs.robust.subcarriers_newton import HOPELESS, STEPS, WHISPER, starting_point
from disac.designs.robust.subcarriers_proofs import Simplices, simplices
from disac.designs.robust.subcarriers_step import AT_REST, CALM, FRACTION, LONG_STEP, NEARLY, SHARP, SHRINK, Linearised, Users

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]

SERVICE_GAP = 1e-7
"""Largest relative distance between a proof and the beams found, where the proof counts as tight."""

TANGENT_GAP = 5e-8
"""As SERVICE_GAP, along a tangent: the distance of its end."""

LEAST_WARM_PRICE, LEAST_WARM_SLACK = 1e-3, 1e-3
"""Of a start from another point: least price of a node's power, of the mean price, and least half of a node's power that is
left, of its limit."""

FASTER, LEAST_PRODUCT = 10.0, 1e-12
"""Near the end the products of price and slack shrink by this many times themselves, in units of the goal, to the least."""


@dataclass(frozen=True)
class Services:
    """What prices of the nodes' powers prove on L subcarriers, and whether the proof is tight, [L].

    Where it is not tight it holds all the same. ``point`` names the errors behind it.
    """

    simplices: Simplices
    tight: Flags
    point: Point


@dataclass(frozen=True)
class Furthest:
    """Beams that go furthest along weights, proven up to ``TANGENT_GAP``.

    ``services`` are those of the ``prices`` [N], of mean one; ``steps`` were taken.
    """

    point: Point
    prices: Float
    services: Services
    steps: int


def quietest(tones: Subcarriers, prices: Float, near: Point | None = None) -> Services:
    """The service with the least power counted by prices [N] of mean one, on every subcarrier by itself.

    Parameters
    ----------
    near
        A point for other prices. Where it leads to no tight proof the search starts anew.
    """
    # A subcarrier without a service ends in numbers that are not finite. They prove nothing.
    with np.errstate(all="ignore"):
        if near is None or not tones.guards:
            return _served(tones, starting_point(tones, np.ones((len(tones.power), tones.nodes)), prices)[0])
        unit = near.prices.mean(axis=1, keepdims=True)
        found = _served(tones, replace(near, prices=unit * prices))
        if found.tight.all():
            return found
        loose = np.flatnonzero(~found.tight)
        again = quietest(tones.take(loose), prices).point
        found.point.put(loose, again)
        return _services(tones, found.point)


def furthest(tones: Subcarriers, weights: Float, near: Point | None = None) -> Furthest | None:
    """Beams that go furthest along weights g [L, N] of unit length, within one limit of each node's power for all subcarriers.

    Parameters
    ----------
    near
        A point for other weights. Where it leads to no proof the search starts anew.

    Returns
    -------
    Furthest or None
        None where the multipliers do not prove that no beams go further.
    """
    with np.errstate(all="ignore"):
        found = None if near is None else _climbed(tones, weights, _warmed(tones, near))
        if found is not None:
            return found
        start, serves = starting_point(tones, np.maximum(weights, WHISPER), joined=True)
        return _climbed(tones, weights, start) if serves.all() else None


def _served(tones: Subcarriers, whole: Point) -> Services:
    """Steps at the prices of a point until every subcarrier is at rest."""
    weights = np.full((len(tones.power), tones.nodes), 1.0 if tones.balls else WHISPER)
    whole = whole.take(np.arange(len(weights)))
    # Without errors the start is the optimum.
    index = np.arange(len(weights) if tones.guards else 0)
    for _ in range(STEPS):
        if index.size == 0:
            break
        point, at_rest, lost = _service_step(tones.take(index), whole.take(index), weights[index])
        whole.put(index, point)
        index = index[~(at_rest | lost)]
    return _services(tones, whole)


def _warmed(tones: Subcarriers, near: Point) -> Point:
    """A point a little away from its limits."""
    least = LEAST_WARM_PRICE * near.prices.mean(axis=1, keepdims=True)
    return replace(
        near, prices=np.maximum(near.prices, least), slack=np.maximum(near.slack, LEAST_WARM_SLACK / tones.nodes)
    )  # fmt: skip


def _climbed(tones: Subcarriers, weights: Float, point: Point) -> Furthest | None:
    """Steps along weights [L, N] until all is at rest, or None where nothing is proven in the end."""
    goal, at_rest, lost, steps = np.maximum(weights, WHISPER), False, False, 0
    while steps < STEPS and not (at_rest or lost):
        point, at_rest, lost = _joined_step(tones, point, goal)
        steps += 1
    if not at_rest:
        return None
    services = _services(tones, point)
    left = 1.0 - services.simplices.share.sum()
    most = np.sqrt(np.maximum(left, 0.0) * np.sum(weights**2 * services.simplices.reach))
    if not most <= (1.0 + TANGENT_GAP) * np.sum(weights * tones.amplitudes(point)):
        return None
    prices = point.prices[0] / point.prices[0].mean()
    silent = replace(point, sensing=np.where(weights[..., np.newaxis] > 0, point.sensing, 0.0))
    return Furthest(silent, prices, services, steps)


def _services(tones: Subcarriers, point: Point) -> Services:
    """The simplices of a point, and whether they are tight."""
    found = _proven(tones, point)
    return Services(found, _tight(tones, point, found), point)


def _proven(tones: Subcarriers, point: Point) -> Simplices:
    """The simplices of a point. Leaks that have no errors are what they are, without a turn."""
    if not tones.balls:
        turns = np.zeros_like(point.leak_turns)
        turns[..., 0] = 1.0
        point = replace(point, leak_turns=turns)
    return simplices(tones, point)


def _tight(tones: Subcarriers, point: Point, found: Simplices) -> Flags:
    """Whether the beams of a point need no more priced power, and reach no less, than the simplices tell, up to the gap."""
    heard, own = Users(tones, point), np.arange(tones.users)
    prices = point.prices / point.prices.mean(axis=1, keepdims=True)
    balance = -(heard.amplitude**2).swapaxes(-1, -2)
    balance[:, own, own] = np.maximum(heard.wanted, 0.0) ** 2 / tones.sinr
    powers = solved_each(balance, np.ones((*heard.wanted.shape, 1)))[..., 0]
    spent = np.sum(powers * np.sum(point.users**2 * (prices @ tones.node_of.T)[:, np.newaxis], axis=-1), axis=-1)
    served = (powers > 0).all(axis=1) & (spent * (1.0 - SERVICE_GAP) <= found.share)
    if not tones.balls:
        return np.asarray(served & np.isfinite(found.reach).all(axis=1))
    q = point.q / point.prices.mean(axis=1, keepdims=True)
    leaks = np.linalg.norm(tones.leaks(point.sensing), axis=-1)
    leaks = leaks + tones.sensing_radius * np.linalg.norm(point.sensing, axis=-1)[..., np.newaxis]
    cost = prices * np.sum(point.sensing**2, axis=-1) + np.sum(q[:, np.newaxis] * leaks**2, axis=-1)
    lit = tones.amplitudes(point) ** 2 >= (1.0 - SERVICE_GAP) * cost * found.reach
    return np.asarray(served & lit.all(axis=1))


class _Eliminated:
    """A linearised band without the unknowns of single subcarriers: N unknowns are left, the changes of the prices.

    Attributes
    ----------
    matrix, right
        What all subcarriers together add to the rows of the nodes' powers, [N, N] and [N].
    """

    def __init__(self, linear: Linearised) -> None:
        users, nodes = linear.sizes
        count = len(linear.short)
        system, known = linear.system(np.zeros((count, nodes, nodes)), np.zeros((count, nodes)))
        self._shared = np.arange(users, users + nodes)
        self._local = np.concatenate([np.arange(users), np.arange(users + nodes, 2 * users + nodes)])
        own, across = system[:, self._local], system[:, self._shared]
        right = np.concatenate([known[:, self._local, np.newaxis], own[..., self._shared]], axis=-1)
        self._answer = solved_each(own[..., self._local], right)
        across_own = across[..., self._local]
        self.matrix = np.sum(across[..., self._shared] - across_own @ self._answer[..., 1:], axis=0)
        self.right = np.sum(known[:, self._shared] - (across_own @ self._answer[..., :1])[..., 0], axis=0)

    def unknowns(self, dearer: Float) -> Float:
        """All joint unknowns [L, 2 K + 2 N] for changes of the prices [N]. The weights do not change."""
        found = np.zeros((len(self._answer), len(self._local) + 2 * len(dearer)))
        found[:, self._local] = self._answer[..., 0] - self._answer[..., 1:] @ dearer
        found[:, self._shared] = dearer
        return found


def _service_step(tones: Subcarriers, point: Point, weights: Float) -> tuple[Point, Flags, Flags]:
    """One step at fixed prices; which subcarriers are at rest, and which are lost, [L]."""
    linear = Linearised(tones, point, weights)
    unknowns = _Eliminated(linear).unknowns(np.zeros(tones.nodes))
    q, none = unknowns[:, : tones.users], np.zeros_like(point.slack)
    step, off = _length(np.max(-q / point.q, axis=-1)), np.abs(linear.short).max(axis=-1)
    following = linear.following(step, *linear.moves(unknowns), q, none, none)
    change = np.max(np.abs(q) / point.q, axis=-1)
    at_rest = (step > LONG_STEP) & (off < AT_REST) & (change < AT_REST) & (point.smoothing <= SHARP)
    return replace(following, smoothing=_sharper(point, off, step)), np.asarray(at_rest), _lost(following)


def _joined_step(tones: Subcarriers, point: Point, weights: Float) -> tuple[Point, bool, bool]:
    """One step with the prices, which are the same on all subcarriers; whether all are at rest, and whether any is lost."""
    nodes, linear = tones.nodes, Linearised(tones, point, weights)
    prices, slack = point.prices[0], point.slack[0]
    over = 0.5 * (linear.spent.sum(axis=0) - 1.0 / nodes) + slack
    product = float(np.mean(slack * prices))
    within = nodes * np.abs(over).max() < NEARLY * product
    aim = max(product * (min(SHRINK, FASTER * nodes * product) if within else 1.0), LEAST_PRODUCT / nodes)
    rest = _Eliminated(linear)
    right = rest.right + over + aim / prices - slack
    dearer = solved_each(rest.matrix + np.diag(slack / prices), right[:, np.newaxis])[:, 0]
    looser = aim / prices - slack - slack * dearer / prices
    unknowns = rest.unknowns(dearer)
    q, (users, sensing) = unknowns[:, : tones.users], linear.moves(unknowns)
    falls = np.concatenate([(-q / point.q).ravel(), -dearer / prices, -looser / slack])
    step, off = (
        np.full(len(q), _length(falls.max(), max(FRACTION, 1.0 - nodes * product))),
        np.full(len(q), np.abs(linear.short).max()),
    )
    each = np.ones((len(q), 1))
    following = linear.following(step, users, sensing, q, each * dearer, each * looser)
    change = float(np.abs(np.sum(tones.lit * sensing, axis=-1)).max())
    still = max(float(off[0]), change, nodes * product, nodes * float(np.abs(over).max())) < AT_REST
    at_rest = bool(still and step[0] > LONG_STEP and (point.smoothing <= SHARP).all())
    return replace(following, smoothing=_sharper(point, off, step)), at_rest, bool(_lost(following).any())


def _length(fall: Float, most: float = FRACTION) -> Float:
    """Share of a step, for the largest share that an unknown which has to stay positive would lose in all of it, and may."""
    return np.minimum(1.0, most / np.maximum(fall, most))


def _sharper(point: Point, off: Float, step: Float) -> Float:
    """The smoothing [L] after a step [L], where no SINR is further off than ``off`` [L]."""
    calm = (off < CALM * point.smoothing) & (step > LONG_STEP)
    return np.maximum(np.where(calm, SHRINK, 1.0) * point.smoothing, SHARP)


def _lost(point: Point) -> Flags:
    """Where numbers are not finite, or the users need many times the power."""
    needed = point.q.sum(axis=1)
    return ~(np.isfinite(point.users).all(axis=(1, 2)) & (needed <= HOPELESS * point.prices.mean(axis=1)))

"""Stationary points of the divergence for all subcarriers of a band under per-node power, by Newton's method.

The divergence is convex in the amplitudes u that beams put on the target. For given weights of the nodes the beams that go
furthest solve a convex problem (``subcarriers_step``). At a stationary point the weights are the gradient of the divergence.
First they follow it, as in the climb of ``limited_power``, but after one step in place of a cone program. Then its Hessian
counts, and the method converges quadratically.

At many optima some nodes only serve users. Near zero amplitude the Hessian leads their beams back and forth. Such a node is
silent: its weight is a small constant, and its response to that tells whether the node would get louder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.subcarriers import Point, Subcarriers, closer, complex_of, levels, real_of, solved_each
from disac.designs.robust.subcarriers_step import SHARP, SMALL_AMPLITUDE, moduli, step_of

Float = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]

STEPS = 60
"""Most steps. At the reference network about 20 suffice."""

FIXED, TANGENT = 4, 8
"""Up to step FIXED the weights of the nodes are those of equal powers. Up to TANGENT they follow the gradient alone, to stay
near the stationary point that a climb by tangents finds."""

SMOOTH = 0.1
"""First smoothing of moduli, in units of the noise amplitude."""

HOPELESS = 10.0
"""A subcarrier is given up where q and prices say that its users need so many times the power: less than once where they can be
served."""

WHISPER = 1e-6
"""Weight of a silent node; all weights together have about unit length. So its beam is not zero, and the turns of its leaks
prove what its best beam could reach. The value changes by the square of it."""

MOST_DONE = 0.25
"""Where a larger share of the subcarriers is done, the steps go on without them."""

LOOSE = 1
"""As TANGENT, for given weights."""

LEAST_LEFT, LEAST_SLACK, LEAST_PRICE = 1e-9, 0.05, 0.01
"""Of a start: least share of the power that users leave, least half of a node's power that is left, of its limit, and least
price of it, of the mean price."""

START_STEPS = 8
"""Newton steps to the fixed point of q at equal prices."""


def starting_point(
    tones: Subcarriers, weights: Float, prices: Float | None = None, *, joined: bool = False
) -> tuple[Point, Flags]:  # fmt: skip
    """The optimum for channels without errors at fixed prices, where one exists, for weights g [L, N] of the nodes.

    Parameters
    ----------
    prices
        Of the nodes' powers, of mean one, [N]; equal prices where none are given.
    joined
        Whether all subcarriers share one power limit.

    Returns
    -------
    point
        For L subcarriers.
    found
        Which subcarriers have one, [L].
    """

    def over_band(each: Float) -> Float:
        """The sum over all subcarriers that share a limit, at each of them."""
        return np.repeat(each.sum(axis=0, keepdims=True), len(each), axis=0) if joined else each

    count, nodes, users = len(tones.power), tones.nodes, tones.users
    prices = np.ones(nodes) if prices is None else prices
    channel, leaked, lit = complex_of(tones.heard[:, :, 0, 0]), complex_of(tones.leaked[..., 0, :]), complex_of(tones.lit)
    cheap = channel / np.repeat(prices, channel.shape[-1] // nodes)
    products = cheap.conj() @ channel.swapaxes(-1, -2)
    gram = np.broadcast_to(products[:, np.newaxis], (count, users, users, users))
    q = tones.sinr / np.real(np.diagonal(products, axis1=-2, axis2=-1))
    for _ in range(START_STEPS):
        stepped, serves = closer(gram, q, tones.sinr)
        level = levels(gram, q)[0]
        q = np.where(serves[:, np.newaxis], stepped, np.maximum(q, tones.sinr * level))
    _, along, heard, _ = levels(gram, q)
    left = 1.0 - over_band(q.sum(axis=-1))
    own_prices = prices[:, np.newaxis, np.newaxis] * np.eye(lit.shape[-1])
    matrices = np.einsum("lnka,lnkb,lk->lnab", leaked, leaked.conj(), q) + own_prices
    sensing = solved_each(matrices, lit[..., np.newaxis])[..., 0]
    reach = np.real(np.sum(lit.conj() * sensing, axis=-1))
    goal = over_band(np.sum(weights**2 * reach, axis=-1))
    length = np.sqrt(np.maximum(left, LEAST_LEFT) / goal)[:, np.newaxis]
    sensing *= (weights * length)[..., np.newaxis]
    noise = 1.0 + np.sum(np.abs(np.einsum("lnks,lns->lnk", leaked.conj(), sensing)) ** 2, axis=1)
    balance = np.eye(users) / tones.sinr - heard.swapaxes(-1, -2) * (1.0 - np.eye(users))
    powers = solved_each(balance, noise[..., np.newaxis])[..., 0]
    found = (left > LEAST_LEFT) & (powers > 0).all(axis=-1)
    beams = np.sqrt(np.maximum(powers, 0.0))[..., np.newaxis] * (along @ cheap)
    own, streams = real_of(beams), real_of(sensing)
    spent = over_band(np.sum(own**2 @ tones.node_of, axis=1) + np.sum(streams**2, axis=-1))
    slack = np.maximum(0.5 / nodes - 0.5 * spent, LEAST_SLACK / nodes)
    smoothing = np.full(count, SMOOTH if tones.guards else SHARP)
    received, leaks = tones.received(own), tones.leaks(streams)
    amplitudes = received, leaks, tones.imaginary(received), streams
    turns = [moduli(each, None, smoothing).along for each in amplitudes]
    return Point(own, streams, q / length, prices / length, slack, smoothing, *turns), found


@dataclass(frozen=True)
class Found:
    """Where Newton's method came to rest on L subcarriers.

    Attributes
    ----------
    point
        Beams and multipliers. Nothing is promised of them: ``subcarriers_proofs`` says what they prove.
    stable
        The measure of :class:`subcarriers_step.Report`, [L]. It is at least one where climbs by tangents stay near the point,
        and negative where they leave it. Minus infinity where the method did not come to rest.
    """

    point: Point
    stable: Float


def solve(tones: Subcarriers) -> Found:
    """Stationary points of all subcarriers, from the optimum without errors at equal prices."""
    weights, scale = _unit_slopes(tones, np.linalg.norm(tones.target, axis=2) / np.sqrt(tones.nodes))
    point, serves = starting_point(tones, weights)
    return _run(tones, point, weights, scale, np.flatnonzero(serves), FIXED, TANGENT)


def climb(tones: Subcarriers, point: Point) -> Found:
    """Stationary points of all subcarriers, from other points."""
    weights, scale = _unit_slopes(tones, tones.amplitudes(point))
    return _run(tones, _inside(tones, point), weights, scale, np.arange(len(weights)), 0, TANGENT - FIXED)


def furthest(tones: Subcarriers, point: Point, amplitudes: Float) -> Point:
    """Beams that go furthest along the tangent of the divergence at amplitudes [L, N], from other points."""
    weights, scale = _unit_slopes(tones, amplitudes)
    whole = np.arange(len(weights))
    return _run(tones, _inside(tones, point), np.maximum(weights, WHISPER), scale, whole, STEPS, LOOSE).point


def _unit_slopes(tones: Subcarriers, amplitudes: Float) -> tuple[Float, Float]:
    """Gradients of the divergence in amplitudes [L, N], of unit length, and their lengths [L, 1]."""
    slopes, _ = tones.slopes(amplitudes)
    scale = np.linalg.norm(slopes, axis=1, keepdims=True)
    return slopes / scale, scale


def _inside(tones: Subcarriers, point: Point) -> Point:
    """The point away from its limits, as a start for other weights."""
    return replace(
        point, prices=np.maximum(point.prices, LEAST_PRICE * point.prices.mean(axis=1, keepdims=True)),
        slack=np.maximum(point.slack, LEAST_SLACK / tones.nodes),
        smoothing=np.maximum(point.smoothing, SMOOTH if tones.guards else SHARP),
    )  # fmt: skip


def _run(
    tones: Subcarriers, whole: Point, weights: Float, scale: Float, index: Index, fixed: int, tangent: int
) -> Found:  # fmt: skip
    """Steps until all subcarriers of an index are at rest.

    Up to step ``fixed`` the weights are as given. From then on they are the gradient of the divergence over ``scale`` [L, 1].
    From step ``tangent`` on its Hessian counts, and the smoothing falls to its end.
    """
    stable, whole = np.full(len(tones.power), -np.inf), whole.take(np.arange(len(tones.power)))
    tones, point, weights, scale = tones.take(index), whole.take(index), weights[index], scale[index]
    hessian = np.zeros((len(index), tones.nodes, tones.nodes))
    silent, loud = np.zeros(weights.shape, dtype=np.bool_), np.zeros(weights.shape, dtype=np.bool_)
    for number in range(STEPS):
        if index.size == 0:
            break
        late = number > tangent
        point, report = step_of(tones, point, weights, hessian, loose=not late)
        done = report.at_rest & late & (point.smoothing <= SHARP)
        lost = ~(report.finite & (point.q.sum(axis=1) <= HOPELESS * point.prices.mean(axis=1)))
        if number >= fixed:
            amplitudes = tones.amplitudes(point)
            slopes, hessian = tones.slopes(amplitudes)
            hessian = hessian / scale[..., np.newaxis]
            # The response of a silent node is proportional to its weight.
            rises = silent & (np.diagonal(hessian, axis1=1, axis2=2) * amplitudes > WHISPER) & done[:, np.newaxis]
            loud |= rises
            if late:
                silent = ~loud & (silent | (amplitudes < SMALL_AMPLITUDE * amplitudes.max(axis=1, keepdims=True)))
            point = _louder(tones, point, rises)
            weights = np.where(silent, WHISPER, slopes / scale)
            # Where a climb by tangents would leave the point, so must the next step.
            curved = (number >= tangent) & (report.stable > 0)
            apart = silent[:, :, np.newaxis] | silent[:, np.newaxis] | ~curved[:, np.newaxis, np.newaxis]
            hessian = np.where(apart, 0.0, hessian)
            done &= ~rises.any(axis=1) & (report.stable > 0)
        if (done | lost).mean() > MOST_DONE or number == STEPS - 1:
            whole.put(index, point)
            stable[index] = np.where(done, report.stable, -np.inf)
            keep = ~(done | lost)
            index, tones, point, scale = index[keep], tones.take(keep), point.take(keep), scale[keep]
            weights, hessian, silent, loud = weights[keep], hessian[keep], silent[keep], loud[keep]
    return Found(whole, stable)


def _louder(tones: Subcarriers, point: Point, chosen: Flags) -> Point:
    """The point with chosen nodes [L, N] sending as much to the target as a node does that is not silent."""
    amplitudes = tones.amplitudes(point)
    missing = SMALL_AMPLITUDE * amplitudes.max(axis=-1, keepdims=True) - amplitudes
    added = np.where(chosen, missing / np.sum(tones.lit**2, axis=-1), 0.0)
    return replace(point, sensing=point.sensing + added[..., np.newaxis] * tones.lit)

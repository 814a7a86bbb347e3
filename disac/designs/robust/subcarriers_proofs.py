"""What the multipliers of all subcarriers prove, in closed form, and their evidence as ``limited_power`` reads it.

A turn of at most unit length bounds its modulus from below, ``|x| >= Re(turn^* x)``. So beams, multipliers and turns name
error vectors, and those a simplex ``sum_k q_k + sum_n t_n / tau_n <= 1`` around all t that designs put on the target
(``proofs``), whatever the numbers. The evidence names the same vectors: from it ``proven_by_limits`` proves the bound again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.limited_power import LEAST_BOX_PRICE
from disac.designs.robust.subcarriers import Point, Subcarriers, closer, complex_of, levels, real_of, solved_each

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

REFINEMENTS = 3
"""Newton steps to the fixed point of the error vectors."""

LEAST_PRICE = 2e-8
"""Least price of a node's power, of the largest one. Power that costs less would let rounding spoil the proof. A proof with
this price loses about a fifth of it, relative."""


@dataclass(frozen=True)
class Simplices:
    """A simplex ``share + sum_n t_n / reach_n <= 1`` for each subcarrier, t over the power: ``share`` [L], ``reach`` [L, N]."""

    share: Float
    reach: Float

    def furthest(self, weights: Float) -> Float:
        """The largest ``sum_n g_n u_n`` of amplitudes u = sqrt(t) in the simplex for weights g [L, N], [L]."""
        return np.sqrt(np.maximum(1.0 - self.share, 0.0) * np.sum(weights**2 * self.reach, axis=-1))


def simplices(tones: Subcarriers, point: Point) -> Simplices:
    """Simplices that the points' multipliers and turns prove."""
    q, prices = _priced(point)
    wanted, heard, leaks = _error_vectors(tones, point)
    own = np.arange(tones.users)
    vectors = heard.copy()
    vectors[:, own, own] = wanted
    size = tones.basis.shape[3]
    vectors = vectors / np.sqrt(np.repeat(prices, size, axis=1))[:, np.newaxis, np.newaxis]
    gram = vectors.conj() @ vectors.swapaxes(-1, -2)
    proven, refined = _proven(gram, q, tones.sinr), q
    for _ in range(REFINEMENTS):
        stepped, serves = closer(gram, refined, tones.sinr)
        refined = np.where(serves[:, np.newaxis], stepped, refined)
    other = _proven(gram, refined, tones.sinr)
    q = np.where((other.sum(axis=1) > proven.sum(axis=1))[:, np.newaxis], other, proven)
    matrices = np.einsum("lnka,lnkb,lk->lnab", leaks, leaks.conj(), q)
    every = np.arange(tones.target.shape[2])
    matrices[..., every, every] += prices[..., np.newaxis]
    beams = solved_each(matrices, tones.target[..., np.newaxis])[..., 0]
    reach = np.real(np.sum(tones.target.conj() * beams, axis=-1))
    return Simplices(q.sum(axis=1), np.where(reach > 0, reach, np.inf))


def boxes(tones: Subcarriers) -> list[Simplices]:
    """For each node the simplex of its own limit, without regard to the users."""
    length = np.sum(np.abs(tones.target) ** 2, axis=2)
    found = []
    for own in np.eye(tones.nodes):
        prices = np.maximum(own, LEAST_BOX_PRICE)
        found.append(Simplices(np.zeros(len(length)), length / (prices / prices.mean())))
    return found


def _proven(gram: Complex, q: Float, sinr: float) -> Float:
    """The largest multiple of q [L, K] for which the inequality is certain: ``Multipliers.proven`` for all subcarriers."""
    level = levels(gram, q)[0]
    least = 1.0 / np.real(np.diagonal(np.diagonal(gram, axis1=1, axis2=2), axis1=1, axis2=2))
    short = q / sinr - level
    share = np.where(short <= 0, 1.0, least / (least + np.maximum(short, 0.0))).min(axis=1)
    known = np.isfinite(level).all(axis=1) & np.isfinite(share)
    return q * np.where(known, share, 0.0)[:, np.newaxis]


def _priced(point: Point) -> tuple[Float, Float]:
    """q [L, K] and prices [L, N] of mean one, none of them below the least."""
    floored = np.maximum(point.prices, LEAST_PRICE * point.prices.max(axis=1, keepdims=True))
    unit = floored.mean(axis=1, keepdims=True)
    return point.q / unit, floored / unit


def _unit(vectors: Complex) -> Complex:
    """Vectors of unit length, and of none where there is none."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-300)


def _error_vectors(tones: Subcarriers, point: Point) -> tuple[Complex, Complex, Complex]:
    """Error vectors n_k [L, K, N p], d_jk [L, K beam, K hearing, N p] of users' beams, and d_nk [L, N, K, M] of leaks."""
    parts = complex_of(tones.heard[..., 0, :])
    turns = complex_of(point.heard_turns)[..., 0] * tones.shares
    heard = np.einsum("lkji,ljid->lkjd", turns, parts)
    wanted = np.cos(tones.arc_rad) * parts[:, :, 0]
    wanted = wanted - 1j * np.sin(tones.arc_rad) * np.sum(point.wanted_turns * parts[:, :, 1:], axis=2)
    leaks = complex_of(point.leak_turns) * tones.channels
    if tones.balls:
        heard = heard + tones.radius[:, np.newaxis, :, np.newaxis] * _unit(complex_of(point.users))[:, :, np.newaxis]
        along = np.einsum("lnms,lns->lnm", tones.sensing_basis, complex_of(point.norm_turns))
        leaks = leaks + tones.sensing_radius[..., np.newaxis] * along[:, :, np.newaxis]
    return wanted, heard, leaks


def evidence(tones: Subcarriers, point: Point) -> Float:
    """q, prices and the multipliers that name the error vectors, [L, numbers], in the order of ``LimitedPower.evidence``."""
    count, nodes, users = len(tones.power), tones.nodes, tones.users
    pairs = [(k, j) for k in range(users) for j in range(users) if j != k]
    columns = [*_priced(point), np.zeros((count, users * (1 + users + nodes)))]
    columns += [_named(point.heard_turns[:, j, k, 0]) for k, j in pairs]
    if tones.arc_rad > 0:
        columns += [_named(point.heard_turns[:, j, k, 1 + n]) for n in range(nodes) for k, j in pairs]
        for n in range(nodes):
            turn = point.wanted_turns[:, :, n, 0, np.newaxis]
            columns.append(np.concatenate([1.0 - turn, 1.0 + turn, np.zeros_like(turn)], axis=2).reshape(count, -1))
    if tones.balls:
        beams = _unit(complex_of(point.users))
        columns += [_named(real_of(beams[:, k])) for k in range(users)]
    columns += [_named(point.leak_turns[:, n, k]) for k in range(users) for n in range(nodes)]
    if tones.balls:
        columns += [_named(point.norm_turns[:, n]) for n in range(nodes)]
    return np.concatenate(columns, axis=1)


def _named(turns: Float) -> Float:
    """The multiplier of a cone ``e >= |y|`` that names a turn (Re, Im) [L, 2 d]."""
    return np.concatenate([np.ones((len(turns), 1)), -turns], axis=1)


def box_evidence(size: int, users: int, nodes: int) -> Float:
    """The evidence of :func:`boxes`, [N, numbers]."""
    found = np.zeros((nodes, size))
    found[:, users : users + nodes] = np.where(np.eye(nodes) > 0, 1.0, LEAST_BOX_PRICE)
    return found

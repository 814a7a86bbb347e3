"""Robust problems of all subcarriers under per-node power, stacked: the leading axis of every array is the subcarrier.

Every problem has the same shape and the same phase error. Beams have real coordinates (Re, Im) in the spans that no better beam
leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.guards import LEMMA_1, PHASES, UNGUARDED, Margins, arc_guarded, sensing_bases
from disac.designs.robust.problem import RobustProblem
from disac.metrics.kld import block_divergence, divergence_slope

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]

MARGINS = (UNGUARDED, LEMMA_1, PHASES)

Stacked = TypeVar("Stacked", "Subcarriers", "Point")


def _taken(whole: Stacked, index: Index | Flags) -> Stacked:
    """The chosen subcarriers."""
    parts = {f.name: getattr(whole, f.name) for f in fields(whole)}
    chosen: dict[str, Any] = {name: value[index] for name, value in parts.items() if isinstance(value, np.ndarray)}
    return replace(whole, **chosen)


@dataclass(frozen=True)
class Subcarriers:
    """Problems of L subcarriers in real coordinates (Re, Im) of small spans. Power and noise are one.

    Attributes
    ----------
    sinr, arc_rad
        Gamma, linear; largest phase error that is guarded, zero where none is.
    balls
        Whether the terms of Lemma 1 are guarded.
    channels, target
        Scaled channels [L, N, K, M] and conjugate responses [L, N, M].
    gains, power
        Gains of the echoes [L, N, N] and power limit [L] in the unit of the problem.
    basis, sensing_basis
        Orthonormal bases of the users' channels at each node, [L, N, M, p], and with the target, [L, N, M, s].
    heard
        Rows (Re, Im) over a user's beam of what each user hears of it: from all nodes and, where phases are guarded, from each
        node, [L, K, I, 2, 2 N p].
    leaked, lit
        Rows of what users hear of a sensing beam, [L, N, K, 2, 2 s], and of its amplitude at the target, [L, N, 2 s].
    radius, sensing_radius
        Radii of the balls for users' beams [L, K] and sensing beams [L, N, K]; zero where none are guarded.
    """

    sinr: float
    arc_rad: float
    balls: bool
    channels: Complex
    target: Complex
    gains: Float
    power: Float
    basis: Complex
    sensing_basis: Complex
    heard: Float
    leaked: Float
    lit: Float
    radius: Float
    sensing_radius: Float

    @property
    def nodes(self) -> int:
        return self.channels.shape[1]

    @property
    def users(self) -> int:
        return self.channels.shape[2]

    @property
    def guards(self) -> bool:
        """Whether any error is guarded. Otherwise only squares of moduli appear, which have no kinks."""
        return self.balls or self.arc_rad > 0

    @property
    def shares(self) -> Float:
        """Weights [I] of the moduli in a guarded amplitude of interference."""
        return np.array([1.0] + [2.0 * np.sin(self.arc_rad / 2.0)] * (self.heard.shape[2] - 1))

    @property
    def node_of(self) -> Float:
        """Which coordinates of a user's beam belong to each node, [2 N p, N]."""
        own = np.repeat(np.eye(self.nodes), self.basis.shape[3], axis=0)
        return np.concatenate([own, own])

    def take(self, index: Index | Flags) -> Subcarriers:
        """The problems of these subcarriers."""
        return _taken(self, index)

    def amplitudes(self, point: Point) -> Float:
        """Amplitudes ``u_n = Re a_n^T w_s,n`` at the target, [L, N]."""
        return np.sum(self.lit * point.sensing, axis=-1)

    def received(self, beams: Float) -> Float:
        """What each user hears of users' beams [L, K, 2 N p], Re and Im, [L, K beam, K hearing, I, 2]."""
        rows = self.heard.reshape(len(beams), -1, beams.shape[-1])
        heard = (rows @ beams.swapaxes(-1, -2)).swapaxes(-1, -2)
        return heard.reshape(len(beams), self.users, *self.heard.shape[1:4])

    def imaginary(self, received: Float) -> Float:
        """Imaginary parts of what each user hears of its own beam from each node, [L, K, I - 1, 1]: none without phases."""
        own = np.arange(self.users)
        return received[:, own, own, 1:, 1:]

    def leaks(self, beams: Float) -> Float:
        """What each user hears of sensing beams [L, N, 2 s], Re and Im, [L, N, K, 2]."""
        rows = self.leaked.reshape(*beams.shape[:2], -1, beams.shape[-1])
        return (rows @ beams[..., np.newaxis])[..., 0].reshape(*self.leaked.shape[:3], 2)

    def beams(self, point: Point) -> tuple[Complex, Complex]:
        """Beams of users [L, K, N, M] and sensing beams [L, N, M] in the unit of the power."""
        scale = np.sqrt(self.power)[:, np.newaxis, np.newaxis]
        parts = complex_of(point.users).reshape(*point.users.shape[:2], self.nodes, -1)
        streams = np.einsum("lnmp,lknp->lknm", self.basis, parts)
        sensing = np.einsum("lnms,lns->lnm", self.sensing_basis, complex_of(point.sensing))
        return scale[..., np.newaxis] * streams, scale * sensing

    def divergence(self, amplitudes: Float) -> Float:
        """Divergence (33) of amplitudes [L, N], nats, [L]."""
        return block_divergence(np.einsum("lnm,lm->ln", self.gains, self.power[:, np.newaxis] * amplitudes**2))

    def slopes(self, amplitudes: Float) -> tuple[Float, Float]:
        """Gradient [L, N] and Hessian [L, N, N] of the divergence in amplitudes u [L, N] at the target."""
        power = self.power[:, np.newaxis]
        scnr = np.einsum("lnm,lm->ln", self.gains, power * amplitudes**2)
        rise = 2.0 * power * np.einsum("lnm,ln->lm", self.gains, divergence_slope(scnr))
        second = (self.gains / (1.0 + scnr[..., np.newaxis]) ** 2).swapaxes(1, 2) @ self.gains
        along = 2.0 * power * amplitudes
        hessian = along[:, :, np.newaxis] * along[:, np.newaxis] * second
        own = np.arange(self.nodes)
        hessian[:, own, own] += rise
        return rise * amplitudes, hessian


def has_coordinates(margins: Margins, phase_error_rad: float) -> bool:
    """Whether :class:`Subcarriers` can hold problems with these margins."""
    return margins in MARGINS and not (margins.guards_phases and phase_error_rad >= np.pi / 2)


def subcarriers_of(problems: Sequence[RobustProblem], margins: Margins, sinr: float) -> Subcarriers:
    """Problems of one shape in the coordinates of :class:`Subcarriers`."""
    first = problems[0]
    nodes, users = first.nodes, first.users
    arc = arc_guarded(first) if margins.guards_phases else 0.0
    channels = np.stack([p.scaled_channels for p in problems])
    basis = np.linalg.qr(np.stack([p.channels for p in problems]).swapaxes(-1, -2))[0]
    sensing_basis = np.stack([sensing_bases(p) for p in problems])
    target = np.stack([p.steering.conj() for p in problems])
    within = channels @ basis.conj()
    count, size = len(problems), basis.shape[3]
    split = np.zeros((count, users, nodes, nodes, size), dtype=np.complex128)
    split[:, :, np.arange(nodes), np.arange(nodes)] = within.swapaxes(1, 2)
    parts = split.reshape(count, users, nodes, nodes * size)
    parts = np.concatenate([parts.sum(axis=2, keepdims=True), parts if arc > 0 else parts[:, :, :0]], axis=2)
    lit = np.einsum("lnm,lnms->lns", target, sensing_basis.conj())
    none = np.zeros((count, nodes, users))
    return Subcarriers(
        sinr, arc, margins.guards_balls, channels, target, np.stack([p.echoes.gains for p in problems]),
        np.array([p.power for p in problems]), basis, sensing_basis, _rows(parts), _rows(channels @ sensing_basis.conj()),
        real_of(lit), np.stack([p.stacked_radius for p in problems]) if margins.guards_balls else none[:, 0],
        np.stack([p.scaled_radius for p in problems]) if margins.guards_balls else none,
    )  # fmt: skip


@dataclass(frozen=True)
class Point:
    """Unknowns of L subcarriers.

    Attributes
    ----------
    users, sensing
        Beams [L, K, 2 N p] and [L, N, 2 s].
    q, prices, slack
        Multipliers of the SINRs [L, K], prices of the nodes' powers [L, N], and half of the power that is left [L, N].
    smoothing
        eps, [L].
    heard_turns, leak_turns, wanted_turns, norm_turns
        Turns of the moduli in interference [L, K beam, K hearing, I, 2], in leaks [L, N, K, 2], of the imaginary parts in the
        wanted amplitudes [L, K, I - 1, 1], and of the sensing beams' norms [L, N, 2 s].
    """

    users: Float
    sensing: Float
    q: Float
    prices: Float
    slack: Float
    smoothing: Float
    heard_turns: Float
    leak_turns: Float
    wanted_turns: Float
    norm_turns: Float

    def take(self, index: Index | Flags) -> Point:
        """The unknowns of these subcarriers."""
        return _taken(self, index)

    def put(self, index: Index, other: Point) -> None:
        """Overwrite the unknowns of these subcarriers."""
        for field in fields(self):
            getattr(self, field.name)[index] = getattr(other, field.name)


def real_of(vectors: Complex) -> Float:
    """(Re, Im) of vectors, [..., 2 d]."""
    return np.concatenate([vectors.real, vectors.imag], axis=-1)


def complex_of(vectors: Float) -> Complex:
    """Vectors of (Re, Im) [..., 2 d]."""
    real, imaginary = np.split(vectors, 2, axis=-1)
    return np.asarray(real + 1j * imaginary, dtype=np.complex128)


def _rows(vectors: Complex) -> Float:
    """Rows (Re, Im) of ``v^H c`` over (Re c, Im c), [..., 2, 2 d]."""
    return np.stack([real_of(vectors), real_of(1j * vectors)], axis=-2)


def solved_each(matrices: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Solutions of systems [..., d, d] with right sides [..., d, m]; not finite where a matrix is singular."""
    try:
        return np.linalg.solve(matrices, right)
    except np.linalg.LinAlgError:
        # One singular matrix stops the call for all. A determinant that rounding makes zero is told by itself.
        singular = ~(np.linalg.slogdet(matrices)[0] != 0)
        safe = np.where(singular[..., np.newaxis, np.newaxis], np.eye(matrices.shape[-1]), matrices)
        return np.where(singular[..., np.newaxis, np.newaxis], np.nan, np.linalg.solve(safe, right))


def levels(gram: Complex, q: Float) -> tuple[Float, Complex, Float, Float]:
    """Best beams for multipliers q, from products of vectors alone: ``min |w|^2 + sum_j q_j |d_jk^H w|^2``, ``n_k^H w = 1``.

    Parameters
    ----------
    gram
        For each beam k the products of its vectors, d_jk for j != k and n_k in place of d_kk, [..., K beam, K, K].
    q
        [..., K].

    Returns
    -------
    level
        The least value L_k, [..., K].
    weights
        ``w_k = sum_j weights_kj d_jk``, [..., K beam, K].
    heard
        ``|d_jk^H w_k|^2``, [..., K beam, K].
    power
        ``|w_k|^2``, [..., K].
    """
    own = np.arange(q.shape[-1])
    others = q[..., np.newaxis, :] * (1.0 - np.eye(len(own)))
    inverse = solved_each(np.eye(len(own)) + others[..., np.newaxis] * gram, np.eye(len(own)))
    weights = inverse[..., own, :, own]
    weights = np.moveaxis(weights, 0, -2)
    amplitudes = (gram @ weights[..., np.newaxis])[..., 0]
    served = np.real(np.diagonal(amplitudes, axis1=-2, axis2=-1))[..., np.newaxis]
    weights, amplitudes = weights / served, amplitudes / served
    power = np.real(np.sum(weights.conj() * amplitudes, axis=-1))
    return 1.0 / served[..., 0], weights, np.abs(amplitudes) ** 2, power


def closer(gram: Complex, q: Float, sinr: float) -> tuple[Float, Flags]:
    """One Newton step to the fixed point ``q_k = Gamma L_k(q)``, [..., K], and whether it gives positive multipliers, [...]."""
    users = q.shape[-1]
    _, _, heard, power = levels(gram, q)
    stepped = solved_each(np.eye(users) / sinr - heard * (1.0 - np.eye(users)), power[..., np.newaxis])[..., 0]
    return stepped, np.asarray((stepped > 0).all(axis=-1))

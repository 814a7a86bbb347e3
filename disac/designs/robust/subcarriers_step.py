"""A Newton step for the robust designs of all subcarriers: conditions of every beam, and the system that joins them.

For weights g of the nodes the conditions are those of the convex problem

    ``max sum_n g_n u_n``, ``u_n = Re a_n^T w_s,n``, subject to ``s_k >= sqrt(Gamma) |(g_kj)_j, (l_kn)_n, 1|`` and
    ``sum_k |w_nk|^2 + |w_s,n|^2 <= 1/N``.

Let ``rho_k`` be the length on the right and ``q_k rho_k`` the multiplier of user k's row. Then the gradient for user j's beam
is ``lambda w_j + sum_k q_k g_kj grad g_kj - q_j rho_j / sqrt(Gamma) grad s_j``, with the nodes' prices lambda: given q, prices
and rho, a condition on that beam alone. So a step factors one small matrix for each beam of each subcarrier, and a system of
2K + 2N unknowns joins them. NumPy does that for all subcarriers in one call.

Guarded amplitudes are sums of moduli, which have kinks where optimal beams often are. A modulus ``|x|`` becomes
``sqrt(|x|^2 + eps^2)``, and eps falls to rounding. The derivative of each modulus, its ``turn``, is an unknown of its own, of
at most unit length, as in the primal-dual method of Chan, Golub and Mulet (A nonlinear primal-dual method for total
variation-based image restoration, SIAM J. Sci. Comput. 20(6), 1999). Without that, steps near a kink would be far too long. The
turns also name the error vectors that prove the bound (``subcarriers_proofs``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.subcarriers import Point, Subcarriers, solved_each

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]

SHARP = 1e-9
"""Last smoothing of moduli, in units of the noise amplitude."""

LOOSE_SMOOTHING, LOOSE_PRODUCT = 1e-2, 1e-4
"""Least smoothing, and least product of price and slack, in loose steps."""

SHRINK = 0.1
"""Factor of the smoothing, and of the products of price and slack, from step to step."""

CALM = 300.0
"""The smoothing falls where no SINR is further off than this many times the smoothing."""

NEARLY = 100.0
"""The products of price and slack fall where no power is further off than this many times theirs."""

FRACTION = 0.95
"""Largest share of the way to the boundary in a step."""

QUIETER = 0.8
"""Largest share of its amplitude at the target that a node loses in a step."""

SMALL_AMPLITUDE = 1e-2
"""Share of the largest amplitude below which a node's own may change by any step."""

RETREAT = 1e-9
"""The SINR is asked for by this much more, relative, so that rounding leaves no user short of it."""

AT_REST = 1e-9
"""A subcarrier is done where residuals and the change of the amplitudes are below."""

LONG_STEP = 0.7
"""Share of a whole step from which a step counts as one."""


@dataclass(frozen=True)
class Moduli:
    """Smoothed moduli ``sqrt(|x|^2 + eps^2)`` of vectors x [..., c] with their gradients and, from the turns, Hessians."""

    size: Float
    along: Float
    curve: Float

    def turned(self, turns: Float, change: Float, step: Float) -> Float:
        """The turns after a step [L] of the way along a change of the vectors."""
        target = self.along + (self.curve @ change[..., np.newaxis])[..., 0]
        turns = turns + step.reshape(-1, *[1] * (turns.ndim - 1)) * (target - turns)
        return turns / np.maximum(np.linalg.norm(turns, axis=-1, keepdims=True), 1.0)


def moduli(vectors: Float, turns: Float | None, smoothing: Float) -> Moduli:
    """Moduli of vectors [L, ..., c]; the turns are those of the vectors themselves where none are given."""
    eps = smoothing.reshape(-1, *[1] * (vectors.ndim - 2))
    size = np.sqrt(np.sum(vectors**2, axis=-1) + eps**2)
    along = vectors / size[..., np.newaxis]
    cross = (along if turns is None else turns)[..., :, np.newaxis] * along[..., np.newaxis, :]
    curve = (np.eye(vectors.shape[-1]) - 0.5 * (cross + cross.swapaxes(-1, -2))) / size[..., np.newaxis, np.newaxis]
    return Moduli(size, along, curve)


@dataclass(frozen=True)
class Blocks:
    """Conditions of beams, linearised: Hessians [L, B, d, d], gradients [L, B, d], and their derivatives in the unknowns that
    join beams, [L, B, d, 2 K + 2 N]."""

    hessians: Float
    gradients: Float
    columns: Float

    def solved(self) -> tuple[Float, Float]:
        """Steps of the beams as functions of the joint unknowns, [L, B, d, 1 + 2 K + 2 N], and columns^T of them summed."""
        right = np.concatenate([self.gradients[..., np.newaxis], self.columns], axis=-1)
        answer = solved_each(self.hessians, right)
        return answer, np.sum(self.columns.swapaxes(-1, -2) @ answer, axis=1)


class Users:
    """Users' beams: what they are heard as, and their conditions."""

    def __init__(self, tones: Subcarriers, point: Point) -> None:
        count, nodes, users = len(tones.power), tones.nodes, tones.users
        self.tones, self.point, own = tones, point, np.arange(users)
        parts, size = tones.heard.shape[2], tones.heard.shape[-1]
        self.rows = tones.heard.reshape(count, -1, size)
        received = tones.received(point.users)
        self.heard = moduli(received, point.heard_turns if tones.guards else None, point.smoothing)
        self.imaginary = moduli(tones.imaginary(received), point.wanted_turns, point.smoothing)
        cosine, sine = np.cos(tones.arc_rad), np.sin(tones.arc_rad)
        own_rows = tones.heard[:, :, 0, 0], tones.heard[:, :, 1:, 1]
        self.wanted = cosine * received[:, own, own, 0, 0] - sine * self.imaginary.size.sum(axis=-1)
        self.wanted_slope = cosine * own_rows[0] - sine * np.sum(self.imaginary.along * own_rows[1], axis=2)
        self.amplitude = self.heard.size @ tones.shares
        along = (self.heard.along * tones.shares[:, np.newaxis]).reshape(count, users, users, 1, 2 * parts)
        self.slope = (along @ tones.heard.reshape(count, 1, users, 2 * parts, size))[..., 0, :]
        if tones.balls:
            self.norm = np.linalg.norm(point.users, axis=-1)
            self.direction = point.users / self.norm[..., np.newaxis]
            self.amplitude = self.amplitude + tones.radius[:, np.newaxis] * self.norm[..., np.newaxis]
            self.slope = self.slope + tones.radius[:, np.newaxis, :, np.newaxis] * self.direction[:, :, np.newaxis]
        self.amplitude = self.amplitude * (1.0 - np.eye(users))
        self.own_imaginary_rows = own_rows[1]
        self.nodes = nodes

    def blocks(self, useful: Float) -> Blocks:
        """Conditions with all joint unknowns: q, prices, the useful amplitude's share of each SINR, none of the divergence."""
        tones, point, users, nodes = self.tones, self.point, self.tones.users, self.nodes
        count, size = len(tones.power), tones.heard.shape[-1]
        charged = point.q[:, np.newaxis] * self.amplitude
        weights = charged[..., np.newaxis] * tones.shares
        curved = self.heard.curve @ tones.heard[:, np.newaxis]
        curved *= weights[..., np.newaxis, np.newaxis]
        hessians = self.rows.swapaxes(-1, -2)[:, np.newaxis] @ curved.reshape(count, users, -1, size)
        loaded = np.sqrt(point.q[:, np.newaxis] * (1.0 - np.eye(users)))[..., np.newaxis] * self.slope
        hessians += loaded.swapaxes(-1, -2) @ loaded
        diagonal = np.repeat((point.prices @ tones.node_of.T)[:, np.newaxis], users, axis=1)
        gradients = diagonal * point.users + np.sum(charged[..., np.newaxis] * self.slope, axis=2)
        if tones.balls:
            bent = np.sum(charged * tones.radius[:, np.newaxis], axis=-1) / self.norm
            hessians -= bent[..., np.newaxis, np.newaxis] * self.direction[..., np.newaxis] * self.direction[..., np.newaxis, :]
            diagonal = diagonal + bent[..., np.newaxis]
        if tones.arc_rad > 0:
            bent = useful[..., np.newaxis] * np.sin(tones.arc_rad) * self.imaginary.curve[..., 0, 0]
            rows = self.own_imaginary_rows
            hessians += (rows * bent[..., np.newaxis]).swapaxes(-1, -2) @ rows
        hessians[..., np.arange(size), np.arange(size)] += diagonal
        gradients -= useful[..., np.newaxis] * self.wanted_slope
        columns = np.zeros((count, users, size, 2 * users + 2 * nodes))
        columns[..., :users] = (self.amplitude[..., np.newaxis] * self.slope).swapaxes(-1, -2)
        columns[..., users : users + nodes] = point.users[..., np.newaxis] * tones.node_of
        for k in range(users):
            columns[:, k, :, users + nodes + k] = -self.wanted_slope[:, k]
        return Blocks(hessians, gradients, columns)


class Sensing:
    """Sensing beams: what they are heard as, and their conditions."""

    def __init__(self, tones: Subcarriers, point: Point) -> None:
        self.tones, self.point = tones, point
        self.rows = tones.leaked.reshape(*tones.leaked.shape[:2], -1, tones.leaked.shape[-1])
        received = tones.leaks(point.sensing)
        self.leaks = moduli(received, point.leak_turns if tones.guards else None, point.smoothing)
        self.amplitude, self.slope = self.leaks.size, (self.leaks.along[..., np.newaxis, :] @ tones.leaked)[..., 0, :]
        if tones.balls:
            # A beam of length eps over the radius is heard as eps.
            fine = point.smoothing / np.maximum(tones.sensing_radius.max(axis=(1, 2)), 1.0)
            self.norms = moduli(point.sensing, point.norm_turns, fine)
            self.amplitude = self.amplitude + tones.sensing_radius * self.norms.size[..., np.newaxis]
            self.slope = self.slope + tones.sensing_radius[..., np.newaxis] * self.norms.along[:, :, np.newaxis]

    def blocks(self, weights: Float) -> Blocks:
        """Conditions with all joint unknowns: q, prices, and the change of the divergence's slope."""
        tones, point, users, nodes = self.tones, self.point, self.tones.users, self.tones.nodes
        size = tones.leaked.shape[-1]
        charged = point.q[:, np.newaxis] * self.amplitude
        curved = self.leaks.curve @ tones.leaked
        curved *= charged[..., np.newaxis, np.newaxis]
        hessians = self.rows.swapaxes(-1, -2) @ curved.reshape(*self.rows.shape)
        loaded = np.sqrt(point.q)[:, np.newaxis, :, np.newaxis] * self.slope
        hessians += loaded.swapaxes(-1, -2) @ loaded
        if tones.balls:
            hessians += np.sum(charged * tones.sensing_radius, axis=-1)[..., np.newaxis, np.newaxis] * self.norms.curve
        hessians[..., np.arange(size), np.arange(size)] += point.prices[..., np.newaxis]
        gradients = point.prices[..., np.newaxis] * point.sensing + np.sum(charged[..., np.newaxis] * self.slope, axis=2)
        gradients -= weights[..., np.newaxis] * tones.lit
        columns = np.zeros((len(tones.power), nodes, size, 2 * users + 2 * nodes))
        columns[..., :users] = (self.amplitude[..., np.newaxis] * self.slope).swapaxes(-1, -2)
        for n in range(nodes):
            columns[:, n, :, users + n] = point.sensing[:, n]
            columns[:, n, :, 2 * users + nodes + n] = -tones.lit[:, n]
        return Blocks(hessians, gradients, columns)


@dataclass(frozen=True)
class Report:
    """What a step tells of each subcarrier, [L].

    Attributes
    ----------
    at_rest
        Whether residuals and the change of the amplitudes at the target are negligible.
    finite
        Whether the numbers are finite.
    stable
        Least real part of the eigenvalues of ``(I - S H)^-1``: S is the derivative of the amplitudes in the weights and H the
        Hessian of the divergence. Minus infinity where it is not finite.
    """

    at_rest: Flags
    finite: Flags
    stable: Float


class Linearised:
    """The conditions of all beams at a point, linearised, for weights g [L, N] of the nodes.

    Attributes
    ----------
    disturbed
        Lengths ``rho_k`` on the right of the SINRs, [L, K].
    short, spent
        What the SINRs lack, [L, K], and the power that each node spends, [L, N].
    sums
        Products of the columns with the beams' steps (:meth:`Blocks.solved`), all beams added up.
    """

    def __init__(self, tones: Subcarriers, point: Point, weights: Float) -> None:
        self.tones, self.point, self.sinr = tones, point, tones.sinr * (1.0 + RETREAT)
        self.heard, self.sent = Users(tones, point), Sensing(tones, point)
        noise = np.sum(self.heard.amplitude**2, axis=1) + np.sum(self.sent.amplitude**2, axis=1) + 1.0
        self.disturbed = np.sqrt(noise)
        ratio = self.disturbed / np.sqrt(self.sinr)
        self.short = self.disturbed**2 - ratio * self.heard.wanted
        self.spent = np.sum(point.users**2 @ tones.node_of, axis=1) + np.sum(point.sensing**2, axis=-1)
        self._beams, beams_sum = self.heard.blocks(point.q * ratio).solved()
        self._streams, streams_sum = self.sent.blocks(weights).solved()
        self.sums = beams_sum + streams_sum

    def system(self, hessian: Float, over: Float) -> tuple[Float, Float]:
        """The system of the unknowns that join beams: changes of q [K], prices [N], useful shares [K] and weights [N].

        The beams' steps change the products of their columns by ``-sums[..., 0] - sums[..., 1:] @ unknowns``. The rows are
        those of the SINRs, of the nodes' powers, which are ``over`` by [L, N], of the useful shares ``q_k rho_k /
        sqrt(Gamma)``, and of the weights, which change by the Hessian [L, N, N] times the amplitudes. The part of the slack
        in the rows of the powers is left to the caller.

        Returns
        -------
        matrix
            [L, 2 K + 2 N, 2 K + 2 N].
        right
            [L, 2 K + 2 N].
        """
        point, (users, nodes), sinr = self.point, self.sizes, self.sinr
        of_sinr, of_power = slice(0, users), slice(users, users + nodes)
        of_share, of_weight = slice(users + nodes, 2 * users + nodes), slice(2 * users + nodes, None)
        right, matrix = -self.sums[..., 0], self.sums[..., 1:]
        system, known = np.empty_like(matrix), np.empty_like(right)
        ratio, louder = self.disturbed / np.sqrt(sinr), point.q / self.disturbed
        system[:, of_sinr] = matrix[:, of_sinr] + ratio[..., np.newaxis] * matrix[:, of_share]
        known[:, of_sinr] = self.short + right[:, of_sinr] + ratio * right[:, of_share]
        system[:, of_power], known[:, of_power] = matrix[:, of_power], over + right[:, of_power]
        system[:, of_share], known[:, of_share] = louder[..., np.newaxis] * matrix[:, of_sinr], louder * right[:, of_sinr]
        system[:, of_weight] = -hessian @ matrix[:, of_weight]
        known[:, of_weight] = -(hessian @ right[:, of_weight, np.newaxis])[..., 0]
        diagonal = np.zeros_like(right)
        diagonal[:, of_share], diagonal[:, of_weight] = np.sqrt(sinr), 1.0
        every = np.arange(right.shape[1])
        system[:, every, every] += diagonal
        system[:, every[of_share], every[of_sinr]] -= self.disturbed
        return system, known

    @property
    def sizes(self) -> tuple[int, int]:
        """K and N."""
        return self.tones.users, self.tones.nodes

    def moves(self, unknowns: Float) -> tuple[Float, Float]:
        """Steps of the users' beams and of the sensing beams for joint unknowns [L, 2 K + 2 N]."""
        joint = unknowns[:, np.newaxis, :, np.newaxis]
        users = -(self._beams[..., 0] + (self._beams[..., 1:] @ joint)[..., 0])
        sensing = -(self._streams[..., 0] + (self._streams[..., 1:] @ joint)[..., 0])
        return users, sensing

    def following(self, step: Float, users: Float, sensing: Float, q: Float, prices: Float, slack: Float) -> Point:
        """The point after a step [L] of the way along changes of all unknowns."""
        tones, point, part = self.tones, self.point, step[:, np.newaxis]
        found = replace(
            point, users=point.users + part[..., np.newaxis] * users, sensing=point.sensing + part[..., np.newaxis] * sensing,
            q=point.q + part * q, prices=point.prices + part * prices, slack=point.slack + part * slack,
        )  # fmt: skip
        if tones.guards:
            received = tones.received(users)
            found = replace(
                found,
                heard_turns=self.heard.heard.turned(point.heard_turns, received, step),
                wanted_turns=self.heard.imaginary.turned(point.wanted_turns, tones.imaginary(received), step),
                leak_turns=self.sent.leaks.turned(point.leak_turns, tones.leaks(sensing), step),
            )
        if tones.balls:
            found = replace(found, norm_turns=self.sent.norms.turned(point.norm_turns, sensing, step))
        return found


def step_of(tones: Subcarriers, point: Point, weights: Float, hessian: Float, *, loose: bool) -> tuple[Point, Report]:
    """One step for weights g [L, N] that change with the amplitudes by a Hessian [L, N, N].

    In loose steps the smoothing, and the products of price and slack, stay above a floor.
    """
    nodes, linear = tones.nodes, Linearised(tones, point, weights)
    over = 0.5 * (linear.spent - 1.0 / nodes) + point.slack
    product = np.mean(point.slack * point.prices, axis=-1)
    within = nodes * np.abs(over).max(axis=-1) < NEARLY * product
    aim = np.maximum(np.where(within, SHRINK, 1.0) * product, LOOSE_PRODUCT if loose else 0.0)[:, np.newaxis]

    answer = _joined(linear, hessian, over + aim / point.prices - point.slack)
    unknowns = answer[:, :, 0]
    q, prices = unknowns[:, : tones.users], unknowns[:, tones.users : tones.users + nodes]
    slack = aim / point.prices - point.slack - point.slack * prices / point.prices
    users, sensing = linear.moves(unknowns)

    amplitudes, change = tones.amplitudes(point), np.sum(tones.lit * sensing, axis=-1)
    least = np.inf if loose else SMALL_AMPLITUDE * amplitudes.max(axis=-1, keepdims=True)
    held = np.where(amplitudes > least, amplitudes, np.inf)
    falls = [-q / point.q, -prices / point.prices, -slack / point.slack, -change / held * (FRACTION / QUIETER)]
    step = np.minimum(1.0, FRACTION / np.maximum(np.concatenate(falls, axis=-1).max(axis=-1), FRACTION))
    off = np.abs(linear.short).max(axis=-1)
    sharper = np.where((off < CALM * point.smoothing) & (step > LONG_STEP), SHRINK, 1.0) * point.smoothing
    following = linear.following(step, users, sensing, q, prices, slack)
    following = replace(following, smoothing=np.maximum(sharper, LOOSE_SMOOTHING if loose and tones.guards else SHARP))
    at_rest = (step > LONG_STEP) & (off < AT_REST) & (np.abs(change).max(axis=-1) < AT_REST) & (nodes * product < AT_REST)
    finite = np.isfinite(step) & np.isfinite(unknowns).all(axis=-1)
    return following, Report(np.asarray(at_rest), np.asarray(finite), _stability(answer[:, -nodes:, 1:]))


def _joined(linear: Linearised, hessian: Float, over: Float) -> Float:
    """Solve for the unknowns that join the beams (:meth:`Linearised.system`).

    Returns
    -------
    float64, [L, 2 K + 2 N, 1 + N]
        The unknowns, and their derivatives in the weights.
    """
    point, (users, nodes) = linear.point, linear.sizes
    system, known = linear.system(hessian, over)
    of_power = np.arange(users, users + nodes)
    system[:, of_power, of_power] += point.slack / point.prices
    pushed = np.broadcast_to(np.eye(known.shape[1])[:, -nodes:], (*known.shape, nodes))
    return solved_each(system, np.concatenate([known[..., np.newaxis], pushed], axis=-1))


def _stability(inverse: Float) -> Float:
    """Least real part of the eigenvalues of matrices [L, N, N]; minus infinity where they are not finite."""
    finite = np.isfinite(inverse).all(axis=(1, 2))
    values = np.linalg.eigvals(np.where(np.expand_dims(finite, (1, 2)), inverse, 0.0))
    return np.where(finite, values.real.min(axis=-1), -np.inf)

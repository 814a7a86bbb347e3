"""Designs for a target whose angle is known to lie in a box: the box ignored, its boundary as (36) of 000, or max-min beams.

Only the node that senses has to cover its box. For multipliers q of the users (see ``total_power``) a sensing covariance W of
node m costs ``tr W + sum_k q_k l_k(W)`` of the power that the users leave, so that the largest power it puts on every angle
of a set is a small convex program of its own; its multipliers, shares of the angles, bound the least divergence of every
design. Angles between those of the set that get less are added to it until there are none (cutting planes).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.angle_cover import Least, box_points, least_divergence, moves_together, received_patterns
from disac.designs.robust.guards import Guard, Margins, guard_of, guarded_amplitudes
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.proofs import split_proof
from disac.designs.robust.total_power import multipliers_of_cones, solve_total_power
from disac.drops.coherent import CoherentDrop
from disac.optim.certificate import Certificate
from disac.optim.conic import solve
from disac.power_limits import TOTAL

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

START_POINTS = 9
"""Least number of angles per box with which a covering beam begins; more for many antennas."""

SETTLED = 2e-5
"""A covering beam may put less on an angle between its own than on these by this, relative."""

NEGLIGIBLE = 1e-3
"""Share of the largest singular value of users and responses. Directions below it cost power and hardly reach an angle."""

ROUNDS = 20
"""Most rounds in which a node's worst angles are added to its own."""


def boundary_angles(drop: CoherentDrop, half_rad: float) -> Float:
    """Angles [N] that (36) of 000 picks: of all boundary points of the boxes, those with the least divergence at equal powers.

    They are chosen before the beams, and the beams then point to them.
    """
    corners = box_points(half_rad, len(drop.nodes_m), 2)
    gains = drop.echo_gains(drop.target_angles_rad + corners)
    t = np.sum(np.abs(drop.steering(drop.target_angles_rad)) ** 2, axis=1)
    scnr = np.einsum("gnm,m->gn", gains, t) * 10.0 ** (drop.scenario.power.power_to_noise_db / 10.0) / len(t)
    values = (scnr - np.log1p(scnr)).sum(axis=1)
    return drop.target_angles_rad + corners[int(np.argmin(values))]


@dataclass(frozen=True)
class CoveringBeam:
    """Covariance W [M, M] per power spent, and what names the bound of its reach: its angles' errors [G], rad, with their
    shares [G], and errors [K, M] of unit length of the channels that raise its leakage most."""

    covariance: Complex
    angle_errors_rad: Float
    shares: Float
    errors: Complex


@dataclass(frozen=True)
class MaxMinDesign:
    """Users' beams [K, N, M] and sensing covariances [N, M, M], physical; the errors [N] of the worst angles, rad.

    The certificate's value is the least divergence over the boxes. ``proof`` are the numbers of the users' proof, then every
    node's angles, their shares, and its errors, Re and Im (:func:`proven_covering`).
    """

    certificate: Certificate
    users: Complex | None = None
    sensing: Complex | None = None
    worst_errors_rad: Float | None = None
    node: int = -1
    user_dual: Float | None = None
    proof: Float | None = None
    least_power: float = float("nan")


def start_points(drop: CoherentDrop, half_rad: float) -> int:
    """Angles with which a covering beam begins: one for each 1 / (2 M) of the sine or closer."""
    return max(START_POINTS, 1 + 2 * int(np.ceil(2.0 * half_rad * drop.scenario.arrays.antennas)))


def proof_points(drop: CoherentDrop, half_rad: float) -> int:
    """Angles per node that a proof holds."""
    return 2 * start_points(drop, half_rad)


def gains_of_sender(drop: CoherentDrop, node: int, errors_rad: Float, others_rad: Float) -> Float:
    """Echo gains [G, H, N] of one transmitter at errors [G] to every receiver, whose errors are [N, H]; to itself, its own."""
    errors = np.empty((len(errors_rad), others_rad.shape[1], len(others_rad)))
    errors[:] = others_rad.T
    errors[:, :, node] = errors_rad[:, np.newaxis]
    received = np.empty(errors.shape)
    for n, pattern in enumerate(received_patterns(drop)):
        angle = drop.target_angles_rad[n]
        received[:, :, n] = pattern.at(angle + errors_rad)[:, np.newaxis] if n == node else pattern.at(angle + others_rad[n])
    return received * drop.mean_squares(errors)[..., node]


def box_gains(drop: CoherentDrop, errors_rad: Float) -> tuple[Float, Float]:
    """Largest echo gains [N, N] with every node's angle errors among its own [N, G], and what of them is left at most at each
    angle of a transmitter: the second, [N, G], is the largest share over receivers and over their angles."""
    largest, left = [], []
    for node, errors in enumerate(errors_rad):
        gains = gains_of_sender(drop, node, errors, errors_rad[:, :1] if moves_together(drop) else errors_rad)
        largest.append(gains.max(axis=(0, 1)))
        left.append((gains / np.maximum(largest[-1], 1e-300)).max(axis=(1, 2)))
    return np.array(largest).T, np.array(left)


class _Box:
    """The box of one node: its responses, weighted by what of the largest echo gain is left at an angle while other nodes'
    angles are those of a grid."""

    def __init__(self, drop: CoherentDrop, node: int, half_rad: float) -> None:
        self._drop, self._node, self._half = drop, node, half_rad
        line = np.linspace(-half_rad, half_rad, START_POINTS)
        self._others = np.tile(line[:1] if moves_together(drop) else line, (len(drop.nodes_m), 1))
        self._largest = np.maximum(gains_of_sender(drop, node, line, self._others).max(axis=(0, 1)), 1e-300)

    def left(self, errors_rad: Float) -> Float:
        gains = gains_of_sender(self._drop, self._node, errors_rad, self._others)
        return (gains / self._largest).max(axis=(1, 2))

    def responses(self, errors_rad: Float) -> Complex:
        """``sqrt(v_g) a_g^*``, [G, M]."""
        return _responses(self._drop, self._node, errors_rad, self.left(errors_rad))

    def dips(self, covariance: Complex, errors_rad: Float) -> Float:
        """Errors where a covariance W [M, M] puts less than on any of the errors given, by more than ``SETTLED``."""
        dense = 4 * START_POINTS + 128 * int(np.ceil(2.0 * self._half * len(covariance)))
        line = np.linspace(-self._half, self._half, dense)
        response = self.responses(np.concatenate([line, errors_rad]))
        reached = np.real(np.einsum("ga,ga->g", response.conj(), response @ covariance.T))
        before, here, after = reached[: dense - 2], reached[1 : dense - 1], reached[2:dense]
        low = np.flatnonzero((here <= before) & (here <= after) & (here < reached[dense:].min() * (1.0 - SETTLED)))
        bend = (before + after - 2.0 * here)[low]
        # The vertex of the parabola through three points.
        return line[1 + low] + (line[1] - line[0]) * (before - after)[low] / np.maximum(2.0 * bend, 1e-300)


def _responses(drop: CoherentDrop, node: int, errors_rad: Float, left: Float) -> Complex:
    angles = drop.target_angles_rad[node] + errors_rad
    return drop.steering(angles).conj() * np.sqrt(left)[:, np.newaxis]


def covering_beam(
    problem: RobustProblem, guard: Guard, q: Float, node: int, errors_rad: Float, responses: Complex
) -> CoveringBeam:
    """The covariance of a node that puts the most power on all its angles [G], in units of the power spent.

    ``max u`` with ``b_g^H W b_g >= u`` for the weighted responses b_g [G, M] and ``tr W + sum_k q_k l_k(W) <= 1``; leakage is
    guarded as by (31) of 000, ``l_k = h^H W h + r^2 tr W + 2 r |W h|``, which is safe for covariances of any rank. The
    dual is solved: the least c with

        ``c (1 + sum_k q_k r_k^2) I + sum_k q_k (c h_k h_k^H + r_k (h_k y_k^H + y_k h_k^H)) - sum_g s_g b_g b_g^H >= 0``

    for shares s of sum one and ``|y_k| <= c``. W is its multiplier; it may need two streams and keeps them.
    """
    import cvxpy as cp

    radii, heard_of, users = guard.sensing_radius[node], problem.scaled_channels[node], problem.users
    unit = float(np.sum(np.abs(responses) ** 2, axis=1).max())
    lengths = np.linalg.norm(heard_of, axis=1, keepdims=True)
    span = np.concatenate([(heard_of / lengths).T, responses.T / np.sqrt(unit)], axis=1)
    vectors, values, _ = np.linalg.svd(span, full_matrices=False)
    basis: Complex = vectors[:, values > NEGLIGIBLE * values[0]]
    targets, heard, size = responses @ basis.conj(), heard_of @ basis.conj(), basis.shape[1]
    least, shares = cp.Variable(nonneg=True), cp.Variable(len(targets), nonneg=True)
    parts = cp.Variable((users, 2 * size))
    cost = (1.0 + float(q @ radii**2)) * np.eye(size) + (heard.T * q) @ heard.conj()
    matrix = least * _as_real(cost) - _columns(np.einsum("ga,gb->gab", targets, targets.conj()) / unit) @ shares
    unity = np.concatenate([np.eye(size), 1j * np.eye(size)])
    for k in np.flatnonzero(radii > 0).tolist():
        across = np.einsum("a,eb->eab", float(q[k] * radii[k]) * heard[k], unity.conj())
        matrix = matrix + _columns(across + across.conj().swapaxes(1, 2)) @ parts[k]
    definite = cp.reshape(matrix, (2 * size, 2 * size), order="C") >> 0
    program = cp.Problem(cp.Minimize(least), [definite, cp.sum(shares) == 1.0, cp.norm(parts, axis=1) <= least])
    outcome, _ = solve(program, {"max_threads": 1})
    if outcome not in ("optimal", "optimal_inaccurate") or definite.dual_value is None:
        raise ArithmeticError(f"the covering beam of node {node} was not found: the solver ended with '{outcome}'")
    above, below = np.split(definite.dual_value, 2)
    found = above[:, :size] + below[:, size:] + 1j * (below[:, :size] - above[:, size:])
    values_w, vectors = np.linalg.eigh((found + found.conj().T) / 2.0)
    inner = (vectors * np.maximum(values_w, 0.0)) @ vectors.conj().T
    spent = float(np.real(np.trace(inner)))
    for k, radius in enumerate(radii):
        h = heard[k]
        leak_k = float(np.real(h.conj() @ inner @ h)) + radius**2 * float(np.real(np.trace(inner)))
        spent += float(q[k]) * (leak_k + 2.0 * radius * float(np.linalg.norm(inner @ h)))
    along = (parts.value[:, :size] + 1j * parts.value[:, size:]) / max(float(least.value), 1e-300)
    covariance = basis @ (inner / spent) @ basis.conj().T
    return CoveringBeam(covariance, errors_rad, np.maximum(shares.value, 0.0), along @ basis.T)


def _as_real(matrices: Complex) -> Float:
    """Hermitian matrices [..., d, d] as the rows of real symmetric ones that are definite with them, [..., 4 d^2]."""
    upper = np.concatenate([matrices.real, -matrices.imag], axis=-1)
    whole = np.concatenate([upper, np.concatenate([matrices.imag, matrices.real], axis=-1)], axis=-2)
    return whole.reshape(*matrices.shape[:-2], -1)


def _columns(matrices: Complex) -> Float:
    return np.ascontiguousarray(_as_real(matrices).T)


def covering_reach(
    problem: RobustProblem, drop: CoherentDrop, guard: Guard, q: Float, left: Float, angles: Float, shares: Float,
    errors: Complex,
) -> Float:  # fmt: skip
    """Weighted power, per power that is left, that no covariance of a node puts on each of its angles, [N].

    For any angle errors [N, G] with weights [N, G], any shares [N, G] of them and errors u [N, K, M] of the channels, cut to
    unit length, it is the largest generalised eigenvalue of the shared responses and the cost, in which a leakage is at least
    ``h^H W h + r^2 tr W + 2 r Re u^H W h``.
    """
    reach = np.empty(problem.nodes)
    for n, share in enumerate(np.maximum(shares, 0.0)):
        responses = _responses(drop, n, angles[n], left[n])
        lengths = np.maximum(np.linalg.norm(errors[n], axis=1, keepdims=True), 1.0)
        heard, radius = problem.scaled_channels[n], guard.sensing_radius[n]
        across = (heard.T * (q * radius)) @ (errors[n] / lengths).conj()
        cost = (1.0 + float(q @ radius**2)) * np.eye(problem.antennas) + (heard.T * q) @ heard.conj() + across + across.conj().T
        root = np.linalg.inv(np.linalg.cholesky(cost))
        lit = (responses.T * (share / max(float(share.sum()), 1e-300))) @ responses.conj()
        reach[n] = np.linalg.eigvalsh(root @ lit @ root.conj().T)[-1] if share.sum() > 0 else np.inf
    return reach


def covering_bounds(
    drop: CoherentDrop, problem: RobustProblem, guard: Guard, q: Float, angles: Float, shares: Float, errors: Complex
) -> Float:  # fmt: skip
    """Bounds [N] of the least divergence over the boxes, where one node alone senses; the largest holds for every design.

    The boxes hold the angles of the proof, and at those of each transmitter where its weighted power is least the divergence is
    at most that of the largest gains with these least powers, which lie in a simplex; being convex, it is largest at a corner.
    Where gains do not move together there is no such order for the whole covariance, and no bound.
    """
    if not moves_together(drop) and problem.echoes.full:
        return np.full(problem.nodes, np.inf)
    largest, left = box_gains(drop, angles)
    reach = covering_reach(problem, drop, guard, q, left, angles, shares, errors)
    corners = np.diag(problem.power * max(1.0 - float(q.sum()), 0.0) * reach)
    bounds = replace(problem.echoes, gains=largest).divergence(np.where(np.isfinite(corners), corners, 0.0))
    return np.where(np.isfinite(reach), bounds, np.inf)


def proven_covering(
    drop: CoherentDrop, problem: RobustProblem, margins: Margins, sinr: float, half_rad: float, user_dual: Float,
    proof: Float,
) -> tuple[float, float]:  # fmt: skip
    """Least power, and a bound of the least divergence over the boxes (:func:`covering_bounds`), that the users' proof and any
    angles, shares and errors prove."""
    guard, shape = guard_of(problem, margins), problem.scaled_channels.shape
    angles_count = problem.nodes * proof_points(drop, half_rad)
    counts = [angles_count, angles_count, problem.scaled_channels.size, problem.scaled_channels.size]
    users, angles, shares, real, imaginary = np.split(
        np.nan_to_num(proof, posinf=0.0, neginf=0.0), np.cumsum([proof.size - sum(counts), *counts[:-1]])
    )
    q = multipliers_of_cones(guard, sinr, user_dual, split_proof(problem, guard, users)[0]).proven(sinr)
    bounds = covering_bounds(
        drop, problem, guard, q, np.clip(angles, -half_rad, half_rad).reshape(problem.nodes, -1),
        shares.reshape(problem.nodes, -1), (real + 1j * imaginary).reshape(shape),
    )  # fmt: skip
    return float(q.sum()), float(bounds.max())


def _evidence(beams: list[CoveringBeam], points: int) -> tuple[Float, Float, Complex]:
    """Angle errors [N, points] and shares [N, points] of the largest shares, and the errors [N, K, M]."""
    angles, shares = np.empty((len(beams), points)), np.zeros((len(beams), points))
    for n, beam in enumerate(beams):
        kept = np.sort(np.argsort(-beam.shares, kind="stable")[:points])
        angles[n] = beam.angle_errors_rad[kept[0]]
        angles[n, : len(kept)], shares[n, : len(kept)] = beam.angle_errors_rad[kept], beam.shares[kept]
    return angles, shares, np.array([beam.errors for beam in beams])


def covering_beams(
    problem: RobustProblem, drop: CoherentDrop, guard: Guard, q: Float, half_rad: float,
    least_of: Callable[[int, CoveringBeam], float],
) -> list[CoveringBeam]:  # fmt: skip
    """Covering beams of all nodes, by cutting planes: a node's worst angles are added to its own until its beam covers the
    whole box. The bound of a node whose beam does not cover it is below the best of ``least_of``, which is called once with
    each other node and its beam, and gives their least divergence.
    """
    boxes = [_Box(drop, n, half_rad) for n in range(problem.nodes)]
    line = np.linspace(-half_rad, half_rad, start_points(drop, half_rad))

    def beam_of(n: int, errors_rad: Float) -> CoveringBeam:
        return covering_beam(problem, guard, q, n, errors_rad, boxes[n].responses(errors_rad))

    beams = [beam_of(n, line) for n in range(problem.nodes)]
    rounds, settled, best = np.zeros(problem.nodes, int), np.zeros(problem.nodes, bool), -np.inf
    while True:
        bounds = covering_bounds(drop, problem, guard, q, *_evidence(beams, proof_points(drop, half_rad)))
        n = int(np.argmax(np.where(settled, -np.inf, bounds)))
        if settled.all() or bounds[n] <= best:
            return beams
        dips = boxes[n].dips(beams[n].covariance, beams[n].angle_errors_rad)
        if dips.size and rounds[n] < ROUNDS:
            beams[n] = beam_of(n, np.sort(np.concatenate([beams[n].angle_errors_rad, dips])))
            rounds[n] += 1
        else:
            settled[n], best = True, max(best, least_of(n, beams[n]))


def solve_max_min(drop: CoherentDrop, problem: RobustProblem, margins: Margins, sinr: float, half_rad: float) -> MaxMinDesign:
    """The node and covariance whose least divergence over the boxes is largest, among covering beams.

    The users' beams are those of least power, which serve any sensing signal (see ``total_power``).
    """
    started = time.perf_counter()
    if problem.limit != TOTAL:
        raise ValueError(f"angles max-min is defined for total power only, not for '{problem.limit.name}'")
    plain = solve_total_power(problem, margins, sinr)
    if plain.beams is None or plain.user_dual is None or plain.proof is None:
        return MaxMinDesign(plain.certificate, user_dual=plain.user_dual, proof=plain.proof, least_power=plain.least_power)
    guard = guard_of(problem, margins)
    unit = 1.0 / np.sqrt(problem.power)
    users = plain.beams.users * unit
    users = users / np.linalg.norm(users, axis=(1, 2), keepdims=True)
    amplitudes = guarded_amplitudes(problem, margins, users, np.zeros_like(problem.steering))
    balance = np.diag(amplitudes.wanted**2 / sinr) - amplitudes.heard**2
    quiet = np.linalg.solve(balance, np.ones(problem.users))

    def spread(node: int, beam: CoveringBeam) -> tuple[Float, Complex]:
        """Powers [K] of the users' beams and sensing covariances [N, M, M] that spend the whole limit."""
        per_sensing = np.linalg.solve(balance, _leaks(problem, guard, node, beam.covariance))
        spare = (1.0 - quiet.sum()) / (float(np.real(np.trace(beam.covariance))) + per_sensing.sum())
        sensing = np.zeros((problem.nodes, problem.antennas, problem.antennas), dtype=np.complex128)
        sensing[node] = problem.power * spare * beam.covariance
        return quiet + spare * per_sensing, sensing

    found: dict[int, Least] = {}

    def least_of(node: int, beam: CoveringBeam) -> float:
        found[node] = least_divergence(drop, spread(node, beam)[1], half_rad, full=problem.echoes.full)
        return found[node].value

    covering = covering_beams(problem, drop, guard, plain.user_dual, half_rad, least_of)
    node = max(found, key=lambda each: found[each].value)
    powers, sensing = spread(node, covering[node])
    sent = np.sqrt(problem.power * powers)[:, np.newaxis, np.newaxis] * users
    angles, shares, errors = _evidence(covering, proof_points(drop, half_rad))
    proof = np.concatenate([plain.proof, angles.ravel(), shares.ravel(), errors.real.ravel(), errors.imag.ravel()])
    need, bound = proven_covering(drop, problem, margins, sinr, half_rad, plain.user_dual, proof)
    certificate = judged_covering(problem, margins, sinr, sent, sensing, found[node].value, bound)
    certificate = replace(certificate, seconds=time.perf_counter() - started)
    return MaxMinDesign(certificate, sent, sensing, found[node].errors_rad, node, plain.user_dual, proof, need)


def judged_covering(
    problem: RobustProblem, margins: Margins, sinr: float, users: Complex, sensing: Complex, least: float, bound: float
) -> Certificate:  # fmt: skip
    """Certificate of users' beams [K, N, M] and sensing covariances [N, M, M] with a least divergence, from themselves."""
    guard, power = guard_of(problem, margins), problem.power
    spent = float((np.abs(users) ** 2).sum() + np.real(np.trace(sensing, axis1=1, axis2=2)).sum()) / power
    served = guarded_amplitudes(problem, margins, users / np.sqrt(power), np.zeros_like(problem.steering))
    leaks = sum(_leaks(problem, guard, node, each / power) for node, each in enumerate(sensing))
    reached = np.maximum(served.wanted, 0.0) ** 2 / ((served.heard**2).sum(axis=1) + leaks + 1.0)
    return Certificate(
        "ok", "", least, bound, power_violation=max(0.0, spent - 1.0), psd_violation=0.0,
        sinr_violation=max(0.0, 1.0 - float(reached.min()) / sinr), maximised=True,
    ).judged()  # fmt: skip


def _leaks(problem: RobustProblem, guard: Guard, node: int, covariance: Complex) -> Float:
    """Guarded leakage of a node's sensing covariance to every user, as in (31) of 000, [K]."""
    h, radius = problem.scaled_channels[node], guard.sensing_radius[node]
    plain = np.real(np.einsum("ka,ab,kb->k", h.conj(), covariance, h))
    length = np.linalg.norm(np.einsum("ab,kb->ka", covariance, h), axis=1)
    return plain + radius**2 * float(np.real(np.trace(covariance))) + 2.0 * radius * length

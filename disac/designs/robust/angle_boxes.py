"""A target whose angle is known to lie in a box: ignoring it, steering to a boundary as (36) of 000 does, or max-min beams.

Only the node that senses has to cover its box. For multipliers q of the users (see ``total_power``) a sensing covariance W of
node m costs ``tr W + sum_k q_k l_k(W)`` of the power that the users leave, so that the largest power it puts on every angle
of a grid is a small convex program of its own; its multipliers, shares of the angles, bound the least divergence of every
design.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.cones import direction
from disac.designs.robust.guards import Guard, Margins, guard_of, guarded_amplitudes
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.proofs import split_proof
from disac.designs.robust.total_power import multipliers_of_cones, solve_total_power
from disac.drops.coherent import CoherentDrop
from disac.metrics.kld import EchoModel
from disac.optim.certificate import Certificate
from disac.optim.conic import solve
from disac.power_limits import TOTAL

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

DESIGN_POINTS = CHECK_POINTS = 9

CHECKED = 10_000
"""Combinations of angles at most: with more nodes, each has fewer points."""


def box_points(half_rad: float, nodes: int, points: int) -> Float:
    """All combinations of angle errors on a grid over the boxes, [points^N, N], rad."""
    line = np.linspace(-half_rad, half_rad, points)
    return np.array(list(itertools.product(line, repeat=nodes)))


def _errors_that_count(drop: CoherentDrop, sensing: Complex, half_rad: float, points: int) -> Float:
    """Combinations of the angle errors that a divergence depends on, [G, N]; the others stay zero.

    A node that sends nothing to the target matters by its receive response, which only clutter can tell from another, and by
    the aspect where that is not the transmitter's.
    """
    nodes = len(drop.nodes_m)
    only_senders = drop.scenario.target.aspect == "transmit" and drop.scenario.clutter.patch_count == 0
    lit = np.real(np.trace(sensing, axis1=1, axis2=2)) > 0
    counts = np.flatnonzero(lit) if only_senders else np.arange(nodes)
    while points > 3 and points ** len(counts) > CHECKED:
        points -= 2
    errors = np.zeros((points ** len(counts), nodes))
    errors[:, counts] = box_points(half_rad, len(counts), points)
    return errors


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


def least_divergence(
    drop: CoherentDrop, sensing: Complex, half_rad: float, *, full: bool = False, points: int = CHECK_POINTS
) -> tuple[float, Float]:  # fmt: skip
    """Least divergence of sensing covariances W_s,n [N, M, M] over a grid of the boxes, and the angle errors [N] where it is.

    Aspects, receive responses and transmit responses all move with the angles.
    """
    errors = _errors_that_count(drop, sensing, half_rad, points)
    away = drop.target_angles_rad + errors
    response = drop.steering(away)
    t = np.real(np.einsum("gna,nab,gnb->gn", response, sensing, response.conj(), optimize=True))
    gains = drop.echo_gains(away)
    if full:
        correlation = drop.link_correlation()
        values = np.array([float(EchoModel(g, correlation, True).divergence(each)) for g, each in zip(gains, t, strict=True)])
    else:
        scnr = np.einsum("gnm,gm->gn", gains, t)
        values = (scnr - np.log1p(scnr)).sum(axis=1)
    least = int(np.argmin(values))
    return float(values[least]), errors[least]


@dataclass(frozen=True)
class CoveringBeam:
    """Covariance W [M, M] per power spent, the least weighted power that it puts on its grid, and what names its bound: the
    angles' shares [G] and errors [K, M] of unit length that raise its leakage most."""

    covariance: Complex
    reach: float
    shares: Float
    errors: Complex


@dataclass(frozen=True)
class MaxMinDesign:
    """Users' beams [K, N, M] and sensing covariances [N, M, M], physical; the errors [N] of the worst angles, rad.

    The certificate's value is the least divergence over the boxes. ``proof`` are the numbers of the users' proof, then the
    shares of every node's angles and its errors, Re and Im (:func:`proven_covering`).
    """

    certificate: Certificate
    users: Complex | None = None
    sensing: Complex | None = None
    worst_errors_rad: Float | None = None
    node: int = -1
    user_dual: Float | None = None
    proof: Float | None = None
    least_power: float = float("nan")


def box_gains(drop: CoherentDrop, half_rad: float) -> tuple[Float, Float]:
    """Largest echo gains over the grid of the boxes, [N, N], and what of them is left at most at each angle of a transmitter.

    The second, [N, G], is the largest share over receivers and over the angles of all other nodes.
    """
    nodes = len(drop.nodes_m)
    if _moves_together(drop) or DESIGN_POINTS**nodes > CHECKED:
        # All angles at once, where no other angle counts or all of them would be too many.
        errors = np.repeat(np.linspace(-half_rad, half_rad, DESIGN_POINTS)[:, np.newaxis], nodes, axis=1)
        gains = drop.echo_gains(drop.target_angles_rad + errors)
        largest = gains.max(axis=0)
        return largest, (gains / np.maximum(largest, 1e-300)).max(axis=1).T
    gains = drop.echo_gains(drop.target_angles_rad + box_points(half_rad, nodes, DESIGN_POINTS))
    largest = gains.max(axis=0)
    share = (gains / np.maximum(largest, 1e-300)).max(axis=1).reshape(*[DESIGN_POINTS] * nodes, nodes)
    return largest, np.array([share[..., n].max(axis=tuple(m for m in range(nodes) if m != n)) for n in range(nodes)])


def covering_beams(problem: RobustProblem, drop: CoherentDrop, guard: Guard, q: Float, half_rad: float) -> list[CoveringBeam]:
    """For each node the covariance that puts the most power on all of its box, in units of the power spent.

    ``max u`` with ``v_g a_g^T W a_g^* >= u`` over the grid and ``tr W + sum_k q_k l_k(W) <= 1``, v_g what of the echo gains is
    left at an angle; leakage is guarded as by (31) of 000, which is safe for covariances of any rank. W may need two streams
    and keeps them.
    """
    import cvxpy as cp

    found = []
    _, left = box_gains(drop, half_rad)
    for n in range(problem.nodes):
        responses = _box_responses(drop, n, half_rad, left[n])
        span = np.concatenate([problem.scaled_channels[n].T, responses.T], axis=1)
        vectors, values, _ = np.linalg.svd(span, full_matrices=False)
        basis = vectors[:, values > 1e-9 * values[0]]
        targets, heard = responses @ basis.conj(), problem.scaled_channels[n] @ basis.conj()
        w = cp.Variable((basis.shape[1],) * 2, hermitian=True)
        u = cp.Variable()
        cost = cp.real(cp.trace(w))
        norms, cones = cp.Variable(problem.users), []
        for k, radius in enumerate(guard.sensing_radius[n]):
            h = heard[k]
            leak = cp.real(cp.trace(np.outer(h, h.conj()) @ w))
            if radius > 0:
                leak = leak + radius**2 * cp.real(cp.trace(w)) + 2.0 * radius * norms[k]
            cost = cost + float(q[k]) * leak
            cones.append(cp.SOC(norms[k], cp.hstack([cp.real(w @ h), cp.imag(w @ h)])))
        unit = float(np.sum(np.abs(responses) ** 2, axis=1).max())
        lit = [cp.real(cp.trace(np.outer(a, a.conj()) @ w)) / unit >= u for a in targets]
        program = cp.Problem(cp.Maximize(u), [w >> 0, cost <= 1.0, *lit, *cones])
        outcome, _ = solve(program, {"max_threads": 1})
        if outcome not in ("optimal", "optimal_inaccurate") or w.value is None:
            raise ArithmeticError(f"the covering beam of node {n} was not found: the solver ended with '{outcome}'")
        values_w, vectors = np.linalg.eigh(w.value)
        inner = (vectors * np.maximum(values_w, 0.0)) @ vectors.conj().T
        spent = float(np.real(np.trace(inner)))
        for k, radius in enumerate(guard.sensing_radius[n]):
            h = heard[k]
            leak_k = float(np.real(h.conj() @ inner @ h)) + radius**2 * float(np.real(np.trace(inner)))
            spent += float(q[k]) * (leak_k + 2.0 * radius * float(np.linalg.norm(inner @ h)))
        inner = inner / spent
        reach = float(np.real(np.einsum("ga,ab,gb->g", targets.conj(), inner, targets)).min())
        share = np.maximum([float(c.dual_value) for c in lit], 0.0)
        # Of a null, W h = 0, only the multiplier knows the direction.
        along = np.array([direction(np.concatenate([np.atleast_1d(part).ravel() for part in c.dual_value])) for c in cones])
        found.append(CoveringBeam(basis @ inner @ basis.conj().T, reach, share, along @ basis.T))
    return found


def _box_responses(drop: CoherentDrop, node: int, half_rad: float, left: Float) -> Complex:
    """``sqrt(v_g) a_g^*`` of a node over the grid of its box, [G, M]."""
    angles = drop.target_angles_rad[node] + np.linspace(-half_rad, half_rad, DESIGN_POINTS)
    return drop.steering(angles).conj() * np.sqrt(left)[:, np.newaxis]


def covering_reach(
    problem: RobustProblem, drop: CoherentDrop, guard: Guard, q: Float, half_rad: float, shares: Float, errors: Complex
) -> Float:  # fmt: skip
    """Weighted power, per power that is left, that no covariance of a node puts on every angle of its grid, [N].

    For any shares [N, G] of the angles and errors u [N, K, M], cut to unit length, it is the largest generalised eigenvalue of
    the shared responses and the cost, in which a leakage is at least ``h^H W h + r^2 tr W + 2 r Re u^H W h``.
    """
    _, left = box_gains(drop, half_rad)
    reach = np.empty(problem.nodes)
    for n, share in enumerate(np.maximum(shares, 0.0)):
        responses = _box_responses(drop, n, half_rad, left[n])
        lengths = np.maximum(np.linalg.norm(errors[n], axis=1, keepdims=True), 1.0)
        heard, radius = problem.scaled_channels[n], guard.sensing_radius[n]
        across = (heard.T * (q * radius)) @ (errors[n] / lengths).conj()
        cost = (1.0 + float(q @ radius**2)) * np.eye(problem.antennas) + (heard.T * q) @ heard.conj() + across + across.conj().T
        root = np.linalg.inv(np.linalg.cholesky(cost))
        lit = (responses.T * (share / max(float(share.sum()), 1e-300))) @ responses.conj()
        reach[n] = np.linalg.eigvalsh(root @ lit @ root.conj().T)[-1] if share.sum() > 0 else np.inf
    return reach


def proven_covering(
    drop: CoherentDrop, problem: RobustProblem, margins: Margins, sinr: float, half_rad: float, user_dual: Float,
    proof: Float,
) -> tuple[float, float]:  # fmt: skip
    """What the users' proof and any shares and errors prove: least power, and a bound of the least divergence over the boxes.

    At the angles of each transmitter where its weighted power is least the divergence is at most that of the largest gains with
    these least powers, which lie in a simplex; being convex, it is largest at a corner. Where gains do not move together there
    is no such order for the whole covariance, nor a grid of all angles for many nodes, and no bound.
    """
    guard, shape = guard_of(problem, margins), problem.scaled_channels.shape
    counts = [problem.nodes * DESIGN_POINTS, problem.scaled_channels.size, problem.scaled_channels.size]
    users, angles, real, imaginary = np.split(
        np.nan_to_num(proof, posinf=0.0, neginf=0.0), np.cumsum([proof.size - sum(counts), *counts[:-1]])
    )
    q = multipliers_of_cones(guard, sinr, user_dual, split_proof(problem, guard, users)[0]).proven(sinr)
    if not _moves_together(drop) and (problem.echoes.full or DESIGN_POINTS**problem.nodes > CHECKED):
        return float(q.sum()), float("inf")
    reach = problem.power * max(1.0 - float(q.sum()), 0.0) * covering_reach(
        problem, drop, guard, q, half_rad, angles.reshape(problem.nodes, -1), (real + 1j * imaginary).reshape(shape)
    )  # fmt: skip
    echoes = replace(problem.echoes, gains=box_gains(drop, half_rad)[0])
    return float(q.sum()), float(echoes.divergence(np.diag(reach)).max())


def _moves_together(drop: CoherentDrop) -> bool:
    """Whether the angle of a transmitter scales the gains of all its links alike, and no other angle counts."""
    return drop.scenario.target.aspect == "transmit" and drop.scenario.clutter.patch_count == 0


def solve_max_min(drop: CoherentDrop, problem: RobustProblem, margins: Margins, sinr: float, half_rad: float) -> MaxMinDesign:
    """The node and covariance whose least divergence over the boxes is largest, among covering beams.

    The users' beams are those of least power, which serve any sensing signal (see ``total_power``).
    """
    started = time.perf_counter()
    if problem.limit != TOTAL:
        raise ValueError(f"angles max-min is posed for total power, not '{problem.limit.name}'")
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
    covering = covering_beams(problem, drop, guard, plain.user_dual, half_rad)
    tried = []
    for node, beam in enumerate(covering):
        per_sensing = np.linalg.solve(balance, _leaks(problem, guard, node, beam.covariance))
        trace = float(np.real(np.trace(beam.covariance)))
        spare = (1.0 - quiet.sum()) / (trace + per_sensing.sum())
        sensing = np.zeros((problem.nodes, problem.antennas, problem.antennas), dtype=np.complex128)
        sensing[node] = problem.power * spare * beam.covariance
        tried.append(
            (*least_divergence(drop, sensing, half_rad, full=problem.echoes.full), quiet + spare * per_sensing, sensing)
        )
    node = int(np.argmax([least for least, *_ in tried]))
    least, where, powers, sensing = tried[node]
    sent = np.sqrt(problem.power * powers)[:, np.newaxis, np.newaxis] * users
    shares, errors = np.array([beam.shares for beam in covering]), np.array([beam.errors for beam in covering])
    proof = np.concatenate([plain.proof, shares.ravel(), errors.real.ravel(), errors.imag.ravel()])
    need, bound = proven_covering(drop, problem, margins, sinr, half_rad, plain.user_dual, proof)
    certificate = judged_covering(problem, margins, sinr, sent, sensing, least, bound)
    certificate = replace(certificate, seconds=time.perf_counter() - started)
    return MaxMinDesign(certificate, sent, sensing, where, node, plain.user_dual, proof, need)


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

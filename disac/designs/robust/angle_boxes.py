"""A target whose angle is known to lie in a box: ignoring it, steering to a boundary as (36) of 000 does, or max-min beams.

Only the node that senses has to cover its box. For multipliers q of the users (see ``total_power``) a sensing covariance W of
node m costs ``tr W + sum_k q_k l_k(W)`` of the power that the users leave, so that the largest power it puts on every angle
of a grid is a small convex program of its own.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.coherent_drop import CoherentDrop
from disac.designs.robust.guards import Guard, guard_of, guarded_amplitudes
from disac.designs.robust.problem import Robustness, RobustProblem
from disac.designs.robust.total_power import solve_total_power
from disac.metrics.kld import EchoModel
from disac.optim.certificate import Certificate
from disac.optim.conic import solve

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

DESIGN_POINTS = 5
CHECK_POINTS = 9


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
    """Covariance W [M, M] per power spent, and the power it puts on its grid's worst angle: ``reach``, at most ``bound``."""

    covariance: Complex
    reach: float
    bound: float


@dataclass(frozen=True)
class MaxMinDesign:
    """Users' beams [K, N, M] and sensing covariances [N, M, M], physical; the errors [N] of the worst angles, rad.

    The certificate's value is the least divergence over the boxes. ``reach`` is the power that the sensing node puts on every
    angle of its grid at least, which no covariance of that node brings above ``reach_bound``.
    """

    certificate: Certificate
    users: Complex | None = None
    sensing: Complex | None = None
    worst_errors_rad: Float | None = None
    node: int = -1
    reach: float = float("nan")
    reach_bound: float = float("nan")
    user_dual: Float | None = None
    proof: Float | None = None
    least_power: float = float("nan")


def covering_beams(problem: RobustProblem, drop: CoherentDrop, guard: Guard, q: Float, half_rad: float) -> list[CoveringBeam]:
    """For each node the covariance that puts the most power on all of its box, in units of the power spent.

    ``max u`` with ``a_g^T W a_g^* >= u`` over the grid and ``tr W + sum_k q_k l_k(W) <= 1``; leakage is guarded as by (31) of
    000, which is safe for covariances of any rank. W may need two streams and keeps them.
    """
    import cvxpy as cp

    found = []
    for n in range(problem.nodes):
        angles = drop.target_angles_rad[n] + np.linspace(-half_rad, half_rad, DESIGN_POINTS)
        responses = drop.steering(angles).conj()
        span = np.concatenate([problem.scaled_channels[n].T, responses.T], axis=1)
        left, values, _ = np.linalg.svd(span, full_matrices=False)
        basis = left[:, values > 1e-9 * values[0]]
        targets, heard = responses @ basis.conj(), problem.scaled_channels[n] @ basis.conj()
        w = cp.Variable((basis.shape[1],) * 2, hermitian=True)
        u = cp.Variable()
        cost = cp.real(cp.trace(w))
        for k, radius in enumerate(guard.sensing_radius[n]):
            h = heard[k]
            leak = cp.real(cp.trace(np.outer(h, h.conj()) @ w))
            if radius > 0:
                leak = leak + radius**2 * cp.real(cp.trace(w)) + 2.0 * radius * cp.norm(w @ h)
            cost = cost + float(q[k]) * leak
        unit = float(np.sum(np.abs(responses[0]) ** 2))
        lit = [cp.real(cp.trace(np.outer(a, a.conj()) @ w)) / unit >= u for a in targets]
        program = cp.Problem(cp.Maximize(u), [w >> 0, cost <= 1.0, *lit])
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
        bound = _bound(targets, heard, q, share / max(float(share.sum()), 1e-300))
        found.append(CoveringBeam(basis @ inner @ basis.conj().T, reach, bound))
    return found


def _bound(targets: Complex, heard: Complex, q: Float, share: Float) -> float:
    """No unguarded covariance of unit cost puts more on every angle: the largest generalised eigenvalue for weights of the
    angles."""
    cost = np.eye(targets.shape[1]) + (heard.T * q) @ heard.conj()
    root = np.linalg.inv(np.linalg.cholesky(cost))
    lit = (targets.T * share) @ targets.conj()
    return float(np.linalg.eigvalsh(root @ lit @ root.conj().T)[-1])


def solve_max_min(
    drop: CoherentDrop, problem: RobustProblem, robustness: Robustness, sinr: float, half_rad: float
) -> MaxMinDesign:
    """The node and covariance whose least divergence over the boxes is largest, among covering beams.

    The users' beams are those of least power, which serve any sensing signal (see ``total_power``).
    """
    started = time.perf_counter()
    if problem.limit != "total":
        raise ValueError(f"angles max-min is posed for total power, not '{problem.limit}'")
    plain = solve_total_power(problem, robustness, sinr)
    if plain.beams is None or plain.user_dual is None:
        return MaxMinDesign(plain.certificate, user_dual=plain.user_dual, proof=plain.proof, least_power=plain.least_power)
    guard = guard_of(problem, robustness)
    unit = 1.0 / np.sqrt(problem.power)
    users = plain.beams.users * unit
    users = users / np.linalg.norm(users, axis=(1, 2), keepdims=True)
    amplitudes = guarded_amplitudes(problem, robustness, users, np.zeros_like(problem.steering))
    balance = np.diag(amplitudes.wanted**2 / sinr) - amplitudes.heard**2
    quiet = np.linalg.solve(balance, np.ones(problem.users))
    best: MaxMinDesign | None = None
    for node, beam in enumerate(covering_beams(problem, drop, guard, plain.user_dual, half_rad)):
        per_sensing = np.linalg.solve(balance, _leaks(problem, guard, node, beam.covariance))
        trace = float(np.real(np.trace(beam.covariance)))
        spare = (1.0 - quiet.sum()) / (trace + per_sensing.sum())
        powers = quiet + spare * per_sensing
        sensing = np.zeros((problem.nodes, problem.antennas, problem.antennas), dtype=np.complex128)
        sensing[node] = problem.power * spare * beam.covariance
        least, where = least_divergence(drop, sensing, half_rad, full=problem.echoes.full)
        if best is None or least > best.certificate.value:
            sent = np.sqrt(problem.power * powers)[:, np.newaxis, np.newaxis] * users
            reach = problem.power * beam.reach * (1.0 - plain.user_dual.sum())
            bound = problem.power * beam.bound * (1.0 - plain.user_dual.sum())
            best = MaxMinDesign(
                Certificate("ok", "", least, maximised=True), sent, sensing, where, node, reach, bound, plain.user_dual,
                plain.proof, plain.least_power,
            )  # fmt: skip
    assert best is not None
    assert best.users is not None
    assert best.sensing is not None
    power = float((np.abs(best.users) ** 2).sum() + np.real(np.trace(best.sensing[best.node])))
    served = guarded_amplitudes(problem, robustness, best.users * unit, np.zeros_like(problem.steering))
    leaks = _leaks(problem, guard, best.node, best.sensing[best.node] / problem.power)
    reached = served.wanted**2 / ((served.heard**2).sum(axis=1) + leaks + 1.0)
    certificate = replace(
        best.certificate, power_violation=max(0.0, power / problem.power - 1.0), psd_violation=0.0,
        sinr_violation=max(0.0, 1.0 - float(reached.min()) / sinr), seconds=time.perf_counter() - started,
    )  # fmt: skip
    return replace(best, certificate=certificate)


def _leaks(problem: RobustProblem, guard: Guard, node: int, covariance: Complex) -> Float:
    """Guarded leakage of a node's sensing covariance to every user, as in (31) of 000, [K]."""
    h, radius = problem.scaled_channels[node], guard.sensing_radius[node]
    plain = np.real(np.einsum("ka,ab,kb->k", h.conj(), covariance, h))
    length = np.linalg.norm(np.einsum("ab,kb->ka", covariance, h), axis=1)
    return plain + radius**2 * float(np.real(np.trace(covariance))) + 2.0 * radius * length

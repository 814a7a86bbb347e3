"""Robust designs under a total power limit, solved globally by uplink-downlink duality.

Let q be multipliers of the users' guarded SINRs with ``q_k s_k(w)^2 / Gamma <= |w|^2 + sum_j q_j g_jk(w)^2`` for every beam w.
Adding up the SINRs times q shows that every feasible set of beams spends at least

    ``sum_k q_k + sum_n t_n / tau_n``,   ``tau_n = max_w |a_n^T w|^2 / (|w|^2 + sum_k q_k l_kn(w)^2)``

of the power (noise power one), t_n being the power that node n puts on the target. So the reachable t lie in a simplex, and a
convex increasing function of t, as the divergence (33) of 000 is, is largest at one of its corners: all sensing power belongs
to one node. Where q is the fixed point of that inequality the simplex is reached, and the design is globally optimal; for any
other q it is a bound, proven in closed form (``proofs``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.cones import GuardedCones, direction, modulus
from disac.designs.robust.guards import Guard, Margins, guard_of, guarded_amplitudes, guarded_sinr, sensing_bases
from disac.designs.robust.nominal import nominal_beams
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.proofs import (
    Multipliers,
    corner_bound,
    leak_errors,
    leak_numbers,
    proven_by,
    reached,
    split_proof,
    unguarded,
)
from disac.optim.certificate import GAP_LIMIT, Certificate
from disac.optim.cones import ConeProgram

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

ENOUGH = 1e4
"""Largest multiple of the power that a proof of infeasibility shows. If no power suffices, any multiple can be proven."""


@dataclass(frozen=True)
class RobustDesign:
    """Delivered beams with the beampowers t [N] they reach, and their certificate; or the proof that there are none.

    ``corners`` [N] are the largest t_n of each node alone. ``user_dual`` q [K] carries the bound or the infeasibility: the
    least power that it proves is ``least_power`` times the limit. ``proof`` are the numbers that name the proof's error
    vectors, read as the method wrote them (``Robustness.prove`` of ``choices``): multipliers of the users' cones, beams
    of a policy iteration, or multipliers of a matrix inequality; empty where no error is needed. Where the proof is one of
    several simplices, one after another, ``simplices`` are their shares and reaches [N] (``proofs``).
    """

    certificate: Certificate
    beams: Beams | None = None
    beampowers: Float | None = None
    node: int = -1
    corners: Float | None = None
    user_dual: Float | None = None
    least_power: float = float("nan")
    proof: Float | None = None
    simplices: Sequence[tuple[float, Float]] = ()


def solve_total_power(problem: RobustProblem, margins: Margins, sinr: float) -> RobustDesign:
    """Design for an SINR target (linear) under a total power limit.

    Parameters
    ----------
    margins
        How amplitudes are guarded.

    Returns
    -------
    RobustDesign
        Status ``ok`` with the global optimum, ``infeasible`` with q as proof, or ``inaccurate``; the value is the divergence
        (33) in nats and ``dual_bound`` is above it.
    """
    started = time.perf_counter()
    guard = guard_of(problem, margins)
    silent = np.zeros(leak_numbers(problem, guard))
    if problem.unheard_user is not None:
        return unheard(problem, time.perf_counter() - started, unheard_dual(problem), silent)
    service = quietest_service(guard, sinr)
    directions, q, proof = service.directions, service.user_dual, service.proof
    if q.sum() > 1.0:
        return infeasible(float(q.sum()), time.perf_counter() - started, q, np.concatenate([proof, silent]))
    if directions is None:
        sentence = (
            f"The solver found no beams and no proof that there are none. Beams need at least {q.sum():.6f} of the power."
        )
        return RobustDesign(
            Certificate("failed", sentence, seconds=time.perf_counter() - started), user_dual=q, least_power=float(q.sum())
        )  # fmt: skip
    sensing, reach, leaks = sensing_beams(problem, guard, q)
    found = delivered(problem, margins, sinr, guard, directions, sensing, q, reach, service.iterations, started)
    return replace(found, proof=np.concatenate([proof, leaks]))


@dataclass(frozen=True)
class Service:
    """Service of the users with the least power.

    ``directions`` are unit beams [K, d] in the guard's coordinates, or None where none were found. ``user_dual`` q [K] proves
    the least power, in units of the limit, with the multipliers ``proof`` of the users' cone program.
    """

    directions: Complex | None
    user_dual: Float
    proof: Float
    iterations: int


def quietest_service(guard: Guard, sinr: float) -> Service:
    """Beams that give every user the guarded SINR (linear) with the least power, and the proof that no beams take less."""
    if guard.exact:
        directions, q, iterations = nominal_beams(guard.heard, sinr)
        return Service(directions, q, np.zeros(0), iterations)
    directions, multipliers, proof, iterations = quietest_beams(guard, sinr)
    q = multipliers.proven(sinr)
    if q.sum() <= 1.0:
        closer = multipliers.refined(sinr).proven(sinr)
        q = closer if closer.sum() > q.sum() else q
    if q.sum() <= 1.0 and directions is None:
        q = multipliers.raised(sinr).proven(sinr)
    return Service(directions, q, proof, iterations)


def proven_by_cones(
    problem: RobustProblem, margins: Margins, sinr: float, user_dual: Float, proof: Float
) -> tuple[float, float]:  # fmt: skip
    """Least power and bound that any q [K] and proof show: multipliers of the users' cone program, block after block, and the
    errors of the leaks (:func:`leak_errors`).

    Returns
    -------
    least_power
        Share of the power that the users take at least; above one they cannot be served.
    bound
        Divergence (33), in nats, that no design exceeds.
    """
    guard = guard_of(problem, margins)
    users, leaks = split_proof(problem, guard, proof)
    return proven_by(problem, guard, sinr, multipliers_of_cones(guard, sinr, user_dual, users), leaks)


def multipliers_of_cones(guard: Guard, sinr: float, user_dual: Float, proof: Float) -> Multipliers:
    """q with the error vectors to which the multipliers of the users' cone program point; no errors where there are none."""
    if proof.size == 0:
        return unguarded(guard, user_dual)
    cones = _quietest(guard, sinr)
    _, wanted, heard = cones.error_vectors(cones.program.split(proof))
    return Multipliers(user_dual, wanted, heard)


def infeasible(
    need: float, seconds: float, user_dual: Float | None = None, proof: Float | None = None, iterations: int = -1
) -> RobustDesign:  # fmt: skip
    """The proof that no beams serve the users as the choice guards them: they need at least ``need`` times the power."""
    sentence = (
        "No beams give every user the SINR with the margins of the robustness choice: "
        f"they need at least {need:.4g} times the power (checked)."
    )
    refused = Certificate("infeasible", sentence, dual_bound=0.0, iterations=iterations, seconds=seconds, maximised=True)
    return RobustDesign(refused, user_dual=user_dual, least_power=need, proof=proof)


def unheard(
    problem: RobustProblem, seconds: float, user_dual: Float | None = None, proof: Float | None = None
) -> RobustDesign:  # fmt: skip
    """The verdict on a problem with a user whom no beam reaches (:attr:`RobustProblem.unheard_user`), with its proof."""
    user = problem.unheard_user
    reason = "the power is zero" if problem.power == 0.0 else f"the channels of user {user} are zero at all nodes"
    sentence = f"No beams give every user the SINR: {reason} (checked)."
    found = infeasible(ENOUGH, seconds, user_dual, proof)
    return replace(found, certificate=replace(found.certificate, message=sentence))


def unheard_dual(problem: RobustProblem) -> Float:
    """Multipliers [K] of the proof: only the user's own is not zero, and its size is arbitrary."""
    return ENOUGH * np.eye(problem.users)[problem.unheard_user]


def _quietest(guard: Guard, sinr: float) -> GuardedCones:
    """The program that maximises the noise under unit power."""
    cones = GuardedCones(guard, sinr, fixed_noise=False)
    cones.limit(np.arange(cones.count["beams"]), 1.0)
    return cones


def quietest_beams(guard: Guard, sinr: float) -> tuple[Complex | None, Multipliers, Float, int]:
    """Beams that reach the SINR with the largest noise that unit power allows; always feasible, so that it also proves failure.

    Returns
    -------
    directions
        Unit beams [K, d] in the guard's coordinates, or None where nothing was found.
    multipliers
        q [K] in units of the power limit, with its error vectors.
    proof
        Multipliers of the cone program, block after block.
    iterations
        Of the cone solver.
    """
    cones = _quietest(guard, sinr)
    cost = np.zeros(cones.variables)
    cost[cones.start["noise"]] = 1.0
    found = cones.program.solve(cost)
    weights, wanted, heard = cones.error_vectors(found.multipliers)
    noise = float(found.variables[cones.start["noise"]])
    multipliers = Multipliers(weights * min(1.0 / max(noise, 1e-9) ** 2, ENOUGH), wanted, heard)
    proof = np.concatenate(found.multipliers)
    # A solver that stopped early has a point, too. The certificate judges its beams.
    if not noise >= 1e-6:
        return None, multipliers, proof, found.iterations
    beams = cones.users_beams(found.variables)
    return beams / np.linalg.norm(beams, axis=1, keepdims=True), multipliers, proof, found.iterations


def sensing_beams(problem: RobustProblem, guard: Guard, q: Float) -> tuple[Complex, Float, Float]:
    """Each node's best sensing beam for multipliers q, and tau.

    Returns
    -------
    directions
        Unit beams [N, M].
    reach
        tau_n in units of the power limit, from above, [N].
    leaks
        Numbers that name the errors behind it (:func:`leak_errors`); none where leaks are not guarded.
    """
    leaks, sought = np.zeros(0), None
    if guard.sensing_radius.any():
        leaks, sought = _leak_program(problem, guard, q)
    beams, reach = reached(problem, q, leak_errors(problem, guard, leaks))
    # If a null is best, the solver's beam has it. The beam of the error vectors has not: they name one point of a kink.
    beams = beams if sought is None else sought
    return beams / np.linalg.norm(beams, axis=1, keepdims=True), reach, leaks


def _leak_program(problem: RobustProblem, guard: Guard, q: Float) -> tuple[Float, Complex]:
    """Numbers that name the errors which bound the guarded leaks best, and the best beams [N, M].

    One cone program for all nodes: ``max sum_n a_n^T w_n`` with ``|w_n|^2 + sum_k q_k l_kn(w_n)^2 <= 1``.
    """
    channels, target = problem.scaled_channels, problem.steering.conj()
    nodes, users, antennas = channels.shape
    bases = sensing_bases(problem)
    heard, wanted = channels @ bases.conj(), np.einsum("nm,nmd->nd", target, bases.conj())
    size, step = bases.shape[2], 2 * bases.shape[2] + users + 1
    program, cost = ConeProgram(nodes * step), np.zeros(nodes * step)
    for n in range(nodes):
        start = n * step
        beam = np.arange(start, start + 2 * size)
        leak, norm = start + 2 * size + np.arange(users), start + 2 * size + users
        cost[beam] = np.concatenate([wanted[n].real, wanted[n].imag]) / np.linalg.norm(wanted[n])
        rows = np.zeros((1 + 2 * size + users, step))
        rows[1 : 1 + 2 * size, : 2 * size] = np.eye(2 * size)
        for k in range(users):
            rows[1 + 2 * size + k, 2 * size + k] = np.sqrt(q[k])
            rows[1 + 2 * size + k, 2 * size + users] = np.sqrt(q[k]) * guard.sensing_radius[n, k]
        program.second_order(np.arange(start, start + step), rows, np.eye(len(rows))[0])
        for k in range(users):
            program.second_order([leak[k], *beam], modulus(heard[n, k]))
        program.second_order([norm, *beam], np.eye(1 + 2 * size))
    found = program.solve(cost)
    named = np.empty((nodes, users + antennas), dtype=np.complex128)
    parts = found.variables.reshape(nodes, step)[:, : 2 * size].reshape(nodes, 2, size)
    beams = np.einsum("nms,ns->nm", bases, parts[:, 0] + 1j * parts[:, 1])
    for n in range(nodes):
        multipliers = found.multipliers[n * (users + 2) + 1 : (n + 1) * (users + 2)]
        named[n, :users] = [direction(z)[0] for z in multipliers[:users]]
        named[n, users:] = bases[n] @ direction(multipliers[users])
    return np.concatenate([named.real.ravel(), named.imag.ravel()]), beams


def delivered(
    problem: RobustProblem, margins: Margins, sinr: float, guard: Guard, directions: Complex, sensing: Complex, q: Float,
    reach: Float, iterations: int, started: float,
) -> RobustDesign:  # fmt: skip
    """Powers along unit beams that meet every guarded SINR with equality; the best node spends the rest on sensing."""
    beams = (directions @ guard.basis.T).reshape(problem.users, problem.nodes, problem.antennas)
    quiet, per_sensing = needed_powers(problem, margins, sinr, beams, sensing)
    spare = (1.0 - quiet.sum()) / (1.0 + per_sensing.sum(axis=0))
    powers = quiet[:, np.newaxis] + per_sensing * spare
    if (quiet < 0).any() or not (spare > 0).all() or (powers < 0).any():
        least = float(q.sum())
        sentence = f"The beams found need more than the power. At least {least:.6f} of it is needed, so other beams may do."
        return RobustDesign(
            Certificate("failed", sentence, iterations=iterations, seconds=time.perf_counter() - started), user_dual=q
        )
    corners = problem.power * spare * np.abs(np.einsum("nm,nm->n", problem.steering, sensing)) ** 2
    node = int(np.argmax(problem.divergence(np.diag(corners))))
    scale = np.sqrt(problem.power)
    lit = np.zeros_like(sensing)
    lit[node] = scale * np.sqrt(spare[node]) * sensing[node]
    sent = Beams(scale * np.sqrt(powers[:, node])[:, np.newaxis, np.newaxis] * beams, lit)
    bound = corner_bound(problem, reach, q)
    certificate = judged(problem, margins, sinr, sent, bound)
    certificate = replace(certificate, iterations=iterations, seconds=time.perf_counter() - started)
    return RobustDesign(certificate, sent, sent.beampowers(problem.steering), node, corners, q, float(q.sum()))


def needed_powers(
    problem: RobustProblem, margins: Margins, sinr: float, beams: Complex, sensing: Complex
) -> tuple[Float, Float]:  # fmt: skip
    """Powers along unit beams [K, N, M] with which every guarded SINR is met with equality, in units of the limit.

    Returns
    -------
    quiet
        Powers without sensing, [K]; one of them is negative where no powers along these beams serve.
    per_sensing
        What each node's unit of sensing power along its beam of ``sensing`` [N, M] adds to them, [K, N].
    """
    amplitudes = guarded_amplitudes(problem, margins, beams, sensing)
    balance = np.diag(np.maximum(amplitudes.wanted, 0.0) ** 2 / sinr) - amplitudes.heard**2
    needs = np.column_stack([np.ones(problem.users), amplitudes.leaks**2])
    solved = np.asarray(np.linalg.solve(balance, needs), dtype=np.float64)
    return solved[:, 0], solved[:, 1:]


def judged(
    problem: RobustProblem, margins: Margins, sinr: float, beams: Beams, bound: float, *, stationary: bool = False
) -> Certificate:  # fmt: skip
    """Certificate of beams from themselves: their divergence against a bound from above, and their violations.

    A ``stationary`` point has no bound yet, and its gap is not judged.
    """
    value = float(problem.divergence(beams.beampowers(problem.steering)))
    reached = guarded_sinr(problem, margins, beams)
    return Certificate(
        "ok", "", value, bound, power_violation=max(0.0, power_share(problem, beams) - 1.0),
        sinr_violation=max(0.0, 1.0 - float(reached.min()) / sinr), psd_violation=0.0, maximised=True,
    ).judged(float("inf") if stationary else GAP_LIMIT)  # fmt: skip


def power_share(problem: RobustProblem, beams: Beams) -> float:
    """Largest power that counts against one limit: in all, of a node, or of an antenna."""
    spent = (np.abs(beams.users) ** 2).sum(axis=0) + np.abs(beams.sensing) ** 2
    return float(problem.limit.busiest(spent / problem.power))

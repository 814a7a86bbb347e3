"""Guarded beams without a conic solver: policy iteration on the multipliers q, each beam by reweighted least squares.

For given q, beam k minimises ``|w|^2 + sum_j q_j g_jk(w)^2`` with ``s_k(w) = 1``. A guarded amplitude is a sum of moduli, and
``(x + sum_i a_i)^2 <= S (x^2 / x_0 + sum_i a_i^2 / a_i0)`` with the sum S at the current beam, equal there: the right side is
a quadratic form, minimised by one linear system. For given beams q solves a linear system too. Moduli are smoothed, ``x ->
sqrt(x^2 + eps^2 |h|^2)`` with eps halved in every sweep. Optimal beams often have nulls, and at a null the step without
smoothing changes nothing."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.guards import Guard, Margins, guard_of
from disac.designs.robust.nominal import nominal_beams
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.proofs import Multipliers, leak_numbers, proven_by, split_proof, unguarded
from disac.designs.robust.total_power import RobustDesign, delivered, infeasible, sensing_beams, unheard, unheard_dual
from disac.optim.certificate import Certificate

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

SWEEPS = 200
FIRST_SMOOTHING = 0.1
LAST_SMOOTHING = 1e-9


def solve_by_policy_iteration(problem: RobustProblem, margins: Margins, sinr: float) -> RobustDesign:
    """Solve as :func:`disac.designs.robust.total_power.solve_total_power`, for the choices that guard by balls.

    Raises
    ------
    NotImplementedError
        For phases: their wanted amplitude is a minimum over an arc, which no norm penalises.
    """
    started, proof = time.perf_counter(), np.zeros(0)
    guard = guard_of(problem, margins)
    if guard.arc_rad > 0:
        raise NotImplementedError("policy iteration is for balls only, not for phases")
    silent = np.zeros(leak_numbers(problem, guard))
    if problem.unheard_user is not None:
        return unheard(problem, time.perf_counter() - started, unheard_dual(problem), silent)
    directions, q, sweeps = nominal_beams(guard.heard, sinr)
    if directions is None:
        return infeasible(float(q.sum()), time.perf_counter() - started, q, silent)
    if not guard.exact:
        serves, directions, q, smoothing, sweeps = _iterate(guard, sinr, directions, q)
        proof = np.concatenate([directions.real.ravel(), directions.imag.ravel(), [smoothing]])
        multipliers = _multipliers(guard, directions, q, smoothing)
        q = multipliers.proven(sinr)
        closer = multipliers.refined(sinr).proven(sinr)
        q = closer if closer.sum() > q.sum() else q
        if q.sum() > 1.0:
            return infeasible(float(q.sum()), time.perf_counter() - started, q, np.concatenate([proof, silent]))
        if not serves:
            sentence = f"No beams were found, and no proof that there are none. Beams need at least {q.sum():.6f} of the power."
            certificate = Certificate("failed", sentence, seconds=time.perf_counter() - started)
            return RobustDesign(certificate, user_dual=q, least_power=float(q.sum()), proof=proof)
    sensing, reach, leaks = sensing_beams(problem, guard, q)
    found = delivered(problem, margins, sinr, guard, directions, sensing, q, reach, sweeps, started)
    return replace(found, proof=np.concatenate([proof, leaks]))


def proven_by_beams(
    problem: RobustProblem, margins: Margins, sinr: float, user_dual: Float, proof: Float
) -> tuple[float, float]:  # fmt: skip
    """Prove as :func:`disac.designs.robust.total_power.proven_by_cones`, from beams (all Re, all Im) and smoothing."""
    guard = guard_of(problem, margins)
    users, leaks = split_proof(problem, guard, proof)
    if users.size == 0:
        return proven_by(problem, guard, sinr, unguarded(guard, user_dual), leaks)
    real, imaginary = users[:-1].reshape(2, *guard.heard.shape)
    return proven_by(problem, guard, sinr, _multipliers(guard, real + 1j * imaginary, user_dual, float(users[-1])), leaks)


def _members(guard: Guard) -> Float:
    """Coordinates of each block, as a mask [blocks, d]."""
    members = np.zeros((len(guard.blocks), guard.heard.shape[1]))
    for b, block in enumerate(guard.blocks):
        members[b, block] = 1.0
    return members


def _iterate(guard: Guard, sinr: float, beams: Complex, q: Float) -> tuple[bool, Complex, Float, float, int]:
    """Return whether the beams serve at some power, the unit beams, q, the smoothing reached and the number of sweeps."""
    users, size = guard.heard.shape
    members = _members(guard)
    lengths = np.linalg.norm(guard.heard, axis=1)
    others = 1.0 - np.eye(users)
    smoothing, serves = FIRST_SMOOTHING, True
    best: tuple[float, Complex, Float] | None = None
    for sweep in range(1, SWEEPS + 1):
        floor = smoothing * lengths[:, np.newaxis]
        sizes = np.linalg.norm(beams, axis=1)
        received = guard.heard.conj() @ beams.T
        moduli = np.sqrt(np.abs(received) ** 2 + (floor * sizes) ** 2)
        norms = np.sqrt(np.maximum(np.abs(beams) ** 2 @ members.T, 1e-300)).T
        margins = np.einsum("bj,bk->jk", guard.radius, norms)
        sums = moduli + margins
        weight = q[:, np.newaxis] * others * sums
        matrices = np.eye(size) + np.einsum("jk,ja,jb->kab", weight / moduli, guard.heard, guard.heard.conj(), optimize=True)
        matrices[:, np.arange(size), np.arange(size)] += np.einsum(
            "jk,bj,bk,ba->ka", weight, guard.radius, 1.0 / norms, members
        )
        if guard.guards_wanted:
            own = np.abs(np.diagonal(received)) - np.diagonal(margins)
            spent = np.real(np.einsum("ka,kab,kb->k", beams.conj(), matrices, beams))
            price = guard.radius / norms * spent / np.maximum(own, 1e-12 * lengths)
            matrices[:, np.arange(size), np.arange(size)] += np.einsum("bk,ba->ka", price, members)
        solved = np.asarray(np.linalg.solve(matrices, guard.heard[..., np.newaxis])[..., 0], dtype=np.complex128)
        beams = solved / np.linalg.norm(solved, axis=1, keepdims=True)
        stepped = _uplink(guard, members, beams, sinr)
        serves = stepped is not None
        if stepped is None:
            # The beams cannot serve at any power yet: climb by the map itself, from below.
            multipliers = _multipliers(guard, beams, q, smoothing)
            _, level = multipliers._best(q)
            stepped = np.maximum(q, sinr * level)
            if stepped.sum() > 1.0 and multipliers.proven(sinr).sum() > 1.0:
                return False, beams, q, smoothing, sweep
        elif best is None or stepped.sum() < best[0]:
            best = float(stepped.sum()), beams, stepped
        change = float(np.abs(stepped - q).max())
        q = stepped
        smoothing = max(smoothing / 2.0, LAST_SMOOTHING)
        if serves and smoothing == LAST_SMOOTHING and change <= 1e-12 * q.max():
            break
    if best is not None:
        _, beams, q = best
    return best is not None, beams, q, smoothing, sweep


def _uplink(guard: Guard, members: Float, beams: Complex, sinr: float) -> Float | None:
    """Multipliers for unit beams, ``q_k s_k^2 / Gamma - sum_j q_j g_jk^2 = 1``; None where no power serves."""
    users = len(beams)
    received = np.abs(guard.heard.conj() @ beams.T)
    margins = np.einsum("bj,bk->jk", guard.radius, np.sqrt(np.abs(beams) ** 2 @ members.T).T)
    wanted = np.diagonal(received) - (np.diagonal(margins) if guard.guards_wanted else 0.0)
    heard = (received + margins) ** 2 * (1.0 - np.eye(users))
    if (wanted <= 0).any():
        return None
    solved = np.linalg.solve(np.diag(wanted**2 / sinr) - heard.T, np.ones(users))
    return solved if (solved > 0).all() else None


def _multipliers(guard: Guard, beams: Complex, q: Float, smoothing: float) -> Multipliers:
    """q with the error vectors of smoothed moduli, which are error vectors all the same: none is longer than its ball."""
    received = guard.heard.conj() @ beams.T
    floor = smoothing * np.linalg.norm(guard.heard, axis=1)[:, np.newaxis] * np.linalg.norm(beams, axis=1)
    turns = received / np.maximum(np.sqrt(np.abs(received) ** 2 + floor**2), 1e-300)
    along = np.zeros((len(guard.blocks), *beams.shape), dtype=np.complex128)
    for b, member in enumerate(_members(guard)):
        part = beams * member
        along[b] = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-300)
    heard = turns[..., np.newaxis] * guard.heard[:, np.newaxis] + np.einsum("bj,bka->jka", guard.radius, along)
    wanted = guard.heard.copy()
    if guard.guards_wanted:
        # The wanted amplitude is that of a beam whose phase makes it real at the user.
        phase = np.exp(-1j * np.angle(np.diagonal(received)))
        wanted = wanted - np.einsum("bk,bka,k->ka", guard.radius, along, phase)
    return Multipliers(q, wanted, heard)

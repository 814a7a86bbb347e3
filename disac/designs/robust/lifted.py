"""Reference solver: the lifted program (P3) of 000 in CVXPY, in reduced size or as printed.

Beams become covariances, with the terms of Lemma 1 as (31) prints them. Under total power users' covariances lie in the span of
their K channels and node n's sensing covariance in that of its users and target, since a projection there changes no wanted
power, and no norm or trace for the worse. The printed form has every covariance in full and the auxiliary matrix Z of (37).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.guards import LEMMA_1, guard_of, sensing_bases
from disac.designs.robust.problem import RobustProblem
from disac.optim.conic import solve

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

TIGHT: dict[str, Any] = {"max_threads": 1, "tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}


@dataclass(frozen=True)
class LiftedPoint:
    """``beampowers`` t [N], physical; covariances of the users [K, d, d] and of sensing [N, s, s], scaled; the solver's
    status."""

    outcome: str
    beampowers: Float | None
    users: Complex | None
    sensing: Complex | None


class LiftedProgram:
    """(P3) under total power with the guards of Lemma 1, for any weights of the powers at the target."""

    def __init__(self, problem: RobustProblem, sinr: float, *, printed: bool = False) -> None:
        import cvxpy as cp

        nodes, antennas = problem.nodes, problem.antennas
        if not printed:
            basis, sensing = guard_of(problem, LEMMA_1).basis, sensing_bases(problem)
        else:
            basis = np.eye(nodes * antennas, dtype=np.complex128)
            sensing = np.broadcast_to(np.eye(antennas, dtype=np.complex128), (nodes, antennas, antennas))
        self.problem = problem
        self.weights = cp.Parameter(nodes, nonneg=True)
        heard = guard_of(problem, LEMMA_1, basis).heard
        leaks = problem.scaled_channels @ sensing.conj()
        target = np.einsum("nm,nms->ns", problem.steering, sensing)
        self.users = [cp.Variable((basis.shape[1],) * 2, hermitian=True) for _ in range(problem.users)]
        self.sensing = [cp.Variable((sensing.shape[2],) * 2, hermitian=True) for _ in range(nodes)]

        def received(covariance: Any, h: Complex) -> Any:
            return cp.real(cp.trace(np.outer(h, h.conj()) @ covariance))

        def guarded(covariance: Any, h: Complex, radius: float) -> Any:
            return received(covariance, h) + radius**2 * cp.real(cp.trace(covariance)) + 2.0 * radius * cp.norm(covariance @ h)

        constraints = [x >> 0 for x in [*self.users, *self.sensing]]
        constraints.append(cp.real(sum(cp.trace(x) for x in [*self.users, *self.sensing])) <= 1.0)
        for k, h in enumerate(heard):
            others = [guarded(self.users[j], h, float(problem.stacked_radius[k])) for j in range(problem.users) if j != k]
            leaking = [guarded(self.sensing[n], leaks[n, k], float(problem.scaled_radius[n, k])) for n in range(nodes)]
            constraints.append(received(self.users[k], h) / sinr >= sum(others) + sum(leaking) + 1.0)
        self.lit = [received(self.sensing[n], target[n].conj()) for n in range(nodes)]
        # In units of what full power could put there, so that the objective is near one.
        most = np.linalg.norm(problem.steering, axis=1) ** 2
        if printed:
            auxiliary = [cp.Variable((antennas,) * 2, hermitian=True) for _ in range(nodes)]
            constraints += [z >> 0 for z in auxiliary]
            shares = problem.echoes.gains / (problem.echoes.gains @ most).max()
            arriving = problem.steering / np.sqrt(most)[:, np.newaxis]
            for n, z in enumerate(auxiliary):
                echo = cp.sum(cp.multiply(shares[n], cp.hstack(self.lit)))
                constraints.append(z == np.eye(antennas) + echo * np.outer(arriving[n], arriving[n].conj()))
            seen = cp.hstack([received(z, u) for z, u in zip(auxiliary, arriving, strict=True)])
        else:
            seen = cp.hstack(self.lit) / float(most.max())
        self.program = cp.Problem(cp.Maximize(self.weights @ seen), constraints)

    def furthest(self, weights: Float) -> LiftedPoint:
        """The point with the largest ``sum_m c_m t_m``, or, in the printed form, with the largest ``sum_n d_n x_n``.

        For noise of unit covariance, as whitening makes it, (39a) is the latter with ``d_n = x_n / (1 + x_n)`` of the last
        point, and ``c = B^T d``.
        """
        self.weights.value = weights / np.abs(weights).max()
        outcome, _ = solve(self.program, TIGHT)
        if outcome not in ("optimal", "optimal_inaccurate"):
            return LiftedPoint(outcome, None, None, None)
        t = self.problem.power * np.array([float(np.real(each.value)) for each in self.lit])
        return LiftedPoint(outcome, t, np.array([x.value for x in self.users]), np.array([x.value for x in self.sensing]))


def lifted_walk(problem: RobustProblem, sinr: float, start: Float, tolerance: float, *, steps: int = 20) -> list[LiftedPoint]:
    """Algorithm 1 of 000 from powers ``start`` [N] at the target: one semidefinite program a step."""
    program = LiftedProgram(problem, sinr)
    point, value, walk = np.asarray(start), float(problem.divergence(start)), []
    for _ in range(steps):
        found = program.furthest(problem.echoes.gradient(point))
        walk.append(found)
        if found.beampowers is None:
            break
        before, point = value, found.beampowers
        value = float(problem.divergence(point))
        if abs(value - before) <= tolerance:
            break
    return walk

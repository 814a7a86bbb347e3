"""Robust designs under per-node or per-antenna power limits: minorise-maximise, and a bound from outside.

With ``u_m = Re a_m^T w_s,m`` the divergence ``F(u^2)`` is convex and increasing in u, and the u that robust beams can reach
form a convex set: it is a linear image of second-order cones. Its tangent is a lower bound, so that maximising the tangent
again and again climbs to a stationary point. Half-spaces ``g^T u <= max g^T u``, each from one cone program and its
multipliers, enclose the set; the convex divergence is largest at a vertex of what they enclose, which bounds every design. No
method is known that closes the gap between the two for certain.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.cones import GuardedCones
from disac.designs.robust.guards import guard_of, node_wise_basis, sensing_bases
from disac.designs.robust.problem import Beams, Robustness, RobustProblem
from disac.designs.robust.total_power import RobustDesign, infeasible, judged
from disac.optim.certificate import Certificate
from disac.optim.cones import ConeSolution

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

ROUNDS = 30
RELATIVE_CLIMB = 1e-6
CUTS = 12
CLOSED = 1e-3
"""Relative distance between design and bound at which no further half-space is asked for, unless told otherwise."""

RETREAT = 1e-7
"""The SINR is asked for by this much more, relative, since the solver leaves rows violated by about a tenth of it."""


class LimitedPower:
    """One problem and SINR target (linear): its cone program is set up once and solved for each direction of u."""

    def __init__(self, problem: RobustProblem, robustness: Robustness, sinr: float) -> None:
        nodes, antennas = problem.nodes, problem.antennas
        self.problem, self.robustness, self.sinr = problem, robustness, sinr
        if problem.limit == "per-antenna":
            self.basis = np.eye(nodes * antennas, dtype=np.complex128)
            self.sensing = np.broadcast_to(np.eye(antennas, dtype=np.complex128), (nodes, antennas, antennas))
        else:
            self.basis, self.sensing = node_wise_basis(problem), sensing_bases(problem)
        self.target = np.einsum("nm,nms->ns", problem.steering, self.sensing)
        self.cones = self._cones(fixed_noise=True)
        self.iterations = 0

    def _cones(self, *, fixed_noise: bool) -> GuardedCones:
        problem = self.problem
        guard = guard_of(problem, self.robustness, self.basis)
        sinr = self.sinr * (1.0 + RETREAT)
        cones = GuardedCones(guard, sinr, self.sensing, problem.scaled_channels, fixed_noise=fixed_noise)
        rows = self.basis.reshape(problem.nodes, problem.antennas, -1)
        for n in range(problem.nodes):
            held = np.flatnonzero(np.abs(rows[n]).max(axis=0) > 0)
            own = [cones.beam(k)[np.concatenate([held, cones.size + held])] for k in range(problem.users)]
            columns = np.concatenate([*own, cones.sensing_beam(n)])
            if problem.limit == "per-antenna":
                for antenna in columns.reshape(-1, problem.antennas).T:
                    cones.limit(antenna, 1.0 / (problem.nodes * problem.antennas))
            else:
                cones.limit(columns, 1.0 / problem.nodes)
        return cones

    def _cost(self, weights: Float) -> Float:
        """``sum_m g_m Re(a_m^T w_m)`` over the variables."""
        cost = np.zeros(self.cones.variables)
        for n, weight in enumerate(weights):
            cost[self.cones.sensing_beam(n)] = weight * np.concatenate([self.target[n].real, -self.target[n].imag])
        return cost

    def furthest(self, weights: Float) -> tuple[ConeSolution, Float]:
        """Beams that reach furthest along weights g, and the amplitudes u [N] they put on the target."""
        found = self.cones.program.solve(self._cost(weights))
        self.iterations += found.iterations
        return found, np.real(np.sum(self.target * self.cones.sensing_beams(found.variables), axis=1))

    def support(self, weights: Float, found: ConeSolution) -> float:
        """What ``g^T u`` cannot exceed, by the multipliers of a solution for these weights."""
        largest = float(np.linalg.norm(self.problem.scaled_channels, axis=2).sum(axis=0).max())
        return self.cones.program.upper_bound(self._cost(weights), found.multipliers, self.cones.box(largest))

    def beams(self, found: ConeSolution) -> Beams:
        """Beams of a solution in physical units, turned down where rounding exceeds a limit."""
        problem, scale = self.problem, np.sqrt(self.problem.power)
        users = (self.cones.users_beams(found.variables) @ self.basis.T).reshape(problem.users, problem.nodes, -1)
        sensing = np.einsum("nms,ns->nm", self.sensing, self.cones.sensing_beams(found.variables))
        return Beams(scale * users, scale * sensing)

    def least_power(self) -> tuple[float, int]:
        """Least power, of the limits, that multipliers prove; above one no beams give every user the SINR."""
        cones = self._cones(fixed_noise=False)
        cost = np.zeros(cones.variables)
        cost[cones.start["noise"]] = 1.0
        found = cones.program.solve(cost)
        largest = float(np.linalg.norm(self.problem.scaled_channels, axis=2).sum(axis=0).max())
        noise = cones.program.upper_bound(cost, found.multipliers, cones.box(largest))
        return 1.0 / max(noise, 1e-9) ** 2, found.iterations


def divergence_gradient(problem: RobustProblem, amplitudes: Float) -> Float:
    """Gradient of the divergence in amplitudes u at the target, in units of the power's root: ``2 u_m dF/dt_m``."""
    return 2.0 * problem.power * amplitudes * problem.echoes.gradient(problem.power * amplitudes**2)


def solve_limited_power(problem: RobustProblem, robustness: Robustness, sinr: float) -> RobustDesign:
    """Design for an SINR target (linear) under per-node or per-antenna power: a stationary point, without its bound.

    Returns
    -------
    RobustDesign
        ``ok`` with ``dual_bound`` infinite until :func:`with_outer_bound` has been asked; or ``infeasible``, proven.
    """
    started = time.perf_counter()
    return _climbed(LimitedPower(problem, robustness, sinr), started)[0]


def _climbed(program: LimitedPower, started: float) -> tuple[RobustDesign, list[tuple[Float, float]]]:
    """The stationary point, and the half-spaces (g, support) met on the way."""
    problem = program.problem
    amplitudes = np.linalg.norm(problem.steering, axis=1) / np.sqrt(problem.nodes)
    value, best, cuts = -np.inf, None, []
    for _ in range(ROUNDS):
        weights = divergence_gradient(problem, amplitudes)
        weights = weights / np.linalg.norm(weights)
        found, amplitudes = program.furthest(weights)
        if not found.solved:
            break
        amplitudes = np.maximum(amplitudes, 0.0)
        cuts.append((weights, program.support(weights, found)))
        reached = float(problem.divergence(problem.power * amplitudes**2))
        climb, value, best = reached - value, reached, found
        if climb <= RELATIVE_CLIMB * reached:
            break
    if best is None:
        need, iterations = program.least_power()
        seconds = time.perf_counter() - started
        if need > 1.0:
            return infeasible(need, seconds, iterations=iterations), []
        sentence = f"The solver found no beams and no proof that there are none; they take at least {need:.6f} of the power."
        return RobustDesign(Certificate("failed", sentence, iterations=iterations, seconds=seconds)), []
    beams = program.beams(best)
    certificate = judged(problem, program.robustness, program.sinr, beams, float("inf"), stationary=True)
    certificate = replace(certificate, iterations=program.iterations, seconds=time.perf_counter() - started)
    reached_t = beams.beampowers(problem.steering)
    return RobustDesign(certificate, beams, reached_t, int(np.argmax(reached_t))), cuts


def solve_with_outer_bound(
    problem: RobustProblem, robustness: Robustness, sinr: float, closed: float = CLOSED
) -> tuple[RobustDesign, float]:
    """As :func:`solve_limited_power`, with a bound over half-spaces that enclose all designs, and the bound's seconds.

    Half-spaces are added until the bound is within ``closed`` of the design, relative, or there are enough.

    Returns
    -------
    design
        Its ``dual_bound`` is the largest divergence of any vertex of the outer polytope.
    bound_seconds
        Wall time of the bound, which the design did not need.
    """
    started = time.perf_counter()
    program = LimitedPower(problem, robustness, sinr)
    design, cuts = _climbed(program, started)
    if design.beams is None:
        return design, 0.0
    started = time.perf_counter()
    nodes, value = problem.nodes, design.certificate.value
    for axis in np.eye(nodes):
        cuts.append((axis, program.support(axis, program.furthest(axis)[0])))
    for _ in range(CUTS):
        corner, bound = _furthest_vertex(problem, cuts)
        if bound <= value * (1.0 + closed):
            break
        weights = divergence_gradient(problem, corner)
        weights = weights / np.linalg.norm(weights)
        cuts.append((weights, program.support(weights, program.furthest(weights)[0])))
    corner, bound = _furthest_vertex(problem, cuts)
    seconds = time.perf_counter() - started
    certificate = replace(design.certificate, dual_bound=bound)
    return replace(design, certificate=certificate), seconds


def _furthest_vertex(problem: RobustProblem, cuts: list[tuple[Float, float]]) -> tuple[Float, float]:
    """The vertex of ``{u >= 0, g^T u <= s}`` with the largest divergence, and that divergence."""
    from scipy.spatial import HalfspaceIntersection

    normals = np.array([g for g, _ in cuts])
    supports = np.array([s for _, s in cuts])
    nodes = normals.shape[1]
    if nodes == 1:
        corners = np.array([[float((supports / normals[:, 0]).min())]])
    else:
        # In units of the axes' supports the set is near a unit box, and half of its smallest ray is inside.
        scale = supports[np.argmax(normals == 1.0, axis=0)]
        scaled = normals * scale
        inside = np.full(nodes, 0.5 * float((supports / scaled.sum(axis=1)).min()))
        halves = np.vstack([np.column_stack([scaled, -supports]), np.column_stack([-np.eye(nodes), np.zeros(nodes)])])
        found: Any = HalfspaceIntersection(halves, inside)
        corners = np.maximum(found.intersections, 0.0) * scale
    values = problem.divergence(problem.power * corners**2)
    best = int(np.argmax(values))
    return corners[best], float(values[best])

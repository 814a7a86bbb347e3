"""Robust designs under per-node or per-antenna power limits: minorise-maximise, and a bound from outside.

With ``u_m = Re a_m^T w_s,m`` the divergence ``F(u^2)`` is convex and increasing in u, and the u that robust beams can reach
form a convex set: it is a linear image of second-order cones. Its tangent is a lower bound, so that maximising the tangent
again and again climbs to a stationary point. Half-spaces ``g^T u <= max g^T u``, each from one cone program and its
multipliers, enclose the set; the convex divergence is largest at a vertex of what they enclose, which bounds every design. The
tangent at that vertex gives a new half-space and a new design, from which to climb where it is better. No method is known that
closes the gap between the two for certain.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.cones import GuardedCones
from disac.designs.robust.guards import guard_of, node_wise_basis, sensing_bases
from disac.designs.robust.problem import Beams, Robustness, RobustProblem
from disac.designs.robust.total_power import RobustDesign, infeasible, judged
from disac.optim.certificate import Certificate
from disac.optim.cones import ConeSolution
from disac.optim.polytope import polytope_vertices

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

ROUNDS = 30
CUTS = 12
CLOSED = 1e-3
"""Relative distance between design and bound at which no further half-space is asked for, unless told otherwise."""

CLIMB = 1e-3
"""A climb ends where a step gains less than this share of that distance."""

RETREAT = 1e-7
"""The SINR is asked for by this much more, relative, since the solver leaves rows violated by about a tenth of it. Bounds, and
proofs that there is no design, are those of the SINR itself."""


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
        sinr = self.sinr * (1.0 + RETREAT) if fixed_noise else self.sinr
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
        proof = list(found.multipliers)
        for k in range(self.problem.users):
            # Multipliers (z_0, z) of ``s >= root |y|`` at the SINR asked for are (z_0, c z) at the SINR itself.
            proof[k] = proof[k].copy()
            proof[k][0] = max(proof[k][0], np.sqrt(1.0 + RETREAT) * float(np.linalg.norm(proof[k][1:])))
        return self.cones.program.upper_bound(self._cost(weights), proof, self.cones.box(self._largest))

    @property
    def _largest(self) -> float:
        """What no amplitude at a user exceeds."""
        return float(np.linalg.norm(self.problem.scaled_channels, axis=2).sum(axis=0).max())

    def beams(self, found: ConeSolution) -> Beams:
        """Beams of a solution in physical units, turned down where rounding exceeds a limit."""
        problem, scale = self.problem, np.sqrt(self.problem.power)
        users = (self.cones.users_beams(found.variables) @ self.basis.T).reshape(problem.users, problem.nodes, -1)
        sensing = np.einsum("nms,ns->nm", self.sensing, self.cones.sensing_beams(found.variables))
        return Beams(scale * users, scale * sensing)

    def quietest(self) -> tuple[Float, int]:
        """Multipliers of the largest noise under which the users have their SINR within the limits, and the iterations."""
        cones = self._cones(fixed_noise=False)
        found = cones.program.solve(_noise(cones))
        return np.concatenate(found.multipliers), found.iterations

    def least_power(self, proof: Float) -> float:
        """Least power, of the limits, that multipliers of the largest noise prove, whatever their values.

        Above one no beams give every user the SINR.
        """
        cones = self._cones(fixed_noise=False)
        noise = cones.program.upper_bound(_noise(cones), cones.program.split(proof), cones.box(self._largest))
        return 1.0 / max(noise, 1e-9) ** 2


def _noise(cones: GuardedCones) -> Float:
    cost = np.zeros(cones.variables)
    cost[cones.start["noise"]] = 1.0
    return cost


def divergence_gradient(problem: RobustProblem, amplitudes: Float) -> Float:
    """Gradient of the divergence in amplitudes u at the target, in units of the power's root: ``2 u_m dF/dt_m``."""
    return 2.0 * problem.power * amplitudes * problem.echoes.gradient(problem.power * amplitudes**2)


class _Search:
    """The best design found so far, and the half-spaces (g, support) that enclose all designs."""

    def __init__(self, program: LimitedPower, closed: float) -> None:
        self.program, self.problem, self.step = program, program.problem, CLIMB * closed
        self.value = -np.inf
        self.best: ConeSolution | None = None
        self.cuts: list[tuple[Float, float]] = []

    def ask(self, weights: Float) -> Float | None:
        """One half-space, and its design's amplitudes [N], kept where they are the best; None where none was found."""
        found, amplitudes = self.program.furthest(weights)
        self.cuts.append((weights, self.program.support(weights, found)))
        if not found.solved:
            return None
        amplitudes = np.maximum(amplitudes, 0.0)
        reached = float(self.problem.divergence(self.problem.power * amplitudes**2))
        if reached > self.value:
            self.value, self.best = reached, found
        return amplitudes

    def tangent(self, amplitudes: Float) -> Float:
        """Direction of steepest ascent at amplitudes, of unit length."""
        weights = divergence_gradient(self.problem, amplitudes)
        return weights / np.linalg.norm(weights)

    def climb(self, amplitudes: Float) -> None:
        """Maximise the tangent again and again until the best design gets no better."""
        for _ in range(ROUNDS):
            before = self.value
            following = self.ask(self.tangent(amplitudes))
            if following is None or self.value - before <= self.step * self.value:
                break
            amplitudes = following

    def climb_if_better(self, weights: Float) -> None:
        """One half-space, and a climb from its design where that is better than the best before."""
        before = self.value
        amplitudes = self.ask(weights)
        if amplitudes is not None and self.value > before * (1.0 + self.step):
            self.climb(amplitudes)

    def design(self, started: float) -> RobustDesign:
        """The best design as it is delivered, or the proof that there is none."""
        program, problem = self.program, self.problem
        if self.best is not None:
            beams = program.beams(self.best)
            certificate = judged(problem, program.robustness, program.sinr, beams, float("inf"), stationary=True)
            certificate = replace(certificate, iterations=program.iterations, seconds=time.perf_counter() - started)
            reached = beams.beampowers(problem.steering)
            return RobustDesign(certificate, beams, reached, int(np.argmax(reached)))
        proof, iterations = program.quietest()
        need, seconds = program.least_power(proof), time.perf_counter() - started
        if need > 1.0:
            return infeasible(need, seconds, proof=proof, iterations=iterations)
        sentence = f"The solver found no beams and no proof that there are none; they take at least {need:.6f} of the power."
        return RobustDesign(Certificate("failed", sentence, iterations=iterations, seconds=seconds))


def _from_equal_powers(problem: RobustProblem, robustness: Robustness, sinr: float, closed: float = CLOSED) -> _Search:
    search = _Search(LimitedPower(problem, robustness, sinr), closed)
    search.climb(np.linalg.norm(problem.steering, axis=1) / np.sqrt(problem.nodes))
    return search


def solve_limited_power(problem: RobustProblem, robustness: Robustness, sinr: float) -> RobustDesign:
    """Design for an SINR target (linear) under per-node or per-antenna power: a stationary point, without its bound.

    Returns
    -------
    RobustDesign
        ``ok`` with ``dual_bound`` infinite, which :func:`solve_with_outer_bound` finds; or ``infeasible``, proven.
    """
    started = time.perf_counter()
    return _from_equal_powers(problem, robustness, sinr).design(started)


def solve_with_outer_bound(
    problem: RobustProblem, robustness: Robustness, sinr: float, closed: float = CLOSED
) -> tuple[RobustDesign, float]:
    """As :func:`solve_limited_power`, with a bound over half-spaces that enclose all designs, and the search's seconds.

    Half-spaces are added until the bound is within ``closed`` of the best design, relative, or there are enough. A design met
    on the way that is better than the one before takes its place.

    Returns
    -------
    design
        Its ``dual_bound`` is the largest divergence of any vertex of the outer polytope.
    bound_seconds
        Wall time from the first stationary point on.
    """
    started = time.perf_counter()
    search = _from_equal_powers(problem, robustness, sinr, closed)
    first = time.perf_counter()
    if search.best is None:
        return search.design(started), 0.0
    for axis in np.eye(problem.nodes):
        search.climb_if_better(axis)
    corner, bound = _furthest_vertex(problem, search.cuts)
    for _ in range(CUTS):
        if bound <= search.value * (1.0 + closed):
            break
        search.climb_if_better(search.tangent(corner))
        corner, bound = _furthest_vertex(problem, search.cuts)
    seconds = time.perf_counter() - first
    design = search.design(started)
    certificate = replace(design.certificate, dual_bound=bound, seconds=design.certificate.seconds - seconds)
    return replace(design, certificate=certificate), seconds


def _furthest_vertex(problem: RobustProblem, cuts: list[tuple[Float, float]]) -> tuple[Float, float]:
    """The vertex of ``{u >= 0, g^T u <= s}`` with the largest divergence, and that divergence."""
    corners = polytope_vertices(np.array([g for g, _ in cuts]), np.array([support for _, support in cuts]))
    values = problem.divergence(problem.power * corners**2)
    best = int(np.argmax(values))
    return corners[best], float(values[best])

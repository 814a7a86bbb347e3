"""Robust designs under per-node or per-antenna power limits: minorise-maximise, and a bound from outside.

With ``u_m = Re a_m^T w_s,m`` the divergence ``F(u^2)`` is convex and increasing in u, and the u that robust beams can reach
form a convex set: it is a linear image of second-order cones. Its tangent is a lower bound, so that maximising the tangent
again and again climbs to a stationary point.

With a price for each node's or antenna's power, and power counted by them, the duality of ``total_power`` holds as it stands:
every cone program's multipliers prove a simplex ``sum_k q_k + sum_n t_n / tau_n <= 1`` around the powers t that can be
reached. What one node's own limits let it put on the target is such a simplex, too, without a program. The convex divergence
is largest at a vertex of what the simplices have in common, which bounds every design. The tangent at that vertex gives a new
simplex and a new design, from which to climb where it is better. No method is known that closes the gap between the two for
certain.

Under per-antenna power a program's prices also prove simplices with the power of one node made cheaper. They need no program of
their own, and cut off the vertices at which single nodes send nothing to the target.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.cones import GuardedCones
from disac.designs.robust.guards import Margins, guard_of, guarded_sinr, node_wise_basis, sensing_bases
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.proofs import Multipliers, common_vertex, proven_together
from disac.designs.robust.total_power import RobustDesign, infeasible, judged, unheard, unheard_dual
from disac.optim.certificate import GAP_LIMIT, Certificate
from disac.optim.cones import ConeSolution

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

ROUNDS = 30
CUTS = 60
CLOSED = 0.999 * GAP_LIMIT
"""Relative distance between design and bound at which no further simplex is asked for, unless told otherwise: a little inside
the limit, for what rounding takes of the design."""

CLIMB = 1e-3
"""A climb ends if a step gains less than this share of ``CLOSED``."""


@dataclass(frozen=True)
class Care:
    """Settings of the cone programs.

    Attributes
    ----------
    retreat
        The SINR is asked for by this much more, relative, since the solver leaves rows violated by about a tenth of it.
        Bounds, and proofs that there is no design, are those of the SINR itself.
    least_price
        Least price of a power limit, of the largest one: power that costs nothing would have no inverse, and any price proves.
    own_units
        Whether each user's rows are written in units of its channel in place of the noise.
    """

    retreat: float
    least_price: float
    own_units: bool


USUAL = Care(retreat=1e-7, least_price=1e-5, own_units=False)

SHARPER = (Care(retreat=1e-8, least_price=1e-7, own_units=True), Care(retreat=1e-9, least_price=1e-9, own_units=True))
"""To be tried in order where the usual programs leave a gap: near the largest SINR, which magnifies retreat and prices, and at
high power to noise."""

LEAST_PRICE = min(care.least_price for care in SHARPER)
"""Least price of stored evidence."""

LEAST_BOX_PRICE = 1e-6
"""Price of the other nodes' power in a simplex of one node's limits: far below the allowed gap."""

SHORT = 1e-9
"""A design of the sharper programs counts where no user's SINR falls short by more, relative: near the largest SINR a little
less of it buys much divergence."""

OUTSIDE = 1e-6
"""A simplex cuts off a vertex where it claims more than the power for it, by more than this share."""

CHEAPER = 0.5
"""Factor of one node's prices in evidence for which no program is solved."""


class LimitedPower:
    """One problem and SINR target (linear): its cone program is set up once and solved for each direction of u."""

    def __init__(self, problem: RobustProblem, margins: Margins, sinr: float, care: Care = USUAL) -> None:
        nodes, antennas = problem.nodes, problem.antennas
        self.problem, self.margins, self.sinr, self.care = problem, margins, sinr, care
        if problem.limit.joins_antennas:
            self.basis, self.sensing = node_wise_basis(problem), sensing_bases(problem)
        else:
            self.basis = np.eye(nodes * antennas, dtype=np.complex128)
            self.sensing = np.broadcast_to(np.eye(antennas, dtype=np.complex128), (nodes, antennas, antennas))
        self.target = np.einsum("nm,nms->ns", problem.steering, self.sensing)
        self.cones = self._cones(fixed_noise=True)
        self.iterations = 0

    def _cones(self, *, fixed_noise: bool) -> GuardedCones:
        problem = self.problem
        guard = guard_of(problem, self.margins, self.basis)
        sinr = self.sinr * (1.0 + self.care.retreat) if fixed_noise else self.sinr
        units = np.maximum(np.linalg.norm(guard.heard, axis=1), 1.0) if self.care.own_units else None
        cones = GuardedCones(guard, sinr, self.sensing, problem.scaled_channels, fixed_noise=fixed_noise, units=units)
        rows = self.basis.reshape(problem.nodes, problem.antennas, -1)
        for n in range(problem.nodes):
            held = np.flatnonzero(np.abs(rows[n]).max(axis=0) > 0)
            own = [cones.beam(k)[np.concatenate([held, cones.size + held])] for k in range(problem.users)]
            columns = np.concatenate([*own, cones.sensing_beam(n)])
            own_budgets = [columns] if problem.limit.joins_antennas else columns.reshape(-1, problem.antennas).T
            for budget in own_budgets:
                cones.limit(budget, 1.0 / problem.limit.budgets(problem.nodes, problem.antennas))
        return cones

    def cost(self, weights: Float) -> Float:
        """``sum_m g_m Re(a_m^T w_m)`` over the variables."""
        cost = np.zeros(self.cones.variables)
        for n, weight in enumerate(weights):
            cost[self.cones.sensing_beam(n)] = weight * np.concatenate([self.target[n].real, -self.target[n].imag])
        return cost

    def furthest(self, weights: Float) -> tuple[ConeSolution, Float]:
        """Beams that reach furthest along weights g, and their amplitudes u [N] at the target."""
        found = self.cones.program.solve(self.cost(weights))
        self.iterations += found.iterations
        return found, self.amplitudes(found.variables)

    def amplitudes(self, variables: Float) -> Float:
        """Amplitudes u [N] at the target of a solution's variables."""
        return np.real(np.sum(self.target * self.cones.sensing_beams(variables), axis=1))

    def evidence(self, cones: GuardedCones, found: ConeSolution) -> Float:
        """Proof of a simplex: q [K], prices of the limits (of mean one), and the multipliers that name errors."""
        noise = max(float(found.variables[cones.start["noise"]]), 1e-9)
        q = cones.root * np.maximum(cones.noise_multipliers(found.multipliers), 0.0) / noise
        spent = [float(np.linalg.norm(found.variables[columns])) for _, columns in cones.limits]
        prices = [
            max(float(found.multipliers[block][0]), 0.0) / max(norm, 1e-12)
            for (block, _), norm in zip(cones.limits, spent, strict=True)
        ]
        floored = _floored(np.array(prices), self.care.least_price)
        unit = float(floored.mean())
        return np.concatenate([q / unit, floored / unit, np.concatenate(found.multipliers)[: cones.error_rows]])

    def boxes(self) -> list[Float]:
        """Evidence, for each node, of the power at the target that its own limits allow, without regard to the users.

        A simplex whose prices are those of one node's limits. Without these the search would ask for such simplices one by one.
        """
        limits = len(self.cones.limits)
        prices = np.full((self.problem.nodes, limits), LEAST_BOX_PRICE)
        each = limits // self.problem.nodes
        for n in range(self.problem.nodes):
            prices[n, n * each : (n + 1) * each] = 1.0
        users, errors = np.zeros(self.problem.users), np.zeros(self.cones.error_rows)
        return [np.concatenate([users, own, errors]) for own in prices]

    @property
    def evidence_size(self) -> int:
        """Number of numbers in the evidence of one simplex."""
        return self.problem.users + len(self.cones.limits) + self.cones.error_rows

    def simplex(self, evidence: Float) -> tuple[float, Float]:
        """``sum_k q_k`` and tau [N] with ``sum_k q_k + sum_n t_n / tau_n <= 1``, t over the power, whatever the evidence.

        With prices of which the limits together cost one, power counted by them is at most one: the inequality of
        ``total_power`` in coordinates whose length is that power's.
        """
        multipliers, prices = self._priced(evidence)
        q = multipliers.proven(self.sinr)
        if q.sum() <= 1.0:
            closer = multipliers.refined(self.sinr).proven(self.sinr)
            q = closer if closer.sum() > q.sum() else q
        errors = self.cones.leak_vectors(self._split(evidence), self.problem.scaled_channels)
        matrices = np.einsum("nka,nkb,k->nab", errors, errors.conj(), q)
        matrices[:, np.arange(self.problem.antennas), np.arange(self.problem.antennas)] += prices
        target = self.problem.steering.conj()
        beams = np.linalg.solve(matrices, target[..., np.newaxis])[..., 0]
        reach = np.real(np.einsum("nm,nm->n", target.conj(), beams))
        return float(q.sum()), np.where(reach > 0, reach, np.inf)

    def _split(self, evidence: Float) -> list[Float]:
        return self.cones.program.split(evidence[self.problem.users + len(self.cones.limits) :])

    def _priced(self, evidence: Float) -> tuple[Multipliers, Float]:
        """Multipliers in coordinates whose length is the priced power's, and the prices [N, M] of the antennas' powers."""
        problem, limits = self.problem, len(self.cones.limits)
        q, prices = evidence[: problem.users], evidence[problem.users : problem.users + limits]
        prices = _floored(prices, LEAST_PRICE)
        # All limits are alike and add up to one.
        each = np.repeat(prices / prices.mean(), problem.nodes * problem.antennas // limits).reshape(
            problem.nodes, problem.antennas
        )
        _, wanted, heard = self.cones.error_vectors(self._split(evidence))
        length = np.sqrt(np.einsum("a,ad->d", each.reshape(-1), np.abs(self.basis) ** 2))
        wanted, heard = wanted / length, heard / length
        if not problem.limit.joins_antennas:
            wanted, heard = _in_their_span(wanted, heard)
        return Multipliers(q, wanted, heard), each

    def cheaper_nodes(self, evidence: Float) -> Float:
        """The same evidence with the prices of one node's limits lowered, for each node, [nodes, numbers]."""
        nodes, limits = self.problem.nodes, len(self.cones.limits)
        changed = np.repeat(evidence[np.newaxis], nodes, axis=0)
        own = limits // nodes
        for n in range(nodes):
            first = self.problem.users + n * own
            changed[n, first : first + own] *= CHEAPER
        return changed

    def beams(self, variables: Float) -> Beams:
        """Beams of a solution's variables in physical units, with less power where rounding exceeds a limit."""
        problem, scale = self.problem, np.sqrt(self.problem.power)
        users = (self.cones.users_beams(variables) @ self.basis.T).reshape(problem.users, problem.nodes, -1)
        sensing = np.einsum("nms,ns->nm", self.sensing, self.cones.sensing_beams(variables))
        return Beams(scale * users, scale * sensing)

    def with_free_noise(self) -> GuardedCones:
        """The rows with the noise amplitude as a variable."""
        return self._cones(fixed_noise=False)

    def refusal(self) -> tuple[Float, int]:
        """Evidence from the largest noise under which the users have their SINR within the limits, and the iterations.

        Where its simplex says that they need more than the power, there is no design.
        """
        cones = self.with_free_noise()
        cost = np.zeros(cones.variables)
        cost[cones.start["noise"]] = 1.0
        found = cones.program.solve(cost)
        evidence = self.evidence(cones, found)
        multipliers, _ = self._priced(evidence)
        raised = multipliers.raised(self.sinr)
        if raised.q.sum() > 1.0:
            evidence[: self.problem.users] = raised.q
        return evidence, found.iterations


def _in_their_span(wanted: Complex, heard: Complex) -> tuple[Complex, Complex]:
    """The same vectors [K, d] and [K, K, d] in coordinates of their span: what they prove rests on their products alone."""
    users, size = wanted.shape
    vectors = np.concatenate([wanted, heard.reshape(-1, size)])
    if not (len(vectors) < size and np.isfinite(vectors).all()):
        return wanted, heard
    _, within = np.linalg.qr(vectors.T)
    return within.T[:users], within.T[users:].reshape(users, users, -1)


def _floored(prices: Float, least: float) -> Float:
    """Prices above a floor; equal prices if none is known."""
    known = np.nan_to_num(prices, nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(np.abs(known).max())
    return np.maximum(known, least * largest) if 1e-200 < largest < 1e200 else np.ones_like(known)


def proven_by_limits(
    problem: RobustProblem, margins: Margins, sinr: float, proof: Float
) -> tuple[float, float]:  # fmt: skip
    """Bound that the evidence of several simplices, one after another, proves together. It holds for any numbers.

    Returns
    -------
    least_power
        Share of the limits that the users take at least; above one they cannot be served.
    bound
        Divergence, in nats, that no design exceeds.
    """
    program = LimitedPower(problem, margins, sinr)
    return proven_together(problem, [program.simplex(each) for each in proof.reshape(-1, program.evidence_size)])


def divergence_gradient(problem: RobustProblem, amplitudes: Float) -> Float:
    """Gradient of the divergence in amplitudes u at the target, in units of the power's root: ``2 u_m dF/dt_m``."""
    return 2.0 * problem.power * amplitudes * problem.echoes.gradient(problem.power * amplitudes**2)


class _Search:
    """The best design found so far, and the simplices that enclose all designs, each with its evidence."""

    def __init__(self, program: LimitedPower, closed: float) -> None:
        self.program, self.problem, self.step = program, program.problem, CLIMB * closed
        self.value = -np.inf
        self.best: ConeSolution | None = None
        self.solutions: list[ConeSolution] = []
        """Programs whose simplices are made later, so that the first stationary point does not wait for them."""
        self.evidence: list[Float] = []
        self.simplices: list[tuple[float, Float]] = []
        self.offered: list[tuple[Float, tuple[float, Float]]] = []
        """Evidence that no program was solved for, with its simplex; it is taken where it cuts off the best vertex."""

    def ask(self, weights: Float) -> Float | None:
        """Solve one program and return its design's amplitudes [N], or None without a design. The best design is kept."""
        found, amplitudes = self.program.furthest(weights)
        if not found.solved:
            return None
        self.solutions.append(found)
        amplitudes = np.maximum(amplitudes, 0.0)
        reached = float(self.problem.divergence(self.problem.power * amplitudes**2))
        if reached > self.value and self._serves(found):
            self.value, self.best = reached, found
        return amplitudes

    def _serves(self, found: ConeSolution) -> bool:
        """Whether a design of the sharper programs gives every user the SINR. The usual programs ask for a little more."""
        program = self.program
        if program.care is USUAL:
            return True
        reached = guarded_sinr(self.problem, program.margins, program.beams(found.variables))
        return float(reached.min()) >= program.sinr * (1.0 - SHORT)

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
        """Solve one program, and climb from its design if that is better than the best so far."""
        before = self.value
        amplitudes = self.ask(weights)
        if amplitudes is not None and self.value > before * (1.0 + self.step):
            self.climb(amplitudes)

    def sharpen(self, care: Care) -> None:
        """Use more careful programs from here on, for a design and simplices beside those found so far."""
        program = self.program
        self.program = LimitedPower(self.problem, program.margins, program.sinr, care)
        self.program.iterations = program.iterations

    def from_equal_powers(self) -> None:
        """Climb from equal powers of the nodes."""
        self.climb(np.linalg.norm(self.problem.steering, axis=1) / np.sqrt(self.problem.nodes))

    def close(self, closed: float) -> float:
        """Add simplices and designs until the bound is close or no program is left, and return the bound."""
        corner, bound = self.enclose()
        for _ in range(CUTS):
            if bound <= self.value * (1.0 + closed):
                break
            before = bound, self.value
            self.climb_if_better(self.tangent(np.sqrt(corner)))
            corner, bound = self.enclose()
            if (bound, self.value) == before:
                # The same vertex would give the same program and the same answer.
                break
        return bound

    def enclose(self) -> tuple[Float, float]:
        """The best vertex t [N] of what all simplices so far have in common, and the bound that it is."""
        evidence = [self.program.evidence(self.program.cones, found) for found in self.solutions]
        if self.solutions and not self.problem.limit.joins_antennas:
            self.offered += [(each, self.program.simplex(each)) for each in self.program.cheaper_nodes(evidence[-1])]
        if not self.evidence:
            evidence += self.program.boxes()
        self.evidence += evidence
        self.simplices += [self.program.simplex(each) for each in evidence]
        self.solutions = []
        corner, bound = common_vertex(self.problem, self.simplices)
        while self._cuts_off(corner):
            corner, bound = common_vertex(self.problem, self.simplices)
        return corner, bound

    def _cuts_off(self, corner: Float) -> bool:
        """Take the offered simplex that cuts deepest at a vertex t [N]; whether there is one."""
        if not self.offered or not np.isfinite(corner).all():
            return False
        claimed = [share + float(np.sum(corner / reach)) for _, (share, reach) in self.offered]
        deepest = int(np.argmax(claimed))
        if claimed[deepest] <= 1.0 + OUTSIDE:
            return False
        evidence, simplex = self.offered.pop(deepest)
        self.evidence.append(evidence)
        self.simplices.append(simplex)
        return True

    def design(self, started: float) -> RobustDesign:
        """The best design as it is delivered, or the proof that there is none."""
        program, problem = self.program, self.problem
        if self.best is not None:
            beams = program.beams(self.best.variables)
            certificate = judged(problem, program.margins, program.sinr, beams, float("inf"), stationary=True)
            certificate = replace(certificate, iterations=program.iterations, seconds=time.perf_counter() - started)
            reached = beams.beampowers(problem.steering)
            return RobustDesign(certificate, beams, reached, int(np.argmax(reached)))
        proof, iterations = program.refusal()
        need, _ = program.simplex(proof)
        seconds = time.perf_counter() - started
        if need > 1.0:
            return infeasible(need, seconds, proof=proof, iterations=iterations)
        sentence = f"The solver found no beams and no proof that there are none. Beams need at least {need:.6f} of the power."
        return RobustDesign(Certificate("failed", sentence, iterations=iterations, seconds=seconds))


def _from_equal_powers(problem: RobustProblem, margins: Margins, sinr: float, closed: float = CLOSED) -> _Search:
    search = _Search(LimitedPower(problem, margins, sinr), closed)
    search.from_equal_powers()
    return search


def _unheard(problem: RobustProblem, margins: Margins, sinr: float, started: float) -> RobustDesign:
    """The verdict on a problem with a user whom no beam reaches."""
    program = LimitedPower(problem, margins, sinr)
    prices, errors = np.ones(len(program.cones.limits)), np.zeros(program.cones.error_rows)
    proof = np.concatenate([unheard_dual(problem), prices, errors])
    return unheard(problem, time.perf_counter() - started, proof=proof)


def solve_limited_power(problem: RobustProblem, margins: Margins, sinr: float) -> RobustDesign:
    """Design for an SINR target (linear) under per-node or per-antenna power: a stationary point, without its bound.

    Returns
    -------
    RobustDesign
        ``ok`` with ``dual_bound`` infinite, which :func:`solve_with_outer_bound` finds; or ``infeasible``, proven.
    """
    started = time.perf_counter()
    if problem.unheard_user is not None:
        return _unheard(problem, margins, sinr, started)
    return _from_equal_powers(problem, margins, sinr).design(started)


def solve_with_outer_bound(
    problem: RobustProblem, margins: Margins, sinr: float, closed: float = CLOSED
) -> tuple[RobustDesign, float]:
    """Solve as :func:`solve_limited_power`, with a bound from simplices that enclose all designs, and the search's seconds.

    Simplices are added until the bound is within ``closed`` of the best design, relative, or their number is at its limit. A
    better design that is found on the way replaces the earlier one.

    Returns
    -------
    design
        Its ``dual_bound`` is the largest divergence of any vertex of what the simplices have in common; ``inaccurate`` where
        the gap exceeds :data:`disac.optim.certificate.GAP_LIMIT`.
    bound_seconds
        Wall time from the first stationary point on.
    """
    started = time.perf_counter()
    if problem.unheard_user is not None:
        return _unheard(problem, margins, sinr, started), 0.0
    search = _from_equal_powers(problem, margins, sinr, closed)
    first = time.perf_counter()
    if search.best is None:
        refused = search.design(started)
        if refused.certificate.status == "infeasible":
            return refused, 0.0
        for care in SHARPER:
            search.sharpen(care)
            search.from_equal_powers()
        if search.best is None:
            return refused, 0.0
    bound = search.close(closed)
    for care in SHARPER:
        if bound > search.value * (1.0 + closed):
            search.sharpen(care)
            bound = search.close(closed)
    seconds = time.perf_counter() - first
    design = search.design(started)
    certificate = replace(design.certificate, dual_bound=bound, seconds=design.certificate.seconds - seconds).judged()
    proof = np.concatenate(search.evidence)
    return replace(
        design, certificate=certificate, least_power=max(share for share, _ in search.simplices), proof=proof,
        simplices=search.simplices,
    ), seconds  # fmt: skip

"""The exact choice for phases: beams with the SINR for every ``|phi_n| <= delta`` of each node, without margins.

Covariances with the SINR at finitely many phases, and the bound that their multipliers prove, come from ``phase_cuts``. The
phases are those at which the covariances so far have the least SINR (``worst_phases``). A linear program then splits the
power over the principal beams of the covariances, with rows at the same phases, and with more rows until all phases are
proven. Where the best covariances have rank one, beams and bound agree. Where they have more, beams climb from there: with
the useful amplitudes at named phases replaced by ``Re(e^{-j theta} h_k(phi)^H w_k)``, theta being their angle so far, the
rows are second-order cones within the set (successive convex approximation), and each step is no worse.

The objective is convex in the powers t at the target. Each set of multipliers proves a simplex around the t of all designs,
and the divergence at the best vertex of what they have in common is the bound; its gradient there asks for the next design."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.guards import arc_guarded
from disac.designs.robust.phase_climb import climbed
from disac.designs.robust.phase_cuts import SHARPER, BarrierProgram, Coordinates, Cuts
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.proofs import common_vertex, proven_together
from disac.designs.robust.total_power import RobustDesign, power_share, unheard
from disac.metrics.worst_phases import least_forms, proven_noise_under_phases, user_forms
from disac.optim.certificate import GAP_LIMIT, Certificate

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

ROUNDS = 60
CLOSED = 1e-4
"""Relative distance between design and bound at which no further design is asked for."""

CENTRES = 80
SHARPEST = 1e13
"""Largest weight of the barrier: beyond it rounding decides."""

EXACT = 2e-6
"""Relative distance from the optimum for the cuts so far at which a program ends."""

CLIMBS = 30
MORE_CUTS = 8
DRAWS = 4
GAIN = 1e-5
"""Relative gain of the divergence below which a climb ends."""

SPLITS = 20
ASSURED = 3e-7
"""Relative noise power that beams stand beyond the users' own noise, as room for the linear program's violations."""

DIM = 1e-6
"""Share of the power below which a sensing beam counts as a residue of the barrier."""


def phase_forms_least(problem: RobustProblem, frame: Coordinates, users: Complex, sinr: float) -> tuple[Float, Float]:
    """Least useful power less interference of users' covariances W_k [K, d, d] over all phases, [K], and where, [K, N]."""
    found = least_forms(frame.forms(users, sinr), arc_guarded(problem), 1e-7)
    return found.value, found.phases


def nearly_known(cuts: Cuts, user: int, phases: Float) -> bool:
    """Whether a user has a cut next to these phases, up to a common one."""
    own = cuts.phases[cuts.user == user]
    apart = (own - own[:, :1]) - (phases - phases[0])
    return bool((np.abs(apart).max(axis=1, initial=0.0) < 1e-5).any()) if len(own) else False


class _Search:
    """The best beams so far, the cuts, and the simplices with their multipliers."""

    def __init__(self, problem: RobustProblem, sinr: float) -> None:
        self.problem, self.sinr, self.frame = problem, sinr, Coordinates(problem)
        users, nodes = problem.users, problem.nodes
        self.cuts = Cuts(np.arange(users), np.zeros((users, nodes)))
        self.best: Beams | None = None
        self.value, self.steps = -np.inf, 0
        self.covariances: tuple[Complex, Complex] | None = None
        self.lifted = 0.0
        """Largest divergence of the covariances found so far, of any rank. No bound can be lower."""
        # Without users the power alone limits the power at the target.
        self.evidence = [(np.ones(len(self.frame.limits)), self.cuts, np.zeros(users))]

    def simplices(self) -> list[tuple[float, Float]]:
        return [self.frame.simplex(self.sinr, *each) for each in self.evidence]

    def ask(self, weights: Float) -> None:
        """The best covariances for weights c, with cuts until they stand all phases; keeps bound and beams."""
        program = BarrierProgram(self.frame, self.sinr, weights, self.cuts)
        covariances, settled = None, False
        for _ in range(CENTRES):
            program.centre()
            if program.value < 0.0:
                break
            if program.gap < 0.3 * program.value:
                covariances = program.covariances()
                least, phases = phase_forms_least(self.problem, self.frame, covariances[0], self.sinr)
                spare = least - self.frame.leaked(covariances[1]) - 1.0
                short = [
                    k for k in np.flatnonzero(spare < -max(1e-5, 0.1 * program.gap / program.value))
                    if not nearly_known(program.cuts, int(k), phases[k])
                ]  # fmt: skip
                if short:
                    program.add(Cuts(np.array(short), phases[short]))
                    program.weight /= SHARPER**2
                    continue
                settled = program.gap <= EXACT * program.value
                if settled or program.weight >= SHARPEST:
                    break
            program.weight *= SHARPER
        self.steps += program.steps
        self.cuts = program.cuts
        q = program.multipliers()
        kept = q > 1e-9 * q.max()
        self.evidence.append((program.prices, Cuts(self.cuts.user[kept], self.cuts.phases[kept]), q[kept]))
        if covariances is not None and program.value > 0.0:
            t = np.real(np.einsum("ns,nst,nt->n", self.frame.target.conj(), covariances[1], self.frame.target))
            lifted = float(self.problem.divergence(self.problem.power * np.maximum(t, 0.0)))
            # Covariances of a point that is no centre exceed the power, and so the program's own bound.
            if settled and program.weights @ t <= program.value and lifted > self.lifted:
                self.lifted, self.covariances = lifted, covariances
            self.keep(self.split(_principal(covariances[0]), *_sensing(covariances[1]), weights))

    def climb(self, beams: Beams | None) -> None:
        """Solve cone programs from given beams, one after another, until a step gains almost nothing."""
        frame, problem, value = self.frame, self.problem, 0.0
        for _ in range(CLIMBS):
            if beams is None:
                return
            self.keep(beams)
            t = beams.beampowers(problem.steering)
            reached = float(problem.divergence(t))
            if reached <= value * (1.0 + GAIN):
                return
            value, scale = reached, 1.0 / np.sqrt(problem.power)
            users = scale * beams.users.reshape(problem.users, -1) @ frame.basis.conj()
            sensing = scale * np.einsum("nms,nm->ns", frame.sensing.conj(), beams.sensing)
            slope = problem.echoes.gradient(t)
            found = climbed(frame, self.sinr, self.cuts, users, sensing, np.sqrt(t) * slope)
            if found is None:
                return
            for _ in range(MORE_CUTS):
                worst = least_forms(self._forms(found[0]), arc_guarded(problem), 1e-7)
                leaked = np.abs(np.einsum("nks,ns->kn", frame.leaks.conj(), found[1])) ** 2
                short = np.flatnonzero(worst.value - leaked.sum(axis=1) < 1.0 - 1e-5)
                if not len(short):
                    break
                self.cuts = self.cuts.joined(Cuts(short, worst.phases[short]))
                following = climbed(frame, self.sinr, self.cuts, users, sensing, np.sqrt(t) * slope)
                if following is None:
                    break
                found = following
            lit = np.sum(np.abs(found[1]) ** 2, axis=1)
            beams = self.split(_unit(found[0]), _unit(found[1]), lit > DIM * lit.max(), slope)

    def _forms(self, users: Complex) -> Complex:
        return user_forms(np.einsum("nkd,jd->nkj", self.frame.heard.conj(), users), self.sinr)

    def draw(self, seed: int) -> Beams | None:
        """Beams drawn at random from the best covariances, with powers that serve."""
        if self.covariances is None:
            return None
        users, sensing = self.covariances
        random = np.random.default_rng(seed)
        normal = random.standard_normal((2, *users.shape[:2]))
        values, vectors = np.linalg.eigh(users)
        roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, np.newaxis]
        t = np.real(np.einsum("ns,nst,nt->n", self.frame.target.conj(), sensing, self.frame.target))
        weights = self.problem.echoes.gradient(self.problem.power * np.maximum(t, 0.0))
        return self.split(_unit(np.einsum("kde,ke->kd", roots, normal[0] + 1j * normal[1])), *_sensing(sensing), weights)

    def keep(self, beams: Beams | None) -> None:
        """Keep beams that are better than the best so far."""
        if beams is None:
            return
        reached = float(self.problem.divergence(beams.beampowers(self.problem.steering)))
        if reached > self.value:
            self.best, self.value = beams, reached

    def split(self, users: Complex, sensing: Complex, lit: NDArray[np.bool_], weights: Float) -> Beams | None:
        """Unit beams [K, d] and [N, s] (where ``lit``) with the powers that reach furthest along c and stand all phases.

        A linear program in the powers; phases at which some user then falls short become rows of the next. None where there
        are no such powers.
        """
        from scipy.optimize import linprog

        frame, problem, count = self.frame, self.problem, len(users)
        cuts = self.cuts
        sent = sensing * lit[:, np.newaxis]
        leaks = np.abs(np.einsum("nks,ns->kn", frame.leaks.conj(), sent)) ** 2
        unit = np.max(np.abs(np.einsum("nkd,kd->nk", frame.heard.conj(), users)).sum(axis=0) ** 2) / self.sinr
        spent = np.concatenate(
            [frame.priced @ (np.abs(users) ** 2).T, np.einsum("lns,ns->ln", frame.sensing_priced, np.abs(sent) ** 2)], axis=1
        )
        gain = weights * np.abs(np.einsum("ns,ns->n", frame.target.conj(), sent)) ** 2
        cost = np.concatenate([np.zeros(count), -gain / gain.max() if gain.max() > 0 else gain])
        parts = np.einsum("nkd,jd->nkj", frame.heard.conj(), users)
        for _ in range(SPLITS):
            heard = np.abs(np.einsum("in,nij->ij", np.exp(-1j * cuts.phases), parts[:, cuts.user])) ** 2
            own = cuts.user[:, np.newaxis] == np.arange(count)
            rows = np.concatenate([np.where(own, -heard / self.sinr, heard), leaks[cuts.user]], axis=1) / unit
            found = linprog(
                cost, A_ub=np.concatenate([rows, spent / frame.limits[:, np.newaxis] / unit]),
                b_ub=np.concatenate([np.full(len(rows), -1.0 - ASSURED), np.ones(len(spent))]), method="highs-ds",
            )  # fmt: skip
            if found.x is None:
                return None
            powers = np.maximum(found.x, 0.0) / unit
            amplitudes = np.sqrt(powers)
            forms = user_forms(parts * amplitudes[:count], self.sinr)
            worst = least_forms(forms, arc_guarded(problem))
            short = np.flatnonzero(worst.proven - leaks @ powers[count:] < 1.0)
            if not len(short):
                break
            cuts = cuts.joined(Cuts(short, worst.phases[short]))
        scale = np.sqrt(problem.power)
        lifted = (amplitudes[:count, np.newaxis] * users) @ frame.basis.T
        return Beams(
            scale * lifted.reshape(count, problem.nodes, -1),
            scale * np.einsum("nms,ns->nm", frame.sensing, amplitudes[count:, np.newaxis] * sent),
        )


def _principal(covariances: Complex) -> Complex:
    """First eigenvectors, [..., d]."""
    return np.linalg.eigh(covariances)[1][..., -1]


def _unit(beams: Complex) -> Complex:
    return np.asarray(beams / np.maximum(np.linalg.norm(beams, axis=-1, keepdims=True), 1e-300), dtype=np.complex128)


def _sensing(covariances: Complex) -> tuple[Complex, NDArray[np.bool_]]:
    """First eigenvectors of sensing covariances, and which of them carry power."""
    power = np.real(np.trace(covariances, axis1=1, axis2=2))
    return _principal(covariances), power > DIM * max(float(power.max()), 1e-300)


def solve_phase_exact(problem: RobustProblem, sinr: float) -> RobustDesign:
    """The design with the largest divergence found that has the SINR (linear) for every ``|phi_n| <= delta``, and its bound.

    Any power limit. The certificate's ``sinr_violation`` is that of the proof for all phases.

    Returns
    -------
    RobustDesign
        ``ok`` within ``GAP_LIMIT`` of the bound that ``dual_bound`` is, ``inaccurate`` beyond, ``infeasible`` with multipliers
        at named phases that no covariances satisfy, or ``failed`` where neither was found.
    """
    started = time.perf_counter()
    if problem.unheard_user is not None:
        alone = Cuts(np.array([problem.unheard_user]), np.zeros((1, problem.nodes)))
        evidence = [(np.ones(len(Coordinates(problem).limits)), alone, np.ones(1))]
        return unheard(problem, time.perf_counter() - started, proof=flat(evidence))
    search, asked = _Search(problem, sinr), np.zeros((0, problem.nodes))
    for _ in range(ROUNDS):
        simplices = search.simplices()
        corner, bound = common_vertex(problem, simplices)
        if max(share for share, _ in simplices) > 1.0 or bound <= search.lifted * (1.0 + CLOSED):
            break
        # A vertex that was not cut off would ask for the same design again.
        if (np.abs(asked - corner).max(axis=1, initial=0.0) <= 1e-9 * corner.max()).any():
            break
        asked = np.vstack([asked, corner])
        search.ask(problem.echoes.gradient(problem.power * corner))
    if bound > search.value * (1.0 + CLOSED):
        search.climb(search.best)
    for seed in range(DRAWS):
        if bound > search.value * (1.0 + GAP_LIMIT):
            search.climb(search.draw(seed))
    proof = flat(search.evidence)
    need, bound = proven_by_phases(problem, sinr, proof)
    seconds = time.perf_counter() - started
    if search.best is not None:
        certificate = replace(judged_phases(problem, sinr, search.best, bound), iterations=search.steps, seconds=seconds)
        t = search.best.beampowers(problem.steering)
        return RobustDesign(certificate, search.best, t, int(np.argmax(t)), least_power=need, proof=proof)
    if need > 1.0:
        sentence = (
            "Neither beams nor covariances give every user the SINR for all phase errors up to "
            f"{problem.phase_error_rad:g} rad: they need at least {need:.6g} times the power (checked)."
        )
        refused = Certificate(
            "infeasible", sentence, dual_bound=0.0, iterations=search.steps, seconds=seconds, maximised=True
        )  # fmt: skip
        return RobustDesign(refused, least_power=need, proof=proof)
    sentence = f"No beams were found, and no proof that there are none. Beams need at least {need:.6f} of the power."
    failed = Certificate("failed", sentence, iterations=search.steps, seconds=seconds, maximised=True)
    return RobustDesign(failed, least_power=need, proof=proof)


def flat(evidence: list[tuple[Float, Cuts, Float]]) -> Float:
    """Prices, cuts and multipliers of several simplices as they are stored: the number of cuts of each, the same for all, and
    for each simplex its prices, then of every cut user, multiplier and phases."""
    rows = max(len(q) for _, _, q in evidence)
    stored = [np.array([float(rows)])]
    for prices, cuts, q in evidence:
        table = np.zeros((rows, 2 + cuts.phases.shape[1]))
        table[: len(q)] = np.column_stack([cuts.user, q, cuts.phases])
        stored += [prices, table.ravel()]
    return np.concatenate(stored)


def proven_by_phases(problem: RobustProblem, sinr: float, proof: Float) -> tuple[float, float]:
    """Return the statement that a proof (:func:`flat`) proves. It is true for any numbers.

    Returns
    -------
    least_power
        Share of the power that the users take at least; above one they cannot be served.
    bound
        Divergence, in nats, that no design exceeds.
    """
    frame, nodes = Coordinates(problem), problem.nodes
    limits, width = len(frame.limits), 2 + nodes
    rows = int(proof[0]) if proof.size and 0.0 <= proof[0] < proof.size else 0
    if rows == 0 or (proof.size - 1) % (limits + rows * width):
        return 0.0, float("inf")
    simplices = []
    for each in proof[1:].reshape(-1, limits + rows * width):
        table = np.nan_to_num(each[limits:], posinf=0.0, neginf=0.0).reshape(rows, width)
        user = np.clip(table[:, 0], 0, problem.users - 1).astype(np.intp)
        phases = np.clip(table[:, 2:], -arc_guarded(problem), arc_guarded(problem))
        simplices.append(frame.simplex(sinr, each[:limits], Cuts(user, phases), table[:, 1]))
    return proven_together(problem, simplices)


def judged_phases(problem: RobustProblem, sinr: float, beams: Beams, bound: float) -> Certificate:
    """Certificate of beams from themselves; the SINR is that of all phases, its violation that of the noise."""
    proven = proven_noise_under_phases(
        problem.channels, beams.users, beams.sensing, sinr, arc_guarded(problem)
    )  # fmt: skip
    return Certificate(
        "ok", "", float(problem.divergence(beams.beampowers(problem.steering))), bound,
        power_violation=max(0.0, power_share(problem, beams) - 1.0),
        sinr_violation=max(0.0, 1.0 - float(proven.min()) / problem.noise_power), psd_violation=0.0, maximised=True,
    ).judged(GAP_LIMIT)  # fmt: skip

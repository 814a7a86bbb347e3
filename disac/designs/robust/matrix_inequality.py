"""The exact inequality of errors in balls (``balls``): the best beams that satisfy it, and the bound of all such beams.

A design for given weights of the nodes' powers t at the target comes from the worst moments of the errors
(``worst_moments``), in tenths of a second. The reference is the inequality itself, lifted to covariances and given to a conic
solver by CVXPY; it takes seconds to a minute, and is also used where the first method does not reach the gap limit. Each set
of multipliers proves a simplex. The bound is the largest divergence in what the simplices have in common. Its vertex gives the
weights of the next design, until bound and design are close.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.balls import InBalls, flat, judged_inequality, proven_by_inequalities, standing_beams
from disac.designs.robust.guards import sensing_bases
from disac.designs.robust.nominal import nominal_beams
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.proofs import common_vertex
from disac.designs.robust.total_power import RobustDesign, infeasible, unheard
from disac.designs.robust.worst_moments import Proposed, worst_moments
from disac.optim.certificate import GAP_LIMIT, Certificate
from disac.optim.conic import solve

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

TOLERANCES: tuple[dict[str, Any], ...] = (
    {"max_threads": 1, "tol_gap_abs": 1e-8, "tol_gap_rel": 1e-8, "tol_feas": 1e-8},
    {"max_threads": 1, "tol_gap_abs": 1e-6, "tol_gap_rel": 1e-6, "tol_feas": 1e-7, "equilibrate_enable": False},
)
"""To be tried in order: at tight tolerances the solver fails on many drops."""

ROUNDS = 16
CLOSED = 0.999 * GAP_LIMIT
"""Relative distance between design and bound at which no further design is asked for."""


class InequalityProgram(InBalls):
    """The lifted program under total power; ``stacked`` takes one ball over all nodes in place of one for each."""

    def __init__(self, problem: RobustProblem, sinr: float, *, stacked: bool) -> None:
        import cvxpy as cp

        super().__init__(problem, sinr, stacked=stacked)
        self.problem, nodes, size = problem, problem.nodes, self.size
        self.users = [cp.Variable((nodes * size,) * 2, hermitian=True) for _ in range(problem.users)]
        self.sensing = [cp.Variable((size,) * 2, hermitian=True) for _ in range(nodes)]
        self.weights = cp.Parameter(nodes)
        # The power in units in which a user's share over Gamma is of the order of one.
        self.unit = max(sinr, 1.0)
        limits = [x >> 0 for x in [*self.users, *self.sensing]]
        limits.append(cp.real(sum(cp.trace(x) for x in [*self.users, *self.sensing])) <= self.unit)
        self.inequalities = [self.unit * self._inequality(k) >> 0 for k in range(problem.users)]
        constraints = [*limits, *self.inequalities]
        target = [np.outer(a.conj(), a) for a in self.target]
        self.lit = cp.hstack([cp.real(cp.trace(target[n] @ self.sensing[n])) for n in range(nodes)]) / self.unit
        unit_power = float((np.linalg.norm(problem.steering, axis=1) ** 2).max())
        self.program = cp.Problem(cp.Maximize(self.weights @ (self.lit / unit_power)), constraints)

    def _inequality(self, user: int) -> Any:
        """The block of a user, with errors in units of their balls: a multiplier's price is then the multiplier itself."""
        import cvxpy as cp

        nodes, size = self.bases.shape[0], self.size
        silent = np.zeros((size, size))
        leaking = cp.bmat([[self.sensing[n] if m == n else silent for m in range(nodes)] for n in range(nodes)])
        others = sum((x for j, x in enumerate(self.users) if j != user), np.zeros((nodes * size,) * 2))
        form = self.users[user] / self.sinr - leaking - others
        length = float(np.linalg.norm(self.heard[user]))
        h, errors = self.heard[user] / length, np.diag(self.radius[user] / length)
        multiplier = cp.Variable(self.balls, nonneg=True)
        loading = cp.diag(np.repeat(np.eye(self.balls), nodes * size // self.balls, axis=0) @ multiplier)
        column = cp.reshape(errors @ form @ h, (nodes * size, 1), order="C")
        left = cp.real(np.conj(h) @ form @ h) - self.unit / length**2 - cp.sum(multiplier)
        return cp.bmat([[errors @ form @ errors + loading, column], [column.H, cp.reshape(left, (1, 1), order="C")]])

    def multipliers(self) -> Complex | None:
        """Multipliers of the users' inequalities in the last solution, [K, d + 1, d + 1]; None where there are none."""
        found = [row.dual_value for row in self.inequalities]
        return None if any(value is None for value in found) else np.array(found, dtype=np.complex128)

    def furthest(self, weights: Float) -> tuple[str, Float | None]:
        """The solver's status, and t [N] with the largest ``sum_m c_m t_m``."""
        self.weights.value = weights / np.abs(weights).max()
        for settings in TOLERANCES:
            outcome, _ = solve(self.program, settings)
            # Multipliers of a solution that the solver calls inaccurate may prove little: the next tolerances prove more.
            if outcome == "optimal":
                break
        if outcome not in ("optimal", "optimal_inaccurate") or self.lit.value is None:
            return outcome, None
        return outcome, self.problem.power * np.maximum(np.asarray(self.lit.value), 0.0)

    def beams(self) -> Beams:
        """Principal beams of the covariances of the last solution, in units of its power."""
        nodes, size = self.bases.shape[0], self.size
        users = np.array([_principal(x.value) for x in self.users]).reshape(len(self.users), nodes, size)
        sensing = np.array([_principal(x.value) for x in self.sensing])
        return Beams(np.einsum("nms,kns->knm", self.bases, users), np.einsum("nms,ns->nm", self.bases, sensing))


def refutation(balls: InBalls) -> Complex | None:
    """Multipliers that prove the largest least power of the users, from the program of the moments themselves.

    The least nu with ``D_k <= nu I`` over moments of weight one altogether: infeasible targets have it at or below zero.
    """
    import cvxpy as cp

    users, size = balls.heard.shape
    largest, least = float(np.linalg.norm(balls.heard, axis=1).max()), cp.Variable()
    # Moments of the errors in units of their balls, and of the constant one.
    moments = [cp.Variable((size + 1,) * 2, hermitian=True) for _ in range(users)]
    limits = [moment >> 0 for moment in moments]
    limits.append(sum(cp.real(moment[size, size]) for moment in moments) == 1.0)
    channels = []
    for moment, h, radius in zip(moments, balls.heard, balls.radius, strict=True):
        shape = np.column_stack([np.diag(radius), h]) / largest
        channels.append(shape @ moment @ shape.conj().T)
        spread = cp.reshape(cp.real(cp.diag(moment))[:size], (balls.balls, size // balls.balls), order="C")
        limits.append(cp.sum(spread, axis=1) <= cp.real(moment[size, size]))
    limits += [least * np.eye(size) - x / balls.sinr - x + sum(channels) >> 0 for x in channels]
    solve(cp.Problem(cp.Minimize(least), limits), TOLERANCES[1])
    if any(moment.value is None for moment in moments):
        return None
    return np.array([np.linalg.norm(h) ** 2 * moment.value for h, moment in zip(balls.heard, moments, strict=True)])


def _principal(covariance: Complex) -> Complex:
    values, vectors = np.linalg.eigh(covariance)
    return np.sqrt(max(float(values[-1]), 0.0)) * vectors[:, -1]


class _Search:
    """The best beams so far, and the multipliers of all designs so far; those of channels without errors to begin with."""

    def __init__(self, problem: RobustProblem, sinr: float, *, stacked: bool) -> None:
        self.problem, self.sinr, self.stacked = problem, sinr, stacked
        self.balls = InBalls(problem, sinr, stacked=stacked)
        self.best: Beams | None = None
        self.value = -np.inf
        heard = self.balls.heard
        alone = np.zeros((len(heard), heard.shape[1] + 1, heard.shape[1] + 1), dtype=np.complex128)
        alone[:, -1, -1] = nominal_beams(heard, sinr)[1] * np.sum(np.abs(heard) ** 2, axis=1)
        self.multipliers = [alone]
        self.program: InequalityProgram | None = None

    def vertex(self) -> tuple[Float, float]:
        """The best vertex t [N] of the simplices of all multipliers, in units of the power, and the bound there."""
        return common_vertex(self.problem, [self.balls.simplex(each) for each in self.multipliers])

    def ask(self, weights: Float, *, lifted: bool) -> None:
        """The beams furthest along weights, kept if they are the best so far, and their multipliers."""
        found = self._lifted(weights) if lifted else worst_moments(self.balls, weights)
        if found.multipliers is not None:
            self.multipliers.append(found.multipliers)
        beams = None if found.beams is None else standing_beams(self.problem, self.sinr, found.beams, stacked=self.stacked)
        if beams is None:
            return
        reached = float(self.problem.divergence(beams.beampowers(self.problem.steering)))
        if reached > self.value:
            self.best, self.value = beams, reached

    def _lifted(self, weights: Float) -> Proposed:
        if self.program is None:
            self.program = InequalityProgram(self.problem, self.sinr, stacked=self.stacked)
        _, reached = self.program.furthest(weights)
        return Proposed(None, None) if reached is None else Proposed(self.program.multipliers(), self.program.beams())


def solve_inequality(problem: RobustProblem, sinr: float, *, stacked: bool, lifted: bool = False) -> RobustDesign:
    """The design with the largest divergence found, and the bound of what all multipliers prove together.

    The certificate's ``sinr_violation`` is that of the proof for all errors in the balls.

    Parameters
    ----------
    stacked
        One ball over all nodes in place of one for each.
    lifted
        By the conic solver alone: the reference.

    Returns
    -------
    RobustDesign
        ``ok`` where the gap to ``dual_bound`` is within the limit, ``inaccurate`` where it is not, ``infeasible`` with its
        proof, or ``failed`` where neither was found.
    """
    started = time.perf_counter()
    if problem.unheard_user is not None:
        size = problem.nodes * sensing_bases(problem).shape[2] + 1
        alone = np.zeros((problem.users, size, size), dtype=np.complex128)
        alone[problem.unheard_user, -1, -1] = 1.0
        return unheard(problem, time.perf_counter() - started, proof=flat([alone]))
    search = _Search(problem, sinr, stacked=stacked)
    before, by_solver = np.inf, False
    for _ in range(ROUNDS):
        corner, bound = search.vertex()
        # A vertex that was not cut off would ask for the same design again; what the solver does not cut off stays.
        stuck = not bound < before
        if bound <= max(search.value, 0.0) * (1.0 + CLOSED) or (stuck and by_solver):
            break
        before, by_solver = bound, lifted or stuck
        search.ask(problem.echoes.gradient(problem.power * corner), lifted=by_solver)
    proof = flat(search.multipliers)
    need, bound = proven_by_inequalities(problem, sinr, proof, stacked=stacked)
    if search.best is None and need <= 1.0:
        refuting = refutation(search.balls)
        proof = proof if refuting is None else flat([refuting])
        need, bound = proven_by_inequalities(problem, sinr, proof, stacked=stacked)
    seconds = time.perf_counter() - started
    if search.best is not None:
        certificate = replace(judged_inequality(problem, sinr, search.best, bound, stacked=stacked), seconds=seconds)
        t = search.best.beampowers(problem.steering)
        return RobustDesign(certificate, search.best, t, int(np.argmax(t)), least_power=need, proof=proof)
    if need > 1.0:
        return infeasible(need, seconds, proof=proof)
    sentence = f"No beams were found, and no proof that there are none. Beams need at least {need:.6f} of the power."
    return RobustDesign(Certificate("failed", sentence, seconds=seconds, maximised=True), least_power=need)

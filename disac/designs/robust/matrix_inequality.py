"""Errors in balls, exactly: the S-procedure's linear matrix inequality in CVXPY.

With ``M_k = W_k / Gamma - sum_j W_j - blkdiag(W_s,n)`` user k has its SINR for an error e where ``(h_k + e)^H M_k (h_k + e)
>= 1``. For all ``|e| <= r`` together this is ``[[M_k + lambda I, M_k h_k], [h_k^H M_k, h_k^H M_k h_k - 1 - lambda r^2]] >=
0`` for some lambda >= 0, and conversely; with a multiplier per node for the balls of (4) in 000 it suffices, and is exact for
up to two nodes. Beams of users and sensing share the spans of each node's users and target.

Power is total. Each set of multipliers of the inequalities proves a simplex around the powers t that can be reached, as q does
where margins guard amplitudes (:class:`InBalls`); no one simplex is reached everywhere, but those of the programs of each node
alone have in common what bounds the divergence as closely as the solver goes. They also prove that there is no design.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from disac.designs.robust.guards import sensing_bases
from disac.designs.robust.nominal import nominal_beams
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.proofs import common_vertex, proven_together
from disac.designs.robust.total_power import RobustDesign, infeasible, power_share
from disac.metrics.worst_sinr import proven_noise_in_balls, tightest_errors_in_balls
from disac.optim.certificate import Certificate
from disac.optim.conic import solve

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

TOLERANCES: tuple[dict[str, Any], ...] = (
    {"max_threads": 1, "tol_gap_abs": 1e-8, "tol_gap_rel": 1e-8, "tol_feas": 1e-8},
    {"max_threads": 1, "tol_gap_abs": 1e-6, "tol_gap_rel": 1e-6, "tol_feas": 1e-7, "equilibrate_enable": False},
)
"""To be tried in order: the inequality defeats the solver on a good share of the drops at tight tolerances."""

ROUNDS = 8
CLOSED = 1e-3
"""Relative distance between design and bound at which no further program is solved."""

ASSURED = 1e-9
"""Relative noise power that is withstood beyond the users' own, for what rounding may take."""


class InBalls:
    """Errors in balls in the coordinates of the beams' common spans, and what multipliers prove there, whatever their values.

    A multiplier's blocks are moments of errors u with ``E |u|^2 <= 1`` in each ball, so that ``C_k = E (h_k + e)(h_k + e)^H``
    has ``tr(M_k C_k) >= weight_k`` for all covariances that satisfy the inequality.
    """

    def __init__(self, problem: RobustProblem, sinr: float, *, stacked: bool) -> None:
        nodes, users = problem.nodes, problem.users
        self.sinr, self.bases = sinr, sensing_bases(problem)
        self.size = self.bases.shape[2]
        self.heard = np.einsum("nkm,nms->kns", problem.scaled_channels, self.bases.conj()).reshape(users, -1)
        self.target = np.einsum("nm,nms->ns", problem.steering, self.bases)
        self.balls = 1 if stacked else nodes
        radius = problem.stacked_radius[:, np.newaxis] if stacked else problem.scaled_radius.T
        self.radius = np.repeat(radius, nodes * self.size // self.balls, axis=1)

    def _moments(self, multipliers: Complex) -> tuple[Complex, float, float]:
        """``C_k`` [K, d, d], the sum of the weights, and ``max_k lambda_max(C_k / Gamma - sum_{j != k} C_j)``."""
        moments, weights = [], 0.0
        size = float(np.abs(multipliers).max())
        for h, radius, multiplier in zip(self.heard, self.radius, multipliers / size, strict=True):
            values, vectors = np.linalg.eigh(multiplier + multiplier.conj().T)
            root = vectors * np.sqrt(np.maximum(values, 0.0)) / np.linalg.norm(h)
            errors, weight = root[:-1], float(np.linalg.norm(root[-1])) ** 2
            spread = (np.abs(errors) ** 2).sum(axis=1).reshape(self.balls, -1).sum(axis=1)
            shrink = np.sqrt(np.minimum(1.0, weight / np.maximum(spread, 1e-300)))
            errors = errors * np.repeat(shrink, len(errors) // self.balls)[:, np.newaxis]
            part = h[:, np.newaxis] * root[-1] + radius[:, np.newaxis] * errors
            moments.append(part @ part.conj().T)
            weights += weight
        found = np.array(moments)
        most = float(np.linalg.eigvalsh(found / self.sinr + found - found.sum(axis=0))[:, -1].max())
        # Where no power serves the eigenvalue is not positive; rounding must not be what says so.
        return found, weights, max(most, 1e-12 * float(np.linalg.norm(found.sum(axis=0))))

    def simplex(self, multipliers: Complex) -> tuple[float, Float]:
        """Least power p of the users and reach r [N] with ``p + sum_n t_n / r_n <= 1`` for every design, in units of the limit.

        Added up, the inequalities say ``sum_k weight_k <= sum_k tr(W_k D_k) - sum_n tr(W_s,n S_n)``, with ``D_k = C_k / Gamma -
        sum_j C_j`` and S_n the n-th block of ``sum_k C_k``; the first sum is at most the largest eigenvalue of any D_k times
        the power of the users.
        """
        if not 1e-200 < float(np.abs(multipliers).max()) < 1e200:
            return 0.0, np.full(len(self.target), np.inf)
        moments, weights, most = self._moments(multipliers)
        blocks = moments.sum(axis=0).reshape(len(self.target), self.size, len(self.target), self.size)
        leaks = np.stack([blocks[n, :, n] for n in range(len(self.target))])
        wanted = self.target.conj()
        beams = np.linalg.solve(most * np.eye(self.size) + leaks, wanted[..., np.newaxis])[..., 0]
        return weights / most, most * np.real(np.einsum("ns,ns->n", wanted.conj(), beams))

    def refutation(self) -> Complex | None:
        """Multipliers that prove the largest least power of the users, from the program of the moments themselves.

        The least nu with ``D_k <= nu I`` over moments of weight one altogether: infeasible targets have it at or below zero.
        """
        import cvxpy as cp

        users, size = self.heard.shape
        largest, least = float(np.linalg.norm(self.heard, axis=1).max()), cp.Variable()
        # Of the errors in units of their balls, and of one.
        moments = [cp.Variable((size + 1,) * 2, hermitian=True) for _ in range(users)]
        limits = [moment >> 0 for moment in moments]
        limits.append(sum(cp.real(moment[size, size]) for moment in moments) == 1.0)
        channels = []
        for moment, h, radius in zip(moments, self.heard, self.radius, strict=True):
            shape = np.column_stack([np.diag(radius), h]) / largest
            channels.append(shape @ moment @ shape.conj().T)
            spread = cp.reshape(cp.real(cp.diag(moment))[:size], (self.balls, size // self.balls), order="C")
            limits.append(cp.sum(spread, axis=1) <= cp.real(moment[size, size]))
        limits += [least * np.eye(size) - x / self.sinr - x + sum(channels) >> 0 for x in channels]
        solve(cp.Problem(cp.Minimize(least), limits), TOLERANCES[1])
        if any(moment.value is None for moment in moments):
            return None
        return np.array([np.linalg.norm(h) ** 2 * moment.value for h, moment in zip(self.heard, moments, strict=True)])


def proven_by_inequalities(
    problem: RobustProblem, sinr: float, proof: Float, *, stacked: bool
) -> tuple[float, float]:  # fmt: skip
    """What sets of multipliers [sets, K, d + 1, d + 1] (all Re, all Im) of the inequality prove together, whatever they are.

    Returns
    -------
    least_power
        Share of the power that the users take at least; above one they cannot be served.
    bound
        Divergence, in nats, that no design exceeds: the largest at a vertex of what the simplices have in common.
    """
    if proof.size == 0:
        return 0.0, float("inf")
    balls = InBalls(problem, sinr, stacked=stacked)
    size = balls.heard.shape[1] + 1
    real, imaginary = proof.reshape(2, -1, problem.users, size, size)
    return proven_together(problem, [balls.simplex(each) for each in real + 1j * imaginary])


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
        """The solver's word, and t [N] with the largest ``sum_m c_m t_m``."""
        self.weights.value = weights / np.abs(weights).max()
        for settings in TOLERANCES:
            outcome, _ = solve(self.program, settings)
            if outcome in ("optimal", "optimal_inaccurate") and self.lit.value is not None:
                return outcome, self.problem.power * np.maximum(np.asarray(self.lit.value), 0.0)
        return outcome, None

    def beams(self) -> Beams:
        """Principal beams of the covariances of the last solution, physical, within the power."""
        problem, scale = self.problem, np.sqrt(self.problem.power / self.unit)
        nodes, size = problem.nodes, self.size
        users = np.array([_principal(x.value) for x in self.users]).reshape(problem.users, nodes, size)
        sensing = np.array([_principal(x.value) for x in self.sensing])
        sent = Beams(
            scale * np.einsum("nms,kns->knm", self.bases, users), scale * np.einsum("nms,ns->nm", self.bases, sensing)
        )  # fmt: skip
        down = 1.0 / np.sqrt(max(1.0, power_share(problem, sent)))
        return Beams(sent.users * down, sent.sensing * down)

    def standing_beams(self) -> Beams | None:
        """:meth:`beams` with the power split anew, so that the users just have their SINR for all errors, proven.

        The solver leaves the inequalities violated, or unused, by up to a thousandth. Where no split serves there are none.
        """
        problem, found = self.problem, self.beams()
        to_users, to_sensing = float(np.sum(np.abs(found.users) ** 2)), float(np.sum(np.abs(found.sensing) ** 2))

        def split(share: float) -> Beams:
            """Of the power, this share to the sensing beams."""
            users = np.sqrt((1.0 - share) * problem.power / to_users) * found.users
            return Beams(users, np.sqrt(share * problem.power / max(to_sensing, 1e-300)) * found.sensing)

        def spare(share: float) -> float:
            return proven_spare_noise(problem, self.sinr, split(share), stacked=self.balls == 1) - ASSURED

        if to_users == 0.0 or spare(0.0) < 0.0:
            return None
        if to_sensing == 0.0:
            return split(0.0)
        return split(brentq(spare, 0.0, 1.0, xtol=1e-14))

    def of_errors(self, beams: Beams) -> Complex:
        """Multipliers [K, d + 1, d + 1] of the one error of each user that leaves these beams least.

        For these errors alone the best multipliers are those of uplink-downlink duality. They are exact to rounding where each
        user's worst error is one alone, and there the solver's are within a per cent.
        """
        problem, channels = self.problem, self.heard
        errors = tightest_errors_in_balls(
            problem.channels, beams.users, beams.sensing, self.sinr, problem.ball_radius, stacked=self.balls == 1
        )
        scaled = np.einsum("nkm,nms->kns", errors * np.sqrt(problem.power / problem.noise_power), self.bases.conj())
        moved = scaled.reshape(channels.shape)
        _, q, _ = nominal_beams(channels + moved, self.sinr)
        units = np.concatenate([moved / np.maximum(self.radius, 1e-300), np.ones((problem.users, 1))], axis=1)
        weights = q * np.sum(np.abs(channels) ** 2, axis=1)
        return np.asarray(np.einsum("k,ki,kj->kij", weights, units, units.conj()), dtype=np.complex128)

    def second_to_first(self) -> float:
        """The largest ratio of second to first eigenvalue of the users' covariances: zero where beams lose nothing."""
        values = np.array([np.linalg.eigvalsh(x.value)[-2:] for x in self.users])
        return float((values[:, 0] / values[:, 1]).max())


def _flat(multipliers: list[Complex]) -> Float:
    """Real parts of all, then imaginary parts."""
    found = np.array(multipliers, dtype=np.complex128)
    return np.concatenate([found.real.ravel(), found.imag.ravel()])


def _principal(covariance: Complex) -> Complex:
    values, vectors = np.linalg.eigh(covariance)
    return np.sqrt(max(float(values[-1]), 0.0)) * vectors[:, -1]


def solve_inequality(problem: RobustProblem, sinr: float, *, stacked: bool) -> RobustDesign:
    """The design with the largest divergence found, and the bound of what the multipliers prove.

    After the programs of each node alone the tangent at the bound's vertex gives the next design and the next simplex, until
    they are within ``CLOSED``: powers that several nodes share may do better than any node alone. The certificate's
    ``sinr_violation`` is that of the channels as assumed; the declared errors are searched apart.
    """
    started = time.perf_counter()
    program, nodes = InequalityProgram(problem, sinr, stacked=stacked), problem.nodes
    best, value, outcome = None, -np.inf, ""
    proofs: list[Complex] = []
    for weights in np.eye(nodes):
        best, value, outcome = _better(program, weights, best, value, proofs)
    before = np.inf
    for _ in range(ROUNDS if best is not None and proofs else 0):
        corner, bound = common_vertex(problem, [program.simplex(each) for each in proofs])
        # At a vertex that the last program has not cut off the next one would be the same.
        if bound <= value * (1.0 + CLOSED) or not bound < before:
            break
        before = bound
        best, value, _ = _better(program, problem.echoes.gradient(problem.power * corner), best, value, proofs)
    if best is None:
        multipliers = program.refutation()
        proofs = [] if multipliers is None else [multipliers]
    proof = _flat(proofs)
    need, bound = proven_by_inequalities(problem, sinr, proof, stacked=stacked)
    seconds = time.perf_counter() - started
    if best is not None:
        certificate = replace(judged_inequality(problem, sinr, best, bound, stacked=stacked), seconds=seconds)
        t = best.beampowers(problem.steering)
        return RobustDesign(certificate, best, t, int(np.argmax(t)), least_power=need, proof=proof)
    if need > 1.0:
        return infeasible(need, seconds, proof=proof)
    sentence = f"The solver ended with '{outcome}' and found no beams, and no proof that there are none."
    return RobustDesign(Certificate("failed", sentence, seconds=seconds, maximised=True))


def _better(
    program: InequalityProgram, weights: Float, best: Beams | None, value: float, proofs: list[Complex]
) -> tuple[Beams | None, float, str]:  # fmt: skip
    """The better of the best beams so far and those furthest along weights, whose multipliers join the proofs."""
    outcome, reached = program.furthest(weights)
    if reached is None:
        return best, value, outcome
    multipliers = program.multipliers()
    if multipliers is not None:
        proofs.append(multipliers)
    beams = program.standing_beams()
    if beams is None:
        return best, value, outcome
    proofs.append(program.of_errors(beams))
    found = float(program.problem.divergence(beams.beampowers(program.problem.steering)))
    return (beams, found, outcome) if found > value else (best, value, outcome)


def proven_spare_noise(problem: RobustProblem, sinr: float, beams: Beams, *, stacked: bool) -> float:
    """Share of the noise power that could be added before some user's SINR falls short for some error in the balls."""
    proven = proven_noise_in_balls(
        problem.channels, beams.users, beams.sensing, sinr, problem.ball_radius, stacked=stacked
    )  # fmt: skip
    return float(proven.min()) / problem.noise_power - 1.0


def judged_inequality(problem: RobustProblem, sinr: float, beams: Beams, bound: float, *, stacked: bool) -> Certificate:
    """Certificate of beams from themselves; the SINR is that of all errors in the balls, its violation that of the noise."""
    return Certificate(
        "ok", "", float(problem.divergence(beams.beampowers(problem.steering))), bound,
        power_violation=max(0.0, power_share(problem, beams) - 1.0),
        sinr_violation=max(0.0, -proven_spare_noise(problem, sinr, beams, stacked=stacked)), psd_violation=0.0, maximised=True,
    ).judged(float("inf"))  # fmt: skip

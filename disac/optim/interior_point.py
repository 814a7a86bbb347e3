"""Primal-dual interior point for the least trace of an inverse Fisher information over covariances.

The family of problems, in units where all is of order one:

    minimise    tr(S^T (F(R) + J)^-1 S)
    subject to  sum of diagonal entries of all R, or of those of each cell, over each power row  <=  its budget,
                sum (1 + Gamma) h^H R_u h - Gamma h^H (sum_v R_v) h  >=  1  for each service row of a user u,
                R >= 0.

F is linear in the covariances and made of *dense* real parameters (any derivative matrix) and of complex *atoms* whose
derivative has rank one. The dual is taken in (Y, lambda, mu) with ``f = max_Y 2 tr(S^T Y) - tr(Y^T (F + J) Y)``:

    maximise    2 tr(S^T Y) - tr(Y^T J Y) - budget^T lambda + 1^T mu
    subject to  Phi_u = diag(lambda) - G(Y) + sum_v mu_v (Gamma - (1 + Gamma) [u = v]) B_v >= 0,  lambda, mu >= 0,

where tr(Y^T F(R) Y) = <G(Y), R>. Phi is concave in Y, its log-determinant self-concordant (a Schur complement of an affine
matrix), so Newton's method on the perturbed optimality conditions uses Phi itself as the slack. Every iterate is strictly dual
feasible. If Y is set to zero, Phi only grows. So an iterate with sum mu > budget^T lambda proves that no covariance serves the
users.

Blocks of a cell may be tied to each other by ``sum +-T R T^H = 0``, with a Hermitian multiplier C for each tie. Ties hold one
covariance inside another one. Only the outer covariance costs power, and the receivers see only the outer covariance.

Each multiplier of service and ties belongs to one cell (a subcarrier, or a group of subcarriers), so the Newton matrix is an
arrow. Power rows belong to all cells together, or each cell has power rows of its own. In the second case their multipliers
belong to the cell, too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from disac.optim.newton import Arrow, BlockState, adjoint, pairing, symmetric
from disac.optim.program import Program, block_information
from disac.optim.steps import Direction, Move, longest, ratio, settled
from disac.optim.ties import combined, tie_vectors

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.int64]
Outcome = Literal["optimal", "infeasible", "stalled"]

MOST_ITERATIONS = 60

VIOLATION = 1e-8
"""Largest residual, relative to a budget, a service row's right-hand side, or the largest held value of a cell's ties."""


@dataclass(frozen=True)
class Result:
    """Last point of the method, in the program's units.

    ``covariances`` holds one array [c, u, d, d] per block, strictly positive definite. The multipliers of power and service
    are strictly positive. The multipliers of power have the shape of the budget. The multipliers of ties are Hermitian, of any
    sign, shape [cells, ties, m, m]. For ``infeasible`` the multipliers (power, service, ties) are the ray that proves it.
    """

    outcome: Outcome
    covariances: tuple[Complex, ...]
    fisher: Float
    power: Float
    service: Float
    ties: Complex
    value: float
    bound: float
    iterations: int
    seconds: float
    trace: tuple[dict[str, float], ...] = field(default=())


def solve(program: Program, tolerance: float = 1e-7, *, trace: bool = False) -> Result:
    """Solve to a relative gap of ``tolerance``, or prove that the service is out of reach.

    Parameters
    ----------
    tolerance
        Relative to the objective.
    trace
        Record value, bound, violation and steps of each iteration.

    Returns
    -------
    Result
        Its outcome is ``stalled`` if neither was reached. The result is then the best iterate found.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the program cannot be started: its information at equal power is singular.
    """
    started = time.perf_counter()
    state = _State(program)
    log: list[dict[str, float]] = []
    outcome: Outcome = "stalled"
    iterations, short, best, best_at = 0, 0, state.kept(np.inf), 0
    for iterations in range(MOST_ITERATIONS + 1):
        if state.proves_infeasible():
            outcome, best = "infeasible", state.kept(0.0)
            break
        violation = state.violation()
        value, bound = state.value(), state.bound()
        score = max(violation / VIOLATION, (value - bound) / (tolerance * abs(value)))
        if score < best.score:
            best, best_at = state.kept(score), iterations
        if trace:
            log.append({"value": value, "bound": bound, "violation": violation, "centre": state.centre()})
        if score < 1.0:
            outcome = "optimal"
            break
        # The gap is below rounding: no step improves it, and the best iterate so far is the result.
        if iterations == MOST_ITERATIONS or (best.score < 1e3 and iterations - best_at >= 4):
            break
        try:
            primal, dual = state.step()
        except np.linalg.LinAlgError:
            break
        if trace:
            log[-1] |= {"primal_step": primal, "dual_step": dual}
        short = short + 1 if (primal < 0.1 and violation > 1e-7) or (primal < 0.05 and dual < 0.05) else 0
        if short >= 2:
            # Near the largest feasible SINR, the primal and dual points move apart. Start again from the dual point alone.
            state.recentre(30.0 if state.recentred == 0 else 10.0)
            short = 0
    state.take(best)
    return Result(
        outcome, best.covariances, best.fisher, best.power, best.service, best.ties,
        state.value(), state.bound(), iterations, time.perf_counter() - started, tuple(log),
    )  # fmt: skip


@dataclass(frozen=True)
class _Kept:
    """A stored iterate. A score below one meets the required accuracy."""

    score: float
    covariances: tuple[Complex, ...]
    fisher: Float
    power: Float
    service: Float
    ties: Complex


class _Iterate:
    """The iterate: (Y, lambda, mu, C) and the covariances, with the slacks p and s of lambda and mu, and its bound."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.blocks = [BlockState(program, block) for block in program.blocks]
        self.recentred = 0
        self._start()

    def _start(self) -> None:
        program = self.program
        spread = np.zeros(program.budget.shape)
        for b in self.blocks:
            spread += b.spend(np.ones((b.count, b.size)))
        used = spread > 0  # a power row may have no block
        even = program.budget / np.maximum(spread, 1.0)
        information = program.prior.copy()
        for b in self.blocks:
            covariance = np.zeros((b.count, b.size, b.size), dtype=np.complex128)
            diagonal = np.arange(b.size)
            shares = np.maximum(b.data.power.sum(axis=1), 1e-300)
            covariance[:, diagonal, diagonal] = b.priced(even) / shares[b.data.power_of]
            information += block_information(b.data, covariance, program.atoms)
        self.fisher = 0.4 * linalg.solve(information, program.selection, assume_a="pos")
        self.power = np.zeros(program.budget.shape)
        self.service = np.zeros((program.cells, len(program.row_user)))
        reward, loudest = 0.0, 0.0
        for b in self.blocks:
            b.response = b.respond(self.fisher)
            reward = max(reward, float(np.linalg.eigvalsh(b.gram(b.response, b.response)).max()))
            loudest = max(loudest, float((np.abs(b.data.channels) ** 2).sum(axis=(2, 3)).max()))
        rows = len(program.row_user)
        self.service[:] = 0.3 * reward / (rows * loudest)
        number, held = self.blocks[0].data.ties.shape[1:3]
        # Above the mu h h^H of all rows, so that the Phi of held streams are positive definite, and below lambda.
        start = 1.5 * rows * float(self.service.max()) * loudest * np.eye(held, dtype=np.complex128)
        self.ties = np.tile(start, (program.cells, number, 1, 1))
        self.power[:] = 1.2 * (reward + rows * float(self.service.max()) * loudest)
        self._refresh()
        diagonal_sum = np.sum([b.pull_power(b.inverse) for b in self.blocks], axis=0)
        self._centred(float(np.mean(program.budget[used] / diagonal_sum[used])))

    def _centred(self, centre: float) -> None:
        """Covariances and slacks that match the dual point exactly, at the given distance from the boundary."""
        for b in self.blocks:
            b.r = centre * b.inverse
        self.power_slack = centre / self.power
        self.service_slack = centre / self.service
        self._known, self._pulled = None, None

    def recentre(self, factor: float) -> None:
        """Compute new covariances and slacks from the dual point."""
        self._centred(self.centre() * factor)
        self.recentred += 1

    def _refresh(self) -> None:
        """Compute Phi and its inverse at the current dual point. The response must be up to date."""
        for b in self.blocks:
            b.phi = b.affine(self.power, self.service, self.ties)
            b.phi -= b.gram(b.response, b.response)[:, np.newaxis]
            b.inverse = np.empty_like(b.phi)
            for part in b.parts:
                root: Any = np.linalg.inv(np.linalg.cholesky(b.phi[part]))
                b.inverse[part] = adjoint(root) @ root

    def information(self, matrices: list[Complex]) -> Float:
        """Fisher information of covariances summed over streams, one array [c, d, d] per block."""
        total = np.zeros_like(self.program.prior)
        for b, matrix in zip(self.blocks, matrices, strict=True):
            total += block_information(b.data, matrix, self.program.atoms)
        return total

    def _current(self) -> Float:
        if self._known is None:
            self._known = self.information([b.r.sum(axis=1) for b in self.blocks])
        return self._known

    _known: Float | None = None

    def pull(self, matrices: list[Complex]) -> tuple[Float, Float]:
        """What covariances, one array [c, u, d, d] per block, take of the power rows, and what they make of a cell's rows."""
        power = np.zeros_like(self.program.budget)
        rows = np.zeros((self.program.cells, self.blocks[0].channels.shape[1]))
        for b, matrix in zip(self.blocks, matrices, strict=True):
            power += b.pull_power(matrix)
            np.add.at(rows, b.data.cells, b.pull_rows(matrix))
        return power, rows

    def _reached(self) -> tuple[Float, Float]:
        if self._pulled is None:
            self._pulled = self.pull([b.r for b in self.blocks])
        return self._pulled

    _pulled: tuple[Float, Float] | None = None

    def value(self) -> float:
        """The objective at the covariances."""
        program = self.program
        try:
            solved = linalg.solve(self._current() + program.prior, program.selection, assume_a="pos")
        except np.linalg.LinAlgError:
            return float("inf")
        return float(np.sum(program.selection * solved))

    def bound(self) -> float:
        """The dual objective."""
        program, y = self.program, self.fisher
        gain = 2.0 * float(np.sum(program.selection * y)) - float(np.sum(y * (program.prior @ y)))
        return gain - self._paid() + float(self.service.sum())

    def _paid(self) -> float:
        """``budget^T lambda``."""
        return float(self.program.budget.ravel() @ self.power.ravel())

    def proves_infeasible(self) -> bool:
        """Whether (lambda, mu) with Y = 0 is an improving ray."""
        return float(self.service.sum()) > self._paid() * (1.0 + 1e-9)

    def centre(self) -> float:
        """Mean complementarity."""
        power, count = self.power.ravel() @ self.power_slack.ravel(), self.power.size + self.service.size
        total = float(power + np.sum(self.service * self.service_slack))
        for b in self.blocks:
            total += pairing(b.r, b.phi)
            count += b.count * b.streams * b.size
        return total / count

    def violation(self) -> float:
        """Largest violation: of a budget and of what is held (relative), of a service row (of its right-hand side, one)."""
        power, rows = self._primal_rows(self._reached(), np.zeros_like(self.power), np.zeros_like(self.service))
        service = rows[:, : self.service.shape[1]]
        worst = max(float((power / self.program.budget).max()), float(service.max()), 0.0)
        if not self.ties.size:
            return worst
        left, held = (np.abs(part).max(axis=(1, 2, 3)) for part in self._tied())
        return max(worst, float((left / held).max()))

    def _tied(self) -> tuple[Complex, Complex]:
        """Residuals of the ties and the held values: shapes [cells, ties, m, m]."""
        left, held = np.zeros_like(self.ties), np.zeros_like(self.ties)
        for b in self.blocks:
            pulled = b.pull_ties(b.r.sum(axis=1))
            np.add.at(left, b.data.cells, pulled)
            if b.data.tied > 0:
                np.add.at(held, b.data.cells, pulled)
        return left, held

    def kept(self, score: float) -> _Kept:
        """Store the iterate. Later steps replace its arrays and never change them."""
        return _Kept(score, tuple(b.r for b in self.blocks), self.fisher, self.power, self.service, self.ties)

    def take(self, kept: _Kept) -> None:
        """Take the covariances and multipliers of a stored iterate."""
        for b, covariance in zip(self.blocks, kept.covariances, strict=True):
            b.r = covariance
        self.fisher, self.power, self.service, self.ties = kept.fisher, kept.power, kept.service, kept.ties
        self._known, self._pulled = None, None

    def _primal_rows(self, pulled: tuple[Float, Float], p: Float, s: Float) -> tuple[Float, Float]:
        """Residuals of the primal equations at slacks p and s, from what :meth:`pull` gives for the covariances."""
        return p - self.program.budget + pulled[0], self._rows(1.0 + s) + pulled[1]

    def _rows(self, service: Float) -> Float:
        """Numbers for a cell's rows, [cells, rows]: those given for the service rows, then zeros for the rows of ties."""
        ties = self.blocks[0].channels.shape[1] - service.shape[1]
        return np.concatenate([service, np.zeros((len(service), ties))], axis=1)

    def _joined(self, fisher: Float, power: Float, rows: Float) -> tuple[Float, Float]:
        """Numbers for Y, the power rows and a cell's other rows in the order of :class:`Arrow`: global ones and local ones."""
        if self.program.power_by_cell:
            return fisher.reshape(-1), np.concatenate([rows, power], axis=1)
        return np.concatenate([fisher.reshape(-1), power]), rows


class _State(_Iterate):
    """An iterate that steps towards the optimum."""

    def step(self) -> tuple[float, float]:
        """Take one predictor-corrector step and return the primal and dual step lengths."""
        if self.ties.size:
            self._along = tie_vectors(self._tied()[1])
            for b in self.blocks:
                b.measure_ties(self._along[b.data.cells])
            self._pulled = None
        system = Arrow(self, self._current() + self.program.prior)
        affine = self._towards(system, 0.0, None)
        primal, dual = self._lengths(affine, _COARSE)
        centre = self.centre()
        reached = self._centre_after(affine, min(1.0, primal), min(1.0, dual))
        sigma = float(np.clip(max(reached / centre, 0.0) ** 2.5, 1e-6, 1.0)) if min(primal, dual) >= 0.1 else 0.5
        move = self._towards(system, sigma * centre, affine)
        primal, dual = self._lengths(move, _FINE)
        if max(primal, dual) < 0.1:
            # An inaccurate predictor gives a bad correction: step towards the centre without it.
            move = self._towards(system, 0.5 * centre, None)
            primal, dual = self._lengths(move, _FINE)
        fraction = 0.9 + 0.09 * min(1.0, primal, dual)
        primal, dual = min(1.0, fraction * primal), min(1.0, fraction * dual)
        return primal, self._go(move, primal, dual)

    def _towards(self, system: Arrow, target: float, affine: Direction | None) -> Direction:
        """Newton's direction to a mean complementarity, with the second-order terms of a predictor where there is one."""
        gradient_y = 2.0 * self.program.selection - 2.0 * (self.program.prior @ self.fisher)
        right_y, right_power = gradient_y, -self.program.budget
        local = self._rows(np.ones_like(self.service))
        bilinear = np.zeros_like(self.fisher)
        correction = None
        if target > 0.0 or affine is not None:
            power, service = target / self.power, target / self.service
            central: list[Complex] = [b.inverse for b in self.blocks]
            sums = [target * matrix.sum(axis=1) for matrix in central]
            pulled_power, pulled_rows = (target * pulled for pulled in self.pull(central))
            if affine is not None:
                correction = self._second_order(affine)
                sums = [total - c.sum(axis=1) for total, c in zip(sums, correction[0], strict=True)]
                less_power, less_rows = self.pull(correction[0])
                pulled_power, pulled_rows = pulled_power - less_power, pulled_rows - less_rows
                power, service = power - correction[1], service - correction[2]
                moved = self.information([m.r.sum(axis=1) for m in affine.blocks])
                bilinear = -2.0 * (moved @ affine.fisher)
            right_y = right_y + (bilinear - 2.0 * (self.information(sums) @ self.fisher))
            right_power = right_power + power + pulled_power
            local += self._rows(service) + pulled_rows
        flat, inner = system.solve(*self._joined(right_y, right_power, local))
        move = self._direction(flat, inner, target, correction)
        if target == 0.0:
            return move
        rows, amiss = self._primal_after(move)
        for _ in range(2):
            if amiss < 1e-9:
                break
            # Near the end the assembled matrix has rounding errors. The operators themselves show the error, and one more solve
            # reduces it.
            more, more_inner = system.solve(*self._joined(self._fisher_row(move, gradient_y, bilinear), *rows))
            mended = self._direction(flat + more, inner + more_inner, target, correction)
            rows, still = self._primal_after(mended)
            if not still < amiss:
                break
            flat, inner, move, amiss = flat + more, inner + more_inner, mended, still
        return move

    def _second_order(self, affine: Direction) -> tuple[list[Complex], Float, Float]:
        """Complementarity that remains after the predictor: of the covariances, the power slacks and the service slacks."""
        corrections = []
        for b, m in zip(self.blocks, affine.blocks, strict=True):
            correction = np.empty_like(b.r)
            for part in b.parts:
                curved = m.curvature[part, np.newaxis] @ b.r[part]
                correction[part] = symmetric(b.inverse[part] @ (m.phi[part] @ m.r[part] - curved))
            corrections.append(correction)
        return corrections, affine.power_slack * affine.power / self.power, affine.service_slack * affine.service / self.service

    def _fisher_row(self, move: Direction, gradient: Float, bilinear: Float) -> Float:
        """Residual of the linearised condition on Y after a direction."""
        sums = [b.r.sum(axis=1) + m.r.sum(axis=1) for b, m in zip(self.blocks, move.blocks, strict=True)]
        row = gradient - 2.0 * (self.information(sums) @ self.fisher) + bilinear
        return row - 2.0 * ((self._current() + self.program.prior) @ move.fisher)

    def _primal_after(self, move: Direction) -> tuple[tuple[Float, Float], float]:
        """The primal equations after a full step, and their largest residual."""
        pulled = [now + more for now, more in zip(self._reached(), self.pull([m.r for m in move.blocks]), strict=True)]
        slacks = self.power_slack + move.power_slack, self.service_slack + move.service_slack
        rows = self._primal_rows((pulled[0], pulled[1]), *slacks)
        return rows, max(float(np.abs(row).max()) for row in rows)

    def _direction(self, flat: Float, inner: Float, target: float, correction: Any) -> Direction:
        n_y, served = self.fisher.size, self.service.shape[1]
        above = served + int(self.ties[0].size)
        fisher = flat[:n_y].reshape(self.fisher.shape)
        power = inner[:, above:] if self.program.power_by_cell else flat[n_y:]
        service, ties = inner[:, :served], self.ties
        if ties.size:
            ties = combined(inner[:, served:above].reshape(*ties.shape[:2], -1), self._along)
        power_slack = target / self.power - self.power_slack * (1.0 + power / self.power)
        service_slack = target / self.service - self.service_slack * (1.0 + service / self.service)
        if correction is not None:
            power_slack, service_slack = power_slack - correction[1], service_slack - correction[2]
        moves = []
        for number, b in enumerate(self.blocks):
            response = b.respond(fisher)
            mixed = b.gram(response, b.response)
            phi = b.affine(power, service, ties)
            phi -= (mixed + adjoint(mixed))[:, np.newaxis]
            r = np.empty_like(b.r)
            for part in b.parts:
                moved = target * b.inverse[part] - b.r[part] - b.inverse[part] @ (phi[part] @ b.r[part])
                r[part] = symmetric(moved if correction is None else moved - correction[0][number][part])
            moves.append(Move(response, phi, b.gram(response, response), r))
        return Direction(fisher, power, service, ties, power_slack, service_slack, moves)

    def _lengths(self, move: Direction, accuracy: float) -> tuple[float, float]:
        """Longest primal and dual steps that stay positive, at most a little above one."""
        primal = min(ratio(self.power_slack, move.power_slack), ratio(self.service_slack, move.service_slack), _FAR)
        dual = min(ratio(self.power, move.power), ratio(self.service, move.service), _FAR)
        for b, m in zip(self.blocks, move.blocks, strict=True):
            primal = longest(b.r, m.r, None, primal, accuracy)
            dual = longest(b.phi, m.phi, m.curvature[:, np.newaxis], dual, accuracy)
        return primal, dual

    def _centre_after(self, move: Direction, primal: float, dual: float) -> float:
        """Mean complementarity after a step."""
        power = (self.power + dual * move.power).ravel() @ (self.power_slack + primal * move.power_slack).ravel()
        total = float(power + np.sum((self.service + dual * move.service) * (self.service_slack + primal * move.service_slack)))
        count = self.power.size + self.service.size
        for b, m in zip(self.blocks, move.blocks, strict=True):
            total += (
                pairing(b.r, b.phi) + primal * pairing(m.r, b.phi) + dual * (pairing(b.r, m.phi) + primal * pairing(m.r, m.phi))
            )
            total -= dual**2 * (pairing(b.r.sum(axis=1), m.curvature) + primal * pairing(m.r.sum(axis=1), m.curvature))
            count += b.count * b.streams * b.size
        return total / count

    def _go(self, move: Direction, primal: float, dual: float) -> float:
        """Take the step and return the dual step length. The dual step is shortened until Phi is positive definite."""
        for b, m in zip(self.blocks, move.blocks, strict=True):
            # In place: a new array costs more than the sum. The direction's covariances are not used again.
            m.r *= primal
            m.r += b.r
            b.r = m.r
        self._known, self._pulled = None, None
        self.power_slack = self.power_slack + primal * move.power_slack
        self.service_slack = self.service_slack + primal * move.service_slack
        # If a row's error is small beside its slack, the slack absorbs it: the row then holds exactly.
        power_row, rows = self._primal_rows(self._reached(), self.power_slack, self.service_slack)
        self.power_slack = settled(self.power_slack, power_row)
        self.service_slack = settled(self.service_slack, rows[:, : self.service.shape[1]])
        before = (self.fisher, self.power, self.service, [b.response for b in self.blocks], self.ties)
        for _ in range(12):
            self.fisher, self.power = before[0] + dual * move.fisher, before[1] + dual * move.power
            self.service, self.ties = before[2] + dual * move.service, before[4] + dual * move.ties
            for b, m, response in zip(self.blocks, move.blocks, before[3], strict=True):
                b.response = response + dual * m.response
            try:
                self._refresh()
            except np.linalg.LinAlgError:
                dual *= 0.7
                continue
            return dual
        raise np.linalg.LinAlgError("no dual step keeps the inequalities")


_FAR = 1.2
"""Longest step that is used."""

_FINE, _COARSE = 0.03, 0.1
"""Relative accuracy of the length of a step, and of the length of the predictor, which chooses the centre."""

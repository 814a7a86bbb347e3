"""The most light on the target along weights of the nodes, when everything that is sent counts, for several problems at once.

With ``c_n = a_n^*`` and covariances R_k of the users' signals, node n puts ``t_n = c_n^H [sum_k R_k]_nn c_n`` on the target. For
weights ``g >= 0`` the support function ``v(g) = max g^T t`` of the reachable t is a semidefinite program: power limits P_b, and
``(1 + 1/Gamma) h_k^H R_k h_k >= sum_j h_k^H R_j h_k + noise`` for each user. A sensing signal of its own adds nothing. As a part of
any user's covariance it leaves the total as it is. With prices lambda of the limits and multipliers q of the users, the dual is

    min sum_b lambda_b P_b - noise sum_k q_k  subject to  Z_k = B - (1 + 1/Gamma) q_k h_k h_k^H >= 0 for each k,
    B = diag(lambda) - blkdiag(g_n c_n c_n^H) + sum_j q_j h_j h_j^H.

It has K unknowns and one for each limit. Newton's method follows the path of the logarithmic barrier. The matrices Z_k differ
from B by one column each, so one inverse serves all users. ``mu Z_k^-1``, corrected by the last Newton step, is a covariance
that meets all limits. Whatever feasible (lambda, q) has a negative cost proves that no covariances serve the users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.problem import RobustProblem

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.intp]

STEPS = 200
"""Most Newton steps of a program."""

SHRINK = 0.05
"""Factor of the barrier's weight from one target to the next."""

NEAR = 0.5
"""Squared Newton decrement at which a point is near the path. Below one the corrected covariances are positive semidefinite."""

NEGATIVE = 1e-7
"""A cost of (lambda, q) below minus this share of the prices' part is a refusal. Rounding does not reach it."""

TRIALS = 60
"""Most lengths of one step that are tried."""

LEAST_PIVOT = 1e-15
"""Least pivot of a definite matrix, relative to its entry on the diagonal."""

ROUNDING = 1e-13
"""Rounding of a matrix's least eigenvalue, relative to its largest row sum."""


@dataclass(frozen=True)
class Answers:
    """Answers for the problems that were asked, in their order; powers in units of each problem's limit, noise one.

    Attributes
    ----------
    solved
        Whether the covariances are within ``accuracy`` of the bound.
    refused
        Whether the prices and multipliers prove that the users cannot be served.
    prices
        lambda [T, B].
    multipliers
        q [T, K].
    covariances
        R_k in coordinates of :attr:`Illumination.basis`, [T, K, d, d].
    lit
        t of the covariances, [T, N].
    """

    solved: Bool
    refused: Bool
    prices: Float
    multipliers: Float
    covariances: Complex
    lit: Float


class Illumination:
    """Problems of equal shapes and power limit, and one SINR target (linear).

    ``basis`` [T, N, M, r]: coordinates of each node's beams. Limits that join a node's antennas leave only the span of channels
    and steering vector to use.

    Raises
    ------
    ValueError
        If shapes or limits differ.
    """

    def __init__(self, problems: Sequence[RobustProblem], sinr: float) -> None:
        first = problems[0]
        if any(each.channels.shape != first.channels.shape or each.limit != first.limit for each in problems):
            raise ValueError("the problems differ in shape or power limit")
        self.problems, self.sinr = list(problems), sinr
        nodes, users, antennas = first.channels.shape
        channels = np.stack([each.scaled_channels for each in problems])
        target = np.stack([each.steering.conj() for each in problems])
        if first.limit.joins_antennas:
            # A node's channels differ by orders of magnitude, and small columns of a factorisation would be lost beside large ones.
            columns = np.concatenate([channels, target[:, :, np.newaxis]], axis=2).swapaxes(2, 3)
            lengths = np.linalg.norm(columns, axis=2, keepdims=True)
            self.basis = np.linalg.qr(columns / np.where(lengths > 0, lengths, 1.0))[0]
        else:
            self.basis = np.broadcast_to(np.eye(antennas, dtype=np.complex128), (len(problems), nodes, antennas, antennas))
        rank = self.basis.shape[3]
        self.heard = np.einsum("tnmr,tnkm->tknr", self.basis.conj(), channels).reshape(len(problems), users, nodes * rank)
        self.target = np.einsum("tnmr,tnm->tnr", self.basis.conj(), target)
        self.budgets = first.limit.budgets(nodes, antennas)
        self.budget_of = np.arange(nodes * rank) // (nodes * rank // self.budgets)
        loudness = np.linalg.norm(self.heard, axis=2)
        self.loudness = np.where(loudness > 0, loudness, 1.0)
        self.unit = self.heard / self.loudness[..., np.newaxis]

    @property
    def evidence_size(self) -> int:
        """Number of numbers of one cut: g, lambda, q."""
        return self.target.shape[1] + self.budgets + self.heard.shape[1]

    def rewards(self, weights: Float, chosen: Int) -> Complex:
        """``blkdiag(g_n c_n c_n^H)`` of the chosen problems, [T, d, d], for g [T, N]."""
        target = self.target[chosen]
        count, nodes, rank = target.shape
        matrices = np.zeros((count, nodes, rank, nodes, rank), dtype=np.complex128)
        for n in range(nodes):
            column = target[:, n]
            matrices[:, n, :, n] = weights[:, n, np.newaxis, np.newaxis] * column[:, :, np.newaxis] * column[:, np.newaxis].conj()
        return matrices.reshape(count, nodes * rank, nodes * rank)

    def raised(self, number: int, weights: Float, prices: Float, multipliers: Float) -> float:
        """Cost of the prices, raised alike until every Z_k of one problem is positive semidefinite: ``sum_b lambda_b P_b``.

        Less ``sum_k q_k`` it bounds ``g^T t``, whatever the nonnegative numbers. They are raised by the least eigenvalue, and a
        little more for rounding.
        """
        heard = self.heard[number]
        base = np.diag(prices[self.budget_of]) - self.rewards(weights[np.newaxis], np.array([number]))[0]
        base = base + np.einsum("k,ka,kb->ab", multipliers, heard, heard.conj())
        own = (1.0 + 1.0 / self.sinr) * multipliers
        slack = base - np.einsum("k,ka,kb->kab", own, heard, heard.conj())
        least = float(np.linalg.eigvalsh(slack)[:, 0].min())
        rounding = ROUNDING * float(np.abs(slack).sum(axis=2).max())
        return float(prices.mean()) + max(0.0, rounding - least)

    def furthest(self, weights: Float, chosen: Int, accuracy: float) -> Answers:
        """Solve the program of each chosen problem for its weights g [T, N], to a relative accuracy of v(g).

        Every g is nonnegative and not all zero, and every user hears some node.
        """
        path = _Path(self, weights, chosen, accuracy)
        path.follow()
        return path.answers()


class _Path:
    """Points on the barrier's path of several programs. The unknowns x are the prices and the multipliers of unit channels."""

    def __init__(self, programs: Illumination, weights: Float, chosen: Int, accuracy: float) -> None:
        self.programs, self.chosen, self.accuracy = programs, chosen, accuracy
        count, users = len(chosen), programs.unit.shape[1]
        self.loudness = programs.loudness[chosen]
        self.heard = programs.unit[chosen]
        # In units of the largest light that the power can give at one node alone, all programs are alike.
        alone = weights * np.linalg.norm(programs.target[chosen], axis=2) ** 2
        self.scale = alone.max(axis=1)
        self.rewards = programs.rewards(weights / self.scale[:, np.newaxis], chosen)
        budgets = programs.budgets
        self.cost = np.concatenate([np.full((count, budgets), 1.0 / budgets), -1.0 / self.loudness**2], axis=1)
        self.x = np.full((count, budgets + users), 2.0)
        self.x[:, budgets:] = 0.25 * min(1.0, programs.sinr)
        self.own = 1.0 + 1.0 / programs.sinr
        size = self.heard.shape[2]
        self.barriers = users * size + budgets + users
        self.weight = np.full(count, np.nan)
        self.step = np.zeros_like(self.x)
        self.solved, self.refused = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)

    def _base(self, x: Float, rows: Int) -> Complex:
        """B of points x of the programs ``rows``, [T, d, d]."""
        budgets, heard = self.programs.budgets, self.heard[rows]
        loaded = heard.swapaxes(1, 2) * x[:, np.newaxis, budgets:]
        base = loaded @ heard.conj() - self.rewards[rows]
        place = np.arange(base.shape[1])
        base[:, place, place] += x[:, self.programs.budget_of]
        return base

    def _log_barrier(self, x: Float, rows: Int) -> Float:
        """``sum_k ln det Z_k + sum_i ln x_i``, [T]; minus infinity where a matrix is not positive definite."""
        heard = self.heard[rows]
        users = heard.shape[1]
        pivots, reduced = eliminated(self._base(x, rows), heard.swapaxes(1, 2))
        definite = (pivots > 0).all(axis=1) & (x > 0).all(axis=1)
        pivots = np.where(definite[:, np.newaxis], pivots, 1.0)
        served = np.sum(np.abs(reduced) ** 2 / pivots[:, :, np.newaxis], axis=1)
        left = 1.0 - self.own * x[:, self.programs.budgets :] * served
        definite &= (left > 0).all(axis=1)
        left, known = np.where(definite[:, np.newaxis], left, 1.0), np.where(definite[:, np.newaxis], x, 1.0)
        value = users * np.log(pivots).sum(axis=1) + np.log(left).sum(axis=1) + np.log(known).sum(axis=1)
        return np.where(definite, value, -np.inf)

    def _inverses(self, x: Float, rows: Int) -> tuple[Complex, Complex]:
        """``Z_k^-1`` [T, K, d, d] and ``Z_k^-1 h_j`` [T, K, j, d]."""
        heard, q = self.heard[rows], x[:, self.programs.budgets :]
        inverse = np.linalg.inv(self._base(x, rows))
        inverse = (inverse + inverse.conj().swapaxes(1, 2)) / 2.0
        columns = (inverse @ heard.swapaxes(1, 2)).swapaxes(1, 2)
        served = np.real(np.einsum("tkd,tkd->tk", heard.conj(), columns))
        more = self.own * q / (1.0 - self.own * q * served)
        each = inverse[:, np.newaxis] + (
            more[..., np.newaxis, np.newaxis] * columns[..., np.newaxis] * columns[..., np.newaxis, :].conj()
        )
        return each, (each @ heard.swapaxes(1, 2)[:, np.newaxis]).swapaxes(2, 3)

    def _newton(self, x: Float, rows: Int) -> tuple[Float, Float]:
        """Gradient [T, i] and Hessian [T, i, i] of ``-sum_k ln det Z_k - sum_i ln x_i``, times x and its outer product."""
        budgets, heard = self.programs.budgets, self.heard[rows]
        users = heard.shape[1]
        each, columns = self._inverses(x, rows)
        first = np.arange(budgets) * (heard.shape[2] // budgets)
        # Derivative of Z_k by q_j: (1 - own [j = k]) h_j h_j^H.
        turned = 1.0 - self.own * np.eye(users)
        products = np.einsum("tid,tkjd->tkij", heard.conj(), columns)
        own = np.real(np.einsum("tkjj->tkj", products))
        hessian = np.empty((len(rows), x.shape[1], x.shape[1]))
        diagonal = np.real(np.einsum("tkdd->td", each))
        gradient = -np.concatenate(
            [np.add.reduceat(diagonal, first, axis=1), np.einsum("kj,tkj->tj", turned, own)], axis=1
        )
        squares = np.einsum("tkde->tde", each.real**2 + each.imag**2)
        hessian[:, :budgets, :budgets] = np.add.reduceat(np.add.reduceat(squares, first, axis=1), first, axis=2)
        mixed = np.einsum("kj,tkjd->tdj", turned, np.abs(columns) ** 2)
        hessian[:, :budgets, budgets:] = np.add.reduceat(mixed, first, axis=1)
        hessian[:, budgets:, :budgets] = hessian[:, :budgets, budgets:].swapaxes(1, 2)
        hessian[:, budgets:, budgets:] = np.einsum("ki,kj,tkij->tij", turned, turned, np.abs(products) ** 2)
        hessian *= x[:, :, np.newaxis] * x[:, np.newaxis]
        place = np.arange(x.shape[1])
        hessian[:, place, place] += 1.0
        return gradient * x - 1.0, hessian

    def follow(self) -> None:
        """Follow the path until each program is solved, refused, or gets no further."""
        rows = np.arange(len(self.chosen))
        for _ in range(STEPS):
            if not rows.size:
                break
            x, scaled = self.x[rows], self.cost[rows] * self.x[rows]
            gradient, hessian = self._newton(x, rows)
            solved = np.linalg.solve(hessian, np.stack([scaled, gradient], axis=2))
            along_cost, along_barrier = solved[..., 0], solved[..., 1]
            cost = scaled.sum(axis=1)
            priced = scaled[:, : self.programs.budgets].sum(axis=1)
            self.refused[rows] = cost < -NEGATIVE * priced
            # Decrement^2 of cost / mu + barrier, as a polynomial in 1 / mu.
            square = np.sum(scaled * along_cost, axis=1)
            cross = np.sum(scaled * along_barrier, axis=1)
            rest = np.sum(gradient * along_barrier, axis=1)
            weight = self.weight[rows]
            nearest = square / np.maximum(-cross, 1e-12 * square)
            weight = np.where(np.isnan(weight), nearest, weight)
            decrement = square / weight**2 + 2.0 * cross / weight + rest
            near = decrement <= NEAR
            last = 0.5 * self.accuracy * cost / self.barriers
            done = near & (weight <= 2.0 * last)
            self.step[rows] = -(along_cost / weight[:, np.newaxis] + along_barrier)
            self.solved[rows] = done
            weight = np.where(near & ~done, np.maximum(SHRINK * weight, np.maximum(last, 1e-300)), weight)
            self.weight[rows] = weight
            open_ = ~(done | self.refused[rows])
            step = -(along_cost / weight[:, np.newaxis] + along_barrier)
            slope = np.sum((scaled / weight[:, np.newaxis] + gradient) * step, axis=1)
            kept = rows[open_]
            moved = self._moved(kept, step[open_], slope[open_])
            rows = kept[moved]

    def _moved(self, rows: Int, step: Float, slope: Float) -> Bool:
        """Move points along relative steps by lengths that the barrier allows and that make it smaller; whether each moved."""
        x, cost = self.x[rows], self.cost[rows] / self.weight[rows, np.newaxis]
        before = self._log_barrier(x, rows)
        fall = np.where(step < 0, -step, 1e-300).max(axis=1)
        length = np.minimum(1.0, 0.95 / fall)
        moved = np.zeros(len(rows), dtype=bool)
        for _ in range(TRIALS):
            left = np.flatnonzero(~moved)
            if not left.size:
                break
            tried = x[left] * (1.0 + length[left, np.newaxis] * step[left])
            after = self._log_barrier(tried, rows[left])
            change = length[left] * np.sum(cost[left] * x[left] * step[left], axis=1) + before[left] - after
            good = change <= 0.05 * length[left] * slope[left]
            self.x[rows[left[good]]] = tried[good]
            moved[left[good]] = True
            length[left[~good]] *= 0.5
        return moved

    def answers(self) -> Answers:
        """Prices, multipliers and covariances at the last points."""
        rows, budgets = np.arange(len(self.chosen)), self.programs.budgets
        each, columns = self._inverses(self.x, rows)
        change = self.x * self.step
        turned = (1.0 - self.own * np.eye(self.heard.shape[1])) * change[:, np.newaxis, budgets:]
        moved = (each * change[:, np.newaxis, np.newaxis, self.programs.budget_of]) @ each
        moved = moved + (columns.swapaxes(2, 3) * turned[:, :, np.newaxis]) @ columns.conj()
        covariances = self.weight[:, np.newaxis, np.newaxis, np.newaxis] * (each - moved)
        target = self.programs.target[self.chosen]
        count, nodes, rank = target.shape
        whole = covariances.sum(axis=1).reshape(count, nodes, rank, nodes, rank)
        lit = np.real(np.einsum("tna,tnanb,tnb->tn", target.conj(), whole, target, optimize=True))
        scale = self.scale[:, np.newaxis]
        return Answers(
            self.solved, self.refused, scale * self.x[:, :budgets], scale * self.x[:, budgets:] / self.loudness**2, covariances,
            np.maximum(lit, 0.0),
        )  # fmt: skip


def eliminated(matrices: Complex, columns: Complex) -> tuple[Float, Complex]:
    """Pivots of Hermitian matrices without exchange of rows, and the columns after the elimination below each pivot.

    All pivots are positive exactly where a matrix is positive definite. Then ``b^H A^-1 b`` is the sum of ``|b'_i|^2 / p_i``.

    Parameters
    ----------
    matrices, columns
        Shapes [T, d, d] and [T, d, K].

    Returns
    -------
    pivots
        p, [T, d]; minus one throughout where the matrix is not positive definite, rounding considered.
    reduced
        b', [T, d, K]; without meaning where the pivots are minus one.
    """
    size = matrices.shape[1]
    work = np.concatenate([matrices, columns], axis=2)
    least = LEAST_PIVOT * np.einsum("tdd->td", matrices).real
    pivots = np.empty(matrices.shape[:2])
    definite = np.ones(len(matrices), dtype=bool)
    for i in range(size):
        pivots[:, i] = work[:, i, i].real
        definite &= pivots[:, i] > np.maximum(least[:, i], 0.0)
        share = np.divide(1.0, pivots[:, i], out=np.zeros(len(matrices)), where=definite)
        factor = work[:, i + 1 :, i] * share[:, np.newaxis]
        work[:, i + 1 :, i + 1 :] -= factor[:, :, np.newaxis] * work[:, i, np.newaxis, i + 1 :]
    return np.where(definite[:, np.newaxis], pivots, -1.0), work[:, :, size:]

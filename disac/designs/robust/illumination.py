"""The most light on the target along weights of the nodes, when everything that is sent counts; several problems at once.

With ``c_n = a_n^*`` and covariances R_k of the users' signals, node n puts ``t_n = c_n^H [sum_k R_k]_nn c_n`` on the target.
For weights ``g >= 0`` the support function ``v(g) = max g^T t`` of the reachable t is a semidefinite program: power limits P_b,
and ``(1 + 1/Gamma) h_k^H R_k h_k >= sum_j h_k^H R_j h_k + noise`` for each user. A sensing signal of its own adds nothing: as
a part of any user's covariance it leaves the total as it is. With prices lambda of the limits and multipliers q of the users,
the dual is

    min sum_b lambda_b P_b - noise sum_k q_k  subject to  Z_k = B - (1 + 1/Gamma) q_k h_k h_k^H >= 0 for each k,
    B = diag(lambda) - blkdiag(g_n c_n c_n^H) + sum_j q_j h_j h_j^H.

It has K unknowns and one for each limit. A primal-dual interior point solves it with its dual, the covariances. The matrices
Z_k differ from B by one column each, so one inverse serves all users. A feasible (lambda, q) of negative cost proves that no
covariances serve the users, since it is feasible without light, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.problem import RobustProblem

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.intp]

STEPS = 100
"""Most steps of a program."""

NEGATIVE = 1e-9
"""A cost of (lambda, q) below minus this share of the prices' part is a refusal. Rounding does not reach it."""

SHORT = 1e-10
"""A limit may be exceeded, or an SINR row fall short of the noise, by this much, relative."""

RESTORED = 3
"""Most changes that restore the equations. Near the end one leaves rounding."""

SAFE = 0.5
"""Largest relative change of covariances that restores their equations: below one they stay positive definite."""

LEAST_SHARE, MOST_SHARE = 1e-4, 0.8
"""Least and most of the complementarity that a step aims at, relative to the present one."""

REACH = 0.92
"""Share of a length that stays inside that is taken."""

SHORTER = 0.75
"""Factor from one length that is tried to the next."""

TRIALS = 60
"""Most lengths of one step that are tried."""

REGULAR = 1e-14
"""Added to the diagonal of a step's matrix, relative."""

LEAST_LENGTH = 1e-6
"""Shortest step: a program gets no further where rounding allows less."""

LEAST_PIVOT = 1e-15
"""Least pivot of a definite matrix, relative to its entry on the diagonal."""

ROUNDING = 1e-13
"""Rounding of a matrix's least eigenvalue, relative to its largest row sum."""


@dataclass(frozen=True)
class Answers:
    """Answers for the problems that were asked, in their order; powers in units of each problem's limit, noise one.

    Attributes
    ----------
    served
        Whether the covariances meet all limits and give every user the SINR, to :data:`SHORT`.
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

    served: Bool
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
            # Columns of equal length: beside large ones, small columns of a factorisation would be lost.
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
            matrices[:, n, :, n] = (
                weights[:, n, np.newaxis, np.newaxis] * column[:, :, np.newaxis] * column[:, np.newaxis].conj()
            )
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
    """Primal-dual path of several programs. The unknowns x are the prices and the multipliers of unit channels.

    The dual stays feasible. With ``E_ki = dZ_k / dx_i`` and slacks s of the primal's limits, the primal is
    ``sum_k tr(E_ki R_k) + s_i = b_i``, b being the cost of x. Directions are those of Helmberg, Kojima and Monteiro, with
    Mehrotra's predictor and corrector.
    """

    def __init__(self, programs: Illumination, weights: Float, chosen: Int, accuracy: float) -> None:
        self.programs, self.chosen, self.accuracy = programs, chosen, accuracy
        self.loudness, self.heard = programs.loudness[chosen], programs.unit[chosen]
        # In units of the largest light that the power can give at one node alone, all programs are alike.
        alone = weights * np.linalg.norm(programs.target[chosen], axis=2) ** 2
        self.scale = alone.max(axis=1)
        self.weights = weights / self.scale[:, np.newaxis]
        self.rewards = programs.rewards(self.weights, chosen)
        count, users, size = self.heard.shape
        self.budgets = programs.budgets
        self.own = 1.0 + 1.0 / programs.sinr
        self.turned = 1.0 - self.own * np.eye(users)
        """Derivative of Z_k by q_j: this factor of ``h_j h_j^H``, [k, j]."""
        self.first = np.arange(self.budgets) * (size // self.budgets)
        self.barriers = users * size + self.budgets + users
        self.cost = np.concatenate([np.full((count, self.budgets), 1.0 / self.budgets), -1.0 / self.loudness**2], axis=1)
        self.x = np.full((count, self.budgets + users), 2.0)
        self.x[:, self.budgets :] = 0.25 * min(1.0, programs.sinr)
        inverses, _ = self._inverses(self.x, np.arange(count))
        mu = self.x[:, : self.budgets].mean(axis=1) / self.barriers
        self.covariances: Complex = mu[:, np.newaxis, np.newaxis, np.newaxis] * inverses
        self.slack = mu[:, np.newaxis] / self.x
        self.solved, self.refused = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)

    def _base(self, x: Float, rows: Int) -> Complex:
        """B of points x of the programs ``rows``, [T, d, d]."""
        heard = self.heard[rows]
        loaded = heard.swapaxes(1, 2) * x[:, np.newaxis, self.budgets :]
        base = loaded @ heard.conj() - self.rewards[rows]
        place = np.arange(base.shape[1])
        base[:, place, place] += x[:, self.programs.budget_of]
        return base

    def _dual_feasible(self, x: Float, rows: Int) -> Bool:
        """Whether x is positive and every Z_k is positive definite, [T]."""
        pivots, reduced = eliminated(self._base(x, rows), self.heard[rows].swapaxes(1, 2))
        definite = np.asarray((pivots > 0).all(axis=1) & (x > 0).all(axis=1))
        pivots = np.where(definite[:, np.newaxis], pivots, 1.0)
        served = np.sum(np.abs(reduced) ** 2 / pivots[:, :, np.newaxis], axis=1)
        left = 1.0 - self.own * x[:, self.budgets :] * served
        return definite & np.asarray((left > LEAST_PIVOT).all(axis=1))

    def _inverses(self, x: Float, rows: Int) -> tuple[Complex, Complex]:
        """``S_k = Z_k^-1`` [T, K, d, d] and ``S_k h_j`` as columns, [T, K, d, j]."""
        heard, q = self.heard[rows], x[:, self.budgets :]
        found = np.linalg.inv(self._base(x, rows))
        inverse = (found + found.conj().swapaxes(1, 2)) / 2.0
        columns = (inverse @ heard.swapaxes(1, 2)).swapaxes(1, 2)
        served = np.real(np.einsum("tkd,tkd->tk", heard.conj(), columns))
        more = self.own * q / np.maximum(1.0 - self.own * q * served, LEAST_PIVOT)
        outer = columns[..., np.newaxis] * columns[..., np.newaxis, :].conj()
        each = np.asarray(inverse[:, np.newaxis] + more[..., np.newaxis, np.newaxis] * outer, dtype=np.complex128)
        return each, each @ heard.swapaxes(1, 2)[:, np.newaxis]

    def _summed(self, matrices: Complex, columns: Complex, rows: Int) -> Float:
        """``sum_k tr(E_ki A_k)`` of Hermitian A_k [T, K, d, d], given with A_k h_j as columns, [T, i]."""
        diagonal = np.einsum("tkdd->td", matrices).real
        received = np.einsum("tjd,tkdj->tkj", self.heard[rows].conj(), columns).real
        by_budget = np.add.reduceat(diagonal, self.first, axis=1)
        return np.concatenate([by_budget, np.einsum("kj,tkj->tj", self.turned, received)], axis=1)

    def _matrix(self, r: Complex, rh: Complex, s: Complex, sh: Complex, rows: Int) -> Float:
        """``sum_k Re tr(E_ki R_k E_kj S_k)``, [T, i, j]."""
        budgets, heard = self.budgets, self.heard[rows]
        size = budgets + heard.shape[1]
        matrix = np.empty((len(rows), size, size))
        both = np.sum(r.real * s.real + r.imag * s.imag, axis=1)
        matrix[:, :budgets, :budgets] = np.add.reduceat(np.add.reduceat(both, self.first, axis=1), self.first, axis=2)
        seen = np.einsum("kj,tkdj->tdj", self.turned, rh.real * sh.real + rh.imag * sh.imag)
        matrix[:, :budgets, budgets:] = np.add.reduceat(seen, self.first, axis=1)
        matrix[:, budgets:, :budgets] = matrix[:, :budgets, budgets:].swapaxes(1, 2)
        of_r, of_s = (heard.conj()[:, np.newaxis] @ each for each in (rh, sh))
        products = of_r.real * of_s.real + of_r.imag * of_s.imag
        matrix[:, budgets:, budgets:] = np.einsum("ki,kj,tkij->tij", self.turned, self.turned, products)
        return matrix

    def _between(self, left: Complex, left_h: Complex, dx: Float, s: Complex, sh: Complex) -> Complex:
        """Hermitian part of ``A_k dZ_k S_k`` for A_k [T, K, d, d] given with A_k h_j, [T, K, d, d]."""
        changed = self.turned * dx[:, np.newaxis, self.budgets :]
        product = (left * dx[:, np.newaxis, np.newaxis, self.programs.budget_of]) @ s
        product += (left_h * changed[:, :, np.newaxis]) @ sh.conj().swapaxes(2, 3)
        return (product + product.conj().swapaxes(2, 3)) / 2.0

    def _columns(self, matrices: Complex, rows: Int) -> Complex:
        """``A_k h_j`` as columns, [T, K, d, j]."""
        return matrices @ self.heard[rows].swapaxes(1, 2)[:, np.newaxis]

    def _light(self, matrices: Complex, rows: Int) -> Float:
        """``sum_k tr(A_g R_k)``, [T]."""
        return np.einsum("tde,tkde->t", self.rewards[rows].conj(), matrices).real

    def _shortfall(self, rows: Int) -> Float:
        """Largest relative violation of a limit or an SINR row by the covariances, [T]."""
        r = self.covariances[rows]
        over = self._summed(r, self._columns(r, rows), rows) - self.cost[rows]
        return np.maximum(over / np.abs(self.cost[rows]), 0.0).max(axis=1)

    def _restore(self, rows: Int) -> None:
        """Change the covariances of least relative size by which the primal's equations hold, where that leaves them positive.

        Short steps and rounding leave a residual: ``R_k + R_k Y_k R_k`` with ``Y_k = sum_i y_i E_ki`` has none. It is positive
        definite where the relative change ``R^1/2 Y R^1/2`` is below one.
        """
        for _ in range(RESTORED):
            rows = rows[self._shortfall(rows) > SHORT]
            if not rows.size:
                return
            r, slack = self.covariances[rows], self.slack[rows]
            rh = self._columns(r, rows)
            residual = self.cost[rows] - self._summed(r, rh, rows) - slack
            y = np.einsum("tij,tj->ti", _inverted(self._matrix(r, rh, r, rh, rows), slack**2), residual)
            safe = np.sum(y * residual, axis=1) <= SAFE**2
            self.covariances[rows[safe]] += self._between(r, rh, y, r, rh)[safe]
            self.slack[rows[safe]] += (slack**2 * y)[safe]
            rows = rows[safe]

    def follow(self) -> None:
        """Follow the path until each program is solved, refused, or gets no further."""
        rows = np.arange(len(self.chosen))
        for _ in range(STEPS):
            self._restore(rows)
            rows = rows[~self._ended(rows)]
            if not rows.size:
                return
            rows = rows[self._step(rows)]

    def _ended(self, rows: Int) -> Bool:
        """Whether each of the programs ``rows`` is solved or refused, which is noted."""
        scaled = self.cost[rows] * self.x[rows]
        cost, light = scaled.sum(axis=1), self._light(self.covariances[rows], rows)
        self.refused[rows] = cost < -NEGATIVE * scaled[:, : self.budgets].sum(axis=1)
        close = np.abs(cost - light) <= self.accuracy * cost
        self.solved[rows] = close & (self._shortfall(rows) <= SHORT)
        return self.refused[rows] | self.solved[rows]

    def _step(self, rows: Int) -> Bool:
        """One step of the programs ``rows``; whether each got further."""
        x, slack, r, b = self.x[rows], self.slack[rows], self.covariances[rows], self.cost[rows]
        s, sh = self._inverses(x, rows)
        rh = self._columns(r, rows)
        residual = b - self._summed(r, rh, rows) - slack
        light = self._light(r, rows)
        # Mean complementarity: sum_k tr(R_k Z_k) + s^T x, without forming Z_k.
        mu = (np.sum((b - residual) * x, axis=1) - light) / self.barriers
        inverse = _inverted(self._matrix(r, rh, s, sh, rows), slack / x)
        gradient = self._summed(s, sh, rows) + 1.0 / x

        def towards(target: Float, bent: Complex | float, bent_x: Float | float, side: Float) -> tuple[Float, Complex, Float]:
            """Change of x, R and s with complementarity ``target``, from the right side of the equations."""
            dx = np.einsum("tij,tj->ti", inverse, side)
            wide = target[:, np.newaxis, np.newaxis, np.newaxis]
            dr = wide * s - r - self._between(r, rh, dx, s, sh) - bent
            ds = (target[:, np.newaxis] - slack * dx - bent_x) / x - slack
            return dx, dr, ds

        dx, dr, ds = towards(np.zeros(len(rows)), 0.0, 0.0, -b)
        ahead, up = self._length(x, dx, rows), self._primal_length(r, dr, slack, ds)
        # What complementarity the predictor would leave says how far the corrector aims.
        predicted = x + ahead[:, np.newaxis] * dx
        left = np.sum((b - (1.0 - up)[:, np.newaxis] * residual) * predicted, axis=1) - light - up * self._light(dr, rows)
        share = np.clip(left / (self.barriers * mu), 1e-6, 1.0) ** np.maximum(1.0, 3.0 * np.minimum(ahead, up) ** 2)
        target = np.clip(share, LEAST_SHARE, MOST_SHARE) * mu
        drh = self._columns(dr, rows)
        bent = self._between(dr, drh, dx, s, sh)
        bent_x = ds * dx
        side = target[:, np.newaxis] * gradient - b - self._summed(bent, self._columns(bent, rows), rows) - bent_x / x
        dx, dr, ds = towards(target, bent, bent_x, side)
        ahead, up = self._length(x, dx, rows), self._primal_length(r, dr, slack, ds)
        on = np.asarray((ahead > LEAST_LENGTH) & (up > LEAST_LENGTH))
        self.x[rows[on]] = (x + ahead[:, np.newaxis] * dx)[on]
        self.slack[rows[on]] = (slack + up[:, np.newaxis] * ds)[on]
        self.covariances[rows[on]] = (r + up[:, np.newaxis, np.newaxis, np.newaxis] * dr)[on]
        return on

    def _length(self, x: Float, dx: Float, rows: Int) -> Float:
        """Length of a step of x that leaves all Z_k positive definite, at most one, [T]."""

        def stays(length: Float, which: Int) -> Bool:
            return self._dual_feasible(x[which] + length[:, np.newaxis] * dx[which], rows[which])

        return _tried(stays, np.max(-dx / x, axis=1))

    def _primal_length(self, r: Complex, dr: Complex, slack: Float, ds: Float) -> Float:
        """Length of a step of R and s that leaves them positive, at most one, [T]."""
        users, size = r.shape[1:3]

        def stays(length: Float, which: Int) -> Bool:
            moved = (r[which] + length[:, np.newaxis, np.newaxis, np.newaxis] * dr[which]).reshape(-1, size, size)
            pivots, _ = eliminated(moved, moved[:, :, :0])
            return np.asarray((pivots > 0).reshape(-1, users * size).all(axis=1))

        return _tried(stays, np.max(-ds / slack, axis=1))

    def answers(self) -> Answers:
        """Prices, multipliers and covariances at the last points."""
        target = self.programs.target[self.chosen]
        count, nodes, rank = target.shape
        whole = self.covariances.sum(axis=1).reshape(count, nodes, rank, nodes, rank)
        lit = np.real(np.einsum("tna,tnanb,tnb->tn", target.conj(), whole, target, optimize=True))
        scale = self.scale[:, np.newaxis]
        return Answers(
            self._shortfall(np.arange(count)) <= SHORT, self.refused, scale * self.x[:, : self.budgets],
            scale * self.x[:, self.budgets :] / self.loudness**2, self.covariances, np.maximum(lit, 0.0),
        )  # fmt: skip


def _inverted(matrix: Float, diagonal: Float) -> Float:
    """Inverse of ``matrix + diag(diagonal)``, [T, i, i], in units of its own diagonal: its entries differ by many orders."""
    place = np.arange(matrix.shape[1])
    matrix[:, place, place] += diagonal
    unit = 1.0 / np.sqrt(matrix[:, place, place])
    scale = unit[:, :, np.newaxis] * unit[:, np.newaxis]
    matrix *= scale
    matrix[:, place, place] += REGULAR
    inverse: Float = np.linalg.inv(matrix) * scale
    return inverse


def _tried(stays: Callable[[Float, Int], Bool], fall: Float) -> Float:
    """Lengths at most one at which points stay inside, tried from long to short, with a distance from the border.

    ``fall`` [T] is the largest relative decrease of a positive number by a whole step.
    """
    length = np.minimum(1.0 / REACH, 0.99 / np.maximum(fall, 1e-300))
    found = np.zeros(len(fall))
    which = np.arange(len(fall))
    for _ in range(TRIALS):
        if not which.size:
            break
        inside = stays(length[which], which)
        found[which[inside]] = np.minimum(REACH * length[which[inside]], 1.0)
        which = which[~inside]
        length[which] *= SHORTER
    return found


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

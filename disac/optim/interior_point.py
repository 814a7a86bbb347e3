"""Primal-dual interior point for the least trace of an inverse Fisher information over covariances.

The family of problems, in units where all is of order one:

    minimise    tr(S^T (F(R) + J)^-1 S)
    subject to  sum of diagonal entries of all R over each power row  <=  its budget,
                sum (1 + Gamma) h^H R_u h - Gamma h^H (sum_v R_v) h  >=  1  for each service row of a user u,
                R >= 0.

F is linear in the covariances and made of *dense* real parameters (any derivative matrix) and of complex *atoms* whose
derivative has rank one. The dual is taken in (Y, lambda, mu) with ``f = max_Y 2 tr(S^T Y) - tr(Y^T (F + J) Y)``:

    maximise    2 tr(S^T Y) - tr(Y^T J Y) - budget^T lambda + 1^T mu
    subject to  Phi_u = diag(lambda) - G(Y) + sum_v mu_v (Gamma - (1 + Gamma) [u = v]) B_v >= 0,  lambda, mu >= 0,

where tr(Y^T F(R) Y) = <G(Y), R>. Phi is concave in Y, its log-determinant self-concordant (a Schur complement of an affine
matrix), so Newton's method on the perturbed optimality conditions works with Phi itself as the slack: every iterate is
strictly dual feasible. At Y = 0, Phi only grows, so an iterate with sum mu > budget^T lambda proves that no covariance serves
the users.

Service multipliers belong to one cell (a subcarrier, or a group of them) each, so the Newton matrix is an arrow.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.int64]
Outcome = Literal["optimal", "infeasible", "stalled"]

MOST_ITERATIONS = 60

VIOLATION = 1e-8
"""What may be left of a constraint: relative to a budget, or to a service row's right-hand side."""


@dataclass(frozen=True)
class Block:
    """Covariances of one shape on the same antennas: one for each of its cells and each stream.

    Attributes
    ----------
    cells
        Number of the cell of each entry, shape [c]; a cell occurs once.
    users
        User that each stream serves, shape [u]; -1 for a stream that serves none.
    power
        What a unit on the diagonal costs each power row, shape [c, power rows, d], or [1, ...] where all cells agree.
    channels
        ``h`` of the service rows, shape [c, r, t, d]: ``B = sum_t h_t h_t^H``.
    dense
        Derivative rows of the dense parameters at each receiver, shape [c, x, rho, D, d].
    left, right
        Rank-one derivatives ``left right^H`` of the atoms: shapes [c, x, k, rho] and [c, k, m, d].
    atoms
        Number of the atom (receiver x, family k, member m), shape [x, k, m].
    """

    cells: Int
    users: Int
    power: Float
    channels: Complex
    dense: Complex
    left: Complex
    right: Complex
    atoms: Int


@dataclass(frozen=True)
class Program:
    """A problem of the family.

    Attributes
    ----------
    blocks
        Together they hold every covariance.
    cells
        How many there are.
    row_user
        User that each service row of a cell speaks for, shape [r].
    sinr
        Gamma, linear.
    budget
        Shape [power rows].
    atoms
        Number of complex atoms E.
    selection
        ``S``, shape [D + 2E, q]: parameters are dense ones, real parts, imaginary parts.
    prior
        ``J``, shape [D + 2E, D + 2E].
    """

    blocks: tuple[Block, ...]
    cells: int
    row_user: Int
    sinr: float
    budget: Float
    atoms: int
    selection: Float
    prior: Float

    def service(self, users: Int) -> Float:
        """``Gamma - (1 + Gamma) [row and stream of one user]``: weight of a row's B in a stream's Phi, shape [r, u]."""
        own = self.row_user[:, np.newaxis] == users
        weight: Float = self.sinr - (1.0 + self.sinr) * own
        return weight


@dataclass(frozen=True)
class Result:
    """Where the method ended; everything in the program's units.

    ``covariances`` holds one array [c, u, d, d] per block, strictly positive definite, as all multipliers are. For
    ``infeasible`` the multipliers (power, service) are the ray that proves it.
    """

    outcome: Outcome
    covariances: tuple[Complex, ...]
    fisher: Float
    power: Float
    service: Float
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
        ``stalled`` where neither was reached; the iterate is then the best the method has.

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
        # Below rounding there is nothing to gain: the best so far is what the arithmetic gives.
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
            # Near the edge of what is feasible, primal and dual drift apart: start again from the dual alone.
            state.recentre(30.0 if state.recentred == 0 else 10.0)
            short = 0
    state.take(best)
    return Result(
        outcome, best.covariances, best.fisher, best.power, best.service,
        state.value(), state.bound(), iterations, time.perf_counter() - started, tuple(log),
    )  # fmt: skip


@dataclass(frozen=True)
class _Kept:
    """An iterate to come back to; a score below one meets what was asked."""

    score: float
    covariances: tuple[Complex, ...]
    fisher: Float
    power: Float
    service: Float


def block_information(block: Block, covariance: Complex, atoms: int) -> Float:
    """Fisher information of a block's covariances summed over streams, ``F_ik = Re tr(H_i^H H_k R)``.

    Parameters
    ----------
    covariance
        Shape [c, d, d].
    atoms
        Number of atoms E of the program.

    Returns
    -------
    float64, shape [D + 2E, D + 2E]
    """
    cells, receivers, rho, dense, size = block.dense.shape
    families, members = block.right.shape[1:3]
    share = np.zeros((dense + 2 * atoms, dense + 2 * atoms))
    rows = block.dense.reshape(cells, receivers * rho * dense, size)
    weighted = (rows @ covariance).reshape(cells, receivers * rho, dense, size)
    by_row = np.swapaxes(block.dense.reshape(cells, receivers * rho, dense, size), 2, 3).reshape(-1, dense)
    share[:dense, :dense] = (by_row.conj().T @ np.swapaxes(weighted, 2, 3).reshape(-1, dense)).real
    left, flat_right = block.left, block.right.reshape(cells, families * members, size)
    right_t = np.swapaxes(flat_right, -1, -2)
    # s^H R H_i^H abar
    image = (weighted.reshape(cells, -1, size) @ right_t).conj().reshape(cells, receivers, rho, dense, families, members)
    mixed = np.einsum("cxrikm,cxkr->ixkm", image, left).reshape(dense, -1)
    index = block.atoms.reshape(-1)
    share[:dense, dense + index] = mixed.real
    share[:dense, dense + atoms + index] = -mixed.imag
    share[dense + index, :dense] = mixed.real.T
    share[dense + atoms + index, :dense] = -mixed.imag.T
    seen = ((flat_right.conj() @ covariance) @ right_t).reshape(cells, families, members, families, members)
    across = left.conj() @ np.swapaxes(left, -1, -2)
    own = np.einsum("cxkl,clnkm->xkmln", across, seen).reshape(receivers, families * members, families * members)
    # Atoms of different receivers are different ones, so no entry is met twice.
    e = block.atoms.reshape(receivers, -1)
    row, column = dense + e[:, :, np.newaxis], dense + e[:, np.newaxis]
    real, imaginary = own.real, own.imag
    share[row, column] = real
    share[row + atoms, column + atoms] = real
    share[row, column + atoms] = -imaginary
    share[row + atoms, column] = imaginary
    return share


def _adjoint(matrix: Complex) -> Complex:
    return np.conj(np.swapaxes(matrix, -1, -2))


def _symmetric(matrix: Complex) -> Complex:
    half: Complex = 0.5 * (matrix + _adjoint(matrix))
    return half


class _BlockState:
    """A block's matrices at the current point, and its share of the Newton system."""

    def __init__(self, program: Program, block: Block) -> None:
        self.data, self.streams, self.weights = block, len(block.users), program.service(block.users)
        self.columns = program.selection.shape[1]
        cells, rows, terms, size = block.channels.shape
        self.size, self.count = size, cells
        self.flat_channels = block.channels.reshape(cells, rows * terms, size)
        receivers, rho, dense = block.dense.shape[1:4]
        self.dense_rows = block.dense.reshape(cells, receivers * rho, dense * size)
        self.flat_right = block.right.reshape(cells, -1, size)
        atoms, q = program.atoms, self.columns
        column = np.arange(q)
        self.real_index = ((dense + block.atoms)[..., np.newaxis] * q + column).reshape(-1)
        self.imaginary_index = ((dense + atoms + block.atoms)[..., np.newaxis] * q + column).reshape(-1)
        self.parameters = dense
        self.total_atoms = atoms
        self.phi: Any = np.zeros((cells, self.streams, size, size), dtype=np.complex128)
        self.r, self.root, self.inverse = self.phi, self.phi, self.phi
        self.response = np.zeros((cells, receivers, q, rho, size), dtype=np.complex128)

    def respond(self, fisher: Float) -> Complex:
        """``H(Y_c)`` for each column, shape [c, x, q, rho, d]."""
        block, dense = self.data, self.parameters
        cells, receivers, rho = block.dense.shape[:3]
        answer = np.einsum("cxrid,iq->cxqrd", block.dense, fisher[:dense], optimize=False)
        z = fisher[dense : dense + self.total_atoms] + 1j * fisher[dense + self.total_atoms :]
        sums = np.einsum("xkmq,ckmd->cxkqd", z[block.atoms], block.right.conj())
        atoms = np.swapaxes(block.left, -1, -2) @ sums.reshape(*sums.shape[:3], -1)
        return answer + np.swapaxes(atoms.reshape(cells, receivers, rho, self.columns, self.size), 2, 3)

    def gram(self, a: Complex, b: Complex) -> Complex:
        """``sum H_a^H H_b`` over receivers, columns and rows: shape [c, d, d]."""
        left, right = a.reshape(self.count, -1, self.size), b.reshape(self.count, -1, self.size)
        return _adjoint(left) @ right

    def affine(self, power: Float, service: Float) -> Complex:
        """The part of Phi that is linear in (lambda, mu): shape [c, u, d, d]."""
        h = self.data.channels
        weight = np.einsum("cr,ru->cur", service[self.data.cells], self.weights)
        scaled = weight[..., np.newaxis, np.newaxis] * h[:, np.newaxis]
        flat = scaled.reshape(self.count, self.streams, -1, self.size)
        part: Complex = np.swapaxes(flat, -1, -2) @ self.flat_channels.conj()[:, np.newaxis]
        diagonal = np.arange(self.size)
        part[..., diagonal, diagonal] += (power @ self.data.power)[:, np.newaxis]
        return part

    def spend(self, diagonals: Float | Complex) -> Any:
        """Cost to each power row of what stands on diagonals [c, d, ...], summed over cells."""
        flat = diagonals.reshape(*diagonals.shape[:2], -1)
        spent = (self.data.power @ flat).sum(axis=0)
        return spent.reshape(len(spent), *diagonals.shape[2:])

    def pull_power(self, matrix: Complex) -> Float:
        """Sum of diagonals over each power row, for matrices [c, u, d, d]."""
        return self.spend(np.einsum("cuii->ci", matrix).real)

    def pull_service(self, matrix: Complex) -> Float:
        """Weighted ``h^H X h`` of each service row, shape [c, r]."""
        h = self.flat_channels[:, np.newaxis]
        heard = ((h.conj() @ matrix) * h).sum(axis=-1).real
        rows = heard.reshape(*heard.shape[:2], *self.data.channels.shape[1:3]).sum(axis=-1)
        return np.einsum("cur,ru->cr", rows, self.weights)

    def newton(self, inverse: Complex) -> tuple[Float, Float, Float]:
        """Shares of the Newton matrix: global [g, g], global by service [c, g, r], service [c, r, r].

        Global unknowns are Y (row by row), then lambda. Entry (i, k) is ``Re tr(D_i A D_k B)`` summed over streams, with
        ``D = dPhi``, A the inverse of Phi and B the covariance.
        """
        block, q, d, u = self.data, self.columns, self.size, self.streams
        c, receivers, families, members = self.count, *block.atoms.shape
        dense, n_y = self.parameters, (self.parameters + 2 * self.total_atoms) * self.columns
        rows, terms = block.channels.shape[1:3]
        a, b, w = inverse, self.r, self.weights
        size_g = n_y + block.power.shape[1]
        whole = np.zeros((size_g, size_g))
        to_service = np.zeros((c, size_g, rows))

        h = self.flat_channels
        h_t = np.swapaxes(h, -1, -2)[:, np.newaxis]
        h_a, h_b = h.conj()[:, np.newaxis] @ a, h.conj()[:, np.newaxis] @ b
        h_a_h, h_b_h = h_a @ h_t, h_b @ h_t
        products = (h_a_h * np.swapaxes(h_b_h, -1, -2)).real.reshape(c, u, rows, terms, rows, terms).sum(axis=(3, 5))
        service = np.einsum("curs,ru,su->crs", products, w, w)

        # lambda with lambda, and with the service rows
        pair = np.einsum("cuij,cuji->cij", a, b).real
        if len(block.power) == 1:
            pair = pair.sum(axis=0, keepdims=True)
        whole[n_y:, n_y:] = (block.power @ pair @ np.swapaxes(block.power, 1, 2)).sum(axis=0)
        cross = (h_a.conj() * h_b).real.reshape(c, u, rows, terms, d).sum(axis=3)
        to_service[:, n_y:] = block.power @ np.einsum("curd,ru->cdr", cross, w)

        # atoms: D(z) = conj(z) s g^H + z g s^H with g = -H(Y)^H left
        g = -np.einsum("cxqrd,cxkr->cxkqd", self.response.conj(), block.left)
        g_flat = g.reshape(c, -1, d)
        s, s_t = self.flat_right, np.swapaxes(self.flat_right, -1, -2)[:, np.newaxis]
        g_t = np.swapaxes(g_flat, -1, -2)[:, np.newaxis]
        g_a, g_b = g_flat.conj()[:, np.newaxis] @ a, g_flat.conj()[:, np.newaxis] @ b
        s_a, s_b = s.conj()[:, np.newaxis] @ a, s.conj()[:, np.newaxis] @ b
        z = c * u
        gs_shape = (z, receivers, families, q, families, members)
        g_a_s, g_b_s = (g_a @ s_t).reshape(gs_shape), (g_b @ s_t).reshape(gs_shape)
        ss_shape = (z, families, members, families, members)
        s_a_s, s_b_s = (s_a @ s_t).reshape(ss_shape), (s_b @ s_t).reshape(ss_shape)
        gg_shape = (z, receivers, families, q, receivers, families, q)
        g_a_g, g_b_g = (g_a @ g_t).reshape(gg_shape), (g_b @ g_t).reshape(gg_shape)
        n = receivers * families * members * q
        # Sums over cells and streams as matrix products, one for each pair of families.
        first = g_a_s.transpose(2, 4, 1, 3, 5, 0).reshape(families, families, -1, z)
        second = g_b_s.transpose(4, 2, 0, 1, 3, 5).reshape(families, families, z, -1)
        p = (first @ second).reshape(families, families, receivers, q, members, receivers, q, members)
        p = p.transpose(2, 0, 7, 3, 5, 1, 4, 6).reshape(n, n)
        # The other order of A and B is the same sum with both exchanged and conjugated.
        gg = np.concatenate([g_a_g, g_b_g]).transpose(2, 5, 1, 3, 4, 6, 0).reshape(families, families, -1, 2 * z)
        ss = np.concatenate([s_b_s, s_a_s]).transpose(3, 1, 0, 2, 4).reshape(families, families, 2 * z, -1)
        both = (gg @ ss).reshape(families, families, receivers, q, receivers, q, members, members)
        both = both.transpose(2, 0, 7, 3, 4, 1, 6, 5).reshape(n, n)
        q_re, q_im = both.real, both.imag
        re, im = self.real_index, self.imaginary_index
        p_re, p_im = p.real + p.real.T, p.imag + p.imag.T
        whole[np.ix_(re, re)] = q_re + p_re
        whole[np.ix_(im, im)] = q_re - p_re
        mixed = p_im - q_im
        whole[np.ix_(re, im)] = mixed
        whole[np.ix_(im, re)] = mixed.T

        def place(first: Complex, second: Complex, into: Any) -> None:
            """Store the row of an unknown with the atoms: conj(z) first + z second."""
            into[..., re] = (first + second).real
            into[..., im] = first.imag - second.imag

        parts = (c, u, receivers, families, q)
        member = (c, u, families, members)
        power_rows = np.zeros((block.power.shape[1], size_g))
        place(
            self.spend(np.einsum("cuxkqd,cukmd->cdxkmq", g_a.reshape(*parts, d), s_b.conj().reshape(*member, d))).reshape(
                -1, n
            ),
            self.spend(np.einsum("cukmd,cuxkqd->cdxkmq", s_a.reshape(*member, d), g_b.conj().reshape(*parts, d))).reshape(
                -1, n
            ),
            power_rows,
        )
        whole[n_y:, :n_y] += power_rows[:, :n_y]
        whole[:n_y, n_y:] += power_rows[:, :n_y].T

        g_a_h, g_b_h = ((m @ h_t).reshape(*parts, rows, terms) for m in (g_a, g_b))
        s_a_h, s_b_h = ((m @ h_t).reshape(*member, rows, terms) for m in (s_a, s_b))
        by_service = np.zeros((c, rows, size_g))
        weight = w.T[:, np.newaxis, np.newaxis, :, np.newaxis]
        place(
            np.einsum("cuxkqrt,cukmrt->crxkmq", g_a_h, weight * s_b_h.conj()).reshape(c, rows, n),
            np.einsum("cukmrt,cuxkqrt->crxkmq", weight * s_a_h, g_b_h.conj()).reshape(c, rows, n),
            by_service,
        )
        to_service[:, :n_y] += np.swapaxes(by_service, 1, 2)[:, :n_y]

        if dense:
            self._dense_rows(a, g, whole, to_service, n_y, place)
        return whole, to_service, service

    def _dense_rows(self, a: Complex, g: Complex, whole: Float, to_service: Float, n_y: int, place: Any) -> None:
        """Dense parameters with themselves, the atoms, lambda and the service rows."""
        block, q, d, c, dense = self.data, self.columns, self.size, self.count, self.parameters
        w, rows, terms = self.weights, *block.channels.shape[1:3]
        response = self.response.transpose(0, 1, 3, 2, 4).reshape(c, -1, q * d)
        change = -(_adjoint(self.dense_rows) @ response).reshape(c, dense, d, q, d).transpose(0, 1, 3, 2, 4)
        change = (change + _adjoint(change)).reshape(c, dense * q, d, d)
        n_d = dense * q
        u = self.streams
        side = np.swapaxes(change, 1, 2).reshape(c, d, n_d * d)
        b_d = (self.r.reshape(c, u * d, d) @ side).reshape(c, u, d, n_d, d).transpose(0, 3, 2, 1, 4)
        total = (b_d.reshape(c, n_d * d, u * d) @ a.reshape(c, u * d, d)).reshape(c, n_d, d, d)
        flat = np.swapaxes(total, -1, -2).transpose(1, 0, 2, 3).reshape(n_d, -1)
        other = change.transpose(1, 0, 2, 3).reshape(n_d, -1)
        whole[:n_d, :n_d] += flat.real @ other.real.T - flat.imag @ other.imag.T
        by_power = self.spend(np.einsum("cidd->cdi", total).real)
        whole[n_y:, :n_d] += by_power
        whole[:n_d, n_y:] += by_power.T
        # g^H N s and s^H N g
        families, members = block.right.shape[1:3]
        n_s = (total.reshape(c, n_d * d, d) @ np.swapaxes(self.flat_right, -1, -2)).reshape(c, n_d, d, families, members)
        s_n = self.flat_right.conj()[:, np.newaxis] @ total
        g_rows = g.transpose(2, 1, 3, 0, 4).reshape(families, -1, c * d)
        n_s = n_s.transpose(3, 0, 2, 1, 4).reshape(families, c * d, -1)
        receivers = block.atoms.shape[0]
        first = (g_rows.conj() @ n_s).reshape(families, receivers, q, n_d, members).transpose(3, 1, 0, 4, 2)
        s_n = s_n.reshape(c, n_d, families, members, d).transpose(2, 0, 4, 1, 3).reshape(families, c * d, -1)
        second = (g_rows @ s_n).reshape(families, receivers, q, n_d, members).transpose(3, 1, 0, 4, 2)
        row = np.zeros((n_d, whole.shape[1]))
        place(first.reshape(n_d, -1), second.reshape(n_d, -1), row)
        whole[:n_d] += row
        whole[:, :n_d] += row.T
        # h^H B D_i A h = <D_i, conj(B h) (A h)^T>
        h = self.flat_channels.conj()[:, np.newaxis]
        outer = (h @ self.r)[..., np.newaxis] * (h @ a).conj()[..., np.newaxis, :]
        heard = outer.reshape(c, -1, d * d) @ np.swapaxes(change.reshape(c, n_d, d * d), -1, -2)
        heard = heard.real.reshape(c, u, rows, terms, n_d).sum(axis=3)
        to_service[:, :n_d] += np.einsum("curi,ru->cir", heard, w)


class _State:
    """The iterate: (Y, lambda, mu) and the covariances with the multipliers' own slacks p and s."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.blocks = [_BlockState(program, block) for block in program.blocks]
        self.recentred = 0
        self._start()

    # -- start -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        program = self.program
        spread = np.zeros(len(program.budget))
        for b in self.blocks:
            spread += b.spend(np.ones((b.count, b.size)))
        used = spread > 0  # a power row may be nobody's
        even = program.budget / np.maximum(spread, 1.0)
        information = program.prior.copy()
        for b in self.blocks:
            covariance = np.zeros((b.count, b.size, b.size), dtype=np.complex128)
            diagonal = np.arange(b.size)
            power = b.data.power
            covariance[:, diagonal, diagonal] = (even @ power) / np.maximum(power.sum(axis=1), 1e-300)
            information += block_information(b.data, covariance, program.atoms)
        self.fisher = 0.7 * linalg.solve(information, program.selection, assume_a="pos")
        self.power = np.zeros(len(program.budget))
        self.service = np.zeros((program.cells, len(program.row_user)))
        reward, loudest = 0.0, 0.0
        for b in self.blocks:
            b.response = b.respond(self.fisher)
            reward = max(reward, float(np.linalg.eigvalsh(b.gram(b.response, b.response)).max()))
            loudest = max(loudest, float((np.abs(b.data.channels) ** 2).sum(axis=(2, 3)).max()))
        rows = len(program.row_user)
        self.service[:] = 0.1 * reward / (rows * loudest)
        self.power[:] = 2.0 * (reward + rows * float(self.service.max()) * loudest)
        self._refresh()
        diagonal_sum = np.sum([b.pull_power(b.inverse) for b in self.blocks], axis=0)
        self._centred(float(np.mean(program.budget[used] / diagonal_sum[used])))

    def _centred(self, centre: float) -> None:
        """Covariances and slacks that match the dual point exactly, at the given distance from the boundary."""
        for b in self.blocks:
            b.r = centre * b.inverse
        self.power_slack = centre / self.power
        self.service_slack = centre / self.service
        self._known = None

    def recentre(self, factor: float) -> None:
        """Take covariances and slacks anew from the dual point."""
        self._centred(self.centre() * factor)
        self.recentred += 1

    def _refresh(self) -> None:
        """Phi and its inverse at the current dual point; response is up to date."""
        for b in self.blocks:
            b.phi = b.affine(self.power, self.service) - b.gram(b.response, b.response)[:, np.newaxis]
            root: Any = np.linalg.inv(np.linalg.cholesky(b.phi))
            b.root, b.inverse = root, _adjoint(root) @ root

    # -- what is known of the iterate --------------------------------------------------------------------------------

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
        return gain - float(program.budget @ self.power) + float(self.service.sum())

    def proves_infeasible(self) -> bool:
        """Whether (lambda, mu) with Y = 0 is an improving ray."""
        return float(self.service.sum()) > float(self.program.budget @ self.power) * (1.0 + 1e-9)

    def centre(self) -> float:
        """Mean complementarity."""
        total, count = float(self.power @ self.power_slack + np.sum(self.service * self.service_slack)), self.power.size
        count += self.service.size
        for b in self.blocks:
            total += float(np.einsum("cuij,cuji->", b.r, b.phi).real)
            count += b.count * b.streams * b.size
        return total / count

    def violation(self) -> float:
        """Largest violation of a power budget (relative) or of a service row (of its right-hand side, one)."""
        nothing = (np.zeros_like(self.power), np.zeros_like(self.service))
        power, service = self._primal_rows([b.r for b in self.blocks], *nothing)
        return max(float((power / self.program.budget).max()), float(service.max()), 0.0)

    def kept(self, score: float) -> _Kept:
        """The iterate as it stands; its arrays are replaced, never changed, by later steps."""
        return _Kept(score, tuple(b.r for b in self.blocks), self.fisher, self.power, self.service)

    def take(self, kept: _Kept) -> None:
        """Value and bound as of an iterate."""
        for b, covariance in zip(self.blocks, kept.covariances, strict=True):
            b.r = covariance
        self.fisher, self.power, self.service, self._known = kept.fisher, kept.power, kept.service, None

    def _primal_rows(self, matrices: list[Complex], p: Float, s: Float) -> tuple[Float, Float]:
        power, service = p - self.program.budget, 1.0 + s
        for b, matrix in zip(self.blocks, matrices, strict=True):
            power = power + b.pull_power(matrix)
            np.add.at(service, b.data.cells, b.pull_service(matrix))
        return power, service

    # -- one iteration -----------------------------------------------------------------------------------------------

    def step(self) -> tuple[float, float]:
        """One predictor-corrector step; returns the primal and dual step lengths."""
        program = self.program
        n_y = self.fisher.size
        system = _Arrow(self, self._current() + program.prior)
        gradient_y = 2.0 * program.selection - 2.0 * (program.prior @ self.fisher)
        right = np.concatenate([gradient_y.reshape(-1), -program.budget])
        local = np.ones_like(self.service)
        affine = self._direction(*system.solve(right, local), 0.0, None)
        primal, dual = self._lengths(affine)
        centre = self.centre()
        reached = self._centre_after(affine, min(1.0, primal), min(1.0, dual))
        sigma = float(np.clip(max(reached / centre, 0.0) ** 2.5, 1e-6, 1.0)) if min(primal, dual) >= 0.1 else 0.5
        target = sigma * centre
        # Right-hand side of the corrector
        corrections = []
        for b, m in zip(self.blocks, affine.blocks, strict=True):
            second = _symmetric(b.inverse @ (m.phi @ m.r))
            corrections.append(second - _symmetric(b.inverse @ (m.curvature[:, np.newaxis] @ b.r)))
        power_correction = affine.power_slack * affine.power / self.power
        service_correction = affine.service_slack * affine.service / self.service
        pulled = [target * b.inverse - c for b, c in zip(self.blocks, corrections, strict=True)]
        information = self.information([m.sum(axis=1) for m in pulled])
        moved = self.information([m.r.sum(axis=1) for m in affine.blocks])
        y_part = -2.0 * (information @ self.fisher) - 2.0 * (moved @ affine.fisher)
        right[:n_y] += y_part.reshape(-1)
        right[n_y:] += sum(b.pull_power(m) for b, m in zip(self.blocks, pulled, strict=True))
        right[n_y:] += target / self.power - power_correction
        for b, matrix in zip(self.blocks, pulled, strict=True):
            np.add.at(local, b.data.cells, b.pull_service(matrix))
        local += target / self.service - service_correction
        correction = (corrections, power_correction, service_correction)
        bilinear = -2.0 * (moved @ affine.fisher)
        flat, service = system.solve(right, local)
        move = self._direction(flat, service, target, correction)
        for _ in range(2):
            # What the assembled matrix rounds away near the end is seen, and mended, by applying the operators themselves.
            power_row, service_row = self._primal_after(move)
            if max(float(np.abs(power_row).max()), float(np.abs(service_row).max())) < 1e-9:
                break
            left = np.concatenate([self._fisher_row(move, gradient_y, bilinear).reshape(-1), power_row])
            more, more_service = system.solve(left, service_row)
            flat, service = flat + more, service + more_service
            move = self._direction(flat, service, target, correction)
        primal, dual = self._lengths(move)
        fraction = 0.9 + 0.08 * min(1.0, primal, dual)
        primal, dual = min(1.0, fraction * primal), min(1.0, fraction * dual)
        return primal, self._go(move, primal, dual)

    def _fisher_row(self, move: _Direction, gradient: Float, bilinear: Float) -> Float:
        """What a direction leaves of the linearised condition on Y."""
        sums = [b.r.sum(axis=1) + m.r.sum(axis=1) for b, m in zip(self.blocks, move.blocks, strict=True)]
        row = gradient - 2.0 * (self.information(sums) @ self.fisher) + bilinear
        return row - 2.0 * ((self._current() + self.program.prior) @ move.fisher)

    def _primal_after(self, move: _Direction) -> tuple[Float, Float]:
        """The primal equations after a full step."""
        matrices = [b.r + m.r for b, m in zip(self.blocks, move.blocks, strict=True)]
        return self._primal_rows(matrices, self.power_slack + move.power_slack, self.service_slack + move.service_slack)

    def _direction(self, flat: Float, service: Float, target: float, correction: Any) -> _Direction:
        n_y = self.fisher.size
        fisher, power = flat[:n_y].reshape(self.fisher.shape), flat[n_y:]
        power_slack = target / self.power - self.power_slack * (1.0 + power / self.power)
        service_slack = target / self.service - self.service_slack * (1.0 + service / self.service)
        if correction is not None:
            power_slack, service_slack = power_slack - correction[1], service_slack - correction[2]
        moves = []
        for number, b in enumerate(self.blocks):
            response = b.respond(fisher)
            mixed = b.gram(response, b.response)
            phi = b.affine(power, service) - (mixed + _adjoint(mixed))[:, np.newaxis]
            r = target * b.inverse - b.r - _symmetric(b.inverse @ (phi @ b.r))
            if correction is not None:
                r = r - correction[0][number]
            moves.append(_Move(response, phi, b.gram(response, response), _symmetric(r)))
        return _Direction(fisher, power, service, power_slack, service_slack, moves)

    def _lengths(self, move: _Direction) -> tuple[float, float]:
        """Longest primal and dual steps that stay positive, at most a little above one."""
        primal = min(_ratio(self.power_slack, move.power_slack), _ratio(self.service_slack, move.service_slack))
        dual = min(_ratio(self.power, move.power), _ratio(self.service, move.service))
        for b, m in zip(self.blocks, move.blocks, strict=True):
            root: Any = np.linalg.inv(np.linalg.cholesky(b.r))
            least = float(np.linalg.eigvalsh(root @ m.r @ _adjoint(root))[..., 0].min())
            primal = min(primal, -1.0 / least if least < 0 else np.inf)
            linear: Complex = b.root @ m.phi @ _adjoint(b.root)
            bent: Complex = b.root @ m.curvature[:, np.newaxis] @ _adjoint(b.root)
            dual = min(dual, _longest(linear, bent, min(dual, _FAR)))
        return min(primal, _FAR), min(dual, _FAR)

    def _centre_after(self, move: _Direction, primal: float, dual: float) -> float:
        """Mean complementarity after a step."""
        power = (self.power + dual * move.power) @ (self.power_slack + primal * move.power_slack)
        total = float(power + np.sum((self.service + dual * move.service) * (self.service_slack + primal * move.service_slack)))
        count = self.power.size + self.service.size
        for b, m in zip(self.blocks, move.blocks, strict=True):
            phi = b.phi + dual * m.phi - dual**2 * m.curvature[:, np.newaxis]
            total += float(np.einsum("cuij,cuji->", b.r + primal * m.r, phi).real)
            count += b.count * b.streams * b.size
        return total / count

    def _go(self, move: _Direction, primal: float, dual: float) -> float:
        """Take the step; the dual one is shortened until Phi is positive definite to rounding. Returns its length."""
        for b, m in zip(self.blocks, move.blocks, strict=True):
            b.r = b.r + primal * m.r
        self.power_slack = self.power_slack + primal * move.power_slack
        self.service_slack = self.service_slack + primal * move.service_slack
        # Where a row's error is small beside its slack, the slack takes it up: exact feasibility at no cost.
        power_row, service_row = self._primal_rows([b.r for b in self.blocks], self.power_slack, self.service_slack)
        self.power_slack = _settled(self.power_slack, power_row)
        self.service_slack = _settled(self.service_slack, service_row)
        before = (self.fisher, self.power, self.service, [b.response for b in self.blocks])
        for _ in range(12):
            self.fisher, self.power = before[0] + dual * move.fisher, before[1] + dual * move.power
            self.service = before[2] + dual * move.service
            for b, m, response in zip(self.blocks, move.blocks, before[3], strict=True):
                b.response = response + dual * m.response
            try:
                self._refresh()
            except np.linalg.LinAlgError:
                dual *= 0.7
                continue
            self._known = None
            return dual
        raise np.linalg.LinAlgError("no dual step keeps the inequalities")


_FAR = 1.2


def _settled(slack: Float, row: Float) -> Float:
    return np.where(np.abs(row) < 0.1 * slack, slack - row, slack)


def _ratio(value: Float, change: Float) -> float:
    falling = change < 0
    return float((-value[falling] / change[falling]).min()) if falling.any() else float("inf")


def _longest(linear: Complex, bent: Complex, most: float) -> float:
    """A length a, at most ``most``, with ``I + a linear - a^2 bent > 0`` (bent >= 0), within a tenth of the longest.

    The linear part alone bounds it from above; from there down, Cholesky's factorisation is the test.
    """
    identity = np.eye(linear.shape[-1])
    least = float(np.linalg.eigvalsh(linear)[..., 0].min())
    a = min(most, -0.999 / least if least < 0 else most)
    while a > 1e-6:
        try:
            np.linalg.cholesky(identity + a * linear - (a * a) * bent)
        except np.linalg.LinAlgError:
            a *= 0.93
            continue
        return a
    return 0.0


@dataclass
class _Move:
    """A block's change: H(dY), dPhi (linear part), the curvature H(dY)^H H(dY), dR."""

    response: Complex
    phi: Complex
    curvature: Complex
    r: Complex


@dataclass
class _Direction:
    fisher: Float
    power: Float
    service: Float
    power_slack: Float
    service_slack: Float
    blocks: list[_Move]


class _Arrow:
    """The Newton matrix: global unknowns (Y, lambda) and, cell by cell, the service multipliers; factored once."""

    def __init__(self, state: _State, information: Float) -> None:
        n_y, columns = state.fisher.size, state.fisher.shape[1]
        size = n_y + len(state.power)
        rows = state.service.shape[1]
        self.whole = np.zeros((size, size))
        self.mixed = np.zeros((state.program.cells, size, rows))
        self.local = np.zeros((state.program.cells, rows, rows))
        for b in state.blocks:
            whole, mixed, local = b.newton(b.inverse)
            self.whole += whole
            self.mixed[b.data.cells] += mixed
            self.local[b.data.cells] += local
        for column in range(columns):
            own = slice(column, n_y, columns)
            self.whole[own, own] += 2.0 * information
        power = np.arange(n_y, size)
        self.whole[power, power] += state.power_slack / state.power
        diagonal = np.arange(rows)
        self.local[:, diagonal, diagonal] += state.service_slack / state.service
        self._factor()

    def _factor(self) -> None:
        scale = 1.0 / np.sqrt(np.einsum("crr->cr", self.local))
        self.local_inverse = np.linalg.inv(self.local * scale[:, :, np.newaxis] * scale[:, np.newaxis]) * (
            scale[:, :, np.newaxis] * scale[:, np.newaxis]
        )
        turned = self.mixed @ self.local_inverse
        self.flat_mixed = self.mixed.transpose(1, 0, 2).reshape(len(self.whole), -1)
        reduced = self.whole - turned.transpose(1, 0, 2).reshape(len(self.whole), -1) @ self.flat_mixed.T
        size = np.abs(np.diag(reduced))
        if not (np.isfinite(size).all() and size.min() > 0.0):
            raise np.linalg.LinAlgError("the Newton matrix has lost all accuracy")
        self.scale = 1.0 / np.sqrt(size)
        reduced *= np.outer(self.scale, self.scale)
        ridge = 1e-14
        diagonal = np.arange(len(reduced))
        for _ in range(12):
            try:
                reduced[diagonal, diagonal] = 1.0 + ridge
                self.factor = linalg.cho_factor(reduced, lower=True, check_finite=False)
            except np.linalg.LinAlgError:
                ridge *= 30.0
                continue
            return
        raise np.linalg.LinAlgError("the Newton matrix is not positive definite")

    def _once(self, right: Float, local: Float) -> tuple[Float, Float]:
        inner = np.einsum("crs,cs->cr", self.local_inverse, local)
        reduced = right - self.flat_mixed @ inner.reshape(-1)
        flat = self.scale * linalg.cho_solve(self.factor, self.scale * reduced, check_finite=False)
        return flat, inner - np.einsum("crs,cs->cr", self.local_inverse, flat @ self.mixed)

    def solve(self, right: Float, local: Float) -> tuple[Float, Float]:
        """Solve with two steps of refinement."""
        flat, service = self._once(right, local)
        for _ in range(2):
            left = right - self.whole @ flat - self.flat_mixed @ service.reshape(-1)
            left_local = local - flat @ self.mixed - np.einsum("crs,cs->cr", self.local, service)
            more, more_service = self._once(left, left_local)
            flat, service = flat + more, service + more_service
        return flat, service

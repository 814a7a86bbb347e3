"""The Newton system of the interior point: the share of each block of covariances, and the solution.

Global unknowns are Y and lambda. Each multiplier of service rows and ties belongs to one cell, so the matrix is an arrow. If
each cell has power rows of its own, their multipliers belong to the cell, too.

Arrays name their axes by these letters, in einsum texts and in the shapes of comments:

======  ==========================================================================================
letter  what it counts
======  ==========================================================================================
c       entries of a block, one covariance each (a subcarrier, or a cluster, of a group of antennas)
g       groups of entries that are on the same antennas
u       streams
d       coordinates of an entry's signal: rows and columns of its covariance
e       those of them that receivers see
r, s    service rows of a cell (users), and the rows of its ties below them
t       terms of a service row, ``B = sum_t h_t h_t^H``
x       receivers that see the block
k, m    families of atoms and the members of each: angle and delay derivatives of the targets
D       dense parameters (positions, clocks)
q       columns of Y (coordinates of all targets)
z       entries and streams together, over which products are summed
======  ==========================================================================================

Row ``n = (x, k, m, q)`` of the global system belongs to one atom and column: receiver, family, member, column, the last one
fastest. ``real_index`` and ``imaginary_index`` say where its real and imaginary parts stand. Names say what is multiplied:
``g_a_h`` is ``g^H A h``, with A the inverse of Phi, B the covariance, g and s the vectors of an atom, h those of service rows.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from disac.optim.program import CACHED, Block, Program

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.int64]


def adjoint(matrix: Complex) -> Complex:
    return np.conj(np.swapaxes(matrix, -1, -2))


def symmetric(matrix: Complex) -> Complex:
    half: Complex = 0.5 * (matrix + adjoint(matrix))
    return half


def pairing(one: Complex, other: Complex) -> float:
    """``tr(X Y)`` summed over Hermitian matrices of arrays of one shape."""
    return float(np.vdot(other, one).real)


def _real_view(matrices: Complex) -> Float:
    """Matrices [c, n, d, d] as rows [c, n, 2 d^2] of reals, whose products are those of ``Re tr(X Y^H)``."""
    flat: Float = matrices.reshape(*matrices.shape[:2], -1).view(np.float64)
    return flat


def _heard_alone(block: Block) -> tuple[Int, Complex]:
    """Coordinates that each term of a service row hears, [t, s], and the channels in these, [c, t, r, s].

    Terms of nodes that add up powers hear disjoint coordinates. If terms share any, they are given as one, which hears all.
    """
    cells, rows, terms, size = block.channels.shape
    heard = [np.flatnonzero(np.any(block.channels[:, :, term] != 0.0, axis=(0, 1))) for term in range(terms)]
    if terms > 1 and len({len(one) for one in heard}) == 1 and len(np.unique(np.concatenate(heard))) == terms * len(heard[0]):
        coordinates = np.array(heard)
        along = np.stack([block.channels[:, :, term, coordinates[term]] for term in range(terms)], axis=1)
        return coordinates, along
    return np.arange(size)[np.newaxis], block.channels.reshape(cells, 1, rows * terms, size)


def _by_reach(block: Block) -> tuple[Int, Int, Int]:
    """Dense parameters [s] that touch several receivers, those [x, p] that touch one alone, and the coordinates of the latter.

    The coordinates are those that a parameter touches, shape [x p, m]. If receivers or parameters differ in number, or none
    touches only a part of the coordinates, all parameters are of the first kind.
    """
    receivers, dense = block.dense.shape[1], block.dense.shape[3]
    alone = np.bincount(block.touched.reshape(-1), minlength=dense)[block.touched] == 1
    if receivers > 1 and alone.any() and len(np.unique(alone.sum(axis=1))) == 1:
        numbers = block.touched[alone]
        touching = np.any(block.dense[:, :, :, numbers] != 0.0, axis=(0, 1, 2))
        few = touching.sum(axis=1)
        if len(np.unique(few)) == 1 and 2 * few[0] <= touching.shape[1]:
            columns = np.nonzero(touching)[1].reshape(len(numbers), -1)
            return np.setdiff1d(np.arange(dense), numbers), numbers.reshape(receivers, -1), columns
    return np.arange(dense), np.zeros((receivers, 0), dtype=np.int64), np.zeros((0, 0), dtype=np.int64)


class BlockOperators:
    """A block's matrices at the current point, and the linear maps between unknowns and covariances."""

    def __init__(self, program: Program, block: Block) -> None:
        self.data, self.streams, self.weights = block, len(block.users), program.service(block.users)
        self.service_weights, self.channels = self.weights, block.channels
        self.columns = program.selection.shape[1]
        cells, rows, terms, size = block.channels.shape
        self.size, self.count, self.seen = size, cells, block.seen
        visible = len(block.seen)
        self.flat_channels = block.channels.reshape(cells, rows * terms, size)
        self.heard, self.heard_channels = _heard_alone(block)
        receivers, rho, dense = block.dense.shape[1:4]
        self.shared, self.alone, self.columns_alone = _by_reach(block)
        rows = block.dense.reshape(cells, receivers * rho, dense, visible)[:, :, self.shared].conj().transpose(0, 3, 2, 1)
        self.shared_rows = np.ascontiguousarray(rows).reshape(cells, visible * len(self.shared), receivers * rho)
        of_receiver = np.arange(receivers)[:, np.newaxis]
        self.alone_rows = block.dense.transpose(1, 3, 0, 2, 4)[of_receiver, self.alone].transpose(2, 0, 1, 3, 4)
        self.flat_right = block.right.reshape(cells, -1, visible)
        atoms, q = program.atoms, self.columns
        self.left_t, self.right_conj = np.swapaxes(block.left, -1, -2), block.right.conj()[:, np.newaxis]
        self.entry_atoms = block.atoms[block.group_of]
        groups, column = len(block.starts), np.arange(q)
        self.real_index = ((dense + block.atoms)[..., np.newaxis] * q + column).reshape(groups, -1)
        self.imaginary_index = ((dense + atoms + block.atoms)[..., np.newaxis] * q + column).reshape(groups, -1)
        self.parameters = dense
        self.total_atoms = atoms
        self.budget_shape, self.power_by_cell = program.budget.shape, program.power_by_cell
        self.phi: Any = np.zeros((cells, self.streams, size, size), dtype=np.complex128)
        self.r, self.inverse = self.phi, self.phi
        few = max(1, CACHED // (self.streams * size * size))
        self.parts = [slice(start, start + few) for start in range(0, cells, few)]
        self.response = np.zeros((cells, receivers, rho, q, visible), dtype=np.complex128)

    def measure_ties(self, vectors: Complex) -> None:
        """Add the ties to the rows, below those of the service, along vectors [c, ties, m^2, m] (:mod:`disac.optim.ties`)."""
        cells, rows, terms, size = self.data.channels.shape
        along = (vectors @ self.data.ties).reshape(cells, -1, size)
        self.channels = np.zeros((cells, rows + along.shape[1], terms, size), dtype=np.complex128)
        self.channels[:, :rows], self.channels[:, rows:, 0] = self.data.channels, along
        self.flat_channels = self.channels.reshape(cells, -1, size)
        self.weights = np.concatenate([self.service_weights, np.full((along.shape[1], self.streams), self.data.tied)])

    def respond(self, fisher: Float) -> Complex:
        """``H(Y_c)`` for each column, shape [c, x, rho, q, e]."""
        block, dense = self.data, self.parameters
        cells, receivers, rho = block.dense.shape[:3]
        if not receivers:
            return self.response
        z = fisher[dense : dense + self.total_atoms] + 1j * fisher[dense + self.total_atoms :]
        sums = np.swapaxes(z[self.entry_atoms], -1, -2) @ self.right_conj
        atoms = self.left_t @ sums.reshape(*sums.shape[:3], -1)
        answer: Complex = atoms.reshape(cells, receivers, rho, self.columns, len(self.seen))
        return answer + fisher[:dense].T @ block.dense if dense else answer

    def gram(self, a: Complex, b: Complex) -> Complex:
        """``sum H_a^H H_b`` over receivers, columns and rows: shape [c, d, d]."""
        left, right = (part.reshape(self.count, -1, len(self.seen)) for part in (a, b))
        whole = np.zeros((self.count, self.size, self.size), dtype=np.complex128)
        whole[:, self.seen[:, np.newaxis], self.seen] = adjoint(left) @ right
        return whole

    def affine(self, power: Float, service: Float, ties: Complex) -> Complex:
        """The part of Phi that is linear in (lambda, mu, C): shape [c, u, d, d]."""
        weight = service[self.data.cells][:, np.newaxis] * self.service_weights.T
        h = self.heard_channels[:, np.newaxis]
        if len(self.heard) == 1:
            weight = np.repeat(weight, self.data.channels.shape[2], axis=-1)
        scaled = np.swapaxes(h * weight[:, :, np.newaxis, :, np.newaxis], -1, -2)
        if len(self.heard) == 1:
            part: Complex = scaled[:, :, 0] @ h[:, :, 0].conj()
        else:
            part = np.zeros((self.count, self.streams, self.size, self.size), dtype=np.complex128)
            part[..., self.heard[:, :, np.newaxis], self.heard[:, np.newaxis]] = scaled @ h.conj()
        if ties.size:
            t = self.data.ties
            held = (np.swapaxes(t, -1, -2) @ ties[self.data.cells] @ t.conj()).sum(axis=1)
            part += self.data.tied * held[:, np.newaxis]
        diagonal = np.arange(self.size)
        part[..., diagonal, diagonal] += self.priced(power)[:, np.newaxis]
        return part

    def priced(self, power: Float) -> Float:
        """Cost of a unit on each diagonal entry at the prices of the power rows, shape [c, d]."""
        block = self.data
        if self.power_by_cell:
            own: Float = (power[block.cells][:, np.newaxis] @ block.power[block.power_of])[:, 0]
            return own
        price: Float = (power @ block.power)[block.power_of]
        return price

    def spend_by_group(self, diagonals: Float | Complex) -> Any:
        """Power that diagonals [c, d, ...] take of each power row, summed over each group: [g, rows, ...]."""
        block, flat = self.data, diagonals.reshape(*diagonals.shape[:2], -1)
        if len(block.power) == len(block.starts):
            spent = block.power @ block.by_group(flat)
        else:
            spent = block.by_group(block.power @ flat)
        return spent.reshape(*spent.shape[:2], *diagonals.shape[2:])

    def spend(self, diagonals: Float | Complex) -> Any:
        """Power that diagonals take of each power row: summed over all entries [rows, ...], or by cell [cells, rows, ...]."""
        if not self.power_by_cell:
            return self.spend_by_group(diagonals).sum(axis=0)
        own = self.spend_by_entry(diagonals)
        spent = np.zeros((*self.budget_shape, *diagonals.shape[2:]), dtype=own.dtype)
        np.add.at(spent, self.data.cells, own)
        return spent

    def spend_by_entry(self, diagonals: Float | Complex) -> Any:
        """Power that the diagonals of each entry take of each power row: [c, d, ...] to [c, rows, ...]."""
        flat = diagonals.reshape(*diagonals.shape[:2], -1)
        spent = self.data.power[self.data.power_of] @ flat
        return spent.reshape(*spent.shape[:2], *diagonals.shape[2:])

    def pull_power(self, matrix: Complex) -> Float:
        """Sum of diagonals over each power row, for matrices [c, u, d, d]. The sum has the shape of the budget."""
        return self.spend(np.einsum("cuii->ci", matrix).real)

    def pull_ties(self, matrix: Complex) -> Complex:
        """``+-T X T^H`` of each tie for X [c, d, d]: shape [c, ties, m, m]."""
        t = self.data.ties
        return self.data.tied * (t.conj() @ matrix[:, np.newaxis] @ np.swapaxes(t, -1, -2))

    def pull_rows(self, matrix: Complex) -> Float:
        """Weighted ``h^H X h`` of each service row and each row of a tie, shape [c, r]."""
        if len(self.heard) == 1:
            h = self.flat_channels[:, np.newaxis]
            heard = ((h.conj() @ matrix) * h).sum(axis=-1).real
            rows = heard.reshape(*heard.shape[:2], *self.channels.shape[1:3]).sum(axis=-1)
        else:
            h = self.heard_channels[:, np.newaxis]
            blocks = matrix[..., self.heard[:, :, np.newaxis], self.heard[:, np.newaxis]]
            rows = ((h.conj() @ blocks) * h).sum(axis=(2, 4)).real
        pulled: Float = (rows * self.weights.T).sum(axis=1)
        return pulled


class BlockState(BlockOperators):
    """A block at the current point, with its share of the Newton system."""

    def newton(self, inverse: Complex) -> tuple[Float, Float, Float]:
        """Shares of the Newton matrix: global [g, g], global by local [c, g, r], local [c, r, r].

        Global unknowns are Y (row by row), then lambda; local ones those of the service rows and ties. Where each cell has
        power rows of its own, their lambda are the last of its local unknowns. Entry (i, k) is ``Re tr(D_i A D_k B)`` summed
        over streams, with ``D = dPhi``, A the inverse of Phi and B the covariance.
        """
        block, q, d, u = self.data, self.columns, self.size, self.streams
        c, (groups, receivers, families, members) = self.count, block.atoms.shape
        dense, n_y = self.parameters, (self.parameters + 2 * self.total_atoms) * self.columns
        rows, terms = self.channels.shape[1:3]
        a, b, w = inverse, self.r, self.weights
        limits, by_cell = block.power.shape[1], self.power_by_cell
        size_g, size_l = (n_y, rows + limits) if by_cell else (n_y + limits, rows)
        whole = np.zeros((size_g, size_g))
        mixed = np.zeros((c, size_g, size_l))
        to_service, to_power = mixed[:, :, :rows], mixed[:, :, rows:]

        h = self.flat_channels
        h_t = np.swapaxes(h, -1, -2)[:, np.newaxis]
        h_a, h_b = h.conj()[:, np.newaxis] @ a, h.conj()[:, np.newaxis] @ b
        h_a_h, h_b_h = h_a @ h_t, h_b @ h_t
        products = (h_a_h * np.swapaxes(h_b_h, -1, -2)).real.reshape(c, u, rows, terms, rows, terms).sum(axis=(3, 5))
        service = np.einsum("curs,ru,su->crs", products, w, w)

        # lambda with lambda, and with the service rows
        pair = (a * np.swapaxes(b, -1, -2)).real.sum(axis=1)
        if not by_cell:
            if len(block.power) == groups:
                pair = block.by_group(pair)
            whole[n_y:, n_y:] = (block.power @ pair @ np.swapaxes(block.power, 1, 2)).sum(axis=0)
        cross = (h_a.conj() * h_b).real.reshape(c, u, rows, terms, d).sum(axis=3)
        weighted = (cross * w.T[:, :, np.newaxis]).sum(axis=1)
        power_to_service = block.power[block.power_of] @ np.swapaxes(weighted, 1, 2)
        if by_cell:
            local = np.zeros((c, size_l, size_l))
            own = block.power[block.power_of]
            local[:, :rows, :rows], local[:, rows:, rows:] = service, own @ pair @ np.swapaxes(own, 1, 2)
            local[:, rows:, :rows], local[:, :rows, rows:] = power_to_service, np.swapaxes(power_to_service, 1, 2)
        else:
            local = service
            to_service[:, n_y:] = power_to_service
        if not receivers:
            return whole, mixed, local

        # atoms: D(z) = conj(z) s g^H + z g s^H with g = -H(Y)^H left
        seen = self.seen
        g = -(block.left @ self.response.conj().reshape(c, receivers, -1, q * len(seen)))
        g_flat = g.reshape(c, -1, len(seen))
        s, s_t = self.flat_right, np.swapaxes(self.flat_right, -1, -2)[:, np.newaxis]
        g_t = np.swapaxes(g_flat, -1, -2)[:, np.newaxis]
        a_rows, b_rows = a[:, :, seen], b[:, :, seen]
        g_a, g_b = g_flat.conj()[:, np.newaxis] @ a_rows, g_flat.conj()[:, np.newaxis] @ b_rows
        s_a, s_b = s.conj()[:, np.newaxis] @ a_rows, s.conj()[:, np.newaxis] @ b_rows
        factors = ((g_a, s_t), (g_b, s_t), (s_a, s_t), (s_b, s_t), (g_a, g_t), (g_b, g_t))
        grams = [left[..., seen] @ right for left, right in factors]
        for number, part in enumerate(block.groups):
            self._pairs(number, [gram[part] for gram in grams], whole)

        parts = (c, u, receivers, families, q)
        member = (c, u, families, members)
        n = self.real_index.shape[1]
        entry = np.arange(c)[:, np.newaxis]
        real, imaginary = self.real_index[block.group_of], self.imaginary_index[block.group_of]
        products_on_diagonal = (
            np.einsum("cuxkqd,cukmd->cdxkmq", g_a.reshape(*parts, d), s_b.conj().reshape(*member, d)),
            np.einsum("cukmd,cuxkqd->cdxkmq", s_a.reshape(*member, d), g_b.conj().reshape(*parts, d)),
        )
        if by_cell:
            first, second = (
                np.swapaxes(self.spend_by_entry(product).reshape(c, limits, n), 1, 2) for product in products_on_diagonal
            )
            to_power[entry, real] += (first + second).real
            to_power[entry, imaginary] += first.imag - second.imag
        else:
            power_rows = np.zeros((limits, size_g))
            first, second = (
                self.spend_by_group(product).reshape(groups, -1, n).transpose(1, 0, 2) for product in products_on_diagonal
            )
            power_rows[:, self.real_index] = (first + second).real
            power_rows[:, self.imaginary_index] = first.imag - second.imag
            whole[n_y:, :n_y] += power_rows[:, :n_y]
            whole[:n_y, n_y:] += power_rows[:, :n_y].T

        g_a_h, g_b_h = ((m @ h_t).reshape(*parts, rows, terms) for m in (g_a, g_b))
        s_a_h, s_b_h = ((m @ h_t).reshape(*member, rows, terms) for m in (s_a, s_b))
        weight = w.T[:, np.newaxis, np.newaxis, :, np.newaxis]
        first = np.einsum("cuxkqrt,cukmrt->cxkmqr", g_a_h, weight * s_b_h.conj()).reshape(c, n, rows)
        second = np.einsum("cukmrt,cuxkqrt->cxkmqr", weight * s_a_h, g_b_h.conj()).reshape(c, n, rows)
        to_service[entry, real] += (first + second).real
        to_service[entry, imaginary] += first.imag - second.imag

        if dense:
            self._dense_rows(a, g_flat, whole, to_service, to_power, n_y)
        return whole, mixed, local

    def _pairs(self, number: int, grams: list[Complex], whole: Float) -> None:
        """Add the entries of pairs of atoms of a group to ``whole``, from the Gram matrices of the group's entries."""
        q, (_, receivers, families, members) = self.columns, self.data.atoms.shape
        g_a_s, g_b_s, s_a_s, s_b_s, g_a_g, g_b_g = grams
        z = g_a_s.shape[0] * g_a_s.shape[1]
        gs_shape = (z, receivers, families, q, families, members)
        ss_shape = (z, families, members, families, members)
        gg_shape = (z, receivers, families, q, receivers, families, q)
        n = receivers * families * members * q
        # Sums over entries and streams as matrix products, one for each pair of families.
        first = g_a_s.reshape(gs_shape).transpose(2, 4, 1, 3, 5, 0).reshape(families, families, -1, z)
        second = g_b_s.reshape(gs_shape).transpose(4, 2, 0, 1, 3, 5).reshape(families, families, z, -1)
        p = (first @ second).reshape(families, families, receivers, q, members, receivers, q, members)
        p = p.transpose(2, 0, 7, 3, 5, 1, 4, 6).reshape(n, n)
        # The other order of A and B is the same sum with both exchanged and conjugated.
        gg = np.concatenate([g_a_g.reshape(gg_shape), g_b_g.reshape(gg_shape)])
        gg = gg.transpose(2, 5, 1, 3, 4, 6, 0).reshape(families, families, -1, 2 * z)
        ss = np.concatenate([s_b_s.reshape(ss_shape), s_a_s.reshape(ss_shape)])
        ss = ss.transpose(3, 1, 0, 2, 4).reshape(families, families, 2 * z, -1)
        both = (gg @ ss).reshape(families, families, receivers, q, receivers, q, members, members)
        both = both.transpose(2, 0, 7, 3, 4, 1, 6, 5).reshape(n, n)
        re, im = self.real_index[number], self.imaginary_index[number]
        p_re, p_im = p.real + p.real.T, p.imag + p.imag.T
        whole[np.ix_(re, re)] = both.real + p_re
        whole[np.ix_(im, im)] = both.real - p_re
        mixed = p_im - both.imag
        whole[np.ix_(re, im)] = mixed
        whole[np.ix_(im, re)] = mixed.T

    def _changes(self, a: Complex) -> tuple[Float, Complex, Float, Float]:
        """``D_i = dPhi`` of each dense parameter and column, and ``sum_u B_u D_i A_u`` of what is seen.

        ``D = -(R^H S + S^H R)`` with the rows R of a parameter and the responses S is zero beyond what receivers see.

        Returns
        -------
        among
            ``Re tr(D_i A D_k B)`` summed over entries and streams, shape [D q, D q].
        total
            Shape [c, D q, e, e].
        on_diagonal
            Diagonal of the whole ``sum_u B_u D_i A_u``, shape [c, d, D q].
        heard
            ``Re h^H B_u D_i A_u h`` of each stream and term of a row, shape [c, u r t, D q].
        """
        q, d, c, u, e = self.columns, self.size, self.count, self.streams, len(self.seen)
        receivers, rho = self.response.shape[1:3]
        n_d = self.parameters * q
        among = np.zeros((n_d, n_d))
        total = np.empty((c, n_d, e, e), dtype=np.complex128)
        h = self.flat_channels.conj()
        scalars = np.empty((c, d + u * h.shape[1], n_d))
        shared, alone = self.shared, self.alone
        common = (shared[:, np.newaxis] * q + np.arange(q)).reshape(-1)
        own = (alone[..., np.newaxis] * q + np.arange(q)).reshape(-1)
        rows, response = self.shared_rows, self.response.reshape(c, receivers * rho, q * e)
        # A few entries at a time, whose matrices stay in the cache.
        few = max(1, CACHED // (n_d * e * e * u))
        for start in range(0, c, few):
            part = slice(start, start + few)
            n = len(response[part])
            a_columns, b_columns = a[part][..., self.seen], self.r[part][..., self.seen]
            a_seen, b_seen = a_columns[:, :, self.seen], b_columns[:, :, self.seen]
            product = np.empty((n, n_d, e, e), dtype=np.complex128)
            together = (rows[part] @ response[part]).reshape(n, e, len(common), e)
            product[:, common] = together.swapaxes(1, 2)
            if own.size:
                each = adjoint(self.alone_rows[part]) @ self.response[part].reshape(n, receivers, 1, rho, q * e)
                product[:, own] = each.reshape(n, -1, e, q, e).swapaxes(2, 3).reshape(n, -1, e, e)
            d_i = -(product + adjoint(product))
            if own.size:
                total[part, own] = self._alone(d_i[:, own], a_seen, b_seen)
            change = np.swapaxes(_real_view(d_i), -1, -2)
            d_c = np.ascontiguousarray(d_i[:, common].swapaxes(1, 2)).reshape(n, e, -1)
            image = (b_seen.reshape(n, u * e, e) @ d_c).reshape(n, u, -1, e)
            summed = image[:, 0] @ a_seen[:, 0]
            for stream in range(1, u):
                summed += image[:, stream] @ a_seen[:, stream]
            total[part, common] = summed.reshape(n, e, len(common), e).swapaxes(1, 2)
            # x^H B D A x = <D, (B x) (A x)^H> for unit vectors, summed over streams, and for channels.
            units = b_columns.conj().transpose(0, 2, 3, 1) @ a_columns.swapaxes(1, 2)
            h_b, h_a = ((h[part][:, np.newaxis] @ columns).reshape(n, -1, e) for columns in (b_columns, a_columns))
            outer = np.concatenate([units, h_b.conj()[..., np.newaxis] * h_a[..., np.newaxis, :]], axis=1)
            among += (_real_view(total[part]) @ change).sum(axis=0)
            scalars[part] = _real_view(outer) @ change
        return among, total, scalars[:, :d], scalars[:, d:]

    def _alone(self, d_i: Complex, a: Complex, b: Complex) -> Complex:
        """``sum_u B_u D_i A_u`` of parameters that touch one receiver and few coordinates m: shape [c, parameters q, e, e].

        With unit vectors E of these, ``D = W E^H + E W^H``, where W are the columns m of D, with half of the rows m. D is
        used itself, since its terms ``R^H S`` and ``S^H R`` nearly cancel for magnitudes.
        """
        (n, own, e, _), u, columns = d_i.shape, self.streams, np.repeat(self.columns_alone, self.columns, axis=0)
        few = columns.shape[1]
        w = np.take_along_axis(d_i, columns[np.newaxis, :, np.newaxis], axis=-1)
        w[:, np.arange(own)[:, np.newaxis], columns] *= 0.5
        flat = w.transpose(0, 2, 1, 3).reshape(n, 1, e, own * few)
        b_w, a_w = ((matrix @ flat).reshape(n, u, e, own, few) for matrix in (b, a))
        left = np.empty((n, own, e, u, 2, few), dtype=np.complex128)
        right = np.empty((n, own, u, 2, few, e), dtype=np.complex128)
        left[..., 0, :], left[..., 1, :] = b_w.transpose(0, 3, 2, 1, 4), b[..., columns].transpose(0, 3, 2, 1, 4)
        right[:, :, :, 0], right[:, :, :, 1] = a[:, :, columns].swapaxes(1, 2), a_w.conj().transpose(0, 3, 1, 4, 2)
        summed: Complex = left.reshape(n, own, e, -1) @ right.reshape(n, own, -1, e)
        return summed

    def _dense_rows(
        self, a: Complex, g: Complex, whole: Float, to_service: Float, to_power: Float, n_y: int
    ) -> None:  # fmt: skip
        """Dense parameters with themselves, the atoms, lambda and the service rows."""
        block, q, c, dense = self.data, self.columns, self.count, self.parameters
        w, rows, terms, e = self.weights, *self.channels.shape[1:3], len(self.seen)
        n_d = dense * q
        u = self.streams
        among, total, on_diagonal, heard = self._changes(a)
        whole[:n_d, :n_d] += among
        if self.power_by_cell:
            to_power[:, :n_d] += np.swapaxes(self.spend_by_entry(on_diagonal), 1, 2)
        else:
            by_power = self.spend(on_diagonal)
            whole[n_y:, :n_d] += by_power
            whole[:n_d, n_y:] += by_power.T
        # g^H N s and s^H N g
        (_, receivers, families, members) = block.atoms.shape
        n_s = (total.reshape(c, n_d * e, e) @ np.swapaxes(self.flat_right, -1, -2)).reshape(c, n_d, e, families, members)
        n_s = n_s.transpose(3, 0, 2, 1, 4)
        s_n = (self.flat_right.conj()[:, np.newaxis] @ total).reshape(c, n_d, families, members, e).transpose(2, 0, 4, 1, 3)
        g_rows = g.reshape(c, receivers, families, q, e).transpose(2, 1, 3, 0, 4)
        row = np.zeros((n_d, whole.shape[1]))
        for number, part in enumerate(block.groups):
            entries = (part.stop - part.start) * e
            mine = g_rows[:, :, :, part].reshape(families, -1, entries)
            first, second = (
                (left @ right[:, part].reshape(families, entries, -1))
                .reshape(families, receivers, q, n_d, members)
                .transpose(3, 1, 0, 4, 2)
                .reshape(n_d, -1)
                for left, right in ((mine.conj(), n_s), (mine, s_n))
            )
            row[:, self.real_index[number]] = (first + second).real
            row[:, self.imaginary_index[number]] = first.imag - second.imag
        whole[:n_d] += row
        whole[:, :n_d] += row.T
        heard = heard.reshape(c, u, rows, terms, n_d).sum(axis=3)
        to_service[:, :n_d] += np.einsum("curi,ru->cir", heard, w)


class Point(Protocol):
    """Parts of an iterate that the Newton matrix needs."""

    program: Program
    blocks: list[BlockState]
    fisher: Float
    power: Float
    service: Float
    ties: Complex
    power_slack: Float
    service_slack: Float


class Arrow:
    """The Newton matrix, factored once. Its unknowns are global (Y, lambda) or belong to a cell (service rows and ties).

    Where each cell has power rows of its own, their lambda are the last of the cell's unknowns.
    """

    def __init__(self, state: Point, information: Float) -> None:
        n_y, columns = state.fisher.size, state.fisher.shape[1]
        by_cell = state.program.power_by_cell
        size = n_y if by_cell else n_y + len(state.power)
        service = state.service.shape[1]
        above = service + int(state.ties[0].size)
        rows = above + state.power.shape[1] if by_cell else above
        self.whole = np.zeros((size, size))
        self.mixed = np.zeros((state.program.cells, size, rows))
        self.local = np.zeros((state.program.cells, rows, rows))
        for b in state.blocks:
            whole, mixed, local = b.newton(b.inverse)
            self.whole += whole
            for part in b.data.groups:
                self.mixed[b.data.cells[part]] += mixed[part]
                self.local[b.data.cells[part]] += local[part]
        for column in range(columns):
            own = slice(column, n_y, columns)
            self.whole[own, own] += 2.0 * information
        power = np.arange(above, rows) if by_cell else np.arange(n_y, size)
        of_power = self.local if by_cell else self.whole
        of_power[..., power, power] += state.power_slack / state.power
        diagonal = np.arange(service)
        self.local[:, diagonal, diagonal] += state.service_slack / state.service
        self._factor()

    def _factor(self) -> None:
        scale = 1.0 / np.sqrt(np.einsum("crr->cr", self.local))
        local = self.local * scale[:, :, np.newaxis] * scale[:, np.newaxis]
        # A factor of the inverse is used instead of the inverse. Its square is subtracted accurately even if the matrix is
        # ill-conditioned.
        self.local_root = np.linalg.inv(np.linalg.cholesky(local)) * scale[:, np.newaxis]
        turned = self.mixed @ self.local_root.swapaxes(-1, -2)
        self.flat_mixed = self.mixed.transpose(1, 0, 2).reshape(len(self.whole), -1)
        flat_turned = turned.transpose(1, 0, 2).reshape(len(self.whole), -1)
        reduced = self.whole - flat_turned @ flat_turned.T
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

    def _of_cells(self, local: Float) -> Float:
        """Solve for the local unknowns only."""
        half = np.einsum("crs,cs->cr", self.local_root, local)
        whole: Float = np.einsum("csr,cs->cr", self.local_root, half)
        return whole

    def _once(self, right: Float, local: Float) -> tuple[Float, Float]:
        inner = self._of_cells(local)
        reduced = right - self.flat_mixed @ inner.reshape(-1)
        flat = self.scale * linalg.cho_solve(self.factor, self.scale * reduced, check_finite=False)
        return flat, inner - self._of_cells(flat @ self.mixed)

    def solve(self, right: Float, local: Float) -> tuple[Float, Float]:
        """Solve with two steps of refinement."""
        flat, service = self._once(right, local)
        for _ in range(2):
            left = right - self.whole @ flat - self.flat_mixed @ service.reshape(-1)
            left_local = local - flat @ self.mixed - np.einsum("crs,cs->cr", self.local, service)
            more, more_service = self._once(left, left_local)
            flat, service = flat + more, service + more_service
        return flat, service

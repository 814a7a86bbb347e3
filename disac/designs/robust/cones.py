"""The users' guarded SINRs, the sensing leakage and the power limits as rows of one second-order cone program.

The wanted amplitude is concave and the amplitudes that disturb are convex in the beams, so that
``s_k >= sqrt(Gamma) |(g_kj)_j, (l_kn)_n, nu|`` is a convex constraint. Moduli get a variable each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.guards import Guard
from disac.optim.cones import ConeProgram

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Index = NDArray[np.intp]


SPLIT_FROM = 1000
"""Entries of all users' beams from which on what users hear of each node has variables of its own, where phases are guarded:
many cones share these amplitudes, and a matrix that repeats the channels in each of them is dense (N = 8, M = 32, K = 8: half
the time)."""


class GuardedCones:
    """Variables and rows of users' beams and, where ``sensing`` bases are given, of every node's sensing beam.

    Variables, in order: users' beams (Re, Im) in the guard's coordinates, sensing beams in theirs, the noise amplitude nu,
    then the moduli, and in large programs what each user hears of each beam from each node. ``limits`` are sets of beam
    variables with the power that each may carry.

    Parameters
    ----------
    guard
        Margins.
    sinr
        Gamma, linear.
    sensing
        Orthonormal bases of the nodes' sensing beams, [N, M, s].
    channels
        Scaled channels h_{n,k} [N, K, M] that the sensing beams leak over; needed with ``sensing``.
    fixed_noise
        Whether nu is one; a variable otherwise.
    units
        Amplitudes in which the rows of each user are written, [K]; one where none are given. At high power to noise the
        solver needs the lengths of the channels here: in units of the noise their entries are too far apart.
    """

    def __init__(
        self, guard: Guard, sinr: float, sensing: Complex | None = None, channels: Complex | None = None, *, fixed_noise: bool,
        units: Float | None = None,
    ) -> None:  # fmt: skip
        self.guard, self.root, self.fixed_noise = guard, float(np.sqrt(sinr)), fixed_noise
        self.units = np.ones(len(guard.heard)) if units is None else units
        self._splits = bool(guard.arc_rad > 0) and guard.heard.size >= SPLIT_FROM
        self._written = replace(
            guard, heard=guard.heard / self.units[:, np.newaxis], node_heard=guard.node_heard / self.units[:, np.newaxis],
            radius=guard.radius / self.units, sensing_radius=guard.sensing_radius / self.units,
        )  # fmt: skip
        self.users, self.size = guard.heard.shape
        self.nodes = len(guard.node_heard)
        self.sensing, self.sensing_size = sensing, 0 if sensing is None else sensing.shape[2]
        self.pairs = [(k, j) for k in range(self.users) for j in range(self.users) if j != k]
        arc, blocks = guard.arc_rad > 0, len(guard.blocks)
        counts = {
            "beams": 2 * self.users * self.size,
            "sensing": 2 * self.nodes * self.sensing_size,
            "noise": 1,
            "amplitudes": len(self.pairs),
            "margins": self.nodes * len(self.pairs) if arc else self.users * blocks,
            "parts": self.nodes * self.users if arc else 0,
            "leaks": 0 if sensing is None else self.users * self.nodes,
            "norms": 0 if sensing is None or not guard.sensing_radius.any() else self.nodes,
            "heard": 2 * self.nodes * self.users**2 if self._splits else 0,
        }
        ends = np.cumsum(list(counts.values()))
        self.start = dict(zip(counts, [0, *(int(end) for end in ends)], strict=False))
        self.count = counts
        self.program = ConeProgram(int(ends[-1]))
        self.variables = int(ends[-1])
        self._sinr_rows()
        for p, (k, j) in enumerate(self.pairs):
            columns, rows = self._received(k, j)
            self.program.second_order(*modulus_of(self.start["amplitudes"] + p, columns, rows))
        for b, block in enumerate(guard.blocks):
            for j in range(self.users):
                picked = np.concatenate([self.beam(j)[block], self.beam(j)[self.size + block]])
                column = self.start["margins"] + b * self.users + j
                scale = np.ones(len(block)) if guard.lengths is None else guard.lengths[block]
                self.program.second_order([column, *picked], np.diag([1.0, *scale, *scale]))
        if arc:
            self._arc_rows()
        self._leak_block = self.program.blocks
        if sensing is not None:
            assert channels is not None
            self._leak_rows(sensing, channels / self.units[:, np.newaxis])
        self.error_rows = self.program.rows
        """Number of multipliers that name errors; they come first."""
        self.limits: list[tuple[int, Index]] = []
        """Block and columns of every limit of power."""
        if self._splits:
            self._heard_rows()
        if fixed_noise:
            self.program.equal([self.start["noise"]], np.ones((1, 1)), np.ones(1))

    def beam(self, user: int) -> Index:
        """Columns of a user's beam: real parts, then imaginary parts."""
        return np.arange(2 * user * self.size, 2 * (user + 1) * self.size)

    def sensing_beam(self, node: int) -> Index:
        """Columns of a node's sensing beam."""
        start = self.start["sensing"] + 2 * node * self.sensing_size
        return np.arange(start, start + 2 * self.sensing_size)

    def limit(self, columns: Index, power: float) -> None:
        """The variables of these columns carry at most so much power."""
        rows = np.zeros((1 + len(columns), len(columns)))
        rows[1:] = np.eye(len(columns))
        self.limits.append((self.program.blocks, columns))
        self.program.second_order(columns, rows, np.sqrt(power) * np.eye(1 + len(columns))[0])

    def users_beams(self, variables: Float) -> Complex:
        """Beams [K, d] of a solution."""
        beams = variables[: self.count["beams"]].reshape(self.users, 2, self.size)
        return beams[:, 0] + 1j * beams[:, 1]

    def sensing_beams(self, variables: Float) -> Complex:
        """Sensing beams [N, s] of a solution."""
        start = self.start["sensing"]
        beams = variables[start : start + self.count["sensing"]].reshape(self.nodes, 2, self.sensing_size)
        return beams[:, 0] + 1j * beams[:, 1]

    def _sinr_rows(self) -> None:
        guard, users = self._written, self.users
        arc = guard.arc_rad > 0
        spread = 2.0 * np.sin(guard.arc_rad / 2.0)
        leaking = range(self.nodes if self.sensing is not None else 0)
        for k in range(users):
            others = [p for p, (hearing, _) in enumerate(self.pairs) if hearing == k]
            height = 2 + len(others) + len(leaking)
            unit = np.eye(height)
            columns: list[int] = [self.start["noise"]]
            entries: list[Float] = [self.root / self.units[k] * unit[-1]]
            if not arc:
                own, rows = self._received(k, k)
                columns += list(own)
                entries += list(np.outer(rows[0], unit[0]))
            for i, p in enumerate(others):
                columns.append(self.start["amplitudes"] + p)
                entries.append(self.root * unit[1 + i])
            for n in range(self.nodes if arc else 0):
                columns.append(self.start["parts"] + n * users + k)
                entries.append(unit[0])
                for i, p in enumerate(others):
                    columns.append(self.start["margins"] + n * len(self.pairs) + p)
                    entries.append(self.root * spread * unit[1 + i])
            for b in range(len(guard.blocks)):
                if guard.guards_wanted:
                    columns.append(self.start["margins"] + b * users + k)
                    entries.append(-guard.radius[b, k] * unit[0])
                for i, p in enumerate(others):
                    columns.append(self.start["margins"] + b * users + self.pairs[p][1])
                    entries.append(self.root * guard.radius[b, k] * unit[1 + i])
            for n in leaking:
                columns.append(self.start["leaks"] + k * self.nodes + n)
                entries.append(self.root * unit[1 + len(others) + n])
                if self.count["norms"]:
                    columns.append(self.start["norms"] + n)
                    entries.append(self.root * guard.sensing_radius[n, k] * unit[1 + len(others) + n])
            self.program.second_order(columns, np.array(entries).T)

    def _heard(self, node: int, hearing: int, user: int) -> Index:
        """Columns of the amplitude of one beam from one node at a user, Re and Im."""
        start = self.start["heard"] + 2 * ((node * self.users + hearing) * self.users + user)
        return np.arange(start, start + 2)

    def _received_from(self, node: int, hearing: int, user: int) -> tuple[Index, Float]:
        """Columns, and rows (Re, Im) over them, of the amplitude of one beam from one node at a user."""
        if self._splits:
            return self._heard(node, hearing, user), np.eye(2)
        return self.beam(user), modulus(self._written.node_heard[node, hearing])[1:, 1:]

    def _received(self, hearing: int, user: int) -> tuple[Index, Float]:
        """Columns, and rows (Re, Im) over them, of the amplitude of one beam from all nodes at a user."""
        if self._splits:
            parts = [self._heard(n, hearing, user) for n in range(self.nodes)]
            return np.concatenate(parts), np.tile(np.eye(2), self.nodes)
        return self.beam(user), modulus(self._written.heard[hearing])[1:, 1:]

    def _heard_rows(self) -> None:
        """Amplitude of each beam of each node at each user, as separate variables."""
        for n, k, j in np.ndindex(self.nodes, self.users, self.users):
            rows = np.hstack([-np.eye(2), modulus(self._written.node_heard[n, k])[1:, 1:]])
            self.program.equal(np.concatenate([self._heard(n, k, j), self.beam(j)]), rows, np.zeros(2))

    def _arc_rows(self) -> None:
        guard, users, pairs = self._written, self.users, self.pairs
        cosine, sine = np.cos(guard.arc_rad), np.sin(guard.arc_rad)
        for n in range(self.nodes):
            for p, (k, j) in enumerate(pairs):
                columns, rows = self._received_from(n, k, j)
                self.program.second_order(*modulus_of(self.start["margins"] + n * len(pairs) + p, columns, rows))
        for n in range(self.nodes):
            for k in range(users):
                columns, (real, imaginary) = self._received_from(n, k, k)
                rows = np.stack([cosine * real + sine * imaginary, cosine * real - sine * imaginary, real / cosine])
                rows = np.concatenate([-np.ones((3, 1)), rows], axis=1)
                self.program.nonnegative([self.start["parts"] + n * users + k, *columns], rows)

    def _leak_rows(self, sensing: Complex, channels: Complex) -> None:
        heard = channels @ sensing.conj()
        for k in range(self.users):
            for n in range(self.nodes):
                column = self.start["leaks"] + k * self.nodes + n
                self.program.second_order([column, *self.sensing_beam(n)], modulus(heard[n, k]))
        for n in range(self.count["norms"]):
            self.program.second_order([self.start["norms"] + n, *self.sensing_beam(n)], np.eye(1 + 2 * self.sensing_size))

    def noise_multipliers(self, multipliers: list[Float]) -> Float:
        """Multipliers of the users' noise amplitudes, in units of the noise, [K]."""
        return np.array([-float(z[-1]) for z in multipliers[: self.users]]) / self.units

    def error_vectors(self, multipliers: list[Float]) -> tuple[Float, Complex, Complex]:
        """Weights of the users' noise, summing to one, and the error vectors to which the multipliers point.

        Returns
        -------
        weights
            [K].
        wanted, heard
            n_k [K, d] and d_jk [K hearing, K beam, d], with ``s_k(w) <= Re n_k^H w`` and ``g_jk(w) >= |d_jk^H w|``.
        """
        guard, users, nodes, pairs = self.guard, self.users, self.nodes, len(self.pairs)
        weights = np.maximum(self.noise_multipliers(multipliers), 0.0)
        weights = weights / max(float(weights.sum()), 1e-300)
        heard = np.zeros((users, users, self.size), dtype=np.complex128)
        for (k, j), z in zip(self.pairs, multipliers[users : users + pairs], strict=True):
            heard[k, j] = direction(z)[0] * guard.heard[k]
        rest = multipliers[users + pairs :]
        wanted = guard.heard.copy()
        if guard.arc_rad > 0:
            spread = 2.0 * np.sin(guard.arc_rad / 2.0)
            for n, p in np.ndindex(nodes, pairs):
                k, j = self.pairs[p]
                heard[k, j] += spread * direction(rest[n * pairs + p])[0] * guard.node_heard[n, k]
            corners = np.array([np.exp(1j * guard.arc_rad), np.exp(-1j * guard.arc_rad), 1.0 / np.cos(guard.arc_rad)])
            wanted[:] = 0.0
            for n, k in np.ndindex(nodes, users):
                share = np.maximum(rest[nodes * pairs + n * users + k], 0.0)
                share = share / share.sum() if share.sum() > 0 else np.full(3, 1.0 / 3.0)
                wanted[k] += (share @ corners) * guard.node_heard[n, k]
        for b, j in np.ndindex(len(guard.blocks), users):
            along = np.zeros(self.size, dtype=np.complex128)
            along[guard.blocks[b]] = direction(rest[b * users + j])
            along = along if guard.lengths is None else along * guard.lengths
            others = np.arange(users) != j
            heard[others, j] += guard.radius[b, others, np.newaxis] * along
            if guard.guards_wanted:
                wanted[j] -= guard.radius[b, j] * along
        return weights, wanted, heard

    def leak_vectors(self, multipliers: list[Float], channels: Complex) -> Complex:
        """Error vectors d_nk [N, K, M] to which the multipliers point, with ``l_kn(w) >= |d_nk^H w|`` for sensing beams."""
        assert self.sensing is not None
        rest = multipliers[self._leak_block :]
        found = np.empty_like(channels)
        for n, k in np.ndindex(self.nodes, self.users):
            found[n, k] = direction(rest[k * self.nodes + n])[0] * channels[n, k]
        for n in range(self.count["norms"]):
            along = self.sensing[n] @ direction(rest[self.users * self.nodes + n])
            found[n] += self.guard.sensing_radius[n, :, np.newaxis] * along
        return found


def _real_row(vector: Complex) -> Float:
    """``Re v^H c`` over (Re c, Im c)."""
    return np.concatenate([vector.real, vector.imag])


def modulus(vector: Complex) -> Float:
    """Rows of ``e >= |v^H c|`` over (e, Re c, Im c)."""
    rows = np.zeros((3, 1 + 2 * len(vector)))
    rows[0, 0] = 1.0
    rows[1, 1:] = _real_row(vector)
    rows[2, 1:] = np.concatenate([-vector.imag, vector.real])
    return rows


def modulus_of(column: int, columns: Index, rows: Float) -> tuple[Index, Float]:
    """Columns and rows of ``e >= |y|`` for e in ``column``, and y from rows (Re, Im) over ``columns``."""
    bound = np.zeros((3, 1 + len(columns)))
    bound[0, 0] = 1.0
    bound[1:, 1:] = rows
    return np.concatenate([[column], columns]), bound


def direction(multiplier: Float) -> Complex:
    """The vector of at most unit length that a multiplier of ``e >= |y|`` names: y / |y| where y is not zero."""
    size = (len(multiplier) - 1) // 2
    along: Complex = -(multiplier[1 : 1 + size] + 1j * multiplier[1 + size :])
    length = float(np.linalg.norm(along))
    along /= max(float(multiplier[0]), length, 1e-300)
    return along

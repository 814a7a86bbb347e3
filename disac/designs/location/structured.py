"""Fast path: a design problem as a program of :mod:`disac.optim.interior_point`, and its solution in physical units.

Four properties make the method fast. The derivative by an amplitude has rank one. Each receiver sees its echoes in at most 2K
directions: its steering vectors and their derivatives. Each node sends in few directions: these directions and its users'
channels (:mod:`disac.designs.location.span`), unless each antenna has its own limit. Each SINR multiplier belongs to one
subcarrier. Powers are in units of the limit. The SINR rows are divided by Gamma sigma_c^2 / L. The location is decorrelated
from the nuisances at the uniform design. The amplitudes are not mixed, so their derivatives keep rank one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.echo_factors import EchoFactors, echo_basis, echo_factors
from disac.designs.location.problem import SENSING, DesignProblem, Structure
from disac.designs.location.reference import Solution
from disac.designs.location.span import of_nodes, with_heard
from disac.designs.location.unconstrained import Heard, heard_basis, node_streams
from disac.metrics.fisher import location_jacobian
from disac.optim.interior_point import Result, solve
from disac.optim.program import Block, Program, block_information, merged

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.int64]

GAP = 1e-7
"""Relative gap that the method has to reach."""


class DesignProgram:
    """A design as a program of the interior point. The blocks are decorrelated and merged once, for any SINR target."""

    def __init__(self, problem: DesignProblem, structure: Structure) -> None:
        self._problem, self._structure = problem, structure
        model, jacobian = problem.sensing, location_jacobian(problem.sensing, problem.localization)
        per_kind = len(model.nodes_m) * problem.targets
        # If each antenna has its own limit, the antennas are the coordinates, and the receivers see all of them.
        joined = problem.power_limit.joins_antennas
        each = np.broadcast_to(np.eye(problem.antennas, dtype=np.complex128), (problem.nodes,) + 2 * (problem.antennas,))
        self._echoed: Complex = echo_basis(model) if joined else each
        seen = echo_factors(model, jacobian[: len(jacobian) - 2 * model.links, : 2 * per_kind], self._echoed)
        known = model.synchronisation
        self._dense, self._has_atoms = len(seen.dense), known is None or known.link_phase_std_rad > 0
        self._span = self._spans()
        self._bases: list[Complex] = []
        self._decorrelate(self._blocks(seen))

    @cached_property
    def _classes(self) -> list[tuple[Int, list[tuple[int, ...]], Int]]:
        """Antenna sets, the groups of subcarriers (of one size) on which each set sends one covariance, and its users."""
        classes: dict[tuple[tuple[int, ...], int, tuple[int, ...]], list[tuple[int, ...]]] = {}
        for part in self._structure.parts:
            key = (tuple(int(a) for a in part.antennas), len(part.subcarriers), part.users)
            classes.setdefault(key, []).append(part.subcarriers)
        return [(np.array(antennas), groups, np.array(users)) for (antennas, _, users), groups in classes.items()]

    @cached_property
    def _groups(self) -> list[tuple[int, ...]]:
        """Subcarriers of each cell: those whose SINR the same covariances decide."""
        return sorted({part.subcarriers for part in self._structure.parts})

    @cached_property
    def _row_subcarriers(self) -> Int:
        """Subcarrier of each cell's SINR rows, [cells, rows of a user]; a short group repeats its last subcarrier."""
        most = max(len(group) for group in self._distinct)
        return np.array([[group[min(i, len(group) - 1)] for i in range(most)] for group in self._distinct])

    @cached_property
    def _row_gain(self) -> Float:
        """Factor of each row's SINR, [cells, rows of a user]: one, and more for a row that repeats another.

        Two equal rows would leave their multipliers undetermined and the Newton matrix singular. So the factor changes the SINR
        of the copy: its constraint is never active and its multiplier is zero.
        """
        most = self._row_subcarriers.shape[1]
        return np.array([[1.0 if i < len(group) else 1.5 for i in range(most)] for group in self._distinct])

    @cached_property
    def _distinct(self) -> list[tuple[int, ...]]:
        """Subcarriers of each cell whose channels differ from those of its other subcarriers: one if channels are flat."""
        channels, found = self._problem.channels, []
        for group in self._groups:
            first: dict[bytes, int] = {}
            for subcarrier in group:
                first.setdefault(np.ascontiguousarray(channels[:, :, subcarrier]).tobytes(), subcarrier)
            found.append(tuple(first.values()))
        return found

    def _spans(self) -> Complex:
        """Coordinates of each node's signal in each cell, [cells, N, M_t, r]. Those that receivers see come first."""
        problem, cells = self._problem, len(self._groups)
        if self._echoed.shape[-1] == problem.antennas:
            return np.broadcast_to(self._echoed, (cells, *self._echoed.shape))
        heard = problem.channels[:, :, self._row_subcarriers].transpose(2, 0, 1, 3, 4)
        return with_heard(self._echoed, heard.reshape(cells, problem.nodes, -1, problem.antennas))

    def _blocks(self, seen: EchoFactors) -> list[Block]:
        problem = self._problem
        weight = np.sqrt(2.0 * problem.subcarriers * problem.per_antenna_power / problem.sensing.noise_power)
        blocks = []
        for mine, groups, users in self._classes:
            nodes = np.unique(mine // problem.antennas)
            cells = self._cells_of(groups)
            if self._structure.loose and SENSING not in users:
                held = self._held(int(nodes[0]), cells, users)
                self._bases.append(self._heard.basis[nodes[0], cells])
                blocks.append(held)
                continue
            if len(groups[0]) > 1:
                share, scale = np.array(groups), weight
            else:
                share = np.array([self._structure.share_of[group[0]] for group in groups])
                scale = weight / np.sqrt(share.shape[1])
            # Cells with the same share of subcarriers in the objective have the same derivatives.
            shares, of_cell = np.unique(share, axis=0, return_inverse=True)
            size = self._echoed.shape[-1]
            here = (nodes[:, np.newaxis] * size + np.arange(size)).reshape(-1)
            # [D, N_r, c, share, rho, e] -> [c, N_r, (share rho), D, e]
            dense = scale * seen.dense[:, :, shares][..., here].transpose(2, 1, 3, 4, 0, 5)
            dense = dense.reshape(*dense.shape[:2], -1, *dense.shape[4:])
            left, right, atoms = self._atoms(seen, nodes, shares)
            dense, left = _fewer_rows(dense, scale * left)
            dense, left, right = (part[of_cell.reshape(-1)] for part in (dense, left, right))
            on = np.zeros((len(cells), *right.shape[1:3], problem.nodes, size), dtype=np.complex128)
            members = nodes[np.newaxis].repeat(right.shape[1], axis=0) if right.shape[2] == len(nodes) else None
            for family, member in np.ndindex(right.shape[1:3]):
                node = nodes[family // problem.targets] if members is None else members[family, member]
                on[:, family, member, node] = right[:, family, member]
            right = on.reshape(*on.shape[:3], -1)[..., here]
            basis = of_nodes(self._span[cells][:, nodes])
            self._bases.append(basis)
            heard = self._channels(mine, nodes, cells) @ basis.conj()[:, np.newaxis]
            first = np.arange(len(nodes))[:, np.newaxis] * self._span.shape[-1]
            visible = (first + np.arange(size)).reshape(-1)
            costs = len(groups[0]) * self._costs(nodes)
            one = (np.zeros(1, dtype=np.int64), users, costs, heard, np.ascontiguousarray(dense), left, right)
            ties = np.zeros((len(cells), 0, 0, basis.shape[-1]), dtype=np.complex128)
            block = Block(cells, *one, atoms[np.newaxis], ties, visible)
            if self._structure.loose:
                # Users receive the same power from the whole covariance as from the streams within it.
                ties = self._heard.whole_ties(cells) @ basis.conj()[:, np.newaxis]
                block = replace(block, channels=0.0 * heard[:, :, :1], ties=ties, tied=-1.0)
            blocks.append(block)
        return blocks

    def _cells_of(self, groups: Sequence[tuple[int, ...]]) -> Int:
        return np.array([self._groups.index(group) for group in groups])

    @cached_property
    def _heard(self) -> Heard:
        """Channels over which the users of a loose structure receive each node in each cell."""
        problem, every = self._problem, np.arange(len(self._groups))
        nodes = np.arange(problem.nodes)
        channels = [self._channels(problem.node_antennas(n), nodes[n : n + 1], every)[:, :, 0] for n in range(problem.nodes)]
        return Heard(heard_basis(np.array(channels)))

    def _held(self, node: int, cells: Int, users: Int) -> Block:
        """Streams of a node in the span of its users' channels. They cost no power, and no receiver sees them."""
        problem, basis = self._problem, self._heard.basis[node, cells]
        size, families, count = basis.shape[-1], problem.targets if self._has_atoms else 1, len(cells)
        channels = self._channels(problem.node_antennas(node), np.array([node]), cells) @ basis.conj()[:, np.newaxis]
        dense = np.zeros((count, 0, 0, self._dense, size), dtype=np.complex128)
        left = np.zeros((count, 0, families, 0), dtype=np.complex128)
        right = np.zeros((count, families, 1, size), dtype=np.complex128)
        atoms, ties = np.zeros((1, 0, families, 1), dtype=np.int64), self._heard.held_ties(node, count)
        one, free = np.zeros(1, dtype=np.int64), np.zeros((1, len(problem.row_antennas), size))
        return Block(cells, one, users, free, channels, dense, left, right, atoms, ties, np.arange(size))

    @cached_property
    def _budget(self) -> Float:
        """Power that the limits allow over all subcarriers, [limits]; if flat, over those of each cell, [cells, limits]."""
        problem = self._problem
        if problem.spectrum == "free":
            return problem.row_antennas
        share = np.array([len(group) for group in self._groups]) / problem.subcarriers
        return share[:, np.newaxis] * problem.row_antennas

    def _costs(self, nodes: Int) -> Float:
        """Power limit that each coordinate of these nodes draws on, [1, limits, d]."""
        rows = self._problem.power_rows.reshape(self._problem.nodes, -1)[nodes, : self._span.shape[-1]]
        return np.eye(len(self._problem.row_antennas))[np.newaxis, :, rows.reshape(-1)]

    def _atoms(self, seen: EchoFactors, nodes: Int, share: Int) -> tuple[Complex, Complex, Int]:
        """Rank-one factors [c, x, k, rho], [c, k, m, M_t] of the amplitudes' derivatives and their numbers [x, k, m]."""
        problem, targets = self._problem, self._problem.targets
        receivers = np.arange(len(seen.receive))[:, np.newaxis, np.newaxis]
        if not self._has_atoms:
            # The arrays must not be empty. They hold one family of amplitudes that no signal reaches.
            rho = share.shape[1] * len(seen.slots) * seen.receive.shape[-1]
            left = np.zeros((len(share), len(receivers), 1, rho), dtype=np.complex128)
            right = np.zeros((len(share), 1, 1, seen.transmit.shape[-1]), dtype=np.complex128)
            return left, right, np.zeros((len(receivers), 1, 1), dtype=np.int64)
        if share.shape[1] == 1 and len(seen.slots) == 1:
            # d_l(tau_n + tau_m) = d_l(tau_n) d_l(tau_m): one family per target, its transmitters as members.
            at = share[:, 0]
            left = np.einsum("nkc,nki->cnki", seen.receive_delay[:, :, at], seen.receive)
            right = np.einsum("mkc,mkj->ckmj", seen.transmit_delay[nodes][:, :, at], seen.transmit[nodes]).conj()
            family, member = np.arange(targets)[np.newaxis, :, np.newaxis], nodes[np.newaxis, np.newaxis]
            return left, right, (receivers * problem.nodes + member) * targets + family
        # Subcarriers share one covariance, or slots tell the transmitters apart: then the factor of a pair of nodes is part
        # of the receiver's rows.
        response = np.einsum(
            "nks,mks,asm,nki->nmksai", seen.receive_delay, seen.transmit_delay[nodes], seen.slots[:, :, nodes], seen.receive
        )
        left = response[:, :, :, share].transpose(3, 0, 1, 2, 4, 5, 6)
        left = left.reshape(len(share), len(receivers), len(nodes) * targets, -1)
        right = seen.transmit[nodes].reshape(1, -1, 1, seen.transmit.shape[-1]).conj().repeat(len(share), axis=0)
        number = (receivers * problem.nodes + nodes[np.newaxis, :, np.newaxis]) * targets + np.arange(targets)
        return left, right, number.reshape(len(receivers), -1, 1)

    def _channels(self, mine: Int, nodes: Int, cells: Int) -> Complex:
        """Channels of the SINR rows in units of noise to power, one term per transmitting node or their sum: [c, rows, t, d].

        Rows run over the cell's subcarriers and, fastest, over the users.
        """
        problem, rows = self._problem, self._row_subcarriers[cells]
        unit = np.sqrt(problem.subcarriers * problem.per_antenna_power / problem.noise_power)
        shape = (*rows.shape, problem.users, len(nodes), problem.nodes, problem.antennas)
        full = np.zeros(shape, dtype=np.complex128)
        for term, node in enumerate(nodes):
            louder = unit * np.sqrt(self._row_gain[cells])[:, :, np.newaxis, np.newaxis]
            full[:, :, :, term, node] = louder * problem.channels[node][:, rows].transpose(1, 2, 0, 3)
        rows_of = full.reshape(len(cells), -1, len(nodes), problem.nodes * problem.antennas)[..., mine]
        return rows_of.sum(axis=2, keepdims=True) if problem.sinr_type == "coherent" else rows_of

    def _decorrelate(self, raw: Sequence[Block]) -> None:
        """Change of parameters F' = T F T^T with the identity for the location at the uniform design."""
        problem, dense, q = self._problem, self._dense, 2 * self._problem.targets
        # An amplitude whose transmitter sends no signal has no derivative. It is left out.
        self._touched = np.unique(np.concatenate([block.atoms.reshape(-1) for block in raw]))
        raw = [replace(block, atoms=np.searchsorted(self._touched, block.atoms)) for block in raw]
        atoms = len(self._touched)
        total = dense + 2 * atoms
        used = np.zeros(problem.nodes * problem.antennas)
        for (mine, groups, _), block in zip(self._classes, raw, strict=True):
            used[mine] += sum(len(group) for group in groups) if block.atoms.size else 0
        information = np.zeros((total, total))
        for (mine, _, _), block, basis in zip(self._classes, raw, self._bases, strict=True):
            if block.atoms.size:
                even = basis.swapaxes(-1, -2).conj() @ (basis / used[mine, np.newaxis])
                information += block_information(block, even, atoms)
        every = problem.sensing.links
        amplitudes = np.concatenate([dense + self._touched, dense + every + self._touched])
        self._kept = np.concatenate([np.arange(dense), amplitudes]) if self._has_atoms else np.arange(dense)
        prior = np.eye(total)
        prior[: len(self._kept), : len(self._kept)] = problem.prior[np.ix_(self._kept, self._kept)]
        information += prior
        scale = 1.0 / np.sqrt(np.diag(information))
        by_transmitter = np.empty((problem.nodes, problem.targets))
        own = scale[dense : dense + atoms]
        sender, target = self._touched // problem.targets % problem.nodes, self._touched % problem.targets
        for node, k in np.ndindex(by_transmitter.shape):
            mine = (sender == node) & (target == k)
            by_transmitter[node, k] = np.exp(np.log(own[mine]).mean()) if mine.any() else 1.0
        sizes = by_transmitter[sender, target]
        scale[dense:] = np.tile(sizes, 2)
        scaled = information * np.outer(scale, scale)
        transform = np.eye(total)
        if dense > q:
            coupling = np.linalg.solve(scaled[dense:, dense:], scaled[dense:, q:dense]).T
            transform[q:dense, dense:] = -coupling
            rest = scaled[q:dense, q:dense] - coupling @ scaled[dense:, q:dense]
            transform[q:dense] /= np.sqrt(np.diag(rest))[:, np.newaxis]
        b, c = scaled[:q, q:], scaled[q:, q:]
        coupling = np.linalg.solve(c, b.T).T
        whiten = np.linalg.inv(np.linalg.cholesky(scaled[:q, :q] - coupling @ b.T))
        transform[:q, :q], transform[:q, q:] = whiten, -whiten @ coupling
        self._transform = transform * scale
        known = self._transform @ prior @ self._transform.T
        self._prior = 0.5 * (known + known.T)
        selection = np.zeros((total, q))
        selection[:q] = self._transform[:q, :q]
        self._scale_m2 = float(np.sum(selection**2))
        self._selection = selection / np.sqrt(self._scale_m2)
        mixing = self._transform[:dense, :dense]
        weights = self._transform[:dense, dense : dense + atoms] + 1j * self._transform[:dense, dense + atoms :]
        self._program_blocks = tuple(
            _transformed(block, mixing, weights, sizes) if block.atoms.size else block for block in raw
        )  # fmt: skip

    def _program(self, sinr: float, blocks: Sequence[Block] | None = None) -> Program:
        problem = self._problem
        root = 1.0 / np.sqrt(sinr)
        together = self._together if blocks is None else [block for block, _ in merged(blocks)]
        scaled = tuple(replace(b, channels=root * b.channels) for b in together)
        row_user = np.tile(np.arange(problem.users), self._row_subcarriers.shape[1])
        return Program(
            scaled, len(self._groups), row_user, sinr, self._budget, len(self._touched), self._selection,
            self._prior,
        )  # fmt: skip

    @cached_property
    def _together(self) -> list[Block]:
        """The blocks of all classes, joined where possible (:func:`disac.optim.program.merged`)."""
        return [block for block, _ in merged(self._program_blocks)]

    @staticmethod
    def _covariances(result: Result, blocks: Sequence[Block]) -> list[Complex]:
        """Solution of each of the merged blocks, shape [c, u, d, d] each."""
        found: dict[int, Complex] = {}
        for covariance, (block, members) in zip(result.covariances, merged(blocks), strict=True):
            found |= {number: covariance[part] for number, part in zip(members, block.groups, strict=True)}
        return [found[number] for number in range(len(blocks))]


class FastSolver(DesignProgram):
    """A design's program, set up once and solved for any SINR target."""

    def solve(self, sinr: float, gap: float = GAP) -> Solution:
        """Solve for an SINR target (linear). The result does not depend on earlier solves."""
        started = time.perf_counter()
        problem = self._problem
        result = solve(self._program(sinr), gap)
        noise = problem.noise_power / problem.subcarriers
        power = self._scale_m2 * result.power[..., problem.power_rows] / problem.per_antenna_power
        if problem.spectrum == "flat":
            cell_of = {subcarrier: cell for cell, group in enumerate(self._groups) for subcarrier in group}
            power = power[[cell_of[subcarrier] for subcarrier in range(problem.subcarriers)]]
        service = np.zeros((problem.subcarriers, problem.users))
        rows = result.service.reshape(len(self._groups), -1, problem.users)
        np.add.at(service, self._row_subcarriers, self._scale_m2 * self._row_gain[..., np.newaxis] * rows / noise)
        size = problem.nodes * problem.antennas
        count = problem.users + self._structure.has_sensing
        streams = np.zeros((count, problem.subcarriers, size, size), dtype=np.complex128)
        each = self._covariances(result, self._program_blocks)
        each = self._within(each) if self._structure.loose else list(map(_on_antennas, self._bases, each))
        for (mine, groups, users), covariance in zip(self._classes, each, strict=True):
            for subcarriers in zip(*groups, strict=True):
                # The sensing stream, of number -1, comes last.
                place = np.ix_(users % count, subcarriers, mine, mine)
                streams[place] += problem.per_antenna_power * covariance.swapaxes(0, 1)
        turned = np.sqrt(self._scale_m2) * (self._transform.T @ result.fisher)
        fisher = np.zeros((len(problem.prior), turned.shape[1]))
        fisher[self._kept] = turned[: len(self._kept)]
        price = self._scale_m2 / problem.per_antenna_power
        node_dual = price * self._heard.prices(result.ties, self._groups) if self._structure.loose else None
        seconds = time.perf_counter() - started
        return Solution(result.outcome, streams, power, service.T, result.iterations, seconds, fisher, node_dual)

    def _within(self, covariances: Sequence[Complex]) -> list[Complex]:
        """Streams on the nodes' antennas [c, U, M_t, M_t] from those in coordinates of Q, and the rest of the whole."""
        problem = self._problem
        size = problem.nodes * problem.antennas
        whole = np.zeros((len(self._groups), size, size), dtype=np.complex128)
        cells = [self._cells_of(groups) for _, groups, _ in self._classes]
        for i, ((_, _, users), here) in enumerate(zip(self._classes, cells, strict=True)):
            if SENSING in users:
                whole[here] = _on_antennas(self._bases[i], covariances[i])[:, 0]
        rest, found = whole.copy(), list(covariances)
        for i, ((mine, _, users), here) in enumerate(zip(self._classes, cells, strict=True)):
            if SENSING not in users:
                block = np.ix_(here, mine, mine)
                found[i] = node_streams(whole[block], self._heard.basis[mine[0] // problem.antennas, here], covariances[i])
                rest[block] -= found[i].sum(axis=1)
        for i, ((_, _, users), here) in enumerate(zip(self._classes, cells, strict=True)):
            if SENSING in users:
                found[i] = rest[here][:, np.newaxis]
        return found

    def along(self, directions: Complex, sinr: float, gap: float = GAP) -> tuple[str, Complex, Complex]:
        """The best design whose users' beams point along given directions, with any sensing covariance.

        Powers of the beams and the sensing covariance are optimised together. The problem is convex, and its solution can be
        sent as it is.

        Parameters
        ----------
        directions
            One direction per user and subcarrier, of any length, shape [U, L, D]. A group of subcarriers uses the direction
            of its first subcarrier.

        Returns
        -------
        outcome
            ``optimal``, ``infeasible`` (along these directions) or ``stalled``.
        beams, remainder
            Shapes [U, L, D] and [L, D, D].
        """
        problem = self._problem
        length = np.linalg.norm(directions, axis=-1, keepdims=True)
        unit = directions / np.where(length > 0, length, 1.0)
        blocks: list[Block] = []
        for (mine, groups, _), block, basis in zip(self._classes, self._program_blocks, self._bases, strict=True):
            first = [group[0] for group in groups]
            # The part of a beam outside the span costs power, and no user or target receives it.
            within = [(unit[user][first][:, np.newaxis, mine] @ basis.conj())[:, 0] for user in range(problem.users)]
            for user, v in enumerate(within):
                unit[user][np.ix_(np.array(first), mine)] = (basis @ v[..., np.newaxis])[..., 0]
            blocks.append(replace(block, users=np.array([-1])))
            blocks += [_along(block, v, user) for user, v in enumerate(within)]
        result = solve(self._program(sinr, blocks), gap)
        size = problem.nodes * problem.antennas
        beams = np.zeros((problem.users, problem.subcarriers, size), dtype=np.complex128)
        remainder = np.zeros((problem.subcarriers, size, size), dtype=np.complex128)
        found = iter(self._covariances(result, blocks))
        for (mine, groups, _), basis in zip(self._classes, self._bases, strict=True):
            first, rest = [group[0] for group in groups], _on_antennas(basis, next(found))[:, 0]
            powers = [next(found)[:, 0, 0, 0].real for _ in range(problem.users)]
            for subcarriers in zip(*groups, strict=True):
                remainder[np.ix_(subcarriers, mine, mine)] = problem.per_antenna_power * rest
                for user, power in enumerate(powers):
                    length = np.sqrt(problem.per_antenna_power * power)[:, np.newaxis]
                    beams[user][np.ix_(subcarriers, mine)] = length * unit[user][first][:, mine]
        return result.outcome, beams, remainder


def _on_antennas(basis: Complex, covariances: Complex) -> Complex:
    """``Q R Q^H`` of covariances [c, u, r, r] in coordinates Q [c, d, r] of the antennas: shape [c, u, d, d]."""
    antennas: Complex = basis[:, np.newaxis] @ covariances @ basis.conj().swapaxes(-1, -2)[:, np.newaxis]
    return antennas


def _fewer_rows(dense: Complex, left: Complex) -> tuple[Complex, Complex]:
    """The same receiver in fewer coordinates: rows beyond the number of columns are combinations of the others.

    Parameters
    ----------
    dense, left
        Shapes [c, x, rho, D, d] and [c, x, k, rho].
    """
    cells, receivers, rho, parameters, size = dense.shape
    if rho <= parameters * size + left.shape[2]:
        return dense, left
    columns = np.concatenate([dense.reshape(cells, receivers, rho, -1), left.swapaxes(-1, -2)], axis=-1)
    triangle: Complex = np.asarray(np.linalg.qr(columns, mode="r"))
    rows = triangle[..., : parameters * size].reshape(cells, receivers, -1, parameters, size)
    return rows, triangle[..., parameters * size :].swapaxes(-1, -2)


def _along(block: Block, direction: Complex, user: int) -> Block:
    """The scalar problem along one direction [c, d] in each cell of a block: ``R = beta v v^H``."""
    v = direction[:, np.newaxis, np.newaxis]
    visible = v[..., block.seen]
    cost = block.power[block.power_of] @ (np.abs(direction) ** 2)[..., np.newaxis]
    return replace(
        block, users=np.array([user]), power=cost,
        channels=(block.channels * v.conj()).sum(axis=-1, keepdims=True),
        dense=(block.dense * visible[:, np.newaxis]).sum(axis=-1, keepdims=True),
        right=(block.right * visible.conj()).sum(axis=-1, keepdims=True), seen=np.zeros(1, dtype=np.int64),
    )  # fmt: skip


def _transformed(block: Block, mixing: Float, weights: Complex, sizes: Float) -> Block:
    """A block's derivatives after the change of parameters: dense rows mixed with the atoms, atoms scaled."""
    dense = np.tensordot(block.dense, mixing, axes=([3], [1])).swapaxes(-1, -2)
    # sum over atoms of weight left right^H
    turned = np.einsum("ixkm,ckmd->cxkid", weights[:, block.atoms[0]], block.right.conj())
    cells, receivers, families, rho = block.left.shape
    added = block.left.swapaxes(-1, -2) @ turned.reshape(cells, receivers, families, -1)
    dense = dense + added.reshape(cells, receivers, rho, len(mixing), -1)
    # The sizes depend only on transmitter and target.
    return replace(block, dense=dense, right=block.right * sizes[block.atoms[0, 0]][np.newaxis, :, :, np.newaxis])

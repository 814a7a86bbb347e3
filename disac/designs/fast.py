"""Fast path: a design problem as a program of :mod:`disac.optim.interior_point`, and its solution in physical units.

What makes it fast is structure: an amplitude has a rank-one derivative; each receiver sees its echoes in the at most 2K
directions of its steering vectors and their derivatives; each subcarrier's SINR multipliers are its own. Powers are taken in
units of the limit, the SINR rows divided by Gamma sigma_c^2 / L, and the location decorrelated from the nuisances at the
uniform design, without mixing the amplitudes, so that their derivatives keep rank one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from disac.arrays import delay_derivative, delay_vector, steering_derivative, steering_vector
from disac.designs.decorrelated import Solution
from disac.designs.problem import DesignProblem, Structure
from disac.geometry import angles_rad, delays_s
from disac.metrics.fisher import SensingModel, location_jacobian
from disac.optim.interior_point import Block, Program, block_information, solve

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.int64]

GAP = 1e-7
"""Relative gap asked of the method."""


@dataclass(frozen=True)
class _Echoes:
    """Derivatives of the echoes in coordinates of each receiver's signal space.

    ``dense`` [D, N, L, rho, N M_t]: location, then unknown angles or delays; ``receive`` [N, K, rho]: steering vectors of the
    targets; ``transmit`` [N, K, M_t]; ``delay`` [N, K, L]: one-way responses d_l(tau).
    """

    dense: Complex
    receive: Complex
    transmit: Complex
    delay: Complex


def echoes(model: SensingModel, jacobian: Float) -> _Echoes:
    """Derivatives of (5) of 002 with respect to the rows of ``jacobian`` (in theta and tau), and their rank-one factors.

    Parameters
    ----------
    jacobian
        Shape [D, 2 K N]: theta node-major, then tau node-major.
    """
    nodes, targets, subcarriers = len(model.nodes_m), len(model.targets_m), model.subcarriers
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    delay = delays_s(model.nodes_m, model.targets_m)
    both = delay[:, np.newaxis] + delay[np.newaxis]
    receive, d_receive = (f(angle, model.receive_antennas) for f in (steering_vector, steering_derivative))
    transmit, d_transmit = (f(angle, model.transmit_antennas) for f in (steering_vector, steering_derivative))
    # Coordinates in an orthonormal basis of what the receiver can see of the targets: the triangular factor.
    seen = np.linalg.qr(np.concatenate([receive, d_receive], axis=1).swapaxes(-1, -2), mode="r")
    receive, d_receive = (part.swapaxes(-1, -2) for part in np.split(seen, 2, axis=-1))
    b = model.amplitudes[..., np.newaxis]
    phase = b * delay_vector(both, subcarriers, model.bandwidth_hz)
    d_phase = b * delay_derivative(both, subcarriers, model.bandwidth_hz)
    by_angle, by_delay = jacobian.reshape(-1, 2, nodes, targets).transpose(1, 0, 2, 3)
    shift = by_delay[:, :, np.newaxis] + by_delay[:, np.newaxis]
    dense = np.einsum("pnmk,nmkl,nki,mkj->pnlimj", shift, d_phase, receive, transmit, optimize=True)
    dense = dense + np.einsum("pnk,nmkl,nki,mkj->pnlimj", by_angle, phase, d_receive, transmit, optimize=True)
    dense = dense + np.einsum("pmk,nmkl,nki,mkj->pnlimj", by_angle, phase, receive, d_transmit, optimize=True)
    return _Echoes(
        dense.reshape(*dense.shape[:4], -1), receive, transmit, delay_vector(delay, subcarriers, model.bandwidth_hz)
    )  # fmt: skip


class FastSolver:
    """A design's program, set up once and solved for any SINR target."""

    def __init__(self, problem: DesignProblem, structure: Structure) -> None:
        self._problem, self._structure = problem, structure
        model, jacobian = problem.sensing, location_jacobian(problem.sensing, problem.localization)
        per_kind = problem.nodes * problem.targets
        self._dense = len(jacobian) - 2 * problem.targets * problem.nodes**2
        raw = self._blocks(echoes(model, jacobian[: self._dense, : 2 * per_kind]))
        self._decorrelate(raw)

    # -- building ----------------------------------------------------------------------------------------------------

    @cached_property
    def _classes(self) -> list[tuple[Int, list[tuple[int, ...]]]]:
        """Antenna sets, each with the groups of equally many subcarriers on which it sends one covariance."""
        classes: dict[tuple[tuple[int, ...], int], list[tuple[int, ...]]] = {}
        for part in self._structure.parts:
            key = (tuple(int(a) for a in part.antennas), len(part.subcarriers))
            classes.setdefault(key, []).append(part.subcarriers)
        return [(np.array(antennas), groups) for (antennas, _), groups in classes.items()]

    @cached_property
    def _groups(self) -> list[tuple[int, ...]]:
        """Subcarriers of each cell: those whose SINR the same covariances decide."""
        return sorted({part.subcarriers for part in self._structure.parts})

    @cached_property
    def _row_subcarriers(self) -> Int:
        """Subcarrier of each cell's SINR rows, [cells, rows of a user]; a short group says its last one twice."""
        most = max(len(group) for group in self._groups)
        return np.array([[group[min(i, len(group) - 1)] for i in range(most)] for group in self._groups])

    def _blocks(self, seen: _Echoes) -> list[Block]:
        problem = self._problem
        weight = np.sqrt(2.0 * problem.subcarriers * problem.per_antenna_power / problem.sensing.noise_power)
        blocks = []
        for mine, groups in self._classes:
            nodes = np.unique(mine // problem.antennas)
            cells = np.array([self._groups.index(group) for group in groups])
            if len(groups[0]) > 1:
                share, scale = np.array(groups), weight
            else:
                share = np.array([self._structure.share_of[group[0]] for group in groups])
                scale = weight / np.sqrt(share.shape[1])
            # [D, N, c, share, rho, d] -> [c, N, (share rho), D, d]
            dense = scale * seen.dense[:, :, share][..., mine].transpose(2, 1, 3, 4, 0, 5)
            dense = dense.reshape(len(cells), problem.nodes, -1, *dense.shape[4:])
            left, right, atoms = self._atoms(seen, nodes, share)
            on = np.zeros((len(cells), *right.shape[1:3], problem.nodes, problem.antennas), dtype=np.complex128)
            members = nodes[np.newaxis].repeat(right.shape[1], axis=0) if right.shape[2] == len(nodes) else None
            for family, member in np.ndindex(right.shape[1:3]):
                node = nodes[family // problem.targets] if members is None else members[family, member]
                on[:, family, member, node] = right[:, family, member]
            right = on.reshape(*on.shape[:3], -1)[..., mine]
            users, channels = np.arange(problem.users), self._channels(mine, nodes, cells)
            costs = len(groups[0]) * self._costs(mine)
            blocks.append(Block(cells, users, costs, channels, np.ascontiguousarray(dense), scale * left, right, atoms))
        return blocks

    def _costs(self, mine: Int) -> Float:
        """Power limit that each antenna draws on, [1, limits, d]."""
        return np.eye(len(self._problem.row_antennas))[np.newaxis, :, self._problem.power_rows[mine]]

    def _atoms(self, seen: _Echoes, nodes: Int, share: Int) -> tuple[Complex, Complex, Int]:
        """Rank-one factors [c, x, k, rho], [c, k, m, M_t] of the amplitudes' derivatives and their numbers [x, k, m]."""
        problem, targets = self._problem, self._problem.targets
        receivers = np.arange(problem.nodes)[:, np.newaxis, np.newaxis]
        if share.shape[1] == 1:
            # d_l(tau_n + tau_m) = d_l(tau_n) d_l(tau_m): one family per target, its transmitters as members.
            at = share[:, 0]
            left = np.einsum("nkc,nki->cnki", seen.delay[:, :, at], seen.receive)
            right = np.einsum("mkc,mkj->ckmj", seen.delay[nodes][:, :, at], seen.transmit[nodes]).conj()
            family, member = np.arange(targets)[np.newaxis, :, np.newaxis], nodes[np.newaxis, np.newaxis]
            return left, right, (receivers * problem.nodes + member) * targets + family
        # Judged by a covariance shared over subcarriers: the delays of each pair of nodes stay in the receiver's rows.
        response = np.einsum("nks,mks,nki->nmksi", seen.delay, seen.delay[nodes], seen.receive)
        left = response[:, :, :, share].transpose(3, 0, 1, 2, 4, 5)
        left = left.reshape(len(share), problem.nodes, len(nodes) * targets, -1)
        right = seen.transmit[nodes].reshape(1, -1, 1, problem.antennas).conj().repeat(len(share), axis=0)
        number = (receivers * problem.nodes + nodes[np.newaxis, :, np.newaxis]) * targets + np.arange(targets)
        return left, right, number.reshape(problem.nodes, -1, 1)

    def _channels(self, mine: Int, nodes: Int, cells: Int) -> Complex:
        """Channels of the SINR rows in units of noise to power, one term per transmitting node: [c, rows, t, d].

        Rows run over the cell's subcarriers and, fastest, over the users.
        """
        problem, rows = self._problem, self._row_subcarriers[cells]
        unit = np.sqrt(problem.subcarriers * problem.per_antenna_power / problem.noise_power)
        shape = (*rows.shape, problem.users, len(nodes), problem.nodes, problem.antennas)
        full = np.zeros(shape, dtype=np.complex128)
        for term, node in enumerate(nodes):
            full[:, :, :, term, node] = unit * problem.channels[node][:, rows].transpose(1, 2, 0, 3)
        return full.reshape(len(cells), -1, len(nodes), problem.nodes * problem.antennas)[..., mine]

    def _decorrelate(self, raw: Sequence[Block]) -> None:
        """Change of parameters F' = T F T^T with the identity for the location at the uniform design."""
        problem, dense, q = self._problem, self._dense, 2 * self._problem.targets
        # An amplitude whose transmitter is silent touches nothing and takes no part.
        self._touched = np.unique(np.concatenate([block.atoms.reshape(-1) for block in raw]))
        raw = [replace(block, atoms=np.searchsorted(self._touched, block.atoms)) for block in raw]
        atoms = len(self._touched)
        total = dense + 2 * atoms
        used = np.zeros(problem.nodes * problem.antennas)
        for mine, groups in self._classes:
            used[mine] += sum(len(group) for group in groups)
        information = np.zeros((total, total))
        for (mine, _), block in zip(self._classes, raw, strict=True):
            even = np.diag(1.0 / used[mine]).astype(np.complex128)
            information += block_information(block, np.broadcast_to(even, (len(block.cells), *even.shape)), atoms)
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
        selection = np.zeros((total, q))
        selection[:q] = self._transform[:q, :q]
        self._scale_m2 = float(np.sum(selection**2))
        self._selection = selection / np.sqrt(self._scale_m2)
        mixing = self._transform[:dense, :dense]
        weights = self._transform[:dense, dense : dense + atoms] + 1j * self._transform[:dense, dense + atoms :]
        self._program_blocks = tuple(_transformed(block, mixing, weights, sizes) for block in raw)

    def _program(self, sinr: float, blocks: Sequence[Block] | None = None) -> Program:
        problem = self._problem
        root, total = 1.0 / np.sqrt(sinr), len(self._selection)
        scaled = tuple(replace(b, channels=root * b.channels) for b in (self._program_blocks if blocks is None else blocks))
        row_user = np.tile(np.arange(problem.users), self._row_subcarriers.shape[1])
        return Program(
            scaled, len(self._groups), row_user, sinr, problem.row_antennas, len(self._touched), self._selection,
            np.zeros((total, total)),
        )  # fmt: skip

    # -- solving -----------------------------------------------------------------------------------------------------

    def solve(self, sinr: float, gap: float = GAP) -> Solution:
        """Solve for an SINR target (linear); the result depends on nothing that was solved before."""
        started = time.perf_counter()
        problem = self._problem
        result = solve(self._program(sinr), gap)
        noise = problem.noise_power / problem.subcarriers
        power = self._scale_m2 * result.power[problem.power_rows] / problem.per_antenna_power
        service = np.zeros((problem.subcarriers, problem.users))
        rows = result.service.reshape(len(self._groups), -1, problem.users)
        np.add.at(service, self._row_subcarriers, self._scale_m2 * rows / noise)
        size = problem.nodes * problem.antennas
        streams = np.zeros((problem.users, problem.subcarriers, size, size), dtype=np.complex128)
        for (mine, groups), covariance in zip(self._classes, result.covariances, strict=True):
            for subcarriers in zip(*groups, strict=True):
                place = np.ix_(np.arange(problem.users), subcarriers, mine, mine)
                streams[place] = problem.per_antenna_power * covariance.swapaxes(0, 1)
        turned = np.sqrt(self._scale_m2) * (self._transform.T @ result.fisher)
        every = problem.targets * problem.nodes**2
        fisher = np.zeros((self._dense + 2 * every, turned.shape[1]))
        kept = np.concatenate([np.arange(self._dense), self._dense + self._touched, self._dense + every + self._touched])
        fisher[kept] = turned
        seconds = time.perf_counter() - started
        return Solution(result.outcome, streams, power, service.T, result.iterations, seconds, fisher)

    def along(self, directions: Complex, sinr: float, gap: float = GAP) -> tuple[str, Complex, Complex]:
        """The best design whose users' beams point along given directions, with any sensing covariance.

        Powers of the beams and the sensing covariance are optimised together: convex again, and what is found can be sent
        as it is.

        Parameters
        ----------
        directions
            One per user and subcarrier, of any length, shape [U, L, D]; of a group of subcarriers the first's counts.

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
        for (mine, groups), block in zip(self._classes, self._program_blocks, strict=True):
            first = [group[0] for group in groups]
            blocks.append(replace(block, users=np.array([-1])))
            blocks += [_along(block, unit[user][first][:, mine], user) for user in range(problem.users)]
        result = solve(self._program(sinr, blocks), gap)
        size = problem.nodes * problem.antennas
        beams = np.zeros((problem.users, problem.subcarriers, size), dtype=np.complex128)
        remainder = np.zeros((problem.subcarriers, size, size), dtype=np.complex128)
        found = iter(result.covariances)
        for mine, groups in self._classes:
            first, rest = [group[0] for group in groups], next(found)[:, 0]
            powers = [next(found)[:, 0, 0, 0].real for _ in range(problem.users)]
            for subcarriers in zip(*groups, strict=True):
                remainder[np.ix_(subcarriers, mine, mine)] = problem.per_antenna_power * rest
                for user, power in enumerate(powers):
                    length = np.sqrt(problem.per_antenna_power * power)[:, np.newaxis]
                    beams[user][np.ix_(subcarriers, mine)] = length * unit[user][first][:, mine]
        return result.outcome, beams, remainder


def _along(block: Block, direction: Complex, user: int) -> Block:
    """The scalar problem along one direction [c, d] in each cell of a block: ``R = beta v v^H``."""
    v = direction[:, np.newaxis, np.newaxis]
    cost = block.power @ (np.abs(direction) ** 2)[..., np.newaxis]
    return replace(
        block, users=np.array([user]), power=cost,
        channels=(block.channels * v.conj()).sum(axis=-1, keepdims=True),
        dense=(block.dense * v[:, np.newaxis]).sum(axis=-1, keepdims=True),
        right=(block.right * v.conj()).sum(axis=-1, keepdims=True),
    )  # fmt: skip


def _transformed(block: Block, mixing: Float, weights: Complex, sizes: Float) -> Block:
    """A block's derivatives after the change of parameters: dense rows mixed with the atoms, atoms scaled."""
    dense = np.tensordot(block.dense, mixing, axes=([3], [1])).swapaxes(-1, -2)
    # sum over atoms of weight left right^H
    turned = np.einsum("ixkm,ckmd->cxkid", weights[:, block.atoms], block.right.conj())
    cells, receivers, families, rho = block.left.shape
    added = block.left.swapaxes(-1, -2) @ turned.reshape(cells, receivers, families, -1)
    dense = dense + added.reshape(cells, receivers, rho, len(mixing), -1)
    # The sizes depend on transmitter and target alone.
    return replace(block, dense=dense, right=block.right * sizes[block.atoms[0]][np.newaxis, :, :, np.newaxis])

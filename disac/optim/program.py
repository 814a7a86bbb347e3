"""Programs of :mod:`disac.optim.interior_point`: covariances, their Fisher information, and the users' constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.int64]

CACHED = 2**16
"""Complex numbers in an array that stays in a core's cache."""


@dataclass(frozen=True)
class Block:
    """Covariances of one shape: one for each of its entries and each stream.

    Entries of one group are adjacent and on the same antennas. They affect the same atoms; other groups affect other atoms.

    Attributes
    ----------
    cells
        Number of the cell of each entry, shape [c]; a cell occurs once in a group.
    starts
        First entry of each group, shape [g].
    users
        User that each stream serves, shape [u]; -1 for a stream that serves none.
    power
        Power that a unit on the diagonal takes of each power row, shape [g, power rows, d], or [c, ...] if entries differ.
    channels
        ``h`` of the service rows, shape [c, r, t, d]: ``B = sum_t h_t h_t^H``.
    dense
        Derivative rows of the dense parameters at each receiver, shape [c, x, rho, D, e]; x is 0 where none sees the block.
    left, right
        Rank-one derivatives ``left right^H`` of the atoms: shapes [c, x, k, rho] and [c, k, m, e].
    atoms
        Number of the atom (receiver x, family k, member m), shape [g, x, k, m].
    ties
        ``T^*`` of each of a cell's ties, shape [c, ties, m, d]. The number of ties may be zero.
    seen
        Numbers of the coordinates that receivers see, shape [e]: columns of ``dense`` and ``right``.
    tied
        Sign of the block in the ties. The streams of blocks with positive sign are those held inside the other block.
    """

    cells: Int
    starts: Int
    users: Int
    power: Float
    channels: Complex
    dense: Complex
    left: Complex
    right: Complex
    atoms: Int
    ties: Complex
    seen: Int
    tied: float = 1.0

    @cached_property
    def groups(self) -> list[slice]:
        """Entries of each group."""
        ends = [*self.starts[1:], len(self.cells)]
        return [slice(int(start), int(end)) for start, end in zip(self.starts, ends, strict=True)]

    @cached_property
    def touched(self) -> Int:
        """Dense parameters that touch each receiver, shape [x, p]: all, where different numbers of them do."""
        receivers, parameters = self.dense.shape[1], self.dense.shape[3]
        touching = np.any(self.dense != 0.0, axis=(0, 2, 4))
        if len(np.unique(touching.sum(axis=1))) != 1:
            return np.tile(np.arange(parameters), (receivers, 1))
        return np.nonzero(touching)[1].reshape(receivers, -1)

    @cached_property
    def dense_by_receiver(self) -> Complex:
        """The dense derivatives of the parameters that touch each receiver, shape [c, x, p, rho, e]."""
        seen = [self.dense[:, x][:, :, parameters] for x, parameters in enumerate(self.touched)]
        return np.ascontiguousarray(np.swapaxes(np.stack(seen, axis=1), 2, 3))

    @cached_property
    def group_of(self) -> Int:
        """Group of each entry, shape [c]."""
        return np.repeat(np.arange(len(self.starts)), [part.stop - part.start for part in self.groups])

    @cached_property
    def power_of(self) -> Int:
        """Row of ``power`` of each entry, shape [c]."""
        return self.group_of if len(self.power) == len(self.starts) else np.arange(len(self.cells))

    def by_group(self, values: Float | Complex) -> Any:
        """Sums over the entries of each group: [c, ...] to [g, ...], of the dtype of the entries."""
        return np.add.reduceat(values, self.starts, axis=0)


def merged(blocks: Sequence[Block]) -> list[tuple[Block, list[int]]]:
    """Join blocks that have the same streams and arrays of the same shapes, each with the numbers of the joined blocks."""
    together: list[list[int]] = []
    for number, block in enumerate(blocks):
        for members in together:
            if all(_alike(blocks[other], block) for other in members):
                members.append(number)
                break
        else:
            together.append([number])
    return [(_joined([blocks[number] for number in members]), members) for members in together]


def _alike(one: Block, other: Block) -> bool:
    arrays = ("power", "channels", "dense", "left", "right", "atoms", "ties")
    return (
        one.tied == other.tied
        and len(one.power) == len(one.starts)
        and len(other.power) == len(other.starts)
        and np.array_equal(one.users, other.users)
        and np.array_equal(one.seen, other.seen)
        and all(getattr(one, name).shape[1:] == getattr(other, name).shape[1:] for name in arrays)
        and not np.intersect1d(one.atoms, other.atoms).size
    )


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    before = np.cumsum([0, *(len(block.cells) for block in blocks[:-1])])
    parts = ("cells", "power", "channels", "dense", "left", "right", "atoms", "ties")
    arrays: dict[str, Any] = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in parts}
    starts = np.concatenate([block.starts + first for block, first in zip(blocks, before, strict=True)])
    return replace(blocks[0], starts=starts, **arrays)


@dataclass(frozen=True)
class Program:
    """A problem of the family.

    Attributes
    ----------
    blocks
        Together they hold every covariance.
    cells
        Number of cells.
    row_user
        User of each service row of a cell, shape [r].
    sinr
        Gamma, linear.
    budget
        Shape [power rows], or [cells, power rows] if each cell has power rows of its own. Each entry of a block then takes
        power of the rows of its cell.
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

    @property
    def power_by_cell(self) -> bool:
        """Whether each cell has power rows of its own."""
        return self.budget.ndim == 2

    def service(self, users: Int) -> Float:
        """``Gamma - (1 + Gamma) [row and stream of one user]``: weight of a row's B in a stream's Phi, shape [r, u]."""
        own = self.row_user[:, np.newaxis] == users
        weight: Float = self.sinr - (1.0 + self.sinr) * own
        return weight


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
    if not receivers:
        return share
    covariance = covariance[:, block.seen[:, np.newaxis], block.seen]
    left, flat_right = block.left, block.right.reshape(cells, families * members, size)
    right_t = np.swapaxes(flat_right, -1, -2)
    touched, count = block.touched, block.touched.shape[1]
    image = np.empty((cells, receivers * count * rho, families * members), dtype=np.complex128)
    # A few entries at a time, whose products stay in the cache.
    few = max(1, CACHED // max(1, receivers * count * rho * size))
    for start in range(0, cells, few):
        part = slice(start, start + few)
        rows = block.dense_by_receiver[part]
        weighted = rows.reshape(len(rows), -1, size) @ covariance[part]
        image[part] = weighted @ right_t[part]
        parts, weighted_parts = (x.reshape(len(rows), receivers, count, -1).view(np.float64) for x in (rows, weighted))
        for place, gram in zip(touched, (parts @ np.swapaxes(weighted_parts, -1, -2)).sum(axis=0), strict=True):
            share[np.ix_(place, place)] += gram
    # s^H R H_i^H abar
    seen_atoms = image.conj().reshape(cells, receivers, count, rho, families, members)
    mixed = block.by_group(np.einsum("cxprkm,cxkr->cxpkm", seen_atoms, left))
    mixed = mixed.reshape(len(block.starts), receivers, count, -1)
    index, place = block.atoms.reshape(len(block.starts), receivers, 1, -1), touched[..., np.newaxis]
    for offset, entries in ((dense, mixed.real), (dense + atoms, -mixed.imag)):
        share[place, offset + index] = entries
        share[offset + index, place] = entries
    seen = ((flat_right.conj() @ covariance) @ right_t).reshape(cells, families, members, families, members)
    across = left.conj() @ np.swapaxes(left, -1, -2)
    own = np.stack([np.einsum("cxkl,clnkm->xkmln", across[part], seen[part]) for part in block.groups])
    # Different receivers have different atoms, so no entry is assigned twice.
    e = block.atoms.reshape(-1, families * members)
    own = own.reshape(len(e), families * members, families * members)
    row, column = dense + e[:, :, np.newaxis], dense + e[:, np.newaxis]
    real, imaginary = own.real, own.imag
    share[row, column] = real
    share[row + atoms, column + atoms] = real
    share[row, column + atoms] = -imaginary
    share[row + atoms, column] = imaginary
    return share

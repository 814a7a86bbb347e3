"""Programs of :mod:`disac.optim.interior_point`: covariances, what they are judged by, what they must serve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.int64]


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

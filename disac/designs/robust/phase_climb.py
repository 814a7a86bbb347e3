"""Better beams from given ones that stand all phases, by cones within the set (successive convex approximation).

With ``theta`` the angle of the useful amplitude ``h_k(phi)^H w_k`` so far, ``Re(e^{-j theta} h_k(phi)^H w_k)`` is at most its
modulus and equal to it at the beams so far. So rows with it at any phases hold for those beams, and beams that satisfy them
have the SINR at these phases.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.cones import modulus
from disac.designs.robust.phase_cuts import Coordinates, Cuts
from disac.optim.cones import ConeProgram

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def climbed(
    frame: Coordinates, sinr: float, cuts: Cuts, users: Complex, sensing: Complex, weights: Float
) -> tuple[Complex, Complex] | None:  # fmt: skip
    """Beams furthest along ``sum_n g_n Re(e^{-j alpha_n} a_n^T w_n)``, alpha_n the angle so far, with rows at the cuts.

    Parameters
    ----------
    users, sensing
        Beams so far in the frame's coordinates, [K, d] and [N, s], power in units of the limit.
    weights
        g [N].

    Returns
    -------
    users, sensing
        None where the solver has none.
    """
    (count, size), (nodes, width) = users.shape, sensing.shape
    start, total = 2 * count * size, 2 * count * size + 2 * nodes * width
    vectors, root = frame.channels(cuts), np.sqrt(sinr)
    program = ConeProgram(total)
    for k, h in zip(cuts.user, vectors, strict=True):
        rows = np.zeros((2 + 2 * (count - 1) + 2 * nodes, total))
        turn = np.exp(1j * np.angle(h.conj() @ users[k]))
        rows[0, 2 * k * size : 2 * (k + 1) * size] = modulus(turn * h)[1, 1:]
        row = 1
        for j in range(count):
            if j != k:
                rows[row : row + 2, 2 * j * size : 2 * (j + 1) * size] = root * modulus(h)[1:, 1:]
                row += 2
        for n in range(nodes):
            first = start + 2 * n * width
            rows[row : row + 2, first : first + 2 * width] = root * modulus(frame.leaks[n, k])[1:, 1:]
            row += 2
        program.second_order(np.arange(total), rows, root * np.eye(len(rows))[-1])
    counted = np.concatenate(
        [np.tile(frame.priced, (1, 2 * count)), np.repeat(frame.sensing_priced, 2, axis=1).reshape(len(frame.limits), -1)],
        axis=1,
    )
    for held, most in zip(counted, frame.limits, strict=True):
        columns = np.flatnonzero(held)
        rows = np.zeros((1 + len(columns), len(columns)))
        rows[1:] = np.eye(len(columns))
        program.second_order(columns, rows, np.sqrt(most) * np.eye(1 + len(columns))[0])
    cost = np.zeros(total)
    for n in range(nodes):
        first = start + 2 * n * width
        turn = np.exp(1j * np.angle(frame.target[n].conj() @ sensing[n]))
        cost[first : first + 2 * width] = weights[n] * modulus(turn * frame.target[n])[1, 1:]
    found = program.solve(cost / np.linalg.norm(cost))
    if not found.solved:
        return None
    beams = found.variables[:start].reshape(count, 2, size)
    lit = found.variables[start:].reshape(nodes, 2, width)
    return beams[:, 0] + 1j * beams[:, 1], lit[:, 0] + 1j * lit[:, 1]

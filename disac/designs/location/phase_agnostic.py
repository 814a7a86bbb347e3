"""Phase-agnostic design: every node transmits on every subcarrier, uncorrelated with the others.

A noncoherent network does not know the relative phases of its nodes, and over uniform phases the expected Fisher information
of any covariances is that of their diagonal blocks: E_phi F(R) = F(blkdiag R). So the least location error over block-diagonal
covariances is a bound on the mean error of every design with the same blocks. Uncorrelated signals of the nodes attain the
bound for any phases. All nodes serve a user with the same symbols, which correlates the nodes' signals. A known scrambling of
each node's symbols removes the correlation and is part of the delivered signal (:func:`scrambling`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.problem import DesignProblem, Part, Structure

Complex = NDArray[np.complex128]


def structure(problem: DesignProblem) -> Structure:
    """Return the structure: every node sends on every subcarrier, with a covariance of its own."""
    subcarriers, users = range(problem.subcarriers), tuple(range(problem.users))
    parts = tuple(Part((s,), problem.node_antennas(node), users) for s in subcarriers for node in range(problem.nodes))
    return Structure("phase-agnostic", parts, tuple((s,) for s in subcarriers))


def scrambling(nodes: int, symbols: int) -> Complex:
    """Known factors of each node's symbols that make its signal uncorrelated with the others' over ``nodes`` symbols.

    ``c_n(t) = exp(j 2 pi n t / N)``: over any N successive symbols ``sum_t c_n c_m^* = 0`` for n != m.

    Returns
    -------
    complex128, shape [N, symbols]
    """
    return np.exp(2j * np.pi * np.outer(np.arange(nodes), np.arange(symbols)) / nodes)

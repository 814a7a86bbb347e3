"""Designs for one side of the trade-off alone: the isotropic signal, and the largest SINR of the users."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.location import phase_agnostic
from disac.designs.location.largest import LargestSinr, largest_sinr
from disac.designs.location.problem import DesignProblem

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def isotropic(problem: DesignProblem) -> Complex:
    """Isotropic signal of full power, equal on all subcarriers, that serves no user; its spectrum is flat.

    Returns
    -------
    complex128, shape [U + 1, L, D, D]
        The users' streams, which are zero, and the sensing stream.
    """
    whole = phase_agnostic.structure(problem).uniform_covariances(problem)
    silent = np.zeros((problem.users, *whole.shape), dtype=np.complex128)
    return np.concatenate([silent, whole[np.newaxis]])


def communication_only(problem: DesignProblem) -> tuple[Complex, LargestSinr]:
    """Design with the largest SINR that all users can have; the left-over power goes where no user receives it.

    The left-over power of each node is isotropic in the null space of its users' channels. With as many users as antennas the
    null space is empty. An antenna that is at its limit keeps its node from sending more. Under a flat spectrum the same holds
    for each subcarrier.

    Returns
    -------
    streams
        Shape [U + 1, L, D, D]: the users' streams and the sensing stream.
    largest
        The bracket of the SINR, with the ray that proves its upper end.
    """
    largest = largest_sinr(problem, phase_agnostic.structure(problem))
    quiet = np.zeros(largest.streams.shape[1:], dtype=np.complex128)
    for node in range(problem.nodes):
        mine = problem.node_antennas(node)
        for subcarrier in range(problem.subcarriers):
            # Columns beyond the users' span of an orthonormal basis.
            heard = problem.channels[node, :, subcarrier].T
            basis, _ = np.linalg.qr(heard, mode="complete")
            unheard = basis[:, min(problem.users, problem.antennas) :]
            quiet[subcarrier, mine[:, np.newaxis], mine] = unheard @ unheard.conj().T
    # One limit covers all subcarriers (free spectrum), or each subcarrier has a limit of its own (flat spectrum).
    every = problem.subcarriers
    width = 1 if problem.spectrum == "flat" else every
    for here in (slice(first, first + width) for first in range(0, every, width)):
        spent = np.real(np.einsum("ulii->i", largest.streams[:, here]))
        cost = np.real(np.einsum("lii->i", quiet[here]))
        by_antenna = np.repeat(_left_over(problem, spent, cost, width), problem.antennas)
        quiet[here] *= np.sqrt(np.outer(by_antenna, by_antenna))
    return np.concatenate([largest.streams, quiet[np.newaxis]]), largest


def _left_over(problem: DesignProblem, spent: Float, cost: Float, subcarriers: int) -> Float:
    """Factor of a signal that each node can send within the power that is left on so many subcarriers, shape [N].

    Parameters
    ----------
    spent, cost
        Power that each antenna already spends, and power that the signal takes from it, shape [D].
    """
    allowed = problem.per_antenna_power * (subcarriers / problem.subcarriers) * problem.row_antennas
    left = np.maximum(allowed - np.bincount(problem.power_rows, weights=spent), 0.0)
    scale = np.zeros(problem.nodes)
    for node in range(problem.nodes):
        # Nodes under one limit each get an equal share of it.
        mine = problem.node_antennas(node)
        rows = problem.power_rows[mine]
        sharers = np.array([len(np.unique(np.flatnonzero(problem.power_rows == row) // problem.antennas)) for row in rows])
        own = np.bincount(rows, weights=cost[mine], minlength=len(left))[rows]
        most = left[rows] / sharers
        scale[node] = np.divide(most, own, out=np.zeros_like(own), where=own > 1e-12).min() if own.max() > 1e-12 else 0.0
    return scale

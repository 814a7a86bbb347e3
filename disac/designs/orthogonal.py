"""Orthogonal design (P.2) of 002: each subcarrier belongs to one node, and is designed by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.beams import node_beams
from disac.designs.problem import DesignProblem, Part, Structure

Complex = NDArray[np.complex128]


def structure(problem: DesignProblem) -> Structure:
    """Subcarrier l is transmitted by node l mod N alone (002, section IV-C)."""
    subcarriers = range(problem.subcarriers)
    parts = tuple(Part((s,), problem.node_antennas(problem.owner(s))) for s in subcarriers)
    return Structure("orthogonal", parts, tuple((s,) for s in subcarriers))


def extract_beams(problem: DesignProblem, streams: Complex) -> tuple[Complex, Complex]:
    """Rank-one beams and the sensing remainder (002, (33)): exact for this design (Theorem 3).

    ``w_u = R_{c,u} h / sqrt(h^H R_{c,u} h)`` and ``R_s = R - sum_u w_u w_u^H``.

    Parameters
    ----------
    streams
        Stream covariances [U, L, D, D].

    Returns
    -------
    beams, remainder
        Shapes [U, L, D] and [L, D, D]; the remainder is positive semidefinite.
    """
    beams = node_beams(problem, streams)
    return beams, streams.sum(axis=0) - np.einsum("uli,ulj->lij", beams, beams.conj())

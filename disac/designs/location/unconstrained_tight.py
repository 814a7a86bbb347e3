"""Unconstrained design (P.1) of 002: every subcarrier is transmitted by all nodes together.

The design is solved in the tight relaxation of (23), which keeps the full N M_t x N M_t stream covariances. For one user this
relaxation is the printed problem (24). For more users (24) drops blocks and has a lower, looser optimum (``unconstrained``).
The location bound uses the relative phases of the nodes. A noncoherent network does not know these phases, so the design is
only a bound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.beams import heard_directions, mean_covariance, node_beams
from disac.designs.location.problem import DesignProblem, Part, Structure

Complex = NDArray[np.complex128]


def structure(problem: DesignProblem) -> Structure:
    """All antennas of all nodes on every subcarrier (002, section IV-B)."""
    everything, users = np.arange(problem.nodes * problem.antennas), tuple(range(problem.users))
    subcarriers = range(problem.subcarriers)
    parts = tuple(Part((s,), everything, users) for s in subcarriers)
    return Structure("unconstrained-tight", parts, tuple((s,) for s in subcarriers))


def directions(problem: DesignProblem, streams: Complex) -> Complex:
    """Directions of rank-one beams that keep the phases between nodes.

    They are the strongest of :func:`~disac.designs.location.beams.heard_directions`. The beams are exact if R_{c,u} has rank
    one. Otherwise the powers and the sensing signal have to be optimised again along these directions.

    Parameters
    ----------
    streams
        Stream covariances [U, L, D, D].

    Returns
    -------
    complex128, shape [U, L, D]
    """
    beams: Complex = heard_directions(problem, streams)[0][..., 0]
    return beams


def extract_as_printed(problem: DesignProblem, streams: Complex) -> tuple[Complex, Complex]:
    """Beams by (26)-(27) and sensing signal by (28)-(29) of 002, for comparison. They violate the SINR and power limits.

    (27) sets the phase of each node's beam separately. So the cross terms of ``w w^H`` between nodes differ from those of the
    covariance, and the remainder (28) is indefinite. (29) keeps the positive part of the remainder.

    Returns
    -------
    beams, remainder
        Shapes [1, U, L, D] and [L, D, D].
    """
    beams = node_beams(problem, streams[: problem.users])[np.newaxis]
    rest = streams.sum(axis=0) - mean_covariance(beams).sum(axis=0)
    values, vectors = np.linalg.eigh(rest)
    kept = (vectors * np.maximum(values, 0.0)[:, np.newaxis]) @ vectors.conj().swapaxes(-1, -2)
    return beams, kept

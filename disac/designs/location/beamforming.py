"""Beamforming design (P.3) of 002: each node optimises its covariance summed over its subcarriers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.location import orthogonal
from disac.designs.location.beams import node_beams
from disac.designs.location.problem import DesignProblem, Structure

Complex = NDArray[np.complex128]


def structure(problem: DesignProblem) -> Structure:
    """Return the structure of the orthogonal design, with each node's average covariance in the objective (002, section IV-D).

    The average runs over the |S_n| subcarriers of node n. The printed L/N is wrong where N does not divide L. The objective
    is not the CRB of the transmitted signal; results must give that CRB beside the objective.
    """
    owned = tuple(tuple(range(node, problem.subcarriers, problem.nodes)) for node in range(problem.nodes))
    return Structure("beamforming", orthogonal.structure(problem).parts, owned)


def beams_alone(problem: DesignProblem, streams: Complex) -> tuple[Complex, Complex]:
    """Compute rank-one beams as in the orthogonal design, without a sensing signal.

    No optimum of this design needs a sensing signal. The remainder, spread over a node's subcarriers as in (40), would
    interfere with the users; it is dropped.

    Returns
    -------
    beams, remainder
        Shapes [1, U, L, D] and [L, D, D]; the remainder is zero.
    """
    return node_beams(problem, streams)[np.newaxis], np.zeros_like(streams[0])

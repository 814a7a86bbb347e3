"""Beamforming design (P.3) of 002: each node optimises its covariance summed over its subcarriers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.location import orthogonal
from disac.designs.location.beams import node_beams
from disac.designs.location.problem import DesignProblem, Structure

Complex = NDArray[np.complex128]


def structure(problem: DesignProblem) -> Structure:
    """As the orthogonal design, but judged by each node's average covariance (002, section IV-D).

    The average runs over the |S_n| subcarriers of node n; the printed L/N is wrong where N does not divide L. The objective
    is then not the CRB of what is transmitted, which must stand beside it.
    """
    owned = tuple(tuple(range(node, problem.subcarriers, problem.nodes)) for node in range(problem.nodes))
    return Structure("beamforming", orthogonal.structure(problem).parts, owned)


def beams_alone(problem: DesignProblem, streams: Complex) -> tuple[Complex, Complex]:
    """Rank-one beams as in the orthogonal design, without a sensing signal.

    No optimum needs a sensing signal here, and spreading the remainder over a node's subcarriers as in (40) puts it where
    it interferes; it is dropped.

    Returns
    -------
    beams, remainder
        Shapes [1, U, L, D] and [L, D, D]; the remainder is zero.
    """
    return node_beams(problem, streams)[np.newaxis], np.zeros_like(streams[0])

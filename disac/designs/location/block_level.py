"""Block-level design (18) of 001: one covariance of each stream and node for the whole band.

A noncoherent network that designs each block as a whole does not distinguish subcarriers: every subcarrier carries the same
covariances. The design is the phase-agnostic one with all subcarriers in one cluster.
"""

from __future__ import annotations

from disac.designs.location import phase_agnostic
from disac.designs.location.problem import DesignProblem, Structure

METHOD, CLUSTERS = "phase-agnostic", 1
"""Arguments ``method`` and ``clusters`` of :class:`disac.designs.location.design.Designer` for this design."""


def structure(problem: DesignProblem) -> Structure:
    """Return the structure: every node sends on every subcarrier, with one covariance for the band (001, (18))."""
    return phase_agnostic.structure(problem).clustered(CLUSTERS)

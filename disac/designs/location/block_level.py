"""Block-level design (18) of 001: one covariance of each stream and node for the whole band.

A noncoherent network that designs block by block knows no subcarriers: every subcarrier carries the same covariances. It is
the phase-agnostic design with all subcarriers in one cluster.
"""

from __future__ import annotations

from disac.designs.location import phase_agnostic
from disac.designs.location.problem import DesignProblem, Structure

METHOD, CLUSTERS = "phase-agnostic", 1
"""As :class:`disac.designs.location.design.Designer` takes them."""


def structure(problem: DesignProblem) -> Structure:
    """Every node on every subcarrier, with one covariance of its own for the band (001, (18))."""
    return phase_agnostic.structure(problem).clustered(CLUSTERS)

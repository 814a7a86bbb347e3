"""Designs for a network whose clocks and oscillators are known to a stated degree: from noncoherent to coherent.

Optimal for the hybrid bound (:mod:`disac.metrics.synchronisation`), in which the expected information and the prior are those
of the deviations stated. Where nothing is left on average of the phases between transmitters, their signals need not be
correlated, and the design is the phase-agnostic one under the same prior.
"""

from __future__ import annotations

from disac.designs.location import phase_agnostic, unconstrained_tight
from disac.designs.location.problem import DesignProblem, Structure


def structure(problem: DesignProblem) -> Structure:
    """All antennas together on every subcarrier; each node by itself where correlation is worth nothing to anybody."""
    known = problem.sensing.synchronisation
    told_apart = known is None or not known.coherence(problem.subcarriers, problem.sensing.bandwidth_hz).any()
    if told_apart and problem.sinr_type != "coherent":
        return phase_agnostic.structure(problem)
    return unconstrained_tight.structure(problem)

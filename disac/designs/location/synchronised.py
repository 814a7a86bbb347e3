"""Designs for a network whose clocks and oscillators are known to a stated degree: from noncoherent to coherent.

Optimal for the hybrid bound (:mod:`disac.metrics.synchronisation`), in which the expected information and the prior are those
of the deviations stated. If the phases between transmitters are unknown on average, correlated signals do not help, and
the design is the phase-agnostic one under the same prior.
"""

from __future__ import annotations

from disac.designs.location import phase_agnostic, unconstrained_tight
from disac.designs.location.problem import DesignProblem, Structure


def structure(problem: DesignProblem) -> Structure:
    """All antennas together on every subcarrier, or each node by itself if correlation helps neither users nor sensing."""
    known = problem.sensing.synchronisation
    told_apart = known is None or not known.coherence(problem.subcarriers, problem.sensing.bandwidth_hz).any()
    if told_apart and problem.sinr_type != "coherent":
        return phase_agnostic.structure(problem)
    return unconstrained_tight.structure(problem)

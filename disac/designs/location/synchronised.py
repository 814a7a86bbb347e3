"""Designs for a network whose clocks and oscillators are known to a stated degree: from noncoherent to coherent.

The designs are optimal for the hybrid bound (:mod:`disac.metrics.synchronisation`). Its expected information and its prior
follow from the stated deviations. If the mean phasor between any two transmitters is zero, correlated signals do not help.
The design is then the phase-agnostic one under the same prior.
"""

from __future__ import annotations

from disac.designs.location import phase_agnostic, unconstrained_tight
from disac.designs.location.problem import DesignProblem, Structure


def structure(problem: DesignProblem) -> Structure:
    """Structure with all antennas together on each subcarrier; with one part per node if correlation helps nothing."""
    known = problem.sensing.synchronisation
    told_apart = known is None or not known.coherence(problem.subcarriers, problem.sensing.bandwidth_hz).any()
    if told_apart and problem.sinr_type != "coherent":
        return phase_agnostic.structure(problem)
    return unconstrained_tight.structure(problem)

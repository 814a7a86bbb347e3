"""The design problem of a noncoherent scenario, and a design method set up for it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from disac.designs.location.design import Designer, Solver
from disac.designs.location.problem import DesignProblem
from disac.drops.noncoherent import target_amplitudes, user_channels
from disac.metrics.fisher import SensingModel
from disac.metrics.sinr import SinrType
from disac.metrics.synchronisation import Synchronisation
from disac.power_limits import power_limit
from disac.scenarios.noncoherent import Scenario
from disac.units import db_to_linear

Belief = Literal["noncoherent", "stated", "coherent"]
"""Synchronisation that a design assumes: unknown phases and known clocks (002), the scenario's own, or perfect."""

BELIEFS: dict[str, Belief] = {"synchronised": "stated", "coherent": "coherent"}


def design_problem(
    scenario: Scenario, belief: Belief = "noncoherent", sinr_type: SinrType = "noncoherent"
) -> DesignProblem:  # fmt: skip
    """Return the design problem of a scenario, in units of the noise power."""
    power, layout = db_to_linear(scenario.power.power_to_noise_db), scenario.layout
    carrier_hz, known = scenario.waveform.carrier_hz, None
    if belief == "coherent":
        known = Synchronisation(phase_std_rad=0.0, link_phase_std_rad=0.0, carrier_hz=carrier_hz)
    elif belief == "stated":
        stated = scenario.synchronisation
        clock, phase, link, position = (
            np.inf if value is None else value
            for value in (stated.clock_std_s, stated.phase_std_rad, stated.link_phase_std_rad, stated.position_std_m)
        )
        known = Synchronisation(clock, phase, link, position_std_m=position, carrier_hz=carrier_hz, phase_law=stated.phase_law)
    sensing = SensingModel(
        nodes_m=layout.nodes, targets_m=layout.targets, amplitudes=target_amplitudes(scenario),
        transmit_antennas=scenario.arrays.transmit_antennas, receive_antennas=scenario.arrays.receive_antennas,
        subcarriers=scenario.waveform.subcarriers, bandwidth_hz=scenario.waveform.bandwidth_hz,
        noise_power=1.0 / power, orientation=layout.orientation, transmitters=layout.transmitters, receivers=layout.receivers,
        synchronisation=known,
    )  # fmt: skip
    return DesignProblem(
        sensing, user_channels(scenario), 1.0, 1.0 / power, scenario.sensing.localization,
        power_limit(scenario.power.limit), sinr_type,
    )  # fmt: skip


def designer_of(
    scenario: Scenario, design: str, sinr_type: SinrType = "noncoherent", solver: Solver = "fast", clusters: int = 0
) -> Designer:  # fmt: skip
    """Return the design method of that name, set up for a scenario with the synchronisation that the method assumes."""
    problem = design_problem(scenario, BELIEFS.get(design, "noncoherent"), sinr_type)
    return Designer(problem, "synchronised" if design == "coherent" else design, solver, clusters)

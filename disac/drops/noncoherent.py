"""Random channels and target amplitudes of a scenario, entity by entity (rule R1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.scenarios.noncoherent import Scenario
from disac.streams import complex_normal, stream
from disac.units import db_to_linear

Complex = NDArray[np.complex128]


def user_channels(scenario: Scenario) -> Complex:
    """Rayleigh channels ``h_{n,u,l}`` of the transmitting nodes (002, V: normalised gain; 001: the same on all subcarriers).

    Returns
    -------
    complex128, shape [N_t, U, L, M_t]
    """
    layout, antennas = scenario.layout, scenario.arrays.transmit_antennas
    shape = (len(layout.transmit_nodes), layout.user_count, scenario.waveform.subcarriers)
    channels = np.empty((*shape, antennas), dtype=np.complex128)
    flat = scenario.channel.selectivity == "flat"
    for node, user, subcarrier in np.ndindex(shape):
        if flat and subcarrier > 0:
            channels[node, user, subcarrier] = channels[node, user, 0]
            continue
        random = stream(
            scenario.channel.seed, "user-channel", realisation=scenario.channel.realisation,
            node=layout.transmit_nodes[node], user=user, subcarrier=subcarrier,
        )  # fmt: skip
        channels[node, user, subcarrier] = complex_normal(random, antennas)
    if scenario.channel.gain == "unit-norm":
        channels /= np.linalg.norm(channels, axis=-1, keepdims=True)
    return channels


def target_amplitudes(scenario: Scenario) -> Complex:
    """Bistatic amplitudes ``b_{n,m}^k`` of independent uniform phases: of equal power (002, V), or falling with distance.

    With a reference distance d_0, ``|b_{n,m}^k| = |b| d_0^2 / (d_n^k d_m^k)``: free space on both ways.

    Returns
    -------
    complex128, shape [N_r, N_t, K]: receiving node, transmitting node, target
    """
    receivers, transmitters = scenario.layout.receive_nodes, scenario.layout.transmit_nodes
    phases = np.empty((len(receivers), len(transmitters), scenario.layout.target_count))
    for r, t, target in np.ndindex(phases.shape):
        random = stream(
            scenario.channel.seed, "target-phase", realisation=scenario.channel.realisation, receiver=receivers[r],
            transmitter=transmitters[t], target=target,
        )  # fmt: skip
        phases[r, t, target] = random.uniform(0.0, 2.0 * np.pi)
    amplitudes = np.sqrt(db_to_linear(scenario.sensing.amplitude_db)) * np.exp(1j * phases)
    reference_m = scenario.sensing.reference_distance_m
    if reference_m is None:
        return amplitudes
    away = scenario.layout.targets - scenario.layout.nodes[:, np.newaxis]
    share = reference_m / np.hypot(away[..., 0], away[..., 1])
    return amplitudes * share[list(receivers), np.newaxis] * share[list(transmitters)]


def node_phases_rad(scenario: Scenario, draws: int = 200) -> NDArray[np.float64]:
    """Uniform oscillator phases of the transmitting nodes, common to all designs of a realisation.

    Returns
    -------
    float64, shape [draws, N_t], rad
    """
    phases = np.empty((draws, len(scenario.layout.transmit_nodes)))
    for column, node in enumerate(scenario.layout.transmit_nodes):
        random = stream(scenario.channel.seed, "node-phase", realisation=scenario.channel.realisation, node=node)
        phases[:, column] = random.uniform(0.0, 2.0 * np.pi, draws)
    return phases

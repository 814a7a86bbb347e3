"""The network on which designs of all papers meet, in physical units: X0 by default, four nodes, one target, three users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import baseband_hz, steering_vector
from disac.drops.fading import rician_weights, urban_micro_gain
from disac.geometry import angles_rad
from disac.scenarios.common import CommonScenario
from disac.streams import complex_normal, stream
from disac.units import SPEED_OF_LIGHT_M_S, db_to_linear

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

PREFIX_S = 0.8e-6
SYMBOLS = 100
"""OFDM symbols of one processing interval, T."""
BEARINGS_DEG = (0.0, 80.0, 170.0, 250.0, 40.0, 125.0, 210.0, 290.0)
"""Of the eight sites; the first four are those of X0."""
NODE_DISTANCE_M = 100.0
TARGET_M = (12.0, -7.0)
USERS_M = (
    (-40.0, 10.0), (25.0, 45.0), (30.0, -35.0), (-25.0, -45.0), (55.0, 5.0), (-15.0, 60.0), (-60.0, -20.0), (5.0, -60.0),
)  # fmt: skip
"""Eight places; the first three are those of X0."""
RICIAN_FACTOR_DB = 5.0
NOISE_FIGURE_DB = 7.0
TEMPERATURE_K = 290.0
BOLTZMANN_J_K = 1.380649e-23


@dataclass(frozen=True)
class CommonNetwork:
    """The network in numbers.

    ``channels`` h_{n,u,l} [N, U, L, M]; ``amplitude`` alpha_nm [N, N]; ``noise_w`` per resource element, at users and nodes
    alike; ``total_power_w`` of all nodes and subcarriers; ``guarded_rad`` the phase error that robust designs guard.
    """

    nodes_m: Float
    target_m: Float
    users_m: Float
    channels: Complex
    amplitude: Float
    noise_w: float
    carrier_hz: float
    bandwidth_hz: float
    total_power_w: float
    guarded_rad: float

    @property
    def nodes(self) -> int:
        """Number of nodes N."""
        return self.channels.shape[0]

    @property
    def users(self) -> int:
        """Number of users U."""
        return self.channels.shape[1]

    @property
    def subcarriers(self) -> int:
        """Number of subcarriers L."""
        return self.channels.shape[2]

    @property
    def antennas(self) -> int:
        """Antennas of each node, M."""
        return self.channels.shape[3]

    @property
    def steering(self) -> Complex:
        """Responses to the target, [N, M]."""
        return steering_vector(angles_rad(self.nodes_m, self.target_m[np.newaxis], "origin")[:, 0], self.antennas)


def common_network(scenario: CommonScenario) -> CommonNetwork:
    """Positions, channels and echo amplitudes."""
    bearing = np.deg2rad(BEARINGS_DEG[: scenario.node_count])
    nodes = NODE_DISTANCE_M * np.stack([np.cos(bearing), np.sin(bearing)], axis=1)
    target, users = _target(scenario), np.array(USERS_M[: scenario.user_count])
    wavelength = SPEED_OF_LIGHT_M_S / scenario.carrier_hz
    away = np.linalg.norm(nodes - target, axis=1)
    amplitude = wavelength * np.sqrt(scenario.cross_section_m2 / (4.0 * np.pi) ** 3) / np.outer(away, away)
    figure = db_to_linear(NOISE_FIGURE_DB)
    noise = BOLTZMANN_J_K * TEMPERATURE_K * figure * scenario.bandwidth_hz / scenario.subcarriers
    return CommonNetwork(
        nodes, target, users, _channels(scenario, nodes, users), amplitude, noise, scenario.carrier_hz, scenario.bandwidth_hz,
        scenario.total_power_w, scenario.guarded_rad,
    )  # fmt: skip


def _target(scenario: CommonScenario) -> Float:
    """Position of the target, [2], m: drawn evenly in the disc, as shares of its radius."""
    if scenario.target_radius_m == 0.0:
        return np.array(TARGET_M)
    random = stream(scenario.seed, "common-target", realisation=scenario.realisation)
    away, bearing = scenario.target_radius_m * np.sqrt(random.uniform()), random.uniform(0.0, 2.0 * np.pi)
    return np.array(TARGET_M) + away * np.array([np.cos(bearing), np.sin(bearing)])


def _channels(scenario: CommonScenario, nodes: Float, users: Float) -> Complex:
    """Urban micro, line of sight, Rician; the direct path turns with the frequency, the scattered part does not."""
    antennas = scenario.antennas_per_node
    of_direct, of_scattered = rician_weights(RICIAN_FACTOR_DB)
    away = np.linalg.norm(users[np.newaxis] - nodes[:, np.newaxis], axis=2)
    gain = urban_micro_gain(away, scenario.carrier_hz)
    direct = steering_vector(angles_rad(nodes, users, "origin"), antennas)
    frequency = scenario.carrier_hz + baseband_hz(scenario.subcarriers, scenario.bandwidth_hz)
    turn = np.exp(-2j * np.pi * frequency * (away / SPEED_OF_LIGHT_M_S)[..., np.newaxis])
    scattered = np.empty((*away.shape, antennas), dtype=np.complex128)
    for node, user in np.ndindex(away.shape):
        random = stream(scenario.seed, "common-scattered", realisation=scenario.realisation, node=node, user=user)
        scattered[node, user] = complex_normal(random, antennas)
    h = of_direct * turn[..., np.newaxis] * direct[:, :, np.newaxis]
    h = h + of_scattered * scattered[:, :, np.newaxis]
    return h * np.sqrt(gain)[..., np.newaxis, np.newaxis]

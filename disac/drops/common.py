"""The network X0 on which designs of all papers meet: four nodes, one target, three users, in physical units.

Everything but the draw, the SINR and the power limit is fixed, so that every table names the same thing.
"""

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

CARRIER_HZ = 3.5e9
BANDWIDTH_HZ = 20e6
SUBCARRIERS = 64
PREFIX_S = 0.8e-6
SYMBOLS = 100
"""OFDM symbols of one processing interval, T."""
ANTENNAS = 8
BEARINGS_DEG = (0.0, 80.0, 170.0, 250.0)
NODE_DISTANCE_M = 100.0
TARGET_M = (12.0, -7.0)
USERS_M = ((-40.0, 10.0), (25.0, 45.0), (30.0, -35.0))
TOTAL_POWER_W = 0.1
CROSS_SECTION_M2 = 1.0
RICIAN_FACTOR_DB = 5.0
NOISE_FIGURE_DB = 7.0
TEMPERATURE_K = 290.0
BOLTZMANN_J_K = 1.380649e-23
PHASE_ERROR_RAD = 0.05


@dataclass(frozen=True)
class CommonNetwork:
    """X0 in numbers. ``channels`` h_{n,u,l} [N, U, L, M]; ``amplitude`` alpha_nm [N, N]; ``noise_w`` per resource element, at
    users and nodes alike.
    """

    nodes_m: Float
    target_m: Float
    users_m: Float
    channels: Complex
    amplitude: Float
    noise_w: float

    @property
    def steering(self) -> Complex:
        """Responses to the target, [N, M]."""
        return steering_vector(angles_rad(self.nodes_m, self.target_m[np.newaxis], "origin")[:, 0], ANTENNAS)


def common_network(scenario: CommonScenario) -> CommonNetwork:
    """Positions, channels and echo amplitudes of X0."""
    bearing = np.deg2rad(BEARINGS_DEG)
    nodes = NODE_DISTANCE_M * np.stack([np.cos(bearing), np.sin(bearing)], axis=1)
    target, users = np.array(TARGET_M), np.array(USERS_M)
    wavelength = SPEED_OF_LIGHT_M_S / CARRIER_HZ
    away = np.linalg.norm(nodes - target, axis=1)
    amplitude = wavelength * np.sqrt(CROSS_SECTION_M2 / (4.0 * np.pi) ** 3) / np.outer(away, away)
    noise = BOLTZMANN_J_K * TEMPERATURE_K * db_to_linear(NOISE_FIGURE_DB) * BANDWIDTH_HZ / SUBCARRIERS
    return CommonNetwork(nodes, target, users, _channels(scenario, nodes, users), amplitude, noise)


def _channels(scenario: CommonScenario, nodes: Float, users: Float) -> Complex:
    """Urban micro, line of sight, Rician; the direct path turns with the frequency, what is scattered does not."""
    of_direct, of_scattered = rician_weights(RICIAN_FACTOR_DB)
    away = np.linalg.norm(users[np.newaxis] - nodes[:, np.newaxis], axis=2)
    gain = urban_micro_gain(away, CARRIER_HZ)
    direct = steering_vector(angles_rad(nodes, users, "origin"), ANTENNAS)
    frequency = CARRIER_HZ + baseband_hz(SUBCARRIERS, BANDWIDTH_HZ)
    turn = np.exp(-2j * np.pi * frequency * (away / SPEED_OF_LIGHT_M_S)[..., np.newaxis])
    scattered = np.empty((*away.shape, ANTENNAS), dtype=np.complex128)
    for node, user in np.ndindex(away.shape):
        random = stream(scenario.seed, "common-scattered", realisation=scenario.realisation, node=node, user=user)
        scattered[node, user] = complex_normal(random, ANTENNAS)
    h = of_direct * turn[..., np.newaxis] * direct[:, :, np.newaxis]
    h = h + of_scattered * scattered[:, :, np.newaxis]
    return h * np.sqrt(gain)[..., np.newaxis, np.newaxis]

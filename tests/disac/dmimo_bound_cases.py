"""Networks for the tests of position bounds: the reference scenario, and the same one as a sensing model."""

from __future__ import annotations

from typing import Any

import numpy as np

from disac.metrics.access_point_terms import AccessPoints
from disac.metrics.fisher import SensingModel
from disac.metrics.position_error_map import pair_snr_m4
from disac.metrics.synchronisation import Synchronisation
from disac.units import SPEED_OF_LIGHT_M_S

CARRIER_HZ = 3.5e9
WAVELENGTH_M = SPEED_OF_LIGHT_M_S / CARRIER_HZ
NOISE_W = 1.380649e-23 * 290.0 * 1e5
HALF = (tuple(range(6)), tuple(range(6, 12)))
TARGETS_M = np.array([[420.0, 610.0], [700.0, 300.0]])


def reference_network(access_points: int = 12, antennas: int = 8, seed: int = 1, **fields: Any) -> AccessPoints:
    """Access points anywhere in a square kilometre; the orientation of 004 is half a turn from the boresight."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0.0, 1000.0, (access_points, 2))
    orientation = rng.uniform(0.0, 2.0 * np.pi, access_points)
    return AccessPoints(positions, orientation + np.pi, antennas, CARRIER_HZ, **fields)


def reference_snr_m4(power_dbm: float, slots: float = 64.0, antennas: int = 8, share: float = 0.5) -> float:
    """Of a pair when a share of the power goes to data, one square metre."""
    energy = slots * (1.0 - share) * 10.0 ** (power_dbm / 10.0 - 3.0)
    return float(pair_snr_m4(energy, WAVELENGTH_M, antennas, 1.0, NOISE_W))


def as_sensing_model(
    network: AccessPoints,
    targets_m: np.ndarray,
    transmitters: tuple[int, ...],
    receivers: tuple[int, ...],
    phases_rad: np.ndarray | None = None,
    **known: Any,
) -> SensingModel:
    """The same network with radar amplitudes of one square metre; noise of one subcarrier is that of the reference."""
    d = np.linalg.norm(network.positions_m[:, np.newaxis] - targets_m, axis=-1)
    gain = WAVELENGTH_M / ((4.0 * np.pi) ** 1.5)
    turned = np.exp(1j * (np.zeros(len(targets_m)) if phases_rad is None else phases_rad))
    travelled = d[list(receivers), np.newaxis] + d[list(transmitters)]
    amplitudes = gain / (d[list(receivers), np.newaxis] * d[list(transmitters)]) * turned
    amplitudes = amplitudes * np.exp(-1j * network.wavenumber_rad_m * travelled)
    return SensingModel(
        network.positions_m, targets_m, amplitudes, network.antennas, network.antennas, network.subcarriers,
        network.bandwidth_hz or 1e5, NOISE_W * network.subcarriers, tuple(network.boresights_rad), transmitters, receivers,
        Synchronisation(carrier_hz=CARRIER_HZ, **known),
    )  # fmt: skip


COHERENT = {"phase_std_rad": 0.0, "link_phase_std_rad": 0.0}


def even_covariance(network: AccessPoints, energies_w: np.ndarray) -> np.ndarray:
    """Orthogonal transmitters, each alike in all directions, over a block: [L, N_t M, N_t M]."""
    per_antenna = np.repeat(np.asarray(energies_w), network.antennas) / network.antennas / network.subcarriers
    return np.broadcast_to(np.diag(per_antenna).astype(complex), (network.subcarriers, *(len(per_antenna),) * 2))

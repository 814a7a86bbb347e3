"""Small deployments of phase-coherent access points for tests of mode selection."""

from __future__ import annotations

import numpy as np

from disac.designs.dmimo.link_strength import LargeScaleRate
from disac.metrics.pair_information import PairInformation, Slots, coherent_pairs

NOISE_W = 1.380649e-23 * 290.0 * 1e5
CARRIER_HZ = 3.5e9
LIMIT_M = 299792458.0 / CARRIER_HZ / 10.0


def energy_over_noise(slots: float, power_w: float, share: float = 0.5, antennas: int = 8) -> float:
    """``c / sigma^2`` of so many slots per transmitter."""
    return slots * (1.0 - share) * power_w / antennas / NOISE_W


def deployment(seed: int, access_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions in a square of 1 km and orientations."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1000, (access_points, 2)), rng.uniform(0, 2 * np.pi, access_points)


def grid(across: int) -> np.ndarray:
    """Points in the middles of the cells of a square grid over 1 km."""
    middles = (np.arange(across) + 0.5) * 1000.0 / across
    return np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)


def information(
    seed: int, access_points: int, across: int, *, slots: Slots = "per-transmitter", coherent: bool = True, amount: float = 1.0
) -> PairInformation:  # fmt: skip
    """Tables of a deployment at 20 dBm."""
    points = grid(across)
    entries = coherent_pairs(
        *deployment(seed, access_points),
        points,
        antennas=8,
        carrier_hz=CARRIER_HZ,
        energy_over_noise=energy_over_noise(amount, 0.1),
        coherent=coherent,
    )
    return PairInformation(entries, np.full(len(points), 1.0 / len(points)), slots)


def rate(seed: int, access_points: int, users: int = 10, antennas: int = 8) -> LargeScaleRate:
    """Large-scale rate under the line-of-sight law of the 3GPP urban microcell, without shadowing."""
    positions, orientations = deployment(seed, access_points)
    places = np.random.default_rng([seed, 1]).uniform(0, 1000, (users, 2))
    v = positions[:, np.newaxis] - places
    distance = np.maximum(np.hypot(v[..., 0], v[..., 1]), 10.0)
    strengths = 10.0 ** (-(22.0 * np.log10(distance) + 28.0 + 20.0 * np.log10(3.5)) / 10.0)
    sine = np.sin(np.arctan2(v[..., 1], v[..., 0]) - orientations[:, np.newaxis])
    responses = np.exp(1j * np.pi * sine[..., np.newaxis] * np.arange(antennas))
    return LargeScaleRate(strengths, responses, 0.1, 0.5, NOISE_W)

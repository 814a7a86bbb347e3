"""Every paper's design on the common scenario, in its own normalisation: what comes back are covariances in watts.

The maps: 002 and 001 take the noise of the whole band and sum power over subcarriers; 000 designs each subcarrier by itself
with its share of the power, and the relative phases of the nodes that it assumes to know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import baseband_hz
from disac.designs.location import block_level
from disac.designs.location.baselines import isotropic
from disac.designs.location.beams import mean_covariance
from disac.designs.location.design import Designer
from disac.designs.location.problem import DesignProblem
from disac.designs.robust.choices import robustness
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.zero_forcing import zero_forcing
from disac.drops.common import (
    ANTENNAS,
    BANDWIDTH_HZ,
    CARRIER_HZ,
    PHASE_ERROR_RAD,
    SUBCARRIERS,
    SYMBOLS,
    TOTAL_POWER_W,
    CommonNetwork,
)
from disac.geometry import delays_s
from disac.metrics.fisher import SensingModel
from disac.metrics.kld import EchoModel
from disac.metrics.sinr import SinrType
from disac.metrics.synchronisation import Synchronisation
from disac.power_limits import PER_ANTENNA, PER_NODE, TOTAL, PowerLimit
from disac.rcs import SHAPE, correlation
from disac.scenarios.common import CommonScenario
from disac.units import db_to_linear

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Record:
    """What a design sends: ``users`` R_{c,u,l} [U, L, D, D] and ``sensing`` R_{s,l} [L, D, D], W per resource element.

    ``status`` and ``message`` are the design's own; covariances are absent where there is none. ``gap`` is the relative gap of
    its certificate, the largest of its subcarriers where each is a design of its own.
    """

    status: str
    message: str
    users: Complex | None = None
    sensing: Complex | None = None
    gap: float = float("nan")


Method = Callable[[CommonNetwork, CommonScenario], Record]


def _limit(scenario: CommonScenario, *, native: PowerLimit) -> PowerLimit:
    """The limit of a table: the same for every design, or what the design's paper has."""
    return PER_NODE if scenario.power == "per-node" else native


def sensing_model(network: CommonNetwork, *, coherent: bool) -> SensingModel:
    """Echoes of T symbols: link phases unknown, or known but for one of the target."""
    known = Synchronisation(phase_std_rad=0.0, link_phase_std_rad=0.0, carrier_hz=CARRIER_HZ) if coherent else None
    # T symbols with the same covariances are one with T times the echo power. The model turns with the subcarrier's number from
    # zero on, so that the amplitude carries what the paths turn at the lowest subcarrier.
    lowest = CARRIER_HZ + baseband_hz(SUBCARRIERS, BANDWIDTH_HZ)[0]
    delay = delays_s(network.nodes_m, network.target_m[np.newaxis])
    turn = np.exp(-2j * np.pi * lowest * (delay + delay.T))
    amplitude = (np.sqrt(SYMBOLS) * network.amplitude * turn)[..., np.newaxis]
    return SensingModel(
        network.nodes_m, network.target_m[np.newaxis], amplitude, ANTENNAS, ANTENNAS, SUBCARRIERS, BANDWIDTH_HZ,
        network.noise_w * SUBCARRIERS, synchronisation=known,
    )  # fmt: skip


def band_problem(
    network: CommonNetwork, *, coherent: bool = False, sinr_type: SinrType = "noncoherent", limit: PowerLimit = PER_NODE
) -> DesignProblem:  # fmt: skip
    """The problem of 002 on X0."""
    each = TOTAL_POWER_W / (len(network.nodes_m) * ANTENNAS)
    return DesignProblem(
        sensing_model(network, coherent=coherent), network.channels, each, network.noise_w * SUBCARRIERS, power_limit=limit,
        sinr_type=sinr_type,
    )  # fmt: skip


def _of_band(
    method: str, *, clusters: int = 0, coherent: bool = False, sinr_type: SinrType = "noncoherent"
) -> Method:  # fmt: skip
    def design(network: CommonNetwork, scenario: CommonScenario) -> Record:
        limit = _limit(scenario, native=PER_ANTENNA)
        problem = band_problem(network, coherent=coherent, sinr_type=sinr_type, limit=limit)
        designer = Designer(problem, method, clusters=clusters)
        sinr = db_to_linear(scenario.sinr_db)
        found = designer.design(sinr)
        sent = designer.delivered(found, sinr, seek_constant=False)
        certificate = found.certificate
        if sent.beams is None or sent.remainder is None:
            return Record(certificate.status, certificate.message)
        users = mean_covariance(sent.beams) * designer.structure.together(problem)
        return Record(certificate.status, certificate.message, users, sent.remainder, certificate.relative_gap)

    return design


def _isotropic(network: CommonNetwork, scenario: CommonScenario) -> Record:
    streams = isotropic(band_problem(network))
    return Record("ok", "The same power everywhere; no user is served.", streams[:-1], streams[-1], 0.0)


def tone_problem(network: CommonNetwork, subcarrier: int, limit: PowerLimit) -> RobustProblem:
    """The problem of 000 on one subcarrier of X0: its share of the power, amplitudes of the echoes in the output SCNR."""
    h = network.channels[:, :, subcarrier]
    gains = ANTENNAS * network.amplitude**2 / network.noise_w
    nodes = len(gains)
    echoes = EchoModel(gains, correlation(SHAPE["swerling-1"], nodes, common=False))
    radius = 2.0 * np.sin(PHASE_ERROR_RAD / 2.0) * np.linalg.norm(h, axis=2)
    return RobustProblem(
        h, network.steering, echoes, TOTAL_POWER_W / SUBCARRIERS, network.noise_w, radius, PHASE_ERROR_RAD, limit
    )  # fmt: skip


def _of_tones(name: str, *, zero: bool = False) -> Method:
    choice = robustness(name)

    def design(network: CommonNetwork, scenario: CommonScenario) -> Record:
        limit = _limit(scenario, native=TOTAL)
        nodes, users, count, antennas = network.channels.shape
        size = nodes * antennas
        streams = np.zeros((users, count, size, size), dtype=np.complex128)
        sensing = np.zeros((count, nodes, antennas, nodes, antennas), dtype=np.complex128)
        gap, status, message = 0.0, "ok", "Zero forcing on a grid; no bound." if zero else ""
        for tone in range(count):
            problem = tone_problem(network, tone, limit)
            sinr = db_to_linear(scenario.sinr_db)
            found = zero_forcing(problem, choice.guarding(), sinr) if zero else choice.design(problem, sinr).design
            if found.beams is None:
                return Record(found.certificate.status, f"Subcarrier {tone}: {found.certificate.message}")
            w = found.beams.users.reshape(users, size)
            streams[:, tone] = w[:, :, np.newaxis] * w[:, np.newaxis].conj()
            for node, v in enumerate(found.beams.sensing):
                sensing[tone, node, :, node] = np.outer(v, v.conj())
            gap = max(gap, found.certificate.relative_gap)
            if found.certificate.status != "ok":
                status, message = found.certificate.status, f"Subcarrier {tone}: {found.certificate.message}"
        return Record(status, message, streams, sensing.reshape(count, size, size), float("nan") if zero else gap)

    return design


METHODS: dict[str, Method] = {
    "isotropic": _isotropic,
    "ofdm-phase-agnostic": _of_band("phase-agnostic"),
    "ofdm-orthogonal": _of_band("orthogonal"),
    "ofdm-beamforming": _of_band("beamforming"),
    "ofdm-unconstrained-tight": _of_band("unconstrained-tight"),
    "noncoherent-block": _of_band(block_level.METHOD, clusters=block_level.CLUSTERS),
    "coherent": _of_band("synchronised", coherent=True, sinr_type="coherent"),
    "robust-none": _of_tones("none"),
    "robust-lemma1": _of_tones("lemma1"),
    "robust-phase": _of_tones("phase"),
    "robust-zero-forcing": _of_tones("lemma1", zero=True),
}
"""Designs of 002, 001 and 000 by name, the coherent design of the same solver, and isotropic power."""

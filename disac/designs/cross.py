"""Designs of all papers on the common network, each in the normalisation of its paper. Each returns covariances in watts.

002 and 001 take the noise of the whole band and sum power over subcarriers. 000 designs each subcarrier separately, with a
share of the power; rows named ``band`` divide the power freely, as those of 002 do. The design of 000 assumes that the
relative phases of the nodes are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.arrays import baseband_hz
from disac.designs.cross_evidence import (
    POWER_DUAL,
    SINR_DUAL,
    band_record,
    beyond_limit,
    of_all,
    price_evidence,
    tone_evidence,
    unproven_band,
    unproven_divergence,
    unproven_known_data,
    unproven_largest,
    unproven_tones,
    unproven_zero_forcing,
)
from disac.designs.cross_evidence import Record as Record
from disac.designs.location import block_level, phase_agnostic, unconstrained_tight
from disac.designs.location.baselines import isotropic
from disac.designs.location.design import Designer
from disac.designs.location.feasibility import proven_need
from disac.designs.location.max_min import max_min_sinr
from disac.designs.location.problem import DesignProblem, Spectrum, Structure, unposed
from disac.designs.robust.all_subcarriers import design_each
from disac.designs.robust.band import BandProblem, CrossSectionLaw, solve_band
from disac.designs.robust.choices import robustness
from disac.designs.robust.known_data import solve_known_data
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.total_power import RobustDesign
from disac.designs.robust.zero_forcing import zero_forcing
from disac.drops.common import SYMBOLS, CommonNetwork
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


Method = Callable[[CommonNetwork, CommonScenario], Record]

Prover = Callable[[CommonNetwork, CommonScenario, Record], list[str]]
"""Sentences on what a record claims and its signal and evidence do not prove. Only designs in a band seek multipliers again."""


@dataclass(frozen=True)
class Proved:
    """A method whose records can be proved again."""

    design: Method
    prove: Prover

    def __call__(self, network: CommonNetwork, scenario: CommonScenario) -> Record:
        """The design's record."""
        return self.design(network, scenario)


def _limit(scenario: CommonScenario, *, native: PowerLimit) -> PowerLimit:
    """The power limit of a design: the same for every design of the table, or the limit in the design's paper."""
    return PER_NODE if scenario.power == "per-node" else native


NOTHING = None
"""Synchronisation of the network of 002: unknown phases and known clocks."""

ALL = Synchronisation(phase_std_rad=0.0, link_phase_std_rad=0.0)
"""Synchronisation of a fully coherent network: only one phase of the target is unknown."""


def stated(scenario: CommonScenario) -> Synchronisation:
    """Synchronisation that the scenario states. Phases of links and oscillators follow the von Mises law."""
    link = float("inf") if scenario.delta_rad is None else scenario.delta_rad
    return Synchronisation(scenario.clock_std_s, scenario.phase_std_rad, link, phase_law="von-mises")


def sensing_model(network: CommonNetwork, known: Synchronisation | None) -> SensingModel:
    """Echoes of T symbols, with the knowledge of clocks and phases."""
    # T symbols with the same covariances equal one symbol with T times the echo power. The phase of the model is zero at the
    # lowest subcarrier, so the amplitude contains the phase of the paths at that subcarrier.
    lowest = network.carrier_hz + baseband_hz(network.subcarriers, network.bandwidth_hz)[0]
    delay = delays_s(network.nodes_m, network.target_m[np.newaxis])
    turn = np.exp(-2j * np.pi * lowest * (delay + delay.T))
    amplitude = (np.sqrt(SYMBOLS) * network.amplitude * turn)[..., np.newaxis]
    carried = None if known is None else replace(known, carrier_hz=network.carrier_hz)
    return SensingModel(
        network.nodes_m, network.target_m[np.newaxis], amplitude, network.antennas, network.antennas, network.subcarriers,
        network.bandwidth_hz, network.noise_w * network.subcarriers, synchronisation=carried,
    )  # fmt: skip


def band_problem(
    network: CommonNetwork, known: Synchronisation | None = NOTHING, *, sinr_type: SinrType = "noncoherent",
    limit: PowerLimit = PER_NODE, spectrum: Spectrum = "free",
) -> DesignProblem:  # fmt: skip
    """The problem of 002 on the common network."""
    each = network.total_power_w / (network.nodes * network.antennas)
    return DesignProblem(
        sensing_model(network, known), network.channels, each, network.noise_w * network.subcarriers, power_limit=limit,
        sinr_type=sinr_type, spectrum=spectrum,
    )  # fmt: skip


def _of_band(
    method: str, *, clusters: int = 0, known: Callable[[CommonScenario], Synchronisation | None] = lambda scenario: NOTHING,
    sinr_type: SinrType = "noncoherent",
) -> Method:  # fmt: skip
    def designer_of(network: CommonNetwork, scenario: CommonScenario) -> Designer:
        limit = _limit(scenario, native=PER_ANTENNA)
        problem = band_problem(network, known(scenario), sinr_type=sinr_type, limit=limit, spectrum=scenario.spectrum)
        return Designer(problem, method, clusters=clusters)

    def design(network: CommonNetwork, scenario: CommonScenario) -> Record:
        if reason := unposed(method, network.nodes, network.subcarriers):
            return Record("failed", reason)
        designer = designer_of(network, scenario)
        sinr = db_to_linear(scenario.sinr_db)
        found = designer.design(sinr)
        return band_record(designer, found, designer.delivered(found, sinr, seek_constant=False), sinr)

    def prove(network: CommonNetwork, scenario: CommonScenario, claimed: Record) -> list[str]:
        return unproven_band(designer_of(network, scenario), db_to_linear(scenario.sinr_db), claimed)

    return Proved(design, prove)


def _isotropic(network: CommonNetwork, scenario: CommonScenario) -> Record:
    streams = isotropic(band_problem(network))
    return Record("ok", "The same power everywhere; no user is served.", streams[:-1], streams[-1], 0.0)


def _prove_isotropic(network: CommonNetwork, scenario: CommonScenario, claimed: Record) -> list[str]:
    limit = _limit(scenario, native=PER_ANTENNA)
    return beyond_limit(band_problem(network, limit=limit, spectrum=scenario.spectrum), claimed)


def tone_problem(network: CommonNetwork, subcarrier: int, limit: PowerLimit) -> RobustProblem:
    """The problem of 000 on one subcarrier: its share of the power, amplitudes of the echoes in the output SCNR."""
    h = network.channels[:, :, subcarrier]
    gains = network.antennas * network.amplitude**2 / network.noise_w
    echoes = EchoModel(gains, correlation(SHAPE["swerling-1"], len(gains), common=False))
    radius = 2.0 * np.sin(network.guarded_rad / 2.0) * np.linalg.norm(h, axis=2)
    return RobustProblem(
        h, network.steering, echoes, network.total_power_w / network.subcarriers, network.noise_w, radius, network.guarded_rad,
        limit,
    )  # fmt: skip


def _of_tones(name: str, *, zero: bool = False) -> Method:
    choice = robustness(name)

    def problems_of(network: CommonNetwork, scenario: CommonScenario) -> list[RobustProblem]:
        limit = _limit(scenario, native=TOTAL)
        return [tone_problem(network, tone, limit) for tone in range(network.subcarriers)]

    def design(network: CommonNetwork, scenario: CommonScenario) -> Record:
        if told := _unguarded(name, network):
            return Record("failed", told)
        nodes, users, count, antennas = network.channels.shape
        size = nodes * antennas
        streams = np.zeros((users, count, size, size), dtype=np.complex128)
        sensing = np.zeros((count, nodes, antennas, nodes, antennas), dtype=np.complex128)
        status, message = "ok", "Zero forcing on a grid; no bound." if zero else ""
        sinr = db_to_linear(scenario.sinr_db)
        problems = problems_of(network, scenario)
        forced = (zero_forcing(problem, choice.guarding(), sinr) for problem in problems)
        found: dict[int, tuple[RobustProblem, RobustDesign]] = {}
        for tone, one in enumerate(forced if zero else design_each(choice, problems, sinr)):
            found[tone] = problems[tone], one
            if one.beams is None:
                evidence = {} if zero else tone_evidence({tone: found[tone]}, (users, count))
                return Record(one.certificate.status, f"Subcarrier {tone}: {one.certificate.message}", evidence=evidence)
            w = one.beams.users.reshape(users, size)
            streams[:, tone] = w[:, :, np.newaxis] * w[:, np.newaxis].conj()
            for node, v in enumerate(one.beams.sensing):
                sensing[tone, node, :, node] = np.outer(v, v.conj())
            if one.certificate.status != "ok":
                status, message = one.certificate.status, f"Subcarrier {tone}: {one.certificate.message}"
        sent = Record(status, message, streams, sensing.reshape(count, size, size))
        if zero:
            return sent
        proven = of_all([one.certificate for _, one in found.values()])
        return replace(
            sent, gap=proven.gap, value=proven.value, bound=proven.bound, evidence=tone_evidence(found, (users, count))
        )  # fmt: skip

    def prove(network: CommonNetwork, scenario: CommonScenario, claimed: Record) -> list[str]:
        unproven = unproven_zero_forcing if zero else unproven_tones
        return unproven(problems_of(network, scenario), choice, db_to_linear(scenario.sinr_db), claimed)

    return Proved(design, prove)


def band_divergence_problem(network: CommonNetwork, limit: PowerLimit, law: CrossSectionLaw) -> BandProblem:
    """The problem of 000 on all subcarriers together: the power of the whole band, echoes of one resource element."""
    tone = tone_problem(network, 0, limit)
    radius = 2.0 * np.sin(network.guarded_rad / 2.0) * np.linalg.norm(network.channels, axis=3)
    return BandProblem(
        network.channels, network.steering, tone.echoes, network.total_power_w, network.noise_w, radius, network.guarded_rad,
        limit, SYMBOLS, law,
    )  # fmt: skip


def _of_divergence(name: str, law: CrossSectionLaw) -> Method:
    """The design of 000 with the power split between subcarriers left free."""
    choice = robustness(name)

    def problem_of(network: CommonNetwork, scenario: CommonScenario) -> BandProblem:
        return band_divergence_problem(network, _limit(scenario, native=TOTAL), law)

    def design(network: CommonNetwork, scenario: CommonScenario) -> Record:
        if scenario.spectrum == "flat":
            return Record("failed", "The design divides the power freely between subcarriers; the spectrum is 'flat'.")
        if told := _unguarded(name, network):
            return Record("failed", told)
        found = solve_band(problem_of(network, scenario), choice.guarding(), db_to_linear(scenario.sinr_db))
        certificate, evidence = found.certificate, price_evidence(found)
        if found.users is None or found.sensing is None:
            return Record(certificate.status, certificate.message, evidence=evidence)
        count, users = found.users.shape[:2]
        w = found.users.reshape(count, users, -1).swapaxes(0, 1)
        sensing = np.zeros((count, *network.steering.shape, *network.steering.shape), dtype=np.complex128)
        node = np.arange(network.nodes)
        sensing[:, node, :, node] = np.einsum("lna,lnb->nlab", found.sensing, found.sensing.conj())
        return Record(
            certificate.status, certificate.message, w[..., np.newaxis] * w[..., np.newaxis, :].conj(),
            sensing.reshape(count, w.shape[-1], w.shape[-1]), certificate.relative_gap, certificate.value,
            certificate.dual_bound, evidence,
        )  # fmt: skip

    def prove(network: CommonNetwork, scenario: CommonScenario, claimed: Record) -> list[str]:
        return unproven_divergence(problem_of(network, scenario), choice.guarding(), db_to_linear(scenario.sinr_db), claimed)

    return Proved(design, prove)


def _unguarded(name: str, network: CommonNetwork) -> str:
    """Why the margins of a choice cannot guard the network's phases; empty where they can."""
    if robustness(name).guarding().guards_phases and network.nodes > 1 and not network.guarded_rad < np.pi / 2:
        told = f"the bound is {network.guarded_rad:.3g} rad"
        return f"The margins of '{name}' guard phase errors below a quarter turn; {told}."
    return ""


def _tones(network: CommonNetwork, scenario: CommonScenario) -> list[RobustProblem]:
    limit = _limit(scenario, native=TOTAL)
    return [tone_problem(network, tone, limit) for tone in range(network.subcarriers)]


def _known_data(network: CommonNetwork, scenario: CommonScenario) -> Record:
    problems, shape = _tones(network, scenario), (network.users, network.subcarriers)
    found = solve_known_data(problems, db_to_linear(scenario.sinr_db))
    cuts = {t: (problems[t], RobustDesign(each.certificate, proof=each.proof)) for t, each in enumerate(found)}
    size, status, message = network.nodes * network.antennas, "ok", ""
    users, sensing = [], []
    for tone, each in enumerate(found):
        if each.certificate.status != "ok" and status == "ok":
            status, message = each.certificate.status, f"Subcarrier {tone}: {each.certificate.message}"
        if each.signals is None:
            told = f"Subcarrier {tone}: {each.certificate.message}"
            return Record(each.certificate.status, told, evidence=tone_evidence({tone: cuts[tone]}, shape))
        w, v = each.signals.users.reshape(-1, size), each.signals.sensing.reshape(-1, size)
        users.append(w[:, :, np.newaxis] * w[:, np.newaxis].conj())
        sensing.append(v.T @ v.conj())
    proven = of_all([each.certificate for each in found])
    return Record(
        status, message, np.stack(users, axis=1), np.stack(sensing), proven.gap, proven.value, proven.bound,
        tone_evidence(cuts, shape),
    )  # fmt: skip


def _prove_known_data(network: CommonNetwork, scenario: CommonScenario, claimed: Record) -> list[str]:
    return unproven_known_data(_tones(network, scenario), db_to_linear(scenario.sinr_db), claimed)


def _largest(sinr_type: SinrType, structure: Callable[[DesignProblem], Structure]) -> Method:
    def problem_of(network: CommonNetwork, scenario: CommonScenario) -> DesignProblem:
        return band_problem(network, sinr_type=sinr_type, spectrum=scenario.spectrum)

    def design(network: CommonNetwork, scenario: CommonScenario) -> Record:
        problem = problem_of(network, scenario)
        try:
            found = max_min_sinr(problem)
        except ArithmeticError as reason:
            return Record("failed", f"The search for the largest SINR ended without an answer: {reason}.")
        value, bound = db_to_linear(found.reached_db), db_to_linear(found.beyond_db)
        need = proven_need(problem, structure(problem), bound, found.power_dual, found.sinr_dual)
        status, message = "ok", ""
        if not need.proves_infeasible:
            status = "inaccurate"
            message = f"The design was delivered, but {found.beyond_db:.6f} dB is not proven out of reach."
        evidence = {POWER_DUAL: np.atleast_2d(found.power_dual), SINR_DUAL: found.sinr_dual}
        return Record(
            status, message, found.streams, np.zeros_like(found.streams[0]), bound / value - 1.0, value, bound, evidence
        )

    def prove(network: CommonNetwork, scenario: CommonScenario, claimed: Record) -> list[str]:
        problem = problem_of(network, scenario)
        return unproven_largest(problem, structure(problem), claimed)

    return Proved(design, prove)


PHASES = ("delta_rad", "clock_std_s", "phase_std_rad")
GUARDED = "phase_bound_rad"
SINR = "sinr_db"


@dataclass(frozen=True)
class Row:
    """A design of the common table.

    Attributes
    ----------
    method
        Function of a network and a scenario that returns a record.
    paper
        Number of its paper; empty where the design is ours.
    assumes
        Assumptions of the design, in words.
    ignores
        Fields of the scenario that change the scores and not the design.
    """

    method: Method
    paper: str
    assumes: str
    ignores: tuple[str, ...] = (*PHASES, GUARDED)

    def seen(self, scenario: CommonScenario) -> CommonScenario:
        """The scenario with the fields that the design ignores at their defaults."""
        fields = type(scenario).model_fields
        bound = {} if GUARDED in self.ignores else {GUARDED: scenario.guarded_rad}
        return scenario.model_copy(update=bound | {name: fields[name].default for name in self.ignores})


ROWS: dict[str, Row] = {
    "isotropic": Row(Proved(_isotropic, _prove_isotropic), "", "no user", (SINR, *PHASES, GUARDED)),
    "ofdm-phase-agnostic": Row(_of_band("phase-agnostic"), "", "phases unknown, in echoes and at users"),
    "ofdm-orthogonal": Row(_of_band("orthogonal"), "002", "phases unknown; each subcarrier has one node"),
    "ofdm-beamforming": Row(_of_band("beamforming"), "002", "phases unknown; each subcarrier has one node, one beam"),
    "ofdm-unconstrained-tight": Row(
        _of_band("unconstrained-tight"), "002", "the relative phases of the echoes' amplitudes known"
    ),
    "noncoherent-block": Row(
        _of_band(block_level.METHOD, clusters=block_level.CLUSTERS), "001", "phases unknown; one covariance for the band"
    ),
    "coherent": Row(
        _of_band("synchronised", known=lambda scenario: ALL, sinr_type="coherent"), "", "phases known, in echoes and at users"
    ),
    "synchronised": Row(
        _of_band("synchronised", known=stated),
        "",
        "phases of echoes known as stated, unknown at users",
        (GUARDED,),
    ),
    "robust-none": Row(_of_tones("none"), "000", "phases at users known"),
    "robust-lemma1": Row(_of_tones("lemma1"), "000", "phases at users known within the bound, by the terms of Lemma 1", PHASES),
    "robust-phase": Row(_of_tones("phase"), "000", "phases at users known within the bound", PHASES),
    "robust-none-band": Row(
        _of_divergence("none", "interval"), "000", "phases at users known; one cross-section for an interval; power split free"
    ),
    "robust-none-band-each": Row(
        _of_divergence("none", "element"), "000", "phases at users known; a new cross-section each element; power split free"
    ),
    "robust-phase-band": Row(
        _of_divergence("phase", "interval"), "000", "as robust-none-band, phases known within the bound", PHASES
    ),
    "robust-phase-band-each": Row(
        _of_divergence("phase", "element"), "000", "as robust-none-band-each, phases known within the bound", PHASES
    ),
    "robust-zero-forcing": Row(_of_tones("lemma1", zero=True), "000", "as robust-lemma1", PHASES),
    "largest-sinr": Row(
        _largest("noncoherent", phase_agnostic.structure), "", "no target; phases at users unknown", (SINR, *PHASES, GUARDED)
    ),
    "largest-sinr-coherent": Row(
        _largest("coherent", unconstrained_tight.structure), "", "no target; phases at users known", (SINR, *PHASES, GUARDED)
    ),
    "robust-known-data": Row(
        Proved(_known_data, _prove_known_data), "000", "phases at users known; the data are known at the receivers"
    ),
}
"""Designs by name: those of 002, 001 and 000, our own designs with the same solvers, and isotropic power."""

"""Designs of all papers on the common scenario X0, each scored by the metrics of all: one cell is one design for one draw."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from disac.designs.cross import METHODS, Method, Record, band_problem, sensing_model
from disac.designs.location.judge import location_crb_m2
from disac.designs.location.problem import DesignProblem
from disac.drops.common import (
    ANTENNAS,
    BANDWIDTH_HZ,
    PHASE_ERROR_RAD,
    PREFIX_S,
    SUBCARRIERS,
    SYMBOLS,
    CommonNetwork,
    common_network,
)
from disac.experiments.base import ExperimentOptions, RoughCosts, Variable, cell_by_cell, differences
from disac.metrics.cross import illuminated, phase_gains, radiated, whole_divergence
from disac.metrics.delay import delay_sidelobes
from disac.metrics.detection import detection_probability, draw_echoes, threshold_for
from disac.metrics.fisher import link_responses
from disac.metrics.kld import EchoModel
from disac.metrics.phases import crb_under_phases
from disac.scenarios.common import CommonScenario
from disac.streams import stream
from disac.units import linear_to_db

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

PLUGINS = "disac.common_designs"
"""Entry point group of third-party designs: a function of a network and its scenario that returns a Record."""

PHASE_DRAWS = 200
ECHO_DRAWS = 10_000
FALSE_ALARM_RATE = 1e-3
SENSED = 1e-5
"""Share of the power below which a sensing signal is what a solver leaves (1e-8 was seen; constraints are kept to
``VIOLATION_LIMIT``), and not scored."""
SAMPLE_BITS = 32
"""Of one complex sample on the fronthaul, 16 for each part."""


def _plugins() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=PLUGINS)}


class Options(ExperimentOptions):
    """Which design."""

    design: str = Field("ofdm-phase-agnostic", description="design of a paper, or of an installed plugin")

    @field_validator("design")
    @classmethod
    def _is_known(cls, name: str) -> str:
        known = [*METHODS, *_plugins()]
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f" (did you mean '{near[0]}'?)" if near else ""
            raise ValueError(f"no design '{name}'{meant}; known: {', '.join(known)}")
        return name


def _sensing(name: str, long_name: str, unit: str = "1") -> tuple[Variable, Variable]:
    """The same score where all signals are known at the receivers, and where only the sensing signal counts."""
    return (
        Variable(name, long_name, unit),
        Variable(f"sensing_only_{name}", f"{long_name}, by the sensing signal alone", unit, optional=True),
    )


SENSING = (
    _sensing("rcrb_nc_m", "root CRB, phases of all links unknown", "m"),
    _sensing("random_phase_rcrb_m", "root of the mean CRB over random transmit phases", "m"),
    _sensing("random_phase_p95_rcrb_m", "root of the 95 % quantile of the CRB over random transmit phases", "m"),
    _sensing("rcrb_cc_m", "root CRB, all phases known but the target's", "m"),
    _sensing("kld", "divergence of one resource element, covariance block by block", "nat"),
    _sensing("whole_kld", "divergence of one resource element, whole covariance, one fluctuation for all links", "nat"),
    _sensing("interval_kld", "divergence of a processing interval", "nat"),
    _sensing("pd_one", "probability of detection by one resource element, false-alarm rate 1e-3, Swerling I"),
    _sensing("pd_interval", "probability of detection by a processing interval, false-alarm rate 1e-3, Swerling I"),
    _sensing("peak_delay_sidelobe_db", "highest delay sidelobe of any node towards the target", "dB"),
)

VARIABLES = (
    Variable("radiated_w", "power radiated", "W"),
    Variable("busiest_node_w", "power of the busiest node", "W"),
    Variable("busiest_antenna_w", "power of the busiest antenna", "W"),
    Variable("sinr_c_db", "least SINR of any user and subcarrier, amplitudes added, phases as assumed", "dB"),
    Variable("worst_sinr_c_db", "least SINR found for node phases up to 0.05 rad", "dB"),
    Variable("p5_sinr_c_db", "5 % quantile of the SINR over uniform node phases", "dB"),
    Variable("sinr_nc_db", "least SINR of any user and subcarrier, powers added", "dB"),
    Variable("se_c_bps_hz", "mean spectral efficiency, phases as assumed, prefix counted", "bit/s/Hz"),
    Variable("se_nc_bps_hz", "mean spectral efficiency over uniform node phases, prefix counted", "bit/s/Hz"),
    *(variable for pair in SENSING for variable in pair),
    Variable("fronthaul_bps", "echo samples of all antennas and users' data to every node that sends them", "bit/s"),
    Variable("relative_gap", "relative gap of the design's certificate"),
    Variable("solve_seconds", "wall time of the design", "s", volatile=True),
    Variable(
        "user_streams", "beams whose outer products add up to the covariance of each user's signal", "sqrt(W)", "complex128",
        ("user", "subcarrier", "antenna", "stream"), kind="detail",
    ),
    Variable(
        "sensing_streams", "beams whose outer products add up to the covariance of the sensing signal", "sqrt(W)", "complex128",
        ("subcarrier", "antenna", "stream"), kind="detail",
    ),
)  # fmt: skip


COSTS: RoughCosts = (
    ({"design": "coherent"}, 13.0),
    ({"design": "ofdm-unconstrained-tight"}, 9.0),
    ({"design": "robust-lemma1"}, 6.0),
    ({"design": "robust-phase"}, 6.0),
    ({}, 2.0),
)


class Scorer:
    """The metrics of all papers for one draw of X0."""

    def __init__(self, network: CommonNetwork, scenario: CommonScenario) -> None:
        self.network, self.scenario = network, scenario
        nodes = len(network.nodes_m)
        gains = ANTENNAS * network.amplitude**2 / network.noise_w
        # Links that fluctuate by themselves around zero leave nothing between nodes: the divergence is that of the blocks.
        self.echoes = EchoModel(gains, np.broadcast_to(np.eye(nodes), (nodes, nodes, nodes)))
        random = stream(scenario.seed, "common-phases", realisation=scenario.realisation)
        self.phases = random.uniform(0.0, 2.0 * np.pi, (PHASE_DRAWS, nodes))

    @cached_property
    def noncoherent(self) -> DesignProblem:
        """Bound with every link's phase unknown."""
        return band_problem(self.network)

    @cached_property
    def responses(self) -> Complex:
        """What each receiver sees of one symbol of all nodes, [N, L, M_r, N M]."""
        return link_responses(sensing_model(self.network, coherent=False)) / np.sqrt(SYMBOLS)

    @cached_property
    def coherent(self) -> DesignProblem:
        """Bound with one unknown phase, of the target."""
        return band_problem(self.network, coherent=True)

    def scores(self, users: Complex, sensing: Complex) -> dict[str, Any]:
        """All columns of the table, from covariances [U, L, D, D] and [L, D, D]."""
        network = self.network
        whole = users.sum(axis=0) + sensing
        nodes = len(network.nodes_m)
        total, node, antenna = radiated(whole, nodes)
        gains = phase_gains(network.channels, users, sensing, network.noise_w)
        known, unknown = gains.sinr(np.zeros(nodes)), gains.sinr(self.phases)
        kept = 1.0 / (1.0 + PREFIX_S * BANDWIDTH_HZ / SUBCARRIERS)
        se_c = kept * float(np.log2(1.0 + known).mean())
        result: dict[str, Any] = {
            "radiated_w": total, "busiest_node_w": node, "busiest_antenna_w": antenna, "sinr_c_db": _db(known.min()),
            "worst_sinr_c_db": _db(gains.worst(PHASE_ERROR_RAD).min()), "p5_sinr_c_db": _db(np.quantile(unknown, 0.05)),
            "sinr_nc_db": _db(gains.nominal().min()), "se_c_bps_hz": se_c,
            "se_nc_bps_hz": kept * float(np.log2(1.0 + unknown).mean()), "fronthaul_bps": self._fronthaul(users, se_c),
        }  # fmt: skip
        result |= self._sensed(whole)
        if radiated(sensing, nodes)[0] > SENSED * total:
            result |= {f"sensing_only_{name}": value for name, value in self._sensed(sensing).items()}
        return result

    def _sensed(self, covariances: Complex) -> dict[str, Any]:
        problem, t = self.noncoherent, illuminated(self.network.steering, covariances)
        crb = crb_under_phases(problem.derivatives, covariances, problem.sensing.noise_power, 1, self.phases)
        each = self.echoes.block(t)
        together = whole_divergence(self.responses, covariances, self.network.noise_w)
        lit = t.T[t.max(axis=0) > 1e-12 * t.max()]
        peak, _ = delay_sidelobes(lit)
        found = {
            "rcrb_nc_m": np.sqrt(location_crb_m2(problem, covariances)),
            "random_phase_rcrb_m": np.sqrt(crb.mean()), "random_phase_p95_rcrb_m": np.sqrt(np.quantile(crb, 0.95)),
            "rcrb_cc_m": np.sqrt(location_crb_m2(self.coherent, covariances)), "kld": float(each.mean()),
            "whole_kld": float(together.mean()), "interval_kld": float(SYMBOLS * each.sum()),
            "peak_delay_sidelobe_db": _db(float(peak.max())),
        }  # fmt: skip
        for name, snapshots in (("pd_one", 1), ("pd_interval", SYMBOLS * SUBCARRIERS)):
            draws = draw_echoes(
                self.scenario.seed, self.scenario.realisation, "swerling-1", len(self.echoes.gains), ECHO_DRAWS, snapshots,
                common=False,
            )  # fmt: skip
            statistics = draws.statistics(self.echoes.gains, t.mean(axis=0))
            eta = threshold_for(FALSE_ALARM_RATE, len(self.echoes.gains), snapshots)
            found[name] = float(detection_probability(statistics, eta))
        return found

    def _fronthaul(self, users: Complex, rate_bps_hz: float) -> float:
        """Raw echoes of every receive antenna, and each user's bits to every node that sends a part of its stream."""
        nodes = len(self.network.nodes_m)
        power = np.real(np.einsum("ulii->uli", users)).reshape(*users.shape[:2], nodes, -1).sum(axis=-1)
        sends = power > 1e-9 * max(float(power.max()), 1e-300)
        echoes = nodes * ANTENNAS * BANDWIDTH_HZ * SAMPLE_BITS
        return float(echoes + rate_bps_hz * BANDWIDTH_HZ * sends.mean(axis=1).sum())


def _streams(covariances: Complex) -> Complex:
    """Factors [..., D, D] of covariances, strongest first, without what rounding left: few streams, so that they store well."""
    values, vectors = np.linalg.eigh(covariances)
    kept = np.where(values > 1e-13 * max(float(values.max()), 0.0), values, 0.0)
    return np.ascontiguousarray((vectors * np.sqrt(kept)[..., np.newaxis, :])[..., ::-1])


def _covariances(streams: Complex) -> Complex:
    return streams @ streams.conj().swapaxes(-1, -2)


def _db(value: float) -> float:
    return linear_to_db(float(value)) if value > 0 else float("-inf")


@dataclass(frozen=True)
class CrossTable:
    """The experiment; cells of a line differ in nothing that could be shared."""

    name: str = "cross-table"
    scenario_model: type[BaseModel] = CommonScenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = VARIABLES

    main_metric: str = "rcrb_nc_m"
    rough_costs: RoughCosts = COSTS

    @property
    def modules(self) -> tuple[str, ...]:
        """Code that defines the result: ours, and that of every installed plugin."""
        return ("disac.experiments.cross_table", *sorted({point.module for point in _plugins().values()}))

    def run(self, scenarios: Sequence[CommonScenario], options: Options) -> list[dict[str, Any]]:
        """One result per scenario."""
        return cell_by_cell(lambda scenario: self._cell(scenario, options), scenarios)

    def _cell(self, scenario: CommonScenario, options: Options) -> dict[str, Any]:
        network, started = common_network(scenario), time.perf_counter()
        method: Method = METHODS[options.design] if options.design in METHODS else _plugins()[options.design].load()
        record: Record = method(network, scenario)
        result = {"status": record.status, "message": record.message, "solve_seconds": time.perf_counter() - started}
        if record.users is None or record.sensing is None:
            return result
        users, sensing = _streams(record.users), _streams(record.sensing)
        scores = Scorer(network, scenario).scores(_covariances(users), _covariances(sensing))
        return result | scores | {"user_streams": users, "sensing_streams": sensing, "relative_gap": record.gap}

    def recheck(self, scenario: CommonScenario, options: Options, stored: Mapping[str, Any]) -> list[str]:
        """Sentences on scores that the stored covariances do not give; a refusal and the gap stand without their proof here."""
        if stored["status"] == "infeasible":
            return []
        sent = _covariances(stored["user_streams"]), _covariances(stored["sensing_streams"])
        again = Scorer(common_network(scenario), scenario).scores(*sent)
        scored = [v.name for v in VARIABLES if not v.dims and v.name not in ("relative_gap", "solve_seconds")]
        found = {name: again.get(name, np.nan) for name in scored}
        return differences(stored, found, "the stored signal", relative=1e-7, absolute=1e-12)


experiment = CrossTable()

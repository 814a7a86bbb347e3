"""Localisation error against SINR for the designs of 002 (Figs. 5-9): one cell is one design for one SINR target."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from disac.arrays import steering_vector
from disac.designs.location.baselines import communication_only, isotropic
from disac.designs.location.beams import exact_beams
from disac.designs.location.delivery import Delivered
from disac.designs.location.design import Designer
from disac.designs.location.judge import location_crb_m2
from disac.designs.location.of_scenario import BELIEFS, design_problem, designer_of
from disac.designs.location.problem import DesignProblem, unposed
from disac.drops.noncoherent import node_phases_rad
from disac.experiments.base import ExperimentOptions, RoughCosts, Variable, cell_by_cell, differences, failed
from disac.geometry import angles_rad, delays_s
from disac.metrics.delay import delay_margin, delay_sidelobes, illumination, range_ambiguous
from disac.metrics.fisher import null_vector
from disac.metrics.phases import crb_under_phases, phase_rates
from disac.optim.certificate import VIOLATION_LIMIT
from disac.scenarios.noncoherent import Scenario, StatedSynchronisation
from disac.units import db_to_linear, linear_to_db


class Options(ExperimentOptions):
    """Options: the design, its resolution in frequency, and the solver."""

    design: Literal[
        "phase-agnostic", "synchronised", "coherent", "orthogonal", "beamforming", "unconstrained-tight", "unconstrained",
        "communication-only", "isotropic",
    ] = Field(
        "phase-agnostic",
        description="design method; the unconstrained designs are bounds that need the relative phases of the nodes; "
        "unconstrained-tight keeps the whole covariances of the users' signals; unconstrained is (24) of 002 as printed",
    )  # fmt: skip
    sinr_type: Literal["noncoherent", "coherent", "cbf"] = Field(
        "noncoherent",
        description="definition of the SINR; noncoherent: the powers of the nodes' signals add up at a user; coherent: their "
        "amplitudes add up; cbf: one node serves each user",
    )
    solver: Literal["fast", "reference"] = Field(
        "fast", description="solver; fast: structured interior point; reference: a general conic solver by CVXPY"
    )
    clusters: int = Field(
        0,
        ge=0,
        description="number of groups of subcarriers; adjacent subcarriers share one covariance; 0: one covariance per "
        "subcarrier",
    )

    constant_beams: bool = Field(
        True,
        description="search for constant beams; where only beams that change from symbol to symbol attain the bound, also "
        "find the best constant beams (14) of 002",
        json_schema_extra={"identity_default": True},
    )

    @model_validator(mode="after")
    def _clusters_have_something_to_share(self) -> Options:
        if self.clusters and self.design in ("orthogonal", "beamforming"):
            raise ValueError(f"clusters {self.clusters}: neighbouring subcarriers of '{self.design}' belong to different nodes")
        if self.clusters and self.design in BASELINES:
            raise ValueError(f"clusters {self.clusters}: the design '{self.design}' has no covariances to share")
        return self

    @model_validator(mode="after")
    def _sinr_type_suits_the_design(self) -> Options:
        if self.sinr_type == "cbf" and self.design in ("orthogonal", "beamforming"):
            raise ValueError(f"sinr_type cbf: on most subcarriers of '{self.design}' a user's node is silent")
        if self.sinr_type == "cbf" and self.design == "unconstrained":
            raise ValueError("sinr_type cbf: the design 'unconstrained' is (24) of 002, with the noncoherent SINR")
        if self.sinr_type == "cbf" and self.design in BASELINES:
            raise ValueError(f"sinr_type cbf: the design '{self.design}' has the noncoherent SINR only")
        if self.sinr_type == "coherent" and self.design not in ("unconstrained-tight", "synchronised", "coherent"):
            raise ValueError(
                f"sinr_type coherent: the nodes of '{self.design}' send no coherent signals; at a user powers add up"
            )
        return self


BASELINES = ("communication-only", "isotropic")
"""Designs for only one side of the trade-off."""

RECHECK_TOLERANCE = 1e-9
"""Largest relative change of a number that is recomputed from a stored design on another machine."""

VARIABLES = (
    Variable("rcrb_m", "root CRB by the design's objective", "m"),
    Variable("delivered_rcrb_m", "root CRB of the transmitted signal", "m"),
    Variable("uniform_rcrb_m", "root CRB of uniform power without users", "m", optional=True),
    Variable("extracted_rcrb_m", "root CRB of the best constant beams with a sensing signal", "m", optional=True),
    Variable("hybrid_rcrb_m", "root hybrid CRB of the delivered signal, stated synchronisation", "m", optional=True),
    Variable("extracted_min_sinr_db", "least SINR of the best constant beams", "dB", optional=True),
    Variable("extracted_gap", "excess of the best constant beams' CRB over the dual bound", optional=True),
    Variable("design_gap", "excess of the delivered signal's CRB over the dual bound", optional=True),
    Variable("sent_min_sinr_db", "least SINR of the delivered signal", "dB", optional=True),
    Variable(
        "symbol_min_sinr_db", "least SINR of the delivered signal in any symbol of its cycle", "dB", optional=True,
    ),
    Variable("beam_cycle", "number of symbols after which the delivered beams repeat", dtype="int64", optional=True),
    Variable("printed_rcrb_m", "root CRB of the beams by (26)-(29) of 002", "m", optional=True),
    Variable("printed_min_sinr_db", "least SINR of the beams by (26)-(29) of 002", "dB", optional=True),
    Variable("printed_power", "power of the beams by (26)-(29) of 002, relative to the limit", optional=True),
    Variable("min_sinr_db", "least delivered SINR", "dB"),
    Variable("sinr_bound_db", "upper bound on the SINR of all users, by a dual ray", "dB", optional=True),
    Variable("random_phase_rcrb_m", "root of the mean CRB of the delivered signal over random node phases", "m", optional=True),
    Variable("random_phase_median_rcrb_m", "root of the median CRB over random node phases", "m", optional=True),
    Variable("random_phase_p95_rcrb_m", "root of the 95 % quantile of the CRB over random node phases", "m", optional=True),
    Variable("honest_se_bps_hz", "mean of log2(1 + SINR) over random node phases", "bit/s/Hz", optional=True),
    Variable(
        "nominal_se_bps_hz", "log2(1 + SINR) with the noncoherent SINR, a ratio of expected powers", "bit/s/Hz", optional=True,
    ),
    Variable("sinr_p5_db", "5 % quantile of the SINR over random node phases, users and subcarriers", "dB", optional=True),
    Variable("delay_margin_s", "delay margin before symbols overlap or delays fold", "s", optional=True),
    Variable(
        "range_ambiguous", "1 if the delays spread over more than a symbol, else 0", dtype="int64", optional=True,
    ),
    Variable("peak_delay_sidelobe_db", "highest delay sidelobe of any node towards any target", "dB", optional=True),
    Variable(
        "integrated_delay_sidelobe_db", "largest integrated delay sidelobe ratio of any node and target", "dB", optional=True,
    ),
    Variable("objective", "value of the objective, squared error", "m2", optional=True),
    Variable("dual_bound", "lower bound of the objective", "m2", optional=True),
    Variable("relative_gap", "relative gap between value and bound", optional=True),
    Variable("worst_violation", "largest relative violation of a constraint", optional=True),
    Variable("power_violation", "relative violation of the power limit"),
    Variable("sinr_violation", "relative violation of the SINR", optional=True),
    Variable("iterations", "solver iterations", dtype="int64", optional=True),
    Variable("solve_seconds", "wall time of the cell's solves", "s", volatile=True),
    Variable(
        "stream_covariance", "covariance of each user's stream, then of the sensing stream where there is one", "W",
        "complex128", ("stream", "subcarrier", "antenna", "antenna_conj"), kind="detail",
    ),
    Variable("power_dual", "multiplier of each antenna's power limit", "m2/W", dims=("antenna",), kind="detail", optional=True),
    Variable("sinr_dual", "multiplier of each user's SINR", "m2/W", dims=("user", "subcarrier"), kind="detail", optional=True),
    Variable(
        "null_vector", "direction of the parameters that no echo shows", "m", dims=("parameter",),
        kind="detail", optional=True,
    ),
    Variable(
        "fisher_dual", "multiplier Y of the Fisher information", "1", dims=("parameter", "location"), kind="detail",
        optional=True,
    ),
    Variable(
        "node_dual", "multiplier Z of the constraint that a node's covariance holds its streams", "m2/W",
        "complex128", ("subcarrier", "node", "tx", "tx_conj"), kind="detail", optional=True,
    ),
)  # fmt: skip


COSTS: RoughCosts = (
    ({"solver": "fast"}, 0.2),
    ({"design": "phase-agnostic"}, 1.5),
    ({"design": "orthogonal"}, 0.7),
    ({"design": "beamforming"}, 0.7),
    ({}, 12.0),
)
"""For N=2, M=6, L=16."""


@dataclass(frozen=True)
class OfdmTradeoff:
    """The experiment. Cells of a line share channels, Fisher coefficients and compiled programs for all SINR targets.

    A line also contains all cells that differ in the knowledge of clocks and phases. Most designs do not depend on this
    knowledge; only their bound does.
    """

    name: str = "ofdm-tradeoff"
    scenario_model: type[BaseModel] = Scenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = (
        "service.sinr_db",
        *(f"synchronisation.{name}" for name in StatedSynchronisation.model_fields),
    )
    variables: tuple[Variable, ...] = VARIABLES
    main_metric: str = "rcrb_m"
    rough_costs: RoughCosts = COSTS
    modules: tuple[str, ...] = ("disac.experiments.ofdm_tradeoff",)

    def run(self, scenarios: Sequence[Scenario], options: Options) -> list[dict[str, Any]]:
        """Return one result per scenario. Scenarios differ in the SINR target and in the knowledge of clocks and phases."""
        return cell_by_cell(_Line(scenarios[0], options).cell, scenarios)

    def recheck(self, scenario: Scenario, options: Options, stored: Mapping[str, Any]) -> list[str]:
        """Sentences on promises of a stored result that its stored design or proof does not keep."""
        if options.design in BASELINES:
            return _recheck_baseline(scenario, stored)
        designer = _designer(scenario, options)
        sinr, multipliers = db_to_linear(scenario.service.sinr_db), (stored["power_dual"], stored["sinr_dual"])
        if np.isnan(stored["objective"]):
            least = designer.least_power(sinr, *multipliers)
            return [] if least > 1.0 else [f"the stored ray proves only a need of {least:.6g} times the power"]
        # It is stored if the structure is loose, and blank otherwise.
        node_dual = stored["node_dual"] if designer.structure.loose else None
        streams, fisher_dual = stored["stream_covariance"], stored["fisher_dual"]
        again, _, reached = designer.judged(sinr, streams, *multipliers, fisher_dual, node_dual)
        pairs = {
            "objective": again.value, "dual_bound": again.dual_bound, "min_sinr_db": linear_to_db(reached),
        }  # fmt: skip
        wrong = differences(stored, pairs, "the stored design", relative=RECHECK_TOLERANCE)
        worst = max(again.power_violation, again.sinr_violation)
        if worst > stored["worst_violation"] + VIOLATION_LIMIT:
            wrong.append(f"the stored design violates a constraint by {worst:.2g}, {stored['worst_violation']:.2g} is stored")
        return wrong


def _designer(scenario: Scenario, options: Options) -> Designer:
    return designer_of(scenario, options.design, options.sinr_type, options.solver, options.clusters)


class _Surroundings:
    """Judge of a delivered signal under unknown node phases and the links' delays."""

    def __init__(self, scenario: Scenario) -> None:
        layout, waveform = scenario.layout, scenario.waveform
        self._delays = delays_s(layout.nodes, layout.targets)
        angles = angles_rad(layout.nodes, layout.targets, layout.orientation)[list(layout.transmit_nodes)]
        self._phases = node_phases_rad(scenario)
        self._transmit = steering_vector(angles, scenario.arrays.transmit_antennas)
        both = self._delays[list(layout.receive_nodes), np.newaxis] + self._delays[list(layout.transmit_nodes)]
        self._margin = delay_margin(both, waveform.subcarriers, waveform.bandwidth_hz, waveform.prefix_s)
        self._ambiguous = int(range_ambiguous(both, waveform.subcarriers, waveform.bandwidth_hz))
        self.nominal = design_problem(scenario)

    def judged(self, designer: Designer, sent: Delivered) -> dict[str, Any]:
        """Bounds and rates over random phases, delay margin and sidelobes of a delivered signal."""
        problem = self.nominal
        assert sent.transmitted is not None
        assert sent.beams is not None
        assert sent.remainder is not None
        crb = crb_under_phases(
            problem.receiver_derivatives, sent.transmitted, problem.sensing.noise_power, problem.targets, self._phases
        )  # fmt: skip
        rates = phase_rates(
            problem.channels, sent.beams, sent.remainder, problem.noise_power, self._phases, designer.symbol_code()
        )  # fmt: skip
        lit = illumination(sent.transmitted, self._transmit)
        peak, integrated = delay_sidelobes(lit[lit.max(axis=-1) > 0])
        return {
            "random_phase_rcrb_m": np.sqrt(crb.mean()),
            "random_phase_median_rcrb_m": np.sqrt(np.median(crb)),
            "random_phase_p95_rcrb_m": np.sqrt(np.quantile(crb, 0.95)),
            "honest_se_bps_hz": rates.honest_se,
            "nominal_se_bps_hz": rates.nominal_se,
            "sinr_p5_db": linear_to_db(rates.sinr_p5) if rates.sinr_p5 > 0 else -np.inf,
            "delay_margin_s": self._margin,
            "range_ambiguous": self._ambiguous,
            "peak_delay_sidelobe_db": linear_to_db(float(peak.max())),
            "integrated_delay_sidelobe_db": linear_to_db(float(integrated.max())),
        }


@dataclass(frozen=True)
class _Sent:
    """Part of a cell's result that the synchronisation does not change, and the sent covariance, if any."""

    result: dict[str, Any]
    transmitted: NDArray[np.complex128] | None = None


class _Line:
    """The cells of a line: a designer for each assumed synchronisation, a design for each of these and each SINR target."""

    def __init__(self, first: Scenario, options: Options) -> None:
        self._options, self._deployment = options, _Surroundings(first)
        self._designers: dict[StatedSynchronisation | None, tuple[Designer, float] | _Sent] = {}
        self._sent: dict[tuple[StatedSynchronisation | None, float], _Sent] = {}
        self._stated: dict[StatedSynchronisation, DesignProblem] = {}

    def cell(self, scenario: Scenario) -> dict[str, Any]:
        """Return one cell: the delivered signal's values, and its bound under the scenario's synchronisation."""
        sent = self._of(scenario)
        if sent.transmitted is None:
            return sent.result
        known = scenario.synchronisation
        if known not in self._stated:
            self._stated[known] = design_problem(scenario, "stated")
        return sent.result | {"hybrid_rcrb_m": np.sqrt(location_crb_m2(self._stated[known], sent.transmitted))}

    def _of(self, scenario: Scenario) -> _Sent:
        asks = BELIEFS.get(self._options.design) == "stated"
        belief = scenario.synchronisation if asks else None
        baseline = self._options.design in BASELINES
        key = belief, 0.0 if baseline else scenario.service.sinr_db
        if key not in self._sent:
            self._sent[key] = self._solved(scenario, belief)
        return self._sent[key]

    def _solved(self, scenario: Scenario, belief: StatedSynchronisation | None) -> _Sent:
        options, deployment = self._options, self._deployment
        if options.design in BASELINES:
            return _baseline(options.design, deployment)
        if belief not in self._designers:
            self._designers[belief] = self._designer(scenario)
        found = self._designers[belief]
        if isinstance(found, _Sent):
            return found
        designer, uniform = found
        return _result(designer, scenario.service.sinr_db, uniform, deployment, seek_constant=options.constant_beams)

    def _designer(self, scenario: Scenario) -> tuple[Designer, float] | _Sent:
        """The designer with the bound of uniform power, or a failed result with the reason."""
        options, nominal = self._options, self._deployment.nominal
        if sentence := unposed(options.design, nominal.nodes, nominal.subcarriers):
            return _Sent(failed(sentence))
        if options.clusters > scenario.waveform.subcarriers:
            sentence = f"clusters {options.clusters} are more than waveform.subcarriers {scenario.waveform.subcarriers}."
            return _Sent(failed(sentence))
        if not np.isfinite(location_crb_m2(nominal, isotropic(nominal).sum(axis=0))):
            return _Sent(_unidentifiable(scenario, nominal, isotropic(nominal).sum(axis=0)))
        try:
            designer = _designer(scenario, options)
        except np.linalg.LinAlgError as error:
            sentence = f"The program could not be set up ({error}): its Fisher information is nearly singular."
            return _Sent(failed(sentence))
        even = designer.structure.uniform_covariances(designer.problem)
        uniform = location_crb_m2(designer.problem, even)
        if not np.isfinite(uniform):
            return _Sent(_unidentifiable(scenario, designer.problem, even))
        return designer, uniform


def _baseline(design: str, deployment: _Surroundings) -> _Sent:
    """A design that does not depend on the SINR target."""
    started = time.perf_counter()
    problem = deployment.nominal
    designer = Designer(problem, "phase-agnostic")
    result: dict[str, Any] = {"status": "ok", "message": "The same power everywhere; no user is served."}
    if design == "isotropic":
        streams = isotropic(problem)
    else:
        try:
            streams, largest = communication_only(problem)
        except ArithmeticError as error:
            return _Sent(failed(f"The largest SINR was not found: {error}"))
        result |= {
            "message": "The largest SINR of all users, between a design that reaches it and a proof of what none reaches.",
            "sinr_bound_db": largest.beyond_db, "power_dual": largest.power_dual, "sinr_dual": largest.sinr_dual,
        }  # fmt: skip
    sent = designer.sent(*exact_beams(problem, designer.structure, streams))
    assert sent.transmitted is not None
    crb = location_crb_m2(problem, streams.sum(axis=0))
    result |= deployment.judged(designer, sent) | {
        "rcrb_m": np.sqrt(crb), "delivered_rcrb_m": np.sqrt(crb), "extracted_rcrb_m": np.sqrt(sent.crb_m2),
        "min_sinr_db": linear_to_db(sent.min_sinr) if sent.min_sinr > 0 else -np.inf,
        "power_violation": max(0.0, sent.power - 1.0), "stream_covariance": streams,
        "solve_seconds": time.perf_counter() - started,
    }  # fmt: skip
    return _Sent(result, sent.transmitted)


def _recheck_baseline(scenario: Scenario, stored: Mapping[str, Any]) -> list[str]:
    problem = design_problem(scenario)
    again = float(np.sqrt(location_crb_m2(problem, stored["stream_covariance"].sum(axis=0))))
    wrong = differences(stored, {"rcrb_m": again}, "the stored design", relative=RECHECK_TOLERANCE)
    beyond_db = stored["sinr_bound_db"]
    if np.isfinite(beyond_db):
        designer = Designer(problem, "phase-agnostic")
        least = designer.least_power(db_to_linear(beyond_db), stored["power_dual"], stored["sinr_dual"])
        if least <= 1.0:
            wrong.append(f"the stored ray proves only a need of {least:.6g} times the power at {beyond_db:.6g} dB")
    return wrong


def _unidentifiable(scenario: Scenario, problem: DesignProblem, covariances: NDArray[np.complex128]) -> dict[str, Any]:
    """The failure of a scenario whose echoes do not locate a target, with the null vector that shows it."""
    nodes, mode = len(scenario.layout.nodes_m), scenario.sensing.localization
    direction = null_vector(problem.information(covariances), problem.targets)
    moved = ""
    if direction is not None:
        x, y = direction[: 2 * problem.targets].reshape(2, -1)
        target = int(np.argmax(x**2 + y**2))
        moved = f" No echo shows target {target} moving along ({x[target]:.3f}, {y[target]:.3f})."
    sentence = (
        f"The targets cannot be located: with sensing.localization '{mode}' and {nodes} node{'s' * (nodes > 1)} in "
        f"layout.nodes_m the Fisher information is singular even at uniform power; add nodes or use 'hybrid'.{moved}"
    )
    return failed(sentence) | ({} if direction is None else {"null_vector": direction})


def _result(
    designer: Designer, sinr_db: float, uniform_crb_m2: float, deployment: _Surroundings, *, seek_constant: bool
) -> _Sent:  # fmt: skip
    sinr = db_to_linear(sinr_db)
    design = designer.design(sinr)
    certificate = design.certificate
    result: dict[str, Any] = {
        "status": certificate.status,
        "message": certificate.message,
        "uniform_rcrb_m": np.sqrt(uniform_crb_m2),
        "solve_seconds": certificate.seconds,
    }
    if design.power_dual is not None:
        result |= {"power_dual": design.power_dual, "sinr_dual": design.sinr_dual}
    if design.streams is None:
        return _Sent(result)
    constant = designer.constant_beams(design, sinr) if seek_constant else None
    printed = designer.extracted_as_printed(design)
    sent = designer.delivered(design, sinr, constant, seek_constant=seek_constant)
    if printed.transmitted is not None:
        result |= {
            "printed_rcrb_m": np.sqrt(printed.crb_m2), "printed_min_sinr_db": linear_to_db(printed.min_sinr),
            "printed_power": printed.power,
        }  # fmt: skip
    if constant is not None and constant.transmitted is not None:
        result |= {
            "extracted_rcrb_m": np.sqrt(constant.crb_m2), "extracted_min_sinr_db": linear_to_db(constant.min_sinr),
            "extracted_gap": constant.crb_m2 / certificate.dual_bound - 1.0,
        }  # fmt: skip
    if sent.beams is not None:
        result |= deployment.judged(designer, sent)
        result |= {
            "design_gap": sent.crb_m2 / certificate.dual_bound - 1.0, "sent_min_sinr_db": linear_to_db(sent.min_sinr),
            "symbol_min_sinr_db": linear_to_db(sent.symbol_sinr), "beam_cycle": sent.symbols,
        }  # fmt: skip
    if design.node_dual is not None:
        result["node_dual"] = design.node_dual
    result |= {
        "rcrb_m": np.sqrt(certificate.value),
        "delivered_rcrb_m": np.sqrt(design.delivered_crb_m2),
        "min_sinr_db": linear_to_db(design.min_sinr),
        "objective": certificate.value,
        "dual_bound": certificate.dual_bound,
        "relative_gap": certificate.relative_gap,
        "worst_violation": certificate.worst_violation,
        "power_violation": certificate.power_violation,
        "sinr_violation": certificate.sinr_violation,
        "iterations": certificate.iterations,
        "stream_covariance": design.streams,
        "fisher_dual": design.fisher_dual,
    }
    return _Sent(result, sent.transmitted)


experiment = OfdmTradeoff()

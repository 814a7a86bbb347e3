"""Localisation error against SINR for the designs of 002 (Figs. 5-9): one cell is one design for one SINR target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from disac.arrays import steering_vector
from disac.channels import node_phases_rad, target_amplitudes, user_channels
from disac.designs.design import METHODS, Delivered, Design, Designer, location_crb_m2
from disac.designs.problem import DesignProblem
from disac.experiments.base import Variable
from disac.geometry import angles_rad, delays_s
from disac.metrics.delay import delay_margin, delay_sidelobes, illumination
from disac.metrics.fisher import SensingModel
from disac.metrics.phases import crb_under_phases, phase_rates
from disac.optim.certificate import VIOLATION_LIMIT
from disac.scenario import Scenario
from disac.units import db_to_linear, linear_to_db


class Options(BaseModel):
    """Which design, how fine, and by which solver."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    design: Literal["phase-agnostic", "orthogonal", "beamforming", "unconstrained-tight"] = Field(
        "phase-agnostic", description="design method"
    )
    solver: Literal["fast", "reference"] = Field(
        "fast", description="structured interior point, or a general conic solver by CVXPY"
    )
    clusters: int = Field(
        0, ge=0, description="groups of adjacent subcarriers with one covariance each; 0 for one per subcarrier"
    )

    @model_validator(mode="after")
    def _clusters_have_something_to_share(self) -> Options:
        if self.clusters and self.design not in ("phase-agnostic", "unconstrained-tight"):
            raise ValueError(f"clusters {self.clusters}: neighbouring subcarriers of '{self.design}' belong to different nodes")
        return self


RECHECK_TOLERANCE = 1e-9
"""Relative; what another machine's arithmetic may change in a number recomputed from a stored design."""

VARIABLES = (
    Variable("rcrb_m", "root CRB of the design's objective", "m"),
    Variable("delivered_rcrb_m", "root CRB of the transmitted signal", "m"),
    Variable("uniform_rcrb_m", "root CRB of uniform power without users", "m"),
    Variable("extracted_rcrb_m", "root CRB of the delivered rank-one beams with their sensing signal", "m"),
    Variable("extracted_min_sinr_db", "least SINR of the delivered beams", "dB"),
    Variable("design_gap", "excess of the delivered beams' CRB over the dual bound"),
    Variable("printed_rcrb_m", "root CRB of the beams by (26)-(29) of 002", "m"),
    Variable("printed_min_sinr_db", "least SINR of the beams by (26)-(29) of 002", "dB"),
    Variable("printed_power", "power of the beams by (26)-(29) of 002, of the limit"),
    Variable("min_sinr_db", "least SINR delivered", "dB"),
    Variable("random_phase_rcrb_m", "root of the mean CRB of the delivered signal over random node phases", "m"),
    Variable("random_phase_median_rcrb_m", "root of the median CRB over random node phases", "m"),
    Variable("random_phase_p95_rcrb_m", "root of the 95 % quantile of the CRB over random node phases", "m"),
    Variable("honest_se_bps_hz", "mean of log2(1 + SINR) over random node phases", "bit/s/Hz"),
    Variable("nominal_se_bps_hz", "log2(1 + SINR) with the noncoherent SINR, a ratio of expected powers", "bit/s/Hz"),
    Variable("sinr_p5_db", "5 % quantile of the SINR over random node phases, users and subcarriers", "dB"),
    Variable("delay_margin_s", "what the delays may spread more before symbols fold or overlap", "s"),
    Variable("peak_delay_sidelobe_db", "highest delay sidelobe of any node towards any target", "dB"),
    Variable("integrated_delay_sidelobe_db", "largest integrated delay sidelobe ratio of any node and target", "dB"),
    Variable("objective", "value of the objective, squared error", "m2"),
    Variable("dual_bound", "lower bound of the objective", "m2"),
    Variable("relative_gap", "relative gap between value and bound"),
    Variable("worst_violation", "largest relative violation of a constraint"),
    Variable("power_violation", "relative violation of the power limit"),
    Variable("sinr_violation", "relative violation of the SINR"),
    Variable("iterations", "solver iterations", dtype="int64"),
    Variable("solve_seconds", "wall time of the cell's solves", "s", volatile=True),
    Variable(
        "stream_covariance", "covariance of each user's stream", "W", "complex128",
        ("user", "subcarrier", "antenna", "antenna_conj"), kind="detail",
    ),
    Variable("power_dual", "multiplier of each antenna's power limit", "m2/W", dims=("antenna",), kind="detail"),
    Variable("sinr_dual", "multiplier of each user's SINR", "m2/W", dims=("user", "subcarrier"), kind="detail"),
    Variable("fisher_dual", "multiplier of the Fisher information, Y", "1", dims=("parameter", "location"), kind="detail"),
)  # fmt: skip


def design_problem(scenario: Scenario) -> DesignProblem:
    """The design problem of a scenario, in units of the noise power."""
    power = db_to_linear(scenario.power.power_to_noise_db)
    sensing = SensingModel(
        nodes_m=scenario.layout.nodes, targets_m=scenario.layout.targets, amplitudes=target_amplitudes(scenario),
        transmit_antennas=scenario.arrays.transmit_antennas, receive_antennas=scenario.arrays.receive_antennas,
        subcarriers=scenario.waveform.subcarriers, bandwidth_hz=scenario.waveform.bandwidth_hz,
        noise_power=1.0 / power, orientation=scenario.layout.orientation,
    )  # fmt: skip
    return DesignProblem(
        sensing, user_channels(scenario), 1.0, 1.0 / power, scenario.sensing.localization, scenario.power.limit
    )  # fmt: skip


@dataclass(frozen=True)
class OfdmTradeoff:
    """The experiment; a line shares channels, Fisher coefficients and compiled programs along the SINR."""

    name: str = "ofdm-tradeoff"
    scenario_model: type[BaseModel] = Scenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = ("service.sinr_db",)
    variables: tuple[Variable, ...] = VARIABLES
    modules: tuple[str, ...] = ("disac.experiments.ofdm_tradeoff",)

    def run(self, scenarios: Sequence[Scenario], options: Options) -> list[dict[str, Any]]:
        """One result per scenario; scenarios differ in the SINR target alone."""
        problem = design_problem(scenarios[0])
        if options.clusters > problem.subcarriers:
            sentence = f"clusters {options.clusters} are more than waveform.subcarriers {problem.subcarriers}."
            return [_failed(sentence)] * len(scenarios)
        structure = METHODS[options.design].structure(problem)
        uniform = location_crb_m2(problem, structure.uniform_covariances(problem))
        if not np.isfinite(uniform):
            return [_failed(_unidentifiable(scenarios[0]))] * len(scenarios)
        try:
            designer = Designer(problem, options.design, options.solver, options.clusters)
        except np.linalg.LinAlgError as error:
            return [_failed(f"The program could not be set up ({error}): its Fisher information is nearly singular.")] * len(
                scenarios
            )
        deployment = _Deployment(scenarios[0])
        return [_cell(designer, s.service.sinr_db, uniform, deployment) for s in scenarios]

    def recheck(self, scenario: Scenario, options: Options, stored: Mapping[str, Any]) -> list[str]:
        """Sentences on what a stored result promises and its stored design or proof does not keep."""
        designer = Designer(design_problem(scenario), options.design, options.solver, options.clusters)
        sinr, multipliers = db_to_linear(scenario.service.sinr_db), (stored["power_dual"], stored["sinr_dual"])
        if np.isnan(stored["objective"]):
            least = designer.least_power(sinr, *multipliers)
            return [] if least > 1.0 else [f"the stored ray proves a need of {least:.6g} times the power only"]
        again, _, reached = designer.judged(sinr, stored["stream_covariance"], *multipliers, stored["fisher_dual"])
        pairs = {
            "objective": again.value, "dual_bound": again.dual_bound, "min_sinr_db": linear_to_db(reached),
        }  # fmt: skip
        wrong = [
            f"{name} is stored as {stored[name]:.9g}, the stored design gives {value:.9g}"
            for name, value in pairs.items()
            if not np.isclose(stored[name], value, rtol=RECHECK_TOLERANCE, atol=0.0)
        ]
        worst = max(again.power_violation, again.sinr_violation)
        if worst > stored["worst_violation"] + VIOLATION_LIMIT:
            wrong.append(f"the stored design violates a constraint by {worst:.2g}, {stored['worst_violation']:.2g} is stored")
        return wrong

    def rough_seconds(self, options_text: str) -> float:
        """Rough seconds of one cell on one core (N=2, M=6, L=16), for cost estimates before anything has run."""
        chosen = json.loads(options_text)
        if chosen["solver"] == "fast":
            return 0.2
        return {"phase-agnostic": 1.5, "unconstrained-tight": 12.0}.get(str(chosen["design"]), 0.7)


class _Deployment:
    """What a delivered signal meets in a noncoherent network: unknown node phases, delays of the links."""

    def __init__(self, scenario: Scenario) -> None:
        layout, waveform = scenario.layout, scenario.waveform
        delays = delays_s(layout.nodes, layout.targets)
        angles = angles_rad(layout.nodes, layout.targets, layout.orientation)
        self._phases = node_phases_rad(scenario)
        self._transmit = steering_vector(angles, scenario.arrays.transmit_antennas)
        self._margin = delay_margin(delays, waveform.subcarriers, waveform.bandwidth_hz, waveform.prefix_s)

    def judged(self, designer: Designer, sent: Delivered) -> dict[str, Any]:
        """Bounds and rates over random phases, delay margin and sidelobes of a delivered signal."""
        problem = designer.problem
        assert sent.transmitted is not None
        assert sent.beams is not None
        assert sent.remainder is not None
        crb = crb_under_phases(
            problem.derivatives, sent.transmitted, problem.sensing.noise_power, problem.targets, self._phases
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
            "sinr_p5_db": linear_to_db(rates.sinr_p5),
            "delay_margin_s": self._margin,
            "peak_delay_sidelobe_db": linear_to_db(float(peak.max())),
            "integrated_delay_sidelobe_db": linear_to_db(float(integrated.max())),
        }


def _cell(designer: Designer, sinr_db: float, uniform_crb_m2: float, deployment: _Deployment) -> dict[str, Any]:
    """One cell; a breakdown of its linear algebra is its own result and leaves the rest of the line alone."""
    try:
        return _result(designer, designer.design(db_to_linear(sinr_db)), sinr_db, uniform_crb_m2, deployment)
    except (np.linalg.LinAlgError, ArithmeticError) as error:
        return _failed(f"The design broke down numerically ({type(error).__name__}: {error}).")


def _failed(message: str) -> dict[str, Any]:
    return {"status": "failed", "message": message}


def _unidentifiable(scenario: Scenario) -> str:
    nodes, mode = len(scenario.layout.nodes_m), scenario.sensing.localization
    return (
        f"The targets cannot be located: with sensing.localization '{mode}' and {nodes} node{'s' * (nodes > 1)} in "
        "layout.nodes_m the Fisher information is singular even at uniform power; add nodes or use 'hybrid'."
    )


def _result(
    designer: Designer, design: Design, sinr_db: float, uniform_crb_m2: float, deployment: _Deployment
) -> dict[str, Any]:
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
        return result
    sinr = db_to_linear(sinr_db)
    sent, printed = designer.delivered(design, sinr), designer.extracted_as_printed(design)
    if printed.transmitted is not None:
        result |= {
            "printed_rcrb_m": np.sqrt(printed.crb_m2), "printed_min_sinr_db": linear_to_db(printed.min_sinr),
            "printed_power": printed.power,
        }  # fmt: skip
    if sent.transmitted is not None:
        result |= deployment.judged(designer, sent)
        result |= {
            "extracted_rcrb_m": np.sqrt(sent.crb_m2), "extracted_min_sinr_db": linear_to_db(sent.min_sinr),
            "design_gap": sent.crb_m2 / certificate.dual_bound - 1.0,
        }  # fmt: skip
    return result | {
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


experiment = OfdmTradeoff()

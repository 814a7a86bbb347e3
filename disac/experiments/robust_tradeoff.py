"""Detection against SINR for the robust designs of 000 (Figs. 3-8): one cell is one design for one drop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from disac.designs.robust.angle_boxes import boundary_angles, judged_covering, proven_covering, solve_max_min
from disac.designs.robust.angle_cover import divergences_at, least_divergence, other_points
from disac.designs.robust.choices import CHOICES, SEARCHED, Method, Robustness, RobustnessName, robustness
from disac.designs.robust.guards import guarded_sinr
from disac.designs.robust.of_drop import robust_problem
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.sca import successive_convex, walk_ends
from disac.designs.robust.total_power import RobustDesign
from disac.designs.robust.zero_forcing import zero_forcing
from disac.drops.coherent import CoherentDrop, coherent_drop
from disac.experiments.base import ExperimentOptions, RoughCosts, Variable, cell_by_cell, differences, failed
from disac.metrics.detection import (
    PAPER_THRESHOLD,
    EchoDraws,
    detection_probability,
    draw_echoes,
    false_alarm_rate,
    threshold_for,
)
from disac.metrics.kld import block_divergence
from disac.metrics.worst_sinr import coherent_beam_sinr
from disac.optim.certificate import GAP_LIMIT, VIOLATION_LIMIT, Certificate
from disac.power_limits import TOTAL
from disac.scenarios.coherent import CoherentScenario
from disac.streams import stream
from disac.units import db_to_linear, linear_to_db

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

SNAPSHOTS = 100
"""T of 000, Table II."""

STEPS_SHOWN = tuple(range(7))
"""Steps of the successive convex approximation that are kept; 0 is the start."""

RANDOM_STARTS = 200
"""Starts of the successive convex approximation, uniform on the simplex of powers at the target."""

COVERED = 1e-6
"""Largest relative amount by which another point of the boxes may be below the stored least divergence."""


class Options(ExperimentOptions):
    """Options: the design, the errors that it must tolerate, and the measured values."""

    design: Literal["optimum", "zero-forcing", "zero-forcing-best-node"] = Field(
        "optimum",
        description="design; optimum: beams with the largest divergence; zero-forcing: with equal powers of the nodes; "
        "zero-forcing-best-node: the best node alone senses",
    )
    robustness: RobustnessName = Field(
        "phase",
        description="channel errors that the SINR must tolerate; none; lemma1: the terms of Lemma 1 of 000, which are no "
        "worst case; norm-ball: a ball for each node; stacked-ball: one ball for all nodes; phase: the phases, by margins; "
        "phase-exact: the phases, exactly; s-procedure and s-procedure-stacked: the balls, exactly, by a matrix inequality",
    )
    angles: Literal["nominal", "paper", "max-min"] = Field(
        "nominal",
        description="assumed target angle; nominal: the estimate; paper: a boundary, picked by (36) of 000; max-min: all "
        "angles within the error",
    )
    objective: Literal["block", "whole"] = Field(
        "block", description="covariance of the objective; block: the block-diagonal one, (25) of 000; whole: the whole one"
    )
    solver: Method = Field(
        "cones",
        description="solver; cones: small second-order cone programs, for exact balls with worst moments; policy-iteration: "
        "no conic solver; reference: the matrix inequality of exact balls in CVXPY",
    )
    search: bool = Field(
        False,
        description="search for the worst error; true: find the least SINR among the errors that the design must tolerate",
    )
    draws: int = Field(
        10_000, ge=100, le=1_000_000, description="number of random draws; of cross-sections and noise in one cell"
    )
    false_alarm_rate: float = Field(1e-3, gt=0, lt=1, description="controlled false-alarm rate")
    filters: Literal["joint", "separated"] = Field(
        "joint",
        json_schema_extra={"identity_default": "joint"},
        description="matched filters of each receiver; joint: one for all transmitters together; separated: one for each "
        "transmitter (000, section II-C)",
    )

    @property
    def choice(self) -> Robustness:
        """The choice that ``robustness`` names."""
        return robustness(self.robustness)

    @model_validator(mode="after")
    def _the_design_has_the_choice(self) -> Options:
        choice = self.choice
        if self.angles == "max-min" and (self.design != "optimum" or choice.margins is None):
            raise ValueError("angles max-min: it needs the design 'optimum' and a robustness with margins on amplitudes")
        if self.angles == "max-min" and (self.search or self.solver != "cones"):
            raise ValueError("angles max-min: it has no search of errors and no policy iteration")
        if self.design != "optimum" and choice.margins is None:
            raise ValueError(f"robustness {self.robustness}: zero forcing needs a robustness with margins on amplitudes")
        if self.solver == "policy-iteration" and self.solver not in choice.methods:
            raise ValueError(f"solver policy-iteration: it is for balls only, not for '{self.robustness}'")
        if self.solver == "reference" and self.solver not in choice.methods:
            raise ValueError(
                f"solver reference: it is for s-procedure and s-procedure-stacked only, not for '{self.robustness}'"
            )
        return self


VARIABLES = (
    Variable("kld", "divergence, lower bound over the cross-section", "nat"),
    Variable("whole_kld", "divergence by the whole covariance of all nodes", "nat"),
    Variable("mean_kld", "mean divergence over random cross-sections", "nat"),
    Variable("mean_kld_error", "standard error of the mean divergence", "nat"),
    Variable("std_kld", "standard deviation of the divergence over random cross-sections", "nat"),
    Variable("relative_std_kld", "standard deviation of the divergence over its mean"),
    Variable("least_kld", "least divergence over the target's angle boxes", "nat"),
    Variable("claimed_kld", "divergence at the angles that the design assumes", "nat"),
    Variable("pd", "probability of detection, one snapshot, threshold 10 dB"),
    Variable("pfa", "probability of false alarm, one snapshot, threshold 10 dB"),
    Variable("long_pd", "probability of detection, mean of 100 snapshots, threshold 10 dB"),
    Variable("long_pfa", "probability of false alarm, mean of 100 snapshots, threshold 10 dB"),
    Variable("controlled_pd", "probability of detection at the controlled false-alarm rate, one snapshot"),
    Variable("long_controlled_pd", "probability of detection at the controlled false-alarm rate, mean of 100 snapshots"),
    Variable("min_sinr_db", "least delivered SINR, channels as assumed", "dB", optional=True),
    Variable("guarded_sinr_db", "least SINR with the margins of the robustness choice", "dB", optional=True),
    Variable("ball_sinr_db", "least SINR found for errors in each node's ball", "dB", optional=True),
    Variable("stacked_sinr_db", "least SINR found for errors in one ball over all nodes", "dB", optional=True),
    Variable("phase_sinr_db", "least SINR found for phase errors", "dB", optional=True),
    Variable("declared_excess_db", "least SINR found among the declared errors, over the promised SINR", "dB", optional=True),
    Variable("sensing_node", "node with the largest power at the target", dtype="int64"),
    Variable("sensing_share", "share of the power in the sensing signals"),
    Variable(
        "walk_kld", "divergence after each step of the successive convex approximation from equal powers", "nat",
        dims=("step",), coords={"step": STEPS_SHOWN}, optional=True,
    ),
    Variable("sca_steps", "steps of the successive convex approximation from equal powers", dtype="int64", optional=True),
    Variable("sca_kld", "divergence at the end of the successive convex approximation from equal powers", "nat", optional=True),
    Variable("trapped_share", "share of random starts that end at a worse node", optional=True),
    Variable("trapped_loss", "largest relative loss of divergence over random starts", optional=True),
    Variable("objective", "value of the objective", "nat"),
    Variable("dual_bound", "upper bound of the objective for the robustness choice", "nat"),
    Variable("least_power", "least power that the users need, relative to the limit"),
    Variable("relative_gap", "relative gap between bound and value"),
    Variable("worst_violation", "largest relative violation of a constraint"),
    Variable("power_violation", "relative violation of the power limit"),
    Variable("sinr_violation", "relative violation of the guarded SINR"),
    Variable("iterations", "solver iterations", dtype="int64"),
    Variable("solve_seconds", "wall time of the design", "s", volatile=True),
    Variable("bound_seconds", "wall time of a bound computed apart from the design", "s", volatile=True),
    Variable("search_seconds", "wall time of the search for the worst errors", "s", volatile=True, optional=True),
    Variable("user_beams", "beams of the users", "W**0.5", "complex128", ("user", "node", "antenna"), kind="detail"),
    Variable(
        "sensing_covariance", "sensing covariance of each node", "W", "complex128", ("node", "antenna", "antenna_conj"),
        kind="detail",
    ),
    Variable("beampower", "power of each node at the target", "W", dims=("node",), kind="detail"),
    Variable(
        "user_dual", "multiplier of each user's guarded SINR, relative to that of the power limit", dims=("user",),
        kind="detail", optional=True,
    ),
    Variable("proof", "multipliers or beams of the proof", dims=("row",), kind="detail", optional=True),
)  # fmt: skip


class _LineDraws:
    """Common parts of the cells of a line: the drop and its random numbers."""

    def __init__(self, scenario: CoherentScenario, options: Options) -> None:
        self.scenario, self.options = scenario, options

    def _echoes(self, snapshots: int) -> EchoDraws:
        channel, target = self.scenario.channel, self.scenario.target
        return draw_echoes(
            channel.seed, channel.realisation, target.law, self.scenario.layout.node_count, self.options.draws, snapshots,
            common=target.rcs_correlation == "common", separated=self.options.filters == "separated",
        )  # fmt: skip

    @cached_property
    def short(self) -> EchoDraws:
        return self._echoes(1)

    @cached_property
    def long(self) -> EchoDraws:
        return self._echoes(SNAPSHOTS)


COSTS: RoughCosts = (
    ({"solver": "reference"}, 30.0),
    *(({"robustness": name}, choice.seconds) for name, choice in CHOICES.items() if choice.seconds > 0.5),
    ({"search": True}, 0.5),
    *(({"robustness": name}, choice.seconds) for name, choice in CHOICES.items()),
)


@dataclass(frozen=True)
class RobustTradeoff:
    """The experiment. Cells of a line differ in the strength of the echoes and share the random numbers of a drop."""

    name: str = "robust-tradeoff"
    scenario_model: type[BaseModel] = CoherentScenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = ("target.echo_snr_db",)
    variables: tuple[Variable, ...] = VARIABLES
    main_metric: str = "kld"
    rough_costs: RoughCosts = COSTS
    modules: tuple[str, ...] = ("disac.experiments.robust_tradeoff",)

    def run(self, scenarios: Sequence[CoherentScenario], options: Options) -> list[dict[str, Any]]:
        """Return one result per scenario. Scenarios differ only in the strength of the echoes."""
        deployment = _LineDraws(scenarios[0], options)
        return cell_by_cell(lambda scenario: _result(scenario, options, deployment), scenarios)

    def recheck(self, scenario: CoherentScenario, options: Options, stored: Mapping[str, Any]) -> list[str]:
        """Sentences on promises of a stored result that its stored beams or multipliers do not keep."""
        if stored["status"] == "infeasible" and options.design != "optimum":
            return []
        again = _recomputed(scenario, options, stored)
        wrong = differences(stored, again, "what is stored beside it", relative=1e-7, absolute=1e-9)
        return wrong + _unproven(stored, again) + _uncovered(scenario, options, stored)


def _recomputed(scenario: CoherentScenario, options: Options, stored: Mapping[str, Any]) -> dict[str, float]:
    """Values that stored beams and multipliers give, by the names under which they are stored."""
    drop, sinr, half = coherent_drop(scenario), db_to_linear(scenario.service.sinr_db), _half_box(scenario)
    nominal, problem = _problems(drop, options, half)
    covers, found, bound = options.angles == "max-min", {}, float("inf")
    if options.design == "optimum":
        evidence, served = (stored["user_dual"], stored["proof"]), stored["status"] != "infeasible"
        if covers and served:
            found["least_power"], bound = proven_covering(drop, problem, options.choice.guarding(), sinr, half, *evidence)
        else:
            found["least_power"], bound = options.choice.prove(problem, sinr, options.solver, *evidence)
        if not served:
            return found
    covariance, users = stored["sensing_covariance"], stored["user_beams"]
    if covers:
        least = least_divergence(drop, covariance, half, full=problem.echoes.full)[0]
        certificate = judged_covering(problem, options.choice.guarding(), sinr, users, covariance, least, bound)
    else:
        values, vectors = np.linalg.eigh(covariance)
        beams = Beams(users, np.sqrt(np.maximum(values[:, -1:], 0.0)) * vectors[..., -1])
        certificate = options.choice.judge(problem, sinr, beams, bound)
        if options.design != "optimum":
            certificate = replace(certificate, dual_bound=float("nan"))
        found |= _served(problem, beams, options, sinr)
        found.pop("search_seconds", None)
    found |= _certified(certificate) | _divergences(drop, nominal, covariance, half)
    found["claimed_kld"] = certificate.value
    found.pop("iterations")
    return found


def _unproven(stored: Mapping[str, Any], again: Mapping[str, float]) -> list[str]:
    """Promises of a verdict that the recomputed numbers do not keep."""
    if stored["status"] == "infeasible":
        need = again["least_power"]
        return [] if need > 1.0 else [f"the stored multipliers prove only a need of {need:.6g} times the power"]
    wrong = []
    if again["objective"] > again["dual_bound"] * (1.0 + 1e-6):
        wrong.append(f"the objective {again['objective']:.9g} is above its bound {again['dual_bound']:.9g}")
    if stored["status"] == "ok" and not again["worst_violation"] <= VIOLATION_LIMIT:
        wrong.append(f"a constraint is violated by {again['worst_violation']:.1e}, and the cell is 'ok'")
    if stored["status"] == "ok" and again["relative_gap"] > GAP_LIMIT * (1.0 + 1e-6):
        wrong.append(f"the gap to the bound is {again['relative_gap']:.1e}, and the cell is 'ok'")
    return wrong


def _uncovered(scenario: CoherentScenario, options: Options, stored: Mapping[str, Any]) -> list[str]:
    """A sentence if the divergence at new points of the boxes is below the stored least value."""
    half = _half_box(scenario)
    if half == 0.0 or stored["status"] == "infeasible":
        return []
    drop, covariance, full = coherent_drop(scenario), stored["sensing_covariance"], options.objective == "whole"
    worst = least_divergence(drop, covariance, half, full=full).errors_rad
    errors = other_points(drop, covariance, worst, half)
    values = divergences_at(drop, covariance, errors, full=full)
    least, where = float(values.min()), np.rad2deg(errors[int(np.argmin(values))])
    if least >= stored["least_kld"] * (1.0 - COVERED) - 1e-12:
        return []
    at = ", ".join(f"{error:.4g}" for error in where)
    return [f"least_kld is stored as {stored['least_kld']:.9g}, at angle errors of {at} deg the divergence is {least:.9g}"]


def _problems(drop: CoherentDrop, options: Options, half_rad: float) -> tuple[RobustProblem, RobustProblem]:
    """The problem at the target's estimated angles, and at those that the design assumes."""
    full = options.objective == "whole"
    nominal = robust_problem(drop, full=full)
    if options.angles != "paper":
        return nominal, nominal
    return nominal, robust_problem(drop, full=full, angles_rad=boundary_angles(drop, half_rad))


def _divergences(drop: CoherentDrop, nominal: RobustProblem, covariance: Complex, half_rad: float) -> dict[str, float]:
    """Divergences of sensing covariances [N, M, M] at the estimated angles, and the least over the boxes."""
    t, full = _beampowers(nominal, covariance), nominal.echoes.full
    least = least_divergence(drop, covariance, half_rad, full=full)[0] if half_rad > 0 else float(nominal.divergence(t))
    return {"kld": float(nominal.echoes.block(t)), "whole_kld": float(nominal.echoes.whole(t)), "least_kld": least}


def _half_box(scenario: CoherentScenario) -> float:
    return float(np.deg2rad(scenario.uncertainty.angle_error_deg))


def _beampowers(problem: RobustProblem, covariance: Complex) -> Float:
    """``a_n^T W_n a_n^*``, shape [N]."""
    return np.real(np.einsum("na,nab,nb->n", problem.steering, covariance, problem.steering.conj()))


def _refusal(scenario: CoherentScenario, options: Options) -> str:
    """Reason why the chosen design does not exist under the scenario's power limit; empty if it does."""
    limit = scenario.power.limit
    if limit == TOTAL.name:
        return ""
    chosen = {
        f"robustness '{options.robustness}'": not options.choice.any_limit,
        f"solver '{options.solver}'": options.solver != "cones",
        "angles 'max-min'": options.angles == "max-min",
    }
    what = next((what for what, only_total in chosen.items() if only_total), None)
    return f"The choice {what} is defined for total power only, not for power.limit '{limit}'." if what else ""


def _result(scenario: CoherentScenario, options: Options, deployment: _LineDraws) -> dict[str, Any]:
    if refusal := _refusal(scenario, options):
        return failed(refusal)
    drop, sinr = coherent_drop(scenario), db_to_linear(scenario.service.sinr_db)
    half = _half_box(scenario)
    nominal, problem = _problems(drop, options, half)
    bound_seconds, users, covariance = 0.0, None, None
    design: RobustDesign | None = None
    if options.angles == "max-min":
        covering = solve_max_min(drop, problem, options.choice.guarding(), sinr, half)
        certificate, users, covariance = covering.certificate, covering.users, covering.sensing
        user_dual, proof, least = covering.user_dual, covering.proof, covering.least_power
    else:
        if options.design == "optimum":
            delivered = options.choice.design(problem, sinr, options.solver)
            design, bound_seconds = delivered.design, delivered.bound_seconds
        else:
            best = options.design == "zero-forcing-best-node"
            design = zero_forcing(problem, options.choice.guarding(), sinr, best_node=best)
        certificate, user_dual, proof = design.certificate, design.user_dual, design.proof
        least = design.least_power
        if design.beams is not None:
            users = design.beams.users
            covariance = np.einsum("na,nb->nab", design.beams.sensing, design.beams.sensing.conj())
    result: dict[str, Any] = {
        "status": certificate.status, "message": certificate.message, "solve_seconds": certificate.seconds,
        "bound_seconds": bound_seconds, "least_power": least,
    }  # fmt: skip
    if user_dual is not None:
        result["user_dual"] = user_dual
    if proof is not None:
        result["proof"] = proof
    if users is None or covariance is None:
        return result
    t = _beampowers(nominal, covariance)
    result |= _certified(certificate) | _detected(nominal, t, options, deployment)
    result |= _divergences(drop, nominal, covariance, half)
    result |= {
        "claimed_kld": certificate.value, "sensing_node": int(np.argmax(t)), "beampower": t, "user_beams": users,
        "sensing_share": float(np.real(np.trace(covariance, axis1=1, axis2=2)).sum() / problem.power),
        "sensing_covariance": covariance,
    }  # fmt: skip
    if design is not None and design.beams is not None:
        result |= _served(problem, design.beams, options, sinr)
        if design.corners is not None and problem.limit == TOTAL:
            result |= _walks(problem, design.corners, scenario)
    return result


def _certified(certificate: Certificate) -> dict[str, Any]:
    return {
        "objective": certificate.value, "dual_bound": certificate.dual_bound, "relative_gap": certificate.relative_gap,
        "worst_violation": certificate.worst_violation, "power_violation": certificate.power_violation,
        "sinr_violation": certificate.sinr_violation, "iterations": certificate.iterations,
    }  # fmt: skip


def _detected(problem: RobustProblem, t: Float, options: Options, deployment: _LineDraws) -> dict[str, Any]:
    """Divergence and detection over random cross-sections, for the powers at the target."""
    gains, rate = problem.echoes.gains, options.false_alarm_rate
    short, long = deployment.short, deployment.long
    filters = short.filters
    # Divergence of one snapshot for given cross-sections. Under a slow law it is the same in all snapshots.
    values = block_divergence(np.einsum("snm,nm,m->sn", short.squares, gains, t))
    mean, std = float(values.mean()), float(values.std(ddof=1))
    once, averaged = short.statistics(gains, t), long.statistics(gains, t)
    return {
        "mean_kld": mean, "mean_kld_error": std / np.sqrt(len(values)), "std_kld": std,
        "relative_std_kld": std / max(mean, 1e-300),
        "pd": float(detection_probability(once, PAPER_THRESHOLD)), "pfa": false_alarm_rate(PAPER_THRESHOLD, filters),
        "long_pd": float(detection_probability(averaged, PAPER_THRESHOLD)),
        "long_pfa": false_alarm_rate(PAPER_THRESHOLD, filters, SNAPSHOTS),
        "controlled_pd": float(detection_probability(once, threshold_for(rate, filters))),
        "long_controlled_pd": float(detection_probability(averaged, threshold_for(rate, filters, SNAPSHOTS))),
    }  # fmt: skip


def _reached(problem: RobustProblem, beams: Beams, options: Options) -> dict[str, float]:
    """Least SINR of any user with the channels as assumed, and with the choice's margins."""
    heard = (problem.channels, beams.users, beams.sensing, problem.noise_power)
    found = {"min_sinr_db": linear_to_db(float(coherent_beam_sinr(*heard).min()))}
    margins = options.choice.margins
    if margins is not None:
        found["guarded_sinr_db"] = linear_to_db(float(guarded_sinr(problem, margins, beams).min()))
    return found


def _served(problem: RobustProblem, beams: Beams, options: Options, sinr: float) -> dict[str, Any]:
    """SINR of the users with the channels as assumed, with the choice's margins and, if requested, under the worst errors."""
    result: dict[str, Any] = _reached(problem, beams, options)
    if not options.search:
        return result
    started = time.perf_counter()
    result |= {f"{e.name}_sinr_db": linear_to_db(float(e.least_sinr(problem, beams).min())) for e in SEARCHED}
    result["search_seconds"] = time.perf_counter() - started
    stood = result[f"{options.choice.declared.name}_sinr_db"]
    return result | {"declared_excess_db": stood - linear_to_db(sinr)}


def _walks(problem: RobustProblem, corners: Float, scenario: CoherentScenario) -> dict[str, Any]:
    """End points of the paper's successive convex approximation, from equal powers and from random starts."""
    nodes = problem.nodes
    even = problem.power / nodes * np.sum(np.abs(problem.steering) ** 2, axis=1)
    largest = float(problem.divergence(np.diag(corners)).max())
    walk = successive_convex(problem.echoes, corners, even, 1e-2)
    random = stream(scenario.channel.seed, "sca-start", realisation=scenario.channel.realisation, nodes=nodes)
    starts = random.dirichlet(np.ones(nodes), RANDOM_STARTS) * corners
    loss = 1.0 - walk_ends(problem.echoes, corners, starts, 1e-9 * largest) / largest
    shown = [walk.divergences[min(step, len(walk.nodes))] for step in STEPS_SHOWN]
    return {
        "walk_kld": np.array(shown), "sca_steps": len(walk.nodes), "sca_kld": walk.divergences[-1],
        "trapped_share": float((loss > 1e-9).mean()),
        "trapped_loss": float(max(loss.max(), 0.0)),
    }  # fmt: skip


experiment = RobustTradeoff()

"""The loop closed: a design's OFDM echoes, maximum-likelihood positions, and their error beside the bound (002, 001)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from disac.channels import node_phases_rad
from disac.designs.design import Designer
from disac.estimators.maximum_likelihood import Area, locate
from disac.experiments.base import Variable
from disac.experiments.ofdm_tradeoff import design_problem
from disac.geometry import delays_s
from disac.metrics.delay import delay_margin
from disac.metrics.fisher import fisher_information, localization_crb, location_derivatives
from disac.optim.certificate import VIOLATION_LIMIT
from disac.scenario import Scenario
from disac.streams import stream
from disac.units import SPEED_OF_LIGHT_M_S, db_to_linear, linear_to_db
from disac.waveforms import echoes, instantaneous_sinr, transmitted_signal

Float = NDArray[np.float64]

SINR_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


class Options(BaseModel):
    """Which design is sent, and how it is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    design: Literal["phase-agnostic", "orthogonal", "unconstrained-tight"] = Field(
        "phase-agnostic", description="design method"
    )
    clusters: int = Field(
        0, ge=0, description="groups of adjacent subcarriers with one covariance each; 0 for one per subcarrier"
    )
    scramble: bool = Field(True, description="whether the nodes' data symbols carry the design's known factors")
    symbols: int = Field(8, ge=1, le=1024, description="OFDM symbols that are sent and processed together")
    trials: int = Field(100, ge=1, le=100_000, description="independent noise draws")
    area_m: float = Field(60.0, gt=0, description="targets are looked for up to so far from the origin along both axes, m")
    grid_m: float = Field(2.0, gt=0, description="spacing of the coarse grid, m")


VARIABLES = (
    Variable("squared_error_m2", "mean squared error of the positions, summed over targets", "m2"),
    Variable("bound_squared_error_m2", "CRB for the signal that was sent, summed over targets", "m2"),
    Variable("expected_bound_m2", "CRB for the design's covariances", "m2"),
    Variable("rmse_m", "root mean squared error of the positions", "m"),
    Variable("rcrb_m", "root CRB for the signal that was sent", "m"),
    Variable("median_error_m", "median over trials of the root of the summed squared error", "m"),
    Variable("inlier_squared_error_m2", "mean squared error of the trials without an outlier", "m2"),
    Variable("outlier_share", "share of trials with a target estimated further off than half a range cell, c / (4 B)"),
    Variable("delay_margin_s", "what the delays may spread more before symbols fold or overlap", "s"),
    Variable("instantaneous_sinr_p5_db", "5 % quantile of the SINR of single OFDM symbols, over users and symbols", "dB"),
    Variable("instantaneous_sinr_mean_db", "mean of the SINR of single OFDM symbols, over users and symbols", "dB"),
    Variable(
        "instantaneous_sinr_db", "quantiles of the SINR of single OFDM symbols at each user", "dB",
        dims=("user", "quantile"), coords={"quantile": SINR_QUANTILES},
    ),
    Variable("estimate_m", "positions", "m", dims=("trial", "target", "xy"), coords={"xy": ("x", "y")}, kind="detail"),
)  # fmt: skip


@dataclass(frozen=True)
class OfdmEchoes:
    """The experiment; noise draws are common to all cells of a realisation."""

    name: str = "ofdm-echoes"
    scenario_model: type[BaseModel] = Scenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = VARIABLES
    modules: tuple[str, ...] = ("disac.experiments.ofdm_echoes",)

    def run(self, scenarios: Sequence[Scenario], options: Options) -> list[dict[str, Any]]:
        """One result per scenario."""
        return [_measured(scenario, options) for scenario in scenarios]

    def recheck(self, scenario: Scenario, options: Options, stored: Mapping[str, Any]) -> list[str]:
        """Sentences on what the stored estimates do not give."""
        if np.isnan(stored["squared_error_m2"]):
            return []
        error = assigned_error_m2(stored["estimate_m"], scenario.layout.targets).sum(axis=1).mean()
        if np.isclose(error, stored["squared_error_m2"], rtol=1e-9, atol=0.0):
            return []
        return [f"squared_error_m2 is stored as {stored['squared_error_m2']:.9g}, the stored estimates give {error:.9g}"]

    def rough_seconds(self, options_text: str) -> float:
        """Rough seconds of one cell on one core (N=2, one target)."""
        return 8.0


def assigned_error_m2(found: Float, targets: Float) -> Float:
    """Squared error of each target under the assignment of estimates with the least total, shape [trials, K], m^2."""
    orders = [list(order) for order in itertools.permutations(range(len(targets)))]
    errors = np.stack([((found[:, order] - targets) ** 2).sum(axis=2) for order in orders])
    best = errors.sum(axis=2).argmin(axis=0)
    return errors[best, np.arange(len(found))]


def _measured(scenario: Scenario, options: Options) -> dict[str, Any]:
    problem, sinr = design_problem(scenario), db_to_linear(scenario.service.sinr_db)
    try:
        designer = Designer(problem, options.design, clusters=options.clusters)
        design = designer.design(sinr)
    except (np.linalg.LinAlgError, ArithmeticError) as error:
        return {"status": "failed", "message": f"The design broke down numerically ({type(error).__name__}: {error})."}
    sent = designer.delivered(design, sinr)
    if sent.beams is None or sent.remainder is None or sent.transmitted is None:
        return {"status": design.certificate.status, "message": design.certificate.message}
    seed, entity = scenario.channel.seed, {"realisation": scenario.channel.realisation}
    code = designer.symbol_code() if options.scramble else np.ones((problem.nodes, 1), dtype=np.complex128)
    data, sensing = transmitted_signal(sent.beams, sent.remainder, code, options.symbols, stream(seed, "symbols", **entity))
    model, layout, waveform = problem.sensing, scenario.layout, scenario.waveform
    seen = echoes(model, data.sum(axis=0) + sensing, options.trials, stream(seed, "echo-noise", **entity))
    found = locate(model, seen, Area(options.area_m, options.grid_m))
    each = assigned_error_m2(found, layout.targets)
    total = each.sum(axis=1)
    outlier = (each > (SPEED_OF_LIGHT_M_S / (4.0 * waveform.bandwidth_hz)) ** 2).any(axis=1)
    derivatives = location_derivatives(model, scenario.sensing.localization)
    bound = localization_crb(fisher_information(derivatives, seen.signal, model.noise_power), problem.targets)
    delay = delays_s(layout.nodes, layout.targets)
    both = delay[list(layout.receive_nodes), np.newaxis] + delay[list(layout.transmit_nodes)]
    heard = _heard(scenario, options, problem.channels, sent.beams, sent.remainder, code, problem.noise_power)
    margin = delay_margin(both, waveform.subcarriers, waveform.bandwidth_hz, waveform.prefix_s)
    exact = design.certificate.status == "ok" and design.certificate.worst_violation <= VIOLATION_LIMIT
    ambiguous = (
        "" if margin >= 0 else "Delays spread further than the symbols allow: they fold or overlap, which is not modelled."
    )
    return {
        "status": "ok" if exact else design.certificate.status, "message": design.certificate.message or ambiguous,
        "squared_error_m2": total.mean(), "bound_squared_error_m2": bound,
        "expected_bound_m2": sent.crb_m2 / options.symbols,
        "rmse_m": np.sqrt(total.mean()), "rcrb_m": np.sqrt(bound), "median_error_m": np.sqrt(np.median(total)),
        "inlier_squared_error_m2": total[~outlier].mean() if (~outlier).any() else np.nan,
        "outlier_share": outlier.mean(), "delay_margin_s": margin,
        "instantaneous_sinr_p5_db": linear_to_db(float(np.quantile(heard, 0.05))),
        "instantaneous_sinr_mean_db": linear_to_db(float(heard.mean())),
        "instantaneous_sinr_db": 10.0 * np.log10(np.quantile(heard, SINR_QUANTILES, axis=1)).T,
        "estimate_m": found,
    }  # fmt: skip


def _heard(
    scenario: Scenario, options: Options, channels: NDArray[np.complex128], beams: NDArray[np.complex128],
    remainder: NDArray[np.complex128], code: NDArray[np.complex128], noise_power: float,
) -> Float:  # fmt: skip
    """Instantaneous SINR over 1000 symbols, each with node phases of its own, shape [U, 1000]."""
    random = stream(scenario.channel.seed, "heard-symbols", realisation=scenario.channel.realisation)
    phases = node_phases_rad(scenario, 1000)
    data, sensing = transmitted_signal(beams, remainder, code, len(phases), random)
    return instantaneous_sinr(channels, data, sensing, noise_power, phases)


experiment = OfdmEchoes()

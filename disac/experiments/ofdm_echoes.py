"""OFDM echoes of a design, the maximum-likelihood positions from them, and their error beside the bound (002, 001)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from disac.designs.location.delivery import Delivered
from disac.designs.location.design import Designer
from disac.designs.location.of_scenario import design_problem
from disac.designs.location.problem import DesignProblem, unposed
from disac.drops.noncoherent import node_phases_rad
from disac.estimators.maximum_likelihood import Area, locate
from disac.experiments.base import BREAKDOWNS, ExperimentOptions, RoughCosts, Variable, broken_down, differences, failed
from disac.metrics.delay import delay_margin, range_ambiguous
from disac.metrics.fisher import fisher_information, localization_crb, location_derivatives
from disac.optim.certificate import VIOLATION_LIMIT
from disac.scenarios.noncoherent import Scenario, Waveform
from disac.streams import stream
from disac.units import SPEED_OF_LIGHT_M_S, db_to_linear, linear_to_db
from disac.waveforms import SampledEchoes, echoes, heard_powers, symbols_before, transmitted_signal

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

HEARD_SYMBOLS = 1000
"""Number of symbols whose SINR at the users is evaluated (001, Fig. 3(c): 1000 simulations)."""
SINR_BINS_DB = tuple(np.arange(-19.5, 60.0).tolist())
"""Middles of the bins of the density of that SINR, each 1 dB wide. Values outside are not counted."""
SINR_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


class Options(ExperimentOptions):
    """Options: the design that is sent, and the measurement."""

    design: Literal["phase-agnostic", "orthogonal", "unconstrained-tight"] = Field(
        "phase-agnostic", description="design method"
    )
    clusters: int = Field(
        0,
        ge=0,
        description="number of groups of subcarriers; adjacent subcarriers share one covariance; 0: one covariance per "
        "subcarrier",
    )
    scramble: bool = Field(
        True, description="scrambling; true: each node multiplies its data symbols by the known factors of the design"
    )
    user_phases: Literal["each-symbol", "fixed"] = Field(
        "each-symbol",
        json_schema_extra={"identity_default": "each-symbol"},
        description="node phases at the users; each-symbol: a new draw in each symbol; fixed: one draw for all symbols",
    )
    symbols: int = Field(8, ge=1, le=1024, description="number of OFDM symbols; they are sent and processed together")
    trials: int = Field(100, ge=1, le=100_000, description="number of independent noise draws")
    area_m: float = Field(60.0, gt=0, description="half width of the search area, m; from the origin along both axes")
    grid_m: float = Field(2.0, gt=0, description="spacing of the coarse search grid, m; at most a fifth of c / B")


VARIABLES = (
    Variable("squared_error_m2", "mean squared error of the positions, summed over targets", "m2"),
    Variable("bound_squared_error_m2", "CRB for the signal that was sent, summed over targets", "m2"),
    Variable("expected_bound_m2", "CRB for the design's covariances", "m2"),
    Variable("rmse_m", "root mean squared error of the positions", "m"),
    Variable("rcrb_m", "root CRB for the signal that was sent", "m"),
    Variable("median_error_m", "median over trials of the root of the summed squared error", "m"),
    Variable("inlier_squared_error_m2", "mean squared error of the trials without an outlier", "m2"),
    Variable("outlier_share", "share of trials with an error above half a range cell, c / (4 B)"),
    Variable("delay_margin_s", "delay margin before symbols overlap or delays fold", "s"),
    Variable("range_ambiguous", "1 if the delays spread over more than a symbol, else 0", dtype="int64"),
    Variable("instantaneous_sinr_p5_db", "5 % quantile of the SINR of single OFDM symbols, over users and symbols", "dB"),
    Variable("instantaneous_sinr_mean_db", "mean of the SINR of single OFDM symbols, over users and symbols", "dB"),
    Variable(
        "instantaneous_sinr_db", "quantiles of the SINR of single OFDM symbols at each user", "dB",
        dims=("user", "quantile"), coords={"quantile": SINR_QUANTILES},
    ),
    Variable(
        "instantaneous_sinr_density", "density of the SINR of single symbols", "1/dB",
        dims=("user", "symbol_sinr_db"), coords={"symbol_sinr_db": SINR_BINS_DB},
    ),
    Variable("average_sinr_db", "mean wanted power over mean unwanted power of each user", "dB", dims=("user",)),
    Variable("below_target_share", "share of OFDM symbols in which a user is below the promised SINR", dims=("user",)),
    Variable("median_spread_db", "largest minus smallest median SINR of the users, single OFDM symbols", "dB"),
    Variable("estimate_m", "position estimates", "m", dims=("trial", "target", "xy"), coords={"xy": ("x", "y")}, kind="detail"),
)  # fmt: skip


@dataclass(frozen=True)
class OfdmEchoes:
    """The experiment. All cells of a realisation have the same noise draws.

    Cells of a line differ in the amplitude and share design, signal and noise. Without a prior the best design does not depend
    on the amplitude.
    """

    name: str = "ofdm-echoes"
    scenario_model: type[BaseModel] = Scenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = ("sensing.amplitude_db",)
    variables: tuple[Variable, ...] = VARIABLES
    main_metric: str = "rmse_m"
    rough_costs: RoughCosts = (({}, 0.5),)
    modules: tuple[str, ...] = ("disac.experiments.ofdm_echoes",)

    def run(self, scenarios: Sequence[Scenario], options: Options) -> list[dict[str, Any]]:
        """Return one result per scenario. Scenarios differ only in the amplitude."""
        try:
            return _measured(scenarios, options)
        except BREAKDOWNS as error:
            return [broken_down(error)] * len(scenarios)

    def recheck(self, scenario: Scenario, options: Options, stored: Mapping[str, Any]) -> list[str]:
        """Sentences on stored values that the stored estimates do not give."""
        if np.isnan(stored["squared_error_m2"]):
            return []
        error = float(assigned_error_m2(stored["estimate_m"], scenario.layout.targets).sum(axis=1).mean())
        return differences(stored, {"squared_error_m2": error}, "the estimate stored", relative=1e-9)


def assigned_error_m2(found: Float, targets: Float) -> Float:
    """Squared error of each target, shape [trials, K], m^2. Estimates are assigned to targets with the least total error."""
    orders = [list(order) for order in itertools.permutations(range(len(targets)))]
    errors = np.stack([((found[:, order] - targets) ** 2).sum(axis=2) for order in orders])
    best = errors.sum(axis=2).argmin(axis=0)
    return errors[best, np.arange(len(found))]


def _measured(scenarios: Sequence[Scenario], options: Options) -> list[dict[str, Any]]:
    # The design, its signal and the echoes before scaling are computed for amplitudes of one in every line.
    first = scenarios[0]
    scenario = first.model_copy(update={"sensing": first.sensing.model_copy(update={"amplitude_db": 0.0})})
    problem, sinr = design_problem(scenario), db_to_linear(scenario.service.sinr_db)
    if sentence := unposed(options.design, problem.nodes, problem.subcarriers):
        return [failed(sentence)] * len(scenarios)
    designer = Designer(problem, options.design, clusters=options.clusters)
    design = designer.design(sinr)
    sent = designer.delivered(design, sinr)
    certificate = design.certificate
    if sent.beams is None or sent.transmitted is None:
        return [{"status": certificate.status, "message": certificate.message}] * len(scenarios)
    exact = certificate.status == "ok" and certificate.worst_violation <= VIOLATION_LIMIT
    code = designer.symbol_code() if options.scramble else np.ones((problem.nodes, 1), dtype=np.complex128)
    seen = _seen(scenario, options, problem, sent, code)
    common = {"status": "ok" if exact else certificate.status} | _heard(scenario, options, problem, sent, code)
    common |= _delays(problem, scenario.waveform, certificate.message)
    derivatives = location_derivatives(problem.sensing, scenario.sensing.localization)
    bound = localization_crb(fisher_information(derivatives, seen.covariances, problem.sensing.noise_power), problem.targets)
    scales = [float(np.sqrt(db_to_linear(s.sensing.amplitude_db))) for s in scenarios]
    found = locate(problem.sensing, seen, Area(options.area_m, options.grid_m), scales)
    expected = sent.crb_m2 / options.symbols
    return [
        common | {"bound_squared_error_m2": bound / scale**2, "rcrb_m": np.sqrt(bound) / scale,
                  "expected_bound_m2": expected / scale**2} | _errors(scenario, positions)
        for scale, positions in zip(scales, found, strict=True)
    ]  # fmt: skip


def _seen(scenario: Scenario, options: Options, problem: DesignProblem, sent: Delivered, code: Complex) -> SampledEchoes:
    """Echoes of the design's signal. Earlier symbols of the same design come before the measured ones."""
    beams, remainder = sent.beams, sent.remainder
    assert beams is not None
    assert remainder is not None
    seed, entity = scenario.channel.seed, {"realisation": scenario.channel.realisation}
    prefix_s = scenario.waveform.prefix_s

    def signal(count: int, first: int, random: np.random.Generator) -> Complex:
        data, sensing = transmitted_signal(beams, remainder, code, count, random, first)
        return data.sum(axis=0) + sensing

    now = signal(options.symbols, 0, stream(seed, "symbols", **entity))
    earlier = [
        signal(1, -back, stream(seed, "earlier-symbol", back=back, **entity))
        for back in range(symbols_before(problem.sensing, prefix_s), 0, -1)
    ]
    before = np.concatenate([now[..., :0], *earlier], axis=-1)
    return echoes(problem.sensing, now, before, prefix_s, options.trials, stream(seed, "echo-noise", **entity))


def _errors(scenario: Scenario, found: Float) -> dict[str, Any]:
    """Errors of the positions of each trial, [trials, K, 2]."""
    each = assigned_error_m2(found, scenario.layout.targets)
    total = each.sum(axis=1)
    outlier = (each > (SPEED_OF_LIGHT_M_S / (4.0 * scenario.waveform.bandwidth_hz)) ** 2).any(axis=1)
    return {
        "squared_error_m2": total.mean(), "rmse_m": np.sqrt(total.mean()), "median_error_m": np.sqrt(np.median(total)),
        "inlier_squared_error_m2": total[~outlier].mean() if (~outlier).any() else np.nan,
        "outlier_share": outlier.mean(), "estimate_m": found,
    }  # fmt: skip


def _delays(problem: DesignProblem, waveform: Waveform, message: str) -> dict[str, Any]:
    """Whether delays fold or symbols overlap, and the cell's message."""
    both, size = problem.sensing.bistatic_s, (waveform.subcarriers, waveform.bandwidth_hz)
    margin, ambiguous = delay_margin(both, *size, waveform.prefix_s), range_ambiguous(both, *size)
    spread = f"Delays spread over {1e9 * np.ptp(both):.0f} ns"
    said = [message] if message else []
    if ambiguous:
        said.append(f"{spread}, further than a symbol ({1e9 * size[0] / size[1]:.0f} ns): they fold, and ranges are ambiguous.")
    if symbols_before(problem.sensing, waveform.prefix_s):
        said.append(
            f"{spread}, further than the cyclic prefix ({1e9 * waveform.prefix_s:.0f} ns): symbols overlap, "
            "in the simulated echoes but not for the estimator and the bound."
        )
    return {"message": " ".join(said), "delay_margin_s": margin, "range_ambiguous": int(ambiguous)}


def _heard(scenario: Scenario, options: Options, problem: DesignProblem, sent: Delivered, code: Complex) -> dict[str, Any]:
    """SINR of single OFDM symbols at the users. Node phases are new in each symbol, or one draw for all symbols."""
    assert sent.beams is not None
    assert sent.remainder is not None
    random = stream(scenario.channel.seed, "heard-symbols", realisation=scenario.channel.realisation)
    phases = node_phases_rad(scenario, HEARD_SYMBOLS if options.user_phases == "each-symbol" else 1)
    phases = np.broadcast_to(phases, (HEARD_SYMBOLS, phases.shape[1]))
    data, sensing = transmitted_signal(sent.beams, sent.remainder, code, HEARD_SYMBOLS, random)
    wanted, other = heard_powers(problem.channels, data, sensing, problem.noise_power, phases)
    ratio, medians = wanted / other, np.median(wanted / other, axis=1)
    ratio_db = 10.0 * np.log10(ratio)
    width = SINR_BINS_DB[1] - SINR_BINS_DB[0]
    edges = np.append(np.array(SINR_BINS_DB) - width / 2.0, SINR_BINS_DB[-1] + width / 2.0)
    counts = np.stack([np.histogram(line, edges)[0] for line in ratio_db])
    return {
        "instantaneous_sinr_p5_db": linear_to_db(float(np.quantile(ratio, 0.05))),
        "instantaneous_sinr_mean_db": linear_to_db(float(ratio.mean())),
        "instantaneous_sinr_db": 10.0 * np.log10(np.quantile(ratio, SINR_QUANTILES, axis=1)).T,
        "instantaneous_sinr_density": counts / (HEARD_SYMBOLS * width),
        "average_sinr_db": 10.0 * np.log10(wanted.mean(axis=1) / other.mean(axis=1)),
        "below_target_share": (ratio < db_to_linear(scenario.service.sinr_db)).mean(axis=1),
        "median_spread_db": 10.0 * np.log10(medians.max() / medians.min()),
    }  # fmt: skip


experiment = OfdmEchoes()

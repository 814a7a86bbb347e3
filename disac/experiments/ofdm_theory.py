"""Statements and remarks of 002, each as a number for random deployments: residuals, shares of promised values, and ratios.

A cell draws nodes and targets by its realisation. Then it makes four comparisons. Signals are compared with the linear map of
their covariances (Lemma 1, Theorem 1, Proposition 1, Appendix A). Relaxed optima are compared with the rank-one signals
extracted from them (Theorems 2 and 3; (26) to (29); (33) with (40)). One covariance for the band is compared with one per
subcarrier (Remarks 1 and 3). The counts of Table II are compared with those of the programs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from disac.designs.location.design import Designer
from disac.designs.location.of_scenario import design_problem
from disac.designs.location.problem import unposed
from disac.designs.location.statements import EXTRACTIONS, band_ratios, bound_readings, variable_counts
from disac.experiments.base import ExperimentOptions, RoughCosts, Variable, cell_by_cell, failed
from disac.metrics.fisher_statements import signal_residuals
from disac.scenarios.noncoherent import Scenario
from disac.streams import complex_normal, stream
from disac.units import db_to_linear

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]


class Options(ExperimentOptions):
    """Options: the sampling of the signals, and the positions of nodes and targets."""

    symbols: int = Field(3, ge=1, le=64, description="number of OFDM symbols; of each sampled signal")
    random_layout: bool = Field(
        True, description="random positions; true: the realisation draws nodes and targets; false: they are those of the layout"
    )


VARIABLES = (
    Variable("lemma1_residual", "largest relative difference between the two sides of (16)"),
    Variable("theorem1_residual", "relative error of the Fisher information by sample covariances"),
    Variable("without_cross_terms", "relative error of the Fisher information without the off-diagonal blocks"),
    Variable("band_mean_residual", "relative error of the Fisher information by the covariance of the whole band (001)"),
    Variable("proposition1_residual", "relative error of the Fisher information by diagonal blocks, orthogonal signals"),
    Variable("jacobian_residual", "relative error of the Jacobian (45)"),
    Variable("appendix_error", "relative error of Appendix A as printed"),
    Variable("appendix_v_dot_tau_error", "relative error with the derivative of V along the delay as printed"),
    Variable("appendix_49a_error", "relative error with (49a) as printed"),
    Variable("appendix_49b_error", "relative error with (49b) as printed"),
    Variable("appendix_corrected_error", "relative error of Appendix A with three corrections"),
    Variable("whole_trace_ratio", "trace of the whole inverse Fisher information over that of the locations"),
    Variable("tof_reading_ratio", "root CRB by delays with unknown angles over that with known ones"),
    Variable("aoa_reading_ratio", "root CRB by angles with unknown delays over that with known ones"),
    Variable("sinr_power_residual", "relative difference between mean received power and sum of the nodes' powers"),
    Variable("theorem2_sinr_share", "least SINR of a user after (26), relative to its SINR before"),
    Variable("theorem2_least_eigenvalue", "least eigenvalue of R_nn - sum of (26), relative to the largest of R_nn"),
    Variable("printed_power", "power of the beams by (26)-(29), relative to the limit"),
    Variable("printed_sinr_share", "SINR of the beams by (26)-(29) over the promised one"),
    Variable("printed_crb_ratio", "CRB of the beams by (26)-(29) over the bound"),
    Variable("printed_negative_share", "negative share of the eigenvalues of (28), which (29) cuts"),
    Variable("theorem3_sinr_share", "SINR of the beams by (33)-(34) over the promised one"),
    Variable("theorem3_least_eigenvalue", "least eigenvalue of (34), relative to the largest of the covariance"),
    Variable("theorem3_crb_change", "relative change of the CRB by (33)-(34)"),
    Variable("beamforming_spread_sinr_share", "SINR of the beams by (33) with the rest spread by (40), over the promised one"),
    Variable("beamforming_dropped_crb_ratio", "objective of the beams by (33) without the rest, over the relaxed optimum"),
    Variable("beamforming_true_crb_ratio", "CRB of the relaxed beamforming design as transmitted, over its objective"),
    Variable("beamforming_to_orthogonal", "CRB of the beamforming design over that of the orthogonal one, as transmitted"),
    Variable("tof_band_ratio", "root CRB by delays: one covariance for the band over one per subcarrier"),
    Variable("aoa_band_ratio", "root CRB by angles: one covariance for the band over one per subcarrier"),
    Variable("tof_beam_gain", "root CRB by delays: even power over one optimised covariance for the band"),
    Variable("variables_unconstrained_ratio", "real variables of (24) over (42)"),
    Variable("variables_orthogonal_ratio", "real variables of (32) over (43)"),
    Variable("variables_beamforming_ratio", "real variables of (39) over (44)"),
    Variable("variables_block_level_ratio", "real variables of (18) of 001 over (U + 1) M_t^2 N"),
    Variable("solved_unconstrained_ratio", "real variables of our tight relaxation over (42)"),
    Variable("solved_orthogonal_ratio", "real variables of our orthogonal program over (43)"),
    Variable("solved_beamforming_ratio", "real variables of our beamforming program over (44)"),
    Variable("beamforming_saving", "variables of (43) over those of (44), relative to L/N"),
    Variable("solve_seconds", "wall time of the cell", "s", volatile=True),
)  # fmt: skip


@dataclass(frozen=True)
class OfdmTheory:
    """The experiment: one cell is one deployment."""

    name: str = "ofdm-theory"
    scenario_model: type[BaseModel] = Scenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = VARIABLES
    main_metric: str = "theorem1_residual"
    rough_costs: RoughCosts = (({}, 1.5),)
    modules: tuple[str, ...] = ("disac.experiments.ofdm_theory",)

    def run(self, scenarios: Sequence[Scenario], options: Options) -> list[dict[str, Any]]:
        """Return one result per scenario."""
        return cell_by_cell(lambda scenario: _cell(scenario, options), scenarios)


def deployment(scenario: Scenario) -> Scenario:
    """The scenario with nodes 40 to 60 m from the origin in random directions, and targets within 15 m of it."""
    seed, drawn = scenario.channel.seed, scenario.channel.realisation
    places: dict[str, list[tuple[float, float]]] = {"node": [], "target": []}
    for kind, count in (("node", len(scenario.layout.nodes_m)), ("target", scenario.layout.target_count)):
        for number in range(count):
            random = stream(seed, f"theory-{kind}", realisation=drawn, **{kind: number})
            bearing, share = random.uniform(0.0, 2.0 * np.pi), random.random()
            distance = 40.0 + 20.0 * share if kind == "node" else 15.0 * np.sqrt(share)
            places[kind].append((distance * np.cos(bearing), distance * np.sin(bearing)))
    layout = scenario.layout.model_copy(update={"nodes_m": tuple(places["node"]), "targets_m": tuple(places["target"])})
    return scenario.model_copy(update={"layout": layout})


def _cell(scenario: Scenario, options: Options) -> dict[str, Any]:
    started = time.perf_counter()
    placed = deployment(scenario) if options.random_layout else scenario
    if placed.layout.transmitters is not None or placed.layout.receivers is not None:
        return failed("The statements are about nodes that all transmit and receive.")
    problem, sinr = design_problem(placed), db_to_linear(scenario.service.sinr_db)
    if sentence := unposed("orthogonal", problem.nodes, problem.subcarriers):
        return failed(sentence)
    entity = {"realisation": scenario.channel.realisation}
    # Each node and symbol has its own random stream. So more nodes or symbols do not change the draws of the others.
    shape = (problem.antennas, problem.subcarriers)
    waveform = np.array(
        [
            [complex_normal(stream(scenario.channel.seed, "theory-signal", symbol=t, node=n, **entity), shape)
             for n in range(problem.nodes)]
            for t in range(options.symbols)
        ]
    )  # fmt: skip
    result: dict[str, Any] = signal_residuals(problem.sensing, problem.channels, waveform) | variable_counts(problem)
    result |= bound_readings(problem) | band_ratios(problem)
    for method, extracted in EXTRACTIONS.items():
        designer = Designer(problem, method)
        design = designer.design(sinr)
        if design.streams is None:
            certificate = design.certificate
            return {"status": certificate.status, "message": f"The design '{method}': {certificate.message}"}
        result |= extracted(designer, design, sinr)
    result["beamforming_to_orthogonal"] = result.pop("beamforming_crb_m2") / result.pop("orthogonal_crb_m2")
    return result | {"status": "ok", "message": "", "solve_seconds": time.perf_counter() - started}


experiment = OfdmTheory()

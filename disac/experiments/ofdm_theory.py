"""What 002 proves or remarks, each as a number for random deployments: residuals, shares of what is promised, ratios.

A cell draws nodes and targets by its realisation, then compares: signals with the linear map of their covariances (Lemma 1,
Theorem 1, Proposition 1, Appendix A), relaxed optima with the rank-one signals extracted from them (Theorems 2 and 3; (26) to
(29); (33) with (40)), one covariance for the band with one per subcarrier (Remarks 1 and 3), and the counts of Table II.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from disac.arrays import delay_vector, steering_vector
from disac.designs.location import beamforming, block_level, orthogonal, phase_agnostic, unconstrained_tight
from disac.designs.location.baselines import isotropic
from disac.designs.location.beams import exact_beams, node_beams
from disac.designs.location.design import Design, Designer
from disac.designs.location.judge import location_crb_m2
from disac.designs.location.of_scenario import design_problem
from disac.designs.location.phase_agnostic import scrambling
from disac.designs.location.problem import DesignProblem, Part, unposed
from disac.experiments.base import ExperimentOptions, RoughCosts, Variable, cell_by_cell, failed
from disac.geometry import angles_rad, delays_s
from disac.metrics.fisher import (
    Localization,
    fisher_information,
    localization_crb,
    location_jacobian,
    mean_derivatives,
)
from disac.metrics.printed_fisher import ERRATA, appendix_information, differentiated_information
from disac.metrics.sinr import received_power
from disac.scenarios.noncoherent import Scenario
from disac.streams import complex_normal, stream
from disac.units import db_to_linear

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

QUIET_SINR = 1e-3
"""SINR (linear) at which users cost nothing, where sensing alone is compared."""


class Options(ExperimentOptions):
    """How the signals are sampled and where nodes and targets stand."""

    symbols: int = Field(3, ge=1, le=64, description="OFDM symbols of the sampled signals")
    random_layout: bool = Field(True, description="nodes and targets drawn by the realisation, or as the layout has them")


VARIABLES = (
    Variable("lemma1_residual", "largest relative difference of the two sides of (16)"),
    Variable("theorem1_residual", "Fisher information: differentiated echoes against the map of sample covariances, relative"),
    Variable("without_cross_terms", "the same without the off-diagonal blocks of the covariances"),
    Variable("band_mean_residual", "the same with the covariance of the whole band on every subcarrier (001)"),
    Variable("proposition1_residual", "the same with orthogonal signals, by their diagonal blocks alone"),
    Variable("jacobian_residual", "Jacobian (45) against differences of angles and delays, relative"),
    Variable("appendix_error", "Appendix A as printed against differentiated echoes, relative"),
    Variable("appendix_v_dot_tau_error", "the same with the derivative of V along the delay alone as printed"),
    Variable("appendix_49a_error", "the same with (49a) alone as printed"),
    Variable("appendix_49b_error", "the same with (49b) alone as printed"),
    Variable("appendix_corrected_error", "the same with all three corrected"),
    Variable("whole_trace_ratio", "trace of the whole inverse Fisher information over that of the locations"),
    Variable("tof_reading_ratio", "root CRB by delays with unknown angles over that with known ones"),
    Variable("aoa_reading_ratio", "root CRB by angles with unknown delays over that with known ones"),
    Variable("sinr_power_residual", "mean received power over node phases against the sum of the nodes' powers, relative"),
    Variable("theorem2_sinr_share", "SINR after (26) over that before, least of all users"),
    Variable("theorem2_least_eigenvalue", "least eigenvalue of R_nn - sum of (26), of the largest of R_nn"),
    Variable("printed_power", "power of the beams by (26)-(29), of the limit"),
    Variable("printed_sinr_share", "SINR of the beams by (26)-(29) over the promised one"),
    Variable("printed_crb_ratio", "CRB of the beams by (26)-(29) over the bound"),
    Variable("printed_negative_share", "part of (28) that (29) cuts: sum of its negative eigenvalues over that of their sizes"),
    Variable("theorem3_sinr_share", "SINR of the beams by (33)-(34) over the promised one"),
    Variable("theorem3_least_eigenvalue", "least eigenvalue of (34), of the largest of the covariance"),
    Variable("theorem3_crb_change", "relative change of the CRB by (33)-(34)"),
    Variable("beamforming_spread_sinr_share", "SINR of the beams by (33), what is left spread by (40), over the promised one"),
    Variable("beamforming_dropped_crb_ratio", "objective of the beams by (33) without the remainder over the relaxed optimum"),
    Variable("beamforming_true_crb_ratio", "CRB of the relaxed beamforming design as transmitted over its objective"),
    Variable("beamforming_to_orthogonal", "CRB of the beamforming design as transmitted over that of the orthogonal one"),
    Variable("tof_band_ratio", "root CRB by delays: one covariance for the band over one per subcarrier"),
    Variable("aoa_band_ratio", "root CRB by angles: one covariance for the band over one per subcarrier"),
    Variable("tof_beam_gain", "root CRB by delays: even power over one optimised covariance for the band"),
    Variable("variables_unconstrained_ratio", "real variables of (24) over (42)"),
    Variable("variables_orthogonal_ratio", "real variables of (32) over (43)"),
    Variable("variables_beamforming_ratio", "real variables of (39) over (44)"),
    Variable("variables_block_level_ratio", "real variables of (18) of 001 over (U + 1) M_t^2 N"),
    Variable("solved_unconstrained_ratio", "real variables of the tight relaxation that is solved here over (42)"),
    Variable("solved_orthogonal_ratio", "real variables of the orthogonal program that is solved here over (43)"),
    Variable("solved_beamforming_ratio", "real variables of the beamforming program that is solved here over (44)"),
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
        """One result per scenario."""
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
    # One stream per node and symbol, so that more of either leave the others as they are.
    shape = (problem.antennas, problem.subcarriers)
    waveform = np.array(
        [
            [complex_normal(stream(scenario.channel.seed, "theory-signal", symbol=t, node=n, **entity), shape)
             for n in range(problem.nodes)]
            for t in range(options.symbols)
        ]
    )  # fmt: skip
    result: dict[str, Any] = signal_residuals(problem, waveform) | variable_counts(problem)
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


def sample_covariances(waveform: Complex) -> Complex:
    """``R_l``, the mean of x_l x_l^H over symbols, of a waveform [T, N, M_t, L]: shape [L, N M_t, N M_t]."""
    x = waveform.transpose(0, 3, 1, 2).reshape(len(waveform), waveform.shape[3], -1)
    return np.einsum("tli,tlj->lij", x, x.conj()) / len(waveform)


def signal_residuals(problem: DesignProblem, waveform: Complex) -> dict[str, float]:
    """Lemma 1, Theorem 1, Proposition 1 and Appendix A for a sampled signal [T, N, M_t, L]."""
    model = problem.sensing
    derivatives = mean_derivatives(model)
    same_node = np.kron(np.eye(problem.nodes), np.ones((problem.antennas, problem.antennas)))
    covariances = sample_covariances(waveform)
    exact = differentiated_information(model, waveform)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))

    def error(information: Float) -> float:
        return float(np.abs((information - exact) / scale).max())

    def by_map(given: Complex) -> Float:
        return fisher_information(derivatives, given, model.noise_power)

    owner = np.arange(problem.subcarriers) % problem.nodes
    interleaved = waveform * (owner == np.arange(problem.nodes)[:, np.newaxis, np.newaxis])
    of_owners = differentiated_information(model, interleaved)
    size = np.sqrt(np.outer(np.diag(of_owners), np.diag(of_owners)))
    of_blocks = by_map(sample_covariances(interleaved) * same_node)
    return {
        "lemma1_residual": _lemma_1(problem, waveform),
        "theorem1_residual": error(by_map(covariances)),
        "without_cross_terms": error(by_map(covariances * same_node)),
        "band_mean_residual": error(by_map(covariances.mean(axis=0, keepdims=True) + 0 * covariances)),
        "proposition1_residual": float(np.abs((of_blocks - of_owners) / size).max()),
        "jacobian_residual": _jacobian_residual(problem),
        "sinr_power_residual": _power_residual(problem, waveform[0]),
        "appendix_error": error(appendix_information(model, waveform)),
        "appendix_corrected_error": error(appendix_information(model, waveform, ERRATA)),
    } | {
        f"appendix_{name.replace('-', '_')}_error": error(
            appendix_information(model, waveform, [other for other in ERRATA if other != name])
        )
        for name in ERRATA
    }  # fmt: skip


def _lemma_1(problem: DesignProblem, waveform: Complex) -> float:
    """Largest difference of the two sides of (16), V from (6) against the face-splitting products, of their size."""
    model, targets = problem.sensing, problem.targets
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    delay = delays_s(model.nodes_m, model.targets_m)
    transmit = steering_vector(angle, model.transmit_antennas).swapaxes(1, 2)
    worst, x = 0.0, waveform[0]

    def columns(left: Complex, right: Complex) -> Complex:
        return np.einsum("ac,bc->abc", left, right).reshape(-1, left.shape[1])

    unit = np.eye(problem.subcarriers, dtype=np.complex128)
    for n, i, j in np.ndindex(problem.nodes, problem.nodes, problem.nodes):
        d = [delay_vector(delay[n] + delay[m], model.subcarriers, model.bandwidth_hz).T for m in (i, j)]
        v = [(x[m].T @ transmit[m]) * turn for m, turn in zip((i, j), d, strict=True)]
        direct = v[0].conj().T @ v[1]
        sides = [columns(transmit[m], turn) for m, turn in zip((i, j), d, strict=True)]
        split = sides[0].conj().T @ columns(x[i].conj(), unit) @ columns(x[j], unit).T @ sides[1]
        size = float(np.linalg.norm(v[0]) * np.linalg.norm(v[1])) / targets
        worst = max(worst, float(np.abs(split - direct).max()) / size)
    return worst


def _jacobian_residual(problem: DesignProblem) -> float:
    """Largest difference of (45) from differences of angles and delays, both in units of the largest of their kind."""
    model, targets, step = problem.sensing, problem.targets, 1e-4
    printed = location_jacobian(model)[: 2 * targets, : 2 * targets * len(model.nodes_m)]
    rows = []
    for axis, k in np.ndindex(2, targets):
        ends = []
        for sign in (1.0, -1.0):
            moved = model.targets_m.copy()
            moved[k, axis] += sign * step
            angle, delay = angles_rad(model.nodes_m, moved, model.orientation), delays_s(model.nodes_m, moved)
            ends.append((np.exp(1j * angle), delay))
        # By way of unit vectors: angles jump at the back of an array.
        turned = np.angle(ends[0][0] / ends[1][0])
        rows.append(np.concatenate([turned.ravel(), (ends[0][1] - ends[1][1]).ravel()]) / (2.0 * step))
    numeric, half = np.array(rows), printed.shape[1] // 2
    kinds = (slice(0, half), slice(half, None))
    return max(float(np.abs(numeric[:, kind] - printed[:, kind]).max() / np.abs(printed[:, kind]).max()) for kind in kinds)


def _power_residual(problem: DesignProblem, signal: Complex) -> float:
    """Received power averaged over node phases (roots of unity, exact for what is quadratic) against the sum behind (7)."""
    x = signal.transpose(2, 0, 1).reshape(problem.subcarriers, -1)
    expected = received_power(problem.channels, np.einsum("li,lj->lij", x, x.conj()))
    heard = np.einsum("nulm,nml->nul", problem.channels.conj(), signal)
    code = scrambling(problem.nodes, problem.nodes)
    mean = (np.abs(np.einsum("nt,nul->tul", code, heard)) ** 2).mean(axis=0)
    return float(np.abs(mean / expected - 1.0).max())


def variable_counts(problem: DesignProblem) -> dict[str, float]:
    """Real parameters of the Hermitian variables of the papers' programs, and of what is solved here, over the printed numbers.

    (24), (32) and (39) of 002 over (42) to (44), and (18) of 001 (``block_level``) over its number, counted from the parts of
    the designs; the bounds t_i, which the papers leave out, are not counted.
    """
    subcarriers, users, nodes, m2 = problem.subcarriers, problem.users, problem.nodes, problem.antennas**2
    printed = {
        "block_level": (users + 1) * m2 * nodes,
        "unconstrained": m2 * nodes**2 * subcarriers + m2 * nodes * users * subcarriers,
        "orthogonal": m2 * (subcarriers + users * subcarriers),
        "beamforming": m2 * (nodes + users * subcarriers),
    }
    together, averaged = unconstrained_tight.structure(problem).parts, beamforming.structure(problem)
    apart, owned = phase_agnostic.structure(problem), orthogonal.structure(problem).parts
    first = [members[0] for members in averaged.shared]
    of_node = [part for part in averaged.parts if part.subcarriers[0] in first]
    counted = {
        "block_level": (1 + users) * _reals(block_level.structure(problem).parts),
        "unconstrained": _reals(together) + users * _reals(apart.parts),
        "orthogonal": (1 + users) * _reals(owned),
        "beamforming": _reals(of_node) + users * _reals(averaged.parts),
    }
    solved = {"unconstrained": together, "orthogonal": owned, "beamforming": averaged.parts}
    result = {f"variables_{name}_ratio": counted[name] / q for name, q in printed.items()}
    result |= {f"solved_{name}_ratio": users * _reals(parts) / printed[name] for name, parts in solved.items()}
    return result | {"beamforming_saving": printed["orthogonal"] / printed["beamforming"] / (subcarriers / nodes)}


def _reals(parts: Sequence[Part]) -> int:
    """Real parameters of one Hermitian matrix per part."""
    return sum(len(part.antennas) ** 2 for part in parts)


def bound_readings(problem: DesignProblem) -> dict[str, float]:
    """What the trace (13) of everything has beside the locations, and both readings of one kind of measurement; even power."""
    even = isotropic(problem).sum(axis=0)
    information = problem.information(even)
    whole = localization_crb(information, len(information) // 2)
    crb = {
        kind: location_crb_m2(replace(problem, localization=kind), even) for kind in ("tof", "tof_nui", "aoa", "aoa_nui")
    }  # fmt: skip
    return {
        "whole_trace_ratio": whole / localization_crb(information, problem.targets),
        "tof_reading_ratio": float(np.sqrt(crb["tof_nui"] / crb["tof"])),
        "aoa_reading_ratio": float(np.sqrt(crb["aoa_nui"] / crb["aoa"])),
    }


def band_ratios(problem: DesignProblem) -> dict[str, float]:
    """What one covariance for the band costs delays and angles, and what it still gives delays over even power."""
    result = {}
    kinds: tuple[Localization, ...] = ("tof", "aoa")
    for kind in kinds:
        mode = replace(problem, localization=kind)
        one, each = (
            Designer(mode, "phase-agnostic", clusters=clusters).design(QUIET_SINR).certificate.value for clusters in (1, 0)
        )
        result[f"{kind}_band_ratio"] = float(np.sqrt(one / each))
        if kind == "tof":
            result["tof_beam_gain"] = float(np.sqrt(location_crb_m2(mode, isotropic(mode).sum(axis=0)) / one))
    return result


def _from_unconstrained(designer: Designer, design: Design, sinr: float) -> dict[str, float]:
    """Theorem 2 at an optimum of (24) (for more than one user: a feasible point of it), and (26)-(29) as printed."""
    problem, streams = designer.problem, _streams(design)
    transmitted, beams = streams.sum(axis=0), node_beams(problem, streams)
    rank_one = np.einsum("uli,ulj->ulij", beams, beams.conj())
    before, after = problem.sinr(streams, transmitted), problem.sinr(rank_one, transmitted)
    rest = transmitted - rank_one.sum(axis=0)
    of_node = [problem.node_antennas(node) for node in range(problem.nodes)]
    blocks = [(slice(None), mine[:, np.newaxis], mine) for mine in of_node]
    values = np.linalg.eigvalsh(rest)
    printed = designer.extracted_as_printed(design)
    return {
        "theorem2_sinr_share": float((after / before).min()),
        "theorem2_least_eigenvalue": min(_least_eigenvalue(rest[block], transmitted[block]) for block in blocks),
        "printed_power": printed.power, "printed_sinr_share": printed.min_sinr / sinr,
        "printed_crb_ratio": printed.crb_m2 / design.certificate.dual_bound,
        "printed_negative_share": float(-values[values < 0].sum() / np.abs(values).sum()),
    }  # fmt: skip


def _from_orthogonal(designer: Designer, design: Design, sinr: float) -> dict[str, float]:
    """Theorem 3: (33) and (34) at the optimum of (32); of the remainder what can be sent, its positive part."""
    streams = _streams(design)
    beams, remainder = exact_beams(designer.problem, designer.structure, streams)
    values, vectors = np.linalg.eigh(remainder)
    kept = (vectors * np.maximum(values, 0.0)[:, np.newaxis]) @ vectors.conj().swapaxes(-1, -2)
    sent = designer.sent(beams, kept)
    return {
        "theorem3_sinr_share": sent.min_sinr / sinr,
        "theorem3_least_eigenvalue": _least_eigenvalue(remainder, streams.sum(axis=0)),
        "theorem3_crb_change": abs(sent.crb_m2 / design.certificate.value - 1.0),
        "orthogonal_crb_m2": design.certificate.value,
    }


def _from_beamforming(designer: Designer, design: Design, sinr: float) -> dict[str, float]:
    """(33) with (40) at the optimum of (39): the remainder of the beams spread over their node's subcarriers, or dropped."""
    problem, streams, value = designer.problem, _streams(design), design.certificate.value
    beams = node_beams(problem, streams)
    rank_one = np.einsum("uli,ulj->lij", beams, beams.conj()) * designer.structure.together(problem)
    spread = designer.structure.objective_covariances(streams.sum(axis=0) - rank_one)
    dropped = location_crb_m2(problem, designer.structure.objective_covariances(rank_one))
    return {
        "beamforming_spread_sinr_share": designer.sent(beams[np.newaxis], spread).min_sinr / sinr,
        "beamforming_dropped_crb_ratio": dropped / value,
        "beamforming_true_crb_ratio": design.delivered_crb_m2 / value,
        "beamforming_crb_m2": design.delivered_crb_m2,
    }


EXTRACTIONS = {
    "unconstrained-tight": _from_unconstrained, "orthogonal": _from_orthogonal, "beamforming": _from_beamforming,
}  # fmt: skip


def _streams(design: Design) -> Complex:
    assert design.streams is not None
    return design.streams


def _least_eigenvalue(matrices: Complex, whole: Complex) -> float:
    """Least eigenvalue of matrices [L, d, d], of the largest of other ones."""
    return float(np.linalg.eigvalsh(matrices).min() / np.linalg.eigvalsh(whole).max())


experiment = OfdmTheory()

"""Statements of 002 about its designs: theorems at relaxed optima, readings of the bound, counts of variables.

Three comparisons are made. Relaxed optima are compared with the rank-one signals extracted from them (Theorems 2 and 3; (26)
to (29); (33) with (40)). One covariance for the band is compared with one per subcarrier (Remarks 1 and 3). The counts of
Table II are compared with those of the programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.location import beamforming, block_level, orthogonal, phase_agnostic, unconstrained_tight
from disac.designs.location.baselines import isotropic
from disac.designs.location.beams import exact_beams, node_beams
from disac.designs.location.delivery import Design
from disac.designs.location.design import Designer
from disac.designs.location.judge import location_crb_m2
from disac.designs.location.problem import DesignProblem, Part
from disac.metrics.fisher import Localization, localization_crb

Complex = NDArray[np.complex128]

QUIET_SINR = 1e-3
"""SINR (linear) at which users cost almost no power. It is used where sensing alone is compared."""


def variable_counts(problem: DesignProblem) -> dict[str, float]:
    """Real parameters of the variables of the papers' programs and of the programs solved here, over the printed numbers.

    The ratios are (24), (32) and (39) of 002 over (42) to (44), and (18) of 001 (``block_level``) over its printed number. The
    parameters are counted from the parts of the designs. The bounds t_i are not counted, as in the papers.
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
    """Ratios of bounds at even power.

    The first ratio is the trace (13) over all parameters to the trace over the locations. The other two compare two readings of
    delays (``tof``) and of angles (``aoa``): with the other quantity unknown, and with it known.
    """
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
    """Ratios of bounds: one covariance for the band over one per subcarrier, and even power over one covariance."""
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
    """Numbers of Theorem 2 and of (26)-(29) as printed, at an optimum of (24); for several users at a feasible point."""
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
    """Numbers of Theorem 3: (33) and (34) at the optimum of (32). Only the positive part of the remainder can be sent."""
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
    """Numbers of (33) with (40) at the optimum of (39): the remainder is spread over the node's subcarriers, or dropped."""
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
    """Least eigenvalue of matrices [L, d, d], relative to the largest eigenvalue of other matrices."""
    return float(np.linalg.eigvalsh(matrices).min() / np.linalg.eigvalsh(whole).max())

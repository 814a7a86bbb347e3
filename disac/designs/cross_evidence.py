"""Evidence of the designs on the common network: what is stored beside a signal, and what it proves again without a solver.

A design of the whole band (002, 001) stores the multipliers of its limits. A design of 000 stores, for each subcarrier, the
multipliers and the numbers of a proof. For a refusal the multipliers, or the proof of one subcarrier, show that there is no
design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.beams import mean_covariance
from disac.designs.location.delivery import Delivered, Design
from disac.designs.location.feasibility import proven_need
from disac.designs.location.judge import Judge
from disac.designs.location.problem import DesignProblem, Structure
from disac.designs.robust.band import BandDesign, BandProblem, judged_in_band, proven_in_band
from disac.designs.robust.choices import Robustness
from disac.designs.robust.guards import Margins, arc_guarded, arc_guarded_part
from disac.designs.robust.illumination import Illumination
from disac.designs.robust.known_data import Signals, judged_signals, proven_by_cuts
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.proofs import enough_together
from disac.designs.robust.total_power import RobustDesign
from disac.designs.robust.zero_forcing import zero_forcing
from disac.optim.certificate import GAP_LIMIT, VIOLATION_LIMIT, Certificate

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

ROUNDING = 1e-6
"""Largest absolute change of a relative gap, and relative change of a value or bound, by rounding: a thousandth of the gap that
is allowed. Proofs of all subcarriers at once differ by 2e-8 from those of one, where prices are small."""

POWER_DUAL, SINR_DUAL, FISHER_DUAL = "power_dual", "sinr_dual", "fisher_dual"
FORM = "its form, one beam for each user and node,"
USER_DUAL, PROOF, PROOF_NUMBERS = "user_dual", "proof", "proof_numbers"
PRICES = "node_prices"


@dataclass(frozen=True)
class Record:
    """Covariances of a design: ``users`` R_{c,u,l} [U, L, D, D] and ``sensing`` R_{s,l} [L, D, D], W per resource element.

    ``status`` and ``message`` are those of the certificate. Covariances are absent if the design has none. ``value`` is the
    design's objective at these covariances, and ``bound`` what no design of its kind exceeds or falls below: square of the
    location error in m^2, divergence in nat, or SINR. ``gap`` is their relative gap. If each subcarrier is a separate design,
    value and bound are means over the subcarriers, and the gap is the largest of any subcarrier. ``evidence`` are arrays that
    prove the bound, or that there is no design, by the names of the variables that store them. ``factors`` are what
    :func:`factored` gives of both covariances, if the design has computed it already.
    """

    status: str
    message: str
    users: Complex | None = None
    sensing: Complex | None = None
    gap: float = float("nan")
    value: float = float("nan")
    bound: float = float("nan")
    evidence: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    factors: tuple[Complex, Complex] | None = None


def factored(covariances: Complex) -> Complex:
    """Streams F [..., D, D] with ``F F^H`` = R, strongest first. Residues of rounding are removed: few streams need storage."""
    values, vectors = np.linalg.eigh(covariances)
    kept = np.where(values > 1e-13 * max(float(values.max()), 0.0), values, 0.0)
    return np.ascontiguousarray((vectors * np.sqrt(kept)[..., np.newaxis, :])[..., ::-1])


def covariances_of(streams: Complex) -> Complex:
    """Covariances ``F F^H`` [..., D, D] of streams F."""
    covariances: Complex = streams @ streams.conj().swapaxes(-1, -2)
    return covariances


def differing(claimed: Record, again: Record, violations: Mapping[str, float]) -> list[str]:
    """Sentences on what a record claims and its signal and multipliers do not show.

    Parameters
    ----------
    again
        Value, bound and gap, computed again.
    violations
        Largest relative violation by the constraint's name. Only a record that is ``ok`` promises to keep them.
    """
    wrong = [
        f"{name} is stored as {told:.9g}, the stored signal and multipliers give {found:.9g}"
        for name, told, found in (
            ("design_value", claimed.value, again.value),
            ("design_bound", claimed.bound, again.bound),
        )
        if not np.isclose(told, found, rtol=ROUNDING, atol=0.0)
    ]
    if not again.gap <= claimed.gap + ROUNDING:
        told, found = claimed.gap, again.gap
        wrong.append(f"relative_gap is stored as {told:.9g}, the stored signal and multipliers prove {found:.9g} only")
    if claimed.status == "ok" and not again.gap <= GAP_LIMIT + ROUNDING:
        wrong.append(f"the relative gap is {again.gap:.2g}, and the cell is 'ok'")
    return wrong + violated(claimed, violations)


def violated(claimed: Record, violations: Mapping[str, float]) -> list[str]:
    """Sentences on constraints that the signal of a record with status ``ok`` violates, by the constraint's name."""
    if claimed.status != "ok":
        return []
    return [
        f"the stored signal violates {what} by {violation:.2g}, relative, and the cell is 'ok'"
        for what, violation in violations.items()
        if not violation <= VIOLATION_LIMIT + ROUNDING
    ]


def _violations(certificates: Sequence[Certificate]) -> dict[str, float]:
    return {
        "a power limit": max(each.power_violation for each in certificates),
        "the SINR": max(each.sinr_violation for each in certificates),
    }


def unproven_refusal(need: float) -> list[str]:
    """A sentence if a refusal's multipliers prove no need of more than the power."""
    if need > 1.0:
        return []
    return [f"the stored multipliers prove a need of {need:.6g} times the power only, and the cell is 'infeasible'"]


# Designs of the whole band.


def band_evidence(found: Design) -> dict[str, NDArray[Any]]:
    """Multipliers of a design of the whole band, by their names; none where it has failed."""
    if found.power_dual is None or found.sinr_dual is None:
        return {}
    evidence = {POWER_DUAL: np.atleast_2d(found.power_dual), SINR_DUAL: found.sinr_dual}
    return evidence if found.fisher_dual is None else evidence | {FISHER_DUAL: found.fisher_dual}


def band_record(judge: Judge, found: Design, sent: Delivered, sinr: float) -> Record:
    """The record of a design of the whole band and of the signal that is sent for it.

    The certificate is that of the signal's own covariances, beside the bound of the design. The signal has the design's
    objective if it keeps the covariances. The beams of ``beamforming`` alone need not: with few users and subcarriers for each
    node they have too few directions.
    """
    told, evidence = found.certificate, band_evidence(found)
    if found.streams is None:
        return Record(told.status, told.message, evidence=evidence)
    if sent.beams is None or sent.remainder is None:
        return Record("failed", f"No beams were found that send the design's covariances. {told.message}".strip())
    problem = judge.problem
    own = mean_covariance(sent.beams) * judge.structure.together(problem)
    factors = factored(own), factored(sent.remainder)
    # What is removed as residue counts where a signal hardly locates the target.
    users, sensing = covariances_of(factors[0]), covariances_of(factors[1])
    whole = users.sum(axis=0) + sensing
    certificate = replace(
        told, value=judge.crb_m2(judge.structure.objective_covariances(whole)),
        power_violation=max(0.0, problem.power_share(whole) - 1.0),
        sinr_violation=max(0.0, 1.0 - float(problem.sinr(users, whole).min()) / sinr),
    ).judged()  # fmt: skip
    if np.isposinf(certificate.value):
        sentence = "The design was delivered, but the echoes of its beams do not locate the target."
        certificate = replace(certificate, status="inaccurate", message=sentence)
    return Record(
        certificate.status, certificate.message, users, sensing, gap_of(certificate), certificate.value, certificate.dual_bound,
        evidence, factors,
    )  # fmt: skip


def gap_of(certificate: Certificate) -> float:
    """Relative gap; infinite for a signal that does not locate the target."""
    return float("inf") if np.isposinf(certificate.value) else certificate.relative_gap


def beyond_limit(problem: DesignProblem, claimed: Record) -> list[str]:
    """A sentence if a signal without users breaks the power limit, or if its design is said to have none."""
    if claimed.users is None or claimed.sensing is None:
        return ["the signal without users needs no proof, and the cell is 'infeasible'"]
    over = problem.power_share(claimed.users.sum(axis=0) + claimed.sensing) - 1.0
    return [] if over <= VIOLATION_LIMIT else [f"the stored signal violates a power limit by {over:.2g}, relative"]


def unproven_band(judge: Judge, sinr: float, claimed: Record) -> list[str]:
    """Sentences on what a design of the whole band claims and does not prove.

    Parameters
    ----------
    judge
        The judge of the design's problem and structure.
    sinr
        Promised SINR, linear.
    claimed
        The record with the evidence ``power_dual`` [1 or L, D], ``sinr_dual`` [U, L] and, of a signal, ``fisher_dual`` [P, 2K].
    """
    problem, evidence = judge.problem, claimed.evidence
    multipliers = evidence[POWER_DUAL].reshape(problem.power_dual_shape), evidence[SINR_DUAL]
    if claimed.users is None or claimed.sensing is None:
        return unproven_refusal(judge.least_power(sinr, *multipliers))
    streams = np.concatenate([claimed.users, claimed.sensing[np.newaxis]])
    again, _, _ = judge.judged(sinr, streams, *multipliers, evidence[FISHER_DUAL])
    found = Record(again.status, "", gap=gap_of(again), value=again.value, bound=again.dual_bound)
    return differing(claimed, found, _violations([again]))


# Designs of single subcarriers.


def tone_evidence(
    designs: Mapping[int, tuple[RobustProblem, RobustDesign]], shape: tuple[int, int]
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Evidence of designs of 000 on the subcarriers of a band.

    Of a proof by several simplices those are kept that suffice for its bound.

    Parameters
    ----------
    designs
        Problem and design by subcarrier. A refusal needs only the subcarrier that is refused.
    shape
        Numbers of users and subcarriers.

    Returns
    -------
    dict
        ``user_dual`` [U, L], NaN where there is none; ``proof``, the numbers of one subcarrier after another; and
        ``proof_numbers`` [L], how many they are, -1 where the subcarrier has no evidence.
    """
    duals, counts, proofs = np.full(shape, np.nan), np.full(shape[1], -1, dtype=np.int64), [np.zeros(0)]
    for tone, (problem, design) in sorted(designs.items()):
        proof = np.zeros(0) if design.proof is None else design.proof
        if design.simplices:
            enough = enough_together(problem, design.simplices, design.certificate.dual_bound)
            proof = proof.reshape(len(design.simplices), -1)[enough].reshape(-1)
        if design.user_dual is not None:
            duals[:, tone] = design.user_dual
        counts[tone] = len(proof)
        proofs.append(proof)
    return {USER_DUAL: duals, PROOF: np.concatenate(proofs), PROOF_NUMBERS: counts}


def unproven_tones(
    problems: Sequence[RobustProblem], choice: Robustness, sinr: float, claimed: Record
) -> list[str]:  # fmt: skip
    """Sentences on what designs of 000 on the subcarriers of a band claim and do not prove.

    Parameters
    ----------
    problems
        One for each subcarrier.
    claimed
        The record with the evidence of :func:`tone_evidence`.
    """
    counts = claimed.evidence[PROOF_NUMBERS]
    known = np.flatnonzero(counts >= 0)
    ends = np.cumsum(np.maximum(counts, 0))
    if len(claimed.evidence[PROOF]) != ends[-1]:
        return [f"the proofs of the subcarriers have {ends[-1]} numbers, {len(claimed.evidence[PROOF])} are stored"]

    def proven(tone: int) -> tuple[float, float]:
        own = claimed.evidence[PROOF][ends[tone] - counts[tone] : ends[tone]]
        return choice.prove(problems[tone], sinr, "cones", claimed.evidence[USER_DUAL][:, tone], own)

    if claimed.users is None or claimed.sensing is None:
        return unproven_refusal(max((proven(int(tone))[0] for tone in known), default=0.0))
    if len(known) < len(counts):
        return [f"subcarrier {int(np.argmin(counts))} has no evidence of its bound"]
    judged, rest = [], 0.0
    for tone, problem in enumerate(problems):
        beams, left = beams_of(problem, choice.guarding(), claimed.users[:, tone], claimed.sensing[tone])
        judged.append(choice.judge(problem, sinr, beams, proven(tone)[1]))
        rest = max(rest, left)
    return differing(claimed, of_all(judged), {**_violations(judged), FORM: rest})


def unproven_known_data(problems: Sequence[RobustProblem], sinr: float, claimed: Record) -> list[str]:
    """Sentences on what designs for which everything known counts claim and do not prove.

    Parameters
    ----------
    problems
        One for each subcarrier.
    claimed
        The record with the evidence of :func:`tone_evidence`: the cuts of each subcarrier.
    """
    counts, numbers = claimed.evidence[PROOF_NUMBERS], claimed.evidence[PROOF]
    ends = np.cumsum(np.maximum(counts, 0))
    sizes = [Illumination([problem], sinr).evidence_size for problem in problems]
    if len(numbers) != ends[-1] or any(count > 0 and count % size for count, size in zip(counts, sizes, strict=True)):
        return [f"the proofs of the subcarriers have {ends[-1]} numbers, {len(numbers)} are stored, or they are no cuts"]
    proven = {
        tone: proven_by_cuts(problem, sinr, numbers[ends[tone] - counts[tone] : ends[tone]])
        for tone, problem in enumerate(problems)
        if counts[tone] > 0
    }
    if claimed.users is None or claimed.sensing is None:
        return unproven_refusal(max((least for least, _ in proven.values()), default=0.0))
    if len(proven) < len(problems):
        return [f"subcarrier {int(np.argmin(counts))} has no evidence of its bound"]
    judged, rest = [], 0.0
    for tone, problem in enumerate(problems):
        shape = (-1, problem.nodes, problem.antennas)
        w = _strongest(claimed.users[:, tone])
        left = claimed.users[:, tone] - w[..., np.newaxis] * w[:, np.newaxis].conj()
        spent = float(np.real(np.einsum("kii->", claimed.users[:, tone]) + np.trace(claimed.sensing[tone])))
        rest = max(rest, float(np.abs(left).sum()) / max(spent, 1e-300))
        signals = Signals(w.reshape(shape), factored(claimed.sensing[tone]).T.reshape(shape))
        judged.append(judged_signals(problem, sinr, signals, proven[tone][1]))
    return differing(claimed, of_all(judged), {**_violations(judged), "one beam for each user": rest})


def of_all(certificates: Sequence[Certificate]) -> Record:
    """Largest gap, and means of value and bound, of the certificates of all subcarriers."""
    gap = float(np.maximum(0.0, np.max([each.relative_gap for each in certificates])))
    value, bound = (float(np.mean([getattr(each, name) for each in certificates])) for name in ("value", "dual_bound"))
    return Record("ok", "", gap=gap, value=value, bound=bound)


def unproven_zero_forcing(
    problems: Sequence[RobustProblem], choice: Robustness, sinr: float, claimed: Record
) -> list[str]:  # fmt: skip
    """Sentences on constraints that zero forcing breaks. It has no bound. For a refusal its grid is computed again."""
    margins = choice.guarding()
    if claimed.users is None or claimed.sensing is None:
        serves = all(zero_forcing(problem, margins, sinr).beams is not None for problem in problems)
        return ["zero forcing serves the users on every subcarrier, and the cell is 'infeasible'"] if serves else []
    judged, rest = [], 0.0
    for tone, problem in enumerate(problems):
        beams, left = beams_of(problem, margins, claimed.users[:, tone], claimed.sensing[tone])
        judged.append(choice.judge(problem, sinr, beams, float("inf")))
        rest = max(rest, left)
    return violated(claimed, {**_violations(judged), FORM: rest})


def unproven_largest(problem: DesignProblem, structure: Structure, claimed: Record) -> list[str]:
    """Sentences on what a design of the largest SINR claims and does not prove: its SINR, and that none is beyond the bound."""
    if claimed.users is None:
        return ["users who hear a node have a largest SINR, and the cell is 'infeasible'"]
    reached = float(problem.sinr(claimed.users, claimed.users.sum(axis=0)).min())
    power = claimed.evidence[POWER_DUAL].reshape(problem.power_dual_shape)
    need = proven_need(problem, structure, claimed.bound, power, claimed.evidence[SINR_DUAL])
    bound = claimed.bound if need.proves_infeasible else float("inf")
    again = Record("ok", "", gap=bound / reached - 1.0, value=reached, bound=bound)
    return differing(claimed, again, {}) + beyond_limit(problem, claimed)


# Designs of 000 with the power divided freely between subcarriers.


def price_evidence(found: BandDesign) -> dict[str, NDArray[Any]]:
    """The prices that prove a design of 000 in a band, or its refusal; none where it has failed."""
    return {} if found.prices is None else {PRICES: found.prices}


def unproven_divergence(band: BandProblem, margins: Margins, sinr: float, claimed: Record) -> list[str]:
    """Sentences on what a design of 000 in a band claims and does not prove.

    Stored prices name simplices. Their multipliers are sought again, and checked in closed form
    (:func:`~disac.designs.robust.band.proven_in_band`).
    """
    need, bound = proven_in_band(band, margins, sinr, claimed.evidence[PRICES])
    if claimed.users is None or claimed.sensing is None:
        return unproven_refusal(need)
    pairs = [
        beams_of(tone, margins, claimed.users[:, number], claimed.sensing[number]) for number, tone in enumerate(band.tones)
    ]
    users, sensing = np.array([beams.users for beams, _ in pairs]), np.array([beams.sensing for beams, _ in pairs])
    again = judged_in_band(band, margins, sinr, users, sensing, bound, -1).certificate
    found = Record(again.status, "", gap=again.relative_gap, value=again.value, bound=bound)
    return differing(claimed, found, {**_violations([again]), FORM: max(rest for _, rest in pairs)})


def beams_of(
    problem: RobustProblem, margins: Margins, users: Complex, sensing: Complex
) -> tuple[Beams, float]:  # fmt: skip
    """Beams with the covariances of users [K, D, D] and of sensing [D, D], and the share of the signal that they leave out.

    A covariance does not tell the phase of its beam. Where phases are guarded, each user's beam has the phase with the largest
    guarded amplitude.
    """
    nodes, antennas = problem.nodes, problem.antennas
    blocks = sensing.reshape(nodes, antennas, nodes, antennas)[np.arange(nodes), :, np.arange(nodes)]
    w, v = _strongest(users), _strongest(blocks)
    left = users - w[..., np.newaxis] * w[:, np.newaxis].conj()
    apart = sensing.copy()
    for n in range(nodes):
        mine = slice(n * antennas, (n + 1) * antennas)
        apart[mine, mine] -= np.outer(v[n], v[n].conj())
    spent = float(np.real(np.einsum("kii->", users) + np.trace(sensing)))
    rest = float(np.abs(left).sum() + np.abs(apart).sum()) / max(spent, 1e-300)
    own = w.reshape(-1, nodes, antennas)
    arc = arc_guarded(problem) if margins.guards_phases else 0.0
    if arc > 0.0:
        heard = np.einsum("nkm,knm->kn", problem.channels.conj(), own)
        own = own * np.exp(1j * np.array([best_turn_rad(each, arc) for each in heard]))[:, np.newaxis, np.newaxis]
    return Beams(own, v), rest


def _strongest(covariances: Complex) -> Complex:
    """Beams [..., d] of the strongest directions of covariances [..., d, d]."""
    values, vectors = np.linalg.eigh(covariances)
    beams: Complex = np.sqrt(np.maximum(values[..., -1:], 0.0)) * vectors[..., -1]
    return beams


def best_turn_rad(received: Complex, arc_rad: float) -> float:
    """Turn phi of a user's signal with the largest guarded amplitude ``sum_n min_c Re(c e^{j phi} y_n)``, rad.

    The corners c are those of :func:`~disac.designs.robust.guards.arc_guarded_part`. Between the turns at which a node's corner
    changes the sum is one sinusoid, so that the largest value is at such a turn or at the top of a sinusoid.

    Parameters
    ----------
    received
        Parts y_n of the nodes, [N].
    arc_rad
        Largest phase error, above zero.
    """
    away = np.angle(received)
    changes = np.sort(np.concatenate([-away, np.pi - arc_rad - away, arc_rad - np.pi - away]) % (2.0 * np.pi))
    between = (changes + np.append(changes[1:], changes[0] + 2.0 * np.pi)) / 2.0
    turned = received * np.exp(1j * between)[:, np.newaxis]
    corners = np.array([np.exp(1j * arc_rad), np.exp(-1j * arc_rad), 1.0 / np.cos(arc_rad)])
    least = corners[np.argmin(np.real(corners * turned[..., np.newaxis]), axis=-1)]
    tried = np.concatenate([changes, -np.angle((least * received).sum(axis=1))])
    values = arc_guarded_part(received * np.exp(1j * tried)[:, np.newaxis], arc_rad).sum(axis=1)
    return float(tried[np.argmax(values)])

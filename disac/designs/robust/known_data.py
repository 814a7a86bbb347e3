"""Coherent designs where the receivers know the data: everything that is sent counts as light on the target.

000 maximises the divergence ``F(B t)`` of its sensing signal alone. Where receivers know what the users are sent,
``t_n = a_n^T [sum_k R_k + R_s]_nn a_n^*``: the users' signals count, too. The SINR is the coherent one of 000 at known
channels: amplitudes of the nodes add up. R_s is a covariance of all antennas together. The sensing signals of 000, independent
between nodes, are a special case.

F is convex and increasing in t, and the reachable t form a convex set, the image of covariances under a linear map. Its support
function is a small semidefinite program (:mod:`disac.designs.robust.illumination`), and each program proves a half-space
``g^T t <= v(g)`` around it. F is largest at a vertex of what the half-spaces have in common, which bounds every design. The
tangent of F at the last design, or at that vertex, gives the next program. No method is known that closes the gap for certain.

One beam for each user loses nothing: ``w_k = R_k h_k / sqrt(h_k^H R_k h_k)`` receives what R_k does. By the inequality of
Cauchy and Schwarz ``R_k - w_k w_k^H`` is positive semidefinite. As sensing signal it leaves the sum of all covariances as it
is (the step of X. Liu et al., *Joint Transmit Beamforming for Multiuser MIMO Communications and MIMO Radar*, 2020).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.illumination import Answers, Illumination
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.total_power import unheard_dual
from disac.optim.certificate import GAP_LIMIT, Certificate
from disac.optim.polytope import polytope_vertices

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

CUTS = 60
"""Most programs of one problem."""

CLOSED = 0.999 * GAP_LIMIT
"""Relative distance between design and bound at which no further program is asked for."""

CLIMB = 1e-3
"""A climb ends if a step gains less than this share of ``CLOSED``."""

ACCURACY = 1e-5
"""Relative accuracy of a program: well below the allowed gap."""

RESIDUE = 1e-13
"""Least eigenvalue of a sensing stream, relative to the largest."""


@dataclass(frozen=True)
class Signals:
    """``users`` w_{c,k} [K, N, M] and ``sensing`` streams [S, N, M], in the unit of the power's root.

    Different streams are uncorrelated. Each is sent by all nodes in step.
    """

    users: Complex
    sensing: Complex

    def lit(self, steering: Complex) -> Float:
        """``t_n`` of all streams together, [N]."""
        every = np.concatenate([self.users, self.sensing])
        return (np.abs(np.einsum("nm,snm->sn", steering, every)) ** 2).sum(axis=0)

    def sinr(self, channels: Complex, noise_power: float) -> Float:
        """SINR of each user for channels h_{n,k} [N, K, M], amplitudes added, linear, [K]."""
        heard = np.abs(np.einsum("nkm,snm->ks", channels.conj(), np.concatenate([self.users, self.sensing]))) ** 2
        wanted = np.diagonal(heard)
        return wanted / (heard.sum(axis=1) - wanted + noise_power)


@dataclass(frozen=True)
class KnownDataDesign:
    """Delivered signals, with their certificate; or the proof that there are none.

    ``proof`` are the cuts (g [N], prices lambda, multipliers q [K]), one after another, that prove ``dual_bound`` or the
    infeasibility (:func:`proven_by_cuts`). ``least_power`` is the share of the limits that they prove users to take.
    """

    certificate: Certificate
    signals: Signals | None = None
    proof: Float | None = None
    least_power: float = float("nan")


def solve_known_data(problems: Sequence[RobustProblem], sinr: float, closed: float = CLOSED) -> list[KnownDataDesign]:
    """Design each of several problems of equal shapes and limit for an SINR target (linear).

    The programs of all problems are solved together, step by step. What is found for a problem does not depend on the others.

    Parameters
    ----------
    closed
        Relative distance between design and bound at which a problem is closed.

    Returns
    -------
    list of KnownDataDesign
        ``ok``; ``inaccurate`` where the gap exceeds :data:`disac.optim.certificate.GAP_LIMIT`; ``infeasible`` with its proof;
        ``failed`` without design and proof. The value is the divergence in nats.

    Raises
    ------
    ValueError
        If shapes or limits differ.
    """
    started = time.perf_counter()
    programs = Illumination(problems, sinr)
    searches = [_Search(programs, number, closed) for number in range(len(programs.problems))]
    while asking := [search for search in searches if search.direction is not None]:
        weights = np.array([search.direction for search in asking])
        answers = programs.furthest(weights, np.array([search.number for search in asking]), ACCURACY)
        for place, search in enumerate(asking):
            search.take(answers, place)
    return [search.design(started) for search in searches]


def proven_by_cuts(problem: RobustProblem, sinr: float, proof: Float) -> tuple[float, float]:
    """Bound that cuts (g, lambda, q), one after another, prove together. It holds for any numbers.

    Returns
    -------
    least_power
        Share of the limits that the users take at least; above one they cannot be served.
    bound
        Divergence, in nats, that no design exceeds.
    """
    programs = Illumination([problem], sinr)
    cuts = [_cut(programs, 0, each) for each in proof.reshape(-1, programs.evidence_size)]
    _, bound = _common_vertex(problem, cuts)
    return max(cut.least_power for cut in cuts), bound


@dataclass(frozen=True)
class _Cut:
    """``g^T t <= support``, t in units of the power, and the least share of the limits that its multipliers prove."""

    weights: Float
    support: float
    least_power: float


def _cut(programs: Illumination, number: int, evidence: Float) -> _Cut:
    nodes, budgets = programs.target.shape[1], programs.budgets
    known = np.maximum(np.nan_to_num(evidence, posinf=0.0, neginf=0.0), 0.0)
    weights, prices, q = np.split(known, [nodes, nodes + budgets])
    priced = programs.raised(number, weights, prices, q)
    spent = float(q.sum())
    return _Cut(weights, priced - spent, spent / priced if priced > 0 else 0.0)


def _common_vertex(problem: RobustProblem, cuts: Sequence[_Cut]) -> tuple[Float, float]:
    """The best vertex t [N] of what cuts and ``t >= 0`` have in common, and its divergence; zero if nothing is left."""
    if any(cut.support < 0.0 for cut in cuts):
        return np.zeros(problem.nodes), 0.0
    # A cut through the origin has no interior to search, and one without weights cuts nothing. The bound holds without them.
    kept = [cut for cut in cuts if cut.support > 0.0 and cut.weights.any()]
    normals = np.array([cut.weights for cut in kept]).reshape(-1, problem.nodes)
    supports = np.array([cut.support for cut in kept])
    if not (normals > 0).any(axis=0).all():
        return np.full(problem.nodes, np.inf), float("inf")
    vertices = polytope_vertices(normals, supports)
    values = problem.divergence(problem.power * vertices)
    best = int(np.argmax(values))
    return vertices[best], float(values[best])


def _boxes(problem: RobustProblem) -> list[Float]:
    """Evidence of what each node could put on the target with the whole of its limits, without regard to the users."""
    nodes, users, antennas = problem.nodes, problem.users, problem.antennas
    moduli = np.abs(problem.steering)
    silent = np.zeros(users)
    if problem.limit.joins_nodes:
        return [np.concatenate([1.0 / np.sum(moduli**2, axis=1), [1.0], silent])]
    found = []
    for n in range(nodes):
        prices = np.zeros((nodes, antennas))
        # The least prices with diag(lambda) >= c c^H: equal for all antennas, or as their own moduli.
        prices[n] = np.sum(moduli[n] ** 2) if problem.limit.joins_antennas else moduli[n] * moduli[n].sum()
        each = prices[:, 0] if problem.limit.joins_antennas else prices.reshape(-1)
        found.append(np.concatenate([np.eye(nodes)[n], each, silent]))
    return found


class _Search:
    """The best design of one problem so far, and the cuts that enclose all designs, each with its evidence."""

    def __init__(self, programs: Illumination, number: int, closed: float) -> None:
        self.programs, self.number, self.closed = programs, number, closed
        self.problem = problem = programs.problems[number]
        self.value, self.bound = -np.inf, np.inf
        self.corner = np.full(problem.nodes, np.nan)
        """Vertex at whose tangent a program was asked last."""
        self.covariances: Complex | None = None
        self.evidence: list[Float] = []
        self.cuts: list[_Cut] = []
        self.asked = 0
        self.refused = problem.unheard_user is not None
        self.direction: Float | None = None
        """Weights of the next program; None where nothing is left to ask."""
        if self.refused:
            self._keep(np.concatenate([np.zeros(problem.nodes), np.ones(programs.budgets), unheard_dual(problem)]))
            return
        for each in _boxes(problem):
            self._keep(each)
        self.direction = self._tangent(np.linalg.norm(problem.steering, axis=1) ** 2 / problem.nodes)

    def _keep(self, evidence: Float) -> None:
        self.evidence.append(evidence)
        self.cuts.append(_cut(self.programs, self.number, evidence))

    def _tangent(self, lit: Float) -> Float:
        """Gradient of the divergence at t, of unit length; equal weights where the divergence does not change."""
        slope = self.problem.echoes.gradient(self.problem.power * lit)
        length = float(np.linalg.norm(slope))
        return slope / length if length > 0 else np.full(len(slope), len(slope) ** -0.5)

    def take(self, answers: Answers, place: int) -> None:
        """Take the answer of the last program, and decide on the next one."""
        assert self.direction is not None
        weights = np.zeros_like(self.direction) if answers.refused[place] else self.direction
        self._keep(np.concatenate([weights, answers.prices[place], answers.multipliers[place]]))
        self.asked += 1
        self.direction = None
        if answers.refused[place]:
            self.refused = True
            return
        lit = answers.lit[place]
        reached = float(self.problem.divergence(self.problem.power * lit)) if answers.served[place] else -np.inf
        climbs = reached > self.value + CLIMB * self.closed * abs(self.value) if np.isfinite(self.value) else True
        if reached > self.value:
            self.value, self.covariances = reached, answers.covariances[place]
        vertex, self.bound = _common_vertex(self.problem, self.cuts)
        if self.bound <= self.value * (1.0 + self.closed) or self.asked >= CUTS:
            return
        if climbs and np.isfinite(reached):
            self.direction = self._tangent(lit)
        elif not np.array_equal(vertex, self.corner):
            # The same vertex would give the same program and the same answer.
            self.corner, self.direction = vertex, self._tangent(vertex)

    def design(self, started: float) -> KnownDataDesign:
        """The best design as it is delivered, or the proof that there is none."""
        proof, least = np.concatenate(self.evidence), max(cut.least_power for cut in self.cuts)
        seconds = time.perf_counter() - started
        if self.refused and least > 1.0:
            sentence = f"No covariances give every user the SINR: they take at least {least:.4g} times the power (checked)."
            certificate = Certificate("infeasible", sentence, dual_bound=0.0, seconds=seconds, maximised=True)
            return KnownDataDesign(certificate, None, proof, least)
        if self.covariances is None:
            found = "The solver found no covariances and no proof that there are none"
            sentence = f"{found}; they take at least {least:.6f} of the power."
            certificate = Certificate("failed", sentence, iterations=self.asked, seconds=seconds, maximised=True)
            return KnownDataDesign(certificate, None, proof, least)
        signals = self._signals(self.covariances)
        certificate = judged_signals(self.problem, self.programs.sinr, signals, self.bound)
        certificate = replace(certificate, iterations=self.asked, seconds=seconds)
        return KnownDataDesign(certificate, signals, proof, least)

    def _signals(self, covariances: Complex) -> Signals:
        """Beams and sensing streams of covariances R_k [K, d, d], in the unit of the power's root."""
        problem = self.problem
        heard, basis = self.programs.heard[self.number], self.programs.basis[self.number]
        received = np.einsum("kab,kb->ka", covariances, heard)
        wanted = np.real(np.einsum("ka,ka->k", heard.conj(), received))
        users = received / np.sqrt(wanted)[:, np.newaxis]
        rest = covariances.sum(axis=0) - users.T @ users.conj()
        values, vectors = np.linalg.eigh(rest)
        kept = values > RESIDUE * max(float(values[-1]), 1e-300)
        streams = (vectors[:, kept] * np.sqrt(values[kept])).T

        def at_antennas(each: Complex) -> Complex:
            return np.sqrt(problem.power) * np.einsum(
                "nmr,snr->snm", basis, each.reshape(len(each), problem.nodes, basis.shape[2])
            )

        return Signals(at_antennas(users), at_antennas(streams[::-1]))


def judged_signals(problem: RobustProblem, sinr: float, signals: Signals, bound: float) -> Certificate:
    """Certificate of signals from themselves: their divergence against a bound from above, and their violations."""
    value = float(problem.divergence(signals.lit(problem.steering)))
    spent = (np.abs(signals.users) ** 2).sum(axis=0) + (np.abs(signals.sensing) ** 2).sum(axis=0)
    reached = signals.sinr(problem.channels, problem.noise_power)
    return Certificate(
        "ok", "", value, bound, power_violation=max(0.0, float(problem.limit.busiest(spent / problem.power)) - 1.0),
        sinr_violation=max(0.0, 1.0 - float(reached.min()) / sinr), psd_violation=0.0, maximised=True,
    ).judged()  # fmt: skip

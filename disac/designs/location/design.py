"""Solve a design by one call, and judge its solution (``judge``). The module ``delivery`` makes the transmitted signal."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.designs.location import beamforming, orthogonal, phase_agnostic, synchronised, unconstrained, unconstrained_tight
from disac.designs.location.delivery import Delivery, Design
from disac.designs.location.feasibility import PowerNeed, PowerProgram, need_of_silence, proven_need, repaired, silent_users
from disac.designs.location.problem import DesignProblem, Structure
from disac.designs.location.reference import CrbProgram, Solution
from disac.optim.certificate import GAP_LIMIT, VIOLATION_LIMIT, Certificate
from disac.optim.conic import SETTINGS

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

SINR_MARGIN = 1e-5
"""Relative margin (0.00004 dB) that the reference solver's SINR target has above the promised SINR. The solver violates SINR
rows by about as much where interference must be cancelled. The dual bound is that of the promised SINR, so the gap contains the
cost of the margin. The cost is largest near the largest SINR: five times the margin gave a gap of 0.1 to 0.2 % there."""

METHODS: dict[str, ModuleType] = {
    "phase-agnostic": phase_agnostic,
    "orthogonal": orthogonal,
    "beamforming": beamforming,
    "unconstrained-tight": unconstrained_tight,
    "unconstrained": unconstrained,
    "synchronised": synchronised,
}

Solver = Literal["fast", "reference"]


class Designer(Delivery):
    """A design method set up for one problem and solved for each SINR target.

    The solver ``fast`` is the structured interior-point method; the reference solver follows if the answer is not certified.
    The solver ``reference`` is CVXPY alone. Programs are made once. With ``clusters`` > 0 the subcarriers form so many groups
    of adjacent ones, and each group has one covariance.
    """

    def __init__(self, problem: DesignProblem, method: str, solver: Solver = "fast", clusters: int = 0) -> None:
        every: Structure = METHODS[method].structure(problem)
        if problem.sinr_type == "cbf":
            every = every.coordinated(problem)
        super().__init__(problem, every.clustered(clusters) if clusters else every, METHODS[method], clusters)
        self._fast = self._structured if solver == "fast" else None
        if solver == "reference":
            _ = self._crb

    @cached_property
    def _power(self) -> PowerProgram:
        return PowerProgram(self.problem, self.structure)

    @cached_property
    def _crb(self) -> CrbProgram:
        return CrbProgram(self.problem, self.structure)

    def design(self, sinr: float) -> Design:
        """Design for an SINR target (linear).

        Returns
        -------
        Design
            With status ``ok``, ``inaccurate``, ``infeasible`` (proved by a dual ray) or ``failed``, and a sentence.
        """
        started = time.perf_counter()
        need = need_of_silence(self.problem, self.structure, sinr)
        if need is not None and need.proves_infeasible:
            proof = replace(_infeasible(need, time.perf_counter() - started), message=self._silence())
            return Design(proof, power_dual=need.power_dual, sinr_dual=need.sinr_dual)
        quick = None if self._fast is None else self._quick(sinr, started)
        if quick is not None and quick.certificate.status in ("ok", "infeasible"):
            return quick
        try:
            found = self._by_reference(sinr, started)
        except NotImplementedError:
            if quick is None:
                raise
            return quick
        if quick is None or found.certificate.status in ("ok", "infeasible"):
            return found
        return quick if _badness(quick.certificate) <= _badness(found.certificate) else found

    def _silence(self) -> str:
        """Return the sentence that names the users whose channels to all serving nodes are zero."""
        silent = silent_users(self.problem, self.structure)
        users = np.flatnonzero(silent.any(axis=1))
        where = "on every subcarrier" if silent[users[0]].all() else f"on subcarrier {int(np.argmax(silent[users[0]]))}"
        others = f" (so do {len(users) - 1} more)" if len(users) > 1 else ""
        return (
            f"No design reaches the SINR: user {users[0]} hears no node that may serve it {where}{others}. "
            "Its channel is zero, and no power helps (dual certificate checked)."
        )

    def _quick(self, sinr: float, started: float) -> Design:
        """Return the judged answer of the fast solver."""
        assert self._fast is not None
        solution = self._fast.solve(sinr)
        if solution.outcome == "infeasible":
            assert solution.power_dual is not None
            assert solution.sinr_dual is not None
            need = proven_need(self.problem, self.structure, sinr, solution.power_dual, solution.sinr_dual)
            if need.proves_infeasible:
                proof = _infeasible(need, time.perf_counter() - started)
                return Design(proof, power_dual=need.power_dual, sinr_dual=need.sinr_dual)
        return self._certified(sinr, solution, None, solution.iterations, time.perf_counter() - started)

    def _by_reference(self, sinr: float, started: float) -> Design:
        best: Design | None = None
        needs: list[PowerNeed] = []
        iterations = 0
        for settings in SETTINGS:
            need = self._power.solve(sinr, settings)
            if need is not None and need.proves_infeasible:
                proof = _infeasible(need, time.perf_counter() - started)
                return Design(proof, power_dual=need.power_dual, sinr_dual=need.sinr_dual)
            needs += [] if need is None else [need]
            solution = self._crb.solve(sinr * (1.0 + SINR_MARGIN), settings)
            iterations += solution.iterations
            if solution.streams is None:
                continue
            reserve = None if need is None else need.streams
            found = self._certified(sinr, solution, reserve, iterations, time.perf_counter() - started)
            if best is None or _badness(found.certificate) < _badness(best.certificate):
                best = found
            if found.certificate.status == "ok":
                break
        if best is not None:
            return best
        least = max((need.at_least for need in needs), default=None)
        known = "" if least is None else f" A design needs at least {least:.6f} of the power."
        sentence = f"The solver delivered no design under any settings and no proof that there is none.{known}"
        return Design(Certificate("failed", sentence, iterations=iterations, seconds=time.perf_counter() - started))

    def _certified(
        self, sinr: float, solution: Solution, reserve: Complex | None, iterations: int, seconds: float
    ) -> Design:  # fmt: skip
        assert solution.streams is not None
        assert solution.power_dual is not None
        assert solution.sinr_dual is not None
        if solution.fisher_dual is None or self.structure.loose:
            streams, psd_violation = self._positive(solution.streams)
        else:
            # Each iterate of the interior point is positive definite, where no stream is the rest of a whole.
            streams, psd_violation = solution.streams, 0.0
        if reserve is not None:
            streams = repaired(self.problem, streams, reserve, sinr)
        y = solution.fisher_dual if solution.fisher_dual is not None else self.fisher_dual(streams.sum(axis=0))
        z = solution.node_dual
        certificate, delivered, reached = self.judged(sinr, streams, solution.power_dual, solution.sinr_dual, y, z)
        psd_violation = max(psd_violation, certificate.psd_violation)
        certificate = replace(certificate, psd_violation=psd_violation, iterations=iterations, seconds=seconds).judged()
        return Design(certificate, streams, delivered, reached, solution.power_dual, solution.sinr_dual, y, z)

    def _positive(self, streams: Complex) -> tuple[Complex, float]:
        """Nearest streams that are positive semidefinite (in a loose structure: they and the whole), and the relative cut."""
        if not self.structure.loose:
            return _positive_part(streams)
        users, cut = _positive_part(streams[:-1])
        whole, more = _positive_part(streams.sum(axis=0))
        return np.concatenate([users, (whole - users.sum(axis=0))[np.newaxis]]), max(cut, more)

    _last_tight: tuple[float, Design] | None = None

    @cached_property
    def _tight_designer(self) -> Designer:
        return Designer(self.problem, "unconstrained-tight", clusters=self._clusters)

    def _tight(self, sinr: float) -> tuple[Designer, Design]:
        if self._last_tight is None or self._last_tight[0] != sinr:
            self._last_tight = sinr, self._tight_designer.design(sinr)
        return self._tight_designer, self._last_tight[1]


def _badness(certificate: Certificate) -> float:
    """Larger of a certificate's gap and violation, each in units of its accepted limit."""
    return max(certificate.relative_gap / GAP_LIMIT, certificate.worst_violation / VIOLATION_LIMIT)


def _infeasible(need: PowerNeed, seconds: float) -> Certificate:
    sentence = (
        f"No design reaches the SINR: a design needs at least {need.at_least:.4g} times the power (dual certificate checked)."
    )
    return Certificate("infeasible", sentence, dual_bound=float("inf"), seconds=seconds)


def _positive_part(matrices: Complex) -> tuple[Complex, float]:
    """Nearest positive semidefinite matrices and the largest relative negative eigenvalue that was cut."""
    values, vectors = np.linalg.eigh(matrices)
    largest = max(float(values.max()), 1e-300)
    kept = (vectors * np.maximum(values, 0.0)[..., np.newaxis, :]) @ vectors.conj().swapaxes(-1, -2)
    return kept, max(0.0, -float(values.min())) / largest

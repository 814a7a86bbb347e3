"""One call per design: solve, judge what was found (``judge``), and make it a signal that can be sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.designs.location import beamforming, orthogonal, phase_agnostic, synchronised, unconstrained, unconstrained_tight
from disac.designs.location.beams import FEASIBLE, cycled_beams, exact_beams, keeps_all, mean_covariance
from disac.designs.location.feasibility import PowerNeed, PowerProgram, need_of_silence, proven_need, repaired, silent_users
from disac.designs.location.judge import Judge
from disac.designs.location.problem import DesignProblem, Structure
from disac.designs.location.reference import CrbProgram, Solution
from disac.designs.location.structured import FastSolver
from disac.optim.certificate import GAP_LIMIT, VIOLATION_LIMIT, Certificate
from disac.optim.conic import SETTINGS

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

SINR_MARGIN = 1e-5
"""Relative. The solver is asked for this much more than promised (0.00004 dB), since it leaves rows violated by about as
much where interference must be cancelled; the dual bound is that of the promised SINR, so the gap counts the margin, most of
all near the largest SINR (five times the margin put the gap at 0.1 to 0.2 % there)."""

DIRECTIONS_AT = (1.03, 1.1, 1.25)
"""Times the promised SINR: where beams may point if those of the optimum serve nobody, or cost much. In five cells within 2 dB
of the largest SINR the excess over the bound fell from 57 to 226 % (along (27)) to 0.3 to 4 %."""

CLOSE = 2e-2
"""Excess over the optimum, relative, at which constant beams are good enough to look no further."""

ATTAINS = 1e-5
"""Excess over the optimum, relative, up to which constant beams are what is delivered."""

METHODS: dict[str, ModuleType] = {
    "phase-agnostic": phase_agnostic,
    "orthogonal": orthogonal,
    "beamforming": beamforming,
    "unconstrained-tight": unconstrained_tight,
    "unconstrained": unconstrained,
    "synchronised": synchronised,
}

Solver = Literal["fast", "reference"]


@dataclass(frozen=True)
class Design:
    """A delivered design with its certificate, or the proof that there is none.

    ``streams`` [U.., L, D, D] are the users' covariances, and a sensing one where there is; their sum is transmitted. Of the
    design ``unconstrained`` the last is the rest of the whole covariance and need not be positive semidefinite.
    ``delivered_crb_m2`` is the CRB of that signal; for the beamforming design it differs from the objective. Absent where
    nothing was delivered. ``power_dual`` lambda [D], ``sinr_dual`` mu [U, L] and, for a delivered design, ``fisher_dual`` Y
    [P, 2K] are what the bound, or the infeasibility, rests on; for a loose structure also ``node_dual`` Z [L, N, M_t, M_t].
    """

    certificate: Certificate
    streams: Complex | None = None
    delivered_crb_m2: float = float("nan")
    min_sinr: float = float("nan")
    power_dual: Float | None = None
    sinr_dual: Float | None = None
    fisher_dual: Float | None = None
    node_dual: Complex | None = None


@dataclass(frozen=True)
class Delivered:
    """Beams ``w`` [S, U, L, D] and sensing covariance [L, D, D], and what they reach; absent where there are none.

    The beams repeat after S symbols; constant ones have S = 1. ``transmitted`` [L, D, D] is the covariance of the whole signal
    over the cycle, its nodes' symbols scrambled where the design says so; ``power`` is the busiest antenna's share of its
    limit. ``symbol_sinr`` is the least SINR of any one symbol, with its own beams, linear.
    """

    beams: Complex | None = None
    remainder: Complex | None = None
    transmitted: Complex | None = None
    crb_m2: float = float("nan")
    min_sinr: float = float("nan")
    symbol_sinr: float = float("nan")
    power: float = float("nan")

    @property
    def symbols(self) -> int:
        """Symbols after which the beams repeat; none where there are no beams."""
        return 0 if self.beams is None else len(self.beams)


NOTHING = Delivered()


class Designer(Judge):
    """A design method set up for one problem and solved for each SINR target.

    ``fast`` is the structured interior point, with the reference where it does not reach a certified answer; ``reference`` is
    CVXPY alone. Programs are made once. With ``clusters``, each of so many groups of adjacent subcarriers has one covariance.
    """

    def __init__(self, problem: DesignProblem, method: str, solver: Solver = "fast", clusters: int = 0) -> None:
        self.method = METHODS[method]
        every: Structure = self.method.structure(problem)
        if problem.sinr_type == "cbf":
            every = every.coordinated(problem)
        super().__init__(problem, every.clustered(clusters) if clusters else every)
        self._clusters = clusters
        self._fast = self._structured if solver == "fast" else None
        if solver == "reference":
            _ = self._crb

    @cached_property
    def _structured(self) -> FastSolver:
        return FastSolver(self.problem, self.structure)

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
        """Which users no power serves, in words."""
        silent = silent_users(self.problem, self.structure)
        users = np.flatnonzero(silent.any(axis=1))
        where = "on every subcarrier" if silent[users[0]].all() else f"on subcarrier {int(np.argmax(silent[users[0]]))}"
        others = f" (so do {len(users) - 1} more)" if len(users) > 1 else ""
        return (
            f"No design reaches the SINR: user {users[0]} hears no node that may serve it {where}{others}. "
            "Its channel is zero, and no power helps (dual certificate checked)."
        )

    def _quick(self, sinr: float, started: float) -> Design:
        """The fast path's answer, judged."""
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
        known = "" if least is None else f" It takes at least {least:.6f} of the power."
        sentence = f"The solver delivered no design under any settings and no proof that there is none.{known}"
        return Design(Certificate("failed", sentence, iterations=iterations, seconds=time.perf_counter() - started))

    def _certified(
        self, sinr: float, solution: Solution, reserve: Complex | None, iterations: int, seconds: float
    ) -> Design:  # fmt: skip
        assert solution.streams is not None
        assert solution.power_dual is not None
        assert solution.sinr_dual is not None
        streams, psd_violation = self._positive(solution.streams)
        if reserve is not None:
            streams = repaired(self.problem, streams, reserve, sinr)
        y = solution.fisher_dual if solution.fisher_dual is not None else self.fisher_dual(streams.sum(axis=0))
        z = solution.node_dual
        certificate, delivered, reached = self.judged(sinr, streams, solution.power_dual, solution.sinr_dual, y, z)
        psd_violation = max(psd_violation, certificate.psd_violation)
        certificate = replace(certificate, psd_violation=psd_violation, iterations=iterations, seconds=seconds).judged()
        return Design(certificate, streams, delivered, reached, solution.power_dual, solution.sinr_dual, y, z)

    def _positive(self, streams: Complex) -> tuple[Complex, float]:
        """Streams whose covariances, and the whole where the structure is loose, are positive semidefinite; what was cut."""
        if not self.structure.loose:
            return _positive_part(streams)
        users, cut = _positive_part(streams[:-1])
        whole, more = _positive_part(streams.sum(axis=0))
        return np.concatenate([users, (whole - users.sum(axis=0))[np.newaxis]]), max(cut, more)

    def delivered(
        self, design: Design, sinr: float, constant: Delivered | None = None, *, seek_constant: bool = True
    ) -> Delivered:  # fmt: skip
        """The signal that is sent: beams, with a sensing signal beside them, and what they reach.

        Constant beams where they attain the optimum. Those of correlated nodes whose powers add up may not: where an optimum
        needs more than one direction for a stream, a cycle of beams delivers it exactly
        (:func:`~disac.designs.location.beams.cycled_beams`). No signal has the covariances of a loose structure; that of
        the tight relaxation is sent in its place.

        Parameters
        ----------
        constant
            What :meth:`constant_beams` found, where that is known already.
        seek_constant
            Whether constant beams that attain the optimum are sought where a cycle does: that takes optimisations of its own.
        """
        if design.streams is None:
            return NOTHING
        if self.structure.loose:
            return self._tight.delivered(self._tight_design(sinr), sinr, constant, seek_constant=seek_constant)
        exact = self.method is beamforming or keeps_all(self.problem, self.structure)
        if constant is None and (exact or seek_constant):
            constant = self.constant_beams(design, sinr)
        if constant is not None and (exact or constant.crb_m2 <= design.certificate.value * (1.0 + ATTAINS)):
            return constant
        cycle = self._cycle(design.streams, sinr)
        if self._feasible(cycle, sinr):
            return cycle
        return self.constant_beams(design, sinr) if constant is None else constant

    def constant_beams(self, design: Design, sinr: float) -> Delivered:
        """One beam per user and subcarrier for all symbols, as in (14) of 002, with a sensing signal, and what they reach.

        Exact where each user's power comes over one channel vector (:func:`~disac.designs.location.beams.keeps_all`). For
        correlated nodes whose powers add up, the best along the directions of the optimum. For the beamforming design,
        beams alone.
        """
        if design.streams is None:
            return NOTHING
        if self.structure.loose:
            return self._tight.constant_beams(self._tight_design(sinr), sinr)
        if self.method is beamforming:
            return self.sent(*beamforming.beams_alone(self.problem, design.streams))
        if keeps_all(self.problem, self.structure):
            return self.sent(*exact_beams(self.problem, self.structure, design.streams))
        cycle = self._cycle(design.streams, sinr)
        if cycle.symbols == 1 and self._feasible(cycle, sinr):
            return cycle
        whole = unconstrained_tight.structure(self.problem)
        solver = FastSolver(self.problem, whole.clustered(self._clusters) if self._clusters else whole)
        best = NOTHING
        for directions in self._directions(design.streams, sinr):
            found = self._along(solver, directions, sinr)
            if found.transmitted is not None:
                best = found if best.transmitted is None or found.crb_m2 < best.crb_m2 else best
            if best.crb_m2 <= design.certificate.value * (1.0 + CLOSE):
                return best
        if best.transmitted is not None:
            return best
        # Along the nodes' own beams (27) there is always a design: they keep every received power, with power to spare.
        return self._along(solver, unconstrained_tight.extract_as_printed(self.problem, design.streams)[0][0], sinr)

    def _cycle(self, streams: Complex, sinr: float) -> Delivered:
        """Beams that together have the covariances of the streams; of one symbol alone where one direction holds each."""
        return self.sent(*cycled_beams(self.problem, streams, sinr))

    @cached_property
    def _tight(self) -> Designer:
        """The design that whole stream covariances allow, in place of a loose structure."""
        return Designer(self.problem, "unconstrained-tight", clusters=self._clusters)

    def _tight_design(self, sinr: float) -> Design:
        if self._last_tight is None or self._last_tight[0] != sinr:
            self._last_tight = sinr, self._tight.design(sinr)
        return self._last_tight[1]

    _last_tight: tuple[float, Design] | None = None

    def _along(self, solver: FastSolver, directions: Complex, sinr: float) -> Delivered:
        """The best beams along directions [U, L, D], or nothing where none serve."""
        outcome, beams, remainder = solver.along(directions, sinr)
        found = NOTHING if outcome == "infeasible" else self.sent(beams[np.newaxis], remainder)
        return found if self._feasible(found, sinr) else NOTHING

    @staticmethod
    def _feasible(sent: Delivered, sinr: float) -> bool:
        return sent.power <= 1.0 + FEASIBLE and sent.min_sinr >= sinr * (1.0 - FEASIBLE)

    def _directions(self, streams: Complex, sinr: float) -> Iterator[Complex]:
        """Directions to try for beams of correlated nodes, [U, L, D] each: of the optimum, and of optima for somewhat more.

        Where the optimum's streams have more than one direction, those for more SINR say which of them can serve.
        """
        yield unconstrained_tight.directions(self.problem, streams[: self.problem.users])
        for more in DIRECTIONS_AT:
            beyond = self._structured.solve(sinr * more)
            if beyond.outcome == "optimal" and beyond.streams is not None:
                yield unconstrained_tight.directions(self.problem, beyond.streams)

    def symbol_code(self) -> Complex:
        """Known factors of each node's symbols, [N, symbols]; ones where the design does not scramble them."""
        scrambled = self.structure.name == "phase-agnostic" and self.problem.sinr_type != "cbf"
        return phase_agnostic.scrambling(self.problem.nodes, self.problem.nodes if scrambled else 1)

    def extracted_as_printed(self, design: Design) -> Delivered:
        """The unconstrained designs' beams by (26)-(29) of 002, which keep neither power nor SINR."""
        relaxations = (unconstrained_tight, unconstrained)
        if design.streams is None or self.method not in relaxations or self.problem.sinr_type != "noncoherent":
            return NOTHING
        return self.sent(*unconstrained_tight.extract_as_printed(self.problem, design.streams))

    def sent(self, beams: Complex, remainder: Complex) -> Delivered:
        """What beams [S, U, L, D] and a sensing covariance [L, D, D] reach together."""
        # Signals of different parts are uncorrelated: the nodes' symbols are scrambled.
        together = self.structure.together(self.problem)
        own = mean_covariance(beams) * together
        transmitted = own.sum(axis=0) + remainder
        reached = self.problem.sinr(own, transmitted)
        worst = float(reached.min())
        for symbol in beams if len(beams) > 1 else ():
            now = mean_covariance(symbol[np.newaxis]) * together
            worst = min(worst, float(self.problem.sinr(now, now.sum(axis=0) + remainder).min()))
        spent = self.problem.power_share(transmitted)
        return Delivered(beams, remainder, transmitted, self.crb_m2(transmitted), float(reached.min()), worst, spent)


def _badness(certificate: Certificate) -> float:
    """How far a certificate is from its limits: the larger of gap and violation in units of what is accepted."""
    return max(certificate.relative_gap / GAP_LIMIT, certificate.worst_violation / VIOLATION_LIMIT)


def _infeasible(need: PowerNeed, seconds: float) -> Certificate:
    sentence = f"No design reaches the SINR: it takes at least {need.at_least:.4g} times the power (dual certificate checked)."
    return Certificate("infeasible", sentence, dual_bound=float("inf"), seconds=seconds)


def _positive_part(matrices: Complex) -> tuple[Complex, float]:
    """Nearest positive semidefinite matrices and the largest relative negative eigenvalue that was cut."""
    values, vectors = np.linalg.eigh(matrices)
    largest = max(float(values.max()), 1e-300)
    kept = (vectors * np.maximum(values, 0.0)[..., np.newaxis, :]) @ vectors.conj().swapaxes(-1, -2)
    return kept, max(0.0, -float(values.min())) / largest

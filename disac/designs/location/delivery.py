"""The signal of a design: beams that can be sent, a sensing signal beside them, and the SINR and CRB that they reach."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from disac.designs.location import beamforming, phase_agnostic, unconstrained, unconstrained_tight
from disac.designs.location.beams import FEASIBLE, cycled_beams, exact_beams, keeps_all, mean_covariance
from disac.designs.location.judge import Judge
from disac.designs.location.problem import DesignProblem, Structure
from disac.designs.location.structured import FastSolver
from disac.optim.certificate import Certificate

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

DIRECTIONS_AT = (1.03, 1.1, 1.25)
"""Factors of the promised SINR at whose optima further beam directions are taken, if those of the optimum itself serve no user
or cost much. In five cells within 2 dB of the largest SINR the excess over the bound was 57 to 226 % along the beams (27), and
0.3 to 4 % along these directions."""

CLOSE = 2e-2
"""Relative excess over the optimum at which the search for constant beams stops."""

ATTAINS = 1e-5
"""Largest relative excess over the optimum at which constant beams are delivered."""


@dataclass(frozen=True)
class Design:
    """A delivered design with its certificate, or the proof that no design exists.

    ``streams`` [U.., L, D, D] are the covariances of the users' streams, and of a sensing stream if the design has one. The
    transmitted covariance is their sum. For the design ``unconstrained`` the last stream is the rest of the whole covariance
    and need not be positive semidefinite. ``delivered_crb_m2`` is the CRB of the transmitted signal; for the beamforming
    design it differs from the objective. Fields are None or NaN if nothing was delivered. The multipliers prove the bound or
    the infeasibility: ``power_dual`` lambda [D] ([L, D] under a flat spectrum), ``sinr_dual`` mu [U, L], for a delivered
    design ``fisher_dual`` Y [P, 2K], and for a loose structure ``node_dual`` Z [L, N, M_t, M_t].
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
    """Beams ``w`` [S, U, L, D] and sensing covariance [L, D, D], and what they reach; None and NaN if there are no beams.

    The beams repeat after S symbols; constant beams have S = 1. ``transmitted`` [L, D, D] is the covariance of the whole
    signal over the cycle, with the nodes' symbols scrambled where the design scrambles them. ``power`` is the power of the
    busiest limit, relative to the limit. ``symbol_sinr`` is the least SINR over single symbols, each with its own beams,
    linear.
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
        """Number of symbols after which the beams repeat; zero if there are no beams."""
        return 0 if self.beams is None else len(self.beams)


NOTHING = Delivered()


class Delivery(Judge):
    """Signals of the designs of one problem and method.

    Parameters
    ----------
    method
        The module of the design method.
    structure
        The structure of the method; with ``clusters`` > 0, in so many groups of adjacent subcarriers.
    """

    def __init__(self, problem: DesignProblem, structure: Structure, method: ModuleType, clusters: int) -> None:
        super().__init__(problem, structure)
        self.method, self._clusters = method, clusters

    @cached_property
    def _structured(self) -> FastSolver:
        return FastSolver(self.problem, self.structure)

    @abstractmethod
    def _tight(self, sinr: float) -> tuple[Delivery, Design]:
        """Return the design of the tight relaxation, which replaces that of a loose structure, and its delivery."""

    def delivered(
        self, design: Design, sinr: float, constant: Delivered | None = None, *, seek_constant: bool = True
    ) -> Delivered:  # fmt: skip
        """Return the transmitted signal: beams, with a sensing signal beside them, and what they reach.

        The beams are constant where constant beams attain the optimum. Constant beams of correlated nodes whose powers add up
        may not attain it: where an optimum needs more than one direction for a stream, a cycle of beams delivers it exactly
        (:func:`~disac.designs.location.beams.cycled_beams`). No signal has the covariances of a loose structure; the signal of
        the tight relaxation is sent in its place.

        Parameters
        ----------
        constant
            The result of :meth:`constant_beams`, if it is known already.
        seek_constant
            Whether constant beams that attain the optimum are sought even where a cycle of beams attains it. The search takes
            further optimisations.
        """
        if design.streams is None:
            return NOTHING
        if self.structure.loose:
            tight, found = self._tight(sinr)
            return tight.delivered(found, sinr, constant, seek_constant=seek_constant)
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
        """Return one beam per user and subcarrier for all symbols, as in (14) of 002, a sensing signal, and what they reach.

        The beams are exact where each user's power comes over one channel vector
        (:func:`~disac.designs.location.beams.keeps_all`). For correlated nodes whose powers add up, they are the best beams
        along the directions of the optimum. The beamforming design has beams alone.
        """
        if design.streams is None:
            return NOTHING
        if self.structure.loose:
            tight, found = self._tight(sinr)
            return tight.constant_beams(found, sinr)
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
            along = self._along(solver, directions, sinr)
            if along.transmitted is not None:
                best = along if best.transmitted is None or along.crb_m2 < best.crb_m2 else best
            if best.crb_m2 <= design.certificate.value * (1.0 + CLOSE):
                return best
        if best.transmitted is not None:
            return best
        # A design along the nodes' own beams (27) always exists: the beams keep every received power and need less power.
        return self._along(solver, unconstrained_tight.extract_as_printed(self.problem, design.streams)[0][0], sinr)

    def _cycle(self, streams: Complex, sinr: float) -> Delivered:
        """Return a cycle of beams with the covariances of the streams; one symbol long if one direction holds each stream."""
        return self.sent(*cycled_beams(self.problem, streams, sinr))

    def _along(self, solver: FastSolver, directions: Complex, sinr: float) -> Delivered:
        """Return the best beams along directions [U, L, D]; no beams if none along them reach the SINR."""
        outcome, beams, remainder = solver.along(directions, sinr)
        found = NOTHING if outcome == "infeasible" else self.sent(beams[np.newaxis], remainder)
        return found if self._feasible(found, sinr) else NOTHING

    @staticmethod
    def _feasible(sent: Delivered, sinr: float) -> bool:
        return sent.power <= 1.0 + FEASIBLE and sent.min_sinr >= sinr * (1.0 - FEASIBLE)

    def _directions(self, streams: Complex, sinr: float) -> Iterator[Complex]:
        """Directions to try for beams of correlated nodes, [U, L, D] each.

        They are the directions of the optimum, then those of optima for larger SINR targets (:data:`DIRECTIONS_AT`). Where a
        stream of the optimum has more than one direction, the optimum for a larger SINR shows which direction can serve.
        """
        yield unconstrained_tight.directions(self.problem, streams[: self.problem.users])
        for more in DIRECTIONS_AT:
            beyond = self._structured.solve(sinr * more)
            if beyond.outcome == "optimal" and beyond.streams is not None:
                yield unconstrained_tight.directions(self.problem, beyond.streams)

    def symbol_code(self) -> Complex:
        """Known factors of each node's symbols, [N, symbols]; equal to one if the design does not scramble symbols."""
        scrambled = self.structure.name == "phase-agnostic" and self.problem.sinr_type != "cbf"
        return phase_agnostic.scrambling(self.problem.nodes, self.problem.nodes if scrambled else 1)

    def extracted_as_printed(self, design: Design) -> Delivered:
        """Return the unconstrained designs' beams by (26)-(29) of 002, which keep neither power nor SINR."""
        relaxations = (unconstrained_tight, unconstrained)
        if design.streams is None or self.method not in relaxations or self.problem.sinr_type != "noncoherent":
            return NOTHING
        return self.sent(*unconstrained_tight.extract_as_printed(self.problem, design.streams))

    def sent(self, beams: Complex, remainder: Complex) -> Delivered:
        """Compute the SINR, CRB and power of beams [S, U, L, D] with a sensing covariance [L, D, D]."""
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

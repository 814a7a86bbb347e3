"""The signal of a design: beams that can be sent, a sensing signal beside them, and what they reach."""

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
"""Times the promised SINR: where beams may point if those of the optimum serve nobody, or cost much. In five cells within 2 dB
of the largest SINR the excess over the bound fell from 57 to 226 % (along (27)) to 0.3 to 4 %."""

CLOSE = 2e-2
"""Excess over the optimum, relative, at which constant beams are good enough to look no further."""

ATTAINS = 1e-5
"""Excess over the optimum, relative, up to which constant beams are what is delivered."""


@dataclass(frozen=True)
class Design:
    """A delivered design with its certificate, or the proof that there is none.

    ``streams`` [U.., L, D, D] are the users' covariances, and a sensing one where there is; their sum is transmitted. Of the
    design ``unconstrained`` the last is the rest of the whole covariance and need not be positive semidefinite.
    ``delivered_crb_m2`` is the CRB of that signal; for the beamforming design it differs from the objective. Absent where
    nothing was delivered. ``power_dual`` lambda [D] ([L, D] under a flat spectrum), ``sinr_dual`` mu [U, L] and, for a
    delivered design, ``fisher_dual`` Y [P, 2K] are what the bound, or the infeasibility, rests on; for a loose structure also
    ``node_dual`` Z [L, N, M_t, M_t].
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


class Delivery(Judge):
    """Signals of the designs of one problem and method.

    Parameters
    ----------
    method
        The module of the design method.
    structure
        What the method leaves free, in ``clusters`` groups of adjacent subcarriers where there are some.
    """

    def __init__(self, problem: DesignProblem, structure: Structure, method: ModuleType, clusters: int) -> None:
        super().__init__(problem, structure)
        self.method, self._clusters = method, clusters

    @cached_property
    def _structured(self) -> FastSolver:
        return FastSolver(self.problem, self.structure)

    @abstractmethod
    def _tight(self, sinr: float) -> tuple[Delivery, Design]:
        """The design that whole stream covariances allow, in place of a loose structure, and what delivers it."""

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
        """One beam per user and subcarrier for all symbols, as in (14) of 002, with a sensing signal, and what they reach.

        Exact where each user's power comes over one channel vector (:func:`~disac.designs.location.beams.keeps_all`). For
        correlated nodes whose powers add up, the best along the directions of the optimum. For the beamforming design,
        beams alone.
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
        # Along the nodes' own beams (27) there is always a design: they keep every received power, with power to spare.
        return self._along(solver, unconstrained_tight.extract_as_printed(self.problem, design.streams)[0][0], sinr)

    def _cycle(self, streams: Complex, sinr: float) -> Delivered:
        """Beams that together have the covariances of the streams; of one symbol alone where one direction holds each."""
        return self.sent(*cycled_beams(self.problem, streams, sinr))

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

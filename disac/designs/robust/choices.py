"""Robustness choices: the channel errors that a design covers, and how it is made, proven and judged for them.

Every choice is one object in :data:`CHOICES`. A new choice is a new object there, with its name in
:data:`RobustnessName`: nothing else compares names.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.balls import judged_inequality, proven_by_inequalities
from disac.designs.robust.guards import LEMMA_1, NODE_BALLS, PHASES, STACKED_BALL, UNGUARDED, Margins
from disac.designs.robust.limited_power import proven_by_limits, solve_with_outer_bound
from disac.designs.robust.matrix_inequality import solve_inequality
from disac.designs.robust.phase_exact import judged_phases, proven_by_phases, solve_phase_exact
from disac.designs.robust.policy_iteration import proven_by_beams, solve_by_policy_iteration
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.total_power import RobustDesign, judged, proven_by_cones, solve_total_power
from disac.metrics.worst_sinr import coherent_beam_sinr, worst_sinr_in_balls, worst_sinr_under_phases
from disac.optim.certificate import Certificate
from disac.power_limits import TOTAL

Float = NDArray[np.float64]

RobustnessName = Literal[
    "none", "lemma1", "norm-ball", "stacked-ball", "phase", "phase-exact", "s-procedure", "s-procedure-stacked"
]
"""Names of the choices in options and files."""

Method = Literal["cones", "policy-iteration", "reference"]
"""Ways to compute a design: cone programs or worst moments, policy iteration without a conic solver, the reference in CVXPY."""


@dataclass(frozen=True)
class ErrorSet:
    """A set of channel errors.

    Attributes
    ----------
    name
        Short name: ``<name>_sinr_db`` is the least SINR found in the set.
    least_sinr
        Least SINR found for any error in the set, of every user, linear, [K].
    """

    name: str
    least_sinr: Callable[[RobustProblem, Beams], Float]


def _as_assumed(problem: RobustProblem, beams: Beams) -> Float:
    return coherent_beam_sinr(problem.channels, beams.users, beams.sensing, problem.noise_power)


def _in_balls(problem: RobustProblem, beams: Beams) -> Float:
    heard = (problem.channels, beams.users, beams.sensing, problem.noise_power)
    return worst_sinr_in_balls(*heard, problem.ball_radius, stacked=False)


def _in_one_ball(problem: RobustProblem, beams: Beams) -> Float:
    heard = (problem.channels, beams.users, beams.sensing, problem.noise_power)
    return worst_sinr_in_balls(*heard, problem.ball_radius, stacked=True)


def _under_phases(problem: RobustProblem, beams: Beams) -> Float:
    heard = (problem.channels, beams.users, beams.sensing, problem.noise_power)
    return worst_sinr_under_phases(*heard, problem.phase_error_rad)


NO_ERROR = ErrorSet("min", _as_assumed)
"""The channels as assumed."""

BALL_ERRORS = ErrorSet("ball", _in_balls)
"""A ball for each node, (4) of 000."""

STACKED_ERRORS = ErrorSet("stacked", _in_one_ball)
"""One ball over all nodes."""

PHASE_ERRORS = ErrorSet("phase", _under_phases)
"""A phase of each node, (11) of 000."""

SEARCHED = (BALL_ERRORS, STACKED_ERRORS, PHASE_ERRORS)
"""Sets that are searched for the worst error of a design, for every choice."""


@dataclass(frozen=True)
class TimedDesign:
    """A design, with the wall time of its bound if the bound is computed separately."""

    design: RobustDesign
    bound_seconds: float = 0.0


@dataclass(frozen=True)
class Robustness(ABC):
    """A choice of the errors that a design covers.

    Attributes
    ----------
    name
        As in options and files.
    declared
        Errors that the choice declares to stand.
    methods
        How its designs can be computed; the first is the usual one.
    seconds
        Rough time of one usual design on one core, s.
    """

    name: RobustnessName
    declared: ErrorSet
    methods: tuple[Method, ...]
    seconds: float

    @property
    def margins(self) -> Margins | None:
        """Margins on amplitudes; None if the choice has no margins."""
        return None

    @property
    def any_limit(self) -> bool:
        """Whether the choice has designs under every power limit, not only under total power."""
        return True

    def guarding(self) -> Margins:
        """The margins of a choice that has some.

        Raises
        ------
        ValueError
            If it has none.
        """
        if self.margins is None:
            raise ValueError(f"'{self.name}' has no margins on amplitudes")
        return self.margins

    @abstractmethod
    def design(self, problem: RobustProblem, sinr: float, method: Method = "cones") -> TimedDesign:
        """Beams with the largest divergence whose users have the SINR (linear) under the errors that the choice stands.

        Raises
        ------
        ValueError
            If the method does not exist for the choice, or not under the problem's power limit.
        """

    @abstractmethod
    def prove(
        self, problem: RobustProblem, sinr: float, method: Method, user_dual: Float, proof: Float
    ) -> tuple[float, float]:  # fmt: skip
        """Return the least power (relative to the limit) and the bound (nats) that any stored numbers prove."""

    @abstractmethod
    def judge(self, problem: RobustProblem, sinr: float, beams: Beams, bound: float) -> Certificate:
        """Certificate of beams from themselves and a bound, as their design was judged."""


@dataclass(frozen=True)
class ByMargins(Robustness):
    """Margins on amplitudes: global under total power, a stationary point with a bound from outside under other limits."""

    guard: Margins

    @property
    def margins(self) -> Margins:
        """Margins on amplitudes."""
        return self.guard

    def design(self, problem: RobustProblem, sinr: float, method: Method = "cones") -> TimedDesign:
        """See :meth:`Robustness.design`."""
        if method == "reference":
            raise ValueError(f"the solver 'reference' is for the matrix inequalities only, not for '{self.name}'")
        if problem.limit != TOTAL:
            if method != "cones":
                raise ValueError(f"policy iteration needs a limit on total power; the limit is '{problem.limit.name}'")
            return TimedDesign(*solve_with_outer_bound(problem, self.guard, sinr))
        solver = solve_total_power if method == "cones" else solve_by_policy_iteration
        return TimedDesign(solver(problem, self.guard, sinr))

    def prove(
        self, problem: RobustProblem, sinr: float, method: Method, user_dual: Float, proof: Float
    ) -> tuple[float, float]:  # fmt: skip
        """See :meth:`Robustness.prove`."""
        if problem.limit != TOTAL:
            return proven_by_limits(problem, self.guard, sinr, proof)
        prove = proven_by_cones if method == "cones" else proven_by_beams
        return prove(problem, self.guard, sinr, user_dual, proof)

    def judge(self, problem: RobustProblem, sinr: float, beams: Beams, bound: float) -> Certificate:
        """See :meth:`Robustness.judge`."""
        return judged(problem, self.guard, sinr, beams, bound, stationary=not bound < float("inf"))


@dataclass(frozen=True)
class ByInequality(Robustness):
    """The exact matrix inequality of balls, under total power; ``stacked`` takes one ball over all nodes."""

    stacked: bool

    @property
    def any_limit(self) -> bool:
        """See :attr:`Robustness.any_limit`."""
        return False

    def design(self, problem: RobustProblem, sinr: float, method: Method = "cones") -> TimedDesign:
        """See :meth:`Robustness.design`."""
        if problem.limit != TOTAL:
            raise ValueError(f"'{self.name}' is defined for total power only, not for '{problem.limit.name}'")
        return TimedDesign(solve_inequality(problem, sinr, stacked=self.stacked, lifted=method == "reference"))

    def prove(
        self, problem: RobustProblem, sinr: float, method: Method, user_dual: Float, proof: Float
    ) -> tuple[float, float]:  # fmt: skip
        """See :meth:`Robustness.prove`."""
        return proven_by_inequalities(problem, sinr, proof, stacked=self.stacked)

    def judge(self, problem: RobustProblem, sinr: float, beams: Beams, bound: float) -> Certificate:
        """See :meth:`Robustness.judge`."""
        return judged_inequality(problem, sinr, beams, bound, stacked=self.stacked)


@dataclass(frozen=True)
class ByPhases(Robustness):
    """Every phase error of the nodes, exactly, under any power limit."""

    def design(self, problem: RobustProblem, sinr: float, method: Method = "cones") -> TimedDesign:
        """See :meth:`Robustness.design`."""
        if method != "cones":
            raise ValueError(f"'{self.name}' has no method '{method}'")
        return TimedDesign(solve_phase_exact(problem, sinr))

    def prove(
        self, problem: RobustProblem, sinr: float, method: Method, user_dual: Float, proof: Float
    ) -> tuple[float, float]:  # fmt: skip
        """See :meth:`Robustness.prove`."""
        return proven_by_phases(problem, sinr, proof)

    def judge(self, problem: RobustProblem, sinr: float, beams: Beams, bound: float) -> Certificate:
        """See :meth:`Robustness.judge`."""
        return judged_phases(problem, sinr, beams, bound)


_OF_BALLS: tuple[Method, ...] = ("cones", "policy-iteration")
_EXACT: tuple[Method, ...] = ("cones", "reference")

NONE = ByMargins("none", NO_ERROR, _OF_BALLS, 0.1, UNGUARDED)
LEMMA_1_TERMS = ByMargins("lemma1", BALL_ERRORS, _OF_BALLS, 0.1, LEMMA_1)
NORM_BALL = ByMargins("norm-ball", BALL_ERRORS, _OF_BALLS, 0.1, NODE_BALLS)
ONE_BALL = ByMargins("stacked-ball", STACKED_ERRORS, _OF_BALLS, 0.1, STACKED_BALL)
PHASE = ByMargins("phase", PHASE_ERRORS, ("cones",), 0.1, PHASES)
EXACT_PHASES = ByPhases("phase-exact", PHASE_ERRORS, ("cones",), 1.0)
EXACT_BALLS = ByInequality("s-procedure", BALL_ERRORS, _EXACT, 2.0, stacked=False)
EXACT_BALL = ByInequality("s-procedure-stacked", STACKED_ERRORS, _EXACT, 2.0, stacked=True)

CHOICES: dict[str, Robustness] = {
    choice.name: choice
    for choice in (NONE, LEMMA_1_TERMS, NORM_BALL, ONE_BALL, PHASE, EXACT_PHASES, EXACT_BALLS, EXACT_BALL)
}  # fmt: skip


def robustness(name: str) -> Robustness:
    """The choice of this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in CHOICES:
        near = difflib.get_close_matches(name, CHOICES, n=1)
        meant = f" (did you mean '{near[0]}'?)" if near else ""
        raise ValueError(f"robustness '{name}'{meant}: expected one of {', '.join(CHOICES)}")
    return CHOICES[name]

"""The largest SINR of all users on all subcarriers, with a design that reaches it and a proof of its upper bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.feasibility import proven_need
from disac.designs.location.problem import DesignProblem, Structure
from disac.designs.location.structured import FastSolver
from disac.units import db_to_linear, linear_to_db

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


WIDEST_DB = 0.1
"""Largest width of a bracket that is accepted as an answer, dB. Both ends of the bracket are proved."""


@dataclass(frozen=True)
class LargestSinr:
    """Largest SINR: ``streams`` [U, L, D, D] reach ``reached_db``; the ray (lambda, mu) proves ``beyond_db`` infeasible."""

    reached_db: float
    beyond_db: float
    streams: Complex
    power_dual: Float
    sinr_dual: Float


def largest_sinr(problem: DesignProblem, structure: Structure, tolerance_db: float = 0.01) -> LargestSinr:
    """Bracket the largest feasible SINR of a scenario by bisection; both ends are proved.

    Sensing has no influence on feasibility. The lower end is the SINR of covariances within the power limit. The upper end
    has a dual ray that is checked apart from the solver (:func:`disac.designs.location.feasibility.proven_need`).

    Parameters
    ----------
    tolerance_db
        Width of the bracket at which the bisection stops, dB. If rounding prevents a decision, a width up to
        :data:`WIDEST_DB` is accepted.

    Raises
    ------
    ArithmeticError
        If a step of the bisection gives neither a design nor a proof. The message has the bracket found so far.
    """
    solver = FastSolver(problem, structure)
    low, high = -np.inf, np.inf
    streams = power_dual = sinr_dual = None
    # The search starts at the SINR that the weakest user would have alone.
    target = _matched_filter_db(problem)
    step = 10.0
    # Next target in the bracket: the middle, and then places beside it while rounding prevents a decision.
    places = (0.5, 0.25, 0.75, 0.1, 0.9)
    undecided = 0
    while high - low > tolerance_db:
        solution = solver.solve(db_to_linear(target), gap=1e-3)
        assert solution.streams is not None
        assert solution.power_dual is not None
        assert solution.sinr_dual is not None
        share = max(1.0, problem.power_share(solution.streams.sum(axis=0)))
        kept = solution.streams / share
        reached = problem.sinr(kept, kept.sum(axis=0)).min()
        reached_db = linear_to_db(float(reached)) if reached > 0 else -np.inf
        need = proven_need(problem, structure, db_to_linear(target), solution.power_dual, solution.sinr_dual)
        if need.proves_infeasible:
            high, power_dual, sinr_dual, undecided = target, need.power_dual, need.sinr_dual, 0
        elif reached_db >= target - 1e-3:
            undecided = 0
        elif np.isfinite(high - low) and undecided + 1 < len(places):
            undecided += 1
        elif high - low <= WIDEST_DB:
            break
        else:
            raise ArithmeticError(
                f"{target:.4f} dB was neither reached nor proven out of reach; the largest SINR lies in [{low:.4f}, {high:.4f}]"
            )
        if reached_db > low:
            low, streams = reached_db, kept
        if not np.isfinite(high):
            target = low + step
        elif not np.isfinite(low):
            target = high - step
        else:
            target = low + places[undecided] * (high - low)
    assert streams is not None
    assert power_dual is not None
    assert sinr_dual is not None
    return LargestSinr(low, high, streams, power_dual, sinr_dual)


def _matched_filter_db(problem: DesignProblem) -> float:
    """SINR of the weakest user if all antennas spent everything on it, spread over the subcarriers."""
    power = problem.per_antenna_power / problem.subcarriers
    amplitude = np.abs(problem.channels).sum(axis=-1)
    gain = power * (amplitude**2).sum(axis=0) / (problem.noise_power / problem.subcarriers)
    return linear_to_db(float(gain.min()))

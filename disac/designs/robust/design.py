"""One call for every robust design: which errors it stands is a choice, which power limit holds a part of the problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.balls import judged_inequality, proven_by_inequalities
from disac.designs.robust.limited_power import proven_by_limits, solve_with_outer_bound
from disac.designs.robust.matrix_inequality import solve_inequality
from disac.designs.robust.policy_iteration import proven_by_beams, solve_by_policy_iteration
from disac.designs.robust.problem import Beams, Robustness, RobustProblem
from disac.designs.robust.total_power import RobustDesign, judged, proven_by_cones, solve_total_power
from disac.drops.coherent import CoherentDrop
from disac.metrics.kld import EchoModel
from disac.optim.certificate import Certificate
from disac.units import db_to_linear

Float = NDArray[np.float64]
Method = Literal["cones", "policy-iteration", "reference"]


@dataclass(frozen=True)
class Delivered:
    """A design with the wall time of its bound where that is a matter of its own."""

    design: RobustDesign
    bound_seconds: float = 0.0


def robust_problem(drop: CoherentDrop, *, full: bool = False, angles_rad: np.ndarray | None = None) -> RobustProblem:
    """The design problem of a drop, in units of the noise power; for other angles of the target [N] than the estimated ones."""
    scenario = drop.scenario
    angles = drop.target_angles_rad if angles_rad is None else angles_rad
    return RobustProblem(
        drop.channels, drop.steering(angles), EchoModel(drop.echo_gains(angles), drop.link_correlation(), full),
        db_to_linear(scenario.power.power_to_noise_db), 1.0, drop.ball_radius(), scenario.uncertainty.delta_rad,
        scenario.power.limit,
    )  # fmt: skip


def design_beams(problem: RobustProblem, robustness: Robustness, sinr: float, method: Method = "cones") -> Delivered:
    """Beams with the largest divergence whose users have the SINR (linear) under the errors that the choice stands.

    Under total power all choices but the matrix inequalities are solved globally; under per-node and per-antenna power a
    stationary point is delivered with a bound from outside.

    Raises
    ------
    ValueError
        For a matrix inequality, or policy iteration, without a total power limit, and for a reference that there is not.
    """
    if robustness in ("s-procedure", "s-procedure-stacked"):
        if problem.limit != "total":
            raise ValueError(f"'{robustness}' is posed for total power, not '{problem.limit}'")
        stacked, lifted = robustness == "s-procedure-stacked", method == "reference"
        return Delivered(solve_inequality(problem, sinr, stacked=stacked, lifted=lifted))
    if method == "reference":
        raise ValueError(f"the reference is that of the matrix inequalities, not of '{robustness}'")
    if problem.limit != "total":
        if method != "cones":
            raise ValueError(f"policy iteration rests on the duality of total power; the limit is '{problem.limit}'")
        return Delivered(*solve_with_outer_bound(problem, robustness, sinr))
    solver = solve_total_power if method == "cones" else solve_by_policy_iteration
    return Delivered(solver(problem, robustness, sinr))


def prove_again(
    problem: RobustProblem, robustness: Robustness, sinr: float, method: Method, user_dual: Float, proof: Float
) -> tuple[float, float]:  # fmt: skip
    """What stored numbers prove without a solver and whatever they are: least power, of the limit, and bound in nats."""
    if robustness in ("s-procedure", "s-procedure-stacked"):
        return proven_by_inequalities(problem, sinr, proof, stacked=robustness == "s-procedure-stacked")
    if problem.limit != "total":
        return proven_by_limits(problem, robustness, sinr, proof)
    prove = proven_by_cones if method == "cones" else proven_by_beams
    return prove(problem, robustness, sinr, user_dual, proof)


def judge_again(problem: RobustProblem, robustness: Robustness, sinr: float, beams: Beams, bound: float) -> Certificate:
    """Certificate of beams from themselves and a bound, as their design was judged."""
    if robustness in ("s-procedure", "s-procedure-stacked"):
        return judged_inequality(problem, sinr, beams, bound, stacked=robustness == "s-procedure-stacked")
    return judged(problem, robustness, sinr, beams, bound, stationary=problem.limit != "total" or not bound < float("inf"))

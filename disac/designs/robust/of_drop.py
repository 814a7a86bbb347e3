"""The robust design problem of a coherent drop."""

from __future__ import annotations

import numpy as np

from disac.designs.robust.problem import RobustProblem
from disac.drops.coherent import CoherentDrop
from disac.metrics.kld import EchoModel
from disac.power_limits import power_limit
from disac.units import db_to_linear


def robust_problem(drop: CoherentDrop, *, full: bool = False, angles_rad: np.ndarray | None = None) -> RobustProblem:
    """The design problem of a drop, in units of the noise power; for other angles of the target [N] than the estimated ones."""
    scenario = drop.scenario
    angles = drop.target_angles_rad if angles_rad is None else angles_rad
    return RobustProblem(
        drop.channels, drop.steering(angles), EchoModel(drop.echo_gains(angles), drop.link_correlation(), full),
        db_to_linear(scenario.power.power_to_noise_db), 1.0, drop.ball_radius(), scenario.uncertainty.delta_rad,
        power_limit(scenario.power.limit),
    )  # fmt: skip

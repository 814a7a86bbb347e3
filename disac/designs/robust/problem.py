"""Problem of a robust design: channels, the target's direction, echo gains, power, and the errors that it must cover."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from disac.metrics.kld import EchoModel
from disac.power_limits import TOTAL, PowerLimit

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class RobustProblem:
    """Numbers of one drop of 000.

    ``channels`` h_{n,k} [N, K, M]; ``steering`` a_t(theta_n) [N, M]; ``echoes`` turn the powers ``|a_m^T w_s,m|^2`` at the
    target into a divergence; ``power`` P_max and ``noise_power`` sigma_c^2 in one unit. ``ball_radius`` bounds |e_{n,k}| of
    (4), [N, K]; ``phase_error_rad`` bounds |phi_n|.

    Raises
    ------
    ValueError
        If a field has the wrong shape, is not finite, or is negative where it must not be. The sentence names the field.
    """

    channels: Complex
    steering: Complex
    echoes: EchoModel
    power: float
    noise_power: float
    ball_radius: Float
    phase_error_rad: float
    limit: PowerLimit = TOTAL

    def __post_init__(self) -> None:
        if self.channels.ndim != 3 or 0 in self.channels.shape:
            raise ValueError(f"channels: the shape is {self.channels.shape}; expected [nodes, users, antennas], none zero")
        nodes, users, antennas = self.channels.shape
        expected = {
            "steering": (self.steering, (nodes, antennas)),
            "echoes.gains": (self.echoes.gains, (nodes, nodes)),
            "ball_radius": (self.ball_radius, (nodes, users)),
        }
        for name, (value, shape) in expected.items():
            if value.shape != shape:
                raise ValueError(f"{name}: the shape is {value.shape}; the channels {self.channels.shape} ask for {shape}")
        for name, numbers in {"channels": self.channels, **{name: value for name, (value, _) in expected.items()}}.items():
            if not np.isfinite(numbers).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
                raise ValueError(f"{name}: the entry {where} is {numbers[where]}; expected finite numbers")
        for name in ("power", "noise_power", "phase_error_rad"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a finite number that is not negative")
        if self.noise_power == 0.0:
            raise ValueError("noise_power is zero; expected a positive number")
        for name, values in (("ball_radius", self.ball_radius), ("echoes.gains", self.echoes.gains)):
            if (values < 0).any():
                raise ValueError(f"{name}: an entry is {values.min()}; expected none below zero")
        dark = np.flatnonzero(~self.steering.any(axis=1))
        if dark.size:
            raise ValueError(f"steering: that of node {dark[0]} is zero; expected the response of its array to the target")
        if not isinstance(self.limit, PowerLimit):
            raise ValueError(f"limit is {self.limit!r}; expected an object of disac.power_limits")

    @property
    def nodes(self) -> int:
        return self.channels.shape[0]

    @property
    def users(self) -> int:
        return self.channels.shape[1]

    @property
    def antennas(self) -> int:
        return self.channels.shape[2]

    @cached_property
    def scaled_channels(self) -> Complex:
        """Channels in which power and noise are one, [N, K, M]."""
        return self.channels * np.sqrt(self.power / self.noise_power)

    @cached_property
    def unheard_user(self) -> int | None:
        """The first user whom no beam reaches: its channels are zero at all nodes, or the power is zero."""
        unheard = np.flatnonzero(~self.scaled_channels.any(axis=(0, 2)))
        return int(unheard[0]) if unheard.size else None

    @cached_property
    def scaled_radius(self) -> Float:
        """Radii of the balls in the unit of :attr:`scaled_channels`, [N, K]."""
        return self.ball_radius * np.sqrt(self.power / self.noise_power)

    @cached_property
    def stacked_radius(self) -> Float:
        """Radius of the ball that holds all nodes' balls together, [K], scaled; sqrt(N) delta where all are delta."""
        return np.sqrt((self.scaled_radius**2).sum(axis=0))

    def divergence(self, beampowers: Float) -> Float:
        """Jensen KLD (33), or that of the whole covariance, of beampowers t [..., N] at the target, nats."""
        return self.echoes.divergence(beampowers)


@dataclass(frozen=True)
class Beams:
    """``users`` w_{c,n,k} [K, N, M] and ``sensing`` w_{s,n} [N, M] in the unit of the power."""

    users: Complex
    sensing: Complex

    @property
    def power(self) -> float:
        """Total transmit power."""
        return float(np.sum(np.abs(self.users) ** 2) + np.sum(np.abs(self.sensing) ** 2))

    def beampowers(self, steering: Complex) -> Float:
        """``t_n = |a_n^T w_s,n|^2``, shape [N]."""
        return np.abs(np.einsum("nm,nm->n", steering, self.sensing)) ** 2

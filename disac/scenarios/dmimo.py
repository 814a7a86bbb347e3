"""The typed description of one phase-coherent D-MIMO network. Defaults are those of 004, section V-A.

Every number that 004 leaves open is a field, and every ambiguity of its text a named choice; `docs/dmimo-model.md` lists them.
Targets and network stand still for all slots: 004 calls the targets dynamic in one place and static in another, and has no
Doppler shift anywhere.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from disac.geometry import chosen_nodes
from disac.phase_law import PhaseLaw
from disac.scenarios.base import Draw, Point, Section
from disac.units import SPEED_OF_LIGHT_M_S, db_to_linear

PathLoss = Literal["line-of-sight", "random-sight", "no-line-of-sight"]
"""Readings A, B and C of "the 3GPP Urban Microcell model" in 004."""

BOLTZMANN_J_K = 1.380649e-23


class AccessLayout(Section):
    """Where access points, targets and users stand, and which access points receive."""

    side_m: float = Field(1000.0, gt=0, description="side of the square area, m; everything stands evenly in it")
    access_point_count: int = Field(12, ge=2, le=256, description="number of access points")
    target_count: int = Field(2, ge=1, le=16, description="number of targets")
    user_count: int = Field(10, ge=1, le=64, description="number of users")
    access_points_m: tuple[Point, ...] | None = Field(
        None, strict=False, description="positions (x, y) of the access points, m; as many as access_point_count; null: random"
    )
    boresights_rad: tuple[float, ...] | None = Field(
        None,
        strict=False,
        description="directions that the arrays face, rad; from the x axis; as many as access_point_count; null: random",
    )
    targets_m: tuple[Point, ...] | None = Field(
        None, strict=False, description="positions (x, y) of the targets, m; as many as target_count; null: random"
    )
    users_m: tuple[Point, ...] | None = Field(
        None, strict=False, description="positions (x, y) of the users, m; as many as user_count; null: random"
    )
    receiver_count: int = Field(
        6, ge=1, description="number of access points that receive; the others transmit; which ones, a rule decides"
    )
    receivers: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        strict=False,
        description="numbers of the access points that receive; from 0, as many as receiver_count; null: a rule decides",
    )

    @model_validator(mode="after")
    def _positions_are_counted(self) -> AccessLayout:
        counts = {
            "access_points_m": "access_point_count", "boresights_rad": "access_point_count", "targets_m": "target_count",
            "users_m": "user_count", "receivers": "receiver_count",
        }  # fmt: skip
        for name, count in counts.items():
            given = getattr(self, name)
            if given is not None and len(given) != getattr(self, count):
                raise ValueError(f"{name} has {len(given)} entries but {count} is {getattr(self, count)}")
        return self

    @model_validator(mode="after")
    def _somebody_transmits(self) -> AccessLayout:
        if self.receiver_count >= self.access_point_count:
            raise ValueError(
                f"receiver_count {self.receiver_count} leaves none of {self.access_point_count} access points to transmit"
            )
        for number in self.receivers or ():
            if not 0 <= number < self.access_point_count:
                raise ValueError(f"receivers has access point {number}; they are 0 to {self.access_point_count - 1}")
        if len(set(self.receivers or ())) < len(self.receivers or ()):
            raise ValueError(f"receivers {list(self.receivers or ())} has an access point twice")
        return self

    @model_validator(mode="after")
    def _no_target_stands_on_an_access_point(self) -> AccessLayout:
        for number, point in enumerate(self.access_points_m or ()):
            if point in (self.targets_m or ()):
                raise ValueError(f"access_points_m[{number}] {point} stands on a target; its angle there is undefined")
        return self

    def roles(self, receivers: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Numbers of the transmitting and of the receiving access points, each increasing: half duplex, 004, section II."""
        transmitters = tuple(n for n in chosen_nodes(None, self.access_point_count) if n not in receivers)
        return transmitters, tuple(sorted(receivers))


class AccessArrays(Section):
    """Antennas of each access point: a half-wavelength uniform linear array that transmits or receives."""

    antennas: int = Field(8, ge=1, le=64, description="antennas of each access point")


class AccessSignal(Section):
    """The signal (1) of 004 and its slots."""

    carrier_hz: float = Field(3.5e9, gt=0, description="carrier frequency, Hz; the middle of the band")
    bandwidth_hz: float = Field(100e3, gt=0, description="signal bandwidth, Hz")
    subcarriers: int = Field(1, ge=1, le=1024, description="number of subcarriers; 1: the narrowband signal of 004")
    communication_share: float = Field(
        0.5, ge=0, le=1, description="users' share of an access point's power; rho of 004, the same everywhere"
    )
    slots_per_transmitter: float = Field(
        8.0,
        gt=0,
        description="slots in which each transmitter senses; L0; only their energy counts, so fractions are allowed",
    )
    slots: float | None = Field(
        None, gt=0, description="slots of all transmitters together; in equal shares; null: slots_per_transmitter for each"
    )
    sensing_power: Literal["whole", "each-antenna"] = Field(
        "whole",
        description="meaning of a sensing signal of unit power; whole: the vector has unit power; each-antenna: each entry, "
        "so that the power limit is broken",
    )
    power_split: Literal["once", "printed"] = Field(
        "once",
        description="how often rho counts in the users' power; once: their coefficients add up to the power limit; "
        "printed: to rho times it, as 004 prints, so that rho squared is sent",
    )

    @property
    def wavelength_m(self) -> float:
        """Wavelength at the carrier, m."""
        return SPEED_OF_LIGHT_M_S / self.carrier_hz

    def slots_of_each(self, transmitters: int) -> float:
        """Slots in which each of so many transmitters sends the sensing signal, L0."""
        return self.slots_per_transmitter if self.slots is None else self.slots / transmitters


class AccessChannel(Draw):
    """Channels between access points and users, (4)-(5) of 004, and the random draw."""

    path_loss: PathLoss = Field(
        "line-of-sight",
        description="path loss of the users, UMi of 3GPP TR 36.814; line-of-sight (reading A); random-sight (B): a line of "
        "sight with the probability of its distance; no-line-of-sight (C)",
    )
    angular_spread_deg: float = Field(
        15.0, ge=0, le=60, description="angular spread of the scattered paths, deg; standard deviation around the user's angle"
    )
    least_distance_m: float = Field(10.0, gt=0, description="least distance in the path loss of users, m")
    user_response: Literal["same-array", "printed"] = Field(
        "same-array",
        description="response of an array towards a user; same-array: that of (2), which targets see; printed: (5) with (6), "
        "its conjugate; rates are the same, beams point elsewhere",
    )
    paths_over_targets: bool = Field(
        False, description="paths from access point over target to user; (5) of 004; true: they are part of the channels"
    )


class PointTargets(Section):
    """What the targets send back."""

    cross_section_m2: float = Field(1.0, gt=0, description="cross-section of each target, m2; 0 dBsm")


class AccessSynchronisation(Section):
    """What the receivers know of clocks and phases: 0 means known exactly, null means unknown."""

    link_phase_std_rad: float | None = Field(
        0.0,
        ge=0,
        description="standard deviation of the link phases, rad; of each pair of access points; 0: phase-coherent; null: "
        "unknown, noncoherent",
    )
    phase_std_rad: float | None = Field(
        0.0, ge=0, description="standard deviation of oscillator phases, rad; of each access point; null: unknown"
    )
    clock_std_s: float | None = Field(
        0.0, ge=0, description="standard deviation of the clock offsets, s; of each access point; null: unknown"
    )
    phase_law: PhaseLaw = Field(
        "normal", description="law of the phases; normal; or von-mises on the circle, whose deviations are circular ones"
    )


class AccessPower(Section):
    """Power and noise."""

    transmit_dbm: float = Field(30.0, ge=-60, le=80, description="power limit of each access point, dBm")
    temperature_k: float = Field(290.0, gt=0, description="noise temperature, K; at users and access points")
    noise_figure_db: float = Field(0.0, ge=0, le=30, description="noise figure, dB; of users and access points")

    @property
    def transmit_w(self) -> float:
        """Power limit of each access point, W."""
        return 1e-3 * db_to_linear(self.transmit_dbm)


class DmimoScenario(Section):
    """One phase-coherent D-MIMO network: everything that defines a result."""

    layout: AccessLayout = AccessLayout()
    arrays: AccessArrays = AccessArrays()
    signal: AccessSignal = AccessSignal()
    channel: AccessChannel = AccessChannel()
    target: PointTargets = PointTargets()
    synchronisation: AccessSynchronisation = AccessSynchronisation()
    power: AccessPower = AccessPower()

    @property
    def noise_w(self) -> float:
        """Noise power over the whole band, W."""
        power = self.power
        return BOLTZMANN_J_K * power.temperature_k * db_to_linear(power.noise_figure_db) * self.signal.bandwidth_hz

"""The typed description of one coherent network that detects a target. Defaults are those of 000, Table II, under reading A."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from disac.power_limits import PowerLimitName
from disac.rcs import RcsLaw
from disac.scenarios.base import Draw, Section


class Ring(Section):
    """Nodes on a circle around the target, facing it, and users in a ring."""

    node_count: int = Field(2, ge=1, le=8, description="number of nodes")
    radius_m: float = Field(100.0, gt=0, description="distance of every node from the target, m")
    separation_deg: float | None = Field(
        None, ge=0, le=180, description="angle between neighbours seen from the target, deg; evenly around where none is given"
    )
    user_count: int = Field(3, ge=1, le=8, description="number of users")
    user_inner_m: float = Field(20.0, ge=0, description="least distance of a user from the target, m")
    user_outer_m: float = Field(80.0, gt=0, description="largest distance of a user from the target, m")

    @model_validator(mode="after")
    def _the_ring_is_open(self) -> Ring:
        if self.user_inner_m >= self.user_outer_m:
            raise ValueError(f"user_inner_m {self.user_inner_m:g} is not below user_outer_m {self.user_outer_m:g}")
        if self.separation_deg is not None and self.node_count > 1:
            largest = 360.0 / self.node_count
            if not 0.0 < self.separation_deg <= largest:
                raise ValueError(
                    f"separation_deg {self.separation_deg:g} puts nodes in one place or past each other: {self.node_count} "
                    f"nodes stand more than 0 and at most {largest:g} deg apart"
                )
        return self


class CoherentArrays(Section):
    """Antennas of each node: half-wavelength uniform linear arrays that transmit and receive."""

    antennas: int = Field(12, ge=2, le=64, description="antennas per node")
    response_power: float | None = Field(
        None, gt=0, description="squared norm of an array's response to the target; its number of antennas where none is given"
    )


class CoherentChannel(Draw):
    """Channels of the users, (2) of 000, and the random draw."""

    wavelength_m: float = Field(0.03, gt=0, description="wavelength, m")
    rician_factor_db: float = Field(5.0, description="power of the direct path over all others, dB")
    pathloss_exponent: float = Field(
        0.0, ge=0, le=6, description="gain of a user is (distance / radius)^-exponent; 0: all alike"
    )


class Target(Section):
    """The target's echoes."""

    echo_snr_db: float = Field(
        -15.0, ge=-80, le=40, description="full power times the gain of a link over the noise, between two antennas, dB"
    )
    lobe_swing_db: float = Field(0.0, ge=0, le=40, description="peak over trough of the angular profile, dB; 0: flat")
    lobe_deg: float | None = Field(0.0, description="direction of a lobe from the first node's bearing, deg; null: random")
    aspect: Literal["transmit", "receive", "bisector"] = Field(
        "transmit", description="direction at which the profile is read: of the transmitter, the receiver, or between"
    )
    bistatic: Literal["cosine", "none"] = Field(
        "cosine", description="amplitude falls with the bistatic angle by (8) of 000, or not"
    )
    law: RcsLaw = Field("chi-square", description="fluctuation of the cross-section")
    rcs_correlation: Literal["independent", "common"] = Field(
        "independent", description="whether each link fluctuates by itself or all as one"
    )


class Clutter(Section):
    """Patches that send echoes from around the target."""

    patch_count: int = Field(0, ge=0, le=64, description="number of random patches; 0: noise alone")
    clutter_to_noise_db: float = Field(10.0, description="power of all patches per antenna over the noise, dB")
    span_deg: float = Field(60.0, gt=0, le=90, description="patches lie within this angle of a node's boresight, deg")


class Uncertainty(Section):
    """Quantities that are not known exactly."""

    delta_rad: float = Field(0.01, ge=0, lt=1.5, description="largest phase error of a node, delta, rad")
    ball_radius: Literal["absolute", "from-phase"] = Field(
        "absolute",
        description="radius of channel errors: delta in units of the channel (000), or 2 sin(delta/2) of each channel's norm",
    )
    angle_error_deg: float = Field(0.0, ge=0, le=30, description="largest error of the target's angle at each node, deg")
    coherence_loss: Literal["none", "paper"] = Field(
        "none", description="echoes as they are, or multiplied by 1 - 2 delta as in (13) of 000"
    )

    @model_validator(mode="after")
    def _the_loss_is_one(self) -> Uncertainty:
        if self.coherence_loss == "paper" and self.delta_rad >= 0.5:
            raise ValueError(f"delta_rad {self.delta_rad:g}: the factor 1 - 2 delta of coherence_loss 'paper' is zero at 0.5")
        return self


class CoherentPower(Section):
    """Power and noise; the ratio alone matters."""

    power_to_noise_db: float = Field(30.0, description="power of the whole network over the noise, dB")
    limit: PowerLimitName = Field("total", description="what the power limit holds for, at the same power allowed in all")


class CoherentService(Section):
    """Service that the users are promised."""

    sinr_db: float = Field(20.0, ge=-40, le=80, description="least SINR of each user, dB")


class CoherentScenario(Section):
    """One coherent network: everything that defines a result."""

    layout: Ring = Ring()
    arrays: CoherentArrays = CoherentArrays()
    channel: CoherentChannel = CoherentChannel()
    target: Target = Target()
    clutter: Clutter = Clutter()
    uncertainty: Uncertainty = Uncertainty()
    power: CoherentPower = CoherentPower()
    service: CoherentService = CoherentService()

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
    radius_m: float = Field(100.0, gt=0, description="distance of the nodes from the target, m")
    separation_deg: float | None = Field(
        None,
        ge=0,
        le=180,
        description="angle between neighbouring nodes, deg; seen from the target; null: nodes evenly around it",
    )
    user_count: int = Field(3, ge=1, le=8, description="number of users")
    user_inner_m: float = Field(20.0, ge=0, description="least distance of user and target, m")
    user_outer_m: float = Field(80.0, gt=0, description="largest distance of user and target, m")

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
        None, gt=0, description="squared norm of an array's target response; null: its number of antennas"
    )


class CoherentChannel(Draw):
    """Channels of the users, (2) of 000, and the random draw."""

    wavelength_m: float = Field(0.03, gt=0, description="wavelength, m")
    rician_factor_db: float = Field(5.0, description="Rician factor, dB; power of the direct path over that of all other paths")
    pathloss_exponent: float = Field(
        0.0,
        ge=0,
        le=6,
        description="path-loss exponent; the gain of a user's channel is (distance / radius_m)^-exponent; 0: equal gains",
    )


class Target(Section):
    """The target's echoes."""

    echo_snr_db: float = Field(
        -15.0,
        ge=-80,
        le=40,
        description="echo SNR at full power, dB; network power times the gain of a link between two antennas, over the noise",
    )
    lobe_swing_db: float = Field(
        0.0, ge=0, le=40, description="swing of the angular profile, dB; its largest value over its smallest; 0: flat profile"
    )
    lobe_deg: float | None = Field(
        0.0, description="direction of a lobe, deg; from the bearing of the first node; null: random"
    )
    aspect: Literal["transmit", "receive", "bisector"] = Field(
        "transmit", description="direction at which the profile is read; of the transmitter, of the receiver, or their bisector"
    )
    bistatic: Literal["cosine", "none"] = Field(
        "cosine", description="effect of the bistatic angle; cosine: the amplitude falls with it by (8) of 000; none: no effect"
    )
    law: RcsLaw = Field("chi-square", description="law of the cross-section; its fluctuation about the profile")
    rcs_correlation: Literal["independent", "common"] = Field(
        "independent",
        description="correlation of the cross-sections; independent: each link has its own draw; common: one draw for all "
        "links",
    )


class Clutter(Section):
    """Patches that send echoes from around the target."""

    patch_count: int = Field(0, ge=0, le=64, description="number of clutter patches; 0: no clutter")
    clutter_to_noise_db: float = Field(
        10.0, description="clutter-to-noise ratio, dB; power of all patches at one antenna over the noise"
    )
    span_deg: float = Field(60.0, gt=0, le=90, description="largest angle of a patch, deg; from the boresight of a node")


class Uncertainty(Section):
    """Quantities that are not known exactly."""

    delta_rad: float = Field(0.01, ge=0, lt=1.5, description="largest phase error of a node, rad; delta of 000")
    ball_radius: Literal["absolute", "from-phase"] = Field(
        "absolute",
        description="radius of the channel errors; absolute: delta, as in 000; from-phase: 2 sin(delta/2) of each channel's "
        "norm",
    )
    angle_error_deg: float = Field(0.0, ge=0, le=30, description="largest error of the target's angle, deg; at each node")
    coherence_loss: Literal["none", "paper"] = Field(
        "none", description="coherence loss of the echoes; none: no loss; paper: the factor 1 - 2 delta of (13) of 000"
    )

    @model_validator(mode="after")
    def _the_loss_is_one(self) -> Uncertainty:
        if self.coherence_loss == "paper" and self.delta_rad >= 0.5:
            raise ValueError(f"delta_rad {self.delta_rad:g}: the factor 1 - 2 delta of coherence_loss 'paper' is zero at 0.5")
        return self


class CoherentPower(Section):
    """Power and noise; the ratio alone matters."""

    power_to_noise_db: float = Field(30.0, description="power of the network over the noise, dB")
    limit: PowerLimitName = Field(
        "total",
        description="power limit; per-antenna, per-node or total: the antennas that share one budget; the network's power is "
        "the same in each",
    )


class CoherentService(Section):
    """Service that the users are promised."""

    sinr_db: float = Field(20.0, ge=-40, le=80, description="promised SINR, dB; least SINR of each user")


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

"""The typed description of one noncoherent deployment. Defaults are those of 002, section V."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from disac.geometry import chosen_nodes
from disac.phase_law import PhaseLaw
from disac.power_limits import PowerLimitName
from disac.scenarios.base import Draw, Point, Section


class Layout(Section):
    """Positions of nodes and targets, and the number of users."""

    nodes_m: tuple[Point, ...] = Field(
        ((-46.19, -19.13), (46.19, -19.13)),
        min_length=1,
        strict=False,
        description="positions (x, y) of the nodes, m",
    )
    orientation: Literal["origin", "global"] = Field(
        "origin", description="boresight of the arrays; origin: towards the origin; global: along the x axis"
    )
    target_count: int = Field(1, ge=1, le=16, description="number of targets")
    target_span_m: float = Field(
        30.0,
        gt=0,
        description="half length of the line of targets, m; targets stand evenly on the x axis from -span to +span; one "
        "target stands at 0",
    )
    targets_m: tuple[Point, ...] | None = Field(
        None,
        min_length=1,
        strict=False,
        description="positions (x, y) of the targets, m; as many as target_count; null: on the line",
    )
    user_count: int = Field(1, ge=1, le=16, description="number of users")
    transmitters: tuple[int, ...] | None = Field(
        None, min_length=1, strict=False, description="numbers of the nodes that transmit; from 0; null: all nodes"
    )
    receivers: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        strict=False,
        description="numbers of the nodes that receive echoes; from 0; null: all nodes",
    )

    @model_validator(mode="after")
    def _roles_are_of_nodes(self) -> Layout:
        count = len(self.nodes_m)
        for name in ("transmitters", "receivers"):
            numbers = getattr(self, name) or ()
            for number in numbers:
                if not 0 <= number < count:
                    raise ValueError(f"{name} has node {number}; the nodes are 0 to {count - 1}")
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"{name} {list(numbers)} has a node twice")
        idle = set(range(count)) - set(self.transmitters or range(count)) - set(self.receivers or range(count))
        if idle:
            raise ValueError(f"node {min(idle)} is neither among transmitters nor among receivers")
        return self

    @property
    def transmit_nodes(self) -> tuple[int, ...]:
        """Numbers of the transmitting nodes."""
        return chosen_nodes(self.transmitters, len(self.nodes_m))

    @property
    def receive_nodes(self) -> tuple[int, ...]:
        """Numbers of the receiving nodes."""
        return chosen_nodes(self.receivers, len(self.nodes_m))

    @model_validator(mode="after")
    def _targets_are_counted(self) -> Layout:
        if self.targets_m is not None and len(self.targets_m) != self.target_count:
            raise ValueError(f"targets_m has {len(self.targets_m)} positions but target_count is {self.target_count}")
        return self

    @model_validator(mode="after")
    def _no_target_stands_on_a_node(self) -> Layout:
        targets = {(float(x), float(y)) for x, y in self.targets}
        for number, node in enumerate(self.nodes_m):
            if node in targets:
                raise ValueError(f"nodes_m[{number}] {node} stands on a target; its angle there is undefined")
        return self

    @property
    def nodes(self) -> NDArray[np.float64]:
        """Node positions, shape [N, 2], m."""
        return np.array(self.nodes_m, dtype=np.float64)

    @property
    def targets(self) -> NDArray[np.float64]:
        """Target positions, shape [K, 2], m (002, V-B)."""
        if self.targets_m is not None:
            return np.array(self.targets_m, dtype=np.float64)
        if self.target_count == 1:
            return np.zeros((1, 2))
        x = np.linspace(-self.target_span_m, self.target_span_m, self.target_count)
        return np.stack([x, np.zeros_like(x)], axis=1)


class Arrays(Section):
    """Antennas of each node: half-wavelength uniform linear arrays."""

    transmit_antennas: int = Field(6, ge=1, le=64, description="transmit antennas per node")
    receive_antennas: int = Field(6, ge=1, le=64, description="receive antennas per node")


class Waveform(Section):
    """The OFDM signal."""

    bandwidth_hz: float = Field(20.0e6, gt=0, description="signal bandwidth, Hz")
    subcarriers: int = Field(16, ge=1, le=1024, description="number of subcarriers")
    carrier_hz: float = Field(3.5e9, gt=0, description="carrier frequency, Hz; it matters only where phases are known in part")
    cyclic_prefix_s: float | None = Field(None, ge=0, description="cyclic prefix, s; null: cyclic_prefix_share of the symbol")
    cyclic_prefix_share: float = Field(
        0.25,
        ge=0,
        json_schema_extra={"identity_default": 0.25},
        description="cyclic prefix over the symbol; the symbol without its prefix lasts L/B",
    )

    @property
    def prefix_s(self) -> float:
        """Cyclic prefix, s."""
        if self.cyclic_prefix_s is not None:
            return self.cyclic_prefix_s
        return self.cyclic_prefix_share * self.subcarriers / self.bandwidth_hz


class Channel(Draw):
    """The channel between nodes and users, and the random draw."""

    gain: Literal["unit-variance", "unit-norm"] = Field(
        "unit-variance",
        description="gain of the channels; unit-variance: Rayleigh entries of unit variance; unit-norm: vectors of unit norm",
    )
    selectivity: Literal["selective", "flat"] = Field(
        "selective",
        description="frequency selectivity; selective: one draw per subcarrier (002); flat: one draw for the whole band (001)",
    )


class Sensing(Section):
    """The echoes and what the receiver makes of them."""

    amplitude_db: float = Field(10.0, description="mean power of the target amplitudes, dB")
    reference_distance_m: float | None = Field(
        None,
        gt=0,
        description="distance for which amplitudes hold, m; between node and target; amplitudes fall with both distances of a "
        "link; null: equal amplitudes on all links",
        json_schema_extra={"identity_default": None},
    )
    localization: Literal["hybrid", "tof", "aoa", "tof_nui", "aoa_nui"] = Field(
        "hybrid",
        description="measurements that locate; hybrid: delays and angles; tof: delays, angles known; aoa: angles, delays "
        "known; _nui: the others are unknown parameters",
    )


class StatedSynchronisation(Section):
    """Standard deviations of the network's clocks and phases: 0 means known exactly, null means unknown."""

    clock_std_s: float | None = Field(
        0.0, ge=0, description="standard deviation of the clock offsets, s; of each node; 0: known exactly; null: unknown"
    )
    phase_std_rad: float | None = Field(
        None, ge=0, description="standard deviation of oscillator phases, rad; of each node; 0: known exactly; null: unknown"
    )
    link_phase_std_rad: float | None = Field(
        None,
        ge=0,
        description="standard deviation of the link phases, rad; of each link, without the phases of oscillators and target; "
        "0: known exactly; null: unknown, as in 002",
    )
    position_std_m: float | None = Field(
        None,
        gt=0,
        description="standard deviation of the positions, m; of each coordinate of a target before any echo; null: unknown",
    )
    phase_law: PhaseLaw = Field(
        "normal",
        json_schema_extra={"identity_default": "normal"},
        description="law of the phases; normal; or von-mises on the circle, whose deviations are circular ones",
    )


class Power(Section):
    """Power and noise; the ratio alone matters."""

    power_to_noise_db: float = Field(
        20.0,
        description="power of an antenna over the noise, dB; both over all subcarriers; the noise of users and nodes is the "
        "same",
    )
    limit: PowerLimitName = Field(
        "per-antenna",
        description="power limit; per-antenna, per-node or total: the antennas that share one budget; the network's power is "
        "the same in each",
    )


class Service(Section):
    """Service that the users are promised."""

    sinr_db: float = Field(20.0, ge=-60, le=120, description="promised SINR, dB; least SINR of each user on each subcarrier")


class Scenario(Section):
    """One deployment: everything that defines a result."""

    layout: Layout = Layout()
    arrays: Arrays = Arrays()
    waveform: Waveform = Waveform()
    channel: Channel = Channel()
    sensing: Sensing = Sensing()
    synchronisation: StatedSynchronisation = StatedSynchronisation()
    power: Power = Power()
    service: Service = Service()

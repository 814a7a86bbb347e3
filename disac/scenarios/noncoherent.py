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
        "origin", description="boresight of the arrays: towards the origin, or along the x axis"
    )
    target_count: int = Field(1, ge=1, le=16, description="number of targets")
    target_span_m: float = Field(
        30.0, gt=0, description="targets stand on the x axis from -span to +span; one target stands at the origin; m"
    )
    targets_m: tuple[Point, ...] | None = Field(
        None, min_length=1, strict=False, description="positions (x, y) of target_count targets in place of the line, m"
    )
    user_count: int = Field(1, ge=1, le=16, description="number of users")
    transmitters: tuple[int, ...] | None = Field(
        None, min_length=1, strict=False, description="numbers of the nodes that transmit (from 0); all where none are given"
    )
    receivers: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        strict=False,
        description="numbers of the nodes that receive echoes (from 0); all where none are given",
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
    carrier_hz: float = Field(3.5e9, gt=0, description="carrier frequency; counts where phases are known to some degree, Hz")
    cyclic_prefix_s: float | None = Field(
        None, ge=0, description="cyclic prefix, s; cyclic_prefix_share of the symbol where none is given"
    )
    cyclic_prefix_share: float = Field(
        0.25,
        ge=0,
        json_schema_extra={"identity_default": 0.25},
        description="cyclic prefix in symbols without the prefix, L/B",
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
        "unit-variance", description="Rayleigh entries of unit variance, or channel vectors of unit norm"
    )
    selectivity: Literal["selective", "flat"] = Field(
        "selective", description="one draw per subcarrier (002), or one for the whole band (001)"
    )


class Sensing(Section):
    """The echoes and what the receiver makes of them."""

    amplitude_db: float = Field(10.0, description="mean power of the bistatic target amplitudes, dB")
    reference_distance_m: float | None = Field(
        None,
        gt=0,
        description="distance between node and target for which amplitudes are given: they fall with both distances of a link; "
        "equal on all links where none is given; m",
        json_schema_extra={"identity_default": None},
    )
    localization: Literal["hybrid", "tof", "aoa", "tof_nui", "aoa_nui"] = Field(
        "hybrid",
        description="which measurements locate: delays and angles, delays, angles (_nui: the other is unknown)",
    )


class StatedSynchronisation(Section):
    """Standard deviations of the network's clocks and phases: 0 for known exactly, null for unknown."""

    clock_std_s: float | None = Field(0.0, ge=0, description="clock offset of each node, s; null: unknown")
    phase_std_rad: float | None = Field(None, ge=0, description="oscillator phase of each node, rad; null: unknown")
    link_phase_std_rad: float | None = Field(
        None, ge=0, description="phase of each link beside its oscillators and its target's, rad; null: the network of 002"
    )
    position_std_m: float | None = Field(
        None, gt=0, description="each coordinate of a target before any echo, m; null: nothing is known"
    )
    phase_law: PhaseLaw = Field(
        "normal",
        json_schema_extra={"identity_default": "normal"},
        description="law of the phases: normal, or von-mises on the circle, where a deviation is the circular one",
    )


class Power(Section):
    """Power and noise; the ratio alone matters."""

    power_to_noise_db: float = Field(
        20.0, description="per-antenna power over all subcarriers to noise over all subcarriers, at users and nodes, dB"
    )
    limit: PowerLimitName = Field("per-antenna", description="what the power limit holds for, at the same power allowed in all")


class Service(Section):
    """Service that the users are promised."""

    sinr_db: float = Field(20.0, ge=-60, le=120, description="least SINR of each user on each subcarrier, dB")


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

"""The typed description of the network on which designs of all papers meet: X0 by default, each of its numbers a field."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from disac.phase_law import half_width
from disac.scenarios.base import Draw

MOST_NODES = 8
MOST_USERS = 8
MOST_SUBCARRIERS = 1024


def _number(default: Any, description: str, **limits: Any) -> Any:
    """A field that X0 does not have: at its default a scenario is the one that it was before there was the field."""
    return Field(default, description=description, json_schema_extra={"identity_default": default}, **limits)


class CommonScenario(Draw):
    """X0, and what may differ from it."""

    sinr_db: float = Field(
        10.0, ge=-20, le=60, description="promised SINR, dB; of each user and subcarrier, by the definition of each design"
    )
    power: Literal["per-node", "native"] = Field(
        "per-node", description="power limit; per-node: the same power for each node; native: the limit of each design's paper"
    )
    spectrum: Literal["free", "flat"] = _number(
        "free",
        "spectrum of the signals; free: the designs that can choose it do (002, 001, ours); flat: equal power on all "
        "subcarriers",
    )
    node_count: int = _number(4, "number of nodes; the first of eight sites, of which four are those of X0", ge=1, le=8)
    antennas: int = _number(8, "antennas of each node; they send and receive", ge=1, le=64)
    shared_antennas: int | None = _number(
        None, "antennas of all nodes together; each node has an equal share; null: each node has `antennas`", ge=1, le=512
    )
    user_count: int = _number(3, "number of users; the first of eight places, of which three are those of X0", ge=1, le=8)
    carrier_hz: float = _number(3.5e9, "carrier frequency, Hz", gt=0)
    bandwidth_hz: float = _number(
        20e6, "signal bandwidth, Hz; the number of subcarriers follows from it, their spacing stays", gt=0
    )
    subcarrier_spacing_hz: float = _number(312.5e3, "subcarrier spacing, Hz", gt=0)
    total_power_w: float = _number(0.1, "power of the network, W; of all nodes and subcarriers together", gt=0)
    cross_section_m2: float = _number(1.0, "mean cross-section of the target, m2", gt=0)
    target_radius_m: float = _number(
        0.0,
        "radius of the target's disc, m; the target is drawn evenly in a disc around its place in X0; 0: it stands there",
        ge=0,
        le=60,
    )
    delta_rad: float | None = _number(
        None,
        "phase error, rad; circular standard deviation (von Mises) of the phases of links' echoes, and of the transmitting "
        "nodes at the users; 0: coherent network; null: uniform phases, noncoherent network",
        ge=0,
    )
    phase_bound_rad: float | None = _number(
        0.05, "phase error that robust designs tolerate, rad; null: the interval that holds 95 % of the phases", ge=0, lt=1.57
    )
    clock_std_s: float = _number(0.0, "standard deviation of the clock offsets, s; of each node; 0: known exactly", ge=0)
    phase_std_rad: float = _number(
        0.0,
        "phase error of the oscillators, rad; circular standard deviation, of each node; it acts on sent and received echoes",
        ge=0,
    )

    @property
    def subcarriers(self) -> int:
        """Number of subcarriers, the bandwidth over their spacing."""
        return round(self.bandwidth_hz / self.subcarrier_spacing_hz)

    @property
    def antennas_per_node(self) -> int:
        """Antennas of each node."""
        return self.antennas if self.shared_antennas is None else self.shared_antennas // self.node_count

    @property
    def guarded_rad(self) -> float:
        """Phase error that robust designs guard, below a quarter turn, rad."""
        if self.phase_bound_rad is not None:
            return self.phase_bound_rad
        return half_width(float("inf") if self.delta_rad is None else self.delta_rad)

    @model_validator(mode="after")
    def _is_whole(self) -> CommonScenario:
        ratio = self.bandwidth_hz / self.subcarrier_spacing_hz
        if abs(ratio - round(ratio)) > 1e-6 or not 1 <= round(ratio) <= MOST_SUBCARRIERS:
            raise ValueError(
                f"bandwidth_hz {self.bandwidth_hz:g} is {ratio:g} times subcarrier_spacing_hz {self.subcarrier_spacing_hz:g}; "
                f"it is a whole number of subcarriers from 1 to {MOST_SUBCARRIERS}"
            )
        if self.shared_antennas is not None and self.shared_antennas % self.node_count:
            raise ValueError(
                f"shared_antennas {self.shared_antennas} is not a whole number of antennas for each of {self.node_count} nodes"
            )
        return self

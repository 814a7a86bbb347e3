"""Spectral efficiency against position error of a phase-coherent D-MIMO network (004, Fig. 3(c)): one cell is one drop.

A cell has its users' rates under maximum-ratio precoding, and the bound of its targets' positions by the signals that the
option ``echoes_of`` names.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from disac.designs.dmimo.precoding import data_covariance, maximum_ratio, power_split, sensing_covariance
from disac.designs.dmimo.selection_rules import sensing_centric
from disac.designs.dmimo.signals import sent_signals
from disac.drops.dmimo import dmimo_drop, user_channels
from disac.experiments.base import ExperimentOptions, RoughCosts, Variable, cell_by_cell, failed
from disac.metrics.dmimo_position import PositionBounds, dmimo_sensing_model, integrated_snr, phase_weights
from disac.metrics.dmimo_rate import printed_sinr, spectral_efficiency, user_sinr
from disac.scenarios.dmimo import AccessSynchronisation, DmimoScenario
from disac.streams import stream
from disac.units import linear_to_db

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


class Options(ExperimentOptions):
    """Options: who receives, which signals sense, and how many channels are drawn."""

    rule: Literal["in-order", "farthest-point", "given"] = Field(
        "in-order",
        description="rule that chooses the receiving access points; in-order: the last receiver_count of them, an even choice "
        "where positions are random; farthest-point: (21) of 004; given: layout.receivers",
    )
    echoes_of: Literal["sensing", "all"] = Field(
        "sensing",
        description="signals whose echoes locate the targets; sensing: the sensing signal alone, those of the users being "
        "separated or cancelled; all: all that is sent, which the receivers know",
    )
    symbols: Literal["mean", "drawn"] = Field(
        "mean",
        description="users' symbols where all signals sense; mean: the Fisher information is averaged over them; "
        "drawn: QPSK symbols of every slot",
    )
    channel_draws: int = Field(
        30, ge=1, le=10_000, description="number of draws of the scattered paths; rates are averaged over them"
    )

    @property
    def draws_symbols(self) -> bool:
        """Whether symbols of every slot are part of the signals that sense."""
        return self.echoes_of == "all" and self.symbols == "drawn"


VARIABLES = (
    Variable("peb_m", "position error bound, root mean square over targets", "m"),
    Variable("target_peb_m", "position error bound of each target", "m", dims=("target",)),
    Variable("sum_se_bps_hz", "sum of the users' spectral efficiencies", "bit/s/Hz"),
    Variable("least_se_bps_hz", "least spectral efficiency of a user", "bit/s/Hz"),
    Variable("user_se_bps_hz", "spectral efficiency of each user", "bit/s/Hz", dims=("user",)),
    Variable("printed_sum_se_bps_hz", "sum of the spectral efficiencies by (7) of 004 as printed", "bit/s/Hz"),
    Variable("least_integrated_snr_db", "least SNR of a target's echoes, all of them together", "dB"),
    Variable("radiated_w", "radiated power of all access points, mean over slots", "W"),
    Variable("busiest_ap_w", "power of an access point while it senses", "W"),
    Variable("receivers", "numbers of the access points that receive", dtype="int64", dims=("receiver",)),
    Variable("solve_seconds", "wall time of the cell", "s", volatile=True),
)

COSTS: RoughCosts = (({"echoes_of": "sensing"}, 0.03), ({}, 0.05))


@dataclass(frozen=True)
class DmimoTradeoff:
    """The experiment. Cells of a line share a drop and its channels; power, its shares and what is known of phases differ."""

    name: str = "dmimo-tradeoff"
    scenario_model: type[BaseModel] = DmimoScenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = (
        "signal.communication_share",
        "signal.slots_per_transmitter",
        "power.transmit_dbm",
        *(f"synchronisation.{name}" for name in AccessSynchronisation.model_fields),
    )
    variables: tuple[Variable, ...] = VARIABLES
    main_metric: str = "peb_m"
    rough_costs: RoughCosts = COSTS
    modules: tuple[str, ...] = ("disac.experiments.dmimo_tradeoff",)

    def run(self, scenarios: Sequence[DmimoScenario], options: Options) -> list[dict[str, Any]]:
        """Return one result per scenario. Scenarios differ in power, its shares, slots and synchronisation."""
        return cell_by_cell(_Line(scenarios[0], options).cell, scenarios)


class _Line:
    """The cells of a line: one drop, one split into transmitters and receivers, one set of channels."""

    def __init__(self, first: DmimoScenario, options: Options) -> None:
        self._first, self._options = first, options

    @cached_property
    def _heard(self) -> tuple[Complex, Float]:
        """Channels of the transmitters [draws, L, M_t, K, N] and their large-scale gains [M_t, K]."""
        drop, chosen = dmimo_drop(self._first), list(self._roles[0])
        channels = user_channels(drop, self._options.channel_draws)[:, chosen]
        return np.moveaxis(channels, 3, 1), drop.strengths[chosen]

    @cached_property
    def _roles(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Transmitting and receiving access points."""
        layout = self._first.layout
        if layout.receivers is not None:
            return layout.roles(layout.receivers)
        if self._options.rule == "farthest-point":
            sends = sensing_centric(dmimo_drop(self._first).access_points_m, layout.receiver_count)
            return layout.roles(tuple(int(number) for number in np.flatnonzero(~sends)))
        count = layout.access_point_count
        return layout.roles(tuple(range(count - layout.receiver_count, count)))

    def cell(self, scenario: DmimoScenario) -> dict[str, Any]:
        """Return the result of one cell."""
        started = time.perf_counter()
        if (self._options.rule == "given") != (scenario.layout.receivers is not None):
            return failed(
                f"The rule '{self._options.rule}' and layout.receivers {scenario.layout.receivers} do not go together: "
                "receivers are given where the rule is 'given', and nowhere else."
            )
        transmitters, receivers = self._roles
        budget = _budget(scenario, len(transmitters))
        if self._options.draws_symbols and budget.slots != round(budget.slots):
            return failed(f"Symbols are drawn for whole slots; each transmitter has {budget.slots:g} of them.")
        channels, strengths = self._heard
        powers = power_split(strengths, budget.users_w)
        heard = (channels, maximum_ratio(channels), powers, budget.sensing_w, scenario.noise_w)
        users = spectral_efficiency(user_sinr(*heard)).mean(axis=(0, 1))
        printed = spectral_efficiency(printed_sinr(*heard)).mean(axis=(0, 1))
        bounds, sent = self.echoes(scenario)
        targets = bounds.peb_m(sent * phase_weights(bounds.model))
        return {
            "status": "ok", "message": "", "peb_m": float(np.sqrt(np.mean(targets**2))), "target_peb_m": targets,
            "sum_se_bps_hz": float(users.sum()), "least_se_bps_hz": float(users.min()), "user_se_bps_hz": users,
            "printed_sum_se_bps_hz": float(printed.sum()),
            "least_integrated_snr_db": linear_to_db(float(integrated_snr(bounds.model, sent).min())),
            "radiated_w": len(transmitters) * budget.users_w + budget.sensing_w,
            "busiest_ap_w": budget.users_w + budget.sensing_w,
            "receivers": np.array(receivers), "solve_seconds": time.perf_counter() - started,
        }  # fmt: skip

    def echoes(self, scenario: DmimoScenario) -> tuple[PositionBounds, Complex]:
        """Bounds of a cell's targets, and the covariance [L, M_t N, M_t N] of the signals that sense, summed over slots."""
        transmitters, receivers = self._roles
        bounds = PositionBounds(dmimo_sensing_model(dmimo_drop(scenario), transmitters, receivers))
        budget, subcarriers = _budget(scenario, len(transmitters)), scenario.signal.subcarriers
        # Both parts of the power spread evenly over the subcarriers.
        slots, sensing_w = budget.slots, budget.sensing_w / subcarriers
        sensing = sensing_covariance(len(transmitters), scenario.arrays.antennas, slots * sensing_w)
        sent = np.broadcast_to(sensing, (subcarriers, *sensing.shape))
        if self._options.echoes_of == "sensing":
            return bounds, sent
        # Beams [L, M_t, K, N] of the first draw of the channels.
        channels, strengths = self._heard
        beams, powers_w = maximum_ratio(channels[0]), power_split(strengths, budget.users_w / subcarriers)
        if self._options.draws_symbols:
            symbols = _symbols(scenario, len(transmitters) * round(slots))
            return bounds, sent_signals(beams, powers_w, sensing_w, symbols).covariance()
        return bounds, sent + data_covariance(np.moveaxis(beams, 0, 2), powers_w, len(transmitters) * slots)


def sensing_echoes(scenario: DmimoScenario, options: Options) -> tuple[PositionBounds, Complex]:
    """Bounds of a cell's targets, and the covariance [L, M_t N, M_t N] of the signals that sense, as its information has it."""
    bounds, sent = _Line(scenario, options).echoes(scenario)
    return bounds, sent * phase_weights(bounds.model)


def _symbols(scenario: DmimoScenario, slots: int) -> Complex:
    """QPSK symbols of every user and slot, [L, K, slots]; more users, subcarriers or slots change none of fewer."""
    channel, users = scenario.channel, scenario.layout.user_count
    quarters = np.empty((scenario.signal.subcarriers, users, slots))
    for subcarrier, user in np.ndindex(quarters.shape[:2]):
        random = stream(channel.seed, "dmimo-symbols", realisation=channel.realisation, user=user, subcarrier=subcarrier)
        quarters[subcarrier, user] = random.integers(4, size=slots)
    return np.exp(0.5j * np.pi * (quarters + 0.5))


@dataclass(frozen=True)
class _Budget:
    """Power of an access point for its users, and for sensing in its turn; slots of each transmitter."""

    users_w: float
    sensing_w: float
    slots: float


def _budget(scenario: DmimoScenario, transmitters: int) -> _Budget:
    signal, limit = scenario.signal, scenario.power.transmit_w
    share = signal.communication_share
    users = share * limit * (share if signal.power_split == "printed" else 1.0)
    sensing = (1.0 - share) * limit * (scenario.arrays.antennas if signal.sensing_power == "each-antenna" else 1.0)
    return _Budget(users, sensing, signal.slots_of_each(transmitters))


experiment = DmimoTradeoff()

"""The target's cross-section over its aspect (000, Fig. 2): one cell is one law and profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel

from disac.drops.coherent import coherent_drop
from disac.experiments.base import ExperimentOptions, RoughCosts, Variable, cell_by_cell
from disac.rcs import SHAPE, lobed_profile, square_amplitudes
from disac.scenarios.coherent import CoherentScenario
from disac.streams import stream

ASPECTS_DEG = tuple(float(angle) for angle in range(0, 360, 5))


class Options(ExperimentOptions):
    """Options: none."""


def _over_aspect(name: str, long_name: str, unit: str) -> Variable:
    return Variable(name, long_name, unit, dims=("aspect_deg",), coords={"aspect_deg": ASPECTS_DEG})


@dataclass(frozen=True)
class CrossSection:
    """The experiment."""

    name: str = "cross-section"
    scenario_model: type[BaseModel] = CoherentScenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = (
        _over_aspect("profile_db", "mean cross-section, relative to the mean over all aspects", "dB"),
        _over_aspect("drawn_db", "one draw of the cross-section at every aspect", "dB"),
        Variable("spread_db", "standard deviation of the draw about the profile", "dB"),
    )
    main_metric: str = "spread_db"
    rough_costs: RoughCosts = (({}, 0.02),)
    modules: tuple[str, ...] = ("disac.experiments.cross_section",)

    def run(self, scenarios: Sequence[CoherentScenario], options: Options) -> list[dict[str, Any]]:
        """Return one result per scenario. Every aspect has a draw of its own."""
        return cell_by_cell(_drawn, scenarios)


def _drawn(scenario: CoherentScenario) -> dict[str, Any]:
    target, channel = scenario.target, scenario.channel
    profile = lobed_profile(np.deg2rad(ASPECTS_DEG), target.lobe_swing_db, coherent_drop(scenario).lobe_rad)
    squares = np.empty(len(ASPECTS_DEG))
    for place, aspect in enumerate(ASPECTS_DEG):
        random = stream(channel.seed, "aspect", realisation=channel.realisation, aspect=int(aspect))
        squares[place] = square_amplitudes(random, SHAPE[target.law], (1,))[0]
    drawn, mean = 10.0 * np.log10(profile * squares), 10.0 * np.log10(profile)
    return {"status": "ok", "message": "", "profile_db": mean, "drawn_db": drawn, "spread_db": float((drawn - mean).std())}


experiment = CrossSection()

"""Scenes of the noncoherent family: nodes and targets, and for a design its error ellipses and beams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from disac.designs.location.of_scenario import BELIEFS, design_problem
from disac.experiments.ofdm_tradeoff import BASELINES, Options
from disac.metrics.location_error import error_ellipses, location_covariance
from disac.scenarios.noncoherent import Scenario
from disac.scenes.base import Scene, beams_of, marks_of, node_blocks, placed_nodes

NO_PLACES = "Users have no places here: their channels are drawn without positions."


def network_scene(scenario: Scenario) -> Scene:
    """Nodes and targets of a scenario; its users have no positions."""
    layout = scenario.layout
    return Scene(
        placed_nodes(layout.nodes, layout.orientation, layout.transmit_nodes, layout.receive_nodes), np.zeros((0, 2)),
        layout.targets, marks_of(layout.nodes, layout.orientation, layout.targets), notes=(NO_PLACES,),
    )  # fmt: skip


@dataclass(frozen=True)
class TradeoffScenes:
    """Scenes of the experiment ``ofdm-tradeoff``."""

    needs: tuple[str, ...] = ("stream_covariance",)

    def scene(self, scenario: Scenario, options: Options, stored: Mapping[str, Any] | None) -> Scene:
        """The network, and error ellipses and beams of the signal with the stored covariances.

        The squares of an ellipse's half axes, summed over targets, are the square of ``delivered_rcrb_m``.

        Parameters
        ----------
        stored
            ``stream_covariance`` [U.., L, D, D] of a cell with a design; None without one.
        """
        network = network_scene(scenario)
        if stored is None:
            return network
        sent = np.asarray(stored["stream_covariance"]).sum(axis=0)
        baseline = options.design in BASELINES
        belief = "noncoherent" if baseline else BELIEFS.get(options.design, "noncoherent")
        problem = design_problem(scenario, belief)
        bound = location_covariance(problem.information(sent), problem.targets)
        return replace(
            network,
            ellipses=() if bound is None else error_ellipses(bound, network.targets_m),
            beams=beams_of(node_blocks(sent, problem.nodes), scenario.layout.transmit_nodes),
            error_words="the bound of the signal that is sent, with the phases that its design knows",
        )


tradeoff = TradeoffScenes()

"""Scenes of the common network: nodes, users and the target, and for a design its error ellipse and beams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import BaseModel

from disac.designs.cross import band_problem, stated
from disac.designs.cross_evidence import covariances_of
from disac.drops.common import common_network
from disac.metrics.location_error import error_ellipses, location_covariance
from disac.scenarios.common import CommonScenario
from disac.scenes.base import MIRRORED, Scene, beams_of, marks_of, node_blocks, placed_nodes


@dataclass(frozen=True)
class CommonScenes:
    """Scenes of the experiment ``cross-table``."""

    needs: tuple[str, ...] = ("user_streams", "sensing_streams")

    def scene(self, scenario: CommonScenario, options: BaseModel, stored: Mapping[str, Any] | None) -> Scene:
        """The network, and the error ellipse and beams of the signal with the stored streams.

        The squares of the ellipse's half axes add up to the square of ``rcrb_m``.

        Parameters
        ----------
        stored
            ``user_streams`` [U, L, D, S] and ``sensing_streams`` [L, D, S] of a cell with a design; None without one.
        """
        network = common_network(scenario)
        nodes, target, everyone = network.nodes_m, network.target_m[np.newaxis], range(network.nodes)
        drawn = Scene(
            placed_nodes(nodes, "origin", everyone, everyone), network.users_m, target,
            marks_of(nodes, "origin", target, network.users_m), notes=(MIRRORED,),
        )  # fmt: skip
        if stored is None:
            return drawn
        sent = covariances_of(stored["user_streams"]).sum(axis=0) + covariances_of(stored["sensing_streams"])
        problem = band_problem(network, stated(scenario))
        bound = location_covariance(problem.information(sent), 1)
        return replace(
            drawn,
            ellipses=() if bound is None else error_ellipses(bound, target),
            beams=beams_of(node_blocks(sent, network.nodes), everyone),
            error_words="the bound of the signal that is sent, with clocks and phases known as the scenario states",
        )


scenes = CommonScenes()

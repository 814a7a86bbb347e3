"""Scenes of the coherent family: nodes, users and the target, and for a design its beams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import BaseModel

from disac.drops.coherent import coherent_drop
from disac.scenarios.coherent import CoherentScenario
from disac.scenes.base import MIRRORED, Scene, beams_of, marks_of, placed_nodes

NO_ERROR = "The experiment detects a target at a known place: there is no location error to draw."


@dataclass(frozen=True)
class CoherentScenes:
    """Scenes of the experiment ``robust-tradeoff``."""

    needs: tuple[str, ...] = ("user_beams", "sensing_covariance")

    def scene(self, scenario: CoherentScenario, options: BaseModel, stored: Mapping[str, Any] | None) -> Scene:
        """The network, and the beams of the stored signal.

        Parameters
        ----------
        stored
            ``user_beams`` [U, N, M] and ``sensing_covariance`` [N, M, M] of a cell with a design; None without one.
        """
        drop = coherent_drop(scenario)
        target, everyone = np.zeros((1, 2)), range(len(drop.nodes_m))
        drawn = Scene(
            placed_nodes(drop.nodes_m, "origin", everyone, everyone), drop.users_m, target,
            marks_of(drop.nodes_m, "origin", target, drop.users_m), notes=(NO_ERROR, MIRRORED),
        )  # fmt: skip
        if stored is None:
            return drawn
        users = stored["user_beams"]
        blocks = np.einsum("una,unb->nab", users, users.conj()) + stored["sensing_covariance"]
        return replace(drawn, beams=beams_of(blocks, everyone))


scenes = CoherentScenes()

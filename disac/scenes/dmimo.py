"""Scenes of D-MIMO networks: access points with their roles, users and targets, error ellipses and beams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from disac.drops.dmimo import DmimoDrop, dmimo_drop
from disac.experiments.dmimo_tradeoff import Options, sensing_echoes
from disac.metrics.location_error import error_ellipses, location_covariance
from disac.scenarios.dmimo import DmimoScenario
from disac.scenes.base import MIRRORED, Mark, Scene, beams_of, marks_of, node_blocks, placed_nodes


@dataclass(frozen=True)
class DmimoScenes:
    """Scenes of the experiment ``dmimo-tradeoff``."""

    needs: tuple[str, ...] = ("receivers",)

    def scene(self, scenario: DmimoScenario, options: Options, stored: Mapping[str, Any] | None) -> Scene:
        """The network, and the error ellipses and beams of the signals whose echoes locate the targets.

        The squares of an ellipse's half axes add up to the square of its entry of ``target_peb_m``.

        Parameters
        ----------
        stored
            ``receivers`` [M_r] of a cell with a result; None without one: then no access point has a role yet.
        """
        drop = dmimo_drop(scenario)
        everyone = range(scenario.layout.access_point_count)
        mirrored = scenario.channel.user_response == "printed"
        drawn = Scene(
            placed_nodes(drop.access_points_m, drop.orientation, everyone, everyone), drop.users_m, drop.targets_m,
            _marks(drop, mirrored=mirrored), notes=(MIRRORED,) if mirrored else (),
        )  # fmt: skip
        if stored is None:
            return drawn
        transmitters, receivers = scenario.layout.roles(tuple(int(number) for number in stored["receivers"]))
        nodes = placed_nodes(drop.access_points_m, drop.orientation, transmitters, receivers)
        bounds, sent = sensing_echoes(scenario, options)
        bound = location_covariance(bounds.information(sent), len(drop.targets_m))
        return replace(
            drawn,
            nodes=nodes,
            ellipses=() if bound is None else error_ellipses(bound, drop.targets_m),
            beams=beams_of(node_blocks(sent, len(transmitters)), transmitters),
            error_words="the bound by the signals that sense, with phases known as the scenario states",
        )


def _marks(drop: DmimoDrop, *, mirrored: bool) -> tuple[tuple[Mark, ...], ...]:
    """Directions of targets and users; users at the angle with the other sign where their channels are conjugate ones."""
    if mirrored:
        return marks_of(drop.access_points_m, drop.orientation, drop.targets_m, drop.users_m)
    targets = marks_of(drop.access_points_m, drop.orientation, drop.targets_m)
    users = marks_of(drop.access_points_m, drop.orientation, np.asarray(drop.users_m))
    return tuple((*own, *(replace(mark, kind="user") for mark in heard)) for own, heard in zip(targets, users, strict=True))


scenes = DmimoScenes()

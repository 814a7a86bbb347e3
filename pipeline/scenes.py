"""The network of one cell as a report draws it, and the search for what gives it.

An experiment may have *scenes*: an entry point in the group ``disac.scenes`` with the experiment's name. They stand beside the
experiment and not in it, so that an edit of a drawing changes no code digest and no cell runs again. An experiment without
scenes is drawn without a network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.installed import installed

SCENE_GROUP = "disac.scenes"


class Node(Protocol):
    """A node: its position (x, y), m; its boresight from the x axis, rad; what it does."""

    @property
    def position_m(self) -> tuple[float, float]: ...
    @property
    def boresight_rad(self) -> float: ...
    @property
    def transmits(self) -> bool: ...
    @property
    def receives(self) -> bool: ...


class Mark(Protocol):
    """A direction that the beam pattern of a node marks, from its boresight; folded to the front if it is ``behind``."""

    @property
    def kind(self) -> Literal["target", "user"]: ...
    @property
    def number(self) -> int: ...
    @property
    def angle_rad(self) -> float: ...
    @property
    def behind(self) -> bool: ...


class Ellipse(Protocol):
    """The ellipse of one standard deviation about a target: half axes, the longer one first, and its direction."""

    @property
    def centre_m(self) -> tuple[float, float]: ...
    @property
    def semi_axes_m(self) -> tuple[float, float]: ...
    @property
    def orientation_rad(self) -> float: ...


class Beam(Protocol):
    """What a node radiates over angles from its boresight, over its isotropic power (linear), and its share of all power."""

    @property
    def node(self) -> int: ...
    @property
    def angles_rad(self) -> NDArray[np.float64]: ...
    @property
    def gain(self) -> NDArray[np.float64]: ...
    @property
    def power_share(self) -> float: ...


class Scene(Protocol):
    """The network of one cell, and what its signal does there.

    ``users_m`` [U, 2] and ``targets_m`` [K, 2] are positions, m. ``marks`` has the marked directions of each node.
    ``error_words`` says what the ellipses are; ``notes`` are sentences for the reader.
    """

    @property
    def nodes(self) -> Sequence[Node]: ...
    @property
    def users_m(self) -> NDArray[np.float64]: ...
    @property
    def targets_m(self) -> NDArray[np.float64]: ...
    @property
    def marks(self) -> Sequence[Sequence[Mark]]: ...
    @property
    def ellipses(self) -> Sequence[Ellipse]: ...
    @property
    def beams(self) -> Sequence[Beam]: ...
    @property
    def error_words(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]: ...


class Scenes(Protocol):
    """The scenes of an experiment."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the stored variables from which ellipses and beams follow."""
        ...

    def scene(self, scenario: Any, options: Any, stored: Mapping[str, Any] | None) -> Scene:
        """Return the scene of a cell.

        Parameters
        ----------
        scenario, options
            The cell's, validated.
        stored
            The stored values of each variable in ``needs``; None if there are none: the scene is then the network alone.
        """
        ...


def scenes_of(experiment: str) -> Scenes | None:
    """Return the installed scenes of an experiment, by its name; None if it has none.

    Raises
    ------
    UsageError
        If several are installed.
    """
    found = list(installed(SCENE_GROUP).select(name=experiment))
    if len(found) > 1:
        raise UsageError(f"several scenes of the experiment '{experiment}' are installed: {', '.join(p.value for p in found)}")
    scenes: Scenes | None = found[0].load() if found else None
    return scenes


def scene_modules(experiment: str) -> list[str]:
    """Return the modules of an experiment's scenes: their code decides what a report draws."""
    return sorted({point.module for point in installed(SCENE_GROUP).select(name=experiment)})

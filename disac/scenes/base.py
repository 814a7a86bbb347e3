"""Scenes: the network of one cell as a drawing needs it, as plain data.

The faces find scenes by entry point (group ``disac.scenes``). No experiment reaches this package: an edit here runs no cell
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.geometry import Orientation, angles_rad, boresight_rad
from disac.metrics.beam_pattern import array_gain
from disac.metrics.location_error import Ellipse

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

SILENT = 1e-9
"""Share of the network's power below which a node is silent: it has no beam."""

ANGLES = 361
"""Number of angles of a pattern between -90 and 90 degrees: half a degree apart, twelve in the main lobe of 32 antennas."""


@dataclass(frozen=True)
class Node:
    """A node: its position (x, y), m; its boresight from the x axis, rad; what it does."""

    position_m: tuple[float, float]
    boresight_rad: float
    transmits: bool = True
    receives: bool = True


@dataclass(frozen=True)
class Mark:
    """A direction that a beam pattern marks: of a ``target`` or a ``user``, by its number, from the boresight, rad.

    A linear array radiates behind itself as in front: what is ``behind`` it is marked at the angle in front with the same sine.
    """

    kind: str
    number: int
    angle_rad: float
    behind: bool = False


@dataclass(frozen=True)
class Beam:
    """What a node radiates over angle.

    Attributes
    ----------
    node
        Number of the node.
    angles_rad, gain
        Angles from boresight [A], rad, and the power there over the node's isotropic power [A], linear.
    power_share
        The node's share of the network's power.
    """

    node: int
    angles_rad: Float
    gain: Float
    power_share: float


@dataclass(frozen=True)
class Scene:
    """The network of one cell.

    Attributes
    ----------
    nodes
        The nodes.
    users_m, targets_m
        Positions [U, 2] and [K, 2], m; no rows where the scenario gives no positions.
    marks
        For each node the directions that its pattern marks.
    ellipses
        Error ellipse of each target; none without a signal or a bound.
    beams
        Beam of each node that radiates; none without a signal.
    error_words
        What the ellipses are the bound of.
    notes
        Sentences on what the scene lacks, and how to read it.
    """

    nodes: tuple[Node, ...]
    users_m: Float
    targets_m: Float
    marks: tuple[tuple[Mark, ...], ...]
    ellipses: tuple[Ellipse, ...] = ()
    beams: tuple[Beam, ...] = ()
    error_words: str = ""
    notes: tuple[str, ...] = ()


def placed_nodes(
    nodes_m: Float, orientation: Orientation, transmitters: Sequence[int], receivers: Sequence[int]
) -> tuple[Node, ...]:  # fmt: skip
    """The nodes of a network with the direction that each array faces."""
    facing = boresight_rad(nodes_m, orientation)
    return tuple(
        Node((float(x), float(y)), float(turn), number in transmitters, number in receivers)
        for number, ((x, y), turn) in enumerate(zip(nodes_m, facing, strict=True))
    )


def marks_of(
    nodes_m: Float, orientation: Orientation, targets_m: Float, users_m: Float | None = None
) -> tuple[tuple[Mark, ...], ...]:  # fmt: skip
    """For each node the directions of the targets, and those at which users hear it over their direct path.

    A user hears ``h^H x`` with ``h`` along ``a(theta)``, a target is lit by ``a^T x`` (as 000 writes both). So a user at angle
    theta hears what a target at -theta is lit by.
    """
    targets = angles_rad(nodes_m, targets_m, orientation)
    users = np.zeros((len(nodes_m), 0)) if users_m is None else -angles_rad(nodes_m, users_m, orientation)
    return tuple(
        (
            *(_mark("target", k, float(angle)) for k, angle in enumerate(of_targets)),
            *(_mark("user", u, float(angle)) for u, angle in enumerate(of_users)),
        )
        for of_targets, of_users in zip(targets, users, strict=True)
    )


def _mark(kind: str, number: int, angle_rad: float) -> Mark:
    return Mark(kind, number, float(np.arcsin(np.sin(angle_rad))), abs(angle_rad) > np.pi / 2)


MIRRORED = (
    "Users hear h^H x and targets are lit by a^T x, as the papers write both: a user's mark stands at the angle with the other "
    "sign, where the pattern shows what its direct path carries."
)
"""The sentence on the marks of users."""


def beams_of(blocks: Complex, numbers: Sequence[int]) -> tuple[Beam, ...]:
    """The beams of nodes.

    Parameters
    ----------
    blocks
        Covariance of each node's signal, summed over subcarriers, [N, M, M], W or any unit.
    numbers
        Number of each of these nodes in the network.
    """
    angles = np.linspace(-np.pi / 2, np.pi / 2, ANGLES)
    power = np.real(np.trace(blocks, axis1=1, axis2=2))
    total = float(power.sum())
    return tuple(
        Beam(number, angles, array_gain(block, angles), float(own) / total)
        for number, block, own in zip(numbers, blocks, power, strict=True)
        if own > SILENT * total
    )


def node_blocks(covariances: Complex, nodes: int) -> Complex:
    """Covariance of each node's signal, summed over subcarriers, from covariances [L, N M, N M]: shape [N, M, M]."""
    whole = covariances.sum(axis=0)
    antennas = len(whole) // nodes
    blocks: Complex = np.einsum("nanb->nab", whole.reshape(nodes, antennas, nodes, antennas))
    return blocks

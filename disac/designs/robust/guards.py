"""Guards of the SINR for each robustness choice: margins on the wanted amplitude, interference and sensing leakage.

With ``s_k`` the guarded amplitude of user k's own beam, ``g_kj`` the guarded amplitude in which it hears beam j, and ``l_kn``
that of node n's sensing beam, every choice asks for ``s_k >= sqrt(Gamma) |(g_kj)_j, (l_kn)_n, sigma_c|`` (000, (29)-(31),
with squares of sums where Lemma 1 has lifted terms; equal for beams). All are convex, and of degree one in their own beam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.problem import Beams, RobustProblem

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Margins:
    """Margins of a choice on amplitudes.

    Attributes
    ----------
    by_node
        Errors are bounded at each node by itself, so that beams are sought in each node's own span.
    guards_balls
        Norm-bounded channel errors are guarded: a ball for each node, or one ball for all nodes together.
    guards_wanted
        The wanted amplitude is guarded too, not interference alone.
    stacks_leaks
        The leakage of one node's sensing beam is guarded against the error of all nodes together.
    guards_phases
        The phases of the nodes are guarded.
    """

    by_node: bool = False
    guards_balls: bool = False
    guards_wanted: bool = False
    stacks_leaks: bool = False
    guards_phases: bool = False


UNGUARDED = Margins()
"""Channels are taken as they are."""

LEMMA_1 = Margins(guards_balls=True)
"""The terms of Lemma 1 of 000, which are no worst case: the wanted amplitude has no margin."""

NODE_BALLS = Margins(by_node=True, guards_balls=True, guards_wanted=True)
"""A ball for each node."""

STACKED_BALL = Margins(guards_balls=True, guards_wanted=True, stacks_leaks=True)
"""One ball for all nodes together."""

PHASES = Margins(by_node=True, guards_wanted=True, guards_phases=True)
"""The phases themselves."""


@dataclass(frozen=True)
class Guard:
    """A choice's margins for beams in reduced coordinates: w_k = ``basis`` c_k.

    ``basis`` [N M, d] has orthonormal columns; no better beam leaves their span. ``heard`` [K, d] are the channels there and
    ``node_heard`` [N, K, d] their parts. Each of ``blocks`` is the set of coordinates that one error ball touches, of
    ``radius`` [blocks, K]; ``guards_wanted`` says whether the wanted amplitude is guarded too. ``arc_rad`` is the largest
    phase error where phases themselves are guarded. ``sensing_radius`` [N, K] guards the leakage of the sensing beams.
    ``lengths`` [d] scale the coordinates before the norm of a block is taken; all are one where none are given.
    """

    basis: Complex
    heard: Complex
    node_heard: Complex
    blocks: tuple[Index, ...]
    radius: Float
    guards_wanted: bool
    arc_rad: float
    sensing_radius: Float
    lengths: Float | None = None

    @property
    def exact(self) -> bool:
        """Whether the design covers no error and takes the channels as exact."""
        return not self.blocks and self.arc_rad == 0.0


def arc_guarded(problem: RobustProblem) -> float:
    """Phase error to guard, rad; none for one node, whose phase turns everything a user hears."""
    return problem.phase_error_rad if problem.nodes > 1 else 0.0


def guard_of(problem: RobustProblem, margins: Margins, basis: Complex | None = None) -> Guard:
    """Margins of a choice, in units in which power and noise are one.

    Parameters
    ----------
    basis
        Where beams are sought, [N M, d], node after node; the span that suffices under total power where none is given.

    Raises
    ------
    ValueError
        If phases are guarded and the phase error reaches a quarter turn.
    """
    if basis is None:
        basis = node_wise_basis(problem) if margins.by_node else _orthonormal(_stacked(problem.scaled_channels).T)
    heard = _stacked(problem.scaled_channels) @ basis.conj()
    node_heard = _by_node(problem.scaled_channels) @ basis.conj()
    arc = arc_guarded(problem) if margins.guards_phases else 0.0
    if not arc < np.pi / 2:
        raise ValueError(f"phase_error_rad {problem.phase_error_rad} is not below a quarter turn: no margin suffices")
    blocks: tuple[Index, ...] = ()
    radius = np.zeros((0, problem.users))
    if margins.guards_balls and margins.by_node:
        blocks = tuple(np.flatnonzero(np.abs(part).max(axis=0) > 0) for part in _rows_by_node(problem, basis))
        radius = problem.scaled_radius
    elif margins.guards_balls:
        blocks, radius = (np.arange(basis.shape[1]),), problem.stacked_radius[np.newaxis]
    return Guard(
        basis, heard, node_heard, blocks, radius, margins.guards_wanted, arc, _sensing_radius(problem, margins)
    )  # fmt: skip


def _rows_by_node(problem: RobustProblem, basis: Complex) -> Complex:
    """The rows of a basis [N M, d] that belong to each node, [N, M, d]."""
    return basis.reshape(problem.nodes, problem.antennas, -1)


def _sensing_radius(problem: RobustProblem, margins: Margins) -> Float:
    """Radius of the errors that guard the leakage of sensing beams, [N, K]; zero where it is not guarded."""
    if not margins.guards_balls:
        return np.zeros((problem.nodes, problem.users))
    if margins.stacks_leaks:
        return np.broadcast_to(problem.stacked_radius, (problem.nodes, problem.users))
    return problem.scaled_radius


def _stacked(channels: Complex) -> Complex:
    """``h_k`` [K, N M] of h_{n,k} [N, K, M]."""
    return channels.transpose(1, 0, 2).reshape(channels.shape[1], -1)


def _by_node(channels: Complex) -> Complex:
    """Each h_{n,k} at its place in the stack, [N, K, N M]."""
    nodes, users, antennas = channels.shape
    placed = np.zeros((nodes, users, nodes, antennas), dtype=np.complex128)
    placed[np.arange(nodes), :, np.arange(nodes)] = channels
    return placed.reshape(nodes, users, nodes * antennas)


def _orthonormal(columns: Complex) -> Complex:
    """Orthonormal basis of the span of columns [M, C]."""
    basis, triangle = np.linalg.qr(columns)
    size = np.abs(np.diag(triangle))
    if size.min() > 1e-12 * size.max():
        return basis
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, values > 1e-12 * values[0]]


def node_wise_basis(problem: RobustProblem) -> Complex:
    """Basis [N M, d] of the span of the users' channels at each node, node after node."""
    nodes, antennas = problem.nodes, problem.antennas
    parts = [_orthonormal(channel.T) for channel in problem.channels]
    basis = np.zeros((nodes * antennas, sum(part.shape[1] for part in parts)), dtype=np.complex128)
    column = 0
    for node, part in enumerate(parts):
        basis[node * antennas : (node + 1) * antennas, column : column + part.shape[1]] = part
        column += part.shape[1]
    return basis


def sensing_bases(problem: RobustProblem) -> Complex:
    """Bases [N, M, s] of the span of users' channels and target response at each node. The best sensing beams lie there."""
    span = np.concatenate([problem.scaled_channels.swapaxes(1, 2), problem.steering.conj()[..., np.newaxis]], axis=2)
    return np.linalg.qr(span)[0]


def arc_guarded_part(received: Complex, arc_rad: float) -> Float:
    """Guarded part of a node in the wanted amplitude: least ``Re(c y)`` over the corners c of the triangle around the arc.

    The corners are e^{+-j arc} and 1 / cos arc; it is the least over |phi| <= arc of ``Re(e^{j phi} y)`` wherever Re y >= 0.
    """
    real, imaginary = received.real, np.abs(received.imag)
    return np.minimum(np.cos(arc_rad) * real - np.sin(arc_rad) * imaginary, real / np.cos(arc_rad))


@dataclass(frozen=True)
class Amplitudes:
    """Guarded amplitudes: ``wanted`` s_k [K], ``heard`` g_kj [K, K] with zeros at k = j, ``leaks`` l_kn [K, N]."""

    wanted: Float
    heard: Float
    leaks: Float

    def sinr(self) -> Float:
        """Guarded SINR of every user with noise of unit power, [K]."""
        disturbed = (self.heard**2).sum(axis=1) + (self.leaks**2).sum(axis=1) + 1.0
        return np.maximum(self.wanted, 0.0) ** 2 / disturbed


def guarded_amplitudes(problem: RobustProblem, margins: Margins, users: Complex, sensing: Complex) -> Amplitudes:
    """Amplitudes with a choice's margins of beams [K, N, M] and [N, M] in units of the power limit, in full coordinates."""
    h = problem.scaled_channels
    parts = np.einsum("nkm,jnm->nkj", h.conj(), users)
    leaks = np.abs(np.einsum("nkm,nm->kn", h.conj(), sensing))
    together = parts.sum(axis=0)
    wanted, heard = np.abs(np.diagonal(together)), np.abs(together)
    if margins.guards_phases and arc_guarded(problem) > 0.0:
        arc = arc_guarded(problem)
        # A user may turn its received signal by any phase: by none, as the design's own beams ask for, or by its mean phase.
        own = np.diagonal(parts, axis1=1, axis2=2)
        turned = own * np.exp(-1j * np.angle(np.diagonal(together)))
        wanted = np.maximum(arc_guarded_part(own, arc).sum(axis=0), arc_guarded_part(turned, arc).sum(axis=0))
        heard = heard + 2.0 * np.sin(arc / 2.0) * np.abs(parts).sum(axis=0)
    if margins.guards_balls:
        norms = np.linalg.norm(users, axis=2)
        if margins.by_node:
            margin = problem.scaled_radius.T @ norms.T
        else:
            margin = problem.stacked_radius[:, np.newaxis] * np.linalg.norm(norms, axis=1)
        heard = heard + margin
        if margins.guards_wanted:
            wanted = wanted - np.diagonal(margin)
        leaks = leaks + _sensing_radius(problem, margins).T * np.linalg.norm(sensing, axis=1)
    return Amplitudes(wanted, heard * (1.0 - np.eye(len(users))), leaks)


def guarded_sinr(problem: RobustProblem, margins: Margins, beams: Beams) -> Float:
    """SINR of every user with a choice's margins, from the beams themselves, linear, [K].

    A promise of Gamma is kept where all entries reach it.
    """
    unit = 1.0 / np.sqrt(problem.power)
    return guarded_amplitudes(problem, margins, beams.users * unit, beams.sensing * unit).sinr()

"""How each robustness choice guards the SINR: margins on the wanted amplitude, on interference and on sensing leakage.

With ``s_k`` the guarded amplitude of user k's own beam, ``g_kj`` the guarded amplitude in which it hears beam j, and ``l_kn``
that of node n's sensing beam, every choice asks for ``s_k >= sqrt(Gamma) |(g_kj)_j, (l_kn)_n, sigma_c|`` (000, (29)-(31),
with squares of sums where Lemma 1 has lifted terms; equal for beams). All are convex, and of degree one in their own beam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.problem import Beams, Robustness, RobustProblem

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Guard:
    """A choice's margins for beams in reduced coordinates: w_k = ``basis`` c_k.

    ``basis`` [N M, d] has orthonormal columns; no better beam leaves their span. ``heard`` [K, d] are the channels there and
    ``node_heard`` [N, K, d] their parts. Each of ``blocks`` is the set of coordinates that one error ball touches, of
    ``radius`` [blocks, K]; ``guards_wanted`` says whether the wanted amplitude is guarded too. ``arc_rad`` is the largest
    phase error where phases themselves are guarded. ``sensing_radius`` [N, K] guards the leakage of the sensing beams.
    """

    basis: Complex
    heard: Complex
    node_heard: Complex
    blocks: tuple[Index, ...]
    radius: Float
    guards_wanted: bool
    arc_rad: float
    sensing_radius: Float

    @property
    def exact(self) -> bool:
        """Whether nothing is guarded: the channels are taken as they are."""
        return not self.blocks and self.arc_rad == 0.0


def arc_guarded(problem: RobustProblem) -> float:
    """Phase error to guard, rad; none for one node, whose phase turns everything a user hears."""
    return problem.phase_error_rad if problem.nodes > 1 else 0.0


def guard_of(problem: RobustProblem, robustness: Robustness, basis: Complex | None = None) -> Guard:
    """Margins of a choice, in units in which power and noise are one.

    Parameters
    ----------
    basis
        Where beams are sought, [N M, d], node after node; the span that suffices under total power where none is given.

    Raises
    ------
    ValueError
        If the choice is a matrix inequality, which has no such margins, or the phase error reaches a quarter turn.
    """
    nodes, users = problem.nodes, problem.users
    if basis is None:
        whole = robustness in ("none", "lemma1", "stacked-ball")
        basis = _orthonormal(_stacked(problem.scaled_channels).T) if whole else node_wise_basis(problem)
    heard = _stacked(problem.scaled_channels) @ basis.conj()
    node_heard = _by_node(problem.scaled_channels) @ basis.conj()
    everything: Index = np.arange(basis.shape[1])
    none = np.zeros((0, users))
    silent = np.zeros((nodes, users))
    if robustness == "none" or (robustness == "phase" and arc_guarded(problem) == 0.0):
        return Guard(basis, heard, node_heard, (), none, False, 0.0, silent)
    if robustness == "lemma1":
        radius = problem.stacked_radius[np.newaxis]
        return Guard(basis, heard, node_heard, (everything,), radius, False, 0.0, problem.scaled_radius)
    if robustness == "stacked-ball":
        radius = problem.stacked_radius[np.newaxis]
        leaks = np.broadcast_to(problem.stacked_radius, (nodes, users))
        return Guard(basis, heard, node_heard, (everything,), radius, True, 0.0, leaks)
    if robustness == "norm-ball":
        blocks = tuple(np.flatnonzero(np.abs(part).max(axis=0) > 0) for part in basis.reshape(nodes, problem.antennas, -1))
        return Guard(basis, heard, node_heard, blocks, problem.scaled_radius, True, 0.0, problem.scaled_radius)
    if robustness == "phase":
        if not arc_guarded(problem) < np.pi / 2:
            raise ValueError(f"phase_error_rad {problem.phase_error_rad} is not below a quarter turn: nothing is left to guard")
        return Guard(basis, heard, node_heard, (), none, True, arc_guarded(problem), silent)
    raise ValueError(f"'{robustness}' is a matrix inequality and has no margins on amplitudes")


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
    """Basis [N M, d] of what each node's users span there, node after node."""
    nodes, antennas = problem.nodes, problem.antennas
    parts = [_orthonormal(channel.T) for channel in problem.channels]
    basis = np.zeros((nodes * antennas, sum(part.shape[1] for part in parts)), dtype=np.complex128)
    column = 0
    for node, part in enumerate(parts):
        basis[node * antennas : (node + 1) * antennas, column : column + part.shape[1]] = part
        column += part.shape[1]
    return basis


def sensing_bases(problem: RobustProblem) -> Complex:
    """Bases [N, M, s] of what each node's users and target span there: no better sensing beam leaves it."""
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


def guarded_amplitudes(problem: RobustProblem, robustness: Robustness, users: Complex, sensing: Complex) -> Amplitudes:
    """Amplitudes with a choice's margins of beams [K, N, M] and [N, M] in units of the power limit, in full coordinates."""
    h = problem.scaled_channels
    parts = np.einsum("nkm,jnm->nkj", h.conj(), users)
    leaks = np.abs(np.einsum("nkm,nm->kn", h.conj(), sensing))
    together = parts.sum(axis=0)
    wanted, heard = np.abs(np.diagonal(together)), np.abs(together)
    norms, sensing_norms = np.linalg.norm(users, axis=2), np.linalg.norm(sensing, axis=1)
    if robustness == "phase" and arc_guarded(problem) > 0.0:
        arc = arc_guarded(problem)
        # A user may turn what it hears by any one phase: none, as the design's own beams ask for, or its mean phase.
        own = np.diagonal(parts, axis1=1, axis2=2)
        turned = own * np.exp(-1j * np.angle(np.diagonal(together)))
        wanted = np.maximum(arc_guarded_part(own, arc).sum(axis=0), arc_guarded_part(turned, arc).sum(axis=0))
        heard = heard + 2.0 * np.sin(arc / 2.0) * np.abs(parts).sum(axis=0)
    elif robustness == "norm-ball":
        margin = problem.scaled_radius.T @ norms.T
        wanted, heard = wanted - np.diagonal(margin), heard + margin
        leaks = leaks + problem.scaled_radius.T * sensing_norms
    elif robustness in ("lemma1", "stacked-ball"):
        margin = problem.stacked_radius[:, np.newaxis] * np.linalg.norm(norms, axis=1)
        heard = heard + margin
        if robustness == "stacked-ball":
            wanted = wanted - np.diagonal(margin)
            leaks = leaks + problem.stacked_radius[:, np.newaxis] * sensing_norms
        else:
            leaks = leaks + problem.scaled_radius.T * sensing_norms
    return Amplitudes(wanted, heard * (1.0 - np.eye(len(users))), leaks)


def guarded_sinr(problem: RobustProblem, robustness: Robustness, beams: Beams) -> Float:
    """SINR of every user with a choice's margins, from the beams themselves, linear, [K].

    A promise of Gamma is kept where all entries reach it.
    """
    unit = 1.0 / np.sqrt(problem.power)
    return guarded_amplitudes(problem, robustness, beams.users * unit, beams.sensing * unit).sinr()

"""Beams and sensing signals from stream covariances, for the extractions of all designs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.problem import DesignProblem, Structure

Complex = NDArray[np.complex128]

FEASIBLE = 1e-6
"""Largest relative violation of a power limit or of the SINR that is accepted of transmitted beams."""


def node_beams(problem: DesignProblem, streams: Complex) -> Complex:
    """Beam ``w_n = R_{c,n} h_n / sqrt(h_n^H R_{c,n} h_n)`` of every node, user and subcarrier (002, (27) and (33)).

    Each beam keeps the received power of its user, ``h^H w w^H h = h^H R_c h``, and ``w w^H <= R_{c,n}``. The phases of the
    beams of different nodes are unrelated. The beam is zero where a node sends nothing to the user.

    Parameters
    ----------
    streams
        Covariances of the users' streams [U, L, D, D]; only their node blocks are used.

    Returns
    -------
    complex128, shape [U, L, D]
    """
    beams = np.zeros(streams.shape[:3], dtype=np.complex128)
    for node in range(problem.nodes):
        mine, channel = problem.node_antennas(node), problem.channels[node]
        image = np.einsum("ulij,ulj->uli", streams[:, :, mine[:, np.newaxis], mine], channel)
        gain = np.einsum("uli,uli->ul", channel.conj(), image).real
        beams[:, :, mine] = image / np.sqrt(np.where(gain > 0, gain, np.inf))[..., np.newaxis]
    return beams


def stacked_beams(problem: DesignProblem, streams: Complex) -> Complex:
    """Beam ``w = R_c h / sqrt(h^H R_c h)`` with the stacked channel h of all nodes; it keeps the coherent received power.

    Parameters
    ----------
    streams
        Covariances of the users' streams, shape [U, L, D, D].

    Returns
    -------
    complex128, shape [U, L, D]
    """
    h = problem.channels.transpose(1, 2, 0, 3).reshape(*streams.shape[:3])
    image = np.einsum("ulij,ulj->uli", streams, h)
    gain = np.einsum("uli,uli->ul", h.conj(), image).real
    beams: Complex = image / np.sqrt(np.where(gain > 0, gain, np.inf))[..., np.newaxis]
    return beams


def heard_directions(problem: DesignProblem, streams: Complex) -> tuple[Complex, NDArray[np.float64]]:
    """Directions of each user's stream that the user receives, and their received powers, strongest first.

    Let v_i be the left singular vectors of ``X = R_c^{1/2} blkdiag(h_n)``. The directions are ``x_i = R_c^{1/2} v_i``, with
    the received power ``x_i^H B x_i``. They satisfy ``sum_i x_i x_i^H <= R_c`` and ``x_i^H B x_j = 0`` for i != j.

    Parameters
    ----------
    streams
        Covariances of the users' streams, shape [U, L, D, D].

    Returns
    -------
    directions, power
        Shapes [U, L, D, N] and [U, L, N].
    """
    values, vectors = np.linalg.eigh(streams)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))[..., np.newaxis, :]) @ vectors.conj().swapaxes(-1, -2)
    heard = np.zeros((*streams.shape[:3], problem.nodes), dtype=np.complex128)
    for node in range(problem.nodes):
        heard[:, :, problem.node_antennas(node), node] = problem.channels[node]
    left, amplitude, _ = np.linalg.svd(root @ heard, full_matrices=False)
    return root @ left, amplitude**2


def cycled_beams(problem: DesignProblem, streams: Complex, sinr: float) -> tuple[Complex, Complex]:
    """Beams with a period of a few symbols that keep every SINR (22) and the covariances, for covariances of any rank.

    The directions x_i of :func:`heard_directions` carry all of the user's received power. The beams combine them by a Fourier
    matrix, ``w(t) = sum_i exp(j 2 pi i t / S) x_i``. Their mean covariance is ``sum_i x_i x_i^H``, and the wanted power is
    ``tr(B R_c)`` in every symbol. There are at most N directions. If one direction carries all power, the beams are constant.
    The rest of R_c is a sensing signal that its own user does not receive.

    Parameters
    ----------
    streams
        Stream covariances, the users' first, shape [U.., L, D, D].
    sinr
        Promised SINR, linear. It decides how much of a user's power may be left out of the beams; that power interferes.

    Returns
    -------
    beams, remainder
        Shapes [S, U, L, D] and [L, D, D]: beams of each symbol of the cycle, and the sensing covariance.
    """
    directions, power = heard_directions(problem, streams[: problem.users])
    beyond = power[..., ::-1].cumsum(axis=-1)[..., ::-1] / power.sum(axis=-1, keepdims=True)
    # Power that is left out becomes interference: it lowers the SINR 1 + Gamma times its share. Half of FEASIBLE is allowed.
    needed = int((beyond * (1.0 + sinr) > 0.5 * FEASIBLE).sum(axis=-1).max())
    turn = np.exp(2j * np.pi * np.outer(np.arange(needed), np.arange(needed)) / needed)
    beams = np.moveaxis(directions[..., :needed] @ turn, -1, 0)
    return beams, streams.sum(axis=0) - mean_covariance(beams).sum(axis=0)


def mean_covariance(beams: Complex) -> Complex:
    """Mean of ``w w^H`` over the symbols of the cycle, for each user's stream: [S, U, L, D] to [U, L, D, D]."""
    along = np.moveaxis(beams, 0, -1)
    return along @ along.conj().swapaxes(-1, -2) / beams.shape[0]


def keeps_all(problem: DesignProblem, structure: Structure) -> bool:
    """Whether rank-one beams keep every SINR and the covariances, since each user's power comes over one channel vector.

    This holds where users add up amplitudes, and where no stream of a user is correlated between nodes. Then ``w w^H <= R_c``
    (Cauchy-Schwarz), and the rest is a sensing signal. For the orthogonal design this is Theorem 3 of 002.
    """
    alone = all(
        part.antennas.min() // problem.antennas == part.antennas.max() // problem.antennas
        for part in structure.parts if max(part.users) >= 0
    )  # fmt: skip
    return (alone and not structure.loose) or problem.sinr_type == "coherent"


def exact_beams(problem: DesignProblem, structure: Structure, streams: Complex) -> tuple[Complex, Complex]:
    """Beams and sensing remainder ``R_s = R - sum_u w_u w_u^H`` of a design for which :func:`keeps_all` is true.

    Beams of different parts are uncorrelated, since nodes that send the same symbols to a user scramble them.

    Parameters
    ----------
    streams
        Stream covariances, the users' first, shape [U.., L, D, D].

    Returns
    -------
    beams, remainder
        Shapes [1, U, L, D] and [L, D, D]; the remainder is positive semidefinite.
    """
    own = streams[: problem.users]
    beams = (stacked_beams if problem.sinr_type == "coherent" else node_beams)(problem, own)
    rank_one = np.einsum("uli,ulj->lij", beams, beams.conj()) * structure.together(problem)
    return beams[np.newaxis], streams.sum(axis=0) - rank_one

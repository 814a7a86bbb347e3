"""Beams and sensing signals from stream covariances: what the designs' extractions share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.problem import DesignProblem, Structure

Complex = NDArray[np.complex128]

FEASIBLE = 1e-6
"""Relative: what beams that are sent may miss of a power limit or of the SINR."""


def node_beams(problem: DesignProblem, streams: Complex) -> Complex:
    """``w_n = R_{c,n} h_n / sqrt(h_n^H R_{c,n} h_n)`` of every node, user and subcarrier (002, (27) and (33)).

    Each keeps its user's received power, ``h^H w w^H h = h^H R_c h``, and ``w w^H <= R_{c,n}``; its phase says nothing of the
    other nodes'. Zero where a node sends nothing to the user.

    Parameters
    ----------
    streams
        Covariances of the users' streams [U, L, D, D]; their node blocks count.

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
    """``w = R_c h / sqrt(h^H R_c h)`` with the stacked channel h of all nodes: keeps the coherent received power.

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
    """What each user hears of its own stream, direction by direction, the loudest first.

    With ``X = R_c^{1/2} blkdiag(h_n)`` and its left singular vectors v_i: ``x_i = R_c^{1/2} v_i``, of power ``x_i^H B x_i``.
    ``sum_i x_i x_i^H <= R_c``, and they do not mix, ``x_i^H B x_j = 0``.

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
    """Beams that repeat after a few symbols and together keep every SINR (22) and the covariances, whatever their rank.

    The directions x_i of :func:`heard_directions` hold all of the user's power. Sent in turn through a Fourier matrix,
    ``w(t) = sum_i exp(j 2 pi i t / S) x_i``, they have the mean covariance ``sum_i x_i x_i^H``, and the same wanted power
    ``tr(B R_c)`` in every symbol. There are at most N directions; where one holds all, the beams are constant. What is left of
    R_c is a sensing signal that its own user does not hear.

    Parameters
    ----------
    streams
        Stream covariances, the users' first, shape [U.., L, D, D].
    sinr
        Promised SINR, linear: how much of a user's power may be left out, becoming interference.

    Returns
    -------
    beams, remainder
        Shapes [S, U, L, D] and [L, D, D]: beams of each symbol of the cycle, and the sensing covariance.
    """
    directions, power = heard_directions(problem, streams[: problem.users])
    beyond = power[..., ::-1].cumsum(axis=-1)[..., ::-1] / power.sum(axis=-1, keepdims=True)
    # A share left out is interference, 1 + Gamma times as harmful; half of what beams may miss.
    needed = int((beyond * (1.0 + sinr) > 0.5 * FEASIBLE).sum(axis=-1).max())
    turn = np.exp(2j * np.pi * np.outer(np.arange(needed), np.arange(needed)) / needed)
    beams = np.moveaxis(directions[..., :needed] @ turn, -1, 0)
    return beams, streams.sum(axis=0) - mean_covariance(beams).sum(axis=0)


def mean_covariance(beams: Complex) -> Complex:
    """``w w^H`` of each user's stream, averaged over the symbols of the cycle: [S, U, L, D] to [U, L, D, D]."""
    along = np.moveaxis(beams, 0, -1)
    return along @ along.conj().swapaxes(-1, -2) / beams.shape[0]


def keeps_all(problem: DesignProblem, structure: Structure) -> bool:
    """Whether rank-one beams keep every SINR and the covariances: each user's power comes over one channel vector.

    So it is where users add up amplitudes, and where no stream of a user is correlated between nodes: with ``w w^H <= R_c``
    (Cauchy-Schwarz) the rest is a sensing signal. For the orthogonal design this is Theorem 3 of 002.
    """
    alone = all(
        len(np.unique(part.antennas // problem.antennas)) == 1 for part in structure.parts if max(part.users) >= 0
    )  # fmt: skip
    return (alone and not structure.loose) or problem.sinr_type == "coherent"


def exact_beams(problem: DesignProblem, structure: Structure, streams: Complex) -> tuple[Complex, Complex]:
    """Beams and sensing remainder ``R_s = R - sum_u w_u w_u^H`` where they keep everything (:func:`keeps_all`).

    Beams of different parts are uncorrelated: nodes that send a user the same symbols scramble them.

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

"""Effect of the nodes' unknown phases on a design: its location bound, its SINR and its rate over random phases.

A noncoherent network does not know the phases phi_n of its oscillators. Turning them leaves every signal's power as it is and
changes what adds up across nodes: the location information between transmitters, and the users' sums of the nodes' beams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def crb_under_phases(
    pieces: Sequence[tuple[NDArray[np.intp], Complex]],
    covariances: Complex,
    noise_power: float,
    targets: int,
    phases_rad: Float,
) -> Float:
    """Location CRB of a transmitted signal when the nodes' phases are turned.

    ``F(phi) = (2 L / sigma_s^2) Re sum_{m,m'} e^{j(phi_m - phi_m')} sum_{n,l} tr(dH_{i,m'}^H dH_{k,m} R_{mm',l})``: turned
    covariances, the amplitudes being unknown anyway.

    Parameters
    ----------
    pieces
        Derivatives of the echoes receiver by receiver, with the numbers of their parameters
        (:func:`disac.metrics.fisher.receiver_derivatives`).
    covariances
        ``R_l``, shape [L, N_t M_t, N_t M_t].
    noise_power
        ``sigma_s^2`` over all subcarriers.
    targets
        Number of targets K: the first 2K parameters are their locations.
    phases_rad
        Phases of the transmitting nodes, shape [draws, N_t].

    Returns
    -------
    float64, shape [draws], m^2
    """
    subcarriers, nodes = len(covariances), phases_rad.shape[1]
    antennas = covariances.shape[-1] // nodes
    parameters = 1 + max(int(touched.max()) for touched, _ in pieces)
    blocks = covariances.reshape(subcarriers, nodes, antennas, nodes, antennas)
    # The sum is Hermitian: one of a pair and its mirror image is enough.
    pairs = [pair for pair in combinations_with_replacement(range(nodes), 2) if np.any(blocks[:, pair[0], :, pair[1]])]
    grams = np.zeros((len(pairs), parameters, parameters), dtype=np.complex128)
    for touched, seen in pieces:
        parts = [np.ascontiguousarray(seen[..., node * antennas : (node + 1) * antennas]) for node in range(nodes)]
        for number, (m, other) in enumerate(pairs):
            weighted = (parts[m] @ blocks[:, m, :, other]).reshape(len(touched), -1)
            grams[number][np.ix_(touched, touched)] += weighted @ parts[other].reshape(len(touched), -1).conj().T
    # If nodes are uncorrelated, all draws give the same bound.
    together = any(m != other for m, other in pairs)
    turn = np.exp(1j * phases_rad if together else 0j * phases_rad[:1])
    first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    weights = np.where(first == second, 1.0, 2.0) * turn[:, first] * turn[:, second].conj()
    gram = np.real(np.tensordot(weights, grams, axes=1))
    information = (subcarriers / noise_power) * (gram + np.swapaxes(gram, -1, -2))
    q = 2 * targets
    # Rounding may leave a little less than zero where signals of nodes cancel.
    scale = np.sqrt(np.maximum(np.einsum("dii->di", information), 0.0))
    kept = np.flatnonzero((scale > 0).all(axis=0))
    if not np.array_equal(kept[:q], np.arange(q)):
        return np.full(len(phases_rad), np.inf)
    scaled = information[:, kept[:, np.newaxis], kept] / (scale[:, kept, np.newaxis] * scale[:, np.newaxis, kept])
    values, vectors = np.linalg.eigh(scaled)
    rows = vectors[:, :q] / scale[:, kept[:q], np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        crb = np.sum(rows**2 / values[:, np.newaxis], axis=(1, 2))
    singular = values[:, 0] <= 1e-13 * values[:, -1]
    return np.broadcast_to(np.where(singular, np.inf, crb), len(phases_rad)).copy()


@dataclass(frozen=True)
class PhaseRates:
    """Rates over phases: ``honest_se`` = E log2(1 + SINR(phi)) and ``nominal_se`` = log2(1 + the noncoherent SINR), both means
    over users and subcarriers, bit/s/Hz; ``sinr_p5`` is the 5 % quantile of SINR(phi), linear.
    """

    honest_se: float
    nominal_se: float
    sinr_p5: float


def phase_rates(
    channels: Complex, beams: Complex, remainder: Complex, noise_power: float, phases_rad: Float, code: Complex
) -> PhaseRates:
    """Rates where each user knows its channel, phases included, in every symbol, and the network knows no phase.

    All nodes send a user the same symbol, so in symbol t it hears ``|sum_n e^{j phi_n} c_n(t) h_n^H w_n(t)|^2``: the ratio (7)
    of 002 of expected powers is not the SINR of any symbol. Where noise dominates, the rate of that ratio cannot be reached
    (Jensen).

    Parameters
    ----------
    channels
        Shape [N, U, L, M_t].
    beams
        Beams of each symbol of a cycle, shape [S, U, L, N M_t].
    remainder
        Sensing covariance, shape [L, N M_t, N M_t].
    noise_power
        ``sigma_c^2`` over all subcarriers.
    phases_rad
        Shape [draws, N].
    code
        Known factors of each node's symbols, shape [N, symbols]; ones where the symbols are not scrambled.
    """
    nodes, users, subcarriers, antennas = channels.shape
    split = beams.reshape(-1, users, subcarriers, nodes, antennas)
    # gain of stream v at user u through node n in symbol s
    gains = np.einsum("nulm,svlnm->suvln", channels.conj(), split)
    symbols = np.lcm(len(beams), code.shape[1])
    in_turn = code.T[np.arange(symbols) % code.shape[1]][:, np.newaxis, np.newaxis, np.newaxis] * np.resize(
        gains, (symbols, *gains.shape[1:])
    )
    turn = np.exp(1j * phases_rad)
    heard = np.abs(np.einsum("dn,suvln->dsuvl", turn, in_turn, optimize=True)) ** 2
    blocks = remainder.reshape(subcarriers, nodes, antennas, nodes, antennas)
    across = np.einsum(
        "nulm,lnmkp,kulp->ulnk", channels.conj(), blocks, channels, optimize=True
    )  # power of the sensing signal between nodes, as each user hears it
    # The sensing signal carries the symbols' factors, too.
    scrambled = turn[:, np.newaxis] * code.T
    sensing = np.einsum("dtn,ulnk,dtk->dtul", scrambled, across, scrambled.conj(), optimize=True).real
    sensing = sensing[:, np.arange(symbols) % code.shape[1]]
    own = np.einsum("dsuul->dsul", heard)
    noise = noise_power / subcarriers
    sinr = own / (heard.sum(axis=3) - own + np.maximum(sensing, 0.0) + noise)
    power = (np.abs(gains) ** 2).mean(axis=0).sum(axis=-1)
    mine = np.einsum("uul->ul", power)
    silent = np.einsum("ulnn->ul", across).real
    nominal = mine / (power.sum(axis=1) - mine + np.maximum(silent, 0.0) + noise)
    return PhaseRates(
        float(np.log2(1.0 + sinr).mean()), float(np.log2(1.0 + nominal).mean()), float(np.quantile(sinr, 0.05))
    )  # fmt: skip

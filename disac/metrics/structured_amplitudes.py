"""Bounds with amplitudes that follow the radar equation, and what each target's position error is.

With free amplitudes the magnitude of every link is a parameter of its own. A structured amplitude has one magnitude per target,

    ln |b_nmk| = ln A_k - ln d_n^k - ln d_m^k,

so that the magnitudes also tell a little about the position, and that targets in the same beam are told apart. Its
information is a congruence ``T F T^T`` of the information with free amplitudes: no derivative is taken anew. An amplitude that
may not be negative (004 has a gain, real and positive) has the bound of a free one, since a constraint that is not active
changes no bound; which wrong lobes exist does differ (:mod:`disac.metrics.lobe_probability`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from disac.geometry import delays_s
from disac.metrics.access_point_terms import Amplitudes
from disac.metrics.fisher import (
    Localization,
    SensingModel,
    attenuation,
    information_by_receiver,
    location_jacobian,
    location_prior,
    receiver_derivatives,
)
from disac.metrics.location_error import location_covariance
from disac.units import SPEED_OF_LIGHT_M_S

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def structure(model: SensingModel, localization: Localization = "hybrid") -> Float:
    """``T``: from the parameters with one magnitude per target to those with one per link, [P', P].

    P are the parameters of :func:`disac.metrics.fisher.location_derivatives`. P' are the same ones up to the amplitudes, then
    the phases (along the oscillators' and targets' directions where the links' phases are known, of each link otherwise), then
    ``ln A_k`` of each target.
    """
    receivers, transmitters = list(model.receive_nodes), list(model.transmit_nodes)
    nodes, targets, links = len(model.nodes_m), len(model.targets_m), model.links
    known = model.synchronisation
    prior = location_prior(model, localization)
    moved = known is not None and known.node_position_std_m > 0
    dense = len(location_jacobian(model, localization)) - 2 * links
    first = dense + (2 * nodes if moved else 0) + (nodes - 1 if known is not None and known.clock_std_s > 0 else 0)
    b = model.amplitudes.reshape(-1)
    # What stretches each link's amplitude, as a row per link over the parameters with one magnitude per link.
    stretch, turn = np.zeros((links, len(prior))), np.zeros((links, len(prior)))
    each = np.arange(links)
    if known is not None and known.link_phase_std_rad == 0:
        phases = len(prior) - first - links
        stretch[each, first + phases + each] = 1.0
        turn = np.eye(len(prior))[first : first + phases]
    else:
        stretch[each, first + each], stretch[each, first + links + each] = b.real, b.imag
        turn[each, first + each], turn[each, first + links + each] = -b.imag, b.real
    # d ln b / d position of the target and of the nodes.
    away = model.targets_m[np.newaxis] - model.nodes_m[:, np.newaxis]
    fall = -away / (delays_s(model.nodes_m, model.targets_m)[..., np.newaxis] * SPEED_OF_LIGHT_M_S) ** 2  # [N, K, 2]
    of_location, of_nodes = np.zeros((first, links)), np.zeros((targets, links))
    for number, (r, t, target) in enumerate(np.ndindex(len(receivers), len(transmitters), targets)):
        for node in (receivers[r], transmitters[t]):
            of_location[[target, targets + target], number] += fall[node, target]
            if moved:
                of_location[[dense + node, dense + nodes + node], number] -= fall[node, target]
        of_nodes[target, number] = 1.0
    rows = np.eye(len(prior))[:first] + of_location @ stretch
    return np.concatenate([rows, turn, of_nodes @ stretch])


def location_information(
    model: SensingModel,
    covariances: Complex,
    amplitudes: Amplitudes = "sign-free",
    localization: Localization = "hybrid",
) -> Float:
    """Hybrid information on all parameters, positions of the targets first (all x, then all y), [P, P].

    Any waveform counts through its covariances: where only the sensing signal is used, one transmitter at a time, they are
    block-diagonal; where everything that is sent is known, they are the sample covariance of all transmitters together.

    Parameters
    ----------
    covariances
        ``R_l`` of the stacked signal, [L, N_t M_t, N_t M_t], in the unit of the model's noise power; for a block of symbols the
        sum over them.
    """
    pieces = receiver_derivatives(model, localization)
    prior = location_prior(model, localization)
    found = information_by_receiver(pieces, len(prior), covariances * attenuation(model), model.noise_power) + prior
    if amplitudes != "structured":
        return found
    congruence = structure(model, localization)
    return congruence @ found @ congruence.T


def target_errors_m(information: Float, targets: int) -> Float:
    """Bound on the position error of each target, [K], m; infinite where one of them cannot be located.

    Parameters
    ----------
    information
        Of :func:`location_information`.
    """
    covariance = location_covariance(information, targets)
    if covariance is None:
        return np.full(targets, np.inf)
    return np.sqrt(np.diag(covariance).reshape(2, targets).sum(axis=0))


def phase_averaged_errors_m(
    model: SensingModel, covariances: Complex, phases_rad: Float, amplitudes: Amplitudes = "sign-free"
) -> Float:  # fmt: skip
    """Root of the mean squared bound over reflection phases of the targets, [K], m: what an error over trials is compared with.

    The bound of several targets depends on the phases between them by a few per cent; that of one target does not.

    Parameters
    ----------
    phases_rad
        Draws of each target's phase, which are added to those of the model, [D, K].
    """
    squares = np.zeros(len(model.targets_m))
    for phase in phases_rad:
        turned = replace(model, amplitudes=model.amplitudes * np.exp(1j * phase))
        squares += target_errors_m(location_information(turned, covariances, amplitudes), len(model.targets_m)) ** 2
    return np.sqrt(squares / len(phases_rad))

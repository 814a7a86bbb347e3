"""Derivatives of the echoes in the signal space of each receiver, with the rank-one factors that make solvers fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import baseband_hz, delay_vector, signal_space_coordinates, steering_derivative, steering_vector
from disac.geometry import angles_rad, delays_s
from disac.metrics.fisher import SensingModel
from disac.metrics.synchronisation import clock_basis, coherent_phases, slot_weights, spread

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class EchoFactors:
    """Derivatives of the echoes in coordinates of each receiver's signal space.

    ``dense`` [D, N_r, L, S rho, N_t e]: location, unknown angles or delays, clocks; ``receive`` [N_r, K, rho]: steering
    vectors of the targets; ``transmit`` [N_t, K, e]: the same in the transmitters' coordinates; ``receive_delay`` [N_r, K, L]
    and ``transmit_delay`` [N_t, K, L]: one-way responses d_l(tau); ``slots`` [S, L, N_t]: factor with which each slot of the
    receiver sees each transmitter. Where the links' phases are known exactly, amplitudes are no atoms; their remaining
    parameters come last in ``dense``.
    """

    dense: Complex
    receive: Complex
    transmit: Complex
    receive_delay: Complex
    transmit_delay: Complex
    slots: Float


def echo_basis(model: SensingModel) -> Complex:
    """Orthonormal basis of what is seen of each node's signal: of ``a_t(theta)^*`` of all targets and their derivatives.

    Returns
    -------
    complex128, shape [N_t, M_t, e]
        With e = 2K, or M_t where that is less.
    """
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)[list(model.transmit_nodes)]
    steered: list[Complex] = [f(angle, model.transmit_antennas) for f in (steering_vector, steering_derivative)]
    columns = np.concatenate(steered, axis=1).conj().swapaxes(-1, -2)
    return np.asarray(np.linalg.qr(columns)[0], dtype=np.complex128)


def echo_factors(model: SensingModel, jacobian: Float, basis: Complex) -> EchoFactors:
    """Derivatives of (5) of 002 with respect to the rows of ``jacobian`` (in theta and tau), and their rank-one factors.

    Parameters
    ----------
    jacobian
        Shape [D, 2 K N]: theta node-major, then tau node-major. With a synchronisation, the clock offsets follow.
    basis
        Coordinates of each node's signal, shape [N_t, M_t, e]. Targets see nothing else of it (:func:`echo_basis`).
    """
    nodes, targets, subcarriers = len(model.nodes_m), len(model.targets_m), model.subcarriers
    receivers, transmitters = list(model.receive_nodes), list(model.transmit_nodes)
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    delay = delays_s(model.nodes_m, model.targets_m)
    one_way = delay_vector(delay, subcarriers, model.bandwidth_hz)
    receive, d_receive = (f(angle[receivers], model.receive_antennas) for f in (steering_vector, steering_derivative))
    transmit, d_transmit = (f(angle[transmitters], model.transmit_antennas) for f in (steering_vector, steering_derivative))
    transmit, d_transmit = transmit @ basis, d_transmit @ basis
    receive, d_receive = signal_space_coordinates(receive, d_receive)
    phase = model.amplitudes[..., np.newaxis] * one_way[receivers, np.newaxis] * one_way[transmitters]
    by_angle, by_delay = jacobian.reshape(-1, 2, nodes, targets).transpose(1, 0, 2, 3)
    shift = by_delay[:, receivers, np.newaxis] + by_delay[:, np.newaxis, transmitters]
    rate = np.multiply.outer(shift, model.delay_rate)
    known = model.synchronisation
    if known is not None and known.clock_std_s > 0:
        clock = clock_basis(nodes)
        offset = (clock[receivers, np.newaxis] - clock[transmitters]).transpose(2, 0, 1)
        baseband = -2j * np.pi * baseband_hz(subcarriers, model.bandwidth_hz)
        clocks = np.multiply.outer(offset, baseband)[:, :, :, np.newaxis].repeat(targets, axis=3)
        rate = np.concatenate([rate, clocks])
        still = np.zeros((len(clocks), *by_angle.shape[1:]))
        by_angle = np.concatenate([by_angle, still])
    dense = np.einsum("pnmkl,nmkl,nki,mkj->pnlimj", rate, phase, receive, transmit, optimize=True)
    dense = dense + np.einsum(
        "pnk,nmkl,nki,mkj->pnlimj", by_angle[:, receivers], phase, d_receive, transmit, optimize=True
    )  # fmt: skip
    dense = dense + np.einsum(
        "pmk,nmkl,nki,mkj->pnlimj", by_angle[:, transmitters], phase, receive, d_transmit, optimize=True
    )  # fmt: skip
    if known is not None and known.link_phase_std_rad == 0:
        unit = np.zeros((model.links, *dense.shape[1:]), dtype=np.complex128)
        for e, (n, m, k) in enumerate(np.ndindex(model.amplitudes.shape)):
            one = one_way[receivers[n], k] * one_way[transmitters[m], k]
            unit[e, n, :, :, m] = np.einsum("l,i,j->lij", one, receive[n, k], transmit[m, k])
        roles = (model.receive_nodes, model.transmit_nodes, nodes, targets)
        dense = np.concatenate([dense, coherent_phases(unit, model.amplitudes, known.phase_directions(*roles)[0])])
    dense = dense.reshape(*dense.shape[:4], -1)
    slots = np.ones((1, subcarriers, len(transmitters)))
    if known is not None:
        coherence = known.coherence(subcarriers, model.bandwidth_hz)
        dense, slots = spread(dense, coherence, len(transmitters)), slot_weights(coherence, len(transmitters))
    return EchoFactors(dense, receive, transmit, one_way[receivers], one_way[transmitters], slots)

"""Position error bounds of a drop of a D-MIMO network, by the Fisher information that all families share.

``disac.metrics.fisher`` gives the bounds of 004 with free amplitudes: known phases of all pairs are the coherent model of
section III-A (one unknown phase for each target, one real amplitude for each pair), unknown ones the noncoherent model of
section III-B (one complex amplitude for each pair). Several subcarriers add delays, which 004 leaves to future work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.arrays import steering_vector
from disac.drops.dmimo import DmimoDrop, echo_amplitudes
from disac.geometry import angles_rad
from disac.metrics.fisher import (
    SensingModel,
    attenuation,
    information_by_receiver,
    location_prior,
    receiver_derivatives,
)
from disac.metrics.location_error import location_covariance
from disac.metrics.synchronisation import Synchronisation

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def dmimo_sensing_model(drop: DmimoDrop, transmitters: tuple[int, ...], receivers: tuple[int, ...]) -> SensingModel:
    """The echoes of a drop, for access points that transmit and others that receive."""
    signal, antennas = drop.scenario.signal, drop.scenario.arrays.antennas
    amplitudes = echo_amplitudes(drop)[np.ix_(receivers, transmitters)]
    return SensingModel(
        drop.access_points_m, drop.targets_m, amplitudes, antennas, antennas, signal.subcarriers, signal.bandwidth_hz,
        drop.noise_w, drop.orientation, transmitters, receivers, _known(drop),
    )  # fmt: skip


def _known(drop: DmimoDrop) -> Synchronisation:
    stated = drop.scenario.synchronisation
    clock, phase, link = (
        float("inf") if std is None else std for std in (stated.clock_std_s, stated.phase_std_rad, stated.link_phase_std_rad)
    )
    return Synchronisation(
        clock_std_s=clock, phase_std_rad=phase, link_phase_std_rad=link, carrier_hz=drop.scenario.signal.carrier_hz,
        phase_law=stated.phase_law,
    )  # fmt: skip


class PositionBounds:
    """Position error bounds of one model of echoes, for any signal: its derivatives are computed once."""

    def __init__(self, model: SensingModel) -> None:
        self.model, self._pieces = model, list(receiver_derivatives(model))
        self._prior = location_prior(model)

    def information(self, covariances: Complex) -> Float:
        """Fisher information of all parameters with its prior; the first 2S are all x, then all y.

        Parameters
        ----------
        covariances
            Of what is sent, summed over slots, [L, M_t N, M_t N], W.
        """
        noise = self.model.noise_power
        return information_by_receiver(self._pieces, len(self._prior), covariances, noise) + self._prior

    def peb_m(self, covariances: Complex) -> Float:
        """Position error bound of each target, [S], m: infinite where echoes do not tell all positions."""
        return position_error_bounds(self.information(covariances), len(self.model.targets_m))


def position_error_bounds(information: Float, targets: int) -> Float:
    """Root of the trace of each target's part of the inverse Fisher information, [S], m.

    Parameters
    ----------
    information
        [P, P]; the first 2S parameters are the positions, all x, then all y, in m.
    """
    covariance = location_covariance(information, targets)
    if covariance is None:
        return np.full(targets, np.inf)
    return np.sqrt(np.diag(covariance).reshape(2, targets).sum(axis=0))


def phase_weights(model: SensingModel) -> Float:
    """Factor of each entry of a covariance in the information, [L, M_t N, M_t N].

    Phases with a law are averaged over, so that signals of two transmitters count less together
    (:func:`disac.metrics.fisher.attenuation`). Unknown phases have no law: they are parameters, and the information is that at
    the drop's phases. An average over them would take transmitters that send the same symbols as ones that can be told apart.
    """
    known = model.synchronisation
    weights = attenuation(model)
    return np.ones_like(weights) if known is not None and np.isinf(known.link_phase_std_rad) else weights


def integrated_snr(model: SensingModel, covariances: Complex) -> Float:
    """Energy of each target's echoes over the noise, all pairs, antennas, subcarriers and slots together, [S].

    ``sum_tr alpha^2 E_tr / sigma^2`` with ``E_tr = N sum_l a_t^T R_tt,l a_t^*``; signals of two access points are taken as
    uncorrelated, as those that sense in turn are.
    """
    nodes, antennas = list(model.transmit_nodes), model.transmit_antennas
    steering = steering_vector(angles_rad(model.nodes_m, model.targets_m, model.orientation)[nodes], antennas)
    blocks = covariances.reshape(model.subcarriers, len(nodes), antennas, len(nodes), antennas)
    lit = np.real(np.einsum("tsa,ltatb,tsb->ts", steering, blocks, steering.conj(), optimize=True))
    power = (np.abs(model.amplitudes) ** 2).sum(axis=0)
    return model.receive_antennas * model.subcarriers * (power * lit).sum(axis=0) / model.noise_power

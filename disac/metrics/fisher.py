"""Fisher information of target location for noncoherent networks (002, section III-B and Appendix A).

The echo at node n on subcarrier l is ``mu_{n,l} = H_{n,l} x_l`` with the stacked transmit vector ``x_l`` of all nodes and

    H_{n,l} = sum_k a_r(theta_n^k) [ b_{nm}^k d_l(tau_n^k + tau_m^k) a_t(theta_m^k)^T ]_m ,

so that ``F_ij = (2 L / sigma_s^2) Re sum_{n,l} tr(dH_i^H dH_j R_l)`` is linear in the covariances ``R_l`` (Theorem 1). Three
of the printed blocks (V-dot-tau, 49a, 49b) are wrong; this form needs none of them and agrees with differentiation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.arrays import baseband_hz, delay_vector, signal_space_coordinates, steering_derivative, steering_vector
from disac.geometry import Orientation, angle_gradient, angles_rad, chosen_nodes, delay_gradient, delays_s
from disac.metrics.synchronisation import Synchronisation, clock_basis, coherent_phases

Localization = Literal["hybrid", "tof", "aoa", "tof_nui", "aoa_nui"]
Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

_SINGULAR = 1e-13
"""Relative eigenvalue, in units of each parameter's own information, below which there is none."""


@dataclass(frozen=True)
class SensingModel:
    """Model of the echoes: everything on which they depend.

    ``nodes_m`` [N, 2], ``targets_m`` [K, 2], ``amplitudes`` [N_r, N_t, K] (receiver, transmitter, target), ``noise_power`` is
    ``sigma_s^2`` over all subcarriers, so each entry carries ``sigma_s^2 / L``. ``transmitters`` and ``receivers`` are the
    numbers of the nodes that do so; None for all. Without a ``synchronisation`` the network is that of 002: every amplitude
    unknown, every clock known.
    """

    nodes_m: Float
    targets_m: Float
    amplitudes: Complex
    transmit_antennas: int
    receive_antennas: int
    subcarriers: int
    bandwidth_hz: float
    noise_power: float
    orientation: Orientation = "origin"
    transmitters: tuple[int, ...] | None = None
    receivers: tuple[int, ...] | None = None
    synchronisation: Synchronisation | None = None

    @property
    def transmit_nodes(self) -> tuple[int, ...]:
        """Numbers of the nodes that transmit."""
        return chosen_nodes(self.transmitters, len(self.nodes_m))

    @property
    def receive_nodes(self) -> tuple[int, ...]:
        """Numbers of the nodes that receive."""
        return chosen_nodes(self.receivers, len(self.nodes_m))

    @property
    def links(self) -> int:
        """Number of amplitudes: receivers times transmitters times targets."""
        return len(self.receive_nodes) * len(self.transmit_nodes) * len(self.targets_m)

    @property
    def bistatic_s(self) -> Float:
        """Delay of each link from transmitter over target to receiver, shape [N_r, N_t, K], s."""
        delay = delays_s(self.nodes_m, self.targets_m)
        return delay[list(self.receive_nodes), np.newaxis] + delay[list(self.transmit_nodes)]

    @property
    def delay_rate(self) -> Complex:
        """``d ln H / d tau`` of the subcarriers, ``-j 2 pi f_l``, shape [L], 1/s.

        Where the links' phases are known to some degree the carrier counts, and frequencies from the middle of the band;
        unknown phases absorb both.
        """
        known = self.synchronisation
        if known is None:
            spacing = self.bandwidth_hz / self.subcarriers
            frequency = spacing * np.arange(self.subcarriers, dtype=np.float64)
        else:
            carrier = 0.0 if np.isinf(known.link_phase_std_rad) else known.carrier_hz
            frequency = carrier + baseband_hz(self.subcarriers, self.bandwidth_hz)
        return np.asarray(-2j * np.pi * frequency, dtype=np.complex128)


@dataclass(frozen=True)
class _Links:
    """Responses of every link and their derivatives, each [receiver, transmitter, target, L, M_r, M_t]."""

    unit: Complex
    by_receive_angle: Complex
    by_transmit_angle: Complex
    response: Complex
    """With its amplitude."""


def _links(model: SensingModel, *, compact: bool = False) -> _Links:
    receivers, transmitters = list(model.receive_nodes), list(model.transmit_nodes)
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    receive, d_receive = (f(angle[receivers], model.receive_antennas) for f in (steering_vector, steering_derivative))
    transmit, d_transmit = (f(angle[transmitters], model.transmit_antennas) for f in (steering_vector, steering_derivative))
    if compact:
        receive, d_receive = signal_space_coordinates(receive, d_receive)
    phase = delay_vector(model.bistatic_s, model.subcarriers, model.bandwidth_hz)
    b = model.amplitudes[..., np.newaxis, np.newaxis, np.newaxis]

    def joined(r: Complex, t: Complex) -> Complex:
        return np.einsum("nki,mkj,nmkl->nmklij", r, t, phase)

    unit = joined(receive, transmit)
    return _Links(unit, b * joined(d_receive, transmit), b * joined(receive, d_transmit), b * unit)


def link_responses(model: SensingModel) -> Complex:
    """``H_{n,l}``: what each receiver sees of the stacked signal, shape [N_r, L, M_r, N_t M_t]."""
    links = _links(model)
    h: Complex = links.response.sum(axis=2).transpose(0, 2, 3, 1, 4).reshape(*_response_shape(model, links)[:3], -1)
    return h


def mean_derivatives(model: SensingModel, *, compact: bool = False) -> Complex:
    """Derivatives of ``H_{n,l}`` with respect to ``Psi = (theta, tau, Re b, Im b)`` of (8).

    Returns
    -------
    complex128, shape [2KN + 2KN_rN_t, N_r, L, M_r, N_t M_t]
        Parameters in the order theta (node-major), tau (node-major), Re b, Im b (receiver, transmitter, target). If
        ``compact``, rows are coordinates of each receiver's signal space, 2K at most, in place of its antennas.
    """
    nodes, targets, links = len(model.nodes_m), len(model.targets_m), _links(model, compact=compact)
    receivers, transmitters = model.receive_nodes, model.transmit_nodes
    by_delay = model.delay_rate[:, np.newaxis, np.newaxis] * links.response
    parameters, shape = 2 * targets * nodes + 2 * model.links, _response_shape(model, links)
    derivative = np.zeros((parameters, *shape), dtype=np.complex128)
    for r, t, target in np.ndindex(len(receivers), len(transmitters), targets):
        # A node's own echo has both parts.
        for node, by_angle in ((receivers[r], links.by_receive_angle), (transmitters[t], links.by_transmit_angle)):
            derivative[node * targets + target, r, :, :, t] += by_angle[r, t, target]
            derivative[nodes * targets + node * targets + target, r, :, :, t] += by_delay[r, t, target]
    first = 2 * targets * nodes
    for number, (r, t, target) in enumerate(np.ndindex(len(receivers), len(transmitters), targets)):
        derivative[first + number, r, :, :, t] = links.unit[r, t, target]
    derivative[first + model.links :] = 1j * derivative[first : first + model.links]
    return derivative.reshape(*derivative.shape[:4], -1)


def clock_derivatives(model: SensingModel, *, compact: bool = False) -> Complex:
    """Derivatives of ``H_{n,l}`` with respect to the clock offsets that can be seen: shape [N - 1, N_r, L, M_r, N_t M_t].

    A receiver's clock delays its echoes, a transmitter's advances them, in the baseband alone (the carrier's phase counts as
    an oscillator's). The offset common to all drops out: ``t = Q s`` with :func:`disac.metrics.synchronisation.clock_basis`.
    """
    links, basis = _links(model, compact=compact), clock_basis(len(model.nodes_m))
    rate = -2j * np.pi * baseband_hz(model.subcarriers, model.bandwidth_hz)
    by_delay = (rate[:, np.newaxis, np.newaxis] * links.response).sum(axis=2)
    offset = basis[list(model.receive_nodes), np.newaxis] - basis[list(model.transmit_nodes)]
    derivative = np.einsum("nmi,nmlab->inlamb", offset, by_delay)
    # A single node shows no offset. The sizes are written out, since an empty array has none to infer.
    return derivative.reshape(*derivative.shape[:4], derivative.shape[4] * derivative.shape[5])


def _response_shape(model: SensingModel, links: _Links) -> tuple[int, ...]:
    receivers, transmitters = len(model.receive_nodes), len(model.transmit_nodes)
    return receivers, model.subcarriers, links.unit.shape[-2], transmitters, model.transmit_antennas


def location_jacobian(model: SensingModel, localization: Localization = "hybrid") -> Float:
    """Jacobian J of (12): ``F(Theta) = J F(Psi) J^T`` with ``Theta = (x, y[, unknown angles or delays], Re b, Im b)``.

    ``tof`` and ``aoa`` take the other kind of measurement as known and uninformative (its derivative is zero);
    ``tof_nui`` and ``aoa_nui`` keep it as an unknown nuisance.

    Returns
    -------
    float64, shape [2K (+ KN) + 2KN_rN_t, 2KN + 2KN_rN_t]
    """
    nodes, targets = len(model.nodes_m), len(model.targets_m)
    links = 2 * model.links
    per_kind = nodes * targets
    jacobian = np.zeros((2 * targets + links, 2 * per_kind + links))
    gradients = {
        "aoa": angle_gradient(model.nodes_m, model.targets_m),
        "tof": delay_gradient(model.nodes_m, model.targets_m),
    }
    used = ("aoa", "tof") if localization == "hybrid" else (localization.removesuffix("_nui"),)
    for kind in used:
        start = 0 if kind == "aoa" else per_kind
        for node, target in np.ndindex(nodes, targets):
            column = start + node * targets + target
            jacobian[[target, targets + target], column] = gradients[kind][node, target]
    jacobian[2 * targets :, 2 * per_kind :] = np.eye(links)
    if not localization.endswith("_nui"):
        return jacobian
    unknown = np.zeros((per_kind, jacobian.shape[1]))
    start = per_kind if localization == "aoa_nui" else 0
    unknown[:, start : start + per_kind] = np.eye(per_kind)
    return np.concatenate([jacobian[: 2 * targets], unknown, jacobian[2 * targets :]])


def node_position_jacobian(model: SensingModel, localization: Localization = "hybrid") -> Float:
    """Rows of :func:`location_jacobian` for the positions of the nodes, x of all, then y of all: shape [2N, 2KN + 2KN_rN_t].

    A node that moves one way sees every target move the other way. Its array keeps its direction.
    """
    nodes, targets = len(model.nodes_m), len(model.targets_m)
    jacobian = np.zeros((2 * nodes, 2 * nodes * targets + 2 * model.links))
    gradients = (angle_gradient(model.nodes_m, model.targets_m), delay_gradient(model.nodes_m, model.targets_m))
    for kind, (name, gradient) in enumerate(zip(("aoa", "tof"), gradients, strict=True)):
        if localization not in ("hybrid", name, name + "_nui"):
            continue
        for node, target in np.ndindex(nodes, targets):
            jacobian[[node, nodes + node], (kind * nodes + node) * targets + target] = -gradient[node, target]
    return jacobian


def location_derivatives(model: SensingModel, localization: Localization = "hybrid") -> Complex:
    """Derivatives of ``H_{n,l}`` with respect to Theta: shape [P, N_r, L, M_r, N_t M_t].

    With a synchronisation, Theta has the positions of the nodes and then the clocks before the amplitudes, if they are
    uncertain; and phases and magnitudes in place of the amplitudes, if the links' phases are known.
    """
    pieces = list(receiver_derivatives(model, localization, compact=False))
    parameters = 1 + max(int(touched[-1]) for touched, _ in pieces)
    derivative = np.zeros((parameters, len(pieces), *pieces[0][1].shape[1:]), dtype=np.complex128)
    for receiver, (touched, seen) in enumerate(pieces):
        derivative[touched, receiver] = seen
    return derivative


def receiver_derivatives(
    model: SensingModel, localization: Localization = "hybrid", *, compact: bool = True
) -> Iterator[tuple[NDArray[np.intp], Complex]]:  # fmt: skip
    """The derivatives of :func:`location_derivatives` receiver by receiver, without those that are zero.

    Of 2K + 2 K N_r N_t parameters a receiver sees 2K + 2 K N_t. If ``compact``, its echoes are in coordinates of its signal
    space, of 2K dimensions at most: the information is the same.

    Returns
    -------
    touched, seen
        Numbers of the parameters in Theta, increasing, shape [p]; derivatives, shape [p, L, M_r or less, N M_t].
    """
    jacobian = location_jacobian(model, localization)
    dense, mean = len(jacobian) - 2 * model.links, jacobian.shape[1] - 2 * model.links
    known, own = model.synchronisation, model.links // len(model.receive_nodes)
    for number, receiver in enumerate(model.receive_nodes):
        one = replace(model, receivers=(receiver,), amplitudes=model.amplitudes[number : number + 1])
        derivative = mean_derivatives(one, compact=compact)[:, 0]
        parts, amplitudes = [np.tensordot(jacobian[:dense, :mean], derivative[:mean], axes=1)], derivative[mean:]
        if known is not None and known.node_position_std_m > 0:
            moved = node_position_jacobian(one, localization)[:, :mean]
            parts.append(np.tensordot(moved, derivative[:mean], axes=1))
        if known is not None and known.clock_std_s > 0:
            parts.append(clock_derivatives(one, compact=compact)[:, 0])
        first, links = sum(map(len, parts)), slice(number * own, (number + 1) * own)
        second = first + model.links
        if known is not None and known.link_phase_std_rad == 0:
            roles = (model.receive_nodes, model.transmit_nodes, len(model.nodes_m), len(model.targets_m))
            directions = known.phase_directions(*roles)[0]
            amplitudes = coherent_phases(amplitudes[:own], one.amplitudes, directions[links])
            second = first + directions.shape[1]
            of_amplitudes = [np.arange(first, second), np.arange(second, second + model.links)[links]]
        else:
            of_amplitudes = [np.arange(first, second)[links], np.arange(second, second + model.links)[links]]
        yield np.concatenate([np.arange(first), *of_amplitudes]), np.concatenate([*parts, amplitudes])


def location_prior(model: SensingModel, localization: Localization = "hybrid") -> Float:
    """Prior information on Theta, shape [P, P]: ``J`` of the hybrid bound, zero without a synchronisation."""
    dense = len(location_jacobian(model, localization)) - 2 * model.links
    known = model.synchronisation
    if known is None:
        return np.zeros((dense + 2 * model.links,) * 2)
    return known.prior(model.receive_nodes, model.transmit_nodes, len(model.nodes_m), model.amplitudes, dense)


def fisher_information(derivatives: Complex, covariances: Complex, noise_power: float) -> Float:
    """Fisher information of the parameters behind ``derivatives`` for given transmit covariances.

    ``F_ij = (2 L / sigma_s^2) Re sum_{n,l} tr(dH_i^H dH_j R_l)`` (002, Theorem 1).

    Parameters
    ----------
    derivatives
        Shape [P, N, L, M_r, N M_t].
    covariances
        ``R_l = E[x_l x_l^H]``, shape [L, N M_t, N M_t], in the unit of ``noise_power``.
    noise_power
        ``sigma_s^2`` over all subcarriers.

    Returns
    -------
    float64, shape [P, P], symmetric
    """
    return information_by_receiver(by_receiver(derivatives), len(derivatives), covariances, noise_power)


def information_by_receiver(
    pieces: Iterable[tuple[NDArray[np.intp], Complex]], parameters: int, covariances: Complex, noise_power: float
) -> Float:  # fmt: skip
    """:func:`fisher_information` of so many parameters from the derivatives of each receiver (:func:`receiver_derivatives`)."""
    subcarriers = len(covariances)
    total = np.zeros((parameters, parameters))
    for touched, seen in pieces:
        weighted = (seen @ covariances).reshape(len(touched), -1)
        gram = np.real(weighted @ seen.reshape(len(touched), -1).conj().T)
        total[np.ix_(touched, touched)] += gram + gram.T
    return (subcarriers / noise_power) * total


def by_receiver(derivatives: Complex) -> Iterator[tuple[NDArray[np.intp], Complex]]:
    """For each receiver the parameters that its echoes depend on, and their derivatives.

    Most amplitudes touch one receiver alone: of 2K + 2 N^2 K parameters a receiver sees 2K + 2 N K.

    Parameters
    ----------
    derivatives
        Shape [P, N, L, M_r, N M_t].

    Returns
    -------
    touched, seen
        Shapes [p] and [p, L, M_r, N M_t].
    """
    dependent = np.any(derivatives != 0, axis=(2, 3, 4))
    for receiver in range(derivatives.shape[1]):
        touched = np.flatnonzero(dependent[:, receiver])
        yield touched, derivatives[touched, receiver]


def localization_crb(information: Float, targets: int) -> float:
    """Trace over the location entries of the inverse Fisher information (13), in m^2.

    ``tr((A - B C^{-1} B^T)^{-1})`` with F = [[A, B], [B^T, C]] and A the 2K location entries.

    Returns
    -------
    float
        Infinite when the location is not identifiable: a zero or numerically singular information.
    """
    # Rounding may leave an entry without information a little below zero.
    scale = np.sqrt(np.maximum(np.diag(information), 0.0))
    if np.any(scale[: 2 * targets] <= 0):
        return float("inf")
    # A nuisance parameter without information has no coupling either: it is left out.
    kept = np.flatnonzero(scale > 0)
    scaled = information[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
    eigenvalues, vectors = np.linalg.eigh(scaled)
    if eigenvalues[0] <= _SINGULAR * eigenvalues[-1]:
        return float("inf")
    rows = vectors[: 2 * targets] / scale[kept][: 2 * targets, np.newaxis]
    return float(np.sum(rows**2 / eigenvalues))


def null_vector(information: Float, targets: int) -> Float | None:
    """A change of the parameters that moves a target and changes no echo; None where every target can be located.

    It proves that the echoes do not locate the target: ``v^T F v`` is zero to rounding, and the location part of v is not.

    Returns
    -------
    float64, shape [P]
        The location part, its first 2K entries (all x, then all y, in m), has unit length.
    """
    size = np.sqrt(np.maximum(np.diag(information), 0.0))
    location = 2 * targets
    if (size[:location] == 0).any():
        alone = np.zeros(len(size))
        alone[int(np.argmax(size[:location] == 0))] = 1.0
        return alone
    kept = np.flatnonzero(size > 0)
    values, vectors = np.linalg.eigh(information[np.ix_(kept, kept)] / np.outer(size[kept], size[kept]))
    lost = vectors[:, values <= _SINGULAR * values[-1]]
    if not lost.shape[1]:
        return None
    # Of all directions without information the one with the largest location part: its leading singular vector.
    moved = lost[:location] / size[kept][:location, np.newaxis]
    _, strength, mix = np.linalg.svd(moved)
    if strength[0] == 0:
        return None
    found = np.zeros(len(size))
    found[kept] = (lost @ mix[0]) / size[kept]
    return found / np.linalg.norm(found[:location])


def attenuation(model: SensingModel) -> Float:
    """``D_c``: factor of each entry of a covariance in the mean information; shape [L, N_t M_t, N_t M_t].

    The factor is one within a transmitter. Between two transmitters it is their coherence
    (:meth:`disac.metrics.synchronisation.Synchronisation.coherence`). Without a synchronisation it is one everywhere: the
    information is then that at the nominal phases.
    """
    transmitters, antennas = len(model.transmit_nodes), model.transmit_antennas
    known = model.synchronisation
    kept = np.ones(model.subcarriers) if known is None else known.coherence(model.subcarriers, model.bandwidth_hz)
    same = np.kron(np.eye(transmitters), np.ones((antennas, antennas)))
    return np.where(same > 0, 1.0, kept[:, np.newaxis, np.newaxis])

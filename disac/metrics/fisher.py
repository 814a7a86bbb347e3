"""Fisher information of target location for noncoherent networks (002, section III-B and Appendix A).

The echo at node n on subcarrier l is ``mu_{n,l} = H_{n,l} x_l`` with the stacked transmit vector ``x_l`` of all nodes and

    H_{n,l} = sum_k a_r(theta_n^k) [ b_{nm}^k d_l(tau_n^k + tau_m^k) a_t(theta_m^k)^T ]_m ,

so that ``F_ij = (2 L / sigma_s^2) Re sum_{n,l} tr(dH_i^H dH_j R_l)`` is linear in the covariances ``R_l`` (Theorem 1). Three
of the printed blocks (V-dot-tau, 49a, 49b) are wrong; this form needs none of them and agrees with differentiation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.arrays import delay_derivative, delay_vector, steering_derivative, steering_vector
from disac.geometry import Orientation, angle_gradient, angles_rad, delay_gradient, delays_s

Localization = Literal["hybrid", "tof", "aoa", "tof_nui", "aoa_nui"]
Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class SensingModel:
    """What the echoes depend on.

    ``nodes_m`` [N, 2], ``targets_m`` [K, 2], ``amplitudes`` [N, N, K] (receiver, transmitter, target), ``noise_power`` is
    ``sigma_s^2`` over all subcarriers, so each entry carries ``sigma_s^2 / L``.
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


def mean_derivatives(model: SensingModel) -> Complex:
    """Derivatives of ``H_{n,l}`` with respect to ``Psi = (theta, tau, Re b, Im b)`` of (8).

    Returns
    -------
    complex128, shape [2KN + 2KN^2, N, L, M_r, N M_t]
        Parameters in the order theta (node-major), tau (node-major), Re b, Im b (receiver, transmitter, target).
    """
    nodes, targets = len(model.nodes_m), len(model.targets_m)
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    delay = delays_s(model.nodes_m, model.targets_m)
    both = delay[:, np.newaxis] + delay[np.newaxis]
    receive, d_receive = (f(angle, model.receive_antennas) for f in (steering_vector, steering_derivative))
    transmit, d_transmit = (f(angle, model.transmit_antennas) for f in (steering_vector, steering_derivative))
    phase, d_phase = (f(both, model.subcarriers, model.bandwidth_hz) for f in (delay_vector, delay_derivative))

    def links(r: Complex, t: Complex, d: Complex) -> Complex:
        """Responses of every link, [receiver, transmitter, target, L, M_r, M_t]."""
        return np.einsum("nki,mkj,nmkl->nmklij", r, t, d)

    b = model.amplitudes[..., np.newaxis, np.newaxis, np.newaxis]
    unit = links(receive, transmit, phase)
    by_receive, by_transmit = b * links(d_receive, transmit, phase), b * links(receive, d_transmit, phase)
    by_delay = b * links(receive, transmit, d_phase)
    blocks = (nodes, model.subcarriers, model.receive_antennas, nodes, model.transmit_antennas)
    derivative = np.zeros((2 * targets * nodes + 2 * targets * nodes**2, *blocks), dtype=np.complex128)
    for node, target in np.ndindex(nodes, targets):
        theta = derivative[node * targets + target]
        tau = derivative[nodes * targets + node * targets + target]
        for other in range(nodes):
            # As receiver, then as transmitter; a node's own echo has both parts.
            theta[node, :, :, other] += by_receive[node, other, target]
            theta[other, :, :, node] += by_transmit[other, node, target]
            tau[node, :, :, other] += by_delay[node, other, target]
            tau[other, :, :, node] += by_delay[other, node, target]
    first = 2 * targets * nodes
    for number, (receiver, transmitter, target) in enumerate(np.ndindex(nodes, nodes, targets)):
        derivative[first + number, receiver, :, :, transmitter] = unit[receiver, transmitter, target]
    derivative[first + targets * nodes**2 :] = 1j * derivative[first : first + targets * nodes**2]
    return derivative.reshape(*derivative.shape[:4], nodes * model.transmit_antennas)


def location_jacobian(model: SensingModel, localization: Localization = "hybrid") -> Float:
    """Jacobian J of (12): ``F(Theta) = J F(Psi) J^T`` with ``Theta = (x, y[, unknown angles or delays], Re b, Im b)``.

    ``tof`` and ``aoa`` take the other kind of measurement as known and uninformative (its derivative is zero);
    ``tof_nui`` and ``aoa_nui`` keep it as an unknown nuisance.

    Returns
    -------
    float64, shape [2K (+ KN) + 2KN^2, 2KN + 2KN^2]
    """
    nodes, targets = len(model.nodes_m), len(model.targets_m)
    links = 2 * targets * nodes**2
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


def location_derivatives(model: SensingModel, localization: Localization = "hybrid") -> Complex:
    """Derivatives of ``H_{n,l}`` with respect to Theta: shape [P, N, L, M_r, N M_t]."""
    jacobian = location_jacobian(model, localization)
    return np.tensordot(jacobian, mean_derivatives(model), axes=1)


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
    parameters, subcarriers = len(derivatives), derivatives.shape[2]
    weighted = (derivatives @ covariances[np.newaxis, np.newaxis]).reshape(parameters, -1)
    gram = weighted @ derivatives.reshape(parameters, -1).conj().T
    return (subcarriers / noise_power) * np.real(gram + gram.T)


def localization_crb(information: Float, targets: int) -> float:
    """Trace over the location entries of the inverse Fisher information (13), in m^2.

    ``tr((A - B C^{-1} B^T)^{-1})`` with F = [[A, B], [B^T, C]] and A the 2K location entries.

    Returns
    -------
    float
        Infinite when the location is not identifiable: a zero or numerically singular information.
    """
    scale = np.sqrt(np.diag(information))
    if np.any(scale[: 2 * targets] <= 0):
        return float("inf")
    # A nuisance that nothing excites carries no information and no coupling: it drops out.
    kept = np.flatnonzero(scale > 0)
    scaled = information[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
    eigenvalues, vectors = np.linalg.eigh(scaled)
    if eigenvalues[0] <= 1e-13 * eigenvalues[-1]:
        return float("inf")
    rows = vectors[: 2 * targets] / scale[kept][: 2 * targets, np.newaxis]
    return float(np.sum(rows**2 / eigenvalues))

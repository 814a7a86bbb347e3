"""Echoes of a phase-synchronised network, (8) of 004, as whitened sufficient statistics, and the array factors of a place.

Transmitter t and receiver r see a target at p as ``g e^{-j k0 (d_t + d_r)} a(kappa_r) (G_t a(kappa_t))^T`` in unit noise, with
``a_n(kappa) = e^{j n kappa}``, ``kappa = pi sin(angle)`` and a root ``G_t`` of what the transmitter sent. Angles are those of
``disac.geometry`` (from node to target): boresights of 004, whose angles point from target to node, are ours less pi.

Transmitters that send in slots of their own form groups of one (Q = M_t, J = 1); those that send at once form one group
(Q = 1, J = M_t), whose echoes overlap. Noise statistics of W coordinates are enough, however many slots there were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

_RANK = 1e-10
"""Share of the largest eigenvalue of what was sent, below which a direction counts as not illuminated."""


@dataclass(frozen=True)
class EchoModel:
    """All that whitened echoes depend on, but targets.

    Attributes
    ----------
    nodes_m, boresights_rad
        Positions [M, 2], m, and directions that the arrays face [M], rad.
    antennas, wavelength_m
        Antennas of each array, half a wavelength apart, and the wavelength of the carrier, m.
    transmitters, receivers
        Numbers of the nodes that transmit (M_t, group by group) and that receive (M_r).
    roots
        ``G`` of each group's transmitters over the standard deviation of the noise, complex128 [Q, J, W, N].
    """

    nodes_m: Float
    boresights_rad: Float
    antennas: int
    wavelength_m: float
    transmitters: tuple[int, ...]
    receivers: tuple[int, ...]
    roots: Complex

    @property
    def wavenumber(self) -> float:
        """``k0 = 2 pi / lambda``, rad/m."""
        return float(2.0 * np.pi / self.wavelength_m)

    @property
    def groups(self) -> tuple[int, int]:
        """Number of groups Q and of transmitters in each, J."""
        return self.roots.shape[0], self.roots.shape[1]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the statistics of one trial, [Q, M_r, N, W]."""
        return self.roots.shape[0], len(self.receivers), self.antennas, self.roots.shape[2]


@dataclass(frozen=True)
class Waveforms:
    """What was sent, and what whitens it: ``samples`` [Q, J N, L], ``whitening`` [Q, L, W] turns echoes into statistics."""

    samples: Complex
    whitening: Complex
    roots: Complex


def waveforms(sent: Complex, noise_power: float, *, at_once: bool = False) -> Waveforms:
    """Roots and whitening of known transmitted signals.

    With ``X X^H = U diag(v) U^H``, the statistics are ``D = Y X^H U diag(v)^{-1/2} / sigma``, whose noise is CN(0, 1) in every
    entry, and the roots are ``(diag(v)^{1/2} U^H)^T / sigma``. Directions without energy are left out.

    Parameters
    ----------
    sent
        Signals of each transmitter, complex128 [M_t, N, L]: in slots of its own, or all at once.
    noise_power
        Noise variance at each antenna and slot.
    at_once
        Whether the transmitters share the slots (R2), so that their echoes overlap.
    """
    transmitters, antennas, slots = sent.shape
    stacked = sent.reshape(1, -1, slots) if at_once else sent
    value, vector = np.linalg.eigh(stacked @ stacked.conj().swapaxes(-1, -2))
    kept = max(int(np.sum(row > _RANK * row[-1])) for row in value)
    value, vector = value[:, ::-1][:, :kept], vector[:, :, ::-1][:, :, :kept]
    lit = value > _RANK * value[:, :1]
    root, inverse = np.sqrt(np.where(lit, value, 0.0)), np.where(lit, 1.0 / np.sqrt(np.where(lit, value, 1.0)), 0.0)
    whitening = (stacked.conj().swapaxes(-1, -2) @ vector) * inverse[:, np.newaxis] / np.sqrt(noise_power)
    roots = root[:, :, np.newaxis] * vector.swapaxes(-1, -2).conj()
    roots = (roots.conj() / np.sqrt(noise_power)).reshape(len(stacked), kept, -1, antennas).swapaxes(1, 2)
    if roots.shape[0] * roots.shape[1] != transmitters:
        raise ValueError(f"{transmitters} transmitters gave roots of shape {roots.shape}.")
    return Waveforms(stacked, whitening, np.ascontiguousarray(roots))


def isotropic_roots(transmitters: int, antennas: int, energy: float) -> Complex:
    """Roots of transmitters in slots of their own that send ``X X^H = energy * noise_power * I``, complex128 [M_t, 1, N, N]."""
    one = np.sqrt(energy) * np.eye(antennas, dtype=np.complex128)
    return np.broadcast_to(one, (transmitters, 1, antennas, antennas)).copy()


def statistics(received: Complex, sent: Waveforms) -> Complex:
    """Sufficient statistics of echoes [..., Q, M_r, N, L] (each group's own slots): complex128 [..., Q, M_r, N, W]."""
    return received @ sent.whitening[:, np.newaxis]


def distances_m(model: EchoModel, points_m: Float) -> Float:
    """Distance of places [..., 2] from every node, shape [..., M], m."""
    away = points_m[..., np.newaxis, :] - model.nodes_m
    return np.hypot(away[..., 0], away[..., 1])


def seen(model: EchoModel, points_m: Float) -> tuple[Float, Float]:
    """Distances and ``kappa = pi sin(angle)`` of places [..., 2] at every node: shapes [..., M], m and rad."""
    away = points_m[..., np.newaxis, :] - model.nodes_m
    distance = np.hypot(away[..., 0], away[..., 1])
    facing = away[..., 1] * np.cos(model.boresights_rad) - away[..., 0] * np.sin(model.boresights_rad)
    return distance, np.pi * facing / distance


def seen_gradients(model: EchoModel, points_m: Float) -> tuple[Float, Float]:
    """Gradients of distances and of kappa by (x, y): shapes [..., M, 2], none and rad/m."""
    away = points_m[..., np.newaxis, :] - model.nodes_m
    distance = np.hypot(away[..., 0], away[..., 1])[..., np.newaxis]
    cosine, sine = np.cos(model.boresights_rad), np.sin(model.boresights_rad)
    along = (away[..., 0] * cosine + away[..., 1] * sine)[..., np.newaxis]
    turned = np.stack([-away[..., 1], away[..., 0]], axis=-1)
    return away / distance, np.pi * along * turned / distance**3


def factors(model: EchoModel, points_m: Float, *, carrier: bool, weighted: bool) -> tuple[Complex, Complex]:
    """Array responses of places [..., S, 2] and their derivatives by x and y, as factors of what each pair sees.

    Parameters
    ----------
    carrier
        Whether the phase ``e^{-j k0 d}`` of the way counts.
    weighted
        Whether the amplitude ``1 / d`` of the way counts.

    Returns
    -------
    receive, transmit
        complex128 [..., M_r, S, 3, N] and [..., Q, J, S, 3, W].
    """
    distance, kappa = seen(model, points_m)
    slope, turn = seen_gradients(model, points_m)
    number = np.arange(model.antennas)
    k0 = model.wavenumber if carrier else 0.0
    value = np.exp(1j * (number * kappa[..., np.newaxis] - k0 * distance[..., np.newaxis]))
    rate = 1j * (number * turn[..., np.newaxis] - k0 * slope[..., np.newaxis])
    if weighted:
        value /= distance[..., np.newaxis]
        rate -= (slope / distance[..., np.newaxis])[..., np.newaxis]
    # [..., S, M, 3, N], then nodes before targets.
    both = np.concatenate([value[..., np.newaxis, :], rate * value[..., np.newaxis, :]], axis=-2).swapaxes(-4, -3)
    receive, transmit = both[..., list(model.receivers), :, :, :], both[..., list(model.transmitters), :, :, :]
    split = transmit.reshape(*transmit.shape[:-4], *model.groups, *transmit.shape[-3:])
    return receive, split @ model.roots.swapaxes(-1, -2)[:, :, np.newaxis]


def echoes(model: EchoModel, targets_m: Float, gains: Complex) -> Complex:
    """Noiseless statistics of targets [..., S, 2] with gains [..., M_t, M_r, S] (amplitude and reflection phase).

    Returns
    -------
    complex128, shape [..., Q, M_r, N, W]
    """
    receive, transmit = factors(model, targets_m, carrier=True, weighted=False)
    receivers, targets = gains.shape[-2:]
    split = gains.reshape(*gains.shape[:-3], *model.groups, receivers, targets)
    return np.einsum("...qjrs,...rsn,...qjsw->...qrnw", split, receive[..., 0, :], transmit[..., 0, :], optimize=True)


def radar_gains(model: EchoModel, targets_m: Float, strengths: Complex) -> Complex:
    """Gains ``A / (d_t d_r)`` of the radar law for targets [..., S, 2] of strengths ``A`` [..., S], m^2: [..., M_t, M_r, S]."""
    distance = distances_m(model, targets_m)
    send = np.moveaxis(distance[..., list(model.transmitters)], -1, -2)
    get = np.moveaxis(distance[..., list(model.receivers)], -1, -2)
    return strengths[..., np.newaxis, np.newaxis, :] / (send[..., np.newaxis, :] * get[..., np.newaxis, :, :])


def unit_images(model: EchoModel, samples: Complex, points_m: Float, *, carrier: bool = True) -> tuple[Complex, Float]:
    """``z`` of each pair, its response of norm one times the statistics, and the norm of that response.

    Parameters
    ----------
    samples
        Statistics of one trial, [Q, M_r, N, W].
    points_m
        Places, shape [P, 2].

    Returns
    -------
    z, norms
        complex128 [P, Q, J, M_r] and float64 [P, Q, J].
    """
    distance, kappa = seen(model, points_m)
    k0 = model.wavenumber if carrier else 0.0
    response = np.exp(1j * (np.arange(model.antennas) * kappa[..., np.newaxis] - k0 * distance[..., np.newaxis]))
    receive, transmit = response[:, list(model.receivers)], response[:, list(model.transmitters)]
    sent = np.einsum("pqjn,qjwn->pqjw", transmit.reshape(len(points_m), *model.groups, -1), model.roots, optimize=True)
    norms = np.sqrt(model.antennas * np.sum(sent.real**2 + sent.imag**2, axis=-1))
    groups, receivers, antennas, coordinates = model.shape
    images = np.empty((len(points_m), *model.groups, receivers), dtype=np.complex128)
    for q in range(groups):
        half = sent[:, q].conj().reshape(-1, coordinates) @ samples[q].reshape(-1, coordinates).T
        half = half.reshape(len(points_m), model.groups[1], receivers, antennas)
        images[:, q] = np.einsum("pjrn,prn->pjr", half, receive.conj(), optimize=True)
    return images / norms[..., np.newaxis], norms

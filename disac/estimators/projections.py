"""Echoes projected on what targets at given positions would send back, and the Gauss-Newton step from there.

The response of a link and its derivatives by the angles and the delay are outer products of a receive vector and of a row in
subcarriers and symbols, so that all inner products come from two small Gram matrices. Every product has one
matrix for each trial, so that the bits of a trial do not depend on the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import delay_vector, steering_derivative, steering_vector
from disac.geometry import angle_gradient, angles_rad, delay_gradient, delays_s
from disac.metrics.fisher import SensingModel
from disac.waveforms import SampledEchoes

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """Echoes at given positions with the amplitudes that fit best, and where Gauss-Newton would go; B trials.

    ``likelihood`` [B] is what the amplitudes explain of the squared echoes; ``step`` and the standard ``deviation`` that the
    curvature there stands for are [B, K, 2], m.
    """

    likelihood: Float
    step: Float
    deviation: Float


class Projections:
    """Inner products of echoes and link responses of a known signal; links (m, k) of a receiver count as A = N_t K."""

    def __init__(self, model: SensingModel, seen: SampledEchoes) -> None:
        self._model, self._noise_power = model, seen.noise_power
        subcarriers, transmitters, antennas = model.subcarriers, len(model.transmit_nodes), model.transmit_antennas
        split = seen.signal.reshape(subcarriers, transmitters, antennas, -1)
        self._signal = split.transpose(1, 2, 0, 3).reshape(transmitters, antennas, -1)  # [N_t, M_t, L R]

    def links(self, positions: Float) -> tuple[Complex, Complex]:
        """Responses of all links with amplitude one as outer products, for positions [B, K, 2].

        Returns
        -------
        receive, sent
            Shapes [B, N_r, A, M_r] and [B, N_r, A, L R].
        """
        receive, sent = self._factors(positions)
        return receive[:, :, :, 0], sent[:, :, :, 0]

    def alone(self, received: Complex, positions: Float) -> tuple[Complex, Complex]:
        """``A`` and ``c`` of the links at positions [B, K, 2]: shapes [B, N_r, A, A] and [B, N_r, A]."""
        receive, sent = (part[:, :, :, np.newaxis] for part in self.links(positions))
        gram, image = _inner(received, receive, sent)
        return _ridged(gram[:, :, :, 0, :, 0]), image[..., 0]

    def fit(self, received: Complex, positions: Float) -> Fit:
        """The best amplitudes at positions [B, K, 2] for echoes [B, N_r, L, M_r, R], and the step of positions from there.

        Amplitudes are complex and unbounded, so the normal equations of positions and amplitudes together leave for the
        positions ``Re(V^H V - V^H U A^{-1} U^H V)``, with U the links' responses and V their derivatives by the positions.
        """
        gram, image = _inner(received, *self._factors(positions))
        turn = self._gradients(positions)
        image = (turn @ image[..., np.newaxis])[..., 0]
        gram = _turned(gram, turn)
        own, among = image[..., 0], _ridged(gram[:, :, :, 0, :, 0])
        b = np.linalg.solve(among, own[..., np.newaxis])[..., 0]
        batch, receivers, links = own.shape
        targets = positions.shape[1]
        shape = (batch, receivers, links // targets, targets)
        # Columns of V: by target and coordinate, each the sum over its transmitters.
        moved = (b.conj()[..., np.newaxis] * image[..., 1:]).reshape(*shape, 2).sum(axis=2)
        weight = b.conj()[:, :, :, np.newaxis, np.newaxis, np.newaxis] * b[:, :, np.newaxis, np.newaxis, :, np.newaxis]
        both = (weight * gram[:, :, :, 1:, :, 1:]).reshape(*shape, 2, *shape[2:], 2).sum(axis=(2, 5))
        cross = (
            (gram[:, :, :, 0, :, 1:] * b[:, :, np.newaxis, :, np.newaxis]).reshape(*shape[:2], links, *shape[2:], 2).sum(axis=3)
        )
        size = 2 * targets
        cross = cross.reshape(batch, receivers, links, size)
        gradient = moved.reshape(batch, receivers, size) - (cross.conj().swapaxes(-1, -2) @ b[..., np.newaxis])[..., 0]
        full = both.reshape(batch, receivers, size, size)
        schur = full - cross.conj().swapaxes(-1, -2) @ np.linalg.solve(among, cross)
        step, deviation = self._step(full.sum(axis=1).real, schur.sum(axis=1).real, gradient.sum(axis=1).real)
        likelihood = np.sum(own.conj() * b, axis=(1, 2)).real
        return Fit(likelihood, step.reshape(positions.shape), deviation.reshape(positions.shape))

    def _step(self, full: Float, schur: Float, gradient: Float) -> tuple[Float, Float]:
        """Solution of the normal equations and the deviations that their inverse stands for, shape [B, 2K] each."""
        scale = 1.0 / np.sqrt(np.maximum(np.einsum("bpp->bp", full), 1e-300))
        scaled = schur * scale[:, :, np.newaxis] * scale[:, np.newaxis] + 1e-12 * np.eye(schur.shape[-1])
        inverse = np.linalg.inv(scaled)
        step = scale * (inverse @ (scale * gradient)[..., np.newaxis])[..., 0]
        variance = np.einsum("bpp->bp", inverse) * self._noise_power / 2.0
        return step, scale * np.sqrt(np.maximum(variance, 0.0))

    def _seen(self, positions: Float) -> tuple[Float, Float]:
        """Angles and one-way delays of positions [B, K, 2], shape [B, N, K] each."""
        model, flat = self._model, positions.reshape(-1, 2)
        shape = (len(model.nodes_m), *positions.shape[:2])
        angle = angles_rad(model.nodes_m, flat, model.orientation).reshape(shape).swapaxes(0, 1)
        return angle, delays_s(model.nodes_m, flat).reshape(shape).swapaxes(0, 1)

    def _factors(self, positions: Float) -> tuple[Complex, Complex]:
        """Receive vector and row of each link's response, then of its derivatives by both angles and by the delay.

        Shapes [B, N_r, A, 4, M_r] and [B, N_r, A, 4, L R].
        """
        model, (batch, targets) = self._model, positions.shape[:2]
        receivers, transmitters = list(model.receive_nodes), list(model.transmit_nodes)
        angle, delay = self._seen(positions)
        receive, by_receive = (f(angle[:, receivers], model.receive_antennas) for f in (steering_vector, steering_derivative))
        transmit = [f(angle[:, transmitters], model.transmit_antennas) for f in (steering_vector, steering_derivative)]
        both = delay[:, receivers, np.newaxis] + delay[:, transmitters][:, np.newaxis]  # [B, N_r, N_t, K]
        phase = delay_vector(both, model.subcarriers, model.bandwidth_hz)[..., np.newaxis]
        rows = np.concatenate(transmit, axis=2) @ self._signal  # [B, N_t, 2 K, L R]
        split = rows.reshape(batch, 1, len(transmitters), 2, targets, model.subcarriers, -1)
        straight, by_transmit = phase * split[:, :, :, 0], phase * split[:, :, :, 1]
        by_delay = model.delay_rate[:, np.newaxis] * straight
        sent = np.stack([straight, straight, by_transmit, by_delay], axis=4)
        facing = np.stack([receive, by_receive, receive, receive], axis=3)[:, :, np.newaxis]
        facing = np.broadcast_to(facing, (batch, len(receivers), len(transmitters), *facing.shape[3:]))
        shape = (batch, len(receivers), len(transmitters) * targets, 4, -1)
        return facing.reshape(shape), sent.reshape(shape)

    def _gradients(self, positions: Float) -> Float:
        """From (response, by receive angle, by transmit angle, by delay) to (response, by x, by y): [B, N_r, A, 3, 4]."""
        model, (batch, targets) = self._model, positions.shape[:2]
        receivers, transmitters = list(model.receive_nodes), list(model.transmit_nodes)
        flat, shape = positions.reshape(-1, 2), (len(model.nodes_m), *positions.shape)
        angle = angle_gradient(model.nodes_m, flat).reshape(shape).swapaxes(0, 1)
        delay = delay_gradient(model.nodes_m, flat).reshape(shape).swapaxes(0, 1)
        turn = np.zeros((batch, len(receivers), len(transmitters), targets, 3, 4))
        turn[..., 0, 0] = 1.0
        turn[..., 1:, 1] = angle[:, receivers, np.newaxis]
        turn[..., 1:, 2] = angle[:, np.newaxis, transmitters]
        turn[..., 1:, 3] = delay[:, receivers, np.newaxis] + delay[:, np.newaxis, transmitters]
        return turn.reshape(batch, len(receivers), -1, 3, 4)


def _inner(received: Complex, receive: Complex, sent: Complex) -> tuple[Complex, Complex]:
    """Inner products of outer products among themselves and with echoes.

    Returns
    -------
    gram, image
        Shapes [B, N_r, A, J, A, J] and [B, N_r, A, J] for factors [B, N_r, A, J, any].
    """
    shape = receive.shape[:4]
    facing, rows = (part.reshape(*shape[:2], shape[2] * shape[3], -1) for part in (receive.conj(), sent))
    gram = (facing @ facing.conj().swapaxes(-1, -2)) * (rows.conj() @ rows.swapaxes(-1, -2))
    echo = received.swapaxes(2, 3).reshape(*received.shape[:2], received.shape[3], -1)
    image = np.sum((facing @ echo) * rows.conj(), axis=-1)
    return gram.reshape(*shape, *shape[2:]), image.reshape(shape)


def _turned(gram: Complex, turn: Float) -> Complex:
    """``T G T^T`` link by link: shape [B, N_r, A, 3, A, 3]."""
    batch, receivers, links, kinds = gram.shape[:4]
    left = turn @ gram.reshape(batch, receivers, links, kinds, links * kinds)
    left = left.reshape(batch, receivers, links * 3, links, kinds).transpose(0, 1, 3, 4, 2)
    both = turn @ left  # [B, N_r, A, 3, 3 A]
    return both.transpose(0, 1, 4, 2, 3).reshape(batch, receivers, links, 3, links, 3)


def _ridged(gram: Complex) -> Complex:
    """A little on the diagonal: links that see nothing, or the same, have no amplitudes to tell apart."""
    size = gram.shape[-1]
    return gram + 1e-13 * np.einsum("bnaa->bn", gram).real[..., np.newaxis, np.newaxis] * np.eye(size)

"""Scores of a design of any paper from its covariances alone (the columns of the common table)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.metrics.kld import block_divergence

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

SWEEPS = 8
GRID = 9


@dataclass(frozen=True)
class PhaseGains:
    """Power of every stream at every user by pairs of nodes: ``gains`` [U, V, L, N, N], V the users' streams and the sensing
    one.

    With node phases phi user u hears ``sum_nm e^{-j (phi_n - phi_m)} gains_nm`` of a stream.
    """

    gains: Complex
    noise_power: float

    def sinr(self, phases_rad: Float) -> Float:
        """SINR of every user and subcarrier, amplitudes of the nodes added, [..., U, L], for phases [..., N]."""
        turn = np.exp(-1j * phases_rad)
        power = np.real(np.einsum("...n,uvlnm,...m->...uvl", turn, self.gains, turn.conj(), optimize=True))
        own = np.einsum("...uul->...ul", power[..., : power.shape[-3], : power.shape[-3], :])
        return own / np.maximum(power.sum(axis=-2) - own + self.noise_power, 1e-300)

    def nominal(self) -> Float:
        """SINR (7) of 002, powers of the nodes added, [U, L]."""
        power = np.real(np.einsum("uvlnn->uvl", self.gains))
        own = np.einsum("uul->ul", power[:, : len(power)])
        return own / (power.sum(axis=1) - own + self.noise_power)

    def worst(self, limit_rad: float) -> Float:
        """Least SINR found for phases up to a limit, [U, L].

        The search starts at the least value on a coarse grid. It then changes one phase after another, on a grid that shrinks
        around the phase. Each user and subcarrier has a search of its own.
        """
        nodes = self.gains.shape[-1]
        coarse = limit_rad * np.array(np.meshgrid(*[[-1.0, 0.0, 1.0]] * nodes, indexing="ij")).reshape(nodes, -1).T
        phases = coarse[self.sinr(coarse).argmin(axis=0)]
        width, level = limit_rad, self._each(phases[np.newaxis])[0]
        for _ in range(SWEEPS):
            for node in range(nodes):
                steps = width * np.linspace(-1.0, 1.0, GRID)
                grid = np.clip(phases[..., node] + steps[:, np.newaxis, np.newaxis], -limit_rad, limit_rad)
                tried = np.broadcast_to(phases, (GRID, *phases.shape)).copy()
                tried[..., node] = grid
                values = self._each(tried)
                place = values.argmin(axis=0)[np.newaxis]
                lower = np.take_along_axis(values, place, 0)[0]
                phases[..., node] = np.where(lower < level, np.take_along_axis(grid, place, 0)[0], phases[..., node])
                level = np.minimum(level, lower)
            width /= 2.0
        return level

    def _each(self, phases_rad: Float) -> Float:
        """SINR for other phases at every user and subcarrier, given as [G, U, L, N]."""
        turn = np.exp(-1j * phases_rad)
        power = np.real(np.einsum("guln,uvlnm,gulm->guvl", turn, self.gains, turn.conj(), optimize=True))
        own = np.einsum("guul->gul", power[:, :, : power.shape[1]])
        return own / (power.sum(axis=2) - own + self.noise_power)


def phase_gains(channels: Complex, users: Complex, sensing: Complex, noise_power: float) -> PhaseGains:
    """Gains of streams' covariances.

    Parameters
    ----------
    channels
        h_{n,u,l}, [N, U, L, M].
    users, sensing
        R_{c,u,l} [U, L, N M, N M] and R_{s,l} [L, N M, N M].
    noise_power
        Of one resource element.
    """
    nodes, _, count, antennas = channels.shape
    streams = np.concatenate([users, sensing[np.newaxis]]).reshape(-1, count, nodes, antennas, nodes, antennas)
    gains = np.einsum("nula,vlnamb,mulb->uvlnm", channels.conj(), streams, channels, optimize=True)
    return PhaseGains(gains, noise_power)


def illuminated(steering: Complex, covariances: Complex) -> Float:
    """``t_{n,l} = a_n^T R_{nn,l} a_n^*`` of covariances [L, N M, N M], shape [L, N]."""
    nodes, antennas = steering.shape
    blocks = covariances.reshape(-1, nodes, antennas, nodes, antennas)
    return np.real(np.einsum("na,lnanb,nb->ln", steering, blocks, steering.conj(), optimize=True))


def whole_divergence(responses: Complex, covariances: Complex, noise_power: float) -> Float:
    """KLD (28) of 000 with the covariance of all receivers' echoes together, nats, [L].

    ``R_1 = R_0 + H_l R_l H_l^H``, ``R_0 = noise_power I``: one fluctuation, common to all links, multiplies the echoes of all
    nodes. So signals that nodes send in step add up at the target, and every pair of receivers is correlated. (25) of 000 drops
    the entries outside the receivers' blocks, so its beams never add up.

    Parameters
    ----------
    responses
        H_{n,l}, [N, L, M_r, D].
    covariances
        R_l of all that is sent, [L, D, D].
    noise_power
        Of one resource element.
    """
    stacked = np.moveaxis(responses, 0, 1).reshape(len(covariances), -1, covariances.shape[-1])
    values = np.linalg.eigvalsh(stacked @ covariances @ stacked.conj().swapaxes(-1, -2)) / noise_power
    return block_divergence(np.maximum(values, 0.0))


def radiated(covariances: Complex, nodes: int) -> tuple[float, float, float]:
    """Power in all, of the busiest node and of the busiest antenna, summed over subcarriers."""
    each = np.real(np.einsum("lii->i", covariances))
    return float(each.sum()), float(each.reshape(nodes, -1).sum(axis=1).max()), float(each.max())

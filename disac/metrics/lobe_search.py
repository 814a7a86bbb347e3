"""Wrong lobes of a coherent position estimate: where the echoes of another place fit almost as well.

A coherent cost has a minimum about every half wavelength. Which of them count follows without any noise: the echo that a pair
(t, r) would have from p resembles that from the target p0 as ``c_tr = c_t(p) c_r(p)`` with

    c_m(p) = D(kappa_m(p) - kappa_m(p0)) e^{j (theta_m(p) - theta_m(p0))},    theta_m = -k0 d_m + (N-1)/2 kappa_m,

D the Dirichlet kernel of N antennas. Amplitudes fall with ``1 / (d_t d_r)``, so the sum over pairs is the product of a sum over
transmitters and a sum over receivers. Within a tile the phases are linear, and each sum is one small matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.metrics.access_point_terms import AccessPoints, Amplitudes
from disac.metrics.position_error_map import split_information

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

WIDEST_M = 60.0
"""Half of the largest side of the region that is searched."""

_PITCH, _LOSS = 1.0 / 10.0, 0.12
"""Pitch of the search in wavelengths, and what half of it takes from a peak at most."""

_TILE_M, _BEND_RAD = 2.0, 0.35
"""Side of a tile at most, and how far phases in it may be from linear."""

_BATCH = 8


@dataclass(frozen=True)
class Scene:
    """A target and the access points that see it.

    ``snr_m4`` is that of :func:`disac.metrics.position_error_map.pair_snr_m4`, of a pair.
    """

    network: AccessPoints
    target_m: Float
    transmitters: tuple[int, ...]
    receivers: tuple[int, ...]
    snr_m4: float

    @property
    def amplitudes(self) -> Float:
        """Root of the signal-to-noise ratio of each pair after integration, [N_t, N_r]."""
        strength: Float = self.amplitudes_at(self.target_m[np.newaxis])[0]
        return strength

    def amplitudes_at(self, points_m: Float) -> Float:
        """The same for a target at points [P, 2]: [P, N_t, N_r]."""
        d = np.linalg.norm(points_m[:, np.newaxis] - self.network.positions_m, axis=-1)
        sent, heard = d[:, list(self.transmitters)], d[:, list(self.receivers)]
        return np.sqrt(self.snr_m4) / (sent[:, :, np.newaxis] * heard[:, np.newaxis])

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio of all pairs after integration."""
        return float((self.amplitudes**2).sum())

    def resemblance(self, points_m: Float) -> tuple[Complex, Complex]:
        """``c_t`` and ``c_r`` at points [P, 2]: shapes [P, N_t] and [P, N_r]."""
        turn, phase = _geometry(self.network, points_m)
        turn_0, phase_0 = _geometry(self.network, self.target_m[np.newaxis])
        half = 0.5 * (turn - turn_0)
        antennas = self.network.antennas
        flat = np.abs(np.sin(half)) < 1e-9
        # At a multiple of a turn the kernel is one but for a sign, which is that of the middle of the array.
        sine = np.where(flat, 1.0, np.sin(half))
        kernel = np.where(flat, np.cos((antennas - 1) * half), np.sin(antennas * half) / (antennas * sine))
        c = kernel * np.exp(1j * (phase - phase_0))
        return c[:, list(self.transmitters)], c[:, list(self.receivers)]

    def responses(self, points_m: Float) -> tuple[Complex, Complex]:
        """Unit responses of transmitters and receivers at points [P, 2], shapes [P, N_t, N] and [P, N_r, N].

        The product of those at two points, one of them conjugate, is how they resemble each other.
        """
        turn, phase = _geometry(self.network, points_m)
        number = np.arange(self.network.antennas) - 0.5 * (self.network.antennas - 1)
        response = np.exp(1j * (phase[..., np.newaxis] + turn[..., np.newaxis] * number)) / np.sqrt(self.network.antennas)
        return response[:, list(self.transmitters)], response[:, list(self.receivers)]

    def likenesses(self, points_m: Float) -> Complex:
        """``S_tr c_tr``: what pairs measure of the target when they look for it at points [P, 2], in units of the noise.

        Returns
        -------
        complex128, shape [P, N_t, N_r]
        """
        sent, heard = self.resemblance(points_m)
        return self.amplitudes * sent[:, :, np.newaxis] * heard[:, np.newaxis]


def _geometry(network: AccessPoints, points_m: Float) -> tuple[Float, Float]:
    """``kappa`` and ``theta`` at points, [P, A] each, rad."""
    v = points_m[:, np.newaxis] - network.positions_m
    d = np.linalg.norm(v, axis=-1)
    across = v[..., 1] * np.cos(network.boresights_rad) - v[..., 0] * np.sin(network.boresights_rad)
    turn = np.pi * across / d
    return turn, -network.wavenumber_rad_m * d + 0.5 * (network.antennas - 1) * turn


def _slopes(network: AccessPoints, points_m: Float) -> Float:
    """``grad theta`` at points, [P, A, 2], rad/m."""
    v = points_m[:, np.newaxis] - network.positions_m
    d = np.linalg.norm(v, axis=-1, keepdims=True)
    ahead = np.stack([np.cos(network.boresights_rad), np.sin(network.boresights_rad)], axis=-1)
    facing = (v * ahead).sum(axis=-1, keepdims=True)
    across = np.stack([-v[..., 1], v[..., 0]], axis=-1)
    return -network.wavenumber_rad_m * v / d + 0.5 * (network.antennas - 1) * np.pi * facing * across / d**3


def scores(amplitudes: Amplitudes, measured: Complex, weights: Float) -> tuple[Float, Float]:
    """Likelihood of places from what pairs measure there, up to a constant, and the phase of the target that fits best.

    ``structured``: ``|sum w z|^2 / sum w^2``. ``sign-free`` (004): ``(sum |z|^2 + |sum z^2|) / 2``. ``nonnegative``: the
    largest ``sum max(Re z e^{-j phi}, 0)^2`` over phi.

    Parameters
    ----------
    measured
        z of each pair in units of the noise, [..., E].
    weights
        Amplitudes that a target there would have, up to a factor, [..., E].

    Returns
    -------
    float64, shape [...] each
    """
    if amplitudes == "structured":
        total = (measured * weights).sum(axis=-1)
        return np.abs(total) ** 2 / (weights**2).sum(axis=-1), np.angle(total)
    if amplitudes == "sign-free":
        square = (measured**2).sum(axis=-1)
        return 0.5 * ((np.abs(measured) ** 2).sum(axis=-1) + np.abs(square)), 0.5 * np.angle(square)
    phase = np.angle((measured * np.abs(measured)).sum(axis=-1))
    for _ in range(8):
        # Among the pairs that have the sign, the best phase is that of the sign-free form.
        turned = measured * np.exp(-1j * phase)[..., np.newaxis]
        phase = phase + 0.5 * np.angle((np.where(turned.real > 0, turned, 0.0) ** 2).sum(axis=-1))
    turned = measured * np.exp(-1j * phase)[..., np.newaxis]
    return (np.maximum(turned.real, 0.0) ** 2).sum(axis=-1), phase


def wrong_lobes_m(scene: Scene, amplitudes: Amplitudes, gap: float, most: int) -> Float:
    """Places of the lobes whose likelihood falls short of the target's by a gap at most, the strongest first, [M, 2], m.

    Parameters
    ----------
    gap
        In units of the noise: the gap ``G`` of a lobe is overcome with the probability ``Q(sqrt(G / 2))``, about.
    most
        Number of lobes at most.
    """
    wavelength = 2.0 * np.pi / scene.network.wavenumber_rad_m

    def shortfall(points: Float) -> Float:
        z = scene.likenesses(points).reshape(len(points), -1)
        return scene.snr - scores(amplitudes, z, scene.amplitudes_at(points).reshape(z.shape))[0]

    found = np.concatenate([np.empty((0, 3)), *_candidates(scene, amplitudes, gap)])
    places = found[np.argsort(-found[:, 2], kind="stable")[: 16 * most], :2]
    step = _PITCH * wavelength
    pattern = np.stack(np.meshgrid([-0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]), axis=-1).reshape(-1, 2)
    for _ in range(8):
        tried = places[:, np.newaxis] + step * pattern
        best = shortfall(tried.reshape(-1, 2)).reshape(len(places), 9).argmin(axis=1)
        places, step = tried[np.arange(len(places)), best], 0.6 * step
    missing = shortfall(places)
    order = np.argsort(missing, kind="stable")
    kept: list[int] = []
    for number in order[missing[order] <= gap]:
        near = np.linalg.norm(places[kept] - places[number], axis=1) if kept else np.array([np.inf])
        if near.min() > wavelength / 10.0 and np.linalg.norm(places[number] - scene.target_m) > wavelength / 4.0:
            kept.append(int(number))
        if len(kept) == most:
            break
    return places[kept]


def _candidates(scene: Scene, amplitudes: Amplitudes, gap: float) -> Iterator[Float]:
    """Peaks of the field on a grid over tiles: positions, m, and the field there, [any, 3]."""
    network, factor = scene.network, 2 if amplitudes == "sign-free" else 1
    wavelength = 2.0 * np.pi / network.wavenumber_rad_m
    # Field |sum w c|, or |sum w c^2| where a sign is free, from which a likelihood within the gap is possible.
    short = gap / scene.snr
    least = np.sqrt(max(0.0, 1.0 - short)) if amplitudes == "structured" else max(0.0, 1.0 - 2.0 * short)
    least = max(0.2, least - _LOSS * factor**2)
    d = np.linalg.norm(network.positions_m - scene.target_m, axis=1)
    nearest = d[list(scene.transmitters + scene.receivers)].min()
    side = min(_TILE_M, np.sqrt(4.0 * _BEND_RAD * nearest / (network.wavenumber_rad_m * factor)))
    centres = _tiles(scene, gap, side)
    count = int(np.ceil(side / (_PITCH * wavelength / factor)))
    line = (np.arange(count) - 0.5 * (count - 1)) * (side / count)
    roles = [list(scene.transmitters), list(scene.receivers)]
    for first in range(0, len(centres), _BATCH):
        some = centres[first : first + _BATCH]
        field = np.ones((len(some), count, count), dtype=np.float32)
        slopes = factor * _slopes(network, some)
        for role, c in zip(roles, scene.resemblance(some), strict=True):
            weight = d[role] ** -2.0 / (d[role] ** -2.0).sum()
            x, y = (np.exp(1j * slopes[:, role, axis, np.newaxis] * line).astype(np.complex64) for axis in (0, 1))
            x *= (weight * c**factor).astype(np.complex64)[..., np.newaxis]
            field *= np.abs(x.swapaxes(1, 2) @ y)
        high = field >= least
        for axis in (1, 2):
            ahead = [slice(None)] * 3
            behind = [slice(None)] * 3
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            high[tuple(ahead)] &= field[tuple(ahead)] >= field[tuple(behind)]
            high[tuple(behind)] &= field[tuple(behind)] >= field[tuple(ahead)]
        tile, i, j = np.nonzero(high)
        yield np.column_stack([some[tile] + np.stack([line[i], line[j]], axis=-1), field[tile, i, j]])


def _tiles(scene: Scene, gap: float, side: float) -> Float:
    """Centres of tiles that cover the places which noncoherent likelihood leaves within the gap, [any, 2], m."""
    network = scene.network
    masks = np.zeros((2, 1, len(network.positions_m)), dtype=bool)
    masks[0, 0, list(scene.transmitters)], masks[1, 0, list(scene.receivers)] = True, True
    xx, yy, xy = split_information(
        network, scene.target_m[np.newaxis], masks[0], scene.snr_m4, receivers=masks[1], phases="noncoherent"
    )[:, 0, 0]  # fmt: skip
    matrix = np.array([[xx, xy], [xy, yy]])
    inverse = np.linalg.inv(matrix + np.eye(2) * 2.0 * gap / WIDEST_M**2)
    half = np.minimum(1.5 * np.sqrt(2.0 * gap * np.diag(inverse)), WIDEST_M) + side
    lines = [side * np.arange(-np.ceil(h / side), np.ceil(h / side) + 1) for h in half]
    away = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)
    centres = scene.target_m + away
    # The root of what is missing is a distance: within a tile it changes by as much as the information says.
    missing = scene.snr - (np.abs(scene.likenesses(centres)) ** 2).sum(axis=(1, 2))
    margin = 0.5 * side * np.sqrt(np.linalg.eigvalsh(matrix)[-1])
    return centres[np.sqrt(np.maximum(missing, 0.0)) <= np.sqrt(gap) + margin]

"""Noncoherent map ``T(p)``: the energy that one target at p explains of the echoes, (18) of 004, exactly or by tables.

Of transmitters in slots of their own ``T = sum |z|^2``. Where echoes of transmitters overlap, ``T = z^H Gram^{-1} z`` at each
receiver (the diagonal form of (11) holds only without overlap).

The tables hold ``|z|^2`` of each pair on a lattice of both phases kappa; what a place looks up depends on geometry alone and
is kept. The nearest entry loses at most ``(pi / Q)^2 (N^2 - 1) / 12`` of a peak for each angle (0.3 % for Q = 128, N = 8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.estimators.dmimo.echoes import Complex, EchoModel, Float, seen

_BLOCK = 8192
"""Places that are looked up together: their numbers stay in the cache of a core."""
_EXACT_BLOCK = 1024


@dataclass(frozen=True)
class Area:
    """Rectangle in which targets are looked for, and the spacing of the map, m."""

    low_m: tuple[float, float]
    high_m: tuple[float, float]
    spacing_m: float = 5.0

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells along x and y."""
        x, y = (max(1, round((high - low) / self.spacing_m)) for low, high in zip(self.low_m, self.high_m, strict=True))
        return x, y

    @property
    def cell_m2(self) -> float:
        """Area of a cell, m^2."""
        x, y = (high - low for low, high in zip(self.low_m, self.high_m, strict=True))
        return x * y / (self.shape[0] * self.shape[1])

    def points(self) -> Float:
        """Centres of the cells, x first: shape [P, 2], m."""
        axes = [
            low + (np.arange(count) + 0.5) * (high - low) / count
            for low, high, count in zip(self.low_m, self.high_m, self.shape, strict=True)
        ]
        x, y = np.meshgrid(*axes, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1)


def exact_map(model: EchoModel, samples: Complex, points_m: Float, *, narrow: bool = False) -> Float:
    """``T`` of the statistics of one trial [Q, M_r, N, W] at places [P, 2], float64 [P].

    Parameters
    ----------
    narrow
        Work in numbers of 8 bytes, twice as fast and good to 1e-5 of the energy.
    """
    kind = np.complex64 if narrow else np.complex128
    groups, receivers, antennas, coordinates = model.shape
    flat = np.moveaxis(samples, 3, 1).reshape(groups, 1, coordinates, receivers * antennas).astype(kind)
    roots = model.roots.swapaxes(-1, -2).astype(kind)
    value = np.empty(len(points_m))
    for start in range(0, len(points_m), _EXACT_BLOCK):
        part = points_m[start : start + _EXACT_BLOCK]
        step = np.exp(1j * seen(model, part)[1].T).astype(kind)
        response = np.empty((*step.shape, antennas), dtype=kind)
        response[..., 0] = 1.0
        for n in range(1, antennas):
            np.multiply(response[..., n - 1], step, out=response[..., n])
        sent = response[list(model.transmitters)].reshape(*model.groups, len(part), antennas) @ roots
        energy = antennas * np.sum(sent.real**2 + sent.imag**2, axis=-1)  # [Q, J, P]
        seen_there = sent.conj() @ flat
        whitener = _whitener(model, part) if model.groups[1] > 1 else None
        total = np.zeros(len(part))
        for r, receiver in enumerate(model.receivers):
            own = seen_there[..., r * antennas : (r + 1) * antennas]
            z = np.einsum("qjpn,pn->qjp", own, response[receiver].conj())
            if whitener is None:
                total += np.sum((z.real**2 + z.imag**2) / energy, axis=(0, 1))
            else:
                white = whitener @ np.moveaxis(z / np.sqrt(energy), 2, 0)[..., np.newaxis]
                total += np.sum(white.real**2 + white.imag**2, axis=(1, 2, 3))
        value[start : start + _EXACT_BLOCK] = total
    return value


class TableMap:
    """Maps of one geometry by tables.

    With a mean ``strength_m2`` of the targets, pairs count by the radar law: for gains of that mean square ``s`` in units of
    the noise (Swerling's), the logarithm of the likelihood ratio is ``sum [v |z|^2 + ln(1 - v)]`` with ``v = s / (1 + s)``.

    Raises
    ------
    ValueError
        If a strength is given and echoes of transmitters overlap.
    """

    def __init__(self, model: EchoModel, points_m: Float, bins: int = 128, strength_m2: float | None = None) -> None:
        if strength_m2 is not None and model.groups[1] > 1:
            raise ValueError("A map weighted by the radar law needs transmitters in slots of their own.")
        self._model, self._bins, self.points_m = model, bins, points_m
        _, kappa = seen(model, points_m)
        index = np.rint((kappa.T + np.pi) * (bins / (2.0 * np.pi))).astype(np.intp) % bins
        self._send = np.ascontiguousarray(index[list(model.transmitters)] * bins)
        self._get = np.ascontiguousarray(index[list(model.receivers)])
        grid = np.exp(1j * np.arange(model.antennas)[:, np.newaxis] * (2.0 * np.pi * np.arange(bins) / bins - np.pi))
        sent = model.roots @ grid  # [Q, J, W, bins]
        norm = np.sqrt(np.maximum(np.sum(np.abs(sent) ** 2, axis=2, keepdims=True) * model.antennas, 1e-300))
        self._sent = (sent / norm).conj().swapaxes(-1, -2).astype(np.complex64)
        self._received = grid.conj().astype(np.complex64)
        self._law = None if strength_m2 is None else _law_weights(model, points_m, strength_m2)
        self._whitener = _whitener(model, points_m).astype(np.complex64) if model.groups[1] > 1 else None

    def __call__(self, samples: Complex) -> NDArray[np.float32]:
        """``T`` of the statistics of one trial [Q, M_r, N, W] at all places, float32 [P]."""
        narrow = samples.astype(np.complex64)
        # [Q, J, M_r, bins of the transmitter, bins of the receiver]
        half = self._sent[:, :, np.newaxis] @ narrow[:, np.newaxis].swapaxes(-1, -2)
        tables = half @ self._received
        return self._squares(tables) if self._whitener is None else self._whitened(tables)

    def _squares(self, tables: NDArray[np.complex64]) -> NDArray[np.float32]:
        squared = (tables.real**2 + tables.imag**2).reshape(len(self._send), len(self._get), -1)
        value = np.zeros(len(self.points_m), dtype=np.float32)
        place, found = np.empty(_BLOCK, dtype=np.intp), np.empty(_BLOCK, dtype=np.float32)
        for start in range(0, len(value), _BLOCK):
            part = slice(start, start + _BLOCK)
            into = value[part]
            at, seen_there = place[: len(into)], found[: len(into)]
            for t, send in enumerate(self._send):
                for r, get in enumerate(self._get):
                    np.add(send[part], get[part], out=at)
                    np.take(squared[t, r], at, out=seen_there, mode="clip")
                    if self._law is not None:
                        seen_there *= self._law[0][t, r, part]
                    into += seen_there
        return value if self._law is None else value + self._law[1]

    def _whitened(self, tables: NDArray[np.complex64]) -> NDArray[np.float32]:
        assert self._whitener is not None
        flat = tables.reshape(len(self._send), len(self._get), -1)
        value = np.zeros(len(self.points_m), dtype=np.float32)
        for r, get in enumerate(self._get):
            z = np.stack([flat[t, r][send + get] for t, send in enumerate(self._send)], axis=-1)
            white = (self._whitener[:, 0] @ z[..., np.newaxis])[..., 0]
            value += np.sum(white.real**2 + white.imag**2, axis=-1)
        return value


def peaks(value: NDArray[np.floating], shape: tuple[int, int], least: float, most: int) -> NDArray[np.intp]:
    """Numbers of the highest cells that no neighbour exceeds and that reach a level, highest first."""
    candidates = np.flatnonzero(value >= least)
    if not candidates.size:
        return candidates
    padded = np.pad(value.reshape(shape), 1, constant_values=-np.inf)
    row, column = np.divmod(candidates, shape[1])
    top = np.ones(len(candidates), dtype=bool)
    for i in (0, 1, 2):
        for j in (0, 1, 2):
            top &= value[candidates] >= padded[row + i, column + j]
    found = candidates[top]
    return found[np.argsort(-value[found], kind="stable")][:most]


def _law_weights(model: EchoModel, points_m: Float, strength_m2: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``v`` of each pair [M_t, M_r, P] and ``sum ln(1 - v)`` [P] for the radar law."""
    distance, kappa = seen(model, points_m)
    response = np.exp(1j * np.arange(model.antennas) * kappa[:, list(model.transmitters), np.newaxis])
    sent = np.einsum("ptn,twn->ptw", response, model.roots[:, 0], optimize=True)
    send = np.sum(np.abs(sent) ** 2, axis=-1) * model.antennas / distance[:, list(model.transmitters)] ** 2
    power = strength_m2**2 * send.T[:, np.newaxis] / distance[:, list(model.receivers)].T ** 2
    return (power / (1.0 + power)).astype(np.float32), -np.log1p(power).sum(axis=(0, 1)).astype(np.float32)


def _whitener(model: EchoModel, points_m: Float) -> Complex:
    """``Gram^{-1/2}`` of the unit responses of each group's transmitters, without a receiver: [P, Q, J, J]."""
    _, kappa = seen(model, points_m)
    response = np.exp(1j * np.arange(model.antennas) * kappa[:, list(model.transmitters), np.newaxis])
    sent = np.einsum("pqjn,qjwn->pqjw", response.reshape(len(points_m), *model.groups, -1), model.roots, optimize=True)
    sent /= np.linalg.norm(sent, axis=-1, keepdims=True)
    gram = sent.conj() @ sent.swapaxes(-1, -2)
    return np.linalg.inv(np.linalg.cholesky(gram + 1e-10 * np.eye(gram.shape[-1])))

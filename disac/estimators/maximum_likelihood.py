"""Maximum-likelihood positions from the echoes of a noncoherent network: coarse grid, then Gauss-Newton, all trials at once.

Amplitudes are unknown, so for given positions their least-squares values are put in (variable projection): with
``A b = c`` at each receiver, the likelihood of positions grows with ``c^H A^{-1} c``. Several targets are found by alternating
projection: one after the other with the earlier ones held, then each again with the others held, and refined together. Echoes
are taken to obey (5) of 002: that the cyclic prefix covers their delays.

Each trial is a matrix of its own in every product of the refinement, so its bits do not depend on the others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import delay_vector, steering_vector
from disac.estimators.projections import Projections
from disac.geometry import angles_rad, delays_s
from disac.metrics.fisher import SensingModel
from disac.units import SPEED_OF_LIGHT_M_S
from disac.waveforms import SampledEchoes

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

MOST_STEPS = 12
_ENOUGH = 1e-3
"""Gauss-Newton ends when every step is below this share of its own standard deviation."""
_LENGTHS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Shares of a step that are tried until one fits no worse."""
_PEAKS = 3
"""Places that refinement starts from: between points of the grid the highest peak may look lower than one beside it."""
_TOGETHER = 2**21
"""Images of trials on the grid that are held together, so many numbers of 16 bytes."""
_FINEST = 0.2
"""Of c / B, the widest spacing: no place is then further than 0.29 / B in delay from a grid point, where 1 / B is a null."""


@dataclass(frozen=True)
class Area:
    """Square around the origin in which targets are looked for, and the widest spacing of the coarse grid, m."""

    half_width_m: float = 60.0
    spacing_m: float = 2.0

    def suiting(self, bandwidth_hz: float) -> Area:
        """The same square with a grid that does not miss the peaks of so much bandwidth."""
        return Area(self.half_width_m, min(self.spacing_m, _FINEST * SPEED_OF_LIGHT_M_S / bandwidth_hz))

    def points(self) -> Float:
        """Grid points, shape [G, 2], m."""
        count = int(np.floor(self.half_width_m / self.spacing_m))
        line = self.spacing_m * np.arange(-count, count + 1)
        x, y = np.meshgrid(line, line, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1)


def locate(model: SensingModel, seen: SampledEchoes, area: Area, amplitudes: Sequence[float]) -> Float:
    """Most likely positions of as many targets as the model has; its own positions and amplitudes are not looked at.

    Parameters
    ----------
    amplitudes
        Positions are found for echoes that are so many times as strong in the same noise, shape [S].

    Returns
    -------
    float64, shape [S, trials, K, 2], m
        In the order in which they were found.
    """
    search = _Search(model, seen, area.suiting(model.bandwidth_hz))
    together = search.trials_together
    found = np.empty((len(amplitudes), len(seen.noise), len(model.targets_m), 2))
    for start in range(0, len(seen.noise), together):
        trials = slice(start, start + together)
        clean, noise = np.split(search.images(np.concatenate([seen.clean[np.newaxis], seen.noise[trials]])), [1])
        for number, amplitude in enumerate(amplitudes):
            received = amplitude * seen.clean + seen.noise[trials]
            found[number, trials] = search.all_targets(received, amplitude * clean + noise)
    return found


class _Search:
    """Data that the likelihood of one signal needs, prepared once: at every grid point, and for refinement between them."""

    def __init__(self, model: SensingModel, seen: SampledEchoes, area: Area) -> None:
        self._model, self._signal = model, seen.signal
        self._projections = Projections(model, seen)
        points = area.points()
        # A point on a node has no angle; it is no candidate.
        near = np.linalg.norm(points[:, np.newaxis] - model.nodes_m, axis=2).min(axis=1)
        self._allowed = near > 0.5 * area.spacing_m
        self._points = points[self._allowed]
        receivers, transmitters = list(model.receive_nodes), list(model.transmit_nodes)
        angle = angles_rad(model.nodes_m, self._points, model.orientation)
        one_way = delay_vector(delays_s(model.nodes_m, self._points), model.subcarriers, model.bandwidth_hz)
        transmit = steering_vector(angle[transmitters], model.transmit_antennas)
        self._conj_receive = steering_vector(angle[receivers], model.receive_antennas).conj()
        self._conj_transmit = transmit.conj()
        self._conj_delay = (one_way[receivers, np.newaxis] * one_way[transmitters]).conj()
        # A at every point, shape [N_r, G, N_t, N_t], and what whitens its images.
        count, antennas = len(transmitters), model.transmit_antennas
        blocks = seen.covariances.reshape(model.subcarriers, count, antennas, count, antennas)
        sent = np.einsum("mgi,lmipj,pgj->glmp", transmit, blocks, self._conj_transmit, optimize=True)
        delay = self._conj_delay.conj()
        gram = np.einsum("nmgl,glmp,npgl->ngpm", delay, sent, self._conj_delay, optimize=True) * model.receive_antennas
        ridge = 1e-12 * np.einsum("ngmm->ng", gram).real[..., np.newaxis, np.newaxis] * np.eye(count)
        self._whiten = np.linalg.inv(np.linalg.cholesky(gram + ridge))

    @property
    def trials_together(self) -> int:
        """Number of trials that are worked on together."""
        return max(1, int(_TOGETHER // np.prod(self._whiten.shape[:3])))

    def images(self, received: Complex) -> Complex:
        """``A^{-1/2} c`` of a target alone at every grid point, for echoes [B, N_r, L, M_r, R]: shape [B, N_r, G, N_t]."""
        correlated = received @ self._signal.conj().swapaxes(-1, -2)
        antennas = self._model.transmit_antennas
        split = correlated.reshape(*correlated.shape[:4], -1, antennas)
        c = np.empty((len(received), split.shape[1], len(self._points), split.shape[4]), dtype=np.complex128)
        for n, m in np.ndindex(c.shape[1], c.shape[3]):
            weights = np.einsum("gl,gi,gj->glij", self._conj_delay[n, m], self._conj_receive[n], self._conj_transmit[m])
            c[:, n, :, m] = split[:, n, :, :, m].reshape(len(received), -1) @ weights.reshape(len(weights), -1).T
        return (self._whiten @ c[..., np.newaxis])[..., 0]

    def all_targets(self, received: Complex, images: Complex) -> Float:
        """Positions of all targets in each trial, shape [B, K, 2], from echoes [B, N_r, L, M_r, R] and their images."""
        targets = len(self._model.targets_m)
        now = np.empty((len(received), 0, 2))
        while now.shape[1] < targets:
            now, reached = self._joined(received, images, now, now.shape[1])
        for number in range(targets if targets > 1 else 0):
            again, otherwise = self._joined(received, images, np.delete(now, number, axis=1), number)
            better = otherwise > reached
            now[better], reached[better] = again[better], otherwise[better]
        return now

    def _joined(self, received: Complex, images: Complex, held: Float, number: int) -> tuple[Float, Float]:
        """Held positions [B, K, 2] with one more as their ``number``, refined together from each of its peaks: the likeliest.

        Returns
        -------
        positions, likelihood
            Shapes [B, K + 1, 2] and [B].
        """
        score = self._score_beside(received, images, held) if held.shape[1] else _squared(images).sum(axis=(1, 3))
        peaks = self._peaks(score)
        now, reached = self._refined(received, np.insert(held, number, peaks[:, 0], axis=1))
        for peak in peaks.swapaxes(0, 1)[1:]:
            again, otherwise = self._refined(received, np.insert(held, number, peak, axis=1))
            better = otherwise > reached
            now[better], reached[better] = again[better], otherwise[better]
        return now, reached

    def _peaks(self, score: Float) -> Float:
        """The highest points of the grid that no neighbour exceeds, shape [B, _PEAKS, 2]; the highest again where they end."""
        side = int(np.sqrt(self._allowed.size) + 0.5)
        square = np.full((len(score), self._allowed.size), -np.inf)
        square[:, self._allowed] = score
        square = np.pad(square.reshape(-1, side, side), ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        around = [square[:, 1 + i : side + 1 + i, 1 + j : side + 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        top = (around[4] >= np.maximum.reduce(around)).reshape(len(score), -1)[:, self._allowed]
        heights = np.where(top, score, -np.inf)
        highest = np.argsort(-heights, axis=1, kind="stable")[:, :_PEAKS]
        known = np.isfinite(np.take_along_axis(heights, highest, axis=1))
        return self._points[np.where(known, highest, highest[:, :1])]

    def _score_beside(self, received: Complex, images: Complex, held: Float) -> Float:
        """Energy that one more target explains at each grid point, with other positions [B, K, 2] held, shape [B, G]."""
        among, own = self._projections.alone(received, held)
        score = np.zeros((len(received), len(self._points)))
        for n in range(images.shape[1]):
            # With A = 1 at a point, B among the held and D between a point and the held: what their best fit leaves.
            between = self._whiten[n] @ self._between(held, n)
            batch, points, transmitters, links = between.shape
            fitted = np.linalg.solve(among[:, n], own[:, n, :, np.newaxis])[:, np.newaxis]
            left = images[:, n] - (between @ fitted)[..., 0]
            flat = between.reshape(batch, -1, links).conj().swapaxes(-1, -2)
            back = np.linalg.solve(among[:, n], flat).reshape(batch, links, points, transmitters).swapaxes(1, 2)
            # Where a point stands on a held one nothing is left.
            reduced = (1.0 + 1e-6) * np.eye(transmitters) - between @ back
            score += np.sum(left.conj() * np.linalg.solve(reduced, left[..., np.newaxis])[..., 0], axis=-1).real
        return score

    def _between(self, held: Float, n: int) -> Complex:
        """Inner products at receiver n of each transmitter's response at a grid point and each held link: [B, G, N_t, A]."""
        receive, sent = (part[:, n] for part in self._projections.links(held))
        batch, links = sent.shape[:2]
        subcarriers, (transmitters, points, antennas) = self._model.subcarriers, self._conj_transmit.shape
        rows = sent.reshape(batch, links, subcarriers, -1).swapaxes(1, 2) @ self._signal.conj().swapaxes(-1, -2)
        expected = rows.reshape(batch, subcarriers, links, transmitters, antennas)
        between = np.empty((batch, points, transmitters, links), dtype=np.complex128)
        for m in range(transmitters):
            weights = self._conj_delay[n, m][:, :, np.newaxis] * self._conj_transmit[m][:, np.newaxis]
            by_link = expected[:, :, :, m].swapaxes(1, 2).reshape(batch * links, -1)
            by_point = weights.reshape(points, -1) @ by_link.T
            between[:, :, m] = by_point.reshape(points, batch, links).swapaxes(0, 1)
        facing = (receive.reshape(batch * links, -1) @ self._conj_receive[n].T).reshape(batch, links, points)
        return between * facing.swapaxes(1, 2)[:, :, np.newaxis]

    def _refined(self, received: Complex, start: Float) -> tuple[Float, Float]:
        """Gauss-Newton on positions, amplitudes refitted after each step; a step is kept where it fits no worse.

        Returns
        -------
        positions, likelihood
            Shapes [B, K, 2] and [B].
        """
        now, fit = start.copy(), self._projections.fit(received, start)
        likelihood, step, deviation = fit.likelihood, fit.step, fit.deviation
        moving = np.arange(len(start))
        for _ in range(MOST_STEPS):
            last = np.all(np.abs(step[moving]) < _ENOUGH * deviation[moving], axis=(1, 2))
            stuck = moving
            stride = step[stuck]
            for length in _LENGTHS:
                moved = now[stuck] + length * stride
                fit = self._projections.fit(received[stuck], moved)
                good = fit.likelihood >= likelihood[stuck]
                kept, stuck, stride = stuck[good], stuck[~good], stride[~good]
                now[kept], likelihood[kept] = moved[good], fit.likelihood[good]
                step[kept], deviation[kept] = fit.step[good], fit.deviation[good]
                if not stuck.size:
                    break
            moving = np.setdiff1d(moving[np.logical_not(last)], stuck, assume_unique=True)
            if not moving.size:
                break
        return now, likelihood


def _squared(numbers: Complex) -> Float:
    squared: Float = numbers.real**2 + numbers.imag**2
    return squared

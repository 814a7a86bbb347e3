"""Maximum-likelihood positions from the echoes of a noncoherent network: coarse grid, then Gauss-Newton.

Amplitudes are unknown, so for given positions their least-squares values are put in (variable projection): with
``A b = c`` at each receiver, the likelihood of positions grows with ``c^H A^{-1} c``. Several targets are found by alternating
projection: one after the other with the earlier ones held, then each again with the others held, and refined together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.arrays import delay_vector, steering_vector
from disac.geometry import angles_rad, delays_s
from disac.metrics.fisher import SensingModel, link_responses, location_derivatives
from disac.waveforms import Echoes

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

MOST_STEPS = 12
_ENOUGH = 1e-3
"""Gauss-Newton ends when every step is below this share of its own standard deviation."""


@dataclass(frozen=True)
class Area:
    """Square around the origin in which targets are looked for, and the spacing of the coarse grid, m."""

    half_width_m: float = 60.0
    spacing_m: float = 2.0

    def points(self) -> Float:
        """Grid points, shape [G, 2], m."""
        count = int(np.floor(self.half_width_m / self.spacing_m))
        line = self.spacing_m * np.arange(-count, count + 1)
        x, y = np.meshgrid(line, line, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1)


def locate(model: SensingModel, seen: Echoes, area: Area) -> Float:
    """Most likely positions of as many targets as the model has; its own positions and amplitudes are not looked at.

    Returns
    -------
    float64, shape [trials, K, 2], m
        In the order in which they were found.
    """
    grid = _Grid(model, seen, area)
    targets = len(model.targets_m)
    found = grid.best(seen.received)[:, np.newaxis]
    return np.stack([_all_targets(model, first, seen, trial, grid, targets) for trial, first in enumerate(found)])


def _all_targets(model: SensingModel, first: Float, seen: Echoes, trial: int, grid: _Grid, targets: int) -> Float:
    """Positions of all targets of one trial from the most likely place of one, shape [K, 2]."""
    now = _refined(model, first, seen, trial)
    while len(now) < targets:
        more = grid.best_beside(model, now, seen, trial)
        now = _refined(model, np.concatenate([now, more[np.newaxis]]), seen, trial)
    misfit = _misfit(_fitted(model, now, seen, trial), seen, trial)
    for number in range(targets if targets > 1 else 0):
        others = np.delete(now, number, axis=0)
        again = np.insert(others, number, grid.best_beside(model, others, seen, trial), axis=0)
        again = _refined(model, again, seen, trial)
        reached = _misfit(_fitted(model, again, seen, trial), seen, trial)
        if reached < misfit:
            now, misfit = again, reached
    return now


class _Grid:
    """Likelihood of one target at every grid point."""

    def __init__(self, model: SensingModel, seen: Echoes, area: Area) -> None:
        self._points = area.points()
        receivers, transmitters = list(model.receive_nodes), list(model.transmit_nodes)
        # A point on a node has no angle; it is no candidate.
        near = np.linalg.norm(self._points[:, np.newaxis] - model.nodes_m, axis=2).min(axis=1)
        self._points = self._points[near > 0.5 * area.spacing_m]
        angle = angles_rad(model.nodes_m, self._points, model.orientation)
        one_way = delay_vector(delays_s(model.nodes_m, self._points), model.subcarriers, model.bandwidth_hz)
        receive = steering_vector(angle[receivers], model.receive_antennas)
        transmit = steering_vector(angle[transmitters], model.transmit_antennas)
        antennas = model.transmit_antennas
        self._conj_receive, self._conj_transmit = receive.conj(), transmit.conj()
        self._conj_delay = (one_way[receivers, np.newaxis] * one_way[transmitters]).conj()
        self._antennas = antennas
        # A at every point: shape [N_r, G, N_t, N_t].
        blocks = seen.signal.reshape(len(seen.signal), len(transmitters), antennas, len(transmitters), antennas)
        sent = np.einsum("mgi,lmipj,pgj->glmp", transmit, blocks, self._conj_transmit, optimize=True)
        delay = self._conj_delay.conj()
        gram = np.einsum("nmgl,glmp,npgl->ngpm", delay, sent, self._conj_delay, optimize=True) * model.receive_antennas
        ridge = 1e-12 * np.einsum("ngmm->ng", gram).real[..., np.newaxis, np.newaxis] * np.eye(len(transmitters))
        self._gram = gram + ridge

    def best(self, received: Complex) -> Float:
        """The most likely point of each trial for a target alone, shape [trials, 2]."""
        score = np.zeros((len(received), len(self._points)))
        for n in range(received.shape[1]):
            c = self._images(received[:, n], n)
            score += np.einsum("tgm,gmp,tgp->tg", c.conj(), np.linalg.inv(self._gram[n]), c, optimize=True).real
        return self._points[np.argmax(score, axis=1)]

    def best_beside(self, model: SensingModel, held: Float, seen: Echoes, trial: int) -> Float:
        """The most likely point of one more target when the places of others are held, shape [2]."""
        unit = link_responses(_unit(model, held), each=True)
        expected = unit @ seen.signal
        score = np.zeros(len(self._points))
        for n in range(len(unit)):
            # With B = A among the held and D = A between a point and the held: what their best fit leaves.
            image = self._images(np.concatenate([seen.received[trial, n : n + 1], expected[n]]), n)
            c, between = image[0], image[1:].transpose(1, 2, 0)
            among = np.einsum("alij,blij->ab", unit[n].conj(), expected[n], optimize=True)
            own = np.einsum("alij,lij->a", unit[n].conj(), seen.received[trial, n], optimize=True)
            solved = np.linalg.solve(
                among, np.concatenate([own[:, np.newaxis], between.conj().reshape(-1, len(own)).T], axis=1)
            )
            left = c - between @ solved[:, 0]
            reduced = self._gram[n] - between @ solved[:, 1:].reshape(len(own), *between.shape[:2]).transpose(1, 0, 2)
            reduced += 1e-6 * self._gram[n]  # where a point stands on a held one nothing is left
            score += np.einsum("gm,gm->g", left.conj(), np.linalg.solve(reduced, left[..., np.newaxis])[..., 0]).real
        return self._points[np.argmax(score)]

    def _images(self, received: Complex, n: int) -> Complex:
        """``a_r^H C a_t^*`` weighed over subcarriers, for stacked C [B, L, M_r, D] at receiver n: shape [B, G, N_t]."""
        split = received.reshape(*received.shape[:3], -1, self._antennas)
        c = np.empty((len(received), len(self._points), split.shape[3]), dtype=np.complex128)
        for m in range(split.shape[3]):
            weights = np.einsum("gl,gi,gj->glij", self._conj_delay[n, m], self._conj_receive[n], self._conj_transmit[m])
            c[:, :, m] = split[:, :, :, m].reshape(len(received), -1) @ weights.reshape(len(weights), -1).T
        return c


def _unit(model: SensingModel, positions: Float) -> SensingModel:
    """The model at given positions with amplitudes of one."""
    ones = np.ones((len(model.receive_nodes), len(model.transmit_nodes), len(positions)), dtype=np.complex128)
    return replace(model, targets_m=positions, amplitudes=ones, synchronisation=None)


def _fitted(model: SensingModel, positions: Float, seen: Echoes, trial: int) -> SensingModel:
    """The model at given positions with the amplitudes that fit best."""
    unit = _unit(model, positions)
    responses = link_responses(unit, each=True)  # [N_r, N_t K, L, M_r, D]
    weighted = responses @ seen.signal
    gram = np.einsum("nalij,nblij->nab", responses.conj(), weighted, optimize=True)
    image = np.einsum("nalij,nlij->na", responses.conj(), seen.received[trial], optimize=True)
    size = gram.shape[1]
    ridge = 1e-13 * np.einsum("naa->n", gram).real[:, np.newaxis, np.newaxis] * np.eye(size)
    b = np.linalg.solve(gram + ridge, image[..., np.newaxis])[..., 0]
    return replace(unit, amplitudes=b.reshape(unit.amplitudes.shape))


def _refined(model: SensingModel, start: Float, seen: Echoes, trial: int) -> Float:
    """Gauss-Newton on positions and amplitudes together, amplitudes refitted after each step; kept while it fits better."""
    targets = len(start)
    now = _fitted(model, start, seen, trial)
    misfit = _misfit(now, seen, trial)
    for _ in range(MOST_STEPS):
        derivatives = location_derivatives(now)
        left = seen.received[trial] - link_responses(now) @ seen.signal
        flat = derivatives.reshape(len(derivatives), -1)
        weighted = (derivatives @ seen.signal).reshape(len(derivatives), -1)
        information = (flat.conj() @ weighted.T).real
        gradient = (flat.conj() @ left.reshape(-1)).real
        scale = 1.0 / np.sqrt(np.maximum(np.diag(information), 1e-300))
        scaled = information * np.outer(scale, scale) + 1e-12 * np.eye(len(scale))
        inverse = np.linalg.inv(scaled)
        step = (scale * (inverse @ (scale * gradient)))[: 2 * targets]
        deviation = scale[: 2 * targets] * np.sqrt(np.diag(inverse)[: 2 * targets] * seen.noise / 2.0)
        length, better = 1.0, None
        while length > 0.05 and better is None:
            moved = now.targets_m + length * step.reshape(2, targets).T
            trial_model = _fitted(model, moved, seen, trial)
            reached = _misfit(trial_model, seen, trial)
            better = trial_model if reached <= misfit else None
            length *= 0.5
        if better is None:
            break
        now, misfit = better, reached
        if np.all(np.abs(step) < _ENOUGH * deviation):
            break
    return now.targets_m


def _misfit(model: SensingModel, seen: Echoes, trial: int) -> float:
    """Squared error up to a constant: ``tr(H R H^H) - 2 Re tr(H C^H)``."""
    h = link_responses(model)
    return float(np.sum((h @ seen.signal) * h.conj()).real - 2.0 * np.sum(h.conj() * seen.received[trial]).real)

"""Targets found one after the other on the noncoherent map, positions refined jointly after each: the first stage of 004.

A further target counts when it explains so much more of the echoes that an empty map would do so with the probability of a
false alarm (``false_alarm.threshold``). Where the noise power is not known, the mean square of what is left stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from disac.estimators.dmimo.echoes import Complex, EchoModel, Float
from disac.estimators.dmimo.false_alarm import roughness, threshold
from disac.estimators.dmimo.fit import Fit, fit, fitted_echoes
from disac.estimators.dmimo.lobes import distinct
from disac.estimators.dmimo.maps import Area, TableMap, peaks

_PEAKS = 5
_BELOW = 12.0
"""Peaks of the map so much below the threshold are refined too: between its points a map is higher."""
_MERGED_M = 1.0
_COARSE_STEPS = 12
_SWEEPS = 2


@dataclass(frozen=True)
class Detector:
    """What the detection in one geometry needs, prepared once.

    Attributes
    ----------
    level
        Energy that a target must explain, in units of the noise power.
    noise_known
        Whether the statistics have unit noise; otherwise their noise is estimated.
    """

    model: EchoModel
    area: Area
    table: TableMap
    level: float
    noise_known: bool = True
    most_targets: int = 8
    weighted: bool = False
    """Whether the map is weighted by the radar law: then its highest value is tested, not what a refined place explains."""


def detector(
    model: EchoModel, area: Area, false_alarm: float = 0.01, *, noise_known: bool = True, most_targets: int = 8
) -> Detector:
    """Detector of an area with a probability of a false alarm on an empty map."""
    points = area.points()
    pairs = len(model.transmitters) * len(model.receivers)
    level = threshold(pairs, roughness(model, points, area.cell_m2), false_alarm)
    return Detector(model, area, TableMap(model, points), level, noise_known, most_targets)


def weighted_detector(
    model: EchoModel,
    area: Area,
    strength_m2: float,
    rng: np.random.Generator,
    false_alarm: float = 0.01,
    *,
    maps: int = 999,
    most_targets: int = 8,
) -> Detector:
    """Detector by a map that is weighted by the radar law; its level is that of simulated empty maps.

    A map that is one more draw exceeds the k-th highest of so many with probability ``k / (maps + 1)``, exactly.

    Parameters
    ----------
    strength_m2
        Root mean square of the strengths ``A`` of the radar law that targets are expected to have, m^2.

    Raises
    ------
    ValueError
        If so few maps hold no such level.
    """
    rank = int(false_alarm * (maps + 1) + 1e-9)
    if rank < 1:
        raise ValueError(f"{maps} maps hold no level for a false alarm probability of {false_alarm}; give more.")
    table = TableMap(model, area.points(), strength_m2=strength_m2)
    parts = (rng.standard_normal((2, *model.shape)) * np.sqrt(0.5) for _ in range(maps))
    highest = np.sort([float(table(real + 1j * imaginary).max()) for real, imaginary in parts])
    return Detector(model, area, table, float(highest[-rank]), True, most_targets, weighted=True)


@dataclass(frozen=True)
class Detected:
    """Targets on the noncoherent map.

    Attributes
    ----------
    fit
        Joint fit with free gains of all targets (one start); None where there is no target.
    explained
        What each target added when it was found, in units of the noise power, float64 [S].
    noise_power
        Of the statistics: 1 where it is known.
    """

    fit: Fit | None
    explained: Float
    noise_power: float

    @property
    def positions_m(self) -> Float:
        """Coarse positions, shape [S, 2], m."""
        return np.empty((0, 2)) if self.fit is None else self.fit.positions_m[0]


def detect(search: Detector, samples: Complex) -> Detected:
    """Targets of one trial's statistics [Q, M_r, N, W]."""
    energy = float(np.sum(samples.real**2 + samples.imag**2))
    now: Fit | None = None
    explained: list[float] = []
    noise = _noise_power(search, energy, 0)
    while len(explained) < search.most_targets:
        held = np.empty((0, 2)) if now is None else now.positions_m[0]
        if search.weighted:
            rest = samples if now is None else samples - fitted_echoes(search.model, now, "free").sum(axis=0)
            if float(search.table(rest).max()) <= search.level:
                break
        joint = _joined(search, samples, now, held, len(held), noise)
        if joint is not None and len(held):
            joint = _relaxed(search, samples, joint, noise)
        if joint is None:
            break
        gain = (energy if now is None else float(now.cost[0])) - float(joint.cost[0])
        # The noise without the new target: the ratio has the law that the threshold is for only under an empty rest.
        if not search.weighted and gain < search.level * noise:
            break
        now = joint
        explained.append(gain / noise)
        noise = _noise_power(search, float(now.cost[0]), len(explained))
    return Detected(now, np.array(explained), noise)


def _joined(search: Detector, samples: Complex, among: Fit | None, held: Float, number: int, noise: float) -> Fit | None:
    """Held positions [S, 2] with one more as their ``number``, refined together from each peak of what they leave.

    Parameters
    ----------
    among
        Joint fit whose other targets are taken away before peaks are looked for; None where there are none.
    """
    model, area, left = search.model, search.area, samples
    if among is not None:
        parts = fitted_echoes(model, among, "free")
        left = samples - (parts if len(parts) == len(held) else np.delete(parts, number, axis=0)).sum(axis=0)
    tops = peaks(search.table(left), area.shape, noise * (search.level - _BELOW), _PEAKS)
    if not tops.size:
        return None
    alone = fit(model, left, search.table.points_m[tops][:, np.newaxis], "free", most_steps=_COARSE_STEPS)
    places = alone.positions_m[distinct(alone.positions_m[:, 0], alone.cost, _MERGED_M, _PEAKS), 0]
    starts = np.insert(np.repeat(held[np.newaxis], len(places), axis=0), number, places, axis=1)
    tried = fit(model, samples, starts, "free")
    low, high = np.array(area.low_m) - area.spacing_m, np.array(area.high_m) + area.spacing_m
    allowed = np.array([_closest(row) >= _MERGED_M and bool(np.all((row >= low) & (row <= high))) for row in tried.positions_m])
    if not allowed.any():
        return None
    best = int(np.argmin(np.where(allowed, tried.cost, np.inf)))
    return fit(model, samples, tried.positions_m[best : best + 1], "free", most_steps=0)


def _relaxed(search: Detector, samples: Complex, now: Fit, noise: float) -> Fit:
    """Each target looked for again with the others taken away, until none fits better elsewhere."""
    for _ in range(_SWEEPS):
        before = float(now.cost[0])
        for number in range(now.positions_m.shape[1]):
            held = np.delete(now.positions_m[0], number, axis=0)
            again = _joined(search, samples, now, held, number, noise)
            if again is not None and again.cost[0] < now.cost[0]:
                now = again
        if now.cost[0] > before - 0.1 * noise:
            break
    return now


def _noise_power(search: Detector, residual: float, targets: int) -> float:
    if search.noise_known:
        return 1.0
    pairs = len(search.model.transmitters) * len(search.model.receivers)
    return residual / (float(np.prod(search.model.shape)) - targets * (pairs + 1.0))


def _closest(positions: Float) -> float:
    if len(positions) < 2:
        return np.inf
    away = np.linalg.norm(positions[:, np.newaxis] - positions, axis=2)
    return float(away[np.triu_indices(len(positions), 1)].min())

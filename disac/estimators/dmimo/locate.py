"""The whole estimate: coarse positions on the noncoherent map, the likeliest lobe of each target, a joint coherent fit.

Each target is first searched with the others taken away by their noncoherent fits. Free gains absorb part of a neighbour where
beams overlap, so that each is searched again with the others taken away by the coherent fits, and of its likeliest lobes the
one that the joint cost prefers is kept, until no target moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from disac.estimators.dmimo.detection import Detected, Detector, detect
from disac.estimators.dmimo.echoes import Complex, EchoModel, Float
from disac.estimators.dmimo.fit import Amplitudes, Fit, fit, fitted_echoes
from disac.estimators.dmimo.lobes import Region, region_of, search_lobes

_LOBES = 8
_TRIED = 4
_ROUNDS = 3
_TRIAL_STEPS = 15


@dataclass(frozen=True)
class Estimate:
    """Positions of all targets that were found.

    Attributes
    ----------
    coarse
        Noncoherent detections.
    fit
        Joint coherent fit (one start); None where there is no target.
    points
        Points of the lattices that were searched for lobes.
    """

    coarse: Detected
    fit: Fit | None
    points: int

    @property
    def positions_m(self) -> Float:
        """Positions, shape [S, 2], m."""
        return np.empty((0, 2)) if self.fit is None else self.fit.positions_m[0]


def estimate(search: Detector, samples: Complex, amplitudes: Amplitudes = "structured") -> Estimate:
    """Positions from one trial's statistics [Q, M_r, N, W]."""
    coarse = detect(search, samples)
    if coarse.fit is None:
        return Estimate(coarse, None, 0)
    coherent, points = refine(search.model, samples, coarse.fit, amplitudes)
    return Estimate(coarse, coherent, points)


def refine(model: EchoModel, samples: Complex, coarse: Fit, amplitudes: Amplitudes) -> tuple[Fit, int]:
    """Coherent positions from a noncoherent fit, and the number of lattice points that were searched.

    Parameters
    ----------
    coarse
        Joint fit with free gains, one start.
    """
    targets = coarse.positions_m.shape[1]
    regions = [_region(coarse, number) for number in range(targets)]
    apart = fitted_echoes(model, coarse, "free")
    lobes = [
        search_lobes(model, samples - (apart.sum(axis=0) - apart[s]), regions[s], amplitudes, _LOBES) for s in range(targets)
    ]
    points = sum(found.points for found in lobes)
    now = fit(model, samples, np.stack([found.positions_m[0] for found in lobes])[np.newaxis], amplitudes)
    if targets == 1:
        return _best_of(model, samples, now, 0, lobes[0].positions_m[1:], amplitudes), points
    for sweep in range(_ROUNDS):
        before = float(now.cost[0])
        for s in range(targets):
            apart = fitted_echoes(model, now, amplitudes)
            found = search_lobes(model, samples - (apart.sum(axis=0) - apart[s]), regions[s], amplitudes, _TRIED)
            points += found.points
            others = found.positions_m if sweep else np.concatenate([found.positions_m, lobes[s].positions_m[1:_TRIED]])
            now = _best_of(model, samples, now, s, others, amplitudes)
        if float(now.cost[0]) > before - 1e-3:
            break
    return now, points


def _best_of(model: EchoModel, samples: Complex, now: Fit, number: int, places: Float, amplitudes: Amplitudes) -> Fit:
    """The cheapest joint fit with one target at other places, or the one that there is."""
    own = now.positions_m[0, number]
    new = places[np.hypot(*(places - own).T) > 0.02 * model.wavelength_m]
    if not new.size:
        return now
    starts = np.repeat(now.positions_m, len(new), axis=0)
    starts[:, number] = new
    tried = fit(model, samples, starts, amplitudes, most_steps=_TRIAL_STEPS)
    best = int(np.argmin(tried.cost))
    if tried.cost[best] >= now.cost[0]:
        return now
    return fit(model, samples, tried.positions_m[best : best + 1], amplitudes)


def _region(coarse: Fit, number: int) -> Region:
    """Region of a target by the noncoherent covariance that it has beside the others."""
    covariance = np.linalg.pinv(coarse.information[0], hermitian=True)[2 * number : 2 * number + 2, 2 * number : 2 * number + 2]
    return region_of(coarse.positions_m[0, number], np.linalg.pinv(covariance, hermitian=True))

"""Targets closer together than the noncoherent map resolves, by their coherent echoes: CLEAN-RELAX with merges and prunes.

The radar law leaves one strength for each target, so that lobes of targets half a metre apart can be told apart where the map
shows one. The number of targets and their lobes minimise the joint cost plus a price for each target. Moves are tried until
none lowers it: a target moved with the others held (RELAX), two neighbours moved together, one taken away with the others
moved; and where none of these helps, one target replaced by two, or a further one where most is left (CLEAN).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from disac.estimators.dmimo.echoes import Complex, EchoModel, Float, factors
from disac.estimators.dmimo.fit import Fit, fit, fitted_echoes
from disac.estimators.dmimo.lobes import Region, region_of, search_lobes
from disac.estimators.dmimo.locate import refine

PRICE = 25.0
"""Of a target: noise alone reaches it in one of about 1e6 cells with probability 1e-5."""
_WIDE_M = 8.0
"""Half of the side of a region at least: nearer targets can be one on the map."""
_TRIED = 6
_POOL = 48
_POOL_SHARE = 0.2
_PAIRS = 12
_TRIAL_STEPS = 12
_ROUNDS = 24
_MOST = 8


@dataclass(frozen=True)
class Resolved:
    """Joint structured fit of all targets (one start), the price for each included in ``priced_cost``, and the moves taken."""

    fit: Fit
    priced_cost: float
    moves: tuple[str, ...]

    @property
    def positions_m(self) -> Float:
        """Positions, shape [S, 2], m."""
        return self.fit.positions_m[0]


def resolve(model: EchoModel, samples: Complex, coarse: Fit, price: float = PRICE) -> Resolved:
    """Targets around those of a noncoherent fit, however close to each other.

    Parameters
    ----------
    samples
        Statistics of one trial, [Q, M_r, N, W].
    coarse
        Joint fit with free gains, one start.
    price
        By how much a target must lower the joint cost.
    """
    return _Search(model, samples, coarse, price).run()


class _Search:
    """The best targets so far, and moves from them."""

    def __init__(self, model: EchoModel, samples: Complex, coarse: Fit, price: float) -> None:
        self._model, self._samples, self._price = model, samples, price
        count = coarse.positions_m.shape[1]
        blocks = [coarse.information[0][2 * s : 2 * s + 2, 2 * s : 2 * s + 2] for s in range(count)]
        self._regions = [region_of(coarse.positions_m[0, s], blocks[s], least_m=_WIDE_M) for s in range(count)]
        self._now = refine(model, samples, coarse, "structured")[0]
        self._moves: list[str] = []

    def run(self) -> Resolved:
        for _ in range(_ROUNDS):
            # A further target only when those there are stand well: it would explain what a wrong lobe leaves.
            if not (self._drop() or self._shift() or self._together() or self._merge() or self._more()):
                break
        return Resolved(self._now, self._priced(self._now), tuple(self._moves))

    def _priced(self, found: Fit) -> float:
        return float(found.cost[0]) + self._price * found.positions_m.shape[1]

    def _kept(self, tried: Fit | None, name: str) -> bool:
        if tried is None or self._priced(tried) >= self._priced(self._now) - 1e-3:
            return False
        self._now = tried
        self._moves.append(name)
        return True

    def _without(self, numbers: Iterable[int], found: Fit | None = None) -> Complex:
        """Statistics without the targets other than those named."""
        found = self._now if found is None else found
        parts = fitted_echoes(self._model, found, "structured")
        return self._samples - np.delete(parts, list(numbers), axis=0).sum(axis=0)

    def _lobes(self, samples: Complex, region: Region, most: int) -> Float:
        share = _POOL_SHARE if most > _TRIED else 0.5
        found = search_lobes(self._model, samples, region, "structured", most, kept=share, plausible=np.inf)
        return found.positions_m

    def _best(self, starts: Float) -> Fit | None:
        """The best joint fit from several starts [B, S, 2]."""
        if not len(starts):
            return None
        tried = fit(self._model, self._samples, starts, "structured", most_steps=_TRIAL_STEPS)
        order = np.argsort(tried.cost, kind="stable")[:2]
        done = fit(self._model, self._samples, tried.positions_m[order], "structured")
        best = int(np.argmin(done.cost))
        return fit(self._model, self._samples, done.positions_m[best : best + 1], "structured", most_steps=0)

    def _region_of(self, place: Float) -> Region:
        return min(self._regions, key=lambda region: float(np.hypot(*(region.centre_m - place))))

    def _shift(self) -> bool:
        """Each target moved to another lobe."""
        moved = False
        for s in range(self._now.positions_m.shape[1]):
            own = self._now.positions_m[0, s]
            new = self._lobes(self._without((s,)), self._region_of(own), _TRIED)
            starts = np.repeat(self._now.positions_m, len(new), axis=0)
            starts[:, s] = new
            moved |= self._kept(self._best(starts), "shift")
        return moved

    def _together(self) -> bool:
        """Two neighbours moved together."""
        places = self._now.positions_m[0]
        for s in range(len(places)):
            for other in range(s + 1, len(places)):
                near = self._region_of(places[s]) is self._region_of(places[other])
                if near and self._kept(self._two_of(self._now, (s, other)), "pair"):
                    return True
        return False

    def _two_of(self, found: Fit, chosen: tuple[int, ...]) -> Fit | None:
        """The best joint fit with some targets replaced by the best two lobes of a pool."""
        places = found.positions_m[0]
        samples, region = self._without(chosen, found), self._region_of(places[chosen[0]])
        pool = self._lobes(samples, region, _POOL)
        alone = fit(self._model, samples, pool[:1, np.newaxis], "structured")
        left = samples - fitted_echoes(self._model, alone, "structured")[0]
        pool = np.concatenate([pool, places[list(chosen)], self._lobes(left, region, _POOL)])
        pairs = _best_pairs(self._model, samples, pool)
        held = np.delete(places, list(chosen), axis=0)
        starts = np.concatenate([np.repeat(held[np.newaxis], len(pairs), axis=0), pairs], axis=1)
        return self._best(starts)

    def _drop(self) -> bool:
        """One or two targets less."""
        places = self._now.positions_m[0]
        for size in (2, 1):
            for gone in combinations(range(len(places)), size) if len(places) > size else ():
                if self._kept(self._best(np.delete(places, gone, axis=0)[np.newaxis]), "drop"):
                    return True
        return False

    def _merge(self) -> bool:
        """One target less, its two neighbours moved together."""
        places = self._now.positions_m[0]
        for s in range(len(places) if len(places) > 2 else 0):
            fewer = self._best(np.delete(places, s, axis=0)[np.newaxis])
            if fewer is None:
                continue
            near = np.argsort(np.hypot(*(fewer.positions_m[0] - places[s]).T), kind="stable")[:2]
            if self._kept(self._two_of(fewer, (int(near[0]), int(near[1]))), "merge"):
                return True
        return False

    def _more(self) -> bool:
        """One target more: two in place of one, or where most is left."""
        held = self._now.positions_m[0]
        if len(held) >= _MOST:
            return False
        left = self._without(())
        new = np.concatenate([self._lobes(left, region, _TRIED) for region in self._regions])
        starts = np.concatenate([np.repeat(held[np.newaxis], len(new), axis=0), new[:, np.newaxis]], axis=1)
        tried = [("grow", self._best(starts)), *(("split", self._two_of(self._now, (s,))) for s in range(len(held)))]
        found = [(name, one) for name, one in tried if one is not None]
        name, best = min(found, key=lambda one: self._priced(one[1]))
        return self._kept(best, name)


def _best_pairs(model: EchoModel, samples: Complex, pool: Float) -> Float:
    """Pairs of places of a pool that together explain most with one strength each: shape [pairs, 2, 2], m.

    For unit responses with images z and inner product g two targets explain
    ``(|z_1|^2 + |z_2|^2 - 2 Re(z_1^* g z_2)) / (1 - |g|^2)``.
    """
    receive, transmit = factors(model, pool[:, np.newaxis], carrier=True, weighted=True)
    get = receive[:, :, 0, 0].reshape(len(pool), -1)
    send = transmit.sum(axis=2)[:, :, 0, 0].reshape(len(pool), -1)
    get /= np.linalg.norm(get, axis=1, keepdims=True)
    send /= np.linalg.norm(send, axis=1, keepdims=True)
    whole = samples.transpose(1, 2, 0, 3).reshape(get.shape[1], -1)
    z = np.sum((get.conj() @ whole) * send.conj(), axis=1)
    inner = (get.conj() @ get.T) * (send.conj() @ send.T)
    first, second = np.triu_indices(len(pool), 1)
    g, power = inner[first, second], z.real**2 + z.imag**2
    apart = np.abs(g) ** 2 < 0.99
    first, second, g = first[apart], second[apart], g[apart]
    both = power[first] + power[second] - 2.0 * (z[first].conj() * g * z[second]).real
    order = np.argsort(-both / (1.0 - np.abs(g) ** 2), kind="stable")[:_PAIRS]
    return np.stack([pool[first[order]], pool[second[order]]], axis=1)

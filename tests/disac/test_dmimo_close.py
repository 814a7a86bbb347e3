"""Targets closer than the noncoherent map resolves, on B0 at 30 dBm."""

from __future__ import annotations

import numpy as np
import pytest
from dmimo_scenes import WAVELENGTH_M, b0, trial

from disac.estimators.dmimo.close import PRICE, resolve
from disac.estimators.dmimo.detection import detect, detector
from disac.estimators.dmimo.fit import fit
from disac.estimators.dmimo.maps import Area
from disac.metrics.gospa import gospa

KILOMETRE = Area((0.0, 0.0), (1000.0, 1000.0), 5.0)


def pairs(separation_m: float, trials: int) -> tuple[int, list[float]]:
    """Trials that end with two targets in the right lobes, and for the others by how much they cost more than the truth."""
    rng = np.random.default_rng(int(1000 * separation_m) + 7)
    model = b0(30.0)
    search = detector(model, KILOMETRE)
    right, excess = 0, []
    for _ in range(trials):
        turn = rng.uniform(0.0, 2.0 * np.pi)
        first = np.array([420.0, 610.0])
        targets = np.stack([first, first + separation_m * np.array([np.cos(turn), np.sin(turn)])])
        _, samples, _ = trial(model, targets, rng)
        coarse = detect(search, samples).fit
        assert coarse is not None
        found = resolve(model, samples, coarse)
        score = gospa(targets, found.positions_m, WAVELENGTH_M / 4.0)
        assert found.priced_cost == pytest.approx(found.fit.cost[0] + PRICE * len(found.positions_m))
        if score.missed or score.false:
            truth = fit(model, samples, targets[np.newaxis], "structured").cost[0] + 2.0 * PRICE
            excess.append(found.priced_cost - float(truth))
        else:
            right += 1
    return right, excess


def test_two_targets_where_the_map_shows_one() -> None:
    right, excess = pairs(1.0, 1)
    assert right == 1, excess


def test_one_target_stays_one() -> None:
    rng = np.random.default_rng(31)
    model = b0(30.0)
    target = np.array([[420.0, 610.0]])
    _, samples, _ = trial(model, target, rng)
    coarse = detect(detector(model, KILOMETRE), samples).fit
    assert coarse is not None
    found = resolve(model, samples, coarse)
    assert gospa(target, found.positions_m, WAVELENGTH_M / 4.0).pairs.tolist() == [[0, 0]]
    assert len(found.positions_m) == 1


@pytest.mark.slow
@pytest.mark.parametrize("separation_m", [0.3, 1.0, 4.0, 15.0])
def test_close_pairs_of_many_trials(separation_m: float) -> None:
    right, excess = pairs(separation_m, 100)
    assert right >= 95, excess

"""The columns that cubes of this project have beside what cells store."""

from __future__ import annotations

import numpy as np
import pytest

from disac.columns import detection_errors
from disac.experiments.robust_tradeoff import Options, experiment
from disac.metrics.detection import detection_probability, draw_echoes
from pipeline.columns import columns_of


def test_the_columns_are_installed_and_need_what_cells_store() -> None:
    columns = columns_of(experiment)
    assert columns == {"robust-tradeoff.detection-errors": detection_errors}
    stored = {variable.name: variable for variable in experiment.variables}
    assert {stored[name].kind for name in detection_errors.needs} == {"cube"}
    assert all("probability of detection" in stored[name].long_name for name in detection_errors.needs)


def test_the_standard_error_is_the_spread_between_seeds() -> None:
    """The spread of 300 seeds is known to 4 % (one standard deviation); four of them are allowed."""
    gains, powers = np.full((2, 2), 3.0), np.array([1.0, 0.5])
    draws = [draw_echoes(seed, 0, "swerling-1", 2, 400, 1, common=False) for seed in range(300)]
    shares = np.array([detection_probability(each.statistics(gains, powers), 10.0) for each in draws])
    assert 0.05 < shares.mean() < 0.95
    found = detection_errors.compute(Options(draws=400), dict.fromkeys(detection_errors.needs, shares))
    assert set(found) == {variable.name for variable in detection_errors.variables}
    assert np.sqrt(np.mean(found["pd_error"] ** 2)) == pytest.approx(shares.std(ddof=1), rel=0.17)

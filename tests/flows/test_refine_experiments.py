"""Refinements of real studies against their dense lattices: one study of each experiment with two numeric axes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.plan import Plan, refreshed
from pipeline.refining import Goal, Step, Tolerance, metric_of, refine_study, study_lattice
from pipeline.refining.known import USABLE
from pipeline.refining.refine import kinds_of
from pipeline.store import LocalStore
from pipeline.study import Study, load_study
from pipeline.sweep import Sweep

STUDIES = {
    "ofdm-tradeoff": """\
study: tradeoff
experiment: ofdm-tradeoff
scenario:
  arrays: {transmit_antennas: 2, receive_antennas: 2}
  waveform: {subcarriers: 2}
  layout: {user_count: 2}
options: {design: orthogonal}
axes:
  sinr_db: {path: service.sinr_db, values: {start: 0, stop: 40, points: 2}}
  bandwidth_hz: {path: waveform.bandwidth_hz, values: {start: 5e+6, stop: 80e+6, points: 2, scale: log}}
""",
    "robust-tradeoff": """\
study: robust
experiment: robust-tradeoff
scenario:
  arrays: {antennas: 4}
  layout: {user_count: 2}
options: {robustness: lemma1}
axes:
  sinr_db: {path: service.sinr_db, values: {start: 0, stop: 40, points: 2}}
  delta_rad: {path: uncertainty.delta_rad, values: {start: 0, stop: 0.32, points: 2}}
""",
    "cross-table": """\
study: cross
experiment: cross-table
scenario: {node_count: 2, antennas: 4, user_count: 2, bandwidth_hz: 2.5e+6, subcarrier_spacing_hz: 1.25e+6}
options: {design: ofdm-orthogonal}
axes:
  sinr_db: {start: 0, stop: 40, points: 2}
  total_power_w: {start: 0.001, stop: 0.1, points: 2, scale: log}
""",
    "ofdm-echoes": """\
study: echoes
experiment: ofdm-echoes
scenario:
  arrays: {transmit_antennas: 3, receive_antennas: 3}
  waveform: {subcarriers: 4}
  layout: {targets_m: [[3.0, 7.0]]}
options: {design: orthogonal, trials: 100, symbols: 2}
axes:
  sinr_db: {path: service.sinr_db, values: {start: 0, stop: 32, points: 2}}
  amplitude_db: {path: sensing.amplitude_db, values: {start: -60, stop: -20, points: 2}}
""",
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("experiment", "metric", "steps", "most"),
    [
        ("ofdm-tradeoff", "rcrb_m", {"sinr_db": Step(64), "bandwidth_hz": Step(32)}, 0.15),
        # Edges that slant, and values that fall to zero at the edge, cost more: see docs/refine.md.
        ("robust-tradeoff", "kld", {"sinr_db": Step(64), "delta_rad": Step(32)}, 0.32),
        # 33 x 17 for the time that the dense lattices take: the start and the checks alone are a tenth of it.
        ("cross-table", "rcrb_nc_m", {"sinr_db": Step(32), "total_power_w": Step(16)}, 0.33),
        # Errors of a hundred trials jump from step to step where outliers begin.
        ("ofdm-echoes", "rmse_m", {"sinr_db": Step(16), "amplitude_db": Step(32)}, 0.52),
    ],
)
def test_no_cell_of_the_dense_lattice_is_off(
    tmp_path: Path, experiment: str, metric: str, steps: dict[str, Step], most: float
) -> None:
    store = LocalStore(tmp_path / "results")

    def load(more: Sequence[str]) -> Study:
        return load_study(STUDIES[experiment], overrides=more)

    def sweep(plan: Plan) -> None:
        with ThreadPoolExecutor(1) as pool:
            Sweep(plan, store, pool, lambda: 1).run()

    lattice = study_lattice(load, steps=steps)
    found = refine_study(lattice, metric_of(load(()), metric), Goal(Tolerance(0.02)), store, sweep)
    assert found.refined.end == "agreed"
    assert found.refined.cells / found.refined.lattice_cells <= most
    told, kinds = found.refined.trees[0].filled()
    cells = np.column_stack([np.zeros(kinds.size, dtype=np.int64), np.argwhere(np.ones(kinds.shape, dtype=bool))])
    plan = lattice.plan(cells, store)
    sweep(plan)
    statuses, values = lattice.outcomes(refreshed(plan, store), cells, metric)
    true = kinds_of(statuses, values)
    np.testing.assert_array_equal(kinds.reshape(-1), true)
    usable = true == USABLE
    error = np.abs(told.reshape(-1)[usable] / values[usable] - 1.0)
    assert error.max() <= 0.02
    print(f"{experiment}: {found.refined.cells / found.refined.lattice_cells:.1%} of {kinds.size}, worst {error.max():.2%}")

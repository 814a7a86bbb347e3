"""Exchange rates against closed forms, loops in plain Python and simulation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr
from analysis_cases import INFEASIBLE, MISSING, OK, a_cube, random_cubes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import optimize, stats

from pipeline.analysis import change_per_step, exchange_rate, iso_lines, worth_of_one_more
from pipeline.errors import UsageError

NODES, BANDS = [2, 3, 4, 6], [1e6, 2e6, 5e6]


def plane(per_node: float, per_hz: float, noise: float = 0.0) -> xr.Dataset:
    """A metric that is linear in both axes, plus what a realisation adds to all its cells."""
    shared = np.random.default_rng(1).normal(0, 100.0, 5) + noise * np.random.default_rng(2).normal(size=(4, 3, 5))
    values = per_node * np.array(NODES)[:, None, None] + per_hz * np.array(BANDS)[:, None] + shared
    return a_cube(values, node_count=NODES, bandwidth_hz=BANDS, realisation=range(5))


def half_width(values: Any) -> float:
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


@settings(deadline=None)
@given(random_cubes(low=-5.0, high=1e3))
def test_steps_are_what_a_loop_over_pairs_finds(cube: xr.Dataset) -> None:
    found = change_per_step(cube, "error_m", "level").transpose("step", "design", "statistic")
    arrays = {str(name): variable.values for name, variable in found.data_vars.items()}
    levels = sorted(cube["level"].values.tolist())
    values = cube["error_m"].sortby("level").values
    codes = cube["status"].sortby("level").values
    usable = np.isin(codes, [2, 3]) & np.isfinite(values)
    assert list(pairwise(levels)) == list(zip(found["level_from"].values, found["level_to"].values, strict=True))
    for k, d in np.ndindex(len(levels) - 1, cube.sizes["design"]):
        here = {name: array[k, d] for name, array in arrays.items()}
        length = levels[k + 1] - levels[k]
        pairs = [(values[k, d, r], values[k + 1, d, r]) for r in range(3) if usable[k, d, r] and usable[k + 1, d, r]]
        changes = [b - a for a, b in pairs]
        mean = np.mean(changes) if pairs else np.nan
        half = half_width(changes) if len(pairs) > 1 else np.nan
        assert here["status"] == {0: "no_pair", 1: "one_pair"}.get(len(pairs), "paired")
        assert_allclose(here["change"], [mean, mean - half, mean + half, len(pairs)], rtol=1e-9, atol=1e-6)
        assert_allclose(here["rate"][:3], np.array([mean, mean - half, mean + half]) / length, rtol=1e-9, atol=1e-6)
        if any(min(pair) <= 0 for pair in pairs):
            assert here["ratio_status"] == "not_positive"
            assert np.isnan(here["ratio"][:3]).all()
        elif pairs:
            assert_allclose(here["ratio"][0], np.exp(np.mean([np.log(b) - np.log(a) for a, b in pairs])), rtol=1e-9)
        became = [sum(_turned(codes[:, d, r], k, way) for r in range(3)) for way in (True, False)]
        assert [here["became_feasible"], here["became_infeasible"]] == became


def _turned(line: Any, k: int, to_feasible: bool) -> bool:
    before, after = (line[k], line[k + 1]) if to_feasible else (line[k + 1], line[k])
    return bool(before == INFEASIBLE and after in (2, 3))


def test_a_linear_metric_has_its_slope_as_rate_and_no_width() -> None:
    found = change_per_step(plane(-3.0, 0.0), "error_m", "node_count")
    assert_allclose(found["rate"].sel(statistic=["mean", "ci_low", "ci_high"]), -3.0, rtol=1e-12)
    assert_allclose(found["change"].sel(statistic="mean").values, [[-3.0, -3.0, -6.0]] * 3, rtol=1e-12)
    assert found["rate"].attrs["units"] == "m"
    assert change_per_step(plane(0, 1e-6), "error_m", "bandwidth_hz")["rate"].attrs["units"] == "m/Hz"


def test_what_realisations_share_does_not_widen_the_interval() -> None:
    found = change_per_step(plane(-3.0, 0.0, noise=0.01), "error_m", "node_count")["rate"]
    width = found.sel(statistic="ci_high") - found.sel(statistic="ci_low")
    assert float(width.max()) < 0.1 < np.ptp(plane(-3.0, 0.0)["error_m"].isel(node_count=0, bandwidth_hz=0).values)


def test_a_factor_per_step_is_the_ratio() -> None:
    values = np.array([8.0, 4.0, 2.0, 0.5])[:, None] * np.array([1.0, 3.0, 10.0])
    cube = a_cube(values, node_count=NODES, realisation=range(3))
    assert_allclose(change_per_step(cube, "error_m", "node_count")["ratio"].sel(statistic="ci_low"), [0.5, 0.5, 0.25])
    worth = worth_of_one_more(cube, "error_m", "node_count")
    assert_allclose(worth["ratio"].sel(statistic="mean"), 0.5)
    assert worth["node_count"].values.tolist() == [2, 3, 4]
    assert worth["next_value"].values.tolist() == [3, 4, 6]
    assert worth["status"].values.tolist() == ["paired", "paired", "averaged"]
    assert_allclose(worth["worth"].sel(statistic="mean", node_count=4), -0.75 * 14 / 3)
    assert worth["worth"].attrs == {"units": "m", "long_name": "change of error by one more node_count"}


def test_one_more_counts_what_it_makes_feasible() -> None:
    status = np.array([[INFEASIBLE, INFEASIBLE, MISSING], [OK, OK, OK], [OK, INFEASIBLE, OK]])
    cube = a_cube(np.ones((3, 3)), status, node_count=[2, 3, 4], realisation=range(3))
    worth = worth_of_one_more(cube, "error_m", "node_count")
    assert worth["became_feasible"].values.tolist() == [2, 0]
    assert worth["became_infeasible"].values.tolist() == [0, 1]
    assert worth["status"].values.tolist() == ["no_pair", "paired"]
    with pytest.raises(UsageError, match="'level' is not counted"):
        worth_of_one_more(a_cube(np.ones((2, 2)), level=[0.5, 1.0], realisation=range(2)), "error_m", "level")


def test_the_exchange_of_a_linear_metric_is_exact_without_width() -> None:
    found = exchange_rate(plane(-3.0, -2e-6), "error_m", of="bandwidth_hz", per="node_count")
    assert found["exchange"].dims == ("bandwidth_hz_box", "node_count_box", "statistic")
    assert_allclose(found["exchange"].sel(statistic=["mean", "ci_low", "ci_high"]), -1.5e6, rtol=1e-9)
    assert found["exchange"].attrs["units"] == "Hz"
    assert set(found["status"].values.ravel()) == {"bounded"}
    assert found["node_count_to"].values.tolist() == [3, 4, 6]


def test_the_exchange_of_a_metric_of_powers_is_that_of_its_logarithm() -> None:
    """m = n^-1 b^-1/2: at equal m, d log b / d log n = -2, whatever the box; axes are given in logarithms."""
    steps, bands = np.array([0.0, 0.5, 2.0]), np.array([1.0, 1.5])
    values = np.exp(-steps[:, None, None] - bands[:, None] / 2 + np.array([0.0, 1.0, -3.0]))
    cube = a_cube(values, log_node=steps, log_band=bands, realisation=range(3))
    found = exchange_rate(cube, "error_m", of="log_band", per="log_node", logarithmic=True)
    assert_allclose(found["exchange"].sel(statistic=["mean", "ci_low", "ci_high"]), -2.0, rtol=1e-9)
    cube["error_m"][1, 0, 0] = -1.0
    found = exchange_rate(cube, "error_m", of="log_band", per="log_node", logarithmic=True)
    assert set(found["status"].values.ravel()) == {"not_positive"}


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 3.0))
def test_fiellers_interval_holds_the_rates_whose_paired_test_does_not_reject(seed: int, noise: float) -> None:
    """The ends are sought again as roots of Student's statistic of slope(per) + rho slope(of)."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, noise, (2, 2, 6)) + np.array([[0.0, 1.0], [2.0, 3.0]])[..., None]
    found = exchange_rate(a_cube(values, of=[0.0, 1.0], per=[0.0, 1.0], realisation=range(6)), "error_m", "of", "per")
    per = (values[:, 1] - values[:, 0]).mean(0)
    of = (values[1] - values[0]).mean(0)
    mean, low, high, count = found["exchange"].values[0, 0]
    assert_allclose(mean, -per.mean() / of.mean())
    assert count == 6

    def excess(rho: float) -> float:
        return float(abs(stats.ttest_1samp(per + rho * of, 0).statistic) - stats.t.ppf(0.975, 5))

    if found["status"].values[0, 0] == "bounded":
        assert low <= mean <= high
        for end in (low, high):
            near = 1e-3 * (high - low)
            assert_allclose(optimize.brentq(excess, end - near, end + near), end, rtol=1e-6, atol=1e-9)
    else:
        assert excess(1e9) < 0
        assert np.isnan([low, high]).all()


def test_what_an_exchange_cannot_say_is_said() -> None:
    values = np.ones((2, 2, 2)) * np.array([[[1.0]], [[1.0]]]) + np.array([0.0, 1.0])[:, None]
    flat = a_cube(values, of=[0.0, 1.0], per=[0.0, 1.0], realisation=range(2))
    assert exchange_rate(flat, "error_m", "of", "per")["status"].item() == "no_change"
    one = a_cube(values, of=[0.0, 1.0], per=[0.0, 1.0], realisation=range(2))
    one["status"][0, 0, 0] = MISSING
    assert exchange_rate(one, "error_m", "per", "of")["status"].item() == "one_pair"
    one["status"][1, 1, 1] = MISSING
    assert exchange_rate(one, "error_m", "per", "of")["status"].item() == "no_pair"


def test_an_iso_line_of_a_plane_lies_in_it() -> None:
    surface = plane(-3.0, 2e-6)["error_m"].mean("realisation")
    level = float(surface.mean())
    found = iso_lines(surface, level)
    height = -3.0 * found["node_count"] + 2e-6 * found["bandwidth_hz"] + float(surface[0, 0]) + 6.0 - 2.0
    assert found.sizes["point"] > 2
    assert_allclose(height, level)
    assert found["status"].item() == "found"
    assert set(found["line"].values) == {0}
    assert "for views only" in found.attrs["note"]


@settings(deadline=None)
@given(random_cubes((3, 4, 1), codes=(2,)), st.floats(-900, 900))
def test_points_of_iso_lines_are_crossings_of_edges_of_the_grid(cube: xr.Dataset, level: float) -> None:
    surface = cube["error_m"].isel(realisation=0).assign_coords(design=[0.0, 1.0, 5.0, 6.0])
    surface = surface.sortby("level")
    found = iso_lines(surface.transpose(), level)
    values, x, y = surface.values, surface["level"].values, surface["design"].values
    for px, py in zip(found["level"].values, found["design"].values, strict=True):
        i, j = np.abs(x - px).argmin(), np.abs(y - py).argmin()
        heights = [np.interp(py, y, values[i])] if abs(x[i] - px) < 1e-9 else []
        heights += [np.interp(px, x, values[:, j])] if abs(y[j] - py) < 1e-9 else []
        assert heights, "the point lies on no edge of the grid"
        assert min(abs(height - level) for height in heights) < 1e-6
    known = values[np.isfinite(values)]
    if not known.size:
        assert found["status"].item() == "no_values"
    elif level > known.max():
        assert found["status"].item() == "level_too_high"
    elif level < known.min():
        assert found["status"].item() == "level_too_low"


def test_wrong_words_are_refused() -> None:
    cube = plane(1.0, 1.0)
    for call, sentence in [
        (lambda: change_per_step(cube, "eror_m", "node_count"), "no variable 'eror_m' .did you mean 'error_m'"),
        (lambda: change_per_step(cube, "message", "node_count"), "'message' is not one real number for each cell"),
        (lambda: change_per_step(cube, "error_m", "nodes"), "no axis 'nodes'"),
        (lambda: exchange_rate(cube, "error_m", "node_count", "node_count"), "'node_count' is named twice"),
        (lambda: change_per_step(cube.isel(node_count=[0]), "error_m", "node_count"), "has one value"),
        (lambda: iso_lines(cube["error_m"], 0.0), "two numeric axes"),
    ]:
        with pytest.raises(UsageError, match=sentence):
            call()


def test_intervals_of_rates_hold_the_truth_as_often_as_they_say() -> None:
    """20,000 boxes with normal slopes: 95 % hold the rate; four deviations are 0.6 %."""
    rng = np.random.default_rng(8)
    noise = rng.multivariate_normal([0, 0], [[1.0, 0.6], [0.6, 2.0]], (20_000, 6))
    per, of = 3.0 + noise[..., 0], 8.0 + noise[..., 1]
    values = np.stack([np.stack([np.zeros_like(per), per], -1), np.stack([of, of + per], -1)], -2)
    cube = a_cube(values, study=range(20_000), realisation=range(6), of=[0.0, 1.0], per=[0.0, 1.0])
    for found, truth in [
        (exchange_rate(cube, "error_m", "of", "per")["exchange"].isel(of_box=0, per_box=0), -3.0 / 8.0),
        (change_per_step(cube, "error_m", "per")["rate"].isel(of=0, step=0), 3.0),
    ]:
        low, high = (found.sel(statistic=s).values for s in ("ci_low", "ci_high"))
        # An unbounded interval holds the truth.
        held = ~((low > truth) | (high < truth))
        assert abs(held.mean() - 0.95) < 0.0062

"""Fronts and their margins against the definition, tried point by point."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from analysis_cases import INFEASIBLE, MISSING, OK, a_cube
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

import pipeline.dominance
from pipeline.analysis import nondominated
from pipeline.dominance import is_nondominated, margins
from pipeline.errors import UsageError

costs_of_points = st.integers(1, 4).flatmap(
    lambda m: st.integers(0, 14).flatmap(
        lambda n: arrays(
            np.float64, (n, m), elements=st.one_of(st.integers(-3, 3).map(float), st.floats(-9, 9).map(lambda x: round(x, 3)))
        )
    )
)


def dominated(cost: Any, others: Any) -> bool:
    return any((other <= cost).all() and (other < cost).any() for other in others)


@settings(deadline=None)
@given(costs_of_points, st.booleans())
def test_the_front_is_what_a_loop_finds_with_the_library_and_without(costs: Any, without: bool) -> None:
    expected = [not dominated(cost, costs) for cost in costs]
    with pytest.MonkeyPatch.context() as patch:
        if without:
            patch.setitem(sys.modules, "moocore", None)
        else:
            pytest.importorskip("moocore")
        assert is_nondominated(costs).tolist() == expected


@settings(deadline=None)
@given(costs_of_points, st.data())
def test_a_point_stays_on_the_front_up_to_its_margin_and_no_further(costs: Any, data: Any) -> None:
    """Each point of the front is made worse by a little less than its margin, and by a little more."""
    count, number = costs.shape
    scale = np.array(data.draw(st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=number, max_size=number)))
    front = is_nondominated(costs)
    found = margins(costs, front, scale)
    for i, p in enumerate(np.flatnonzero(front)):
        others = np.delete(costs, p, axis=0)
        steps = [(found.joint[i], scale), *((found.alone[i, m], np.eye(number)[m]) for m in range(number))]
        for margin, direction in steps:
            assert margin >= 0
            if margin > 1e-9 and np.isfinite(margin):
                assert not dominated(costs[p] + 0.999999 * margin * direction, others)
            if np.isfinite(margin):
                assert dominated(costs[p] + (1.000001 * margin + 1e-9) * direction, others)
            else:
                assert not dominated(costs[p] + 1e9 * direction, others)
        if count > 1:
            q, m = found.rival[i], found.metric[i]
            assert q != p
            assert_allclose((costs[q, m] - costs[p, m]) / scale[m], found.joint[i], atol=1e-12)
        else:
            assert found.rival[i] == -1


def test_blocks_change_no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = np.random.default_rng(1).normal(size=(200, 3))
    front, scale = is_nondominated(costs), np.ones(3)
    whole = margins(costs, front, scale)
    monkeypatch.setattr(pipeline.dominance, "_BLOCK", 1)
    single = margins(costs, front, scale)
    for name in ("joint", "alone", "rival", "metric"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(single, name))


def test_a_front_of_a_metric_and_an_axis_by_hand() -> None:
    """Error against bandwidth: the broad band of design b is worse than that of a; one point is feasible in half the draws."""
    values = np.array([[[8.0, 10.0], [7.0, 9.0]], [[4.0, 6.0], [4.5, 6.5]], [[1.0, 3.0], [0.0, 0.0]]])
    status = np.full(values.shape, OK)
    status[2, 1] = [OK, INFEASIBLE]
    cube = a_cube(values, status, bandwidth_hz=[1e6, 2e6, 4e6], design=["a", "b"], realisation=range(2))
    found = nondominated(cube, {"error_m": "min", "bandwidth_hz": "min"}, scales={"error_m": 1.0, "bandwidth_hz": 5e5})
    assert found["status"].values.tolist() == [
        ["dominated", "nondominated"], ["nondominated", "dominated"], ["nondominated", "infeasible"],
    ]  # fmt: skip
    assert found["point_bandwidth_hz"].values.tolist() == [1e6, 2e6, 4e6]
    assert found["point_design"].values.tolist() == ["b", "a", "a"]
    # (8 m, 1 MHz) against (9, 1); (5, 2) against (5.5, 2); (2, 4) against (5, 2).
    assert_allclose(found["margin"].sel(statistic="mean"), [1.0, 0.5, 3.0])
    assert_allclose(found["margin_error_m"], [1.0, 0.5, 3.0])
    assert_allclose(found["margin_bandwidth_hz"], [1e6, 2e6, np.inf])
    assert found["margin_bandwidth_hz"].attrs["units"] == "Hz"
    assert found["rival_design"].values.tolist() == ["a", "b", "a"]
    assert found["rival_metric"].values.tolist() == ["error_m"] * 3
    assert found["margin_status"].values.tolist() == ["distinguishable"] * 3
    assert found["nondominated_count"].values.tolist() == [[0, 2], [2, 0], [1, 1]]
    assert found["compared_count"].values.tolist() == [[2, 2], [2, 2], [2, 1]]
    assert_allclose(found["value_error_m"].sel(statistic="mean"), [8.0, 5.0, 2.0])


def test_directions_turn_the_front() -> None:
    cube = a_cube(np.array([[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]), level=[0.0, 1.0, 2.0], realisation=range(2))
    found = nondominated(cube, {"error_m": "max"})
    assert found["status"].values.tolist() == ["dominated", "nondominated", "nondominated"]
    assert found["margin_status"].values.tolist() == ["equal", "equal"]
    assert found["value_error_m"].sel(statistic="mean").values.tolist() == [2.0, 2.0]
    cells = nondominated(cube, {"error_m": "min"}, over=None)
    assert cells["status"].dims == ("level", "realisation")
    assert set(cells["margin_status"].values) == {"equal"}
    alone = nondominated(cube.isel(level=[0]), {"error_m": "min", "level": "min"})
    assert alone["margin_status"].values.tolist() == ["alone"]
    assert np.isinf(alone["margin"].sel(statistic="mean")).all()
    assert alone["rival_metric"].values.tolist() == [""]


def test_noise_is_told_from_a_margin() -> None:
    noise = np.array([1.0, -1.2, 0.9, -0.5])
    cube = a_cube(np.array([np.zeros(4), 0.2 + noise, 9.0 + noise]), level=[3.0, 2.0, 1.0], realisation=range(4))
    found = nondominated(cube, {"error_m": "min", "level": "min"}, scales={"error_m": 1, "level": 100})
    assert found["margin_status"].values.tolist() == ["not_distinguishable", "distinguishable", "distinguishable"]


def test_a_front_of_nothing_is_empty() -> None:
    cube = a_cube(np.ones((2, 2)), np.full((2, 2), MISSING), level=[0.0, 1.0], realisation=range(2))
    found = nondominated(cube, {"error_m": "min"})
    assert found.sizes["point"] == 0
    assert set(found["status"].values) == {"missing"}


def test_what_is_no_metric_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = a_cube(np.ones((2, 1, 2)), level=[0.0, 1.0], design=["a"], realisation=range(2))
    for metrics, sentence in [
        ({}, "no metric"),
        ({"error_m": "low"}, "direction 'low' of error_m"),
        ({"design": "min"}, "'design' is no numeric axis of the points; these are level"),
        ({"realisation": "min"}, "'realisation' is no numeric axis"),
        ({"eror_m": "min"}, "did you mean 'error_m'"),
    ]:
        with pytest.raises(UsageError, match=sentence):
            nondominated(cube, metrics)  # type: ignore[arg-type]
    for scales in ({}, {"error_m": 0.0}, {"error_m": np.inf}):
        with pytest.raises(UsageError, match="one positive number for each metric"):
            nondominated(cube, {"error_m": "min"}, scales=scales)


def test_intervals_of_margins_hold_the_truth_as_often_as_they_say() -> None:
    """4,000 points on a slope: each has its neighbour as rival, 1 m behind. 95 % hold it; four deviations are below 2 %."""
    rng = np.random.default_rng(9)
    levels = np.arange(4000.0)
    cube = a_cube(0.1 * rng.normal(size=(4000, 6)) - levels[:, None], level=levels, realisation=range(6))
    found = nondominated(cube, {"error_m": "min", "level": "min"}, scales={"error_m": 1.0, "level": 1e-6})
    assert_allclose(found["rival_level"].values[1:], found["point_level"].values[1:] - 1)
    low, high = (found["margin"].sel(statistic=s).values[1:] for s in ("ci_low", "ci_high"))
    assert abs(((low <= 1.0) & (high >= 1.0)).mean() - 0.95) < 0.02

"""Edges of feasibility against a walk along each line in plain Python, and the coverage of their interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from analysis_cases import INFEASIBLE, MISSING, OK, a_cube, random_cubes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from pipeline.analysis import (
    best_value,
    change_per_step,
    exchange_rate,
    feasibility_edge,
    nondominated,
    variance_shares,
)
from pipeline.analysis.edges import CASES
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES


def walked(line: dict[float, int], toward: str) -> dict[str, Any]:
    """What a person finds who walks along one line from its easy end, and writes down what he meets."""
    good, bad = (OK, STATUS_CODES["inaccurate"]), INFEASIBLE
    last, first, again, last_again, waiting, early = np.nan, np.nan, False, np.nan, 0, False
    for value in sorted(line, reverse=toward == "lower"):
        code = line[value]
        if np.isnan(first):
            if code in good:
                last, waiting = value, 0
            elif code == bad:
                first = value
            else:
                waiting += 1
                early = early or np.isnan(last)
        elif code in good:
            again, last_again = True, value
    if not np.isnan(last) and not np.isnan(first):
        word = "bracketed"
    elif not np.isnan(last):
        word = "no_infeasible_known" if waiting else "everywhere"
    elif not np.isnan(first):
        word = "no_feasible_known" if early else "nowhere"
    else:
        word = "undecided"
    between = waiting if word == "bracketed" else 0
    return {
        "last_feasible": last, "first_infeasible": first, "status": word, "undecided_between": between, "feasible_again": again,
        "last_feasible_again": last_again,
    }  # fmt: skip


@settings(deadline=None)
@given(random_cubes((5, 2, 4)), st.sampled_from(["higher", "lower"]))
def test_brackets_are_what_a_walk_along_each_line_finds(cube: xr.Dataset, toward: Any) -> None:
    found = feasibility_edge(cube, "level", toward=toward)
    levels = cube["level"].values.tolist()
    for design in cube["design"].values:
        lines = []
        for r in cube["realisation"].values:
            codes = cube["status"].sel(design=design, realisation=r).values.tolist()
            expected = walked(dict(zip(levels, codes, strict=True)), toward)
            here = found.sel(design=design, realisation=r)
            for name, value in expected.items():
                assert here[name].item() == value or (value != value and np.isnan(here[name].item())), name
            lines.append(expected)
        here = found.sel(design=design)
        bracketed = [line for line in lines if line["status"] == "bracketed"]
        assert here["realisations"].sum() == len(lines)
        for case in CASES:
            assert here["realisations"].sel(case=case) == sum(line["status"] == case for line in lines)
        assert here["feasible_again_count"] == sum(line["feasible_again"] for line in lines)
        words = {0: "none_bracketed", 1: "one_bracketed", len(lines): "all_bracketed"}
        assert here["means_status"].item() == words.get(len(bracketed), "some_bracketed")
        for end in ("last_feasible", "first_infeasible"):
            ends = [line[end] for line in bracketed]
            mean = here[f"{end}_mean"]
            assert mean.sel(statistic="count") == len(ends)
            assert_allclose(mean.sel(statistic="mean"), np.mean(ends) if ends else np.nan)
            if len(ends) > 1:
                half = stats.t.ppf(0.975, len(ends) - 1) * stats.sem(ends)
                assert_allclose(mean.sel(statistic="ci_high"), np.mean(ends) + half, atol=1e-9)
                assert_allclose(mean.sel(statistic="ci_low"), np.mean(ends) - half, atol=1e-9)


def test_the_hard_end_is_the_one_with_fewer_feasible_cells() -> None:
    status = np.array([[OK, OK], [OK, INFEASIBLE], [INFEASIBLE, INFEASIBLE]])
    cube = a_cube(np.ones((3, 2)), status, level=[1.0, 2.0, 3.0], realisation=range(2))
    found = feasibility_edge(cube, "level")
    assert found.attrs["toward"] == "higher"
    assert found["last_feasible"].values.tolist() == [2.0, 1.0]
    turned = a_cube(np.ones((3, 2)), status, level=[3.0, 2.0, 1.0], realisation=range(2))
    found = feasibility_edge(turned, "level")
    assert found.attrs["toward"] == "lower"
    assert found["first_infeasible"].values.tolist() == [1.0, 2.0]
    assert found["last_feasible"].attrs["units"] == "dB"


def test_missing_cells_widen_the_bracket_and_are_counted() -> None:
    status = np.array([[OK], [MISSING], [MISSING], [INFEASIBLE], [OK]])
    cube = a_cube(np.ones((5, 1)), status, level=[0.0, 1.0, 2.0, 3.0, 4.0], realisation=[0])
    here = feasibility_edge(cube, "level", toward="higher").isel(realisation=0)
    assert (here["last_feasible"], here["first_infeasible"], here["undecided_between"]) == (0.0, 3.0, 2)
    assert here["feasible_again"]
    assert here["last_feasible_again"] == 4.0


def test_a_cube_without_realisations_has_brackets_and_no_interval() -> None:
    cube = a_cube(np.ones(2), [OK, INFEASIBLE], level=[0.0, 1.0])
    found = feasibility_edge(cube, "level", over=None)
    assert found["status"].item() == "bracketed"
    assert found["means_status"].item() == "one_bracketed"
    assert np.isnan(found["last_feasible_mean"].sel(statistic="ci_low"))


def test_wrong_words_are_refused_with_a_near_miss() -> None:
    cube = a_cube(np.ones((2, 1, 2)), level=[0.0, 1.0], design=["a"], realisation=range(2))
    for arguments, sentence in [
        (("levl",), "no axis 'levl' .did you mean 'level'.*level, design, realisation"),
        (("design",), "'design' is not numeric; numeric axes are level, realisation"),
        (("level", "level"), "'level' is named twice"),
        (("level", "draw"), "no axis 'draw'.*None for no realisations"),
    ]:
        with pytest.raises(UsageError, match=sentence):
            feasibility_edge(cube, *arguments)
    with pytest.raises(UsageError, match="toward 'up': 'higher' or 'lower'"):
        feasibility_edge(cube, "level", toward="up")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="confidence 95"):
        feasibility_edge(cube, "level", confidence=95)
    with pytest.raises(UsageError, match="no variable 'status'"):
        feasibility_edge(cube.drop_vars("status"), "level")


def test_the_interval_holds_the_mean_edge_as_often_as_it_says() -> None:
    """4,000 studies of eight normal edges on a grid of step 0.7: at least 95 % hold the mean; 0.935 is four deviations less."""
    rng = np.random.default_rng(5)
    edges = rng.normal(10.0, 1.5, (4000, 8))
    levels = np.arange(0.0, 20.0, 0.7)
    status = np.where(levels[:, None, None] <= edges, OK, INFEASIBLE)
    cube = a_cube(np.ones(status.shape), status, level=levels, study=range(4000), realisation=range(8))
    found = feasibility_edge(cube, "level")
    assert set(found["means_status"].values) == {"all_bracketed"}
    ends = [found[f"{end}_mean"] for end in ("last_feasible", "first_infeasible")]
    low = np.minimum(*(e.sel(statistic="ci_low").values for e in ends))
    high = np.maximum(*(e.sel(statistic="ci_high").values for e in ends))
    assert ((low <= 10.0) & (high >= 10.0)).mean() > 0.935


def test_an_axis_with_a_name_of_the_answer_is_refused_with_the_way_out() -> None:
    plain = a_cube(np.ones((2, 2, 2)), level=[0.0, 1.0], node_count=[2, 3], realisation=range(2))
    for name, call in {
        "case": lambda cube: feasibility_edge(cube, "level"),
        "statistic": lambda cube: best_value(cube, "error_m", "level"),
        "step": lambda cube: change_per_step(cube, "error_m", "level"),
        "level_box": lambda cube: exchange_rate(cube.expand_dims(bandwidth_hz=[1.0]), "error_m", "level", "bandwidth_hz"),
        "term": lambda cube: variance_shares(cube, "error_m"),
        "point": lambda cube: nondominated(cube, {"error_m": "min"}),
    }.items():
        with pytest.raises(UsageError, match=rf"has a dimension '{name}' of its own: .* cube.rename\({name}="):
            call(plain.rename(node_count=name))

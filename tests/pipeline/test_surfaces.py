"""Surfaces against a plain-loop reference, properties and closed forms (rule C5)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from scipy import stats

import pipeline.surfaces
from pipeline.experiment import STATUS_CODES
from pipeline.flat_surfaces import flat_names
from pipeline.statistics import cell_count, has_statistic, statistic, summarised
from pipeline.surfaces import compute_surfaces

AXES = ("level", "design", "draw")
FEASIBLE = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"])
SHAPE = (3, 2, 4)


def make_cube(status: Any, values: Any, axes: tuple[str, ...] = AXES) -> xr.Dataset:
    """A cube with one float variable and, beside it, what surfaces must leave alone."""
    status = np.asarray(status, dtype=np.uint8)
    labels: dict[str, Any] = {
        "level": ("level", np.array([0.0, 10.0, 30.0])[: status.shape[axes.index("level")]], {"units": "dB"}),
        "design": ("design", np.array(["a", "b"], dtype=object)[: status.shape[axes.index("design")]]),
        "draw": ("draw", np.arange(status.shape[axes.index("draw")])),
    }
    data: dict[str, Any] = {
        "status": (axes, status),
        "error_m": (axes, np.asarray(values, dtype=np.float64), {"units": "m", "long_name": "error", "volatile": 0}),
        "solve_seconds": (axes, np.ones(status.shape), {"units": "s", "volatile": 1}),
        "iterations": (axes, np.ones(status.shape, dtype=np.int64), {"units": "1", "volatile": 0}),
        "taps": ((*axes, "tap"), np.ones((*status.shape, 2)), {"units": "1", "volatile": 0}),
    }
    return xr.Dataset(data, labels)


def surfaces_of(cube: xr.Dataset) -> xr.Dataset:
    return compute_surfaces(cube, over="draw", edge="level", paired="design")


cubes = st.builds(
    make_cube,
    arrays(np.uint8, SHAPE, elements=st.sampled_from(sorted(STATUS_CODES.values()))),
    arrays(np.float64, SHAPE, elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan))),
)


def reference(cube: xr.Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """What surfaces hold, point by point in plain Python, under the flat names."""
    status, values = cube["status"].values, cube["error_m"].values
    levels, designs, draws = SHAPE
    found: dict[str, np.ndarray[Any, Any]] = {}

    def put(name: str, at: tuple[int, ...], shape: tuple[int, ...], value: float) -> None:
        found.setdefault(name, np.full(shape, np.nan))[at] = value

    for i, j in itertools.product(range(levels), range(designs)):
        at, shape = (i, j), (levels, designs)
        codes = status[i, j].tolist()
        for word in ("inaccurate", "infeasible", "failed", "missing"):
            put(f"{word}_count", at, shape, codes.count(STATUS_CODES[word]))
        put("planned_count", at, shape, sum(c != STATUS_CODES["not_planned"] for c in codes))
        put("feasible_count", at, shape, sum(c in FEASIBLE for c in codes))
        decided = sum(c in (*FEASIBLE, STATUS_CODES["infeasible"]) for c in codes)
        feasible = sum(c in FEASIBLE for c in codes)
        put("feasible_fraction", at, shape, feasible / decided if decided else np.nan)
        ends = stats.binomtest(feasible, decided).proportion_ci(0.95, "exact") if decided else (np.nan, np.nan)
        for name, end in zip(("ci_low", "ci_high"), ends, strict=True):
            put(f"feasible_fraction_{name}", at, shape, end)
        put("feasible_fraction_count", at, shape, decided)
        kept = [values[i, j, k] for k in range(draws) if codes[k] in FEASIBLE and np.isfinite(values[i, j, k])]
        put("error_m_mean_feasible", at, shape, float(np.mean(kept)) if kept else np.nan)
        put("error_m_count_feasible", at, shape, len(kept))
        put("error_m_share_feasible", at, shape, len(kept) / decided if decided else np.nan)
        put("error_m_min_feasible", at, shape, min(kept, default=np.nan))
        put("error_m_max_feasible", at, shape, max(kept, default=np.nan))
        for name, share in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
            put(f"error_m_{name}_feasible", at, shape, float(np.quantile(kept, share)) if kept else np.nan)
        spread = stats.sem(kept) * stats.t.ppf(0.975, len(kept) - 1) if len(kept) > 1 else np.nan
        put("error_m_ci_low_feasible", at, shape, float(np.mean(kept)) - spread if kept else np.nan)
        put("error_m_ci_high_feasible", at, shape, float(np.mean(kept)) + spread if kept else np.nan)
        compared = [d for d in range(designs) if (status[i, d] != STATUS_CODES["not_planned"]).any()]
        common = [k for k in range(draws) if compared and all(status[i, d, k] in FEASIBLE for d in compared)]
        put("paired_count", at, shape, len(common) if j in compared else 0)
        common = [k for k in common if all(np.isfinite(values[i, d, k]) for d in compared)] if j in compared else []
        put("error_m_mean_paired", at, shape, float(np.mean(values[i, j, common])) if common else np.nan)
    return found | edge_reference(cube)


def edge_reference(cube: xr.Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """The statistics of the largest feasible level, in plain Python."""
    status, levels = cube["status"].values, cube["level"].values.tolist()
    _, designs, draws = SHAPE
    largest = {
        (j, k): max((v for v, code in zip(levels, status[:, j, k], strict=True) if code in FEASIBLE), default=None)
        for j, k in itertools.product(range(designs), range(draws))
    }
    planned = {(j, k): {c for c in status[:, j, k].tolist() if c != STATUS_CODES["not_planned"]} for j, k in largest}
    rows: list[dict[str, float]] = []
    for j in range(designs):
        kept = [largest[j, k] for k in range(draws) if largest[j, k] is not None]
        decided = sum(largest[j, k] is not None or planned[j, k] == {STATUS_CODES["infeasible"]} for k in range(draws))
        compared = [d for d in range(designs) if any(planned[d, k] for k in range(draws))]
        common = [k for k in range(draws) if j in compared and all(largest[d, k] is not None for d in compared)]
        spread = stats.sem(kept) * stats.t.ppf(0.975, len(kept) - 1) if len(kept) > 1 else np.nan
        mean = float(np.mean(kept)) if kept else np.nan
        rows.append({
            "mean": mean, "ci_low_feasible": mean - spread, "ci_high_feasible": mean + spread,
            "min": min(kept, default=np.nan), "max": max(kept, default=np.nan), "count": len(kept),
            "share": len(kept) / decided if decided else np.nan,
            "mean_paired": float(np.mean([largest[j, k] for k in common])) if common else np.nan,
        } | {q: float(np.quantile(kept, v)) if kept else np.nan for q, v in pipeline.surfaces.QUANTILES.items()})  # fmt: skip
    named = {name.removesuffix("_feasible"): np.array([row[name] for row in rows]) for name in rows[0]}
    return {f"level_feasible_edge_{name}": values for name, values in named.items()}


@settings(deadline=None, max_examples=60)
@given(cubes)
def test_c5_surfaces_equal_a_plain_loop(cube: xr.Dataset) -> None:
    surfaces = flat_names(surfaces_of(cube))
    expected = reference(cube)
    assert {str(n) for n in surfaces.data_vars if not str(n).startswith("solve_seconds")} == set(expected)
    for name, value in expected.items():
        assert_allclose(surfaces[name].values, value, rtol=1e-9, atol=1e-6, err_msg=name)


@settings(deadline=None, max_examples=30)
@given(cubes, st.permutations(range(SHAPE[-1])))
def test_c5_the_order_of_realisations_does_not_matter(cube: xr.Dataset, order: list[int]) -> None:
    first, second = surfaces_of(cube), surfaces_of(cube.isel(draw=order))
    for name in first.data_vars:
        assert_allclose(second[name].values, first[name].values, rtol=1e-9, atol=1e-6, err_msg=str(name))


@settings(deadline=None, max_examples=30)
@given(cubes, st.permutations(AXES))
def test_c5_the_order_of_dimensions_does_not_matter(cube: xr.Dataset, order: list[str]) -> None:
    turned = cube.transpose(*order, "tap")
    xr.testing.assert_identical(surfaces_of(turned).transpose("level", "design", ...), surfaces_of(cube))


@settings(deadline=None, max_examples=30)
@given(cubes)
def test_c5_bands_and_quantiles_are_ordered_and_bits_repeat(cube: xr.Dataset) -> None:
    surfaces = surfaces_of(cube)
    xr.testing.assert_identical(surfaces, surfaces_of(cube))
    ordered = [statistic(surfaces, "error_m", name).values for name in ("min", "q05", "q50", "q95", "max")]
    known = np.isfinite(ordered[2])
    assert (known == (statistic(surfaces, "error_m", "mean_feasible").notnull().values)).all()
    assert (np.diff([values[known] for values in ordered], axis=0) >= 0).all()
    few = cell_count(surfaces, "feasible").values < 2
    assert np.isnan(statistic(surfaces, "error_m", "ci_low").values[few]).all()
    assert (cell_count(surfaces, "paired") <= cell_count(surfaces, "feasible")).all()
    share, low, high = (statistic(surfaces, "feasible", name) for name in ("share", "ci_low", "ci_high"))
    assert (((low <= share) & (share <= high)) | share.isnull()).all()


def test_c5_closed_form_of_three_values() -> None:
    cube = make_cube(np.full((1, 1, 3), STATUS_CODES["ok"]), [[[1.0, 2.0, 3.0]]])
    point = surfaces_of(cube).isel(level=0, design=0)
    quantile = 0.95 * np.sqrt(2 / (4 * 0.975 * 0.025))  # Student's t has this closed form for two degrees of freedom
    half = quantile / np.sqrt(3)
    found = point["error_m"].to_series()
    assert found["mean_feasible"] == 2.0
    assert_allclose(found["ci_high"], 2.0 + half, rtol=1e-12)
    assert_allclose(found["ci_low"], 2.0 - half, rtol=1e-12)
    assert_allclose(found[["min", "q05", "q50", "q95", "max", "count", "share"]], [1.0, 1.1, 2.0, 2.9, 3.0, 3.0, 1.0])
    # With all of three feasible the lower end p solves p^3 = 0.025.
    assert_allclose(point["feasible"].sel(statistic=["share", "ci_low", "ci_high", "count"]), [1.0, 0.025 ** (1 / 3), 1.0, 3.0])


@pytest.mark.parametrize("unplanned", [2, 0])
def test_c5_designs_are_compared_on_the_same_realisations(unplanned: int) -> None:
    """A design planned for two of four realisations is not held against a mean over four."""
    status = np.full((1, 2, 4), STATUS_CODES["ok"])
    status[0, 1, 4 - unplanned :] = STATUS_CODES["not_planned"]
    values = np.array([[[1.0, 2.0, 30.0, 40.0], [2.0, 3.0, 31.0, 41.0]]])
    surfaces = surfaces_of(make_cube(status, values))
    means = statistic(surfaces, "error_m", "mean_paired").values[0]
    assert_allclose(means[1] - means[0], 1.0)
    assert cell_count(surfaces, "paired").values.tolist() == [[4 - unplanned, 4 - unplanned]]
    assert statistic(surfaces, "error_m", "mean_feasible").values[0, 0] == 18.25


def test_c5_a_design_that_is_not_planned_does_not_empty_the_pairs() -> None:
    status = np.full((1, 2, 4), STATUS_CODES["ok"])
    status[0, 1] = STATUS_CODES["not_planned"]
    surfaces = surfaces_of(make_cube(status, np.ones((1, 2, 4))))
    assert cell_count(surfaces, "paired").values.tolist() == [[4, 0]]
    assert cell_count(surfaces, "planned").values.tolist() == [[4, 0]]


def test_c5_real_values_are_summarised_with_their_units_and_say_if_they_do_not_repeat() -> None:
    surfaces = surfaces_of(make_cube(np.full(SHAPE, STATUS_CODES["ok"]), np.ones(SHAPE)))
    assert summarised(surfaces) == ["error_m", "solve_seconds"]
    assert all((surfaces[n].attrs.get("volatile") == 1) == str(n).startswith("solve_seconds") for n in surfaces.data_vars)
    assert statistic(surfaces, "error_m", "q05").attrs == {"units": "m", "long_name": "error"}
    assert {statistic(surfaces, "error_m", name).attrs["units"] for name in ("count", "share")} == {"1"}
    assert surfaces["level_feasible_edge"].attrs["units"] == "dB"
    assert surfaces["solve_seconds_total"].attrs["volatile"] == 1
    assert "draw" not in surfaces.dims
    assert surfaces["cells"].dtype == np.int64
    assert {k: surfaces.attrs[k] for k in ("over", "edge", "paired")} == {"over": "draw", "edge": "level", "paired": "design"}


def test_c5_without_an_averaged_axis_the_values_stay() -> None:
    cube = make_cube(np.full(SHAPE, STATUS_CODES["ok"]), np.arange(24.0).reshape(SHAPE))
    surfaces = compute_surfaces(cube, over=None, edge=None, paired=None)
    assert_allclose(statistic(surfaces, "error_m", "mean_feasible").values, cube["error_m"].values)
    assert not has_statistic(surfaces, "error_m", "mean_paired")
    with pytest.raises(KeyError, match="no statistic 'mean_paired' of 'error_m'"):
        statistic(surfaces, "error_m", "mean_paired")


def test_an_edge_needs_a_numeric_axis() -> None:
    cube = make_cube(np.full(SHAPE, STATUS_CODES["ok"]), np.ones(SHAPE))
    with pytest.raises(ValueError, match="edge axis 'design'"):
        compute_surfaces(cube, over="draw", edge="design", paired=None)


@settings(deadline=None, max_examples=30)
@given(cubes, arrays(np.float64, (*SHAPE, 2), elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan))))
def test_c5_entries_of_a_profile_are_averaged_like_variables_of_their_own(cube: xr.Dataset, taps: Any) -> None:
    cube["taps"] = cube["taps"].copy(data=taps)
    cube = cube.assign_coords(tap=[0.5, 1.5])
    whole = compute_surfaces(cube.transpose("tap", ...), over="draw", edge="level", paired="design", profiles=["taps"])
    assert whole["taps"].dims == ("level", "design", "tap", "statistic")
    for i, tap in enumerate((0.5, 1.5)):
        alone = surfaces_of(cube.drop_vars("taps").assign(tap_m=cube["taps"].isel(tap=i, drop=True)))
        assert_allclose(whole["taps"].sel(tap=tap).values, alone["tap_m"].values, rtol=1e-9, atol=1e-6)
    rest = [n for n in whole.data_vars if not str(n).startswith("taps")]
    xr.testing.assert_identical(whole[rest], surfaces_of(cube))


def test_what_is_slow_is_done_once_for_each_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a time: Student's quantile for each count of values, and one sort for all quantiles."""
    cube = make_cube(np.full((3, 2, 7), STATUS_CODES["ok"]), np.ones((3, 2, 7)))
    cube["status"][:, :, 4:] = [[STATUS_CODES["failed"]] * 3, [STATUS_CODES["ok"]] * 3]
    asked: dict[str, list[int]] = {"quantile": [], "sort": []}

    def counted(name: str, function: Any) -> Any:
        return lambda first, *rest, **more: (asked[name].append(np.size(first)), function(first, *rest, **more))[1]

    monkeypatch.setattr(pipeline.surfaces, "stdtrit", counted("quantile", pipeline.surfaces.stdtrit))
    monkeypatch.setattr(np, "sort", counted("sort", np.sort))
    surfaces_of(cube)
    assert asked == {"quantile": [2, 2, 2], "sort": [42, 42, 14]}, "of error_m, solve_seconds and the edge"


@pytest.mark.parametrize("name", ["cells", "feasible", "state", "statistic", "level_feasible_edge"])
def test_names_that_surfaces_use_themselves_are_refused(name: str) -> None:
    cube = make_cube(np.full(SHAPE, STATUS_CODES["ok"]), np.ones(SHAPE))
    for other in (cube.rename(design=name), cube.rename(error_m=name)):
        if name in other.dims or name not in ("state", "statistic"):
            with pytest.raises(ValueError, match=f"use the name '{name}' themselves"):
                compute_surfaces(other, over="draw", edge="level", paired=None)

"""Joining cubes against a plain loop over labels; what does not fit is refused or named."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES
from pipeline.joined import SOURCE, join_cubes

OK, NOT_PLANNED, INFEASIBLE = (STATUS_CODES[name] for name in ("ok", "not_planned", "infeasible"))
PATHS = {"level": "signal.level_db", "method": "options.method", "realisation": "draw.realisation"}


def cube(
    axes: dict[str, list[Any]], *, seed: int = 0, units: str = "m", base: dict[str, Any] | None = None, **attributes: Any
) -> xr.Dataset:
    """A cube like a published one; a third of its cells is infeasible."""
    random = np.random.default_rng(seed)
    shape = tuple(map(len, axes.values()))
    status = np.where(random.random(shape) < 0.3, INFEASIBLE, OK).astype(np.uint8)
    values = np.where(status == OK, random.standard_normal(shape), np.nan)
    steps = np.where(status == OK, random.integers(1, 9, shape), -1)
    dims = tuple(axes)
    data = {
        "status": (dims, status, {"long_name": "status"}),
        "message": (dims, np.where(status == OK, "", "out of reach").astype(object), {}),
        "error_m": (dims, values, {"units": units, "long_name": "error", "volatile": 0}),
        "steps": (dims, steps, {"units": "1", "volatile": 0}),
    }
    labels = {
        name: (name, np.array(found, dtype=object if isinstance(found[0], str) else None), _about(name))
        for name, found in axes.items()
    }
    scenario = {"signal": {"level_db": 10.0}, "draw": {"realisation": 0}} | (base or {})
    told = {"scenario": json.dumps(scenario), "options": json.dumps({"method": "plain"}), "experiment": "toy", "paper": "x"}
    return xr.Dataset(data, labels, told | attributes)


def _about(axis: str) -> dict[str, str]:
    return {"units": "dB" if axis == "level" else "1", "long_name": axis, "path": PATHS.get(axis, axis)}


def _cells(of: xr.Dataset) -> dict[tuple[Any, ...], tuple[int, float, int, str]]:
    """Every cell by the labels of all three axes; an axis that is lacking has its base value."""
    base: dict[str, Any] = {"level": 10.0, "method": "plain", "realisation": 0}
    dims = [str(d) for d in of["status"].dims]
    found = {}
    for labels in itertools.product(*(of[d].values.tolist() for d in dims)):
        at = of.sel(dict(zip(dims, labels, strict=True)))
        named = base | dict(zip(dims, labels, strict=True))
        found[tuple(named[a] for a in PATHS)] = (
            int(at["status"]), float(at["error_m"]), int(at["steps"]), str(at["message"].values)
        )  # fmt: skip
    return found


LEVELS = st.lists(st.sampled_from([0.0, 5.0, 10.0, 20.0]), min_size=1, unique=True)
METHODS = st.lists(st.sampled_from(["plain", "fancy", "third"]), min_size=1, unique=True)
DRAWS = st.lists(st.integers(0, 3), min_size=1, unique=True)
AXES = st.tuples(LEVELS, METHODS | st.none(), DRAWS | st.none()).map(
    lambda found: {name: labels for name, labels in zip(PATHS, found, strict=True) if labels is not None}
)


@given(st.lists(AXES, min_size=2, max_size=3))
def test_a_joined_cube_is_what_a_loop_over_labels_finds(axes: list[dict[str, list[Any]]]) -> None:
    cubes = {f"study-{i}": cube(found, seed=i) for i, found in enumerate(axes)}
    joined = join_cubes(cubes).cube
    expected = {source: _cells(part) for source, part in cubes.items()}
    dims = [d for d in PATHS if d in joined.dims]
    whole = {a: joined[a].values.tolist() for a in dims}
    base = {"level": 10.0, "method": "plain", "realisation": 0}
    first = next(iter(cubes))
    for source in cubes:
        seen = 0
        for labels in itertools.product(*whole.values()):
            at = joined.sel({SOURCE: source} | dict(zip(dims, labels, strict=True)))
            named = base | dict(zip(dims, labels, strict=True))
            key = tuple(named[a] for a in PATHS)
            status, error, steps, message = expected[source].get(key, (NOT_PLANNED, np.nan, -1, ""))
            seen += key in expected[source]
            assert (int(at["status"]), int(at["steps"]), str(at["message"].values)) == (status, steps, message)
            np.testing.assert_array_equal(float(at["error_m"]), error)
            np.testing.assert_array_equal(float(at["difference_error_m"]), error - expected[first].get(key, (0, np.nan))[1])
        assert seen == len(expected[source])
    assert joined.attrs["planned"] == sum(map(len, expected.values()))
    for axis in dims:
        if axis != "method" and all(found.get(axis, []) == sorted(found.get(axis, [])) for found in axes):
            assert whole[axis] == sorted(whole[axis])


def test_the_same_cube_twice_differs_by_nothing() -> None:
    one = cube({"level": [0.0, 10.0], "realisation": [0, 1, 2]})
    joined = join_cubes({"a": one, "b": one}).cube
    difference = joined["difference_error_m"]
    feasible = (joined["status"] == OK).values
    assert (difference.values[feasible] == 0.0).all()
    assert np.isnan(difference.values[~feasible]).all()
    assert difference.attrs["units"] == "m"
    assert "difference_status" not in joined


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda c: c.assign_coords(level=c["level"].assign_attrs(units="V")), "'level' does not fit: it has the unit 'dB'"),
        (lambda c: c.assign_coords(level=c["level"].assign_attrs(path="noise.level_db")), "it sets signal.level_db in a"),
        (lambda c: c.assign_coords(level=c["level"].copy(data=["x", "y"])), "has labels that are numbers in a"),
        (lambda c: c.isel(level=0, drop=True).assign_attrs(scenario="{}"), "'b' has no axis 'level', which a has"),
        (lambda c: c.isel(level=0, drop=True).assign_attrs(scenario='{"signal": {"level_db": [1]}}'), "give its study the"),
        (lambda c: c.expand_dims(source=["a"]), "'b' is itself a comparison"),
    ],
)  # fmt: skip
def test_axes_that_do_not_fit_are_refused_with_a_sentence(other: Any, said: str) -> None:
    one = cube({"level": [0.0, 10.0], "realisation": [0, 1]})
    with pytest.raises(UsageError, match=".*".join(said.split("(")[0].split())):
        join_cubes({"a": one, "b": other(one)})


def test_variables_that_do_not_fit_are_left_out_and_named() -> None:
    axes: dict[str, list[Any]] = {"level": [0.0, 10.0], "realisation": [0, 1]}
    one, other = cube(axes), cube(axes, units="km")
    other["steps"] = other["steps"].astype(float)
    other["extra"] = other["error_m"] * 2
    joined = join_cubes({"a": one, "b": other})
    assert joined.sentences == (
        "the variable 'error_m' is left out: its unit is 'm' in a, 'km' in b",
        "the variable 'steps' is left out: its kind of values is i in a, f in b",
        "the variable 'extra' is only in b: the other sources have no values of it",
    )
    assert not {"error_m", "steps"} & set(joined.cube)
    assert np.isnan(joined.cube["extra"].sel(source="a").values).all()
    assert np.isnan(joined.cube["difference_extra"].values).all()


def test_one_path_under_two_names_is_one_axis() -> None:
    one = cube({"level": [0.0, 10.0]})
    joined = join_cubes({"a": one, "b": one.rename(level="signal_level")})
    assert joined.cube["status"].dims == (SOURCE, "level")
    assert joined.sentences == ("the axis 'signal_level' of b is called 'level' here: both set signal.level_db",)


def test_own_dimensions_are_joined_by_label_or_by_position() -> None:
    axes: dict[str, list[Any]] = {"level": [0.0]}
    one, other = cube(axes), cube(axes)
    one["profile"], other["profile"] = (("level", "tap"), [[1.0, 2.0]]), (("level", "tap"), [[3.0, 4.0, 5.0]])
    one["density"], other["density"] = (("level", "bin"), [[1.0, 2.0]]), (("level", "bin"), [[3.0, 4.0]])
    one, other = one.assign_coords(bin=[0, 1]), other.assign_coords(bin=[1, 2])
    joined = join_cubes({"a": one, "b": other}).cube
    np.testing.assert_array_equal(joined["profile"].values[:, 0], [[1, 2, np.nan], [3, 4, 5]])
    np.testing.assert_array_equal(joined["density"].values[:, 0], [[1, 2, np.nan], [np.nan, 3, 4]])
    assert joined["bin"].values.tolist() == [0, 1, 2]
    mixed = join_cubes({"a": one, "b": other.drop_vars("bin")})
    assert mixed.sentences == ("the variable 'density' is left out: its dimension 'bin' has labels in a and none in b",)


def test_members_of_a_coupled_axis_are_joined_or_refused() -> None:
    one = cube({"method": ["plain", "fancy"]}).assign_coords(nodes=("method", [2, 3]))
    other = cube({"method": ["third"]}).assign_coords(nodes=("method", [4]))
    joined = join_cubes({"a": one, "b": other})
    assert joined.cube["nodes"].dims == ("method",)
    assert joined.cube["nodes"].values.tolist() == [2, 3, 4]
    assert joined.cube.attrs["coordinates"] == "nodes"
    lacking = join_cubes({"a": one, "b": other.drop_vars("nodes")})
    assert lacking.sentences == ("'nodes' along the axis 'method' is left out: only a has it",)
    with pytest.raises(UsageError, match="the label 'plain' of the axis 'method' means nodes 9 in b and 2 elsewhere"):
        join_cubes({"a": one, "b": cube({"method": ["plain"]}).assign_coords(nodes=("method", [9]))})


def test_a_join_that_would_be_too_large_is_refused() -> None:
    one = cube({"level": list(range(4000))})
    other = cube({"realisation": list(range(4000))})
    with pytest.raises(UsageError, match=r"the joined cube would have 32,0\d\d,\d\d\d cells"):
        join_cubes({"a": one, "b": other})

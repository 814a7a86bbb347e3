"""Grids: axes, planned cells and names of dimensions (rules G1-G4)."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from pipeline.errors import UsageError
from pipeline.grid import Cells, expand
from pipeline.plan import make_plan
from pipeline.sizes import dense_bytes
from pipeline.store import LocalStore
from pipeline.study import load_study

HEAD = "study: s\nexperiment: toy\n"
AXES = HEAD + "axes:\n"


def cells_of(text: str, *overrides: str) -> Cells:
    return expand(load_study(text, overrides=overrides))


def planned(cells: Cells) -> set[tuple[object, ...]]:
    return {tuple(cells.coordinates(i).values()) for i in range(len(cells.index))}


def test_g1_grids_are_joined_and_a_missing_axis_means_the_base() -> None:
    text = (
        HEAD + "scenario: {size: {count: 3}}\ngrids:\n"
        "  - axes: {signal.level_db: [20, 10], size.count: [1, 2]}\n    exclude: [{count: 2, level_db: 20}]\n"
        "  - axes: {signal.level_db: [15]}\n"
    )
    cells = cells_of(text)
    assert [axis.labels for axis in cells.axes] == [(10.0, 15.0, 20.0), (1, 2, 3)]
    assert planned(cells) == {(10.0, 1), (10.0, 2), (20.0, 1), (15.0, 3)}
    for i in range(len(cells.index)):
        assert (cells.scenario(i).signal.level_db, cells.scenario(i).size.count) == tuple(cells.coordinates(i).values())


@given(
    st.lists(st.tuples(st.sets(st.integers(1, 6), min_size=1), st.sets(st.integers(0, 5), min_size=1)), min_size=1, max_size=4)
)
def test_g1_the_cells_are_the_union_of_the_grids_once_each_in_c_order(grids: list[tuple[set[int], set[int]]]) -> None:
    rows = "".join(f"  - axes: {{size.count: {sorted(c)}, draw.realisation: {sorted(r)}}}\n" for c, r in grids)
    cells = cells_of(f"{HEAD}grids:\n{rows}")
    assert planned(cells) == {(c, r) for counts, draws in grids for c in counts for r in draws}
    assert (np.diff(cells.flat) > 0).all()
    assert np.array_equal(np.stack(np.unravel_index(cells.flat, cells.shape), axis=1), cells.index)


def test_g1_where_and_exclude_select_by_value_list_range_and_bounds() -> None:
    grid = AXES + "  signal.level_db: '0:40:10'\n  size.count: [1, 2, 3]\n"
    assert planned(cells_of(grid + "where: {level_db: {min: 10, max: 20}, count: 2}\n")) == {(10.0, 2), (20.0, 2)}
    assert planned(cells_of(grid + "where: {level_db: '0:10:10', size.count: [3]}\n")) == {(0.0, 3), (10.0, 3)}
    kept = planned(cells_of(grid + "exclude: [{level_db: {max: 30}}, {count: [1, 2]}]\n"))
    assert kept == {(40.0, 3)}
    both = cells_of(AXES + "  size.count: [1, 2, 3]\nexclude: [{count: [1, 2], size.count: [2, 3]}]\n")
    assert planned(both) == {(1,), (3,)}


def test_g1_one_field_under_two_names_is_refused_for_one_would_overwrite_the_other() -> None:
    text = HEAD + "grids:\n  - axes: {level: {path: signal.level_db, values: [20, 30]}}\n  - axes: {signal.level_db: [15]}\n"
    with pytest.raises(UsageError, match=r"'level' and 'level_db' of different grids both set 'signal\.level_db'"):
        cells_of(text)


def test_g1_a_coupled_axis_sits_at_the_label_that_any_grid_gives_the_base() -> None:
    grids = (
        "grids:\n  - axes: {s: {entries: [{label: a, set: {size.count: 1}}]}}\n"
        "  - axes: {s: {entries: [{label: b, set: {size.count: 2}}]}}\n  - axes: {signal.level_db: [1]}\n"
    )
    assert cells_of(HEAD + grids).axes[0].labels == ("a", "b")
    other = cells_of(HEAD + "scenario: {size: {count: 9}}\n" + grids)
    assert other.axes[0].labels == ("a", "b", "base")
    assert other.axes[0].members == {"count": (1, 2, 9)}


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ("  levl: [1]\n", "did you mean"),
        ("  signal.level_db: ['a']\n", "line 4"),
        ("  size.count: [1.5]\n", r"size\.count = 1\.5"),
        ("  size.count: [true]\n", r"size\.count = True"),
        ("  size.count: [99]\n", "less than or equal to 50"),
        ("  signal.level_db: [1, 1.0]\n", "is written twice"),
        ("  signal.level_db: [0.0, -0.0]\n", "is written twice"),
        ("  signal.level_db: [.nan]\n", r"line 4, axes\.signal\.level_db\[0\]: nan"),
        ("  signal.level_db: '0:1'\n", r"signal\.level_db"),
        ("  signal.level_db: []\n", "at least one value"),
        ("  signal.level_db: {start: 1, stop: 0, points: 3, scale: log}\n", "above zero"),
        ("  a: {path: size.count, values: [1]}\n  b: {path: size.count, values: [2]}\n", "two axes set"),
        ("  s:\n    entries:\n      - {label: a, set: {size.count: 1}}\n      - {label: b, set: {size.count: 1}}\n", "twice"),
        ("  s:\n    entries:\n      - {label: a, set: {}}\n", "at least one path"),
        ("  s:\n    entries:\n      - {label: a, set: {size.cuont: 1}}\n", r"line 6.*did you mean 'size\.count'"),
        ("  size.count: [1]\nwhere: {cuont: 1}\n", "did you mean 'count'"),
        ("  size.count: [1]\nwhere: {count: 7}\n", "names no value"),
        ("  size.count: [1, 2]\nwhere: {count: [1, 7]}\n", "7 names no value of the axis 'count'"),
        ("  size.count: [1]\nwhere: {count: {min: 7}}\n", "no cell is left"),
        ("  size.count: [1]\nwhere: {count: {least: 7}}\n", "min: "),
        ("  size.count: [1]\nexclude: [{}]\n", "name at least one axis"),
    ],
)
def test_g2_a_bad_axis_names_place_value_and_what_is_accepted(axes: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        cells_of(AXES + axes)


def test_g2_whole_numbers_stay_whole_and_become_floats_where_the_field_is_one() -> None:
    cells = cells_of(AXES + "  signal.level_db: '0:2:1'\n  size.count: '1:2:1'\n")
    assert [type(v) for axis in cells.axes for v in axis.labels] == [float] * 3 + [int] * 2


class Limited(toy.ToyScenario):
    @model_validator(mode="after")
    def _count_is_at_most_the_seed(self) -> Limited:
        if self.size.count > self.draw.seed:
            raise ValueError("count above seed")
        return self


def limited(text: str) -> Cells:
    experiment = dataclasses.replace(toy.experiment, scenario_model=Limited)
    return expand(load_study(text, experiment_loader=lambda name: experiment))


def test_g2_a_rule_across_fields_is_tried_beside_the_other_axes() -> None:
    # The base has the seed 1: counts 2 and 3 are only accepted beside the axis' seeds.
    cells = limited(HEAD + "scenario: {size: {count: 1}}\naxes: {size.count: [2, 3], draw.seed: [3, 5]}\n")
    assert cells.shape == (2, 2)
    with pytest.raises(UsageError, match=r"size\.count = 7: count above seed"):
        limited(HEAD + "scenario: {size: {count: 1}}\naxes: {size.count: [2, 7], draw.seed: [3, 9]}\n")


class Described(toy.ToyScenario):
    gain_db: float = Field(1.0, description="gain, dB; null: none")
    mode: str = Field("a", description="way, dB; of the gain")


def test_an_axis_is_named_by_the_description_before_the_semicolon_without_its_unit() -> None:
    experiment = dataclasses.replace(toy.experiment, scenario_model=Described)
    text = HEAD + "axes: {gain_db: [1], mode: [b], options.method: [plain]}\n"
    axes = expand(load_study(text, experiment_loader=lambda name: experiment)).axes
    assert [axis.long_name for axis in axes] == ["gain", "way, dB", "options.method"]


def test_g3_names_are_the_shortest_unambiguous_path() -> None:
    cells = cells_of(AXES + "  signal.level_db: [1]\n  size.count: [1]\n  options.method: [plain]\n")
    assert [axis.name for axis in cells.axes] == ["level_db", "count", "method"]
    assert (cells.axes[0].unit, cells.axes[0].long_name) == ("dB", "signal level")
    assert cells.options(0).method == "plain"
    assert cells.scenario_values(0) == {"signal.level_db": 1.0, "size.count": 1}


def test_g3_a_coupled_axis_is_one_dimension_with_member_coordinates() -> None:
    text = AXES + (
        "  size:\n    entries:\n"
        "      - {label: small, set: {size.count: 1, signal.shape: round}}\n"
        "      - {label: large, set: {size.count: 5, signal.shape: flat}}\n"
    )
    cells = cells_of(text)
    assert cells.shape == (2,)
    assert cells.axes[0].labels == ("small", "large")
    assert cells.axes[0].members == {"count": (1, 5), "shape": ("round", "flat")}
    assert cells.scenario(1).size.count == 5


def test_g3_a_structured_axis_has_text_labels() -> None:
    cells = cells_of(AXES + "  size.places_m: [[[0, 1]], [[2, 3], [4, 5]]]\n")
    assert cells.axes[0].labels == ("[[0.0,1.0]]", "[[2.0,3.0],[4.0,5.0]]")


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ("  steps: {path: size.count, values: [1]}\n", "an output variable; name it, e.g. 'size_count'"),
        ("  tap: {path: size.count, values: [1]}\n", "an output dimension"),
        ("  n_tap: {path: size.count, values: [1]}\n", "the count along 'tap'"),
        ("  status: {path: size.count, values: [1]}\n", "a variable of every cube"),
        ("  a/b: {path: size.count, values: [1]}\n", "cannot name an axis"),
        ("  '': {path: size.count, values: [1]}\n", "cannot name an axis"),
        ("  a: {path: size.count, values: [1]}\n  'a ': {path: signal.level_db, values: [1]}\n", "cannot name an axis"),
        (
            "  count: {path: signal.level_db, values: [1]}\n  s: {entries: [{label: a, set: {size.count: 1}}]}\n",
            "another coordinate, of the axis 'count'",
        ),
    ],
)
def test_g3_a_clash_of_names_is_refused_with_proposals(axes: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        cells_of(AXES + axes)


def test_g4_a_cube_above_the_limit_is_refused_with_a_way_out(tmp_path: Path) -> None:
    text = AXES + "  signal.level_db: '0:999:1'\n  size.count: '1:50:1'\n"
    for keep, per_cell in (("[error_m, steps]", 1 + 16 + 8 + 8), ("[samples]", 17)):
        assert dense_bytes(load_study(f"{text}keep: {keep}\n"), 50_000) == 50_000 * per_cell
    small = text + "max_dense_bytes: 1000000\n"
    with pytest.raises(UsageError, match=r"Split it along 'signal.level_db'.*one study file for each.*DataTree"):
        make_plan(load_study(small), LocalStore(tmp_path))
    assert make_plan(load_study(small, overrides=["axes.level_db=3"]), LocalStore(tmp_path)).cells.shape == (1, 50)


def test_g1_a_million_cells_expand_in_a_second() -> None:
    text = (
        HEAD + "grids:\n"
        "  - axes: {signal.level_db: '0:199.9:0.1', size.count: '1:50:1', draw.realisation: '0:5:1'}\n"
        "  - axes: {signal.level_db: '0:199.9:0.1', size.count: '1:50:1', draw.realisation: '5:9:1'}\n"
        "    exclude: [{count: 50, level_db: [0.5]}]\n"
    )
    study = load_study(text)
    start = time.process_time()
    cells = expand(study)
    assert time.process_time() - start < 3.0  # 0.4 s alone on one core; room for a busy machine
    assert len(cells.index) == 2000 * 50 * 10 - 4
    assert cells.index.nbytes < 300e6

"""Studies, grids and identity (rules G1-G4, I1, I4)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, create_model

from pipeline.errors import UsageError
from pipeline.grid import expand
from pipeline.identity import canonical_scenario, cell_keys, cell_text, identity_text
from pipeline.plan import make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.values import canonical_text, parse_range, spaced

Write = Callable[..., Path]


def study(text: str, file: Path, *overrides: str):
    file.write_text(text)
    return load_study(file, overrides=overrides)


AXES = "study: s\nexperiment: toy\naxes:\n"


def test_g2_ranges_are_decimal() -> None:
    assert parse_range("0:1:0.1")[3] == 0.3
    assert parse_range("0:1:0.1")[-1] == 1.0
    assert parse_range("10:0:-5") == (10, 5, 0)
    assert all(isinstance(v, int) for v in parse_range("0:3:1"))
    for bad in ("0:1", "a:1:1", "0:1:0", "0:1:-1", "0:inf:1", "0:1e9:0.1"):
        with pytest.raises(ValueError, match=r"."):
            parse_range(bad)


@given(st.integers(-500, 500), st.integers(1, 300), st.integers(1, 40), st.integers(0, 4))
def test_g2_every_range_value_is_the_nearest_float_of_its_decimal(start: int, step: int, count: int, digits: int) -> None:
    unit = Decimal(1).scaleb(-digits)
    values = parse_range(f"{start * unit}:{(start + step * count) * unit}:{step * unit}")
    assert [float(v) for v in values] == [float((start + i * step) * unit) for i in range(count + 1)]


def test_g2_log_ranges_have_exact_ends() -> None:
    values = spaced(1e6, 1e8, 5, "log")
    assert values[0] == 1e6
    assert values[-1] == 1e8
    assert values[2] == pytest.approx(1e7, rel=1e-11)


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ("  levl: [1]\n", "did you mean"),
        ("  signal.level_db: ['a']\n", "line 4"),
        ("  size.count: [1.5]\n", "size.count = 1.5"),
        ("  size.count: [true]\n", "size.count = True"),
        ("  size.count: [99]\n", "less than or equal to 50"),
        ("  signal.level_db: [1, 1.0]\n", "stands twice"),
        ("  signal.level_db: [0.0, -0.0]\n", "stands twice"),
        ("  signal.level_db: [.nan]\n", "nan"),
        ("  signal.level_db: '0:1'\n", "signal.level_db"),
        ("  steps: {path: size.count, values: [1]}\n", "an output variable"),
        ("  tap: {path: size.count, values: [1]}\n", "an output dimension"),
        ("  a: {path: size.count, values: [1]}\n  b: {path: size.count, values: [2]}\n", "two axes set"),
        ("  signal.level_db: []\n", "at least one value"),
        ("  size.count: [1]\nwhere: {cuont: 1}\n", "did you mean 'count'"),
        ("  size.count: [1]\nwhere: {count: 7}\n", "names no value"),
        ("  size.count: [1]\nkeep: [eror_m]\n", "did you mean 'error_m'"),
        ("  size.count: [1]\nscenario: {signal: {levl_db: 1}}\n", "did you mean 'level_db'"),
        ("  size.count: [1]\nscenario: {sgnal: {}}\n", "did you mean 'signal'"),
        ("  size.count: [1]\noptions: {method: fance}\n", "options.method"),
        ("  size.count: [1]\ntitel: x\n", "did you mean 'title'"),
        ("  size.count: [1]\ncell_timeout_s: -1\n", "cell_timeout_s"),
        ("  size.count: [1]\nsize.count: [2]\n", "size.count"),
        ("  size.count: [1]\n  size.count: [2]\n", "line"),
        ("  size.count: !!python/object/apply:os.system [ls]\n", "tag"),
        ("  size.count: [1\n", "not valid YAML"),
    ],
)
def test_g2_bad_input_names_place_value_and_what_is_accepted(tmp_path: Path, axes: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        expand(study(AXES + axes, tmp_path / "s.yaml"))
    assert sentence in str(error.value)
    assert "s.yaml" in str(error.value)


def test_g3_names_are_the_shortest_unambiguous_path(tmp_path: Path) -> None:
    cells = expand(study(AXES + "  signal.level_db: [1]\n  size.count: [1]\n  options.method: [plain]\n", tmp_path / "s.yaml"))
    assert [axis.name for axis in cells.axes] == ["level_db", "count", "method"]
    assert cells.axes[0].unit == "dB"


def test_g3_a_coupled_axis_is_one_dimension_with_member_coordinates(tmp_path: Path) -> None:
    text = AXES + (
        "  size:\n    entries:\n"
        "      - {label: small, set: {size.count: 1, signal.shape: round}}\n"
        "      - {label: large, set: {size.count: 5, signal.shape: flat}}\n"
    )
    cells = expand(study(text, tmp_path / "s.yaml"))
    assert cells.shape == (2,)
    assert cells.axes[0].labels == ("small", "large")
    assert cells.axes[0].members == {"count": (1, 5), "shape": ("round", "flat")}
    assert cells.scenario(1).size.count == 5


def test_g3_a_structured_axis_has_text_labels(tmp_path: Path) -> None:
    cells = expand(study(AXES + "  size.places_m: [[[0, 1]], [[2, 3], [4, 5]]]\n", tmp_path / "s.yaml"))
    assert cells.axes[0].labels == ("[[0.0,1.0]]", "[[2.0,3.0],[4.0,5.0]]")


def test_g1_grids_are_joined_and_a_missing_axis_means_the_base(tmp_path: Path) -> None:
    text = (
        "study: s\nexperiment: toy\nscenario: {size: {count: 3}}\ngrids:\n"
        "  - axes: {signal.level_db: [20, 10], size.count: [1, 2]}\n    exclude: [{count: 2, level_db: 20}]\n"
        "  - axes: {signal.level_db: [15]}\n"
    )
    cells = expand(study(text, tmp_path / "s.yaml"))
    assert [axis.labels for axis in cells.axes] == [(10.0, 15.0, 20.0), (1, 2, 3)]
    found = {tuple(cells.coordinates(i).values()) for i in range(len(cells.index))}
    assert found == {(10.0, 1), (10.0, 2), (20.0, 1), (15.0, 3)}


def test_g4_a_cube_above_the_limit_is_refused_with_a_way_out(tmp_path: Path) -> None:
    text = AXES + "  signal.level_db: '0:999:1'\n  size.count: '1:50:1'\nmax_dense_bytes: 1000000\n"
    with pytest.raises(UsageError, match=r"Split it along 'level_db'.*DataTree"):
        make_plan(study(text, tmp_path / "s.yaml"), LocalStore(tmp_path))


def test_overrides_change_base_axes_and_options(tmp_path: Path) -> None:
    text = AXES + "  size.count: [1, 2]\n"
    changed = study(text, tmp_path / "s.yaml", "draw.seed=7", "options.method=fancy", "axes.size.count=1:4:1", "keep=[note]")
    assert changed.scenario.draw.seed == 7
    assert changed.options.method == "fancy"
    assert expand(changed).shape == (4,)
    assert changed.keep == ("note",)
    for bad, sentence in (
        ("drw.seed=1", "did you mean"),
        ("axes.cuont=1", "no such axis"),
        ("x", "key=value"),
        ("titel=x", "did you mean"),
    ):
        with pytest.raises(UsageError, match=sentence):
            study(text, tmp_path / "s.yaml", bad)


@given(
    levels=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4, unique=True),
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=3, unique=True),
    method=st.sampled_from(["plain", "fancy"]),
)
def test_i1_the_fast_key_is_the_key_of_the_validated_scenario(
    levels: list[float], counts: list[int], method: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("i1") / "s.yaml"
    levels = list({canonical_text(v): v for v in levels}.values())
    head = f"study: s\nexperiment: toy\noptions: {{method: {method}}}\n"
    text = f"{head}axes:\n  signal.level_db: {levels}\n  size.count: {counts}\n"
    cells = expand(study(text, file))
    keys, scenario_keys = cell_keys(cells, "code")
    assert len({k.tobytes() for k in keys}) == len(cells.index)
    for i in range(len(cells.index)):
        assert cell_text(cells, i) == identity_text("toy", cells.scenario(i), cells.options(i))
    assert not np.array_equal(keys, scenario_keys)
    assert not np.array_equal(keys, cell_keys(cells, "other")[0])
    assert np.array_equal(scenario_keys, cell_keys(cells, "other")[1])


def test_i1_keys_keep_their_bits(tmp_path: Path) -> None:
    keys, _ = cell_keys(expand(study(AXES + "  signal.level_db: [10, 0.1]\n", tmp_path / "s.yaml")), "00")
    assert [k.tobytes().hex() for k in keys] == ["b4af810fc477cd0b8f8d8ac82803d7af", "b41108a46d1baf2f48f7d01235e2480b"]


def test_i1_a_value_is_its_typed_value(tmp_path: Path) -> None:
    one, two = (study(AXES + f"  signal.level_db: [{v}]\n", tmp_path / "s.yaml") for v in ("10", "10.0"))
    assert np.array_equal(cell_keys(expand(one), "0")[0], cell_keys(expand(two), "0")[0])


def with_field(**fields):
    return create_model("Changed", __base__=toy.ToyScenario, **fields)()


def test_i1_a_new_field_at_its_identity_default_changes_no_identity() -> None:
    base = canonical_scenario(toy.ToyScenario())
    added = with_field(extra_hz=(float, Field(5.0, json_schema_extra={"identity_default": 5.0})))
    assert canonical_scenario(added) == base
    plain = with_field(extra_hz=(float, Field(5.0)))
    assert canonical_scenario(plain) != base


def test_i1_a_changed_default_reruns_what_relied_on_it() -> None:
    old = with_field(extra_hz=(float, Field(5.0, json_schema_extra={"identity_default": 5.0})))
    new = with_field(extra_hz=(float, Field(6.0, json_schema_extra={"identity_default": 5.0})))
    assert canonical_scenario(new) == canonical_scenario(old) | {"extra_hz": "6.0"}
    assert canonical_scenario(type(new)(extra_hz=5.0)) == canonical_scenario(old)


def test_i1_a_renamed_field_keeps_its_identity() -> None:
    old = with_field(width_m=(float, Field(1.0)))
    new = with_field(breadth_m=(float, Field(1.0, json_schema_extra={"identity_name": "width_m"})))
    assert canonical_scenario(new) == canonical_scenario(old)


def test_i4_a_file_counts_by_its_content(tmp_path: Path) -> None:
    table, other = tmp_path / "table.csv", tmp_path / "other.csv"
    table.write_text("1,2\n")
    other.write_text("1,2\n")
    text = AXES + f"  size.count: [1, 2]\nscenario: {{table: '{table}'}}\n"
    before = cell_keys(expand(study(text, tmp_path / "s.yaml")), "0")[0]
    same = cell_keys(expand(study(text.replace("table.csv", "other.csv"), tmp_path / "s.yaml")), "0")[0]
    assert np.array_equal(before, same)
    table.write_text("1,3\n")
    after = cell_keys(expand(study(text, tmp_path / "s.yaml")), "0")[0]
    assert not (before == after).all(axis=1).any()
    with pytest.raises(UsageError, match="cannot be read"):
        cell_keys(expand(study(text.replace("table.csv", "none.csv"), tmp_path / "s.yaml")), "0")


def test_an_override_that_changes_nothing_or_is_wrong_says_so(tmp_path: Path) -> None:
    text = AXES + "  size.count: [1, 2]\n"
    for override, sentence in (
        ("size.count=3", r"--set size.count: the axis 'count' sets it in every cell; use --set axes.count"),
        ("signal.levl_db=3", r"--set signal.levl_db: .*did you mean 'level_db'"),
        ("axes.size.count=[0]", r"--set axes.size.count: .*greater than or equal to 1"),
    ):
        with pytest.raises(UsageError, match=sentence):
            expand(study(text, tmp_path / "s.yaml", override))

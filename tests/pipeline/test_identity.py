"""Identity: canonical form, keys and content of files (rules I1, I4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from pipeline.errors import UsageError
from pipeline.grid import Cells, expand
from pipeline.identity import (
    canonical_options,
    canonical_scenario,
    cell_keys,
    cell_text,
    identity_text,
    input_files,
    option_texts,
)
from pipeline.study import load_study
from pipeline.values import canonical_text

HEAD = "study: s\nexperiment: toy\n"
AXES = HEAD + "axes:\n"


def cells_of(text: str) -> Cells:
    return expand(load_study(text))


def keys_of(text: str) -> np.ndarray:
    return cell_keys(cells_of(text), "0")[0]


def changed_model(**fields: object) -> BaseModel:
    return create_model("Changed", __base__=toy.ToyScenario, **fields)()


@given(
    levels=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4, unique=True),
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=3, unique=True),
    places=st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=3, unique=True),
    method=st.sampled_from(["plain", "fancy"]),
)
def test_i1_the_fast_key_is_the_key_of_the_validated_scenario(
    levels: list[float], counts: list[int], places: list[tuple[float, float]], method: str
) -> None:
    levels = list({canonical_text(v): v for v in levels}.values())
    entries = ", ".join(f"{{label: e{i}, set: {{size.places_m: [{list(p)}], draw.seed: {i}}}}}" for i, p in enumerate(places))
    text = (
        f"{AXES}  signal.level_db: {levels}\n  size.count: {counts}\n  options.method: [{method}]\n"
        f"  site: {{entries: [{entries}]}}\n"
    )
    cells = cells_of(text)
    keys, scenario_keys = cell_keys(cells, "code")
    assert len({k.tobytes() for k in keys}) == len(cells.index)
    for i in range(len(cells.index)):
        assert cell_text(cells, i) == identity_text("toy", cells.scenario(i), cells.options(i))
    assert option_texts(cells, cells.index) == [canonical_options(cells.options(i)) for i in range(len(cells.index))]
    assert not np.array_equal(keys, scenario_keys)
    assert not np.array_equal(keys, cell_keys(cells, "other")[0])
    assert np.array_equal(scenario_keys, cell_keys(cells, "other")[1])


def test_i1_keys_keep_their_bits() -> None:
    keys, _ = cell_keys(cells_of(AXES + "  signal.level_db: [10, 0.1]\n"), "00")
    assert [k.tobytes().hex() for k in keys] == ["b4af810fc477cd0b8f8d8ac82803d7af", "b41108a46d1baf2f48f7d01235e2480b"]
    assert keys.dtype == np.uint8
    assert keys.shape == (2, 16)


@pytest.mark.parametrize(
    ("one", "two"), [("[10]", "[10.0]"), ("[0.0]", "[-0.0]"), ("[1e1]", "10"), ("'0:0.3:0.3'", "[0, 0.3]")]
)
def test_i1_a_value_is_its_typed_value(one: str, two: str) -> None:
    first, second = (keys_of(AXES + f"  signal.level_db: {written}\n") for written in (one, two))
    assert np.array_equal(first, second)


def test_i1_an_axis_and_the_base_scenario_give_one_key() -> None:
    base = keys_of(HEAD + "scenario: {size: {count: 7}}\naxes: {signal.level_db: [3]}\n")
    axis = keys_of(AXES + "  signal.level_db: [3]\n  size.count: [6, 7]\n")
    assert np.array_equal(base[0], axis[1])


def test_i1_a_new_field_at_its_identity_default_changes_no_identity() -> None:
    base = canonical_scenario(toy.ToyScenario())
    added = changed_model(extra_hz=(float, Field(5.0, json_schema_extra={"identity_default": 5.0})))
    assert canonical_scenario(added) == base
    assert canonical_scenario(changed_model(extra_hz=(float, Field(5.0)))) != base


def test_i1_a_changed_default_reruns_what_relied_on_it() -> None:
    old = changed_model(extra_hz=(float, Field(5.0, json_schema_extra={"identity_default": 5.0})))
    new = changed_model(extra_hz=(float, Field(6.0, json_schema_extra={"identity_default": 5.0})))
    assert canonical_scenario(new) == canonical_scenario(old) | {"extra_hz": "6.0"}
    assert canonical_scenario(type(new)(extra_hz=5.0)) == canonical_scenario(old)


def test_i1_a_renamed_field_keeps_its_identity() -> None:
    old = changed_model(width_m=(float, Field(1.0)))
    new = changed_model(breadth_m=(float, Field(1.0, json_schema_extra={"identity_name": "width_m"})))
    assert canonical_scenario(new) == canonical_scenario(old)


def test_i1_two_fields_under_one_identity_name_are_refused_for_one_would_be_lost() -> None:
    both = changed_model(
        width_m=(float, Field(1.0)), breadth_m=(float, Field(2.0, json_schema_extra={"identity_name": "width_m"}))
    )
    with pytest.raises(TypeError, match="'width_m' and 'breadth_m' both enter identity as 'width_m'"):
        canonical_scenario(both)


def test_i4_a_file_counts_by_its_content(tmp_path: Path) -> None:
    table, other = tmp_path / "table.csv", tmp_path / "other.csv"
    table.write_text("1,2\n")
    other.write_text("1,2\n")
    text = AXES + f"  size.count: [1, 2]\nscenario: {{table: '{table}'}}\n"
    before = keys_of(text)
    assert np.array_equal(before, keys_of(text.replace("table.csv", "other.csv")))
    table.write_text("1,3,\n")
    assert not (before == keys_of(text)).all(axis=1).any()
    with pytest.raises(UsageError, match="cannot be read"):
        keys_of(text.replace("table.csv", "none.csv"))
    with pytest.raises(UsageError, match="no plain file"):
        keys_of(text.replace(str(table), "/dev/zero"))


def test_i4_one_changed_byte_changes_the_keys_of_its_users_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_bytes(b"1234")
    two.write_bytes(b"5678")
    text = AXES + f"  table: ['', '{one}', '{two}']\n  size.count: [1, 2]\n"
    before = keys_of(text)
    one.unlink()  # a new file, so that the change shows however coarse the clock of the file system is
    one.write_bytes(b"1235")
    same = (before == keys_of(text)).all(axis=1)
    assert same.tolist() == [True, True, False, False, True, True]
    assert {name: path for name, (path, _) in input_files(cells_of(text)).items()} == {str(one): one, str(two): two}


def test_i4_a_base_file_that_an_axis_replaces_is_not_needed(tmp_path: Path) -> None:
    used = tmp_path / "used.csv"
    used.write_text("1")
    text = AXES + f"  table: ['{used}']\nscenario: {{table: '{tmp_path}/none.csv'}}\n"
    assert len(keys_of(text)) == 1
    assert list(input_files(cells_of(text))) == [str(used)]

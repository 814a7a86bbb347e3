"""Values: decimal ranges, YAML without code, one text per value (rules G2, I1)."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.values import canonical_text, parse_range, read_yaml, short_name, spaced


def test_g2_ranges_are_decimal() -> None:
    assert parse_range("0:1:0.1")[3] == 0.3
    assert parse_range("0:1:0.1")[-1] == 1.0
    assert parse_range("0:1:0.3") == (0.0, 0.3, 0.6, 0.9)
    assert parse_range("10:0:-5") == (10, 5, 0)
    assert all(isinstance(v, int) for v in parse_range("0:3:1"))


@pytest.mark.parametrize(
    "bad",
    ["0:1", "a:1:1", "0:1:0", "0:1:-1", "0:inf:1", "0:nan:1", "0:1e9:0.1", "0:1e1000000:1", "0:1e9:1e-999999", "0:1e400:1e399"],
)
def test_g2_a_range_that_cannot_be_evaluated_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_range(bad)


@given(st.integers(-500, 500), st.integers(1, 300), st.integers(1, 40), st.integers(0, 4))
def test_g2_every_range_value_is_the_nearest_float_of_its_decimal(start: int, step: int, count: int, digits: int) -> None:
    unit = Decimal(1).scaleb(-digits)
    values = parse_range(f"{start * unit}:{(start + step * count) * unit}:{step * unit}")
    assert [float(v) for v in values] == [float((start + i * step) * unit) for i in range(count + 1)]


def test_g2_log_ranges_have_exact_ends() -> None:
    values = spaced(1e6, 1e8, 5, "log")
    assert (values[0], values[-1]) == (1e6, 1e8)
    assert values[2] == pytest.approx(1e7, rel=1e-11)
    assert spaced(0.1, 1.1, 11, "linear") == parse_range("0.1:1.1:0.1")
    for bad in ((0.0, 1.0, 3, "log"), (1.0, 2.0, 1, "linear"), (1.0, 2.0, 10**9, "log")):
        with pytest.raises(ValueError, match=r"."):
            spaced(*bad)


def test_g2_one_text_per_value() -> None:
    assert canonical_text(-0.0) == canonical_text(0.0) == "0.0"
    assert canonical_text((1, (2.5,))) == canonical_text([1, [2.5]])
    assert canonical_text({"b": 1, "a": "é"}) == '{"a":"\\u00e9","b":1}'
    assert canonical_text(np.float64(0.1)) == canonical_text(0.1)
    assert canonical_text([np.int32(3), np.bool_(True), np.str_("x")]) == '[3,true,"x"]'
    for bad in (float("nan"), np.float64("inf")):
        with pytest.raises(ValueError, match="not a value"):
            canonical_text(bad)
    with pytest.raises(TypeError, match="ndarray"):
        canonical_text(np.zeros(2))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_g2_the_text_of_a_float_reads_back_to_its_bits(value: float) -> None:
    assert float(canonical_text(value)) == value


def test_g3_the_short_name_is_the_shortest_ending_that_no_other_path_has() -> None:
    known = ["left.count", "right.count", "right.size", "options.size"]
    assert [short_name(k, known) for k in known] == ["left_count", "right_count", "right_size", "options_size"]
    assert short_name("right.size", known[:3]) == "size"


def test_yaml_gives_plain_values_and_lines() -> None:
    content, lines = read_yaml("a: 1\nb:\n  - 0.5\n  - {c: on}\n", "f")
    assert content == {"a": 1, "b": [0.5, {"c": "on"}]}
    assert [type(v) for v in (content, content["b"], content["b"][0])] == [dict, list, float]
    assert lines[("b", 0)] == 3
    assert lines[("b", 1, "c")] == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: [1, .nan]", r"f, line 2, b\[1\]: nan is not a value"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", "line 2, b: the tag"),
        ("a: 1\nb: !mine 2", "the tag"),
        ("a: 2020-01-01", "line 1, a: .*in quotes"),
        ("a: 1\na: 2", "line 2"),
        ("a: {1: 2, '1': 3}", "is written twice"),
        ("a: &x {b: 1}\nc: {<<: *x}", "merge keys"),
        ("%YAML 1.1\n---\na: 1", "line 1: a study is YAML 1.2"),
        ("a: [1", "line 1: not valid YAML"),
        ("a: " + "[" * 400 + "]" * 400, "nested too deeply"),
        ("--- 1\n--- 2", "not valid YAML"),
    ],
)
def test_yaml_that_is_not_plain_is_refused_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_yaml(text, "f")


def test_yaml_aliases_cannot_blow_up() -> None:
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 100)}]\n" for i in range(1, 5))
    with pytest.raises(UsageError, match="more than"):
        read_yaml(f"l0: &l0 [1, 2, 3]\n{levels}", "f")

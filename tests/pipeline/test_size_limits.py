"""What is too large is refused before it is built, and what looks like one value is told (rules G2, G4)."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import typed as typed_module
from pipeline import values as values_module
from pipeline.errors import UsageError
from pipeline.grid import expand
from pipeline.identity import canonical_options
from pipeline.plan import cost_classes, make_plan, write_record
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.values import read_yaml, spaced

HEAD = "study: s\nexperiment: toy\n"


def seconds(text: str, **more: Any) -> float:
    started = time.process_time()
    with pytest.raises(UsageError) as refused:
        expand(load_study(text, **more))
    assert len(str(refused.value)) < 1_000
    return time.process_time() - started


@pytest.mark.parametrize("axes", [
    "{level: {path: signal.level_db, values: '0:999:1'}, size.count: '1:50:1', draw.realisation: '0:99999:1'}",
    "{level: {path: signal.level_db, values: {start: 0, stop: 1, points: 1000000}}, draw.realisation: '0:999999:1'}",
])  # fmt: skip
def test_g4_the_shape_is_checked_before_anything_is_built(axes: str) -> None:
    tracemalloc.start()
    assert seconds(f"{HEAD}axes: {axes}\n") < 8.0
    assert tracemalloc.get_traced_memory()[1] < 700e6
    tracemalloc.stop()


def test_g4_the_joined_shape_of_several_grids_counts() -> None:
    grids = "".join(
        f"  - axes: {{level: {{path: signal.level_db, values: '{a}:{a + 1999}:1'}}, draw.realisation: '{a}:{a + 1999}:1'}}\n"
        for a in (0, 2000, 4000, 6000)
    )
    with pytest.raises(UsageError, match=r"64,000,000 cells \(level 8,000 x realisation 8,000\)"):
        expand(load_study(f"{HEAD}keep: [samples]\ngrids:\n{grids}max_dense_bytes: 100000000000\n"))


def test_g4_more_cells_than_a_plan_holds_are_refused_whatever_the_cube_takes() -> None:
    text = (
        HEAD + "keep: [samples]\nmax_dense_bytes: 1000000000000000\naxes: {signal.level_db: '0:99999:1', size.count: '1:50:1', "
    )
    with pytest.raises(UsageError, match=r"there would be 50,000,000 cells .*; a plan holds 20,000,000\. Split it along"):
        expand(load_study(text + "draw.realisation: '0:9:1'}\n"))


@pytest.mark.parametrize(("grid", "number", "sentence"), [
    ("{level: {path: signal.level_db, values: '0:999:1'}, draw.realisation: '0:999:1'}", 200, "200,000,000 cells before they"),
    ("{draw.realisation: '0:999999:1'}", 30, "30,000,000 cells before they are joined; a plan holds 20,000,000"),
    ("{draw.realisation: '0:999999:1'}", 3, "3,000,000 values; a plan holds 2,000,000"),
])  # fmt: skip
def test_g4_grids_count_together_before_they_are_joined(grid: str, number: int, sentence: str) -> None:
    text = f"{HEAD}keep: [samples]\ngrids:\n" + f"  - axes: {grid}\n" * number
    started = time.process_time()
    with pytest.raises(UsageError, match=f"{sentence}.*Split it along"):
        expand(load_study(text))
    assert time.process_time() - started < 1.0


SOME = st.sets(st.integers(1, 5), min_size=1)


@given(st.lists(st.tuples(SOME, SOME), min_size=1, max_size=4), SOME)
def test_g1_what_is_excluded_is_what_a_loop_finds(items: list[tuple[set[int], set[int]]], kept: set[int]) -> None:
    rows = "".join(f"  - {{count: {sorted(c)}, realisation: {sorted(r)}}}\n" for c, r in items)
    axes = "{size.count: '1:5:1', draw.realisation: '1:6:1', draw.seed: [7, 8]}"
    text = f"{HEAD}axes: {axes}\nwhere: {{count: {sorted(kept)}}}\nexclude:\n{rows}  - {{count: 5, realisation: 6, seed: 8}}\n"
    cells = expand(load_study(text))
    product = ((c, r, s) for c in sorted(kept) for r in range(1, 7) for s in (7, 8))
    left = [x for x in product if x != (5, 6, 8) and not any(x[0] in counts and x[1] in draws for counts, draws in items)]
    assert [tuple(cells.coordinates(i).values()) for i in range(len(cells.index))] == left


def test_g1_long_conditions_on_a_long_axis_take_no_time() -> None:
    items = "".join(f"  - {{realisation: {i}}}\n" for i in range(0, 2000, 2))
    text = f"{HEAD}axes: {{draw.realisation: '0:99999:1'}}\nwhere: {{realisation: '0:99998:1'}}\nexclude:\n{items}"
    study = load_study(text)
    started = time.process_time()
    assert len(expand(study).index) == 98_999
    assert time.process_time() - started < 3.0  # 0.7 s alone on one core


def test_g1_a_condition_that_names_nothing_shows_a_few_labels() -> None:
    study = load_study(f"{HEAD}axes: {{draw.realisation: '0:9999:1'}}\nwhere: {{realisation: [10000, {10**400}]}}\n")
    with pytest.raises(UsageError, match=r"10000, 1000.* names no value of the axis 'realisation'.* 19 and 9,980 more") as told:
        expand(study)
    assert len(str(told.value)) < 1_000


@pytest.mark.parametrize(("grids", "labels"), [
    ("[{axes: {waveform.cyclic_prefix_s: [1.0e-6]}}, {axes: {service.sinr_db: [1]}}]", ("1e-06", "null")),
    ("[{axes: {waveform.cyclic_prefix_s: [1.0e-6, null]}}, {axes: {waveform.cyclic_prefix_s: [1.0e-6]}}]", ("1e-06", "null")),
])  # fmt: skip
def test_g1_values_of_several_types_are_joined_under_one_text(grids: str, labels: tuple[str, ...]) -> None:
    cells = expand(load_study(HEAD.replace("toy", "ofdm-tradeoff") + f"grids: {grids}\n"))
    assert cells.axes[0].labels == labels
    assert len(cells.index) == 2


@pytest.mark.parametrize("text", [
    "'0:1000000000:1'", "{start: 0, stop: 1, points: 1000000000}", "'0:1:1e-30'",
])  # fmt: skip
def test_g2_an_axis_beyond_a_million_values_is_refused_at_once(text: str) -> None:
    assert seconds(f"{HEAD}axes: {{signal.level_db: {text}}}\n") < 0.5
    assert seconds(f"{HEAD}axes: {{signal.level_db: [0]}}\n", overrides=[f"axes.level_db={text}"]) < 0.5


@pytest.mark.parametrize("values", ["'0:99999:1'", "{start: 0, stop: 40, points: 100000}"])
def test_g2_an_axis_of_a_hundred_thousand_values_is_typed_in_a_second(values: str, tmp_path: Path) -> None:
    study = load_study(f"{HEAD}keep: [error_m]\naxes: {{level: {{path: signal.level_db, values: {values}}}}}\n")
    started = time.process_time()
    plan = make_plan(study, LocalStore(tmp_path))
    assert time.process_time() - started < 3.0  # 0.8 s alone on one core; room for a busy machine
    assert len(plan.keys) == 100_000
    assert all(type(label) is float for label in plan.cells.axes[0].labels)


def test_an_option_axis_of_a_hundred_thousand_values_is_planned_in_a_second(tmp_path: Path) -> None:
    text = HEAD.replace("toy", "ofdm-tradeoff") + "keep: [rcrb_m]\naxes: {options.clusters: '1:100000:1'}\n"
    study = load_study(text)
    cells = expand(study)
    started = time.process_time()
    classes = cost_classes(cells, np.arange(100_000))
    assert time.process_time() - started < 1.5  # 0.3 s alone on one core
    assert classes[9] == canonical_options(cells.options(9))
    assert len(set(classes)) == 100_000


def test_i7_a_plan_names_a_few_of_many_new_values(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_record(make_plan(load_study(f"{HEAD}axes: {{draw.realisation: [0]}}\n"), store), store)
    found = make_plan(load_study(f"{HEAD}axes: {{draw.realisation: '0:999:1'}}\n"), store).summary()["reasons"]
    assert found["new value on axis realisation: 1"] == 1
    assert found["new value on axis realisation: 979 more"] == 979
    assert len(found) == 22
    assert sum(found.values()) == 1000


# --- typed at once, typed one by one


LONG = st.lists(
    st.one_of(st.integers(-5, 60), st.floats(-3.0, 3.0), st.sampled_from(["text", True, None, "1", 0.0, -0.0, 10**400])),
    min_size=2, max_size=12,
)  # fmt: skip


@example(values=[10**400, "text"], path="signal.level_db")
@given(
    values=LONG, path=st.sampled_from(["signal.level_db", "size.count", "signal.shape", "draw.seed", "options.method", "table"])
)
def test_g2_typing_at_once_gives_what_typing_one_by_one_gives(values: list[Any], path: str) -> None:
    text = f"{HEAD}axes:\n  x: {{path: {path}, values: {values_text(values)}}}\n  draw.realisation: [0, 1]\n"

    def outcome(many: int) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(typed_module, "MANY", many)
            patch.setattr(typed_module, "_PIECE", 3)
            try:
                axis = expand(load_study(text)).axes[0]
            except UsageError as error:
                return str(error)
        return [(type(x), x) for x in axis.labels], [dict(entry) for entry in axis.entries]

    assert outcome(0) == outcome(10_000)


def values_text(values: list[Any]) -> str:
    return json.dumps(values)


def test_g2_a_rule_across_fields_is_tried_at_the_ends_of_a_long_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        HEAD.replace("toy", "robust-tradeoff")
        + "scenario: {uncertainty: {coherence_loss: paper}}\naxes: {uncertainty.delta_rad: '0.0005:0.5:0.0005'}\n"
    )
    sentences = []
    for many in (100, 10_000):
        monkeypatch.setattr(typed_module, "MANY", many)
        with pytest.raises(UsageError) as refused:
            expand(load_study(text))
        sentences.append(str(refused.value))
    assert sentences[0] == sentences[1]
    assert "the factor 1 - 2 delta of coherence_loss 'paper' is zero at 0.5" in sentences[0]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(2, 40))
def test_g2_spaced_values_are_the_nearest_floats(start: float, stop: float, points: int) -> None:
    from fractions import Fraction

    low, high = Fraction(repr(start)), Fraction(repr(stop))
    inner = [float(low + (high - low) * i / (points - 1)) for i in range(1, points - 1)]
    assert spaced(start, stop, points, "linear") == (start, *inner, stop)


# --- reading


@pytest.mark.parametrize("text", [
    "a: " + "[" * 20_000, "a: " + "{" * 20_000, "a: " + "[{a: " * 10_000, "a: " + "[" * 9_000 + "]" * 9_000,
    "- " * 20_000 + "1", "? " * 20_000 + "1", "\n".join(" " * i + "k:" for i in range(1_500)),
    "x: it's\na: " + "[" * 20_000 + "\ny: it's",
    "a: [x#" + "[" * 20_000, "'" + "[" * 20_000, "a: " + "x " * 3_000_000, "a: [b', " + "[" * 20_000 + ",'",
    'a: [b", ' + "[" * 20_000 + ',"', "\n".join(" " * i + "- k:" for i in range(70)),
])  # fmt: skip
def test_what_is_nested_without_end_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(UsageError, match=r"nested too deeply; 64 levels are acc|more than 4,000,000 letters|not valid YAML"):
        read_yaml(text, "file.yaml")
    assert time.process_time() - started < 0.5


def test_reading_stops_at_the_first_value_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values_module, "_MOST_YAML_VALUES", 1_000)
    for text in ("a:\n" + "  - 1\n" * 50_000, "a: [" + "1, " * 50_000 + "1]", "".join(f"k{i}: 1\n" for i in range(50_000))):
        started = time.process_time()
        with pytest.raises(UsageError, match=r"file, line \d+: more than .* values; write long axes as ranges"):
            read_yaml(text, "file")
        assert time.process_time() - started < 0.5
    assert len(read_yaml("[" + "1, " * 999 + "1]", "file")[0]) == 1_000


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(UsageError, match="/dev/zero: more than 4,000,000 letters"):
        load_study("/dev/zero")


def test_brackets_in_texts_and_comments_are_no_nesting() -> None:
    many = "[{" * 100
    text = f"a: '{many}'\nb: \"\\\"{many}\"  # {many}\nc: [[1, {{d: 2}}], 'it''s']\n# {many}\nd: |\n  {many}\n"
    assert read_yaml(text, "file.yaml")[0] == {"a": many, "b": '"' + many, "c": [[1, {"d": 2}], "it's"], "d": many + "\n"}


# --- looking alike


def test_g2_two_forms_of_one_text_are_refused() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    axis = f"axes: {{signal.shape: ['{composed}', '{decomposed}']}}\n"
    with pytest.raises(UsageError, match=r"'caf\\xe9' and 'cafe\\u0301' are two forms of one text"):
        expand(load_study(HEAD + axis))
    entries = "".join(
        f"\n      - {{label: '{x}', set: {{signal.level_db: {i}}}}}" for i, x in enumerate((composed, decomposed))
    )
    with pytest.raises(UsageError, match="two forms of one text"):
        expand(load_study(f"{HEAD}axes:\n  size:\n    entries:{entries}\n"))
    grids = "".join(f"  - axes: {{signal.shape: ['{x}']}}\n" for x in (composed, decomposed))
    with pytest.raises(UsageError, match=r"axis 'shape': the labels .* are two forms of one text"):
        expand(load_study(f"{HEAD}grids:\n{grids}"))


@pytest.mark.parametrize(("one", "other"), [
    ("5 \u00b5s", "5 \u03bcs"), ("K", "\u212a"), ("a b", "a\u00a0b"), ("A", "\uff21"), ("a", "a\ufe0f"), ("a", "a\u3164"),
])  # fmt: skip
def test_g2_letters_of_one_shape_make_one_label(one: str, other: str) -> None:
    for pair in ((one, other), (other, one)):
        with pytest.raises(UsageError, match=r"\\(x|u).* look alike"):
            expand(load_study(f"{HEAD}axes: {{signal.shape: {json.dumps(pair)}}}\n"))
    entries = "".join(f"\n      - {{label: e{i}, set: {{signal.shape: {json.dumps(x)}}}}}" for i, x in enumerate((one, other)))
    with pytest.raises(UsageError, match="look alike"):
        expand(load_study(f"{HEAD}axes:\n  size:\n    entries:{entries}\n"))


def test_g2_a_label_is_no_longer_than_a_person_writes() -> None:
    with pytest.raises(UsageError, match=r"a label has 100,000 letters, 'xxxxx.*up to 4,000 are accepted"):
        expand(load_study(f"{HEAD}axes: {{signal.shape: [{'x' * 100_000}]}}\n"))


@pytest.mark.parametrize("letter", ["\u200b", "\u202e", "\u2028", "\ufeff"])
def test_g2_what_is_not_seen_is_no_part_of_a_label(letter: str) -> None:
    with pytest.raises(UsageError, match=f"U\\+{ord(letter):04X}, which is not seen"):
        expand(load_study(f'{HEAD}axes: {{signal.shape: [flat, "fl\\u{ord(letter):04x}at"]}}\n'))


def test_g2_numbers_that_are_nearly_equal_are_named(tmp_path: Path) -> None:
    text = f"{HEAD}axes: {{signal.level_db: [0.3, {0.1 + 0.2!r}, 5]}}\n"
    plan = make_plan(load_study(text), LocalStore(tmp_path))
    (warning,) = plan.summary()["warnings"]
    assert warning.startswith("axis 'level_db': 0.3 and 0.30000000000000004 are nearly equal but count as two values")
    grids = "".join(f"  - axes: {{signal.level_db: [{x!r}]}}\n" for x in (0.3, 0.1 + 0.2))
    assert len(expand(load_study(f"{HEAD}grids:\n{grids}")).warnings) == 1
    entries = "".join(f"\n      - {{label: e{i}, set: {{signal.level_db: {x!r}}}}}" for i, x in enumerate((0.3, 0.1 + 0.2)))
    (warning,) = expand(load_study(f"{HEAD}axes:\n  size:\n    entries:{entries}\n")).warnings
    assert warning.startswith("axis 'level_db': 0.3 and")
    many = ", ".join(repr(1.0 + i * 1e-15) for i in range(50))
    assert len(expand(load_study(f"{HEAD}axes: {{signal.level_db: [{many}]}}\n")).warnings) == 4
    assert expand(load_study(f"{HEAD}axes: {{signal.level_db: '0:1:0.1'}}\n")).warnings == ()

"""What is too large is refused before it is built, and what looks like one value is told (rules G2, G4)."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import typed as typed_module
from pipeline.errors import UsageError
from pipeline.grid import expand
from pipeline.plan import make_plan
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
        f"  - axes: {{level: {{path: signal.level_db, values: '{a}:{a + 3999}:1'}}, draw.realisation: '{a}:{a + 3999}:1'}}\n"
        for a in (0, 4000, 8000, 12000)
    )
    with pytest.raises(UsageError, match=r"256,000,000 cells \(level 16,000 x realisation 16,000\)"):
        expand(load_study(f"{HEAD}keep: [samples]\ngrids:\n{grids}max_dense_bytes: 100000000000\n"))


def test_g4_more_cells_than_a_plan_holds_are_refused_whatever_the_cube_takes() -> None:
    text = (
        HEAD + "keep: [samples]\nmax_dense_bytes: 1000000000000000\naxes: {signal.level_db: '0:99999:1', size.count: '1:50:1', "
    )
    with pytest.raises(UsageError, match=r"there would be 50,000,000 cells .*; a plan holds 20,000,000\. Split it along"):
        expand(load_study(text + "draw.realisation: '0:9:1'}\n"))


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


# --- typed at once, typed one by one


LONG = st.lists(
    st.one_of(st.integers(-5, 60), st.floats(-3.0, 3.0), st.sampled_from(["text", True, None, "1", 0.0, -0.0])),
    min_size=2, max_size=12,
)  # fmt: skip


@given(
    values=LONG, path=st.sampled_from(["signal.level_db", "size.count", "signal.shape", "draw.seed", "options.method", "table"])
)
def test_g2_typing_at_once_gives_what_typing_one_by_one_gives(values: list[Any], path: str) -> None:
    text = f"{HEAD}axes:\n  x: {{path: {path}, values: {values_text(values)}}}\n  draw.realisation: [0, 1]\n"

    def outcome(many: int) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(typed_module, "MANY", many)
            try:
                axis = expand(load_study(text)).axes[0]
            except UsageError as error:
                return str(error)
        return [(type(x), x) for x in axis.labels], [dict(entry) for entry in axis.entries]

    assert outcome(0) == outcome(10_000)


def values_text(values: list[Any]) -> str:
    import json

    return json.dumps(values)


def test_g2_a_rule_across_fields_is_tried_at_the_ends_of_a_long_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD.replace("toy", "ofdm-tradeoff") + "axes: {waveform.subcarriers: '1:1000:1'}\n"
    sentences = []
    for many in (100, 10_000):
        monkeypatch.setattr(typed_module, "MANY", many)
        with pytest.raises(UsageError) as refused:
            expand(load_study(text))
        sentences.append(str(refused.value))
    assert sentences[0] == sentences[1]
    assert "subcarriers 1 is less than the number of transmitting nodes" in sentences[0]


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
    "a: [x#" + "[" * 20_000, "'" + "[" * 20_000, "a: " + "x " * 3_000_000,
])  # fmt: skip
def test_what_is_nested_without_end_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(UsageError, match=r"nested too deeply|are accepted|not valid YAML"):
        read_yaml(text, "file.yaml")
    assert time.process_time() - started < 1.0


def test_brackets_in_texts_and_comments_are_no_nesting() -> None:
    many = "[{" * 100
    text = f"a: '{many}'\nb: \"\\\"{many}\"  # {many}\nc: [[1, {{d: 2}}], 'it''s']\n# {many}\n"
    assert read_yaml(text, "file.yaml")[0] == {"a": many, "b": '"' + many, "c": [[1, {"d": 2}], "it's"]}


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


@pytest.mark.parametrize("letter", ["\u200b", "\u202e", "\u2028", "\ufeff"])
def test_g2_what_is_not_seen_is_no_part_of_a_label(letter: str) -> None:
    with pytest.raises(UsageError, match=f"U\\+{ord(letter):04X}, which is not seen"):
        expand(load_study(f'{HEAD}axes: {{signal.shape: [flat, "fl\\u{ord(letter):04x}at"]}}\n'))


def test_g2_numbers_that_are_nearly_equal_are_named(tmp_path: Path) -> None:
    text = f"{HEAD}axes: {{signal.level_db: [0.3, {0.1 + 0.2!r}, 5]}}\n"
    plan = make_plan(load_study(text), LocalStore(tmp_path))
    (warning,) = plan.summary()["warnings"]
    assert warning.startswith("axis 'level_db': 0.3 and 0.30000000000000004 are nearly equal and two cells each")
    grids = "".join(f"  - axes: {{signal.level_db: [{x!r}]}}\n" for x in (0.3, 0.1 + 0.2))
    assert len(expand(load_study(f"{HEAD}grids:\n{grids}")).warnings) == 1
    many = ", ".join(repr(1.0 + i * 1e-15) for i in range(50))
    assert len(expand(load_study(f"{HEAD}axes: {{signal.level_db: [{many}]}}\n")).warnings) == 4
    assert expand(load_study(f"{HEAD}axes: {{signal.level_db: '0:1:0.1'}}\n")).warnings == ()

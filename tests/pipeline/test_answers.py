"""What an experiment answers is stored as it was meant, or its cell fails alone (rules W3, W6)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poison import ANSWERS, VARIABLES, good
from toy import ToyVariable

from pipeline import worker as worker_module
from pipeline.accepted import BrokenOutputError, accepted, storable
from pipeline.experiment import STATUS_NAMES
from pipeline.ledger import read_segment
from pipeline.plan import make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

ENDS_THE_PROCESS = {"ends-process", "segfault", "killed", "memory", "waits"}
STORED = {"good", "infeasible", "without-spare", "short-spare", "whole-as-real", "surrogate-message"}
SENTENCES = {
    "print": "is a builtin_function_or_method, not a mapping",
    "none": "is a NoneType, not a mapping",
    "no-status": "the status is None",
    "status-missing": "the status is 'missing'; accepted: ok, inaccurate, infeasible, failed",
    "status-list": "the status is []",
    "huge-whole": "'whole' is declared as int64, found int of dtype object: 18446744073709551616",
    "unsigned-whole": "'whole' is declared as int64, which does not hold",
    "wide-short": "'short' is declared as int32, which does not hold 2147483648",
    "fraction-in-whole": "'whole' is declared as int64, found real numbers: 2.7",
    "whole-beyond-real": "'real' is declared as float64, which does not hold 9007199254740993",
    "text-in-real": "'real' is declared as float64, found str",
    "complex-in-real": "'real' is declared as float64, found complex numbers",
    "masked": "'real' holds a masked value",
    "masked-entry": "'pair' holds a masked value",
    "masked-in-list": "'pair' holds a masked value",
    "none-in-real": "'real' is declared as float64, found NoneType",
    "beyond-narrow": "'narrow' is declared as float32, which does not hold 1e+300",
    "date-in-whole": "'whole' is declared as int64, found datetime64",
    "real-in-text": "'note' is declared as text, found a float",
    "bytes-in-text": "'note' is declared as text, found a bytes",
    "surrogate-in-text": r"'note' is no Unicode text: '\ud800'",
    "missing-real": "'real' is missing",
    "short-pair": "'pair' has length 1 along 'side', which has 2 labels",
    "long-pair": "'pair' has length 3 along 'side', which has 2 labels",
    "ragged": "'path' is no array",
    "scalar-path": "'path' has shape (), declared are the dimensions ('step',)",
    "unequal-steps": "'weight' has length 2 along 'step', 'path' has 3",
    "unreadable-value": "cannot be read: ZeroDivisionError: no array",
    "unreadable-message": "cannot be read: ZeroDivisionError: no text",
    "raises": "RuntimeError: no",
    "raises-surrogate": r"RuntimeError: \ud800",
    "raises-unspeakable": "Unspeakable, whose text cannot be made",
    "raises-base": "BaseException: base",
    "raises-keyboard": "KeyboardInterrupt",
    "exits": "SystemExit: 3",
    "long-text": "letters more)",
}


def swept(folder: Path, kinds: list[str], more: str = "") -> dict[str, tuple[str, str, Any]]:
    """Status, message and the value ``whole`` of each cell of one line, by its kind."""
    study = load_study(f"study: poison\nexperiment: poison\naxes: {{kind: {json.dumps(kinds)}}}\n{more}")
    store = LocalStore(folder)
    plan = make_plan(study, store)
    with ThreadPoolExecutor(1) as pool:
        Sweep(plan, store, pool, lambda: 1).run()
    after = make_plan(study, store)
    assert len(after.todo) == 0
    found = {}
    for i, kind in enumerate(kinds):
        segment = read_segment(store, after.ledger.segments[after.choice.segment[i]].name)
        row = after.choice.row[i]
        values = {name: array[row] for name, array in segment.arrays.items()}
        found[kind] = (STATUS_NAMES[int(values["status"])], str(values["message"]), values)
    return found


def test_w6_every_kind_of_answer_is_tried() -> None:
    assert set(ANSWERS) == STORED | set(SENTENCES) | ENDS_THE_PROCESS


def test_w3_bad_cells_of_one_line_fail_alone_with_their_sentences(tmp_path: Path) -> None:
    kinds = [kind for kind in ANSWERS if kind not in ENDS_THE_PROCESS]
    found = swept(tmp_path, kinds)
    for kind in STORED:
        assert found[kind][0] == ("infeasible" if kind == "infeasible" else "ok"), found[kind]
    for kind, sentence in SENTENCES.items():
        assert found[kind][0] == "failed", kind
        assert sentence in found[kind][1], kind
    assert len(found["long-text"][1]) < 3_000
    assert "raise error" in str(found["raises-base"][2]["traceback"])
    assert found["surrogate-message"][1] == r"half \udcff"
    assert found["whole-as-real"][2]["whole"] == 7


@pytest.mark.parametrize("bad", ["huge-whole", "long-pair", "raises-surrogate", "raises-base", "print"])
def test_w3_one_bad_cell_between_two_good_ones_takes_neither_with_it(tmp_path: Path, bad: str) -> None:
    study = "study: poison\nexperiment: poison\naxes:\n"
    study += f"  kind: [{bad}, good, without-spare]\n"
    store = LocalStore(tmp_path)
    plan = make_plan(load_study(study), store)
    with ThreadPoolExecutor(1) as pool:
        Sweep(plan, store, pool, lambda: 1).run()
    assert make_plan(load_study(study), store).by_status() == {"ok": 2, "failed": 1}
    assert len(store.list("ledger/segments/")) == 1, "the segment of the task is not split for one cell"


def test_w6_what_a_study_keeps_decides_no_status(tmp_path: Path) -> None:
    found = swept(tmp_path, ["good", "missing-real", "fraction-in-whole"], "keep: [note]\n")
    assert [status for status, _, _ in found.values()] == ["ok", "failed", "failed"]


def test_w6_a_name_that_was_nearly_hit_is_told(tmp_path: Path) -> None:
    answer = good(reel=1.0)
    del answer["real"]
    with pytest.raises(BrokenOutputError, match=r"'real' is missing \(did you mean 'reel'\?\)"):
        accepted(answer, VARIABLES)


def test_w6_a_dtype_without_a_missing_value_is_no_declaration() -> None:
    with pytest.raises(BrokenOutputError, match="'flag' is declared as uint8; accepted are floats"):
        accepted(good(flag=1), (*VARIABLES, ToyVariable("flag", "uint8")))


def test_w3_a_cell_that_only_the_encoder_refuses_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = worker_module.encode_segment

    def refusing(records: Any, variables: Any, attributes: Any) -> bytes:
        if any("whole" in r.values and r.values["whole"] == 7 for r in records):
            raise OverflowError("seven")
        return encode(records, variables, attributes)

    monkeypatch.setattr(worker_module, "encode_segment", refusing)
    found = swept(tmp_path, ["good", "whole-as-real", "short-spare"])
    assert [status for status, _, _ in found.values()] == ["ok", "failed", "ok"]
    assert "cannot be stored: OverflowError: seven" in found["whole-as-real"][1]


def test_a_person_who_interrupts_a_cell_in_the_foreground_means_the_program(tmp_path: Path) -> None:
    from pipeline.recompute import recompute

    store = LocalStore(tmp_path)
    plan = make_plan(load_study("study: poison\nexperiment: poison\naxes: {kind: [raises-keyboard]}\n"), store)
    with pytest.raises(KeyboardInterrupt):
        recompute(plan, store, 0)


@given(st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.complex_numbers(), st.booleans(), st.text(max_size=3), st.none(),
    st.lists(st.floats(), max_size=3),
), st.sampled_from(["real", "whole", "short", "narrow", "gain", "note"]))  # fmt: skip
def test_w6_a_value_is_stored_as_it_was_meant_or_refused(value: Any, name: str) -> None:
    try:
        _, _, values = accepted(good(**{name: value}), VARIABLES)
    except BrokenOutputError:
        return
    stored = values[name].item()
    if name == "narrow" and isinstance(value, float):
        assert stored == np.float32(value) or (stored != stored and value != value)
    else:
        assert stored == value or (stored != stored and value != value), (stored, value)


@given(st.text(st.characters(), max_size=20))
def test_texts_that_are_unicode_stay_and_others_are_escaped(text: str) -> None:
    kept = storable(text)
    kept.encode("utf-8")
    if not any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        assert kept == text


def test_i2_whether_an_output_is_optional_changes_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.digest import code_digest

    texts = {
        "one": "class Variable:\n    name: str\n\nOUT = (Variable('a', unit='m'), Variable('b'))\n",
        "two": "class Variable:\n    name: str\n    optional: bool = False\n\n"
        "OUT = (Variable('a', unit='m', optional=True), Variable('b', optional=True))\n",
        "three": "class Variable:\n    name: str\n\nOUT = (Variable('a', unit='km'), Variable('b'))\n",
        "four": "class Variable:\n    name: str\n\nOUT = (Variable('a', unit='m'), other('b', optional=True))\n",
        "five": "class Variable:\n    name: str\n\nOUT = (Variable('a', unit='m'), other('b'))\n",
    }
    for name, text in texts.items():
        (tmp_path / f"digested_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    of = {name: next(iter(code_digest([f"digested_{name}"]).manifest.values())) for name in texts}
    assert of["one"] == of["two"]
    assert len({of["one"], of["three"], of["four"], of["five"]}) == 4

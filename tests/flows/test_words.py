"""The words of the field stand in data, not in the faces."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from flows.data_files import words_file
from flows.field_values import field_value
from flows.report.words import entry, label, read_words
from pipeline.errors import UsageError
from pipeline.experiment import load_experiment
from pipeline.values import leaf_fields, unit_of

ROOT = Path(__file__).resolve().parents[2]
SCIENCE = re.compile(r"s-procedure|robustness|phase-agnostic|zero-forcing|lemma|beam|covarian|rcrb|\bcrb\b|semidefinite", re.I)


def test_values_of_options_have_words() -> None:
    assert label("design", "orthogonal") == "Orthogonal design (P.2)"
    assert label("robustness", "s-procedure") == "A ball for each node, exactly"
    assert label("robustness", "unheard-of") == "unheard-of"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (5e6, "Hz", "5 MHz"), (np.float64(312_500.0), "Hz", "312.5 kHz"), (3.5e9, "Hz", "3.5 GHz"), (20, "Hz", "20 Hz"),
        (1e-10, "s", "100 ps"), (0.0, "s", "0 s"), (0.05, "rad", "0.05 rad"), (0.1 + 0.2, "m", "0.3 m"),
        (1.25e6, "1", "1250000"), (0.001, "", "0.001"), (2e-4, "W", "200 µW"), (1500.0, "m", "1500 m"),
            (0.0031, "m", "3.1 mm"), (1e7, "", "1e+07"), (1 / 3, "", "0.333333"),
        (-10.0, "dB", "-10 dB"), (12, "1", "12"), (np.nan, "Hz", "nan Hz"), (True, "1", "True"), ("N=1 M=24", "1", "N=1 M=24"),
    ],
)  # fmt: skip
def test_a_value_of_a_field_has_plain_digits_or_a_prefix(value: object, unit: str, text: str) -> None:
    assert field_value(value, unit) == text


def test_an_axis_that_a_study_names_itself_takes_the_unit_of_its_field() -> None:
    assert label("bandwidth", 5e6, "Hz") == "bandwidth 5 MHz"
    assert label("bandwidth_hz", 5e6) == "bandwidth 5 MHz"
    assert entry("bandwidth", 5e6, "Hz") == "5 MHz"
    assert entry("level", 12.5, "dB") == "12.5"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("paired: Designs", "paird: Designs", ("paired", "required")),
        ("sinr: SINR", "sinr: 3", ("line 5", "names.sinr", "3")),
        ("values:", "valves: {}\nvalues:", ("valves", "unknown key")),
    ],
)
def test_an_error_in_the_words_names_its_place(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    text = words_file().read_text(encoding="utf-8")
    assert text.count(old) == 1
    file = tmp_path / "words.yaml"
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        read_words(file)
    for word in (str(file), *words):
        assert word in str(raised.value)


def test_the_faces_know_no_science() -> None:
    # `disac design` is a command of the science itself; `disac doctor` solves a small program to try the solvers; two modules
    # draw networks of nodes with their beams (`pipeline.scenes`), whatever experiment they are of.
    drawn = {ROOT / "flows" / "report" / name for name in ("geometry.py", "polar.py")}
    own = {ROOT / "flows" / "commands" / "design.py", ROOT / "flows" / "doctor.py", *drawn}
    files = {*(ROOT / "flows").rglob("*.py"), *(ROOT / "flows").rglob("*.html")} - own
    found = {str(file): SCIENCE.findall(file.read_text(encoding="utf-8")) for file in files}
    assert {name: words for name, words in found.items() if words} == {}
    assert all(SCIENCE.findall(file.read_text(encoding="utf-8")) for file in own)


MOST_NAME_LETTERS = 45
"""Most letters of a field's name, which is the title of its axis on a page."""


def test_each_field_of_an_experiment_has_a_name_that_fits_along_an_axis() -> None:
    science = [e.name for e in entry_points(group="disac.experiments") if e.value.startswith("disac.")]
    models = {m for e in map(load_experiment, science) for m in (e.scenario_model, e.options_model)}
    fields = [(path, field) for model in models for path, field in leaf_fields(model)]
    assert len(fields) > 80
    for path, field in fields:
        name = (field.description or "").partition(";")[0]
        assert 0 < len(name) <= MOST_NAME_LETTERS, path
        unit = unit_of(path)
        assert unit == "1" or name.endswith(f", {unit}"), path

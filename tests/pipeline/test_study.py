"""Study files: errors that name their place, overrides, and the forms a study may take (rule G2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.grid import expand
from pipeline.study import Study, load_study

AXES = "study: s\nexperiment: toy\naxes:\n"


def study(text: str, file: Path, *overrides: str) -> Study:
    file.write_text(text)
    return load_study(file, overrides=overrides)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("keep: [eror_m]\n", "did you mean 'error_m'"),
        ("surfaces: {profiles: [error_m, eror_m]}\n", r"line 5, surfaces.profiles\[1\]: .*did you mean 'error_m'"),
        ("report: {also: [eror_m]}\n", "did you mean 'error_m'"),
        ("report: {panels: [size.cuont]}\n", "did you mean 'size.count'"),
        ("scenario: {signal: {levl_db: 1}}\n", "line 5, scenario.signal.levl_db: .*did you mean 'level_db'"),
        ("scenario: {sgnal: {}}\n", "did you mean 'signal'"),
        ("scenario: {size: {count: 2.0}}\n", r"scenario.size.count: found 2\.0; input should be a valid integer"),
        ("scenario: {size: {count: true}}\n", "input should be a valid integer"),
        ("scenario: {signal: {level_db: '3'}}\n", "input should be a valid number"),
        ("scenario: {signal: {shape: 3}}\n", "input should be a valid string"),
        ("scenario: {signal: {level_db: .inf}}\n", "line 5, scenario.signal.level_db: inf is not a value"),
        ("options: {method: fance}\n", "options.method"),
        ("titel: x\n", "did you mean 'title'"),
        ("t\u0456tle: x\n", r"unknown key 't\\u0456tle' \(did you mean 'title'"),
        ("cell_timeout_s: -1\n", "cell_timeout_s"),
        ("grids: []\n", "grids"),
        ("grids: [{axes: {size.count: [1]}}]\n", "either 'grids'"),
        ("size.count: [2]\n", "size.count"),
        ("  size.count: [2]\n", "line"),
        ("experiment: toy\n", "line 5"),
    ],
)
def test_g2_bad_input_names_place_value_and_what_is_accepted(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as error:
        expand(study(AXES + "  size.count: [1]\n" + text, tmp_path / "s.yaml"))
    assert "s.yaml" in str(error.value)


@pytest.mark.parametrize("text", ["", "3\n", "- a\n", "study: s\n", "study: 's s'\nexperiment: toy\naxes: {}\n", "a: b: c\n"])
def test_what_is_not_a_study_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"s\.yaml"):
        study(text, tmp_path / "s.yaml")


def test_a_file_that_cannot_be_read_and_an_experiment_that_is_not_there_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match=r"line 2, experiment: .*did you mean 'toy'"):
        study(AXES.replace("toy", "tuy") + "  size.count: [1]\n", tmp_path / "s.yaml")


def test_g2_lists_are_accepted_for_tuples_and_whole_numbers_for_floats(tmp_path: Path) -> None:
    text = AXES + "  size.count: [1]\nscenario: {size: {places_m: [[1, 2], [3, 4.5]]}, signal: {level_db: 3}}\n"
    scenario = study(text, tmp_path / "s.yaml").scenario
    assert scenario.size.places_m == ((1.0, 2.0), (3.0, 4.5))
    assert isinstance(scenario.signal.level_db, float)


def test_a_study_is_read_from_a_path_or_from_text(tmp_path: Path) -> None:
    text = AXES + "  size.count: [1]\n"
    file = tmp_path / "s.yaml"
    file.write_text(text)
    assert load_study(text).name == load_study(str(file)).name == load_study(file).name == "s"
    with pytest.raises(UsageError, match="study text, line 4"):
        expand(load_study(AXES + "  size.count: [0]\n"))


def test_overrides_change_base_axes_and_options(tmp_path: Path) -> None:
    text = AXES + "  size.count: [1, 2]\n"
    overrides = ("draw.seed=7", "scenario.signal.shape=round", "options.method=fancy", "axes.size.count=1:4:1", "keep=[note]")
    changed = study(text, tmp_path / "s.yaml", *overrides)
    assert changed.scenario.draw.seed == 7
    assert changed.scenario.signal.shape == "round"
    assert changed.options.method == "fancy"
    assert expand(changed).shape == (4,)
    assert changed.keep == ("note",)
    for bad, sentence in (
        ("drw.seed=1", "did you mean"),
        ("axes.cuont=1", "no such axis"),
        ("x", "key=value"),
        ("titel=x", "did you mean"),
        ("title=[", "--set title, line 1: not valid YAML"),
    ):
        with pytest.raises(UsageError, match=sentence):
            study(text, tmp_path / "s.yaml", bad)


@pytest.mark.parametrize("axes", ["[1]", "3", "{}", "null"])
def test_an_override_meets_a_study_of_the_wrong_shape(tmp_path: Path, axes: str) -> None:
    for text in (f"study: s\nexperiment: toy\naxes: {axes}\n", f"study: s\nexperiment: toy\ngrids: [{{axes: {axes}}}, 1]\n"):
        with pytest.raises(UsageError, match="no such axis"):
            study(text, tmp_path / "s.yaml", "axes.count=1")


def test_an_override_names_an_axis_by_its_dimension_or_the_labels_of_its_entries(tmp_path: Path) -> None:
    entries = "  s: {entries: [{label: a, set: {size.count: 1}}, {label: b, set: {size.count: 2}}]}\n"
    text = AXES + "  signal.level_db: [1, 2]\n" + entries
    cells = expand(study(text, tmp_path / "s.yaml", "axes.level_db=5", "axes.s=b"))
    assert [axis.labels for axis in cells.axes] == [(5.0,), ("b",)]
    with pytest.raises(UsageError, match="no entry 'c'; labels: a, b"):
        study(text, tmp_path / "s.yaml", "axes.s=c")
    with pytest.raises(UsageError, match="no such axis"):
        study(text, tmp_path / "s.yaml", "axes.db=5")


def test_an_override_that_changes_nothing_or_is_wrong_says_so(tmp_path: Path) -> None:
    text = AXES + "  size.count: [1, 2]\n"
    for override, sentence in (
        ("size.count=3", r"--set size.count: the axis 'count' sets it in every cell; use --set axes.count"),
        ("signal.levl_db=3", r"--set signal.levl_db: .*did you mean 'level_db'"),
        ("axes.size.count=[0]", r"--set axes.size.count: .*greater than or equal to 1"),
    ):
        with pytest.raises(UsageError, match=sentence):
            expand(study(text, tmp_path / "s.yaml", override))
    assert expand(study(text, tmp_path / "s.yaml", "axes.count=3")).shape == (1,)

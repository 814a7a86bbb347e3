"""Which axes a study's surfaces and report name: by dimension, by path, by default (rule C5)."""

from __future__ import annotations

import pytest
from toy_study import TOY_STUDY

from pipeline.errors import UsageError
from pipeline.grid import Cells, expand
from pipeline.named_axes import report_axes, surface_axes
from pipeline.study import load_study

NO_SURFACES = ("surfaces: {over: realisation, edge: level}\n", "")


def cells_of(*replacements: tuple[str, str]) -> Cells:
    text = TOY_STUDY
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    return expand(load_study(text))


@pytest.mark.parametrize(
    ("replacements", "over"),
    [
        ((), "realisation"),
        ((NO_SURFACES,), "realisation"),
        ((NO_SURFACES, ("      realisation: {path: draw", "      attempt: {path: draw")), "attempt"),
        ((NO_SURFACES, ("      realisation: {path: draw.realisation", "      seed: {path: draw.seed")), None),
        ((("over: realisation", "over: none"),), None),
        ((("over: realisation", "over: draw.realisation"),), "realisation"),
        ((("over: realisation", "over: size.count"),), "count"),
        ((("over: realisation, ", ""),), "realisation"),
    ],
    ids=["named", "by name", "by path", "there is none", "none", "a path", "another", "edge alone"],
)
def test_c5_realisations_are_averaged_unless_the_study_says_otherwise(
    replacements: tuple[tuple[str, str], ...], over: str | None
) -> None:
    report = ("colour: count, ", "") if over == "count" else ("report:", "report:")
    assert surface_axes(cells_of(*replacements, report)).over == over


def test_a_coupled_axis_is_averaged_only_if_it_is_called_realisation() -> None:
    axis = '      realisation: {path: draw.realisation, values: "0:2:1"}\n'
    first, second = (f"{{label: r{n}, set: {{draw.realisation: {n}, draw.seed: {n}}}}}" for n in (1, 2))
    coupled = f"{{entries: [{first}, {second}]}}"
    for name, over in (("drawn", None), ("realisation", "realisation")):
        assert surface_axes(cells_of(NO_SURFACES, (axis, f"      {name}: {coupled}\n"))).over == over


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("over: realisation", "over: realisaton", "no axis 'realisaton' (did you mean 'realisation'?); there are level, count"),
        ("edge: level", "edge: levle", "surfaces.edge: no axis 'levle' (did you mean 'level'?)"),
        ("edge: level", "paired: realisation", "surfaces.paired: the surfaces average over 'realisation'"),
        ("over: realisation, edge: level", "edge: realisation", "average over none by 'surfaces: {over: none}'"),
        ("x: level", "x: realisation", "report.x: the surfaces average over 'realisation'"),
        ("x: level", "x: levels", "report.x: no axis 'levels' (did you mean 'level'?)"),
        ("colour: count", "colour: cuont", "report.colour: no axis 'cuont' (did you mean 'count'?)"),
        ("colour: count", "panels: [realisation]", "report.panels[0]: the surfaces average over 'realisation'"),
        ("y: error_m", "y: eror_m", "report.y: no variable 'eror_m' (did you mean 'error_m'?)"),
        ('signal.level_db, values: "0:40:10"', "signal.shape, values: [a, b]", "the axis 'level' is not numeric"),
        ("level: {path", "state: {path", "surfaces use the name 'state' themselves: give the axis another name"),
    ],
)  # fmt: skip
def test_an_axis_that_cannot_be_used_is_told_before_anything_runs(old: str, new: str, words: str) -> None:
    cells = cells_of((old, new))
    with pytest.raises(UsageError) as error:
        report_axes(cells, surface_axes(cells).over)
    assert words in str(error.value)
    assert "line" in str(error.value)


def test_a_report_may_name_axes_by_path_and_bins_of_a_variable() -> None:
    cells = cells_of(("colour: count", "colour: size.count, style: tap, panels: [size.count]"))
    report = report_axes(cells, surface_axes(cells).over)
    assert (report["colour"], report["style"], report["panels"]) == ("count", "tap", ["count"])


def test_a_curve_may_run_over_a_variable_and_a_front_has_two() -> None:
    study = load_study(TOY_STUDY, overrides=["report.x=steps", "report.front=[error_m, steps]"])
    found = report_axes(expand(study), "realisation")
    assert (found["x"], found["front"]) == ("steps", ["error_m", "steps"])
    for wrong, words in (("[error_m]", "a front has two variables"), ("[error_m, step]", "did you mean 'steps'")):
        with pytest.raises(UsageError, match=words):
            load_study(TOY_STUDY, overrides=[f"report.front={wrong}"])


def test_a_report_shows_the_first_variable_that_is_one_real_number() -> None:
    for keep, y in (("", "error_m"), ("keep: [steps, note, solve_seconds]\n", None)):
        cells = cells_of(("y: error_m, ", ""), ("surfaces:", f"{keep}surfaces:"))
        assert report_axes(cells, "realisation")["y"] == y


def test_c5_the_averaged_axis_can_be_set_on_the_command_line() -> None:
    assert surface_axes(expand(load_study(TOY_STUDY, overrides=["surfaces.over=none", "surfaces.edge=level"]))).over is None
    assert surface_axes(expand(load_study(TOY_STUDY, overrides=["surfaces.over=count"]))).over == "count"
    assert load_study(TOY_STUDY, overrides=["report.y=steps"]).report["y"] == "steps"
    with pytest.raises(UsageError, match=r"--set surfaces\.ovr: unknown key 'ovr' \(did you mean 'over'\?\)"):
        load_study(TOY_STUDY, overrides=["surfaces.ovr=none"])

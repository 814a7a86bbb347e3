"""The averaged axis of a study from preview to report: one answer everywhere."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_report import own_part

from flows.derive import load_published
from flows.run import Run
from pipeline.layout import surface_folder
from pipeline.statistics import statistic
from pipeline.store import LocalStore
from pipeline.sweep import Sweep

Write = Callable[..., Path]
SPEC = "surfaces: {over: realisation, edge: level}\n"


def published(file: Path, store: Path, *, preview: bool = False) -> Run:
    run = Run(str(file), str(store), preview=preview)
    with ThreadPoolExecutor(2) as pool:
        Sweep(run.plan, run.store, pool, lambda: 2).run()
    run.publish()
    run.aggregate()
    run.report()
    return run


def test_without_a_word_surfaces_preview_and_report_average_over_the_realisations(study_file: Write, tmp_path: Path) -> None:
    run = published(study_file((SPEC, "")), tmp_path / "results", preview=True)
    assert len(run.plan.keys[run.plan.within]) == 3 * 2, "ends and middle of the levels, both counts, one realisation"
    surfaces = load_published(run.store, surface_folder(run.study.name))
    assert (surfaces.attrs["over"], statistic(surfaces, "error_m", "mean_feasible").dims) == ("realisation", ("level", "count"))
    page = own_part(run.report_file.read_text(encoding="utf-8"))
    assert "Mean over the realisations that are feasible" in page


def test_realisations_are_kept_apart_by_none(study_file: Write, tmp_path: Path) -> None:
    run = published(study_file((SPEC, "surfaces: {over: none}\n")), tmp_path / "results")
    surfaces = load_published(run.store, surface_folder(run.study.name))
    assert statistic(surfaces, "error_m", "mean_feasible").dims == ("level", "count", "realisation")
    assert "One value per cell" in own_part(run.report_file.read_text(encoding="utf-8"))


def test_the_key_of_surfaces_follows_the_axis_and_not_its_spelling(study_file: Write, tmp_path: Path) -> None:
    def key(surfaces: str) -> str:
        return Run(str(study_file((SPEC, f"surfaces: {{{surfaces}}}\n"))), str(tmp_path / "results")).surface_key

    same = {key(text) for text in ("over: realisation", "over: draw.realisation", "")}
    assert len(same) == 1
    assert {key("over: none"), key("edge: level")}.isdisjoint(same)


@pytest.mark.parametrize(
    "axes", ["      level: {path: signal.level_db, values: [10]}\n", ""], ids=["one point", "no other axis"]
)
def test_a_study_of_realisations_alone_has_a_report(study_file: Write, tmp_path: Path, axes: str) -> None:
    old = '      level: {path: signal.level_db, values: "0:40:10"}\n      size.count: [1, 2]\n'
    plain = ("report: {x: level, y: error_m, colour: count, log_y: true}\n", "report: {y: error_m}\n")
    run = published(study_file((SPEC, ""), (old, axes), plain), tmp_path / "results")
    page = own_part(run.report_file.read_text(encoding="utf-8"))
    assert page.count('class="plot"') == 2
    assert "All 3 planned cells are computed." in page


def test_a_report_reads_what_it_shows_and_no_more(
    study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    run = published(study_file(), tmp_path / "results")
    read: list[str] = []
    get = LocalStore.get
    monkeypatch.setattr(LocalStore, "get", lambda store, name, *rest: (read.append(name), get(store, name, *rest))[1])
    run.report()
    arrays = {f"{parts[0]} {parts[4]}" for parts in (name.split("/") for name in read) if len(parts) > 5}
    assert {"cubes status", "surfaces error_m", "surfaces level_feasible_edge", "surfaces level"} <= arrays
    assert arrays.isdisjoint({"cubes error_m", "cubes solve_seconds", "surfaces solve_seconds", "surfaces feasible"})

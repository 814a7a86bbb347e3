"""The command ``refine``: its outcome, its exit codes, what it refuses, and the example of its page."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import pytest
import toy
import xarray as xr
from rich.console import Console
from without_prefect import WithoutPrefect, command

from flows import standalone
from flows.cli import main
from flows.refining import Wish, asked_for, refined, tolerance_of
from flows.report.filled import filled_section
from flows.rounds import SweepRound
from flows.run import Run
from pipeline.budget import Budget
from pipeline.errors import SurroundingsError, UsageError
from pipeline.layout import cube_folder
from pipeline.lock import StudyLockedError
from pipeline.plan import Plan, make_plan
from pipeline.refining import Tolerance, open_refined
from pipeline.results import open_store
from pipeline.store import LocalStore, Store
from pipeline.study import load_study
from pipeline.sweep import Sweep

Write = Callable[..., Path]
PAGE = Path(__file__).parents[2] / "docs" / "refine.md"


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rounds run on threads, and the publication without Prefect."""

    @contextmanager
    def sweeps(store: Store, *_: Any) -> Iterator[SweepRound]:
        with ThreadPoolExecutor(1) as pool:
            yield lambda plan, budget: Sweep(plan, store, pool, lambda: 1, budget=budget).run().core_seconds

    WithoutPrefect(monkeypatch)
    for module in ("rounds", "standalone"):
        monkeypatch.setattr(f"flows.{module}.sweeps", sweeps)
    for name in ("end_on_signals", "end_children"):
        monkeypatch.setattr(f"flows.lifecycle.{name}", lambda *_: None)


def refine(file: Path, store: Path, *options: str) -> tuple[int, str]:
    return command("refine", file, store, "--on", "error_m", "--step", "1/32", "--axes", "level", *options)


@pytest.mark.usefixtures("threads")
def test_it_publishes_a_study_of_its_own_and_has_nothing_to_do_again(study_file: Write, tmp_path: Path) -> None:
    file, store = study_file(), tmp_path / "results"
    code, said = refine(file, store, "--tolerance", "20%")
    assert code == 0, said
    assert "error_m within 20 % from" in said
    assert "fresh check points agree, so with 95 % confidence at least" in said
    assert "The coarsest dense grid of equal accuracy: level 33, 198 cells." in said
    assert open_store(store).disac.studies() == ["toy-study-refined"]
    cube = open_store(store)["toy-study-refined/cube"].to_dataset()
    assert int((cube["status"] != 1).sum()) == cube.attrs["planned"] == cube.attrs["present"] < 198
    toy.COUNTED.clear()
    code, again = refine(file, store, "--tolerance", "20%", "--json")
    summary = json.loads(again[again.index("{") :])
    assert (code, summary["end"], summary["cells"]) == (0, "agreed", cube.attrs["planned"])
    assert summary["dense"] == {"labels": [33], "cells": 198}
    assert Path(summary["report"]).is_file()
    assert toy.COUNTED == []
    assert command("status", store / summary["study_file"], store)[0] == 0


@pytest.mark.usefixtures("threads")
def test_the_page_draws_the_filled_lattice_with_a_dot_on_each_computed_place(study_file: Write, tmp_path: Path) -> None:
    file, store = study_file(("[1, 2]", "[1, 17]"), ("0:40:10", "14:40:26")), tmp_path / "results"
    words = ("--on", "error_m", "--step", "level=1/16", "--tolerance", "20%", "--axes", "level,count", "--json")
    code, said = command("refine", file, store, *words)
    assert code == 0, said
    summary = json.loads(said[said.index("{") :])
    page = Path(summary["report"]).read_text(encoding="utf-8")
    assert page.count("<h3>Error, filled by interpolation</h3>") == 1, re.findall("<h3>.*?</h3>", page)
    assert f"{summary['cells']:,} of {17 * 17 * 3:,} cells are computed" in page
    filled = open_refined(LocalStore(store), "toy-study").load()
    section = filled_section(filled, log=True, panels=1)
    assert section is not None
    (dots,) = section.panels[0].plot.traverse(specs=[hv.Points])
    drawn = set(zip(dots["x"].tolist(), dots["y"].tolist(), strict=True))
    computed = filled["computed"].max("realisation").transpose("level", "count")
    places = np.argwhere(computed.values == 1)
    assert len(places) < 17 * 17
    at = [(np.float32(filled["level"].values[i]).item(), float(filled["count"].values[j])) for i, j in places]
    assert drawn == set(at)
    # Another filled lattice of the same cells makes the page stale.
    assert Run(store / summary["study_file"], str(store)).stale() == []
    (store / "refined" / "toy-study-refined" / "latest").unlink()
    assert Run(store / summary["study_file"], str(store)).stale() == ["report"]


@pytest.mark.usefixtures("threads")
def test_a_budget_ends_with_3_and_a_larger_one_goes_on(study_file: Write, tmp_path: Path) -> None:
    file, store = study_file(), tmp_path / "results"
    code, said = refine(file, store, "--budget", "100")
    assert code == 3
    assert "boxes still want cells. Give a larger --budget." in said
    assert refine(file, store, "--budget", "198")[0] == 0


@pytest.mark.usefixtures("threads")
def test_failed_cells_end_with_1(study_file: Write, tmp_path: Path) -> None:
    code, said = refine(study_file(("0:40:10", "0:26:26"), ("[1, 2]", "[1]")), tmp_path / "results")  # the toy raises at 13
    assert code == 1
    assert "3 cells failed; see `disac status refined/toy-study-refined/study.yaml`." in said


@pytest.mark.usefixtures("threads")
def test_a_tolerance_below_the_noise_is_refused_with_the_realisations_it_takes(
    study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(("[1, 2]", "[20, 40]"))
    arguments = ["disac", "refine", str(file), "--on", "error_m", "--axes", "count", "--store", str(tmp_path / "results")]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr("os._exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert re.search(r"--tolerance 2 %: the noise of error_m is [\d.]+ %, and a tolerance is at least three times that", said)
    assert re.search(r"it takes \d+ values of 'realisation' in place of 3, such as --set axes.realisation=\.\.\.", said)


@pytest.mark.usefixtures("threads")
def test_the_flow_publishes_what_the_command_publishes(study_file: Write, tmp_path: Path) -> None:
    file, one, other = study_file(), tmp_path / "results", tmp_path / "other"
    assert refine(file, one, "--tolerance", "20%")[0] == 0
    wish = Wish(str(file), "error_m", "20%", ["level"], ["1/32"])
    with (
        standalone.refining(wish, str(other), None, None, None, None) as work,
        pytest.raises(StudyLockedError, match="'toy-study-refined' is being run by"),
        standalone.refining(wish, str(other), None, None, None, None),
    ):
        pass
    with standalone.refining(wish, str(other), None, None, None, None) as work:
        derived = Path(work.do("refine"))
        work.do("report")
    assert work.name == "toy-study-refined"
    assert "error_m within 20 % from" in work.words()
    assert Run(derived, str(other)).stale() == []
    for first, second in (
        [open_refined(LocalStore(store), "toy-study") for store in (one, other)],
        [open_store(store)["toy-study-refined/cube"].to_dataset() for store in (one, other)],
    ):
        xr.testing.assert_equal(first, second)


@pytest.mark.usefixtures("threads")
def test_a_budget_of_worker_time_is_that_of_all_rounds(study_file: Write, tmp_path: Path) -> None:
    file, store, given = study_file(), tmp_path / "results", []

    def sweep(plan: Plan, budget: Budget) -> float:
        given.append(budget.core_seconds)
        with ThreadPoolExecutor(1) as pool:
            Sweep(plan, LocalStore(store), pool, lambda: 1).run()
        return 2.5

    asked = asked_for(Wish(str(file), "error_m", "20%", ["level"], ["1/32"]))
    refined(asked, LocalStore(store), sweep, Budget(core_seconds=100.0), Console(quiet=True))
    assert len(given) > 2
    assert given == [100.0 - 2.5 * number for number in range(len(given))]


@pytest.mark.usefixtures("threads")
def test_limits_that_leave_no_time_for_a_cell_are_said(study_file: Write, tmp_path: Path) -> None:
    with pytest.raises(SurroundingsError, match="no cell was computed within the limits: give more worker time"):
        refine(study_file(), tmp_path / "results", "--max-core-hours", "0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--on", "eror_m"], "did you mean 'error_m'"),
        (["--on", "error_m", "--axes", "levl"], "did you mean 'level'"),
        (["--on", "error_m", "--step", "levle=1/4"], "did you mean 'level'"),
        (["--on", "error_m", "--step", "1/4", "--step", "1/8"], "given twice"),
        (["--on", "error_m", "--step", "level=0.3"], "does not divide the axis 'level'"),
        (["--on", "error_m", "--step", "half"], "'half' is no step"),
        (["--on", "error_m", "--step", "=1/4"], "expected 1/64, NAME=1/64"),
        (["--on", "error_m", "--tolerance", "-2%"], "expected a share such as 2%"),
        (["--on", "error_m", "--tolerance", "2 dB"], "error_m is in m, not in 'dB'"),
    ],
)
def test_what_cannot_be_used_is_said(study_file: Write, tmp_path: Path, options: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        command("refine", study_file(), tmp_path / "results", *options)


def test_tolerances_as_texts() -> None:
    metric = toy.experiment.variables[0]
    assert tolerance_of("2%", metric) == Tolerance(0.02)
    assert tolerance_of(" 1e-1 % ", metric) == Tolerance(0.001)
    assert tolerance_of("0.5", metric) == Tolerance(0.5, relative=False)
    assert tolerance_of("0.5 m", metric) == Tolerance(0.5, relative=False)
    for text in ("", "%", "0", "nan", "1.2.3", "two"):
        with pytest.raises(UsageError, match="--tolerance"):
            tolerance_of(text, metric)


@pytest.mark.usefixtures("threads")
def test_the_example_of_the_page_says_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    study, python = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("yaml", "python"))
    told = re.search(r"```\n(.*?)```", page[page.index("prints the rounds") :], re.DOTALL)
    words = re.search(r"^    disac refine (\S+) (.*)$", page[page.index("## An example") :], re.MULTILINE)
    assert study
    assert python
    assert told
    assert words
    monkeypatch.setattr("flows.execute.execute", lambda *_: None)  # tested above
    monkeypatch.chdir(tmp_path)
    Path(words[1]).write_text(study[1], encoding="utf-8")
    code, said = command("refine", Path(words[1]), Path("results"), *words[2].split())
    assert code == 0, said
    for line in told[1].splitlines():
        assert line in said, said
    exec(compile(python[1], "docs/refine.md", "exec"), {})
    assert re.search(r"\d+% computed, feasible up to [\d.]+ dB", capsys.readouterr().out)


@pytest.mark.slow
def test_killed_in_the_middle_of_a_round_it_goes_on_and_computes_no_cell_twice(
    study_file: Write, tmp_path: Path, disac: Callable[..., subprocess.Popen[str]], prefect: dict[str, str]
) -> None:
    file = study_file(("experiment: toy", "experiment: toy\noptions: {act: sleep}"))
    arguments = ["refine", str(file), "--on", "error_m", "--axes", "level", "--workers", "2"]
    first = disac(*arguments, environment=prefect)
    segments = tmp_path / "results" / "ledger" / "segments"
    deadline = time.monotonic() + 90
    while len(list(segments.glob("*.zip"))) < 3:
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    second = disac(*arguments, environment=prefect)
    out, err = second.communicate(timeout=200)
    assert second.returncode == 0, err
    assert out.count("Starting Dask") == 1  # all rounds share a cluster
    store = LocalStore(tmp_path / "results")
    derived = make_plan(load_study(tmp_path / "results/refined/toy-study-refined/study.yaml"), store)
    assert len(derived.todo) == 0
    # What the killed workers were computing when they ended is lost; everything that was stored is stored once.
    assert derived.ledger.duplicates(derived.keys) == []
    assert len(derived.ledger.keys) == len(derived.keys)
    filled = open_refined(store, "toy-study")
    cube = xr.open_zarr(tmp_path / "results" / cube_folder("toy-study-refined") / "latest")
    assert int((filled["computed"] == 1).sum()) == int((cube["status"] != 1).sum()) == len(derived.keys)

"""What the command line does, from Python: ``flows.api``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from test_look import compute

from flows import api, run_process
from flows.run import Run
from pipeline.errors import SurroundingsError, UsageError

Write = Callable[..., Path]


@pytest.fixture
def done(study_file: Write, tmp_path: Path) -> tuple[Path, Path]:
    """A study that is computed and published; 13 dB fails."""
    file, store = study_file(('"0:40:10"', "[0, 13, 30]")), tmp_path / "results"
    compute(str(file), str(store))
    return file, store


def test_a_study_is_planned_reported_exported_and_verified(done: tuple[Path, Path], tmp_path: Path) -> None:
    file, store = done
    assert api.plan(file, store=store)["compute"] == 0
    assert api.plan(file, store=store, set={"axes.level": "0:30:10", "signal.shape": "ü"})["planned"] == 4 * 2 * 3
    page = api.report(file, store=store)
    assert page == Run(file, str(store)).report_file
    assert page.is_file()
    table, *_, figure = api.export(file, tmp_path / "cells.csv", tmp_path / "curves.svg", store=store)
    assert len(table.read_text().splitlines()) == 1 + 3 * 2 * 3
    assert figure.read_text().startswith("<?xml")
    assert [check.wrong for check in api.verify(file, store=store)] == [()] * 6
    assert api.diff(file, "latest", store=store).equal
    assert len(api.claims(file, store=store)) == 0
    assert api.studies().loc["quick", "cells"] == 12 * 2 * 4 * 4


def test_a_sentence_of_the_command_is_the_error(done: tuple[Path, Path], tmp_path: Path) -> None:
    file, store = done
    with pytest.raises(UsageError, match="no cell of 'toy-study' is in"):
        api.report(file, store=tmp_path / "other")
    with pytest.raises(UsageError, match="not published in"):
        api.export(file, tmp_path / "x.csv", store=tmp_path / "other")
    with pytest.raises(UsageError, match="expected column or page"):
        api.export(file, tmp_path / "x.svg", store=store, width="wide")
    with pytest.raises(UsageError, match=r"--set axes.levle: no such axis"):
        api.run(file, store=store, set={"axes.levle": [1]}, quiet=True)


def test_a_run_of_what_is_there_opens_it(done: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    file, store = done
    api.report(file, store=store)
    tree = api.run(file, store=store)
    assert "Nothing to do" in capfd.readouterr().err
    assert tree["toy-study/cube"].disac.status().to_dict() == {"ok": 6, "infeasible": 6, "failed": 6}
    assert tree.disac.studies() == ["toy-study"]


def test_the_end_of_a_process_is_told() -> None:
    told = run_process._error
    assert isinstance(told(2, "x\ndisac: the sentence\n"), UsageError)
    assert isinstance(told(3, "disac: no disk\n"), SurroundingsError)
    assert "signal 9" in str(told(-9, ""))
    assert "signal 15" in str(told(143, ""))
    assert "Traceback" in str(told(1, "Traceback ..."))


@pytest.mark.slow
def test_a_run_computes_and_ends_with_its_caller(
    study_file: Write, tmp_path: Path, prefect: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)
    store = tmp_path / "results"
    tree = api.run(study_file(), store=store, workers=1, quiet=True, set={"axes.level": [0, 13]})
    assert tree["toy-study/cube"].disac.status().to_dict() == {"ok": 6, "failed": 6}
    assert api.retry(study_file(), "level=13", store=store, workers=1, set={"axes.level": [0, 13]})
    slow = study_file(("experiment: toy", "experiment: toy\noptions: {act: hang}"))
    code = f"from flows import api; api.run({str(slow)!r}, store={str(store)!r}, workers=1)"
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len(started := psutil.Process(caller.pid).children(recursive=True)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    caller.kill()
    caller.wait()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

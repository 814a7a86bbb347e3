"""What a command was asked for decides its exit code: a preview asks for its slice, a report for what is there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from without_prefect import WithoutPrefect, command

from flows.cli import main

Write = Callable[..., Path]


def test_a_preview_that_computed_its_slice_is_done_and_so_is_its_report(
    study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WithoutPrefect(monkeypatch)
    file, store = study_file(), tmp_path / "results"
    for name, options in (("run", ["--preview"]), ("run", ["--preview"]), ("report", [])):
        code, said = command(name, file, store, *options)
        assert (name, code) == (name, 0), said
        assert "6 of 30 cells present: ok 4, infeasible 2; 24 missing" in said
    assert command("status", file, store)[0] == 3
    code, said = command("run", file, store)
    assert code == 0
    assert "missing" not in said


def test_a_run_and_a_preview_that_were_cut_are_not_done(
    study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WithoutPrefect(monkeypatch, most=4)
    file, store = study_file(), tmp_path / "results"
    code, said = command("run", file, store, "--preview")
    assert code == 3
    assert "4 of 30 cells present" in said
    assert command("run", file, store, "--preview")[0] == 0
    assert command("run", file, store)[0] == 3


def test_failed_cells_of_a_preview_and_of_a_report_count(
    study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WithoutPrefect(monkeypatch)
    file, store = study_file(("0:40:10", "13:43:10")), tmp_path / "results"
    assert command("run", file, store, "--preview")[0] == 1
    assert command("report", file, store)[0] == 1


@pytest.mark.parametrize(("signals", "code"), [([15], 143), ([2], 130), ([1], 129), ([], 130)])
def test_who_is_told_of_the_end_hears_the_exit_code_of_the_process(
    study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: list[int], code: int
) -> None:
    def ended(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.execute.execute", ended)
    monkeypatch.setattr("flows.lifecycle._ended_by", signals)
    told = tmp_path / "told.json"
    arguments = ["disac", "run", str(study_file()), "--store", str(tmp_path / "results"), "--on-end", f"cat > {told}"]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr("os._exit", sys.exit)
    monkeypatch.setattr("flows.cli.prepare_environment", lambda: None)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == json.loads(told.read_text())["exit_code"] == code

"""An error of the program inside an experiment is told as one: kind, place, traceback; apart from what a method reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from without_prefect import WithoutPrefect, command

from flows.run import Run

Write = Callable[..., Path]
SHORT = ('"0:40:10"', "[0, 20]")


def _broken(self: toy.Toy, scenario: Any, options: Any) -> dict[str, Any]:
    if scenario.signal.level_db == 0.0:
        return {"status": "failed", "message": "The iteration broke down."}
    return {"status": "ok", "message": "", "error_m": float(np.ones(2) @ np.ones(3))}


def test_w3_a_value_error_inside_an_experiment_is_a_program_error_with_its_traceback(
    study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy.Toy, "_cell", _broken)
    WithoutPrefect(monkeypatch)
    file, store = study_file(SHORT), tmp_path / "results"
    assert command("run", file, store)[0] == 1
    assert "Raised an exception: ValueError: matmul" in command("status", file, store)[1]
    for name in ("why", "cell"):
        told = json.loads(command(name, file, store, "level=20", "count=1", "realisation=0", "--json")[1])
        assert told["status"] == "failed"
        assert told["message"].startswith("Raised an exception: ValueError: matmul")
        assert "(test_program_errors.py, line " in told["message"]
        assert told["message"].endswith("in _broken)")
        assert told["traceback"].startswith("Traceback")
        assert "np.ones(2) @ np.ones(3)" in told["traceback"]
        reported = json.loads(command(name, file, store, "level=0", "count=1", "realisation=0", "--json")[1])
        assert (reported["message"], reported["traceback"]) == ("The iteration broke down.", "")
    page = Run(file, str(store)).report_file.read_text(encoding="utf-8")
    assert "6 of 12 raised an exception: an error of the program, not a finding of the method." in page

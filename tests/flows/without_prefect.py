"""The command in this process: runs are carried out without Prefect and Dask."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.run import Run
from pipeline.sweep import Sweep


class WithoutPrefect:
    """Carries a run out as the command does with Prefect; ``most`` cells of it, as a run that is cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int | None = None) -> None:
        self.times, self._most = 0, most
        monkeypatch.setattr("flows.execute.execute", self)

    def __call__(self, run: Run, *_: Any) -> None:
        self.times += 1
        todo = run.plan.todo[: self._most]
        if len(todo):
            plan = replace(run.plan, within=np.isin(np.arange(len(run.plan.keys)), todo))
            with ThreadPoolExecutor(1) as pool:
                Sweep(plan, run.store, pool, lambda: 1).run()
        run.publish()
        run.aggregate()
        run.report()
        run.refresh()


def command(name: str, file: Path, store: Path, *options: str) -> tuple[int, str]:
    """Exit code and output of a command on a study."""
    arguments = [name, str(file), "--store", str(store), *options]
    answer = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"}, catch_exceptions=False)
    return answer.exit_code, answer.output

"""The process beside a run that makes surfaces and report: what it makes, what it says, and that it ends with the run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flows.beside import Beside
from flows.run import Run
from pipeline.errors import SurroundingsError
from pipeline.sweep import Sweep


@pytest.fixture
def published(study_file: Callable[..., Path], tmp_path: Path) -> Run:
    run = Run(study_file(), str(tmp_path / "results"))
    with ThreadPoolExecutor(2) as pool:
        Sweep(run.plan, run.store, pool, lambda: 2).run()
    run.refresh()
    run.publish()
    return run


def test_it_makes_what_the_run_would_and_says_what_went_wrong(published: Run) -> None:
    with Beside() as beside:
        assert beside.make("aggregate", published.derivation) == published.surface_key
        assert beside.make("report", published.derivation) == published.derivation.report_version
        assert published.stale() == []
        nowhere = replace(published.derivation, study="another", surface_key="0" * 32)
        with pytest.raises(RuntimeError, match=r"Traceback(.|\n)*nothing is published under cubes/another/"):
            beside.make("aggregate", nowhere)
        version = published.store.path(f"cubes/toy-study/versions/{published.plan.cube_key}/status/zarr.json")
        assert version is not None
        version.write_text("{}")
        with pytest.raises(SurroundingsError, match="in the store is damaged"):
            beside.make("report", published.derivation)
        beside._process.kill()
        with pytest.raises(SurroundingsError, match="`disac report` makes both"):
            beside.make("report", published.derivation)


def test_it_ends_with_its_run_whatever_ends_that() -> None:
    code = "import os; from flows.beside import Beside; print(Beside()._process.pid, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    try:
        child = psutil.Process(int(done.stdout))
    except psutil.NoSuchProcess:
        return
    psutil.wait_procs([child], timeout=15)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

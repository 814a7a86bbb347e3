"""Full and read-only disks: an error of the surroundings is told, nothing is half visible, and the next run completes (W3)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import SurroundingsError
from pipeline.ledger import open_ledger
from pipeline.plan import Plan, make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

Write = Callable[..., Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def sweep(plan: Plan, store: LocalStore) -> None:
    with ThreadPoolExecutor(2) as pool:
        Sweep(plan, store, pool, lambda: 2).run()


def test_w3_a_full_disk_records_nothing_and_the_next_run_completes(study_file: Write, small_disk: Path) -> None:
    store = LocalStore(small_disk / "results")
    study = load_study(study_file())
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * 980_000)
    with pytest.raises(SurroundingsError, match="No space left"):
        sweep(make_plan(study, store), store)
    ledger = open_ledger(store)
    assert not ledger.damaged
    assert not [p for p in (small_disk / "results").rglob("*") if p.is_file() and p.suffix == ".tmp"]
    filler.unlink()
    sweep(make_plan(study, store), store)
    plan = make_plan(study, store)
    assert (len(plan.todo), plan.by_status()) == (0, {"ok": 18, "infeasible": 12})


def test_w3_a_read_only_store_is_read_and_refuses_to_run(study_file: Write, small_disk: Path) -> None:
    store = LocalStore(small_disk / "results")
    sweep(make_plan(load_study(study_file()), store), store)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    grown = load_study(study_file(("[1, 2]", "[1, 2, 3]")))
    plan = make_plan(grown, store)
    assert len(plan.todo) == 15
    with pytest.raises(SurroundingsError, match="Read-only file system"):
        sweep(plan, store)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    sweep(make_plan(grown, store), store)
    assert len(make_plan(grown, store).todo) == 0

"""Runs on clusters that really are there: SSH and SLURM on this machine, with jobs cancelled and workers that come and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from clusters_rig import Slurm, wait_for

import pipeline
from pipeline.ledger import open_ledger
from pipeline.store import LocalStore

Write = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LARGER = (('"0:40:10"', '"14:28.5:0.5"'), ("experiment: toy", "experiment: toy\noptions: {act: sleep}"))
CELLS = 30 * 6


def config(**profile: object) -> str:
    settings = {"distributed": {"scheduler": {"allowed-failures": 0, "worker-saturation": 1.0, "worker-ttl": "60s"},
                                "deploy": {"lost-worker-timeout": "2s"}}}  # fmt: skip
    return json.dumps({"disac": {"profiles": {"rig": profile}}, **settings})


def slurm_config(tmp_path: Path, **more: object) -> str:
    logs = tmp_path / "logs"
    logs.mkdir(exist_ok=True)
    return config(
        kind="slurm", scheduler_host="127.0.0.1", worker_host="127.0.0.1", memory_per_job="1GB", walltime="00:20:00",
        environment={"PYTHONPATH": os.environ["PYTHONPATH"]}, tls_folder=str(tmp_path / "tls"),
        log_directory=str(logs), local_directory=str(tmp_path / "scratch"), **more,
    )  # fmt: skip


def segments(store: Path) -> int:
    return len(list((store / "ledger" / "segments").glob("*.zip")))


def ended(process: subprocess.Popen[str], timeout: float = 240) -> str:
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, out + err
    return out


def complete(store: Path, computed_at_most: int = CELLS) -> None:
    ledger = open_ledger(LocalStore(store), use_index=False)
    assert not ledger.damaged
    assert len(np.unique(ledger.keys, axis=0)) == CELLS
    assert len(ledger.keys) <= computed_at_most
    assert (pipeline.open_store(store)["toy-study/cube"].load()["status"] >= 2).all()


def left_over(store: Path) -> list[str]:
    """Worker processes of this run that are still there."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if "dask_spec" in words or ("distributed.cli.dask_worker" in words) or "dask worker" in words:
            found.append(words)
    return found


def test_ssh_runs_to_its_end_and_leaves_nothing(
    sshd: dict[str, object], disac: Start, study_file: Write, tmp_path: Path
) -> None:
    store = tmp_path / "results"
    text = config(
        kind="ssh", hosts=["127.0.0.1"] * 3, scheduler_host="127.0.0.1", worker_host="127.0.0.1",
        environment={"PYTHONPATH": os.environ["PYTHONPATH"]}, tls_folder=str(tmp_path / "tls"), **sshd,
    )  # fmt: skip
    out = ended(disac("run", str(study_file(*LARGER)), "--store", str(store), "--cluster", "rig", config=text))
    assert "2 workers by SSH" in out
    complete(store)
    wait_for(lambda: not left_over(store), 15.0, f"left over: {left_over(store)}")


def test_slurm_loses_nothing_when_jobs_are_cancelled_in_mid_sweep(
    slurm: Slurm, disac: Start, study_file: Write, tmp_path: Path
) -> None:
    store = tmp_path / "results"
    text = slurm_config(tmp_path, minimum_jobs=2, maximum_jobs=2)
    run = disac(
        "run", str(study_file(*LARGER)), "--store", str(store), "--cluster", "rig", config=text,
        environment=slurm.environment,
    )  # fmt: skip
    wait_for(lambda: segments(store) >= 2, 90.0, "no segment comes")
    cancelled = slurm.jobs("RUNNING")
    slurm.ask("scancel", cancelled[0])
    out = ended(run)
    assert "2 to 2 SLURM jobs" in out
    # What was aboard the cancelled job may have been stored before its receipt was lost; nothing else runs twice.
    complete(store)
    wait_for(lambda: not slurm.jobs(), 20.0, "jobs are left")


def test_slurm_grows_and_shrinks_in_mid_sweep(slurm: Slurm, disac: Start, study_file: Write, tmp_path: Path) -> None:
    store = tmp_path / "results"
    run = disac(
        "run", str(study_file(*LARGER)), "--store", str(store), "--cluster", "rig",
        config=slurm_config(tmp_path, minimum_jobs=0, maximum_jobs=3), environment=slurm.environment,
    )  # fmt: skip
    counts = set()
    while run.poll() is None:
        counts.add(len(slurm.jobs("RUNNING")))
        time.sleep(0.2)
    ended(run)
    assert max(counts) >= 2, counts
    complete(store)
    wait_for(lambda: not slurm.jobs(), 20.0, "jobs are left")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_slurm_jobs_end_with_the_run(
    slurm: Slurm, disac: Start, study_file: Write, tmp_path: Path, how: signal.Signals
) -> None:
    store, text = tmp_path / "results", slurm_config(tmp_path, minimum_jobs=2, maximum_jobs=2)
    arguments = ("run", str(study_file(*LARGER)), "--store", str(store), "--cluster", "rig")
    run = disac(*arguments, config=text, environment=slurm.environment)
    wait_for(lambda: segments(store) >= 1, 90.0, "no segment comes")
    os.kill(run.pid, how)
    run.wait(timeout=10)
    # After a kill that no program can answer, the workers' own time-out ends the jobs.
    wait_for(lambda: not slurm.jobs(), 60.0 if how is signal.SIGKILL else 8.0, "jobs are left")
    before = len(open_ledger(LocalStore(store)).keys)
    ended(disac(*arguments, config=text, environment=slurm.environment))
    complete(store)
    assert before > 0


def test_the_wheel_is_all_a_worker_needs(tmp_path: Path) -> None:
    """Studies, claims and the configuration are inside; a plan is made far from the source tree."""
    root = Path(__file__).parent.parent.parent
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=root,
        check=True, capture_output=True, timeout=200,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("disac-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = "import flows.cli, sys; sys.argv = ['disac', *sys.argv[1:]]; flows.cli.main()"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", "ofdm-fig5", "--json"], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["planned"] == 14 * 3 * 4 * 20
    where = "import flows.profiles as p, disac; print(p.config_file(), disac.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.count(str(site)) == 2

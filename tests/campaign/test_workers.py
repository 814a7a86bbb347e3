"""Dask workers ended under load, by exit, by SIGKILL, by a segmentation fault, and stopped: nothing is lost (W2-W4)."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from flows.worker_ends import WorkerEnds
from pipeline.ledger import open_ledger
from pipeline.plan import make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

Write = Callable[..., Path]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

LARGER = (('"0:40:10"', '"14:28.5:0.5"'), ("experiment: toy", "experiment: toy\noptions: {act: sleep}"))
CELLS = 30 * 6


def crash(how: str) -> None:
    """End the worker that runs this, in the way told."""
    import ctypes

    if how == "exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("how", ["exit", "SIGKILL", "segfault", "SIGSTOP"])
def test_w2_workers_ended_under_load_lose_nothing(study_file: Write, tmp_path: Path, how: str) -> None:
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.worker-ttl": "4s" if how == "SIGSTOP" else "60s",
    }  # fmt: skip
    store, kills = LocalStore(tmp_path / "results"), [0]
    plan = make_plan(load_study(study_file(*LARGER)), store)
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
        WorkerEnds(client) as ends,
    ):
        done = threading.Event()

        def trouble() -> None:
            dice = random.Random(1)
            while not done.wait(1.5) and kills[0] < (2 if how == "SIGSTOP" else 6):
                found = [n.process.process.pid for n in cluster.workers.values() if n.process is not None and n.process.pid]
                workers = [pid for pid in found if psutil.pid_exists(pid)]
                if not workers:
                    continue
                kills[0] += 1
                if how == "SIGSTOP":
                    os.kill(dice.choice(workers), signal.SIGSTOP)
                elif how == "SIGKILL":
                    os.kill(dice.choice(workers), signal.SIGKILL)
                else:
                    client.submit(crash, how, pure=False, retries=0)

        thread = threading.Thread(target=trouble)
        thread.start()
        started = time.monotonic()
        try:
            executor = client.get_executor(pure=False, retries=0)
            Sweep(plan, store, executor, lambda: 2, worker_end=ends.end_of).run()
        finally:
            done.set()
            thread.join()
        took = time.monotonic() - started
    ledger = open_ledger(store, use_index=False)
    after = make_plan(load_study(study_file(*LARGER)), store)
    assert kills[0] >= 2
    assert not ledger.damaged
    assert len(after.todo) == 0
    assert len(np.unique(ledger.keys, axis=0)) == CELLS
    assert after.by_status().get("failed", 0) == 0, "a cell was blamed for what was done to its worker"
    assert took < 120, "a worker that hangs is noticed by its time to live"

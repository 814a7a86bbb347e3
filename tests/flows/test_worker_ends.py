"""How Dask's workers end, seen by their nannies: own doing or the surroundings (rules W3, W4)."""

from __future__ import annotations

import copy
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, KilledWorker, LocalCluster

from flows.worker_ends import WorkerEnds, judged
from pipeline.experiment import STATUS_NAMES
from pipeline.ledger import read_segment
from pipeline.plan import Plan, make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

MB = 10**6


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[LocalCluster, Client]]:
    settings = {
        "distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0,
        "distributed.deploy.lost-worker-timeout": "1 day", "distributed.worker.memory.terminate": 0.9,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.spill": False, "distributed.worker.memory.target": False,
    }  # fmt: skip
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
            memory_limit="500MB",
            resources={"GPU": 1},
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield local, client


def run(client: Client, store: LocalStore, kinds: str, more: str = "") -> tuple[Plan, dict[str, tuple[str, str]], float]:
    study = load_study(f"study: poison\nexperiment: poison\naxes: {{kind: [{kinds}]}}\n{more}")
    plan = make_plan(study, store)
    started = time.monotonic()
    with WorkerEnds(client) as ends:
        Sweep(plan, store, client.get_executor(pure=False, retries=0), lambda: 2, worker_end=ends.end_of).run()
    took, after, found = time.monotonic() - started, make_plan(study, store), {}
    for i, label in enumerate(plan.cells.axes[0].labels):
        segment = read_segment(store, after.ledger.segments[after.choice.segment[i]].name)
        row = after.choice.row[i]
        found[str(label)] = STATUS_NAMES[int(segment.arrays["status"][row])], str(segment.arrays["message"][row])
    return after, found, took


def test_w3_what_a_cell_does_to_its_process_is_told_with_its_cause(
    cluster: tuple[LocalCluster, Client], tmp_path: Path
) -> None:
    kinds = "good, exits, ends-process, segfault, memory, whole-as-real"
    after, found, took = run(cluster[1], LocalStore(tmp_path), kinds)
    assert {kind: status for kind, (status, _) in found.items()} == {
        "good": "ok", "whole-as-real": "ok", "exits": "failed", "ends-process": "failed", "segfault": "failed",
        "memory": "failed",
    }  # fmt: skip
    assert found["exits"][1].startswith("Raised an exception: SystemExit: 3 (poison.py, line ")
    assert found["ends-process"][1] == "The cell ended its worker process: exit status 5."
    assert found["segfault"][1].startswith("The cell ended its worker process: SIGSEGV")
    assert "memory limit of 476.84 MiB: the task used" in found["memory"][1]
    assert len(after.todo) == 0, "all are for good"
    assert took < 120.0, "nothing waits for the time limit of a cell, which is 600 s"


def test_w3_a_cell_that_exits_is_done_at_once(cluster: tuple[LocalCluster, Client], tmp_path: Path) -> None:
    cluster[1].wait_for_workers(2)
    before = cluster[1].run(os.getpid)
    _, found, _ = run(cluster[1], LocalStore(tmp_path), "exits")
    assert found["exits"][0] == "failed"
    assert found["exits"][1].startswith("Raised an exception: SystemExit: 3 (poison.py, line ")
    assert cluster[1].run(os.getpid) == before, "it costs no worker"


def test_w3_a_healthy_cell_whose_worker_is_killed_twice_is_ok(cluster: tuple[LocalCluster, Client], tmp_path: Path) -> None:
    client = cluster[1]
    marks = tmp_path / "marks"
    marks.mkdir()
    killed: set[int] = set()

    def kill_twice() -> None:
        until = time.monotonic() + 40.0
        while len(killed) < 2 and time.monotonic() < until:
            time.sleep(0.1)
            for mark in marks.iterdir():
                pid = int(mark.name.split("-")[1])
                if pid not in killed and psutil.pid_exists(pid):
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_twice)
    killer.start()
    after, found, _ = run(client, LocalStore(tmp_path / "store"), "waits", f"scenario: {{marks: '{marks}'}}\n")
    killer.join()
    assert len(killed) == 2
    assert found["waits"] == ("ok", "")
    assert len(after.todo) == 0


def test_w3_a_cell_that_kills_itself_like_the_system_would_is_tried_again_by_the_next_run(
    cluster: tuple[LocalCluster, Client], tmp_path: Path
) -> None:
    after, found, _ = run(cluster[1], LocalStore(tmp_path), "killed, good")
    status, message = found["killed"]
    assert status == "failed"
    assert message.startswith("The cell lost its worker 3 times (SIGKILL from outside on 127.0.0.1)")
    assert len(after.todo) == 1


def test_w3_who_only_waits_on_a_worker_is_not_blamed_for_its_end(cluster: tuple[LocalCluster, Client], tmp_path: Path) -> None:
    """Dask gives a worker more tasks than it computes, where they need resources or are sent to chosen workers."""
    client, begun = cluster[1], tmp_path / "begun"

    def crash() -> None:
        begun.touch()
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGSEGV)

    with WorkerEnds(client) as ends:
        executor = client.get_executor(pure=False, retries=0, workers=sorted(client.nthreads())[:1])
        guilty = executor.submit(crash)
        while not begun.exists():
            time.sleep(0.02)
        waiting = executor.submit(abs, -3)
        errors = [future.exception(timeout=30) for future in (waiting, guilty)]
        told = [ends.end_of(error) for error in errors if error is not None]
    assert [end.own_doing for end in told if end is not None] == [False, True]
    assert told[0] is not None
    assert told[0].cause.endswith("ended while it had several tasks")


@pytest.fixture
def own_dask_config() -> Iterator[None]:
    """What a test sets of Dask's configuration goes with it."""
    before = copy.deepcopy(dask.config.config)
    yield
    dask.config.config.clear()
    dask.config.config.update(before)


@pytest.mark.slow
@pytest.mark.usefixtures("own_dask_config")
def test_w2_a_local_worker_that_is_long_in_coming_back_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a worker takes longer to start than `lost-worker-timeout` of other clusters; it was given up then."""
    from flows.cluster import connect

    slow = tmp_path / "slow_to_start.py"
    slow.write_text("import time\ntime.sleep(2.0)\n")
    monkeypatch.setenv("DISAC_CONFIG", str(tmp_path / "dask_config.yaml"))
    parts = {"deploy": {"lost-worker-timeout": "1s"}, "worker": {"preload": [str(slow)]}, "scheduler": {"allowed-failures": 0}}
    (tmp_path / "dask_config.yaml").write_text(json.dumps({"distributed": parts}))
    with connect(None, 1) as cluster:
        executor = cluster.executor()
        with pytest.raises(KilledWorker):
            executor.submit(os._exit, 1).result(timeout=30)
        assert executor.submit(abs, -3).result(timeout=60) == 3


START = {"rss": 200 * MB, "fresh": 150 * MB, "limit": 500 * MB}


@pytest.mark.parametrize(
    ("exit_", "start", "memory", "own", "words"),
    [
        (None, None, None, False, "was lost without a report"),
        ({"code": 0, "asked": False}, None, None, True, "exit status 0"),
        ({"code": 1, "asked": True}, None, None, False, "ended from outside"),
        ({"code": 255, "asked": False}, None, None, False, "ended from outside"),
        ({"code": -signal.SIGABRT, "asked": False}, None, None, True, "SIGABRT"),
        ({"code": -signal.SIGTERM, "asked": False}, None, None, False, "SIGTERM from outside on h"),
        ({"code": -60, "asked": False}, None, None, False, "signal 60 from outside on h"),
        ({"code": -signal.SIGTERM, "asked": False}, START, {"rss": 480 * MB}, False, "memory limit"),
        ({"code": -signal.SIGTERM, "asked": False}, START | {"rss": 160 * MB}, {"rss": 480 * MB}, True, "memory limit"),
    ],
)
def test_w3_only_proof_makes_it_the_cells_own_doing(exit_: Any, start: Any, memory: Any, own: bool, words: str) -> None:
    end = judged("h", exit_, start, memory)
    assert end.own_doing is own
    assert words in end.cause
    assert end.host == "h"

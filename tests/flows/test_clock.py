"""The wall clock steps in mid-run, for scheduler, workers and flow at once: nothing is lost, no worker is restarted (W2)."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil
import pytest

import pipeline
from pipeline.cube import publish_cube
from pipeline.ledger import open_ledger, read_segment
from pipeline.plan import make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

Write = Callable[..., Path]
HOUR_S, DAY_S = 3600.0, 86400.0
SLEEPY = (('"0:40:10"', '"14:28.8:0.2"'), ("experiment: toy", "experiment: toy\noptions: {act: sleep}"))


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[tuple[dict[str, str], Callable[[float], None]]]:
    """An environment under which the wall clock is off by what the second of the two sets."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make the shifted clock with")
    library, file = tmp_path / "clockshift.so", tmp_path / "shift"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, Path(__file__).parent / "clockshift.c"], check=True)
    file.write_bytes(struct.pack("d", 0.0))
    with file.open("r+b", buffering=0) as shift:

        def step_to(seconds: float) -> None:
            shift.seek(0)
            shift.write(struct.pack("d", seconds))

        yield {"LD_PRELOAD": str(library), "CLOCKSHIFT": str(file)}, step_to


def _workers(run: subprocess.Popen[str]) -> set[int]:
    below = psutil.Process(run.pid).children(recursive=True)
    return {p.pid for p in below if "spawn_main" in " ".join(p.cmdline())}


EXCHANGE = """
import asyncio, sys, time
wall, step = time.time, [0.0]
time.time = lambda: wall() + step[0]
{steady}
from distributed.batched import BatchedSend
from tornado.ioloop import IOLoop

written = []

class Comm:
    def closed(self): return False
    async def write(self, payload, serializers=None, on_error=None): written.extend(payload); return 1

async def main():
    sender = BatchedSend(interval="50ms", loop=IOLoop.current())
    sender.start(Comm())
    await asyncio.sleep(0.05)
    sender.send("first")
    await asyncio.sleep(0.001)
    step[0] = -86400.0
    sender.send("second")
    await asyncio.sleep(0.5)
    print(*written)

asyncio.run(main())
"""


@pytest.mark.parametrize(("steady", "arrived"), [("import pipeline.steady_clock", "first second"), ("", "first")])
def test_w2_a_message_is_not_held_as_long_as_a_step_back(steady: str, arrived: str) -> None:
    """With the libraries' own clock it is, which is why ours is put in: should that change, it can go."""
    command = [sys.executable, "-W", "ignore", "-c", EXCHANGE.format(steady=steady)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == arrived.split()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_w2_steps_of_the_clock_lose_nothing(
    disac: Callable[..., subprocess.Popen[str]], study_file: Write, tmp_path: Path,
    clock: tuple[dict[str, str], Callable[[float], None]],
) -> None:  # fmt: skip
    environment, step_to = clock
    file, store = study_file(*SLEEPY), tmp_path / "results"
    run = disac("run", str(file), "--store", str(store), environment=environment)
    workers: list[set[int]] = []
    steps = [HOUR_S, -HOUR_S, 10 * DAY_S, 9 * DAY_S]
    for i, seconds in enumerate(steps):
        deadline = time.monotonic() + 90
        while len(list((store / "ledger" / "segments").glob("*.zip"))) < 2 * (i + 1):
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        workers.append(_workers(run))
        step_to(seconds)
    time.sleep(2.5)  # heartbeats under the last step
    workers.append(_workers(run))
    out, err = run.communicate(timeout=480)
    assert run.returncode == 0, out + err
    assert all(w == workers[0] and len(w) >= 2 for w in workers), "a step of the clock restarted a worker"
    ledger = open_ledger(LocalStore(store), use_index=False)
    assert not ledger.damaged
    assert len(ledger.keys) == len(np.unique(ledger.keys, axis=0)) == 75 * 6

    attributes = [read_segment(LocalStore(store), info.name, (), ("key",)).attributes for info in ledger.segments]
    finished = [datetime.fromisoformat(a["finished"]).timestamp() for a in attributes]
    assert max(finished) - min(finished) > 9 * DAY_S, "the clock of the workers never stepped: the test shows nothing"
    seconds = [spent for a in attributes for _, spent in a["cost"].values()]
    assert min(seconds) > 0
    assert max(seconds) < 60, "a duration was measured by the wall clock"

    study, calm = load_study(file), LocalStore(tmp_path / "calm")
    with ThreadPoolExecutor(4) as pool:
        Sweep(make_plan(study, calm), calm, pool, lambda: 4).run()
    publish_cube(make_plan(study, calm), calm)
    expected, found = (pipeline.open_store(place)["toy-study/cube"].to_dataset().load() for place in (tmp_path / "calm", store))
    for name in expected.variables:
        if not expected[name].attrs.get("volatile"):
            assert expected[name].identical(found[name]), name

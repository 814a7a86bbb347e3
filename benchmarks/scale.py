"""Run a study of a million cells of one millisecond by the command line, watch it from outside, and model its costs.

Run this module alone (ten minutes on two cores): ``python -m benchmarks.scale [cells]``. It prints the numbers that
``docs/scale.md`` quotes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from pipeline.compact import compact
from pipeline.key_index import write_index
from pipeline.ledger import open_ledger, put_segment, read_segment, segment_file
from pipeline.store import LocalStore

STUDY = """\
study: million
experiment: noop
max_dense_bytes: 100000000000
options: {{work_ms: 1.0}}
keep: [v00, v01, v02]
axes:
  sinr_db: "0:99:1"
  nodes: "1:10:1"
  realisation: "0:{realisations}:1"
surfaces: {{over: realisation}}
report: {{x: sinr_db, y: v00, colour: nodes}}
"""
_PLUGIN = str(Path(__file__).parent / "plugin")


def watch(cells: int) -> None:
    """Run the study, watch it, and print the measurements."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, store = folder / "million.yaml", folder / "store"
        file.write_text(STUDY.format(realisations=cells // 1000 - 1))
        paths = os.pathsep.join([_PLUGIN, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": paths}
        command = [sys.executable, "-m", "flows.cli"]
        arguments = [str(file), "--store", str(store)]
        started = time.monotonic()
        with (folder / "log").open("w") as log:
            run = subprocess.Popen([*command, "run", *arguments], stdout=log, stderr=subprocess.STDOUT, env=environment)
        process, memory, status, asked = psutil.Process(run.pid), [], [], started
        while run.poll() is None:
            time.sleep(2.0)
            try:
                memory.append((time.monotonic() - started, process.memory_info().rss / 1e6, sum(process.cpu_times()[:2])))
            except psutil.Error:
                break
            if time.monotonic() - asked > 45.0:
                asked = time.monotonic()
                found = subprocess.run([*command, "status", *arguments, "--json"], capture_output=True, env=environment)
                took = time.monotonic() - asked
                present = json.loads(found.stdout)["reuse"] if found.stdout else 0
                status.append((present, took))
                print(f"  after {asked - started:5.0f} s: {present} cells, status in {took:.2f} s, "
                      f"coordinator {memory[-1][1]:.0f} MB", flush=True)  # fmt: skip
        seconds = time.monotonic() - started
        lines = (folder / "log").read_text().splitlines()
        print(f"run: {seconds:.0f} s, exit code {run.returncode}; {lines[-2] if len(lines) > 1 else lines}")
        _memory(memory)
        print(f"status during the run: at most {max((t for _, t in status), default=float('nan')):.2f} s")
        again = time.monotonic()
        subprocess.run([*command, "run", *arguments], stdout=subprocess.DEVNULL, check=True, env=environment)
        print(f"run with nothing to do: {time.monotonic() - again:.1f} s")
        _model(LocalStore(store), memory[-1][2] if memory else float("nan"), cells)


def _memory(samples: list[tuple[float, float, float]]) -> None:
    """Print the memory of the coordinator (flow, scheduler, window) in the second and the last quarter of the run."""
    at = np.array(samples)
    if len(at) < 8:
        return
    quarter = len(at) // 4
    early, late = np.median(at[quarter : 2 * quarter, 1]), np.median(at[-quarter - 1 : -1, 1])
    print(
        f"coordinator memory: {early:.0f} MB in the second quarter, {late:.0f} MB in the last, {at[:, 1].max():.0f} MB at most"
    )


def _model(store: LocalStore, coordinator_cpu_s: float, cells: int) -> None:
    """Print the costs per task, segment and cell of this run."""
    started = time.perf_counter()
    ledger = open_ledger(store, use_index=False)
    read = (time.perf_counter() - started) / len(ledger.segments)
    write_index(ledger)
    started = time.perf_counter()
    open_ledger(store)
    listed = (time.perf_counter() - started) / len(ledger.segments)
    sizes = [info.size for info in ledger.segments]
    data = store.get(segment_file(ledger.segments[0].name))
    put = []
    for i in range(30):
        begun = time.perf_counter()
        put_segment(store, data + bytes([i]))
        put.append(time.perf_counter() - begun)
    for i in range(30):
        from pipeline.store import content_name

        store.delete(segment_file(content_name(data + bytes([i]))))
    begun = time.perf_counter()
    read_segment(store, ledger.segments[0].name)
    one = time.perf_counter() - begun
    begun = time.perf_counter()
    compact(store)
    merged = time.perf_counter() - begun
    print(
        f"segments {len(sizes)}, median {np.median(sizes) / 1e3:.0f} kB; put with fsync {np.median(put) * 1e3:.1f} ms, "
        f"read one {one * 1e3:.1f} ms; ledger without index {read * 1e3:.2f} ms a segment, with it {listed * 1e3:.3f} ms; "
        f"compaction {merged:.1f} s; coordinator {coordinator_cpu_s / len(sizes) * 1e3:.0f} ms of CPU a task, "
        f"{coordinator_cpu_s / cells * 1e6:.1f} us a cell"
    )


if __name__ == "__main__":
    watch(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)

"""The cost of the engine on cells that do nothing."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.registry import Row
from flows.cluster import connect
from pipeline.cube import publish_cube
from pipeline.experiment import load_experiment
from pipeline.identity import cell_text
from pipeline.key_index import write_index
from pipeline.ledger import open_ledger, put_segment
from pipeline.plan import Plan, make_plan
from pipeline.segment import CellRecord, encode_segment
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

STUDY = """\
study: noop
experiment: noop
max_dense_bytes: 100000000000
axes:
  sinr_db: "0:{sinrs}:1"
  nodes: "1:{nodes}:1"
  realisation: "0:{realisations}:1"
"""


def _study(folder: Path, sinrs: int, nodes: int, realisations: int) -> Path:
    file = folder / f"noop-{sinrs}-{nodes}-{realisations}.yaml"
    file.write_text(STUDY.format(sinrs=sinrs - 1, nodes=nodes, realisations=realisations - 1))
    return file


def engine_slope() -> Iterator[Row]:
    """Measure milliseconds per cell between 2,000 and 20,000 cells, beside client.map with one to_zarr at the end."""
    from noop import value

    with tempfile.TemporaryDirectory() as name, connect(None) as cluster:
        folder, executor = Path(name), cluster.client.get_executor(pure=False, retries=0)

        def ours(sinrs: int, nodes: int, realisations: int) -> float:
            started = time.perf_counter()
            store = LocalStore(folder / f"{time.time_ns()}")
            plan = make_plan(load_study(_study(folder, sinrs, nodes, realisations)), store)
            Sweep(plan, store, executor, cluster.workers).run()
            publish_cube(make_plan(plan.study, store), store)
            return time.perf_counter() - started

        def plain(sinrs: int, nodes: int, realisations: int) -> float:
            started = time.perf_counter()
            points = list(np.ndindex(sinrs, nodes, realisations))
            arguments = [[float(s) for s, _, _ in points], [n + 1 for _, n, _ in points], [r for _, _, r in points]]
            results = cluster.client.gather(cluster.client.map(value, *arguments, pure=False))
            dims, shape = ("sinr_db", "nodes", "realisation"), (sinrs, nodes, realisations)
            data = {v: (dims, np.array([r[v] for r in results]).reshape(shape)) for v in results[0]}
            xr.Dataset(data).to_zarr(folder / f"plain-{time.time_ns()}", zarr_format=3, consolidated=False)
            return time.perf_counter() - started

        ours(4, 8, 4)
        small, large = (20, 10, 10), (20, 10, 100)
        times = {f.__name__: [f(*size) for size in (small, large)] for f in (ours, plain)}
        slope = {k: (t[1] - t[0]) / 18_000 * 1e3 for k, t in times.items()}
        start = times["ours"][0] - 2_000 * slope["ours"] / 1e3
        yield Row("engine per cell", slope["ours"], slope["plain"], "ms", f"client.map + to_zarr; fixed start {start:.2f} s")
        grid = ours(12, 8, 100)
        yield Row("engine 12 x 8 x 100", grid, plain(12, 8, 100), "s", "client.map + to_zarr")


def _fill(plan: Plan, store: LocalStore, per_segment: int) -> None:
    """Put all planned cells into few large segments, as compaction would do."""
    experiment = load_experiment("noop")
    attributes = {
        "experiment": "noop", "options": {}, "code_digest": plan.code.digest, "manifest": dict(plan.code.manifest),
        "environment": {}, "cost": {"{}": [1, 0.001]},
    }  # fmt: skip
    random, names = np.random.default_rng(0), [v.name for v in experiment.variables]
    for start in range(0, len(plan.keys), per_segment):
        rows = range(start, min(start + per_segment, len(plan.keys)))
        values = random.standard_normal((len(rows), len(names)))
        records = [
            CellRecord(
                plan.keys[i].tobytes(),
                plan.scenario_keys[i].tobytes(),
                cell_text(plan.cells, i),
                2,
                "",
                "",
                dict(zip(names, values[i - start], strict=True)),
            )
            for i in rows
        ]
        put_segment(store, encode_segment(records, experiment.variables, attributes))
    write_index(open_ledger(store))


def plan_million() -> Iterator[Row]:
    """Measure the plan of 1,000,000 cells that are all present, and the memory that it takes."""
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name), LocalStore(Path(name) / "store")
        file = _study(folder, 100, 10, 1000)
        _fill(make_plan(load_study(file), store), store, 20_000)
        started = time.perf_counter()
        plan = make_plan(load_study(file), store)
        todo = len(plan.todo)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        yield Row(
            "plan 1,000,000 present", seconds, 5.0, "s", f"the bar of 5 s; {todo} to compute, peak {peak:.2f} GB with filling"
        )


def publish() -> Iterator[Row]:
    """Measure the publication of 100,000 cells x 30 variables from large segments, and the reading of one curve."""
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name), LocalStore(Path(name) / "store")
        file = _study(folder, 100, 10, 100)
        _fill(make_plan(load_study(file), store), store, 20_000)
        plan = make_plan(load_study(file), store)
        started = time.perf_counter()
        version = publish_cube(plan, store)
        yield Row("publish 100,000 x 30", time.perf_counter() - started, 3.0, "s", "the bar of 3 s")
        path = store.path(version)
        for _ in range(2):
            # The first pass includes the imports.
            started = time.perf_counter()
            with xr.open_zarr(path) as cube:
                cube["v07"].isel(nodes=3, realisation=5).load()
            seconds = time.perf_counter() - started
        yield Row("open and read a curve", seconds, 0.1, "s", "the bar of 0.1 s, libraries loaded")


BENCHMARKS = {"engine": engine_slope, "plan": plan_million, "publish": publish}

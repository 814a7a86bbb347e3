"""Surfaces of a large study are computed block by block; nobody who reads them sees a difference."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_cube
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from test_report import own_part

from flows.derive import as_dataset, labelled, load_published, publish_surfaces
from flows.run import Run
from pipeline.aggregate import aggregate_blocks
from pipeline.archive import StoredFiles
from pipeline.cube import publish_group
from pipeline.layout import cube_folder, parts_of, surface_folder
from pipeline.store import LocalStore
from pipeline.study import SurfaceSpec
from pipeline.surfaces import compute_surfaces
from pipeline.sweep import Sweep
from pipeline.zarrio import read_group

Write = Callable[..., Path]


def published(file: Path, folder: Path) -> Run:
    run = Run(str(file), str(folder))
    with ThreadPoolExecutor(2) as pool:
        Sweep(run.plan, run.store, pool, lambda: 2).run()
    run.publish()
    return run


def test_c9_a_large_study_is_published_alike(study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = published(study_file(), tmp_path / "results")
    folder, said = surface_folder(run.study.name), list[str]()
    publish_surfaces(run.derivation, say=said.append)
    whole = load_published(run.store, folder)
    assert not said
    assert not run.store.list(parts_of(folder))
    monkeypatch.setattr("flows.derive.WHOLE_BYTES", 0)
    version = run.store.read_pointer(f"{folder}latest")
    assert version is not None
    for entry in run.store.list(version):
        run.store.delete(entry.name)
    with ThreadPoolExecutor(2) as pool:
        publish_surfaces(run.derivation, pool, said.append)
    assert said == ["The surfaces were computed, in 2 blocks."]
    by_blocks = load_published(run.store, folder)
    assert {k: v for k, v in by_blocks.attrs.items() if k != "files"} == {k: v for k, v in whole.attrs.items() if k != "files"}
    assert json.loads(by_blocks.attrs["claims"]) == []
    assert by_blocks.drop_attrs(deep=False).identical(whole.drop_attrs(deep=False))
    raw = as_dataset(read_group(StoredFiles(run.store, version)), {})
    assert all(raw[name].dtype == whole[name].dtype for name in whole.variables)
    run.report()
    assert "Mean over the realisations that are feasible" in own_part(run.report_file.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_c9_a_killed_worker_of_dask_changes_no_bit(tmp_path: Path) -> None:
    cube, store = fake_cube.grid_cube({"x": 60, "text": 20, "draw": 10}, variables=3), LocalStore(tmp_path)
    version = publish_group(store, cube_folder("grid"), "c", labelled(cube), cube.attrs)
    expected = compute_surfaces(cube, over="draw", edge=None, paired=None)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        number = next(iter(client.run(os.getpid).values()))
        seen: list[int] = []

        def kill() -> None:
            while not seen:
                if stored := len(store.list(parts_of("surfaces/grid/"))):
                    os.kill(number, signal.SIGKILL)
                    seen.append(stored)
                time.sleep(0.005)

        killer = threading.Thread(target=kill)
        killer.start()
        done = aggregate_blocks(
            store, version, "surfaces/grid/", "s", SurfaceSpec(over="draw"), executor=client.get_executor(pure=False),
            region_bytes=5000,
        )  # fmt: skip
        killer.join()
    assert 0 < seen[0] < len(store.list(parts_of("surfaces/grid/"))), "the worker was killed among the parts"
    assert done.computed == done.blocks == 30 * 20
    path = store.path(done.version)
    assert path is not None
    found = xr.open_zarr(path).load()
    for name, array in expected.variables.items():
        np.testing.assert_array_equal(found[name].values, array.values)

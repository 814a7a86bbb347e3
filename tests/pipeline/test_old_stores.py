"""A tiny store of each version opens, extends and verifies for ever (rule S5).

``python tests/pipeline/test_old_stores.py VERSION`` (with ``tests`` and ``tests/plugin`` on PYTHONPATH) writes the store of the
present version into tests/data. A stored one is never written again.
"""

from __future__ import annotations

import json
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from toy_study import TOY_STUDY

from pipeline.compact import collect_garbage, compact
from pipeline.cube import build_cube, nondeterminism, publish_cube
from pipeline.digest import CodeDigest
from pipeline.key_index import write_index
from pipeline.layout import cube_folder
from pipeline.ledger import open_ledger
from pipeline.plan import Plan, make_plan, plan_under, refreshed
from pipeline.results import open_store
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep
from pipeline.zarrio import read_group

DATA = Path(__file__).parent.parent / "data"
STORES = sorted(DATA.glob("store-*.tar.gz"))
TEXT = TOY_STUDY.replace('"0:40:10"', "[0, 13, 20, 30]")


def sweep(plan: Plan, store: LocalStore) -> Plan:
    with ThreadPoolExecutor(1) as pool:
        Sweep(plan, store, pool, lambda: 1).run()
    return refreshed(plan, store)


def write_store(version: str, folder: Path) -> Path:
    """The toy study, partly compacted, with a failure, an infeasible level, details, a published cube and an index."""
    store, file = LocalStore(folder / "store"), folder / "study.yaml"
    file.write_text(TEXT)
    for part in ("axes.level=[0]", "axes.level=[13, 20]", "axes.level=[30]"):
        sweep(make_plan(load_study(file, overrides=[part]), store), store)
    compact(store)
    file.write_text(TEXT.replace("[1, 2]", "[1, 2, 3]"))
    plan = sweep(make_plan(load_study(file), store), store)
    write_index(plan.ledger)
    publish_cube(plan, store)
    archive = DATA / f"store-{version}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "store", "store")
        tar.add(file, "study.yaml")
    return archive


@pytest.fixture(params=STORES, ids=lambda path: path.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LocalStore, Path]:
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="data")
    return LocalStore(tmp_path / "store"), tmp_path / "study.yaml"


def as_then(store: LocalStore, file: Path) -> Plan:
    """The study keyed by the code that the store was written under."""
    now = make_plan(load_study(file), store)
    (digest,) = {info.code_digest for info in now.ledger.segments}
    return plan_under(now, CodeDigest(digest, now.ledger.segments[0].manifest), store)


def test_there_is_a_store_of_this_version() -> None:
    assert [path.name for path in STORES][:1] == ["store-0.1.0.tar.gz"]


def test_s5_an_old_store_opens_with_all_its_cells(old: tuple[LocalStore, Path]) -> None:
    store, file = old
    plan = as_then(store, file)
    assert plan.by_status() == {"ok": 18, "infeasible": 9, "failed": 9}
    assert len(plan.todo) == 0, "keys of old scenarios keep their bits"
    assert not plan.ledger.damaged
    fresh = open_ledger(store, use_index=False)
    np.testing.assert_array_equal(fresh.keys, plan.ledger.keys)
    cube = open_store(store.location())["toy-study/cube"]
    assert dict(cube.sizes) == {"level": 4, "count": 3, "realisation": 3, "tap": 3}
    key = plan.keys[0].tobytes().hex()
    assert open_store(store.location()).disac.detail(key)["samples"].shape == (3,)


def test_s5_an_old_store_verifies_bit_for_bit(old: tuple[LocalStore, Path]) -> None:
    store, file = old
    plan = as_then(store, file)
    version = store.read_pointer(f"{cube_folder('toy-study')}latest")
    files = {e.name.removeprefix(f"{version}/"): store.get(e.name) for e in store.list(f"{version}/")}
    published, (rebuilt, _) = read_group(files), build_cube(plan)
    assert published.keys() == rebuilt.keys()
    for name, array in rebuilt.items():
        assert published[name].dims == array.dims
        assert published[name].data.dtype == array.data.dtype
        assert published[name].data.tolist() == array.data.tolist() or array.data.dtype.kind in "fc"
        if array.data.dtype.kind in "fc":
            assert published[name].data.tobytes() == array.data.tobytes()
    assert version is not None
    assert not version.endswith(plan.cube_key), "the next run publishes the cube in the present form"
    assert not nondeterminism(plan)


def test_s5_an_old_cube_opens_and_is_published_again_with_its_list_of_files(old: tuple[LocalStore, Path]) -> None:
    store, file = old
    before = open_store(store.location())["toy-study/cube"].load()
    assert "files" not in before.attrs
    publish_cube(make_plan(load_study(file), store), store)
    after = open_store(store.location())["toy-study/cube"]
    assert "status/c/0/0/0" in json.loads(after.attrs["files"])


def test_s5_an_old_store_extends(old: tuple[LocalStore, Path]) -> None:
    store, file = old
    file.write_text(file.read_text().replace("[0, 13, 20, 30]", "[0, 5, 13, 20, 30]"))
    then = as_then(store, file)
    assert len(then.todo) == 3 * 3, "only the new level is missing"
    plan = sweep(make_plan(load_study(file), store), store)
    assert len(plan.todo) == 0
    path = store.path(publish_cube(plan, store))
    assert path is not None
    with xr.open_zarr(path) as cube:
        assert set(np.unique(cube["status"])) == {2, 4, 5}
    compact(store)
    collect_garbage(store, older_than_s=-1.0)
    again = plan_under(make_plan(load_study(file), store), then.code, store)
    assert int(again.complete.sum()) >= 36


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        print(write_store(sys.argv[1], Path(name)))

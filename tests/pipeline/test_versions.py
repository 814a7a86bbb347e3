"""Published versions and what is recorded beside cells (rules C4, I6)."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from pipeline.cube import (
    GRACE_SECONDS,
    KEPT_VERSIONS,
    publish_group,
    published_key,
    published_whole,
    remove_old_versions,
    version_damage,
)
from pipeline.environment import environment
from pipeline.errors import UsageError
from pipeline.memory_store import MemoryStore
from pipeline.results import open_store
from pipeline.segment import decode_segment, encode_segment
from pipeline.store import FAULT_POINTS, LocalStore, Store
from pipeline.zarrio import Labelled

FOLDER = "cubes/s/"


def publish(store: Store, number: int) -> None:
    arrays = {"x": Labelled(("x",), np.arange(3.0) + number), "v": Labelled(("x",), np.full(3, float(number)))}
    publish_group(store, FOLDER, f"key{number}", arrays, {"number": number})


def opened(store: LocalStore) -> xr.Dataset:
    return open_store(store.location())["s/cube"].to_dataset()


def test_c4_a_version_goes_only_when_old_superseded_and_over_the_limit() -> None:
    store = MemoryStore()
    for number in range(KEPT_VERSIONS + 3):
        publish(store, number)
    assert remove_old_versions(store, FOLDER) == {}
    removed = list(remove_old_versions(store, FOLDER, now=time.time() + GRACE_SECONDS + 1))
    assert removed == ["key1", "key0"]
    left = {entry.name.split("/")[3] for entry in store.list(FOLDER)}
    assert left == {f"key{n}" for n in range(2, KEPT_VERSIONS + 3)}
    assert published_key(store, FOLDER) == f"key{KEPT_VERSIONS + 2}"


def test_c4_our_readers_stay_with_the_version_they_opened(tmp_path: object) -> None:
    store = LocalStore(str(tmp_path))
    publish(store, 1)
    before = opened(store)
    publish(store, 2)
    assert before["x"].values[0] == 1.0
    assert before["v"].values[0] == 1.0
    assert opened(store)["v"].values[0] == 2.0


@pytest.mark.parametrize(("point", "nth"), [(p, n) for p in FAULT_POINTS for n in (1, 3) if n == 1 or p.startswith("put")])
def test_c4_a_publication_cut_short_leaves_the_old_version_or_the_new_one(point: str, nth: int) -> None:
    seen = 0

    def fault(where: str, name: str) -> None:
        nonlocal seen
        seen += (where == point and "key2" in name) or (where == point and point.startswith("pointer"))
        if armed and seen == nth:
            raise KeyboardInterrupt

    armed = False
    store = MemoryStore(fault)
    publish(store, 1)
    armed, seen = True, 0
    with pytest.raises(KeyboardInterrupt):
        publish(store, 2)
    assert published_key(store, FOLDER) == ("key2" if point == "pointer:after-swap" else "key1")
    armed = False
    publish(store, 2)
    assert published_key(store, FOLDER) == "key2"
    assert f"{FOLDER}versions/key2/zarr.json" in {entry.name for entry in store.list(FOLDER)}


DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing chunk": lambda chunk: chunk.unlink(),
    "truncated chunk": lambda chunk: os.truncate(chunk, chunk.stat().st_size - 1),
    "missing array": lambda chunk: shutil.rmtree(chunk.parents[1]),
    "root cut short": lambda chunk: os.truncate(chunk.parents[2] / "zarr.json", 100),
    "missing root": lambda chunk: (chunk.parents[2] / "zarr.json").unlink(),
    "missing folder": lambda chunk: shutil.rmtree(chunk.parents[2]),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_c6_a_version_that_lacks_a_file_is_refused_and_publishing_again_mends_it(tmp_path: Path, kind: str) -> None:
    store = LocalStore(tmp_path)
    publish(store, 1)
    sound = opened(store).load()
    assert published_whole(store, FOLDER, "key1")
    DAMAGES[kind](tmp_path / FOLDER / "versions" / "key1" / "v" / "c" / "0")
    assert version_damage(store, f"{FOLDER}versions/key1")
    assert not published_whole(store, FOLDER, "key1")
    with pytest.raises(UsageError, match="is damaged"):
        opened(store)
    publish(store, 1)
    assert published_whole(store, FOLDER, "key1")
    xr.testing.assert_identical(opened(store).load(), sound)


@pytest.mark.parametrize("point", ["put:before-write", "put:after-publish"])
def test_c6_mending_that_is_cut_short_leaves_what_is_mended_next_time(point: str) -> None:
    armed = False

    def fault(where: str, name: str) -> None:
        if armed and where == point:
            raise KeyboardInterrupt

    store = MemoryStore(fault)
    publish(store, 1)
    store.delete(f"{FOLDER}versions/key1/v/c/0")
    armed = True
    with pytest.raises(KeyboardInterrupt):
        publish(store, 1)
    assert "zarr.json" in version_damage(store, f"{FOLDER}versions/key1")
    armed = False
    publish(store, 1)
    assert published_whole(store, FOLDER, "key1")


def test_c6_the_list_of_files_disturbs_no_other_reader(tmp_path: Path) -> None:
    publish(LocalStore(tmp_path), 1)
    path = (tmp_path / FOLDER / "latest").resolve()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for consolidated in (True, False):
            assert xr.open_zarr(path, consolidated=consolidated)["v"].values.tolist() == [1.0] * 3
        members = zarr.open_group(path, mode="r", use_consolidated=False).members()
    assert {name for name, _ in members} == {"x", "v"}


@pytest.mark.parametrize("said", ["[]", "{", '{"v/c/0": "24"}', '{"v/c/0": -1}', '{"v/c/0": 23}', '{"../x": 1}'])
def test_c6_a_list_of_files_that_lies_is_damage(tmp_path: Path, said: str) -> None:
    store = LocalStore(tmp_path)
    publish(store, 1)
    root = tmp_path / FOLDER / "versions" / "key1" / "zarr.json"
    content = json.loads(root.read_text())
    content["attributes"]["files"] = said
    root.write_text(json.dumps(content))
    assert version_damage(store, f"{FOLDER}versions/key1")
    with pytest.raises(UsageError, match="is damaged"):
        opened(store)


def test_i6_the_environment_is_recorded_with_each_segment() -> None:
    found = environment()
    assert {"python", "machine", "numpy", "cvxpy", "zarr"} <= set(found)
    segment = decode_segment(encode_segment([], (), {"environment": found}))
    assert segment.attributes["environment"] == found

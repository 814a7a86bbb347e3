"""Published versions and what is recorded beside cells (rules C4, I6)."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pipeline.cube import GRACE_SECONDS, KEPT_VERSIONS, publish_group, published_key, remove_old_versions
from pipeline.environment import environment
from pipeline.memory_store import MemoryStore
from pipeline.results import Results
from pipeline.segment import decode_segment, encode_segment
from pipeline.store import FAULT_POINTS, LocalStore, Store
from pipeline.zarrio import Labelled

FOLDER = "cubes/s/"


def publish(store: Store, number: int) -> None:
    arrays = {"x": Labelled(("x",), np.arange(3.0) + number), "v": Labelled(("x",), np.full(3, float(number)))}
    publish_group(store, FOLDER, f"key{number}", arrays, {"number": number})


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
    opened = Results(store).cube("s")
    publish(store, 2)
    assert opened["x"].values[0] == 1.0
    assert opened["v"].values[0] == 1.0
    assert Results(store).cube("s")["v"].values[0] == 2.0


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


def test_i6_the_environment_is_recorded_with_each_segment() -> None:
    found = environment()
    assert {"python", "machine", "numpy", "cvxpy", "zarr"} <= set(found)
    segment = decode_segment(encode_segment([], (), {"environment": found}))
    assert segment.attributes["environment"] == found

"""Arrays to and from the files of a Zarr group: what is read without Zarr is what Zarr reads."""

from __future__ import annotations

import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import pipeline
from pipeline.archive import StoredFiles
from pipeline.cube import publish_group
from pipeline.store import LocalStore
from pipeline.zarrio import Chunking, FormatError, Labelled, blocks, check_group, group_files, read_group, slabs

ARRAYS = {
    "keys": Labelled(("cell", "byte"), np.random.default_rng(0).integers(0, 256, (700, 16), dtype=np.uint8), random=True),
    "status": Labelled(("cell",), np.arange(5, dtype=np.uint8)),
    "error_m": Labelled(("cell", "x"), np.array([[1.0, np.nan], [-0.0, np.inf]]), {"units": "m"}),
    "gain": Labelled(("cell",), np.array([1 + 2j, complex(np.nan, 1)])),
    "steps": Labelled(("cell",), np.array([-1, 2**40])),
    "scalar": Labelled((), np.array(3.0)),
    "empty": Labelled(("cell", "x"), np.zeros((0, 3))),
    "missing": Labelled(("cell",), np.full(4, np.nan)),
    "long": Labelled(("cell",), np.linspace(0.0, 1.0, 3000)),
    "text": Labelled(("cell",), np.array(["a", "ä", ""], dtype=np.dtypes.StringDType())),
}


def test_s1_what_is_read_without_zarr_is_what_zarr_reads() -> None:
    files = group_files(ARRAYS, {"title": "t"})
    make = default_buffer_prototype().buffer.from_bytes
    group = zarr.open_group(MemoryStore({n: make(d) for n, d in files.items()}), mode="r")
    found = read_group(files)
    assert found.keys() == ARRAYS.keys()
    for name, labelled in found.items():
        by_zarr = np.asarray(group[name][...])
        assert labelled.data.dtype == by_zarr.dtype
        assert labelled.data.shape == by_zarr.shape
        assert labelled.dims == ARRAYS[name].dims
        assert dict(labelled.attributes) == dict(ARRAYS[name].attributes)
        if name != "text":
            assert labelled.data.tobytes() == by_zarr.tobytes() == ARRAYS[name].data.tobytes()
        else:
            assert labelled.data.tolist() == by_zarr.tolist()
    assert read_group(files, frozenset({"steps", "absent"})).keys() == {"steps"}


def test_c3_a_published_array_keeps_the_bits_of_special_values(tmp_path: Path) -> None:
    bits = np.array([0, 1 << 63, 1, 0x7FF0 << 48, 0xFFF0 << 48, 0xFFF8 << 48, (0x7FF8 << 48) + 5, (0x7FF0 << 48) + 1], "u8")
    pairs = np.stack(np.meshgrid(bits, bits), axis=-1).reshape(-1, 2)
    arrays = {f"alone{i}": Labelled(("x",), pair.copy().view(np.complex128)) for i, pair in enumerate(pairs)}
    arrays |= {f"float{i}": Labelled(("x",), bits[i : i + 1].view(np.float64)) for i in range(len(bits))}
    arrays |= {"together": Labelled(("y",), pairs.copy().view(np.complex128)[:, 0])}
    arrays |= {"text": Labelled(("z",), np.array(["", "\0", "a\0", "e\u0301", "\U0001f600"], dtype=np.dtypes.StringDType()))}
    publish_group(LocalStore(tmp_path), "cubes/x/", "1", arrays, {})
    files = StoredFiles(LocalStore(tmp_path), "cubes/x/versions/1")
    ours, opened = read_group(files), pipeline.open_store(tmp_path)["x/cube"]
    plain = xr.open_zarr((tmp_path / "cubes/x/latest").resolve())
    for name, labelled in arrays.items():
        for found in (ours[name].data, opened[name].values, plain[name].values):
            if name == "text":
                assert found.tolist() == labelled.data.tolist()
            else:
                assert found.tobytes() == labelled.data.tobytes(), name


@pytest.mark.parametrize("spoil", [lambda d: d[:-1], lambda d: d + b"\0"])
def test_a_chunk_of_the_wrong_length_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    files = dict(group_files({"status": ARRAYS["status"]}, {}))
    files["status/c/0"] = spoil(files["status/c/0"])
    with pytest.raises(FormatError, match="'status'"):
        read_group(files)


@given(st.lists(st.integers(0, 5000), max_size=4), st.sampled_from([1, 8, 16, 3 * 2**20]))
def test_blocks_are_small_and_their_sides_nearly_equal(shape: list[int], itemsize: int) -> None:
    sides = blocks(tuple(shape), itemsize)
    assert len(sides) == len(shape)
    assert all(1 <= side <= max(1, length) for side, length in zip(sides, shape, strict=True))
    if math.prod(shape) * itemsize <= 16 * 2**20:
        assert sides == tuple(max(1, length) for length in shape)
        return
    assert math.prod(sides) * itemsize <= max(2 * 2**20, itemsize)
    cut = [side for side, length in zip(sides, shape, strict=True) if side < length]
    # A side of n entries in k chunks is rounded by less than two, which halves the shortest side at most.
    assert max(cut) <= 2 * min(cut)
    assert all(length <= 2 * max(cut) for side, length in zip(sides, shape, strict=True) if side == length)


def test_s1_chunks_of_a_segment_stay_slabs_of_64_mb() -> None:
    assert slabs((10_000_000,), 8) == (2**23,)
    assert slabs((1000, 100, 100), 8) == (838, 100, 100)
    assert slabs((2**23, 1), 8) == (2**23, 1)
    assert slabs((), 8) == ()
    assert slabs((0, 3), 8) == (1, 3)


BIG = np.random.default_rng(1).standard_normal((33, 40, 43))
SMALL_LIMITS = {"_SLAB_BYTES": 100_000, "_WHOLE_BYTES": 100_000, "_BLOCK_BYTES": 10_000}
"""Limits with which BIG is a large array."""


@pytest.mark.parametrize("chunking", [slabs, blocks])
def test_a_large_array_reads_back_in_either_form_of_chunks(chunking: Chunking, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in SMALL_LIMITS.items():
        monkeypatch.setattr(f"pipeline.zarrio.{name}", size)
    files = group_files({"v": Labelled(("a", "b", "c"), BIG)}, {}, chunking=chunking)
    assert sum(name.startswith("v/c/") for name in files) > 4
    assert read_group(files)["v"].data.tobytes() == BIG.tobytes()
    rows = np.array([32, 0, 6, 7])
    assert read_group(files, rows=rows)["v"].data.tobytes() == BIG[rows].tobytes()


def test_c4_a_slice_along_any_axis_of_a_large_array_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in SMALL_LIMITS.items():
        monkeypatch.setattr(f"pipeline.zarrio.{name}", size)
    store = LocalStore(tmp_path)
    version = publish_group(store, "cubes/x/", "1", {"v": Labelled(("a", "b", "c"), BIG)}, {})
    check_group(StoredFiles(store, version))
    chunks = {tuple(map(int, e.name.split("/")[-3:])): e.size for e in store.list(f"{version}/v/c")}
    opened = pipeline.open_store(tmp_path)["x/cube"]["v"]
    assert opened.values.tobytes() == BIG.tobytes()
    for axis in range(3):
        of_a_plane = sum(size for place, size in chunks.items() if place[axis] == 1)
        of_a_line = sum(size for place, size in chunks.items() if all(place[other] == 0 for other in range(3) if other != axis))
        assert of_a_plane <= 0.35 * BIG.nbytes
        assert of_a_line <= 0.12 * BIG.nbytes
    for place in ("0/0/9", "0/0/00", "9", "0/0/x"):
        store.put_if_absent(f"{version}/v/c/{place}", b"")
        with pytest.raises(FormatError, match="is no chunk"):
            check_group(StoredFiles(store, version))
        store.delete(f"{version}/v/c/{place}")


def test_a_look_at_the_keys_of_a_store_does_not_load_zarr(tmp_path: Path) -> None:
    code = (
        "import sys, zipfile, pipeline.ledger, pipeline.plan\n"
        "from pipeline.zarrio import read_group\n"
        "with zipfile.ZipFile(sys.argv[1]) as file: files = {n: file.read(n) for n in file.namelist()}\n"
        "assert read_group(files).keys() == {'keys', 'status'} and 'zarr' not in sys.modules"
    )
    with zipfile.ZipFile(tmp_path / "segment.zip", "w") as file:
        for name, data in group_files({n: ARRAYS[n] for n in ("keys", "status")}, {}).items():
            file.writestr(name, data)
    command = [sys.executable, "-c", code, str(tmp_path / "segment.zip")]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr

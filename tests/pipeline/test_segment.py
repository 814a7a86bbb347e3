"""Segments: rule S1, and the missing values and padding of rule C3."""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import ZipStore

from pipeline.archive import pack
from pipeline.compact import merged
from pipeline.experiment import STATUS_CODES
from pipeline.segment import FORMAT_VERSION, CellRecord, Segment, SegmentError, cell_values, decode_segment, encode_segment


@dataclass(frozen=True)
class Declared:
    name: str
    dtype: str = "float64"
    dims: tuple[str, ...] = ()
    coords: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    unit: str = "m"
    long_name: str = "a value"
    kind: str = "cube"
    volatile: bool = False


VARIABLES = (
    Declared("error_m"),
    Declared("iterations", "int64"),
    Declared("note", "str"),
    Declared("gain", "complex128"),
    Declared("profile", dims=("tap",)),
    Declared("per_user", dims=("user",), coords={"user": ("a", "b")}),
)
ATTRIBUTES = {"experiment": "toy", "manifest": {}, "environment": {}, "code_digest": "00", "cost": {}}


def record(number: int, **values: Any) -> CellRecord:
    key = number.to_bytes(16, "big")
    return CellRecord(key, key[::-1], f"cell {number}", STATUS_CODES["ok"], "", "", values)


def full(number: int, taps: int) -> CellRecord:
    return record(
        number, error_m=0.1 * number, iterations=number, note=f"n{number} é", gain=1 + 1j * number,
        profile=np.arange(taps, dtype=float), per_user=np.array([1.0, 2.0]),
    )  # fmt: skip


def test_s1_a_segment_reads_back_bit_for_bit() -> None:
    segment = decode_segment(encode_segment([full(3, 2), full(1, 4)], VARIABLES, ATTRIBUTES))
    assert segment.attributes["format_version"] == FORMAT_VERSION
    assert segment.arrays["key"][0].tobytes() == (3).to_bytes(16, "big")
    assert segment.arrays["error_m"].tolist() == [0.1 * 3, 0.1]
    assert segment.arrays["note"].tolist() == ["n3 é", "n1 é"]
    assert segment.arrays["gain"].dtype == np.complex128
    assert segment.dims["profile"] == ("cell", "tap")


def test_s1_the_same_content_gives_the_same_bytes() -> None:
    one, two = (encode_segment([full(1, 2), full(2, 3)], VARIABLES, ATTRIBUTES) for _ in range(2))
    assert one == two
    with zipfile.ZipFile(io.BytesIO(one)) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_s1_xarray_opens_a_segment_without_this_project(tmp_path: Any) -> None:
    file = tmp_path / "segment.zip"
    file.write_bytes(encode_segment([full(1, 2), full(2, 3)], VARIABLES, ATTRIBUTES))
    with ZipStore(file, mode="r") as store, xr.open_zarr(store) as dataset:
        assert dataset["status"].dtype == np.uint8
        assert dataset["iterations"].dtype == np.int64
        assert dataset["gain"].values[1] == 1 + 2j
        assert dataset.sizes["cell"] == 2


def test_c3_values_left_out_and_short_ones_take_the_missing_value() -> None:
    segment = decode_segment(encode_segment([full(1, 3), record(2, profile=np.ones(1))], VARIABLES, ATTRIBUTES))
    assert np.isnan(segment.arrays["error_m"][1])
    assert segment.arrays["iterations"][1] == -1
    assert segment.arrays["note"][1] == ""
    assert np.isnan(segment.arrays["gain"][1].real)
    assert np.isnan(segment.arrays["gain"][1].imag)
    assert segment.arrays["n_tap"].tolist() == [3, 1]
    assert np.isnan(segment.arrays["profile"][1, 1:]).all()
    assert np.isnan(segment.arrays["per_user"][1]).all()
    assert "n_user" not in segment.arrays


def test_s1_only_the_wanted_variables_are_decoded() -> None:
    segment = decode_segment(encode_segment([full(1, 2)], VARIABLES, ATTRIBUTES), names=("error_m",))
    assert "error_m" in segment.arrays
    assert "status" in segment.arrays
    assert "gain" not in segment.arrays


@pytest.mark.parametrize("cut", [0, 10, 400])
def test_s1_bytes_that_are_no_segment_are_refused(cut: int) -> None:
    data = encode_segment([full(1, 2)], VARIABLES, ATTRIBUTES)
    with pytest.raises(SegmentError):
        decode_segment(data[:cut])


def test_s1_a_later_format_is_refused_with_a_way_out() -> None:
    later = encode_segment([full(1, 1)], VARIABLES, ATTRIBUTES | {"format_version": FORMAT_VERSION + 1})
    with pytest.raises(SegmentError, match="update disac"):
        decode_segment(later)


# --- bits of special values ------------------------------------------------------------------------------------------

FLOATS = np.array(
    [0, 1 << 63, 1, (1 << 63) + 1, 0x7FEFFFFFFFFFFFFF, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0xFFF8 << 48,
     (0x7FF8 << 48) + 5, (0x7FF0 << 48) + 1, (0xFFF0 << 48) + 7, 0x3FF0 << 48], dtype=np.uint64,
).view(np.float64)  # fmt: skip
"""Zeros, the least and the greatest, infinities, quiet and signalling NaN of both signs and with payloads, one."""
INTEGERS = (-1, 0, 1, 2**63 - 1, -(2**63))
TEXTS = ("", "\0", "a\0", "\0a", "e\u0301", "\u00e9", "\U0001f600", "\ud7ff\ue000\uffff", "\n\r\u2028", "a" * 5000)

special_floats = st.sampled_from(range(len(FLOATS)))
special_cells = st.fixed_dictionaries(
    {
        "error_m": special_floats.map(lambda i: FLOATS[i : i + 1].reshape(())),
        "iterations": st.sampled_from(INTEGERS),
        "note": st.one_of(st.sampled_from(TEXTS), st.text(st.characters(codec="utf-8"), max_size=5)),
        "gain": st.tuples(special_floats, special_floats).map(lambda ij: _complex(*ij)),
        "profile": st.lists(special_floats, max_size=3).map(lambda many: FLOATS[many]),
        "per_user": st.lists(special_floats, min_size=2, max_size=2).map(lambda many: FLOATS[many]),
    }
)


def _complex(i: int, j: int) -> np.ndarray[Any, Any]:
    """A complex number of two floats, without arithmetic, which may change the bits of NaN."""
    return np.array([FLOATS[i], FLOATS[j]]).view(np.complex128).reshape(())


def _bits(value: Any) -> object:
    return value if isinstance(value, str) else np.asarray(value).tobytes()


def _same(segment: Segment, row: int, values: dict[str, Any]) -> bool:
    stored = cell_values(segment, row)
    return {name: _bits(stored[name]) for name in values} == {name: _bits(value) for name, value in values.items()}


@pytest.mark.parametrize(("i", "j"), [(5, 7), (7, 5), (8, 6), (0, 9), (1, 8), (11, 2)])
def test_s1_a_complex_number_with_a_nan_is_stored_alone_as_beside_another(i: int, j: int) -> None:
    values = {"gain": _complex(i, j)}
    for others in ([], [record(2, gain=1j)]):
        assert _same(decode_segment(encode_segment([record(1, **values), *others], VARIABLES, ATTRIBUTES)), 0, values)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cells=st.lists(special_cells, min_size=1, max_size=3))
def test_s1_the_bits_of_a_cell_do_not_depend_on_its_neighbours(cells: list[dict[str, Any]]) -> None:
    records = [record(i, **values) for i, values in enumerate(cells)]
    together = encode_segment(records, VARIABLES, ATTRIBUTES | {"options": {}})
    alone = [encode_segment([one], VARIABLES, ATTRIBUTES | {"options": {}}) for one in records]
    compacted = decode_segment(merged([(f"{i:032x}", decode_segment(data)) for i, data in enumerate(alone)]))
    for i, values in enumerate(cells):
        assert _same(decode_segment(together), i, values)
        assert _same(decode_segment(together, rows=np.array([i])), 0, values)
        assert _same(decode_segment(alone[i]), 0, values)
        assert _same(compacted, i, values)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(values=special_cells)
def test_s1_xarray_reads_the_same_bits(values: dict[str, Any]) -> None:
    data = encode_segment([record(1, **values)], VARIABLES, ATTRIBUTES)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "segment.zip")
        file.write_bytes(data)
        with ZipStore(file, mode="r") as store, xr.open_zarr(store) as dataset:
            for name, value in values.items():
                assert _bits(dataset[name].values[0]) == _bits(value), name


def test_s1_a_chunk_that_an_earlier_version_left_out_is_missing_values() -> None:
    data = encode_segment([record(1), record(2)], VARIABLES, ATTRIBUTES)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name not in ("error_m/c/0", "note/c/0", "gain/c/0")}
    assert len(files) == len(zipfile.ZipFile(io.BytesIO(data)).namelist()) - 3
    found, whole = decode_segment(pack(files)), decode_segment(data)
    for name in ("error_m", "note", "gain"):
        assert list(map(_bits, found.arrays[name])) == list(map(_bits, whole.arrays[name]))

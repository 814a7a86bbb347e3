"""Segments: rule S1, and the missing values and padding of rule C3."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import ZipStore

from pipeline.experiment import STATUS_CODES
from pipeline.segment import FORMAT_VERSION, CellRecord, SegmentError, decode_segment, encode_segment


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

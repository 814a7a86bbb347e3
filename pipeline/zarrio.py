"""Labelled arrays to and from the files of a plain Zarr v3 group, in memory."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK_BYTES = 64 * 2**20
_COMPRESS_FROM_BYTES = 4096
_PLAIN = frozenset({"uint8", "int32", "int64", "float64", "complex128"})


@dataclass(frozen=True)
class Labelled:
    """An array with its dimension names and attributes."""

    dims: tuple[str, ...]
    data: NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False
    """Digests and the like: nothing to compress."""


def missing_value(dtype: str) -> Any:
    """Return the missing value of a declared dtype: NaN, NaN+NaNj, -1 or '' (rule C3).

    Raises
    ------
    TypeError
        If the dtype has none (unsigned integers, booleans).
    """
    if dtype == "str":
        return ""
    kind = np.dtype(dtype).kind
    if kind == "f":
        return np.dtype(dtype).type(np.nan)
    if kind == "c":
        return np.dtype(dtype).type(complex(np.nan, np.nan))
    if kind == "i":
        return np.dtype(dtype).type(-1)
    raise TypeError(f"dtype '{dtype}' has no missing value; use a float, complex, signed integer or 'str'")


def numpy_dtype(dtype: str) -> Any:
    """NumPy dtype of a declared dtype; ``"str"`` is variable-length UTF-8."""
    return np.dtypes.StringDType() if dtype == "str" else np.dtype(dtype)


def _fill_value(dtype: np.dtype[Any]) -> Any:
    """Zarr fill value: the missing value, or 0 for the unsigned status and key bytes."""
    if isinstance(dtype, np.dtypes.StringDType):
        return ""
    return dtype.type(0) if dtype.kind in "ub" else missing_value(dtype.name)


def _chunks(data: NDArray[Any]) -> tuple[int, ...]:
    """The whole array as one chunk, or slabs along the leading dimension when it is large."""
    shape = tuple(max(1, n) for n in data.shape)
    if data.nbytes <= _CHUNK_BYTES or not shape:
        return shape
    rows = max(1, math.floor(shape[0] * _CHUNK_BYTES / data.nbytes))
    return (rows, *shape[1:])


def group_files(arrays: Mapping[str, Labelled], attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Files of a Zarr v3 group with consolidated metadata, by their name inside the group."""
    import zarr
    from zarr.storage import MemoryStore

    entries: dict[str, Any] = {}
    store = MemoryStore(entries)
    group = zarr.create_group(store, zarr_format=3, attributes=dict(attributes))
    for name, labelled in arrays.items():
        data = labelled.data
        array = group.create_array(
            name, shape=data.shape, dtype=data.dtype, chunks=_chunks(data), dimension_names=labelled.dims,
            fill_value=_fill_value(data.dtype), attributes=dict(labelled.attributes),
            compressors="auto" if data.nbytes >= _COMPRESS_FROM_BYTES and not labelled.random else None,
        )  # fmt: skip
        array[...] = data
    files = {name: buffer.to_bytes() for name, buffer in sorted(entries.items())}
    return files | {"zarr.json": _consolidated(files)}


def _consolidated(files: Mapping[str, bytes]) -> bytes:
    """The root's metadata with every array's inside, so that a plain `xarray.open_zarr(path)` opens at once."""
    root = json.loads(files["zarr.json"])
    metadata = {n.removesuffix("/zarr.json"): json.loads(d) for n, d in files.items() if n.endswith("/zarr.json")}
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": metadata}
    return json.dumps(root, sort_keys=True).encode()


def read_group(files: Mapping[str, bytes], names: frozenset[str] | None = None) -> dict[str, Labelled]:
    """Arrays of a Zarr v3 group; ``names`` limits which are decoded.

    Arrays in one plain chunk are read as they stand: a look at the keys of a store need not load Zarr, which takes longer
    than the look.
    """
    here = {name.removesuffix("/zarr.json") for name in files if name.count("/") == 1 and name.endswith("/zarr.json")}
    wanted = here if names is None else here & names
    plain = {name: array for name in wanted if (array := _plain_array(files, name)) is not None}
    if len(plain) == len(wanted):
        return plain
    from zarr.core.sync import sync

    return plain | sync(_read_group(files, frozenset(wanted - plain.keys())))


def _plain_array(files: Mapping[str, bytes], name: str) -> Labelled | None:
    """An array of numbers stored whole and uncompressed, or None where it is anything else."""
    about = json.loads(files[f"{name}/zarr.json"])
    shape, endian = tuple(about["shape"]), {"name": "bytes", "configuration": {"endian": "little"}}
    chunk = files.get("/".join([name, "c", *["0"] * len(shape)]))
    regular = about["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}}
    if chunk is None or not regular or about["codecs"] not in ([endian], [{"name": "bytes"}]):
        return None
    if not isinstance(about["data_type"], str) or about["data_type"] not in _PLAIN:
        return None
    dtype = np.dtype(about["data_type"]).newbyteorder("<")
    if about["chunk_grid"]["configuration"]["chunk_shape"] != list(shape) or len(chunk) != math.prod(shape) * dtype.itemsize:
        return None
    data = np.frombuffer(chunk, dtype=dtype).astype(dtype.newbyteorder("=")).reshape(shape)
    return Labelled(tuple(about.get("dimension_names", ())), data, about["attributes"])


async def _read_group(files: Mapping[str, bytes], names: frozenset[str]) -> dict[str, Labelled]:
    # All arrays at once: one after the other, waiting for Zarr's thread took as long again as the reading.
    from zarr.api.asynchronous import open_group
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    make = default_buffer_prototype().buffer.from_bytes
    group = await open_group(MemoryStore({name: make(data) for name, data in files.items()}), mode="r")
    arrays = [(name, array) async for name, array in group.arrays() if name in names]
    data = await asyncio.gather(*(array.getitem(...) for _, array in arrays))
    return {
        name: Labelled(tuple(array.metadata.dimension_names), np.asarray(values), dict(array.attrs))
        for (name, array), values in zip(arrays, data, strict=True)
    }

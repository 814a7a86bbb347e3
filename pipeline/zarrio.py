"""Convert labelled arrays to the files of a plain Zarr v3 group and back, in memory.

Zarr writes the arrays. The reader here does not use Zarr, because importing Zarr takes longer than reading the keys of a store.
The files may come from another person. So the reader accepts only files as the writer makes them, and checks the sizes in the
metadata before it allocates memory.
"""

from __future__ import annotations

import itertools
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.archive import Files
from pipeline.errors import broken_field

if TYPE_CHECKING:
    import zarr

MOST_DECODED_BYTES = 2**30
"""Most bytes that one read decodes; a segment that would take more is read in parts of its rows."""

_SLAB_BYTES = 64 * 2**20
_WHOLE_BYTES = 16 * 2**20
"""Largest array that a published version keeps in one chunk."""
_BLOCK_BYTES = 2 * 2**20
_COMPRESS_FROM_BYTES = 4096
_MOST_METADATA_BYTES = 8 * 2**20
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Labelled:
    """An array with its dimension names and attributes."""

    dims: tuple[str, ...]
    data: NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False
    """Whether the data are random bytes, such as digests: these are not compressed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the data."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the data."""
        return self.data.dtype

    def read(self, box: tuple[slice, ...]) -> NDArray[Any]:
        """Return a part of the data."""
        return self.data[box]


@dataclass(frozen=True)
class Pieces:
    """An array that is too large to be held as a whole: a function gives any box of it."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[tuple[slice, ...]], NDArray[Any]]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False


def missing_value(dtype: str) -> Any:
    """Return the missing value of a declared dtype: NaN, NaN+NaNj, -1 or '' (rule C3).

    Raises
    ------
    TypeError
        If the dtype has no missing value (unsigned integers, booleans).
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
    """Return the NumPy dtype of a declared dtype; ``"str"`` is variable-length UTF-8."""
    return np.dtypes.StringDType() if dtype == "str" else np.dtype(dtype)


def _fill_value(dtype: np.dtype[Any]) -> Any:
    """Return the Zarr fill value: the missing value, or 0 for the unsigned bytes of status and keys."""
    if isinstance(dtype, np.dtypes.StringDType):
        return ""
    return dtype.type(0) if dtype.kind in "ub" else missing_value(dtype.name)


class FormatError(ValueError):
    """The files are not a group as :func:`group_files` writes it."""


Chunking = Callable[[tuple[int, ...], int], tuple[int, ...]]
"""A function that gives the shape of a chunk for an array's shape and the bytes of an entry."""


def slabs(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the shape of a chunk of a segment: the whole array, or for a large array a slab along the leading dimension."""
    whole, size = tuple(max(1, n) for n in shape), math.prod(shape) * itemsize
    if size <= _SLAB_BYTES or not whole:
        return whole
    return (max(1, math.floor(whole[0] * _SLAB_BYTES / size)), *whole[1:])


def blocks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the shape of a chunk of a published array: the whole array up to 16 MB, else a block of nearly equal sides.

    A block has at most 2 MB. So a slice along any axis reads little beside what it needs.
    """
    whole = tuple(max(1, n) for n in shape)
    if math.prod(shape) * itemsize <= _WHOLE_BYTES:
        return whole
    entries = max(1, _BLOCK_BYTES // itemsize)
    # The largest side whose block is small enough. A dimension that is shorter than the side is not cut.
    side = bisect_right(range(1, max(whole) + 1), entries, key=lambda n: math.prod(min(n, length) for length in whole))
    side = max(1, side)
    return tuple(-(-length // -(-length // side)) for length in whole)


def group_files(
    arrays: Mapping[str, Labelled], attributes: Mapping[str, Any], *, chunking: Chunking = slabs
) -> dict[str, bytes]:  # fmt: skip
    """Return the files of a Zarr v3 group with consolidated metadata, by their names inside the group.

    Parameters
    ----------
    arrays, attributes
        Content of the group.
    chunking
        :func:`slabs` for segments, whose bytes never change (rule S1); :func:`blocks` for published versions.
    """
    import zarr
    from zarr.storage import MemoryStore

    entries: dict[str, Any] = {}
    store = MemoryStore(entries)
    group = zarr.create_group(store, zarr_format=3, attributes=dict(attributes))
    for name, labelled in arrays.items():
        create_array(group, name, labelled, chunking)[...] = labelled.data
    files = {name: buffer.to_bytes() for name, buffer in sorted(entries.items())}
    return files | {"zarr.json": consolidated(files)}


def group_stream(arrays: Mapping[str, Labelled | Pieces], attributes: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a Zarr v3 group one after the other, each with its name; the root lacks the consolidated metadata.

    One chunk of one array is in memory at a time.
    """
    import zarr
    from zarr.storage import MemoryStore

    entries: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(entries), zarr_format=3, attributes=dict(attributes))
    yield "zarr.json", entries["zarr.json"].to_bytes()
    for name, array in arrays.items():
        made = create_array(group, name, array, blocks)
        yield f"{name}/zarr.json", entries[f"{name}/zarr.json"].to_bytes()
        steps = (
            [slice(i, min(i + side, n)) for i in range(0, n, side)] for n, side in zip(array.shape, made.chunks, strict=True)
        )
        for box in itertools.product(*steps):
            made[box] = array.read(box)
            for chunk in [key for key in entries if not key.endswith("zarr.json")]:
                yield chunk, entries.pop(chunk).to_bytes()


def create_array(group: zarr.Group, name: str, array: Labelled | Pieces, chunking: Chunking) -> zarr.Array[Any]:
    """Create an array of a Zarr group; its data are not written."""
    size = math.prod(array.shape) * array.dtype.itemsize
    return group.create_array(
        name, shape=array.shape, dtype=array.dtype, chunks=chunking(array.shape, array.dtype.itemsize),
        dimension_names=array.dims, fill_value=_fill_value(array.dtype), attributes=dict(array.attributes),
        compressors="auto" if size >= _COMPRESS_FROM_BYTES and not array.random else None,
        # Zarr treats every NaN, and every complex number with a NaN, as the missing value and would drop its chunk.
        config={"write_empty_chunks": True},
    )  # fmt: skip


def consolidated(files: Mapping[str, bytes]) -> bytes:
    """Return the root's metadata with the metadata of all arrays, so that a plain `xarray.open_zarr(path)` opens at once."""
    root = json.loads(files["zarr.json"])
    metadata = {n.removesuffix("/zarr.json"): json.loads(d) for n, d in files.items() if n.endswith("/zarr.json")}
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": metadata}
    return json.dumps(root, sort_keys=True).encode()


# --- reading ---------------------------------------------------------------------------------------------------------

_Length = Annotated[int, Field(ge=0, lt=2**62)]
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


class _ChunkShape(BaseModel):
    model_config = _STRICT
    chunk_shape: tuple[_Length, ...]


class _ChunkGrid(BaseModel):
    model_config = _STRICT
    name: Literal["regular"]
    configuration: _ChunkShape


class _ArrayMetadata(BaseModel):
    """The variable part of an array's metadata; the rest must equal the constants that the writer writes."""

    model_config = _STRICT
    zarr_format: Literal[3]
    node_type: Literal["array"]
    data_type: Literal[
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128", "string",
    ]  # fmt: skip
    shape: Annotated[tuple[_Length, ...], Field(max_length=32)]
    chunk_grid: _ChunkGrid
    chunk_key_encoding: dict[str, Any]
    codecs: list[dict[str, Any]]
    fill_value: Any
    attributes: dict[str, Any]
    dimension_names: tuple[str, ...] = ()
    storage_transformers: tuple[()] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        return numpy_dtype("str" if self.data_type == "string" else self.data_type)

    @property
    def text(self) -> bool:
        return self.data_type == "string"

    @property
    def compressed(self) -> bool:
        return len(self.codecs) > 1


def group_attributes(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the attributes of a group.

    Raises
    ------
    FormatError
        If the files are not a group.
    """
    from pydantic_core import from_json

    try:
        root = from_json(_read(files, "zarr.json", _MOST_METADATA_BYTES))
    except ValueError as error:
        raise FormatError(f"the metadata cannot be read: {error}") from error
    attributes = root.get("attributes") if isinstance(root, dict) else None
    if not isinstance(attributes, dict):
        raise FormatError("the metadata has no attributes")
    return attributes


def array_shape(files: Mapping[str, bytes], name: str) -> tuple[int, ...]:
    """Return the shape of an array of a group, from the metadata alone."""
    return _metadata(files, name).shape


def array_about(files: Mapping[str, bytes], name: str) -> tuple[tuple[str, ...], str, dict[str, Any]]:
    """Return the dimensions, the kind of dtype and the attributes of an array of a group, from the metadata alone."""
    about = _metadata(files, name)
    return about.dimension_names, about.dtype.kind, about.attributes


def read_group(
    files: Mapping[str, bytes],
    names: frozenset[str] | None = None,
    rows: NDArray[np.int64] | None = None,
    *,
    most: int = MOST_DECODED_BYTES,
) -> dict[str, Labelled]:
    """Read arrays of a Zarr v3 group.

    Parameters
    ----------
    names
        Arrays to decode; all by default.
    rows
        Places along the leading dimension to decode; all by default.
    most
        Most bytes that all arrays may take together.

    Raises
    ------
    FormatError
        If a file is not as :func:`group_files` writes it, or the arrays would take more.
    """
    here = {name.removesuffix("/zarr.json") for name in files if name.count("/") == 1 and name.endswith("/zarr.json")}
    found = {}
    for name in sorted(here if names is None else here & names):
        try:
            about = _metadata(files, name)
            data, size = _decoded(files, name, about, rows, most)
        except FormatError as error:
            raise FormatError(f"array {name!r}: {error}") from error
        most -= size
        found[name] = Labelled(about.dimension_names, data, about.attributes)
    return found


def check_group(files: Files) -> None:
    """Check a group before Zarr reads it: its metadata, the sizes that its chunks declare, and its texts.

    Raises
    ------
    FormatError
        If a file is not as :func:`group_files` writes it.
    """
    group_attributes(files)
    names = {name.split("/", 1)[0] for name in files if "/" in name}
    try:
        shown = json.loads(_read(files, "zarr.json", _MOST_METADATA_BYTES))["consolidated_metadata"]["metadata"]
        if shown != {name: json.loads(files[f"{name}/zarr.json"]) for name in names}:
            raise FormatError("the metadata of the group differ from those of its arrays")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"the metadata cannot be read: {error}") from error
    about = {name: _metadata(files, name) for name in names}
    for key in files:
        name, _, place = key.partition("/")
        if place not in ("", "zarr.json"):
            _check_chunk(files, key, about[name], place.split("/"))


def _check_chunk(files: Files, key: str, about: _ArrayMetadata, place: Sequence[str]) -> None:
    shape = about.chunk_grid.configuration.chunk_shape
    expected = math.prod(shape) * about.dtype.itemsize
    counts = [-(-length // side) for length, side in zip(about.shape, shape, strict=True)]
    known = len(place) == len(shape) + 1 and place[0] == "c"
    if not known or not all(map(_is_number_below, place[1:], counts)):
        raise FormatError(f"{key!r} is no chunk")
    if about.text:
        _chunk(files, key, about, MOST_DECODED_BYTES)
    elif (_frame_size(files.start(key)) if about.compressed else files.size(key)) != expected:
        raise FormatError(f"{key!r} does not hold {expected:,} bytes")


def _is_number_below(text: str, limit: int) -> bool:
    """Return whether a text is a whole number from 0 to below the limit, as Zarr writes it."""
    return text.isdecimal() and len(text) < 20 and int(text) < limit and str(int(text)) == text


def _read(files: Mapping[str, bytes], name: str, most: int) -> bytes:
    try:
        size = files.size(name) if isinstance(files, Files) else len(files[name])
        if size > most:
            raise FormatError(f"{name!r} has {size:,} bytes, at most {most:,} are expected")
        return files[name]
    except KeyError as error:
        raise FormatError(f"{name!r} is missing") from error


def _metadata(files: Mapping[str, bytes], name: str) -> _ArrayMetadata:
    try:
        about = _ArrayMetadata.model_validate_json(_read(files, f"{name}/zarr.json", _MOST_METADATA_BYTES))
    except ValidationError as error:
        raise FormatError(f"metadata {broken_field(error)}") from error
    expected = {
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "chunk_shape": _known_chunk_shape(about),
        "fill_value": _stored_fill(about.dtype),
    }
    stored = {
        "chunk_key_encoding": about.chunk_key_encoding,
        "chunk_shape": about.chunk_grid.configuration.chunk_shape,
        "fill_value": about.fill_value,
    }
    for what, value in expected.items():
        if stored[what] != value:
            raise FormatError(f"metadata {what}: expected {value}")
    if not _known_codecs(about):
        raise FormatError("metadata codecs: expected numbers or texts, not compressed or by zstd")
    if about.dimension_names and len(about.dimension_names) != len(about.shape):
        raise FormatError(f"metadata dimension_names: expected {len(about.shape)} names")
    return about


def _known_chunk_shape(about: _ArrayMetadata) -> tuple[int, ...]:
    """Return the shape of the chunks if the writer makes such chunks, else a shape that it makes.

    Versions that were published before :func:`blocks` have slabs.
    """
    shapes = [chunking(about.shape, about.dtype.itemsize) for chunking in (slabs, blocks)]
    given = about.chunk_grid.configuration.chunk_shape
    return given if given in shapes else shapes[-1]


def _stored_fill(dtype: np.dtype[Any]) -> Any:
    """Return the fill value as Zarr writes it."""
    return {"f": "NaN", "c": ["NaN", "NaN"], "b": False}.get(
        dtype.kind, "" if dtype.kind == "T" else int(dtype.kind == "i") * -1
    )


def _known_codecs(about: _ArrayMetadata) -> bool:
    first: tuple[Any, ...] = ({"name": "bytes", "configuration": {"endian": "little"}},)
    if about.text:
        first = ({"name": "vlen-utf8"}, {"name": "vlen-utf8", "configuration": {}})
    elif about.dtype.itemsize == 1:
        first += ({"name": "bytes"},)
    return 0 < len(about.codecs) < 3 and about.codecs[0] in first and all(c.get("name") == "zstd" for c in about.codecs[1:])


def _decoded(
    files: Mapping[str, bytes], name: str, about: _ArrayMetadata, rows: NDArray[np.int64] | None, most: int
) -> tuple[NDArray[Any], int]:
    """Return the wanted rows of an array, and the bytes that they take."""
    shape = about.shape if rows is None or not about.shape else (len(rows), *about.shape[1:])
    size = math.prod(shape) * about.dtype.itemsize
    if size > most:
        raise FormatError(f"it would take {size:,} bytes, at most {most:,} are left")
    data = np.full(shape, _fill_value(about.dtype), dtype=about.dtype)
    for key, here, inside in _pieces(about, rows) if data.size else ():
        if f"{name}/{key}" in files:  # earlier versions left out a chunk of missing values
            chunk, taken = _chunk(files, f"{name}/{key}", about, most - size)
            size += taken
            data[here] = chunk[inside]
    return data, size


def _pieces(about: _ArrayMetadata, rows: NDArray[np.int64] | None) -> Iterator[tuple[str, Any, Any]]:
    """Yield the chunks that hold the wanted rows: name, place in the result, place in the chunk."""
    if not about.shape:
        yield "c", ..., ...
        return
    sides = about.chunk_grid.configuration.chunk_shape
    leading = _whole_rows(about.shape[0], sides[0]) if rows is None else _chosen_rows(about.shape[0], sides[0], rows)
    counts = [-(-length // side) for length, side in zip(about.shape[1:], sides[1:], strict=True)]
    for (first, here, inside), rest in itertools.product(list(leading), itertools.product(*map(range, counts))):
        starts = [number * side for number, side in zip(rest, sides[1:], strict=True)]
        places = tuple(slice(start, start + side) for start, side in zip(starts, sides[1:], strict=True))
        within = tuple(slice(length - start) for length, start in zip(about.shape[1:], starts, strict=True))
        yield "/".join(("c", str(first), *map(str, rest))), (here, *places), (inside, *within)


def _whole_rows(length: int, side: int) -> Iterator[tuple[int, Any, Any]]:
    for number in range(-(-length // side)):
        start = number * side
        yield number, slice(start, start + side), slice(length - start)


def _chosen_rows(length: int, side: int, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any, Any]]:
    if not 0 <= rows.min() <= rows.max() < length:
        raise FormatError(f"it has {length} rows, not the expected ones")
    for number in np.unique(rows // side).tolist():
        here = rows // side == number
        yield number, here, rows[here] - number * side


def _chunk(files: Mapping[str, bytes], key: str, about: _ArrayMetadata, most: int) -> tuple[NDArray[Any], int]:
    """Return a chunk, and the bytes that its texts take."""
    shape = about.chunk_grid.configuration.chunk_shape
    expected = math.prod(shape) * about.dtype.itemsize
    limit = most if about.text else expected
    # Data that zstd cannot compress become longer by a 256th and a header.
    data = _read(files, key, limit + limit // 256 + 1024 if about.compressed else limit)
    if about.compressed:
        data = _unpacked(data, limit)
    if not about.text:
        if len(data) != expected:
            raise FormatError(f"a chunk has {len(data):,} bytes, expected {expected:,}")
        return np.frombuffer(data, dtype=about.dtype.newbyteorder("<")).reshape(shape), 0
    from numcodecs.vlen import VLenUTF8

    count = math.prod(shape)
    if len(data) < 4 * (count + 1) or int.from_bytes(data[:4], "little") != count:
        raise FormatError(f"a chunk does not hold {count:,} texts")
    try:
        texts = VLenUTF8().decode(data)
    except ValueError as error:
        raise FormatError(f"its texts cannot be read: {error}") from error
    return np.array(texts, dtype=about.dtype).reshape(shape), len(data)


def _unpacked(data: bytes, most: int) -> bytes:
    """Return the content that zstd packed; it takes exactly the bytes that the frame declares."""
    from numcodecs.zstd import decompress

    try:
        size = _frame_size(data)
        if size > most:
            raise FormatError(f"a packed chunk declares {size:,} bytes, at most {most:,} are expected")
        return bytes(decompress(data, np.empty(size, dtype=np.uint8)))
    except (RuntimeError, ValueError, IndexError) as error:
        raise FormatError(f"a packed chunk cannot be read: {error}") from error


def _frame_size(data: bytes) -> int:
    """Return the size of the content that the header of a zstd frame declares (RFC 8878, 3.1.1.1)."""
    if data[:4] != _ZSTD_MAGIC:
        raise FormatError("it is not packed by zstd")
    flags = data[4]
    single = flags >> 5 & 1
    width = (single, 2, 4, 8)[flags >> 6]
    start = 6 - single + (0, 1, 2, 4)[flags & 3]
    field_of_size = data[start : start + width]
    if not width or len(field_of_size) < width:
        raise FormatError("it does not declare its size")
    return int.from_bytes(field_of_size, "little") + (256 if width == 2 else 0)

"""Segments: the results of one task as one immutable, labelled file (rule S1).

A segment is a zip archive that holds a Zarr v3 group with a ``cell`` dimension. It is built in memory, and every entry is
stored once under a fixed date. ``xarray.open_zarr(zarr.storage.ZipStore(path))`` reads it without this project.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from pipeline.archive import Archive, pack
from pipeline.errors import SurroundingsError, broken_field
from pipeline.experiment import STATUS_CODES, Variable
from pipeline.files import File
from pipeline.zarrio import Labelled, array_shape, group_attributes, group_files, missing_value, numpy_dtype, read_group

FORMAT_VERSION = 1
KEY_BYTES = 16
ABOUT = ("key", "scenario_key", "canonical", "status", "message", "traceback")
"""Arrays that every segment holds for its cells besides the experiment's variables."""

Text = Annotated[str, Field(strict=True)]
Name = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{32}$")]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**53)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _storable(dtype: str) -> str:
    try:
        missing_value(dtype)
    except (TypeError, SyntaxError) as error:
        raise ValueError(str(error)) from error
    return dtype


class VariableSpec(BaseModel):
    """The declaration of one of the experiment's variables in a segment."""

    dims: list[Text]
    coords: dict[str, list[Any]]
    dtype: Annotated[str, Field(strict=True, max_length=32), AfterValidator(_storable)]
    units: Text
    long_name: Text
    kind: Text
    volatile: bool


class _Head(BaseModel):
    format_version: Count
    variables: dict[str, VariableSpec] = Field(alias="schema")


class SegmentError(SurroundingsError):
    """The bytes are not a segment that this version can read."""


@dataclass(frozen=True)
class CellRecord:
    """The outcome of one cell, before it is stored.

    ``values`` maps variable names to the cell's arrays; a variable that is left out takes its missing value.
    """

    key: bytes
    scenario_key: bytes
    canonical: str
    status: int
    message: str
    traceback: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Segment:
    """A decoded segment: arrays over ``cell``, and the attributes that explain the arrays."""

    attributes: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    dims: dict[str, tuple[str, ...]]

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the names of the experiment's variables that this segment keeps."""
        return tuple(self.attributes["schema"])


def schema_of(variables: Iterable[Variable]) -> dict[str, dict[str, Any]]:
    """Return the declared schema as plain data, in the order of the names."""
    return {
        v.name: {
            "dims": list(v.dims),
            "coords": {dim: list(labels) for dim, labels in v.coords.items()},
            "dtype": v.dtype,
            "units": v.unit,
            "long_name": v.long_name,
            "kind": v.kind,
            "volatile": bool(v.volatile),
        }
        for v in sorted(variables, key=lambda v: v.name)
    }


def _own_sizes(records: Sequence[CellRecord], schema: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the length of each own dimension: the number of its labels, else the largest length among the cells."""
    sizes: dict[str, int] = {}
    for name, spec in schema.items():
        for axis, dim in enumerate(spec["dims"]):
            found = [np.shape(r.values[name]) for r in records if name in r.values]
            if any(len(shape) != len(spec["dims"]) for shape in found):
                raise ValueError(f"variable '{name}' must have the dimensions {spec['dims']}, found shapes {found[:3]}")
            largest = max((shape[axis] for shape in found), default=0)
            labels = spec["coords"].get(dim)
            if labels is not None and largest > len(labels):
                raise ValueError(f"variable '{name}': dimension '{dim}' has {len(labels)} labels but length {largest}")
            sizes[dim] = max(sizes.get(dim, 0), largest if labels is None else len(labels))
    return sizes


def _stack(
    records: Sequence[CellRecord], name: str, spec: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[NDArray[Any], dict[str, NDArray[np.int64]]]:
    """Pad the values of one variable to a common shape; return them with each cell's true lengths (rule C3)."""
    dtype = numpy_dtype(spec["dtype"])
    stacked = np.full((len(records), *(sizes[d] for d in spec["dims"])), missing_value(spec["dtype"]), dtype=dtype)
    lengths = {d: np.zeros(len(records), dtype=np.int64) for d in spec["dims"] if d not in spec["coords"]}
    for row, record in enumerate(records):
        if name in record.values:
            value = np.asarray(record.values[name], dtype=dtype)
            place: tuple[Any, ...] = (row, *(slice(n) for n in value.shape))
            stacked[place] = value
            for axis, dim in enumerate(spec["dims"]):
                if dim in lengths:
                    lengths[dim][row] = value.shape[axis]
    return stacked, lengths


def encode_segment(records: Sequence[CellRecord], variables: Sequence[Variable], attributes: Mapping[str, Any]) -> bytes:
    """Build the bytes of a segment (rule S1).

    Parameters
    ----------
    records
        Cells of one task, in any order.
    variables
        The declared variables to keep.
    attributes
        Experiment, options, code digest, manifest and environment: JSON-compatible.
    """
    schema = schema_of(variables)
    sizes = _own_sizes(records, schema)
    arrays: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {
        "key": (("cell", "key_byte"), _key_rows(r.key for r in records)),
        "scenario_key": (("cell", "key_byte"), _key_rows(r.scenario_key for r in records)),
        "canonical": (("cell",), np.array([r.canonical for r in records], dtype=np.dtypes.StringDType())),
        "status": (("cell",), np.array([r.status for r in records], dtype=np.uint8)),
        "message": (("cell",), np.array([r.message for r in records], dtype=np.dtypes.StringDType())),
        "traceback": (("cell",), np.array([r.traceback for r in records], dtype=np.dtypes.StringDType())),
    }
    counts: dict[str, NDArray[np.int64]] = {}
    for name, spec in schema.items():
        stacked, lengths = _stack(records, name, spec, sizes)
        arrays[name] = (("cell", *spec["dims"]), stacked)
        for dim, length in lengths.items():
            counts[f"n_{dim}"] = np.maximum(counts.get(f"n_{dim}", length), length)
    for name, count in counts.items():
        arrays[name] = (("cell",), count)
    return encode_arrays(arrays, schema, attributes)


def encode_arrays(
    arrays: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]], schema: Mapping[str, Any], attributes: Mapping[str, Any]
) -> bytes:
    """Return the bytes of a segment from its stacked arrays: name -> dimensions and data."""
    content = {"format": "disac-segment", "format_version": FORMAT_VERSION, "schema": schema, **attributes}
    labelled = {n: Labelled(dims, data, random=n in ("key", "scenario_key")) for n, (dims, data) in arrays.items()}
    return pack(group_files(labelled, content))


def _key_rows(keys: Iterable[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


def decode_segment(
    data: bytes | File,
    names: Iterable[str] | None = None,
    about: Iterable[str] = ABOUT,
    rows: NDArray[np.int64] | None = None,
) -> Segment:
    """Read a segment; only the requested parts are decoded.

    Parameters
    ----------
    data
        The segment's bytes, or a file that holds them.
    names
        The experiment's variables to decode; all by default.
    about
        The arrays of :data:`ABOUT` to decode.
    rows
        Cells to decode, by their place in the segment; all by default.

    Raises
    ------
    SegmentError
        If the bytes are not a segment or come from a later format.
    """
    try:
        files = Archive(io.BytesIO(data) if isinstance(data, bytes) else data)
        attributes = group_attributes(files)
        if attributes.get("format") != "disac-segment":
            raise SegmentError("not a segment: its group is not marked as one")
        version = attributes.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise SegmentError(f"segment format {version} is newer than {FORMAT_VERSION}: update disac to read it")
        _Head.model_validate(attributes)
        schema: dict[str, dict[str, Any]] = attributes["schema"]
        wanted = frozenset(schema) if names is None else frozenset(schema) & frozenset(names)
        skipped = (frozenset(ABOUT) - frozenset(about)) | (frozenset(schema) - wanted)
        stored = {name.split("/", 1)[0] for name in files if "/" in name}
        arrays = read_group(files, frozenset(stored - skipped), rows)
        shape = array_shape(files, "key")
    except ValidationError as error:
        raise SegmentError(f"not a segment: {broken_field(error)}") from error
    except ValueError as error:
        raise SegmentError(f"not a segment: {error}") from error
    if shape[1:] != (KEY_BYTES,):
        raise SegmentError(f"not a segment: its keys have the shape {shape}")
    _check_arrays(arrays, schema, {*wanted, *about}, shape[0] if rows is None else len(rows))
    return Segment(attributes, {n: a.data for n, a in arrays.items()}, {n: a.dims for n, a in arrays.items()})


def _check_arrays(arrays: Mapping[str, Labelled], schema: Mapping[str, Any], wanted: Collection[str], cells: int) -> None:
    """Check that every array runs along the cells, and that each requested array is as the format or the schema declares."""
    text, count, byte = numpy_dtype("str"), np.dtype(np.int64), np.dtype(np.uint8)
    wanted = {*wanted, *(arrays.keys() & {"origin"})}
    declared: dict[str, tuple[tuple[str, ...], np.dtype[Any]]]
    declared = dict.fromkeys(("canonical", "message", "traceback"), (("cell",), text))
    declared |= {"origin": (("cell",), np.dtype(np.int32))}
    declared |= {"key": (("cell", "key_byte"), byte), "scenario_key": (("cell", "key_byte"), byte), "status": (("cell",), byte)}
    declared |= {name: (("cell", *spec["dims"]), numpy_dtype(spec["dtype"])) for name, spec in schema.items()}
    for spec in (schema[name] for name in schema if name in wanted):
        for dim in set(spec["dims"]) - set(spec["coords"]):
            declared[f"n_{dim}"] = (("cell",), count)
            wanted = {*wanted, f"n_{dim}"}
    for name in sorted(wanted):
        if name not in arrays or (arrays[name].dims, arrays[name].data.dtype) != declared[name]:
            raise SegmentError(f"not a segment: array {name!r} is not as declared, {declared[name]!r}")
    for name, array in arrays.items():
        if array.data.shape[:1] != (cells,):
            raise SegmentError(f"not a segment: array {name!r} has the shape {array.data.shape} for {cells} cells")


def failed_record(key: bytes, scenario_key: bytes, canonical: str, message: str, traceback: str = "") -> CellRecord:
    """Return the record of a failure of the cell itself: it is the result for the cell's identity (rule W3)."""
    return CellRecord(key, scenario_key, canonical, STATUS_CODES["failed"], message, traceback, {})


def cell_values(segment: Segment, row: int) -> dict[str, Any]:
    """Return the experiment's variables of one cell, without the padding of the segment."""
    found = {}
    for name, spec in segment.attributes["schema"].items():
        if name in segment.arrays:
            value = segment.arrays[name][row]
            counts = [int(segment.arrays[f"n_{d}"][row]) if d not in spec["coords"] else None for d in spec["dims"]]
            found[name] = value[tuple(slice(n) for n in counts)] if counts else value
    return found

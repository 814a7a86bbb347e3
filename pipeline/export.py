"""Write a cube or surfaces as tables for other programs: csv, parquet, netCDF and MATLAB files, all from one form.

The main table has a row per planned cell and a column per axis and scalar. A variable with dimensions of its own goes to a
table in long form, a row per entry, without the padding of the cube. A complex column becomes two, ``_real`` and ``_imag``.
A status is a word.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES, STATUS_NAMES

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Table:
    """Columns of equal length; texts are objects. ``units`` and ``long_names`` hold entries only for columns that have them."""

    name: str
    columns: Mapping[str, NDArray[Any]]
    units: Mapping[str, str]
    long_names: Mapping[str, str]


def tables_of(dataset: xr.Dataset) -> list[Table]:
    """Return all tables of a published cube or of surfaces; the table of the cells is first.

    Parameters
    ----------
    dataset
        A cube as a node of :func:`pipeline.open_store` holds it, or the :func:`pipeline.flat_surfaces.flat_names` of surfaces.
    """
    lead = dataset["status"] if "status" in dataset else dataset[max(dataset.data_vars, key=lambda n: dataset[n].ndim)]
    axes = [str(d) for d in lead.dims]
    counts = {f"n_{d}" for d in dataset.dims}
    groups: dict[tuple[str, ...], list[str]] = {tuple(axes): []}
    for name in map(str, dataset.data_vars):
        if name not in counts:
            groups.setdefault(_ordered(dataset[name].dims, axes), []).append(name)
    return [_table(dataset, axes, dims, names) for dims, names in groups.items() if names]


def _ordered(dims: Any, axes: list[str]) -> tuple[str, ...]:
    return tuple([a for a in axes if a in dims] + [str(d) for d in dims if d not in axes])


def _table(dataset: xr.Dataset, axes: list[str], dims: tuple[str, ...], names: list[str]) -> Table:
    shape = tuple(dataset.sizes[d] for d in dims)
    kept = _kept(dataset, axes, dims, shape)
    columns: dict[str, NDArray[Any]] = {}
    sources: dict[str, str] = {}
    place = np.nonzero(kept)
    for number, dim in enumerate(dims):
        labels = dataset[dim].values if dim in dataset.coords else np.arange(shape[number])
        columns[dim], sources[dim] = _plain(labels[place[number]]), dim
        for member in map(str, dataset.coords):
            if member != dim and dataset[member].dims == (dim,):
                columns[member], sources[member] = _plain(dataset[member].values[place[number]]), member
    for name in names:
        values = dataset[name].transpose(*dims).values[kept]
        if name == "status":
            values = np.array([STATUS_NAMES[int(code)] for code in values], dtype=object)
        for column, data in _split(name, values):
            columns[column], sources[column] = _plain(data), name
    attributes = {c: dataset[s].attrs if s in dataset.variables else {} for c, s in sources.items()}
    own = [d for d in dims if d not in axes]
    title = "cells" if dims == tuple(axes) else "by_" + "_".join(own or dims)
    units = {c: str(a["units"]) for c, a in attributes.items() if a.get("units") not in (None, "", "1")}
    return Table(title, columns, units, {c: str(a["long_name"]) for c, a in attributes.items() if a.get("long_name")})


def _kept(dataset: xr.Dataset, axes: list[str], dims: tuple[str, ...], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of the rows of a table: planned cells and, along own dimensions, the entries that a cell uses (C3)."""
    kept = np.ones(shape, dtype=bool)

    def along(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape([n if d in axes else 1 for d, n in zip(dims, shape, strict=True)])

    if "status" in dataset and set(axes) <= set(dims):
        kept &= along(dataset["status"].transpose(*axes).values != STATUS_CODES["not_planned"])
    for number, dim in enumerate(dims):
        if dim not in axes and f"n_{dim}" in dataset:
            entry = np.arange(shape[number]).reshape([-1 if d == dim else 1 for d in dims])
            kept &= entry < along(dataset[f"n_{dim}"].transpose(*axes).values)
    return kept


def _split(name: str, values: NDArray[Any]) -> list[tuple[str, NDArray[Any]]]:
    if values.dtype.kind == "c":
        return [(f"{name}_real", values.real), (f"{name}_imag", values.imag)]
    return [(name, values)]


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Convert texts to Python strings, which every writer accepts."""
    text = isinstance(values.dtype, np.dtypes.StringDType) or values.dtype.kind in "OU"
    return np.array([str(v) for v in values.tolist()], dtype=object) if text else values


# --- writers ---------------------------------------------------------------------------------------------------------


def write_tables(tables: list[Table], file: Path, provenance: Mapping[str, str]) -> list[Path]:
    """Write tables in the format of the file's ending: the first to ``file``, each other beside it with the table's name.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    UsageError
        If the ending belongs to no table format, or the library for the format is missing.
    """
    if file.suffix not in FORMATS:
        raise UsageError(f"'{file}': tables are written as {', '.join(FORMATS)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".mat":
        _write_mat(tables, file, provenance)
        return [file]
    written = []
    for number, table in enumerate(tables):
        target = file if number == 0 else file.with_stem(f"{file.stem}-{table.name}")
        _WRITERS[file.suffix](table, target, provenance)
        written.append(target)
    return written


def _write_csv(table: Table, file: Path, provenance: Mapping[str, str]) -> None:
    """Write numbers in their shortest exact form; units, long names and provenance go to ``<file>.json`` beside the table."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows(zip(*(column.tolist() for column in table.columns.values()), strict=True))
    sidecar = {"units": dict(table.units), "long_names": dict(table.long_names), "provenance": dict(provenance)}
    file.with_name(f"{file.name}.json").write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")


def _write_parquet(table: Table, file: Path, provenance: Mapping[str, str]) -> None:
    """Write units and long names as metadata of the columns, and provenance as metadata of the table."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError("parquet needs a library that is not installed: pip install 'disac[parquet]'") from error
    arrays, fields = [], []
    for name, column in table.columns.items():
        array = pa.array(column.tolist() if column.dtype == object else column)
        notes = {k: v[name] for k, v in (("units", table.units), ("long_name", table.long_names)) if name in v}
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=notes or None))
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=dict(provenance))), file)


def _write_netcdf(table: Table, file: Path, provenance: Mapping[str, str]) -> None:
    """Write NetCDF 3 with 64-bit offsets, which every program reads: one dimension ``row``, texts as characters."""
    from scipy.io import netcdf_file

    with netcdf_file(file, "w", version=2) as out:
        rows = len(next(iter(table.columns.values())))
        out.createDimension("row", rows)
        for key, value in provenance.items():
            setattr(out, key, value.encode())
        for name, column in table.columns.items():
            if column.dtype == object:
                texts = [text.encode() for text in column]
                width = max([1, *map(len, texts)])
                out.createDimension(f"{name}_length", width)
                variable = out.createVariable(name, "c", ("row", f"{name}_length"))
                variable[:] = np.array(texts, dtype=f"S{width}").view("S1").reshape(rows, width)
            else:
                # The format has no 64-bit integers: doubles hold integers up to 2^53.
                variable = out.createVariable(name, "d", ("row",))
                variable[:] = column.astype(np.float64)
            for key, notes in (("units", table.units), ("long_name", table.long_names)):
                if name in notes:
                    setattr(variable, key, notes[name].encode())


def _write_mat(tables: list[Table], file: Path, provenance: Mapping[str, str]) -> None:
    """Write a struct per table for MATLAB and Octave (version 5 format); ``units`` and ``long_names`` are structs in it."""
    from scipy.io import savemat

    content: dict[str, Any] = {"provenance": {k: _ascii(v) for k, v in provenance.items()}}
    for table in tables:
        columns = {
            _field(name): np.array([_ascii(v) for v in column], dtype=object).reshape(-1, 1)
            if column.dtype == object
            else column.reshape(-1, 1).astype(np.float64)
            for name, column in table.columns.items()
        }
        notes = {kind: {_field(k): _ascii(v) for k, v in said.items()} or {"none": ""}
                 for kind, said in (("units", table.units), ("long_names", table.long_names))}  # fmt: skip
        content[_field(table.name)] = columns | notes
    savemat(file, content, oned_as="column", long_field_names=True, do_compression=False)


def _field(name: str) -> str:
    """Return a name that MATLAB accepts as a field: at most 63 letters, digits and underscores."""
    cleaned = re.sub(r"\W", "_", name, flags=re.ASCII)
    return (cleaned if cleaned[:1].isalpha() else f"x{cleaned}")[:63]


def _ascii(text: str) -> str:
    """Return the text in ASCII letters: Octave cuts other text short."""
    return text.encode("ascii", "backslashreplace").decode()


_WRITERS: dict[str, Callable[[Table, Path, Mapping[str, str]], None]] = {
    ".csv": _write_csv, ".parquet": _write_parquet, ".nc": _write_netcdf,
}  # fmt: skip
FORMATS = (*_WRITERS, ".mat")

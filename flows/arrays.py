"""Read and write named arrays in the formats that people use: Zarr groups, .npz, and .mat of every version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError

ENDINGS = "a Zarr group (.zarr), .npz or .mat"


def read_arrays(file: Path, ranks: Mapping[str, int]) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]]]:
    """Read the arrays of a file by name, and the names of their dimensions if the file has them. No code of it is executed.

    Parameters
    ----------
    ranks
        Number of dimensions that each array should have. MATLAB drops trailing dimensions of length one and has no scalars.

    Raises
    ------
    UsageError
        If the file is absent, of another format or not readable.
    """
    if not file.exists():
        raise UsageError(f"'{file}' does not exist; expected {ENDINGS}")
    try:
        if file.is_dir():
            return _read_zarr(file)
        if file.suffix == ".npz":
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                return {str(name): arrays[name] for name in arrays.files}, {}
        if file.suffix == ".mat":
            found = _read_hdf5(file) if _is_hdf5(file) else _read_mat(file)
            return {name: _with_rank(value, ranks.get(name, value.ndim)) for name, value in found.items()}, {}
    except (OSError, ValueError, NotImplementedError, KeyError, BadZipFile) as error:
        raise UsageError(f"'{file}' cannot be read: {error}") from error
    raise UsageError(f"'{file}': expected {ENDINGS}")


def _read_zarr(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]]]:
    import zarr

    group = zarr.open_group(folder, mode="r")
    arrays = dict(group.arrays())
    named = {name: _dimension_names(array) for name, array in arrays.items()}
    return {name: np.asarray(array[...]) for name, array in arrays.items()}, {n: dims for n, dims in named.items() if dims}


def _dimension_names(array: Any) -> tuple[str, ...]:
    """Return the names of a Zarr array's dimensions, of version 3 or as xarray writes them into version 2."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    return tuple(map(str, names))


def _is_hdf5(file: Path) -> bool:
    import h5py

    return bool(h5py.is_hdf5(file))


def _read_hdf5(file: Path) -> dict[str, NDArray[Any]]:
    """Read a file of MATLAB 7.3: HDF5 with reversed dimensions, and with complex numbers as pairs."""
    import h5py

    found = {}
    with h5py.File(file, "r") as content:
        for name, item in content.items():
            if not isinstance(item, h5py.Dataset):
                continue
            value = np.asarray(item[()])
            if value.dtype.names == ("real", "imag"):
                value = value["real"] + 1j * value["imag"]
            if value.dtype.kind in "biufc":
                found[str(name)] = value.T
    return found


def _read_mat(file: Path) -> dict[str, NDArray[Any]]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        whole = loadmat(file)
    except MatReadError as error:
        raise ValueError(str(error)) from error
    content = {name: value for name, value in whole.items() if isinstance(value, np.ndarray)}
    return {name: value for name, value in content.items() if value.dtype.kind in "biufc"}


def _with_rank(value: NDArray[Any], rank: int) -> NDArray[Any]:
    """Return the same numbers with ``rank`` dimensions, as far as adding or removing dimensions of length one allows."""
    if value.ndim < rank:
        return value.reshape(value.shape + (1,) * (rank - value.ndim))
    if rank <= 1 < value.ndim and value.size == max(value.shape, default=1):
        return value.reshape(-1) if rank == 1 else value.reshape(()) if value.size == 1 else value
    return value


def write_arrays(file: Path, arrays: Mapping[str, tuple[tuple[str, ...], Any, str]], about: Mapping[str, Any]) -> None:
    """Write labelled arrays (dimensions, values, unit) and attributes. The file's ending chooses the format.

    Raises
    ------
    UsageError
        If the ending belongs to no format, or a Zarr group or folder of the name already exists.
    """
    if file.suffix == ".npz":
        np.savez(file, allow_pickle=False, **{name: np.asarray(value) for name, (_, value, _) in arrays.items()})
    elif file.suffix == ".mat":
        from scipy.io import savemat

        plain = {name: np.asarray(value) for name, (_, value, _) in arrays.items()}
        savemat(file, plain | {name: value for name, value in about.items() if value is not None}, oned_as="column")
    elif file.suffix in (".zarr", ""):
        import xarray as xr

        if file.exists():
            raise UsageError(f"'{file}' already exists; give another name or remove it")
        data = {name: (dims, np.asarray(value), {"units": unit}) for name, (dims, value, unit) in arrays.items()}
        xr.Dataset(data, attrs=dict(about)).to_zarr(file, mode="w-", consolidated=False, zarr_format=3)
    else:
        raise UsageError(f"'{file}': expected the ending .zarr, .mat or .npz")

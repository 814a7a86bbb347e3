"""The software and machine that produced a segment: recorded and reported, never identity (rule I6)."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("disac", "numpy", "scipy", "cvxpy", "clarabel", "xarray", "zarr", "dask", "distributed", "prefect")


@functools.cache
def environment() -> dict[str, str]:
    """Versions of Python, the numerical libraries and the machine type of this process."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

"""The software and machine that produced a segment: recorded and reported, never identity (rule I6)."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

_PACKAGES = ("disac", "numpy", "scipy", "cvxpy", "clarabel", "xarray", "zarr", "dask", "distributed", "prefect")


@functools.cache
def revision() -> str:
    """Return git's name of the source's revision, with ``-dirty`` for uncommitted changes; empty outside a checkout."""
    folder = Path(__file__).resolve().parent
    if "site-packages" in folder.parts:
        return ""  # the package is installed: a checkout around it belongs to another project
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


@functools.cache
def environment() -> dict[str, str]:
    """Return the versions of Python, the numerical libraries and the project, and the machine type of this process."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    if revision():
        found["revision"] = revision()
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found["blas"] = f"{blas['name']} {blas['version']}"
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

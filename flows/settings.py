"""Settings that must be made before Prefect or Dask is imported: no telemetry, a long start timeout, one BLAS thread."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pipeline.files import told

_RECORDS_BYTES = 2**20
"""Bytes that Prefect's database takes at least."""

_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_OF_A_RUN = {
    # A run that has begun does not need its server: a call that fails is not repeated for a minute.
    "PREFECT_CLIENT_MAX_RETRIES": "1",
    "PREFECT_API_REQUEST_TIMEOUT": "8",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


def prepare_environment() -> None:
    """Set defaults for this process and its children; settings of the user are kept."""
    for name, value in (_DEFAULTS | _OF_A_RUN).items():
        os.environ.setdefault(name, value)
    cache = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache")
    os.environ.setdefault("PREFECT_HOME", str(cache / "disac" / "prefect"))


def prefects_own_environment() -> dict[str, str]:
    """Return the environment for Prefect's own command: without the settings of a run, which would keep it silent."""
    return {name: value for name, value in os.environ.items() if _OF_A_RUN.get(name) != value}


def make_prefect_home() -> None:
    """Make the folder in which Prefect keeps its records.

    Raises
    ------
    SurroundingsError
        If the folder cannot be made, or cannot be written to.
    """
    home = Path(os.environ["PREFECT_HOME"])
    with told(home, writing=_RECORDS_BYTES):
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"\0" * _RECORDS_BYTES)

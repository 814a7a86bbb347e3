"""Where the work runs: workers on this machine, or any Dask cluster by its address."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.errors import UsageError


@dataclass(frozen=True)
class Cluster:
    """A connected client and words for people."""

    client: Any
    description: str
    dashboard: str

    def workers(self) -> int:
        """Number of worker threads at this moment."""
        return sum(self.client.nthreads().values())


def config_file() -> Path:
    """The `dask_config.yaml` in force: DISAC_CONFIG, the current folder's, else the installed one."""
    named = os.environ.get("DISAC_CONFIG")
    here = Path(__file__).resolve().parent
    candidates = (
        [Path(named)] if named else [Path("dask_config.yaml"), here.parent / "dask_config.yaml", here / "dask_config.yaml"]
    )
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UsageError(f"no Dask configuration: {candidates[0]} does not exist")


def _load_config() -> dict[str, Any]:
    import dask.config

    file = config_file()
    content = YAML(typ="safe", pure=True).load(file) or {}
    if not isinstance(content, dict):
        raise UsageError(f"{file}: expected a mapping, found {type(content).__name__}")
    dask.config.update(dask.config.config, content, priority="new")
    settings: dict[str, Any] = (content.get("disac") or {}).get("cluster") or {}
    return settings


@contextmanager
def connect(address: str | None, workers: int | None = None) -> Iterator[Cluster]:
    """Connect to ``address``, or start workers on this machine: processes with one BLAS thread each.

    Raises
    ------
    UsageError
        If no scheduler answers at the address.
    """
    settings = _load_config()
    from distributed import Client, LocalCluster

    # Lost workers and schedulers are told by the sweep, in one sentence.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    address = address or settings.get("address")
    if address:
        try:
            client = Client(address, timeout="10s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"--cluster {address}: no Dask scheduler answers there ({error})") from error
        with client:
            yield Cluster(client, f"cluster at {address}", client.dashboard_link)
        return
    count = workers or settings.get("workers") or os.cpu_count() or 1
    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0",
            memory_limit=settings.get("memory_limit", "auto"), silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield Cluster(client, f"{count} local worker processes", cluster.dashboard_link)


def killed_worker(error: BaseException) -> bool:
    """Whether a task's error means that it killed its worker (or was aboard when that died)."""
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)

"""Check whether this machine can run studies. Each check reports its finding. If something is wrong, it names the remedy."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from uuid import uuid4

from pipeline.layout import LOCKS
from pipeline.store import LocalStore, open_store_backend

LITTLE_SPACE_BYTES = 2 * 2**30
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Finding:
    """The finding of one check; ``state`` is ``good``, ``beware`` or ``wrong``."""

    what: str
    state: str
    words: str


def examine(location: str) -> Iterator[Finding]:
    """Check solvers, numerical threads, Prefect, disk and store; yield one finding at a time."""
    checks: list[tuple[str, Callable[[], tuple[str, str]]]] = [
        ("Python", _python), ("packages", _packages), ("solver", _solver), ("BLAS threads", _threads), ("Prefect", _prefect),
        ("disk", lambda: _disk(location)), ("store", lambda: _store(location)),
    ]  # fmt: skip
    for what, check in checks:
        try:
            state, words = check()
        except Exception as error:  # a check that breaks is its own finding
            state, words = "wrong", f"{type(error).__name__}: {error}"
        yield Finding(what, state, words)


def _python() -> tuple[str, str]:
    from pipeline.environment import environment

    found = environment()
    revision = f", revision {found['revision']}" if "revision" in found else ""
    state = "good" if sys.version_info >= (3, 11) else "wrong"
    return state, f"{found['python']} on {found['machine']}, disac {found.get('disac', 'not installed')}{revision}"


def _packages() -> tuple[str, str]:
    from packaging.requirements import Requirement

    wrong = []
    for text in requires("disac") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed}, needs {requirement.specifier}")
    return ("wrong", "; ".join(wrong)) if wrong else ("good", "all within their bounds")


def _solver() -> tuple[str, str]:
    """Solve a semidefinite program whose optimum is known: the least t with t I >= diag(1, 2, 3) is 3."""
    import cvxpy as cp
    import numpy as np

    from disac.optim.conic import SETTINGS, solve

    t = cp.Variable()
    program = cp.Problem(cp.Minimize(t), [t * np.eye(3) - np.diag([1.0, 2.0, 3.0]) >> 0])
    outcome, iterations = solve(program, SETTINGS[0])
    good = outcome == "optimal" and abs(float(t.value) - 3.0) < 1e-6
    return "good" if good else "wrong", f"Clarabel {version('clarabel')} on a known program: {outcome}, {iterations} iterations"


def _threads() -> tuple[str, str]:
    from pipeline.environment import environment

    other = [f"{name}={os.environ.get(name, 'not set')}" for name in _THREADS if os.environ.get(name) != "1"]
    blas = environment()["blas"]
    if other:
        return (
            "beware",
            f"{blas}; {', '.join(other)}: workers share cores; set them to 1 (the last bits of results may change, rule R2)",
        )
    return "good", f"{blas}, one thread in each process; {os.cpu_count()} cores"


def _prefect() -> tuple[str, str]:
    from flows.prefect_server import staying

    server = os.environ.get("PREFECT_API_URL") or staying()
    words = f"the server at {server}" if server else "a temporary server for each run (`disac server` starts one that stays)"
    return "good", f"Prefect {version('prefect')} with FastAPI {version('fastapi')}; {words}"


def _disk(location: str) -> tuple[str, str]:
    store = open_store_backend(location)
    folder = store.path("x")
    if folder is None:
        return "good", "the store is in memory"
    here = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(here).free
    state = "good" if free > LITTLE_SPACE_BYTES else "beware"
    return state, f"{free / 1e9:.1f} GB free at {here}"


def _store(location: str) -> tuple[str, str]:
    from pipeline.ledger import open_ledger

    if "://" not in location and not Path(location).exists():
        return "good", f"'{location}' does not exist yet; the first run makes it"
    store = open_store_backend(location)
    if isinstance(store, LocalStore):
        _try_writing(store)
    ledger = open_ledger(store)
    words = f"{len(ledger.segments)} segments, {len(ledger.keys)} rows, writable"
    locks = [entry.name.removeprefix(LOCKS).removesuffix(".json") for entry in store.list(LOCKS)]
    words += f"; locked: {', '.join(locks)}" if locks else ""
    if ledger.damaged:
        return "wrong", f"{words}; {len(ledger.damaged)} damaged, their cells will be computed again: {ledger.damaged[0]}"
    return "good", words


def _try_writing(store: LocalStore) -> None:
    """Write, link, swap a pointer and remove: a run needs these actions of the file system."""
    name = f"doctor-{uuid4().hex}"
    try:
        store.put_if_absent(f"{name}/a", b"1")
        store.publish_pointer(f"{name}/b", f"{name}/a")
        if store.get(f"{name}/a") != b"1" or store.read_pointer(f"{name}/b") != f"{name}/a":
            raise OSError("a file cannot be read back as it was written")
    finally:
        store.delete(f"{name}/b")
        store.delete(f"{name}/a")

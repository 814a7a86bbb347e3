"""Surfaces of large cubes: CPU seconds and the most memory of the process that makes them, beside the allowed ones.

`python -m benchmarks surfaces-1e6` measures a million cells with 30 variables, `python -m benchmarks surfaces-1e8` a hundred
million with three; the latter takes some minutes, and 3 GB of the folder for temporary files.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.registry import Row
from pipeline.aggregate import aggregate_blocks
from pipeline.cube import publish_group
from pipeline.experiment import STATUS_CODES
from pipeline.layout import cube_folder, surface_folder
from pipeline.store import LocalStore
from pipeline.study import SurfaceSpec
from pipeline.zarrio import Labelled, Pieces

_MILLION: dict[str, int] = {"sinr_db": 50, "bandwidth_hz": 50, "design": 4, "realisation": 100}
_HUNDRED_MILLION: dict[str, int] = {"sinr_db": 100, "bandwidth_hz": 100, "nodes": 100, "realisation": 100}


def publish_cube(store: LocalStore, sizes: Mapping[str, int], variables: int, key: str, *, changed: int = 0) -> str:
    """Publish a cube by formula, chunk by chunk: a ninth of its cells is infeasible, every thousandth has failed.

    The values at the first ``changed`` labels of the first axis differ from those of a cube without change.
    """
    axes, shape = tuple(sizes), tuple(sizes.values())

    def numbers(box: tuple[slice, ...]) -> NDArray[np.int64]:
        parts = np.ix_(*(np.arange(side.start, side.stop) for side in box))
        return np.asarray(sum(part * math.prod(shape[a + 1 :]) for a, part in enumerate(parts)))

    def status(box: tuple[slice, ...]) -> NDArray[Any]:
        cell = numbers(box)
        found = np.where(cell % 9 == 4, STATUS_CODES["infeasible"], STATUS_CODES["ok"])
        return np.where(cell % 1000 == 500, STATUS_CODES["failed"], found).astype(np.uint8)

    def values(number: int, box: tuple[slice, ...]) -> NDArray[np.float64]:
        cell = numbers(box)
        value = (cell * (2654435761 + 2 * number) % 4096 + 1.0) / 4096.0  # scattered, with few different values
        value[np.arange(box[0].start, box[0].stop) < changed] += 1.0
        return np.where(status(box) == STATUS_CODES["ok"], value, np.nan)

    arrays: dict[str, Labelled | Pieces] = {a: Labelled((a,), np.arange(n, dtype=np.float64)) for a, n in sizes.items()}
    arrays["status"] = Pieces(axes, shape, np.dtype(np.uint8), status)
    about = {"units": "m", "long_name": "quantity", "volatile": 0}
    for i in range(variables):
        arrays[f"v{i:02d}"] = Pieces(axes, shape, np.dtype(np.float64), partial(values, i), about)
    return publish_group(store, cube_folder("synthetic"), key, arrays, {"cube_key": key})


def _aggregate(location: str, version: str, key: str) -> None:
    """Make the surfaces in this process, and print the CPU seconds, the most memory and the blocks."""
    started = time.process_time()
    spec = SurfaceSpec(over="realisation")
    done = aggregate_blocks(LocalStore(location), version, surface_folder("synthetic"), key, spec)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([time.process_time() - started, peak, done.blocks, done.computed]))


def _in_a_process(store: LocalStore, version: str, key: str) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.surfaces", store.location(), version, key]
    found: list[float] = json.loads(subprocess.check_output(command, text=True))
    return found


def _measured(sizes: dict[str, int], variables: int, seconds: float) -> Iterator[Row]:
    name = f"surfaces {math.prod(sizes.values()):.0e} x {variables}"
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(folder)
        spent, peak, blocks, _ = _in_a_process(store, publish_cube(store, sizes, variables, "first"), "first")
        yield Row(f"{name}, CPU", spent, seconds, "s", "the bar, one core")
        yield Row(f"{name}, memory", peak, 1000.0, "MB", "the bar: the most memory of the process that does all")
        version = publish_cube(store, sizes, variables, "second", changed=1)
        spent, peak, blocks, computed = _in_a_process(store, version, "second")
        yield Row(f"{name}, changed", computed, 0.05 * blocks, "blocks", f"the bar: a twentieth of {blocks:,.0f} blocks")
        yield Row(f"{name}, changed, CPU", spent, seconds, "s", "the bar of all blocks")


BENCHMARKS = {
    "surfaces-1e6": partial(_measured, _MILLION, 30, 20.0),
    "surfaces-1e8": partial(_measured, _HUNDRED_MILLION, 3, 60.0),
}

if __name__ == "__main__":
    _aggregate(*sys.argv[1:])

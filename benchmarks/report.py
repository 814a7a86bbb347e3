"""The cost of surfaces and a report: CPU seconds beside the allowed ones, at sizes from thousands to a million cells."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.registry import Row
from flows.report.page import build_report
from pipeline.experiment import STATUS_CODES
from pipeline.surfaces import compute_surfaces


def _cube(sizes: dict[str, int], variables: int) -> xr.Dataset:
    """Return a cube as it is published: every ninth cell is infeasible, every thousandth has failed."""
    axes, shape = tuple(sizes), tuple(sizes.values())
    random, number = np.random.default_rng(0), np.arange(int(np.prod(shape)))
    status = np.full(len(number), STATUS_CODES["ok"], dtype=np.uint8)
    status[number % 9 == 4], status[number % 1000 == 500] = STATUS_CODES["infeasible"], STATUS_CODES["failed"]
    message = np.where(status == STATUS_CODES["failed"], "The solver stopped. " * 100, "").astype(object)
    feasible = (status == STATUS_CODES["ok"]).reshape(shape)
    data: dict[str, Any] = {"status": (axes, status.reshape(shape)), "message": (axes, message.reshape(shape))}
    for i in range(variables):
        values = np.where(feasible, random.lognormal(size=shape), np.nan)
        data[f"v{i:02d}"] = (axes, values, {"units": "m", "long_name": f"quantity {i}", "volatile": 0})
    counts = {name: int((status == code).sum()) for name, code in STATUS_CODES.items()}
    told: dict[str, Any] = {"study": "noop", "title": "Nothing", "planned": status.size, "present": status.size}
    told["cells_by_status"] = json.dumps({name: count for name, count in counts.items() if count})
    return xr.Dataset(data, {a: np.arange(n) for a, n in sizes.items()}, told)


def _cpu_seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def surfaces_and_report() -> Iterator[Row]:
    """Measure surfaces over realisations, and reports without an averaged axis, in which every cell is a point."""
    small, large = _cube({"sinr_db": 20, "nodes": 10, "realisation": 20}, 30), _cube({"sinr_db": 1000, "n": 10, "u": 100}, 3)
    what: dict[str, Any] = {"edge": None, "paired": None}
    seconds = _cpu_seconds(lambda: compute_surfaces(small, over="realisation", **what))
    yield Row("surfaces 4,000 x 30", seconds, 1.0, "s", "the bar of 1 s, CPU")
    for name, cube in (("4,000 x 30", small), ("1,000,000 x 3", large)):
        surfaces = compute_surfaces(cube, over=None, **what)
        seconds = _cpu_seconds(lambda c=cube, s=surfaces: build_report(c, s, [], report_spec={"y": "v00", "log_y": True}))
        yield Row(f"report {name}", seconds, 3.0, "s", "the bar of 3 s, CPU, libraries loaded")
    many = {"panels": ["nodes"], "also": [f"v{i:02d}" for i in range(1, 30)], "table": [f"v{i:02d}" for i in range(30)]}
    surfaces = compute_surfaces(small, over=None, **what)
    seconds = _cpu_seconds(lambda: build_report(small, surfaces, [], report_spec={"x": "sinr_db", "y": "v00"} | many))
    yield Row("report 4,000 x 30, all it may show", seconds, 3.0, "s", "the bar of 3 s, CPU, libraries loaded")


def imports() -> Iterator[Row]:
    """Measure the import of a report's libraries in a new process, beside that of HoloViews on Bokeh and xarray alone."""
    ours, theirs = (_importing(modules) for modules in ("flows.report.page", "holoviews.plotting.bokeh, xarray"))
    yield Row("report imports", ours, theirs, "s", "HoloViews on Bokeh and xarray alone, CPU, interpreter included")


def _importing(modules: str) -> float:
    code = f"import {modules}, time; print(time.process_time())"
    return min(float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(3))


BENCHMARKS = {"report": surfaces_and_report, "report-imports": imports}

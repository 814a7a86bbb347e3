"""What designs cost on the common network: CPU time by how power is limited, the largest networks, all subcarriers at once."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any
from unittest import mock

from benchmarks.registry import Row
from disac.designs.cross import ROWS, tone_problem
from disac.designs.robust import band
from disac.designs.robust.all_subcarriers import design_each
from disac.designs.robust.choices import CHOICES
from disac.drops.common import common_network
from disac.power_limits import PER_NODE
from disac.scenarios.common import CommonScenario
from disac.units import db_to_linear

BAND = [name for name in ROWS if name.startswith("robust") and "-band" in name]

DESIGNS = [name for name, row in ROWS.items() if name != "isotropic" and not name.startswith("robust")]

MOST_SECONDS, MOST_GIGABYTES = 60.0, 4.0
"""What a design of the largest network may take."""

LARGE: dict[str, Any] = {"node_count": 8, "user_count": 4, "antennas": 16, "bandwidth_hz": 80e6}


def _cost(design: str, fields: dict[str, Any]) -> tuple[str, float, float]:
    """Status, CPU seconds and peak memory in GB of a process that has made one design."""
    scenario = CommonScenario(**fields)
    network = common_network(scenario)
    started = time.process_time()
    status = ROWS[design].method(network, scenario).status
    return status, time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def by_limit() -> Iterator[Row]:
    """A limit for each node, where a signal has few coordinates, against one for each antenna, where it has all."""
    network, cases = common_network(CommonScenario()), ("per-node", "native")
    for design in DESIGNS:
        best = dict.fromkeys(cases, float("inf"))
        for power in cases * 3:
            started = time.process_time()
            ROWS[design].method(network, CommonScenario(power=power))
            best[power] = min(best[power], time.process_time() - started)
        words = "the same design with a limit for each antenna"
        yield Row(f"common {design}", best["per-node"], best["native"], "s CPU", words)


def largest() -> Iterator[Row]:
    """Each design of eight nodes with 16 antennas, 256 subcarriers and four users, alone in a process, beside its bars."""
    yield from _beside_bars(DESIGNS, LARGE)


def _beside_bars(designs: list[str], fields: dict[str, Any]) -> Iterator[Row]:
    for design in designs:
        with get_context("spawn").Pool(1) as pool:
            status, seconds, gigabytes = pool.apply(_cost, (design, fields))
        name = f"common {design} N=8 M=16 L=256 U=4"
        yield Row(name, seconds, MOST_SECONDS, "s CPU", f"status {status}")
        yield Row(name, gigabytes, MOST_GIGABYTES, "GB", "peak of the process")


def all_subcarriers() -> Iterator[Row]:
    """Designs of 000 under per-node power for all subcarriers at once, beside one subcarrier at a time."""
    scenario = CommonScenario(power="per-node")
    network, sinr = common_network(scenario), db_to_linear(scenario.sinr_db)
    problems = [tone_problem(network, tone, PER_NODE) for tone in range(network.subcarriers)]
    for name in ("none", "lemma1", "phase"):
        choice, ours, baseline = CHOICES[name], float("inf"), float("inf")
        for _ in range(3):
            started = time.process_time()
            found = [design.certificate for design in design_each(choice, problems, sinr)]
            ours = min(ours, time.process_time() - started)
        for _ in range(2):
            started = time.process_time()
            alone = [choice.design(problem, sinr).design.certificate for problem in problems]
            baseline = min(baseline, time.process_time() - started)
        least = min(one.value / other.value - 1.0 for one, other in zip(found, alone, strict=True))
        agree = sum(one.status == other.status for one, other in zip(found, alone, strict=True))
        gaps = [max(each.relative_gap for each in each_of) for each_of in (found, alone)]
        words = f"one after the other; {agree} of {len(problems)} statuses agree, no value is lower by more than "
        words += f"{max(0.0, -least):.0e}, gaps {gaps[0]:.0e} and {gaps[1]:.0e}; bar 0.125"
        yield Row(f"common robust-{name}, per-node, all subcarriers", ours, baseline, "s CPU", words)


def bands() -> Iterator[Row]:
    """Designs of 000 for a whole band under per-node power, beside cone programs for its services and tangents."""
    scenario = CommonScenario(power="per-node")
    network = common_network(scenario)
    for design in BAND:
        seconds, records = [], []
        for joined in (True, False):
            best = float("inf")
            for _ in range(3 if joined else 1):
                with contextlib.nullcontext() if joined else mock.patch.object(band, "has_coordinates", return_value=False):
                    started = time.process_time()
                    found = ROWS[design].method(network, scenario)
                    best = min(best, time.process_time() - started)
            seconds.append(best)
            records.append(found)
        ours, alone = records
        words = f"cone programs; statuses {ours.status} and {alone.status}, gaps {ours.gap:.0e} and {alone.gap:.0e}; bar 0.2"
        yield Row(f"common {design}, per-node", seconds[0], seconds[1], "s CPU", words)


def largest_bands() -> Iterator[Row]:
    """The same of the largest network, each alone in a process, beside its bars."""
    yield from _beside_bars(BAND, LARGE | {"power": "per-node"})


BENCHMARKS = {
    "common-limits": by_limit, "common-largest": largest, "common-robust": all_subcarriers, "common-band": bands,
    "common-band-largest": largest_bands,
}  # fmt: skip

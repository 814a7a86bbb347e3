"""What a design costs: the reference path in the decorrelated form."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.registry import Row
from disac.designs.design import Designer
from disac.experiments.ofdm_tradeoff import design_problem
from disac.scenario import Scenario

_TABLE_III_SECONDS = {"unconstrained": 2.92, "orthogonal": 1.78, "beamforming": 1.16}


def designs() -> Iterator[Row]:
    """CPU seconds of a certified design at N=2, M=6, L=16, K=U=1, 30 dB, set-up excluded."""
    problem = design_problem(Scenario())
    for method, paper in _TABLE_III_SECONDS.items():
        designer = Designer(problem, method)
        designer.design(1000.0)
        started = time.process_time()
        designer.design(1000.0)
        yield Row(f"design {method}", time.process_time() - started, paper, "s", "002 Table III, N=2, another machine")


BENCHMARKS = {"designs": designs}

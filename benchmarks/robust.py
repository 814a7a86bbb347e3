"""The cost of a robust design: CPU milliseconds with its certificate, beside the lifted program of 000 in the same process."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.registry import Row
from disac.designs.robust.choices import CHOICES
from disac.designs.robust.guards import LEMMA_1
from disac.designs.robust.lifted import LiftedProgram
from disac.designs.robust.limited_power import LimitedPower, solve_limited_power, solve_with_outer_bound
from disac.designs.robust.matrix_inequality import solve_inequality
from disac.designs.robust.of_drop import robust_problem
from disac.designs.robust.policy_iteration import solve_by_policy_iteration
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.total_power import solve_total_power
from disac.drops.coherent import coherent_drop
from disac.scenarios.coherent import CoherentScenario

DROPS = 20
SINR = 100.0


def _problems(nodes: int, limit: str = "total", delta_rad: float = 0.01) -> list[RobustProblem]:
    found = []
    for realisation in range(DROPS):
        content: dict[str, Any] = {
            "layout": {"node_count": nodes}, "power": {"limit": limit}, "uncertainty": {"delta_rad": delta_rad},
            "channel": {"realisation": realisation}, "target": {"lobe_swing_db": 6.0},
        }  # fmt: skip
        found.append(robust_problem(coherent_drop(CoherentScenario.model_validate(content))))
    return found


def _median(work: Callable[[RobustProblem], Any], problems: list[RobustProblem]) -> float:
    """Return the median over drops of the CPU seconds of one solve; each drop counts its faster solve of two."""
    times = []
    for problem in problems:
        best = np.inf
        for _ in range(2):
            started = time.process_time()
            work(problem)
            best = min(best, time.process_time() - started)
        times.append(best)
    return float(np.median(times))


def designs() -> Iterator[Row]:
    """Measure designs with N = 4, M = 12, K = 3, 20 dB: medians over 20 drops.

    The baseline is one step of 000's iteration in its reduced form, in CVXPY.
    """
    problems = _problems(4)
    started = time.process_time()
    program = LiftedProgram(problems[0], SINR)
    program.furthest(np.ones(4))
    step = time.process_time() - started
    words = "CVXPY and Clarabel, one step of (P3) in its reduced form, compiled once: no global optimum, no bound"
    bars: dict[str, float] = {"none": 1e-3, "lemma1": 8e-3, "phase": 25e-3}
    for name, choice in CHOICES.items():
        if choice.margins is None:
            continue
        margins, bar = choice.margins, bars.get(name)
        seconds = _median(lambda p, c=margins: solve_total_power(p, c, SINR), problems)
        told = f"{words}; bar {1e3 * bar:g} ms" if bar else words
        yield Row(f"robust {name} N=4, global with bound", seconds, step, "s", told)
    seconds = _median(lambda p: solve_by_policy_iteration(p, LEMMA_1, SINR), problems)
    yield Row("robust lemma1 N=4, policy iteration", seconds, step, "s", words)
    for limit, bar in (("per-node", 20e-3), ("per-antenna", 120e-3)):
        limited = _problems(4, limit)
        seconds = _median(lambda p: solve_limited_power(p, LEMMA_1, SINR), limited)
        bounded = _median(lambda p: solve_with_outer_bound(p, LEMMA_1, SINR), limited[:5])
        told = f"{words}; stationary, bar {1e3 * bar:g} ms; its outer bound takes {1e3 * (bounded - seconds):.0f} ms more"
        yield Row(f"robust lemma1 N=4, {limit}", seconds, step, "s", told)


def against_print() -> Iterator[Row]:
    """Measure designs with N = 2 beside one step of the iteration as printed: full covariances and the auxiliary matrix Z."""
    problem = _problems(2)[0]
    started = time.process_time()
    program = LiftedProgram(problem, SINR, printed=True)
    found = program.furthest(np.ones(2))
    naive = time.process_time() - started
    seconds = _median(lambda p: solve_total_power(p, LEMMA_1, SINR), [problem])
    words = f"CVXPY and Clarabel, one step of (P3) as printed: {found.outcome}"
    yield Row("robust lemma1 N=2, global with bound", seconds, naive, "s", words)


def exact_balls() -> Iterator[Row]:
    """Measure exact designs for balls, with the bound: by the worst moments, beside the matrix inequality in CVXPY.

    The numbers are medians over a few drops.
    """
    for nodes, drops in ((2, 5), (4, 1)):
        problems = _problems(nodes, delta_rad=0.05)[:drops]
        seconds = _median(lambda p: solve_inequality(p, SINR, stacked=False), problems)
        lifted = _median(lambda p: solve_inequality(p, SINR, stacked=False, lifted=True), problems)
        yield Row(
            f"robust s-procedure N={nodes}, with bound", seconds, lifted, "s", "the lifted inequality in CVXPY and Clarabel"
        )


def large() -> Iterator[Row]:
    """Measure designs with N = 8, M = 32, K = 8, per-antenna power and the outer bound.

    The baseline is the search that solves a program for every simplex.
    """
    content = {
        "layout": {"node_count": 8, "user_count": 8}, "arrays": {"antennas": 32}, "power": {"limit": "per-antenna"},
        "uncertainty": {"delta_rad": 0.05}, "target": {"lobe_swing_db": 6.0},
    }  # fmt: skip
    problem = robust_problem(coherent_drop(CoherentScenario.model_validate(content)))
    for sinr_db, name in itertools.product((10, 20), ("none", "lemma1", "norm-ball", "stacked-ball", "phase")):
        margins, seconds, found = CHOICES[name].margins, [], []
        assert margins is not None
        for asked in (False, True):
            with contextlib.ExitStack() as without:
                for offer in ("boxes", "cheaper_nodes") if asked else ():
                    without.enter_context(mock.patch.object(LimitedPower, offer, return_value=[]))
                started = time.process_time()
                found.append(solve_with_outer_bound(problem, margins, 10.0 ** (sinr_db / 10))[0].certificate)
                seconds.append(time.process_time() - started)
        told = (
            f"every simplex by a program of its own; {found[0].status}, gaps {found[0].relative_gap:.1e} "
            f"and {found[1].relative_gap:.1e}; bar 10 s"
        )
        yield Row(f"robust {name} N=8 M=32 K=8 {sinr_db} dB, per-antenna, with bound", *seconds, "s", told)


BENCHMARKS = {"robust": designs, "robust-large": large, "robust-exact": exact_balls, "robust-printed": against_print}

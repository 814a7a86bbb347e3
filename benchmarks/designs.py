"""The cost of a design: the fast path beside CVXPY with Clarabel in the same process, on one BLAS thread.

The reference's program is in its best-conditioned form (decorrelated, quiet coordinates). The same certificate judges both
answers; it is recomputed from the delivered designs. The excess is that over the better of the two certified bounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.registry import Row
from disac.designs.location.design import METHODS, SINR_MARGIN, Designer
from disac.designs.location.of_scenario import design_problem
from disac.designs.location.problem import DesignProblem
from disac.designs.location.reference import CrbProgram, interference_scale
from disac.designs.location.structured import FastSolver
from disac.optim.conic import SETTINGS
from disac.scenarios.noncoherent import Scenario
from disac.units import db_to_linear

NODES_M = [(-46.19, -19.13), (46.19, -19.13), (-19.13, -46.19), (19.13, -46.19)]
"""Positions of the nodes in metres: 002, section V-A."""

TABLE_III_SECONDS = {
    "unconstrained-tight": (2.92, 7.66, 52.86), "orthogonal": (1.78, 2.96, 12.7), "beamforming": (1.16, 1.45, 8.82),
}  # fmt: skip
"""Seconds of 002, Table III, for N = 2, 3, 4: measured on unknown hardware, and quoted for their ordering only."""


COMPARED = [method for method in METHODS if method not in ("synchronised", "unconstrained")]
"""Methods that are compared. Two are left out because they equal others here: the synchronised design, if nothing or all is
known of the phases, and with one user the unconstrained design as printed, which is then the tight one."""


def _problem(nodes: int, targets: int = 1, users: int = 1, subcarriers: int = 16) -> DesignProblem:
    layout = {"nodes_m": NODES_M[:nodes], "target_count": targets, "user_count": users}
    return design_problem(Scenario.model_validate({"layout": layout, "waveform": {"subcarriers": subcarriers}}))


def _timed(work: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    best, answer = float("inf"), None
    for _ in range(repeats):
        started = time.perf_counter()
        answer = work()
        best = min(best, time.perf_counter() - started)
    return answer, best


class ScriptProgram(CrbProgram):
    """The same program with Hermitian matrix variables, as a person would write a script for this design.

    The reference of this project writes matrices by their real coordinates; this spares CVXPY most of its work.
    """

    def _variables(self, scale: float) -> tuple[Any, list[Any]]:
        import cvxpy as cp

        size = self._size
        rows, columns = np.triu_indices(size, 1)
        matrices = [cp.Variable((size, size), hermitian=True) for _ in self._streams]
        coordinates = [cp.hstack([cp.real(cp.diag(x)), cp.real(x[rows, columns]), cp.imag(x[rows, columns])]) for x in matrices]
        return cp.vstack(coordinates), [x >> 0 for x in matrices]


def against_script() -> Iterator[Row]:
    """Measure as :func:`against_reference` does, beside the program of a script. Four nodes take minutes."""
    sinr = db_to_linear(30.0)
    for nodes in (2, 3, 4):
        problem = _problem(nodes)
        _ = problem.derivatives
        for method in TABLE_III_SECONDS:
            structure = METHODS[method].structure(problem)
            FastSolver(problem, structure).solve(sinr)
            _, seconds = _timed(lambda p=problem, s=structure: FastSolver(p, s).solve(sinr), 3)
            started = time.perf_counter()
            program = ScriptProgram(problem, structure)
            theirs = program.solve(sinr * (1.0 + SINR_MARGIN), SETTINGS[0])
            total = time.perf_counter() - started
            words = f"CVXPY+Clarabel with Hermitian variables: {theirs.outcome}"
            yield Row(f"script {method} N={nodes}", seconds, total, "s", words)


def against_reference() -> Iterator[Row]:
    """Measure wall seconds from the problem to the solution at 30 dB, M = 6, L = 16, K = U = 1.

    Set-up and compilation are included.
    """
    sinr = db_to_linear(30.0)
    for nodes in (2, 3, 4):
        problem = _problem(nodes)
        _ = problem.derivatives  # both certificates and the reference need it, so its time is not counted
        for method in COMPARED:
            designer = Designer(problem, method)
            designer.design(sinr)
            ours, seconds = _timed(lambda d=designer, p=problem: FastSolver(p, d.structure).solve(sinr), 3)
            fast = designer._certified(sinr, ours, None, ours.iterations, seconds).certificate
            started = time.perf_counter()
            reference = CrbProgram(problem, designer.structure)
            theirs = reference.solve(sinr * (1.0 + SINR_MARGIN), SETTINGS[0])
            total = time.perf_counter() - started
            solving = reference._programs[interference_scale(sinr)].program.solver_stats.solve_time
            words = f"CVXPY+Clarabel: set up and compile {total - solving:.2f} s, solve {solving:.2f} s; certified excess "
            if theirs.streams is None:
                words += f"{fast.relative_gap:.0e} against no answer"
            else:
                slow = designer._certified(sinr, theirs, None, theirs.iterations, total).certificate
                best = max(fast.dual_bound, slow.dual_bound)
                words += f"{fast.value / best - 1:.0e} against {slow.value / best - 1:.0e}"
            words += f"; {ours.iterations} iterations"
            if method in TABLE_III_SECONDS:
                words += f"; 002 Table III, on other hardware: {TABLE_III_SECONDS[method][nodes - 2]} s"
            yield Row(f"design {method} N={nodes}", seconds, total, "s", words)


def growth() -> Iterator[Row]:
    """Measure how the fast path grows with subcarriers, nodes, users and targets; the baseline is its smallest problem."""
    sinr = db_to_linear(20.0)
    sizes = [(4, 1, 1, 16), (4, 1, 1, 32), (4, 1, 1, 64), (4, 1, 1, 128), (4, 2, 2, 16), (4, 3, 3, 16)]
    for method in ("phase-agnostic", "unconstrained-tight", "unconstrained"):
        first = None
        for nodes, targets, users, subcarriers in sizes:
            problem = _problem(nodes, targets, users, subcarriers)
            structure = METHODS[method].structure(problem)
            _, seconds = _timed(lambda s=structure, p=problem: FastSolver(p, s).solve(sinr), 2)
            first = first or seconds
            name = f"design {method} N={nodes} K={targets} U={users} L={subcarriers}"
            yield Row(name, seconds, first, "s", "the same design at K=U=1, L=16")


BENCHMARKS = {"designs": against_reference, "script": against_script, "design-growth": growth}

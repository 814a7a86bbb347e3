"""Solving a CVXPY problem with Clarabel under settings that suit these programs."""

from __future__ import annotations

import warnings
from typing import Any

# One thread: Clarabel's own pool ignores OMP_NUM_THREADS, made these solves three times slower (measured on two cores) and
# would let the machine's core count into the bits (rule R2).
# No chordal decomposition: measured, it ends most solves of the unconstrained design without an answer.
_COMMON: dict[str, Any] = {"max_threads": 1, "chordal_decomposition_enable": False}

SETTINGS: tuple[dict[str, Any], ...] = (
    _COMMON,
    _COMMON | {"equilibrate_enable": False},
    _COMMON | {"static_regularization_constant": 1e-7},
)
"""Settings to try in order, until the certificate of what they deliver is good."""


def solve(program: Any, settings: dict[str, Any]) -> tuple[str, int]:
    """Solve from scratch; returns the solver's word and its iterations. Nothing is reused from an earlier solve."""
    import cvxpy as cp

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program.solve(solver=cp.CLARABEL, warm_start=False, **settings)
    except cp.SolverError:
        return "the solver broke down numerically", 0
    return str(program.status), int(program.solver_stats.num_iters or 0)

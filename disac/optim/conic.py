"""Solving a CVXPY problem with Clarabel under settings that suit these programs."""

from __future__ import annotations

import warnings
from typing import Any

# One thread: Clarabel's thread pool ignores OMP_NUM_THREADS. It made these solves three times slower (measured on two cores),
# and the result would depend on the machine's number of cores (rule R2).
# No chordal decomposition: with it most solves of the unconstrained design ended without a solution (measured).
_COMMON: dict[str, Any] = {"max_threads": 1, "chordal_decomposition_enable": False}

SETTINGS: tuple[dict[str, Any], ...] = (
    _COMMON,
    _COMMON | {"equilibrate_enable": False},
    _COMMON | {"static_regularization_constant": 1e-7},
)
"""Settings to try in order, until the certificate of the result is good."""


def solve(program: Any, settings: dict[str, Any]) -> tuple[str, int]:
    """Solve from scratch and return the solver's status and number of iterations. No earlier solve is reused."""
    import cvxpy as cp

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program.solve(solver=cp.CLARABEL, warm_start=False, **settings)
    except cp.SolverError:
        return "the solver broke down numerically", 0
    return str(program.status), int(program.solver_stats.num_iters or 0)

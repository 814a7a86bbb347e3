"""The proof of an optimised number. It is computed from the delivered design, never copied from the solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Status = Literal["ok", "inaccurate", "infeasible", "failed"]

GAP_LIMIT = 1e-3
"""Largest relative gap. General-purpose interior-point solvers reach 1e-6 to 2e-4 on these programs. A relative gap of 1e-3 in
the squared error is 5e-4 in metres, which no figure shows."""

VIOLATION_LIMIT = 1e-5
"""Largest violation, relative to the antenna's power, to the promised SINR, or to the largest eigenvalue."""


@dataclass(frozen=True)
class Certificate:
    """Outcome of an optimisation.

    ``value`` and ``dual_bound`` are in the objective's unit; violations are relative and zero when there is none.
    """

    status: Status
    message: str = ""
    value: float = float("nan")
    dual_bound: float = float("nan")
    power_violation: float = float("nan")
    sinr_violation: float = float("nan")
    psd_violation: float = float("nan")
    iterations: int = -1
    seconds: float = float("nan")
    maximised: bool = False

    @property
    def relative_gap(self) -> float:
        """(value - bound) / value if the value is minimised, (bound - value) / value if it is maximised."""
        distance = self.dual_bound - self.value if self.maximised else self.value - self.dual_bound
        if self.value == 0.0:
            return 0.0 if distance == 0.0 else float("inf")
        return distance / self.value

    @property
    def worst_violation(self) -> float:
        """Largest relative violation of any constraint."""
        return max(self.power_violation, self.sinr_violation, self.psd_violation)

    def judged(self, gap_limit: float = GAP_LIMIT) -> Certificate:
        """The same numbers with the status that follows from them, and a sentence if the status is not ``ok``."""
        reasons = []
        if self.relative_gap < -GAP_LIMIT:
            reasons.append(f"the value is better than its bound by {-self.relative_gap:.1e}, so that one of them is wrong")
        if not self.relative_gap <= gap_limit:
            reasons.append(f"the relative gap {self.relative_gap:.1e} exceeds {gap_limit:.0e}")
        if not self.worst_violation <= VIOLATION_LIMIT:
            reasons.append(f"a constraint is violated by {self.worst_violation:.1e}, more than {VIOLATION_LIMIT:.0e}")
        if not reasons:
            return replace(self, status="ok", message="")
        return replace(self, status="inaccurate", message=f"The design was delivered, but {' and '.join(reasons)}.")

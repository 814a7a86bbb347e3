"""The budget of a run: worker time, and the moment at which the run ends in order."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Limits of a run. Cells that do not fit within the limits are left for the next run.

    Parameters
    ----------
    core_seconds
        Worker time to spend, in seconds of one core.
    ends_at
        Reading of ``time.monotonic()`` at which the run ends.
    """

    core_seconds: float = math.inf
    ends_at: float = math.inf

    def over(self) -> bool:
        """Return whether the moment of the end has come."""
        return time.monotonic() >= self.ends_at

    def refusal(self, spent: float, promised: float, task: float) -> str:
        """Return a sentence that says why a task must not begin; empty if the task may begin.

        Parameters
        ----------
        spent, promised
            Seconds of finished tasks, and the seconds expected of the tasks in work.
        task
            Seconds expected of the task; 0 if nothing is known yet.
        """
        if spent + promised + task > self.core_seconds or spent >= self.core_seconds:
            return f"the budget of {self.core_seconds / 3600:g} core hours leaves no room for another task"
        if time.monotonic() + 2.0 * task > self.ends_at:  # one task waits behind another on each worker
            return "no further task is expected to end before the deadline"
        return ""


NO_LIMIT = Budget()

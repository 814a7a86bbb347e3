"""Kills at named moments: raised in the process for the memory store, real ones for the local folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


class KilledError(BaseException):
    """The simulated end of a process; no handler of ordinary errors catches it."""


@dataclass
class Kill:
    """Ends the work when a fault point is met for the given time, and counts what was met."""

    point: str
    time: int = 1
    by_exit: bool = False
    met: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, point: str, name: str) -> None:
        self.met.append((point, name))
        if [p for p, _ in self.met].count(self.point) == self.time and point == self.point:
            if self.by_exit:
                os._exit(9)
            raise KilledError(f"{point} of {name}")

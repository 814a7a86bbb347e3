"""The steps of a run. Each step runs once, however often it is asked for, and keeps the error that it raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Steps:
    """Named parts of a run in their order.

    Prefect's tasks call them. When Prefect's machinery fails in between, what is left is done without it; a step's own error
    is known, because the step keeps it.
    """

    def __init__(self, parts: Mapping[str, Callable[[], Any]]) -> None:
        self._parts, self._done = dict(parts), dict[str, Any]()
        self.error: BaseException | None = None
        """What a step raised; nothing is done after it."""

    def do(self, name: str) -> Any:
        """Do a step, unless it is done, and return its outcome."""
        if self.error is not None:
            raise self.error
        if name not in self._done:
            try:
                self._done[name] = self._parts[name]()
            except BaseException as error:
                self.error = error
                raise
        return self._done[name]

    def rest(self) -> None:
        """Do every step that is not done, in order."""
        for name in self._parts:
            self.do(name)

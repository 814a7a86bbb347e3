"""The steps of a run. Each step runs once, however often it is requested, and keeps the error that it raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """Steps that a flow asks for, and words on what they made.

    Parameters
    ----------
    name
        Name of the study or comparison.
    do
        Does a step by its name and returns its outcome.
    words
        Says what the steps made, for a person.
    """

    name: str
    do: Callable[[str], Any]
    words: Callable[[], str]


class Steps:
    """The named steps of a run, in their order.

    Prefect's tasks call the steps. If Prefect itself fails between two steps, the remaining steps are done without Prefect. The
    error of a step is kept here, so it is not taken for an error of Prefect.
    """

    def __init__(self, parts: Mapping[str, Callable[[], Any]]) -> None:
        self._parts, self._done = dict(parts), dict[str, Any]()
        self.error: BaseException | None = None
        """Error that a step raised; no step is done after it."""

    def do(self, name: str) -> Any:
        """Do a step, unless it has been done, and return its outcome."""
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
        """Do the remaining steps in order."""
        for name in self._parts:
            self.do(name)

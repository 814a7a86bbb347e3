"""Run Prefect's flow in a thread of its own, and the steps of the run in the calling thread.

So nothing that Prefect waits for, such as a server that hangs, can stop the run. Signals and interrupts reach the thread of the
steps.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flows.steps import Steps

_LOOK_EVERY_S = 0.2


@dataclass
class _Request:
    """A step that the flow requests, and its outcome."""

    name: str
    context: contextvars.Context
    done: threading.Event = field(default_factory=threading.Event)
    outcome: Any = None
    error: BaseException | None = None


class Relay:
    """A relay that passes the requests of the flow to the thread that does the steps.

    Parameters
    ----------
    steps
        The steps of the run.
    flow
        Runs the flow; it receives a function that does a step by its name and returns the step's outcome.
    """

    def __init__(self, steps: Steps, flow: Callable[[Callable[[str], Any]], None]) -> None:
        self._steps, self._flow = steps, flow
        self._asked: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._error: BaseException | None = None

    def run(self, given_up: Callable[[], bool]) -> None:
        """Do the steps that the flow requests, until the flow ends or ``given_up`` says that no one need wait for it.

        Raises
        ------
        BaseException
            The error that the flow raised, or the exception that interrupted a step.
        """
        threading.Thread(target=self._carry, name="prefect-flow", daemon=True).start()
        while not given_up():
            try:
                request = self._asked.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                continue
            if request is None:
                if self._error is not None:
                    raise self._error
                return
            self._answer(request)

    def _answer(self, request: _Request) -> None:
        try:
            # The step runs within the flow's context, so that its messages to Prefect belong to the flow.
            request.outcome = request.context.run(self._steps.do, request.name)
        except Exception as error:
            request.error = error  # the flow raises the error, so that Prefect records it
        except BaseException as error:
            request.error = error
            raise
        finally:
            request.done.set()

    def _carry(self) -> None:
        try:
            self._flow(self._ask)
        except BaseException as error:
            self._error = error
        self._asked.put(None)

    def _ask(self, name: str) -> Any:
        request = _Request(name, contextvars.copy_context())
        self._asked.put(request)
        request.done.wait()
        if request.error is not None:
            raise request.error
        return request.outcome

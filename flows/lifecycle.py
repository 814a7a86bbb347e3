"""When a run ends, all processes that it started end too, whatever ended the run."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import psutil

_PATIENCE_S = 0.8

_hooks: list[Callable[[], None]] = []
_ended_by: list[int] = []


def exit_code() -> int | None:
    """Exit code of a run that a signal ended; None where none did."""
    return 128 + _ended_by[0] if _ended_by else None


@contextlib.contextmanager
def at_the_end(hook: Callable[[], None]) -> Iterator[None]:
    """Call ``hook`` if a signal ends the run while this context is open: for what no child process holds, such as jobs."""
    _hooks.append(hook)
    try:
        yield
    finally:
        _hooks.remove(hook)


def end_children() -> None:
    """End every process below this one."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(children, timeout=0.5)


def end_on_signals(farewell: str) -> None:
    """On SIGINT, SIGTERM or SIGHUP (a closed terminal) stop the run in order, and within two seconds in any case; a second
    signal is safe.

    Segments are written under a temporary name first, so ending a worker at any point loses no finished cell.
    """
    ending = threading.Event()

    def end_now(code: int) -> None:
        # All is said. What multiprocessing finds missing after its helper is ended concerns nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        for act in (*_hooks, end_children):
            with contextlib.suppress(Exception):
                act()
        os._exit(code)

    def handle(number: int, frame: FrameType | None) -> None:
        if ending.is_set():
            return
        ending.set()
        _ended_by.append(number)
        with contextlib.suppress(OSError):  # the terminal may be what has gone
            print(f"\n{farewell}", file=sys.stderr, flush=True)
        if number == signal.SIGHUP:
            # The terminal is gone: what is printed on the way out goes nowhere, and must not fail.
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        timer = threading.Timer(_PATIENCE_S, end_now, args=(128 + number,))
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)

"""When a run ends, for whatever reason, all processes that it started end, too."""

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
    """Return the exit code of a run that a signal ended; None if no signal ended it."""
    return 128 + _ended_by[0] if _ended_by else None


@contextlib.contextmanager
def at_the_end(hook: Callable[[], None]) -> Iterator[None]:
    """Call ``hook`` if a signal ends the run while this context is open.

    The hook ends things that are no child processes, such as jobs of a cluster.
    """
    _hooks.append(hook)
    try:
        yield
    finally:
        _hooks.remove(hook)


def end_children() -> None:
    """End all processes that this process or its children started."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(children, timeout=0.5)


def end_on_signals(farewell: str) -> None:
    """Let SIGINT, SIGTERM and SIGHUP (a closed terminal) end the run in order, at the latest after two seconds.

    A second signal is safe. Segments are written under a temporary name first, so no finished cell is lost when a worker ends
    at any point.
    """
    ending = threading.Event()

    def end_now(code: int) -> None:
        # All messages are printed. Messages of multiprocessing about its ended helper process are not shown.
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
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"\n{farewell}", file=sys.stderr, flush=True)
        if number == signal.SIGHUP:
            # The terminal is gone: text that is printed from here on is discarded, and printing must not fail.
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        timer = threading.Timer(_PATIENCE_S, end_now, args=(128 + number,))
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)

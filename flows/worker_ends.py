"""Find out how a Dask worker ended. The nanny process that watches the worker sees the end (rules W3, W4).

A nanny knows the exit status or the signal of its worker process, and whether the nanny itself asked for the end. It does not
know the reason of a signal: SIGKILL may come from the system, from an operator, or from a scheduler that takes the machine
back. So the cell is taken as the cause of three ends only: an exit, a signal that a process causes itself (a segmentation
fault), and a memory limit that the cell reached with its own memory. The surroundings are taken as the cause of all other ends.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import psutil
from dask.utils import format_bytes
from distributed import KilledWorker, Nanny, NannyPlugin, Status, Worker, WorkerPlugin
from distributed.comm import get_address_host
from distributed.nanny import WorkerProcess

from pipeline.sweep import WorkerEnd

EXITS, STARTS, MEMORY = "disac-worker-exit", "disac-task-start", "worker-restart-memory"
"""Topics of the events. Dask's nanny sends the last of them when it ends a worker above its memory limit."""

_ALL = "all"
"""Topic on which Dask's scheduler reports the tasks of a worker that it has lost."""

_PATIENCE_S = 2.0
"""Seconds to wait for a nanny's report: a nanny that still runs reports within some 10 ms, a lost one never does."""

_OWN_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
)
_UNKNOWN_EXIT = 255
"""Exit code that Dask reports if another process has reaped the worker process."""

_FULL = 0.9
"""A cell is the cause if, on a fresh worker, it would take more than this share of the memory at the worker's end."""


class Witness(NannyPlugin):  # type: ignore[misc]
    """A plugin of each nanny that reports to the scheduler how its worker process ended, and whether the nanny asked for it."""

    name = "disac-witness"

    def setup(self, nanny: Nanny) -> None:
        """Let the class of worker processes report their ends; this is done once in each process that has nannies."""
        if not hasattr(WorkerProcess.mark_stopped, "__wrapped__"):
            WorkerProcess.mark_stopped = _telling(WorkerProcess.mark_stopped)


def _telling(mark_stopped: Callable[[WorkerProcess], None]) -> Callable[[WorkerProcess], None]:
    """Return the action of a nanny after its worker process has ended: report to the scheduler, then the usual action."""

    @functools.wraps(mark_stopped)
    def tell(self: WorkerProcess) -> None:
        nanny: Nanny = self.on_exit.__self__
        # A nanny that is closing ends its worker itself, and the scheduler may be gone by then.
        if self.status != Status.stopped and nanny.status in (Status.starting, Status.running):
            asked = self.status not in (Status.starting, Status.running)
            process = self.process
            nanny.log_event(EXITS, {"worker": nanny.address, "pid": process.pid, "code": process.exitcode, "asked": asked})
        mark_stopped(self)

    return tell


class Scales(WorkerPlugin):  # type: ignore[misc]
    """A plugin of each worker that reports which task begins and the memory then, so that the task's own memory is known."""

    name = "disac-scales"

    def setup(self, worker: Worker) -> None:
        """Measure the worker's memory before any task has run on it."""
        self._worker, self._process = worker, psutil.Process()
        self._fresh = self._process.memory_info().rss

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Report the memory before a task."""
        if finish == "executing":
            worker, process = self._worker, self._process
            told = {
                "key": str(key),
                "rss": process.memory_info().rss,
                "fresh": self._fresh,
                "limit": worker.memory_manager.memory_limit or 0,
            }
            worker.log_event(STARTS, {"worker": worker.address, "pid": process.pid} | told)


class WorkerEnds:
    """The reports of the nannies of a client's cluster while this context is open."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._told: dict[str, dict[tuple[str, int], dict[str, Any]]] = {EXITS: {}, STARTS: {}, MEMORY: {}}
        """Reports by topic, then by machine and process."""
        self._aboard: dict[str, set[str]] = {}
        """Tasks that a lost worker had, by the worker's address."""
        self._news = threading.Condition()

    def __enter__(self) -> WorkerEnds:
        for topic in self._told:
            self._client.subscribe_topic(topic, self._keep(topic))
        self._client.subscribe_topic(_ALL, self._keep_aboard)
        self._client.register_plugin(Witness())
        self._client.register_plugin(Scales())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for topic in (*self._told, _ALL):
            self._client.unsubscribe_topic(topic)

    def _keep(self, topic: str) -> Callable[[tuple[float, dict[str, Any]]], None]:
        def keep(event: tuple[float, dict[str, Any]]) -> None:
            process = get_address_host(event[1]["worker"]), event[1]["pid"]
            with self._news:
                if topic == STARTS:  # the process lives: reports on an earlier process with the same number are outdated
                    self._told[EXITS].pop(process, None)
                    self._told[MEMORY].pop(process, None)
                self._told[topic][process] = event[1]
                self._news.notify_all()

        return keep

    def _keep_aboard(self, event: tuple[float, dict[str, Any]]) -> None:
        if event[1].get("action") == "remove-worker":
            with self._news:
                self._aboard[event[1]["worker"]] = {str(key) for key in event[1]["processing-tasks"]}
                self._news.notify_all()

    def end_of(self, error: BaseException) -> WorkerEnd | None:
        """Return the end of the worker that a task's error concerns; None if the error concerns something else."""
        if not isinstance(error, KilledWorker):
            return None
        worker, task = error.last_worker, str(error.task)
        process = worker.host, worker.pid
        with self._news:
            # Each task that the worker had gets such an error and calls this method.
            self._news.wait_for(lambda: process in self._told[EXITS] and worker.address in self._aboard, timeout=_PATIENCE_S)
            exit_, start, memory = (self._told[topic].get(process) for topic in (EXITS, STARTS, MEMORY))
            aboard = self._aboard.get(worker.address, {task})
        end = judged(worker.host, exit_, start, memory)
        if end.own_doing and len(aboard) > 1 and (start is None or start["key"] != task):
            # Only one of the tasks can have ended the worker. It is known only if its begin was reported.
            return WorkerEnd(False, f"the worker on {worker.host} ended while it had several tasks", worker.host)
        return end


def judged(
    host: str, exit_: dict[str, Any] | None, start: dict[str, Any] | None = None, memory: dict[str, Any] | None = None
) -> WorkerEnd:
    """Judge the end of a worker from the reports on it.

    Parameters
    ----------
    host
        The worker's machine.
    exit_
        ``code`` of the process, negative for a signal, and whether the nanny ``asked`` for the end; None without a report.
    start, memory
        Memory in bytes. ``start`` holds ``rss`` when the task began, the memory of the ``fresh`` worker, and its ``limit``.
        ``memory`` holds ``rss`` when the nanny ended the worker because of its memory.
    """
    if memory is not None and start is not None:
        own = memory["rss"] - start["rss"]
        words = (
            f"the task used {format_bytes(own)}, and the worker {format_bytes(memory['rss'])} with what earlier tasks had left"
        )
        # If other tasks had filled the worker, its end proves nothing about this cell; the next attempt is on a fresh worker.
        alone = own + start["fresh"] > _FULL * memory["rss"]
        return WorkerEnd(alone, f"memory limit of {format_bytes(start['limit'])}: {words}", host)
    if exit_ is None:
        return WorkerEnd(False, f"the worker on {host} was lost without a report", host)
    code = int(exit_["code"])
    if exit_["asked"] or code == _UNKNOWN_EXIT:
        return WorkerEnd(False, f"the worker on {host} was ended from outside", host)
    if code >= 0:
        return WorkerEnd(True, f"exit status {code}", host)
    number = -code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in _OWN_SIGNALS:
        return WorkerEnd(True, f"{name} ({signal.strsignal(number)})", host)
    return WorkerEnd(False, f"{name} from outside on {host}", host)

"""Show progress to people: a bar in a terminal, plain lines elsewhere, an artifact in Prefect."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pipeline.experiment import STATUS_CODES
from pipeline.sweep import Progress

_LINE_EVERY_S = 10.0
_ARTIFACT_EVERY_S = 2.0


class Display:
    """A display of a sweep's progress until it is closed."""

    def __init__(self, console: Console, reused: int, total: int) -> None:
        self._console, self._reused, self._total = console, reused, total
        self._started = self._lined = time.monotonic()
        self._bar: Bar | None = None
        if console.is_terminal:
            self._bar = Bar(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"), TimeRemainingColumn(), console=console,
            )  # fmt: skip
            self._task = self._bar.add_task("cells", total=total, detail="starting")
            self._bar.start()

    def show(self, progress: Progress) -> None:
        """Update the display; it prints at most one line in ten seconds."""
        now = time.monotonic()
        detail = self._detail(progress, now)
        if self._bar is not None:
            self._bar.update(self._task, completed=progress.done, detail=detail)
        elif now - self._lined >= _LINE_EVERY_S or progress.done == progress.total:
            self._lined = now
            self._console.print(f"  {progress.done}/{progress.total} cells, {detail}", highlight=False)

    def _detail(self, progress: Progress, now: float) -> str:
        rate = progress.done / max(now - self._started, 1e-9)
        infeasible = progress.by_status[STATUS_CODES["infeasible"]]
        failed = progress.by_status[STATUS_CODES["failed"]]
        left = (progress.total - progress.done) / rate if rate > 0 else float("nan")
        lines = f"reused {self._reused}, infeasible {infeasible}, failed {failed}, {rate:.3g} cells/s"
        return lines if self._bar is not None or left != left else f"{lines}, about {left:.0f} s left"

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()


class Artifact:
    """A Prefect progress artifact.

    A thread of its own sends it at most every two seconds, and ends at the first failure.
    """

    def __init__(self, study: str, when_gone: Callable[[], None]) -> None:
        self._key, self._when_gone = f"sweep-{study.lower().replace('_', '-')}", when_gone
        self._percent, self._ended = 0.0, threading.Event()
        # The thread sends within the flow run of the present thread.
        sender = contextvars.copy_context().run
        threading.Thread(target=sender, args=(self._send,), name="progress-artifact", daemon=True).start()

    def show(self, progress: Progress) -> None:
        """Note the finished share."""
        self._percent = 100.0 * progress.done / max(1, progress.total)

    def close(self) -> None:
        """Send no more; the run does not wait for a message that is on its way."""
        self._ended.set()

    def _send(self) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        sent, identity = -1.0, None
        try:
            while not self._ended.wait(_ARTIFACT_EVERY_S):
                percent = self._percent
                if identity is None:
                    identity = create_progress_artifact(progress=percent, key=self._key, description="cells computed")
                elif percent != sent:
                    update_progress_artifact(artifact_id=identity, progress=percent)  # type: ignore[arg-type]
                sent = percent
        except Exception:  # Prefect's client raises many kinds when its server does not answer
            if not self._ended.is_set():
                self._when_gone()

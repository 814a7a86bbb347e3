"""``--on-end``: call a command or a URL of the user when a run has ended, for whatever reason."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

_PATIENCE_S = 10.0
"""Seconds that a notification may take; the run waits for it."""


class OnEnd:
    """A notification that is sent once.

    Parameters
    ----------
    target
        A URL (``http://`` or ``https://``), which gets a POST request with JSON, or a command for the shell, which gets the
        same JSON on its standard input, and ``DISAC_STUDY``, ``DISAC_EXIT_CODE`` and ``DISAC_SENTENCE`` in its environment.
        None for no notification.
    about
        Data of every message, such as study and store.
    """

    def __init__(self, target: str | None, about: dict[str, Any]) -> None:
        self._target, self._about = target, about
        self._started, self._lock, self._said = time.monotonic(), threading.Lock(), target is None

    def tell(self, exit_code: int, sentence: str, **more: Any) -> str:
        """Send the notification, unless it has been sent.

        Returns
        -------
        str
            A sentence that says why the notification did not arrive; empty if it arrived or none was wanted.
        """
        with self._lock:
            if self._said:
                return ""
            self._said = True
        message = self._about | {
            "exit_code": exit_code, "sentence": sentence, "seconds": round(time.monotonic() - self._started, 1),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"), **more,
        }  # fmt: skip
        assert self._target is not None
        try:
            if self._target.startswith(("http://", "https://")):
                return self._post(self._target, json.dumps(message).encode())
            return self._command(self._target, message)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            return f"--on-end {self._target}: {error}"

    def _post(self, url: str, data: bytes) -> str:
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S):
                return ""
        except urllib.error.HTTPError as error:
            return f"--on-end {url}: it answered {error.code} {error.reason}"

    def _command(self, command: str, message: dict[str, Any]) -> str:
        told = {"DISAC_STUDY": message["study"], "DISAC_EXIT_CODE": message["exit_code"], "DISAC_SENTENCE": message["sentence"]}
        done = subprocess.run(
            command, shell=True, input=json.dumps(message), text=True, timeout=_PATIENCE_S, check=False,
            env=os.environ | {name: str(value) for name, value in told.items()},
        )  # fmt: skip
        return f"--on-end {command}: it ended with exit code {done.returncode}" if done.returncode else ""


NOBODY = OnEnd(None, {})

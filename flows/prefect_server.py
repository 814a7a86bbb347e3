"""Prefect's temporary server: start it with a pid file, end the one that a killed run left behind."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path

import psutil

_COMMAND = "prefect.server.api.server:create_app"


def _folder() -> Path:
    return Path(os.environ["PREFECT_HOME"]) / "disac-servers"


def _same_process(pid: int, created: float) -> psutil.Process | None:
    """The process of that pid, if it is still the one that was recorded."""
    try:
        process = psutil.Process(pid)
        return process if abs(process.create_time() - created) < 1.0 else None
    except psutil.Error:
        return None


def end_orphans() -> list[int]:
    """End temporary servers whose run is gone; returns their pids.

    A pid counts only with its start time, and a server only if its command line is Prefect's: a reused pid is left alone.
    """
    ended = []
    for file in sorted(_folder().glob("*.json")) if _folder().is_dir() else []:
        try:
            record = json.loads(file.read_text())
            owner = _same_process(record["owner"], record["owner_created"])
            server = _same_process(record["server"], record["server_created"])
        except (ValueError, KeyError, OSError):
            owner = server = None
        if owner is not None:
            continue
        with contextlib.suppress(psutil.Error):
            if server is not None and _COMMAND in server.cmdline():
                server.terminate()
                try:
                    server.wait(timeout=5)
                except psutil.TimeoutExpired:
                    server.kill()
                ended.append(server.pid)
        file.unlink(missing_ok=True)
    return ended


def start() -> None:
    """Start Prefect's temporary server for this process, unless the user's settings name a server already."""
    if os.environ.get("PREFECT_API_URL"):
        return
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()

    def write_pid_file() -> None:
        # The file must stand as soon as the process does, long before the server answers.
        while server.server_process is None:
            time.sleep(0.005)
        _folder().mkdir(parents=True, exist_ok=True)
        me, child = psutil.Process(), psutil.Process(server.server_process.pid)
        record = {
            "owner": me.pid, "owner_created": me.create_time(),
            "server": child.pid, "server_created": child.create_time(),
        }  # fmt: skip
        (_folder() / f"{me.pid}.json").write_text(json.dumps(record))

    threading.Thread(target=write_pid_file, daemon=True).start()
    server.start()


def forget() -> None:
    """Remove this process's pid file after its server has ended."""
    (_folder() / f"{os.getpid()}.json").unlink(missing_ok=True)

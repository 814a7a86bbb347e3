"""Prefect's servers: a temporary server for each run, which ends with the run, or a server that stays."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import psutil

from pipeline.errors import SurroundingsError

_PATIENCE_S = 180.0
"""Seconds to wait for a new server: on a busy machine a server with a new database takes half a minute."""

_ANSWER_S = 15.0
"""Seconds to wait for a server that this run did not start: such a server should be running already."""


class RunServer:
    """The server that a run uses: the user's own, the server that stays, or a temporary server."""

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None = None, password: str | None = None) -> None:
        self.url, self._process, self.password = url, process, password

    def wait(self) -> None:
        """Wait until the server answers.

        Raises
        ------
        SurroundingsError
            If the server ends first, or does not answer in time.
        """
        deadline = time.monotonic() + (_PATIENCE_S if self._process is not None else _ANSWER_S)
        while not answers(self.url):
            if self._process is not None and self._process.poll() is not None:
                raise SurroundingsError(
                    f"Prefect's server ended while it started (exit code {self._process.returncode}); run again"
                )
            if time.monotonic() > deadline:
                raise SurroundingsError(f"Prefect's server at {self.url} does not answer")
            time.sleep(0.02)

    def end(self) -> None:
        """End the server if the run started it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()


@contextmanager
def run_server() -> Iterator[RunServer]:
    """Provide the server of one run. It starts at once, without an import of Prefect; the environment holds its settings.

    The user's PREFECT_API_URL counts first, then the server that stays, then a temporary server.
    """
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    url = os.environ.get("PREFECT_API_URL", "").removesuffix("/api") or staying()
    server = RunServer(url) if url else temporary_server()
    os.environ["PREFECT_API_URL"] = f"{server.url}/api"
    if server.password is not None:
        os.environ["PREFECT_API_AUTH_STRING"] = server.password
    try:
        yield server
    finally:
        server.end()


def temporary_server() -> RunServer:
    """Start a server that ends with this process, on a free port of 127.0.0.1; do not wait for it.

    It asks for a password that only this process and its children know, so that no other user of the machine can use it.
    """
    password = f"disac:{secrets.token_hex(16)}"
    settings = {
        "PREFECT_SERVER_API_AUTH_STRING": password, "PREFECT_API_AUTH_STRING": password, "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1",
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # The server is not in the terminal's process group, because the run itself answers an interrupt.
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.prefect_child", str(listening.fileno())], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | settings, pass_fds=[listening.fileno()],
            start_new_session=True,
        )  # fmt: skip
        return RunServer(f"http://127.0.0.1:{listening.getsockname()[1]}", process, password)


def answers(url: str, patience_s: float = 2.0) -> bool:
    """Return whether a healthy server answers at the URL."""
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=patience_s) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):  # HTTPException: the server ends in the middle of its answer
        return False


# --- the server that stays -------------------------------------------------------------------------------------------


def _stay_file() -> Path:
    return Path(os.environ["PREFECT_HOME"]) / "disac-server.json"


def _same_process(pid: int, created: float) -> psutil.Process | None:
    """Return the process of the pid, if it is still the process that was recorded."""
    try:
        process = psutil.Process(pid)
        return process if abs(process.create_time() - created) < 1.0 else None
    except psutil.Error:
        return None


def _staying_process() -> tuple[psutil.Process, str] | None:
    try:
        record = json.loads(_stay_file().read_text())
        process = _same_process(record["server"], record["server_created"])
        return None if process is None else (process, str(record["url"]))
    except (OSError, ValueError, KeyError):
        return None


def staying() -> str | None:
    """Return the address of the server that :func:`stay` started, if it runs and answers."""
    found = _staying_process()
    return found[1] if found is not None and answers(found[1]) else None


def stay(port: int, patience_s: float = _PATIENCE_S) -> str:
    """Start a server on 127.0.0.1 that outlives this process; return its address.

    Raises
    ------
    SurroundingsError
        If the server does not start; the sentence ends with the server's output.
    """
    if (url := staying()) is not None:
        return url
    url, log = f"http://127.0.0.1:{port}", _stay_file().with_suffix(".log")
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--analytics-off",
    ]
    # The server must not get the address of another server; for its pages in a browser it gets its own.
    settings = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {"PREFECT_UI_API_URL": f"{url}/api"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True, env=settings
        )
    record = {"server": server.pid, "server_created": psutil.Process(server.pid).create_time(), "url": url}
    _stay_file().write_text(json.dumps(record))
    deadline = time.monotonic() + patience_s
    while not answers(url):
        if server.poll() is not None or time.monotonic() > deadline:
            stop_staying()
            said = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SurroundingsError(f"Prefect's server did not start on port {port}: {' '.join(said)} (see {log})")
        time.sleep(0.1)
    return url


def stop_staying() -> bool:
    """End the server that stays, with all processes that it started; return False if there is none."""
    found = _staying_process()
    _stay_file().unlink(missing_ok=True)
    if found is None:
        return False
    processes = [*found[0].children(recursive=True), found[0]]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=10)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return True

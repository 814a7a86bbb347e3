"""Prefect's servers: a temporary one for each run, with a pid file so that none is left behind, or one that stays."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil

from pipeline.errors import SurroundingsError

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
    """Use the server that the user's settings name, else the one that stays, else start one for this process alone."""
    if os.environ.get("PREFECT_API_URL"):
        return
    if (url := staying()) is not None:
        os.environ["PREFECT_API_URL"] = f"{url}/api"
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


# --- the server that stays -------------------------------------------------------------------------------------------


def _stay_file() -> Path:
    return Path(os.environ["PREFECT_HOME"]) / "disac-server.json"


def _staying_process() -> tuple[psutil.Process, str] | None:
    try:
        record = json.loads(_stay_file().read_text())
        process = _same_process(record["server"], record["server_created"])
        return None if process is None else (process, str(record["url"]))
    except (OSError, ValueError, KeyError):
        return None


def staying() -> str | None:
    """Address of the server that :func:`stay` started, if it is there and answers."""
    found = _staying_process()
    return found[1] if found is not None and _answers(found[1]) else None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def stay(port: int, patience_s: float = 180.0) -> str:
    """Start a server on 127.0.0.1 that outlives this process; returns its address.

    Raises
    ------
    SurroundingsError
        If it does not come up; the sentence ends with what it printed.
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
    # Started without the address of another server, and told its own for the interface in the browser.
    settings = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {"PREFECT_UI_API_URL": f"{url}/api"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True, env=settings
        )
    record = {"server": server.pid, "server_created": psutil.Process(server.pid).create_time(), "url": url}
    _stay_file().write_text(json.dumps(record))
    deadline = time.monotonic() + patience_s
    while not _answers(url):
        if server.poll() is not None or time.monotonic() > deadline:
            stop_staying()
            said = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SurroundingsError(f"Prefect's server did not start on port {port}: {' '.join(said)} (see {log})")
        time.sleep(0.1)
    return url


def stop_staying() -> bool:
    """End the server that stays, with everything it started; False if there is none."""
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

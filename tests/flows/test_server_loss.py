"""A run does not need Prefect's server once it has begun: it may end or hang at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from test_cli import SLEEPY, finished, published

Write = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]
LONGER = ('"0:40:10"', '"14:23.5:0.5"')
GONE = "Prefect's server does not answer: the run goes on without it."


def _server(run: subprocess.Popen[str]) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(run.pid).children(recursive=True):
            if "flows.prefect_child" in " ".join(process.cmdline()):
                return process
    return None


def _moments(store: Path) -> dict[str, Callable[[], bool]]:
    return {
        "start": lambda: True,
        "flow": lambda: (store / "plans").is_dir(),
        "sweep": lambda: len(list((store / "ledger" / "segments").glob("*.zip"))) >= 2,
        "publish": lambda: (store / "cubes").is_dir(),
        "report": lambda: (store / "reports").is_dir(),
    }


def _end_server(run: subprocess.Popen[str], store: Path, moment: str, how: signal.Signals) -> None:
    """Send the signal to the run's server as soon as the moment has come."""
    come, deadline = _moments(store)[moment], time.monotonic() + 90.0
    while True:
        server = _server(run)
        if server is not None and come():
            server.send_signal(how)
            return
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("moment", "how"),
    [
        pytest.param("sweep", signal.SIGKILL, marks=slow),
        pytest.param("sweep", signal.SIGSTOP, marks=slow),
        pytest.param("flow", signal.SIGKILL, marks=slow),
        pytest.param("publish", signal.SIGKILL, marks=slow),
        pytest.param("report", signal.SIGKILL, marks=slow),
        pytest.param("report", signal.SIGSTOP, marks=slow),
    ],
)
def test_a_run_ends_publishes_and_reports_without_its_server(
    disac: Start, study_file: Write, tmp_path: Path, moment: str, how: signal.Signals
) -> None:
    store = tmp_path / "results"
    run = disac("run", str(study_file(LONGER, SLEEPY)), "--store", str(store), own_server=True)
    _end_server(run, store, moment, how)
    since = time.monotonic()
    code, out, err = finished(run)
    assert code == 0, out + err
    assert out.count(GONE) == 1
    assert "Traceback" not in out + err
    assert "Prefect" not in err
    assert time.monotonic() - since < 40.0
    assert (published(store)["status"] >= 2).all()
    assert (store / "reports" / "toy-study" / "index.html").is_file()


def _from_the_sweep_on(run: subprocess.Popen[str], store: Path, *stopped: psutil.Process) -> tuple[float, tuple[int, str, str]]:
    """Stop processes when the sweep has begun; how long the run goes on from there, and how it ends."""
    deadline = time.monotonic() + 90.0
    while not _moments(store)["sweep"]():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for process in stopped:
        process.suspend()
    since = time.monotonic()
    ended = finished(run)
    return time.monotonic() - since, ended


@slow
def test_a_server_of_the_users_own_that_hangs_holds_up_nothing(
    disac: Start, study_file: Write, tmp_path: Path, home: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    store, record = tmp_path / "results", home / "disac-server.json"
    code, out, err = finished(disac("server", "start", "--port", port), timeout=200)
    assert code == 0, out + err
    try:
        server = psutil.Process(json.loads(record.read_text())["server"])
        file = str(study_file(LONGER, SLEEPY))
        other = tmp_path / "other"
        # ``own_server``: not the session's, so that the runs find the one that stays.
        undisturbed, _ = _from_the_sweep_on(disac("run", file, "--store", str(other), own_server=True), other)
        processes = (server, *server.children(recursive=True))
        hanging = disac("run", file, "--store", str(store), own_server=True)
        seconds, (code, out, err) = _from_the_sweep_on(hanging, store, *processes)
        assert code == 0, out + err
        assert out.count(GONE) == 1
        assert "Traceback" not in out + err
        assert seconds < undisturbed + 20.0
        assert (published(store)["status"] >= 2).all()
        assert server.is_running()
    finally:
        for one in (*server.children(recursive=True), server):
            one.resume()
        finished(disac("server", "stop"))


def test_a_server_that_ends_while_it_starts_is_a_sentence(disac: Start, study_file: Write, tmp_path: Path) -> None:
    store = tmp_path / "results"
    run = disac("run", str(study_file()), "--store", str(store), own_server=True)
    _end_server(run, store, "start", signal.SIGKILL)
    code, out, err = finished(run, timeout=60)
    assert code == 3, out + err
    assert err.strip() == "disac: Prefect's server ended while it started (exit code -9); run again"
    assert not list((store / "locks").glob("*.json"))


@pytest.mark.slow
def test_nobody_else_may_use_the_server_of_a_run(disac: Start, study_file: Write, tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    store = tmp_path / "results"
    run = disac("run", str(study_file(LONGER, SLEEPY)), "--store", str(store), own_server=True)
    deadline = time.monotonic() + 90.0
    while not (store / "plans").is_dir():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server = _server(run)
    assert server is not None
    (port,) = {c.laddr.port for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/flows/count", data=b"{}", timeout=10)
    refused.value.close()
    assert refused.value.code == 401
    assert not any(" ".join(p.cmdline()).count("disac:") for p in psutil.Process(run.pid).children(recursive=True))
    os.kill(run.pid, signal.SIGTERM)
    run.wait(timeout=10)

"""Flows as people use them: deployed to the server that stays, called from Python, called by commands."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from test_cli import finished, published

import pipeline
from flows.deployable import aggregate

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]

ROOT = Path(__file__).resolve().parents[2]
Write = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]


def _wait(what: str, come: Callable[[], bool], *processes: subprocess.Popen[str], patience_s: float = 180.0) -> None:
    deadline = time.monotonic() + patience_s
    while not come():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.fixture
def server(disac: Start) -> Iterator[str]:
    """The address of a server that stays, until the test has ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    code, out, err = finished(disac("server", "start", "--port", port), timeout=200)
    assert code == 0, out + err
    yield f"http://127.0.0.1:{port}"
    finished(disac("server", "stop"))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False


def _listening(*roots: int) -> set[str]:
    """Addresses on which processes and their children listen."""
    family = [p for root in roots for p in (psutil.Process(root), *psutil.Process(root).children(recursive=True))]
    return {c.laddr.ip for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}


@pytest.mark.timeout(600)
def test_a_deployed_sweep_publishes_its_cube_and_the_automation_its_surfaces(
    disac: Start, server: str, study_file: Write, tmp_path: Path, home: Path
) -> None:
    shutil.copy(ROOT / "prefect.yaml", tmp_path)
    worker = disac("prefect", "worker", "start", "--pool", "disac", "--type", "process")
    _wait("the work pool", lambda: _answers(f"{server}/api/work_pools/disac"), worker)
    code, out, err = finished(disac("prefect", "--no-prompt", "deploy", "--all"))
    assert code == 0, out + err
    assert out.count("successfully created") == 6
    study_file()
    begun = disac(
        "prefect", "deployment", "run", "disac-sweep/sweep", "-p", "study=study.yaml", "-p", "workers=1", "--watch"
    )  # fmt: skip
    store = tmp_path / "results"
    _wait("the sweep", lambda: (store / "ledger" / "segments").is_dir(), worker)
    ips = _listening(worker.pid)
    code, out, err = finished(begun, timeout=200)
    assert code == 0, out + err
    assert (published(store)["status"] >= 2).all()
    _wait("the automation", lambda: (store / "surfaces" / "toy-study" / "latest").exists(), worker)
    assert pipeline.open_store(store)["toy-study/surfaces"].attrs["over"] == "realisation"
    assert ips == {"127.0.0.1"}
    assert _listening(*(p.pid for p in psutil.process_iter() if _serves(p, server))) == {"127.0.0.1"}
    worker.terminate()
    worker.wait(timeout=60)
    assert not (tmp_path / "lookups").exists(), (tmp_path / "lookups").read_text()


def _serves(process: psutil.Process, server: str) -> bool:
    port = int(server.rpartition(":")[2])
    try:
        return any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp"))
    except psutil.Error:
        return False


ALONE = """
import sys
from flows.deployable import aggregate, compare, report, sweep

study, fewer, store = sys.argv[1:]
print("cube", sweep(study, store=store, workers=1))
print("surfaces", aggregate(study=study, store=store))
print("report", report(study, store))
print("fewer", sweep(fewer, store=store, overrides=["axes.level=[10]"], workers=1))
print("both", compare(["toy-study", "fewer"], store, name="both"))
try:
    aggregate("quik", store)
except Exception as error:
    print(type(error).__name__, str(error)[:45])
"""


@pytest.mark.timeout(600)
def test_flows_run_alone_from_python_and_leave_nothing_behind(
    disac: Start, study_file: Write, tmp_path: Path, home: Path
) -> None:
    file, store, fewer = study_file(), tmp_path / "results", tmp_path / "fewer.yaml"
    fewer.write_text(file.read_text().replace("toy-study", "fewer"))
    environment = os.environ | {"PREFECT_HOME": str(home), "PYTHONPATH": f"{tmp_path / 'listener'}:{os.environ['PYTHONPATH']}"}
    environment |= {"LOOKUPS": str(tmp_path / "lookups")}
    command = [sys.executable, "-c", ALONE, str(file), str(fewer), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    results = pipeline.open_store(store)
    assert results["toy-study/cube"].attrs["cube_key"] == said["cube"]
    assert results["toy-study/surfaces"].attrs["surface_key"] == said["surfaces"]
    assert (store / said["report"]).is_file()
    assert said["both"] == "both"
    assert results["both/cube"]["source"].values.tolist() == ["toy-study", "fewer"]
    assert said["UsageError"].startswith("no study 'quik' (did you mean 'quick'?)")
    assert not (tmp_path / "lookups").exists(), (tmp_path / "lookups").read_text()
    assert not [p for p in psutil.process_iter() if str(tmp_path) in " ".join(_command(p))]

    shutil.rmtree(store / "surfaces")
    for words in (("aggregate", str(file), "--workers", "1"), ("compare", "fewer", "toy-study", "--name", "both")):
        code, out, err = finished(disac(*words, "--store", str(store)))
        assert code == 0, out + err
    results = pipeline.open_store(store)
    assert results["toy-study/surfaces"].attrs["surface_key"] == said["surfaces"]
    assert results["both/cube"]["source"].values.tolist() == ["fewer", "toy-study"]
    assert aggregate.name == "disac-aggregate"


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []

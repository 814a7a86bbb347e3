"""The command line as people meet it, in processes of its own: flow, kills, exit codes, no look-ups."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr
from toy_study import TOY_STUDY

import pipeline
from pipeline.cube import publish_cube
from pipeline.ledger import open_ledger
from pipeline.plan import make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

pytestmark = pytest.mark.no_cover  # counting lines doubles its time, and finds none that other tests do not run

Write = Callable[..., Path]


def finished(process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def wait_for_segments(store: Path, count: int, process: subprocess.Popen[str], timeout: float = 90) -> None:
    deadline = time.monotonic() + timeout
    while len(list((store / "ledger" / "segments").glob("*.zip"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def living(processes: list[psutil.Process], patience_s: float) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=patience_s)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def published(store: Path) -> xr.Dataset:
    return pipeline.open_store(store)["toy-study/cube"].to_dataset().load()


def equal_outside_volatile(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in a.variables:
        if not a[name].attrs.get("volatile"):
            xr.testing.assert_identical(a[name], b[name])


def _seconds_of_children() -> float:
    """Processor time of all processes that this one has started and seen end; a busy machine adds nothing to it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


SLOW_TOY = ('"0:40:10"', '"14:28.5:0.5"')
SLEEPY = ("experiment: toy", "experiment: toy\noptions: {act: sleep}")


@pytest.mark.slow
def test_run_computes_publishes_and_then_has_nothing_to_do(
    disac: Callable[..., subprocess.Popen[str]], study_file: Write, tmp_path: Path
) -> None:
    file, store = str(study_file()), tmp_path / "results"
    code, out, err = finished(disac("run", file, "--store", str(store), own_server=True))
    assert code == 0, err
    assert "30 cells to compute" in out
    assert "Dask dashboard: http://127.0.0.1" in out
    assert not (tmp_path / "lookups").exists(), (tmp_path / "lookups").read_text()
    page = store / "reports" / "toy-study" / "index.html"
    assert str(page) in out
    assert page.stat().st_size < 3_000_000
    assert dict(published(store).sizes) == {"level": 5, "count": 2, "realisation": 3, "tap": 2}
    surfaces = pipeline.open_store(store)["toy-study/surfaces"]
    assert (surfaces["cells"].sel(level=0, state="feasible") == 3).all()
    before = _seconds_of_children()
    code, out, _ = finished(disac("run", file, "--store", str(store), own_server=True))
    assert code == 0
    assert "Nothing to do" in out
    assert _seconds_of_children() - before < 5
    code, out, _ = finished(disac("status", file, "--store", str(store), "--json"))
    assert code == 0
    assert json.loads(out)["reused_by_status"] == {"ok": 18, "infeasible": 12}
    assert json.loads(out)["stale"] == []
    page.unlink()
    code, out, _ = finished(disac("report", file, "--store", str(store)))
    assert code == 0
    assert page.is_file()


@pytest.mark.slow
def test_exit_codes_and_json(disac: Callable[..., subprocess.Popen[str]], study_file: Write, tmp_path: Path) -> None:
    code, out, err = finished(disac("plan", str(study_file()), "--store", str(tmp_path / "none"), "--json"))
    assert (code, json.loads(out)["compute"]) == (0, 30), err
    assert not (tmp_path / "none").exists()
    assert finished(disac("status", str(study_file()), "--store", str(tmp_path / "none")))[0] == 3
    for arguments, sentence in (
        (("run", "qick"), "did you mean 'quick'"),
        (("plan", str(study_file(("level:", "levl:"))), "--set", "axes.levle=1"), "no such axis"),
        (("report", str(study_file()), "--store", str(tmp_path / "none")), "first"),
        (("run", str(study_file()), "--store", str(tmp_path / "s"), "--cluster", "nonsense"), "--cluster nonsense"),
    ):
        code, _, err = finished(disac(*arguments))
        assert code == 2, (arguments, err)
        assert sentence in err
        assert "Traceback" not in err


@pytest.mark.usefixtures("prefect")
def test_failed_cells_are_shown_and_make_exit_code_1(
    disac: Callable[..., subprocess.Popen[str]], study_file: Write, tmp_path: Path
) -> None:
    file, store = str(study_file(('"0:40:10"', "[0, 13]"))), str(tmp_path / "results")
    code, _, err = finished(disac("run", file, "--store", store, "--workers", "1"))
    assert code == 1, err
    code, out, _ = finished(disac("status", file, "--store", store))
    assert code == 1
    assert out.count("thirteen is refused") == 6


@pytest.mark.slow
def test_w4_a_cell_that_kills_its_worker_fails_alone(
    disac: Callable[..., subprocess.Popen[str]], study_file: Write, tmp_path: Path
) -> None:
    file = str(study_file(("experiment: toy", "experiment: toy\noptions: {act: exit}"), ('"0:2:1"', "[0]"), ("[1, 2]", "[1]")))
    code, _, err = finished(disac("run", file, "--store", str(tmp_path / "r")))
    assert code == 1, err
    cube = published(tmp_path / "r")
    assert cube["status"].values.ravel().tolist() == [2, 2, 5, 4, 4]
    assert "ended its worker" in str(cube["message"].values.ravel()[2])


@pytest.mark.slow
def test_w3_a_cell_that_never_ends_fails_by_its_time_limit(
    disac: Callable[..., subprocess.Popen[str]], study_file: Write, tmp_path: Path
) -> None:
    hangs = ("experiment: toy", "experiment: toy\ncell_timeout_s: 1.5\noptions: {act: hang}")
    file = str(study_file(hangs, ('"0:2:1"', "[0]"), ("[1, 2]", "[1]")))
    code, _, err = finished(disac("run", file, "--store", str(tmp_path / "r"), "--workers", "1"))
    assert code == 1, err
    cube = published(tmp_path / "r")
    assert cube["status"].values.ravel().tolist() == [2, 2, 5, 4, 4]
    assert "still running after 1.5 s" in str(cube["message"].values.ravel()[2])


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """The cube of the killed study, computed with threads and no kill."""
    folder = tmp_path_factory.mktemp("undisturbed")
    text = TOY_STUDY
    for old, new in (SLOW_TOY, SLEEPY):
        text = text.replace(old, new)
    (folder / "study.yaml").write_text(text)
    go_on_with_threads(folder / "study.yaml", folder / "results")
    return published(folder / "results")


def go_on_with_threads(file: Path, folder: Path) -> None:
    """What ``disac run`` does with a study, without Prefect and Dask: compute what is missing, and publish."""
    study, store = load_study(file), LocalStore(folder)
    with ThreadPoolExecutor(4) as pool:
        Sweep(make_plan(study, store), store, pool, lambda: 4).run()
    publish_cube(make_plan(study, store), store)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("SIGINT", marks=pytest.mark.slow),
        "SIGKILL",
        pytest.param("SIGHUP", marks=pytest.mark.slow),
        pytest.param("SIGTERM", marks=pytest.mark.slow),
        pytest.param("worker", marks=pytest.mark.slow),
    ],
)
def test_w2_a_kill_loses_no_finished_cell(
    disac: Callable[..., subprocess.Popen[str]], study_file: Write, tmp_path: Path, undisturbed: xr.Dataset, how: str
) -> None:
    file, store = study_file(SLOW_TOY, SLEEPY), tmp_path / "results"
    process = disac("run", str(file), "--store", str(store), own_server=True)
    wait_for_segments(store, 3, process)
    below = descendants(process)
    commands = [p.cmdline() for p in below]
    if how == "worker":
        workers = [p for p in below if "spawn_main" in " ".join(p.cmdline())]
        workers[0].kill()
        code, _, err = finished(process)
        assert code == 0, err
    else:
        started = time.monotonic()
        os.kill(process.pid, getattr(signal, how))
        if how == "SIGINT":
            time.sleep(0.1)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGINT)
        process.wait(timeout=10)
        if how != "SIGKILL":
            assert time.monotonic() - started < 2
            assert living(below, 1.0) == []
            assert process.returncode == 128 + getattr(signal, how)
            said = process.communicate()[1]
            assert "Finished cells are kept" in said
            assert "Traceback" not in said
            assert not list((store / "locks").glob("*.json")), "the lock is given back"
        else:
            assert any("flows.prefect_child" in " ".join(command) for command in commands)
            assert living(below, 10.0) == [], "server and workers end with the run, whatever ends it"
    kept = open_ledger(LocalStore(store))
    assert not kept.damaged
    if how == "SIGKILL":
        # No handler has tidied up: here the command line itself must go on. The others leave less behind.
        code, _, err = finished(disac("run", str(file), "--store", str(store)))
        assert code == 0, err
    else:
        go_on_with_threads(file, store)
    after = open_ledger(LocalStore(store))
    assert len(np.unique(after.keys, axis=0)) == 30 * 6
    # A worker may be killed between storing a segment and handing in its receipt: that task, and no other, runs again.
    again = max(segment.cells for segment in after.segments) if how == "worker" else 0
    assert len(after.keys) <= 30 * 6 + again
    equal_outside_volatile(undisturbed, published(store))


@pytest.mark.slow
def test_a_closed_terminal_ends_the_run_and_all_it_started(study_file: Write, tmp_path: Path, home: Path) -> None:
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(study_file(SLOW_TOY, SLEEPY)), "--store", str(tmp_path / "results")],
        stdin=slave, stdout=slave, stderr=slave, env=os.environ | {"PREFECT_HOME": str(home)}, cwd=tmp_path,
        preexec_fn=_own_terminal,
    )  # fmt: skip
    os.close(slave)
    reader = threading.Thread(target=_drain, args=(master,), daemon=True)
    reader.start()
    wait_for_segments(tmp_path / "results", 2, process)
    below = descendants(process)
    os.close(master)
    assert process.wait(timeout=10) == 128 + signal.SIGHUP
    assert living(below, 5.0) == []
    assert not list((tmp_path / "results" / "locks").glob("*.json"))


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _drain(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


@pytest.mark.slow
def test_a_preview_is_a_thin_slice_that_the_full_run_reuses(
    disac: Callable[..., subprocess.Popen[str]], study_file: Write, tmp_path: Path
) -> None:
    file, store = str(study_file()), str(tmp_path / "results")
    code, out, err = finished(disac("run", file, "--store", store, "--preview"))
    assert code == 0, err
    assert "6 of 30 cells present: infeasible 2, ok 4; 24 missing" in out.replace("ok 4, infeasible 2", "infeasible 2, ok 4")
    status = published(tmp_path / "results")["status"]
    assert (status.sel(realisation=0).sel(level=[0, 20, 40]) > 1).all()
    assert int((status > 1).sum()) == 3 * 2
    code, out, _ = finished(disac("run", file, "--store", store))
    assert code == 0
    assert "24 cells to compute" in out


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Callable[[], tuple[str, subprocess.Popen[bytes]]]]:
    """Start a Dask scheduler with two workers of its own; returns its address and process."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[str, subprocess.Popen[bytes]]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        address = f"tcp://127.0.0.1:{port}"
        dask = [sys.executable, "-m", "dask"]
        here = ["--host", "127.0.0.1", "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
        started.append(subprocess.Popen([*dask, "scheduler", "--port", str(port), *here], **quiet))
        workers = ["--nworkers", "2", "--nthreads", "1", "--death-timeout", "20"]
        started.append(subprocess.Popen([*dask, "worker", address, *workers, *here], **quiet))
        return address, started[-2]

    yield start
    for process in started:
        for child in [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else []:
            child.kill()
        process.wait()


@pytest.mark.slow
def test_w2_a_cluster_by_address_and_the_death_of_its_scheduler(
    disac: Callable[..., subprocess.Popen[str]], study_file: Write, tmp_path: Path, undisturbed: xr.Dataset,
    scheduler: Callable[[], tuple[str, subprocess.Popen[bytes]]],
) -> None:  # fmt: skip
    file, store = str(study_file(SLOW_TOY, SLEEPY)), tmp_path / "results"
    address, process = scheduler()
    run = disac("run", file, "--store", str(store), "--cluster", address)
    wait_for_segments(store, 3, run)
    process.kill()
    code, _, err = finished(run)
    assert code == 3
    assert "the connection to the scheduler was lost" in err
    done = {key.tobytes() for key in open_ledger(LocalStore(store)).keys}
    address, _ = scheduler()
    code, out, err = finished(disac("run", file, "--store", str(store), "--cluster", address))
    assert code == 0, err
    assert f"cluster at {address}" in out
    after = Counter(key.tobytes() for key in open_ledger(LocalStore(store)).keys)
    assert len(after) == 30 * 6
    assert len(done) >= 3
    # The old workers outlive their scheduler for a while and may end what they had begun beside the second run; what was
    # there when that began is not computed again.
    assert all(after[key] == 1 for key in done)
    equal_outside_volatile(undisturbed, published(store))

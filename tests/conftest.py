"""The toy experiment of tests/plugin is installed like any third-party experiment: by an entry point on the path."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from toy_study import TOY_STUDY

PLUGIN = Path(__file__).parent / "plugin"
sys.path.insert(0, str(PLUGIN))
os.environ["PYTHONPATH"] = os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])])


LISTENER = """
import os, sys

def listen(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "", "127.0.0.1", "localhost", "0.0.0.0", "::1", "::"):
        with open(os.environ["LOOKUPS"], "a") as file:
            print(arguments[0], sys.argv, file=file)

sys.addaudithook(listen)
"""
"""Imported by every Python process that a run starts, Prefect's server and the workers included."""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Prefect home for all runs: making its database takes ten seconds."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def disac(home: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in ``tmp_path``, optionally with a Dask configuration of its own; ended with the test."""
    listener = tmp_path / "listener"
    listener.mkdir()
    (listener / "sitecustomize.py").write_text(LISTENER)
    always = {
        "PREFECT_HOME": str(home), "COLUMNS": "200", "LOOKUPS": str(tmp_path / "lookups"),
        "PYTHONPATH": os.pathsep.join([str(listener), os.environ["PYTHONPATH"]]),
    }  # fmt: skip
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str, config: str | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:  # fmt: skip
        if config is not None:
            (tmp_path / "dask_config.yaml").write_text(config)
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | always | (environment or {}), cwd=tmp_path, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            # All it has started, too: a server left behind would hold the pipes open, and this would wait for ever.
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        process.communicate()


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a study file: the toy study, with texts replaced."""

    def write(*replacements: tuple[str, str], text: str = TOY_STUDY) -> Path:
        for old, new in replacements:
            assert old in text, old
            text = text.replace(old, new)
        file = tmp_path / "study.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write

"""The toy experiment of tests/plugin is installed like any third-party experiment: by an entry point on the path."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import hypothesis
import psutil
import pytest
import typer.main
import typer.testing
from toy_study import TOY_STUDY

from flows.prefect_server import run_server
from flows.settings import prepare_environment

# The gate tries the same hundred examples each time; `make test-all` draws new ones.
# A busy machine makes examples slow; that is no failure.
hypothesis.settings.register_profile("gate", derandomize=True, deadline=None)

# Making the commands from the program takes 30 ms, each time that a test runs one of them in its own process.
typer.testing._get_command = functools.cache(typer.main.get_command)


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


@pytest.fixture(scope="session")
def prefect(home: Path) -> Iterator[dict[str, str]]:
    """One Prefect server for all runs that need none of their own; gives the settings that name it."""
    with contextlib.ExitStack() as stack:
        with mock.patch.dict(os.environ, {"PREFECT_HOME": str(home)}):
            os.environ.pop("PREFECT_API_URL", None)
            prepare_environment()
            stack.enter_context(run_server()).wait()
            settings = {name: os.environ[name] for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}
        yield settings


@pytest.fixture
def disac(
    home: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., subprocess.Popen[str]]]:  # fmt: skip
    """Start a command in ``tmp_path``, optionally with a Dask configuration of its own; ended with the test.

    A run uses the session's Prefect server; ``own_server`` lets it start and end one of its own, as it does for a user.
    """
    listener = tmp_path / "listener"
    listener.mkdir()
    (listener / "sitecustomize.py").write_text(LISTENER)
    always = {
        "PREFECT_HOME": str(home), "COLUMNS": "200", "LOOKUPS": str(tmp_path / "lookups"),
        "PYTHONPATH": os.pathsep.join([str(listener), os.environ["PYTHONPATH"]]),
    }  # fmt: skip
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str, config: str | None = None, environment: dict[str, str] | None = None, own_server: bool = False
    ) -> subprocess.Popen[str]:
        if config is not None:
            (tmp_path / "dask_config.yaml").write_text(config)
        runs = arguments[0] in ("run", "retry") and not own_server
        server: dict[str, str] = request.getfixturevalue("prefect") if runs else {}
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | always | server | (environment or {}), cwd=tmp_path, start_new_session=True,
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

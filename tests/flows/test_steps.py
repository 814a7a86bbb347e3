"""The steps of a run are done once, by Prefect's tasks or without them; whose error it is decides what happens."""

from __future__ import annotations

import contextvars
import io
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from rich.console import Console

from flows import prefect_server
from flows.prefect_server import RunServer
from flows.steps import Steps
from pipeline.errors import SurroundingsError


class FakeRun:
    """Counts what is done; nothing is to be computed."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.plan, self.derivation, self.report_derivation = SimpleNamespace(todo=[]), None, None

    def begin(self) -> None:
        self.done.append("plan")

    def publish(self) -> None:
        self.done.append("publish")

    def make(self, act: str, derivation: Any) -> str:
        self.done.append(act)
        return act


def run_with(monkeypatch: pytest.MonkeyPatch, flow: Any, *, answers: bool) -> tuple[FakeRun, str]:
    from flows import study_flow  # here, since a process that runs no test of this file need not import Prefect for 2 s

    run, said = FakeRun(), io.StringIO()
    monkeypatch.setattr(study_flow, "_flow", flow)
    monkeypatch.setattr(study_flow, "answers", lambda url, patience_s: answers)
    arguments: Any = (run, None, None, run, RunServer("http://127.0.0.1:9"), Console(file=said, width=200))
    study_flow.run_study(*arguments)
    return run, said.getvalue()


ALL = ["plan", "publish", "aggregate", "report"]


def _refused(*_: Any) -> None:
    request = httpx.Request("POST", "http://127.0.0.1/api/task_runs/")
    raise httpx.HTTPStatusError("503", request=request, response=httpx.Response(503, request=request))


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_that_refuses_in_mid_run_costs_no_step(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    def flow(run: Any, do: Any) -> None:
        do("plan")
        do("sweep")
        _refused()

    run, said = run_with(monkeypatch, flow, answers=answers)
    assert run.done == ALL
    assert said.count("does not answer: the run goes on without it") == 1


def test_without_trouble_nothing_is_said_and_nothing_done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def flow(run: Any, do: Any) -> None:
        for name in ("plan", "sweep", "publish", "aggregate", "report"):
            do(name)

    run, said = run_with(monkeypatch, flow, answers=True)
    assert (run.done, said) == (ALL, "")


def test_the_error_of_a_step_is_the_runs_whatever_prefect_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def flow(run: Any, do: Any) -> None:
        try:
            do("plan")
        except SurroundingsError as error:
            raise RuntimeError("Flow run encountered an exception") from error

    monkeypatch.setattr(FakeRun, "begin", lambda self: _no_disk())
    with pytest.raises(SurroundingsError, match="no space"):
        run_with(monkeypatch, flow, answers=False)


def _no_disk() -> None:
    raise SurroundingsError("no space")


def test_a_bug_between_the_steps_is_no_lost_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def flow(run: Any, do: Any) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        run_with(monkeypatch, flow, answers=True)


def test_a_step_that_failed_is_not_tried_again() -> None:
    tries: list[int] = []

    def fails() -> None:
        tries.append(1)
        raise SurroundingsError("once")

    steps = Steps({"one": fails, "two": lambda: tries.append(2)})
    for _ in range(2):
        with pytest.raises(SurroundingsError):
            steps.rest()
    assert tries == [1]


def test_a_call_that_hangs_for_ever_holds_up_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import study_flow

    monkeypatch.setattr(study_flow, "_LOOK_EVERY_S", 0.01)
    for asked in ([], ["plan"], ["plan", "sweep", "publish", "aggregate", "report"]):

        def flow(run: Any, do: Any, asked: list[str] = asked) -> None:
            for name in asked:
                do(name)
            threading.Event().wait()

        since = time.monotonic()
        run, said = run_with(monkeypatch, flow, answers=False)
        assert run.done == ALL
        assert said.count("does not answer: the run goes on without it") == 1
        assert time.monotonic() - since < 5.0


def test_steps_are_done_in_the_thread_that_waits_within_the_context_of_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    within: contextvars.ContextVar[str] = contextvars.ContextVar("within", default="nothing")
    found: list[tuple[threading.Thread, str]] = []

    def flow(run: Any, do: Any) -> None:
        within.set("the flow")
        do("plan")
        do("aggregate")

    monkeypatch.setattr(FakeRun, "begin", lambda self: found.append((threading.current_thread(), within.get())))
    run_with(monkeypatch, flow, answers=True)
    assert found == [(threading.current_thread(), "the flow")]


@pytest.mark.parametrize(("answer", "healthy"), [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
    (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", False),
    (b"HTT", False),
    (b"nonsense\r\n\r\n", False),
    (b"", False),
])  # fmt: skip
def test_only_a_whole_answer_says_that_a_server_is_healthy(answer: bytes, healthy: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(prefect_server.answers, f"http://127.0.0.1:{server.getsockname()[1]}", 5.0)
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)
        assert asked.result(10.0) is healthy

"""Flows that a person may call from Python without a thought of Prefect's server."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, get_current_settings, temporary_settings

from flows.prefect_server import RunServer, answers, staying, temporary_server
from flows.settings import make_prefect_home

P = ParamSpec("P")
R = TypeVar("R")

_own: list[RunServer] = []
_starting = Lock()


class CallableFlow(Flow[P, R]):
    """A flow that finds Prefect's server, or starts one for this process, when it is called.

    A worker does not call the flow: Prefect's engine runs it, with the server of the worker.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow; see :class:`prefect.Flow`."""
        with _server():
            return super().__call__(*args, **kwargs)


def callable_flow(name: str, run_name: str = "{study}") -> Callable[[Callable[P, R]], CallableFlow[P, R]]:
    """Return a decorator that makes a flow; its runs are called as ``run_name`` says from the parameters."""
    return lambda function: CallableFlow(function, name=name, flow_run_name=run_name)


@contextmanager
def _server() -> Iterator[None]:
    """Provide a server: that of the settings, else the server that stays, else one that ends with this process."""
    if FlowRunContext.get() is not None or get_current_settings().api.url:
        yield
        return
    url = staying()
    server = RunServer(url) if url else _own_server()
    with temporary_settings({PREFECT_API_URL: f"{server.url}/api", PREFECT_API_AUTH_STRING: server.password}):
        yield


def _own_server() -> RunServer:
    with _starting:
        if not _own or not answers(_own[0].url):
            make_prefect_home()
            _own[:] = [temporary_server()]
            atexit.register(_own[0].end)
        _own[0].wait()
        return _own[0]

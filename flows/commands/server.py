"""``server`` and ``prefect``: a Prefect server that stays, and Prefect's own command for it."""

from __future__ import annotations

import enum
import os
import sys
from typing import Annotated

import typer

from flows.settings import make_prefect_home, prefects_own_environment
from pipeline.errors import SurroundingsError


class Action(enum.StrEnum):
    """Actions on the server."""

    start = "start"
    stop = "stop"
    status = "status"


def server(
    action: Annotated[Action, typer.Argument(help="start, stop or status.")] = Action.start,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 4200,
) -> None:
    """Start or stop a Prefect server on 127.0.0.1 that stays. Flows then start in about a second, and its pages show them."""
    from flows import prefect_server

    if action is Action.start:
        make_prefect_home()
        print(f"Prefect's server runs at {prefect_server.stay(port)} until `disac server stop`")
    elif action is Action.stop:
        print("Prefect's server has ended" if prefect_server.stop_staying() else "no server was running")
    else:
        url = prefect_server.staying()
        print(f"Prefect's server runs at {url}" if url else "no server is running; each run starts its own")
        raise typer.Exit(0 if url else 3)


def prefect(context: typer.Context) -> None:
    """Prefect's own command for the server that stays: deploy, worker start ... Without telemetry; --help lists all."""
    from flows import prefect_server

    make_prefect_home()
    environment = prefects_own_environment()
    url = os.environ.get("PREFECT_API_URL") or (f"{staying}/api" if (staying := prefect_server.staying()) else None)
    if url is None and context.args and "--help" not in context.args:
        raise SurroundingsError("no Prefect server is running: start one by `disac server start`")
    environment |= {"PREFECT_API_URL": url} if url else {}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "prefect", *context.args], environment)

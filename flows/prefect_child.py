"""Prefect's server for one run, as a process that ends with the run.

The command is ``python -m flows.prefect_child FD``: FD is a socket that already listens. The standard input is a pipe from the
run. The pipe closes when the run ends, also when a signal killed the run.
"""

from __future__ import annotations

import os
import socket
import sys
import threading


def _end_with_the_run() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serve until the pipe closes."""
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    import uvicorn

    listening = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config("prefect.server.api.server:create_app", factory=True, log_level="critical", lifespan="on")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()

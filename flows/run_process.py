"""A run as a process of its own, for callers in Python.

A run sets handlers of signals, and ends all processes that its process has started. Neither is welcome in a notebook. The
command is ``python -m flows.run_process ARGUMENTS``: the command line, which ends in order when its standard input closes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

from flows.commands.common import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_USAGE
from pipeline.errors import SurroundingsError, UsageError

_BEFORE_THE_SENTENCE = "disac: "


def run_process(arguments: Sequence[str], *, quiet: bool) -> dict[str, Any]:
    """Run a command with ``--json`` to its end; return what it prints.

    Parameters
    ----------
    arguments
        Words of the command line.
    quiet
        Whether to keep back what the command tells while it runs.

    Raises
    ------
    UsageError, SurroundingsError
        With the sentence that the command prints.
    RuntimeError
        If the command ended by an error of the program; the text ends with its traceback.
    """
    command = [sys.executable, "-m", "flows.run_process", *arguments]
    told: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            errors="replace", start_new_session=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            try:
                for line in process.stderr:
                    told.append(line)
                    if not quiet:
                        print(line, end="", file=sys.stderr, flush=True)
                code = process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                process.wait()
                raise
        answer.seek(0)
        printed = answer.read()
    if printed and code in (0, EXIT_FAILED, EXIT_INCOMPLETE):
        found: dict[str, Any] = json.loads(printed)
        return found
    raise _error(code, "".join(told))


def _error(code: int, told: str) -> Exception:
    """Return the error that a command has ended with."""
    _, found, sentence = told.rpartition(_BEFORE_THE_SENTENCE)
    if found and code == EXIT_USAGE:
        return UsageError(sentence.strip())
    if found and code == EXIT_INCOMPLETE:
        return SurroundingsError(sentence.strip())
    if code < 0 or code > 128:
        return SurroundingsError(f"the run was ended by signal {-code if code < 0 else code - 128}; finished cells are kept")
    return RuntimeError(f"the run ended with the exit code {code}:\n{told}")


def _end_with_the_caller() -> None:
    while os.read(0, 1):  # not by sys.stdin: its lock would break the end of the process
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Carry out the command of the process's arguments."""
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    from flows.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()

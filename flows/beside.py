"""Make surfaces and report in a second process. It imports their libraries while the run computes the cells.

Parent and child exchange lines of JSON over the child's standard input and output. When the run ends, for whatever reason, the
input closes. The child process then ends, too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import asdict
from typing import Any, Literal

from flows.derivation import Derivation
from pipeline.errors import SurroundingsError, UsageError
from pipeline.study import SurfaceSpec

Act = Literal["aggregate", "report"]
_KINDS: dict[str, type[Exception]] = {"UsageError": UsageError, "SurroundingsError": SurroundingsError}


class Beside:
    """The second process; it starts when the object is made."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flows.beside"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def make(self, act: Act, derivation: Derivation) -> str:
        """Publish the surfaces or write the report; return the name of the version.

        Raises
        ------
        UsageError, SurroundingsError
            As the work itself raises them; SurroundingsError, too, if the process was ended.
        RuntimeError
            If the work raised another error (a bug); the text ends with its traceback.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            asked = asdict(derivation) | {"surfaces": derivation.surfaces.model_dump()}
            self._process.stdin.write(json.dumps({"act": act, "derivation": asked}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            words = "the process that makes surfaces and report was stopped; the cells are kept, and `disac report` makes both"
            raise SurroundingsError(words)
        told: dict[str, str] = json.loads(answer)
        if "made" in told:
            return told["made"]
        raise _KINDS.get(told["kind"], RuntimeError)(told["sentence"])

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *error: object) -> None:
        # Work that is cut off here is published whole or not at all.
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Answer requests until the input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run itself answers an interrupt
    # Text that a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # The library that draws is imported now, while the run computes the cells, and not when the report is asked for.
    import flows.report.page  # noqa: F401
    from flows.derive import publish_surfaces, write_report

    acts = {"aggregate": publish_surfaces, "report": write_report}
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        asked = request["derivation"]
        try:
            made = acts[request["act"]](Derivation(**asked | {"surfaces": SurfaceSpec(**asked["surfaces"])}))
            answer = {"made": made}
        except (UsageError, SurroundingsError) as error:
            kind = "UsageError" if isinstance(error, UsageError) else "SurroundingsError"
            answer = {"kind": kind, "sentence": str(error)}
        except Exception:
            answer = {"kind": "", "sentence": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

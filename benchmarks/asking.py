"""The cost of a question to a million cells: the answer alone, and the whole command with its imports, in CPU seconds."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.engine import _fill, _study
from benchmarks.registry import Row
from flows.asking import Question
from pipeline.asking.shown import as_text
from pipeline.cube import publish_cube
from pipeline.plan import make_plan, write_record
from pipeline.store import LocalStore
from pipeline.study import load_study

WISHES = {
    "met": "v01 <= 1.5 and v02 >= -2 in 80 % of realisations",
    "refuted": "v01 <= -3 and v02 >= 0 and nodes <= 5 in 80 % of realisations",
}
MOST_SECONDS = 2.0


def ask_million() -> Iterator[Row]:
    """Ask 25,000 points of 40 realisations: a published cube of a million cells."""
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name), LocalStore(Path(name) / "store")
        file = _study(folder, 1000, 25, 40)
        file.write_text(file.read_text() + "keep: [v01, v02, v03]\n")
        first = make_plan(load_study(file), store)
        _fill(first, store, 20_000)
        plan = make_plan(first.study, store)
        write_record(plan, store)
        publish_cube(plan, store)
        for what, wish in WISHES.items():
            question = Question(str(file), str(folder / "store"), (), wish, ["nodes,sinr_db"])
            started = time.process_time()
            text = as_text(question.answer())
            assert "25,000 points" in text
            yield Row(f"answer, {what}", time.process_time() - started, MOST_SECONDS, "s CPU", "the bar of 2 s; plan is made")
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [
                sys.executable,
                "-m",
                "flows.cli",
                "ask",
                str(file),
                wish,
                "--minimise",
                "nodes,sinr_db",
                "--store",
                str(folder / "store"),
            ]
            subprocess.run(command, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            yield Row(f"disac ask, {what}", spent, MOST_SECONDS, "s CPU", "imports, plan and reading included")


BENCHMARKS = {"ask": ask_million}

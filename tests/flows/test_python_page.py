"""The examples of docs/python.md run, one after the other, on a small part of the study ``quick``."""

from __future__ import annotations

import inspect
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib as mpl
import pytest

from flows import api
from flows.run import Run
from pipeline.accessors.cube import CubeAccessor
from pipeline.accessors.store import StoreAccessor
from pipeline.sweep import Sweep

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
PART = [
    "axes.sinr_db=[0, 20]", "axes.user_count=[1, 2]", "axes.design=[orthogonal, beamforming]", "axes.realisation=[0, 1]",
]  # fmt: skip


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of the study, computed and published in a store of the working folder."""
    monkeypatch.chdir(tmp_path)
    run = Run("quick", "results", PART)
    with ThreadPoolExecutor(1) as pool:
        Sweep(run.plan, run.store, pool, lambda: 1).run()
    run.publish()
    run.aggregate()
    run.report()


@pytest.mark.usefixtures("published")
def test_every_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All cells are there; test_api.py starts runs as processes.
    monkeypatch.setattr("flows.run_process.run_process", lambda arguments, quiet: {"study": "quick"})
    known: dict[str, object] = {}
    with mpl.rc_context({"backend": "agg"}):
        for example in EXAMPLES:
            exec(example, known)
    assert (tmp_path / "curves.png").is_file()
    assert (tmp_path / "cells.csv").is_file()
    assert Path(str(known["page"])).is_file()
    assert known["best"].shape == (2, 2)  # type: ignore[attr-defined]


def test_each_example_has_ten_lines_and_every_function_is_there() -> None:
    assert len(EXAMPLES) > 7
    assert max(len(example.splitlines()) for example in EXAMPLES) <= 10
    offered = [
        *(f".disac.{name}(" for kind in (CubeAccessor, StoreAccessor) for name in vars(kind) if not name.startswith("_")),
        *(f"api.{n}(" for n, f in vars(api).items() if inspect.isfunction(f) and not n.startswith("_")),
    ]
    shown = "\n".join(EXAMPLES)
    assert len(offered) > 12
    assert not [call for call in offered if call not in shown]

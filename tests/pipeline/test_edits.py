"""Executed cells after edits of code and of scenario models, in processes of their own (rules I1, I2)."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

EXPERIMENT = """
    from dataclasses import dataclass
    from pydantic import BaseModel, ConfigDict, Field
    from lab.scenario import Scenario
    from lab.{formula} import value

    class Options(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid")

    @dataclass(frozen=True)
    class Variable:
        name: str = "y"
        dtype: str = "float64"
        dims: tuple = ()
        coords: dict = Field(default_factory=dict)
        unit: str = "1"
        long_name: str = "y"
        kind: str = "cube"
        volatile: bool = False

    class Experiment:
        name = "{name}"
        scenario_model = Scenario
        options_model = Options
        line_axes = ("x",)
        variables = (Variable(coords={{}}),)
        modules = ("lab.{name}",)

        def run(self, scenarios, options):
            for s in scenarios:
                print("CELL", s.x)
            return [{{"status": "ok", "y": value(s.x) * s.gain}} for s in scenarios]

    experiment = Experiment()
"""

FILES = {
    "lab/__init__.py": "",
    "lab/scenario.py": """
        from pydantic import BaseModel, ConfigDict, Field

        class Scenario(BaseModel):
            model_config = ConfigDict(frozen=True, extra="forbid")
            x: float = 0.0
            gain: float = Field(1.0, json_schema_extra={"identity_default": 1.0})
    """,
    "lab/alpha.py": EXPERIMENT.format(name="alpha", formula="near"),
    "lab/beta.py": EXPERIMENT.format(name="beta", formula="other"),
    "lab/near.py": "from lab.middle import twice\n\ndef value(x):\n    return twice(x)\n",
    "lab/middle.py": "from lab.far import factor\n\ndef twice(x):\n    return factor() * x\n",
    "lab/far.py": "def factor():\n    return 2.0\n",
    "lab/other.py": "def value(x):\n    return -x\n",
    "lab-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: lab\nVersion: 1\n",
    "lab-1.dist-info/entry_points.txt": "[disac.experiments]\nalpha = lab.alpha:experiment\nbeta = lab.beta:experiment\n",
    "alpha.yaml": "study: alpha\nexperiment: alpha\naxes:\n  x: [1, 2, 3]\n",
    "beta.yaml": "study: beta\nexperiment: beta\naxes:\n  x: [1, 2]\n",
    "explicit.yaml": "study: explicit\nexperiment: beta\nscenario: {gain: 1.0}\naxes:\n  x: [5]\n",
}

RUN = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pipeline.plan import make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep
store = LocalStore(sys.argv[1])
for file in sys.argv[2:]:
    plan = make_plan(load_study(file), store)
    for sentence, count in plan.summary()["reasons"].items():
        print("REASON", count, sentence)
    with ThreadPoolExecutor(1) as pool:
        Sweep(plan, store, pool, lambda: 1).run()
    print("DONE", file)
"""


PYTHON = (sys.executable, "-B")
"""Python takes cached bytecode for fresh where second and size agree; edits here are faster than a second."""


@pytest.fixture
def lab(tmp_path: Path) -> Callable[..., tuple[tuple[int, ...], str]]:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def run(*edits: tuple[str, str, str]) -> tuple[tuple[int, ...], str]:
        """Apply edits (file, old, new), run all studies; returns the executed cells of each and what was printed."""
        for name, old, new in edits:
            text = (tmp_path / name).read_text()
            assert old in text
            (tmp_path / name).write_text(text.replace(old, new))
        files = ["alpha.yaml", "beta.yaml", "explicit.yaml"]
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.path.insert(0, {str(Path.cwd())!r})\n{RUN}"
        done = subprocess.run(
            [*PYTHON, "-c", code, "store", *files],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        parts = done.stdout.split("DONE")
        return tuple(part.count("CELL") for part in parts[:3]), done.stdout

    return run


def test_i2_edits_run_exactly_what_they_touch(lab: Callable[..., tuple[tuple[int, ...], str]]) -> None:
    assert lab()[0] == (3, 2, 1)
    assert lab()[0] == (0, 0, 0)
    assert lab(("lab/far.py", "return 2.0", "return 2.0  # the factor"))[0] == (0, 0, 0)
    counts, said = lab(("lab/far.py", "2.0", "2.5"))
    assert counts == (3, 0, 0)
    assert "REASON 3 code: lab.far changed" in said


def test_i1_a_new_field_runs_nothing_and_a_changed_default_what_relied_on_it(
    lab: Callable[..., tuple[tuple[int, ...], str]],
) -> None:
    assert lab()[0] == (3, 2, 1)
    field = 'offset: float = Field(0.0, json_schema_extra={"identity_default": 0.0})'
    assert lab(("lab/scenario.py", "x: float = 0.0", f"x: float = 0.0\n    {field}"))[0] == (0, 0, 0)
    # The third study says gain: 1.0 itself and does not rely on the default.
    counts, said = lab(("lab/scenario.py", "Field(1.0,", "Field(3.0,"))
    assert counts == (3, 2, 0)
    assert "gain" in said or "not computed yet" in said


STALE = """
import multiprocessing, pathlib, sys
from concurrent.futures import ProcessPoolExecutor
from pipeline.cube import publish_cube
from pipeline.loaded import CodeMismatchError
from pipeline.plan import make_plan, refreshed
from pipeline.results import open_store
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

store, far = LocalStore("store"), pathlib.Path("lab/far.py")

def workers():
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

def attempt(name, plan, pool):
    try:
        Sweep(plan, store, pool, lambda: 1).run()
    except CodeMismatchError as error:
        print(name, "REFUSED", error)
    else:
        plan = refreshed(plan, store)
        publish_cube(plan, store)
        print(name, "CELLS", len(plan.todo), open_store("store")["alpha/cube"].y.values.tolist())

first, second = workers(), workers()
attempt("before", make_plan(load_study("alpha.yaml"), store), first)
planned_before = make_plan(load_study("alpha.yaml", overrides=["axes.x=[1, 2, 3, 4]"]), store)
far.write_text(far.read_text().replace("2.0", "2.5"))
attempt("old worker, new plan:", make_plan(load_study("alpha.yaml"), store), first)
attempt("new worker, old plan:", planned_before, second)
print("SEGMENTS", len(store.list("ledger/segments/")))
attempt("old worker, old plan:", planned_before, first)
attempt("new worker, new plan:", make_plan(load_study("alpha.yaml"), store), second)
"""


def test_i3_a_formula_edited_in_mid_run_never_stores_a_wrong_number(lab: Callable[..., object], tmp_path: Path) -> None:
    code = f"import sys; sys.path[:0] = [{str(Path.cwd())!r}, {str(tmp_path)!r}]\n{STALE}"
    done = subprocess.run(
        [*PYTHON, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if not line.startswith("CELL")]
    assert said[0] == "before CELLS 0 [2.0, 4.0, 6.0]"
    assert said[1].startswith("old worker, new plan: REFUSED")
    assert said[2].startswith("new worker, old plan: REFUSED")
    assert all("lab/far.py changed" in line for line in said[1:3])
    assert said[3] == "SEGMENTS 1"
    # A worker that loaded the old code goes on with the old plan: its numbers are right for its keys.
    assert said[4] == "old worker, old plan: CELLS 0 [2.0, 4.0, 6.0, 8.0]"
    assert said[5] == "new worker, new plan: CELLS 0 [2.5, 5.0, 7.5]"


ADOPT = """
import sys
from pipeline.adopt import adopt, code_of
from pipeline.errors import UsageError
from pipeline.plan import make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study

store = LocalStore("store")
plan = make_plan(load_study("alpha.yaml"), store)
for name in sys.argv[1:]:
    try:
        found = adopt(plan, store, code_of(plan, name), check=2)
        print("ADOPTED", found.cells, found.checked, found.different)
    except UsageError as error:
        print("REFUSED", error)
"""


@pytest.mark.slow
def test_i7_a_refactoring_is_adopted_only_when_no_bit_changes(
    lab: Callable[..., tuple[tuple[int, ...], str]], tmp_path: Path
) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    def adopt(*names: str) -> list[str]:
        code = f"import sys; sys.path[:0] = [{str(Path.cwd())!r}, {str(tmp_path)!r}]\n{ADOPT}"
        done = subprocess.run(
            [*PYTHON, "-c", code, *names], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if not line.startswith("CELL")]

    assert lab()[0] == (3, 2, 1)
    git("init", "-q")
    git("add", "lab")
    git("commit", "-qm", "first")
    far = tmp_path / "lab/far.py"
    far.write_text("def factor():\n    two = 2.0\n    return two\n")
    assert adopt("HEAD")[0].startswith("ADOPTED 3 2 ()")
    assert lab()[0] == (0, 0, 0)
    far.write_text("def factor():\n    two = 2.0000000001\n    return two\n")
    said = adopt("HEAD", "no-such-thing")
    assert said[0].startswith("ADOPTED 3 2 ('x=")
    assert said[1].startswith("REFUSED 'no-such-thing' is neither a git revision nor a code digest of this store")
    assert lab()[0] == (3, 0, 0), "nothing was recorded"
    far.write_text("def factor():\n    one = 1.0\n    return one + one\n")
    assert adopt("HEAD")[0].startswith("ADOPTED 3 2 ()")
    assert lab()[0] == (0, 0, 0)

"""The house keeps its floors: who imports whom, and that the rules' page names tests that exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RULES = (
    *(f"G{i}" for i in range(1, 5)), *(f"I{i}" for i in range(1, 8)), "R1", "R2", *(f"W{i}" for i in range(1, 7)),
    *(f"S{i}" for i in range(1, 8)), *(f"C{i}" for i in range(1, 10)),
)  # fmt: skip

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden}:
            raise ModuleNotFoundError(name + " is hidden")

sys.meta_path.insert(0, Hidden())
"""

A_STUDY_FROM_FILE_TO_CUBE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pipeline
from pipeline.cube import publish_cube
from pipeline.plan import make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep
study, store = load_study(Path(sys.argv[1])), LocalStore(sys.argv[2])
with ThreadPoolExecutor(1) as pool:
    Sweep(make_plan(study, store), store, pool, lambda: 1).run()
publish_cube(make_plan(study, store), store)
cube = pipeline.open_store(sys.argv[2])["toy-study/cube"]
strangers = {m.split(".")[0] for m in sys.modules} & {"disac", "flows", "prefect"}
print("cells", int((cube["status"] > 1).sum()), "strangers", sorted(strangers))
"""

EVERY_MODULE = """
import pkgutil, importlib, disac
names = [m.name for m in pkgutil.walk_packages(disac.__path__, "disac.")]
for name in names:
    importlib.__import__(name)
print("modules", len(names) > 5)
"""


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_imports_go_down_only() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-logo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* kept, 0 broken", done.stdout), done.stdout


def test_the_engine_runs_a_study_without_the_science_and_the_faces(study_file: Callable[..., Path], tmp_path: Path) -> None:
    script = HIDE.format(hidden={"disac", "flows", "prefect"}) + A_STUDY_FROM_FILE_TO_CUBE
    assert run(script, str(study_file()), str(tmp_path / "results")) == "cells 30 strangers []"


def test_the_science_stands_without_the_engine() -> None:
    hidden = {"pipeline", "flows", "prefect", "dask", "distributed", "zarr", "xarray", "holoviews", "bokeh"}
    assert run(HIDE.format(hidden=hidden) + EVERY_MODULE) == "modules True"


def test_hiding_a_package_hides_it() -> None:
    with pytest.raises(AssertionError, match="numpy is hidden"):
        run(HIDE.format(hidden={"numpy"}) + EVERY_MODULE)


def test_the_page_of_rules_has_every_rule_and_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "cubes.md").read_text(encoding="utf-8")
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", tests))
    entries = re.findall(r"^- \*\*(\w\d)\*\*(.*?)(?=^- \*\*|^#|\Z)", page, flags=re.MULTILINE | re.DOTALL)
    assert [rule for rule, _ in entries] == list(RULES)
    for rule, text in entries:
        named = re.findall(r"`(test_\w+)`", text)
        assert named or "Not yet" in text, f"{rule} names no test and does not say that it is not yet kept"
        assert set(named) <= defined, f"{rule} names tests that do not exist: {sorted(set(named) - defined)}"


FOLDERS = ("ledger", "cubes", "surfaces", "reports", "plans", "locks", "inputs", "adoptions", "versions")


def _texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every text of a module that is no docstring."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    yield from (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in alone)


def _store_names(source: str) -> list[str]:
    """Texts of a module that spell the name of a folder or of a pointer of a store."""
    spelled = re.compile(rf"(^|/)({'|'.join(FOLDERS)})/|(^|/)(latest|index\.html)$")
    return [node.value for node in _texts(ast.parse(source)) if spelled.search(node.value) and " " not in node.value]


def test_names_of_the_store_stand_in_one_place() -> None:
    spelled = {
        file: _store_names(file.read_text(encoding="utf-8")) for p in ("pipeline", "flows") for file in (ROOT / p).rglob("*.py")
    }
    assert len(spelled.pop(ROOT / "pipeline" / "layout.py")) >= 12
    # The word that a person types for the newest version of a cube.
    allowed = {ROOT / "flows" / file: ["latest"] for file in ("diff.py", "api.py", "commands/look.py")}
    assert {file: names for file, names in spelled.items() if names} == allowed


def test_a_name_of_the_store_elsewhere_is_found() -> None:
    source = 'def f(study):\n    """cubes/x"""\n    return f"cubes/{study}/", f"{study}/latest", "a/versions/", "cubes"\n'
    assert sorted(_store_names(source)) == ["/latest", "a/versions/", "cubes/"]

"""The code digest (rule I2): what an edit means, not what it looks like."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.digest import code_digest, explain_change
from pipeline.errors import UsageError

FILES = {
    "proj/__init__.py": "",
    "proj/alpha.py": """
        from proj.maths import twice

        def run(x):
            \"\"\"Doc.\"\"\"
            return twice(x) + 1
    """,
    "proj/beta.py": """
        from proj.other import thing

        def run(x):
            return thing(x)
    """,
    "proj/maths/__init__.py": "from proj.maths.double import twice\nfrom proj.maths.unused import never\n",
    "proj/maths/double.py": """
        from .deep import factor

        def twice(x):
            return factor() * x
    """,
    "proj/maths/deep.py": """
        def factor():
            return 2.0
    """,
    "proj/maths/unused.py": "def never():\n    return 0\n",
    "proj/other.py": """
        from pydantic import BaseModel, Field, model_validator

        class Base(BaseModel):
            pass

        class Model(Base):
            \"\"\"A model.\"\"\"
            size: int = Field(3, ge=0)

            @model_validator(mode="after")
            def check(self):
                if self.size > 10:
                    raise ValueError("large")
                return self

            @property
            def area(self):
                return self.size ** 2

        def thing(x):
            return Model(size=x).area
    """,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.path_importer_cache.clear()

    def edit(name: str, old: str, new: str) -> None:
        file = tmp_path / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    yield edit
    assert "proj" not in sys.modules, "the digest must not import what it digests"


def digests() -> tuple[str, str]:
    return code_digest(["proj.alpha"]).digest, code_digest(["proj.beta"]).digest


def test_i2_only_defining_modules_are_reached(project: Callable[..., None]) -> None:
    assert set(code_digest(["proj.alpha"]).manifest) == {"proj.alpha", "proj.maths.double", "proj.maths.deep"}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("proj/alpha.py", "return twice", "# a comment\n    return   twice"),
        ("proj/alpha.py", '"""Doc."""', '"""Another text."""'),
        ("proj/maths/deep.py", "def factor():", "\n\ndef factor( ):"),
        ("proj/maths/unused.py", "return 0", "return 1"),
        ("proj/other.py", "Field(3, ge=0)", "Field(4, ge=1, description='n')"),
        ("proj/other.py", '"""A model."""', "extra: str = ''"),
        ("proj/maths/__init__.py", "import twice\n", "import twice as twice\n"),
    ],
)
def test_i2_what_changes_no_result_changes_no_digest(project: Callable[..., None], name: str, old: str, new: str) -> None:
    before = digests()
    project(name, old, new)
    assert digests() == before


@pytest.mark.parametrize(
    ("name", "old", "new", "users"),
    [
        ("proj/maths/deep.py", "2.0", "2.5", (True, False)),
        ("proj/maths/double.py", "factor() * x", "x * factor()", (True, False)),
        ("proj/other.py", "self.size > 10", "self.size > 11", (False, True)),
        ("proj/other.py", "self.size ** 2", "self.size ** 3", (False, True)),
        ("proj/beta.py", "from proj.other", "from math import sin\nfrom proj.other", (False, True)),
    ],
)
def test_i2_a_formula_touches_exactly_its_users(
    project: Callable[..., None], name: str, old: str, new: str, users: tuple[bool, bool]
) -> None:
    before = digests()
    project(name, old, new)
    assert tuple(a != b for a, b in zip(before, digests(), strict=True)) == users


def test_i2_moving_a_reexport_changes_nothing(project: Callable[..., None]) -> None:
    before = digests()
    project("proj/alpha.py", "from proj.maths import", "from proj.maths.double import")
    assert digests() == before


def test_i2_code_in_a_package_init_is_refused(project: Callable[..., None]) -> None:
    project("proj/maths/__init__.py", "from proj.maths.double", "x = 1\nfrom proj.maths.double")
    project("proj/alpha.py", "from proj.maths import twice", "import proj.maths\ntwice = proj.maths.twice")
    with pytest.raises(UsageError, match="holds only imports"):
        code_digest(["proj.alpha"])


def test_i2_a_star_import_is_refused(project: Callable[..., None]) -> None:
    project("proj/alpha.py", "import twice", "import *")
    with pytest.raises(UsageError, match="hides what is used"):
        code_digest(["proj.alpha"])


def test_i2_the_digest_is_the_same_on_every_python(project: Callable[..., None]) -> None:
    """Golden values: they must not depend on the interpreter or the machine."""
    assert digests() == ("0893549b178294f4f136db28ef406f4c", "b270c8ef2171af6451d1d10057da86ca")


def test_i2_f_strings_do_not_depend_on_how_they_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for text in ("x = 1\ny = f'a{x:.3f}b' 'c'\n", "x = 1\ny = f'a{x:.3f}bc'\n"):
        (tmp_path / "fstrings.py").write_text(text)
        found.append(code_digest(["fstrings"]).digest)
    assert found[0] == found[1]


def test_i7_changes_are_named() -> None:
    old, new = {"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}
    assert explain_change(old, new) == ["b changed", "c is no longer used", "d is new"]


def test_the_science_is_digested_quickly() -> None:
    import time

    started = time.perf_counter()
    manifest = code_digest(["disac.experiments.ofdm_tradeoff"]).manifest
    assert time.perf_counter() - started < 5
    assert "disac.metrics.fisher" in manifest
    assert not any(name.startswith(("pipeline", "flows")) for name in manifest)


def write(root: Path, name: str, text: str) -> None:
    (root / "proj" / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("proj/alpha.py", "def run", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import proj.other\n\ndef run"),
        ("proj/alpha.py", "from proj.maths import twice", "from .maths import (\n    twice,\n)"),
        ("proj/other.py", "pass", "model_config = {'frozen': True}\n    pass"),
    ],
)
def test_i2_types_and_configuration_compute_nothing(project: Callable[..., None], name: str, old: str, new: str) -> None:
    before = digests()
    project(name, old, new)
    assert digests() == before


def test_i2_class_variables_and_private_attributes_are_no_fields(project: Callable[..., None]) -> None:
    for line in ("scale: ClassVar[float] = {}", "_scale: float = {}"):
        old = "size: int = Field(3, ge=0)"
        project("proj/other.py", old, f"{line.format(1.0)}\n    {old}")
        before = digests()
        project("proj/other.py", line.format(1.0), line.format(2.0))
        assert digests()[1] != before[1]


def test_i2_the_order_of_imports_is_no_change(project: Callable[..., None]) -> None:
    first, second = "from math import sin\n", "from proj.maths import twice\n"
    project("proj/alpha.py", second, first + second)
    before = digests()
    project("proj/alpha.py", first + second, second + first)
    assert digests() == before


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    from proj.{} import g\n    g()\n\n\ndef h():\n    from proj.{} import g\n    g()\n",
        "try:\n    from proj.{} import g\nexcept ImportError:\n    from proj.{} import g\n",
    ],
)
def test_i2_imports_of_one_name_that_change_places_are_a_change(
    project: Callable[..., None], tmp_path: Path, text: str
) -> None:
    found = set()
    for order in (("alpha", "other"), ("other", "alpha")):
        write(tmp_path, "places.py", text.format(*order))
        found.add(code_digest(["proj.places"]).digest)
    assert len(found) == 2


def test_i2_a_module_used_as_an_attribute_of_its_package_is_reached(project: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path, "user.py", "import proj\n\n\ndef f():\n    return proj.maths.unused.never()\n")
    assert "proj.maths.unused" in code_digest(["proj.user"]).manifest


def test_i2_a_name_follows_its_reexport_and_not_a_module_of_that_name(project: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path, "maths/__init__.py", "from proj.maths.double import twice\nfrom proj.maths.deep import factor as double\n")
    write(tmp_path, "user.py", "from proj.maths import double\n")
    assert set(code_digest(["proj.user"]).manifest) == {"proj.user", "proj.maths.deep"}


def test_i2_a_reexport_through_a_package_with_code_is_refused(project: Callable[..., None]) -> None:
    project("proj/maths/__init__.py", "import twice\n", "import twice\ntwice = print\n")
    with pytest.raises(UsageError, match=r"maths/__init__\.py, line 2: .*holds only imports"):
        code_digest(["proj.alpha"])


def test_i2_a_missing_module_is_named_with_its_importer(project: Callable[..., None]) -> None:
    project("proj/alpha.py", "from proj.maths import twice", "from proj.nowhere import twice")
    with pytest.raises(UsageError, match=r"'proj\.nowhere', named by .*alpha\.py, has no source file"):
        code_digest(["proj.alpha"])


def test_i2_a_package_given_as_project_is_followed_too(project: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "plug.py").write_text("from proj.maths import twice\n")
    assert set(code_digest(["plug"]).manifest) == {"plug"}
    assert set(code_digest(["plug"], project=["proj"]).manifest) == {"plug", "proj.maths.double", "proj.maths.deep"}


SYNTAX = r"""
import numpy as np


def f(x, /, y=-0.0, *a, k: int | None = None, **b):
    match x:
        case {'a': [1, *_], **rest} if rest:
            return f'{x!r:>{y}} {{}} {x=}' 'tail' f"{x + 1:.3f}" "\u1fae9é"
        case np.ndarray() | None:
            pass
    with (open('p') as p, open(b'q\xff') as q):
        return [i for i in p if (n := q)], lambda: ..., 1e400, 3j, 0x10, u'u', x[1:2, ...]
    try:
        raise ValueError from None
    except* (TypeError, ValueError) as e:
        del e


class C(dict, metaclass=type):
    value: int = 1
"""
SYNTAX_DIGEST = "ded243f713a1c60ca4c7fd52ab14e1e9"
IN_ANOTHER_PYTHON = """
import sys, types
package = types.ModuleType("pipeline"); package.__path__ = [sys.argv[1]]; sys.modules["pipeline"] = package
sys.path.insert(0, sys.argv[2])
from pipeline.digest import code_digest
print("digest", code_digest(["syntax"]).digest)
"""


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_i2_every_python_that_is_installed_agrees(tmp_path: Path, minor: int) -> None:
    (tmp_path / "syntax.py").write_text(SYNTAX, encoding="utf-8")
    python = sys.executable if sys.version_info[1] == minor else shutil.which(f"python3.{minor}")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"Python 3.{minor} is not installed here")
    package = Path(code_digest.__code__.co_filename).parent
    command = [python, "-I", "-c", IN_ANOTHER_PYTHON, str(package), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["digest", SYNTAX_DIGEST], done.stderr

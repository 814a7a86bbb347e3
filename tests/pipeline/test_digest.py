"""The code digest (rule I2): what an edit means, not what it looks like."""

from __future__ import annotations

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

"""Every example of docs/analysis.md is run as it stands, on a published cube, and prints what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from made_up_network import network_cube

import pipeline.analysis
from pipeline.cube import publish_group
from pipeline.layout import cube_folder
from pipeline.store import LocalStore
from pipeline.zarrio import Labelled

PAGE = (Path(__file__).parents[3] / "docs" / "analysis.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    cube = network_cube()
    arrays = {}
    for name, variable in cube.variables.items():
        values = variable.values.astype("T") if variable.dtype == object else variable.values
        arrays[str(name)] = Labelled(tuple(map(str, variable.dims)), values, variable.attrs)
    publish_group(LocalStore(place / "results"), cube_folder("network"), "k" * 32, arrays, {})
    return place


@pytest.mark.parametrize(("code", "printed"), EXAMPLES, ids=[re.findall(r"analysis\.(\w+)", code)[0] for code, _ in EXAMPLES])
def test_examples_print_what_the_page_says(code: str, printed: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "docs/analysis.md", "exec"), {})
    assert [line.rstrip() for line in output.getvalue().splitlines()] == [line.rstrip() for line in printed.splitlines()]


def test_the_page_has_one_example_of_about_ten_lines_for_each_function() -> None:
    shown = [re.findall(r"analysis\.(\w+)\(", code)[0] for code, _ in EXAMPLES]
    assert sorted(shown) == sorted(pipeline.analysis.__all__)
    assert all(code.count("\n") <= 12 for code, _ in EXAMPLES)

"""The table of random streams is what the code draws: no name missing, none idle, none used for two things unnamed."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import disac
from disac.stream_names import STREAMS

SHARED = {"echo-noise"}
"""Names that two modules draw from; the table says why."""


def _drawn() -> dict[str, set[str]]:
    """For each stream name in the code the modules that draw from it."""
    (root,) = disac.__path__
    found: dict[str, set[str]] = defaultdict(set)
    for file in Path(root).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "stream"):
                continue
            name = node.args[1]
            module = str(file.relative_to(root).with_suffix(""))
            if isinstance(name, ast.JoinedStr):
                start = name.values[0]
                assert isinstance(start, ast.Constant)
                names = [each for each in STREAMS if each.startswith(str(start.value)) and each != "theory-signal"]
                assert names
            else:
                assert isinstance(name, ast.Constant), f"{module}: a stream's name is written where it is drawn"
                names = [str(name.value)]
            for each in names:
                found[each].add(module)
    return found


def test_the_table_names_every_stream_and_where_it_is_drawn() -> None:
    drawn = _drawn()
    assert set(drawn) == set(STREAMS)
    for name, modules in drawn.items():
        assert len(modules) == (2 if name in SHARED else 1), name
        for module in modules:
            assert module in STREAMS[name], f"{name} is drawn in {module}"

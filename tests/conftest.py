"""The toy experiment of tests/plugin is installed like any third-party experiment: by an entry point on the path."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent / "plugin"
sys.path.insert(0, str(PLUGIN))
os.environ["PYTHONPATH"] = os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])])

TOY_STUDY = """\
study: toy-study
title: A toy
experiment: toy
grids:
  - axes:
      level: {path: signal.level_db, values: "0:40:10"}
      size.count: [1, 2]
      realisation: {path: draw.realisation, values: "0:2:1"}
surfaces: {over: realisation, edge: level}
report: {x: level, y: error_m, colour: count, log_y: true}
"""


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a study file: the toy study, with texts replaced."""

    def write(*replacements: tuple[str, str], text: str = TOY_STUDY) -> Path:
        for old, new in replacements:
            assert old in text, old
            text = text.replace(old, new)
        file = tmp_path / "study.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write

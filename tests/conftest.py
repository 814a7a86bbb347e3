"""The toy experiment of tests/plugin is installed like any third-party experiment: by an entry point on the path."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_study import TOY_STUDY

PLUGIN = Path(__file__).parent / "plugin"
sys.path.insert(0, str(PLUGIN))
os.environ["PYTHONPATH"] = os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])])


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

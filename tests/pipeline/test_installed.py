"""What is installed is searched once along a path, and again where the path has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.installed import installed


def test_a_distribution_is_found_when_its_folder_enters_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "toy" in installed("disac.experiments").names
    assert "late" not in installed("disac.experiments").names
    folder = tmp_path / "late-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[disac.experiments]\nlate = toy:experiment\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert {"toy", "late"} <= installed("disac.experiments").names
    assert "late" not in installed("disac.checks").names


def test_one_path_is_searched_once() -> None:
    assert installed("disac.columns") is installed("disac.columns")

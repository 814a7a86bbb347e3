"""Published cubes and surfaces that lack a file: every reader says so, and a run publishes them again (rule C6)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from toy_study import TOY_STUDY
from without_prefect import WithoutPrefect, command

import pipeline
from flows.derive import load_published
from flows.run import Run
from pipeline.errors import SurroundingsError, UsageError

CHUNKS = {"cubes": "error_m/c/0/0/0", "surfaces": "error_m/c/0/0/0", "analyses": "variance_share/c/0"}
DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": lambda chunk: chunk.unlink(),
    "truncated": lambda chunk: os.truncate(chunk, chunk.stat().st_size - 3),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study and its store, after a run that has nothing left to do."""
    folder = tmp_path_factory.mktemp("published")
    file, store = folder / "study.yaml", folder / "results"
    file.write_text(TOY_STUDY.replace("0:40:10", "0:10:10"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        WithoutPrefect(patch)
        assert command("run", file, store)[0] == 0
        assert "Nothing to do" in command("run", file, store)[1]
    return file, store


@pytest.fixture
def study(published: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The study and a copy of the store of its own."""
    return published[0], Path(shutil.copytree(published[1], tmp_path / "results", symlinks=True))


@pytest.mark.parametrize("kind", CHUNKS)
@pytest.mark.parametrize("how", DAMAGES)
def test_c6_damage_is_told_by_every_reader_and_a_run_mends_it(
    study: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    carried_out = WithoutPrefect(monkeypatch)
    file, store = study
    folder, node = f"{kind}/toy-study/", "toy-study/" + {"cubes": "cube", "surfaces": "surfaces", "analyses": "answers"}[kind]
    sound = pipeline.open_store(store)[node].to_dataset().load()
    version = (store / folder / "latest").resolve()
    DAMAGES[how](version / CHUNKS[kind])
    with pytest.raises(UsageError, match=f"is damaged.*{CHUNKS[kind]}"):
        pipeline.open_store(store)
    with pytest.raises(SurroundingsError, match=f"is damaged.*{CHUNKS[kind]}"):
        load_published(Run(file, str(store)).store, folder)
    code, said = command("verify", file, store)
    assert code == 1
    assert CHUNKS[kind] in said
    assert "`disac report` publishes it again" in said
    assert f"'{folder}versions/{version.name}' is damaged" in command("status", file, store)[1]
    code, said = command("run", file, store)
    assert (code, carried_out.times) == (0, 1)
    assert f"'{folder}versions/{version.name}' is damaged" in said
    xr.testing.assert_identical(pipeline.open_store(store)[node].to_dataset().load().drop_attrs(), sound.drop_attrs())
    assert command("verify", file, store)[0] == 0
    assert "Nothing to do" in command("run", file, store)[1]


def test_c6_report_publishes_a_damaged_cube_again(study: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    WithoutPrefect(monkeypatch)
    file, store = study
    chunk = (store / "cubes" / "toy-study" / "latest").resolve() / CHUNKS["cubes"]
    chunk.unlink()
    assert command("report", file, store)[0] == 0
    assert chunk.is_file()


def test_c6_surfaces_that_lack_a_variable_are_made_again(study: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    WithoutPrefect(monkeypatch)
    file, store = study
    version = (store / "surfaces" / "toy-study" / "latest").resolve()
    for name in ("cells", "error_m", "feasible"):
        shutil.rmtree(version / name)
    shutil.rmtree(store / "reports")
    assert command("report", file, store)[0] == 0
    assert (version / "cells" / "zarr.json").is_file()


def test_c6_verify_names_the_folder_to_remove_where_the_sizes_are_right(
    study: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    WithoutPrefect(monkeypatch)
    file, store = study
    version = (store / "cubes" / "toy-study" / "latest").resolve()
    chunk = version / CHUNKS["cubes"]
    chunk.write_bytes(bytes(chunk.stat().st_size))
    code, said = command("verify", file, store)
    assert code == 1
    assert f"remove the folder 'cubes/toy-study/versions/{version.name}'" in said
    for file_of_version in sorted(version.rglob("*"), reverse=True):
        file_of_version.unlink() if file_of_version.is_file() else file_of_version.rmdir()
    assert command("report", file, store)[0] == 0
    assert command("verify", file, store)[0] == 0

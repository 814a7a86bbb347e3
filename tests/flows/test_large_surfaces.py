"""Surfaces of a large study are computed block by block; nobody who reads them sees a difference."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_report import own_part

from flows.derive import as_dataset, load_published, publish_surfaces
from flows.run import Run
from pipeline.archive import StoredFiles
from pipeline.layout import parts_of, surface_folder
from pipeline.sweep import Sweep
from pipeline.zarrio import read_group

Write = Callable[..., Path]


def published(file: Path, folder: Path) -> Run:
    run = Run(str(file), str(folder))
    with ThreadPoolExecutor(2) as pool:
        Sweep(run.plan, run.store, pool, lambda: 2).run()
    run.publish()
    return run


def test_c9_a_large_study_is_published_alike(study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = published(study_file(), tmp_path / "results")
    folder, said = surface_folder(run.study.name), list[str]()
    publish_surfaces(run.derivation, say=said.append)
    whole = load_published(run.store, folder)
    assert not said
    assert not run.store.list(parts_of(folder))
    monkeypatch.setattr("flows.derive.WHOLE_BYTES", 0)
    version = run.store.read_pointer(f"{folder}latest")
    assert version is not None
    for entry in run.store.list(version):
        run.store.delete(entry.name)
    with ThreadPoolExecutor(2) as pool:
        publish_surfaces(run.derivation, pool, said.append)
    assert said == ["The surfaces were computed, in 2 blocks."]
    by_blocks = load_published(run.store, folder)
    assert {k: v for k, v in by_blocks.attrs.items() if k != "files"} == {k: v for k, v in whole.attrs.items() if k != "files"}
    assert json.loads(by_blocks.attrs["claims"]) == []
    assert by_blocks.drop_attrs(deep=False).identical(whole.drop_attrs(deep=False))
    raw = as_dataset(read_group(StoredFiles(run.store, version)), {})
    assert all(raw[name].dtype == whole[name].dtype for name in whole.variables)
    run.report()
    assert "Mean over the realisations that are feasible" in own_part(run.report_file.read_text(encoding="utf-8"))

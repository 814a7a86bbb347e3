"""``why``, ``cell``, ``verify``, ``diff``, ``gc`` and ``doctor`` as people meet them, on a toy store."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import toy
from typer.testing import CliRunner, Result

import flows.derivation
from flows.cli import app
from flows.run import Run
from pipeline.errors import UsageError
from pipeline.sweep import Sweep

Write = Callable[..., Path]


@pytest.fixture
def ask(study_file: Write, tmp_path: Path) -> Callable[..., Result]:
    """Run a command on a toy study that is computed and published; 13 dB fails."""
    file, store = str(study_file(('"0:40:10"', "[0, 13, 20, 30]"))), str(tmp_path / "results")
    compute(file, store)

    def command(name: str, *words: str, bare: bool = False) -> Result:
        arguments = [name, *([] if bare else [file]), *words, "--store", store]
        result = CliRunner().invoke(app, arguments, catch_exceptions=True, env={"COLUMNS": "250"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return command


def compute(file: str, store: str) -> None:
    run = Run(file, store)
    with ThreadPoolExecutor(2) as pool:
        Sweep(run.plan, run.store, pool, lambda: 2).run()
    run.publish()
    run.aggregate()


def test_why_shows_sentence_traceback_time_place_and_software(ask: Callable[..., Result]) -> None:
    result = ask("why", "level=13", "count=1", "realisation=0")
    assert result.exit_code == 0
    for text in (
        "failed",
        "Raised an exception: RuntimeError: thirteen is refused (toy.py",
        "Traceback",
        "finished",
        "host",
        "numpy",
        "canonical",
    ):
        assert text in result.output
    found = json.loads(ask("why", "level=13", "count=1", "realisation=0", "--json").output)
    assert found["status"] == "failed"
    with pytest.raises(UsageError, match="names 6 cells"):
        ask("why", "level=13")


def test_cell_computes_one_cell_and_compares_with_what_is_stored(
    ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ask("cell", "level=20", "count=2", "realisation=1")
    assert (result.exit_code, "equal to what is stored, bit for bit" in result.output) == (0, True)
    failed = ask("cell", "level=13", "count=2", "realisation=1")
    assert (failed.exit_code, "thirteen is refused" in failed.output) == (1, True)
    monkeypatch.setattr(toy, "INFEASIBLE_FROM_DB", 15.0)
    changed = ask("cell", "level=20", "count=2", "realisation=1")
    assert "different from what is stored in error_m" in changed.output


def test_cell_debug_stops_where_the_cell_raises(ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    monkeypatch.setattr("pdb.post_mortem", lambda trace: stopped.append(str(trace.tb_next.tb_frame.f_code.co_name)))
    assert ask("cell", "level=13", "count=1", "realisation=0", "--debug").exit_code == 1
    assert stopped == ["run"]
    assert "raised no exception" in ask("cell", "level=0", "count=1", "realisation=0", "--debug").output


def test_verify_finds_nothing_in_a_sound_store_and_each_kind_of_damage(ask: Callable[..., Result], tmp_path: Path) -> None:
    sound = ask("verify")
    assert sound.exit_code == 0, sound.output
    cube = (tmp_path / "results/cubes/toy-study/latest").resolve()
    chunk = next(p for p in sorted((cube / "error_m").rglob("*")) if p.is_file() and p.name != "zarr.json")
    whole = chunk.read_bytes()
    chunk.write_bytes(bytes(len(whole)))
    assert "'error_m' differs when it is made again" in ask("verify").output
    chunk.unlink()
    assert "is missing: `disac report` publishes it again" in " ".join(json.loads(ask("verify", "--json").output)[2]["wrong"])
    chunk.write_bytes(whole)
    assert ask("verify").exit_code == 0
    segment = min((tmp_path / "results/ledger/segments").glob("*.zip"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 8
    segment.write_bytes(data)
    damaged = ask("verify", "--json")
    assert damaged.exit_code == 1
    assert segment.stem in json.loads(damaged.output)[0]["wrong"][0]


def test_diff_names_the_variable_the_size_and_the_cell(
    ask: Callable[..., Result], study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (tmp_path / "results/cubes/toy-study/latest").resolve().name
    assert ask("diff", first).exit_code == 0
    monkeypatch.setattr(toy, "RAISES_AT_DB", -1.0)
    run = Run(str(study_file(('"0:40:10"', "[0, 13, 20, 30]"))), str(tmp_path / "results"), retry=())
    with ThreadPoolExecutor(2) as pool:
        Sweep(run.plan, run.store, pool, lambda: 2).run()
    run.publish()
    result = ask("diff", first[:8], "latest", "--json")
    found = json.loads(result.output)
    assert result.exit_code == 1
    assert found["statuses"] == {"failed -> ok": 6}
    error = next(d for d in found["differences"] if d["variable"] == "error_m")
    assert (error["cells"], error["where"].startswith("level=13")) == (6, True)
    with pytest.raises(UsageError, match="no published version"):
        ask("diff", "nowhere")


def test_diff_keeps_to_its_tolerances() -> None:
    import numpy as np
    import xarray as xr

    from flows.diff import compare

    def cube(values: list[float]) -> xr.Dataset:
        status = np.array([2, 2, 4], dtype=np.uint8)
        return xr.Dataset({"status": ("x", status), "v": ("x", values)}, {"x": [1, 2, 3]})

    a, b = ("a", cube([1.0, 2.0, np.nan])), ("b", cube([1.0, 2.002, np.nan]))
    assert compare(a, a, relative=0.0, absolute=0.0).equal
    assert compare(a, b, relative=2e-3, absolute=0.0).equal
    found = compare(a, b, relative=1e-4, absolute=1e-3)
    assert [(d.variable, d.cells, d.where) for d in found.differences] == [("v", 1, "x=2")]
    assert found.differences[0].largest_relative == pytest.approx(1e-3)
    c = ("c", cube([1.0, np.nan, np.nan]))
    assert compare(a, c, relative=1e9, absolute=1e9).differences[0].largest_absolute == np.inf
    shorter = ("d", cube([1.0, 2.0, np.nan]).isel(x=[0, 1]))
    assert compare(a, shorter, relative=0.0, absolute=0.0).only == (1, 0)


def test_compact_and_gc_say_what_they_do(ask: Callable[..., Result]) -> None:
    assert "copied into" in ask("compact", bare=True).output
    assert "would remove 0 objects" in ask("gc", "--dry-run", bare=True).output
    assert "no cell is lost" in ask("gc", "--older-than", "0s", bare=True).output
    assert ask("verify").exit_code == 0
    with pytest.raises(UsageError, match="--older-than 'soon'"):
        ask("gc", "--older-than", "soon", bare=True)


def test_doctor_is_content_with_a_sound_store_and_not_with_a_damaged_one(ask: Callable[..., Result], tmp_path: Path) -> None:
    good = ask("doctor", "--json", bare=True)
    assert good.exit_code == 0, good.output
    assert {f["what"] for f in json.loads(good.output)} >= {"solver", "BLAS threads", "Prefect", "disk", "store"}
    for segment in (tmp_path / "results/ledger/segments").glob("*.zip"):
        segment.write_bytes(b"")
    assert ask("doctor", bare=True).exit_code == 1


@pytest.mark.parametrize("name", ["_TEMPLATE", "papers_file", "words_file"])
def test_what_a_page_is_drawn_with_makes_the_report_stale_when_it_changes(
    name: str, study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(str(study_file()), str(tmp_path / "results"))
    before, surfaces = run.report_key, run.surface_key
    found = getattr(flows.derivation, name)
    file = tmp_path / "copy"
    file.write_text((found() if callable(found) else found).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(flows.derivation, name, (lambda: file) if callable(found) else file)
    assert run.report_key == before
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert run.report_key != before
    assert run.surface_key == surfaces

"""Full and read-only disks: an error of the surroundings is told, nothing is half visible, and the next run completes (W3)."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.run import Run
from pipeline.errors import SurroundingsError, UsageError
from pipeline.ledger import open_ledger
from pipeline.plan import Plan, make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

Write = Callable[..., Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def commanded(*words: str) -> tuple[str, BaseException | None]:
    """What a command prints, and the error that ends it."""
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, list(words))
    return result.output, None if isinstance(result.exception, SystemExit) else result.exception


def sweep(plan: Plan, store: LocalStore) -> None:
    with ThreadPoolExecutor(2) as pool:
        Sweep(plan, store, pool, lambda: 2).run()


def test_w3_a_full_disk_records_nothing_and_the_next_run_completes(study_file: Write, small_disk: Path) -> None:
    store = LocalStore(small_disk / "results")
    study = load_study(study_file())
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * 980_000)
    with pytest.raises(SurroundingsError, match="No space left"):
        sweep(make_plan(study, store), store)
    ledger = open_ledger(store)
    assert not ledger.damaged
    assert not [p for p in (small_disk / "results").rglob("*") if p.is_file() and p.suffix == ".tmp"]
    filler.unlink()
    sweep(make_plan(study, store), store)
    plan = make_plan(study, store)
    assert (len(plan.todo), plan.by_status()) == (0, {"ok": 18, "infeasible": 12})


def test_w3_a_read_only_store_is_read_and_refuses_to_run(study_file: Write, small_disk: Path) -> None:
    store = LocalStore(small_disk / "results")
    sweep(make_plan(load_study(study_file()), store), store)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    grown = load_study(study_file(("[1, 2]", "[1, 2, 3]")))
    plan = make_plan(grown, store)
    assert len(plan.todo) == 15
    with pytest.raises(SurroundingsError, match="Read-only file system"):
        sweep(plan, store)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    sweep(make_plan(grown, store), store)
    assert len(make_plan(grown, store).todo) == 0


def test_w3_every_command_that_only_looks_works_on_a_read_only_store(study_file: Write, small_disk: Path) -> None:
    file, where = str(study_file(('"0:40:10"', "[0, 30]"))), str(small_disk / "results")
    run = Run(file, where)
    run.begin()
    sweep(run.plan, LocalStore(where))
    run.publish()
    run.aggregate()
    (small_disk / "results" / "reports" / "toy-study" / "versions").mkdir(parents=True)
    run.refresh()
    version = f"reports/toy-study/versions/{run.report_key}.html"
    run.store.put_if_absent(version, b"<html></html>")  # a real one is larger than this disk
    for link in ("latest", "index.html"):
        run.store.publish_pointer(f"reports/toy-study/{link}", version)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    table = str(Path(file).parent / "table.csv")
    for words in (
        ("plan",), ("status",), ("report",), ("claims",), ("why", "level=0", "count=1", "realisation=0"), ("verify",),
        ("cell", "level=0", "count=1", "realisation=0"), ("export", table), ("run",), ("diff", "latest"),
    ):  # fmt: skip
        said, error = commanded(words[0], file, *words[1:], "--store", where)
        assert error is None, (words, error)
        assert "out of date: nothing" in said or words != ("status",)
    for words in (("run", "--set", "axes.level=[0, 10]"), ("report", "--set", "axes.level=[0]")):
        _, error = commanded(words[0], file, *words[1:], "--store", where)
        assert isinstance(error, SurroundingsError)
        assert str(small_disk) in str(error)
        assert "Read-only file system" in str(error)
        assert "Finished cells are kept" in str(error)


@pytest.mark.parametrize("command", ["plan", "status", "run", "report", "why"])
@pytest.mark.parametrize("below", ["", "/results", "/a/b"])
def test_a_store_that_is_a_file_is_a_usage_error(study_file: Write, tmp_path: Path, command: str, below: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    _, error = commanded(command, str(study_file()), "--store", f"{tmp_path}/file{below}")
    assert isinstance(error, UsageError)
    assert f"'{tmp_path}/file' is no folder" in str(error)


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EIO", "ESTALE"])
def test_w3_whatever_a_disk_refuses_is_one_sentence_with_path_and_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    number = getattr(errno, name)

    def refuse(*arguments: object, **more: object) -> None:
        raise OSError(number, os.strerror(number), "somewhere")

    store = LocalStore(tmp_path)
    store.put_if_absent("there/x", b"1")
    for act, where, broken in (
        (lambda: store.put_if_absent("a/b", b"12345", durable=False), "a/b", (Path, "open")),
        (lambda: store.put_if_absent("c/d", b"12345"), "c/d", (os, "fsync")),
        (lambda: store.publish_pointer("a/latest", "there/x"), "a/latest", (Path, "symlink_to")),
        (lambda: store.delete("there/x"), "there/x", (Path, "unlink")),
        (lambda: store.get("there/x"), "there/x", (os, "open")),
        (lambda: store.list("there"), "there", (os, "scandir")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(*broken, refuse)
            with pytest.raises(SurroundingsError) as told:
                act()
        assert f"'{tmp_path / where}' cannot be " in str(told.value)
        assert os.strerror(number) in str(told.value)
        assert "\n" not in str(told.value)
    assert store.get("there/x") == b"1"


def test_w3_a_full_disk_says_how_much_is_needed_and_free(small_disk: Path) -> None:
    store = LocalStore(small_disk / "results")
    with pytest.raises(SurroundingsError, match=r"[0-9,]+ bytes are free, 2,000,000 bytes are needed.*Finished cells are kept"):
        store.put_if_absent("a", b"\0" * 2_000_000)
    assert list((small_disk / "results").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["segments", "PREFECT_HOME", "limit"])
def test_w3_a_run_on_a_full_disk_ends_with_one_sentence(
    disac: Callable[..., subprocess.Popen[str]], study_file: Write, small_disk: Path, tmp_path: Path, what: str
) -> None:
    store = small_disk if what == "segments" else tmp_path
    with contextlib.suppress(OSError):
        (small_disk / "filler").write_bytes(b"\0" * (1_000_000 if what == "segments" else 2_000_000))
    environment = {"PREFECT_HOME": str(small_disk / "prefect")} if what == "PREFECT_HOME" else {}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if what == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        process = disac("run", str(study_file()), "--store", str(store / "results"), environment=environment)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 3, said
    assert said.startswith("disac: '")
    assert said.count("\n") == 1

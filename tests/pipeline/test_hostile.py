"""A store from somebody else must not hurt: every command works without what is wrong in it, or stops with a sentence (S7).

The attacks stand in ``hostile.py``. They run against the commands in this process, with little more memory than it has
already and few seconds each.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import dask
import hostile
import numpy as np
import pytest
import xarray as xr
from kept_folder import KeptFolder
from toy_study import TOY_STUDY
from typer.testing import CliRunner

import pipeline
from flows.cli import app
from flows.run import Run
from pipeline.compact import collect_garbage, compact
from pipeline.errors import SurroundingsError, UsageError
from pipeline.ledger import open_ledger, read_segment
from pipeline.lock import StudyLockedError, study_lock
from pipeline.store import LocalStore
from pipeline.sweep import Sweep

CELLS = 4
MOST_BYTES = 300 * 2**20
MOST_SECONDS = 60.0
CELL = ("level=0", "count=1", "realisation=0")
OFTEN = ("fifo", "zero", "folder", "climbing")
LOOKS = ("plan", "status", "claims", "why", "verify", "export")


def computed(root: Path, file: Path) -> None:
    """Compute what is missing and publish it, without Prefect and Dask."""
    run = Run(file, str(root))
    with study_lock(run.store, run.study.name):
        run.begin()
        with ThreadPoolExecutor(1) as pool:
            Sweep(run.plan, run.store, pool, lambda: 1).run()
        run.publish()
        run.aggregate()
        run.report()
        run.refresh()
    assert len(run.plan.todo) == 0
    assert run.stale() == []


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store of four cells with all that is made from them, and its study."""
    folder = tmp_path_factory.mktemp("sound")
    file = folder / "study.yaml"
    file.write_text(TOY_STUDY.replace('"0:40:10"', "[0, 10]").replace("[1, 2]", "[1]").replace("0:2:1", "0:1:1"))
    computed(folder / "store", file)
    record = folder / "store" / "adoptions"
    record.mkdir()
    (folder / "store" / "locks").mkdir(exist_ok=True)
    (record / "sound.json").write_text(f'{{"older": "{"0" * 32}", "newer": "{"1" * 32}"}}')
    return folder / "store", file


@pytest.fixture(scope="module")
def kept(sound: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> KeptFolder:
    """A copy of the sound store, mended after each test: a whole copy for each takes as long as what most of them try."""
    return KeptFolder(sound[0], tmp_path_factory.mktemp("kept") / "store")


@pytest.fixture
def store(kept: KeptFolder) -> Iterator[Path]:
    yield kept.path
    kept.mend()


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Little more memory than now, and few seconds."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {MOST_SECONDS} s")

    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MOST_BYTES, hard))
    handler = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def command(name: str, file: Path, store: Path) -> str:
    """What a command prints; it may stop with one of the errors that are sentences, and with no other."""
    more = {"why": CELL, "export": (str(store.parent / "table.csv"),)}.get(name, ())
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, [name, str(file), *more, "--store", str(store)])
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        if not isinstance(error, UsageError | SurroundingsError):
            raise error
        return f"{result.output}{error}"
    return result.output


def looked(node: xr.DataTree) -> None:
    """What a person asks of a cube."""
    shown = f"{node.disac!r}{node.disac._repr_html_()}"
    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert "<script" not in node.disac._repr_html_()
    if "status" in node:
        repr(node.isel(dict.fromkeys(node["status"].dims, 0)).disac.cell())
        repr(node.isel(dict.fromkeys(node["status"].dims, 0)).disac.why())
        node.disac.to_dataframe()


def opened(store: Path) -> None:
    """The store by the Python interface."""
    # Threads for each of a few small chunks would take longer than to read them.
    with dask.config.set(scheduler="synchronous"), contextlib.suppress(UsageError, SurroundingsError):
        tree = pipeline.open_store(store)
        for act in (tree.load, lambda: repr(tree.disac), lambda: [looked(node) for node in tree.subtree if node.data_vars]):
            with contextlib.suppress(UsageError, SurroundingsError):
                act()
        for row in open_ledger(LocalStore(store)).keys[:1]:
            with contextlib.suppress(UsageError, SurroundingsError):
                tree.disac.detail(row.tobytes().hex())


def test_s7_what_a_look_may_take_is_limited() -> None:
    with limited(), pytest.raises(MemoryError):
        bytearray(2 * MOST_BYTES)


def looked_at(file: Path, store: Path) -> str:
    """Everything that only looks, within the limits; returns what ``plan`` says."""
    with limited():
        said = [command(name, file, store) for name in LOOKS]
        opened(store)
    return said[0]


def all_there(said: str) -> bool:
    return f"planned {CELLS}, reuse {CELLS}, compute 0" in said


def test_s7_the_sound_store_passes_all_commands(sound: tuple[Path, Path], store: Path) -> None:
    said = looked_at(sound[1], store)
    assert all_there(said)
    assert "note:" not in said


@pytest.mark.parametrize("name", [*hostile.ARCHIVES, *hostile.METADATA, *hostile.TYPES])
def test_s7_what_is_no_segment_counts_as_absent_with_a_sentence(sound: tuple[Path, Path], store: Path, name: str) -> None:
    (hostile.ARCHIVES | hostile.METADATA | hostile.TYPES)[name](store)
    with limited():
        said = command("plan", sound[1], store)
        assert command("why", sound[1], store)
    assert all_there(said)
    assert said.count("it counts as absent") == 1
    ledger = open_ledger(LocalStore(store), use_index=False)
    assert len(ledger.damaged) == 1
    assert len(ledger.segments) == len(hostile.segments(store)) - 1


@pytest.mark.parametrize("name", hostile.VALUES)
def test_s7_values_that_lie_are_told_when_they_are_read(sound: tuple[Path, Path], store: Path, name: str) -> None:
    hostile.VALUES[name](store)
    file = sound[1]
    assert all_there(looked_at(file, store))
    with limited(), pytest.raises((UsageError, SurroundingsError)) as told:
        Run(file, str(store)).publish()
    assert "segment" in str(told.value) or "max_dense_bytes" in str(told.value)
    with limited():
        compact(LocalStore(store))
        collect_garbage(LocalStore(store), older_than_s=0.0)
    assert len(hostile.segments(store)) > 0


@pytest.mark.parametrize("kind", [k if k in OFTEN else pytest.param(k, marks=pytest.mark.slow) for k in hostile.KINDS])
@pytest.mark.parametrize("where", hostile.PLACES)
def test_s7_only_plain_files_are_read(sound: tuple[Path, Path], store: Path, where: str, kind: str) -> None:
    hostile.replace(hostile.place(store, where), hostile.KINDS[kind])
    with limited():
        for name in ("status", "export"):
            command(name, sound[1], store)
        opened(store)


@pytest.mark.parametrize("kind", ["fifo", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("zero", "inside"))])
@pytest.mark.parametrize("where", hostile.PLACES)
def test_s7_a_run_goes_on_or_stops_with_a_sentence(sound: tuple[Path, Path], store: Path, where: str, kind: str) -> None:
    inside = {p: p.read_bytes() for p in hostile.segments(store)}
    hostile.replace(hostile.place(store, where), hostile.KINDS[kind])
    with limited(), contextlib.suppress(SurroundingsError, UsageError):
        computed(store, sound[1])
    for path, data in inside.items():
        assert "segment" in where or path.read_bytes() == data


@pytest.mark.parametrize("name", hostile.RECORDS)
def test_s7_records_that_are_none_count_as_absent(sound: tuple[Path, Path], store: Path, name: str) -> None:
    data = hostile.RECORDS[name]
    (store / "adoptions" / "a.json").write_bytes(data)
    hostile.place(store, "plans/toy-study/{record}").write_bytes(data)
    for file in hostile.segments(store):
        file.unlink()
    said = looked_at(sound[1], store)
    assert f"planned {CELLS}, reuse 0, compute {CELLS}" in said
    assert "\x1b" not in said
    with limited():
        computed(store, sound[1])


@pytest.mark.parametrize("name", hostile.LOCKS)
def test_s7_a_lock_that_is_none_stops_nobody_for_ever(store: Path, name: str) -> None:
    (store / "locks" / "toy-study.json").write_bytes(hostile.LOCKS[name])
    backend = LocalStore(store)
    with limited():
        with contextlib.suppress(StudyLockedError), study_lock(backend, "toy-study"):
            pass
        with study_lock(backend, "toy-study", force=True):
            pass
    assert backend.list("locks") == []


def test_s7_a_lock_of_a_terabyte_stops_nobody_for_ever(store: Path) -> None:
    with (store / "locks" / "toy-study.json").open("wb") as file:
        file.truncate(2**40)
    with limited(), study_lock(LocalStore(store), "toy-study"):
        pass


@pytest.mark.parametrize("name", hostile.INDICES)
def test_s7_an_index_that_lies_is_not_believed(sound: tuple[Path, Path], store: Path, name: str) -> None:
    hostile.INDICES[name](store)
    looked_at(sound[1], store)
    with limited():
        run = Run(sound[1], str(store))
        run.publish()
        run.refresh()
    assert all_there(command("plan", sound[1], store))
    assert run.plan.by_status() == {"ok": CELLS}
    assert (run.store.read_pointer("cubes/toy-study/latest") or "").endswith(run.plan.cube_key)


@pytest.mark.parametrize("name", hostile.PUBLISHED | hostile.ATTRIBUTES)
def test_s7_published_versions_that_lie_are_told(sound: tuple[Path, Path], store: Path, name: str) -> None:
    (hostile.PUBLISHED | hostile.ATTRIBUTES)[name](store)
    looked_at(sound[1], store)
    with limited():
        said = command("export", sound[1], store)
    assert "is damaged" in said


@pytest.mark.parametrize("name", hostile.PUBLISHED | hostile.REPEATED)
def test_s7_zarr_opens_no_version_that_lies(sound: tuple[Path, Path], store: Path, name: str) -> None:
    (hostile.PUBLISHED | hostile.REPEATED)[name](store)
    with limited(), pytest.raises(UsageError, match="is damaged"):
        pipeline.open_store(store)


@pytest.mark.parametrize("name", hostile.ASKED)
def test_s7_a_question_about_a_cell_believes_no_attribute(store: Path, name: str) -> None:
    hostile.ASKED[name](store)
    cube = pipeline.open_store(store)["toy-study/cube"]
    first = cube.isel(dict.fromkeys(cube["status"].dims, 0))
    assert first.disac.cell().status == "ok"
    with limited():
        if name == "no code":
            assert first.disac.why()["status"] == "missing"
            return
        with pytest.raises(UsageError):
            first.disac.why()


def test_s7_a_pointer_never_leads_out_of_the_store_nor_to_the_truth(sound: tuple[Path, Path], store: Path) -> None:
    segment = hostile.segments(store)[0]
    latest = store / "ledger" / "index" / "latest"
    latest.unlink()
    latest.symlink_to(f"../segments/{segment.name}")
    (store / "cubes" / "toy-study" / "latest").unlink()
    (store / "cubes" / "toy-study" / "latest").symlink_to("../../../..")
    assert LocalStore(store).read_pointer("cubes/toy-study/latest") is None
    with limited():
        computed(store, sound[1])
    assert segment.is_file()


@pytest.mark.parametrize("name", ["x\x1b[2J\nnote: good.zip", "x" * 200 + ".zip", "..zip", "Z" * 32 + ".zip"])
def test_s7_names_of_segments_are_checked(sound: tuple[Path, Path], store: Path, name: str) -> None:
    (store / "ledger" / "segments" / name).write_bytes(b"")
    said = looked_at(sound[1], store)
    assert all_there(said)
    assert "\x1b" not in said
    assert "\nnote: good" not in said


def test_s7_texts_of_a_store_reach_neither_the_terminal_nor_the_page(sound: tuple[Path, Path], store: Path) -> None:
    text = f"{hostile.ESCAPE}[bold][link=http://evil]x[/link] {hostile.SCRIPT}"
    hostile.spoken(text)(store)
    file = sound[1]
    with limited():
        for name in LOOKS:
            said = command(name, file, store)
            assert not set(said) & set("\x1b\x07\x9b\u202e"), name
        assert "[bold]" in command("status", file, store)
        assert "[bold]" in command("why", file, store)
    run = Run(file, str(store))
    run.publish()
    run.aggregate()
    run.report()
    page = run.report_file.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_s7_a_copy_of_an_input_with_another_content_is_refused(sound: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("1.0")
    file = tmp_path / "study.yaml"
    file.write_text(
        sound[1].read_text().replace("experiment: toy", f"experiment: toy\nscenario: {{table: {tmp_path}/table.txt}}")
    )
    computed(tmp_path / "store", file)
    (stored,) = (tmp_path / "store" / "inputs").iterdir()
    stored.write_text("2.0")
    with pytest.raises(SurroundingsError, match="is damaged"):
        Run(file, str(tmp_path / "store")).begin()


def test_s7_only_the_rows_that_are_asked_for_are_decoded(store: Path) -> None:
    backend = LocalStore(store)
    info = open_ledger(backend).segments[0]
    whole = read_segment(backend, info.name)
    rows = np.array([info.cells - 1], dtype=np.int64)
    part = read_segment(backend, info.name, rows=rows)
    assert part.arrays.keys() == whole.arrays.keys()
    for name, array in part.arrays.items():
        assert array.tobytes() == whole.arrays[name][rows].tobytes() or array.tolist() == whole.arrays[name][rows].tolist()
    with pytest.raises(SurroundingsError):
        read_segment(backend, info.name, rows=rows + 1)

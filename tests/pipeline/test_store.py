"""One suite for every store (rules S2, S6): the local folder and the memory store behave alike, also when killed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import Kill, KilledError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pipeline.errors import UsageError
from pipeline.memory_store import MemoryStore
from pipeline.store import FAULT_POINTS, Fault, LocalStore, Store, content_name, open_store_backend

MakeStore = Callable[..., LocalStore | MemoryStore]


@pytest.fixture(params=["local", "memory"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    def make(fault: Fault | None = None) -> LocalStore | MemoryStore:
        faults = {} if fault is None else {"fault": fault}
        return LocalStore(tmp_path / "store", **faults) if request.param == "local" else MemoryStore(**faults)

    return make


@pytest.fixture
def store(make_store: MakeStore) -> LocalStore | MemoryStore:
    return make_store()


def names(store: Store, prefix: str) -> list[str]:
    return [entry.name for entry in store.list(prefix)]


# --- objects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("data", [b"", b"text", bytes(range(256)) * 500])
def test_s6_bytes_come_back_as_they_went_in(store: Store, data: bytes, durable: bool) -> None:
    before = time.time_ns()
    assert store.put_if_absent("a/b/c", data, durable=durable) is True
    assert store.get("a/b/c") == data
    (entry,) = store.list("a/")
    assert (entry.name, entry.size) == ("a/b/c", len(data))
    assert abs(entry.mtime_ns - before) < 5e9


@pytest.mark.parametrize("durable", [True, False])
def test_s6_the_first_put_wins(store: Store, durable: bool) -> None:
    assert store.put_if_absent("a/x", b"first", durable=durable)
    assert store.put_if_absent("a/x", b"second", durable=durable) is False
    assert store.get("a/x") == b"first"


@pytest.mark.parametrize("name", ["a", "a/x", "a/x/y", "a/.x"])
def test_s6_what_is_absent_is_a_key_error(store: Store, name: str) -> None:
    store.put_if_absent("b/x", b"")
    with pytest.raises(KeyError):
        store.get(name)
    store.delete(name)
    assert store.list("a/") == []
    assert store.read_pointer(name) is None


def test_s6_list_is_by_folder_and_sorted(store: Store) -> None:
    for name in ("a/2", "a/10", "a/b/1", "ab/1", "a/.hidden", "a/.folder/x", "top"):
        store.put_if_absent(name, name.encode())
    assert names(store, "a/") == ["a/10", "a/2", "a/b/1"]
    assert names(store, "a") == names(store, "a/")
    assert names(store, "a/b/") == ["a/b/1"]
    assert names(store, "a/2") == names(store, "nothing/") == []
    assert store.get("a/.hidden") == b"a/.hidden"


def test_s6_a_deleted_name_is_free_again(store: Store) -> None:
    store.put_if_absent("a/b", b"1")
    store.delete("a/b")
    with pytest.raises(KeyError):
        store.get("a/b")
    assert store.put_if_absent("a", b"a folder once")
    store.delete("a")
    assert store.put_if_absent("a/b", b"2")
    assert store.get("a/b") == b"2"


@pytest.mark.parametrize("name", ["", "/etc/x", "a//b", "../x", "a/../../x", ".", "a/./b", "a/", "a\0b"])
def test_s6_names_that_climb_or_have_two_spellings_are_refused(store: Store, name: str) -> None:
    for act in (lambda: store.put_if_absent(name, b""), lambda: store.get(name), lambda: store.delete(name)):
        with pytest.raises(ValueError, match="not a store name"):
            act()
    for first, second in ((name, "a"), ("a", name)):
        with pytest.raises(ValueError, match="not a store name"):
            store.publish_pointer(first, second)
    assert store.read_pointer("a") is None


def test_s6_a_name_is_an_object_a_pointer_or_a_folder(store: Store) -> None:
    store.put_if_absent("a/object", b"bytes")
    store.publish_pointer("a/pointer", "a/object")
    store.publish_pointer("a/dangling", "a/nothing")
    for name in ("a", "a/pointer", "a/dangling", "a/object/below"):
        with pytest.raises(ValueError, match="cannot be stored"):
            store.put_if_absent(name, b"")
    for name in ("a", "a/object", "a/object/below"):
        with pytest.raises(ValueError, match="cannot be stored"):
            store.publish_pointer(name, "b")
    assert store.get("a/object") == b"bytes"
    assert names(store, "a/") == ["a/object"]


# --- pointers --------------------------------------------------------------------------------------------------------


def test_s6_a_pointer_moves_and_names_its_target(store: Store) -> None:
    assert store.read_pointer("cubes/x/latest") is None
    for version in ("cubes/x/versions/abc", "cubes/x/versions/def", "elsewhere"):
        store.put_if_absent(f"{version}/data", version.encode())
        store.publish_pointer("cubes/x/latest", version)
        assert store.read_pointer("cubes/x/latest") == version
    assert names(store, "cubes/x/latest") == []
    assert "cubes/x/latest/data" not in names(store, "cubes/")
    with pytest.raises(KeyError):
        store.get("cubes/x/latest")
    store.delete("cubes/x/latest")
    assert store.read_pointer("cubes/x/latest") is None
    assert store.get("elsewhere/data") == b"elsewhere"


def test_s6_a_local_pointer_is_a_relative_link_that_survives_a_move(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "one")
    store.put_if_absent("cubes/x/versions/abc/data", b"1")
    store.publish_pointer("cubes/x/latest", "cubes/x/versions/abc")
    (tmp_path / "one").rename(tmp_path / "two")
    moved = LocalStore(tmp_path / "two")
    assert moved.read_pointer("cubes/x/latest") == "cubes/x/versions/abc"
    link = moved.path("cubes/x/latest")
    assert link is not None
    assert (link / "data").read_bytes() == b"1"


# --- opening ---------------------------------------------------------------------------------------------------------


def test_s6_a_location_opens_the_same_store(store: Store) -> None:
    store.put_if_absent("a/x", b"1")
    assert open_store_backend(store.location()).get("a/x") == b"1"


@pytest.mark.parametrize("location", ["memory://gone", "s3://bucket/results"])
def test_s6_a_location_of_no_store_is_refused(location: str) -> None:
    with pytest.raises(UsageError, match="a store is a folder"):
        open_store_backend(location)


def test_a_folder_that_another_makes_at_the_same_moment_is_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.stat

    def made_meanwhile(self: Path, **more: bool) -> os.stat_result:
        try:
            return real(self, **more)
        finally:
            if self.name == "results":
                self.mkdir(exist_ok=True)

    monkeypatch.setattr(Path, "stat", made_meanwhile)
    assert open_store_backend(str(tmp_path / "results")).location() == str(tmp_path / "results")


def test_s2_a_name_is_the_content() -> None:
    assert content_name(b"") == "cae66941d9efbd404e4d88758ea67670"
    assert content_name(b"a") != content_name(b"b")


# --- kills -----------------------------------------------------------------------------------------------------------

DATA = bytes(range(256)) * 64


def work(store: Store) -> None:
    """What the kills interrupt: an object that a pointer then names, twice."""
    for version in ("1", "2"):
        store.put_if_absent(f"v/{version}", DATA + version.encode())
        store.publish_pointer("latest", f"v/{version}")


KILLS = [(point, time) for point in FAULT_POINTS for time in (1, 2)]


def seen_after_kill(store: Store, point: str, time: int) -> None:
    """Nothing half written is visible, what was acknowledged is there, and doing it again completes it."""
    done = 2 * (time - 1) + FAULT_POINTS.index(point) / 3  # in units of one finished put or swap
    for number, version in enumerate(("1", "2")):
        present = f"v/{version}" in names(store, "v/")
        assert present == (done >= 2 * number + 1)
        if present:
            assert store.get(f"v/{version}") == DATA + version.encode()
    assert store.read_pointer("latest") == (None if done < 5 / 3 else "v/1" if done < 11 / 3 else "v/2")
    work(store)
    assert names(store, "v/") == ["v/1", "v/2"]
    assert store.read_pointer("latest") == "v/2"


@pytest.mark.parametrize(("point", "time"), KILLS)
def test_s6_a_simulated_kill_loses_and_shows_nothing_wrong(make_store: MakeStore, point: str, time: int) -> None:
    kill = Kill(point, time)
    store = make_store(kill)
    with pytest.raises(KilledError):
        work(store)
    assert [p for p, _ in kill.met].count(point) == time
    seen_after_kill(store, point, time)


def _killed_writer(root: Path, point: str, time: int) -> None:
    work(LocalStore(root, Kill(point, time, by_exit=True)))


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize(("point", "time"), KILLS)
def test_s6_a_killed_process_loses_and_shows_nothing_wrong(tmp_path: Path, point: str, time: int) -> None:
    pid = os.fork()
    if pid == 0:
        _killed_writer(tmp_path, point, time)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    store = LocalStore(tmp_path)
    left = [file.name for file in tmp_path.rglob(".*.tmp")]
    assert len(left) == (point in ("put:after-write", "put:before-publish", "pointer:before-swap"))
    seen_after_kill(store, point, time)
    assert store.sweep_temporaries() == ()
    assert len(store.sweep_temporaries(older_than_s=-1)) == len(left)


@pytest.mark.parametrize("point", ["put:after-write", "put:before-publish", "pointer:before-swap"])
def test_s6_a_temporary_that_a_collector_takes_away_is_written_again(tmp_path: Path, point: str) -> None:
    taken: list[int] = []

    def collector(met: str, name: str) -> None:
        if met == point and not taken:
            taken.append(len(LocalStore(tmp_path).sweep_temporaries(older_than_s=-1)))

    store = LocalStore(tmp_path, collector)
    assert store.put_if_absent("a/b", b"whole")
    store.publish_pointer("a/latest", "a/b")
    assert taken == [1]
    assert store.get("a/b") == b"whole"
    assert store.read_pointer("a/latest") == "a/b"


def test_s6_an_error_while_writing_leaves_no_temporary(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        LocalStore(tmp_path, Kill("put:after-write")).put_if_absent("a/x", b"1")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


# --- races -----------------------------------------------------------------------------------------------------------


def _racer(root: str, start: float, number: int, results: multiprocessing.Queue[tuple[int, list[bool]]]) -> None:
    store = LocalStore(root)
    while time.time() < start:
        pass
    data = bytes([number]) * 10_000
    results.put((number, [store.put_if_absent(f"race/{i}", data, durable=False) for i in range(200)]))


def test_s6_of_two_processes_exactly_one_puts_a_name(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[int, list[bool]]] = context.Queue()
    start = time.time() + 1.5
    racers = [context.Process(target=_racer, args=(str(tmp_path), start, n, results)) for n in (1, 2)]
    for racer in racers:
        racer.start()
    outcomes = dict(results.get(timeout=60) for _ in racers)
    for racer in racers:
        racer.join()
    assert [a + b for a, b in zip(outcomes[1], outcomes[2], strict=True)] == [1] * 200
    store = LocalStore(tmp_path)
    for i, first_won in enumerate(outcomes[1]):
        assert store.get(f"race/{i}") == bytes([1 if first_won else 2]) * 10_000
    assert list(tmp_path.rglob(".*.tmp")) == []


def test_s6_deleting_beside_putting_loses_no_put(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            assert store.put_if_absent("folder/other", b"", durable=False)
            store.delete("folder/other")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for i in range(200):
            assert store.put_if_absent("folder/mine", str(i).encode(), durable=False)
            assert store.get("folder/mine") == str(i).encode()
            store.delete("folder/mine")
            store.publish_pointer("folder/latest", "folder/other")
            store.delete("folder/latest")
    finally:
        stop.set()
        thread.join()


def test_s6_a_folder_without_hard_links_still_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store = LocalStore(tmp_path)
    assert store.put_if_absent("a/x", b"1")
    assert not store.put_if_absent("a/x", b"2")
    assert store.get("a/x") == b"1"


# --- against a model -------------------------------------------------------------------------------------------------

NAMES = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join)


class StoresAgree(RuleBasedStateMachine):
    """The local folder beside the memory store, under any sequence of calls."""

    root: Path
    count = 0

    def __init__(self) -> None:
        super().__init__()
        StoresAgree.count += 1
        self.local = LocalStore(self.root / str(StoresAgree.count))
        self.memory = MemoryStore()

    def both(self, act: Callable[[Store], object]) -> None:
        assert _outcome(act, self.local) == _outcome(act, self.memory)

    @rule(name=NAMES, data=st.binary(max_size=3))
    def put(self, name: str, data: bytes) -> None:
        self.both(lambda store: store.put_if_absent(name, data, durable=False))

    @rule(name=NAMES, aim=NAMES, folder=st.sampled_from(["", "p/"]))
    def point(self, name: str, aim: str, folder: str) -> None:
        self.both(lambda store: store.publish_pointer(folder + name, aim))

    @rule(name=NAMES, folder=st.sampled_from(["", "p/"]))
    def delete(self, name: str, folder: str) -> None:
        self.both(lambda store: store.delete(folder + name))

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        for anywhere in (name, f"p/{name}"):
            self.both(lambda store, at=anywhere: store.get(at))
            self.both(lambda store, at=anywhere: store.read_pointer(at))

    @invariant()
    def lists_agree(self) -> None:
        for prefix in ("a", "b/", "a/a", "p"):
            self.both(lambda store, prefix=prefix: [(e.name, e.size) for e in store.list(prefix)])


def _outcome(act: Callable[[Store], object], store: Store) -> object:
    try:
        return act(store)
    except (KeyError, ValueError) as error:
        return type(error)


def test_s6_the_local_folder_agrees_with_the_memory_store(tmp_path: Path) -> None:
    StoresAgree.root = tmp_path
    run_state_machine_as_test(
        StoresAgree,
        settings=settings(max_examples=60, stateful_step_count=15, deadline=None, derandomize=True),
    )


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects=st.dictionaries(NAMES.map("x/{}".format), st.binary(max_size=8), max_size=6))
def test_s6_list_is_what_was_put(make_store: MakeStore, objects: dict[str, bytes]) -> None:
    store = make_store()
    for entry in store.list("x"):
        store.delete(entry.name)
    kept = {}
    for name, data in objects.items():
        try:
            store.put_if_absent(name, data, durable=False)
        except ValueError:
            continue
        kept[name] = data
    assert {e.name: store.get(e.name) for e in store.list("x")} == kept
    assert names(store, "x") == sorted(kept)

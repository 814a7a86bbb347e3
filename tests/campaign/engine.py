"""Trials of the engine under real kills: a coordinator in a forked process, ended at a moment that a seed draws.

A trial runs the toy study on a folder until it is killed, looks at what is left, runs it again to its end and compares with
an undisturbed run. What a coordinator acknowledged (a receipt came back) must be there; nothing may be half visible; what was
there must not be computed again; the final cube must be equal bit for bit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import toy

from pipeline import sweep as sweep_module
from pipeline import worker as worker_module
from pipeline.compact import collect_garbage, compact
from pipeline.cube import build_cube, publish_cube
from pipeline.experiment import STATUS_CODES
from pipeline.key_index import write_index
from pipeline.layout import cube_folder
from pipeline.ledger import open_ledger
from pipeline.plan import make_plan, refreshed
from pipeline.store import FAULT_POINTS, LocalStore
from pipeline.study import Study, load_study
from pipeline.sweep import Sweep
from pipeline.zarrio import Labelled, read_group

Fault = Callable[[str, str], None]
DELETE_POINTS = ("delete:before", "delete:after")
POINTS = (*FAULT_POINTS, *DELETE_POINTS)


class Folder(LocalStore):
    """The store under test, with fault points around deletion as well."""

    def __init__(self, root: Path, fault: Fault = lambda point, name: None) -> None:
        super().__init__(root, fault)
        self._at = fault

    def delete(self, name: str) -> None:
        self._at("delete:before", name)
        super().delete(name)
        self._at("delete:after", name)


class BrokenFolder(Folder):
    """The positive control: names become visible before their content is written."""

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        path = Path(self.location()) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._at("put:before-write", name)
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            self._at("put:after-write", name)
            file.write(data[len(data) // 2 :])
        self._at("put:before-publish", name)
        self._at("put:after-publish", name)
        return True


class ForgetfulFolder(Folder):
    """Another positive control: a put is acknowledged and its bytes are gone with the process."""

    def __init__(self, root: Path, fault: Fault = lambda point, name: None) -> None:
        super().__init__(root, fault)
        self._late: list[tuple[str, bytes]] = []

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        self._late.append((name, data))
        if len(self._late) > 3:
            for late in self._late:
                super().put_if_absent(*late, durable=durable)
            self._late.clear()
        return True


@dataclass
class Tally:
    """What a campaign prints; all but the first three must be zero."""

    trials: int = 0
    kills: int = 0
    finished_before_kill: int = 0
    lost: int = 0
    half_visible: int = 0
    recomputed: int = 0
    different: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    first_wrong: str = ""

    @property
    def wrong(self) -> int:
        return self.lost + self.half_visible + self.recomputed + self.different

    def __str__(self) -> str:
        counts = "  ".join(f"{f.name} {getattr(self, f.name)}" for f in fields(self) if f.type == "int")
        return f"{counts}\nkinds: {dict(sorted(self.kinds.items()))}"


@dataclass(frozen=True)
class Spec:
    """One trial, drawn by its seed."""

    seed: int
    kind: str  # "point", "sigkill", "two", "damage", "edited"
    point: str
    at: int
    delay_s: float

    @classmethod
    def draw(cls, seed: int) -> Spec:
        dice = random.Random(seed)
        kind = dice.choices(["point", "sigkill", "two", "damage", "edited"], [6, 3, 1, 1, 1])[0]
        return cls(seed, kind, dice.choice(POINTS), dice.choice([1, 2, 3, 5, 8, 13, 21, 34, 55, 89]), dice.uniform(0.0, 0.12))


class _Acknowledging(ThreadPoolExecutor):
    """Tells the parent of each receipt, once it is there."""

    def __init__(self, pipe: int) -> None:
        super().__init__(2)
        self._pipe = pipe

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        def acknowledged() -> Any:
            receipt = fn(*arguments, **named)
            os.write(self._pipe, f"{receipt.segment}\n".encode())
            return receipt

        return super().submit(acknowledged)


def coordinate(study: Study, store: LocalStore, pipe: int, dice: random.Random) -> None:
    """What a coordinator does: sweep, publish meanwhile, publish, compact, collect, publish again."""
    worker_module.open_store_backend = lambda location: store  # type: ignore[assignment]
    sweep_module.TARGET_SECONDS, sweep_module.FIRST_CELLS = dice.choice([1e-9, 1e-3]), 1
    sweep_module.PUBLISH_EVERY_S = dice.choice([0.0, 10.0])
    plan = make_plan(study, store)

    def publish() -> None:
        now = refreshed(plan, store)
        write_index(now.ledger)
        publish_cube(now, store)

    with _Acknowledging(pipe) as executor:
        Sweep(plan, store, executor, lambda: 2, publish=publish).run()
    publish()
    if dice.random() < 0.7:
        compact(store, large_bytes=dice.choice([40_000, 10**8]))
        collect_garbage(store, older_than_s=-1.0)
        publish()


def _forked(act: Callable[[int], None]) -> tuple[int, int]:
    """Run ``act`` in a forked process with the writing end of a pipe; returns pid and reading end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            act(writing)
        except BaseException:
            os._exit(3)
        os._exit(0)
    os.close(writing)
    return pid, reading


def _killer(spec: Spec) -> Fault:
    met = 0

    def fault(point: str, name: str) -> None:
        nonlocal met
        if point == spec.point:
            met += 1
            if met == spec.at:
                os.kill(os.getpid(), signal.SIGKILL)

    return fault


def _acknowledged(reading: int) -> list[str]:
    with os.fdopen(reading, "rb") as pipe:
        return [line.decode().strip() for line in pipe.read().splitlines()]


def images(store: LocalStore, study: Study) -> dict[str, bytes]:
    """Non-volatile arrays of the cube built from the ledger."""
    arrays, _ = build_cube(make_plan(study, store))
    return {name: _bits(a) for name, a in arrays.items() if not a.attributes.get("volatile")}


def _bits(array: Labelled) -> bytes:
    text = isinstance(array.data.dtype, np.dtypes.StringDType)
    return "\0".join(array.data.ravel().tolist()).encode() if text else np.ascontiguousarray(array.data).tobytes()


def half_visible(store: LocalStore, study: Study, reference: dict[str, Labelled]) -> str:
    """What is visible and not whole: damaged segments, or a published cube that shows a wrong number; else nothing."""
    ledger = open_ledger(store, use_index=False)
    if ledger.damaged:
        return ledger.damaged[0]
    version = store.read_pointer(f"{cube_folder(study.name)}latest")
    if version is None:
        return ""
    files = {entry.name.removeprefix(f"{version}/"): store.get(entry.name) for entry in store.list(f"{version}/")}
    if "zarr.json" not in files:
        return "the published cube does not open"
    shown = read_group(files)
    if json.loads(files["zarr.json"])["attributes"]["study"] != study.name or shown.keys() != reference.keys():
        return "the published cube lacks an array"
    here = shown["status"].data >= STATUS_CODES["ok"]
    if here.shape != reference["status"].data.shape:
        return ""  # published by the study as it was before it was edited
    for name, whole in reference.items():
        a = shown[name].data
        if whole.attributes.get("volatile") or a.shape[: here.ndim] != here.shape:
            continue
        cut = whole.data[(..., *(slice(n) for n in a.shape[here.ndim :]))] if a.ndim > here.ndim else whole.data
        x, y = a[here], cut[here]
        if not all(p == q or (p != p and q != q) for p, q in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)):
            return f"the published cube shows a wrong {name}"
    return ""


def trial(
    spec: Spec, study: Study, root: Path, reference: dict[str, Labelled], tally: Tally, folder: type[Folder] = Folder
) -> None:
    """One trial; its findings are added to the tally."""
    dice = random.Random(spec.seed + 1)
    smaller = load_study(study.source.name, overrides=["axes.level=[0, 20, 30]"]) if spec.kind == "edited" else study
    fault = _killer(spec) if spec.kind in ("point", "two", "edited") else (lambda point, name: None)
    pid, reading = _forked(lambda pipe: coordinate(smaller, folder(root, fault), pipe, dice))
    other = _forked(lambda pipe: coordinate(study, folder(root), pipe, random.Random(0))) if spec.kind == "two" else None
    if spec.kind == "sigkill":
        time.sleep(spec.delay_s)
        os.kill(pid, signal.SIGKILL)
    acknowledged = _acknowledged(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if other is not None:
        acknowledged += _acknowledged(other[1])
        if os.waitstatus_to_exitcode(os.waitpid(other[0], 0)[1]) != 0:
            _wrong(tally, spec, "different", "the coordinator that was not killed did not end well")
    tally.trials += 1
    tally.kinds[spec.kind if code else f"{spec.kind}, ended before"] += 1
    tally.kills += code == -signal.SIGKILL
    if code not in (0, -signal.SIGKILL):
        _wrong(tally, spec, "different", f"the coordinator ended with {code}")
    store = Folder(root)
    if spec.kind == "damage":
        _damage(store, dice)
    _judge(spec, study, store, acknowledged, reference, tally)


def _damage(store: LocalStore, dice: random.Random) -> None:
    """Cut one segment short and flip a bit of another, as a bad disk does."""
    for entry in dice.sample(store.list("ledger/segments/"), k=min(2, len(store.list("ledger/segments/")))):
        path = store.path(entry.name)
        assert path is not None
        data = bytearray(path.read_bytes())
        if dice.random() < 0.5:
            data = data[: dice.randrange(len(data))]
        else:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(data))


def _judge(
    spec: Spec, study: Study, store: LocalStore, acknowledged: Sequence[str], reference: dict[str, Labelled], tally: Tally
) -> None:  # fmt: skip
    ledger = open_ledger(store, use_index=False)
    if spec.kind != "damage":
        lost = [name for name in acknowledged if name not in ledger.origins]
        if lost:
            _wrong(tally, spec, "lost", f"segments {lost} were acknowledged and are gone", len(lost))
        wrong = half_visible(store, study, reference)
        if wrong:
            _wrong(tally, spec, "half_visible", wrong)
    plan = make_plan(study, store)
    plan = refreshed(plan, store, use_index=False)
    present = {tuple(plan.cells.coordinates(int(i)).values()) for i in np.flatnonzero(plan.complete)}
    tally.finished_before_kill += len(present)
    toy.COUNTED.clear()
    with ThreadPoolExecutor(1) as executor:
        Sweep(plan, store, executor, lambda: 1).run()
    again = present & set(toy.COUNTED)
    if again:
        _wrong(tally, spec, "recomputed", f"{len(again)} cells that were there were computed again", len(again))
    try:
        after = images(store, study)
    except Exception as error:
        _wrong(tally, spec, "different", f"{type(error).__name__}: {error}")
        return
    unlike = [name for name, a in reference.items() if not a.attributes.get("volatile") and after.get(name) != _bits(a)]
    if unlike:
        _wrong(tally, spec, "different", f"{', '.join(unlike)} unlike an undisturbed run")


def _wrong(tally: Tally, spec: Spec, what: str, sentence: str, count: int = 1) -> None:
    setattr(tally, what, getattr(tally, what) + count)
    tally.first_wrong = tally.first_wrong or f"seed {spec.seed} ({spec}): {sentence}"


def undisturbed(study: Study, root: Path) -> dict[str, Labelled]:
    """The cube of an undisturbed run."""
    store = LocalStore(root)
    with ThreadPoolExecutor(2) as executor:
        Sweep(make_plan(study, store), store, executor, lambda: 2).run()
    return build_cube(make_plan(study, store))[0]

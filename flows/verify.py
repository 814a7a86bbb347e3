"""Check the content of a store again: segments, cube, surfaces, answers, certificates. No earlier check is trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from flows.derivation import Derivation
from flows.derive import answers_of, labelled, load_published, surfaces_of
from flows.run import Run
from pipeline.cube import build_cube, nondeterminism, published_key, version_damage
from pipeline.experiment import STATUS_CODES, STATUS_NAMES, Recheckable
from pipeline.layout import analysis_folder, cube_folder, parts_of, surface_folder, versions_of
from pipeline.ledger import read_segment
from pipeline.plan import refreshed
from pipeline.recompute import models_of
from pipeline.segment import cell_values
from pipeline.zarrio import Labelled

_MENDED = "`disac report` publishes it again"
_CERTIFIED = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"], STATUS_CODES["infeasible"])


@dataclass(frozen=True)
class Check:
    """The outcome of one check: ``counted`` says which things were checked, ``wrong`` holds a sentence per finding."""

    name: str
    counted: str
    wrong: tuple[str, ...]


def verify(run: Run, *, sample: int, progress: Callable[[str], None] = lambda what: None) -> list[Check]:
    """Check a study's segments, copies, cube, surfaces and a sample of its certificates."""
    progress("segments")
    run.plan = refreshed(run.plan, run.store, use_index=False)
    ledger = run.plan.ledger
    checks = [
        Check("segments", f"{len(ledger.segments)} read and hashed, {len(ledger.keys)} rows", ledger.damaged),
        Check("copies", "cells computed more than once", tuple(nondeterminism(run.plan))),
    ]
    progress("cube")
    checks.append(_cube(run))
    progress("surfaces")
    study = run.study.name
    checks.append(_derived(run, "surfaces", surface_folder(study), run.surface_key, surfaces_of))
    checks.append(_derived(run, "answers", analysis_folder(study), run.analysis_key, answers_of))
    progress("certificates")
    checks.append(_certificates(run, sample))
    return checks


def _cube(run: Run) -> Check:
    folder = cube_folder(run.study.name)
    key = published_key(run.store, folder)
    if key is None:
        return Check("cube", "none is published", ())
    if key != run.plan.cube_key:
        return Check("cube", "published", ("it is older than the ledger: `disac report` publishes it again",))
    if why := version_damage(run.store, f"{versions_of(folder)}{key}"):
        return Check("cube", "published", (f"{why}: {_MENDED}",))
    arrays, _ = build_cube(run.plan)
    published = labelled(load_published(run.store, folder))
    return Check("cube", f"{len(arrays)} arrays against the ledger", _told(folder, key, _differences(arrays, published)))


def _derived(run: Run, name: str, folder: str, expected: str, make: Callable[[Derivation], xr.Dataset]) -> Check:
    """Make what follows from the cube again, and compare it with what is published."""
    key = published_key(run.store, folder)
    if key is None or published_key(run.store, cube_folder(run.study.name)) is None:
        return Check(name, "none are published", ())
    if key != expected:
        return Check(name, "published", ("they are older than the cube or than the code that makes them",))
    if why := version_damage(run.store, f"{versions_of(folder)}{key}"):
        return Check(name, "published", (f"{why}: {_MENDED}",))
    if run.damage():
        return Check(name, "published", ("they cannot be compared with a damaged cube",))
    again = labelled(make(run.derivation))
    published = labelled(load_published(run.store, folder))
    told = _told(folder, key, _differences(again, published), parts=bool(run.store.list(parts_of(folder))))
    return Check(name, f"{len(again)} arrays against the cube", told)


def _told(folder: str, key: str, differences: list[str], *, parts: bool = False) -> tuple[str, ...]:
    """Return the differences and the way to mend them.

    The way is needed because a run takes a version as sound if its files have their sizes, and takes blocks from ``parts``.
    """
    what = f"folders '{versions_of(folder)}{key}' and '{parts_of(folder)}'" if parts else f"folder '{versions_of(folder)}{key}'"
    way = f"remove the {what} of the store, and `disac report` publishes it again"
    return (*differences, *([way] if differences else []))


def _differences(expected: dict[str, Labelled], found: dict[str, Labelled]) -> list[str]:
    wrong = [
        f"'{name}' is {'missing' if name in expected else 'unexpected'}" for name in sorted(expected.keys() ^ found.keys())
    ]
    for name in sorted(expected.keys() & found.keys()):
        a, b = expected[name], found[name]
        if a.dims != b.dims or a.data.shape != b.data.shape:
            wrong.append(f"'{name}' has the shape {b.dims} {b.data.shape}, expected {a.dims} {a.data.shape}")
        elif _bits(a.data) != _bits(b.data):
            wrong.append(f"'{name}' differs when it is made again")
    return wrong


def _bits(data: np.ndarray[Any, Any]) -> bytes:
    text = isinstance(data.dtype, np.dtypes.StringDType) or data.dtype.kind in "OU"
    return "\0".join(map(str, data.ravel().tolist())).encode() if text else np.ascontiguousarray(data).tobytes()


def _certificates(run: Run, sample: int) -> Check:
    """Judge stored designs and proofs again, for cells that are evenly spaced over the study."""
    experiment = run.study.experiment
    if not isinstance(experiment, Recheckable):
        return Check("certificates", f"the experiment '{experiment.name}' stores none", ())
    plan = run.plan
    certified = np.flatnonzero(plan.choice.present & np.isin(plan.choice.status, _CERTIFIED))
    chosen = certified[np.unique(np.linspace(0, len(certified) - 1, min(sample, len(certified))).astype(int))]
    wrong, unread = [], 0
    for cell in map(int, chosen):
        segment = read_segment(run.store, plan.ledger.segments[plan.choice.segment[cell]].name)
        stored = cell_values(segment, int(plan.choice.row[cell]))
        if {v.name for v in experiment.variables} - set(stored):
            unread += 1
            continue
        scenario, options = models_of(plan, run.store, cell)
        where = " ".join(f"{k}={v}" for k, v in plan.cells.coordinates(cell).items())
        stored["status"] = STATUS_NAMES[int(plan.choice.status[cell])]
        try:
            said = experiment.recheck(scenario, options, stored)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            said = [f"what is stored cannot be judged ({type(error).__name__}: {error})"]
        wrong += [f"{where}: {sentence}" for sentence in said]
    words = f"{len(chosen) - unread} of {len(certified)} judged again from what is stored"
    return Check("certificates", words + (f", {unread} without their design" if unread else ""), tuple(wrong))

"""Adopt the cells of older code after a refactoring. A sample is computed again, and every bit must be equal (rule I7)."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.adoptions import record_adoption
from pipeline.cube import cell_image
from pipeline.digest import CodeDigest, source_file
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES
from pipeline.ledger import read_segment
from pipeline.plan import Plan, plan_under
from pipeline.recompute import recompute
from pipeline.store import Store

_DIGEST_OF = """
import json, sys
sys.path[:0] = [sys.argv[1]]
from pipeline.digest import code_digest
code = code_digest(sys.argv[2:])
print(json.dumps([code.digest, dict(code.manifest)]))
"""


@dataclass(frozen=True)
class Adoption:
    """Outcome of an attempt. ``different`` names the sampled cells whose bits changed; if it names any, nothing is recorded."""

    older: CodeDigest
    cells: int
    checked: int
    different: tuple[str, ...]


def code_of(plan: Plan, name: str) -> CodeDigest:
    """Return the code that ``name`` means: the beginning of a code digest in the ledger, or a revision in git's history.

    Raises
    ------
    UsageError
        If ``name`` is neither, or the beginning of several digests.
    """
    known = {
        info.code_digest: CodeDigest(info.code_digest, info.manifest)
        for info in plan.ledger.segments
        if info.experiment == plan.study.experiment.name
    }
    found = [digest for digest in known if len(name) >= 4 and digest.startswith(name.lower())]
    if len(found) == 1:
        return known[found[0]]
    if found:
        raise UsageError(f"'{name}' begins {len(found)} code digests of this store: {', '.join(sorted(found))}")
    return _code_at_revision(plan, name, sorted(known))


def _code_at_revision(plan: Plan, name: str, known: list[str]) -> CodeDigest:
    """Return the digest of the code at a git revision, computed by the rules of that revision."""

    modules = plan.study.experiment.modules
    folder = source_file(modules[0]).parent
    top = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False
    )  # fmt: skip
    archive = subprocess.run(
        ["git", "-C", top.stdout.strip() or str(folder), "archive", name], capture_output=True, check=False
    )  # fmt: skip
    if top.returncode or archive.returncode:
        stored = ", ".join(digest[:12] for digest in known) or "none"
        raise UsageError(f"'{name}' is neither a git revision nor a code digest of this store (those are: {stored})")
    with tempfile.TemporaryDirectory() as checkout:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(checkout, filter="data")
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST_OF, checkout, *modules], capture_output=True, text=True, check=False, cwd=checkout
        )  # fmt: skip
    if done.returncode:
        raise UsageError(f"the code digest at '{name}' cannot be taken: {done.stderr.strip().splitlines()[-1]}")
    digest, manifest = json.loads(done.stdout)
    return CodeDigest(digest, manifest)


def adopt(
    plan: Plan, store: Store, older: CodeDigest, *, check: int, progress: Callable[[int, int], None] = lambda i, n: None
) -> Adoption:
    """Compute a sample of the study's older cells again and record the adoption if every bit agrees.

    Parameters
    ----------
    check
        Number of cells to compute. The digests alone choose the cells, so that the same attempt checks the same cells.

    Raises
    ------
    UsageError
        If the older code is the present code, or the store holds no result of the study under the older code.
    """
    if older.digest == plan.code.digest:
        raise UsageError("nothing to adopt: that code has the digest of the present one")
    then = plan_under(plan, older, store)
    results = np.flatnonzero(then.choice.present & (then.choice.status != STATUS_CODES["failed"]))
    if not len(results):
        raise UsageError(f"the store holds no result of '{plan.study.name}' under the code {older.digest[:12]}")
    random = np.random.default_rng(list(bytes.fromhex(older.digest + plan.code.digest)))
    sample = np.sort(random.choice(results, min(check, len(results)), replace=False))
    different = []
    # All variables are compared, also those that this study does not keep: the adoption counts for all studies.
    whole = replace(plan, keep=tuple(v.name for v in plan.study.experiment.variables))
    for i, cell in enumerate(sample):
        stored = read_segment(store, then.ledger.segments[then.choice.segment[cell]].name)
        now = recompute(whole, store, int(cell))
        before, after = dict(cell_image(stored, int(then.choice.row[cell]))), dict(cell_image(now, 0))
        if any(before[name] != after[name] for name in before.keys() & after.keys()):
            different.append(" ".join(f"{k}={v}" for k, v in plan.cells.coordinates(int(cell)).items()))
        progress(i + 1, len(sample))
    if not different:
        names = [plan.keys[c].tobytes().hex() for c in sample]
        record_adoption(store, older=older.digest, newer=plan.code.digest, checked={"study": plan.study.name, "cells": names})
    return Adoption(older, len(results), len(sample), tuple(different))

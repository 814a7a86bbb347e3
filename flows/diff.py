"""Compare two states of one study, cell by cell: published versions, or the results of two code revisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from flows.derive import as_dataset, read_version
from flows.run import Run
from pipeline.adopt import code_of
from pipeline.cube import build_cube
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES, STATUS_NAMES
from pipeline.layout import cube_folder, latest_of, versions_of
from pipeline.plan import plan_under

_PRESENT = [STATUS_CODES[name] for name in ("ok", "inaccurate", "infeasible", "failed")]


@dataclass(frozen=True)
class Difference:
    """The difference of one variable on the cells that both sides hold; ``where`` is the cell of the largest difference."""

    variable: str
    cells: int
    largest_absolute: float
    largest_relative: float
    where: str


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison. Both sides hold ``compared`` cells; ``only`` counts the cells of one side alone."""

    names: tuple[str, str]
    compared: int
    only: tuple[int, int]
    statuses: dict[str, int]
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Return whether no value differs beyond the tolerances and both sides hold the same cells."""
        return not (self.statuses or self.differences or any(self.only))


def version_or_code(run: Run, name: str) -> tuple[str, xr.Dataset]:
    """Return the state that ``name`` means: ``latest``, the beginning of a version's key, a code digest or a revision.

    Raises
    ------
    UsageError
        If the name has no meaning, or names several versions.
    """
    folder = versions_of(cube_folder(run.study.name))
    keys = sorted({entry.name.removeprefix(folder).split("/", 1)[0] for entry in run.store.list(folder)})
    latest = run.store.read_pointer(latest_of(cube_folder(run.study.name)))
    if name == "latest" and latest is not None:
        keys, name = [latest.rsplit("/", 1)[-1]], latest.rsplit("/", 1)[-1]
    found = [key for key in keys if len(name) >= 4 and key.startswith(name)]
    if len(found) > 1:
        raise UsageError(f"'{name}' begins {len(found)} published versions: {', '.join(found)}")
    if found:
        return f"version {found[0][:12]}", read_version(run.store, f"{folder}{found[0]}")
    try:
        code = code_of(run.plan, name)
    except UsageError as error:
        versions = ", ".join(key[:12] for key in keys) or "none"
        raise UsageError(f"'{name}' is no published version of '{run.study.name}' (those are: {versions}); {error}") from error
    arrays, attributes = build_cube(plan_under(run.plan, code, run.store))
    return f"code {code.digest[:12]}", as_dataset(arrays, attributes)


def compare(
    a: tuple[str, xr.Dataset], b: tuple[str, xr.Dataset], *, relative: float, absolute: float, volatile: bool = False
) -> Comparison:
    """Compare two cubes on their common coordinates.

    Parameters
    ----------
    relative, absolute
        A number differs if its distance from the first number exceeds ``absolute + relative * |first|``. Texts and whole
        numbers differ if they are unequal. Two missing values are equal.
    volatile
        Whether to compare seconds and hosts, too.
    """
    axes = [str(d) for d in a[1]["status"].dims]
    if set(axes) != {str(d) for d in b[1]["status"].dims}:
        raise UsageError(f"{a[0]} has the axes {axes}, {b[0]} has {[str(d) for d in b[1]['status'].dims]}: nothing to compare")
    first, second = xr.align(a[1], b[1].transpose(*axes, ...), join="outer", fill_value={"status": 0}, exclude=_own(a[1], axes))
    here, there = (np.isin(d["status"].values, _PRESENT) for d in (first, second))
    both = here & there
    old, new = first["status"].values[both], second["status"].values[both]
    pairs, counts = np.unique(np.stack([old, new], axis=1), axis=0, return_counts=True)
    changed = {
        f"{STATUS_NAMES[int(p)]} -> {STATUS_NAMES[int(q)]}": int(n) for (p, q), n in zip(pairs, counts, strict=True) if p != q
    }  # fmt: skip
    names = [str(n) for n in first.data_vars if n in second.data_vars and n not in ("status", "message")]
    found = [_difference(first, second, n, both, axes, relative, absolute) for n in names if volatile or not _volatile(a[1][n])]
    return Comparison(
        (a[0], b[0]), int(both.sum()), (int((here & ~there).sum()), int((there & ~here).sum())), changed,
        tuple(d for d in found if d is not None),
    )  # fmt: skip


def _own(cube: xr.Dataset, axes: Sequence[str]) -> list[str]:
    return [str(d) for d in cube.dims if d not in axes]


def _volatile(variable: xr.DataArray) -> bool:
    return bool(variable.attrs.get("volatile"))


def _difference(
    a: xr.Dataset, b: xr.Dataset, name: str, both: np.ndarray[Any, Any], axes: list[str], relative: float, absolute: float
) -> Difference | None:
    """Return the largest difference of one variable over the common cells; None if no cell differs."""
    old, new = a[name].transpose(*axes, ...), b[name].transpose(*axes, ...)
    x, y = old.values[both], new.values[both]
    if x.shape != y.shape:
        return Difference(name, len(x), float("inf"), float("inf"), f"shapes {x.shape[1:]} and {y.shape[1:]}")
    if x.dtype.kind in "fc" and y.dtype.kind in "fc":
        gap = np.where(np.isnan(x) & np.isnan(y), 0.0, np.abs(x - y))
        gap = np.where(np.isnan(gap), np.inf, gap)
        size = np.where(np.isnan(x), 0.0, np.abs(x))
        beyond = gap > absolute + relative * size
    else:
        beyond = x != y
        gap, size = beyond.astype(float), np.zeros(x.shape)
    if not beyond.any():
        return None
    worst = int(np.argmax(np.where(beyond, gap, -1.0).reshape(len(x), -1).max(axis=1)))
    at = np.argwhere(both)[worst]
    where = " ".join(f"{axis}={a[axis].values[i]}" for axis, i in zip(axes, at, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.nanmax(np.where(beyond & (size > 0), gap / size, 0.0)))
    cells = int(beyond.reshape(len(x), -1).any(axis=1).sum())
    return Difference(name, cells, float(gap.max()), ratio, where)

"""Limits on the size of a study, checked before anything of that size is built (rule G4)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.errors import UsageError
from pipeline.study import Study
from pipeline.zarrio import numpy_dtype

MOST_CELLS = 20_000_000
"""Most cells of a plan. Planning takes about 100 bytes a cell: 2 GB and half a minute at this number."""

MOST_LABELS = 2_000_000
"""Most values of all axes, counted in every grid that has the axis. Planning takes about half a kilobyte a value."""


def kept_names(study: Study) -> tuple[str, ...]:
    """Return the names of the variables that a study keeps: those of its ``keep``, or all variables without it."""
    return study.keep or tuple(v.name for v in study.experiment.variables)


def dense_bytes(study: Study, cells: int) -> int:
    """Return the bytes of a dense cube in memory; an own dimension of open length counts as one entry."""
    per_cell = 1 + 16
    for variable in study.experiment.variables:
        if variable.name in kept_names(study) and variable.kind == "cube":
            entries = math.prod(len(variable.coords.get(dim, (0,))) for dim in variable.dims)
            per_cell += entries * numpy_dtype(variable.dtype).itemsize
    return per_cell * cells


def refuse_too_large(study: Study, grids: Sequence[Mapping[str, int]]) -> None:
    """Refuse grids that are more than a plan holds: one grid alone, or all grids before they are joined.

    Parameters
    ----------
    grids
        Number of values of each axis as written, for each grid.

    Raises
    ------
    UsageError
        If the grids are too large; the error says how to split the study.
    """
    for lengths in grids:
        refuse_too_many(study, lengths)
    cells = sum(math.prod(lengths.values()) for lengths in grids)
    values: Counter[str] = Counter()
    for lengths in grids:
        values.update(lengths)
    if cells > MOST_CELLS:
        what = f"the {len(grids)} grids have {cells:,} cells before they are joined; a plan holds {MOST_CELLS:,}"
    elif values.total() > MOST_LABELS:
        what = f"the axes of all grids have {values.total():,} values; a plan holds {MOST_LABELS:,}"
    else:
        return
    raise UsageError(f"{study.source.name}: {what}. {_advice(values)}")


def refuse_too_many(study: Study, lengths: Mapping[str, int]) -> None:
    """Refuse a cube above the study's limit, or more cells than a plan holds; the error says how to split the study.

    Parameters
    ----------
    lengths
        Number of values of each axis.

    Raises
    ------
    UsageError
        If the cube is too large.
    """
    cells = math.prod(lengths.values())
    size, limit = dense_bytes(study, cells), study.max_dense_bytes
    if size <= limit and cells <= MOST_CELLS:
        return
    shape = " x ".join(f"{name} {length:,}" for name, length in lengths.items())
    what = (
        f"the dense cube would take {size:,} bytes for {cells:,} cells ({shape}), the limit is max_dense_bytes: {limit:,}"
        if size > limit
        else f"there would be {cells:,} cells ({shape}); a plan holds {MOST_CELLS:,}"
    )
    way_out = ". Or raise the limit" if size > limit and cells <= MOST_CELLS else ""
    raise UsageError(f"{study.source.name}: {what}. {_advice(lengths)}{way_out}")


def _advice(lengths: Mapping[str, int]) -> str:
    longest = max(lengths, key=lambda name: lengths[name])
    return (
        f"Split it along '{longest}' ({lengths[longest]:,} values): one study file for each part, with a name of its own, "
        "opened together as a DataTree by pipeline.open_store(store, part, part)"
    )

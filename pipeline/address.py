"""Find cells by the words that a person types: coordinates (``sinr_db=30 user_count=2``) or the beginning of a key."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, near_miss
from pipeline.grid import Axis
from pipeline.plan import Plan
from pipeline.values import canonical_text

_LISTED = 12


def describe(plan: Plan, cell: int) -> str:
    """Return the coordinates of a cell and the beginning of its key, as :func:`find_cells` accepts them."""
    where = " ".join(f"{name}={value}" for name, value in plan.cells.coordinates(cell).items())
    return f"{where}  [{plan.keys[cell].tobytes().hex()[:12]}]"


def find_cells(plan: Plan, words: Sequence[str]) -> NDArray[np.int64]:
    """Return the positions of the planned cells that match every word; without words all cells match.

    Raises
    ------
    UsageError
        If a word names no axis, no value or no cell.
    """
    matching = np.ones(len(plan.keys), dtype=bool)
    for word in words:
        name, equals, text = word.partition("=")
        matching &= _on_axis(plan, name, text) if equals else _by_key(plan, word)
    if not matching.any():
        raise UsageError(f"no planned cell of '{plan.study.name}' is {' '.join(words)}")
    return np.flatnonzero(matching)


def find_cell(plan: Plan, words: Sequence[str]) -> int:
    """Return the single planned cell that the words name.

    Raises
    ------
    UsageError
        If the words name no cell, or several cells: the error lists them.
    """
    found = find_cells(plan, words)
    if len(found) > 1:
        some = "\n".join(f"  {describe(plan, int(i))}" for i in found[:_LISTED])
        more = f"\n  and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        given = f"'{' '.join(words)}' names" if words else "no CELL is given; there are"
        raise UsageError(f"{given} {len(found)} cells; give more coordinates or a key:\n{some}{more}")
    return int(found[0])


def _by_key(plan: Plan, word: str) -> NDArray[np.bool_]:
    prefix = word.lower()
    if not re.fullmatch(r"[0-9a-f]{4,32}", prefix):
        axes = ", ".join(axis.name for axis in plan.cells.axes)
        raise UsageError(f"CELL '{word}': expected name=value with a name of {axes}, or at least 4 hexadecimal digits of a key")
    digits = np.frombuffer(bytes.fromhex(prefix[: len(prefix) // 2 * 2]), dtype=np.uint8)
    matching: NDArray[np.bool_] = (plan.keys[:, : len(digits)] == digits).all(axis=1)
    if len(prefix) % 2:
        matching &= plan.keys[:, len(digits)] >> 4 == int(prefix[-1], 16)
    return matching


def _on_axis(plan: Plan, name: str, text: str) -> NDArray[np.bool_]:
    by_name = {n: (a, axis) for a, axis in enumerate(plan.cells.axes) for n in (*axis.paths, axis.name)}
    if name not in by_name:
        names = [axis.name for axis in plan.cells.axes]
        raise UsageError(f"CELL '{name}={text}': no axis '{name}'{near_miss(name, by_name)}; axes: {', '.join(names)}")
    number, axis = by_name[name]
    labels = _matching_labels(axis, text)
    if not labels.any():
        values = ", ".join(map(str, axis.labels[:40]))
        raise UsageError(
            f"CELL '{name}={text}': not a value of '{axis.name}'{near_miss(text, map(str, axis.labels))}: {values}"
        )
    return labels[plan.cells.index[:, number]]


def _matching_labels(axis: Axis, text: str) -> NDArray[np.bool_]:
    """Return a mask of the labels whose text equals ``text``, or whose number equals that of ``text``."""
    try:
        number: float | None = float(text)
    except ValueError:
        number = None
    hits = [
        text in (str(label), canonical_text(label))
        or (number is not None and isinstance(label, int | float) and float(label) == number)
        for label in axis.labels
    ]
    return np.array(hits, dtype=bool)

"""Checks that know a field: found by entry points of the group ``disac.checks``, and loaded when a claim names one.

Such a check asks for variables and receives their values at the feasible cells as plain arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, near_miss

CHECK_GROUP = "disac.checks"


class CellCheck(Protocol):
    """A check on the values of cells."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables and axes whose values it needs."""
        ...

    def judge(self, values: Mapping[str, NDArray[np.float64]], **arguments: Any) -> tuple[str, str, str]:
        """Judge the feasible cells.

        Parameters
        ----------
        values
            For each of ``variables`` its values [cells]; NaN where a cell has none. There may be no cell.
        **arguments
            What the claim gives under ``with``.

        Returns
        -------
        verdict, ours, evidence
            ``holds``, ``fails`` or ``undecided``; our number in words; what it rests on.
        """
        ...


def check_modules() -> list[str]:
    """The modules of all installed checks: their code decides verdicts."""
    return sorted({point.module for point in entry_points(group=CHECK_GROUP)})


def installed_checks() -> list[str]:
    """Names of all installed checks."""
    return sorted({point.name for point in entry_points(group=CHECK_GROUP)})


def load_check(name: str, others: Iterable[str] = ()) -> CellCheck:
    """The installed check of a name; ``others`` are names that an error offers as well.

    Raises
    ------
    UsageError
        If no installed distribution offers it.
    """
    for point in entry_points(group=CHECK_GROUP, name=name):
        check: CellCheck = point.load()
        return check
    known = sorted({*others, *installed_checks()})
    raise UsageError(f"no check '{name}' is installed{near_miss(name, known)}; known: {', '.join(known)}")

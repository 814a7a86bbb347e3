"""Checks that know the field of a study. Entry points of the group ``disac.checks`` name them; a claim's check is loaded.

Such a check names variables and receives their values at the feasible cells as plain arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, near_miss
from pipeline.installed import installed

CHECK_GROUP = "disac.checks"


class CellCheck(Protocol):
    """A check on the values of cells."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the variables and axes whose values the check needs."""
        ...

    def judge(self, values: Mapping[str, NDArray[np.float64]], **arguments: Any) -> tuple[str, str, str]:
        """Judge the feasible cells.

        Parameters
        ----------
        values
            The values of each of ``variables`` [cells]; NaN for a cell without a value. There may be no cell.
        **arguments
            The arguments that the claim gives under ``with``.

        Returns
        -------
        verdict, ours, evidence
            ``holds``, ``fails`` or ``undecided``; our number in words; the facts that the verdict rests on.
        """
        ...


def check_modules() -> list[str]:
    """Return the modules of all installed checks: their code decides verdicts."""
    return sorted({point.module for point in installed(CHECK_GROUP)})


def installed_checks() -> list[str]:
    """Return the names of all installed checks."""
    return sorted({point.name for point in installed(CHECK_GROUP)})


def load_check(name: str, others: Iterable[str] = ()) -> CellCheck:
    """Load the installed check of a name; an error also offers the names in ``others``.

    Raises
    ------
    UsageError
        If no installed distribution offers the check.
    """
    for point in installed(CHECK_GROUP).select(name=name):
        check: CellCheck = point.load()
        return check
    known = sorted({*others, *installed_checks()})
    raise UsageError(f"no check '{name}' is installed{near_miss(name, known)}; known: {', '.join(known)}")

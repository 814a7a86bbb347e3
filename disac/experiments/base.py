"""Common parts of all experiments: their description, and how cells run, fail and are compared with stored values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

S = TypeVar("S")

BREAKDOWNS = (np.linalg.LinAlgError, ArithmeticError)
"""Exceptions of arithmetic that breaks down. Any other exception is an error of the program and gives no result."""

RoughCosts = tuple[tuple[Mapping[str, Any], float], ...]
"""Rough seconds of one cell on one core: pairs of options and seconds. The first pair counts whose options are all chosen."""


class ExperimentOptions(BaseModel):
    """Options of an experiment. Unknown names and values of another type are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True)
class Variable:
    """One output variable. ``dims`` are its dimensions in one cell. A ``detail`` variable is not part of the dense cube.

    A cell with status ``ok`` may leave out only ``optional`` variables.
    """

    name: str
    long_name: str
    unit: str = "1"
    dtype: str = "float64"
    dims: tuple[str, ...] = ()
    coords: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    kind: Literal["cube", "detail"] = "cube"
    volatile: bool = False
    optional: bool = False


def failed(message: str) -> dict[str, Any]:
    """The result of a failed cell, with the reason."""
    return {"status": "failed", "message": message}


def broken_down(error: Exception) -> dict[str, Any]:
    """The result of a cell whose arithmetic broke down."""
    return failed(f"The design broke down numerically ({type(error).__name__}: {error}).")


def cell_by_cell(compute: Callable[[S], Mapping[str, Any]], scenarios: Iterable[S]) -> list[dict[str, Any]]:
    """Return one result per scenario. Where arithmetic breaks down in a cell, that cell alone fails."""
    results = []
    for scenario in scenarios:
        try:
            results.append(dict(compute(scenario)))
        except BREAKDOWNS as error:
            results.append(broken_down(error))
    return results


def differences(
    stored: Mapping[str, Any], again: Mapping[str, float], evidence: str, *, relative: float, absolute: float = 0.0
) -> list[str]:  # fmt: skip
    """Sentences on stored numbers that differ from those recomputed from the other stored values.

    Parameters
    ----------
    stored
        A stored result.
    again
        The numbers recomputed from the ``evidence``, by name.
    evidence
        Description of the stored values from which the numbers are recomputed.
    relative, absolute
        Relative and absolute differences that are tolerated.
    """
    return [
        f"{name} is stored as {stored[name]:.9g}, {evidence} gives {value:.9g}"
        for name, value in again.items()
        if not np.isclose(stored[name], value, rtol=relative, atol=absolute, equal_nan=True)
    ]

"""Plain objects that describe an experiment to whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Variable:
    """One output variable: ``dims`` are its own dimensions in one cell; ``detail`` stays out of the dense cube.

    A cell that is ok leaves out none but an ``optional`` one.
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

"""An experiment that does nothing and has thirty variables: only the cost of the engine remains."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Scenario(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    sinr_db: float = 0.0
    nodes: int = 1
    realisation: int = 0


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    work_ms: float = Field(0.0, json_schema_extra={"identity_default": 0.0})


@dataclass(frozen=True)
class Variable:
    name: str
    dtype: str = "float64"
    dims: tuple[str, ...] = ()
    coords: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    unit: str = "1"
    long_name: str = "nothing"
    kind: Literal["cube", "detail"] = "cube"
    volatile: bool = False


@dataclass(frozen=True)
class Noop:
    name: str = "noop"
    scenario_model: type[BaseModel] = Scenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = ("sinr_db",)
    variables: tuple[Variable, ...] = tuple(Variable(f"v{i:02d}") for i in range(30))
    modules: tuple[str, ...] = ("noop",)

    def run(self, scenarios: Sequence[Scenario], options: Options) -> list[dict[str, Any]]:
        until = time.perf_counter() + options.work_ms * len(scenarios) / 1e3
        while time.perf_counter() < until:
            pass
        return [{"status": "ok", "message": "", **value(s.sinr_db, s.nodes, s.realisation)} for s in scenarios]


def value(sinr_db: float, nodes: int, realisation: int) -> dict[str, float]:
    """Return the thirty numbers of a cell."""
    return {f"v{i:02d}": sinr_db + 0.1 * nodes + 0.001 * realisation + i for i in range(30)}


experiment = Noop()

"""A small experiment for the engine's tests: no radio in it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

COUNTED: list[tuple[float, int, int]] = []
"""Cells run in this process, in order: (level, count, realisation)."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Signal(Part):
    level_db: float = Field(10.0, description="signal level")
    shape: str = Field("flat", description="shape of the signal")


class Size(Part):
    count: int = Field(2, ge=1, le=50, description="number of things")
    places_m: tuple[tuple[float, float], ...] = Field(((0.0, 0.0),), description="places")


class Draw(Part):
    realisation: int = Field(0, ge=0, description="number of the random draw")
    seed: int = Field(1, ge=0, description="seed")


class ToyScenario(Part):
    signal: Signal = Signal()
    size: Size = Size()
    draw: Draw = Draw()
    table: str = Field("", description="a file", json_schema_extra={"content_file": True, "identity_default": ""})


class ToyOptions(Part):
    method: Literal["plain", "fancy"] = "plain"
    act: Literal["compute", "sleep", "exit", "hang"] = "compute"


@dataclass(frozen=True)
class ToyVariable:
    name: str
    dtype: str = "float64"
    dims: tuple[str, ...] = ()
    coords: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    unit: str = "1"
    long_name: str = "a value"
    kind: Literal["cube", "detail"] = "cube"
    volatile: bool = False


RAISES_AT_DB = 13.0
INFEASIBLE_FROM_DB = 30.0


@dataclass(frozen=True)
class Toy:
    name: str = "toy"
    scenario_model: type[BaseModel] = ToyScenario
    options_model: type[BaseModel] = ToyOptions
    line_axes: tuple[str, ...] = ("signal.level_db",)
    variables: tuple[ToyVariable, ...] = (
        ToyVariable("error_m", unit="m", long_name="error"),
        ToyVariable("steps", "int64"),
        ToyVariable("note", "str"),
        ToyVariable("gain", "complex128"),
        ToyVariable("profile", dims=("tap",)),
        ToyVariable("samples", dims=("sample",), kind="detail"),
        ToyVariable("solve_seconds", unit="s", volatile=True),
    )
    modules: tuple[str, ...] = ("toy",)

    def run(self, scenarios: Sequence[ToyScenario], options: ToyOptions) -> list[dict[str, Any]]:
        return [self._cell(s, options) for s in scenarios]

    def _cell(self, s: ToyScenario, options: ToyOptions) -> dict[str, Any]:
        level, count, draw = s.signal.level_db, s.size.count, s.draw.realisation
        COUNTED.append((level, count, draw))
        if level == RAISES_AT_DB:
            raise RuntimeError("thirteen is refused")
        if options.act == "exit" and level == 20.0:
            os._exit(5)
        if options.act == "sleep":
            time.sleep(0.05)
        if options.act == "hang" and level == 20.0:
            time.sleep(3600)
        if level >= INFEASIBLE_FROM_DB:
            return {"status": "infeasible", "message": "The level is out of reach.", "solve_seconds": 0.0}
        random = np.random.default_rng([s.draw.seed, draw, count])
        error = 10 ** (level / 20) / count * (1.0 + 0.1 * random.standard_normal())
        if s.table:
            error = float(Path(s.table).read_text(encoding="utf-8"))
        return {
            "status": "ok", "message": "", "error_m": error * (0.5 if options.method == "fancy" else 1.0), "steps": count,
            "note": s.signal.shape, "gain": complex(level, draw), "profile": np.arange(count, dtype=float),
            "samples": random.standard_normal(3), "solve_seconds": 1e-4,
        }  # fmt: skip


experiment = Toy()

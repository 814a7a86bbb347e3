"""An experiment whose cells answer what no cell should: each kind of answer is a text of the scenario."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from toy import ToyVariable


class PoisonScenario(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str = Field("good", description="what the cell answers")
    marks: str = Field("", description="a folder in which each start of a cell leaves a file")


class PoisonOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class MayLackVariable(ToyVariable):
    optional: bool = True


VARIABLES = (
    ToyVariable("real"),
    ToyVariable("whole", "int64"),
    ToyVariable("short", "int32"),
    ToyVariable("narrow", "float32"),
    ToyVariable("gain", "complex128"),
    ToyVariable("note", "str"),
    ToyVariable("pair", dims=("side",), coords={"side": ("left", "right")}),
    ToyVariable("path", dims=("step",)),
    ToyVariable("weight", dims=("step",)),
    MayLackVariable("spare"),
    MayLackVariable("spare_pair", dims=("side",), coords={"side": ("left", "right")}),
)


def good(**changes: Any) -> dict[str, Any]:
    return {
        "status": "ok", "message": "", "real": 0.5, "whole": 3, "short": 4, "narrow": 0.25, "gain": 1 + 2j, "note": "n",
        "pair": [1.0, 2.0], "path": np.arange(3.0), "weight": np.ones(3), "spare": 1.0, "spare_pair": [3.0, 4.0],
    } | changes  # fmt: skip


class Unreadable:
    def __repr__(self) -> str:
        raise ZeroDivisionError("no text")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("no array")


class Unspeakable(Exception):  # noqa: N818 - its name is not what is tested
    def __str__(self) -> str:
        raise ZeroDivisionError("no text")


def _raise(error: BaseException) -> Any:
    raise error


def _fill_memory() -> Any:
    held = []
    while True:
        held.append(np.ones(2_000_000))
        time.sleep(0.002)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in good().items() if name not in names}


ANSWERS: dict[str, Callable[[], Any]] = {
    "good": good,
    "infeasible": lambda: {"status": "infeasible", "message": "Nothing serves."},
    "without-spare": lambda: without("spare", "spare_pair"),
    "short-spare": lambda: good(spare_pair=[3.0]),
    "whole-as-real": lambda: good(real=2, gain=True, whole=np.uint8(7), short=np.int64(2**31 - 1)),
    "print": lambda: print,
    "none": lambda: None,
    "no-status": lambda: without("status"),
    "status-missing": lambda: good(status="missing"),
    "status-list": lambda: good(status=[]),
    "huge-whole": lambda: good(whole=2**64),
    "unsigned-whole": lambda: good(whole=np.uint64(2**63 + 5)),
    "wide-short": lambda: good(short=2**31),
    "fraction-in-whole": lambda: good(whole=2.7),
    "whole-beyond-real": lambda: good(real=2**53 + 1),
    "text-in-real": lambda: good(real="3.5"),
    "complex-in-real": lambda: good(real=1 + 1j),
    "masked": lambda: good(real=np.ma.masked),
    "masked-entry": lambda: good(pair=np.ma.array([1.0, 2.0], mask=[False, True])),
    "masked-in-list": lambda: good(pair=[1.0, np.ma.masked]),
    "none-in-real": lambda: good(real=None),
    "beyond-narrow": lambda: good(narrow=1e300),
    "date-in-whole": lambda: good(whole=np.datetime64("2026-01-01")),
    "real-in-text": lambda: good(note=3.5),
    "bytes-in-text": lambda: good(note=b"n"),
    "surrogate-in-text": lambda: good(note="\ud800"),
    "missing-real": lambda: without("real"),
    "short-pair": lambda: good(pair=[1.0]),
    "long-pair": lambda: good(pair=[1.0, 2.0, 3.0]),
    "ragged": lambda: good(path=[[1.0], [1.0, 2.0]]),
    "scalar-path": lambda: good(path=1.0),
    "unequal-steps": lambda: good(weight=np.ones(2)),
    "unreadable-value": lambda: good(real=Unreadable()),
    "unreadable-message": lambda: good(message=Unreadable()),
    "surrogate-message": lambda: good(message="half \udcff"),
    "raises": lambda: _raise(RuntimeError("no")),
    "raises-surrogate": lambda: _raise(RuntimeError("\ud800")),
    "raises-unspeakable": lambda: _raise(Unspeakable()),
    "raises-base": lambda: _raise(BaseException("base")),
    "raises-keyboard": lambda: _raise(KeyboardInterrupt()),
    "exits": lambda: sys.exit(3),
    "long-text": lambda: _raise(RuntimeError("x" * 1_000_000)),
    "ends-process": lambda: os._exit(5),
    "segfault": lambda: ctypes.string_at(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": _fill_memory,
    "waits": lambda: time.sleep(3.0) or good(),
}


@dataclass(frozen=True)
class Poison:
    name: str = "poison"
    scenario_model: type[BaseModel] = PoisonScenario
    options_model: type[BaseModel] = PoisonOptions
    line_axes: tuple[str, ...] = ("kind",)
    variables: tuple[ToyVariable, ...] = VARIABLES
    modules: tuple[str, ...] = ("poison",)

    def run(self, scenarios: Sequence[PoisonScenario], options: PoisonOptions) -> list[Mapping[str, Any]]:
        for scenario in scenarios:
            if scenario.marks:
                (Path(scenario.marks) / f"{scenario.kind}-{os.getpid()}-{time.monotonic_ns()}").touch()
        return [ANSWERS[scenario.kind]() for scenario in scenarios]


experiment = Poison()

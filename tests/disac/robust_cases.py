"""Reference cases of an independent implementation (tests/data/robust), and random problems like the studies'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from disac.designs.robust.of_drop import robust_problem
from disac.designs.robust.problem import Beams, RobustProblem
from disac.drops.coherent import CoherentDrop, coherent_drop
from disac.metrics.kld import EchoModel
from disac.scenarios.coherent import CoherentScenario

FOLDER = Path(__file__).parent.parent / "data" / "robust"
NAMES = sorted(p.stem for p in FOLDER.glob("case_*.json"))


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def array(part: dict[str, Any]) -> np.ndarray:
    return np.array(part["re"]) + 1j * np.array(part["im"])


def problem_of(case: dict[str, Any], **other: Any) -> RobustProblem:
    given = case["inputs"]
    h, gains = array(given["H"]), np.array(case["outputs"]["B"])
    nodes, users, _ = h.shape
    echoes = EchoModel(gains, np.ones((nodes, nodes, nodes)))
    radius = np.full((nodes, users), given["delta"])
    return RobustProblem(h, array(given["a_t"]), echoes, given["P"], given["sig2c"], radius, given["delta"], **other)


def beams_of(users: dict[str, Any], sensing: dict[str, Any]) -> Beams:
    return Beams(array(users), array(sensing))


def drop(**changes: Any) -> CoherentDrop:
    """A drop of a scenario given by dotted paths, with two underscores for a dot."""
    content: dict[str, Any] = {}
    for path, value in changes.items():
        part, name = path.split("__")
        content.setdefault(part, {})[name] = value
    return coherent_drop(CoherentScenario.model_validate(content))


def problem(**changes: Any) -> RobustProblem:
    return robust_problem(drop(**changes))

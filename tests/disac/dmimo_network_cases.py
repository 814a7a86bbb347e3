"""Scenario B0 and reference cases of an independent implementation (tests/data/dmimo)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from disac.scenarios.dmimo import DmimoScenario

FOLDER = Path(__file__).resolve().parents[1] / "data" / "dmimo"
FIRST_TARGET_M, SECOND_TARGET_M = (420.0, 610.0), (700.0, 300.0)


def case(name: str) -> dict[str, Any]:
    """A stored case; complex numbers stand as real and imaginary parts."""
    return dict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def complex_of(parts: dict[str, Any]) -> np.ndarray:
    return np.array(parts["re"]) + 1j * np.array(parts["im"])


def b0(*targets_m: tuple[float, float], **sections: dict[str, Any]) -> DmimoScenario:
    """Twelve access points, the first six of which transmit at 20 dBm in 64 slots each; sections add to it."""
    random = np.random.default_rng(1)
    points, orientations = random.uniform(0.0, 1000.0, (12, 2)), random.uniform(0.0, 2.0 * np.pi, 12)
    whole: dict[str, dict[str, Any]] = {
        "layout": {
            "access_points_m": points.tolist(), "boresights_rad": (orientations + np.pi).tolist(),
            "targets_m": targets_m or (FIRST_TARGET_M,), "target_count": len(targets_m) or 1,
        },
        "signal": {"slots_per_transmitter": 64.0}, "power": {"transmit_dbm": 20.0},
    }  # fmt: skip
    for name, section in sections.items():
        whole[name] = whole.get(name, {}) | section
    return DmimoScenario.model_validate(whole)

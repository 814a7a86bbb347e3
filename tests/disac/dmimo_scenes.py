"""Reference cases of an independent implementation (tests/data/dmimo) and the scene B0 on which numbers are quoted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from disac.estimators.dmimo.echoes import Complex, EchoModel, Float, echoes, isotropic_roots, radar_gains

FOLDER = Path(__file__).parent.parent / "data" / "dmimo"
WAVELENGTH_M = 299792458.0 / 3.5e9
NOISE_W = 4.0038821e-16
STRENGTH_M2 = float(np.sqrt(WAVELENGTH_M**2 / (4.0 * np.pi) ** 3))
"""Of the radar law for a cross-section of 1 m^2."""
B0_TARGETS_M = np.array([[420.0, 610.0], [700.0, 300.0]])


def case(name: str) -> dict[str, Any]:
    """A reference case as it stands in its file."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def complex_of(parts: dict[str, Any]) -> Complex:
    """Complex numbers that a file holds as two lists."""
    return np.array(parts["re"]) + 1j * np.array(parts["im"])


def model_of(inputs: dict[str, Any], wavelength_m: float, roots: Complex) -> EchoModel:
    """The network of a case; its angles point from target to node, ours from node to target."""
    sides = tuple(inputs["T"]), tuple(inputs["R"])
    return EchoModel(np.array(inputs["P"]), np.array(inputs["o"]) + np.pi, inputs["N"], wavelength_m, *sides, roots)


def b0(power_dbm: float, slots: int = 64, seed: int = 1) -> EchoModel:
    """The network B0 at a power: 12 access points in 1 km^2, 6 transmit, half of the power senses."""
    rng = np.random.default_rng(seed)
    nodes, boresight = rng.uniform(0.0, 1000.0, (12, 2)), rng.uniform(0.0, 2.0 * np.pi, 12)
    energy = slots * 0.5 * 10.0 ** (power_dbm / 10.0 - 3.0) / 8.0 / NOISE_W
    sides = tuple(range(6)), tuple(range(6, 12))
    return EchoModel(nodes, boresight + np.pi, 8, WAVELENGTH_M, *sides, isotropic_roots(6, 8, energy))


def noise(rng: np.random.Generator, *shape: int) -> Complex:
    """Unit complex noise."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2.0)


def trial(model: EchoModel, targets_m: Float, rng: np.random.Generator) -> tuple[Complex, Complex, Float]:
    """Noiseless statistics and noisy ones of targets of 1 m^2 with random reflection phases, and the phases."""
    phases = rng.uniform(0.0, 2.0 * np.pi, len(targets_m))
    clean = echoes(model, targets_m, radar_gains(model, targets_m, STRENGTH_M2 * np.exp(1j * phases)))
    return clean, clean + noise(rng, *model.shape), phases

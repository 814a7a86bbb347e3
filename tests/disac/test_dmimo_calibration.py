"""Node phases from a reflector at a known place."""

from __future__ import annotations

import numpy as np
from dmimo_scenes import B0_TARGETS_M, b0, trial

from disac.estimators.dmimo.calibration import NodePhases, node_phases, without_phases
from disac.estimators.dmimo.fit import fit

REFLECTOR_M = np.array([500.0, 450.0])


def turned(samples: np.ndarray, phases: NodePhases) -> np.ndarray:
    return without_phases(samples, NodePhases(-phases.transmit_rad, -phases.receive_rad))


def test_noiseless_phases_are_found_whatever_they_are() -> None:
    rng = np.random.default_rng(1)
    model = b0(30.0)
    clean, _, _ = trial(model, REFLECTOR_M[np.newaxis], rng)
    true = NodePhases(rng.uniform(-np.pi, np.pi, 6), rng.uniform(-np.pi, np.pi, 6))
    found = node_phases(model, turned(clean, true), REFLECTOR_M)
    for own, known in ((found.transmit_rad, true.transmit_rad), (found.receive_rad, true.receive_rad)):
        difference = np.exp(1j * (own - known))
        np.testing.assert_allclose(difference, difference[0], atol=1e-5)


def test_targets_are_where_they_are_after_calibration() -> None:
    rng = np.random.default_rng(2)
    model = b0(30.0)
    _, seen, _ = trial(model, REFLECTOR_M[np.newaxis], rng)
    clean, samples, _ = trial(model, B0_TARGETS_M, rng)
    true = NodePhases(rng.normal(0.0, 1.0, 6), rng.normal(0.0, 1.0, 6))
    phases = node_phases(model, turned(seen, true), REFLECTOR_M)
    start = B0_TARGETS_M[np.newaxis]
    bound = np.sqrt(
        np.diag(np.linalg.inv(fit(model, clean, start, "structured", most_steps=0).information[0])).reshape(2, 2).sum(1)
    )
    spoilt = fit(model, turned(samples, true), start, "structured")
    restored = fit(model, without_phases(turned(samples, true), phases), start, "structured")
    assert np.all(np.linalg.norm(spoilt.positions_m[0] - B0_TARGETS_M, axis=1) > 5.0 * bound)
    # The reflector is as strong as the targets, so that its own errors count beside theirs.
    assert np.all(np.linalg.norm(restored.positions_m[0] - B0_TARGETS_M, axis=1) < 15.0 * bound)
    assert restored.cost[0] < 1.2 * clean.size < spoilt.cost[0]

"""Stored designs and proofs judged again: sound ones pass, and each kind of spoiling is noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from disac.experiments.ofdm_tradeoff import Options, experiment
from disac.scenario import Scenario

OPTIONS = Options(design="orthogonal")


def stored(sinr_db: float) -> tuple[Scenario, dict[str, Any]]:
    """A cell's result as the ledger holds it: what the experiment left out is missing."""
    scenario = Scenario.model_validate({"service": {"sinr_db": sinr_db}})
    (result,) = experiment.run([scenario], OPTIONS)
    blank = {v.name: np.float64(np.nan) for v in experiment.variables if not v.dims}
    return scenario, blank | result


@pytest.fixture(scope="module")
def design() -> tuple[Scenario, dict[str, Any]]:
    return stored(20.0)


@pytest.fixture(scope="module")
def proof() -> tuple[Scenario, dict[str, Any]]:
    return stored(60.0)


def test_a_sound_design_and_a_sound_proof_pass(
    design: tuple[Scenario, dict[str, Any]], proof: tuple[Scenario, dict[str, Any]]
) -> None:
    assert (design[1]["status"], proof[1]["status"]) == ("ok", "infeasible")
    assert experiment.recheck(design[0], OPTIONS, design[1]) == []
    assert experiment.recheck(proof[0], OPTIONS, proof[1]) == []


@pytest.mark.parametrize(
    ("name", "factor", "sentence"),
    [
        ("objective", 1.0 - 1e-6, "objective is stored as"),
        ("dual_bound", 1.0 + 1e-6, "dual_bound is stored as"),
        ("min_sinr_db", 1.0 + 1e-6, "min_sinr_db is stored as"),
        ("power_dual", 1.1, "dual_bound is stored as"),
        ("sinr_dual", 0.5, "dual_bound is stored as"),
        ("stream_covariance", 1.01, "violates a constraint by"),
        ("stream_covariance", 0.9, "violates a constraint by"),
    ],
)
def test_a_spoiled_design_is_noticed(design: tuple[Scenario, dict[str, Any]], name: str, factor: float, sentence: str) -> None:
    scenario, result = design
    said = experiment.recheck(scenario, OPTIONS, result | {name: result[name] * factor})
    assert any(sentence in one for one in said), said


def test_a_spoiled_proof_is_noticed(proof: tuple[Scenario, dict[str, Any]]) -> None:
    scenario, result = proof
    said = experiment.recheck(scenario, OPTIONS, result | {"sinr_dual": result["sinr_dual"] * 1e-6})
    assert any("proves a need of" in one for one in said), said

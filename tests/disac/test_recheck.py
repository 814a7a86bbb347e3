"""Stored designs and proofs judged again: sound ones pass, and each kind of spoiling is noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from disac.experiments.ofdm_tradeoff import Options, experiment
from disac.scenarios.noncoherent import Scenario

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
    assert any("proves only a need of" in one for one in said), said


EVERY = [
    *(Options(design=design) for design in ("synchronised", "coherent", "unconstrained", "communication-only", "isotropic")),
    *(Options(design=design, sinr_type="cbf") for design in ("phase-agnostic", "unconstrained-tight", "synchronised")),
    Options(design="synchronised", sinr_type="coherent"),
]


@pytest.mark.parametrize("options", EVERY, ids=lambda o: f"{o.design}-{o.sinr_type}")
def test_every_design_can_be_judged_again_and_its_arrays_agree_on_their_lengths(options: Options) -> None:
    scenario = Scenario.model_validate(
        {"service": {"sinr_db": 10.0}, "layout": {"user_count": 2}, "waveform": {"subcarriers": 4},
         "synchronisation": {"phase_std_rad": 0.1, "link_phase_std_rad": 0.1, "clock_std_s": 1e-9}}
    )  # fmt: skip
    (result,) = experiment.run([scenario], options)
    assert result["status"] == "ok", result["message"]
    blank = {v.name: np.float64(np.nan) for v in experiment.variables if not v.dims}
    assert experiment.recheck(scenario, options, blank | result) == []
    # Where lengths differ the shorter array would be stored with blanks.
    lengths: dict[str, set[int]] = {}
    for variable in experiment.variables:
        shape = np.shape(result[variable.name]) if variable.name in result else ()
        for dim, length in zip(variable.dims, shape, strict=variable.name in result):
            lengths.setdefault(dim, set()).add(length)
    assert all(len(found) == 1 for found in lengths.values()), lengths
    if options.design in ("communication-only", "isotropic"):
        said = experiment.recheck(scenario, options, blank | result | {"rcrb_m": 1.01 * result["rcrb_m"]})
        assert "rcrb_m is stored as" in said[0]

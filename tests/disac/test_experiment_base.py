"""What all experiments share: breakdowns are results, errors of the program are not; numbers compared with what is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from disac.experiments import cross_table, ofdm_tradeoff, robust_tradeoff
from disac.experiments.base import cell_by_cell, differences
from disac.scenarios.coherent import CoherentScenario
from disac.scenarios.common import CommonScenario
from disac.scenarios.noncoherent import Scenario
from pipeline.experiment import rough_seconds


def test_a_breakdown_is_its_own_cells_result() -> None:
    def compute(number: int) -> dict[str, Any]:
        if number == 1:
            raise np.linalg.LinAlgError("singular")
        return {"status": "ok", "message": "", "value": 1.0 / number}

    assert [cell["status"] for cell in cell_by_cell(compute, [2, 1, 0, 4])] == ["ok", "failed", "failed", "ok"]
    assert cell_by_cell(compute, [1])[0]["message"] == "The design broke down numerically (LinAlgError: singular)."


@pytest.mark.parametrize("error", [ValueError("operands could not be broadcast"), RuntimeError("no"), KeyError("x")])
@pytest.mark.parametrize("name", ["robust", "cross", "ofdm"])
def test_an_error_of_the_program_is_no_result(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    module, experiment, scenario = {
        "robust": (robust_tradeoff, robust_tradeoff.experiment, CoherentScenario()),
        "cross": (cross_table, cross_table.experiment, CommonScenario()),
        "ofdm": (ofdm_tradeoff, ofdm_tradeoff.experiment, Scenario()),
    }[name]
    within = {"robust": "coherent_drop", "cross": "common_network", "ofdm": "designer_of"}[name]
    monkeypatch.setattr(module, within, broken)
    with pytest.raises(type(error)):
        experiment.run([scenario], experiment.options_model())


def test_differences_name_number_and_evidence() -> None:
    stored = {"a": 1.0, "b": 2.0, "c": float("nan")}
    assert differences(stored, {"a": 1.0 + 1e-12, "c": float("nan")}, "the design", relative=1e-9) == []
    assert differences(stored, {"b": 2.1}, "the design", relative=1e-9) == ["b is stored as 2, the design gives 2.1"]
    assert differences(stored, {"b": 2.1}, "the design", relative=0.0, absolute=0.2) == []


def test_costs_are_those_of_the_first_options_that_fit() -> None:
    tradeoff, robust = ofdm_tradeoff.experiment, robust_tradeoff.experiment
    assert rough_seconds(tradeoff, {"solver": "fast", "design": "orthogonal"}) == 0.2
    assert rough_seconds(tradeoff, {"solver": "reference", "design": "orthogonal"}) == 0.7
    assert rough_seconds(tradeoff, {"solver": "reference", "design": "coherent"}) == 12.0
    assert rough_seconds(robust, {"solver": "cones", "robustness": "lemma1", "search": True}) == 0.5
    assert rough_seconds(robust, {"solver": "reference", "robustness": "s-procedure", "search": False}) == 30.0
    assert rough_seconds(robust, {"solver": "cones", "robustness": "s-procedure", "search": True}) == 2.0


@pytest.mark.parametrize("experiment", [ofdm_tradeoff.experiment, robust_tradeoff.experiment, cross_table.experiment])
def test_the_main_metric_is_a_variable(experiment: Any) -> None:
    metric = {variable.name: variable for variable in experiment.variables}[experiment.main_metric]
    assert not metric.dims
    assert not metric.volatile

"""Power limits: which antennas share a budget, and how much of it is spent."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest

from disac.designs.robust.choices import CHOICES, RobustnessName, robustness
from disac.power_limits import PER_ANTENNA, PER_NODE, POWER_LIMITS, TOTAL, PowerLimit, PowerLimitName, power_limit


def test_every_name_has_one_object_that_cannot_change() -> None:
    for names, known, by_name in (
        (get_args(PowerLimitName), POWER_LIMITS, power_limit), (get_args(RobustnessName), CHOICES, robustness),
    ):  # fmt: skip
        assert sorted(names) == sorted(known)
        for name in names:
            assert by_name(name).name == name
            with pytest.raises(dataclasses.FrozenInstanceError):
                by_name(name).name = "other"  # type: ignore[misc]


def test_a_misspelt_name_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"power limit 'per-nod' \(did you mean 'per-node'\?\): expected one of per-antenna"):
        power_limit("per-nod")
    with pytest.raises(ValueError, match=r"robustness 'norm-bal' \(did you mean 'norm-ball'\?\): expected one of none"):
        robustness("norm-bal")


def test_antennas_share_budgets_as_the_limit_says() -> None:
    assert TOTAL.budget_of(2, 3).tolist() == [0] * 6
    assert PER_NODE.budget_of(2, 3).tolist() == [0, 0, 0, 1, 1, 1]
    assert PER_ANTENNA.budget_of(2, 3).tolist() == list(range(6))


@pytest.mark.parametrize("limit", POWER_LIMITS.values(), ids=list(POWER_LIMITS))
def test_the_busiest_budget_is_that_of_the_sums_over_budgets(limit: PowerLimit) -> None:
    spent = np.random.default_rng(0).uniform(size=(4, 3, 5))
    number, count = limit.budget_of(3, 5), limit.budgets(3, 5)
    sums = np.array([np.bincount(number, weights=each.ravel(), minlength=count) for each in spent])
    np.testing.assert_allclose(limit.busiest(spent), count * sums.max(axis=1), rtol=1e-14)
    assert set(np.bincount(number)) == {limit.antennas_per_budget(3, 5)}


def test_what_differs_is_declared_by_the_choice() -> None:
    exact = [name for name, choice in CHOICES.items() if choice.margins is None]
    assert exact == ["phase-exact", "s-procedure", "s-procedure-stacked"]
    without_solver = [name for name, choice in CHOICES.items() if "policy-iteration" in choice.methods]
    assert without_solver == ["none", "lemma1", "norm-ball", "stacked-ball"]
    declared = {name: choice.declared.name for name, choice in CHOICES.items()}
    assert declared == {
        "none": "min", "lemma1": "ball", "norm-ball": "ball", "stacked-ball": "stacked", "phase": "phase",
        "phase-exact": "phase",
        "s-procedure": "ball", "s-procedure-stacked": "stacked",
    }  # fmt: skip
    with pytest.raises(ValueError, match="'s-procedure' has no margins on amplitudes"):
        robustness("s-procedure").guarding()

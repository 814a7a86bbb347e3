"""What a robust problem refuses at once, and users whom no beam reaches: infeasible, with the user named and a proof."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from disac.designs.robust.choices import CHOICES, robustness
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.zero_forcing import zero_forcing
from disac.metrics.kld import EchoModel
from disac.power_limits import POWER_LIMITS, TOTAL, power_limit
from tests.disac.robust_cases import problem

MINE = problem(layout__node_count=2, arrays__antennas=4, layout__user_count=2, uncertainty__delta_rad=0.05)


def _spoiled(name: str, where: Any, value: complex) -> np.ndarray:
    numbers = np.array(getattr(MINE, name))
    numbers[where] = value
    return numbers


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": MINE.channels[0]}, "channels: the shape is (2, 4); expected [nodes, users, antennas]"),
        ({"channels": MINE.channels[:, :0]}, "channels: the shape is (2, 0, 4); expected"),
        ({"channels": _spoiled("channels", (1, 0, 2), np.nan)}, "channels: the entry (1, 0, 2) is (nan+0j)"),
        ({"steering": MINE.steering[:, :3]}, "steering: the shape is (2, 3); the channels (2, 2, 4) ask for (2, 4)"),
        ({"steering": _spoiled("steering", (0, 1), np.inf)}, "steering: the entry (0, 1) is (inf+0j)"),
        ({"steering": _spoiled("steering", 1, 0.0)}, "steering: that of node 1 is zero"),
        ({"ball_radius": MINE.ball_radius[0]}, "ball_radius: the shape is (2,)"),
        ({"ball_radius": -MINE.ball_radius}, "ball_radius: an entry is -0.05; expected none below zero"),
        ({"ball_radius": _spoiled("ball_radius", (0, 0), np.nan)}, "ball_radius: the entry (0, 0) is nan"),
        ({"echoes": EchoModel(MINE.echoes.gains[:1], MINE.echoes.correlation)}, "echoes.gains: the shape is (1, 2)"),
        ({"echoes": EchoModel(-MINE.echoes.gains, MINE.echoes.correlation)}, "echoes.gains: an entry is -"),
        ({"power": -1.0}, "power is -1.0; expected a finite number that is not negative"),
        ({"power": np.nan}, "power is nan"),
        ({"noise_power": 0.0}, "noise_power is zero; expected a positive number"),
        ({"noise_power": np.inf}, "noise_power is inf"),
        ({"phase_error_rad": -0.1}, "phase_error_rad is -0.1"),
        ({"limit": "per-node"}, "limit is 'per-node'; expected an object of disac.power_limits"),
    ],
)
def test_a_field_that_cannot_be_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        dataclasses.replace(MINE, **changes)


def _blocked(users: list[int]) -> RobustProblem:
    return dataclasses.replace(MINE, channels=_spoiled("channels", (slice(None), users), 0.0))


CASES = [(name, limit, method) for name, choice in CHOICES.items() for limit in POWER_LIMITS for method in choice.methods
         if limit == "total" or (method == "cones" and choice.margins is not None)]  # fmt: skip


@pytest.mark.parametrize(("name", "limit", "method"), CASES)
@pytest.mark.parametrize("blocked", [[1], [0, 1], []], ids=["one user", "all users", "no power"])
def test_who_is_not_heard_is_not_served_and_that_is_proven(name: str, limit: str, method: Any, blocked: list[int]) -> None:
    choice = robustness(name)
    mine = dataclasses.replace(_blocked(blocked), limit=power_limit(limit), power=MINE.power if blocked else 0.0)
    found = choice.design(mine, 10.0, method).design
    reason = f"the channels of user {blocked[0]} are zero at all nodes" if blocked else "the power is zero"
    assert found.certificate.status == "infeasible"
    assert found.certificate.message == f"No beams give every user the SINR: {reason} (checked)."
    assert found.proof is not None
    dual = np.zeros(0) if found.user_dual is None else found.user_dual
    need, bound = choice.prove(mine, 10.0, method, dual, found.proof)
    assert need == pytest.approx(found.least_power, rel=1e-9)
    assert need > 1.0
    assert bound == 0.0


@pytest.mark.parametrize("name", list(CHOICES))
def test_the_same_proof_proves_nothing_once_the_user_is_heard(name: str) -> None:
    """Positive control: the proof rests on the channels, not on the stored numbers."""
    choice = robustness(name)
    found = choice.design(_blocked([1]), 10.0).design
    assert found.proof is not None
    dual = np.zeros(0) if found.user_dual is None else found.user_dual
    assert choice.prove(MINE, 10.0, "cones", dual, found.proof)[0] < 1.0


@pytest.mark.parametrize("name", [name for name, choice in CHOICES.items() if choice.margins is not None])
def test_a_user_who_hears_one_node_only_is_served(name: str) -> None:
    channels = _spoiled("channels", (0, 1), 0.0)
    mine = dataclasses.replace(MINE, channels=channels, ball_radius=0.1 * MINE.ball_radius)
    for limit in POWER_LIMITS.values():
        found = robustness(name).design(dataclasses.replace(mine, limit=limit), 10.0).design
        assert found.certificate.status == "ok", found.certificate.message


def test_zero_forcing_names_the_user_too() -> None:
    for choice in CHOICES.values():
        if choice.margins is not None:
            found = zero_forcing(_blocked([0]), choice.margins, 10.0)
            assert found.certificate.status == "infeasible"
            assert "the channels of user 0 are zero" in found.certificate.message
    assert MINE.limit == TOTAL

"""Scenarios, random streams (rule R1) and the experiment's own promises."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from disac.designs.location.delivery import Design
from disac.designs.location.design import METHODS, Designer
from disac.drops.noncoherent import node_phases_rad, target_amplitudes, user_channels
from disac.experiments.ofdm_tradeoff import Options, experiment
from disac.scenarios.noncoherent import Scenario
from disac.streams import stream
from disac.units import db_to_linear


def scenario(**sections: dict) -> Scenario:
    return Scenario.model_validate(sections)


def test_r1_three_users_contain_two_users_bit_for_bit() -> None:
    two, three = (user_channels(scenario(layout={"user_count": n})) for n in (2, 3))
    np.testing.assert_array_equal(three[:, :2], two)


def test_r1_another_node_target_or_subcarrier_shifts_nothing() -> None:
    small = scenario(layout={"target_count": 1})
    large = scenario(
        layout={"nodes_m": [(-46.19, -19.13), (46.19, -19.13), (0.0, 50.0)], "target_count": 2},
        waveform={"subcarriers": 20},
    )
    np.testing.assert_array_equal(user_channels(large)[:2, :, :16], user_channels(small))
    np.testing.assert_array_equal(target_amplitudes(large)[:2, :2, :1], target_amplitudes(small))


def test_r1_realisations_and_seeds_differ() -> None:
    draws = [user_channels(scenario(channel=c)) for c in ({}, {"realisation": 1}, {"seed": 2})]
    assert not np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_r1_streams_keep_their_bits() -> None:
    assert stream(1, "user-channel", node=0, user=0).integers(2**32, size=2).tolist() == [2005745747, 2650014103]


def test_channels_have_unit_variance_and_amplitudes_their_power() -> None:
    many = [user_channels(scenario(channel={"realisation": r})) for r in range(40)]
    power = np.abs(np.array(many)) ** 2
    # 7680 independent exponential samples: the mean is within five standard errors of 1.
    assert abs(power.mean() - 1) < 5 / np.sqrt(power.size)
    np.testing.assert_allclose(np.abs(target_amplitudes(scenario())) ** 2, 10.0)
    unit = user_channels(scenario(channel={"gain": "unit-norm"}))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=-1), 1.0)


def test_unknown_and_impossible_values_are_refused() -> None:
    for bad in (
        {"layout": {"user_cuont": 2}}, {"waveform": {"bandwidth_hz": -1.0}}, {"waveform": {"subcarriers": 0}},
        {"layout": {"user_count": "2"}}, {"layout": {"user_count": True}}, {"layout": {"user_count": 2.0}},
        {"layout": {"nodes_m": [[float("nan"), 1.0]]}}, {"power": {"power_to_noise_db": float("inf")}},
        {"layout": {"nodes_m": [[0.0, 0.0]]}},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            scenario(**bad)


def test_positions_may_be_lists_and_a_node_on_a_target_is_named() -> None:
    assert scenario(layout={"nodes_m": [[1, 2.5]]}).layout.nodes_m == ((1.0, 2.5),)
    with pytest.raises(ValidationError, match=r"nodes_m\[1\] \(30\.0, 0\.0\) stands on a target"):
        scenario(layout={"nodes_m": [[1.0, 2.0], [30.0, 0.0]], "target_count": 2})


SMALL = {"arrays": {"transmit_antennas": 3, "receive_antennas": 3}, "waveform": {"subcarriers": 4}}


def line(*sinrs_db: float) -> list[Scenario]:
    return [scenario(**SMALL, service={"sinr_db": s}) for s in sinrs_db]


@pytest.mark.parametrize("mode", ["tof", "aoa"])
def test_targets_that_one_node_cannot_locate_fail_with_a_sentence(mode: str) -> None:
    """One range, or one bearing, is a curve and not a point; every cell of the line says so."""
    one = [s.model_copy(update={"layout": scenario(layout={"nodes_m": [[-46.19, -19.13]]}).layout}) for s in line(0.0, 10.0)]
    cells = [s.model_copy(update={"sensing": scenario(sensing={"localization": mode}).sensing}) for s in one]
    for result in experiment.run(cells, Options()):
        assert result["status"] == "failed"
        assert f"'{mode}' and 1 node " in result["message"]
        assert "No echo shows target 0 moving along" in result["message"]
        assert np.linalg.norm(result["null_vector"][:2]) == pytest.approx(1.0)


def test_a_cell_that_breaks_down_leaves_its_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    design = Designer.design

    def breaking(self: Designer, sinr: float) -> Design:
        if sinr == db_to_linear(10.0):
            raise np.linalg.LinAlgError("Singular matrix")
        return design(self, sinr)

    monkeypatch.setattr(Designer, "design", breaking)
    first, second, third = experiment.run(line(0.0, 10.0, 20.0), Options())
    assert (first["status"], second["status"], third["status"]) == ("ok", "failed", "ok")
    assert "Singular matrix" in second["message"]


def test_every_design_gives_every_variable() -> None:
    for design, solver in itertools.product(METHODS, ("fast", "reference")):
        cells = line(10.0)
        if design == "unconstrained":
            # For one user it is the tight one, which has no prices of the nodes.
            cells = [cells[0].model_copy(update={"layout": cells[0].layout.model_copy(update={"user_count": 2})})]
        (result,) = experiment.run(cells, Options(design=design, solver=solver))
        assert result["status"] == "ok"
        mine = {v.name for v in experiment.variables if design.startswith("unconstrained") or not v.name.startswith("printed_")}
        mine -= {"sinr_bound_db", "null_vector"} | ({"node_dual"} if design != "unconstrained" else set())
        assert mine <= set(result)
        assert result["rcrb_m"] <= result["delivered_rcrb_m"] * (1 + 1e-9)
        assert result["min_sinr_db"] >= 10.0 - 1e-4
        assert result["dual_bound"] <= result["objective"]


def test_clusters_that_cannot_be_are_told() -> None:
    with pytest.raises(ValidationError, match="belong to different nodes"):
        Options(design="orthogonal", clusters=2)
    (result,) = experiment.run(line(10.0), Options(clusters=99))
    assert result["status"] == "failed"
    assert "more than waveform.subcarriers" in result["message"]


def test_targets_may_stand_anywhere_and_are_counted() -> None:
    two = scenario(layout={"target_count": 2, "targets_m": [[0.0, 0.0], [0.0, 10.0]]})
    assert two.layout.targets.tolist() == [[0.0, 0.0], [0.0, 10.0]]
    with pytest.raises(ValidationError, match="has 2 positions but target_count is 1"):
        scenario(layout={"targets_m": [[0.0, 0.0], [0.0, 10.0]]})
    with pytest.raises(ValidationError, match="stands on a target"):
        scenario(layout={"targets_m": [[46.19, -19.13]]})


def test_the_cyclic_prefix_is_a_quarter_of_the_symbol_unless_given() -> None:
    assert scenario().waveform.prefix_s == 16 / (4 * 20e6)
    assert scenario(waveform={"cyclic_prefix_s": 0.0}).waveform.prefix_s == 0.0


def test_node_phases_are_common_to_designs_and_shift_for_no_other_node() -> None:
    two = node_phases_rad(scenario(), 5)
    three = node_phases_rad(scenario(layout={"nodes_m": [(-46.19, -19.13), (46.19, -19.13), (0.0, 50.0)]}), 5)
    np.testing.assert_array_equal(three[:, :2], two)
    assert node_phases_rad(scenario(channel={"realisation": 1}), 5)[0, 0] != two[0, 0]


def test_amplitudes_fall_with_both_distances_of_a_link_and_keep_their_phases() -> None:
    """Nodes at 30 and 120 m of the target, amplitudes as given at 60 m: 4 times, as given, and a quarter; the same by roles."""
    layout = {"nodes_m": [(30.0, 0.0), (0.0, 120.0)]}
    even = target_amplitudes(scenario(layout=layout))
    sensing = {"reference_distance_m": 60.0}
    falling = target_amplitudes(scenario(layout=layout, sensing=sensing))
    np.testing.assert_allclose(falling[..., 0] / even[..., 0], [[4.0, 1.0], [1.0, 0.25]])
    apart = target_amplitudes(scenario(layout=layout | {"transmitters": [1], "receivers": [0]}, sensing=sensing))
    np.testing.assert_allclose(apart, falling[:1, 1:])


@pytest.mark.parametrize("design", ["phase-agnostic", "unconstrained-tight", "communication-only", "orthogonal"])
def test_one_subcarrier_is_a_case_of_all_designs_but_the_interleaved(design: Any) -> None:
    cell = experiment.run([scenario(waveform={"subcarriers": 1}, service={"sinr_db": 5.0})], Options(design=design))[0]
    if design == "orthogonal":
        assert (cell["status"], cell["message"]) == (
            "failed", "The design 'orthogonal' gives each node subcarriers of its own: 1 are too few for 2 nodes.",
        )  # fmt: skip
    else:
        assert cell["status"] == "ok", cell["message"]
        assert np.isfinite(cell["delivered_rcrb_m"])

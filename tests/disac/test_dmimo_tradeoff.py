"""The experiment of D-MIMO rates and bounds: anchors, readings of what is sent, and cells that fail with a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dmimo_network_cases import FIRST_TARGET_M, SECOND_TARGET_M, b0

from disac.arrays import steering_vector
from disac.drops.dmimo import dmimo_drop, user_channels
from disac.experiments.dmimo_tradeoff import Options, experiment, sensing_echoes
from disac.geometry import angles_rad
from disac.metrics.beam_pattern import array_gain
from disac.scenarios.dmimo import DmimoScenario
from disac.scenes.base import node_blocks
from disac.scenes.dmimo import scenes

NONCOHERENT = {"link_phase_std_rad": None}


def cell(scenario: DmimoScenario, **options: Any) -> dict[str, Any]:
    (found,) = experiment.run([scenario], Options(**({"channel_draws": 2} | options)))
    return dict(found)


def test_anchors_of_scenario_b0() -> None:
    coherent, noncoherent = (cell(b0(synchronisation=known)) for known in ({}, NONCOHERENT))
    assert coherent["peb_m"] == pytest.approx(0.53217e-3, rel=1e-5)
    assert noncoherent["peb_m"] == pytest.approx(2.16952, rel=1e-5)
    assert coherent["receivers"].tolist() == [6, 7, 8, 9, 10, 11]
    # Every access point serves with rho P; the one whose turn it is senses with the rest.
    assert coherent["radiated_w"] == pytest.approx(0.1 * (0.5 * 6 + 0.5))
    assert coherent["busiest_ap_w"] == pytest.approx(0.1)
    both = cell(b0(FIRST_TARGET_M, SECOND_TARGET_M))
    assert both["peb_m"] == pytest.approx(np.sqrt(np.mean(both["target_peb_m"] ** 2)))
    assert both["sum_se_bps_hz"] == pytest.approx(both["user_se_bps_hz"].sum())
    assert both["least_se_bps_hz"] == both["user_se_bps_hz"].min()


def test_given_receivers_and_the_rule_agree() -> None:
    chosen = {"receivers": [11, 10, 9, 8, 7, 6]}
    given, in_order = cell(b0(layout=chosen), rule="given"), cell(b0())
    for name in ("peb_m", "sum_se_bps_hz", "receivers"):
        np.testing.assert_array_equal(given[name], in_order[name])
    for scenario, rule in ((b0(layout=chosen), "in-order"), (b0(), "given")):
        refused = cell(scenario, rule=rule)
        assert refused["status"] == "failed"
        assert "receivers are given where the rule is 'given'" in refused["message"]


def test_the_farthest_points_receive() -> None:
    """(21) written out: the first is farthest from the centre of all, each next one farthest from those before."""
    points = dmimo_drop(b0()).access_points_m
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    while len(chosen) < 4:
        apart = [min(np.linalg.norm(point - points[other]) for other in chosen) for point in points]
        chosen.append(int(np.argmax(apart)))
    found = cell(b0(layout={"receiver_count": 4}), rule="farthest-point")
    assert found["receivers"].tolist() == sorted(chosen)


@pytest.mark.parametrize("known", [{}, NONCOHERENT], ids=["coherent", "noncoherent"])
def test_all_signals_sense_at_least_as_well_as_one_of_them(known: dict[str, Any]) -> None:
    """Without sensing power nothing but data is left; without users' power both readings are the same."""
    for share in (0.0, 0.3, 0.9):
        scenario = b0(synchronisation=known, signal={"communication_share": share})
        sensing, everything = (cell(scenario, echoes_of=kind)["peb_m"] for kind in ("sensing", "all"))
        assert everything <= sensing * (1.0 + 1e-9)
        assert (share > 0) == (everything < 0.99 * sensing)
    scenario = b0(synchronisation=known, signal={"communication_share": 1.0})
    assert np.isinf(cell(scenario)["peb_m"])
    assert np.isfinite(cell(scenario, echoes_of="all")["peb_m"])


def test_mean_symbols_stand_for_many_drawn_ones() -> None:
    """In 6 times 64 slots the two bounds agree within 1 %, in 6 slots they do not; drawn slots are whole."""
    for slots, close in ((64.0, True), (1.0, False)):
        scenario = b0(signal={"slots_per_transmitter": slots})
        mean, drawn = (cell(scenario, echoes_of="all", symbols=symbols)["peb_m"] for symbols in ("mean", "drawn"))
        assert (abs(drawn / mean - 1.0) < 0.01) == close
    # With eight antennas and a multiple of eight slots the drawn sensing signal is isotropic: sensing alone is unchanged.
    usual, drawn = (cell(b0(), symbols=symbols)["peb_m"] for symbols in ("mean", "drawn"))
    assert drawn == usual
    assert cell(b0(signal={"slots_per_transmitter": 0.25}), symbols="drawn")["status"] == "ok"
    refused = cell(b0(signal={"slots_per_transmitter": 0.25}), symbols="drawn", echoes_of="all")
    assert refused["status"] == "failed"
    assert "each transmitter has 0.25 of them" in refused["message"]


def test_named_readings_of_the_power() -> None:
    usual = cell(b0())
    loud = cell(b0(signal={"sensing_power": "each-antenna"}))
    assert loud["peb_m"] == pytest.approx(usual["peb_m"] / np.sqrt(8.0), rel=1e-9)
    assert loud["busiest_ap_w"] == pytest.approx(0.1 * (0.5 + 0.5 * 8))
    printed = cell(b0(signal={"power_split": "printed"}))
    assert printed["busiest_ap_w"] == pytest.approx(0.1 * (0.25 + 0.5))
    assert printed["sum_se_bps_hz"] < usual["sum_se_bps_hz"]
    # The same slots in all, or for each of six transmitters.
    shared = cell(b0(signal={"slots": 384.0}))
    assert shared["peb_m"] == pytest.approx(usual["peb_m"], rel=1e-12)


def test_conjugate_responses_change_no_rate() -> None:
    readings = [cell(b0(channel={"user_response": response})) for response in ("same-array", "printed")]
    np.testing.assert_allclose(readings[0]["user_se_bps_hz"], readings[1]["user_se_bps_hz"], rtol=1e-9)
    assert readings[0]["peb_m"] == readings[1]["peb_m"]


def test_rates_are_means_over_draws_and_subcarriers() -> None:
    """A band of 64 subcarriers far narrower than any path difference has the rates of one of them."""
    narrow, wide = (cell(b0(signal={"subcarriers": count, "bandwidth_hz": 100.0})) for count in (1, 64))
    np.testing.assert_allclose(wide["user_se_bps_hz"], narrow["user_se_bps_hz"], rtol=1e-4)
    draws = user_channels(dmimo_drop(b0()), 3)
    assert draws.shape == (3, 12, 10, 1, 8)
    one, three = (cell(b0(), channel_draws=count)["sum_se_bps_hz"] for count in (1, 3))
    assert one != three


def test_residual_phases_lie_between_known_and_unknown_ones() -> None:
    found = [
        cell(b0(synchronisation={"link_phase_std_rad": std}), echoes_of=kind)["peb_m"]
        for kind in ("sensing", "all")
        for std in (0.0, 0.01, 0.3, None)
    ]
    assert (np.diff(found[:4]) > 0).all()
    assert (np.diff(found[4:]) > 0).all()


@pytest.mark.parametrize("echoes_of", ["sensing", "all"])
def test_the_ellipses_of_a_scene_have_the_stored_bounds(echoes_of: str) -> None:
    scenario = b0(FIRST_TARGET_M, SECOND_TARGET_M, synchronisation={"link_phase_std_rad": 0.1})
    stored, options = cell(scenario, echoes_of=echoes_of), Options(echoes_of=echoes_of, channel_draws=2)
    scene = scenes.scene(scenario, options, {"receivers": stored["receivers"]})
    squares = [a**2 + b**2 for ellipse in scene.ellipses for a, b in [ellipse.semi_axes_m]]
    np.testing.assert_allclose(np.sqrt(squares), stored["target_peb_m"], rtol=1e-9)
    assert [(node.transmits, node.receives) for node in scene.nodes] == [(n < 6, n >= 6) for n in range(12)]
    assert [beam.node for beam in scene.beams] == list(range(6))
    bare = scenes.scene(scenario, options, None)
    assert not bare.ellipses
    assert all(node.transmits and node.receives for node in bare.nodes)


@pytest.mark.parametrize("response", ["same-array", "printed"])
def test_marks_of_users_stand_where_the_pattern_shows_what_they_hear(response: str) -> None:
    scenario = b0(channel={"user_response": response})
    options = Options(echoes_of="all", channel_draws=1)
    drop, scene = dmimo_drop(scenario), scenes.scene(scenario, options, {"receivers": list(range(6, 12))})
    block = node_blocks(sensing_echoes(scenario, options)[1], 6)[2]
    for user in range(3):
        angle = angles_rad(drop.access_points_m, drop.users_m, drop.orientation)[2, user]
        direct = steering_vector(angle, 8) if response == "printed" else steering_vector(angle, 8).conj()
        heard = np.real(direct.conj() @ block @ direct) / np.real(np.trace(block))
        (mark,) = (mark for mark in scene.marks[2] if (mark.kind, mark.number) == ("user", user))
        assert array_gain(block, np.array([mark.angle_rad]))[0] == pytest.approx(heard)

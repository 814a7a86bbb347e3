"""Drops of D-MIMO networks: draws that belong to their entity (rule R1), path losses, correlation, and one array for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dmimo_network_cases import b0
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from disac.arrays import steering_vector
from disac.drops.dmimo import dmimo_drop, echo_amplitudes, target_path_gains, user_channels
from disac.drops.fading import urban_micro_gain
from disac.drops.urban_micro import (
    correlated,
    distance_rician_factor,
    local_scattering,
    no_sight_gain,
    sight_probability,
)
from disac.geometry import angles_rad
from disac.scenarios.dmimo import DmimoScenario
from disac.units import SPEED_OF_LIGHT_M_S


def scenario(**sections: dict[str, Any]) -> DmimoScenario:
    return DmimoScenario.model_validate(sections)


SMALL = {"access_point_count": 3, "receiver_count": 1, "user_count": 2, "target_count": 1}


@pytest.mark.parametrize("path_loss", ["line-of-sight", "random-sight", "no-line-of-sight"])
@pytest.mark.parametrize(
    "more",
    [{"access_point_count": 5}, {"user_count": 4}, {"target_count": 3}, {"receiver_count": 2}],
    ids=lambda more: next(iter(more)),
)
def test_r1_more_entities_change_no_draw_of_fewer(path_loss: str, more: dict[str, int]) -> None:
    channel = {"path_loss": path_loss, "realisation": 3}
    few, many = (dmimo_drop(scenario(layout=SMALL | added, channel=channel)) for added in ({}, more))
    np.testing.assert_array_equal(many.access_points_m[:3], few.access_points_m)
    np.testing.assert_array_equal(many.boresights_rad[:3], few.boresights_rad)
    np.testing.assert_array_equal(many.targets_m[:1], few.targets_m)
    np.testing.assert_array_equal(many.users_m[:2], few.users_m)
    np.testing.assert_array_equal(many.strengths[:3, :2], few.strengths)
    np.testing.assert_array_equal(user_channels(many, 2)[:, :3, :2], user_channels(few, 2))
    np.testing.assert_array_equal(echo_amplitudes(many)[:3, :3, :1], echo_amplitudes(few))


def test_r1_more_antennas_draws_and_power_change_no_channel() -> None:
    few = user_channels(dmimo_drop(scenario(layout=SMALL, arrays={"antennas": 2})), 3)
    wide = user_channels(dmimo_drop(scenario(layout=SMALL, arrays={"antennas": 8}, power={"transmit_dbm": 0.0})), 5)
    np.testing.assert_allclose(wide[:3, ..., :2], few, rtol=1e-9)
    other = [user_channels(dmimo_drop(scenario(layout=SMALL, channel=c)), 1) for c in ({}, {"seed": 2}, {"realisation": 1})]
    assert not np.isclose(other[0], other[1]).any()
    assert not np.isclose(other[0], other[2]).any()


def test_everything_stands_evenly_in_the_square() -> None:
    """Mean and variance of 60 drops' coordinates within five deviations of those of an even law on (0, 800)."""
    drops = [dmimo_drop(scenario(layout={"side_m": 800.0}, channel={"realisation": r})) for r in range(60)]
    for name in ("access_points_m", "targets_m", "users_m"):
        x = np.array([getattr(drop, name) for drop in drops]).ravel() / 800.0
        assert x.min() > 0
        assert x.max() < 1
        assert abs(x.mean() - 0.5) < 5.0 * np.sqrt(1.0 / 12.0 / x.size)
        assert abs(np.mean((x - 0.5) ** 2) - 1.0 / 12.0) < 5.0 * np.sqrt(1.0 / 180.0 / x.size)
    turn = np.exp(1j * np.array([drop.boresights_rad for drop in drops]).ravel())
    assert abs(turn.mean()) < 5.0 / np.sqrt(turn.size)


def test_path_losses_are_those_of_the_table() -> None:
    # 36.7 log10(100) + 22.7 + 26 log10(3.5) = 73.4 + 22.7 + 14.146 dB.
    assert -10.0 * np.log10(no_sight_gain(100.0, 3.5e9)) == pytest.approx(110.2458, abs=1e-4)
    assert sight_probability(np.array([5.0, 18.0])) == pytest.approx([1.0, 1.0])
    # One half of (1 - 1/e), and 1/e.
    assert sight_probability(36.0) == pytest.approx(0.683940, abs=1e-6)
    assert 10.0 * np.log10(distance_rician_factor(100.0)) == pytest.approx(10.0)


def test_readings_of_the_path_loss_divide_the_gain() -> None:
    layout = {"access_points_m": [[0.0, 0.0], [500.0, 0.0]], "access_point_count": 2, "receiver_count": 1, "user_count": 2}
    users = {"users_m": [[100.0, 0.0], [3.0, 4.0]]}
    drops = {
        reading: dmimo_drop(scenario(layout=layout | users, channel={"path_loss": reading}))
        for reading in ("line-of-sight", "random-sight", "no-line-of-sight")
    }
    sight, hidden = urban_micro_gain([100.0, 10.0], 3.5e9), no_sight_gain([100.0, 10.0], 3.5e9)
    np.testing.assert_allclose(drops["line-of-sight"].strengths[0], sight, rtol=1e-12)
    np.testing.assert_allclose(drops["no-line-of-sight"].strengths[0], hidden, rtol=1e-12)
    for reading in ("line-of-sight", "no-line-of-sight"):
        ratio = drops[reading].direct_gains / drops[reading].scattered_gains
        np.testing.assert_allclose(10.0 * np.log10(ratio[0]), [10.0, 12.7], rtol=1e-9)
    # The user within 10 m has a line of sight for certain, with 9 dB; a link without one has no direct path.
    by_chance = drops["random-sight"]
    assert by_chance.strengths[0, 1] == pytest.approx(sight[1])
    assert 10.0 * np.log10(by_chance.direct_gains[0, 1] / by_chance.scattered_gains[0, 1]) == pytest.approx(9.0)
    turns = np.arange(400.0)
    ring = 600.0 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    seen = np.empty((8, 50), dtype=bool)
    for part, stand in enumerate(np.split(ring, 8)):
        placed = layout | {"user_count": 50, "users_m": stand.tolist()}
        drop = dmimo_drop(scenario(layout=placed, channel={"path_loss": "random-sight", "realisation": part}))
        seen[part] = drop.direct_gains[0] > 0
    expected = float(sight_probability(600.0))
    assert abs(seen.mean() - expected) < 5.0 * np.sqrt(expected * (1.0 - expected) / seen.size)


@settings(max_examples=40, deadline=None)
@given(st.floats(-7.0, 7.0), st.floats(0.0, 1.0), st.integers(1, 16))
def test_local_scattering_is_a_correlation(angle_rad: float, spread_rad: float, elements: int) -> None:
    found = local_scattering(angle_rad, spread_rad, elements)
    np.testing.assert_allclose(np.diag(found), 1.0)
    np.testing.assert_allclose(found, found.conj().T, atol=1e-15)
    assert np.linalg.eigvalsh(found).min() > -1e-12
    root = correlated(found, np.eye(elements, dtype=np.complex128)).T
    np.testing.assert_allclose(root @ root.conj().T, found, atol=1e-9)
    assert (np.triu(root, 1) == 0).all()


def test_local_scattering_is_the_mean_over_angles() -> None:
    """Ten thousand paths of 3 degrees spread: 8 antennas see the mean within five deviations and the linear sine's error."""
    random, angle, spread = np.random.default_rng(3), 0.4, np.deg2rad(3.0)
    paths = steering_vector(angle + spread * random.standard_normal(10_000), 8)
    mean = paths.T @ paths.conj() / len(paths)
    assert np.abs(mean - local_scattering(angle, spread, 8)).max() < 5.0 / 100.0 + np.pi * 7.0 * spread**2 * np.sin(angle)
    assert np.abs(mean - local_scattering(angle, 2.0 * spread, 8)).max() > 0.2


def test_channels_have_their_mean_and_covariance() -> None:
    """1500 draws of one link: entries within five deviations."""
    drop = dmimo_drop(scenario(layout=SMALL, channel={"path_loss": "no-line-of-sight", "user_response": "printed"}))
    channels = user_channels(drop, 1500)[:, 0, 0, 0]
    angle = angles_rad(drop.access_points_m, drop.users_m, drop.orientation)[0, 0]
    away = float(np.hypot(*(drop.users_m[0] - drop.access_points_m[0])))
    phase = drop.user_phases_rad[0] - 2.0 * np.pi * away / drop.scenario.signal.wavelength_m
    mean = np.sqrt(drop.direct_gains[0, 0]) * np.exp(1j * phase) * steering_vector(angle, 8)
    scattered = channels - mean
    size = drop.scattered_gains[0, 0]
    assert np.abs(scattered.mean(axis=0)).max() < 5.0 * np.sqrt(size / 1500)
    covariance = scattered.T @ scattered.conj() / 1500
    assert np.abs(covariance / size - local_scattering(angle, np.deg2rad(15.0), 8)).max() < 5.0 / np.sqrt(1500)


@pytest.mark.parametrize("response", ["same-array", "printed"])
def test_users_and_targets_see_the_same_array(response: str) -> None:
    """A source at each element (n lambda/2 along the array) gives, without scattering, the response that a user hears."""
    user = {"user_count": 1, "users_m": [[420.0, 610.0]]}
    drop = dmimo_drop(b0((420.0, 610.0), layout=user, channel={"user_response": response}))
    channels = user_channels(drop, 400)[:, :, 0, 0].mean(axis=0)
    half = drop.scenario.signal.wavelength_m / 2.0
    along = np.stack([-np.sin(drop.boresights_rad), np.cos(drop.boresights_rad)], axis=1)
    elements = drop.access_points_m[:, np.newaxis] + half * np.arange(8)[:, np.newaxis] * along[:, np.newaxis]
    away = np.linalg.norm(drop.users_m[0] - elements, axis=2)
    arrived = np.exp(-1j * np.pi / half * away + 1j * drop.user_phases_rad[0])
    # What arrives of x is g^H x. The link of the largest direct part has the least scattering.
    link = int(np.argmax(drop.direct_gains))
    overlap = np.vdot(channels[link].conj(), arrived[link]) / (np.linalg.norm(channels[link]) * np.sqrt(8.0))
    # A beam towards a user at the target's place has the full array gain there only if both see one array.
    angle = angles_rad(drop.access_points_m, drop.targets_m, drop.orientation)[link, 0]
    beam = channels[link] / np.linalg.norm(channels[link])
    gain = abs(steering_vector(angle, 8) @ beam) ** 2
    same = response == "same-array"
    assert (abs(overlap - 1.0) < 0.05) == same
    assert (gain > 7.8) == same


def test_paths_over_targets_are_far_below_the_others() -> None:
    """(5) of 004, reading A: half of such paths are 60 dB below the others of their link, all of them 20 dB."""
    drop = dmimo_drop(scenario(channel={"realisation": 5}))
    gains = target_path_gains(drop)
    ratio_db = 10.0 * np.log10(gains / drop.strengths[:, np.newaxis])
    assert np.median(ratio_db) < -60.0
    assert ratio_db.max() < -20.0
    with_paths = dmimo_drop(scenario(channel={"realisation": 5, "paths_over_targets": True}))
    added = user_channels(with_paths, 1) - user_channels(drop, 1)
    power = np.mean(np.abs(added) ** 2, axis=-1)[0, ..., 0]
    assert power.max() > 0
    assert (power <= (np.sqrt(gains).sum(axis=1) * (1.0 + 1e-9)) ** 2).all()


def test_echo_amplitudes_follow_the_radar_equation() -> None:
    drop = dmimo_drop(b0((420.0, 610.0), (700.0, 300.0), target={"cross_section_m2": 4.0}))
    amplitudes = echo_amplitudes(drop)
    np.testing.assert_allclose(amplitudes, amplitudes.swapaxes(0, 1))
    away = np.hypot(*(drop.targets_m[1] - drop.access_points_m[[2, 7]]).T)
    wavelength = SPEED_OF_LIGHT_M_S / 3.5e9
    # lambda^2 sigma / ((4 pi)^3 d_t^2 d_r^2)
    power = wavelength**2 * 4.0 / (1984.401708 * away[0] ** 2 * away[1] ** 2)
    assert np.abs(amplitudes[2, 7, 1]) ** 2 == pytest.approx(power, rel=1e-9)
    phase = drop.reflection_phases_rad[1] - 2.0 * np.pi * away.sum() / wavelength
    assert abs(np.exp(1j * phase) - amplitudes[2, 7, 1] / np.abs(amplitudes[2, 7, 1])) < 1e-8
    assert drop.noise_w == pytest.approx(4.0038821e-16, rel=1e-8)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"layout": {"targets_m": [[1.0, 2.0]]}}, "targets_m has 1 entries but target_count is 2"),
        ({"layout": {"receiver_count": 12}}, "receiver_count 12 leaves none of 12 access points to transmit"),
        ({"layout": {"receivers": [12], "receiver_count": 1}}, "receivers has access point 12; they are 0 to 11"),
        ({"layout": {"receivers": [3, 3], "receiver_count": 2}}, r"receivers \[3, 3\] has an access point twice"),
        (
            {"layout": {"access_points_m": [[1.0, 2.0], [3.0, 4.0]], "access_point_count": 2, "receiver_count": 1,
                        "targets_m": [[3.0, 4.0]], "target_count": 1}},
            r"access_points_m\[1\] \(3.0, 4.0\) stands on a target",
        ),
        ({"signal": {"communication_share": 1.1}}, "less than or equal to 1"),
        ({"chanel": {}}, "Extra inputs"),
    ],
)  # fmt: skip
def test_impossible_scenarios_are_refused_with_a_sentence(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        scenario(**section)


def test_defaults_are_those_of_the_paper() -> None:
    """S1 to S4, S7 and S11 in the words of 004, section V-A."""
    usual = DmimoScenario()
    layout, signal = usual.layout, usual.signal
    assert (layout.access_point_count, layout.target_count, layout.side_m, layout.receiver_count) == (12, 2, 1000.0, 6)
    assert (usual.arrays.antennas, signal.carrier_hz, signal.bandwidth_hz, signal.subcarriers) == (8, 3.5e9, 100e3, 1)
    assert (usual.power.temperature_k, usual.power.noise_figure_db, usual.power.transmit_w) == (290.0, 0.0, pytest.approx(1.0))
    assert (usual.target.cross_section_m2, signal.communication_share) == (1.0, 0.5)
    assert layout.roles((4, 1)) == ((0, 2, 3, 5, 6, 7, 8, 9, 10, 11), (1, 4))
    assert signal.slots_of_each(4) == 8.0
    assert signal.model_copy(update={"slots": 6.0}).slots_of_each(4) == 1.5

"""Scenes: error ellipses against differentiation and stored bounds, beams against drawn signals, marks against channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disac.arrays import steering_vector
from disac.drops.coherent import coherent_drop
from disac.drops.common import common_network
from disac.experiments import cross_table, ofdm_tradeoff, robust_tradeoff
from disac.geometry import angles_rad
from disac.metrics.beam_pattern import array_gain
from disac.metrics.fisher import SensingModel, fisher_information, link_responses, localization_crb, location_derivatives
from disac.metrics.location_error import error_ellipses, location_covariance
from disac.scenarios.coherent import CoherentScenario, Ring
from disac.scenarios.common import CommonScenario
from disac.scenarios.noncoherent import Arrays, Layout, Scenario, Waveform
from disac.scenes.base import SILENT, Scene, beams_of, node_blocks
from disac.scenes.coherent import scenes as coherent
from disac.scenes.common import scenes as common
from disac.scenes.noncoherent import tradeoff

SMALL = Scenario(
    layout=Layout(nodes_m=((-46.19, -19.13), (46.19, -19.13), (5.0, 50.0)), target_count=2, transmitters=(0, 2)),
    arrays=Arrays(transmit_antennas=4, receive_antennas=4), waveform=Waveform(subcarriers=8),
)  # fmt: skip


def random_covariance(size: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    factor = random.standard_normal((size, size)) + 1j * random.standard_normal((size, size))
    return factor @ factor.conj().T


def squared(scene: Scene) -> float:
    return sum(a**2 + b**2 for ellipse in scene.ellipses for a, b in [ellipse.semi_axes_m])


def matrix(semi_axes: tuple[float, float], turn: float) -> np.ndarray:
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return rotation @ np.diag(np.square(semi_axes)) @ rotation.T


def test_the_location_bound_is_that_of_numerical_differentiation() -> None:
    random = np.random.default_rng(5)
    model = SensingModel(
        np.array([[-40.0, -20.0], [45.0, -15.0]]), np.array([[3.0, 6.0], [-9.0, 4.0]]),
        random.standard_normal((2, 2, 2)) + 1j * random.standard_normal((2, 2, 2)), 3, 3, 4, 20e6, 0.1,
    )  # fmt: skip
    covariances = np.stack([random_covariance(6, seed) for seed in range(4)])

    def response(theta: np.ndarray) -> np.ndarray:
        parts = np.split(theta, [2, 4, 12])
        amplitudes = (parts[2] + 1j * parts[3]).reshape(2, 2, 2)
        return link_responses(replace(model, targets_m=np.stack(parts[:2], axis=1), amplitudes=amplitudes))

    b = model.amplitudes.ravel()
    at, steps = np.concatenate([model.targets_m[:, 0], model.targets_m[:, 1], b.real, b.imag]), np.eye(20) * 1e-5
    slopes = np.stack([(response(at + step) - response(at - step)) / 2e-5 for step in steps])
    information = np.array(
        [[2 * 4 / 0.1 * np.real(np.einsum("nlam,nlak,lmk->", i, j.conj(), covariances)) for j in slopes] for i in slopes]
    )
    expected = np.linalg.inv(information)[:4, :4]
    found = location_covariance(fisher_information(location_derivatives(model), covariances, 0.1), 2)
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


def test_what_cannot_be_located_has_no_ellipse() -> None:
    assert location_covariance(np.diag([1.0, 0.0, 2.0]), 1) is None
    assert location_covariance(np.ones((2, 2)), 1) is None
    loose = np.diag([1.0, 4.0, 0.0])
    np.testing.assert_allclose(location_covariance(loose, 1), np.diag([1.0, 0.25]))


@given(st.floats(1e-4, 10.0), st.floats(0.01, 1.0), st.floats(-1.57, 1.57))
def test_an_ellipse_says_all_of_a_covariance(long: float, share: float, turn: float) -> None:
    wanted = matrix((long, long * share), turn)
    whole = np.zeros((4, 4))
    whole[np.ix_([1, 3], [1, 3])], whole[np.ix_([0, 2], [0, 2])] = wanted, np.eye(2)
    _, found = error_ellipses(whole, np.array([[0.0, 0.0], [3.0, -4.0]]))
    assert found.centre_m == (3.0, -4.0)
    assert found.semi_axes_m[0] >= found.semi_axes_m[1]
    assert abs(found.orientation_rad) <= np.pi / 2
    np.testing.assert_allclose(matrix(found.semi_axes_m, found.orientation_rad), wanted, atol=1e-12 * long**2)


def test_an_ellipse_holds_its_share_of_gaussian_errors() -> None:
    """One standard deviation holds 1 - exp(-1/2) of two-dimensional Gaussian errors."""
    covariance, count = matrix((0.3, 0.05), 0.7), 40_000
    (ellipse,) = error_ellipses(covariance, np.zeros((1, 2)))
    errors = np.random.default_rng(1).multivariate_normal(np.zeros(2), covariance, count)
    turn = ellipse.orientation_rad
    along, across = errors @ [np.cos(turn), np.sin(turn)], errors @ [-np.sin(turn), np.cos(turn)]
    inside = ((along / ellipse.semi_axes_m[0]) ** 2 + (across / ellipse.semi_axes_m[1]) ** 2 <= 1).mean()
    share = 1 - np.exp(-0.5)
    assert abs(inside - share) < 5 * np.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize("design", ["phase-agnostic", "beamforming", "coherent", "unconstrained", "isotropic"])
def test_the_ellipses_of_a_tradeoff_have_the_stored_bound(design: str) -> None:
    options = ofdm_tradeoff.Options(design=design)
    (stored,) = ofdm_tradeoff.experiment.run([SMALL], options)
    assert stored["status"] == "ok"
    scene = tradeoff.scene(SMALL, options, {"stream_covariance": stored["stream_covariance"]})
    assert len(scene.ellipses) == 2
    assert squared(scene) == pytest.approx(stored["delivered_rcrb_m"] ** 2, rel=1e-6)
    assert [beam.node for beam in scene.beams] == [0, 2]
    assert sum(beam.power_share for beam in scene.beams) == pytest.approx(1.0)
    assert [(node.transmits, node.receives) for node in scene.nodes] == [(True, True), (False, True), (True, True)]


@pytest.mark.parametrize("delta_rad", [None, 0.3])
def test_the_ellipse_of_the_common_network_has_the_stored_bound(delta_rad: float | None) -> None:
    scenario = CommonScenario(bandwidth_hz=2.5e6, antennas=4, delta_rad=delta_rad, target_radius_m=15.0)
    options = cross_table.Options(design="ofdm-phase-agnostic")
    (stored,) = cross_table.experiment.run([scenario], options)
    scene = common.scene(scenario, options, {name: stored[name] for name in common.needs})
    assert squared(scene) == pytest.approx(stored["rcrb_m"] ** 2, rel=1e-6)
    assert len(scene.beams) == 4
    assert scene.targets_m[0] == pytest.approx(common_network(scenario).target_m)


def test_the_beams_of_a_robust_design_light_the_target_as_stored() -> None:
    scenario, options = CoherentScenario(layout=Ring(node_count=3)), robust_tradeoff.Options(draws=100)
    (stored,) = robust_tradeoff.experiment.run([scenario], options)
    scene = coherent.scene(scenario, options, {name: stored[name] for name in coherent.needs})
    sensing = beams_of(stored["sensing_covariance"], range(3))
    power = float(np.real(np.trace(stored["sensing_covariance"], axis1=1, axis2=2)).sum())
    for beam in sensing:
        at = np.interp(scene.marks[beam.node][0].angle_rad, beam.angles_rad, beam.gain)
        assert at * beam.power_share * power == pytest.approx(stored["beampower"][beam.node], rel=1e-6)
    assert sensing
    assert scene.ellipses == ()
    assert sum(beam.power_share for beam in scene.beams) == pytest.approx(1.0)


def test_a_matched_beam_peaks_at_its_angle_and_even_power_goes_everywhere() -> None:
    angles = np.linspace(-np.pi / 2, np.pi / 2, 721)
    for at in (-0.9, 0.0, 0.4):
        beam = steering_vector(at, 12).conj()
        gain = array_gain(3.0 * np.outer(beam, beam.conj()), np.append(angles, at))
        assert gain[-1] == pytest.approx(12.0)
        assert gain.max() == pytest.approx(12.0)
        assert abs(angles[gain[:-1].argmax()] - at) < 0.005
    np.testing.assert_allclose(array_gain(0.5 * np.eye(8, dtype=complex), angles), 1.0)
    assert not array_gain(np.zeros((8, 8), dtype=complex), angles).any()
    even = np.arcsin(np.linspace(-1, 1, 4001)[:-1] + 1 / 4000)
    assert array_gain(random_covariance(7, 2), even).mean() == pytest.approx(1.0, abs=1e-9)


def test_a_pattern_is_the_mean_power_of_drawn_signals() -> None:
    covariance, angles, count = random_covariance(5, 4), np.linspace(-1.5, 1.5, 9), 40_000
    random = np.random.default_rng(9)
    drawn = (random.standard_normal((count, 5)) + 1j * random.standard_normal((count, 5))) / np.sqrt(2)
    signals = drawn @ np.linalg.cholesky(covariance).T
    power = np.abs(signals @ steering_vector(angles, 5).T) ** 2
    # The power of a Gaussian signal is exponential: its standard deviation is its mean.
    expected = array_gain(covariance, angles) * np.real(np.trace(covariance))
    assert (np.abs(power.mean(axis=0) - expected) < 5 * expected / np.sqrt(count)).all()


def test_a_silent_node_has_no_beam() -> None:
    whole = np.zeros((2, 6, 6), dtype=complex)
    whole[:, :3, :3], whole[:, 3:, 3:] = np.eye(3), 1e-3 * SILENT * np.eye(3)
    (beam,) = beams_of(node_blocks(whole, 2), (4, 7))
    assert (beam.node, beam.power_share) == (4, pytest.approx(1.0))


def test_marks_stand_where_the_pattern_shows_what_targets_and_users_get() -> None:
    scenario = CoherentScenario(layout=Ring(node_count=2, user_count=2))
    drop = coherent_drop(scenario)
    marks = coherent.scene(scenario, robust_tradeoff.Options(), None).marks
    covariance = random_covariance(12, 8)
    for node, user in np.ndindex(2, 2):
        angle = angles_rad(drop.nodes_m, drop.users_m, "origin")[node, user]
        direct = steering_vector(angle, 12)
        heard = np.real(direct.conj() @ covariance @ direct) / np.real(np.trace(covariance))
        mark = next(m for m in marks[node] if (m.kind, m.number) == ("user", user))
        assert array_gain(covariance, np.array([mark.angle_rad]))[0] == pytest.approx(heard)
    target = drop.steering(drop.target_angles_rad)[1]
    lit = np.real(target @ covariance @ target.conj()) / np.real(np.trace(covariance))
    assert array_gain(covariance, np.array([marks[1][0].angle_rad]))[0] == pytest.approx(lit)


def test_what_stands_behind_an_array_is_marked_in_front() -> None:
    layout = Layout(nodes_m=((10.0, 0.0),), orientation="global", targets_m=((0.0, 1.0),))
    (mark,) = tradeoff.scene(Scenario(layout=layout), ofdm_tradeoff.Options(), None).marks[0]
    assert mark.behind
    assert abs(mark.angle_rad) < np.pi / 2
    assert np.sin(mark.angle_rad) == pytest.approx(np.sin(np.arctan2(1.0, -10.0)))


@pytest.mark.parametrize(("scenes", "scenario", "users"), [
    (tradeoff, Scenario(), 0), (common, CommonScenario(user_count=2), 2), (coherent, CoherentScenario(), 3),
])  # fmt: skip
def test_a_scene_without_a_signal_is_the_network(scenes: Any, scenario: Any, users: int) -> None:
    scene = scenes.scene(scenario, None, None)
    assert scene.users_m.shape == (users, 2)
    assert scene.targets_m.shape == (1, 2)
    assert not scene.ellipses
    assert not scene.beams
    for node in scene.nodes:  # all arrays face the origin
        away = -np.array(node.position_m) / np.linalg.norm(node.position_m)
        assert [np.cos(node.boresight_rad), np.sin(node.boresight_rad)] == pytest.approx(away, abs=1e-12)


def test_the_ellipse_of_a_bound_has_its_trace() -> None:
    information = np.real(random_covariance(9, 3))
    covariance = location_covariance(information, 2)
    assert covariance is not None
    assert np.trace(covariance) == pytest.approx(localization_crb(information, 2), rel=1e-12)
    assert squared(Scene((), np.zeros((0, 2)), np.zeros((2, 2)), (), error_ellipses(covariance, np.zeros((2, 2))))) == (
        pytest.approx(np.trace(covariance))
    )

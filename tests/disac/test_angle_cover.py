"""The least divergence over whole boxes of angles, against dense grids, and the designs that cover the boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from disac.arrays import steering_vector
from disac.designs.robust.angle_boxes import box_gains, solve_max_min
from disac.designs.robust.angle_cover import (
    Bounds,
    EchoesOverBoxes,
    Pattern,
    divergences_at,
    least_divergence,
    least_on_line,
    other_points,
)
from disac.designs.robust.choices import RobustnessName, robustness
from disac.designs.robust.of_drop import robust_problem
from disac.drops.coherent import CoherentDrop
from disac.experiments.robust_tradeoff import Options, experiment
from tests.disac.robust_cases import drop

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def random_covariances(seed: int, nodes: int, antennas: int, streams: int = 2) -> Complex:
    random = np.random.default_rng(seed)
    shape = (nodes, antennas, streams)
    beams = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    return beams @ beams.conj().swapaxes(1, 2)


def least_on_a_grid(here: CoherentDrop, sensing: Complex, half_rad: float, points: int = 20_000) -> float:
    """Where gains move together the worst angle of each sender does not depend on the others': each box on its own."""
    line = np.linspace(-half_rad, half_rad, points)
    errors = np.zeros((points, len(sensing)))
    worst = np.zeros((1, len(sensing)))
    for node, covariance in enumerate(sensing):
        errors[:] = line[:, np.newaxis]
        response = steering_vector(here.target_angles_rad[node] + line, len(covariance))
        power = np.real(np.einsum("ga,ga->g", response, response.conj() @ covariance.T))
        worst[0, node] = line[int(np.argmin(power * here.mean_squares(errors)[:, node, node]))]
    return float(divergences_at(here, sensing, worst, full=False)[0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), antennas=st.integers(2, 24), streams=st.integers(1, 3), widest=st.floats(0.0, 1.6))
def test_derivatives_of_a_pattern_keep_their_bounds(seed: int, antennas: int, streams: int, widest: float) -> None:
    """Against differences on a dense grid, and the pattern against the quadratic form."""
    matrix = random_covariances(seed, 1, antennas, streams)[0]
    pattern, angles = Pattern.of(matrix), np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    response = steering_vector(angles, antennas)
    power = np.real(np.einsum("ga,ga->g", response, response.conj() @ matrix.T))
    np.testing.assert_allclose(pattern.at(angles), power, atol=1e-12 * power.max())
    assert power.max() <= pattern.peak <= 1.1 * power.max() + 1e-12 * pattern.peak
    inside, step = np.abs(angles) <= widest, angles[1] - angles[0]
    bounds, slope = pattern.bounds(widest), np.gradient(power, step)
    assert np.abs(slope[inside]).max(initial=0.0) <= float(bounds.slope) * (1 + 1e-9)
    assert np.abs(np.gradient(slope, step)[inside][2:-2]).max(initial=0.0) <= float(bounds.bend) * (1 + 1e-6)


def test_a_constant_pattern_has_no_slope() -> None:
    bounds = Pattern.of(np.eye(5, dtype=np.complex128)).bounds(1.0)
    assert (float(bounds.slope), float(bounds.bend)) == (0.0, 0.0)
    assert float(bounds.level) >= 5.0


def test_bounds_of_a_product_are_those_of_leibniz() -> None:
    wave, wide = Bounds(*np.ones((3, 1))), Bounds(*np.array([[1.0], [2.0], [4.0]]))
    # sin(x) and sin(2 x): the second derivative of the product is at most 1 * 1 + 2 * 1 * 2 + 1 * 4.
    assert float(wave.times(wide).bend[0]) == 9.0


CASES: list[dict[str, Any]] = [
    {},
    {"target__lobe_swing_db": 12.0, "target__lobe_deg": 25.0},
    {"target__lobe_swing_db": 12.0, "target__lobe_deg": None, "target__aspect": "receive"},
    {"target__lobe_swing_db": 9.0, "target__lobe_deg": 70.0, "target__aspect": "bisector"},
    {"clutter__patch_count": 4, "target__lobe_swing_db": 6.0},
]


@pytest.mark.parametrize("more", CASES)
def test_the_bend_of_every_echo_keeps_its_bound(more: dict[str, Any]) -> None:
    """Along each box, against differences, and the echoes against the drop's own gains."""
    half = np.deg2rad(12.0)
    here = drop(layout__separation_deg=100.0, arrays__antennas=7, **more)
    sensing = random_covariances(3, 2, 7)
    echoes = EchoesOverBoxes(here, sensing, half, full=False)
    line = np.linspace(-half, half, 4001)
    for node in range(2):
        errors = np.tile([0.03, -0.05], (len(line), 1))
        still = errors[0].copy()
        errors[:, node] = line
        scnr = echoes.scnr(errors)
        assert echoes.divergence(scnr[:50]) == pytest.approx(divergences_at(here, sensing, errors[:50], full=False), rel=1e-9)
        bend = np.diff(scnr, 2, axis=0) / (line[1] - line[0]) ** 2
        assert (np.abs(bend).max(axis=0) <= echoes.bend(node, still) * (1 + 1e-6) + 1e-6).all()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6), antennas=st.integers(2, 40), half_deg=st.floats(0.0, 20.0), nodes=st.integers(1, 3),
    swing_db=st.sampled_from([0.0, 8.0]), streams=st.integers(1, 3),
)  # fmt: skip
def test_no_angle_of_a_dense_grid_has_less(
    seed: int, antennas: int, half_deg: float, nodes: int, swing_db: float, streams: int
) -> None:
    here = drop(
        layout__node_count=nodes, layout__separation_deg=100.0, arrays__antennas=antennas, target__lobe_swing_db=swing_db,
        target__lobe_deg=20.0,
    )  # fmt: skip
    half, sensing = np.deg2rad(half_deg), random_covariances(seed, nodes, antennas, streams)
    least, grid = least_divergence(here, sensing, half), least_on_a_grid(here, sensing, half)
    together = np.tile(np.linspace(-half, half, 999)[:, np.newaxis], nodes)
    largest = float(divergences_at(here, sensing, together, full=False).max())
    assert least.value <= grid * (1 + 1e-6) + 1e-11 * largest
    assert least.value >= grid * (1 - 1e-2) - 1e-4 * largest
    assert least.value * (1 - 4e-7) - 1e-9 * largest <= least.proven <= least.value
    assert np.abs(least.errors_rad).max() <= half
    again = float(divergences_at(here, sensing, least.errors_rad[np.newaxis], full=False)[0])
    assert again == pytest.approx(least.value, rel=1e-12)


@pytest.mark.parametrize("more", CASES)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("senders", [1, 2])
def test_no_combination_of_angles_has_less(more: dict[str, Any], full: bool, senders: int) -> None:
    half = np.deg2rad(8.0)
    here = drop(layout__separation_deg=100.0, arrays__antennas=9, **more)
    sensing = random_covariances(5, 2, 9, 6)
    sensing[senders:] = 0.0
    least = least_divergence(here, sensing, half, full=full)
    random = np.random.default_rng(2)
    errors = random.uniform(-half, half, (1500, 2))
    errors[:500] = np.clip(least.errors_rad + random.normal(0.0, half / 50, (500, 2)), -half, half)
    assert least.value <= divergences_at(here, sensing, errors, full=full).min() * (1 + 1e-6)
    aspect, clutter = more.get("target__aspect", "transmit"), "clutter__patch_count" in more
    apart = (aspect == "transmit" and not clutter) or (senders == 1 and aspect != "bisector")
    assert (least.proven > 0.0) == apart


def test_what_sends_nothing_has_no_divergence() -> None:
    here = drop(layout__separation_deg=100.0, arrays__antennas=4)
    least = least_divergence(here, np.zeros((2, 4, 4), dtype=np.complex128), 0.1)
    assert (least.value, least.proven) == (0.0, 0.0)


def test_a_line_of_too_many_cells_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound of the curvature that is far too large keeps every cell open."""
    monkeypatch.setattr("disac.designs.robust.angle_cover.OPEN_CELLS", 1000)
    found = least_on_line(lambda x: 1.0 + x[:, np.newaxis] ** 2, lambda v: v.sum(axis=1), np.array([1e9]), 1.0, 9)
    assert found.value == pytest.approx(1.0)
    assert found.proven < 0.5
    found = least_on_line(lambda x: 1.0 + x[:, np.newaxis] ** 2, lambda v: v.sum(axis=1), np.array([2.0]), 1.0, 8)
    assert 1.0 - 2e-7 <= found.proven <= found.value <= 1.0 + 1e-7


LARGE = [(1, 64, 5.0, 12.0), (2, 24, 10.0, 1.9), (2, 24, 15.0, 0.5)]
"""Nodes, antennas, degrees, and a divergence that covering the box reaches; nine points of its own reached 0.18, 1.96, 0.21."""


@pytest.mark.parametrize(("nodes", "antennas", "half_deg", "reached"), LARGE)
def test_large_arrays_cover_their_boxes(nodes: int, antennas: int, half_deg: float, reached: float) -> None:
    half = np.deg2rad(half_deg)
    here = drop(
        layout__node_count=nodes, layout__user_count=2, arrays__antennas=antennas, target__echo_snr_db=-15.0,
        service__sinr_db=10.0,
    )  # fmt: skip
    design = solve_max_min(here, robust_problem(here), robustness("phase").guarding(), 10.0, half)
    assert design.sensing is not None
    assert design.certificate.status == "ok"
    assert -1e-9 <= design.certificate.relative_gap <= 1e-4
    assert design.certificate.value > reached
    assert design.certificate.value == pytest.approx(least_on_a_grid(here, design.sensing, half), rel=1e-6)


@pytest.mark.parametrize("name", ["none", "lemma1", "norm-ball", "stacked-ball", "phase"])
@pytest.mark.parametrize("half_deg", [0.0, 5.0])
def test_every_choice_covers_the_box(name: RobustnessName, half_deg: float) -> None:
    half = np.deg2rad(half_deg)
    here = drop(
        layout__separation_deg=120.0, channel__realisation=2, uncertainty__delta_rad=0.05, target__lobe_swing_db=6.0,
        target__lobe_deg=30.0,
    )  # fmt: skip
    design = solve_max_min(here, robust_problem(here), robustness(name).guarding(), 10.0, half)
    assert design.sensing is not None
    assert -1e-9 <= design.certificate.relative_gap <= 1e-4
    assert design.certificate.worst_violation <= 1e-9
    assert design.certificate.value == pytest.approx(least_on_a_grid(here, design.sensing, half), rel=1e-6)


@pytest.mark.parametrize("more", CASES)
def test_gains_left_bound_the_gains_of_all_angles(more: dict[str, Any]) -> None:
    """Every gain is at most the largest times what is left at its transmitter's angle, at all combinations of the angles."""
    here = drop(layout__separation_deg=100.0, arrays__antennas=5, **more)
    angles = np.random.default_rng(4).uniform(-0.2, 0.2, (2, 4))
    largest, left = box_gains(here, angles)
    pairs = np.array([(i, j) for i in range(4) for j in range(4)])
    gains = here.echo_gains(here.target_angles_rad + np.stack([angles[0, pairs[:, 0]], angles[1, pairs[:, 1]]], axis=1))
    shares = np.stack([left[0, pairs[:, 0]], left[1, pairs[:, 1]]], axis=1)
    assert (gains <= largest * shares[:, np.newaxis, :] * (1 + 1e-9) + 1e-15).all()
    assert (left.max(axis=1) <= 1.0 + 1e-12).all()


def test_a_covariance_that_covers_its_own_points_only_is_noticed() -> None:
    """What nine points of its own called 17.4 is 0.18 between them."""
    here = drop(
        layout__node_count=1, layout__user_count=2, arrays__antennas=48, target__echo_snr_db=-15.0, service__sinr_db=10.0,
        uncertainty__angle_error_deg=5.0,
    )  # fmt: skip
    scenario, options = here.scenario, Options(robustness="phase", angles="max-min", draws=100)
    blank = {v.name: np.zeros((0,) * len(v.dims)) if v.dims else np.nan for v in experiment.variables}
    stored = blank | experiment.run([scenario], options)[0]
    assert experiment.recheck(scenario, options, stored) == []
    line = np.deg2rad(np.linspace(-5.0, 5.0, 9))
    responses = here.steering(here.target_angles_rad + line[:, np.newaxis])[:, 0]
    points = responses.T @ responses.conj()
    spoiled = points.conj() * np.trace(stored["sensing_covariance"][0]).real / np.trace(points).real
    said = "; ".join(experiment.recheck(scenario, options, stored | {"sensing_covariance": spoiled[np.newaxis]}))
    assert "at angle errors of" in said
    assert "objective is stored as" in said
    # And where the search itself went wrong: points of which it knows nothing.
    claimed = stored | {"least_kld": 1.01 * stored["least_kld"]}
    assert "at angle errors of" in "; ".join(experiment.recheck(scenario, options, claimed))


def test_points_of_the_check_are_no_points_of_a_search() -> None:
    half = np.deg2rad(5.0)
    here = drop(layout__node_count=2, layout__separation_deg=120.0, arrays__antennas=16)
    errors = other_points(here, random_covariances(1, 2, 16), np.zeros(2), half)
    assert np.abs(errors).max() <= half
    step = np.diff(np.unique(errors[:, 0])).max()
    assert np.sin(half) * step / half <= 1.0 / (16.0 * 16.0)
    for points in (9, 17, 33, 129):
        line = np.linspace(-half, half, points)[1:-1]
        moved = errors[errors[:, 0] != 0.0, 0]
        assert np.abs(moved[:, np.newaxis] - line).min() > 1e-9

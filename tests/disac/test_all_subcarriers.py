"""Designs of all subcarriers at once, against cone programs for one subcarrier at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from disac.designs.robust import all_subcarriers, subcarriers_newton, subcarriers_proofs
from disac.designs.robust.all_subcarriers import design_each, design_together, suits
from disac.designs.robust.choices import CHOICES
from disac.designs.robust.guards import Margins, guarded_sinr
from disac.designs.robust.limited_power import CLOSED, Care, LimitedPower, divergence_gradient, proven_by_limits
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.proofs import common_vertex
from disac.designs.robust.subcarriers import Point, Subcarriers, solved_each, subcarriers_of
from disac.designs.robust.total_power import RobustDesign, power_share
from disac.metrics.kld import EchoModel
from disac.power_limits import PER_ANTENNA, PER_NODE, TOTAL, PowerLimit

NAMES = ["none", "lemma1", "phase"]
SAME = 1e-7
"""Relative accuracy that all subcarriers together must have."""


def _margins(name: str) -> Margins:
    margins = CHOICES[name].margins
    assert margins is not None
    return margins


def _problems(
    nodes: int, antennas: int, users: int, *, count: int = 3, error_rad: float = 0.05, power_db: float = 15.0, seed: int = 0,
    limit: PowerLimit = PER_NODE, full: bool = False,
) -> list[RobustProblem]:  # fmt: skip
    """Subcarriers with independent Rayleigh channels, and one target."""
    rng = np.random.default_rng([seed, nodes, antennas, users])
    gains = rng.uniform(0.1, 3.0, (nodes, nodes))
    sines = rng.uniform(-0.9, 0.9, nodes)
    steering = np.exp(1j * np.pi * np.arange(antennas) * sines[:, np.newaxis])
    echoes = EchoModel(gains, np.ones((nodes, nodes, nodes)), full)
    found = []
    for _ in range(count):
        real, imaginary = rng.standard_normal((2, nodes, users, antennas)) / np.sqrt(2.0)
        h = real + 1j * imaginary
        radius = 2.0 * np.sin(error_rad / 2.0) * np.linalg.norm(h, axis=2)
        found.append(RobustProblem(h, steering, echoes, 1.0, 10.0 ** (-power_db / 10.0), radius, error_rad, limit))
    return found


def _checked(problem: RobustProblem, name: str, sinr: float, design: RobustDesign) -> None:
    """Check a design by itself: beams, value, and the bound that its evidence proves one subcarrier at a time."""
    assert design.beams is not None
    assert design.proof is not None
    certificate = design.certificate
    assert certificate.status == "ok"
    assert guarded_sinr(problem, _margins(name), design.beams).min() >= sinr * (1.0 - 1e-9)
    assert power_share(problem, design.beams) <= 1.0 + 1e-9
    value = float(problem.divergence(design.beams.beampowers(problem.steering)))
    assert certificate.value == pytest.approx(value, rel=1e-12)
    need, bound = proven_by_limits(problem, _margins(name), sinr, design.proof)
    assert bound == pytest.approx(certificate.dual_bound, rel=1e-8)
    assert need == pytest.approx(design.least_power, abs=1e-9)
    assert value * (1.0 - 1e-9) <= bound <= value * (1.0 + CLOSED)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("nodes", "antennas", "users", "sinr"),
    [(1, 3, 2, 3.0), (1, 4, 1, 10.0), (2, 2, 3, 1.0), (2, 4, 1, 10.0), (2, 3, 2, 6.0), (3, 2, 3, 2.0), (3, 4, 3, 10.0)],
)
def test_designs_are_those_of_one_subcarrier_at_a_time(
    name: str, nodes: int, antennas: int, users: int, sinr: float
) -> None:  # fmt: skip
    problems = _problems(nodes, antennas, users, count=4)
    together = design_together(problems, _margins(name), sinr)
    assert sum(found is not None for found in together) >= 3
    for problem, found in zip(problems, together, strict=True):
        alone = CHOICES[name].design(problem, sinr).design.certificate
        if found is None:
            continue
        assert alone.status == "ok"
        _checked(problem, name, sinr, found)
        # Both climb from equal powers. The reference stops where a step gains less than 1e-6 of the value.
        assert found.certificate.value >= alone.value * (1.0 - SAME)
        assert alone.value <= found.certificate.dual_bound * (1.0 + 1e-9)
        assert found.certificate.value <= alone.dual_bound * (1.0 + 1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("nodes", "sinr"), [(1, 10.0), (2, 10.0), (3, 30.0)])
def test_no_cone_program_goes_further_along_the_tangent(name: str, nodes: int, sinr: float) -> None:
    """The same stationary point: beams of a cone program for the tangent there reach the same, to 1e-7."""
    problems = _problems(nodes, 4, 2, seed=1)
    for problem, found in zip(problems, design_together(problems, _margins(name), sinr), strict=True):
        assert found is not None
        assert found.beampowers is not None
        amplitudes = np.sqrt(found.beampowers / problem.power)
        tangent = divergence_gradient(problem, amplitudes)
        tangent /= np.linalg.norm(tangent)
        program = LimitedPower(problem, _margins(name), sinr, Care(retreat=1e-9, least_price=1e-9, own_units=True))
        solution, furthest = program.furthest(tangent)
        assert solution.solved
        assert tangent @ furthest == pytest.approx(tangent @ amplitudes, rel=SAME)


@pytest.mark.parametrize("name", NAMES)
def test_targets_that_cannot_be_met_are_refused_with_a_proof(name: str) -> None:
    problems, sinr = _problems(2, 3, 3), 3e4
    assert design_together(problems, _margins(name), sinr) == [None] * 3
    for problem, found in zip(problems, design_each(CHOICES[name], problems, sinr), strict=True):
        assert found.certificate.status == "infeasible"
        assert found.beams is None
        assert found.proof is not None
        assert proven_by_limits(problem, _margins(name), sinr, found.proof)[0] > 1.0


def _largest_sinr(problem: RobustProblem, margins: Margins) -> float:
    """By bisection on the largest noise that the users stand within the limits."""
    low, high = -10.0, 40.0
    for _ in range(24):
        middle = 0.5 * (low + high)
        cones = LimitedPower(problem, margins, 10.0 ** (middle / 10.0))._cones(fixed_noise=False)
        cost = np.zeros(cones.variables)
        cost[cones.start["noise"]] = 1.0
        stands = cones.program.solve(cost).variables[cones.start["noise"]] > 1.0
        low, high = (middle, high) if stands else (low, middle)
    return float(10.0 ** (low / 10.0))


@pytest.mark.parametrize("name", NAMES)
def test_statuses_agree_on_both_sides_of_the_largest_sinr(name: str) -> None:
    problems = _problems(2, 3, 2, count=1, seed=2)
    top = _largest_sinr(problems[0], _margins(name))
    for share in (0.9, 0.99, 1.0 - 1e-3, 1.0 + 1e-3):
        (found,) = design_each(CHOICES[name], problems, share * top)
        alone = CHOICES[name].design(problems[0], share * top).design
        assert found.certificate.status == alone.certificate.status == ("ok" if share < 1.0 else "infeasible")
        if share < 1.0:
            _checked(problems[0], name, share * top, found)
            assert found.certificate.value >= alone.certificate.value * (1.0 - SAME)


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_that_one_simplex_leaves_open_is_closed_by_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One user of two nodes: no single price is best for both of the directions in which the divergence grows."""
    problems = _problems(2, 3, 1, power_db=25.0, count=4)
    sinr = 30.0
    monkeypatch.setattr(all_subcarriers, "CUTS", 1)
    first = design_together(problems, _margins(name), sinr)
    monkeypatch.undo()
    more = design_together(problems, _margins(name), sinr)
    assert sum(found is None for found in first) > sum(found is None for found in more) == 0
    for problem, found in zip(problems, more, strict=True):
        assert found is not None
        _checked(problem, name, sinr, found)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_proven_is_designed_by_cone_programs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = _problems(2, 3, 2)
    monkeypatch.setattr(all_subcarriers, "TANGENT_GAP", -1e-3)
    assert design_together(problems, _margins(name), 5.0) == [None] * 3
    for problem, found in zip(problems, design_each(CHOICES[name], problems, 5.0), strict=True):
        assert found.certificate.value == CHOICES[name].design(problem, 5.0).design.certificate.value


@pytest.mark.parametrize("changes", [{"limit": TOTAL}, {"limit": PER_ANTENNA}, {"full": True}])
def test_other_problems_are_left_to_their_own_methods(changes: dict[str, Any]) -> None:
    problems = _problems(2, 3, 2, count=2, **changes)
    assert not suits(problems, _margins("lemma1"))
    for problem, found in zip(problems, design_each(CHOICES["lemma1"], problems, 5.0), strict=True):
        assert found.certificate.value == CHOICES["lemma1"].design(problem, 5.0).design.certificate.value


def test_what_suits() -> None:
    problems = _problems(2, 3, 2)
    assert all(suits(problems, _margins(name)) for name in NAMES)
    assert not suits(problems, _margins("norm-ball"))
    silent = replace(problems[0], channels=problems[0].channels * np.array([1.0, 0.0])[:, np.newaxis])
    assert not suits([*problems, silent], _margins("none"))
    assert not suits([*problems, *_problems(2, 4, 2)], _margins("none"))
    turned = [replace(each, phase_error_rad=1.6) for each in problems]
    assert not suits(turned, _margins("phase"))


def _solved(name: str, sinr: float = 10.0, seed: int = 3) -> tuple[list[RobustProblem], Subcarriers, Point]:
    problems = _problems(3, 4, 3, seed=seed)
    tones = subcarriers_of(problems, _margins(name), sinr)
    return problems, tones, subcarriers_newton.solve(tones).point


@pytest.mark.parametrize("name", NAMES)
def test_simplices_hold_for_any_numbers(name: str) -> None:
    """No design is outside of the simplex of wrong multipliers, prices and turns, and the evidence proves the same simplex."""
    problems, tones, point = _solved(name)
    rng = np.random.default_rng(4)
    amplitudes = tones.amplitudes(point)
    program = [LimitedPower(problem, _margins(name), tones.sinr) for problem in problems]
    for size in (1e-3, 0.1, 1.0):
        wrong = {
            field: getattr(point, field) + size * rng.standard_normal(getattr(point, field).shape)
            for field in ("heard_turns", "leak_turns", "wanted_turns", "norm_turns")
        }
        turns = {field: each / np.maximum(np.linalg.norm(each, axis=-1, keepdims=True), 1.0) for field, each in wrong.items()}
        scales = {field: np.exp(size * rng.standard_normal(getattr(point, field).shape)) for field in ("q", "prices")}
        other = replace(point, **turns, **{field: getattr(point, field) * scale for field, scale in scales.items()})
        simplex, proofs = subcarriers_proofs.simplices(tones, other), subcarriers_proofs.evidence(tones, other)
        claimed = simplex.share + np.sum(amplitudes**2 / simplex.reach, axis=1)
        assert (claimed <= 1.0 + 1e-9).all()
        for number, each in enumerate(program):
            share, reach = each.simplex(proofs[number])
            assert share == pytest.approx(simplex.share[number], rel=1e-9)
            np.testing.assert_allclose(reach, simplex.reach[number], rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_simplices_of_the_solution_touch_the_design(name: str) -> None:
    _, tones, point = _solved(name)
    simplex, amplitudes = subcarriers_proofs.simplices(tones, point), tones.amplitudes(point)
    np.testing.assert_allclose(simplex.share + np.sum(amplitudes**2 / simplex.reach, axis=1), 1.0, atol=1e-8)
    weights = tones.slopes(amplitudes)[0]
    np.testing.assert_allclose(simplex.furthest(weights), np.sum(weights * amplitudes, axis=1), rtol=1e-8)


def test_boxes_are_those_of_the_limits() -> None:
    problems, tones, point = _solved("phase")
    boxes = subcarriers_proofs.boxes(tones)
    evidence = subcarriers_proofs.box_evidence(subcarriers_proofs.evidence(tones, point).shape[1], tones.users, tones.nodes)
    for number, problem in enumerate(problems):
        program = LimitedPower(problem, _margins("phase"), tones.sinr)
        for own, (box, stored) in enumerate(zip(boxes, evidence, strict=True)):
            share, reach = program.simplex(stored)
            assert 0.0 <= share < 1e-3
            # The evidence also proves that users take a little power at the price of next to nothing.
            np.testing.assert_allclose(reach, box.reach[number], rtol=1e-3)
            corner, _ = common_vertex(problem, [(0.0, each.reach[number]) for each in boxes])
            assert corner[own] == pytest.approx(np.sum(np.abs(problem.steering[own]) ** 2) / problem.nodes, rel=1e-5)


def test_slopes_are_the_derivatives_of_the_divergence() -> None:
    problems, tones, point = _solved("none")
    amplitudes, step = np.abs(tones.amplitudes(point)) + 0.1, 1e-5
    slopes, hessian = tones.slopes(amplitudes)
    for number, problem in enumerate(problems):
        value = float(problem.divergence(problem.power * amplitudes[number] ** 2))
        assert tones.divergence(amplitudes)[number] == pytest.approx(value, rel=1e-12)
    for n in range(tones.nodes):
        up, down = amplitudes.copy(), amplitudes.copy()
        up[:, n] += step
        down[:, n] -= step
        np.testing.assert_allclose((tones.divergence(up) - tones.divergence(down)) / (2 * step), slopes[:, n], rtol=1e-7)
        np.testing.assert_allclose(
            (tones.slopes(up)[0] - tones.slopes(down)[0]) / (2 * step), hessian[:, n], rtol=1e-6, atol=1e-8
        )


@pytest.mark.parametrize("name", NAMES)
def test_stability_is_that_of_a_climb_by_tangents(name: str) -> None:
    """The derivative of a step of the climb, by differences: its eigenvalues x are told as 1 / (1 - x)."""
    problems = _problems(2, 4, 2, seed=1)
    tones = subcarriers_of(problems, _margins(name), 10.0)
    found = subcarriers_newton.solve(tones)
    amplitudes, step = tones.amplitudes(found.point), 1e-4
    assert (amplitudes > 0.1).all()
    slopes, hessian = tones.slopes(amplitudes)
    response = np.empty_like(hessian)
    for n in range(tones.nodes):
        reached = []
        for sign in (1.0, -1.0):
            weights = slopes * (1.0 + sign * step * np.eye(tones.nodes)[n])
            scale, start = np.ones((len(slopes), 1)), subcarriers_newton._inside(tones, found.point)
            every = np.arange(len(slopes))
            moved = subcarriers_newton._run(
                tones, start, weights, scale, every, subcarriers_newton.STEPS, subcarriers_newton.LOOSE
            )
            reached.append(tones.amplitudes(moved.point))
        response[:, :, n] = (reached[0] - reached[1]) / (2.0 * step * slopes[:, n, np.newaxis])
    climbs = np.linalg.eigvals(response @ hessian)
    np.testing.assert_allclose((1.0 / (1.0 - climbs.real)).min(axis=1), found.stable, rtol=1e-4)


def test_a_singular_matrix_spoils_its_own_system_only() -> None:
    rng = np.random.default_rng(5)
    matrices, right = rng.standard_normal((4, 3, 3)), rng.standard_normal((4, 3, 2))
    matrices[2, 1] = 0.0
    found = solved_each(matrices, right)
    assert np.isnan(found[2]).all()
    for number in (0, 1, 3):
        np.testing.assert_allclose(matrices[number] @ found[number], right[number], atol=1e-12)


def test_more_subcarriers_than_are_solved_together_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = _problems(2, 3, 2, count=5)
    whole = [found.certificate.value for found in design_each(CHOICES["none"], problems, 5.0)]
    monkeypatch.setattr(all_subcarriers, "TOGETHER", 2)
    parts = [found.certificate.value for found in design_each(CHOICES["none"], problems, 5.0)]
    np.testing.assert_allclose(parts, whole, rtol=1e-9)

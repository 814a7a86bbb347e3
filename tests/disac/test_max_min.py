"""The largest least SINR by prices: both ends proven apart, against closed forms, CVXPY and the bisection of the designs."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from disac.designs.cross import ALL, ROWS, band_problem, tone_problem
from disac.designs.location import phase_agnostic, unconstrained_tight
from disac.designs.location.feasibility import PowerProgram, proven_need
from disac.designs.location.largest import largest_sinr
from disac.designs.location.max_min import CLOSED, max_min_sinr
from disac.designs.location.problem import DesignProblem, Structure
from disac.designs.robust.known_data import solve_known_data
from disac.drops.common import common_network
from disac.metrics.fisher import SensingModel
from disac.optim.conic import SETTINGS
from disac.power_limits import PER_ANTENNA, PER_NODE, TOTAL
from disac.scenarios.common import CommonScenario
from disac.units import db_to_linear, linear_to_db

KINDS = tuple(itertools.product((TOTAL, PER_NODE), ("noncoherent", "coherent"), ("free", "flat")))


def small(number: int, **fixed: int) -> DesignProblem:
    """A random problem of the kind that its number says. With more users than antennas interference limits the SINR."""
    random = np.random.default_rng(number)
    shape = [fixed.get(name, int(random.integers(1, most))) for name, most in (("N", 5), ("U", 6), ("L", 5), ("M", 5))]
    nodes, users, count, antennas = shape
    h = random.standard_normal((nodes, users, count, antennas)) + 1j * random.standard_normal((nodes, users, count, antennas))
    h *= 10 ** random.uniform(-1, 1, (nodes, users, 1, 1))
    places = random.uniform(-100, 100, (nodes, 2))
    model = SensingModel(places, np.zeros((1, 2)), np.ones((nodes, nodes, 1), complex), antennas, antennas, count, 1e7, 1.0)
    limit, sinr_type, spectrum = KINDS[number % len(KINDS)]
    power = 10 ** random.uniform(-2, 2)
    return DesignProblem(model, h, power, 1.0, power_limit=limit, sinr_type=sinr_type, spectrum=spectrum)


def structure_of(problem: DesignProblem) -> Structure:
    return (phase_agnostic if problem.sinr_type == "noncoherent" else unconstrained_tight).structure(problem)


@pytest.mark.parametrize("first", range(0, 80, 8))
def test_both_ends_are_proven(first: int) -> None:
    for number in range(first, first + 8):
        problem = small(number)
        found = max_min_sinr(problem)
        assert 0 < db_to_linear(found.beyond_db - found.reached_db) - 1 < 1.1 * CLOSED
        whole = found.streams.sum(axis=0)
        assert np.linalg.eigvalsh(found.streams).min() > -1e-12 * problem.power_share(whole)
        assert problem.power_share(whole) <= 1 + 1e-9
        assert linear_to_db(float(problem.sinr(found.streams, whole).min())) == found.reached_db
        need = proven_need(problem, structure_of(problem), db_to_linear(found.beyond_db), found.power_dual, found.sinr_dual)
        assert need.proves_infeasible


@pytest.mark.parametrize("number", range(8))
def test_cvxpy_needs_all_the_power_there(number: int) -> None:
    problem = small(number + 100, N=2, U=2, L=2, M=2)
    found = max_min_sinr(problem)
    program = PowerProgram(problem, structure_of(problem))
    within, beyond = (program.solve(db_to_linear(level), SETTINGS[0]) for level in (found.reached_db, found.beyond_db))
    assert within is not None
    assert beyond is not None
    assert within.at_least <= 1 + 1e-6
    assert beyond.at_least >= 1 - 1e-6


def test_the_bisection_of_the_designs_agrees() -> None:
    for number in (1, 3):
        problem = small(number + 200, N=2, U=2, L=1, M=2)
        bisected, found = largest_sinr(problem, structure_of(problem)), max_min_sinr(problem)
        assert bisected.reached_db <= found.beyond_db
        assert found.reached_db <= bisected.beyond_db


@pytest.mark.parametrize("spectrum", ["free", "flat"])
def test_one_user_of_one_node_has_a_closed_form(spectrum: str) -> None:
    """Matched filters. Free: every subcarrier has ``P / sum_l (sigma^2 / (L |h_l|^2))``; flat: the weakest one, with P/L."""
    problem = dataclasses.replace(small(300, N=1, U=1, L=4, M=3), spectrum=spectrum, power_limit=PER_NODE)
    gain = (np.abs(problem.channels[0, 0]) ** 2).sum(axis=-1)
    power, noise = problem.per_antenna_power * 3, problem.noise_power / 4
    expected = power / (noise / gain).sum() if spectrum == "free" else power / 4 * gain.min() / noise
    found = max_min_sinr(problem)
    assert found.reached_db <= linear_to_db(float(expected)) <= found.beyond_db
    assert found.reached_db == pytest.approx(linear_to_db(float(expected)), abs=1e-4)


def test_more_knowledge_and_freedom_reach_more() -> None:
    """Coherent at least noncoherent, free at least flat, one limit at least one for each node."""
    for number in range(400, 402):
        problem = small(number, N=3, U=3, L=3, M=3)
        reached = {
            (limit, kind, spectrum): max_min_sinr(
                dataclasses.replace(problem, power_limit=limit, sinr_type=kind, spectrum=spectrum)
            ).reached_db
            for limit, kind, spectrum in KINDS
        }
        for limit, kind, spectrum in KINDS:
            here = reached[limit, kind, spectrum] - 0.003
            assert reached[TOTAL, kind, spectrum] >= here
            assert reached[limit, "coherent", spectrum] >= here
            assert reached[limit, kind, "free"] >= here


@pytest.mark.parametrize("name", ["largest-sinr", "largest-sinr-coherent"])
@pytest.mark.parametrize("spectrum", ["free", "flat"])
def test_the_rows_of_the_common_table_deliver_it(name: str, spectrum: str) -> None:
    scenario = CommonScenario(bandwidth_hz=5e6, spectrum=spectrum)
    network = common_network(scenario)
    record = ROWS[name].method(network, scenario)
    assert (record.status, record.message) == ("ok", "")
    assert 0 < record.gap < 1e-3
    assert record.users is not None
    assert record.sensing is not None
    assert not record.sensing.any()
    kind = "noncoherent" if name == "largest-sinr" else "coherent"
    problem = band_problem(network, ALL, sinr_type=kind, spectrum=scenario.spectrum)
    assert problem.power_share(record.users.sum(axis=0)) == pytest.approx(1.0)


def test_what_it_cannot_pose_is_told() -> None:
    problem = small(0, N=2, U=2, L=2, M=2)
    with pytest.raises(ValueError, match="nodes' limits"):
        max_min_sinr(dataclasses.replace(problem, power_limit=PER_ANTENNA))
    channels = problem.channels.copy()
    channels[:, 1, 0] = 0
    with pytest.raises(ValueError, match="user 1 hears no node on subcarrier 0"):
        max_min_sinr(dataclasses.replace(problem, channels=channels))


def test_a_search_without_an_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from disac.designs.location import max_min

    monkeypatch.setattr(max_min, "ROUNDS", 1)
    scenario = CommonScenario(bandwidth_hz=5e6)
    record = ROWS["largest-sinr"].method(common_network(scenario), scenario)
    assert record.status == "failed"
    assert record.message.startswith("The search for the largest SINR ended without an answer: the largest SINR lies between")


def test_designs_serve_up_to_the_largest_sinr() -> None:
    """Just below it every subcarrier has a certified design of the coherent SINR, just above it one is proven to have none."""
    scenario = CommonScenario(bandwidth_hz=1.25e6, spectrum="flat")
    network = common_network(scenario)
    found = max_min_sinr(band_problem(network, ALL, sinr_type="coherent", spectrum="flat"))
    tones = [tone_problem(network, tone, PER_NODE) for tone in range(network.subcarriers)]
    below = solve_known_data(tones, db_to_linear(found.reached_db) * (1 - 1e-4))
    assert {design.certificate.status for design in below} == {"ok"}
    beyond = solve_known_data(tones, db_to_linear(found.beyond_db))
    assert "infeasible" in {design.certificate.status for design in beyond}

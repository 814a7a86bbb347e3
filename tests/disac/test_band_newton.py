"""Services and tangents of a whole band by Newton's method, against cone programs; bounds of few vertices against all."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from scipy.optimize import linprog

from disac.designs.robust import band as band_module
from disac.designs.robust import band_bounds, band_newton
from disac.designs.robust.band import BandProblem, TangentProgram, proven_in_band, quietest_in_band, solve_band
from disac.designs.robust.band_bounds import best_of_parts, spread_first
from disac.designs.robust.choices import CHOICES
from disac.designs.robust.guards import Margins
from disac.designs.robust.limited_power import Care
from disac.designs.robust.subcarriers import Subcarriers, subcarriers_of
from disac.metrics.kld import EchoModel
from disac.optim.polytope import polytope_vertices
from disac.power_limits import PER_NODE

NAMES = ["none", "lemma1", "phase"]


def _margins(name: str) -> Margins:
    margins = CHOICES[name].margins
    assert margins is not None
    return margins


def _band(seed: int = 0, *, nodes: int = 3, power: float = 30.0, law: str = "element") -> BandProblem:
    """Four subcarriers with independent Rayleigh channels."""
    random = np.random.default_rng([seed, nodes])
    shape = (nodes, 2, 4, 3)
    channels = (random.standard_normal(shape) + 1j * random.standard_normal(shape)) / np.sqrt(2.0)
    steering = np.exp(2j * np.pi * random.uniform(size=(nodes, 3)))
    echoes = EchoModel(random.uniform(0.02, 0.2, (nodes, nodes)), np.broadcast_to(np.eye(nodes), (nodes, nodes, nodes)))
    radius = 0.05 * np.linalg.norm(channels, axis=3)
    return BandProblem(channels, steering, echoes, power, 1.0, radius, 0.05, PER_NODE, 4, law)


def _tones(band: BandProblem, name: str, sinr: float) -> Subcarriers:
    return subcarriers_of(band.tones, _margins(name), sinr)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prices", [(1.0, 1.0, 1.0), (0.2, 2.0, 0.8), (2.9, 0.09, 0.01)])
def test_all_services_are_those_of_one_program_each(name: str, prices: tuple[float, ...]) -> None:
    band, each = _band(), np.array(prices)
    found = band_newton.quietest(_tones(band, name, 2.0), each)
    assert found.tight.all()
    with mock.patch.object(band_module, "has_coordinates", return_value=False):
        alone = quietest_in_band(band, _margins(name), 2.0, each)
    assert found.simplices.share.sum() == pytest.approx(alone.share, rel=1e-7)
    assert found.simplices.reach == pytest.approx(alone.reach, rel=1e-6)
    again = band_newton.quietest(_tones(band, name, 2.0), each, band_newton.quietest(_tones(band, name, 2.0), np.ones(3)).point)
    assert again.simplices.share == pytest.approx(found.simplices.share, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nodes", [1, 3])
def test_no_cone_program_goes_further_within_the_limits_of_the_whole_band(name: str, nodes: int) -> None:
    band, random = _band(nodes=nodes), np.random.default_rng(nodes)
    tones, program = _tones(band, name, 2.0), TangentProgram(band, _margins(name), 2.0, Care(1e-9, 1e-9, own_units=True))
    near = None
    for lit in (1.0, 0.3):
        weights = random.uniform(0.1, 1.0, (4, nodes)) * (random.uniform(size=(4, nodes)) < lit)
        weights[0] = 0.5
        weights /= np.linalg.norm(weights)
        found = band_newton.furthest(tones, weights, near)
        assert found is not None
        solution, furthest = program.furthest(weights)
        assert solution.solved
        amplitudes = tones.amplitudes(found.point)
        assert np.sum(weights * amplitudes) == pytest.approx(float(np.sum(weights * furthest)), rel=1e-7)
        assert found.prices == pytest.approx(program.prices(solution), rel=1e-3, abs=1e-3)
        users, sensing = tones.beams(found.point)
        spent = (np.abs(users) ** 2).sum(axis=(0, 1, 3)) + (np.abs(sensing) ** 2).sum(axis=(0, 2))
        assert spent.max() * nodes <= band.power * (1.0 + 1e-9)
        assert not sensing[weights == 0].any()
        near = found.services.point


def test_users_that_need_more_than_the_power_have_no_tangent() -> None:
    band = _band(power=0.05)
    tones = _tones(band, "none", 10.0)
    assert band_newton.quietest(tones, np.ones(3)).simplices.share.sum() > 1.0
    assert band_newton.furthest(tones, np.full((4, 3), 0.5 / np.sqrt(3.0))) is None
    found = solve_band(band, _margins("none"), 10.0)
    assert found.certificate.status == "infeasible"
    assert found.prices is not None
    assert proven_in_band(band, _margins("none"), 10.0, found.prices)[0] > 1.0


@pytest.mark.parametrize("name", NAMES)
def test_a_service_at_a_price_that_no_beam_meets_is_not_called_tight(name: str) -> None:
    """At 40 dB two users of one node with errors cannot be served; what is proven is below what any beams take."""
    band = replace(_band(nodes=1), ball_radius=np.full((1, 2, 4), 0.4))
    found = band_newton.quietest(_tones(band, name, 1e4), np.ones(1))
    assert found.tight.all() == (name != "lemma1")
    if name == "lemma1":
        alone = quietest_in_band(band, _margins(name), 1e4, np.ones(1))
        assert alone.share > 1.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("law", ["interval", "element"])
def test_designs_are_those_of_cone_programs(name: str, law: str) -> None:
    """Where Newton's method is not used, cone programs find the same design, up to what ends a climb."""
    band = _band(1, law=law)
    found = solve_band(band, _margins(name), 2.0)
    with mock.patch.object(band_module, "has_coordinates", return_value=False):
        alone = solve_band(band, _margins(name), 2.0)
    assert found.certificate.status == alone.certificate.status == "ok"
    assert found.certificate.value == pytest.approx(alone.certificate.value, rel=1e-3)
    assert found.certificate.value <= alone.certificate.dual_bound * (1.0 + 1e-9)
    assert alone.certificate.value <= found.certificate.dual_bound * (1.0 + 1e-9)


def _divergence(powers: np.ndarray) -> np.ndarray:
    total = powers @ np.array([[3.0, 1.0, 0.5], [0.2, 2.0, 1.0], [1.0, 1.0, 4.0]])
    return np.asarray((total - np.log1p(total)).sum(axis=-1))


def test_the_bound_of_few_vertices_is_that_of_all() -> None:
    """One region: the linear program over all vertices of all subcarriers, written here with all of its columns."""
    random = np.random.default_rng(5)
    for count in (1, 3, 6):
        simplices = [(float(random.uniform(0.0, 0.3)), random.uniform(0.3, 2.0, (5, 3))) for _ in range(count)]
        _, weights, bound = best_of_parts(simplices, _divergence)
        left, inverse = 1.0 - np.array([s for s, _ in simplices]), np.array([1.0 / r for _, r in simplices])
        each = [polytope_vertices(inverse[:, place], left) for place in range(5)]
        where, vertices = np.repeat(np.arange(5), [len(own) for own in each]), np.concatenate(each)
        rows = np.vstack([np.einsum("ivn,vn->iv", inverse[:, where], vertices), np.eye(5)[:, where]])
        whole = linprog(-_divergence(vertices), rows, np.concatenate([left, np.ones(5)]), method="highs")
        assert bound == pytest.approx(-whole.fun, rel=1e-7)
        assert weights.shape == (count,)


def test_vertices_of_few_simplices_bound_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    simplices = [(0.1, random.uniform(0.3, 2.0, (4, 3))) for _ in range(8)]
    exact = best_of_parts(simplices, _divergence)[2]
    bounds = []
    for facets in (2, 4, 8):
        monkeypatch.setattr(band_bounds, "FACETS", facets)
        bounds.append(best_of_parts(simplices, _divergence)[2])
    assert bounds[2] == pytest.approx(exact, rel=1e-12)
    assert bounds[0] >= bounds[1] * (1.0 - 1e-7) >= exact * (1.0 - 2e-7)
    assert bounds[0] > exact * 1.1


def test_a_region_at_the_edge_of_a_simplex_keeps_its_bound() -> None:
    """Divisions where a node takes all that a simplex leaves: random powers within do not exceed the bound."""
    random = np.random.default_rng(6)
    simplices = [(0.1, random.uniform(0.5, 1.5, (4, 3))) for _ in range(8)]
    with mock.patch.object(band_bounds, "FACETS", 2):
        bound = best_of_parts(simplices, _divergence, 20)[2]
    powers = random.exponential(size=(500, 4, 3)) * (random.uniform(size=(500, 4, 3)) < 0.3)
    used = np.array([(powers / reach).sum(axis=(1, 2)) for _, reach in simplices]).max(axis=0)
    powers *= (0.9 / np.maximum(used, 1e-12))[:, np.newaxis, np.newaxis]
    assert _divergence(powers).sum(axis=1).max() <= bound


def test_a_linear_program_that_fails_leaves_a_bound() -> None:
    simplices = [(0.1, np.random.default_rng(7).uniform(0.5, 1.5, (4, 3))) for _ in range(2)]
    exact = best_of_parts(simplices, _divergence)[2]
    with mock.patch.object(band_bounds, "_best_shares", return_value=None):
        assert best_of_parts(simplices, _divergence)[2] >= exact


def test_points_are_ordered_by_their_distance_from_those_before() -> None:
    points = np.array([[0.0], [1.0], [10.0], [4.0], [10.0]])
    assert spread_first(points, [1]).tolist() == [1, 2, 3, 0, 4]
    assert spread_first(points, [1, 0]).tolist() == [1, 0, 2, 3, 4]

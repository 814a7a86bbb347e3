"""The designs of 002 against certified optima of an independent solver, and their certificates against themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cases import array, load, load_prior, sensing_model

from disac.designs.location.delivery import Design
from disac.designs.location.design import METHODS, Designer, Solver
from disac.designs.location.feasibility import PowerProgram, dual_slack, repaired, sinr_rows
from disac.designs.location.of_scenario import design_problem
from disac.designs.location.problem import DesignProblem
from disac.designs.location.reference import decorrelate, hermitian_basis, quiet_coordinates
from disac.metrics.sinr import noncoherent_sinr
from disac.optim.certificate import Certificate
from disac.optim.conic import SETTINGS
from disac.scenarios.noncoherent import Scenario
from disac.units import db_to_linear

CASE_KEYS = {"orthogonal": "P2", "beamforming": "P3", "unconstrained-tight": "P1T", "unconstrained": "P1"}
TOLERANCE = {"fast": 1e-6, "reference": 2e-4}


def problem(case: dict) -> DesignProblem:
    return DesignProblem(sensing_model(case), array(case["h"]), case["PT"], case["sigma_c2"])


_DESIGNS: dict[tuple[str, str, Solver], tuple[Designer, Design]] = {}


def designed(name: str, method: str, solver: Solver = "fast") -> tuple[Designer, Design]:
    if (name, method, solver) not in _DESIGNS:
        case = load(name)
        designer = Designer(problem(case), method, solver)
        _DESIGNS[name, method, solver] = designer, designer.design(db_to_linear(case["gamma_db"]))
    return _DESIGNS[name, method, solver]


SOLVES = [("fast", n) for n in ("case_00", "case_03", "case_05", "case_08")]
SOLVES += [("reference", n) for n in ("case_00", "case_05")]
SLOW = [pytest.param("reference", n, marks=pytest.mark.slow) for n in ("case_03", "case_08")]


@pytest.mark.parametrize("method", CASE_KEYS)
@pytest.mark.parametrize(("solver", "name"), [*SOLVES, *SLOW])
def test_the_optimum_agrees_with_an_independent_solver(solver: Solver, name: str, method: str) -> None:
    reference = load(name)["designs"][CASE_KEYS[method]]
    certificate = designed(name, method, solver)[1].certificate
    assert certificate.status == "ok", certificate.message
    assert certificate.value == pytest.approx(reference["primal"], rel=TOLERANCE[solver])
    assert certificate.dual_bound <= reference["primal"]
    assert certificate.value >= reference["dual"] * (1 - (1e-7 if solver == "fast" else 1e-9))
    assert certificate.relative_gap < TOLERANCE[solver]


@pytest.mark.parametrize("solver", ["fast", "reference"])
def test_the_phase_agnostic_optimum_agrees_with_an_independent_solver(solver: Solver) -> None:
    case = load_prior("case_pa_n2u2")
    designer = Designer(problem(case), "phase-agnostic", solver)
    certificate = designer.design(db_to_linear(case["gamma_db"])).certificate
    assert certificate.status == "ok", certificate.message
    assert certificate.value == pytest.approx(case["primal"], rel=TOLERANCE[solver])
    assert certificate.dual_bound <= case["primal"]
    assert certificate.worst_violation < 1e-5
    uniform = designer.crb_m2(designer.structure.uniform_covariances(designer.problem))
    assert uniform == pytest.approx(case["crb_uniform"], rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_the_certificate_can_be_recomputed_by_hand(method: str) -> None:
    case = load("case_05")
    designer, design = designed("case_05", method)
    assert design.streams is not None
    transmitted = design.streams.sum(axis=0)
    power = np.real(np.einsum("lii->i", transmitted))
    assert power.max() <= case["PT"] * (1 + 1e-5)
    h, gamma = array(case["h"]), db_to_linear(case["gamma_db"])
    for user, subcarrier in np.ndindex(case["U"], case["L"]):
        wanted = other = 0.0
        for node in range(case["N"]):
            block = slice(node * case["Mt"], (node + 1) * case["Mt"])
            channel = h[node, user, subcarrier]
            for stream in range(case["U"]):
                heard = np.real(channel.conj() @ design.streams[stream, subcarrier, block, block] @ channel)
                wanted, other = (wanted + heard, other) if stream == user else (wanted, other + heard)
        assert wanted / (other + case["sigma_c2"] / case["L"]) >= gamma * (1 - 1e-5)
    for matrices in designer.structure.definite(designer.problem, design.streams):
        assert min(np.linalg.eigvalsh(matrices).min(), 0) > -1e-12
    assert designer.crb_m2(designer.structure.objective_covariances(transmitted)) == design.certificate.value


@pytest.mark.parametrize("method", METHODS)
def test_an_infeasible_target_is_proved_by_a_dual_ray(method: str) -> None:
    case = load("case_13")
    gamma = db_to_linear(case["gamma_db"])
    designer = Designer(problem(case), method)
    design = designer.design(gamma)
    assert design.certificate.status == "infeasible"
    need = PowerProgram(designer.problem, designer.structure).solve(gamma, SETTINGS[0])
    assert need is not None
    assert need.proves_infeasible
    silent = np.zeros((case["L"], len(need.power_dual), len(need.power_dual)))
    slack = dual_slack(designer.problem, designer.structure, gamma, need.power_dual, need.sinr_dual, silent)
    assert slack >= -1e-12 * need.power_dual.max()
    assert case["sigma_c2"] / case["L"] * need.sinr_dual.sum() > case["PT"] * need.power_dual.sum()


def test_the_stored_ray_of_the_case_is_a_certificate_by_our_check() -> None:
    case = load("case_13")
    designer = Designer(problem(case), "unconstrained-tight")
    stored = case["designs"]["P1T"]["certificate"]
    power, sinr = np.array(stored["lam"]), np.array(stored["mu"]).T
    silent = np.zeros((case["L"], len(power), len(power)))
    assert dual_slack(designer.problem, designer.structure, db_to_linear(case["gamma_db"]), power, sinr, silent) > 0


def test_the_dual_bound_notices_wrong_multipliers() -> None:
    """Positive control: the bound must fall when the multipliers are spoiled, and stay a bound."""
    designer, design = designed("case_05", "orthogonal")
    assert design.streams is not None
    sinr = db_to_linear(load("case_05")["gamma_db"])
    assert design.power_dual is not None
    assert design.sinr_dual is not None
    assert design.fisher_dual is not None
    good = designer.dual_bound(sinr, design.power_dual, design.sinr_dual, design.fisher_dual)
    assert good == pytest.approx(design.certificate.dual_bound, rel=1e-12)
    spoiled = design.power_dual * np.random.default_rng(0).uniform(0.5, 1.5, len(design.power_dual))
    bad = designer.dual_bound(sinr, spoiled, design.sinr_dual, design.fisher_dual)
    assert bad < 0.999 * good <= design.certificate.value
    assert designer.dual_bound(sinr, design.power_dual, np.zeros_like(design.sinr_dual), design.fisher_dual) < good
    random = np.random.default_rng(1).uniform(0.5, 1.5, design.fisher_dual.shape)
    assert designer.dual_bound(sinr, design.power_dual, design.sinr_dual, random * design.fisher_dual) < good


def test_a_certificate_beyond_its_limits_is_not_ok() -> None:
    good = Certificate("ok", "", 1.0, 0.9999, 0.0, 0.0, 0.0)
    assert good.judged().status == "ok"
    for spoiled in (
        dataclasses.replace(good, dual_bound=0.9),
        dataclasses.replace(good, dual_bound=float("nan")),
        dataclasses.replace(good, sinr_violation=1e-3),
    ):
        assert spoiled.judged().status == "inaccurate"
        assert spoiled.judged().message


def test_one_node_makes_the_unconstrained_and_the_orthogonal_design_equal() -> None:
    a, b = (designed("case_00", m)[1].certificate.value for m in ("orthogonal", "unconstrained-tight"))
    assert a == pytest.approx(b, rel=1e-6)


def test_the_orthogonal_optimum_does_not_know_the_phases_of_the_nodes() -> None:
    """One node per subcarrier: turning a transmitter's oscillator leaves the optimum alone (cross-paper note A1)."""
    case = load("case_05")
    given = problem(case)
    turned = given.sensing.amplitudes * np.exp(1j * np.array([0.0, 2.0]))[np.newaxis, :, np.newaxis]
    other = dataclasses.replace(given, sensing=dataclasses.replace(given.sensing, amplitudes=turned))
    gamma = db_to_linear(case["gamma_db"])
    certificate = Designer(other, "orthogonal").design(gamma).certificate
    expected = designed("case_05", "orthogonal")[1].certificate
    assert certificate.dual_bound <= expected.value
    assert certificate.value == pytest.approx(expected.value, rel=2e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_repaired_design_keeps_its_promises_at_the_stated_cost(method: str) -> None:
    designer, design = designed("case_05", method)
    given, sinr = designer.problem, db_to_linear(load("case_05")["gamma_db"])
    need = PowerProgram(given, designer.structure).solve(sinr, SETTINGS[0])
    assert need is not None
    assert need.streams is not None
    assert design.streams is not None
    broken = 0.97 * design.streams
    assert sinr_rows(given, broken, sinr).min() < 0
    mended = repaired(given, broken, need.streams, sinr)
    assert sinr_rows(given, mended, sinr).min() >= 0
    transmitted = mended.sum(axis=0)
    reached = noncoherent_sinr(given.channels, mended, transmitted, given.noise_power)
    assert reached.min() >= sinr * (1 - 1e-12)
    assert np.real(np.einsum("lii->i", transmitted)).max() <= given.per_antenna_power * (1 + 1e-12)
    share = 1 - np.linalg.norm(mended - need.streams) / np.linalg.norm(broken - need.streams)
    assert 0 < share < 0.5
    before = designer.crb_m2(designer.structure.objective_covariances(broken.sum(axis=0)))
    assert designer.crb_m2(designer.structure.objective_covariances(transmitted)) <= before / (1 - share) * (1 + 1e-9)
    assert repaired(given, need.streams, need.streams, sinr) is need.streams


@pytest.mark.parametrize("method", METHODS)
def test_more_power_never_locates_worse(method: str) -> None:
    case = load("case_05")
    richer = dataclasses.replace(problem(case), per_antenna_power=2.0 * case["PT"])
    better = Designer(richer, method).design(db_to_linear(case["gamma_db"])).certificate
    assert better.value < designed("case_05", method)[1].certificate.dual_bound


def test_extracted_beams_of_the_orthogonal_design_are_exact() -> None:
    """Theorem 3 of 002."""
    designer, design = designed("case_05", "orthogonal")
    sent = designer.delivered(design, db_to_linear(load("case_05")["gamma_db"]))
    assert sent.crb_m2 == pytest.approx(design.certificate.value, rel=1e-9)
    assert sent.min_sinr >= db_to_linear(load("case_05")["gamma_db"]) * (1 - 1e-5)
    assert sent.remainder is not None
    assert np.linalg.eigvalsh(sent.remainder).min() > -1e-10


def test_the_beamforming_objective_is_not_the_bound_of_what_is_transmitted() -> None:
    case = load("case_05")
    _, design = designed("case_05", "beamforming")
    assert design.delivered_crb_m2 == pytest.approx(case["designs"]["P3"]["true_crb_of_relaxed_R"], rel=5e-3)
    assert design.delivered_crb_m2 > 2 * design.certificate.value


def test_decorrelation_leaves_the_bound_alone_and_whitens() -> None:
    random = np.random.default_rng(3)
    factor = random.standard_normal((7, 7)) * np.logspace(0, 4, 7)[:, np.newaxis]
    information = factor @ factor.T
    change = decorrelate(information, 2)
    np.testing.assert_allclose(change.transform @ information @ change.transform.T, np.eye(7), atol=1e-8)
    bound = np.trace(np.linalg.inv(information)[:2, :2])
    assert change.scale_m2 * np.trace(change.selection.T @ change.selection) == pytest.approx(bound, rel=1e-9)


def test_hermitian_coordinates_span_the_hermitian_matrices() -> None:
    basis = hermitian_basis(4)
    assert np.linalg.matrix_rank(np.concatenate([basis.real, basis.imag], axis=1).reshape(16, -1)) == 16
    np.testing.assert_array_equal(basis, basis.conj().swapaxes(1, 2))


def test_quiet_coordinates_are_a_congruence_that_shrinks_what_is_heard() -> None:
    rng = np.random.default_rng(7)
    heard = rng.normal(size=(1, 4)) + 1j * rng.normal(size=(1, 4))
    basis = hermitian_basis(4)
    coordinates = quiet_coordinates(basis, heard, 99.0)
    factor = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    inner = factor @ factor.conj().T
    own = np.real(np.einsum("ij,kji->k", inner, basis)) / np.real(np.einsum("kij,kji->k", basis, basis))
    outer = np.tensordot(coordinates @ own, basis, axes=1)
    direction = heard[0] / np.linalg.norm(heard)
    shrink = np.eye(4) - (1.0 - (1.0 + 99.0) ** -0.5) * np.outer(direction, direction.conj())
    np.testing.assert_allclose(outer, shrink @ inner @ shrink, atol=1e-12)
    np.testing.assert_allclose(quiet_coordinates(basis, heard[:0], 99.0).toarray(), np.eye(16), atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "users", "realisation", "sinr_db"), [
    ("unconstrained-tight", 3, 1, 32.0), ("unconstrained-tight", 2, 2, 35.0),
    ("orthogonal", 1, 2, 38.0), ("beamforming", 1, 2, 38.0),
])  # fmt: skip
def test_designs_next_to_the_largest_sinr_are_solved(method: str, users: int, realisation: int, sinr_db: float) -> None:
    scenario = Scenario.model_validate({
        "layout": {"nodes_m": [[-46.19, -19.13], [46.19, -19.13]], "target_count": 2, "user_count": users},
        "channel": {"realisation": realisation},
    })  # fmt: skip
    certificate = Designer(design_problem(scenario), method).design(db_to_linear(sinr_db)).certificate
    assert certificate.status == "ok", certificate.message
    assert certificate.relative_gap < 1e-3

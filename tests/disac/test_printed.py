"""(24) of 002 as printed, for several users: its optimum, its certificate, and what Remark 2 leaves out."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from cases import load
from test_designs import problem
from test_interior_point import check_ending, random_problem

from disac.designs.location import unconstrained
from disac.designs.location.delivery import Design
from disac.designs.location.design import Designer
from disac.designs.location.judge import location_crb_m2
from disac.designs.location.problem import DesignProblem
from disac.designs.location.structured import FastSolver
from disac.designs.location.unconstrained import heard_basis, node_streams
from disac.experiments.ofdm_tradeoff import Options, experiment
from disac.metrics.fisher import SensingModel
from disac.optim.ties import combined, rank_one_basis, tie_vectors
from disac.scenarios.noncoherent import Scenario
from disac.units import db_to_linear


def small_problem(targets: int, users: int, seed: int = 0) -> DesignProblem:
    """Two nodes with three antennas on four subcarriers."""
    r = np.random.default_rng(seed)
    model = SensingModel(
        r.uniform(-60, 60, (2, 2)), r.uniform(-30, 30, (targets, 2)),
        np.sqrt(10) * np.exp(2j * np.pi * r.random((2, 2, targets))), 3, 3, 4, 20e6, 0.01,
    )  # fmt: skip
    shape = (2, users, 4, 3)
    channels = (r.standard_normal(shape) + 1j * r.standard_normal(shape)) / np.sqrt(2)
    return DesignProblem(model, channels, 1.0, 0.01)


def random_definite(size: int, count: tuple[int, ...], r: np.random.Generator, rank: int | None = None) -> np.ndarray:
    shape = (*count, size, rank or size)
    factor = r.standard_normal(shape) + 1j * r.standard_normal(shape)
    return factor @ factor.conj().swapaxes(-1, -2)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_rows_along_the_vectors_of_a_tie_say_all_of_it(size: int) -> None:
    held = random_definite(size, (3,), np.random.default_rng(0))
    vectors = tie_vectors(held)
    outer = vectors[..., :, np.newaxis] * vectors.conj()[..., np.newaxis, :]
    as_real = np.concatenate([outer.real, outer.imag], axis=-1).reshape(3, size**2, -1)
    assert (np.linalg.matrix_rank(as_real) == size**2).all()
    np.testing.assert_allclose(np.einsum("cki,cij,ckj->ck", vectors.conj(), held, vectors).real, 1.0, rtol=1e-10)
    coefficients = np.random.default_rng(1).standard_normal((3, size**2))
    np.testing.assert_allclose(combined(coefficients, vectors), np.einsum("ck,ckij->cij", coefficients, outer), atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(rank_one_basis(size), axis=-1), 1.0)


@pytest.mark.parametrize(("users", "antennas"), [(2, 4), (3, 3), (4, 2)])
def test_streams_of_a_node_keep_what_users_hear_and_stay_within(users: int, antennas: int) -> None:
    """``Q^H R_c Q`` is K exactly where the K add up; where they miss by a little, their sum still stays within R_nn."""
    r = np.random.default_rng(users)
    channels = r.standard_normal((5, users, antennas)) + 1j * r.standard_normal((5, users, antennas))
    basis = heard_basis(channels)
    np.testing.assert_allclose(
        np.einsum("cim,cjm,cuj->cui", basis, basis.conj(), channels), channels, atol=1e-12
    )  # fmt: skip
    whole = random_definite(antennas, (5,), r)
    root = np.linalg.cholesky(basis.conj().swapaxes(-1, -2) @ whole @ basis)[:, np.newaxis]
    share = random_definite(root.shape[-1], (5, users), r)
    even = np.linalg.inv(np.linalg.cholesky(share.sum(axis=1)))[:, np.newaxis]
    held = root @ even @ share @ even.conj().swapaxes(-1, -2) @ root.conj().swapaxes(-1, -2)
    streams = node_streams(whole, basis, held)
    q = basis[:, np.newaxis]
    np.testing.assert_allclose(q.conj().swapaxes(-1, -2) @ streams @ q, held, atol=1e-11 * np.abs(held).max())
    missed = node_streams(whole, basis, held * (1.0 + 1e-3 * r.standard_normal((5, users, 1, 1))))
    for found in (streams, missed):
        assert np.linalg.eigvalsh(found).min() > -1e-12 * np.abs(whole).max()
        assert np.linalg.eigvalsh(whole - found.sum(axis=1)).min() > -1e-12 * np.abs(whole).max()


@pytest.mark.parametrize(("targets", "users"), [(1, 2), (2, 2), (1, 3), (2, 3)])
def test_the_printed_problem_agrees_with_cvxpy_and_lies_below_the_tight_one(targets: int, users: int) -> None:
    given, sinr = small_problem(targets, users), db_to_linear(12.0)
    fast = Designer(given, "unconstrained").design(sinr).certificate
    slow = Designer(given, "unconstrained", "reference").design(sinr).certificate
    assert fast.status == slow.status == "ok", (fast.message, slow.message)
    assert fast.relative_gap < 1e-7
    assert fast.value == pytest.approx(slow.value, rel=2e-4)
    assert fast.dual_bound <= slow.value
    assert slow.dual_bound <= fast.value
    tight = Designer(given, "unconstrained-tight").design(sinr).certificate
    agnostic = Designer(given, "phase-agnostic").design(sinr).certificate
    assert fast.dual_bound <= tight.value <= agnostic.value * (1 + 1e-7)
    assert tight.dual_bound > 1.0005 * fast.value


@pytest.mark.parametrize("targets", [1, 2])
def test_for_one_user_the_printed_problem_is_the_tight_one(targets: int) -> None:
    """The loose structure itself, solved as such: nothing is lost by Remark 2."""
    given, sinr = small_problem(targets, 1), db_to_linear(15.0)
    loose = FastSolver(given, unconstrained.within_whole(given)).solve(sinr)
    tight = Designer(given, "unconstrained-tight").design(sinr).certificate
    assert loose.outcome == "optimal"
    assert loose.streams is not None
    assert location_crb_m2(given, loose.streams.sum(axis=0)) == pytest.approx(tight.value, rel=3e-7)
    assert Designer(given, "unconstrained").design(sinr).certificate.value == tight.value


@pytest.fixture(scope="module")
def designed() -> tuple[Designer, Design, float]:
    sinr = db_to_linear(load("case_05")["gamma_db"])
    designer = Designer(problem(load("case_05")), "unconstrained")
    return designer, designer.design(sinr), sinr


def test_the_bound_holds_for_any_price_and_notices_wrong_ones(designed: tuple[Designer, Design, float]) -> None:
    """Z is checked, not believed: every one gives a bound below the optimum, and none a better one than the optimal."""
    designer, design, sinr = designed
    multipliers = (sinr, design.power_dual, design.sinr_dual, design.fisher_dual)
    best = designer.dual_bound(*multipliers, design.node_dual)
    assert best == pytest.approx(design.certificate.dual_bound, rel=1e-12)
    z, r = design.node_dual, np.random.default_rng(3)
    assert z is not None
    for _ in range(10):
        noise = random_definite(z.shape[-1], z.shape[:2], r)
        for sign in (-1.0, 1.0):
            bound = designer.dual_bound(*multipliers, z + sign * 1e-2 * np.abs(z).max() * noise)
            assert 0.0 < bound < 0.999 * best
    assert designer.dual_bound(*multipliers) < 0.9 * best
    # Beside the streams' prices the whole's matters: without the one or the other a tight relaxation would be bounded.
    assert designer.dual_bound(*multipliers, 0.0 * z) < 0.9 * best


def test_what_is_delivered_is_the_tight_design_and_the_printed_beams_break_what_they_promise(
    designed: tuple[Designer, Design, float],
) -> None:
    designer, design, sinr = designed
    tight = Designer(designer.problem, "unconstrained-tight")
    other = tight.design(sinr)
    sent, printed_ones = designer.delivered(design, sinr), designer.extracted_as_printed(design)
    assert sent.power <= 1 + 1e-6
    assert sent.min_sinr >= sinr * (1 - 1e-6)
    assert sent.crb_m2 == tight.delivered(other, sinr).crb_m2
    assert sent.crb_m2 > 1.001 * design.certificate.value
    assert printed_ones.power > 1.05 or printed_ones.min_sinr < 0.9 * sinr


def test_only_the_whole_and_the_nodes_blocks_are_positive(designed: tuple[Designer, Design, float]) -> None:
    """(24c) and (24d), and no more: with a positive sensing stream the optimum would be the tight one's."""
    designer, design, _ = designed
    assert design.streams is not None
    scale = np.abs(design.streams).max()
    for matrices in designer.structure.definite(designer.problem, design.streams):
        assert np.linalg.eigvalsh(matrices).min() > -1e-12 * scale
    assert np.linalg.eigvalsh(design.streams[-1]).min() < -1e-3 * scale


@pytest.mark.parametrize("clusters", [2, 4])
def test_clusters_of_the_printed_problem(clusters: int) -> None:
    given, sinr = problem(load("case_05")), db_to_linear(0.0)
    fast, slow = (Designer(given, "unconstrained", solver, clusters).design(sinr) for solver in ("fast", "reference"))
    tight = Designer(given, "unconstrained-tight", clusters=clusters).design(sinr).certificate
    assert fast.certificate.status == slow.certificate.status == "ok"
    assert fast.certificate.relative_gap < 1e-7
    assert fast.certificate.value == pytest.approx(slow.certificate.value, rel=2e-4)
    assert fast.certificate.dual_bound <= min(slow.certificate.value, tight.value)


def test_another_sinr_than_that_of_the_paper_is_refused() -> None:
    for sinr_type in ("coherent", "cbf"):
        with pytest.raises(ValueError, match="noncoherent SINR"):
            Designer(dataclasses.replace(small_problem(1, 2), sinr_type=sinr_type), "unconstrained")


def test_a_stored_design_is_judged_again_and_a_spoiled_price_noticed() -> None:
    scenario = Scenario.model_validate(
        {"service": {"sinr_db": 10.0}, "layout": {"user_count": 2}, "waveform": {"subcarriers": 4}}
    )  # fmt: skip
    options = Options(design="unconstrained")
    (result,) = experiment.run([scenario], options)
    assert result["status"] == "ok", result["message"]
    blank = {v.name: np.float64(np.nan) for v in experiment.variables if not v.dims}
    assert experiment.recheck(scenario, options, blank | result) == []
    spoiled = result | {"node_dual": 1.01 * result["node_dual"]}
    assert any("dual_bound is stored as" in said for said in experiment.recheck(scenario, options, blank | spoiled))


def several_users(count: int) -> list[int]:
    """Seeds of random scenarios with two to four users, of a size that takes seconds."""
    found = itertools.count(300)
    given = ((seed, random_problem(seed, 10)[0]) for seed in found)
    fitting = (seed for seed, p in given if p.users > 1 and p.nodes * p.targets <= 8)
    return list(itertools.islice(fitting, count))


@pytest.mark.parametrize("seed", several_users(20))
def test_random_scenarios_with_several_users_end_with_a_certificate(seed: int) -> None:
    """More users than antennas included: a gap below 1e-6, or a ray."""
    assert check_ending(seed, "unconstrained", most_antennas=10) in ("optimal", "infeasible", "unidentifiable")

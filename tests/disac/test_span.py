"""Designs in the span of channels and steering vectors: SINR, information and optimum are those over all antennas."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cases import load, sensing_model

from disac.designs.location.design import METHODS, Designer
from disac.designs.location.problem import DesignProblem, Spectrum
from disac.designs.location.span import of_nodes, with_heard
from disac.designs.location.structured import FastSolver, _on_antennas
from disac.metrics.fisher import fisher_information
from disac.optim.program import block_information
from disac.power_limits import PER_ANTENNA, PER_NODE, power_limit

SINR = 10.0


def problem(limit: str = "per-node", spectrum: Spectrum = "free", antennas: int = 7, users: int = 2) -> DesignProblem:
    """Of more antennas than the users and the derivatives of one target need."""
    case = load("case_05")
    model = dataclasses.replace(sensing_model(case), transmit_antennas=antennas)
    model = dataclasses.replace(model, targets_m=model.targets_m[:1], amplitudes=model.amplitudes[..., :1])
    r = np.random.default_rng(4)
    shape = (len(model.nodes_m), users, model.subcarriers, antennas)
    channels = (r.standard_normal(shape) + 1j * r.standard_normal(shape)) / np.sqrt(2.0)
    return DesignProblem(model, channels, case["PT"], case["sigma_c2"], power_limit=power_limit(limit), spectrum=spectrum)


def test_a_basis_spans_what_is_given_and_no_more() -> None:
    r = np.random.default_rng(0)
    echoed = np.linalg.qr(r.standard_normal((2, 6, 2)) + 1j * r.standard_normal((2, 6, 2)))[0]
    heard = r.standard_normal((5, 2, 2, 6)) + 1j * r.standard_normal((5, 2, 2, 6))
    # A channel twice, silence, and channels that are within the first columns, or nearly, add at most one direction.
    within = (echoed @ r.standard_normal((2, 2, 1))).swapaxes(-1, -2)
    nearly = within + 1e-9 * heard[..., :1, :]
    heard = np.concatenate([heard, 1e-6 * heard[..., :1, :], 0.0 * heard[..., :1, :], 0.0 * nearly + within, nearly], axis=2)
    basis = with_heard(echoed, heard)
    assert basis.shape == (5, 2, 6, 4)
    assert np.array_equal(basis[..., :2], np.broadcast_to(echoed, (5, 2, 6, 2)))
    assert np.abs(basis.conj().swapaxes(-1, -2) @ basis - np.eye(4)).max() < 1e-14
    columns = heard.swapaxes(-1, -2)
    assert np.abs(basis @ (basis.conj().swapaxes(-1, -2) @ columns) - columns).max() < 1e-13


def test_the_only_direction_beyond_may_be_a_faint_one() -> None:
    r = np.random.default_rng(3)
    echoed = np.linalg.qr(r.standard_normal((1, 5, 2)) + 0j)[0]
    faint = (echoed @ np.ones((2, 1))).swapaxes(-1, -2) + 1e-10 * r.standard_normal((4, 1, 1, 5))
    basis = with_heard(echoed, faint)
    assert basis.shape == (4, 1, 5, 3)
    assert np.abs(basis.conj().swapaxes(-1, -2) @ basis - np.eye(3)).max() < 1e-14
    columns = faint.swapaxes(-1, -2)
    assert np.abs(basis @ (basis.conj().swapaxes(-1, -2) @ columns) - columns).max() < 1e-14


def test_bases_of_nodes_stand_on_the_diagonal() -> None:
    r = np.random.default_rng(1)
    bases = r.standard_normal((2, 3, 4, 2)) + 0j
    whole = of_nodes(bases).reshape(2, 3, 4, 3, 2)
    assert np.array_equal(np.einsum("cnanr->cnar", whole), bases)
    assert np.count_nonzero(whole) == bases.size


@pytest.mark.parametrize("method", [m for m in METHODS if m != "unconstrained"])
def test_any_covariance_counts_as_what_is_kept_of_it(method: str) -> None:
    """Information, SINR terms and power of random covariances against those of their projections."""
    given = problem()
    solver = FastSolver(given, METHODS[method].structure(given))
    assert solver._span.shape[-1] == given.users + 2 * given.targets
    size = given.nodes * given.antennas
    r = np.random.default_rng(2)
    factor = r.standard_normal((given.subcarriers, size, size)) + 1j * r.standard_normal((given.subcarriers, size, size))
    covariances = factor @ factor.conj().swapaxes(-1, -2) * solver._structure.together(given)
    kept = np.zeros_like(covariances)
    ours = np.zeros((len(solver._selection),) * 2)
    for (mine, _, _), block, basis in zip(solver._classes, solver._program_blocks, solver._bases, strict=True):
        place = np.ix_(block.cells, mine, mine)
        within = basis.conj().swapaxes(-1, -2) @ covariances[place] @ basis
        kept[place] = _on_antennas(basis, within[:, np.newaxis])[:, 0]
        ours += block_information(block, within / given.per_antenna_power, len(solver._touched))
    seen = solver._structure.objective_covariances(covariances)
    whole = fisher_information(given.derivatives, seen, given.sensing.noise_power)
    expected = solver._transform @ whole @ solver._transform.T
    assert np.abs(ours - expected).max() < 1e-9 * np.abs(expected).max()
    assert given.sinr(kept[np.newaxis], covariances)[0] == pytest.approx(given.sinr(covariances[np.newaxis], covariances)[0])
    assert given.power_share(kept) < given.power_share(covariances)


@pytest.mark.parametrize("spectrum", ["free", "flat"])
@pytest.mark.parametrize("limit", ["per-node", "total"])
@pytest.mark.parametrize("method", METHODS)
def test_the_optimum_is_that_over_all_antennas(
    method: str, limit: str, spectrum: Spectrum, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The same program in coordinates of all antennas has the same value, and the certificate is of all antennas."""
    given = problem(limit, spectrum, antennas=5, users=2)
    less = Designer(given, method).design(SINR).certificate
    everything = np.tile(np.eye(given.antennas, dtype=complex), (given.nodes, 1, 1))
    monkeypatch.setattr("disac.designs.location.structured.echo_basis", lambda model: everything)
    every = Designer(given, method).design(SINR).certificate
    assert less.status == every.status == "ok"
    assert less.relative_gap < 1e-7
    assert less.worst_violation < 1e-7
    assert less.value == pytest.approx(every.value, rel=2e-7)
    assert every.dual_bound <= less.value * (1.0 + 1e-12)


def test_antennas_with_limits_of_their_own_are_all_kept() -> None:
    given = dataclasses.replace(problem(), power_limit=PER_ANTENNA)
    solver = FastSolver(given, METHODS["phase-agnostic"].structure(given))
    assert np.array_equal(solver._span, np.broadcast_to(np.eye(given.antennas), solver._span.shape))
    node = dataclasses.replace(given, power_limit=PER_NODE)
    assert FastSolver(node, METHODS["phase-agnostic"].structure(node))._span.shape[-1] < given.antennas

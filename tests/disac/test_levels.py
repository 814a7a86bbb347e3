"""Designs for stated synchronisation and for the three ways to hear the nodes, against a general solver and each other."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from disac.designs.location import orthogonal, phase_agnostic, synchronised, unconstrained_tight
from disac.designs.location.baselines import communication_only, isotropic
from disac.designs.location.design import Designer
from disac.designs.location.feasibility import dual_slack
from disac.designs.location.problem import SENSING, DesignProblem
from disac.designs.location.structured import FastSolver
from disac.metrics.fisher import (
    SensingModel,
    fisher_information,
    information_by_receiver,
    location_derivatives,
    receiver_derivatives,
)
from disac.metrics.sinr import coherent_sinr, noncoherent_sinr, received_power
from disac.metrics.synchronisation import Synchronisation
from disac.optim.program import block_information
from disac.units import db_to_linear

INF = float("inf")
PRIORS: dict[str, dict[str, float] | None] = {
    "noncoherent": None,
    "link": {"phase_std_rad": 0.0, "link_phase_std_rad": 0.3},
    "node": {"phase_std_rad": 0.5, "link_phase_std_rad": 1e-2},
    "clock": {"clock_std_s": 1e-9},
    "both": {"phase_std_rad": 0.2, "link_phase_std_rad": 0.2, "clock_std_s": 3e-10},
    "oscillators": {"phase_std_rad": 0.1, "link_phase_std_rad": 0.0},
    "coherent": {"phase_std_rad": 0.0, "link_phase_std_rad": 0.0},
    "position": {"position_std_m": 0.01},
}


OTHERS = (("phase-agnostic", "noncoherent"), ("synchronised", "coherent"), ("unconstrained-tight", "noncoherent"))


def given(prior: str, *, users: int = 2, targets: int = 1, split: bool = False, nodes: int = 3, **other: Any) -> DesignProblem:
    """A small random network of three nodes."""
    r = np.random.default_rng(11)
    roles: dict[str, Any] = {"transmitters": (0, 2), "receivers": (1,)} if split else {}
    known = PRIORS[prior]
    hears, sends = (1, 2) if split else (nodes, nodes)
    model = SensingModel(
        50 * np.exp(2j * np.pi * np.arange(nodes)[:, np.newaxis] / nodes + 0.4j).view(float).reshape(nodes, 2),
        r.uniform(-15, 15, (targets, 2)), np.sqrt(10) * np.exp(2j * np.pi * r.random((hears, sends, targets))), 3, 3, 6, 20e6,
        0.01, synchronisation=None if known is None else Synchronisation(carrier_hz=3.5e9, **known), **roles,
    )  # fmt: skip
    shape = (sends, users, 6, 3)
    channels = (r.standard_normal(shape) + 1j * r.standard_normal(shape)) / np.sqrt(2)
    return DesignProblem(model, channels, 1.0, 0.01, **other)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("targets", [1, 2])
def test_information_from_rank_one_factors_is_that_of_the_whole_derivatives(prior: str, targets: int, split: bool) -> None:
    problem = given(prior, targets=targets, split=split)
    if split and targets == 2 and prior == "clock":
        pytest.skip("one receiver cannot tell two targets from unknown clocks")
    solver = FastSolver(problem, unconstrained_tight.structure(problem))
    r = np.random.default_rng(3)
    size = problem.nodes * problem.antennas
    factor = r.standard_normal((6, size, size)) + 1j * r.standard_normal((6, size, size))
    covariances = factor @ factor.conj().swapaxes(-1, -2)
    if prior in ("noncoherent", "clock", "position"):
        covariances = covariances * phase_agnostic.structure(problem).together(problem)
    ours = solver._prior.copy()
    for (mine, _, _), block, basis in zip(solver._classes, solver._program_blocks, solver._bases, strict=True):
        within = basis.conj().swapaxes(-1, -2) @ covariances[block.cells][:, mine[:, np.newaxis], mine] @ basis
        ours += block_information(block, within, len(solver._touched))
    whole = problem.information(covariances)
    kept = len(solver._kept)
    expected = solver._transform[:, :kept] @ whole @ solver._transform[:, :kept].T
    assert np.abs(ours[:kept, :kept] - expected[:kept, :kept]).max() < 1e-8 * np.abs(expected).max()


@pytest.mark.parametrize("prior", PRIORS)
def test_the_synchronised_design_is_certified_and_a_general_solver_agrees(prior: str) -> None:
    problem = given(prior)
    fast = Designer(problem, "synchronised").design(db_to_linear(12.0))
    assert fast.certificate.status == "ok", fast.certificate.message
    assert fast.certificate.relative_gap < 2e-7
    assert fast.certificate.worst_violation < 1e-6
    reference = Designer(problem, "synchronised", "reference").design(db_to_linear(12.0))
    assert reference.certificate.value == pytest.approx(fast.certificate.value, rel=1e-3)
    assert reference.certificate.value >= fast.certificate.dual_bound * (1 - 1e-9)
    assert fast.certificate.value >= reference.certificate.dual_bound * (1 - 1e-9)


def test_the_synchronised_design_is_the_best_for_what_is_stated() -> None:
    """Optimal for its prior, and equal to the phase-agnostic one where nothing is known of phases."""
    sinr = db_to_linear(15.0)
    for prior in ("link", "node", "both", "coherent"):
        problem = given(prior)
        best = Designer(problem, "synchronised").design(sinr).certificate
        for method, belief in OTHERS:
            other = Designer(given(belief), method).design(sinr)
            assert other.streams is not None
            value = Designer(problem, "synchronised").crb_m2(other.streams.sum(axis=0))
            assert value >= best.dual_bound * (1 - 1e-9), (prior, method)
    unknown = dataclasses.replace(
        given("link"), sensing=dataclasses.replace(given("link").sensing, synchronisation=Synchronisation())
    )
    same = Designer(unknown, "synchronised").design(sinr).certificate.value
    assert same == pytest.approx(Designer(given("noncoherent"), "phase-agnostic").design(sinr).certificate.value, rel=1e-6)


@pytest.mark.parametrize("users", [1, 2, 3])
def test_beams_keep_everything_where_amplitudes_add_up(users: int) -> None:
    problem = given("coherent", users=users, targets=2, sinr_type="coherent")
    designer = Designer(problem, "synchronised")
    design = designer.design(db_to_linear(20.0))
    assert design.certificate.status == "ok"
    assert design.certificate.relative_gap < 2e-7
    sent = designer.delivered(design, db_to_linear(20.0))
    assert sent.crb_m2 == pytest.approx(design.certificate.value, rel=1e-9)
    assert sent.min_sinr >= 100 * (1 - 1e-6)
    assert sent.remainder is not None
    assert np.linalg.eigvalsh(sent.remainder).min() > -1e-12
    # Users that hear amplitudes add up are no worse off than users that hear powers.
    powers = Designer(given("coherent", users=users, targets=2), "synchronised").design(db_to_linear(20.0)).certificate
    assert design.certificate.dual_bound <= powers.value * (1 + 1e-6)


def test_a_general_solver_agrees_on_coherent_users() -> None:
    problem = given("node", sinr_type="coherent")
    fast, reference = (
        Designer(problem, "synchronised", s).design(db_to_linear(18.0)).certificate for s in ("fast", "reference")
    )
    assert reference.value == pytest.approx(fast.value, rel=1e-3)
    for infeasible in ("fast", "reference"):
        assert Designer(problem, "synchronised", infeasible).design(db_to_linear(60.0)).certificate.status == "infeasible"


@pytest.mark.parametrize(
    ("method", "solver"),
    [("phase-agnostic", "fast"), ("phase-agnostic", "reference"), ("unconstrained-tight", "fast"), ("synchronised", "fast")],
)
def test_one_node_serves_each_user(method: str, solver: Any) -> None:
    problem = given("coherent" if method == "synchronised" else "noncoherent", users=3, sinr_type="cbf")
    designer = Designer(problem, method, solver)
    design = designer.design(db_to_linear(8.0))
    assert design.certificate.status == "ok", design.certificate.message
    assert design.certificate.relative_gap < (2e-7 if solver == "fast" else 1e-3)
    assert design.streams is not None
    for user in range(3):
        own = problem.node_antennas(int(problem.serving_node[user]))
        elsewhere = np.delete(np.arange(9), own)
        assert np.abs(design.streams[user][:, elsewhere]).max() == 0.0
    sent = designer.delivered(design, db_to_linear(8.0))
    assert sent.min_sinr >= db_to_linear(8.0) * (1 - 1e-6)
    assert sent.crb_m2 == pytest.approx(design.certificate.value, rel=1e-9)
    # All nodes together can do what one does.
    together = Designer(dataclasses.replace(problem, sinr_type="noncoherent"), method).design(db_to_linear(8.0)).certificate
    assert together.dual_bound <= design.certificate.value * (1 + 1e-6)


def test_a_node_without_users_only_senses() -> None:
    problem = given("noncoherent", users=1, sinr_type="cbf")
    structure = phase_agnostic.structure(problem).coordinated(problem)
    for part in structure.parts:
        served = part.antennas[0] // problem.antennas == problem.serving_node[0]
        assert part.users == ((0,) if served else (SENSING,))
    with pytest.raises(ValueError, match="silent"):
        orthogonal.structure(problem).coordinated(problem)


def test_sinr_of_amplitudes_and_of_powers() -> None:
    """Against the sums written out; with one node they are the same."""
    problem = given("noncoherent")
    r = np.random.default_rng(5)
    factor = r.standard_normal((2, 6, 9, 9)) + 1j * r.standard_normal((2, 6, 9, 9))
    streams = factor @ factor.conj().swapaxes(-1, -2)
    total = streams.sum(axis=0)
    arguments = problem.channels, streams, total, problem.noise_power
    by_amplitude, by_power = coherent_sinr(*arguments), noncoherent_sinr(*arguments)
    for user, subcarrier in np.ndindex(2, 6):
        h = problem.channels[:, user, subcarrier].reshape(-1)
        wanted, heard = ((h.conj() @ m[subcarrier] @ h).real for m in (streams[user], total))
        assert by_amplitude[user, subcarrier] == pytest.approx(wanted / (heard - wanted + 0.01 / 6))
        blocks = [slice(3 * n, 3 * n + 3) for n in range(3)]
        wanted, heard = (sum((h[b].conj() @ m[subcarrier][b, b] @ h[b]).real for b in blocks) for m in (streams[user], total))
        assert by_power[user, subcarrier] == pytest.approx(wanted / (heard - wanted + 0.01 / 6))
    assert received_power(problem.channels, total).shape == (2, 6)


def test_baselines() -> None:
    problem = given("noncoherent", users=2)
    even = isotropic(problem)
    assert problem.power_share(even.sum(axis=0)) == pytest.approx(1.0)
    assert np.abs(even[:2]).max() == 0.0
    streams, largest = communication_only(problem)
    assert problem.power_share(streams.sum(axis=0)) <= 1.0 + 1e-9
    assert largest.beyond_db - largest.reached_db <= 0.011
    # The left-over power reaches no user.
    reached = problem.sinr(streams, streams.sum(axis=0)).min()
    assert reached == pytest.approx(db_to_linear(largest.reached_db), rel=1e-6)
    assert received_power(problem.channels, streams[2]).max() < 1e-9
    assert np.linalg.eigvalsh(streams[2]).min() > -1e-12
    # With as many users as antennas there is nowhere to send it.
    crowded, _ = communication_only(given("noncoherent", users=3))
    assert np.abs(crowded[3]).max() == 0.0
    # What serves best does not locate best.
    design = Designer(problem, "phase-agnostic").design(db_to_linear(largest.reached_db) * 0.5).certificate
    assert design.value < Designer(problem, "phase-agnostic").crb_m2(streams.sum(axis=0))


def test_synchronised_designs_tell_where_correlation_is_worth_nothing() -> None:
    assert synchronised.structure(given("clock")).name == "phase-agnostic"
    assert synchronised.structure(given("link")).name == "unconstrained-tight"
    assert synchronised.structure(given("clock", sinr_type="coherent")).name == "unconstrained-tight"
    assert Designer(given("clock", sinr_type="coherent"), "synchronised").design(10.0).certificate.relative_gap < 2e-7


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
def test_receivers_one_by_one_in_their_signal_spaces_have_the_whole_information(prior: str, split: bool) -> None:
    problem = given(prior, targets=2, split=split)
    model = dataclasses.replace(problem.sensing, receive_antennas=7)
    pieces = list(receiver_derivatives(model))
    assert {seen.shape[2] for _, seen in pieces} == {4}
    whole = location_derivatives(model)
    size = problem.nodes * problem.antennas
    r = np.random.default_rng(5)
    factor = r.standard_normal((6, size, size)) + 1j * r.standard_normal((6, size, size))
    covariances = factor @ factor.conj().swapaxes(-1, -2)
    ours = information_by_receiver(pieces, len(whole), covariances, model.noise_power)
    theirs = fisher_information(whole, covariances, model.noise_power)
    scale = np.sqrt(np.outer(np.diag(theirs), np.diag(theirs)))
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-12)
    for receiver, (touched, _) in enumerate(pieces):
        others = np.setdiff1d(np.arange(len(whole)), touched)
        assert not whole[others, receiver].any()


@pytest.mark.parametrize("clusters", [0, 2])
@pytest.mark.parametrize("spectrum", ["free", "flat"])
@pytest.mark.parametrize("sinr_type", ["noncoherent", "coherent", "cbf"])
@pytest.mark.parametrize("method", [phase_agnostic, orthogonal, unconstrained_tight])
def test_dual_inequalities_of_alike_parts_are_those_of_each(
    method: ModuleType, sinr_type: Any, spectrum: Any, clusters: int
) -> None:  # fmt: skip
    """Least eigenvalue over parts and users, one matrix at a time, from zero-padded channels."""
    if method is orthogonal and (clusters or sinr_type == "cbf"):
        pytest.skip("each subcarrier has a node of its own")
    problem = given("noncoherent", users=3, sinr_type=sinr_type, spectrum=spectrum)
    structure = method.structure(problem)
    structure = structure.coordinated(problem) if sinr_type == "cbf" else structure
    structure = structure.clustered(clusters) if clusters else structure
    r = np.random.default_rng(8)
    power, sinr = r.uniform(0.5, 2.0, problem.power_dual_shape), r.uniform(0.0, 1.0, (3, 6))
    factor = r.standard_normal((6, 9, 9)) + 1j * r.standard_normal((6, 9, 9))
    reward = factor @ factor.conj().swapaxes(-1, -2)
    least = np.inf
    for part in structure.parts:
        wanted = np.zeros((3, len(part.antennas), len(part.antennas)), dtype=complex)
        base = np.zeros_like(wanted[0])
        for s in part.subcarriers:
            price = power if spectrum == "free" else power[s]
            base += np.diag(price[part.antennas]) - reward[s][np.ix_(part.antennas, part.antennas)]
            for user in range(3):
                h = structure.channel_vectors(problem, user, part, s)
                wanted[user] += sinr[user, s] * h.T @ h.conj()
        for user in part.users:
            own = 0.0 if user == SENSING else (1.0 + 1.0 / 4.0) * wanted[user]
            matrix = (base + wanted.sum(axis=0) - own) / len(part.subcarriers)
            least = min(least, np.linalg.eigvalsh(matrix)[0])
    assert dual_slack(problem, structure, 4.0, power, sinr, reward) == pytest.approx(least, rel=1e-12)

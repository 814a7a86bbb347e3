"""The fast path against the slow definitions it must agree with: information, Newton matrix, phases, random scenarios."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from cases import NAMES, array, load, sensing_model

from disac.designs.cross import ALL, band_problem
from disac.designs.location import structured
from disac.designs.location.design import METHODS, Designer
from disac.designs.location.of_scenario import design_problem
from disac.designs.location.phase_agnostic import scrambling
from disac.designs.location.problem import DesignProblem, Spectrum
from disac.designs.location.structured import FastSolver
from disac.drops.common import common_network
from disac.metrics.fisher import SensingModel, fisher_information, localization_crb, null_vector
from disac.metrics.synchronisation import Synchronisation
from disac.optim import interior_point, newton
from disac.optim.program import block_information
from disac.optim.ties import combined
from disac.power_limits import PER_ANTENNA, PER_NODE, power_limit
from disac.scenarios.common import CommonScenario
from disac.scenarios.noncoherent import Scenario
from disac.units import db_to_linear

MODES = ("hybrid", "tof", "aoa", "tof_nui", "aoa_nui")


def problem(name: str, mode: str = "hybrid") -> DesignProblem:
    case = load(name)
    return DesignProblem(sensing_model(case), array(case["h"]), case["PT"], case["sigma_c2"], mode)


def random_problem(seed: int, most_antennas: int = 24) -> tuple[DesignProblem, float]:
    """A scenario over the whole range that the designs promise, more users than antennas included; and an SINR target."""
    r = np.random.default_rng(seed)
    nodes, targets, users = int(r.integers(1, 7)), int(r.integers(1, 4)), int(r.integers(1, 5))
    antennas = min(int(r.integers(2, 13)), max(2, most_antennas // nodes))
    subcarriers = int(r.integers(max(4, nodes), 33))
    model = SensingModel(
        r.uniform(-60, 60, (nodes, 2)), r.uniform(-30, 30, (targets, 2)),
        np.sqrt(10) * np.exp(2j * np.pi * r.random((nodes, nodes, targets))), antennas, int(r.integers(2, 13)), subcarriers,
        float(10 ** r.uniform(6, 8.3)), 0.01,
    )  # fmt: skip
    shape = (nodes, users, subcarriers, antennas)
    channels = (r.standard_normal(shape) + 1j * r.standard_normal(shape)) / np.sqrt(2)
    return DesignProblem(model, channels, 1.0, 0.01, MODES[r.integers(0, 5)]), float(r.uniform(-10, 45))


def random_streams(given: DesignProblem, method: str, seed: int = 0) -> np.ndarray:
    """Random positive stream covariances [U, L, D, D] of a design's structure."""
    size = given.nodes * given.antennas
    r = np.random.default_rng(seed)
    shape = (given.users, given.subcarriers, size, size)
    factor = r.standard_normal(shape) + 1j * r.standard_normal(shape)
    streams = np.zeros(shape, dtype=complex)
    for part in METHODS[method].structure(given).parts:
        rows = factor[:, part.subcarriers[0]][:, part.antennas]
        streams[:, part.subcarriers[0], part.antennas[:, np.newaxis], part.antennas] = rows @ rows.conj().swapaxes(-1, -2)
    return streams


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", MODES)
def test_information_from_rank_one_factors_is_that_of_the_whole_derivatives(method: str, mode: str) -> None:
    given = problem("case_05", mode)
    solver = FastSolver(given, METHODS[method].structure(given))
    streams = random_streams(given, method)
    ours = np.zeros((len(solver._selection),) * 2)
    for (mine, _, _), block, basis in zip(solver._classes, solver._program_blocks, solver._bases, strict=True):
        covariance = streams.sum(axis=0)[block.cells][:, mine[:, np.newaxis], mine]
        if block.dense.shape[1]:
            covariance = basis.conj().swapaxes(-1, -2) @ covariance @ basis
        ours += block_information(block, covariance / given.per_antenna_power, len(solver._touched))
    seen = solver._structure.objective_covariances(streams.sum(axis=0))
    whole = fisher_information(given.derivatives, seen, given.sensing.noise_power)
    expected = solver._transform @ whole @ solver._transform.T
    assert np.abs(ours - expected).max() < 1e-9 * np.abs(expected).max()
    crb = solver._scale_m2 * np.trace(solver._selection.T @ np.linalg.solve(ours, solver._selection))
    assert crb == pytest.approx(localization_crb(whole, given.targets), rel=1e-8)


@pytest.mark.parametrize("spectrum", ["free", "flat"])
@pytest.mark.parametrize("method", METHODS)
def test_the_newton_matrix_is_the_derivative_of_the_optimality_conditions(method: str, spectrum: Spectrum) -> None:
    """Assembled through Gram matrices of rank-one factors, against the operators applied to a random direction."""
    _check_newton(dataclasses.replace(problem("case_05"), spectrum=spectrum), method)


@pytest.mark.parametrize("phase_std_rad", [0.0, 0.2])
def test_so_it_is_where_many_dense_parameters_touch_one_receiver_each(phase_std_rad: float) -> None:
    """Phases of links known: the magnitudes are dense parameters."""
    given = problem("case_05")
    known = Synchronisation(1e-9, phase_std_rad, 0.0, carrier_hz=3.5e9)
    given = dataclasses.replace(given, sensing=dataclasses.replace(given.sensing, synchronisation=known))
    state = _check_newton(given, "synchronised")
    assert state.blocks[0].alone.shape == (given.nodes, given.nodes * given.targets)


def test_known_phases_leave_the_last_steps_accurate() -> None:
    """With the terms of a magnitude's change taken apart, which nearly cancel, the method stalled at a gap of 1.5e-7."""
    scenario = CommonScenario(node_count=4, antennas=6, user_count=1, bandwidth_hz=10e6, sinr_db=5.0, realisation=297)
    given = band_problem(common_network(scenario), ALL, sinr_type="coherent", limit=PER_ANTENNA)
    solution = FastSolver(given, METHODS["synchronised"].structure(given)).solve(db_to_linear(5.0))
    assert solution.outcome == "optimal"


def _check_newton(given: DesignProblem, method: str) -> interior_point._State:
    solver = FastSolver(given, METHODS[method].structure(given))
    program = solver._program(10.0)
    state = interior_point._State(program)
    for _ in range(3):
        state.step()
    information = state.information([b.r.sum(axis=1) for b in state.blocks]) + program.prior
    arrow = newton.Arrow(state, information)
    r = np.random.default_rng(2)
    fisher, power = r.standard_normal(state.fisher.shape), r.standard_normal(state.power.shape)
    rows, served = r.standard_normal(state._rows(state.service).shape), state.service.shape[1]
    service, ties = rows[:, :served], state.ties
    if ties.size:
        ties = combined(rows[:, served:].reshape(*ties.shape[:2], -1), state._along)
    shared, of_cells = state._joined(fisher, power, rows)
    by_matrix = arrow.whole @ shared + arrow.flat_mixed @ of_cells.reshape(-1)
    by_matrix_rows = shared @ arrow.mixed + np.einsum("crs,cs->cr", arrow.local, of_cells)
    change = []
    for b in state.blocks:
        mixed = b.gram(b.respond(fisher), b.response)
        phi = b.affine(power, service, ties) - (mixed + mixed.conj().swapaxes(-1, -2))[:, np.newaxis]
        product = b.inverse @ phi @ b.r
        change.append(0.5 * (product + product.conj().swapaxes(-1, -2)))
    rows_y = 2.0 * information @ fisher - 2.0 * state.information([c.sum(axis=1) for c in change]) @ state.fisher
    rows_power = state.power_slack / state.power * power
    expected_rows = state._rows(state.service_slack / state.service * service)
    for b, c in zip(state.blocks, change, strict=True):
        rows_power = rows_power + b.pull_power(c)
        np.add.at(expected_rows, b.data.cells, b.pull_rows(c))
    expected, expected_rows = state._joined(rows_y, rows_power, expected_rows)
    assert np.abs(by_matrix - expected).max() < 1e-9 * np.abs(expected).max()
    assert np.abs(by_matrix_rows - expected_rows).max() < 1e-9 * np.abs(expected_rows).max()
    return state


@pytest.mark.parametrize("method", METHODS)
def test_the_response_of_the_dual_is_the_change_of_the_information(method: str) -> None:
    """``<G(Y), R> = tr(Y^T F(R) Y)`` for random Y and R."""
    given = problem("case_05")
    solver = FastSolver(given, METHODS[method].structure(given))
    state = interior_point._State(solver._program(10.0))
    y = np.random.default_rng(4).standard_normal(state.fisher.shape)
    inner = 0.0
    for b in state.blocks:
        response = b.respond(y)
        inner += np.einsum("cij,cuji->", b.gram(response, response), b.r).real
    information = state.information([b.r.sum(axis=1) for b in state.blocks])
    assert inner == pytest.approx(np.sum(y * (information @ y)), rel=1e-10)


def check_ending(seed: int, method: str, most_antennas: int = 24) -> str:
    """How the fast path ends on a random scenario, each ending checked by the certificates; returns its name."""
    given, sinr_db = random_problem(seed, most_antennas)
    structure = METHODS[method].structure(given)
    uniform = structure.objective_covariances(structure.uniform_covariances(given))
    information = fisher_information(given.derivatives, uniform, given.sensing.noise_power)
    if not np.isfinite(localization_crb(information, given.targets)):
        direction = null_vector(information, given.targets)
        assert direction is not None
        assert abs(direction @ information @ direction) <= 1e-9 * (direction**2 @ np.diag(information))
        assert np.linalg.norm(direction[: 2 * given.targets]) == pytest.approx(1.0)
        return "unidentifiable"
    designer, sinr = Designer(given, method), db_to_linear(sinr_db)
    assert designer._fast is not None
    solution = designer._fast.solve(sinr)
    assert solution.power_dual is not None
    assert solution.sinr_dual is not None
    if solution.outcome == "infeasible":
        assert designer.least_power(sinr, solution.power_dual, solution.sinr_dual) > 1.0
        return "infeasible"
    assert solution.streams is not None
    assert solution.fisher_dual is not None
    certificate, _, _ = designer.judged(
        sinr, solution.streams, solution.power_dual, solution.sinr_dual, solution.fisher_dual, solution.node_dual
    )  # fmt: skip
    assert certificate.worst_violation < 1e-6, (seed, method, certificate)
    assert -1e-7 < certificate.relative_gap < 1e-6, (seed, method, certificate)
    return "optimal"


@pytest.mark.parametrize("seed", [*(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 4, 5)), 1, 2, 3, 6, 7, 8])
def test_random_scenarios_end_with_a_certificate(seed: int) -> None:
    for method in METHODS:
        check_ending(seed, method, most_antennas=12)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_five_hundred_random_scenarios_end_with_a_certificate() -> None:
    methods = list(METHODS)
    endings = [check_ending(1000 + i, methods[i % len(methods)]) for i in range(500)]
    assert set(endings) == {"optimal", "infeasible", "unidentifiable"}
    assert endings.count("optimal") > 250


def test_one_bit_does_not_depend_on_what_was_solved_before() -> None:
    given = problem("case_05")
    fresh, used = (FastSolver(given, METHODS["phase-agnostic"].structure(given)) for _ in range(2))
    used.solve(100.0)
    a, b = fresh.solve(10.0), used.solve(10.0)
    assert a.streams is not None
    assert b.streams is not None
    assert a.streams.tobytes() == b.streams.tobytes()
    assert a.iterations == b.iterations


def test_a_tighter_gap_is_reached_on_request() -> None:
    given = problem("case_03")
    for method in METHODS:
        designer = Designer(given, method)
        sinr = db_to_linear(load("case_03")["gamma_db"])
        assert designer._fast is not None
        s = designer._fast.solve(sinr, gap=1e-8)
        assert s.outcome == "optimal"
        certificate, _, _ = designer.judged(sinr, s.streams, s.power_dual, s.sinr_dual, s.fisher_dual, s.node_dual)
        assert certificate.relative_gap < 2e-8


def test_a_silent_node_takes_no_part() -> None:
    """Fewer subcarriers than nodes in the orthogonal design: the third node only listens."""
    case = load("case_03")
    given = problem("case_03")
    nodes = np.array([*case["nodes"], [10.0, 50.0]])
    r = np.random.default_rng(0)
    amplitudes = np.exp(2j * np.pi * r.random((3, 3, given.targets)))
    model = dataclasses.replace(given.sensing, nodes_m=nodes, amplitudes=amplitudes, subcarriers=2)
    channels = r.standard_normal((3, given.users, 2, given.antennas)) + 0j
    three = DesignProblem(model, channels, given.per_antenna_power, given.noise_power)
    solver = FastSolver(three, METHODS["orthogonal"].structure(three))
    assert len(solver._touched) == 2 * 3 * given.targets
    assert solver.solve(0.1).outcome in ("optimal", "infeasible")


def test_the_phase_agnostic_design_does_not_know_the_phases_and_is_delivered_exactly() -> None:
    given = problem("case_05")
    sinr = db_to_linear(load("case_05")["gamma_db"])
    designer = Designer(given, "phase-agnostic")
    design = designer.design(sinr)
    assert design.streams is not None
    values = []
    for seed in range(20):
        phases = np.exp(2j * np.pi * np.random.default_rng(seed).random(given.nodes))
        turned = given.sensing.amplitudes * phases[np.newaxis, :, np.newaxis]
        other = dataclasses.replace(given, sensing=dataclasses.replace(given.sensing, amplitudes=turned))
        information = fisher_information(other.derivatives, design.streams.sum(axis=0), other.sensing.noise_power)
        values.append(localization_crb(information, given.targets))
    assert np.ptp(values) < 1e-12 * values[0]
    sent = designer.delivered(design, sinr)
    assert sent.crb_m2 == pytest.approx(design.certificate.value, rel=1e-9)
    assert sent.min_sinr >= sinr * (1 - 1e-6)
    assert sent.remainder is not None
    assert np.linalg.eigvalsh(sent.remainder).min() > -1e-12 * given.per_antenna_power


@pytest.mark.parametrize("name", ["case_03", "case_05", "case_08"])
def test_beams_of_the_unconstrained_design_keep_power_and_sinr_and_the_printed_ones_do_not(name: str) -> None:
    """Along the directions of the optimum, powers and sensing signal optimised again: what is sent is feasible for (14)."""
    given, sinr = problem(name), db_to_linear(load(name)["gamma_db"])
    designer = Designer(given, "unconstrained-tight")
    design = designer.design(sinr)
    sent, printed = designer.delivered(design, sinr), designer.extracted_as_printed(design)
    assert sent.power <= 1 + 1e-6
    assert sent.min_sinr >= sinr * (1 - 1e-6)
    gap = sent.crb_m2 / design.certificate.dual_bound - 1
    assert -1e-9 < gap < (2e-5 if given.targets == 1 else 0.06)
    assert printed.power > 1.05 or printed.min_sinr < 0.9 * sinr


@pytest.mark.parametrize("sinr_db", [36.0, 38.0])
def test_beams_are_sent_up_to_the_largest_sinr(sinr_db: float) -> None:
    """Where no design points along the optimum's directions, one points along the nodes' own beams."""
    sections = {"layout": {"target_count": 2}, "channel": {"realisation": 0}, "service": {"sinr_db": sinr_db}}
    designer = Designer(design_problem(Scenario.model_validate(sections)), "unconstrained-tight")
    sinr = db_to_linear(sinr_db)
    sent = designer.delivered(designer.design(sinr), sinr)
    assert sent.power <= 1 + 1e-6
    assert sent.min_sinr >= sinr * (1 - 1e-6)


def test_expected_information_over_phases_is_that_of_the_diagonal_blocks() -> None:
    """E_phi F(R) = F(blkdiag R), by a quadrature that is exact for these trigonometric polynomials."""
    given = problem("case_05")
    streams = random_streams(given, "unconstrained-tight").sum(axis=0)
    mean = np.zeros((2 * given.targets,) * 2)
    rotation = np.repeat(np.arange(given.nodes), given.antennas)
    total = 0
    for phases in np.ndindex(*(3,) * given.nodes):
        turn = np.exp(2j * np.pi * np.array(phases) / 3)[rotation]
        turned = turn[:, np.newaxis] * streams * turn.conj()
        # The amplitudes' own rows turn with the phases; the location rows do not.
        mean = mean + fisher_information(given.derivatives, turned, 1.0)[: 2 * given.targets, : 2 * given.targets]
        total += 1
    blocks = streams * METHODS["phase-agnostic"].structure(given).together(given)
    expected = fisher_information(given.derivatives, blocks, 1.0)[: 2 * given.targets, : 2 * given.targets]
    assert np.abs(mean / total - expected).max() < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("name", NAMES)
def test_designs_stand_in_their_order(name: str) -> None:
    """More freedom never locates worse: unconstrained, then phase-agnostic, then orthogonal."""
    given, sinr = problem(name), db_to_linear(load(name)["gamma_db"])
    certificates = [
        Designer(given, m).design(sinr).certificate for m in ("unconstrained-tight", "phase-agnostic", "orthogonal")
    ]
    for better, worse in itertools.pairwise(certificates):
        if worse.status == "ok":
            assert better.dual_bound <= worse.value * (1 + 1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_power_limits_are_kept_and_wider_ones_never_locate_worse(method: str) -> None:
    """The same power in all, per antenna, per node or together: each a relaxation of the one before; both paths agree."""
    sinr, found = db_to_linear(10.0), {}
    for limit in ("per-antenna", "per-node", "total"):
        given = dataclasses.replace(problem("case_05"), power_limit=power_limit(limit))
        fast_one, slow_one = (Designer(given, method, solver).design(sinr) for solver in ("fast", "reference"))
        assert fast_one.certificate.status == slow_one.certificate.status == "ok"
        assert fast_one.certificate.relative_gap < 1e-7
        assert fast_one.certificate.value == pytest.approx(slow_one.certificate.value, rel=2e-4)
        assert fast_one.certificate.dual_bound <= slow_one.certificate.value
        assert fast_one.streams is not None
        spent = np.real(np.einsum("lii->i", fast_one.streams.sum(axis=0))) / given.per_antenna_power
        nodes = spent.reshape(given.nodes, given.antennas).mean(axis=1)
        busiest = {"per-antenna": spent.max(), "per-node": nodes.max(), "total": spent.mean()}
        assert busiest[limit] <= 1 + 1e-7
        found[limit] = fast_one.certificate
    assert found["total"].dual_bound <= found["per-node"].value
    assert found["per-node"].dual_bound <= found["per-antenna"].value
    assert found["total"].value < 0.999 * found["per-antenna"].value


def test_unequal_multipliers_under_one_limit_prove_no_more_than_their_largest() -> None:
    """Positive control: spreading a node's multiplier over its antennas must not raise the bound."""
    given = dataclasses.replace(problem("case_05"), power_limit=PER_NODE)
    designer = Designer(given, "phase-agnostic")
    design = designer.design(10.0)
    assert design.power_dual is not None
    assert design.sinr_dual is not None
    assert design.fisher_dual is not None
    cheaper = design.power_dual * np.tile([1.0, 0.2, 0.2, 0.2], given.nodes)
    bound = designer.dual_bound(10.0, cheaper, design.sinr_dual, design.fisher_dual)
    assert bound == pytest.approx(design.certificate.dual_bound, rel=1e-12)


@pytest.mark.parametrize("method", ["phase-agnostic", "unconstrained-tight"])
def test_clusters_agree_with_the_reference_and_coarser_ones_locate_worse(method: str) -> None:
    """Six subcarriers in 6, 4 (unequal groups), 3, 2 and 1 clusters; those that refine each other are in order."""
    given, sinr = problem("case_05"), db_to_linear(0.0)
    assert given.subcarriers == 6
    found = {}
    for clusters in (6, 4, 3, 2, 1):
        design = Designer(given, method, "fast", clusters).design(sinr)
        assert design.certificate.status == "ok", (clusters, design.certificate)
        assert design.certificate.relative_gap < 1e-7
        assert design.certificate.worst_violation < 1e-7
        if clusters in (4, 2):
            slow = Designer(given, method, "reference", clusters).design(sinr).certificate
            assert design.certificate.value == pytest.approx(slow.value, rel=2e-4)
            assert design.certificate.dual_bound <= slow.value
        assert design.streams is not None
        for group in np.array_split(np.arange(6), clusters):
            assert np.ptp(design.streams[:, group], axis=1).max() == 0.0
        found[clusters] = design.certificate
    assert found[6].value == pytest.approx(Designer(given, method).design(sinr).certificate.value, rel=1e-7)
    for fine, coarse in ((6, 3), (6, 2), (3, 1), (2, 1), (6, 4)):
        assert found[fine].dual_bound <= found[coarse].value
    assert found[1].value > 1.01 * found[6].value


def test_beams_of_a_cluster_are_exact_subcarrier_by_subcarrier() -> None:
    given, sinr = problem("case_05"), db_to_linear(0.0)
    designer = Designer(given, "phase-agnostic", "fast", 3)
    design = designer.design(sinr)
    sent = designer.delivered(design, sinr)
    assert sent.crb_m2 == pytest.approx(design.certificate.value, rel=1e-9)
    assert sent.min_sinr >= sinr * (1 - 1e-6)


def test_a_design_with_one_node_per_subcarrier_has_no_clusters() -> None:
    for method in ("orthogonal", "beamforming"):
        with pytest.raises(ValueError, match="no covariances to share"):
            Designer(problem("case_05"), method, "fast", 2)


def test_scrambled_symbols_are_uncorrelated() -> None:
    for nodes in range(1, 7):
        code = scrambling(nodes, 3 * nodes)
        assert np.abs(code @ code.conj().T / (3 * nodes) - np.eye(nodes)).max() < 1e-14


def test_the_default_gap_is_what_is_promised() -> None:
    assert structured.GAP <= 1e-7


@pytest.mark.parametrize("clusters", [1, 3, 5])
def test_rows_that_say_the_same_twice_cost_no_accuracy(clusters: int) -> None:
    """Flat channels repeat every row of a cluster, and groups of unequal size repeat their last: still a gap below 1e-7."""
    given = problem("case_03")
    for channels in (given.channels, np.repeat(given.channels[:, :, :1], given.subcarriers, axis=2)):
        repeated = dataclasses.replace(given, channels=channels)
        for sinr_db in (5.0, 15.0, 20.0):
            designer = Designer(repeated, "phase-agnostic", clusters=clusters)
            assert designer._fast is not None
            solution = designer._fast.solve(db_to_linear(sinr_db))
            if solution.outcome == "infeasible":
                continue
            certificate, _, _ = designer.judged(
                db_to_linear(sinr_db), solution.streams, solution.power_dual, solution.sinr_dual, solution.fisher_dual
            )  # fmt: skip
            assert certificate.relative_gap < 2e-7, (clusters, sinr_db)
            assert certificate.worst_violation < 1e-7

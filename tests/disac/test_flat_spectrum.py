"""A flat spectrum: every power budget holds on each subcarrier with its share, in the designs and in what proves them."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
from cases import array, load, sensing_model

from disac.designs.location.baselines import communication_only, isotropic
from disac.designs.location.design import METHODS, Design, Designer
from disac.designs.location.feasibility import need_of_silence, proven_need
from disac.designs.location.largest import LargestSinr, largest_sinr
from disac.designs.location.problem import DesignProblem
from disac.designs.location.reference import CrbProgram
from disac.metrics.fisher import SensingModel
from disac.optim.conic import SETTINGS
from disac.power_limits import POWER_LIMITS, TOTAL
from disac.units import db_to_linear

TIGHT = SETTINGS[0] | {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
LIMITS = list(POWER_LIMITS)


def problem(name: str = "case_05", limit: str = "per-antenna") -> DesignProblem:
    case = load(name)
    channels = array(case["h"])
    return DesignProblem(
        sensing_model(case), channels, case["PT"], case["sigma_c2"], power_limit=POWER_LIMITS[limit], spectrum="flat"
    )  # fmt: skip


def free(given: DesignProblem) -> DesignProblem:
    return dataclasses.replace(given, spectrum="free")


def small_problem(seed: int) -> tuple[DesignProblem, str, float, int]:
    """A random small problem, a design for it, an SINR target, and clusters where the design has them."""
    r = np.random.default_rng(seed)
    methods = list(METHODS)
    method = methods[seed % len(methods)]
    nodes, targets, users = int(r.integers(1, 4)), int(r.integers(1, 3)), int(r.integers(1, 3))
    antennas, subcarriers = int(r.integers(2, 4)), int(r.integers(4, 7))
    subcarriers = max(subcarriers, 2 * nodes) if method in ("orthogonal", "beamforming") else subcarriers
    model = SensingModel(
        r.uniform(-60, 60, (nodes, 2)), r.uniform(-30, 30, (targets, 2)),
        np.sqrt(10) * np.exp(2j * np.pi * r.random((nodes, nodes, targets))), antennas, int(r.integers(3, 6)), subcarriers,
        float(10 ** r.uniform(7, 8.3)), 0.01,
    )  # fmt: skip
    shape = (nodes, users, subcarriers, antennas)
    channels = (r.standard_normal(shape) + 1j * r.standard_normal(shape)) / np.sqrt(2)
    limit = POWER_LIMITS[LIMITS[seed // len(methods) % len(LIMITS)]]
    clusters = 2 if seed % 4 == 0 and method not in ("orthogonal", "beamforming") else 0
    coherent = method == "unconstrained-tight" and seed % 4 == 3
    given = DesignProblem(
        model, channels, 1.0, 0.01, "hybrid", limit, "coherent" if coherent else "noncoherent", "flat"
    )  # fmt: skip
    return given, method, db_to_linear(float(r.uniform(-5, 12))), clusters


def spent(given: DesignProblem, covariances: np.ndarray) -> np.ndarray:
    """Power of each budget on each subcarrier over 1/L of what it allows, [L, budgets]: written without the problem's own."""
    nodes, antennas = given.nodes, given.antennas
    of_antenna = np.real(np.einsum("lii->li", covariances)).reshape(-1, nodes, antennas) * given.subcarriers
    per_node = of_antenna.mean(axis=2)
    by_limit = {"per-antenna": of_antenna.reshape(len(of_antenna), -1), "per-node": per_node, "total": per_node.mean(1)}
    share = by_limit[given.power_limit.name].reshape(len(of_antenna), -1) / given.per_antenna_power
    return np.asarray(share)


def check_against_reference(seed: int) -> str:
    """The interior point against CVXPY on one random problem; how it ended."""
    given, method, sinr, clusters = small_problem(seed)
    designer = Designer(given, method, clusters=clusters)
    if not np.isfinite(designer.crb_m2(designer.structure.uniform_covariances(given))):
        return "unidentifiable"
    assert designer._fast is not None
    solution = designer._fast.solve(sinr)
    assert solution.power_dual is not None
    assert solution.sinr_dual is not None
    assert solution.power_dual.shape == (given.subcarriers, given.nodes * given.antennas)
    if solution.outcome == "infeasible":
        assert designer.least_power(sinr, solution.power_dual, solution.sinr_dual) > 1.0
        outcome = CrbProgram(given, designer.structure).solve(sinr, SETTINGS[0]).outcome
        assert outcome.startswith("infeasible"), (seed, method, outcome)
        return "infeasible"
    assert solution.streams is not None
    assert solution.fisher_dual is not None
    certificate, _, _ = designer.judged(
        sinr, solution.streams, solution.power_dual, solution.sinr_dual, solution.fisher_dual, solution.node_dual
    )  # fmt: skip
    # As strict as for a free spectrum.
    assert certificate.worst_violation < 1e-6, (seed, method, certificate)
    assert -1e-7 < certificate.relative_gap < 1e-6, (seed, method, certificate)
    assert spent(given, solution.streams.sum(axis=0)).max() <= 1.0 + 1e-7
    reference = CrbProgram(given, designer.structure)
    found = reference.solve(sinr, TIGHT)
    assert found.streams is not None, (seed, method, found.outcome)
    (compiled,) = reference._programs.values()
    optimum = reference._decorrelation.scale_m2 * compiled.program.value
    assert certificate.value == pytest.approx(optimum, rel=1e-6), (seed, method)
    return "optimal"


@pytest.mark.parametrize("seed", range(8))
def test_small_problems_agree_with_the_reference(seed: int) -> None:
    assert check_against_reference(seed) in ("optimal", "infeasible")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fifty_small_problems_agree_with_the_reference() -> None:
    endings = [check_against_reference(seed) for seed in range(8, 50)]
    assert endings.count("optimal") > 25
    assert "infeasible" in endings


SINR = 10.0


@cache
def designed(method: str, limit: str = "per-antenna", clusters: int = 0) -> tuple[Designer, Design]:
    designer = Designer(problem("case_05", limit), method, clusters=clusters)
    return designer, designer.design(SINR)


def multipliers(design: Design) -> dict[str, Any]:
    assert design.power_dual is not None
    names = ("power_dual", "sinr_dual", "fisher_dual", "node_dual")
    return {name: getattr(design, name) for name in names}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("method", METHODS)
def test_a_flat_spectrum_never_locates_better_and_binds_on_every_subcarrier(method: str, limit: str) -> None:
    designer, design = designed(method, limit)
    given, certificate = designer.problem, design.certificate
    assert certificate.status == "ok", certificate
    assert certificate.relative_gap < 1e-7
    assert certificate.worst_violation < 1e-7
    freely = Designer(free(given), method).design(SINR).certificate
    assert freely.dual_bound <= certificate.value
    assert freely.value < 1.001 * certificate.value
    assert design.streams is not None
    assert design.power_dual is not None
    share = spent(given, design.streams.sum(axis=0))
    assert given.power_share(design.streams.sum(axis=0)) == pytest.approx(share.max(), rel=1e-12)
    assert share.max() <= 1.0 + 1e-9
    # A limit with a price is met; a node that is silent on a subcarrier pays nothing for it.
    price = np.maximum.reduceat(design.power_dual, np.flatnonzero(np.diff(given.power_rows, prepend=-1)), axis=1)
    dear = price > 1e-3 * price.max()
    assert np.abs(share[dear] - 1.0).max() < 1e-4
    if method in ("orthogonal", "beamforming") and limit != "total":
        owned = np.array([[given.owner(s) == row * given.nodes // share.shape[1] for row in range(share.shape[1])]
                          for s in range(given.subcarriers)])  # fmt: skip
        assert np.array_equal(share > 0, owned)
        assert not dear[~owned].any()
    elif limit == "total":
        assert dear.all()


def test_the_optimum_of_a_free_spectrum_is_not_flat() -> None:
    """Positive control: without the limits per subcarrier the power is spread unevenly, and by far."""
    given = free(problem())
    design = Designer(given, "phase-agnostic").design(SINR)
    assert design.streams is not None
    assert design.power_dual is not None
    assert design.power_dual.shape == (given.nodes * given.antennas,)
    transmitted = design.streams.sum(axis=0)
    assert spent(given, transmitted).max() > 1.5
    assert given.power_share(transmitted) <= 1.0
    assert dataclasses.replace(given, spectrum="flat").power_share(transmitted) > 1.5


def test_where_a_free_optimum_is_flat_nothing_changes() -> None:
    """An objective that sees each node's average over its subcarriers does not mind an even spread of a common budget."""
    given = problem("case_03", "total")
    flat = Designer(given, "beamforming").design(SINR).certificate
    freely = Designer(free(given), "beamforming").design(SINR).certificate
    assert flat.value == pytest.approx(freely.value, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_certificate_is_proved_again_from_the_stored_multipliers(method: str) -> None:
    """From (lambda, mu, Y, Z) alone, and the same status and gap as stored."""
    designer, design = designed(method)
    given, stored = designer.problem, multipliers(design)
    assert stored["power_dual"].shape == (given.subcarriers, given.nodes * given.antennas)
    assert designer.dual_bound(SINR, **stored) == pytest.approx(design.certificate.dual_bound, rel=1e-12)
    assert design.streams is not None
    again, _, _ = designer.judged(SINR, design.streams, **stored)
    assert again.relative_gap == pytest.approx(design.certificate.relative_gap, abs=1e-15)
    assert again.status == "ok"


def test_the_bound_by_hand() -> None:
    """``diag(lambda_l) - G_l + sum_v mu_v B_v - (1 + 1/Gamma) mu_u B_u >= 0`` and what it proves, node by node."""
    designer, design = designed("phase-agnostic")
    given, stored = designer.problem, multipliers(design)
    y, least = stored["fisher_dual"], np.inf
    for subcarrier, node in np.ndindex(given.subcarriers, given.nodes):
        mine = slice(node * given.antennas, (node + 1) * given.antennas)
        rows = np.einsum("pc,pnri->cnri", y, given.derivatives[:, :, subcarrier, :, mine]).reshape(-1, given.antennas)
        matrix = np.diag(stored["power_dual"][subcarrier, mine]).astype(complex)
        matrix -= 2.0 * given.subcarriers / given.sensing.noise_power * rows.conj().T @ rows
        h = given.channels[node, :, subcarrier]
        heard = [m * np.outer(c, c.conj()) for m, c in zip(stored["sinr_dual"][:, subcarrier], h, strict=True)]
        for own in heard:
            least = min(least, np.linalg.eigvalsh(matrix + sum(heard) - (1.0 + 1.0 / SINR) * own)[0])
    assert least > -1e-9 * stored["power_dual"].max()
    lifted = stored["power_dual"] + max(0.0, -least)
    cost = given.per_antenna_power * lifted.sum() - given.noise_power * stored["sinr_dual"].sum()
    bound = np.trace(y[: 2 * given.targets]) ** 2 / (cost / given.subcarriers)
    assert bound == pytest.approx(design.certificate.dual_bound, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_spoiled_multipliers_are_noticed(method: str) -> None:
    """Positive control: moved between subcarriers, averaged over them, or scaled, they prove less."""
    designer, design = designed(method)
    stored, bound = multipliers(design), design.certificate.dual_bound
    price = stored["power_dual"]
    random = np.random.default_rng(0).uniform(0.5, 1.5, price.shape)
    other = {
        "moved": np.roll(price, 1, axis=0), "even": np.broadcast_to(price.mean(axis=0), price.shape),
        "scaled": 0.9 * price, "random": random * price,
    }  # fmt: skip
    for name, spoiled in other.items():
        assert designer.dual_bound(SINR, **stored | {"power_dual": spoiled}) < 0.999 * bound, name
    assert designer.dual_bound(SINR, **stored | {"sinr_dual": 0.0 * stored["sinr_dual"]}) < bound


def test_one_price_per_antenna_proves_the_bound_of_a_free_spectrum_only() -> None:
    """The multipliers of the free optimum, said again on each subcarrier, are feasible and prove its bound."""
    given = problem()
    freely = Designer(free(given), "phase-agnostic").design(SINR)
    stored, designer = multipliers(freely), designed("phase-agnostic")[0]
    repeated = np.broadcast_to(stored["power_dual"], given.power_dual_shape).copy()
    bound = designer.dual_bound(SINR, **stored | {"power_dual": repeated})
    assert bound == pytest.approx(freely.certificate.dual_bound, rel=1e-9)
    assert bound < 0.9 * designed("phase-agnostic")[1].certificate.dual_bound


@cache
def largest_of_both_spectra(limit: str) -> tuple[LargestSinr, LargestSinr]:
    """The largest SINR of the flat and of the free spectrum. Both solvers are asked between them."""
    given = problem("case_05", limit)
    structure = METHODS["orthogonal"].structure(given)
    return largest_sinr(given, structure), largest_sinr(free(given), structure)


@pytest.mark.parametrize("solver", ["fast", "reference"])
@pytest.mark.parametrize("limit", LIMITS)
def test_what_only_a_free_spectrum_serves_is_proved_infeasible(limit: str, solver: Any) -> None:
    """Between the largest SINR of the two spectra: a design if free, a ray with a price per subcarrier if flat."""
    given = problem("case_05", limit)
    flat, freely = largest_of_both_spectra(limit)
    assert flat.beyond_db + 0.1 < freely.reached_db
    sinr = db_to_linear(0.5 * (flat.beyond_db + freely.reached_db))
    assert Designer(free(given), "orthogonal").design(sinr).certificate.status == "ok"
    designer = Designer(given, "orthogonal", solver)
    design = designer.design(sinr)
    assert design.certificate.status == "infeasible"
    assert "dual certificate checked" in design.certificate.message
    assert design.power_dual is not None
    assert design.sinr_dual is not None
    assert design.power_dual.shape == given.power_dual_shape
    assert designer.least_power(sinr, design.power_dual, design.sinr_dual) > 1.0
    even = np.broadcast_to(design.power_dual.mean(axis=0), design.power_dual.shape)
    assert designer.least_power(sinr, even, design.sinr_dual) < 1.0


def test_one_user_under_total_power_has_the_sinr_of_its_worst_subcarrier() -> None:
    """1/L of all power for the best node's matched filter: SINR = min_l max_n |h_{n,l}|^2 N M P_T / sigma_c^2."""
    given = problem("case_03")
    channels = given.channels[:, :1]
    one = dataclasses.replace(given, channels=channels, power_limit=TOTAL)
    gain = (np.abs(channels) ** 2).sum(axis=-1).max(axis=0)[0]
    expected = gain.min() * one.per_antenna_power * one.nodes * one.antennas / one.noise_power
    found = largest_sinr(one, METHODS["phase-agnostic"].structure(one), tolerance_db=1e-3)
    assert 10.0 * np.log10(expected) == pytest.approx(found.reached_db, abs=2e-3)
    assert found.reached_db <= 10.0 * np.log10(expected) + 1e-9 <= found.beyond_db + 2e-9


@pytest.mark.parametrize("limit", LIMITS)
def test_the_two_ends_keep_a_flat_spectrum(limit: str) -> None:
    given = problem("case_05", limit)
    even = spent(given, isotropic(given).sum(axis=0))
    assert np.abs(even - 1.0).max() < 1e-12
    streams, largest = communication_only(given)
    share = spent(given, streams.sum(axis=0))
    assert share.max() <= 1.0 + 1e-9
    if limit != "per-antenna":
        # There are fewer users than antennas, so a node can send all that is left of its own or the common budget.
        assert np.abs(share - 1.0).max() < 1e-9
    structure, beyond = METHODS["phase-agnostic"].structure(given), db_to_linear(largest.beyond_db)
    need = proven_need(given, structure, beyond, largest.power_dual, largest.sinr_dual)
    assert need.proves_infeasible
    assert given.sinr(streams[: given.users], streams.sum(axis=0)).min() >= db_to_linear(largest.reached_db) * (1 - 1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_sent_keeps_power_and_sinr(method: str) -> None:
    designer, design = designed(method)
    sent = designer.delivered(design, SINR)
    assert sent.transmitted is not None
    assert spent(designer.problem, sent.transmitted).max() <= 1.0 + 1e-6
    assert sent.power == pytest.approx(spent(designer.problem, sent.transmitted).max(), rel=1e-12)
    assert sent.min_sinr >= SINR * (1 - 1e-6)
    # No signal has the covariances of the loose relaxation, and the beamforming design's objective is not its signal's bound.
    if method == "beamforming":
        return
    assert sent.crb_m2 / design.certificate.dual_bound - 1.0 < (1e-5 if method != "unconstrained" else 0.05)


def test_a_cluster_has_the_limits_of_its_subcarriers() -> None:
    """One covariance for a group: the price is that of each of its subcarriers, and the power is the same on all."""
    designer, design = designed("phase-agnostic", clusters=4)
    assert design.certificate.status == "ok"
    assert design.certificate.relative_gap < 1e-7
    assert design.power_dual is not None
    assert design.streams is not None
    for group in np.array_split(np.arange(6), 4):
        assert np.ptp(design.power_dual[group], axis=0).max() == 0.0
        assert np.ptp(spent(designer.problem, design.streams.sum(axis=0))[group], axis=0).max() == 0.0
    alone = designed("phase-agnostic")[1].certificate
    assert alone.dual_bound <= design.certificate.value


def test_one_covariance_for_the_band_is_flat_by_itself() -> None:
    """With a single cluster the limits per subcarrier and over all of them say the same."""
    given = problem()
    flat, freely = (Designer(p, "phase-agnostic", clusters=1).design(1.0).certificate for p in (given, free(given)))
    assert flat.status == freely.status == "ok"
    assert flat.value == pytest.approx(freely.value, rel=2e-7)


def test_a_user_without_a_channel_is_refused_with_a_proof() -> None:
    given = problem()
    channels = given.channels.copy()
    channels[:, 0, 2] = 0.0
    silent = dataclasses.replace(given, channels=channels)
    need = need_of_silence(silent, METHODS["phase-agnostic"].structure(silent), SINR)
    assert need is not None
    assert need.power_dual.shape == given.power_dual_shape
    design = Designer(silent, "phase-agnostic").design(SINR)
    assert design.certificate.status == "infeasible"
    assert "subcarrier 2" in design.certificate.message

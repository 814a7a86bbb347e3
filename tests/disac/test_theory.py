"""Appendix A as printed against differentiation, and the statements of 002 as residuals that can break."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from disac.designs.location.of_scenario import design_problem
from disac.designs.location.statements import band_ratios, variable_counts
from disac.experiments.ofdm_theory import (
    Options,
    deployment,
    experiment,
)
from disac.geometry import angles_rad, delays_s
from disac.metrics.fisher import SensingModel, fisher_information, mean_derivatives
from disac.metrics.fisher_statements import signal_residuals
from disac.metrics.printed_fisher import ERRATA, appendix_information, differentiated_information, mean_echoes
from disac.scenarios.noncoherent import Scenario

NODES = [(-46.19, -19.13), (46.19, -19.13), (-19.13, -46.19)]


def scene(**layout: Any) -> Scenario:
    return Scenario.model_validate(
        {"layout": layout, "waveform": {"subcarriers": 6}, "arrays": {"transmit_antennas": 4, "receive_antennas": 3},
         "service": {"sinr_db": 10.0}}
    )  # fmt: skip


def sampled(nodes: int, targets: int, symbols: int = 3) -> tuple[SensingModel, np.ndarray, np.ndarray]:
    """A random model, a waveform [T, N, M, L] and its sample covariances, summed by loops."""
    random = np.random.default_rng(10 * nodes + targets)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape) + 1j * random.standard_normal(shape)

    places = random.uniform(-50, 50, (nodes, 2)), random.uniform(-20, 20, (targets, 2))
    model = SensingModel(*places, normal(nodes, nodes, targets), 3, 4, 5, 20e6, 0.01)
    waveform = normal(symbols, nodes, 3, 5)
    covariances = np.zeros((5, 3 * nodes, 3 * nodes), dtype=complex)
    for t, tone in np.ndindex(symbols, 5):
        x = waveform[t, :, :, tone].ravel()
        covariances[tone] += np.outer(x, x.conj()) / symbols
    return model, waveform, covariances


SIZES = [(3, 2), (2, 1), (1, 2)]


@pytest.mark.parametrize(("nodes", "targets"), SIZES)
def test_the_echoes_are_those_of_the_papers_equation(nodes: int, targets: int) -> None:
    """(6) against the responses H_{n,l} of :mod:`disac.metrics.fisher`, whose derivatives by Re b are linear in it."""
    model, waveform, _ = sampled(nodes, targets)
    by_amplitude = mean_derivatives(model)[2 * nodes * targets :][: model.links]
    response = np.tensordot(model.amplitudes.ravel(), by_amplitude, axes=1)
    x = waveform.transpose(0, 3, 1, 2).reshape(len(waveform), 5, -1)
    expected = np.einsum("nlrd,tld->tnrl", response, x)
    angle, delay = angles_rad(model.nodes_m, model.targets_m, "origin"), delays_s(model.nodes_m, model.targets_m)
    np.testing.assert_allclose(mean_echoes(model, angle, delay, model.amplitudes, waveform), expected, atol=1e-12)


@pytest.mark.parametrize(("nodes", "targets"), SIZES)
def test_the_corrected_appendix_agrees_and_each_erratum_is_one(nodes: int, targets: int) -> None:
    model, waveform, covariances = sampled(nodes, targets)
    exact = fisher_information(mean_derivatives(model), covariances, model.noise_power)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))

    def error(information: np.ndarray) -> np.ndarray:
        return np.abs(information - exact) / scale

    assert error(differentiated_information(model, waveform)).max() < 1e-8
    assert error(appendix_information(model, waveform, ERRATA)).max() < 1e-12
    for name in ERRATA:
        alone = error(appendix_information(model, waveform, [e for e in ERRATA if e != name]))
        # With one node no receiver is another node's: (49b) says nothing.
        assert (alone.max() < 1e-12) if (name, nodes) == ("49b", 1) else (alone.max() > 0.1)
    # Angles among themselves (48a), (48b) and amplitudes (50), (51) are right as printed; delays and (49) are not.
    printed, angles = error(appendix_information(model, waveform)), nodes * targets
    assert printed[:angles, :angles].max() < 1e-12
    assert printed[2 * angles :, 2 * angles :].max() < 1e-12
    assert printed[:angles, 2 * angles :].max() > 0.1
    assert printed[angles : 2 * angles, angles : 2 * angles].max() > 0.1


@pytest.fixture(scope="module")
def cell() -> dict[str, Any]:
    return experiment.run([scene(nodes_m=NODES[:2], target_count=2, user_count=2)], Options())[0]


def test_what_is_proved_holds_and_what_is_claimed_beyond_it_does_not(cell: dict[str, Any]) -> None:
    assert cell["status"] == "ok"
    assert {v.name for v in experiment.variables} <= set(cell)
    assert cell["lemma1_residual"] < 1e-12
    assert max(cell[name] for name in ("theorem1_residual", "proposition1_residual", "jacobian_residual")) < 1e-7
    assert cell["without_cross_terms"] > 0.01
    assert cell["band_mean_residual"] > 0.01
    assert cell["sinr_power_residual"] < 1e-12
    assert abs(cell["theorem2_sinr_share"] - 1) < 1e-9
    assert cell["theorem2_least_eigenvalue"] > -1e-9
    assert cell["theorem3_sinr_share"] > 1 - 1e-6
    assert cell["theorem3_least_eigenvalue"] > -1e-9
    assert cell["theorem3_crb_change"] < 1e-9
    assert cell["printed_power"] > 1.01
    assert cell["printed_sinr_share"] < 0.5
    assert cell["appendix_error"] > 1.0 > 1e-7 > cell["appendix_corrected_error"]
    assert cell["whole_trace_ratio"] > 1
    assert cell["beamforming_true_crb_ratio"] > 1
    assert cell["tof_reading_ratio"] >= 1
    assert cell["aoa_reading_ratio"] >= 1


def test_one_covariance_for_the_band_costs_delays_and_spares_angles() -> None:
    """Delays want power at the band's edges, which one covariance cannot give; it cannot be better than one per subcarrier."""
    ratios = band_ratios(design_problem(deployment(scene(nodes_m=NODES[:2]))))
    assert ratios["tof_band_ratio"] > 1.2
    assert 1 - 1e-3 < ratios["aoa_band_ratio"] < 1.1
    assert ratios["tof_beam_gain"] > 1.1


def test_variables_are_counted_one_by_one() -> None:
    """N=2, M_t=4, L=6, U=2: (24) has R_l 8 x 8 and R_c,n,u,l 4 x 4; (32) R_nn,l and R_c,u,l; (39) R_nn and R_c,u,l."""
    counted = variable_counts(design_problem(scene(nodes_m=NODES[:2], user_count=2)))
    assert counted["variables_unconstrained_ratio"] == (6 * 64 + 6 * 2 * 2 * 16) / (16 * 4 * 6 + 16 * 2 * 2 * 6)
    assert counted["variables_orthogonal_ratio"] == (6 * 16 + 6 * 2 * 16) / (16 * (6 + 12))
    assert counted["variables_beamforming_ratio"] == (2 * 16 + 6 * 2 * 16) / (16 * (2 + 12))
    assert counted["variables_block_level_ratio"] == (2 * 16 + 2 * 2 * 16) / (3 * 16 * 2)
    assert counted["solved_unconstrained_ratio"] == 2 * 6 * 64 / (6 * 64 + 6 * 2 * 2 * 16)
    assert counted["solved_orthogonal_ratio"] == counted["solved_beamforming_ratio"] * 14 / 18 == 2 / 3
    assert counted["beamforming_saving"] == pytest.approx((18 / 14) / (6 / 2))


def test_a_wrong_signal_shows_in_every_residual() -> None:
    """The map is asked about other covariances than those of the signal: a residual of their difference, not of rounding."""
    problem = design_problem(deployment(scene(nodes_m=NODES[:2])))
    random = np.random.default_rng(3)
    waveform = random.standard_normal((2, 2, 4, 6)) + 1j * random.standard_normal((2, 2, 4, 6))
    good = signal_residuals(problem.sensing, problem.channels, waveform)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("disac.metrics.fisher_statements.sample_covariances", lambda w: np.broadcast_to(np.eye(8), (6, 8, 8)))
        bad = signal_residuals(problem.sensing, problem.channels, waveform)
    assert good["theorem1_residual"] < 1e-7 < 1e-2 < bad["theorem1_residual"]
    assert good["proposition1_residual"] < 1e-7 < 1e-2 < bad["proposition1_residual"]


def test_deployments_are_of_their_realisation_and_nested() -> None:
    one, two = (deployment(scene(nodes_m=NODES[:n], target_count=n)) for n in (1, 2))
    assert two.layout.nodes_m[:1] == one.layout.nodes_m
    assert two.layout.targets_m is not None
    assert one.layout.targets_m == two.layout.targets_m[:1]
    next_draw = two.channel.model_copy(update={"realisation": 1})
    other = deployment(two.model_copy(update={"channel": next_draw}))
    assert other.layout.nodes_m != two.layout.nodes_m
    assert np.hypot(*np.array(two.layout.nodes_m).T).min() >= 40
    assert np.hypot(*np.array(two.layout.targets_m).T).max() <= 15


def test_what_is_out_of_reach_or_out_of_scope_is_a_sentence() -> None:
    beyond = scene().service.model_copy(update={"sinr_db": 80.0})
    far = scene(nodes_m=NODES[:2]).model_copy(update={"service": beyond})
    (result,) = experiment.run([far], Options())
    assert result["status"] == "infeasible"
    assert "unconstrained-tight" in result["message"]
    (apart,) = experiment.run([scene(nodes_m=NODES[:2], transmitters=[0], receivers=[1])], Options())
    assert apart["status"] == "failed"
    assert "transmit and receive" in apart["message"]

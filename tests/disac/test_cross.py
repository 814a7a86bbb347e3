"""The common scenario: its anchors, and scores that do not depend on where a design comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from disac.designs.cross import ALL, NOTHING, ROWS, sensing_model, tone_problem
from disac.drops.common import common_network
from disac.experiments.cross_table import Options, Scorer, experiment
from disac.metrics.cross import phase_gains, whole_divergence
from disac.metrics.sinr import coherent_sinr, noncoherent_sinr
from disac.power_limits import TOTAL
from disac.scenarios.common import CommonScenario

SCENARIO = CommonScenario()
NETWORK = common_network(SCENARIO)
ANTENNAS, SUBCARRIERS, TOTAL_POWER_W = NETWORK.antennas, NETWORK.subcarriers, NETWORK.total_power_w
SCORER = Scorer(NETWORK, SCENARIO)


def test_isotropic_power_has_the_anchors_of_the_common_scenario() -> None:
    record = ROWS["isotropic"].method(NETWORK, SCENARIO)
    assert record.users is not None
    assert record.sensing is not None
    scores = SCORER.scores(record.users, record.sensing)
    assert scores["rcrb_nc_m"] == pytest.approx(0.1639, rel=1e-3)
    assert scores["rcrb_cc_m"] == pytest.approx(0.3249e-3, rel=1e-3)
    assert scores["radiated_w"] == pytest.approx(TOTAL_POWER_W)
    assert scores["sensing_only_rcrb_nc_m"] == scores["rcrb_nc_m"]
    assert NETWORK.noise_w == pytest.approx(6.271e-15, rel=1e-3)


@pytest.mark.parametrize(("node", "anchor"), [(0, 0.783), (1, 0.424), (2, 0.333), (3, 0.540)])
def test_one_sensing_beam_has_the_anchors_of_the_divergence(node: int, anchor: float) -> None:
    beam = np.zeros((4, ANTENNAS), dtype=complex)
    beam[node] = NETWORK.steering[node].conj() * np.sqrt(TOTAL_POWER_W / SUBCARRIERS / ANTENNAS)
    whole = np.outer(beam.reshape(-1), beam.reshape(-1).conj())
    scores = SCORER.scores(np.zeros((3, SUBCARRIERS, 32, 32), dtype=complex), np.broadcast_to(whole, (SUBCARRIERS, 32, 32)))
    assert scores["kld"] == pytest.approx(anchor, abs=6e-4)
    problem = tone_problem(NETWORK, 0, TOTAL)
    alone = np.eye(4)[node] * ANTENNAS * TOTAL_POWER_W / SUBCARRIERS
    assert scores["kld"] == pytest.approx(float(problem.divergence(alone)), rel=1e-9)


def test_the_whole_divergence_adds_up_what_is_sent_in_step() -> None:
    """One target has one amplitude for all links: the echo is ``u v^T x``, so that the divergence is ``f(|u|^2 v^T R v^*)``."""
    from disac.geometry import delays_s
    from disac.metrics.kld import divergence_of_scnr
    from disac.units import SPEED_OF_LIGHT_M_S

    random = np.random.default_rng(3)
    factor = random.standard_normal((SUBCARRIERS, 32, 5)) + 1j * random.standard_normal((SUBCARRIERS, 32, 5))
    sent = 1e-5 * factor @ factor.conj().swapaxes(-1, -2)
    away = delays_s(NETWORK.nodes_m, NETWORK.target_m[np.newaxis])[:, 0] * SPEED_OF_LIGHT_M_S
    strength = np.sqrt(NETWORK.amplitude[0, 0]) * away[0] / away
    np.testing.assert_allclose(np.outer(strength, strength), NETWORK.amplitude)
    for tone in (0, 17, 63):
        frequency = 3.5e9 + (tone - 31.5) * 312.5e3
        turn = np.exp(-2j * np.pi * frequency * away / SPEED_OF_LIGHT_M_S)
        v = ((strength * turn)[:, np.newaxis] * NETWORK.steering).reshape(-1)
        scnr = ANTENNAS * (strength**2).sum() * np.real(v @ sent[tone] @ v.conj()) / NETWORK.noise_w
        found = whole_divergence(SCORER.responses, sent, NETWORK.noise_w)[tone]
        assert found == pytest.approx(float(divergence_of_scnr(scnr)), rel=1e-9)


def test_echoes_of_one_beam_are_correlated_over_receivers() -> None:
    """One active node: the whole covariance has rank one, ``f(sum_n x_n)`` instead of ``sum_n f(x_n)``."""
    beam = np.zeros(32, dtype=complex)
    beam[:ANTENNAS] = NETWORK.steering[0].conj() * np.sqrt(TOTAL_POWER_W / SUBCARRIERS / ANTENNAS)
    sent = np.broadcast_to(np.outer(beam, beam.conj()), (SUBCARRIERS, 32, 32))
    scores = SCORER.scores(np.zeros((3, SUBCARRIERS, 32, 32), dtype=complex), sent)
    scnr = SCORER.echoes.scnr(np.eye(4)[0] * ANTENNAS * TOTAL_POWER_W / SUBCARRIERS)
    assert scores["whole_kld"] == pytest.approx(scnr.sum() - np.log1p(scnr.sum()), rel=1e-9)
    assert scores["whole_kld"] > 1.5 * scores["kld"]


def test_coherent_transmitters_and_receivers_apart_have_their_anchor() -> None:
    """Half-duplex: two nodes send half of the time with twice the power."""
    import dataclasses

    from disac.metrics.fisher import attenuation, fisher_information, localization_crb, location_derivatives, location_prior

    found = []
    for coherent in (False, True):
        whole = sensing_model(NETWORK, ALL if coherent else NOTHING)
        model = dataclasses.replace(
            whole, amplitudes=whole.amplitudes[np.ix_([1, 3], [0, 2])] * np.sqrt(0.5), transmitters=(0, 2), receivers=(1, 3)
        )
        even = TOTAL_POWER_W / (2 * ANTENNAS * SUBCARRIERS) * np.eye(2 * ANTENNAS, dtype=complex)
        covariances = np.broadcast_to(even, (SUBCARRIERS, *even.shape)) * attenuation(model)
        information = fisher_information(location_derivatives(model, "hybrid"), covariances, model.noise_power)
        found.append(np.sqrt(localization_crb(information + location_prior(model, "hybrid"), 1)))
    assert found[0] == pytest.approx(0.335, rel=2e-3)
    assert found[1] == pytest.approx(0.664e-3, rel=2e-3)


def test_phase_gains_are_the_sinr_of_the_other_papers() -> None:
    random = np.random.default_rng(1)
    shape = (4, SUBCARRIERS, 32, 2)
    factor = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    streams = 1e-5 * factor @ factor.conj().swapaxes(-1, -2)
    users, sensing = streams[:3], streams[3]
    gains = phase_gains(NETWORK.channels, users, sensing, NETWORK.noise_w)
    noise = NETWORK.noise_w * SUBCARRIERS
    np.testing.assert_allclose(gains.sinr(np.zeros(4)), coherent_sinr(NETWORK.channels, streams, streams.sum(axis=0), noise))
    np.testing.assert_allclose(gains.nominal(), noncoherent_sinr(NETWORK.channels, streams, streams.sum(axis=0), noise))
    phases = random.uniform(-0.05, 0.05, 4)
    turned = NETWORK.channels * np.exp(1j * phases)[:, np.newaxis, np.newaxis, np.newaxis]
    np.testing.assert_allclose(gains.sinr(phases), coherent_sinr(turned, streams, streams.sum(axis=0), noise))
    sampled = gains.sinr(random.uniform(-0.05, 0.05, (500, 4))).min(axis=0)
    worst = gains.worst(0.05)
    assert (worst <= sampled * (1 + 1e-9)).all()
    assert (worst >= 0.9 * sampled).all()


@pytest.mark.parametrize("design", ["robust-none", "robust-phase", "robust-zero-forcing"])
def test_designs_of_000_keep_their_promise_when_scored_again(design: str) -> None:
    cell = experiment.run([SCENARIO], Options(design=design))[0]
    assert cell["status"] == "ok"
    assert cell["busiest_node_w"] <= TOTAL_POWER_W / 4 * (1 + 1e-6)
    promised = "worst_sinr_c_db" if design == "robust-phase" else "sinr_c_db"
    assert cell[promised] >= SCENARIO.sinr_db - 1e-4
    blank = {v.name: np.float64(np.nan) for v in experiment.variables if not v.dims}
    assert experiment.recheck(SCENARIO, Options(design=design), blank | cell) == []
    for wrong in ({"kld": cell["kld"] * 1.001}, {"radiated_w": np.nan}, {"sensing_only_kld": 9.0}):
        name = next(iter(wrong))
        said = experiment.recheck(SCENARIO, Options(design=design), blank | cell | wrong)
        assert any(sentence.startswith(f"{name} is stored as") for sentence in said)


def test_one_bad_subcarrier_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from disac.designs.robust import choices

    solve = choices.solve_total_power
    calls = []

    def bad_once(*given: Any) -> Any:
        found = solve(*given)
        calls.append(found)
        told = dataclasses.replace(found.certificate, status="inaccurate", message="not quite")
        return dataclasses.replace(found, certificate=told) if len(calls) == 9 else found

    monkeypatch.setattr(choices, "solve_total_power", bad_once)
    record = ROWS["robust-none"].method(NETWORK, SCENARIO.model_copy(update={"power": "native"}))
    assert (record.status, record.message) == ("inaccurate", "Subcarrier 8: not quite")


def test_a_misspelt_design_is_named() -> None:
    with pytest.raises(ValueError, match=r"no design 'ofdm-orthognal' \(did you mean 'ofdm-orthogonal'\?\); known: isotropic"):
        Options(design="ofdm-orthognal")


def test_a_design_of_somebody_else_enters_the_table() -> None:
    cell = experiment.run([SCENARIO], Options(design="first-node"))[0]
    assert cell["status"] == "ok"
    assert cell["busiest_node_w"] == pytest.approx(TOTAL_POWER_W)
    assert "loud" in experiment.modules

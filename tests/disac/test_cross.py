"""The common scenario: its anchors, and scores that do not depend on where a design comes from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from disac.designs.cross import ALL, NOTHING, ROWS, sensing_model, tone_problem
from disac.drops.common import common_network
from disac.experiments.cross_table import Options, Scorer, experiment
from disac.metrics.cross import phase_gains, whole_divergence
from disac.metrics.detection import threshold_for
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


@pytest.mark.parametrize("bandwidth_hz", [5e6, pytest.param(20e6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("design", ["robust-none", "robust-phase", "robust-zero-forcing", "robust-known-data"])
def test_designs_of_000_keep_their_promise_when_scored_again(design: str, bandwidth_hz: float) -> None:
    scenario = SCENARIO.model_copy(update={"bandwidth_hz": bandwidth_hz})
    cell = experiment.run([scenario], Options(design=design))[0]
    assert cell["status"] == "ok"
    assert cell["busiest_node_w"] <= TOTAL_POWER_W / 4 * (1 + 1e-6)
    promised = "worst_sinr_c_db" if design == "robust-phase" else "sinr_c_db"
    assert cell[promised] >= scenario.sinr_db - 1e-4
    blank = {v.name: np.float64(np.nan) for v in experiment.variables if not v.dims}
    assert experiment.recheck(scenario, Options(design=design), blank | cell) == []
    for wrong in ({"kld": cell["kld"] * 1.001}, {"radiated_w": np.nan}, {"sensing_only_kld": 9.0}):
        name = next(iter(wrong))
        said = experiment.recheck(scenario, Options(design=design), blank | cell | wrong)
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


CLOCKS = {"clock_std_s": 2e-9, "phase_std_rad": 0.2}


def small(**fields: Any) -> CommonScenario:
    """A network of few subcarriers."""
    return CommonScenario.model_validate({"subcarrier_spacing_hz": 2.5e6, **fields})


def test_known_and_unknown_phases_have_the_bounds_of_the_papers() -> None:
    """delta 0 is the coherent network, null the noncoherent one, and in between the bound grows."""
    for design in ("isotropic", "robust-none", "ofdm-phase-agnostic"):
        line = [small(delta_rad=delta) for delta in (0.0, 0.05, 0.3, 1.0, 3.0, None)]
        cells = experiment.run(line, Options(design=design))
        assert cells[0]["rcrb_m"] == pytest.approx(cells[0]["rcrb_cc_m"], rel=1e-9)
        if design == "robust-none":
            # Nodes that send in step: the bound of 002 counts what their phases happen to be, the hybrid one their mean.
            assert cells[-1]["rcrb_m"] <= cells[-1]["random_phase_rcrb_m"]
        else:
            assert cells[-1]["rcrb_m"] == pytest.approx(cells[-1]["rcrb_nc_m"], rel=1e-9)
        assert (np.diff([cell["rcrb_m"] for cell in cells]) > 0).all()
        if design != "isotropic":
            assert cells[0]["se_bps_hz"] == pytest.approx(cells[0]["se_c_bps_hz"], rel=1e-12)
            assert cells[-1]["se_bps_hz"] == pytest.approx(cells[-1]["se_nc_bps_hz"], rel=0.1)
    assert cells[0]["outage"] <= cells[-1]["outage"]


def test_a_design_that_ignores_phases_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    line = [small(delta_rad=delta, **clocks) for delta in (0.0, 0.3, None) for clocks in ({}, CLOCKS)]
    made: list[str] = []
    for name in ("ofdm-phase-agnostic", "synchronised", "robust-phase"):
        row = ROWS[name]

        def counting(network: Any, scenario: CommonScenario, row: Any = row, name: str = name) -> Any:
            made.append(name)
            return row.method(network, scenario)

        with monkeypatch.context() as patched:
            patched.setitem(ROWS, name, dataclasses.replace(row, method=counting))
            together = experiment.run(line, Options(design=name))
        alone = [experiment.run([scenario], Options(design=name))[0] for scenario in line[-2:]]
        for one, other in zip(together[-2:], alone, strict=True):
            for key in set(one) - {"solve_seconds"}:
                np.testing.assert_array_equal(one[key], other[key])
    assert made == ["ofdm-phase-agnostic", *["synchronised"] * 6, "robust-phase"]
    assert experiment.shared_axes(Options(design="synchronised")) == ("phase_bound_rad",)
    assert set(experiment.shared_axes(Options(design="robust-phase"))) == {"clock_std_s", "phase_std_rad"}


def test_more_nodes_subcarriers_and_users_keep_what_was_there() -> None:
    base = common_network(small(node_count=2, user_count=2))
    more = common_network(small(node_count=8, user_count=8))
    np.testing.assert_array_equal(more.nodes_m[:2], base.nodes_m)
    np.testing.assert_array_equal(more.channels[:2, :2], base.channels)
    np.testing.assert_array_equal(more.amplitude[:2, :2], base.amplitude)
    wider = common_network(small(bandwidth_hz=40e6))
    assert wider.subcarriers == 16
    assert wider.noise_w == common_network(small()).noise_w
    assert len({tuple(p) for p in more.nodes_m.round(6).tolist()}) == 8


def test_targets_are_drawn_evenly_in_their_disc() -> None:
    """Of 2,000 draws a quarter lies within half the radius, to five standard errors."""
    drawn = np.array([common_network(small(target_radius_m=20.0, realisation=i, node_count=1, user_count=1)).target_m
                      for i in range(2000)])  # fmt: skip
    away = np.linalg.norm(drawn - [12.0, -7.0], axis=1)
    assert away.max() <= 20.0
    assert np.mean(away < 10.0) == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 2000))
    wider = common_network(small(target_radius_m=40.0, realisation=3)).target_m
    np.testing.assert_allclose(wider - [12.0, -7.0], 2.0 * (drawn[3] - [12.0, -7.0]))


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"bandwidth_hz": 20e6, "subcarrier_spacing_hz": 3e6}, "is 6.66667 times subcarrier_spacing_hz"),
    ({"bandwidth_hz": 1e6, "subcarrier_spacing_hz": 3e6}, "a whole number of subcarriers from 1 to 1024"),
    ({"shared_antennas": 30}, "is not a whole number of antennas for each of 4 nodes"),
    ({"node_count": 9}, "less than or equal to 8"),
])  # fmt: skip
def test_networks_that_cannot_be_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        CommonScenario.model_validate(fields)


def test_shared_antennas_are_divided() -> None:
    assert [small(shared_antennas=16, node_count=n).antennas_per_node for n in (1, 2, 4)] == [16, 8, 4]


def test_margins_refuse_a_quarter_turn_and_one_node_needs_none() -> None:
    wide = small(phase_bound_rad=None, delta_rad=None)
    told = experiment.run([wide], Options(design="robust-phase"))[0]
    assert told["status"] == "failed"
    assert "below a quarter turn; the bound is 2.98 rad" in told["message"]
    assert experiment.run([wide.model_copy(update={"node_count": 1})], Options(design="robust-phase"))[0]["status"] == "ok"
    assert small(phase_bound_rad=None, delta_rad=0.1).guarded_rad == pytest.approx(0.196, abs=1e-3)


def test_one_cross_section_for_all_is_easier_told_apart_and_harder_to_detect_for_certain() -> None:
    """Divergences by their definitions, and a fluctuation that averages out over the elements."""
    scenario = small(cross_section_m2=3.0)
    cell = experiment.run([scenario], Options(design="isotropic"))[0]
    network = common_network(scenario)
    t = network.total_power_w / network.subcarriers / 4  # isotropic: |a|^2 / M of each node's power
    scnr = network.antennas * network.amplitude**2 / network.noise_w @ np.full(4, t)
    assert cell["interval_kld"] == pytest.approx(100 * network.subcarriers * (scnr - np.log1p(scnr)).sum(), rel=1e-9)
    whole = 100 * network.subcarriers * scnr
    assert cell["interval_kld_one"] == pytest.approx((whole - np.log1p(whole)).sum(), rel=1e-9)
    assert cell["interval_kld_one"] > cell["interval_kld"]
    assert cell["pd_interval_each"] > cell["pd_interval"] > 0.1


def test_detection_with_new_cross_sections_is_that_of_their_mean() -> None:
    """On one subcarrier of 100 elements: a direct simulation of every element, within five standard errors of both."""
    scenario = CommonScenario(bandwidth_hz=312.5e3, cross_section_m2=0.02)
    network, random = common_network(scenario), np.random.default_rng(1)
    scorer = Scorer(network, scenario)
    t = np.full((1, 4), 0.1 / 4)
    found = scorer._detected_anew(t)
    draws, hits = 1500, 0
    eta = threshold_for(1e-3, 4, 100)
    for _ in range(draws):
        squares = random.exponential(size=(100, 4, 4))
        scnr = np.einsum("tnm,nm,m->tn", squares, scorer.echoes.gains, t[0])
        noise = (random.standard_normal((100, 4)) + 1j * random.standard_normal((100, 4))) / np.sqrt(2.0)
        hits += (np.abs(np.sqrt(scnr) + noise) ** 2).sum() / 100 >= eta
    assert 0.05 < found < 0.95
    assert found == pytest.approx(hits / draws, abs=5 * np.sqrt(0.25 / draws + 0.25 / 2000))


def test_rows_that_promise_the_same_are_not_better_than_the_synchronised_one() -> None:
    """Same power and noncoherent SINR, bound at the scenario's own phases and clocks: the optimum within its gap."""
    for fields in ({"delta_rad": 0.3}, {"delta_rad": 0.0}, {"delta_rad": 1.5, **CLOCKS}, {"delta_rad": None, "node_count": 2}):
        scenario = small(**fields)
        best = experiment.run([scenario], Options(design="synchronised"))[0]
        assert best["status"] == "ok"
        for other in ("ofdm-phase-agnostic", "ofdm-orthogonal", "noncoherent-block", "ofdm-unconstrained-tight"):
            cell = experiment.run([scenario], Options(design=other))[0]
            assert cell["rcrb_m"] ** 2 >= best["rcrb_m"] ** 2 * (1.0 - best["relative_gap"] - 1e-6), (fields, other)


def test_one_node_has_no_clock_and_no_phase_to_lose() -> None:
    for design in ("isotropic", "synchronised"):
        cells = experiment.run([small(node_count=1), small(node_count=1, delta_rad=0.3, **CLOCKS)], Options(design=design))
        assert [cell["status"] for cell in cells] == ["ok", "ok"]
        assert cells[1]["rcrb_m"] == pytest.approx(cells[0]["rcrb_m"], rel=1e-6)


@pytest.mark.parametrize("design", ["ofdm-phase-agnostic", "noncoherent-block", "coherent", "synchronised"])
def test_a_flat_spectrum_has_the_same_power_on_every_subcarrier_and_costs_accuracy(design: str) -> None:
    """Designs of 000 are flat anyway: with this field the others are, too."""
    free, flat = (experiment.run([small(spectrum=kind, delta_rad=0.3)], Options(design=design))[0] for kind in ("free", "flat"))
    assert free["status"] == flat["status"] == "ok"
    column = "rcrb_cc_m" if design == "coherent" else "rcrb_m" if design == "synchronised" else "rcrb_nc_m"
    assert flat[column] ** 2 >= free[column] ** 2 * (1.0 - free["relative_gap"] - 1e-6)
    streams = np.concatenate([flat["user_streams"], flat["sensing_streams"][np.newaxis]])
    power = (np.abs(streams) ** 2).sum(axis=(0, 3)).reshape(streams.shape[1], 4, -1).sum(axis=2)
    assert power.max() <= 0.1 / 4 / streams.shape[1] * (1.0 + 1e-6)
    if design != "noncoherent-block":
        assert flat["peak_delay_sidelobe_db"] < free["peak_delay_sidelobe_db"]

"""Rates and precoding of D-MIMO users: a reference case, received samples, and what a signal may spend."""

from __future__ import annotations

import numpy as np
import pytest
from dmimo_network_cases import case, complex_of
from hypothesis import given, settings
from hypothesis import strategies as st

from disac.designs.dmimo.precoding import data_covariance, maximum_ratio, power_split, sensing_covariance
from disac.designs.dmimo.signals import sensing_waveform, sent_signals
from disac.metrics.dmimo_rate import heard_amplitudes, printed_sinr, spectral_efficiency, user_sinr
from disac.streams import complex_normal

Complex = np.ndarray


def drawn(seed: int, transmitters: int = 3, users: int = 4, antennas: int = 2) -> tuple[Complex, Complex]:
    """Channels [M_t, K, N] of random strengths, and these strengths [M_t, K]."""
    random = np.random.default_rng(seed)
    strengths = 10.0 ** random.uniform(-1.0, 1.0, (transmitters, users))
    channels = complex_normal(random, (transmitters, users, antennas)) * np.sqrt(strengths)[..., np.newaxis]
    return channels, strengths


def test_the_reference_case() -> None:
    stored = case("se_1")
    given, expected = stored["inputs"], stored["outputs"]
    channels, power, share = complex_of(given["g"]), given["Pt_W"], given["rho"]
    split = power_split(np.array(given["beta"]), power)
    np.testing.assert_allclose(split, expected["p_tk"], rtol=1e-12)
    sinr = user_sinr(channels, maximum_ratio(channels), share * split, (1.0 - share) * power, given["sigma2"])
    np.testing.assert_allclose(sinr, expected["sinr_active_t_by_k"], rtol=1e-9)
    np.testing.assert_allclose(spectral_efficiency(sinr), expected["se_k"], rtol=1e-9)
    assert spectral_efficiency(sinr).sum() == pytest.approx(expected["sum_se"], rel=1e-9)


def test_the_sinr_is_that_of_received_samples() -> None:
    """Sent samples through the channels: powers of the parts that a user hears, within five deviations of 60,000 samples."""
    channels, strengths = drawn(0)
    beams, powers, sensing_w, noise_w = maximum_ratio(channels), power_split(strengths, 0.6), 0.4, 0.3
    random, slots = np.random.default_rng(1), 60_000
    symbols = complex_normal(random, (4, slots))
    sent = sent_signals(beams, powers, sensing_w, symbols)
    # Gaussian sensing signals of the same covariance: (7) takes them as random, not as the DFT columns in turn.
    sensing = np.zeros_like(sent.sensing)
    white = complex_normal(random, (2, slots)) * np.sqrt(sensing_w / 2.0)
    for slot_of in range(3):
        sensing[slot_of][:, sent.senses == slot_of] = white[:, sent.senses == slot_of]
    sinr = user_sinr(channels, beams, powers, sensing_w, noise_w)
    amplitudes = heard_amplitudes(channels, beams, powers)
    noise = np.sqrt(noise_w) * complex_normal(random, (4, slots))
    heard = np.einsum("tkn,tnl->kl", channels.conj(), sent.data + sensing) + noise
    for user in range(4):
        rest = heard[user] - amplitudes[user, user] * symbols[user]
        for active in range(3):
            disturbance = np.mean(np.abs(rest[sent.senses == active]) ** 2)
            measured = np.abs(amplitudes[user, user]) ** 2 / disturbance
            assert measured == pytest.approx(sinr[active, user], rel=5.0 / np.sqrt(slots / 3.0))
        # What remains has nothing of the user's own symbol: the amplitude is right, phase included.
        own = np.mean(rest * symbols[user].conj())
        assert abs(own) < 5.0 * np.sqrt(np.mean(np.abs(rest) ** 2) / slots)


def test_the_printed_sinr_errs_in_its_sum_and_its_powers() -> None:
    """With equal powers the misprint is the sum alone: users but the first hear their own signal, not the first one's."""
    channels, _ = drawn(2)
    beams, powers = maximum_ratio(channels), np.full((3, 4), 0.2)
    arguments = (channels, beams, powers, 0.1, 0.3)
    right, printed = 1.0 / user_sinr(*arguments), 1.0 / printed_sinr(*arguments)
    heard = np.abs(heard_amplitudes(*arguments[:3])) ** 2
    own = np.diag(heard)
    moved = (own - heard[:, 0]) / own
    np.testing.assert_allclose(printed - right, np.broadcast_to(moved, (3, 4)), atol=1e-9)
    powers = power_split(np.random.default_rng(3).uniform(0.1, 1.0, (3, 4)), 1.0)
    assert not np.allclose(printed_sinr(channels, beams, powers, 0.1, 0.3)[:, 0], printed[:, 0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.floats(1e-3, 1e3))
def test_rates_do_not_depend_on_units_and_grow_with_the_share(seed: int, share: float, unit: float) -> None:
    channels, strengths = drawn(seed)
    beams, split = maximum_ratio(channels), power_split(strengths, 1.0)
    rate = spectral_efficiency(user_sinr(channels, beams, share * split, 1.0 - share, 0.5))
    same = spectral_efficiency(user_sinr(channels, beams, unit * share * split, unit * (1.0 - share), unit * 0.5))
    np.testing.assert_allclose(same, rate, rtol=1e-9, atol=1e-12)
    more = min(1.0, share + 0.1)
    assert (spectral_efficiency(user_sinr(channels, beams, more * split, 1.0 - more, 0.5)) >= rate - 1e-12).all()
    # One phase for all channels of a user changes nothing; nor does conjugating all of them.
    turned = channels * np.exp(1j * np.arange(4.0))[:, np.newaxis]
    for other in (turned, channels.conj()):
        again = spectral_efficiency(user_sinr(other, maximum_ratio(other), share * split, 1.0 - share, 0.5))
        np.testing.assert_allclose(again, rate, rtol=1e-9, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.integers(1, 4), st.integers(1, 5))
def test_the_power_limit_is_kept_in_every_slot(seed: int, share: float, transmitters: int, antennas: int) -> None:
    """``E |x_t|^2 = rho P + (1 - rho) P delta_t``, the identity below (1) of 004."""
    channels, strengths = drawn(seed, transmitters, 3, antennas)
    powers = share * power_split(strengths, 2.0)
    np.testing.assert_allclose(powers.sum(axis=-1), 2.0 * share, atol=1e-300)  # numbers below that have fewer digits
    symbols = np.exp(0.5j * np.pi * np.random.default_rng(seed).integers(4, size=(3, 6 * transmitters)))
    sent = sent_signals(maximum_ratio(channels), powers, 2.0 * (1.0 - share), symbols)
    radiated = np.sum(np.abs(sent.sensing) ** 2, axis=1)
    turns = sent.senses == np.arange(transmitters)[:, np.newaxis]
    np.testing.assert_allclose(radiated, np.where(turns, 2.0 * (1.0 - share), 0.0), atol=1e-12)
    assert np.bincount(sent.senses).tolist() == [6] * transmitters
    mean = np.real(np.diag(data_covariance(maximum_ratio(channels), powers, 1.0))).reshape(transmitters, -1).sum(axis=1)
    np.testing.assert_allclose(mean, 2.0 * share, atol=1e-12)


def test_sensing_signals_have_exactly_the_covariance_that_bounds_assume() -> None:
    for antennas, rounds in ((1, 3), (2, 4), (8, 2)):
        waveform = sensing_waveform(antennas, antennas * rounds)
        np.testing.assert_allclose(np.linalg.norm(waveform, axis=0), 1.0)
        np.testing.assert_allclose(waveform @ waveform.conj().T, rounds * np.eye(antennas), atol=1e-12)
    channels, strengths = drawn(5, 3, 4, 2)
    sent = sent_signals(maximum_ratio(channels), power_split(strengths, 1.0), 0.4, np.ones((4, 24), dtype=np.complex128))
    np.testing.assert_allclose(sent.covariance(whole=False), sensing_covariance(3, 2, 8 * 0.4), atol=1e-12)


def test_mean_and_drawn_symbols_agree_over_many_slots() -> None:
    """Entry by entry within six deviations of 30,000 slots."""
    channels, strengths = drawn(6)
    beams, powers, slots = maximum_ratio(channels), power_split(strengths, 0.7), 30_000
    symbols = np.exp(0.5j * np.pi * np.random.default_rng(7).integers(4, size=(4, slots)))
    drawn_ = sent_signals(beams, powers, 0.3, symbols).covariance() / slots
    mean = data_covariance(beams, powers, 1.0) + sensing_covariance(3, 2, 0.3 / 3.0)
    size = np.sqrt(np.outer(np.diag(mean).real, np.diag(mean).real))
    assert (np.abs(drawn_ - mean) < 6.0 * size / np.sqrt(slots)).all()
    assert np.abs(mean[:2, 2:]).max() > 0.05, "transmitters send the same symbols"
    with pytest.raises(ValueError, match="10 slots cannot be shared evenly by 3 transmitters"):
        sent_signals(beams, powers, 0.3, symbols[:, :10])


def test_batches_are_their_members() -> None:
    channels = np.stack([drawn(seed)[0] for seed in range(6)]).reshape(2, 3, 3, 4, 2)
    powers, beams = power_split(drawn(9)[1], 1.0), maximum_ratio(channels)
    whole = user_sinr(channels, beams, powers, np.array([0.1, 0.2, 0.3]), 0.5)
    for place in np.ndindex(2, 3):
        one = user_sinr(channels[place], beams[place], powers, np.array([0.1, 0.2, 0.3]), 0.5)
        np.testing.assert_allclose(whole[place], one, rtol=1e-12)

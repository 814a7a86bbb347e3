"""OFDM signals of a design and their echoes: QPSK data, sensing streams, noise (001, (1) and (3); 002, (1) to (5))."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import delay_vector, steering_vector
from disac.geometry import angles_rad
from disac.metrics.fisher import SensingModel, link_responses

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def qpsk(random: np.random.Generator, shape: tuple[int, ...]) -> Complex:
    """QPSK symbols of unit power."""
    bits = random.integers(0, 2, (2, *shape)) * 2 - 1
    symbols: Complex = (bits[0] + 1j * bits[1]) / np.sqrt(2.0)
    return symbols


def transmitted_signal(
    beams: Complex, remainder: Complex, code: Complex, symbols: int, random: np.random.Generator, first: int = 0
) -> tuple[Complex, Complex]:  # fmt: skip
    """Signals of all antennas, ``x_l(t) = sum_u c(t) w_{u,l}(t) s_{u,l}(t) + W_{s,l} s_s(t)``.

    Data are QPSK, of one stream per user; sensing streams are circular Gaussian, one per dimension of the sensing covariance.

    Parameters
    ----------
    beams
        Beams of each symbol of a cycle, shape [S, U, L, N M_t].
    remainder
        Sensing covariance, shape [L, N M_t, N M_t].
    code
        Known factors of each node's data symbols, repeated over time, shape [N, any].
    symbols
        Number of OFDM symbols T.
    first
        Number of the first of them, which beams and code go by; negative for symbols before number 0.

    Returns
    -------
    data, sensing
        Signals of each user's stream [U, L, N M_t, T] and of all sensing streams [L, N M_t, T].
    """
    cycle, users, subcarriers, size = beams.shape
    number = first + np.arange(symbols)
    in_turn = np.moveaxis(beams[number % cycle], 0, -1)
    factor = np.repeat(code[:, number % code.shape[1]], size // len(code), axis=0)
    data = in_turn * factor * qpsk(random, (users, subcarriers, 1, symbols))
    values, vectors = np.linalg.eigh(remainder)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, np.newaxis]
    shape = (subcarriers, size, symbols)
    noise = (random.standard_normal(shape) + 1j * random.standard_normal(shape)) / np.sqrt(2.0)
    return data, root @ noise


def heard_powers(
    channels: Complex, data: Complex, sensing: Complex, noise_power: float, phases_rad: Float
) -> tuple[Float, Float]:  # fmt: skip
    """Powers of the wanted and of everything else in each OFDM symbol, summed over its subcarriers, as the users hear it.

    ``sum_l |wanted_l|^2`` and ``sum_l |unwanted_l|^2 + sigma_c^2`` with the symbols that were sent and the phases that the
    nodes have: the terms of (2) of 001 within one block. Their means over data and independent uniform phases are numerator
    and denominator of (6) of 001 where the nodes' symbols are scrambled or the phases random. A channel is given per
    subcarrier: the model assumes that the prefix covers its delays.

    Parameters
    ----------
    channels
        Shape [N, U, L, M_t].
    data, sensing
        Of :func:`transmitted_signal`.
    noise_power
        ``sigma_c^2`` over all subcarriers.
    phases_rad
        Phase of each node in each symbol, shape [T, N].

    Returns
    -------
    wanted, other
        float64, shape [U, T] each, in the unit of the noise power.
    """
    nodes, antennas = channels.shape[0], channels.shape[3]
    turn = np.exp(1j * phases_rad)

    def heard(signal: Complex) -> Complex:
        split = signal.reshape(*signal.shape[:-2], nodes, antennas, -1)
        return np.einsum("nulm,...lnmt,tn->...ult", channels.conj(), split, turn, optimize=True)

    by_stream = heard(data)  # [stream, user, L, T]
    own = np.einsum("uult->ult", by_stream)
    other = by_stream.sum(axis=0) - own + heard(sensing)
    return (np.abs(own) ** 2).sum(axis=1), (np.abs(other) ** 2).sum(axis=1) + noise_power


def instantaneous_sinr(channels: Complex, data: Complex, sensing: Complex, noise_power: float, phases_rad: Float) -> Float:
    """SINR of each OFDM symbol over its subcarriers (001, Fig. 3(c), which does not define it).

    The ratio of :func:`heard_powers`, whose arguments it takes: in (6) of 001 expectations stand in their place.

    Returns
    -------
    float64, shape [U, T], linear
    """
    wanted, other = heard_powers(channels, data, sensing, noise_power, phases_rad)
    return wanted / other


@dataclass(frozen=True)
class SampledEchoes:
    """Received echoes of a known signal, in the dimensions that its symbols span. Other dimensions hold noise alone.

    ``clean`` [N_r, L, M_r, R] are the echoes without noise, ``noise`` [trials, N_r, L, M_r, R] is white with ``noise_power`` in
    each entry, ``signal`` [L, N_t M_t, R] is what was sent; R is the number of symbols, or of antennas if they are fewer.
    """

    clean: Complex
    noise: Complex
    signal: Complex
    noise_power: float

    @property
    def covariances(self) -> Complex:
        """``sum_t x_l x_l^H``, shape [L, N_t M_t, N_t M_t]."""
        return self.signal @ self.signal.conj().swapaxes(-1, -2)


def symbols_before(model: SensingModel, prefix_s: float) -> int:
    """Number of earlier symbols in a receiver's window (:func:`clean_echoes`); 0 if the prefix covers the delays."""
    late = float(np.ptp(model.bistatic_s)) - prefix_s
    return max(0, int(np.ceil(late / (model.subcarriers / model.bandwidth_hz + prefix_s))))


def overlap_matrices(model: SensingModel, prefix_s: float) -> Complex:
    """Parts of the present symbol and of earlier ones in a receiver's window, for each link and subcarrier.

    Each symbol of length ``L/B`` follows its cyclic prefix, symbols follow one another, and every receiver opens its window a
    prefix and the earliest bistatic delay of the scenario after the symbol's prefix began; it knows that delay and turns its
    subcarriers back by ``d(tau_min)``. A link later by e than the earliest fills the window from ``max(0, e - T_cp)`` on with
    the present symbol, before that with the one before, and so on. Over a filled part [u_1, u_2) a subcarrier l' of the symbol
    q symbols back weighs in subcarrier l

        d_l(tau_min) exp(-j 2 pi (B/L) l' (e - q T_cp)) (B/L) int_{u_1}^{u_2} exp(j 2 pi (B/L) (l' - l) u) du,

    which is ``d_l(tau)`` on the diagonal and nothing else, (5) of 002, for links within the prefix.

    Returns
    -------
    complex128, shape [Q + 1, N_r, N_t, K, L, L]
        For the present symbol and the :func:`symbols_before`, Q of them.
    """
    subcarriers, spacing_hz = model.subcarriers, model.bandwidth_hz / model.subcarriers
    earliest = model.bistatic_s.min()
    late, prefix = (model.bistatic_s - earliest) * spacing_hz, prefix_s * spacing_hz  # in symbols
    back = np.arange(symbols_before(model, prefix_s) + 1).reshape(-1, 1, 1, 1)
    ended = late - (back - 1) * (1.0 + prefix) - prefix
    begin, end = np.clip(ended - 1.0 - prefix, 0.0, 1.0), np.clip(np.where(back == 0, 1.0, ended), 0.0, 1.0)
    number = np.arange(subcarriers)
    apart = number - number[:, np.newaxis]  # l' - l
    length, middle = (part[..., np.newaxis, np.newaxis] for part in (end - begin, (begin + end) / 2.0))
    filled = length * np.sinc(apart * length) * np.exp(2j * np.pi * apart * middle)
    sent = np.exp(-2j * np.pi * number * (late - back * prefix)[..., np.newaxis, np.newaxis])
    return delay_vector(earliest, subcarriers, model.bandwidth_hz)[:, np.newaxis] * filled * sent


def clean_echoes(model: SensingModel, signal: Complex, before: Complex, prefix_s: float) -> Complex:
    """Echoes without noise: ``H_{n,l} x_l(t)`` where the prefix covers the delays, :func:`overlap_matrices` where it does not.

    Parameters
    ----------
    signal
        Shape [L, N_t M_t, T].
    before
        The :func:`symbols_before` the first, latest last, shape [L, N_t M_t, Q].

    Returns
    -------
    complex128, shape [N_r, L, M_r, T]
    """
    if not before.shape[-1]:
        return link_responses(model) @ signal
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    receive = steering_vector(angle[list(model.receive_nodes)], model.receive_antennas)
    transmit = steering_vector(angle[list(model.transmit_nodes)], model.transmit_antennas)
    every = np.concatenate([before, signal], axis=-1)
    split = every.reshape(len(every), *transmit.shape[::2], -1)
    towards = np.einsum("mkj,lmjt->mklt", transmit, split)
    earlier, symbols = before.shape[-1], signal.shape[-1]
    matrices = overlap_matrices(model, prefix_s)
    arriving = sum(matrix @ towards[..., earlier - q : earlier - q + symbols] for q, matrix in enumerate(matrices))
    return np.einsum("nmk,nki,nmklt->nlit", model.amplitudes, receive, arriving, optimize=True)


def echoes(
    model: SensingModel, signal: Complex, before: Complex, prefix_s: float, trials: int, random: np.random.Generator
) -> SampledEchoes:  # fmt: skip
    """Echoes of a signal (:func:`clean_echoes`), and independent noise for each trial of power ``sigma_s^2 / L`` an entry."""
    clean = clean_echoes(model, signal, before, prefix_s)
    power = model.noise_power / model.subcarriers
    # Of more symbols than antennas, what lies outside the rows of the signal is noise alone.
    many = signal.shape[-1] > signal.shape[-2]
    basis = np.linalg.svd(signal, full_matrices=False)[2].conj().swapaxes(-1, -2) if many else None
    noise = []
    for _ in range(trials):
        # One trial at a time: all symbols of all trials may not fit into memory.
        z = random.standard_normal((2, *clean.shape))
        drawn = np.sqrt(power / 2.0) * (z[0] + 1j * z[1])
        noise.append(drawn if basis is None else drawn @ basis)
    if basis is not None:
        clean, signal = clean @ basis, signal @ basis
    return SampledEchoes(clean, np.stack(noise), signal, power)

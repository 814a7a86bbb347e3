"""OFDM signals of a design and their echoes: QPSK data, sensing streams, noise (001, (1) and (3); 002, (1) to (5))."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.metrics.fisher import SensingModel, link_responses

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def qpsk(random: np.random.Generator, shape: tuple[int, ...]) -> Complex:
    """QPSK symbols of unit power."""
    bits = random.integers(0, 2, (2, *shape)) * 2 - 1
    symbols: Complex = (bits[0] + 1j * bits[1]) / np.sqrt(2.0)
    return symbols


def transmitted_signal(
    beams: Complex, remainder: Complex, code: Complex, symbols: int, random: np.random.Generator
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

    Returns
    -------
    data, sensing
        Signals of each user's stream [U, L, N M_t, T] and of all sensing streams [L, N M_t, T].
    """
    cycle, users, subcarriers, size = beams.shape
    in_turn = np.moveaxis(beams[np.arange(symbols) % cycle], 0, -1)
    factor = np.repeat(code[:, np.arange(symbols) % code.shape[1]], size // len(code), axis=0)
    data = in_turn * factor * qpsk(random, (users, subcarriers, 1, symbols))
    values, vectors = np.linalg.eigh(remainder)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, np.newaxis]
    shape = (subcarriers, size, symbols)
    noise = (random.standard_normal(shape) + 1j * random.standard_normal(shape)) / np.sqrt(2.0)
    return data, root @ noise


def instantaneous_sinr(channels: Complex, data: Complex, sensing: Complex, noise_power: float, phases_rad: Float) -> Float:
    """SINR of each OFDM symbol over its subcarriers, as the users hear it (001, Fig. 3(c)).

    ``sum_l |wanted_l|^2 / sum_l (|unwanted_l|^2 + sigma_c^2 / L)`` with the symbols that were sent and the phases that the
    nodes have; 001 does not define it, and this is the ratio of the powers of its (2) within one block.

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
    float64, shape [U, T], linear
    """
    nodes, antennas = channels.shape[0], channels.shape[3]
    turn = np.exp(1j * phases_rad)

    def heard(signal: Complex) -> Complex:
        split = signal.reshape(*signal.shape[:-2], nodes, antennas, -1)
        return np.einsum("nulm,...lnmt,tn->...ult", channels.conj(), split, turn, optimize=True)

    by_stream = heard(data)  # [stream, user, L, T]
    own = np.einsum("uult->ult", by_stream)
    other = by_stream.sum(axis=0) - own + heard(sensing)
    wanted = (np.abs(own) ** 2).sum(axis=1)
    return wanted / ((np.abs(other) ** 2).sum(axis=1) + noise_power)


@dataclass(frozen=True)
class Echoes:
    """What is needed of received echoes and the known signal to locate: their correlations, summed over symbols.

    ``received`` [trials, N_r, L, M_r, N_t M_t] is ``sum_t y x^H``, ``signal`` [L, N_t M_t, N_t M_t] is ``sum_t x x^H``; the
    likelihood of positions depends on nothing else. ``noise`` is the noise power of each received entry.
    """

    received: Complex
    signal: Complex
    noise: float


def echoes(model: SensingModel, signal: Complex, trials: int, random: np.random.Generator) -> Echoes:
    """Echoes of a signal, with independent noise in each trial.

    ``y_{n,l}(t) = H_{n,l} x_l(t) + z``, each entry of z with power ``sigma_s^2 / L``. It holds while the cyclic prefix covers
    the spread of the delays (:func:`disac.metrics.delay.delay_margin`).

    Parameters
    ----------
    signal
        Shape [L, N_t M_t, T].
    """
    channel = link_responses(model)
    clean = channel @ signal
    noise = model.noise_power / model.subcarriers
    correlated = np.empty((trials, *channel.shape), dtype=np.complex128)
    for trial in range(trials):
        z = random.standard_normal((2, *clean.shape))
        y = clean + np.sqrt(noise / 2.0) * (z[0] + 1j * z[1])
        correlated[trial] = y @ signal.conj().swapaxes(-1, -2)
    return Echoes(correlated, signal @ signal.conj().swapaxes(-1, -2), noise)

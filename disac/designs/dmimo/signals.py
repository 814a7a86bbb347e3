"""What access points send, sample by sample: (1) of 004 with its sensing signal in turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class SentSignals:
    """Samples of the two parts of (1), and whose turn it is.

    ``data`` and ``sensing`` [..., M_t, N, slots]; ``senses`` [slots], the transmitter that senses in each slot.
    """

    data: Complex
    sensing: Complex
    senses: NDArray[np.intp]

    @property
    def whole(self) -> Complex:
        """x_t[l], [..., M_t, N, slots]."""
        return self.data + self.sensing

    def covariance(self, *, whole: bool = True) -> Complex:
        """``sum_l x[l] x[l]^H`` of the stacked signals, or of their sensing part alone, [..., M_t N, M_t N]."""
        part = self.whole if whole else self.sensing
        stacked = part.reshape(*part.shape[:-3], -1, part.shape[-1])
        return stacked @ stacked.conj().swapaxes(-1, -2)


def sensing_waveform(antennas: int, slots: int) -> Complex:
    """Sensing signals q_0 of one transmitter in its slots, [N, slots], each of unit norm.

    They are the columns of a DFT in turn. So over any multiple of N slots their covariance is exactly the identity over N.
    """
    number = np.outer(np.arange(antennas), np.arange(slots) % antennas)
    return np.exp(-2j * np.pi * number / antennas) / np.sqrt(antennas)


def sent_signals(beams: Complex, powers_w: Float, sensing_w: float, symbols: Complex) -> SentSignals:
    """Signals of all transmitters; in slot l transmitter ``l mod M_t`` senses (``sum_t delta_t[l] = 1`` in 004).

    Parameters
    ----------
    beams
        Of unit norm, w_tk, [..., M_t, K, N].
    powers_w
        Powers sent to the users, rho p_tk, [M_t, K].
    sensing_w
        Power of the sensing signal, (1 - rho) P_t.
    symbols
        Users' symbols q_k[l] of unit power, [..., K, slots]; as many slots for each transmitter.

    Raises
    ------
    ValueError
        If the slots cannot be shared evenly.
    """
    transmitters, antennas, slots = beams.shape[-3], beams.shape[-1], symbols.shape[-1]
    if slots % transmitters:
        raise ValueError(f"{slots} slots cannot be shared evenly by {transmitters} transmitters")
    data = np.einsum("...tkn,tk,...kl->...tnl", beams, np.sqrt(powers_w), symbols, optimize=True)
    senses = np.arange(slots) % transmitters
    sensing = np.zeros(data.shape, dtype=np.complex128)
    waveform = np.sqrt(sensing_w) * sensing_waveform(antennas, slots // transmitters)
    for number in range(transmitters):
        sensing[..., number, :, number::transmitters] = waveform
    return SentSignals(data, sensing, senses)

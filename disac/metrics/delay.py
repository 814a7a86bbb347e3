"""Delay resolution of a design's spectrum: its sidelobes, and the largest spread of delays before they fold (002, (5))."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

_FINE = 16
"""Points of the delay response per resolution cell 1/B."""


def delay_response(power: Float) -> Float:
    """``|sum_l p_l e^{j 2 pi l x / L}|^2`` over one period of the delay x in units of 1/B, relative to its peak.

    Parameters
    ----------
    power
        Illumination of each subcarrier, shape [..., L].

    Returns
    -------
    float64, shape [..., 16 L]
    """
    response = np.abs(np.fft.fft(power, _FINE * power.shape[-1], axis=-1)) ** 2
    return response / np.maximum(response[..., :1], 1e-300)


def delay_sidelobes(power: Float) -> tuple[Float, Float]:
    """Peak and integrated delay sidelobes of a spectrum, relative to the main lobe.

    The main lobe reaches to the first minimum on both sides. The integrated ratio is the energy outside over that inside.
    Without such a minimum the peak is the least value of the response: 1 for a single subcarrier, which tells no delay.

    Parameters
    ----------
    power
        Illumination of each subcarrier, shape [..., L].

    Returns
    -------
    peak, integrated
        Linear, shape [...] each.
    """
    response = delay_response(power)
    flat = response.reshape(-1, response.shape[-1])
    peak, integrated = np.empty(len(flat)), np.empty(len(flat))
    half = flat.shape[1] // 2
    for i, row in enumerate(flat):
        rising = np.flatnonzero(np.diff(row[: half + 1]) > 0)
        edge = int(rising[0]) if len(rising) else half
        inside = 2.0 * row[1:edge].sum() + row[0] + 2.0 * row[edge] * (edge < half)
        outside = row[edge + 1 : len(row) - edge]
        peak[i] = outside.max() if len(outside) else row[edge]
        integrated[i] = outside.sum() / inside
    return peak.reshape(power.shape[:-1]), integrated.reshape(power.shape[:-1])


def illumination(covariances: Complex, transmit: Complex) -> Float:
    """Power that each node sends towards each target on each subcarrier, ``a_t^T R_{nn,l} a_t^*``.

    Parameters
    ----------
    covariances
        Shape [L, N M_t, N M_t].
    transmit
        Steering vectors, shape [N, K, M_t].

    Returns
    -------
    float64, shape [N, K, L]
    """
    subcarriers, (nodes, _, antennas) = len(covariances), transmit.shape
    blocks = covariances.reshape(subcarriers, nodes, antennas, nodes, antennas)
    own = np.einsum("lninj->nlij", blocks)
    return np.einsum("nki,nlij,nkj->nkl", transmit, own, transmit.conj(), optimize=True).real


def delay_margin(bistatic_s: Float, subcarriers: int, bandwidth_hz: float, cyclic_prefix_s: float) -> float:
    """Further spread of the links' delays that is possible before symbols fold or overlap, s; negative where they do.

    ``min(L/B, T_cp) - (tau_max - tau_min)`` over all bistatic delays. Below zero the signal model (5) of 002 does not hold:
    delays alias (L/B) or symbols interfere (the cyclic prefix), which no location bound shows.

    Parameters
    ----------
    bistatic_s
        Delays from transmitter over target to receiver, of any shape.
    """
    return min(subcarriers / bandwidth_hz, cyclic_prefix_s) - float(bistatic_s.max() - bistatic_s.min())


def range_ambiguous(bistatic_s: Float, subcarriers: int, bandwidth_hz: float) -> bool:
    """Whether delays of the scenario fold: they spread further than ``L/B``, the period of (5) of 002 in the delay.

    Parameters
    ----------
    bistatic_s
        Delays from transmitter over target to receiver, of any shape.
    """
    return bool(bistatic_s.max() - bistatic_s.min() > subcarriers / bandwidth_hz)

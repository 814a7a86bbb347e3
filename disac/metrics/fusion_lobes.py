"""Chance that a wrong lobe of the coherent score, a fraction of a wavelength away or more, beats the right one; ours on 004.

Within the accuracy of the noncoherent map the responses of the arrays hardly change, and one matched-filter output per pair,
``z_tr = sqrt(snr_tr) e^{j phi} + noise``, decides between lobes. The score of a block of pairs that share a phase is
``|sum w z|^2 / sum w^2`` with weights of the radar equation. All pairs are one block where receivers send statistics; each
receiver is a block where receivers send maps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_NODES = 400
"""Points of the integral; the integrand is smooth, and the error falls exponentially with their number."""

_REACH = 14.0
"""Largest argument of the hyperbolic sine along the line of integration."""


def lobe_correlation(snr: Float, turn_rad: Float, *, network: bool = True) -> tuple[Float, Float]:
    """Energy of each block and correlation of the responses at the right place and at a wrong one.

    Parameters
    ----------
    snr
        ``b^2 N^2`` of each pair, [T, R].
    turn_rad
        How much the phase of each pair differs at the wrong place, ``-g . offset`` with ``g = -k0 grad(d_t + d_r)
        + (N - 1)/2 grad(kappa_t + kappa_r)``, [..., T, R].
    network
        Whether all pairs share a phase; if not, each receiver's pairs do.

    Returns
    -------
    snr, correlation
        Shape [..., 1] or [..., R].
    """
    weighted = snr * np.exp(1j * turn_rad)
    axes = (-2, -1) if network else (-2,)
    energy = np.broadcast_to(snr, weighted.shape).sum(axis=axes)
    shared = np.abs(weighted.sum(axis=axes)) / energy
    return (energy[..., np.newaxis], shared[..., np.newaxis]) if network else (energy, shared)


def wrong_lobe_chance(snr: Float, correlation: Float) -> Float:
    """Chance that the score at one wrong place exceeds that at the right one, exact.

    A block of energy E and correlation c contributes ``s (X - Y)`` with ``s = sqrt(1 - c^2)`` and squared sizes X and Y of
    complex normal numbers, whose means squared are ``E (1 - s) / 2`` and ``E (1 + s) / 2``. The chance that the sum is positive
    is an integral of its moment-generating function along a line through the saddle point: small chances keep their digits.

    Parameters
    ----------
    snr, correlation
        Of each block, shape [..., B]; one block gives the formula of binary noncoherent detection of correlated signals.

    Returns
    -------
    float64, shape [...]
        One half where no block tells the places apart.
    """
    snr, correlation = np.broadcast_arrays(np.asarray(snr, dtype=np.float64), np.asarray(correlation, dtype=np.float64))
    spread = np.sqrt(np.maximum(1.0 - correlation**2, 0.0))
    flat_snr, flat = snr.reshape(-1, snr.shape[-1]), spread.reshape(-1, snr.shape[-1])
    chances = [_positive(energy[s > 1e-9], s[s > 1e-9]) for energy, s in zip(flat_snr, flat, strict=True)]
    return np.array(chances).reshape(snr.shape[:-1])


def right_lobe_bound(chances: Float) -> Float:
    """Lower bound on the chance of the right lobe: one less the sum over the wrong lobes [..., Q], at least zero."""
    return np.maximum(1.0 - chances.sum(axis=-1), 0.0)


def _positive(energy: Float, spread: Float) -> float:
    if not len(spread):
        return 0.5
    above, below = energy * (1.0 - spread) / 2.0, energy * (1.0 + spread) / 2.0

    def logarithm(argument: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Of the moment-generating function over the argument."""
        scaled = argument[..., np.newaxis] * spread
        terms = scaled * above / (1.0 - scaled) - scaled * below / (1.0 + scaled) - np.log1p(-scaled) - np.log1p(scaled)
        return terms.sum(axis=-1) - np.log(argument)

    # The saddle point on the real axis, by a fine search: the function is convex there.
    largest = float(spread.max())
    real = np.linspace(0.0, 1.0, 4002)[1:-1] / largest
    saddle = float(real[np.argmin(logarithm(real.astype(np.complex128)).real)])
    steps = np.linspace(0.0, _REACH, _NODES + 1)
    scale = 2e-3 * saddle
    line = saddle + 1j * scale * np.sinh(steps)
    values = np.exp(logarithm(line)).real * scale * np.cosh(steps)
    values[0] *= 0.5
    return float(values.sum() * (steps[1] - steps[0]) / np.pi)

"""Whether a target is detected, level by level of fusion: chances at one place of the map and one false-alarm probability.

Statistics are in units of noise: ``z_tr`` of a pair is complex normal of unit variance around ``sqrt(snr_tr)`` in size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, chi2, ncx2

Float = NDArray[np.float64]


def sum_of_squares(snr: Float, pairs: int, false_alarm: float) -> Float:
    """Chance that ``sum |z_tr|^2`` exceeds its threshold: central noncoherent detection, and the sum of receivers' maps.

    Parameters
    ----------
    snr
        Sum over the pairs, shape [...].

    Returns
    -------
    float64, shape [...]
    """
    return ncx2.sf(chi2.isf(false_alarm, 2 * pairs), 2 * pairs, 2.0 * np.asarray(snr, dtype=np.float64))


def matched_sum(snr: Float, false_alarm: float) -> Float:
    """The same where all pairs are added in phase with known relative amplitudes: ``|sum w z|^2``, two real numbers."""
    return sum_of_squares(snr, 1, false_alarm)


def own_decisions(snr: Float, transmitters: int, false_alarm: float, least: int) -> Float:
    """Chance that at least so many receivers detect the target, each by the sum of squares of its own pairs.

    All receivers have the same threshold, at which as many false alarms at one place have the given probability. That
    receivers agree on the place is taken for granted, so that networks of real receivers detect less.

    Parameters
    ----------
    snr
        Of each receiver, summed over its pairs, [..., R].
    least
        Receivers that must agree, 1 to R.

    Returns
    -------
    float64, shape [...]

    Raises
    ------
    ValueError
        More receivers must agree than there are, or none.
    """
    receivers = snr.shape[-1]
    if not 1 <= least <= receivers:
        raise ValueError(f"{least} of {receivers} receivers cannot agree")

    def excess(logarithm: float) -> float:
        return float(binom.logsf(least - 1, receivers, np.exp(logarithm)) - np.log(false_alarm))

    single = float(np.exp(brentq(excess, -200.0, 0.0)))
    chances = sum_of_squares(snr, transmitters, single)
    # Distribution of the number of receivers that detect, one receiver after the other.
    counts = np.zeros((*chances.shape[:-1], receivers + 1))
    counts[..., 0] = 1.0
    for number in range(receivers):
        one = chances[..., number, np.newaxis]
        moved = np.concatenate([np.zeros_like(one), counts[..., :-1]], axis=-1)
        counts = (1.0 - one) * counts + one * moved
    return counts[..., least:].sum(axis=-1)

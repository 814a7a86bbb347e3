"""Fading and path loss, common to the channels of all families."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from disac.units import db_to_linear

Float = NDArray[np.float64]


def rician_weights(factor_db: float) -> tuple[float, float]:
    """Amplitudes of the direct path and of the scattered part, ``sqrt(K/(K+1))`` and ``sqrt(1/(K+1))``, of unit power together.

    Parameters
    ----------
    factor_db
        Rician factor K: power of the direct path over that of all others, dB.

    Returns
    -------
    direct, scattered
        Weights of a direct path of unit modulus and of a complex normal of unit variance.
    """
    factor = db_to_linear(factor_db)
    return float(np.sqrt(factor / (factor + 1.0))), float(np.sqrt(1.0 / (factor + 1.0)))


def distance_gain(distance_m: ArrayLike, reference_m: float, exponent: float) -> Float:
    """Power gain ``(d / d_0)^-exponent`` of a path against one of the reference length, [...]."""
    return np.asarray((np.asarray(distance_m) / reference_m) ** -exponent, dtype=np.float64)


def urban_micro_gain(distance_m: ArrayLike, carrier_hz: float) -> Float:
    """Power gain of a line of sight in an urban micro cell, [...]: loss ``22 log10 d + 28 + 20 log10 f`` in dB, f in GHz.

    The model is UMi of ITU-R M.2135 below its breakpoint.
    """
    loss_db = 22.0 * np.log10(distance_m) + 28.0 + 20.0 * np.log10(carrier_hz / 1e9)
    return np.asarray(10.0 ** (-loss_db / 10.0), dtype=np.float64)

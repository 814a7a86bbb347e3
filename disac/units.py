"""Decibels and constants."""

from __future__ import annotations

import numpy as np

SPEED_OF_LIGHT_M_S = 299_792_458.0


def db_to_linear(value_db: float) -> float:
    """Power ratio of a value in decibels: 10^(x/10)."""
    return float(10.0 ** (value_db / 10.0))


def linear_to_db(ratio: float) -> float:
    """Decibels of a power ratio: -inf for zero, NaN for a negative number or NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10.0 * np.log10(ratio))

"""Laws of a phase that is known to some degree, from exactly to not at all.

Both laws are given by the circular standard deviation delta, so that the mean of ``e^{j phi}`` is ``A = exp(-delta^2 / 2)``:
the normal law of standard deviation delta, and the von Mises law of density ``exp(kappa cos phi) / (2 pi I0(kappa))`` with
``A = I1(kappa) / I0(kappa)``. The von Mises law lives on the circle: with delta it goes from a phase that is known to a
uniform one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import i0e, i1e

Float = NDArray[np.float64]

PhaseLaw = Literal["normal", "von-mises"]

CONCENTRATED_RAD = 1e-2
"""Below this deviation the series of kappa is exact to 1e-9."""

UNIFORM_RAD = 8.0
"""Above this deviation A is below 1.3e-14, and the phase counts as uniform."""


def concentration(std_rad: float) -> float:
    """kappa of the von Mises law with a circular standard deviation delta: ``I1(kappa) / I0(kappa) = exp(-delta^2 / 2)``.

    Parameters
    ----------
    std_rad
        delta, from zero (known) to infinity (uniform), rad.

    Returns
    -------
    float
        Infinite for a known phase, zero for a uniform one.
    """
    if std_rad == 0.0:
        return float("inf")
    if std_rad >= UNIFORM_RAD:
        return 0.0
    if std_rad < CONCENTRATED_RAD:
        return std_rad**-2.0 + 0.5 + 5.0 / 24.0 * std_rad**2
    mean = float(np.exp(-(std_rad**2) / 2.0))
    # A lies between kappa / (1 + sqrt(1 + kappa^2)) and kappa / 2.
    lowest, highest = 1.9 * mean, 2.1 * mean / (1.0 - mean**2)
    return float(brentq(lambda kappa: i1e(kappa) / i0e(kappa) - mean, lowest, highest, xtol=1e-300, rtol=1e-14))


def phase_precision(std_rad: float, law: PhaseLaw) -> float:
    """Fisher information of a phase about its own centre: ``1 / delta^2``, or ``kappa A`` on the circle, 1/rad^2."""
    if law == "normal":
        return float(np.divide(1.0, np.square(std_rad)))
    kappa = concentration(std_rad)
    return kappa * float(np.exp(-(std_rad**2) / 2.0)) if np.isfinite(kappa) else float("inf")


def draw_phases(random: np.random.Generator, std_rad: float, shape: tuple[int, ...]) -> Float:
    """Independent phases of the von Mises law, rad, in [-pi, pi]."""
    kappa = concentration(std_rad)
    return random.vonmises(0.0, kappa, shape) if np.isfinite(kappa) else np.zeros(shape)


def half_width(std_rad: float, share: float = 0.95) -> float:
    """Half-width of the interval around its centre that holds a share of a von Mises phase, rad; pi times it where uniform."""
    kappa = concentration(std_rad)
    if not np.isfinite(kappa):
        return 0.0

    def short(width: float) -> float:
        # In units of the density at the centre, so that nothing overflows.
        held = quad(lambda phi: np.exp(-2.0 * kappa * np.sin(phi / 2.0) ** 2), 0.0, width, limit=200, epsabs=1e-14)[0]
        return held / (np.pi * i0e(kappa)) - share

    # A share lies within a few deviations; a narrow peak is looked for near the centre.
    widest = min(float(np.pi), 10.0 * std_rad)
    return float(brentq(short, 0.0, widest, xtol=1e-12 * widest, rtol=1e-12))

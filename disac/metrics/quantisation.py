"""What uniform quantisers of b bits leave of the information on a mean in Gaussian noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

Float = NDArray[np.float64]

MOST_BITS = 12
"""Bits per real number up to which cells are summed one by one; the loss is then below 1e-5."""

_LEAST_CHANCE = 1e-280
"""Probability of a cell below which it is left out."""


def thresholds(step: float, bits: int) -> Float:
    """Inner limits of the 2^b cells of a mid-rise quantiser, [2^b - 1]: multiples of the step around zero.

    Raises
    ------
    ValueError
        The step is not positive, or the number of bits is not from 1 to 12.
    """
    if not step > 0.0 or not 1 <= bits <= MOST_BITS:
        raise ValueError(f"a quantiser needs a positive step and 1 to {MOST_BITS} bits, not step {step} and {bits} bits")
    half = 2 ** (bits - 1)
    return step * np.arange(1 - half, half, dtype=np.float64)


def quantised(values: Float, step: float, bits: int) -> Float:
    """The middles of the cells in which the values lie; the outer cells are open and have the next regular middle."""
    half = 2 ** (bits - 1)
    return step * (np.clip(np.floor(values / step), -half, half - 1) + 0.5)


def information_kept(mean: Float, step: float, bits: int) -> Float:
    """Share of the Fisher information on the mean of unit-variance Gaussian noise that its cell keeps.

    ``sum_k (phi(l_k - m) - phi(l_{k+1} - m))^2 / P_k``, exact, without dither. One bit at zero mean keeps ``2 / pi``.

    Parameters
    ----------
    mean
        In units of the noise's standard deviation, shape [...].
    step
        Width of a cell, in the same unit.

    Returns
    -------
    float64, shape [...], from 0 to 1
    """
    inner = thresholds(step, bits)
    mean = np.asarray(mean, dtype=np.float64)
    kept = np.empty(mean.size)
    # Of 2^b cells and many means a few at a time.
    rows = max(1, 2_000_000 // (len(inner) + 2))
    for first in range(0, mean.size, rows):
        distance = inner - mean.ravel()[first : first + rows, np.newaxis]
        edge = np.full((len(distance), 1), np.inf)
        limits = np.concatenate([-edge, distance, edge], axis=1)
        density = np.exp(-0.5 * limits**2) / np.sqrt(2.0 * np.pi)
        low, high = limits[:, :-1], limits[:, 1:]
        # Differences of the nearer tail lose nothing.
        mirror = low > 0.0
        chance = ndtr(np.where(mirror, -low, high)) - ndtr(np.where(mirror, -high, low))
        change = density[:, :-1] - density[:, 1:]
        counted = chance > _LEAST_CHANCE
        kept[first : first + rows] = np.divide(change**2, chance, out=np.zeros_like(chance), where=counted).sum(axis=1)
    return kept.reshape(mean.shape)


def kept_with_dither(step: float) -> float:
    """Share that linear processing keeps where a known dither makes the error uniform and independent: ``1/(1 + step^2/12)``.

    ``step`` in units of the noise's standard deviation. Cells beyond the quantiser's range are not counted.
    """
    return 1.0 / (1.0 + step**2 / 12.0)


def best_step(bits: int, amplitude: float = 0.0) -> float:
    """The step that keeps most of the information on the phase of complex numbers of a known size.

    Parts ``amplitude cos u`` of evenly spread phases u carry the information ``kept sin^2 u``. A receiver knows the size of a
    strong echo well enough; it is rounded to a twentieth of a natural logarithm here.

    Parameters
    ----------
    amplitude
        In units of the standard deviation of one part's noise.
    """
    return _best_step(bits, round(20.0 * np.log(amplitude)) if amplitude > 0.05 else None)


@lru_cache(maxsize=4096)
def _best_step(bits: int, twentieths: int | None) -> float:
    if bits == 1:
        return 1.0
    amplitude = 0.0 if twentieths is None else float(np.exp(twentieths / 20.0))
    phases = (np.arange(32) + 0.5) * np.pi / 64.0
    means, weights = amplitude * np.cos(phases), np.sin(phases) ** 2

    def lost(logarithm: float) -> float:
        return -float(weights @ information_kept(means, float(np.exp(logarithm)), bits))

    # The range lies between a noise's and the echo's with its noise. The function may have several hills there.
    steps = np.log((amplitude + 6.0) / 2 ** (bits - 1)) + np.linspace(-4.0, 0.0, 17)
    around = int(np.argmin([lost(step) for step in steps]))
    limits = (steps[max(around - 1, 0)], steps[min(around + 1, len(steps) - 1)])
    return float(np.exp(minimize_scalar(lost, bounds=limits, method="bounded", options={"xatol": 1e-3}).x))

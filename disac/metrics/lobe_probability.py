"""Probability that a coherent position estimate stands on the right lobe, from the strongest wrong ones.

A position error bound speaks of the lobe that holds the target. Another lobe i wins where the noise overcomes the gap ``G_i``
by which its likelihood falls short. With one magnitude per target (``structured``) the likelihoods compared are the squares of
two correlated complex normal variables, and the probability of each comparison is exact: that of noncoherent detection of two
signals of correlation ``|rho|``, in Marcum's Q. With free amplitudes it is that of a normal variable of mean G and variance
``2 G`` plus what the squared noise adds. The sum over lobes is a bound from above on the failures (union bound). The lobes'
errors are correlated, so the sum is too large where many lobes are likely; :func:`simulated_failure` draws them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0e, ndtr
from scipy.stats import ncx2

from disac.metrics.access_point_terms import Amplitudes
from disac.metrics.lobe_search import Scene, scores, wrong_lobes_m

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

GAP = 40.0
"""Largest gap of a lobe that counts: noise overcomes it about once in a quarter of a million times."""

MOST = 256


@dataclass(frozen=True)
class Lobes:
    """Wrong lobes of a target, the most likely first.

    ``positions_m`` [M, 2]; ``gaps`` [M], by how much the likelihood falls short, in units of the noise; ``failures`` [M], the
    probability that each beats the right lobe.
    """

    positions_m: Float
    gaps: Float
    failures: Float

    @property
    def right(self) -> float:
        """Probability of the right lobe, from below: one minus the sum of all failures, at least zero."""
        return float(max(0.0, 1.0 - self.failures.sum()))


def strongest_lobes(
    scene: Scene,
    amplitudes: Amplitudes = "structured",
    *,
    node_phase_std_rad: float = 0.0,
    node_position_std_m: float = 0.0,
    gap: float = GAP,
    most: int = MOST,
) -> Lobes:
    """The wrong lobes of a target and how likely each is.

    Parameters
    ----------
    amplitudes
        What the estimator takes the amplitudes for. Sign-free ones have twice as many lobes.
    node_phase_std_rad, node_position_std_m
        Residual errors of the access points' phases, and of each coordinate of their positions, which act as phases ``k0``
        times as large.
    gap, most
        Lobes with a larger gap are left out, and all but so many of the strongest.
    """
    places = wrong_lobes_m(scene, amplitudes, gap, most)
    if not len(places):
        return Lobes(places, np.empty(0), np.empty(0))
    z = scene.likenesses(places).reshape(len(places), -1)
    weights = scene.amplitudes_at(places)
    score, phase = scores(amplitudes, z, weights.reshape(z.shape))
    gaps = np.maximum(scene.snr - score, 0.0)
    deviation = np.hypot(node_phase_std_rad, scene.network.wavenumber_rad_m * node_position_std_m)
    turned = (z * np.exp(-1j * phase)[:, np.newaxis]).reshape(len(places), *scene.amplitudes.shape)
    if amplitudes == "structured" and deviation == 0.0:
        failures = correlated_failure(scene.snr, np.sqrt(np.clip(score / scene.snr, 0.0, 1.0)))
    else:
        mean, variance = _difference(amplitudes, gaps, turned)
        variance = variance + deviation**2 * _phase_sensitivity(amplitudes, turned, weights)
        failures = ndtr(-mean / np.sqrt(variance))
    order = np.argsort(-failures, kind="stable")
    return Lobes(places[order], gaps[order], failures[order])


def correlated_failure(snr: float, correlation: Float) -> Float:
    """``P(|z_1| > |z_0|)`` for ``z_0 = sqrt(snr) + n_0``, ``z_1 = rho sqrt(snr) + n_1``, E n_0^* n_1 = rho, E|n|^2 = 1.

    ``Q_1(a, b) - exp(-(a^2 + b^2) / 2) I_0(a b) / 2`` with ``a, b = sqrt(snr (1 -+ sqrt(1 - rho^2)) / 2)``: noncoherent
    detection of two correlated signals of equal energy.

    Parameters
    ----------
    correlation
        rho, real and not negative, below one, [...].
    """
    apart = np.sqrt(1.0 - np.minimum(correlation, 1.0) ** 2)
    a, b = np.sqrt(snr * (1.0 - apart) / 2.0), np.sqrt(snr * (1.0 + apart) / 2.0)
    marcum = ncx2.sf(b**2, 2, np.maximum(a**2, 1e-300))
    return marcum - 0.5 * np.exp(-0.5 * (b - a) ** 2) * i0e(a * b)


def _difference(amplitudes: Amplitudes, gaps: Float, turned: Complex) -> tuple[Float, Float]:
    """Mean and variance of the right lobe's likelihood minus each wrong one's, [M] each.

    To first order the noise adds a normal variable of variance 2 G. Free amplitudes also fit the noise of each pair, part of it
    in common: what is left has the variance ``sin^2`` of the angle between both fits. An amplitude that may not be negative and
    would be so on the wrong lobe fits none there.
    """
    if amplitudes == "structured":
        return gaps, 2.0 * gaps
    size = np.abs(turned)
    sine = np.where(size > 0, turned.imag / np.where(size > 0, size, 1.0), 0.0) ** 2
    kept = np.ones(turned.shape, dtype=bool) if amplitudes == "sign-free" else turned.real > 0
    lost = (~kept).sum(axis=(1, 2))
    return gaps + 0.5 * lost, 2.0 * gaps + np.where(kept, sine, 0.0).sum(axis=(1, 2)) + 0.5 * lost


def _phase_sensitivity(amplitudes: Amplitudes, turned: Complex, weights: Float) -> Float:
    """Sum over access points of the squared derivative of a wrong lobe's likelihood by the phase of each, [M]."""
    if amplitudes == "structured":
        total = (weights * turned).real.sum(axis=(1, 2), keepdims=True)
        by_pair = -2.0 * total * weights * turned.imag / (weights**2).sum(axis=(1, 2), keepdims=True)
    elif amplitudes == "sign-free":
        by_pair = -2.0 * turned.real * turned.imag
    else:
        by_pair = -2.0 * np.maximum(turned.real, 0.0) * turned.imag
    squares: Float = (by_pair.sum(axis=2) ** 2).sum(axis=1) + (by_pair.sum(axis=1) ** 2).sum(axis=1)
    return squares


def simulated_failure(
    scene: Scene, lobes: Lobes, random: np.random.Generator, draws: int = 2000, amplitudes: Amplitudes = "structured"
) -> float:  # fmt: skip
    """Share of draws of the noise in which some wrong lobe beats the right one: the union itself in place of its bound.

    The noise is that of all antennas, so that lobes share it as far as their echoes resemble each other.
    """
    if not len(lobes.positions_m):
        return 0.0
    places = np.concatenate([scene.target_m[np.newaxis], lobes.positions_m])
    sent, heard = scene.responses(places)
    both = sent[:, :, np.newaxis, :, np.newaxis] * heard[:, np.newaxis, :, np.newaxis]
    count, (senders, hearers) = len(places), scene.amplitudes.shape
    pairs = both.reshape(count, senders * hearers, -1).transpose(1, 0, 2).astype(np.complex64)  # [E, P, N^2]
    mean = scene.likenesses(places).reshape(count, -1)
    weights = scene.amplitudes_at(places).reshape(count, -1)
    failed = 0
    block = max(1, 2_000_000 // mean.size)
    for first in range(0, draws, block):
        parts = random.standard_normal((2, len(pairs), pairs.shape[-1], min(block, draws - first)), dtype=np.float32)
        noise = pairs @ ((parts[0] + 1j * parts[1]) * np.float32(np.sqrt(0.5)))
        score = scores(amplitudes, mean + noise.transpose(2, 1, 0), weights)[0]
        failed += int((score[:, 1:].max(axis=1) > score[:, 0]).sum())
    return failed / draws

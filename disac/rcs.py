"""Radar cross-section of a target with an angular profile and random fluctuation (000, section II-C).

The amplitude beta of a link has a mean square Omega that depends on the aspect; ``beta^2`` fluctuates around it by a Gamma
law of shape k, which holds the chi-square model and Swerling's four cases. Only Omega enters a design (000, (35)).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, i0e

Float = NDArray[np.float64]
RcsLaw = Literal["chi-square", "swerling-1", "swerling-2", "swerling-3", "swerling-4"]

SHAPE: dict[str, float] = {"chi-square": 4.0, "swerling-1": 1.0, "swerling-2": 1.0, "swerling-3": 2.0, "swerling-4": 2.0}
"""Shape k of the law of beta^2; 000 leaves the chi-square model's open."""

FAST = ("swerling-2", "swerling-4")
"""Laws that draw anew for every snapshot; the others hold one draw for all snapshots that are processed together."""


def lobed_profile(aspect_rad: ArrayLike, swing_db: float, lobe_rad: float) -> Float:
    """Mean square amplitude Omega of a profile with two opposite lobes, of mean one over all aspects.

    ``10 log10 Omega = (swing / 2) cos 2(psi - psi_0)`` up to a constant: the swing is that from trough to peak in decibels.
    Zero swing is a flat profile.

    Parameters
    ----------
    aspect_rad
        Aspect psi in the target's frame, [...], rad.
    swing_db
        Peak over trough, dB.
    lobe_rad
        Direction psi_0 of a lobe, rad.
    """
    # The mean of e^{a cos x} over a turn is the Bessel function I_0(a); i0e is e^{-a} I_0(a).
    a = 0.5 * swing_db * np.log(10.0) / 10.0
    return np.exp(a * (np.cos(2.0 * (np.asarray(aspect_rad) - lobe_rad)) - 1.0)) / i0e(a)


def bistatic_factor(bearings_rad: Float) -> Float:
    """``cos(|theta_n - theta_m| / 2)`` of (8) in 000 for bearings [N] of the nodes seen from the target, [N, N].

    Kell's theorem scales the frequency of an equivalent monostatic measurement by this; 000 scales the amplitude.
    """
    apart = np.abs(bearings_rad[:, np.newaxis] - bearings_rad)
    apart = np.minimum(apart % (2 * np.pi), 2 * np.pi - apart % (2 * np.pi))
    return np.cos(apart / 2.0)


def mean_amplitude(mean_square: ArrayLike, shape: float) -> Float:
    """``E beta`` of an amplitude whose square has a Gamma law: ``sqrt(Omega / k) Gamma(k + 1/2) / Gamma(k)``."""
    return np.sqrt(np.asarray(mean_square) / shape) * np.exp(gammaln(shape + 0.5) - gammaln(shape))


def square_amplitudes(random: np.random.Generator, shape: float, size: tuple[int, ...]) -> Float:
    """Draws of beta^2 with mean one, of the given size."""
    return random.gamma(shape, 1.0 / shape, size)


def correlation(shape: float, nodes: int, *, common: bool) -> Float:
    """``E[beta_nm beta_n'm^*]`` over the root mean squares, [N, N, N] (transmitter, receiver, receiver).

    Independent links keep what their means have in common, ``(E beta)^2 / Omega``; links that fluctuate as one keep all.
    """
    if common:
        return np.ones((nodes, nodes, nodes))
    shared = float(mean_amplitude(1.0, shape)) ** 2
    return np.broadcast_to(np.where(np.eye(nodes) > 0, 1.0, shared), (nodes, nodes, nodes)).copy()

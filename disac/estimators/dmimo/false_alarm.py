"""Threshold of the noncoherent map for a probability that an empty map exceeds it anywhere (the CFAR test of 004, III-B).

In noise alone ``T(p) = sum |z|^2`` has the Gamma law of M_t M_r at every place, so that no training cells are needed. ``2 T``
is a chi-square field; its expected Euler characteristic above a level is the probability of an excess, closely where that is
small.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincc, gammaln

from disac.estimators.dmimo.echoes import EchoModel, Float, distances_m, seen_gradients

NEAREST_M = 5.0
"""Places so near to a node are no part of the map: the gradients grow without limit there, and waves are not plane."""


def roughness(model: EchoModel, points_m: Float, cell_m2: float) -> float:
    """``mu2``: integral of ``sqrt(det Lambda)`` over the area, with the mean Gram matrix of the gradients of the images.

    Holds for isotropic illumination in slots of their own: ``Lambda = (N^2 - 1) / 12`` times the mean over transmitters of
    ``grad kappa grad kappa^T``, and the same over receivers.

    Parameters
    ----------
    points_m
        Centres of the cells, shape [P, 2], m.
    cell_m2
        Area of a cell, m^2.
    """
    points_m = points_m[distances_m(model, points_m).min(axis=1) > NEAREST_M]
    _, turn = seen_gradients(model, points_m)
    share = (model.antennas**2 - 1) / 12.0
    gram = np.zeros((len(points_m), 2, 2))
    for nodes in (model.transmitters, model.receivers):
        part = turn[:, list(nodes)]
        gram += share * np.einsum("pmi,pmk->pik", part, part) / len(nodes)
    determinant = gram[:, 0, 0] * gram[:, 1, 1] - gram[:, 0, 1] ** 2
    return float(np.sqrt(np.maximum(determinant, 0.0)).sum() * cell_m2)


def false_alarm_probability(level: float, pairs: int, roughness: float) -> float:
    """Expected Euler characteristic of the places where T exceeds a level, for maps of so many pairs."""
    freedom, t = 2 * pairs, 2.0 * level
    log_density = 0.5 * (freedom - 2) * np.log(t) - level - 0.5 * (freedom - 2) * np.log(2.0) - gammaln(pairs)
    surface = np.exp(log_density) * (t - (freedom - 1)) / (2.0 * np.pi)
    return float(gammaincc(pairs, level) + roughness * surface)


def threshold(pairs: int, roughness: float, probability: float) -> float:
    """Level that an empty map exceeds with the given probability.

    Raises
    ------
    ValueError
        If the probability is not between 0 and 0.5, where the expected count stands for a probability.
    """
    if not 0.0 < probability <= 0.5:
        raise ValueError(f"A map-level false alarm probability lies between 0 and 0.5; got {probability}.")
    low = pairs + np.sqrt(pairs)  # The count falls from here on.
    while false_alarm_probability(low, pairs, roughness) < probability:
        low = 0.9 * low
    high = 2.0 * low + 50.0
    while false_alarm_probability(high, pairs, roughness) > probability:
        high *= 2.0
    return float(brentq(lambda level: false_alarm_probability(level, pairs, roughness) - probability, low, high, xtol=1e-12))

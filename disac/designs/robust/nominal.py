"""Beams for channels that are known exactly, in closed form up to a fixed point of K numbers.

With ``S(q) = I + sum_j q_j h_j h_j^H`` the multipliers satisfy ``q_k = Gamma / (h_k^H (S - q_k h_k h_k^H)^-1 h_k)``, and the
beams point along ``S^-1 h_k``: uplink-downlink duality, solved by policy iteration, which is Newton's method here, from the
zero-forcing beams where there are some.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

STEPS = 200
RELATIVE_STEP = 1e-8
"""Newton squares the error of a step: the next one would be below rounding."""

NEAR = 100.0
"""Largest power, in units of the limit, of the beams from which the iteration starts."""


def nominal_beams(heard: Complex, sinr: float) -> tuple[Complex | None, Float, int]:
    """Unit beams of least total power that give every user the SINR, and the multipliers that prove it.

    Parameters
    ----------
    heard
        Channels h_k, one per row, in which power limit and noise are one, [K, d].
    sinr
        Gamma, linear.

    Returns
    -------
    directions
        Unit beams [K, d]; None where the users need more than the power.
    q
        Multipliers [K] with ``q_k <= Gamma / (h_k^H (S - q_k h_k h_k^H)^-1 h_k)`` up to rounding: their sum is the least power,
        or above one.
    steps
        Steps of the iteration.
    """
    users = len(heard)
    gram = heard.conj() @ heard.T
    own, others = np.eye(users) / sinr, 1.0 - np.eye(users)
    q = _zero_forcing(gram, sinr)
    for step in range(1, STEPS + 1):
        beams, level = _best(gram, q)
        raised = sinr * level
        if raised.sum() > 1.0:
            proven = raised * _certain(gram, raised, sinr)
            if proven.sum() > 1.0:
                return None, proven, step
        # Powers of the uplink for these beams, if they can serve. They approach from above; the map itself rises from below.
        amplitude = gram @ beams
        power = np.abs(amplitude.T) ** 2
        stepped = np.linalg.solve(power * own - power * others, np.sum(beams.conj() * amplitude, axis=0).real)
        serves = bool((stepped > 0).all())
        following = stepped if serves else raised
        change = np.abs(following - q).max()
        q = following
        if serves and change <= RELATIVE_STEP * q.max():
            break
    beams, level = _best(gram, q)
    q = q * min(1.0, float((sinr * level / q).min()))
    directions = beams.T @ heard
    return directions / np.linalg.norm(directions, axis=1, keepdims=True), q, step


def _zero_forcing(gram: Complex, sinr: float) -> Float:
    """The uplink's powers for beams that hear one user each; zero where there are none, or none near the power."""
    try:
        q = sinr * np.real(np.diagonal(np.linalg.inv(gram)))
    except np.linalg.LinAlgError:
        return np.zeros(len(gram))
    return q if (q > 0).all() and q.sum() <= NEAR else np.zeros(len(gram))


def _certain(gram: Complex, q: Float, sinr: float) -> float:
    """Largest multiple of q that keeps ``q <= Gamma L(q)`` for certain, L being concave: q after a step from above does not."""
    _, level = _best(gram, q)
    least = 1.0 / np.real(np.diagonal(gram))
    return float((least / (least + np.maximum(q / sinr - level, 0.0))).min())


def _best(gram: Complex, q: Float) -> tuple[Complex, Float]:
    """Weights x_k of the channels in ``S^-1 h_k = sum_j x_jk h_j`` (columns), and ``1 / (h_k^H (S - q_k h_k h_k^H)^-1 h_k)``.

    ``S^-1 H = H (I + diag(q) H^H H)^-1``: K numbers in place of the antennas.
    """
    weights = np.asarray(np.linalg.inv(np.eye(len(q)) + q[:, np.newaxis] * gram), dtype=np.complex128)
    served = np.real(np.diagonal(gram @ weights))
    return weights, 1.0 / served - q

"""The dual of the exact matrix inequality in a few errors for each user, without a conic solver.

Let ``X_k = E (h_k + e)(h_k + e)^H`` be moments of a user's channel over random errors with ``E |e|^2 <= r^2`` in each ball, and
q_k >= 0 weights with which the largest eigenvalue of ``D_k = q_k X_k / Gamma - sum_{j != k} q_j X_j`` is one for every user.
Added up with these weights, the inequalities say that no design reaches more than ``V = (1 - sum_k q_k) max_m c_m tau_m`` of
``sum_m c_m t_m``, with ``tau_m = a_m^T (I + [sum_k q_k X_k]_mm)^-1 a_m^*`` (total power and noise one). The least V over all
moments is what beams reach, and few errors suffice: the worst moments have little rank. In the factors
``X_k = P_k P_k^H``, whose columns are channels with errors, V is a smooth function on spheres (Burer and Monteiro), and its
gradient comes with the beams that are best for the moments at hand: users' along the first eigenvectors of D_k, sensing beams
along ``(I + [sum_k q_k X_k]_mm)^-1 a_m^*``, with the powers that its stationarity in q asks for.

Nothing rests on the search: any moments prove a simplex (``balls``), and beams are judged by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from disac.designs.robust.balls import InBalls
from disac.designs.robust.nominal import nominal_beams
from disac.designs.robust.problem import Beams

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

ERRORS = 3
"""Errors of each user."""

EVALUATIONS = 600
NEWTON_STEPS = 40

SHARP = 300.0
"""Exponent of the norm that replaces the largest ``c_m tau_m``, so that it is smooth where nodes are equal."""

OUT_OF_REACH = 1e4
"""Multiple of the power at which the search ends for moments that no power serves. The simplex holds their proof."""


@dataclass(frozen=True)
class Proposed:
    """Multipliers of the inequality [K, d + 1, d + 1], and beams of any power in their right proportions; None where none
    were found."""

    multipliers: Complex | None
    beams: Beams | None


class _RefusedError(Exception):
    """The current moments prove that there is no design, or cannot be served."""


class MomentBound:
    """V for weights c [N], and its gradient, in numbers of any length: factors [K, d + 1, L], Re and Im in turn, of errors in
    units of their balls, and last of the channel itself. Called, it returns both, and keeps q and the beams that are best."""

    def __init__(self, balls: InBalls, weights: Float) -> None:
        self.balls, self.weights = balls, weights / np.abs(weights).max()
        self.users, self.size = balls.heard.shape
        self.shape = (self.users, self.size + 1, ERRORS)
        self.by_node = (self.users, len(balls.target), balls.size, ERRORS)
        # What has length one in a factor: the errors in each ball, and the channel.
        each = np.repeat(np.arange(balls.balls), self.size // balls.balls)
        self.sphere = np.eye(balls.balls + 1)[np.append(each, balls.balls)]
        own = np.eye(self.users)
        self.balance, self.signs = own / balls.sinr - (1.0 - own), (1.0 + 1.0 / balls.sinr) * own - 1.0
        self.q = nominal_beams(balls.heard, balls.sinr)[1]
        self.units = np.zeros(self.shape, dtype=np.complex128)
        self.beams: Beams | None = None

    def start(self) -> Float:
        """Errors at random around the channel, always the same ones."""
        random = np.random.default_rng(0)
        factors = random.standard_normal(self.shape) + 1j * random.standard_normal(self.shape)
        factors[:, -1] = 1.0
        return factors.reshape(-1).view(np.float64)

    def multipliers(self) -> Complex:
        """Beams of the last moments."""
        weight = self.q * np.sum(np.abs(self.balls.heard) ** 2, axis=1)
        return np.asarray(weight[:, np.newaxis, np.newaxis] * (self.units @ self.units.conj().swapaxes(1, 2)))

    def __call__(self, numbers: Float) -> tuple[float, Float]:
        balls, factors = self.balls, numbers.view(np.complex128).reshape(self.shape)
        squares = (np.abs(factors) ** 2).sum(axis=2) @ self.sphere
        length = np.sqrt(np.maximum(squares, 1e-300)) @ self.sphere.T
        self.units = factors / length[..., np.newaxis]
        channels = balls.radius[..., np.newaxis] * self.units[:, :-1] + balls.heard[..., np.newaxis] * self.units[:, -1:]
        value, change = self._value(channels)
        by_channel = (balls.heard.conj()[..., np.newaxis] * change).sum(axis=1, keepdims=True)
        gradient = np.concatenate([balls.radius[..., np.newaxis] * change, by_channel], axis=1)
        outward = np.real(self.units.conj() * gradient).sum(axis=2) @ self.sphere @ self.sphere.T
        gradient = (gradient - outward[..., np.newaxis] * self.units) / length[..., np.newaxis]
        return value, gradient.reshape(-1).view(np.float64)

    def _value(self, channels: Complex) -> tuple[float, Complex]:
        """V and its gradient in the factors P [K, d, L] of the moments; leaves the beams that are best for them."""
        beams, heard, power = self._served(channels)
        q, balls = self.q, self.balls
        spare = 1.0 - float(q.sum())
        if spare < 0.0:
            raise _RefusedError
        lit, leaks, reach = self._sensed(channels)
        weighted = np.maximum(self.weights * reach, 0.0)
        furthest = float(weighted.max()) * float(np.sum((weighted / weighted.max()) ** SHARP)) ** (1.0 / SHARP)
        sensing = spare * self.weights * (weighted / furthest) ** (SHARP - 1.0)
        # The users' powers: V is stationary in q where each of them is as dear as its noise and what it hears of sensing.
        disturbed = furthest + np.einsum("n,nkl->k", sensing, np.abs(leaks) ** 2)
        spent = np.linalg.solve(power * self.balance, disturbed)
        change = np.einsum("kj,j,jd,jkl->kdl", self.signs, spent, beams, heard.conj())
        change -= np.einsum("n,nd,nkl->kndl", sensing, lit, leaks.conj()).reshape(change.shape)
        self.beams = None
        if (spent > 0).all():
            users = (np.sqrt(spent)[:, np.newaxis] * beams).reshape(self.users, -1, balls.size)
            self.beams = Beams(
                np.einsum("nms,kns->knm", balls.bases, users),
                np.einsum("nms,ns->nm", balls.bases, np.sqrt(sensing)[:, np.newaxis] * lit),
            )
        return furthest * spare, 2.0 * q[:, np.newaxis, np.newaxis] * change

    def _served(self, channels: Complex) -> tuple[Complex, Complex, Float]:
        """q for the moments at hand, by Newton's method. Returns the users' unit beams [K, d], with which amplitudes they are
        heard [K beam, K hearing, L], and their power [K hearing, K beam]."""
        moments = channels @ channels.conj().swapaxes(1, 2)
        for _ in range(NEWTON_STEPS):
            weighted = self.q[:, np.newaxis, np.newaxis] * moments
            form = (1.0 + 1.0 / self.balls.sinr) * weighted - weighted.sum(axis=0)
            beams = np.linalg.eigh(form)[1][:, :, -1]
            heard = np.einsum("kdl,jd->jkl", channels.conj(), beams)
            power = (np.abs(heard) ** 2).sum(axis=2).T
            stepped = np.linalg.solve(power.T * self.balance, np.ones(self.users))
            serves = bool((stepped > 0).all())
            following = stepped if serves else 2.0 * self.q
            change = float(np.abs(following - self.q).max())
            self.q = following
            if self.q.sum() > OUT_OF_REACH:
                raise _RefusedError
            if serves and change <= 1e-11 * self.q.max():
                break
        return beams, heard, power

    def _sensed(self, channels: Complex) -> tuple[Complex, Complex, Float]:
        """Sensing beams x_n [N, s], their amplitudes at the users [N, K, L], and what they reach [N]."""
        balls, weight = self.balls, np.sqrt(self.q)[:, np.newaxis, np.newaxis]
        parts = channels.reshape(self.by_node).swapaxes(0, 1)
        columns = (weight * parts).swapaxes(1, 2).reshape(*balls.target.shape, -1)
        matrices = np.eye(balls.size) + columns @ columns.conj().swapaxes(1, 2)
        lit = np.asarray(np.linalg.solve(matrices, balls.target.conj()[..., np.newaxis])[..., 0], dtype=np.complex128)
        reach: Float = np.real(np.einsum("nd,nd->n", balls.target, lit))
        return lit, np.einsum("nkdl,nd->nkl", parts.conj(), lit), reach


def worst_moments(balls: InBalls, weights: Float) -> Proposed:
    """Multipliers with the least V for weights c [N], and the beams of largest ``sum_m c_m t_m`` that are best for them.

    Parameters
    ----------
    balls
        The users' channels and balls, in units of the power and the noise.
    weights
        Not all zero; their scale does not matter.

    Returns
    -------
    Proposed
        No beams where some moments cannot be served, which their simplex may prove.
    """
    bound = MomentBound(balls, weights)
    try:
        found = minimize(
            bound, bound.start(), jac=True, method="L-BFGS-B",
            options={"maxiter": EVALUATIONS, "maxfun": EVALUATIONS, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-10},
        )  # fmt: skip
        bound(found.x)
    except _RefusedError:
        return Proposed(bound.multipliers(), None)
    return Proposed(bound.multipliers(), bound.beams)

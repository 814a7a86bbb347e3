"""Errors in balls, exactly: bounds from multipliers of the matrix inequality, and beams judged without it.

With ``M_k = W_k / Gamma - sum_j W_j - blkdiag(W_s,n)`` user k has its SINR for an error e where ``(h_k + e)^H M_k (h_k + e)
>= 1``. For all ``|e| <= r`` together this is ``[[M_k + lambda I, M_k h_k], [h_k^H M_k, h_k^H M_k h_k - 1 - lambda r^2]] >=
0`` for some lambda >= 0, and conversely (the S-procedure); with a multiplier per node for the balls of (4) in 000 it suffices,
and is exact for up to two nodes. Beams of users and sensing share the spans of each node's users and target.

Power is total. Each set of multipliers of the inequalities proves a simplex around the powers t that can be reached, as q does
where margins guard amplitudes (:class:`InBalls`). For given beams the inequality has one unknown for each ball
(:func:`disac.metrics.worst_sinr.proven_noise_in_balls`), so that their SINR is proven for all errors and the power can be
split until it just holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from disac.designs.robust.guards import sensing_bases
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.proofs import proven_together
from disac.designs.robust.total_power import ENOUGH, power_share
from disac.metrics.worst_sinr import proven_noise_in_balls
from disac.optim.certificate import Certificate

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

ASSURED = 1e-9
"""Relative noise power that beams stand beyond the users' own noise, as room for rounding."""


class InBalls:
    """Errors in balls in the coordinates of the beams' common spans, and the bounds that any multipliers prove there.

    A multiplier's blocks are moments of errors u with ``E |u|^2 <= 1`` in each ball, so that ``C_k = E (h_k + e)(h_k + e)^H``
    has ``tr(M_k C_k) >= weight_k`` for all covariances that satisfy the inequality.
    """

    def __init__(self, problem: RobustProblem, sinr: float, *, stacked: bool) -> None:
        nodes, users = problem.nodes, problem.users
        self.sinr, self.bases = sinr, sensing_bases(problem)
        self.size = self.bases.shape[2]
        self.heard = np.einsum("nkm,nms->kns", problem.scaled_channels, self.bases.conj()).reshape(users, -1)
        self.target = np.einsum("nm,nms->ns", problem.steering, self.bases)
        self.balls = 1 if stacked else nodes
        radius = problem.stacked_radius[:, np.newaxis] if stacked else problem.scaled_radius.T
        self.radius = np.repeat(radius, nodes * self.size // self.balls, axis=1)

    def _moments(self, multipliers: Complex) -> tuple[Complex, float, float]:
        """``C_k`` [K, d, d], the sum of the weights, and ``max_k lambda_max(C_k / Gamma - sum_{j != k} C_j)``."""
        moments, weights = [], 0.0
        size = float(np.abs(multipliers).max())
        for h, radius, multiplier in zip(self.heard, self.radius, multipliers / size, strict=True):
            values, vectors = np.linalg.eigh(multiplier + multiplier.conj().T)
            # A channel of zero has no length to scale by, and needs no scale.
            root = vectors * np.sqrt(np.maximum(values, 0.0)) / (float(np.linalg.norm(h)) or 1.0)
            errors, weight = root[:-1], float(np.linalg.norm(root[-1])) ** 2
            spread = (np.abs(errors) ** 2).sum(axis=1).reshape(self.balls, -1).sum(axis=1)
            shrink = np.sqrt(np.minimum(1.0, weight / np.maximum(spread, 1e-300)))
            errors = errors * np.repeat(shrink, len(errors) // self.balls)[:, np.newaxis]
            part = h[:, np.newaxis] * root[-1] + radius[:, np.newaxis] * errors
            moments.append(part @ part.conj().T)
            weights += weight
        found = np.array(moments)
        most = float(np.linalg.eigvalsh(found / self.sinr + found - found.sum(axis=0))[:, -1].max())
        # If no power serves, the eigenvalue is not positive. Rounding must not decide that, and any multiple is enough.
        return found, weights, max(most, 1e-12 * float(np.linalg.norm(found.sum(axis=0))), weights / ENOUGH)

    def simplex(self, multipliers: Complex) -> tuple[float, Float]:
        """Least power p of the users and reach r [N] with ``p + sum_n t_n / r_n <= 1`` for every design, in units of the limit.

        Added up, the inequalities say ``sum_k weight_k <= sum_k tr(W_k D_k) - sum_n tr(W_s,n S_n)``, with ``D_k = C_k / Gamma -
        sum_j C_j`` and S_n the n-th block of ``sum_k C_k``; the first sum is at most the largest eigenvalue of any D_k times
        the power of the users.
        """
        if not 1e-200 < float(np.abs(multipliers).max()) < 1e200:
            return 0.0, np.full(len(self.target), np.inf)
        moments, weights, most = self._moments(multipliers)
        blocks = moments.sum(axis=0).reshape(len(self.target), self.size, len(self.target), self.size)
        leaks = np.stack([blocks[n, :, n] for n in range(len(self.target))])
        wanted = self.target.conj()
        beams = np.linalg.solve(most * np.eye(self.size) + leaks, wanted[..., np.newaxis])[..., 0]
        return weights / most, most * np.real(np.einsum("ns,ns->n", wanted.conj(), beams))


def flat(multipliers: list[Complex]) -> Float:
    """Sets of multipliers as they are stored: real parts of all, then imaginary parts."""
    found = np.array(multipliers, dtype=np.complex128)
    return np.concatenate([found.real.ravel(), found.imag.ravel()])


def proven_by_inequalities(
    problem: RobustProblem, sinr: float, proof: Float, *, stacked: bool
) -> tuple[float, float]:  # fmt: skip
    """Bound that sets of multipliers [sets, K, d + 1, d + 1] (all Re, all Im) of the inequality prove, for any numbers.

    Returns
    -------
    least_power
        Share of the power that the users take at least; above one they cannot be served.
    bound
        Divergence, in nats, that no design exceeds: the largest at a vertex of what the simplices have in common.
    """
    if proof.size == 0:
        return 0.0, float("inf")
    balls = InBalls(problem, sinr, stacked=stacked)
    size = balls.heard.shape[1] + 1
    real, imaginary = proof.reshape(2, -1, problem.users, size, size)
    return proven_together(problem, [balls.simplex(each) for each in real + 1j * imaginary])


def standing_beams(problem: RobustProblem, sinr: float, beams: Beams, *, stacked: bool) -> Beams | None:
    """Beams of any power with the power split anew, so that the users just have their SINR for all errors, proven.

    The method that proposes beams violates the inequalities, or leaves them unused, by a little. Without a split that serves,
    there are no beams.
    """
    to_users, to_sensing = float(np.sum(np.abs(beams.users) ** 2)), float(np.sum(np.abs(beams.sensing) ** 2))

    def split(share: float) -> Beams:
        """Give this share of the power to the sensing beams."""
        users = np.sqrt((1.0 - share) * problem.power / max(to_users, 1e-300)) * beams.users
        return Beams(users, np.sqrt(share * problem.power / max(to_sensing, 1e-300)) * beams.sensing)

    def spare(share: float) -> float:
        return proven_spare_noise(problem, sinr, split(share), stacked=stacked) - ASSURED

    if not spare(0.0) >= 0.0:
        return None
    if to_sensing == 0.0:
        return split(0.0)
    share, less = brentq(spare, 0.0, 1.0, xtol=1e-14), 1e-12
    # The proof is a search of its own, and what it finds jumps a little: the share is one where the proof stands.
    while share > 0.0 and spare(share) < -ASSURED:
        share, less = max(0.0, share - less), 4.0 * less
    return split(share)


def proven_spare_noise(problem: RobustProblem, sinr: float, beams: Beams, *, stacked: bool) -> float:
    """Share of the noise power that could be added before some user's SINR falls short for some error in the balls."""
    proven = proven_noise_in_balls(
        problem.channels, beams.users, beams.sensing, sinr, problem.ball_radius, stacked=stacked
    )  # fmt: skip
    return float(proven.min()) / problem.noise_power - 1.0


def judged_inequality(problem: RobustProblem, sinr: float, beams: Beams, bound: float, *, stacked: bool) -> Certificate:
    """Certificate of beams from themselves; the SINR is that of all errors in the balls, its violation that of the noise."""
    return Certificate(
        "ok", "", float(problem.divergence(beams.beampowers(problem.steering))), bound,
        power_violation=max(0.0, power_share(problem, beams) - 1.0),
        sinr_violation=max(0.0, -proven_spare_noise(problem, sinr, beams, stacked=stacked)), psd_violation=0.0, maximised=True,
    ).judged()  # fmt: skip

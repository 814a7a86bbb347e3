"""Proofs about every design from multipliers of the users' SINRs, in closed form. They hold for any numbers as multipliers.

Each guarded amplitude is the largest of ``|d^H w|`` over error vectors d, and any d bounds it from below. So any q, scaled
until ``q_k s_k(w)^2 / Gamma <= |w|^2 + sum_j q_j g_jk(w)^2`` is certain for every beam w, says that all designs lie in a
simplex ``sum_k q_k + sum_n t_n / tau_n <= 1`` (see ``total_power``). A proof is q and the numbers that name the d; what is
stored of a design is enough to make it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.guards import Guard
from disac.designs.robust.problem import RobustProblem
from disac.optim.polytope import polytope_vertices

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

RAISED = 2000
"""Most steps of the map."""

KEPT = 1e-9
"""Largest relative excess over a bound that is left when simplices are dropped from its proof."""

MOST = 1e8
"""Largest multiplier that is used. Any multiplier is a proof, and larger ones prove no more."""


@dataclass(frozen=True)
class Multipliers:
    """``q`` [K] with the error vectors that prove its inequality, in reduced coordinates, and the least power of the users.

    ``wanted`` n_k [K, d] and ``heard`` d_jk [K hearing, K beam, d] bound amplitudes: ``s_k(w) <= Re n_k^H w``,
    ``g_jk(w) >= |d_jk^H w|``.
    """

    q: Float
    wanted: Complex
    heard: Complex

    def __post_init__(self) -> None:
        object.__setattr__(self, "q", np.clip(np.nan_to_num(self.q, nan=0.0), 0.0, MOST))

    def _best(self, q: Float) -> tuple[Complex, Float]:
        """Beams w_k [K, d] with ``n_k^H w_k = 1`` of least ``|w|^2 + sum_j q_j |d_jk^H w|^2``, and that least value L_k [K]."""
        users, size = self.wanted.shape
        weight = np.broadcast_to(q[:, np.newaxis], (users, users)) * (1.0 - np.eye(users))
        loaded = self.heard * np.sqrt(weight)[..., np.newaxis]
        matrices = np.eye(size) + loaded.transpose(1, 2, 0) @ loaded.conj().swapaxes(0, 1)
        beams = np.asarray(np.linalg.solve(matrices, self.wanted[..., np.newaxis])[..., 0], dtype=np.complex128)
        served = np.real(np.einsum("ka,ka->k", self.wanted.conj(), beams))
        # A beam with no amplitude at its user serves at no power.
        heard = self.wanted.any(axis=1)
        level: Float = np.divide(1.0, served, out=np.full(users, np.inf), where=heard)
        beams *= np.where(heard, level, 0.0)[:, np.newaxis]
        return beams, level

    def refined(self, sinr: float) -> Multipliers:
        """The fixed point ``q_k = Gamma L_k(q)`` of these error vectors, by Newton's method, where a step leads to one."""
        users, q = len(self.q), self.q
        for _ in range(3):
            beams, _ = self._best(q)
            heard = np.abs(np.einsum("jka,ka->jk", self.heard.conj(), beams)) ** 2 * (1.0 - np.eye(users))
            stepped = np.linalg.solve(np.eye(users) / sinr - heard.T, np.sum(np.abs(beams) ** 2, axis=1))
            if not (stepped > 0).all():
                break
            q = stepped
        return replace(self, q=q)

    def raised(self, sinr: float) -> Multipliers:
        """Apply the map ``q -> Gamma L(q)`` to proven multipliers, step by step. Each step is proven again and is no smaller.

        Where these error vectors cannot be served at any power it grows without end, which proves that.
        """
        q = self.proven(sinr)
        for _ in range(RAISED):
            following = np.maximum(q, sinr * self._best(q)[1])
            small = following.sum() - q.sum() <= 1e-9 * q.sum()
            q = following
            if q.sum() > 1.0 or small:
                break
        return replace(self, q=q)

    def proven(self, sinr: float) -> Float:
        """The largest multiple of q for which the inequality is certain, [K].

        It holds where ``q_k / Gamma <= L_k(q)``. L is concave in q and at least ``1 / |n_k|^2`` at zero, so that c q serves for
        every c with ``c (q_k / Gamma - L_k(q)) <= (1 - c) / |n_k|^2``.
        """
        if not (np.isfinite(self.wanted).all() and np.isfinite(self.heard).all()):
            return np.zeros_like(self.q)
        _, level = self._best(self.q)
        short = self.q / sinr - level
        least = 1.0 / np.maximum(np.sum(np.abs(self.wanted) ** 2, axis=1), 1e-300)
        share = np.where(short <= 0, 1.0, least / (least + np.maximum(short, 0.0)))
        # A value that is not finite proves nothing.
        known = np.isfinite(level) | ~self.wanted.any(axis=1)
        return self.q * (float(share.min()) if known.all() else 0.0)


def unguarded(guard: Guard, q: Float) -> Multipliers:
    """Multipliers of channels without errors, which every choice covers, too."""
    users, size = guard.heard.shape
    return Multipliers(q, guard.heard, np.broadcast_to(guard.heard[:, np.newaxis], (users, users, size)))


def proven_by(
    problem: RobustProblem, guard: Guard, sinr: float, multipliers: Multipliers, leaks: Float
) -> tuple[float, float]:  # fmt: skip
    """Least power of the users and bound of the divergence."""
    q = multipliers.proven(sinr)
    _, reach = reached(problem, q, leak_errors(problem, guard, leaks))
    return float(q.sum()), corner_bound(problem, reach, q)


def leak_numbers(problem: RobustProblem, guard: Guard) -> int:
    """Number of numbers that name the errors of the leaks."""
    return 2 * problem.nodes * (problem.users + problem.antennas) if guard.sensing_radius.any() else 0


def split_proof(problem: RobustProblem, guard: Guard, proof: Float) -> tuple[Float, Float]:
    """The part of the users and that of the leaks."""
    first = proof.size - leak_numbers(problem, guard)
    return proof[:first], proof[first:]


def leak_errors(problem: RobustProblem, guard: Guard, leaks: Float) -> Complex:
    """Error vectors d_nk [N, K, M] with ``l_kn(w) >= |d_nk^H w|`` from any numbers: turns [N, K] of the channels and
    directions [N, M] of the errors (Re, Im each), cut to unit length.
    """
    channels = problem.scaled_channels
    if leaks.size == 0:
        return channels
    nodes, users, _ = channels.shape
    real, imaginary = np.nan_to_num(leaks, posinf=0.0, neginf=0.0).reshape(2, nodes, -1)
    named = real + 1j * imaginary
    turns = named[:, :users] / np.maximum(np.abs(named[:, :users]), 1.0)
    along = named[:, users:] / np.maximum(np.linalg.norm(named[:, users:], axis=1, keepdims=True), 1.0)
    return turns[..., np.newaxis] * channels + guard.sensing_radius[..., np.newaxis] * along[:, np.newaxis]


def common_vertex(problem: RobustProblem, simplices: Sequence[tuple[float, Float]]) -> tuple[Float, float]:
    """The best vertex t [N] of what simplices ``share + sum_n t_n / reach_n <= 1`` have in common, and its divergence.

    Each (share, reach [N]) in units of the power limit.
    """
    shares, reaches = np.array([share for share, _ in simplices]), np.array([reach for _, reach in simplices])
    if (shares >= 1.0).any():
        return np.zeros(problem.nodes), 0.0
    known = np.isfinite(reaches).all(axis=-1)
    if not known.any():
        return np.full(problem.nodes, np.inf), float("inf")
    vertices = polytope_vertices(1.0 / reaches[known], 1.0 - shares[known])
    values = problem.divergence(problem.power * vertices)
    best = int(np.argmax(values))
    return vertices[best], float(values[best])


def corner_bound(problem: RobustProblem, reach: Float, q: Float) -> float:
    """The divergence at the best corner of the simplex ``sum_k q_k + sum_n t_n / tau_n <= 1``."""
    return float(problem.divergence(np.diag(problem.power * reach * max(1.0 - q.sum(), 0.0))).max())


def reached(problem: RobustProblem, q: Float, errors: Complex) -> tuple[Complex, Float]:
    """Beams [N, M] and tau [N] of ``max_w |a_n^T w|^2 / (|w|^2 + sum_k q_k |d_nk^H w|^2)``."""
    target = problem.steering.conj()
    weighted = errors * np.sqrt(q)[:, np.newaxis]
    matrices = np.eye(problem.antennas) + np.einsum("nka,nkb->nab", weighted, weighted.conj())
    beams = np.asarray(np.linalg.solve(matrices, target[..., np.newaxis])[..., 0], dtype=np.complex128)
    return beams, np.real(np.einsum("na,na->n", target.conj(), beams))


def proven_together(problem: RobustProblem, simplices: list[tuple[float, Float]]) -> tuple[float, float]:
    """Largest share of the power that a simplex needs for the users, and the bound of all simplices together."""
    return max(share for share, _ in simplices), common_vertex(problem, simplices)[1]


def enough_together(problem: RobustProblem, simplices: Sequence[tuple[float, Float]], bound: float) -> list[int]:
    """Numbers of the simplices, in their order, that suffice to prove the bound of all of them, up to :data:`KEPT`.

    The best vertex of those taken so far is cut off by the simplex that claims most there, until no vertex exceeds the bound.
    """
    taken = [int(np.argmin([reach.max() for _, reach in simplices]))]
    corner, found = common_vertex(problem, [simplices[taken[0]]])
    while len(taken) < len(simplices) and not found <= bound * (1.0 + KEPT):
        claims = np.array([share + float(np.sum(corner / reach)) for share, reach in simplices])
        claims[taken] = -np.inf
        taken.append(int(np.argmax(claims)))
        corner, found = common_vertex(problem, [simplices[number] for number in taken])
    return sorted(taken)

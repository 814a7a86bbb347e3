"""Multipliers of users' SINRs at named phases: the program whose limit is the best covariances for all phases.

With ``h_k(phi)`` the channel of user k whose part from node n is turned by phi_n, covariances W_k and W_s,n give it the SINR
Gamma at phi where

    ``h_k(phi)^H (W_k / Gamma - sum_{j != k} W_j) h_k(phi) - sum_n h_nk^H W_s,n h_nk >= 1``   (noise one),

which is linear in them. Multipliers ``q_i >= 0`` of finitely many such rows (a *cut* is a user and its phases phi_i) and prices
``mu_l >= 0`` of the power limits p_l bound every ``sum_n c_n t_n``:

    ``min sum_l p_l mu_l - sum_i q_i``   with, for each k and each n,
    ``E(mu) >= sum_{i of k} q_i h_i h_i^H / Gamma - sum_{i not of k} q_i h_i h_i^H``,
    ``E_n(mu) + sum_i q_i h_nk(i) h_nk(i)^H >= c_n a_n^* a_n^T``,

E(mu) being the diagonal of each coordinate's price. There are few unknowns and the matrices are sums of dyads, so that Newton's
method on the logarithmic barrier takes milliseconds (Boyd and Vandenberghe, Convex Optimization, chapter 11); the inverses of
the slack matrices on its path are the covariances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.guards import node_wise_basis, sensing_bases
from disac.designs.robust.problem import RobustProblem
from disac.designs.robust.total_power import ENOUGH

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Index = NDArray[np.intp]

SHARPER = 12.0
"""Factor of the barrier's weight from one centre to the next."""

CENTRED = 1e-7
"""Half of Newton's decrement squared at which a point counts as the centre: what the users hear of covariances that are less
close to it can be far from what the rows ask for."""

NEWTON_STEPS = 60

LEAST_PRICE = 1e-5
"""Least price, relative to the largest. Power without a price would have no inverse, and any price is a proof."""


@dataclass(frozen=True)
class Cuts:
    """Rows of SINRs: the ``user`` [I] and the ``phases`` [I, N] of each."""

    user: Index
    phases: Float

    def joined(self, other: Cuts) -> Cuts:
        """Join two sets of cuts."""
        return Cuts(np.concatenate([self.user, other.user]), np.concatenate([self.phases, other.phases]))


class Coordinates:
    """Space in which covariances are sought, with the users' and the target's vectors; power in units of the limit.

    ``heard`` [N, K, d] are the channels by node in the users' coordinates, ``leaks`` [N, K, s] and ``target`` [N, s] (a_n^*)
    those of the sensing beams. ``priced`` [L, d] and ``sensing_priced`` [L, N, s] say which coordinates each limit counts, and
    ``limits`` [L] how much each may carry, together one.
    """

    def __init__(self, problem: RobustProblem) -> None:
        nodes, antennas = problem.nodes, problem.antennas
        if not problem.limit.joins_antennas:
            self.basis = np.eye(nodes * antennas, dtype=np.complex128)
            self.sensing = np.broadcast_to(np.eye(antennas, dtype=np.complex128), (nodes, antennas, antennas))
        else:
            self.basis, self.sensing = node_wise_basis(problem), sensing_bases(problem)
        self.by_node = self.basis.reshape(nodes, antennas, -1)
        self.heard = np.einsum("nkm,nmd->nkd", problem.scaled_channels, self.by_node.conj())
        self.leaks = np.einsum("nkm,nms->nks", problem.scaled_channels, self.sensing.conj())
        self.target = np.einsum("nm,nms->ns", problem.steering.conj(), self.sensing.conj())
        size = self.sensing.shape[2]
        if problem.limit.joins_nodes:
            self.priced, self.sensing_priced = np.ones((1, self.basis.shape[1])), np.ones((1, nodes, size))
        elif problem.limit.joins_antennas:
            self.priced = (np.abs(self.by_node) ** 2).sum(axis=1).round()
            self.sensing_priced = np.repeat(np.eye(nodes)[:, :, np.newaxis], size, axis=2)
        else:
            self.priced = np.eye(nodes * antennas)
            self.sensing_priced = np.eye(nodes * antennas).reshape(-1, nodes, antennas)
        self.limits = np.full(len(self.priced), 1.0 / len(self.priced))

    def forms(self, users: Complex, sinr: float) -> Complex:
        """Forms [K, N, N] over phases of the users' rows for covariances W_k [K, d, d]."""
        forms = users * (1.0 + 1.0 / sinr) - users.sum(axis=0)
        return np.asarray(np.einsum("nkd,kde,mke->knm", self.heard.conj(), forms, self.heard, optimize=True))

    def leaked(self, sensing: Complex) -> Float:
        """Power that each user receives from sensing covariances W_s,n [N, s, s], shape [K]."""
        return np.real(np.einsum("nks,nst,nkt->k", self.leaks.conj(), sensing, self.leaks))

    def simplex(self, sinr: float, prices: Float, cuts: Cuts, multipliers: Float) -> tuple[float, Float]:
        """Least power p of the users and reach r [N] with ``p + sum_n t_n / r_n <= 1`` for every design, of the limit.

        Prices of which the limits together cost one count at most one for any beams. With nu the largest eigenvalue of any
        ``sum_{i of k} q_i h_i h_i^H / Gamma - sum_{i not of k} q_i h_i h_i^H`` in units of the prices, the rows times q say
        ``sum_i q_i / nu + sum_n t_n / r_n <= 1`` with ``r_n = nu a_n^T (nu E_n + sum_i q_i h_nk(i) h_nk(i)^H)^-1 a_n^*``.

        Parameters
        ----------
        prices, multipliers
            [L] and [I], of any values: negative ones, and what is no number, are taken as none.
        """
        prices = np.maximum(np.nan_to_num(prices, nan=0.0, posinf=0.0), 0.0)
        largest = float(prices.max())
        prices = np.maximum(prices, LEAST_PRICE * largest) if 1e-200 < largest < 1e200 else np.ones_like(prices)
        prices = prices / (self.limits @ prices)
        q = np.maximum(np.nan_to_num(multipliers, nan=0.0, posinf=0.0), 0.0)
        largest = float(q.max(initial=0.0))
        q = q / largest if 1e-200 < largest < 1e200 else np.zeros_like(q)
        users = self.heard.shape[1]
        vectors = self.channels(cuts) / np.sqrt(prices @ self.priced)
        signs = np.where(cuts.user == np.arange(users)[:, np.newaxis], 1.0 / sinr, -1.0)
        charged = np.einsum("ki,id,ie->kde", signs * q, vectors, vectors.conj(), optimize=True)
        # If no power serves, the eigenvalue is not positive. Rounding must not decide that.
        scale = 1e-12 * float(q @ (1.0 + (np.abs(vectors) ** 2).sum(axis=1)))
        most = max(float(np.linalg.eigvalsh(charged).max(initial=0.0)), scale) if q.any() else 1.0
        total = np.bincount(cuts.user, weights=q, minlength=users) / most
        matrices = np.einsum("k,nks,nkt->nst", total, self.leaks, self.leaks.conj())
        diagonal = np.arange(matrices.shape[1])
        matrices[:, diagonal, diagonal] += np.einsum("l,lns->ns", prices, self.sensing_priced)
        lit = np.linalg.solve(matrices, self.target[..., np.newaxis])[..., 0]
        return min(float(total.sum()), ENOUGH), np.real(np.einsum("ns,ns->n", self.target.conj(), lit))

    def channels(self, cuts: Cuts) -> Complex:
        """``h_k(phi)`` of cuts, [I, d]."""
        return np.einsum("in,nid->id", np.exp(1j * cuts.phases), self.heard[:, cuts.user])


class BarrierProgram:
    """The program for weights c [N] of the powers at the target; cuts may be added on the way.

    Unknowns are prices mu [L] and q [I], those in units in which each user's channel has length one.
    """

    def __init__(self, coordinates: Coordinates, sinr: float, weights: Float, cuts: Cuts) -> None:
        self.coordinates, self.sinr = coordinates, sinr
        self.nodes, self.users, _ = coordinates.heard.shape
        self.length = np.sqrt((np.abs(coordinates.heard) ** 2).sum(axis=(0, 2)))
        self.weights = np.maximum(weights, 0.0) / float(np.max(weights * (np.abs(coordinates.target) ** 2).sum(axis=1)))
        self.lit = np.sqrt(self.weights)[:, np.newaxis] * coordinates.target
        self.leaks = coordinates.leaks / self.length[:, np.newaxis]
        self.cuts = Cuts(np.zeros(0, dtype=np.intp), np.zeros((0, self.nodes)))
        self.vectors = np.zeros((0, coordinates.heard.shape[2]), dtype=np.complex128)
        self.signs = np.zeros((self.users, 0))
        self.prices, self.q = (
            np.full(len(coordinates.limits), 2.0 / coordinates.limits.size / coordinates.limits[0]),
            np.zeros(0),
        )
        self.weight = 1.0
        self.steps = 0
        self.add(cuts)

    def add(self, cuts: Cuts) -> None:
        """Add rows, with multipliers well inside the set that the prices allow."""
        vectors = self.coordinates.channels(cuts) / self.length[cuts.user][:, np.newaxis]
        signs = np.where(cuts.user == np.arange(self.users)[:, np.newaxis], 1.0 / self.sinr, -1.0)
        slack = self._slack(self.prices, self.q)
        room = np.real(np.einsum("id,ide,ie->i", vectors.conj(), np.linalg.inv(slack)[cuts.user], vectors)) / self.sinr
        share = np.bincount(cuts.user, minlength=self.users)[cuts.user]
        self.cuts, self.vectors = self.cuts.joined(cuts), np.concatenate([self.vectors, vectors])
        self.signs = np.concatenate([self.signs, signs], axis=1)
        self.q = np.concatenate([self.q, 0.3 / (room * share)])

    def _slack(self, prices: Float, q: Float) -> Complex:
        """S_k [K, d, d]."""
        weighted = (self.signs * q)[:, :, np.newaxis] * self.vectors
        slack = -np.einsum("kid,ie->kde", weighted, self.vectors.conj())
        diagonal = np.arange(slack.shape[1])
        slack[:, diagonal, diagonal] += prices @ self.coordinates.priced
        return slack

    def _sensing_slack(self, prices: Float, q: Float) -> Complex:
        """R_n [N, s, s]."""
        total = np.bincount(self.cuts.user, weights=q, minlength=self.users)
        slack = np.einsum("k,nks,nkt->nst", total, self.leaks, self.leaks.conj())
        slack -= self.lit[:, :, np.newaxis] * self.lit.conj()[:, np.newaxis]
        diagonal = np.arange(slack.shape[1])
        slack[:, diagonal, diagonal] += np.einsum("l,lns->ns", prices, self.coordinates.sensing_priced)
        return slack

    @property
    def gains(self) -> Float:
        """The objective's coefficients: p_l, and -1 over the squared lengths of the cuts' channels."""
        return np.concatenate([self.coordinates.limits, -1.0 / self.length[self.cuts.user] ** 2])

    @property
    def value(self) -> float:
        """The objective: a bound of ``sum_n c_n t_n`` with the scaled c; negative where the users cannot be served."""
        return float(self.gains @ np.concatenate([self.prices, self.q]))

    @property
    def gap(self) -> float:
        """Distance from the optimum for these cuts at the centre."""
        order = self.users * self.vectors.shape[1] + self.lit.size + len(self.prices) + len(self.q)
        return order / self.weight

    def _barrier(self, prices: Float, q: Float) -> float:
        if not (prices.min() > 0.0 and q.min() > 0.0):
            return np.inf
        try:
            roots = np.linalg.cholesky(self._slack(prices, q))
            sensing = np.linalg.cholesky(self._sensing_slack(prices, q))
        except np.linalg.LinAlgError:
            return np.inf
        held = np.log(np.real(np.diagonal(roots, axis1=1, axis2=2))).sum()
        held += np.log(np.real(np.diagonal(sensing, axis1=1, axis2=2))).sum()
        cost = self.weight * float(self.gains @ np.concatenate([prices, q]))
        return cost - 2.0 * float(held) - float(np.log(prices).sum() + np.log(q).sum())

    def _newton(self) -> tuple[Float, Float]:
        """Gradient and Hessian of the barrier's function."""
        frame, count = self.coordinates, len(self.prices)
        inverse = np.linalg.inv(self._slack(self.prices, self.q))
        sensing = np.linalg.inv(self._sensing_slack(self.prices, self.q))
        size = count + len(self.q)
        gradient, hessian = self.weight * self.gains, np.zeros((size, size))
        # Dyads of users' matrices, then of sensing: derivatives of S in q are -sign h h^H, in mu the diagonals.
        left = self.vectors.conj() @ inverse
        inner = left @ self.vectors.T
        signed = self.signs
        gradient[count:] += np.einsum("ki,kii->i", signed, np.real(inner))
        hessian[count:, count:] += np.einsum("ki,kj,kij->ij", signed, signed, np.abs(inner) ** 2)
        mixed = np.einsum("ki,kid,ld->li", -signed, np.abs(left) ** 2, frame.priced)
        straight = np.real(np.diagonal(inverse, axis1=1, axis2=2)).sum(axis=0)
        squares = (np.abs(inverse) ** 2).sum(axis=0)
        gradient[:count] -= frame.priced @ straight
        hessian[:count, :count] += frame.priced @ squares @ frame.priced.T
        reached = self.leaks.conj() @ sensing
        between = np.abs(reached @ self.leaks.swapaxes(1, 2)) ** 2
        user = self.cuts.user
        gradient[count:] -= np.real(np.einsum("nks,nks->k", reached, self.leaks))[user]
        hessian[count:, count:] += between.sum(axis=0)[np.ix_(user, user)]
        mixed += np.einsum("nks,lns->lk", np.abs(reached) ** 2, frame.sensing_priced)[:, user]
        gradient[:count] -= np.einsum("lns,nss->l", frame.sensing_priced, np.real(sensing))
        hessian[:count, :count] += np.einsum(
            "lns,nst,mnt->lm", frame.sensing_priced, np.abs(sensing) ** 2, frame.sensing_priced
        )
        hessian[:count, count:] += mixed
        hessian[count:, :count] += mixed.T
        unknowns = np.concatenate([self.prices, self.q])
        return gradient - 1.0 / unknowns, hessian + np.diag(1.0 / unknowns**2)

    def centre(self) -> None:
        """Newton's method to the centre for the barrier's weight."""
        count = len(self.prices)
        for _ in range(NEWTON_STEPS):
            gradient, hessian = self._newton()
            unknowns = np.concatenate([self.prices, self.q])
            scaled = hessian * unknowns[:, np.newaxis] * unknowns
            step = -unknowns * np.linalg.solve(
                scaled + 1e-14 * np.eye(len(unknowns)) * np.trace(scaled) / len(unknowns), gradient * unknowns
            )
            self.steps += 1
            gain = -float(gradient @ step)
            if not gain > 2.0 * CENTRED:
                break
            before, length = self._barrier(self.prices, self.q), 1.0
            while length > 1e-6:
                moved = unknowns + length * step
                if self._barrier(moved[:count], moved[count:]) <= before - 0.1 * length * gain:
                    break
                length /= 2.0
            else:
                break
            self.prices, self.q = moved[:count], moved[count:]
            if self.value < 0.0:
                # This proves that no covariances serve. The objective may be unbounded below.
                break

    def covariances(self) -> tuple[Complex, Complex]:
        """W_k [K, d, d] and W_s,n [N, s, s] that belong to the centre."""
        users = np.asarray(np.linalg.inv(self._slack(self.prices, self.q)) / self.weight, dtype=np.complex128)
        sensing = np.linalg.inv(self._sensing_slack(self.prices, self.q)) / self.weight
        return users, np.asarray(sensing, dtype=np.complex128)

    def multipliers(self) -> Float:
        """q [I] in units of the scaled channels."""
        return self.q / self.length[self.cuts.user] ** 2

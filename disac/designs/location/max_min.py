"""The largest least SINR of all users and subcarriers, by prices of the nodes' power.

Let power limit b cost ``lambda_b`` with ``sum_b lambda_b P_b = 1``. The least priced power that gives every user the SINR Gamma
is ``D(lambda) = noise sum q``, where the q of each subcarrier are the fixed point of ``q_k = Gamma L_k(q)`` and L_k is the
least ``w^H (diag(lambda) + sum_{j != k} q_j h_j h_j^H) w`` of a beam that hears its user with amplitude one (uplink-downlink
duality; W. Yu and T. Lan, *Transmitter Optimization for the Multi-Antenna Downlink With Per-Antenna Power Constraints*, 2007).
Where powers of the nodes' signals add up at the users, the best beam is that of a single node.

``D(lambda) <= 1`` is necessary for Gamma, so that the Gamma with ``D = 1`` bounds the largest SINR for any prices. The powers
that the beams take of each limit are a supergradient of D. A linear program mixes the covariances found so far to the least
share of all limits (its multipliers are the next prices). Mixtures keep every SINR, since the SINR rows are linear in the
covariances. The search ends where mixture and bound meet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.largest import LargestSinr
from disac.designs.location.problem import DesignProblem
from disac.units import linear_to_db

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

CLOSED = 5e-4
"""Relative distance of reached SINR and bound at which the search ends."""

BESIDE = 1e-5
"""The SINR that is proven out of reach is larger than the bound by this share, for rounding."""

ROUNDS = 200
"""Most prices that are tried."""

STEPS = 100
"""Most steps of a fixed point or of a root."""

NO_POWER = 1e9
"""Priced power beyond which an SINR counts as out of reach, in units of the limits."""

SETTLED = 1e-6
"""Relative step at which a fixed point is reached. Newton squares the error. Near the SINR that no power reaches rounding
leaves as much."""

EXACT = 1e-6
"""Distance from one at which a priced power counts as one: far below ``BESIDE``."""

BETWEEN = 0.5
"""Place of the next prices between the best ones so far and those of the linear program, which jump about."""


LEAST_PRICE = 1e-6
"""Least price, of the largest one: power that costs nothing would have no inverse."""


@dataclass(frozen=True)
class _Beams:
    """Beams of unit power [L, K, N, M], the powers [L, k, j] that user k receives of beam j, and what each takes of a limit.

    ``taken`` has shape [L, K, B].
    """

    beams: Complex
    received: Float
    taken: Float

    def powers(self, sinr: float) -> Float:
        """Powers [L, K] with which each user has the SINR exactly, noise one; infinite where there are none."""
        own = np.eye(self.received.shape[1])
        balance = self.received * (own / sinr - (1.0 - own))
        found = np.asarray(np.linalg.solve(balance, np.ones((*balance.shape[:2], 1)))[..., 0], dtype=np.float64)
        return found if (found > 0).all() else np.full_like(found, np.inf)

    def spent(self, sinr: float) -> Float:
        """Power under each limit, [B]."""
        total: Float = np.einsum("lk,lkb->b", self.powers(sinr), self.taken)
        return total


@dataclass(frozen=True)
class _Found:
    """``bound`` with its prices and q, and a mixture of columns that takes ``taken`` of the limits for the bound's SINR."""

    bound: float
    taken: float
    prices: Float
    multipliers: Float
    columns: list[_Beams]
    shares: Float

    def covariances(self) -> Complex:
        """Covariances of the mixture within all limits, in units of the power, [K, L, D, D]."""
        count, users, nodes, antennas = self.columns[0].beams.shape
        total = np.zeros((users, count, nodes * antennas, nodes * antennas), dtype=np.complex128)
        for share, column in zip(self.shares, self.columns, strict=True):
            if share > 0:
                flat = column.beams.reshape(count, users, -1).swapaxes(0, 1)
                loaded = flat * (share * column.powers(self.bound)).T[..., np.newaxis]
                total += loaded[..., np.newaxis] * flat[..., np.newaxis, :].conj()
        total /= self.taken
        return total


class _Subcarriers:
    """Users on subcarriers that share power limits; channels [L, K, N, M] in which the noise and all power are one."""

    def __init__(self, channels: Complex, budget_of_node: NDArray[np.intp], allowed: float, *, coherent: bool) -> None:
        self.channels, self.budget_of, self.allowed, self.coherent = channels, budget_of_node, allowed, coherent
        self.budgets = int(budget_of_node.max()) + 1
        self.grams: Complex = np.asarray(np.einsum("linm,ljnm->lnij", channels.conj(), channels), dtype=np.complex128)

    def _priced(self, prices: Float) -> Complex:
        """Gram matrices of the channels over the prices: of all nodes together [L, 1, K, K], or of each [L, N, K, K]."""
        each = self.grams / prices[self.budget_of][:, np.newaxis, np.newaxis]
        return np.asarray(each.sum(axis=1, keepdims=True) if self.coherent else each, dtype=np.complex128)

    def uplink(self, prices: Float, sinr: float, start: Float) -> tuple[Float, _Beams | None]:
        """Fixed point q [L, K] by policy iteration, which is Newton's method, and its beams; none where power is endless.

        ``S^-1 H = Lambda^-1 H (I + diag(q) H^H Lambda^-1 H)^-1``: K numbers in place of the antennas.
        """
        grams, q = self._priced(prices), start
        users = grams.shape[-1]
        own, others = np.eye(users) / sinr, 1.0 - np.eye(users)
        here, each = np.arange(len(q))[:, np.newaxis], np.arange(users)
        for _ in range(STEPS):
            loaded = np.eye(users) + q[:, np.newaxis, :, np.newaxis] * grams
            weights = np.asarray(np.linalg.inv(loaded), dtype=np.complex128)
            served = np.real(np.einsum("lgij,lgji->lgi", grams, weights))
            level = 1.0 / np.maximum(served, 1e-300) - q[:, np.newaxis]
            best = level.argmin(axis=1)
            raised = sinr * level.min(axis=1)
            # Of user k's best nodes: weights of the channels in its beam, and the beam's amplitudes at all users, [L, k, i].
            columns = weights[here, best, :, each]
            heard = (grams[here, best] @ columns[..., np.newaxis])[..., 0]
            priced = np.real(np.einsum("lki,lki->lk", columns.conj(), heard))
            solved: Float = np.linalg.solve(np.abs(heard) ** 2 * (own - others), priced[..., np.newaxis])[..., 0]
            serves = np.asarray((solved > 0).all(axis=1))
            # Beams for larger q fear interference more, and in the end serve whatever can be served. The sum does not cycle.
            following = np.where(serves[:, np.newaxis], solved, q + raised)
            if not np.isfinite(following).all() or (not serves.all() and following.sum() > NO_POWER):
                break
            change = float(np.abs(following - q).max() / following.max())
            q = following
            if serves.all() and change <= SETTLED:
                return q, self._beams(prices, best, columns)
        return q, None

    def _beams(self, prices: Float, best: NDArray[np.intp], columns: Complex) -> _Beams:
        nodes = self.channels.shape[2]
        beams = np.einsum("linm,lki->lknm", self.channels, columns) / prices[self.budget_of][:, np.newaxis]
        if not self.coherent:
            beams = beams * (np.arange(nodes) == best[..., np.newaxis])[..., np.newaxis]
        beams = beams / np.linalg.norm(beams, axis=(2, 3), keepdims=True)
        amplitude = np.einsum("lknm,ljnm->lkjn", self.channels.conj(), beams)
        received = np.abs(amplitude.sum(axis=3)) ** 2 if self.coherent else np.sum(np.abs(amplitude) ** 2, axis=3)
        by_node = np.sum(np.abs(beams) ** 2, axis=3)
        return _Beams(beams, received, by_node @ (self.budget_of[:, np.newaxis] == np.arange(self.budgets)))

    def bound(self, prices: Float, guess: float, start: Float) -> tuple[float, Float, _Beams]:
        """The SINR at which the priced power is one, with q and beams there.

        Raises
        ------
        ArithmeticError
            If rounding leaves no such SINR.
        """
        low, high = 0.0, np.inf
        sinr, q, slope = guess, start, 1.0
        last: tuple[float, float] | None = None
        for _ in range(STEPS):
            found, beams = self.uplink(prices, sinr, q)
            if beams is None:
                high = sinr
                sinr = float(np.sqrt(low * high)) if low > 0 else sinr / 4.0
                continue
            q, need = found, float(found.sum())
            if abs(need - 1.0) <= EXACT:
                return sinr, q, beams
            low, high = (sinr, high) if need < 1.0 else (low, sinr)
            # Secant in the logarithms. Their slope is near one while interference is weak.
            here = float(np.log(sinr)), float(np.log(need))
            if last is not None and here[0] != last[0]:
                slope = max((here[1] - last[1]) / (here[0] - last[0]), 0.1)
            last = here
            step = sinr * float(np.exp(-np.clip(here[1] / slope, -4.0, 4.0)))
            sinr = step if low < step < high else float(np.sqrt(low * high))
        raise ArithmeticError(f"no SINR was found at which the priced power is one; it lies between {low:.6g} and {high:.6g}")

    def search(self, enough: float = np.inf) -> _Found:
        """Bound and mixture within ``CLOSED`` of each other, or a mixture that reaches ``enough``.

        Raises
        ------
        ArithmeticError
            If neither is found.
        """
        count, users = self.channels.shape[:2]
        prices = np.full(self.budgets, 1.0 / (self.allowed * self.budgets))
        # Each user alone, with an equal share of the power.
        loudest = np.real(np.einsum("lnkk->lk", self.grams)).min()
        guess, q = float(loudest) * self.allowed * self.budgets / (users * count), np.zeros((count, users))
        columns: list[_Beams] = []
        best = _Found(np.inf, np.inf, prices, q, columns, np.zeros(0))
        for _ in range(ROUNDS):
            bound, q, beams = self.bound(prices, guess, q)
            columns.append(beams)
            if bound < best.bound:
                best = replace(best, bound=bound, prices=prices, multipliers=q)
            guess = best.bound
            taken, shares, following = self._mixed(columns, best.bound)
            best = replace(best, taken=taken, shares=shares)
            # Less power for all signals lowers an SINR by no more than that factor.
            if taken <= 1.0 + CLOSED or best.bound / taken >= enough:
                return best
            prices = BETWEEN * best.prices + (1.0 - BETWEEN) * following
            prices = np.maximum(prices, LEAST_PRICE * prices.max())
            prices = prices / (self.allowed * prices.sum())
        ends = f"{best.bound / best.taken:.6g} and {best.bound:.6g}"
        raise ArithmeticError(f"the largest SINR lies between {ends}, which were not closed")

    def _mixed(self, columns: list[_Beams], sinr: float) -> tuple[float, Float, Float]:
        """Least share of all limits that a mixture of the columns takes for the SINR, shares of columns, prices of limits.

        All columns serve this SINR: they were made at larger ones.
        """
        from scipy.optimize import linprog

        spent = np.stack([column.spent(sinr) for column in columns], axis=1) / self.allowed
        found = linprog(
            np.append(np.zeros(len(columns)), 1.0), A_ub=np.column_stack([spent, -np.ones(self.budgets)]),
            b_ub=np.zeros(self.budgets), A_eq=np.append(np.ones(len(columns)), 0.0)[np.newaxis], b_eq=[1.0], method="highs",
        )  # fmt: skip
        shares = np.maximum(found.x[:-1], 0.0)
        shares /= shares.sum()
        return float((spent @ shares).max()), shares, np.maximum(-found.ineqlin.marginals, 0.0) / self.allowed


def max_min_sinr(problem: DesignProblem) -> LargestSinr:
    """The largest SINR that all users can have on all subcarriers, with covariances that reach it and its proof.

    Powers (``noncoherent``) or amplitudes (``coherent``) of the nodes add up at the users, and limits join a node's antennas.
    Under a flat spectrum each subcarrier is a search of its own. Those that surpass the weakest one end early.

    Returns
    -------
    LargestSinr
        Both ends within 0.05 %; :func:`disac.designs.location.feasibility.proven_need` proves the upper one.

    Raises
    ------
    ValueError
        If each antenna has its own limit, one node alone serves each user, or a user hears no node.
    ArithmeticError
        If the search does not close.
    """
    if not problem.power_limit.joins_antennas or problem.sinr_type == "cbf":
        raise ValueError("the largest SINR by prices is that of nodes' limits and of all nodes together")
    nodes, users, count, antennas = problem.channels.shape
    silent = np.argwhere(~problem.channels.any(axis=(0, 3)))
    if silent.size:
        raise ValueError(f"user {silent[0][0]} hears no node on subcarrier {silent[0][1]}, so that the largest SINR is zero")
    power = problem.per_antenna_power * nodes * antennas
    scaled = problem.channels.transpose(2, 1, 0, 3) * np.sqrt(power * count / problem.noise_power)
    budget = problem.power_limit.budget_of(nodes, antennas)[::antennas]
    flat = problem.spectrum == "flat"
    groups = np.array_split(np.arange(count), count if flat else 1)
    allowed = 1.0 / (int(budget.max()) + 1) / (count if flat else 1)
    streams = np.zeros((users, count, nodes * antennas, nodes * antennas), dtype=np.complex128)
    coherent = problem.sinr_type == "coherent"
    weakest = np.inf
    power_dual, sinr_dual = np.zeros(problem.power_dual_shape), np.zeros((users, count))
    for group in groups:
        search = _Subcarriers(scaled[group], budget, allowed, coherent=coherent)
        found = search.search(weakest)
        streams[:, group] = power * found.covariances()
        if found.bound < weakest:
            weakest = found.bound
            power_dual[:], sinr_dual[:] = 0.0, 0.0
            power_dual[group if flat else ...] = found.prices[budget].repeat(antennas) / power
            # Larger by the share of the SINR: q = Gamma L(q), and L rises with q.
            sinr_dual[:, group] = found.multipliers.T * (1.0 + BESIDE) * count / problem.noise_power
    reached = float(problem.sinr(streams, streams.sum(axis=0)).min())
    return LargestSinr(linear_to_db(reached), linear_to_db(weakest * (1.0 + BESIDE)), streams, power_dual, sinr_dual)

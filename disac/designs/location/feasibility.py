"""Feasibility of an SINR target, and the proof if the target is infeasible.

A small semidefinite program without sensing gives the least scaling t of the power limit at which every user has its SINR.
If t > 1, its dual (lambda, mu) is a certificate that can be checked without a solver:

    diag(lambda) + sum_v mu_v B_v - (1 + 1/Gamma) mu_u B_u >= 0  for every user and subcarrier,
    (sigma_c^2 / L) sum mu  >  P_T sum lambda,

where B are the users' channels. It is the improving ray of the design problem's dual at zero sensing reward. Under a flat
spectrum each subcarrier has its own lambda, with the cost ``P_T / L``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.problem import SENSING, DesignProblem, Part, Structure
from disac.designs.location.reference import (
    by_antenna,
    hermitian_basis,
    inner_products,
    interference_scale,
    power_limits_of,
    quiet_coordinates,
    real_embedding,
)
from disac.metrics.sinr import received_power
from disac.optim.conic import solve

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.intp]


@dataclass(frozen=True)
class PowerNeed:
    """Least power scaling: proven lower bound ``at_least``, with the dual that proves it.

    ``streams`` [U, L, D, D] is the design of least power, scaled up to the full power limit; None if none was found.
    """

    at_least: float
    power_dual: Float
    sinr_dual: Float
    streams: Complex | None = None

    @property
    def proves_infeasible(self) -> bool:
        """Whether the proven power exceeds the limit by more than rounding, so that the target is infeasible."""
        return self.at_least > 1.0 + 1e-9


def dual_slack(
    problem: DesignProblem, structure: Structure, sinr: float, power_dual: Float, sinr_dual: Float, reward: Complex,
    node_dual: Complex | None = None,
) -> float:  # fmt: skip
    """Least eigenvalue of the designs' dual inequalities, in the unit of ``power_dual``; means over a part's subcarriers.

    ``diag(lambda) - G_l + sum_v mu_v B_v - (1 + 1/Gamma) mu_u B_u`` over all users and subcarriers, with the sensing
    reward ``G_l`` [L, D, D] given. If the value is non-negative, the multipliers are dual feasible. If it is negative, they
    become feasible when its magnitude is added to every lambda. Lambda (``power_dual``) has shape [D]; under a flat spectrum
    each subcarrier has its own, [L, D].

    In a loose structure the power limit applies to the whole covariance. ``Z_n`` (``node_dual`` [L, N, M_t, M_t]; diag(lambda)
    if None) is the multiplier of the nodes' blocks: ``diag(lambda) - G_l - blkdiag(Z_n) >= 0`` and ``Z_n + sum_v mu_v B_v -
    (1 + 1/Gamma) mu_u B_u >= 0``. The violation of the latter inequalities is added to every Z_n, and so to lambda.
    """
    least, least_within = np.inf, 0.0
    size = power_dual.shape[-1]
    priced = np.zeros((problem.subcarriers, size, size), dtype=np.complex128)
    for node in range(problem.nodes if structure.loose else 0):
        mine = problem.node_antennas(node)
        own_price = power_dual[..., mine, np.newaxis] * np.eye(len(mine)) if node_dual is None else node_dual[:, node]
        priced[:, mine[:, np.newaxis], mine] = own_price
    for mine, users, subcarriers in alike_parts(structure):
        count, block = subcarriers.shape[1], np.ix_(np.arange(problem.subcarriers), mine, mine)
        within = structure.loose and SENSING not in users
        base = np.zeros((len(subcarriers), len(mine), len(mine)), dtype=np.complex128)
        if not within:
            charged = (power_dual if power_dual.ndim == 2 else np.tile(power_dual, (problem.subcarriers, 1)))[:, mine]
            base += (charged[subcarriers].sum(axis=1))[:, np.newaxis] * np.eye(len(mine))
            base -= reward[block][subcarriers].sum(axis=1)
        if structure.loose:
            base += (1.0 if within else -1.0) * priced[block][subcarriers].sum(axis=1)
        if within or not structure.loose:
            for user in range(problem.users):
                base += _weighted_channels(problem, sinr_dual, user, mine, subcarriers)
        for user in users:
            own = base
            if user != SENSING:
                own = base - (1.0 + 1.0 / sinr) * _weighted_channels(problem, sinr_dual, user, mine, subcarriers)
            value = float(np.linalg.eigvalsh(own)[:, 0].min()) / count
            least, least_within = (least, min(least_within, value)) if within else (min(least, value), least_within)
    return least + least_within


def _weighted_channels(problem: DesignProblem, sinr_dual: Float, user: int, mine: Int, subcarriers: Int) -> Complex:
    """``mu_u B_u`` on antennas [d], summed over the subcarriers [parts, s] of each part: shape [parts, d, d]."""
    stacked = problem.channels[:, user].swapaxes(0, 1).reshape(problem.subcarriers, -1)
    heard = np.sqrt(sinr_dual[user, subcarriers])[..., np.newaxis] * stacked[subcarriers][..., mine]
    product: Complex = heard.swapaxes(-1, -2) @ heard.conj()
    if problem.sinr_type == "coherent":
        return product
    node = mine // problem.antennas
    return product * (node[:, np.newaxis] == node)


def alike_parts(structure: Structure) -> list[tuple[Int, tuple[int, ...], Int]]:
    """Parts with the same antennas and users and equally many subcarriers: antennas [d], users, subcarriers [parts, s]."""
    sets: dict[tuple[tuple[int, ...], tuple[int, ...], int], list[tuple[int, ...]]] = {}
    for part in structure.parts:
        key = (tuple(part.antennas.tolist()), part.users, len(part.subcarriers))
        sets.setdefault(key, []).append(part.subcarriers)
    return [(np.array(antennas), users, np.array(found)) for (antennas, users, _), found in sets.items()]


class PowerProgram:
    """Least power scaling for any SINR target, compiled once for each decade of targets.

    Where powers add up at the users, all matrices are block-diagonal over nodes, so the streams can be block-diagonal too.
    Streams that serve no user are left out.
    """

    def __init__(self, problem: DesignProblem, structure: Structure) -> None:
        self._problem, self._structure = problem, structure
        self._basis = hermitian_basis(len(self._blocks[0][0].antennas))
        self._programs: dict[float, tuple[Any, Any, Any, Any, Any]] = {}

    @cached_property
    def _blocks(self) -> list[tuple[Part, int]]:
        """Every stream block with its user."""
        problem, blocks = self._problem, []
        for part in self._structure.parts:
            sets = [part.antennas]
            if problem.sinr_type != "coherent":
                sets = [problem.node_antennas(n) for n in np.unique(part.antennas // problem.antennas)]
            blocks += [(Part(part.subcarriers, mine, part.users), u) for u in part.users if u != SENSING for mine in sets]
        return blocks

    def _program(self, scale: float) -> tuple[Any, Any, Any, Any, Any]:
        """Make (problem, block coordinates, SINR parameter, power constraint, SINR constraint)."""
        import cvxpy as cp
        from scipy import sparse

        problem, size = self._problem, self._basis.shape[1]
        unit = problem.noise_power / problem.subcarriers / problem.per_antenna_power
        scaled = cp.Variable((len(self._blocks), size**2))
        hears = self._structure.channel_vectors
        others = []
        for part, u in self._blocks:
            by = [hears(problem, v, part, s) for v in range(problem.users) if v != u for s in part.subcarriers]
            others.append(np.concatenate([np.zeros((0, size)), *by]))
        quiet = [quiet_coordinates(self._basis, heard, scale) for heard in others]
        coordinates = sparse.block_diag(quiet, format="csr")
        blocks = cp.reshape(coordinates @ cp.vec(scaled, order="C"), scaled.shape, order="C")
        scaling = cp.Variable()
        inverse_sinr = cp.Parameter(nonneg=True)
        embed = real_embedding(self._basis)
        cones = [cp.reshape(embed @ scaled[i], (2 * size, 2 * size), order="C") >> 0 for i in range(len(self._blocks))]
        used, limits = power_limits_of(problem, [part for part, _ in self._blocks], size)
        wanted = np.zeros((problem.subcarriers * problem.users, len(self._blocks), size**2))
        heard = np.zeros_like(wanted)
        for i, (part, u) in enumerate(self._blocks):
            for s, user in itertools.product(part.subcarriers, range(problem.users)):
                h = hears(problem, user, part, s)
                row = inner_products((h.T @ h.conj())[np.newaxis] / unit, self._basis)[0]
                heard[s * problem.users + user, i] = row
                if user == u:
                    wanted[s * problem.users + user, i] = row
        flat = cp.vec(blocks, order="C")
        power = used @ flat <= limits * scaling
        sinr = (1.0 + inverse_sinr) * (_sparse(wanted) @ flat) - _sparse(heard) @ flat >= 1.0
        return cp.Problem(cp.Minimize(scaling), [power, sinr, *cones]), blocks, inverse_sinr, power, sinr

    def solve(self, sinr: float, settings: dict[str, Any]) -> PowerNeed | None:
        """A proven lower bound of the least power scaling; None when the solver gives no dual."""
        problem = self._problem
        scale = interference_scale(sinr)
        if scale not in self._programs:
            self._programs[scale] = self._program(scale)
        program, blocks, inverse_sinr, power, row = self._programs[scale]
        inverse_sinr.value = 1.0 / sinr
        outcome, _ = solve(program, settings)
        if outcome not in ("optimal", "optimal_inaccurate") or power.dual_value is None or row.dual_value is None:
            return None
        noise = problem.noise_power / problem.subcarriers
        power_dual = by_antenna(problem, power.dual_value) / problem.per_antenna_power
        sinr_dual = np.maximum(row.dual_value, 0.0).reshape(problem.subcarriers, problem.users).T / noise
        need = proven_need(problem, self._structure, sinr, power_dual, sinr_dual)
        return replace(need, streams=None if blocks.value is None else self._full_power(blocks.value))

    def _full_power(self, blocks: Float) -> Complex | None:
        """Stream covariances [U, L, D, D] of the blocks, scaled until the busiest antenna is at its limit."""
        problem = self._problem
        values, vectors = np.linalg.eigh(np.tensordot(blocks, self._basis, axes=1))
        positive = (vectors * np.maximum(values, 0.0)[:, np.newaxis, :]) @ vectors.conj().swapaxes(-1, -2)
        total = problem.nodes * problem.antennas
        count = problem.users + self._structure.has_sensing
        streams = np.zeros((count, problem.subcarriers, total, total), dtype=np.complex128)
        for block, (part, u) in zip(positive, self._blocks, strict=True):
            for s in part.subcarriers:
                streams[u, s, part.antennas[:, np.newaxis], part.antennas] = block
        busiest = problem.power_share(streams.sum(axis=0))
        return streams / busiest if busiest > 0 else None


def level_power_dual(problem: DesignProblem, power_dual: Float) -> Float:
    """Multipliers with one value, the largest, for all antennas under one power limit, shape as given, [D] or [L, D].

    Only multipliers that are equal under each limit prove a bound.
    """
    largest = np.zeros((len(problem.row_antennas), *power_dual.shape[:-1]))
    np.maximum.at(largest, problem.power_rows, power_dual.T)
    raised: Float = largest[problem.power_rows].T
    return raised


def proven_need(
    problem: DesignProblem, structure: Structure, sinr: float, power_dual: Float, sinr_dual: Float
) -> PowerNeed:  # fmt: skip
    """Make a nearly feasible dual (lambda [D] or [L, D], mu [U, L]) exactly feasible and return the bound that it proves."""
    size = power_dual.shape[-1]
    nothing = np.zeros((problem.subcarriers, size, size), dtype=np.complex128)
    level = level_power_dual(problem, power_dual)
    lift = max(0.0, -dual_slack(problem, structure, sinr, level, sinr_dual, nothing)) * (1.0 + 1e-9)
    raised = level + lift
    need = problem.noise_power / problem.subcarriers * sinr_dual.sum() / problem.power_cost(raised)
    return PowerNeed(float(need), raised, sinr_dual)


def silent_users(problem: DesignProblem, structure: Structure) -> NDArray[np.bool_]:
    """Users with zero channels from all antennas that may serve them, by subcarrier, shape [U, L]; no power serves them."""
    heard = np.zeros((problem.users, problem.subcarriers))
    stacked = problem.channels.transpose(1, 2, 0, 3).reshape(problem.users, problem.subcarriers, -1)
    loudness = np.abs(stacked) ** 2
    for mine, users, subcarriers in alike_parts(structure):
        for user in (user for user in users if user != SENSING):
            heard[user, subcarriers.reshape(-1)] += loudness[user][subcarriers.reshape(-1)][:, mine].sum(axis=-1)
    return np.asarray(heard == 0.0)


def need_of_silence(problem: DesignProblem, structure: Structure, sinr: float) -> PowerNeed | None:
    """Return the proof that a user whose channel is zero cannot be served; None if no user has a zero channel.

    The SINR row of this user alone is a dual ray: its multiplier costs no power without a channel, and the noise is positive.
    """
    silent = silent_users(problem, structure)
    if not silent.any():
        return None
    enough = 1e3 * problem.per_antenna_power * problem.nodes * problem.antennas * problem.subcarriers / problem.noise_power
    return proven_need(problem, structure, sinr, np.ones(problem.power_dual_shape), enough * silent.astype(np.float64))


def _sparse(rows: Float) -> Any:
    from scipy import sparse

    return sparse.csr_array(rows.reshape(len(rows), -1))


def sinr_rows(problem: DesignProblem, streams: Complex, sinr: float) -> Float:
    """``(1 + 1/Gamma) wanted - heard - sigma_c^2/L`` of every user and subcarrier, linear in the streams, shape [U, L].

    The value is non-negative where the user has its SINR. It is (22) of 002 multiplied out.
    """
    coherent = problem.sinr_type == "coherent"
    wanted = received_power(problem.channels, streams[: problem.users], coherent=coherent)
    heard = received_power(problem.channels, streams.sum(axis=0), coherent=coherent)
    return (1.0 + 1.0 / sinr) * wanted - heard - problem.noise_power / problem.subcarriers


def repaired(problem: DesignProblem, streams: Complex, reserve: Complex, sinr: float) -> Complex:
    """Mix streams with a reserve design of larger SINR, by the least share that removes the SINR violations.

    All constraints are convex, so the mixture keeps power and semidefiniteness. Since ``F(mixture) >= (1 - share) F(streams)``,
    its CRB is at most ``1 / (1 - share)`` times as large. The gap is computed afterwards and contains that cost.

    Parameters
    ----------
    streams, reserve
        Stream covariances [U, L, D, D]; the reserve is within the power limit.

    Returns
    -------
    complex128, shape [U, L, D, D]
        ``streams`` unchanged if no row is violated or the reserve does not exceed the SINR.
    """
    rows, spare = sinr_rows(problem, streams, sinr), sinr_rows(problem, reserve, sinr)
    violated = rows < 0
    if not violated.any() or not np.isfinite(rows).all() or not (spare > 0).all():
        return streams
    # A little more than needed, against rounding.
    share = float((-rows[violated] / (spare[violated] - rows[violated])).max()) * (1.0 + 1e-6)
    return streams if share >= 1.0 else (1.0 - share) * streams + share * reserve

"""The design problem (14) of 002: least location error under power and SINR constraints, and how designs restrict it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.metrics.fisher import Localization, SensingModel, location_derivatives

Complex = NDArray[np.complex128]
PowerLimit = Literal["per-antenna", "per-node", "total"]


@dataclass(frozen=True)
class DesignProblem:
    """Minimise tr of the location CRB (13) under power limits (14b) and an SINR per user (14c).

    ``channels`` h_{n,u,l} has shape [N, U, L, M_t]; ``per_antenna_power`` P_T is allowed for each antenna, summed over
    subcarriers, singly or together with the others under a ``power_limit``; ``noise_power`` is sigma_c^2 over all subcarriers.
    """

    sensing: SensingModel
    channels: Complex
    per_antenna_power: float
    noise_power: float
    localization: Localization = "hybrid"
    power_limit: PowerLimit = "per-antenna"

    @property
    def nodes(self) -> int:
        """Number of nodes N."""
        return self.channels.shape[0]

    @property
    def users(self) -> int:
        """Number of users U."""
        return self.channels.shape[1]

    @property
    def subcarriers(self) -> int:
        """Number of subcarriers L."""
        return self.channels.shape[2]

    @property
    def antennas(self) -> int:
        """Transmit antennas per node M_t."""
        return self.channels.shape[3]

    @property
    def targets(self) -> int:
        """Number of targets K."""
        return len(self.sensing.targets_m)

    @cached_property
    def derivatives(self) -> Complex:
        """Derivatives of the echoes with respect to location and nuisances, [P, N, L, M_r, N M_t]."""
        return location_derivatives(self.sensing, self.localization)

    @cached_property
    def power_rows(self) -> NDArray[np.intp]:
        """Power limit that each antenna of the stacked vector falls under, shape [N M_t].

        A limit allows ``per_antenna_power`` times the number of its antennas.
        """
        antenna = np.arange(self.nodes * self.antennas)
        return {"per-antenna": antenna, "per-node": antenna // self.antennas, "total": 0 * antenna}[self.power_limit]

    @cached_property
    def row_antennas(self) -> NDArray[np.float64]:
        """Number of antennas under each power limit."""
        return np.bincount(self.power_rows).astype(np.float64)

    def power_share(self, covariances: Complex) -> float:
        """Power of the busiest limit, relative to it, for covariances [L, D, D]."""
        spent = np.real(np.einsum("lii->i", covariances))
        by_row = np.bincount(self.power_rows, weights=spent)
        return float((by_row / self.row_antennas).max()) / self.per_antenna_power

    def owner(self, subcarrier: int) -> int:
        """Node that transmits on a subcarrier in the orthogonal designs: l mod N (002, section IV-C)."""
        return subcarrier % self.nodes

    def node_antennas(self, node: int) -> NDArray[np.intp]:
        """Indices of a node's antennas in the stacked vector."""
        return np.arange(node * self.antennas, (node + 1) * self.antennas)


@dataclass(frozen=True)
class Part:
    """One covariance per user: on these antennas, sent on each of these subcarriers."""

    subcarriers: tuple[int, ...]
    antennas: NDArray[np.intp]


@dataclass(frozen=True)
class Structure:
    """What a design leaves free.

    The stream of each user has a covariance on the antennas of each of the ``parts``; between parts it is zero. Subcarriers
    in one set of ``shared`` are judged by their average covariance (one set per subcarrier: judged as transmitted).
    """

    name: str
    parts: tuple[Part, ...]
    shared: tuple[tuple[int, ...], ...]

    @cached_property
    def share_of(self) -> dict[int, tuple[int, ...]]:
        """For each subcarrier the set it belongs to."""
        return {subcarrier: members for members in self.shared for subcarrier in members}

    def channel_vectors(self, problem: DesignProblem, user: int, part: Part, subcarrier: int) -> Complex:
        """One zero-padded channel per transmitting node on the part's antennas: shape [nodes, d]."""
        full = np.zeros((problem.nodes, problem.nodes * problem.antennas), dtype=np.complex128)
        for node in range(problem.nodes):
            full[node, problem.node_antennas(node)] = problem.channels[node, user, subcarrier]
        vectors = full[:, part.antennas]
        return vectors[np.any(vectors != 0, axis=1)]

    def clustered(self, clusters: int) -> Structure:
        """The same with one covariance for each of so many groups of adjacent subcarriers, as equal as they can be.

        Parts with the same antennas on the subcarriers of a group become one.

        Raises
        ------
        ValueError
            If the design transmits with other antennas on another subcarrier of a group, or is judged by averages.
        """
        subcarriers = sorted(self.share_of)
        groups = [tuple(int(s) for s in group) for group in np.array_split(subcarriers, clusters)]
        sets: dict[tuple[int, ...], set[int]] = {}
        for part in self.parts:
            sets.setdefault(tuple(int(a) for a in part.antennas), set()).update(part.subcarriers)
        if any(len(members) > 1 for members in self.shared) or any(len(s) < len(subcarriers) for s in sets.values()):
            raise ValueError(f"the design '{self.name}' has no covariances to share over adjacent subcarriers")
        parts = tuple(Part(group, np.array(antennas)) for group in groups for antennas in sets)
        return Structure(self.name, parts, self.shared)

    def together(self, problem: DesignProblem) -> NDArray[np.bool_]:
        """Pairs of antennas whose signals may be correlated, shape [L, D, D]."""
        size = problem.nodes * problem.antennas
        pairs = np.zeros((problem.subcarriers, size, size), dtype=bool)
        for part in self.parts:
            for subcarrier in part.subcarriers:
                pairs[subcarrier, part.antennas[:, np.newaxis], part.antennas] = True
        return pairs

    def objective_covariances(self, covariances: Complex) -> Complex:
        """Covariances that the objective sees: averaged within each shared set, shape as given [L, D, D]."""
        averaged = covariances.copy()
        for subcarriers in self.shared:
            averaged[list(subcarriers)] = covariances[list(subcarriers)].mean(axis=0)
        return averaged

    def uniform_covariances(self, problem: DesignProblem) -> Complex:
        """Full power, equal on the free antennas of every subcarrier, shape [L, D, D]."""
        size = problem.nodes * problem.antennas
        everyone = np.concatenate([np.tile(part.antennas, len(part.subcarriers)) for part in self.parts])
        used = np.bincount(everyone, minlength=size)
        covariances = np.zeros((problem.subcarriers, size, size), dtype=np.complex128)
        for part in self.parts:
            for subcarrier in part.subcarriers:
                covariances[subcarrier, part.antennas, part.antennas] = problem.per_antenna_power / used[part.antennas]
        return covariances

"""The design problem (14) of 002: least location error under power and SINR constraints, and how designs restrict it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.metrics.fisher import (
    Localization,
    SensingModel,
    attenuation,
    information_by_receiver,
    location_derivatives,
    location_prior,
    receiver_derivatives,
)
from disac.metrics.sinr import SinrType, coherent_sinr, noncoherent_sinr
from disac.power_limits import PER_ANTENNA, PowerLimit

Complex = NDArray[np.complex128]

Spectrum = Literal["free", "flat"]
"""Spread of a power budget over the subcarriers: ``free``, or ``flat`` with at most 1/L of the budget on each."""


@dataclass(frozen=True)
class DesignProblem:
    """Minimise tr of the location CRB (13) under power limits (14b) and an SINR per user (14c).

    ``channels`` h_{n,u,l} has shape [N, U, L, M_t]; ``per_antenna_power`` P_T is allowed for each antenna, summed over
    subcarriers, singly or together with the others under a ``power_limit``; ``noise_power`` is sigma_c^2 over all subcarriers.
    ``sinr_type``: the powers of the nodes' signals add up at a user (``noncoherent``), or their amplitudes add up
    (``coherent``: needs the relative phases at the users), or one node serves the user and the others interfere (``cbf``,
    coordinated beamforming).

    ``spectrum``: the power of a budget is summed over all subcarriers (``free``), or each subcarrier has 1/L of it (``flat``):
    ``sum_i R_l[i, i] <= P_T |b| / L`` over the antennas of each budget b, for each subcarrier l. Where all limits bind, each
    budget's power is the same on all subcarriers. The limits are the same for every design. In the interleaved designs a node
    sends on its own subcarriers alone: at most 1/L of its budget on each, so the power is the same on all that it uses, and
    its total is at most the share of the subcarriers that it owns.
    """

    sensing: SensingModel
    channels: Complex
    per_antenna_power: float
    noise_power: float
    localization: Localization = "hybrid"
    power_limit: PowerLimit = PER_ANTENNA
    sinr_type: SinrType = "noncoherent"
    spectrum: Spectrum = "free"

    @property
    def nodes(self) -> int:
        """Number of transmitting nodes N."""
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
    def receiver_derivatives(self) -> tuple[tuple[NDArray[np.intp], Complex], ...]:
        """The same by receiver, in coordinates of what each sees (:func:`disac.metrics.fisher.receiver_derivatives`)."""
        return tuple(receiver_derivatives(self.sensing, self.localization))

    @cached_property
    def prior(self) -> NDArray[np.float64]:
        """Prior information ``J`` on the same parameters, [P, P]."""
        return location_prior(self.sensing, self.localization)

    @cached_property
    def attenuation(self) -> NDArray[np.float64]:
        """Factor ``D_c`` of each entry of a covariance in the mean information, [L, D, D]."""
        return attenuation(self.sensing)

    def information(self, covariances: Complex) -> NDArray[np.float64]:
        """``F(D_c[R]) + J`` for transmit covariances [L, D, D]: shape [P, P]."""
        seen = covariances * self.attenuation
        pieces, noise = self.receiver_derivatives, self.sensing.noise_power
        return information_by_receiver(pieces, len(self.prior), seen, noise) + self.prior

    @cached_property
    def power_rows(self) -> NDArray[np.intp]:
        """Index of the power limit of each antenna of the stacked vector, shape [N M_t].

        A limit allows ``per_antenna_power`` times the number of its antennas: over all subcarriers, or 1/L of it on each
        (:attr:`spectrum`).
        """
        return self.power_limit.budget_of(self.nodes, self.antennas)

    @cached_property
    def row_antennas(self) -> NDArray[np.float64]:
        """Number of antennas under each power limit."""
        return np.bincount(self.power_rows).astype(np.float64)

    @property
    def power_dual_shape(self) -> tuple[int, ...]:
        """Shape of the power limits' multipliers, with one entry for each antenna: [D]; under a flat spectrum [L, D]."""
        size = self.nodes * self.antennas
        return (self.subcarriers, size) if self.spectrum == "flat" else (size,)

    def power_cost(self, power_dual: NDArray[np.float64]) -> float:
        """``sum_b lambda_b budget_b`` of multipliers that are alike for all antennas under one limit.

        Parameters
        ----------
        power_dual
            lambda, of :attr:`power_dual_shape`.
        """
        allowed = self.per_antenna_power / (self.subcarriers if self.spectrum == "flat" else 1)
        return float(allowed * power_dual.sum())

    @cached_property
    def serving_node(self) -> NDArray[np.intp]:
        """Node with the strongest channel over all subcarriers to each user, shape [U]; it serves the user in ``cbf``."""
        return np.argmax((np.abs(self.channels) ** 2).sum(axis=(2, 3)), axis=0)

    def sinr(self, streams: Complex, covariances: Complex) -> NDArray[np.float64]:
        """SINR of every user and subcarrier by the problem's ``sinr_type``, linear, shape [U, L].

        Parameters
        ----------
        streams
            Covariances of the users' streams (others may follow), shape [U.., L, D, D].
        covariances
            Covariances of the whole signal, shape [L, D, D].
        """
        ratio = coherent_sinr if self.sinr_type == "coherent" else noncoherent_sinr
        return ratio(self.channels, streams, covariances, self.noise_power)

    def power_share(self, covariances: Complex) -> float:
        """Power of the busiest limit, relative to it, for covariances [L, D, D]."""
        if self.spectrum == "flat":
            spent = self.spent_by_subcarrier(covariances) / self.row_antennas
            return float(spent.max()) * self.subcarriers / self.per_antenna_power
        spent = np.real(np.einsum("lii->i", covariances))
        by_row = np.bincount(self.power_rows, weights=spent)
        return float((by_row / self.row_antennas).max()) / self.per_antenna_power

    def spent_by_subcarrier(self, covariances: Complex) -> NDArray[np.float64]:
        """Power of covariances [L, D, D] under each budget on each subcarrier, shape [L, budgets]."""
        spent = np.zeros((len(self.row_antennas), len(covariances)))
        np.add.at(spent, self.power_rows, np.real(np.einsum("lii->il", covariances)))
        return spent.T

    def owner(self, subcarrier: int) -> int:
        """Node that transmits on a subcarrier in the orthogonal designs: l mod N (002, section IV-C)."""
        return subcarrier % self.nodes

    def node_antennas(self, node: int) -> NDArray[np.intp]:
        """Indices of a node's antennas in the stacked vector."""
        return np.arange(node * self.antennas, (node + 1) * self.antennas)


INTERLEAVED = ("orthogonal", "beamforming")
"""Designs in which each subcarrier belongs to one node: they need as many subcarriers as nodes that transmit."""


def unposed(design: str, nodes: int, subcarriers: int) -> str:
    """Return the sentence why a design has no problem for so many nodes and subcarriers; an empty text if it has one."""
    if design not in INTERLEAVED or subcarriers >= nodes:
        return ""
    return f"The design '{design}' gives each node subcarriers of its own: {subcarriers} are too few for {nodes} nodes."


SENSING = -1
"""Number of a stream that serves no user."""


@dataclass(frozen=True)
class Part:
    """A set of antennas and subcarriers on which each stream has one covariance.

    ``users`` are the users that the streams serve; :data:`SENSING` stands for a stream that serves no user.
    """

    subcarriers: tuple[int, ...]
    antennas: NDArray[np.intp]
    users: tuple[int, ...]


@dataclass(frozen=True)
class Structure:
    """Covariances that a design may choose.

    Each stream has a covariance on the antennas of each of the ``parts`` that carry it; between parts the covariance is zero.
    The objective takes the average covariance of the subcarriers in one set of ``shared``. With one set per subcarrier it
    takes the transmitted covariance. A ``loose`` structure is (24) of 002: the last stream serves no user and is on all
    antennas; each other stream is on the antennas of one node. The sum of all streams and each node's block of the last stream
    must be positive semidefinite; the last stream as a whole need not be.
    """

    name: str
    parts: tuple[Part, ...]
    shared: tuple[tuple[int, ...], ...]
    loose: bool = False

    @cached_property
    def share_of(self) -> dict[int, tuple[int, ...]]:
        """Set of ``shared`` that each subcarrier belongs to."""
        return {subcarrier: members for members in self.shared for subcarrier in members}

    @property
    def has_sensing(self) -> bool:
        """Whether a stream serves no user."""
        return any(SENSING in part.users for part in self.parts)

    def definite(self, problem: DesignProblem, streams: Complex) -> list[Complex]:
        """Matrices of stream covariances [U.., L, D, D] that must be positive semidefinite, as a list of arrays."""
        if not self.loose:
            return [streams]
        rest = [streams[-1][:, mine[:, np.newaxis], mine] for mine in map(problem.node_antennas, range(problem.nodes))]
        return [streams[:-1], streams.sum(axis=0), *rest]

    def channel_vectors(self, problem: DesignProblem, user: int, part: Part, subcarrier: int) -> Complex:
        """Channels h from the part's antennas to a user, shape [t, d]; ``h^H R h`` summed over the rows is the received power.

        There is one zero-padded channel per transmitting node; where amplitudes add up, there is only their sum.
        """
        full = np.zeros((problem.nodes, problem.nodes * problem.antennas), dtype=np.complex128)
        for node in range(problem.nodes):
            full[node, problem.node_antennas(node)] = problem.channels[node, user, subcarrier]
        vectors = full[:, part.antennas]
        if problem.sinr_type == "coherent":
            return vectors.sum(axis=0, keepdims=True)
        return vectors[np.any(vectors != 0, axis=1)]

    def coordinated(self, problem: DesignProblem) -> Structure:
        """Return the structure in which one node alone serves each user, and the other nodes send it no stream.

        Raises
        ------
        ValueError
            If a user's node does not transmit on every subcarrier.
        """
        parts: list[Part] = []
        for part in self.parts:
            nodes = np.unique(part.antennas // problem.antennas)
            served = {n: tuple(u for u in part.users if problem.serving_node[u] == n) for n in nodes}
            if len(nodes) == 1:
                parts.append(Part(part.subcarriers, part.antennas, served[nodes[0]] or (SENSING,)))
                continue
            parts += [Part(part.subcarriers, problem.node_antennas(n), users) for n, users in served.items() if users]
            parts.append(Part(part.subcarriers, part.antennas, (SENSING,)))
        for user in range(problem.users):
            if sum(len(part.subcarriers) for part in parts if user in part.users) < problem.subcarriers:
                raise ValueError(f"the design '{self.name}' leaves subcarriers on which the node of user {user} is silent")
        return replace(self, parts=tuple(parts))

    def clustered(self, clusters: int) -> Structure:
        """Return the structure with one covariance for each of so many groups of adjacent subcarriers, of nearly equal size.

        Parts with the same antennas and users on the subcarriers of a group become one.

        Raises
        ------
        ValueError
            If the antennas that transmit differ within a group, or if the objective takes average covariances.
        """
        subcarriers = sorted(self.share_of)
        groups = [tuple(int(s) for s in group) for group in np.array_split(subcarriers, clusters)]
        sets: dict[tuple[tuple[int, ...], tuple[int, ...]], set[int]] = {}
        for part in self.parts:
            sets.setdefault((tuple(int(a) for a in part.antennas), part.users), set()).update(part.subcarriers)
        if any(len(members) > 1 for members in self.shared) or any(len(s) < len(subcarriers) for s in sets.values()):
            raise ValueError(f"the design '{self.name}' has no covariances to share over adjacent subcarriers")
        parts = tuple(Part(group, np.array(antennas), users) for group in groups for antennas, users in sets)
        return replace(self, parts=parts)

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
        """Full power, equal on the free antennas of every subcarrier, shape [L, D, D]; 1/L of it under a flat spectrum."""
        size = problem.nodes * problem.antennas
        used = self._sends(problem).sum(axis=0)
        if problem.spectrum == "flat":
            used = np.full_like(used, problem.subcarriers)
        covariances = np.zeros((problem.subcarriers, size, size), dtype=np.complex128)
        antennas = np.arange(size)
        for subcarrier, on in enumerate(self._sends(problem)):
            mine = antennas[on]
            covariances[subcarrier, mine, mine] = problem.per_antenna_power / used[mine]
        return covariances

    def _sends(self, problem: DesignProblem) -> NDArray[np.bool_]:
        """Whether each antenna sends on each subcarrier, shape [L, D]."""
        on = np.zeros((problem.subcarriers, problem.nodes * problem.antennas), dtype=bool)
        for part in self.parts:
            on[np.ix_(np.array(part.subcarriers), part.antennas)] = True
        return on

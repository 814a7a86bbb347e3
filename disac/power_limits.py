"""Power limits: the antennas that share one budget. The power allowed in all is the same for every limit."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.intp]

PowerLimitName = Literal["per-antenna", "per-node", "total"]
"""Names of the limits in options and files."""


@dataclass(frozen=True)
class PowerLimit:
    """Antennas that share a power limit. Each budget allows the same power for each of its antennas.

    Attributes
    ----------
    name
        As in options and files.
    joins_nodes
        Whether one budget covers all nodes.
    joins_antennas
        Whether one budget covers all antennas of a node.
    """

    name: PowerLimitName
    joins_nodes: bool
    joins_antennas: bool

    def antennas_per_budget(self, nodes: int, antennas: int) -> int:
        """Number of antennas that share one budget, for N nodes of M antennas each."""
        return (nodes if self.joins_nodes else 1) * (antennas if self.joins_antennas else 1)

    def budget_of(self, nodes: int, antennas: int) -> Index:
        """Number of the budget that each antenna of the stacked vector draws on, shape [N M]."""
        return np.arange(nodes * antennas) // self.antennas_per_budget(nodes, antennas)

    def budgets(self, nodes: int, antennas: int) -> int:
        """Number of budgets."""
        return nodes * antennas // self.antennas_per_budget(nodes, antennas)

    def busiest(self, spent: Float) -> Float:
        """Largest share of a budget that is spent.

        Parameters
        ----------
        spent
            Power of each antenna in units of the power allowed in all, shape [..., N, M].

        Returns
        -------
        float64, shape [...]; above one where a budget is exceeded.
        """
        nodes, antennas = spent.shape[-2:]
        joined = tuple(axis for axis, joins in ((-2, self.joins_nodes), (-1, self.joins_antennas)) if joins)
        share: Float = spent.sum(axis=joined, keepdims=True).max(axis=(-2, -1))
        share = share if self.joins_nodes else share * nodes
        return share if self.joins_antennas else share * antennas


TOTAL = PowerLimit("total", joins_nodes=True, joins_antennas=True)
PER_NODE = PowerLimit("per-node", joins_nodes=False, joins_antennas=True)
PER_ANTENNA = PowerLimit("per-antenna", joins_nodes=False, joins_antennas=False)

POWER_LIMITS: dict[str, PowerLimit] = {limit.name: limit for limit in (PER_ANTENNA, PER_NODE, TOTAL)}


def power_limit(name: str) -> PowerLimit:
    """The limit of this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in POWER_LIMITS:
        near = difflib.get_close_matches(name, POWER_LIMITS, n=1)
        meant = f" (did you mean '{near[0]}'?)" if near else ""
        raise ValueError(f"power limit '{name}'{meant}: expected one of {', '.join(POWER_LIMITS)}")
    return POWER_LIMITS[name]

"""A third-party design for the common scenario: all power of one node, everywhere alike."""

from __future__ import annotations

import numpy as np

from disac.designs.cross import Record
from disac.drops.common import ANTENNAS, SUBCARRIERS, TOTAL_POWER_W, CommonNetwork
from disac.scenarios.common import CommonScenario


def first_node(network: CommonNetwork, scenario: CommonScenario) -> Record:
    size = len(network.nodes_m) * ANTENNAS
    power = np.zeros(size)
    power[:ANTENNAS] = TOTAL_POWER_W / SUBCARRIERS / ANTENNAS
    sensing = np.broadcast_to(np.diag(power).astype(complex), (SUBCARRIERS, size, size))
    return Record("ok", "", np.zeros((len(network.users_m), SUBCARRIERS, size, size), dtype=complex), sensing)

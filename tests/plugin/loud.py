"""A third-party design for the common scenario: all power of one node, everywhere alike."""

from __future__ import annotations

import numpy as np

from disac.designs.cross import Record
from disac.drops.common import CommonNetwork
from disac.scenarios.common import CommonScenario


def first_node(network: CommonNetwork, scenario: CommonScenario) -> Record:
    size = network.nodes * network.antennas
    power = np.zeros(size)
    power[: network.antennas] = network.total_power_w / network.subcarriers / network.antennas
    sensing = np.broadcast_to(np.diag(power).astype(complex), (network.subcarriers, size, size))
    return Record("ok", "", np.zeros((network.users, network.subcarriers, size, size), dtype=complex), sensing)

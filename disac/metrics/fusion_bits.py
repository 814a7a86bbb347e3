"""How many bits per second the receivers of a distributed network send for sensing, level by level of fusion; ours on 004.

In 004, section III, every receiver sends its samples. Sufficient statistics, scores on a map or positions are fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FusionLoad:
    """What determines the load of all links from the receivers to the processor.

    An update of the positions uses ``slots_per_transmitter`` slots of each transmitter, one after the other. ``antennas`` of
    each access point, N.
    """

    transmitters: int
    receivers: int
    antennas: int
    slots_per_transmitter: int
    updates_per_s: float

    def raw_samples_bit_s(self, bits: int) -> float:
        """All samples of all antennas, ``bits`` for each of two real numbers."""
        slots = self.transmitters * self.slots_per_transmitter
        return 2.0 * bits * self.receivers * self.antennas * slots * self.updates_per_s

    def statistics_bit_s(self, bits: int) -> float:
        """The N x N sufficient statistics of each pair, ``bits`` for each of two real numbers.

        Fewer than the samples where a transmitter has more slots than antennas.
        """
        return 2.0 * bits * self.receivers * self.transmitters * self.antennas**2 * self.updates_per_s

    def matched_outputs_bit_s(self, places: float, bits: int) -> float:
        """The matched filters of each pair at some places, e.g. one per target that the noncoherent map has found.

        Near such a place they hold all lobes of the coherent score (:mod:`disac.metrics.fusion_lobes`).
        """
        return 2.0 * bits * self.receivers * self.transmitters * places * self.updates_per_s

    def maps_bit_s(self, points: int, bits: int) -> float:
        """A score of each receiver at each point of a common grid."""
        return float(bits) * self.receivers * points * self.updates_per_s

    def positions_bit_s(self, targets: float, coordinate_bits: int, *, covariance_bits: int = 0) -> float:
        """Two coordinates of each target that each receiver found, and three entries of each covariance if it is sent."""
        return self.receivers * targets * (2.0 * coordinate_bits + 3.0 * covariance_bits) * self.updates_per_s


def bits_for(extent: float, step: float) -> int:
    """Bits that number the cells of width ``step`` on a range of length ``extent``, at least one.

    Raises
    ------
    ValueError
        The step or the extent is not positive.
    """
    if not (step > 0 and extent > 0):
        raise ValueError(f"a range {extent} with cells of {step} cannot be numbered: both must be positive")
    return max(1, int(np.ceil(np.log2(extent / step) - 1e-12)))

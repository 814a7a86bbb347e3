"""Columns of cubes that follow from what cells store: entry points of the group ``disac.columns``.

No experiment reaches this module: an edit here runs no cell again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.experiments.base import Variable
from disac.experiments.robust_tradeoff import Options
from disac.metrics.detection import detection_error

SHARES = {
    "pd": "one snapshot, threshold 10 dB",
    "long_pd": "mean of 100 snapshots, threshold 10 dB",
    "controlled_pd": "controlled false-alarm rate, one snapshot",
    "long_controlled_pd": "controlled false-alarm rate, mean of 100 snapshots",
}
"""Variables that are shares of ``options.draws`` independent draws."""


@dataclass(frozen=True)
class DetectionErrors:
    """The standard error of each probability of detection, which is a share of random draws."""

    variables: tuple[Variable, ...] = tuple(
        Variable(f"{name}_error", f"standard error of the probability of detection, {words}") for name, words in SHARES.items()
    )
    needs: tuple[str, ...] = tuple(SHARES)

    def compute(self, options: Options, stored: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Standard errors [cells] of the shares [cells], for ``options.draws`` draws."""
        return {f"{name}_error": detection_error(stored[name], options.draws) for name in self.needs}


detection_errors = DetectionErrors()

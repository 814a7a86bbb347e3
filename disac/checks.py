"""Checks of claims that know the science: numbers of cells in, a verdict with its words out.

The faces find them by entry point (group ``disac.checks``). No experiment reaches this module: an edit here runs no cell again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SINR_SLACK_DB = 1e-3
"""A beam that falls short of its SINR by less keeps it."""


@dataclass(frozen=True)
class ExtractedBeams:
    """Check that the rank-one beams extracted from a design reach its bound at the promised SINR (002, section IV-B)."""

    variables: tuple[str, ...] = ("rcrb_m", "extracted_rcrb_m", "sinr_db", "extracted_min_sinr_db")

    def judge(self, values: Mapping[str, NDArray[np.float64]], *, tolerance: float = 1e-3) -> tuple[str, str, str]:
        """Compare the beams of every cell with its bound.

        Parameters
        ----------
        values
            ``rcrb_m`` and ``extracted_rcrb_m``, root bounds of the design and of its beams, m [cells]; ``sinr_db`` and
            ``extracted_min_sinr_db``, the SINR asked for and the least one of the beams, dB [cells].
        tolerance
            Largest relative difference of the root bounds.

        Returns
        -------
        verdict, ours, evidence
            ``holds`` if every cell keeps tolerance and SINR, ``fails`` if one does not, ``undecided`` without a cell.
        """
        excess = values["extracted_rcrb_m"] / values["rcrb_m"] - 1
        short = values["sinr_db"] - values["extracted_min_sinr_db"]
        known = np.isfinite(excess) & np.isfinite(short)
        if not known.any():
            return "undecided", "-", "no cell is feasible"
        good = known & (np.abs(excess) <= tolerance) & (short <= SINR_SLACK_DB)
        low, high = 100 * excess[known].min(), 100 * excess[known].max()
        ours = f"RCRB {low:+.2f} % to {high:+.1f} %, SINR short by at most {max(0.0, short[known].max()):.4f} dB"
        return ("holds" if good.sum() == known.sum() else "fails"), ours, f"{int(good.sum())} of {int(known.sum())} cells"


extraction = ExtractedBeams()

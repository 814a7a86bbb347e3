"""Checks that know the science, on a few numbers."""

from __future__ import annotations

import numpy as np
import pytest

from disac.checks import extraction


def judged(excess: list[float], short_db: list[float], **limits: float) -> tuple[str, str, str]:
    bound = np.full(len(excess), 0.5)
    values = {
        "rcrb_m": bound, "extracted_rcrb_m": bound * (1 + np.array(excess)), "sinr_db": np.full(len(excess), 20.0),
        "extracted_min_sinr_db": 20.0 - np.array(short_db),
    }  # fmt: skip
    assert set(values) == set(extraction.variables)
    return extraction.judge(values, **limits)


@pytest.mark.parametrize(
    ("excess", "short_db", "limits", "verdict", "evidence"),
    [
        ([0.0, 5e-4], [0.0, 0.0], {}, "holds", "2 of 2 cells"),
        ([0.0, 5e-3], [0.0, 0.0], {}, "fails", "1 of 2 cells"),
        ([0.0, 5e-3], [0.0, 0.0], {"tolerance": 0.01}, "holds", "2 of 2 cells"),
        ([0.0, 0.0], [0.0, 0.01], {}, "fails", "1 of 2 cells"),
        ([0.0, -5e-3], [0.0, -1.0], {}, "fails", "1 of 2 cells"),
        ([0.0, np.nan], [0.0, 0.0], {}, "holds", "1 of 1 cells"),
        ([np.nan], [0.0], {}, "undecided", "no cell is feasible"),
        ([], [], {}, "undecided", "no cell is feasible"),
    ],
)
def test_extracted_beams_are_judged_by_bound_and_sinr(
    excess: list[float], short_db: list[float], limits: dict[str, float], verdict: str, evidence: str
) -> None:
    assert judged(excess, short_db, **limits)[::2] == (verdict, evidence)


def test_our_number_says_how_far_beams_are_from_the_bound() -> None:
    assert judged([0.01, 0.02], [0.0, 0.5])[1] == "RCRB +1.00 % to +2.0 %, SINR short by at most 0.5000 dB"

"""Checks on curves: how far apart two of them cross a level, and the ratio of two labels."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from flows.checks import CHECKS
from pipeline.experiment import STATUS_CODES

SNR = np.array([-20.0, -15.0, -10.0, -5.0, 0.0])


def curves(shift_db: float, scatter_db: float, draws: int = 20) -> tuple[xr.Dataset, xr.Dataset]:
    """Lines that rise by 0.05 per dB, one shifted against the other, scattering over realisations."""
    random = np.random.default_rng(1)
    shift = np.array([0.0, shift_db])[:, np.newaxis] + np.stack([np.zeros(draws), scatter_db * random.standard_normal(draws)])
    pd = np.clip(0.5 + 0.05 * (SNR[:, np.newaxis, np.newaxis] + 10.0 - shift), 0.0, 1.0)
    dims = ("snr_db", "design", "realisation")
    status = np.full(pd.shape, STATUS_CODES["ok"], dtype=np.uint8)
    cube = xr.Dataset(
        {"pd": (dims, pd, {"units": "1"}), "status": (dims, status)},
        {
            "snr_db": ("snr_db", SNR, {"units": "dB"}),
            "design": np.array(["ours", "other"], dtype=object),
            "realisation": np.arange(draws),
        },
    )
    return cube, xr.Dataset(attrs={"over": "realisation"})


GAP = {"variable": "pd", "along": "snr_db", "level": 0.5, "axis": "design", "low": "ours", "high": "other"}


@pytest.mark.parametrize(
    ("shift", "scatter", "least", "most", "verdict"),
    [
        (3.0, 0.1, 2.5, 3.5, "holds"),
        (3.0, 2.0, 2.9, 3.1, "undecided"),
        (1.0, 0.1, 2.5, 3.5, "fails"),
        (-1.0, 0.1, 0.0, np.inf, "fails"),
    ],
)
def test_the_distance_between_crossings(shift: float, scatter: float, least: float, most: float, verdict: str) -> None:
    cube, surfaces = curves(shift, scatter)
    found, ours, evidence = CHECKS["crossing_gap"](cube, surfaces, **GAP, least=least, most=most)
    assert found == verdict
    assert "crosses 0.5" in ours
    assert "dB after ours" in ours
    assert "20 pairs of lines" in evidence


def test_lines_that_do_not_cross_decide_nothing() -> None:
    cube, surfaces = curves(3.0, 0.0)
    assert CHECKS["crossing_gap"](cube, surfaces, **(GAP | {"level": 2.0}), least=0.0)[0] == "undecided"
    assert CHECKS["crossing_gap"](cube, surfaces, **(GAP | {"high": "third"}), least=0.0)[0] == "undecided"


@pytest.mark.parametrize(("least", "most", "verdict"), [(1.9, 2.1, "holds"), (2.1, 2.5, "fails"), (2.0, 2.001, "undecided")])
def test_a_ratio_between_two_limits(least: float, most: float, verdict: str) -> None:
    cube, surfaces = curves(0.0, 0.0)
    values = np.ones((5, 2, 20))
    values[:, 1] = 2.0 * np.exp(0.01 * np.random.default_rng(2).standard_normal((5, 20)))
    cube["kld"] = (cube["pd"].dims, values, {"units": "nat"})
    found, ours, _ = CHECKS["ratio_is"](
        cube, surfaces, variable="kld", axis="design", low="ours", high="other", least=least, most=most
    )
    assert found == verdict
    assert ours.startswith("other / ours = ")

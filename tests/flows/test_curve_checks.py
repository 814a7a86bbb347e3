"""Checks on curves: how far apart two of them cross a level, and the ratio of two labels."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from flows.checks import CHECKS
from flows.claims import evaluate_claims
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


@pytest.mark.parametrize(("most", "verdict"), [(11.0, "holds"), (9.0, "fails"), (10.0, "undecided")])
def test_how_steeply_lines_rise(most: float, verdict: str) -> None:
    """Lines that rise by one half within 10 dB, more or less."""
    cube, surfaces = curves(0.0, 0.0)
    width = 10.0 + np.random.default_rng(4).uniform(-0.5, 0.5, (2, 20))
    cube["pd"] = (cube["pd"].dims, 0.5 + 0.5 / width * (SNR[:, np.newaxis, np.newaxis] + 10.0), {"units": "1"})
    asked = {"variable": "pd", "along": "snr_db", "start": 0.25, "end": 0.75}
    found, ours, evidence = CHECKS["rise_width"](cube, surfaces, **asked, most=most)
    assert found == verdict
    assert ours.startswith("from 0.25 to 0.75 within ")
    assert "40 lines" in evidence
    assert CHECKS["rise_width"](cube, surfaces, **(asked | {"end": 2.0}), most=most)[0] == "undecided"


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


def test_the_ratio_of_averaged_curves_is_not_that_of_a_typical_realisation() -> None:
    """One realisation in twenty has almost nothing of the first label: the mean of ratios is far from the ratio of means."""
    cube, surfaces = curves(0.0, 0.0)
    random = np.random.default_rng(3)
    values = 1.0 + 0.01 * random.standard_normal((5, 2, 20))
    values[:, 1] *= 1.2
    values[:, 0, 0] = 1e-6
    cube["kld"] = (cube["pd"].dims, values, {"units": "nat"})
    asked = {"variable": "kld", "axis": "design", "low": "ours", "high": "other"}
    found, ours, evidence = CHECKS["ratio_is"](cube, surfaces, **asked, least=1.1, most=1.5, averaged=True)
    assert found == "holds"
    ratios = values[:, 1].mean(axis=-1) / values[:, 0].mean(axis=-1)
    assert ours == f"other / ours = {ratios.min():.3f} to {ratios.max():.3f}"
    assert "median over realisations 1.2" in evidence or "median over realisations 1.19" in evidence
    assert CHECKS["ratio_is"](cube, surfaces, **asked, least=1.1, most=1.5)[0] != "holds"
    assert CHECKS["ratio_is"](cube, surfaces, **asked, least=1.3, most=1.5, averaged=True)[0] != "holds"


def test_decibels_are_compared_by_their_difference_also_with_an_axis() -> None:
    cube, surfaces = curves(0.0, 0.0)
    cube["sinr_db"] = (
        cube["pd"].dims,
        np.broadcast_to(SNR[:, np.newaxis, np.newaxis] + 0.5, cube["pd"].shape),
        {"units": "dB"},
    )
    found, ours, _ = CHECKS["within"](cube, surfaces, variable="sinr_db", relative_to="snr_db", low=0.4)
    assert (found, ours) == ("holds", "sinr_db - snr_db = 0.5 to 0.5 dB")
    assert CHECKS["within"](cube, surfaces, variable="sinr_db", relative_to="snr_db", low=0.6)[0] == "fails"


def fig6_cube(shifts_db: tuple[float, ...], scatter_db: float = 0.02, draws: int = 20) -> tuple[xr.Dataset, xr.Dataset]:
    """A cube like that of Fig. 6 of 000: lines of detection, each shifted for its phase error, in both readings."""
    random = np.random.default_rng(2)
    snr = np.arange(-30.0, 2.0, 2.0)
    shift = np.array(shifts_db)[:, np.newaxis] + scatter_db * random.standard_normal((len(shifts_db), draws))
    readings = ["A: flat, 120 deg", "B: 12 dB lobe, 90 deg"]
    pd = np.clip(0.5 + 0.05 * (snr[:, np.newaxis, np.newaxis] + 15.0 - shift), 0.0, 1.0)
    pd = np.stack([np.stack([pd, pd - 0.15, pd - 0.03])] * 2)
    dims = ("reading", "design", "echo_snr_db", "delta_rad", "realisation")
    cube = xr.Dataset(
        {"pd": (dims, pd, {"units": "1"}), "status": (dims, np.full(pd.shape, STATUS_CODES["ok"], dtype=np.uint8))},
        {
            "reading": np.array(readings, dtype=object),
            "design": np.array(["optimum", "zero-forcing", "zero-forcing-best-node"], dtype=object),
            "echo_snr_db": ("echo_snr_db", snr, {"units": "dB"}),
            "delta_rad": [0.01, 0.05, 0.1],
            "realisation": np.arange(draws),
        },
    )
    return cube, xr.Dataset(attrs={"over": "realisation"})


@pytest.mark.parametrize(
    ("shifts", "order", "size"),
    [
        ((0.0, 0.74, 1.78), "holds", "holds"),  # the factor (1 - 2 delta) and some hundredths
        ((0.0, 1.5, 3.0), "holds", "fails"),  # phase errors that cost more than the factor
        ((0.0, 0.0, 1.76), "undecided", "holds"),  # two curves that are one
        ((1.0, 0.5, 0.0), "fails", "fails"),  # the larger phase error detects better
        ((0.0, 2.5, 1.76), "fails", "holds"),  # an order that breaks in the middle
    ],
)
def test_the_order_of_fig_6_is_the_papers_and_the_size_of_the_gain_is_ours(
    shifts: tuple[float, ...], order: str, size: str
) -> None:  # fmt: skip
    cube, surfaces = fig6_cube(shifts)
    rows = {row["id"]: row for row in evaluate_claims("robust-fig6", cube, surfaces)}
    ordering, gain = rows["robust-fig6-smaller-phase-errors"], rows["robust-fig6-phase-errors-act-by-the-factor"]
    assert (ordering["whose"], ordering["verdict"]) == ("paper", order), ordering["evidence"]
    assert (gain["whose"], gain["verdict"]) == ("ours", size), gain["evidence"]
    assert rows["robust-fig6-above-zero-forcing"]["verdict"] == rows["robust-fig6-3-db-lobe"]["verdict"] == "holds"
    assert rows["robust-fig6-over-best-node"]["verdict"] == "fails"


def test_up_to_looks_at_the_point_with_the_largest_distance() -> None:
    cube, surfaces = fig6_cube((0.0, 0.74, 1.78))
    cube["pd"].loc[{"design": "zero-forcing", "reading": "A: flat, 120 deg"}] += 0.1
    found = {row["id"]: row["verdict"] for row in evaluate_claims("robust-fig6", cube, surfaces)}
    assert found["robust-fig6-up-to-3-db"] == "holds"
    assert found["robust-fig6-3-db-flat"] == "fails"
    cube["pd"].loc[{"design": "zero-forcing", "reading": "B: 12 dB lobe, 90 deg"}] += 0.1
    found = {row["id"]: row["verdict"] for row in evaluate_claims("robust-fig6", cube, surfaces)}
    assert found["robust-fig6-up-to-3-db"] == "fails"


def test_crossings_along_one_value_or_without_a_crossing_decide_nothing() -> None:
    cube, surfaces = fig6_cube((0.0, 0.74, 1.78))
    arguments = {"variable": "pd", "along": "echo_snr_db", "axis": "delta_rad"}
    assert CHECKS["crossings_rise"](cube.isel(delta_rad=[0]), surfaces, **arguments, level=0.5)[0] == "undecided"
    assert CHECKS["crossings_rise"](cube, surfaces, **arguments, level=2.0)[0] == "undecided"
    cube["status"].loc[{"delta_rad": 0.05}] = STATUS_CODES["infeasible"]
    assert CHECKS["crossings_rise"](cube, surfaces, **arguments, level=0.5)[0] == "undecided"

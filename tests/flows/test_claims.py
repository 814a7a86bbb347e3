"""Claims: verdicts on cubes for which the answer is known by construction."""

from __future__ import annotations

import json
from typing import Any

import fake_cube
import numpy as np
import pytest
import xarray as xr
from ruamel.yaml import YAML

from flows.claims import CHECKS, evaluate_claims
from flows.data_files import data_dir
from pipeline.experiment import STATUS_CODES
from pipeline.surfaces import compute_surfaces

FIELDS = {"id", "paper", "figure", "statement", "source", "reading", "ours", "verdict", "evidence"}


def judged(cube: xr.Dataset, study: str = "quick") -> dict[str, dict[str, Any]]:
    surfaces = compute_surfaces(cube, over="realisation", edge="sinr_db", paired="design")
    return {row["id"]: row for row in evaluate_claims(study, cube, surfaces)}


def verdicts(cube: xr.Dataset) -> dict[str, str]:
    return {name: row["verdict"] for name, row in judged(cube).items()}


def changed(cube: xr.Dataset, name: str, where: dict[str, Any], factor: float) -> xr.Dataset:
    """A copy in which one part of a variable is multiplied."""
    copy = cube.copy(deep=True)
    copy[name].loc[where] = copy[name].loc[where] * factor
    return copy


def test_the_quick_study_gives_a_verdict_with_numbers_for_every_claim() -> None:
    rows = judged(fake_cube.quick_cube())
    assert all(set(row) == FIELDS and all(isinstance(v, str) and v for v in row.values()) for row in rows.values())
    assert json.loads(json.dumps(list(rows.values()))) == list(rows.values())
    assert {name for name, row in rows.items() if row["verdict"] != "holds"} == {"beamforming-extraction-exact"}
    assert rows["beamforming-extraction-exact"]["verdict"] == "fails"
    assert "95 % band" in rows["orthogonal-beats-beamforming"]["evidence"]
    assert "1.28" in rows["orthogonal-beats-beamforming"]["ours"]


def test_a_paper_names_all_its_claims() -> None:
    cube = fake_cube.quick_cube()
    every = judged(cube, "ofdm")
    assert judged(cube, "quick").items() <= every.items()
    others = [row for name, row in every.items() if name not in judged(cube, "quick")]
    assert {"Fig. 4(a)", "Fig. 4(b)", "Fig. 6", "Fig. 7", "Fig. 8", "Fig. 9"} <= {row["figure"] for row in others}
    assert judged(cube, "no-such-study") == {}


def test_every_claim_on_file_names_a_check_and_its_own_identity() -> None:
    files = sorted((data_dir() / "claims").glob("*.yaml"))
    contents = [YAML(typ="safe", pure=True).load(file) for file in files]
    claims = [claim for content in contents for claim in content["claims"]]
    assert claims
    assert all(claim["check"] in CHECKS for claim in claims)
    assert all(set(claim) == {"id", "statement", "source", "reading", "check", "with"} for claim in claims)
    identities = [claim["id"] for claim in claims]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("design", ["unconstrained-tight", "beamforming"])
def test_a_study_without_a_design_leaves_its_claims_undecided(design: str) -> None:
    cube = fake_cube.quick_cube()
    rows = judged(cube.sel(design=[d for d in fake_cube.DESIGNS if d != design]))
    told = [row for row in rows.values() if row["verdict"] == "undecided"]
    assert told
    assert all(design in row["evidence"] for row in told)


def test_a_study_with_one_user_count_does_not_judge_users() -> None:
    found = verdicts(fake_cube.quick_cube().sel(user_count=[1]))
    assert found["worse-with-users"] == found["edge-falls-with-users"] == "undecided"


def test_an_order_reversed_everywhere_fails() -> None:
    cube = changed(fake_cube.quick_cube(), "rcrb_m", {"design": "orthogonal"}, 3.0)
    assert verdicts(cube)["orthogonal-beats-beamforming"] == "fails"


def test_one_point_reversed_beyond_its_band_fails() -> None:
    cube = changed(fake_cube.quick_cube(), "rcrb_m", {"design": "orthogonal", "sinr_db": 10.0, "user_count": 1}, 3.0)
    row = judged(cube)["orthogonal-beats-beamforming"]
    assert row["verdict"] == "fails"
    assert "1 reversed" in row["evidence"]


def test_an_order_inside_the_band_is_undecided() -> None:
    cube = fake_cube.quick_cube()
    factor = xr.DataArray([0.5, 1.0, 1.0, 2.2], dims="realisation")
    cube["rcrb_m"] = cube["rcrb_m"] * xr.where(cube["design"] == "orthogonal", factor, 1.0).transpose("design", "realisation")
    cube["rcrb_m"] = cube["rcrb_m"].transpose(*cube["status"].dims)
    assert verdicts(cube)["orthogonal-beats-beamforming"] == "undecided"


def test_one_realisation_gives_no_band_and_no_order() -> None:
    row = judged(fake_cube.quick_cube().sel(realisation=[0]))["orthogonal-beats-beamforming"]
    assert row["verdict"] == "undecided"
    assert "one realisation" in row["evidence"]


def test_an_error_that_falls_with_users_or_sinr_fails() -> None:
    cube = fake_cube.quick_cube()
    assert verdicts(changed(cube, "rcrb_m", {"user_count": 2}, 0.5))["worse-with-users"] == "fails"
    assert verdicts(changed(cube, "rcrb_m", {"sinr_db": 25.0}, 0.5))["tradeoff"] == "fails"


def test_an_edge_that_stays_on_the_grid_is_undecided_and_one_that_rises_fails() -> None:
    cube = fake_cube.quick_cube()
    same = cube.copy(deep=True)
    same["status"].loc[{"user_count": 2}] = cube["status"].sel(user_count=1).values
    assert verdicts(same)["edge-falls-with-users"] == "undecided"
    turned = cube.copy(deep=True)
    turned["status"].values[:] = cube["status"].isel(user_count=[1, 0]).values
    assert verdicts(turned)["edge-falls-with-users"] == "fails"


def test_the_certificate_claim_reads_every_feasible_cell() -> None:
    cube = fake_cube.quick_cube()
    assert verdicts(changed(cube, "relative_gap", {"sinr_db": 0.0, "realisation": 2}, 1e5))["solved-to-optimality"] == "fails"
    unknown = changed(cube, "relative_gap", {"sinr_db": 0.0, "realisation": 2}, np.nan)
    assert verdicts(unknown)["solved-to-optimality"] == "fails"
    assert verdicts(cube.drop_vars("relative_gap"))["solved-to-optimality"] == "undecided"


def test_missing_cells_keep_a_claim_from_holding_but_not_from_failing() -> None:
    rows = judged(fake_cube.quick_cube(missing=2))
    assert {row["verdict"] for row in rows.values()} == {"undecided", "fails"}
    assert "2 cells are missing" in rows["tradeoff"]["evidence"]
    assert rows["beamforming-extraction-exact"]["verdict"] == "fails"


def test_failed_cells_are_told() -> None:
    row = judged(fake_cube.quick_cube(failed=3))["tradeoff"]
    assert row["verdict"] == "holds"
    assert "3 failed cells left out" in row["evidence"]


def test_nothing_feasible_decides_nothing() -> None:
    cube = fake_cube.quick_cube()
    cube["status"].values[cube["status"].values > STATUS_CODES["not_planned"]] = STATUS_CODES["infeasible"]
    assert set(verdicts(cube).values()) == {"undecided"}


def _along(values: list[list[float]]) -> xr.Dataset:
    """Two designs (a, b) along three sizes in four realisations: b over a as given, with a little spread."""
    spread = 1 + 0.002 * np.arange(4)
    rcrb = np.array(values)[:, :, np.newaxis] * spread
    status = np.full(rcrb.shape, STATUS_CODES["ok"], dtype=np.uint8)
    data = {"status": (("design", "size", "realisation"), status), "rcrb_m": (("design", "size", "realisation"), rcrb)}
    return xr.Dataset(data, {"design": ["a", "b"], "size": ["4", "6", "16"], "realisation": range(4)})


@pytest.mark.parametrize(
    ("ratio", "check", "verdict"),
    [
        ([1.4, 1.2, 1.1], "ratio_falls", "holds"), ([1.1, 1.2, 1.4], "ratio_falls", "fails"),
        ([1.2, 1.4, 1.2], "ratio_falls", "undecided"), ([1.4, 1.0, 0.8], "ratio_falls", "undecided"),
        ([1.4, 1.0, 0.8], "ratio_changes", "holds"),
    ],
)  # fmt: skip
def test_a_ratio_that_falls_towards_one(ratio: list[float], check: str, verdict: str) -> None:
    cube = _along([[1.0, 1.0, 1.0], ratio])
    found = CHECKS[check](cube, xr.Dataset(), variable="rcrb_m", axis="design", low="a", high="b", along="size")
    assert found[0] == verdict
    assert f"{ratio[0]:.3f}" in found[1]


def test_a_ratio_without_both_designs_is_undecided() -> None:
    cube = _along([[1.0] * 3, [1.2] * 3])
    found = CHECKS["ratio_falls"](cube, xr.Dataset(), variable="rcrb_m", axis="design", low="a", high="c", along="size")
    assert found[0] == "undecided"


def test_an_error_that_never_rises() -> None:
    cube = _along([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert CHECKS["nonincreasing"](cube, xr.Dataset(), variable="rcrb_m", axis="size")[0] == "holds"
    assert CHECKS["nondecreasing"](cube, xr.Dataset(), variable="rcrb_m", axis="size")[0] == "fails"


@pytest.mark.parametrize(
    ("edges", "verdicts_by_check"),
    [
        ([30.0, 34.0, 38.0], {"edge_increasing": "holds", "edge_decreasing": "fails", "edge_equal": "fails"}),
        ([30.0, 30.0, 38.0], {"edge_increasing": "undecided", "edge_equal": "fails"}),
        ([30.0, 30.0, 30.0], {"edge_equal": "holds", "edge_increasing": "undecided"}),
    ],
)
def test_edges_that_rise_or_stay(edges: list[float], verdicts_by_check: dict[str, str]) -> None:
    surfaces = xr.Dataset({"sinr_db_feasible_edge_mean": ("size", edges)}, {"size": ["1", "2", "4"]})
    for check, verdict in verdicts_by_check.items():
        assert CHECKS[check](xr.Dataset(), surfaces, edge="sinr_db", axis="size")[0] == verdict


def errors_cube(ratio: list[float], margin: list[float], spread: float) -> xr.Dataset:
    """A cube of squared errors beside a bound of one, along a margin, with 9 realisations of a given spread about the ratio."""
    draws = 1.0 + spread * np.linspace(-1.0, 1.0, 9)
    axes = ("length", "realisation")
    data: dict[str, Any] = {
        "status": (axes, np.full((len(ratio), 9), STATUS_CODES["ok"], dtype=np.uint8)),
        "error_m2": (axes, np.array(ratio)[:, np.newaxis] * draws, {"units": "m2"}),
        "bound_m2": (axes, np.ones((len(ratio), 9))),
        "margin_s": (axes, np.array(margin)[:, np.newaxis] * np.ones(9)),
        "share": ((*axes, "user"), np.array(ratio)[:, np.newaxis, np.newaxis] * draws[:, np.newaxis] * np.array([0.9, 1.1])),
    }
    return xr.Dataset(data, {"length": np.arange(len(ratio)), "realisation": np.arange(9)})


@pytest.mark.parametrize(
    ("ratio", "margin", "verdict"),
    [
        ([40.0, 1.01, 0.99], [-1.0, 0.0, 1.0], "holds"),
        ([40.0, 1.2, 1.0], [-1.0, 0.0, 1.0], "fails"),
        ([1.0, 0.8, 1.0], [-1.0, 0.0, 1.0], "fails"),
        ([1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], "undecided"),
    ],
)
def test_an_error_that_attains_its_bound_while_there_is_a_margin(ratio: list[float], margin: list[float], verdict: str) -> None:
    cube = errors_cube(ratio, margin, 0.1)
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired=None)
    names = {"variable": "error_m2", "bound": "bound_m2", "margin": "margin_s", "factor": 1.05}
    found, _, evidence = CHECKS["near_while"](cube, surfaces, **names)
    assert found == verdict
    if ratio[0] == 40.0:
        assert "40 to 40 at the 1 points where it is" in evidence
        # Above the factor within twice, the width of the band decides nothing by itself.
        wide = errors_cube(ratio, margin, 20.0)
        assert CHECKS["near_while"](wide, surfaces, **names)[0] == "fails"


def test_a_mean_between_limits_is_judged_by_its_band_over_realisations() -> None:
    cube = errors_cube([0.4, 0.6], [0.0, 0.0], 0.1)
    surfaces = compute_surfaces(cube, over="realisation", edge=None, paired=None)

    def judge(**limits: float) -> str:
        return CHECKS["mean_within"](cube, surfaces, variable="share", **limits)[0]

    assert judge(low=0.3, high=0.7) == "holds"
    assert judge(high=0.7) == "holds"
    assert judge(low=0.4, high=0.7) == "undecided"
    assert judge(low=0.5, high=0.7) == "fails"
    assert judge(high=0.5) == "fails"
    _, ours, _ = CHECKS["mean_within"](cube, surfaces, variable="error_m2", low=0.0)
    assert ours == "0.4 to 0.6 m2"

"""Claims: verdicts on cubes for which the answer is known by construction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_cube
import numpy as np
import pytest
import xarray as xr
from ruamel.yaml import YAML

from flows.checks import CHECKS, by_cells, find_check
from flows.claims import evaluate_claims, load_claims
from flows.cli import claims
from flows.data_files import data_dir
from flows.derive import labelled, published_claims
from flows.verdicts import count_verdicts, counted
from pipeline.cube import publish_group
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES
from pipeline.memory_store import MemoryStore
from pipeline.surfaces import compute_surfaces

FIELDS = {
    "id", "paper", "figure", "studies", "whose", "statement", "source", "reading", "ours", "verdict", "reason", "evidence",
}  # fmt: skip


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
    told = [{key: value for key, value in row.items() if key != "reason" or value} for row in rows.values()]
    assert all(set(row) == FIELDS for row in rows.values())
    assert all(isinstance(v, str) and v for row in told for v in row.values())
    assert json.loads(json.dumps(list(rows.values()))) == list(rows.values())
    # The unconstrained design is planned for one user alone.
    assert {name: row["verdict"] for name, row in rows.items() if row["verdict"] != "holds"} == {
        "beamforming-extraction-exact": "fails", "fig5-printed-power": "fails", "fig5-worse-at-low-sinr": "fails",
        "fig5-gap-orthogonal-stays": "undecided",
    }  # fmt: skip
    assert "95 % band" in rows["orthogonal-beats-beamforming"]["evidence"]
    assert "1.28" in rows["orthogonal-beats-beamforming"]["ours"]


def test_a_paper_names_all_its_claims() -> None:
    cube = fake_cube.quick_cube()
    every, quick = judged(cube, "ofdm"), judged(cube, "quick")
    assert quick.items() <= every.items()
    others = [row for name, row in every.items() if name not in quick]
    assert {"Fig. 4(a)", "Fig. 4(b)", "Fig. 6", "Fig. 7", "Fig. 8", "Fig. 9"} <= {row["figure"] for row in others}
    assert judged(cube, "no-such-study") == {}


def test_every_file_of_claims_is_valid_and_names_studies_that_there_are() -> None:
    files = [load_claims(file) for file in sorted((data_dir() / "claims").glob("*.yaml"))]
    assert files
    identities = [claim.id for file in files for claim in file.claims]
    assert len(identities) == len(set(identities))
    studies = {path.stem for path in (data_dir() / "studies").glob("*.yaml")}
    assert {study for file in files for study in file.studies} <= studies


def test_a_statement_of_the_paper_names_its_place_and_one_of_ours_says_so() -> None:
    for file in sorted((data_dir() / "claims").glob("*.yaml")):
        for claim in load_claims(file).claims:
            assert claim.source.startswith("ours") == (claim.whose == "ours"), claim.id
            assert claim.whose == "ours" or claim.source[:3] in {"000", "001", "002", "004"}, claim.id


def test_the_count_tells_the_papers_statements_from_ours() -> None:
    rows = [
        {"whose": whose, "verdict": verdict}
        for whose, verdict in [("paper", "holds"), ("paper", "holds"), ("paper", "fails"), ("ours", "undecided")]
    ]
    assert count_verdicts(rows) == {
        "paper": {"holds": 2, "fails": 1, "undecided": 0}, "ours": {"holds": 0, "fails": 0, "undecided": 1},
    }  # fmt: skip
    assert counted(rows) == (
        "Checked here, the paper's statements: 2 hold, 1 fail, 0 undecided; ours: 0 hold, 0 fail, 1 undecided."
    )
    assert counted(rows[-1:]) == "Checked here, ours: 0 hold, 0 fail, 1 undecided."
    assert counted([]) == ""


GOOD = """paper: ofdm
figure: f
studies: [made]
claims:
  - id: one
    whose: paper
    statement: s
    source: 002, section V
    reading: r
    check: lower
    with: {variable: rcrb_m, axis: design, low: a, high: b}
"""


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        ("    whose: paper\n", "", r"claim 'one': whose: field required"),
        ("whose: paper", "whose: papers", r"claim 'one': whose: .*did you mean 'paper'"),
        ("reading: r", "readings: r", r"claim 'one': readings: not known \(did you mean 'reading'"),
        ("    reading: r", "    reading: r\n    reasons: x", r"reasons: not known \(did you mean 'reason'\?\); accepted: id,"),
        ("check: lower", "check: lowr", r"'lowr' is not known \(did you mean 'lower'\?\)"),
        ("low: a", "lo: a", r"with.lo is no argument of 'lower' \(did you mean 'low'\?\)"),
        ("low: a, high: b", "low: a", r"'lower' needs high too"),
        ("studies:", "study:", r"study: not known \(did you mean 'studies'\?\); accepted: paper, figure, studies, claims"),
        ("studies: [made]\n", "", r"studies: field required"),
        (GOOD, "- one\n- two", r"input should be a valid dictionary"),
        ("[made]", "[made", r"no valid YAML"),
        ("check: lower", "check: nondecreasing", r"with.low is no argument of 'nondecreasing'; accepted: variable, axis,"),
    ],
)
def test_what_is_wrong_in_a_file_of_claims_is_said_with_its_place(tmp_path: Path, wrong: str, right: str, words: str) -> None:
    file = tmp_path / "made.yaml"
    file.write_text(GOOD, encoding="utf-8")
    assert load_claims(file).claims[0].whose == "paper"
    assert wrong in GOOD
    file.write_text(GOOD.replace(wrong, right), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"(?s)made\.yaml: .*{words}"):
        load_claims(file)


def test_an_identity_may_not_stand_twice_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "made.yaml"
    file.write_text(GOOD + GOOD[GOOD.index("  - id") :], encoding="utf-8")
    with pytest.raises(UsageError, match="claim 'one' is written twice"):
        load_claims(file)


@pytest.mark.parametrize("design", ["unconstrained-tight", "beamforming"])
def test_a_study_without_a_design_leaves_its_claims_undecided(design: str) -> None:
    cube = fake_cube.quick_cube()
    before, rows = judged(cube), judged(cube.sel(design=[d for d in fake_cube.DESIGNS if d != design]))
    told = [row for name, row in rows.items() if row["verdict"] == "undecided" != before[name]["verdict"]]
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
    assert "1 contradict" in row["evidence"]


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
    # Of the one design that this is about no cell is missing.
    assert rows.pop("fig5-kept-phases-attain-the-bound")["verdict"] == "holds"
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
    walked = cube.assign(walk=cube["rcrb_m"] * xr.DataArray([3.0, 1.0, 2.0], dims="step", coords={"step": [0, 1, 2]}))
    assert CHECKS["nondecreasing"](walked, xr.Dataset(), variable="walk", axis="step")[0] == "fails"
    assert CHECKS["nondecreasing"](walked, xr.Dataset(), variable="walk", axis="step", start=1)[0] == "holds"
    assert CHECKS["nondecreasing"](walked, xr.Dataset(), variable="walk", axis="step", start=2)[0] == "undecided"


def test_an_error_that_never_rises_in_the_mean() -> None:
    """One of 9 realisations rises: the mean falls all the same, unless the rise is larger than what the others fall by."""
    values = np.array([3.0, 2.0, 1.0])[:, np.newaxis] * (1 + 0.01 * np.arange(9))
    dims = ("size", "realisation")
    status = np.full(values.shape, STATUS_CODES["ok"], dtype=np.uint8)
    cube = xr.Dataset({"status": (dims, status), "error": (dims, values)}, {"size": [1, 2, 3], "realisation": range(9)})
    surfaces = xr.Dataset(attrs={"over": "realisation"})
    arguments = {"variable": "error", "axis": "size"}

    def judge(check: str) -> tuple[str, str]:
        every, mean = (CHECKS[check](cube, surfaces, **arguments, averaged=averaged)[0] for averaged in (False, True))
        return every, mean

    assert judge("nonincreasing") == ("holds", "holds")
    assert judge("nondecreasing") == ("fails", "fails")
    cube["error"].values[1, 0] = 4.0
    assert judge("nonincreasing") == ("fails", "holds")
    cube["error"].values[1, 0] = 40.0
    assert judge("nonincreasing") == ("fails", "undecided")
    # A realisation that is feasible at one end alone does not enter the step.
    cube["status"].values[1, 0] = STATUS_CODES["infeasible"]
    assert judge("nonincreasing") == ("holds", "holds")
    assert CHECKS["nonincreasing"](cube, xr.Dataset(), **arguments, averaged=True)[0] == "undecided"


@pytest.mark.parametrize(
    ("edges", "verdicts_by_check"),
    [
        ([30.0, 34.0, 38.0], {"edge_increasing": "holds", "edge_decreasing": "fails", "edge_equal": "fails"}),
        ([30.0, 30.0, 38.0], {"edge_increasing": "undecided", "edge_equal": "fails"}),
        ([30.0, 30.0, 30.0], {"edge_equal": "holds", "edge_increasing": "undecided"}),
    ],
)
def test_edges_that_rise_or_stay(edges: list[float], verdicts_by_check: dict[str, str]) -> None:
    labels = {"size": ["1", "2", "4"], "statistic": ["mean_feasible"]}
    surfaces = xr.Dataset({"sinr_db_feasible_edge": (("size", "statistic"), np.array(edges)[:, np.newaxis])}, labels)
    for check, verdict in verdicts_by_check.items():
        assert CHECKS[check](xr.Dataset(), surfaces, edge="sinr_db", axis="size")[0] == verdict


def test_a_claim_about_a_part_of_the_cube_sees_that_part_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A low error at 25 dB breaks the trade-off, unless the claim is about other values; its reason is told."""
    rows = {
        "everywhere": {}, "below": {"where": {"sinr_db": {"max": 20.0}}}, "two": {"where": {"sinr_db": [25.0, 28.0]}},
        "one": {"where": {"sinr_db": 25.0}}, "nothing": {"where": {"sinr_db": 7.0}}, "no-axis": {"where": {"antennas": 4}},
        "reasoned": {"reason": "since it is so"},
    }  # fmt: skip
    claims = [
        {"id": name, "whose": "paper", "statement": "s", "source": "o", "reading": "r", "check": "nondecreasing"} | more
        | {"with": {"variable": "rcrb_m", "axis": "sinr_db"}}
        for name, more in rows.items()
    ]  # fmt: skip
    (tmp_path / "claims").mkdir()
    with (tmp_path / "claims" / "made.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"paper": "ofdm", "figure": "f", "studies": ["made"], "claims": claims}, file)
    monkeypatch.setattr("flows.claims.data_dir", lambda: tmp_path)
    found = judged(changed(fake_cube.quick_cube(), "rcrb_m", {"sinr_db": 25.0}, 0.5), "made")
    assert {name: row["verdict"] for name, row in found.items()} == {
        "everywhere": "fails", "below": "holds", "two": "holds", "one": "undecided", "nothing": "undecided",
        "no-axis": "undecided", "reasoned": "fails",
    }  # fmt: skip
    assert found["reasoned"]["reason"] == "since it is so"
    assert found["everywhere"]["reason"] == ""
    assert "sinr_db 7.0" in found["nothing"]["evidence"]
    assert "no axis antennas" in found["no-axis"]["evidence"]
    assert found["below"]["studies"] == "made"


def test_the_largest_planned_value_of_an_axis_is_taken_at_each_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    """Subcarriers 16 are planned at both bandwidths, 64 at the wide one alone: there the ratio is one, elsewhere 1.4."""
    status = np.full((2, 2, 2, 3), STATUS_CODES["not_planned"], dtype=np.uint8)
    status[:, :, 0] = status[:, 1, 1] = STATUS_CODES["ok"]
    rcrb = np.ones((2, 2, 2, 3))
    rcrb[1, :, 0], rcrb[1, 1, 1] = 1.4, 1.05
    rcrb += 1e-4 * np.arange(3)
    dims = ("design", "bandwidth_hz", "subcarriers", "realisation")
    cube = xr.Dataset(
        {"status": (dims, status), "rcrb_m": (dims, rcrb)},
        {"design": ["a", "b"], "bandwidth_hz": [1e6, 1e8], "subcarriers": [16, 64], "realisation": range(3)},
    )
    arguments = {"variable": "rcrb_m", "axis": "design", "low": "a", "high": "b", "along": "bandwidth_hz"}
    base = {"whose": "ours", "statement": "s", "source": "o", "reading": "r", "check": "ratio_falls", "with": arguments}
    claims = [
        base | {"id": "fixed", "where": {"subcarriers": 16}}, base | {"id": "grown", "where": {"subcarriers": "largest"}}
    ]  # fmt: skip
    (tmp_path / "claims").mkdir()
    with (tmp_path / "claims" / "made.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"paper": "ofdm", "figure": "f", "studies": ["made"], "claims": claims}, file)
    monkeypatch.setattr("flows.claims.data_dir", lambda: tmp_path)
    found = {row["id"]: row for row in evaluate_claims("made", cube, xr.Dataset())}
    assert found["fixed"]["ours"] == "b / a = 1.400, 1.400"
    assert found["fixed"]["verdict"] == "undecided"
    assert found["grown"]["ours"] == "b / a = 1.400, 1.050"
    assert found["grown"]["verdict"] == "holds"


def test_decibels_are_compared_as_powers() -> None:
    cube = _along([[-13.0, -13.0, -13.0], [-10.0, -10.0, -10.0]])
    cube["rcrb_m"].attrs["units"] = "dB"
    found = CHECKS["lower"](cube, xr.Dataset(), variable="rcrb_m", axis="design", low="a", high="b")
    assert found[0] == "holds"
    assert "1.9" in found[1]
    turned = CHECKS["lower"](cube, xr.Dataset(), variable="rcrb_m", axis="design", low="b", high="a")
    assert turned[0] == "fails"


def test_an_order_between_equals_fails() -> None:
    cube = _along([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    arguments = {"variable": "rcrb_m", "axis": "design", "low": "a", "high": "b"}
    assert CHECKS["lower"](cube, xr.Dataset(), **arguments)[0] == "fails"
    assert CHECKS["lower"](cube.isel(realisation=[0]), xr.Dataset(), **arguments)[0] == "undecided"


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "fails"), (1.15, "fails"), (1.25, "holds")])
def test_a_loss_of_at_most_a_factor(factor: float, verdict: str) -> None:
    cube = _along([[1.0, 1.1, 1.2], [1.0, 1.0, 1.0]])
    arguments = {"variable": "rcrb_m", "axis": "design", "low": "a", "high": "b"}
    assert CHECKS["never_above"](cube, xr.Dataset(), **arguments, factor=factor)[0] == verdict


@pytest.mark.parametrize(
    ("ratio", "tolerance", "verdict"),
    [([1.2, 1.5, 1.22], 0.1, "holds"), ([1.2, 1.2, 1.5], 0.1, "fails"), ([1.5, 1.2, 1.2], 0.1, "fails")],
)
def test_a_gap_that_stays(ratio: list[float], tolerance: float, verdict: str) -> None:
    cube = _along([[1.0, 1.0, 1.0], ratio])
    found = CHECKS["ratio_stays"](
        cube, xr.Dataset(), variable="rcrb_m", axis="design", low="a", high="b", along="size", tolerance=tolerance
    )  # fmt: skip
    assert found[0] == verdict
    assert f"{ratio[-1] / ratio[0]:.3f}" in found[1]


def test_a_gap_that_scatters_more_than_the_tolerance_is_undecided() -> None:
    cube = _along([[1.0, 1.0, 1.0], [1.2, 1.2, 1.2]])
    cube["rcrb_m"].values[1, 2] *= [0.8, 1.2, 0.9, 1.15]
    arguments = {"variable": "rcrb_m", "axis": "design", "low": "a", "high": "b", "along": "size"}
    assert CHECKS["ratio_stays"](cube, xr.Dataset(), **arguments, tolerance=0.1)[0] == "undecided"
    assert CHECKS["ratio_stays"](cube.isel(realisation=[0]), xr.Dataset(), **arguments, tolerance=0.1)[0] == "undecided"


def test_within_limits_everywhere_or_it_says_where_not() -> None:
    cube = _along([[1.0, 2.0, 3.0], [1.0, 2.0, 9.0]])
    cube["half"] = cube["rcrb_m"] / 2
    within = CHECKS["within"]
    assert within(cube, xr.Dataset(), variable="rcrb_m", high=10.0)[0] == "holds"
    broken = within(cube, xr.Dataset(), variable="rcrb_m", high=5.0, along="size")
    assert broken[0] == "fails"
    assert "20 of 24 cells" in broken[2]
    assert broken[2].endswith("broken at size 16")
    assert within(cube, xr.Dataset(), variable="rcrb_m", low=1.5)[0] == "fails"
    assert within(cube, xr.Dataset(), variable="rcrb_m", relative_to="half", low=2.0 - 1e-9, high=2.0 + 1e-9)[0] == "holds"
    assert within(cube, xr.Dataset(), variable="half", relative_to="rcrb_m", low=0.6)[0] == "fails"
    cube["half"].values[0, 0, 0] = np.nan
    assert within(cube, xr.Dataset(), variable="half", high=10.0)[0] == "undecided"
    assert within(cube, xr.Dataset(), variable="half", high=1.0)[0] == "fails"
    cube["half"].values[0, 0, 1] = np.inf
    assert within(cube, xr.Dataset(), variable="half", high=10.0)[0] == "fails"


@pytest.mark.parametrize(
    ("law", "verdict"),
    [
        (lambda n: 1 / (0.3 + np.log(n)) ** 2, "holds"),
        (lambda n: n**-1.1, "fails"),
        (lambda n: 1 / (1 + n), "fails"),
        (lambda n: n**-0.05, "undecided"),
    ],
)
def test_a_logarithmic_law_is_told_from_a_power(law: Any, verdict: str) -> None:
    nodes = np.array([2, 4, 8, 12, 16])
    values = law(nodes)[:, np.newaxis] * np.array([1.0, 1.5])
    dims = ("nodes", "place")
    status = np.full(values.shape, STATUS_CODES["ok"], dtype=np.uint8)
    cube = xr.Dataset({"status": (dims, status), "crb": (dims, values)}, {"nodes": [str(n) for n in nodes], "place": [0, 1]})
    found = CHECKS["logarithmic"](cube, xr.Dataset(), variable="crb", along="nodes", power=2.0, tolerance=0.05)
    assert found[0] == verdict, found
    noisy = cube.copy(deep=True)
    noisy["crb"].values *= np.array([1.0, 1.2, 0.8, 1.1, 1.0])[:, np.newaxis]
    assert CHECKS["logarithmic"](noisy, xr.Dataset(), variable="crb", along="nodes", power=2.0, tolerance=0.02)[0] != "holds"
    few = cube.isel(nodes=[0, 1, 2])
    assert CHECKS["logarithmic"](few, xr.Dataset(), variable="crb", along="nodes", power=2.0, tolerance=0.02)[0] == "undecided"


def test_what_is_quoted_is_not_judged_but_shown() -> None:
    cube = _along([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    verdict, ours, evidence = CHECKS["quoted"](
        cube, xr.Dataset(), because="other hardware", variable="rcrb_m", axis="size"
    )  # fmt: skip
    assert (verdict, evidence) == ("undecided", "other hardware")
    assert ours.startswith("1, 2.01, 3.01")
    assert CHECKS["quoted"](cube, xr.Dataset(), because="no text")[1] == "-"


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
        assert "40 to 40 at the 1 points where it is negative" in evidence
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


def _published(rows: list[dict[str, Any]]) -> MemoryStore:
    """A store with surfaces of the quick study that carry these claims."""
    store = MemoryStore()
    surfaces = xr.Dataset({"n": ("x", [1])}, attrs={"over": "", "edge": "", "paired": "", "claims": json.dumps(rows)})
    publish_group(store, "surfaces/quick/", "k" * 32, labelled(surfaces), surfaces.attrs)
    return store


def test_the_command_shows_whose_statements_hold_and_counts_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    rows = list(judged(fake_cube.quick_cube()).values())
    store = _published(rows)
    run = SimpleNamespace(store=store, study=SimpleNamespace(name="quick"))
    monkeypatch.setattr("flows.run.Run", lambda *_: run)
    claims("quick", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["count"] == count_verdicts(rows)
    assert [(row["id"], row["whose"]) for row in told["claims"]] == [(row["id"], row["whose"]) for row in rows]
    claims("quick")
    shown = capsys.readouterr().out
    assert counted(rows) in " ".join(shown.split())
    assert "whose" in shown


def test_claims_of_an_earlier_version_ask_for_a_new_report() -> None:
    rows = [{k: v for k, v in row.items() if k != "whose"} for row in judged(fake_cube.quick_cube()).values()]
    with pytest.raises(UsageError, match=r"earlier version: run `disac report quick`"):
        published_claims(_published(rows), "quick")


class Doubles:
    """A check of another field: the second variable is twice the first."""

    variables = ("yield_kg", "level")

    def judge(self, values: Mapping[str, np.ndarray[Any, Any]], *, factor: float = 2.0) -> tuple[str, str, str]:
        right = values["yield_kg"] == factor * values["level"]
        return ("holds" if right.all() else "fails"), f"{right.size} cells", ""


def test_an_installed_check_receives_the_feasible_cells_as_plain_arrays() -> None:
    ok, infeasible = STATUS_CODES["ok"], STATUS_CODES["infeasible"]
    cube = xr.Dataset(
        {
            "status": (("level", "draw"), np.array([[ok, ok], [infeasible, ok]], dtype=np.uint8)),
            "yield_kg": (("level", "draw"), np.array([[2.0, 2.0], [9.0, 4.0]])),
        },
        {"level": [1.0, 2.0], "draw": [0, 1]},
    )
    assert by_cells(Doubles(), cube, xr.Dataset()) == ("holds", "3 cells", "")
    assert by_cells(Doubles(), cube, xr.Dataset(), factor=3.0) == ("fails", "3 cells", "")
    assert by_cells(Doubles(), cube, xr.Dataset(), axis="draw", value=0) == ("holds", "1 cells", "")
    assert by_cells(Doubles(), cube, xr.Dataset(), axis="draw", value=7)[::2] == ("undecided", "the study lacks 7")
    told = by_cells(Doubles(), cube.drop_vars("yield_kg"), xr.Dataset())
    assert told[::2] == ("undecided", "the study keeps no yield_kg")


def test_a_check_that_is_not_installed_is_named_with_the_near_miss() -> None:
    with pytest.raises(UsageError, match=r"no check 'lowr' is installed.*'lower'"):
        find_check("lowr")

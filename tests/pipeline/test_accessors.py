"""What a person asks of an open store and of its cubes: ``tree.disac`` and ``cube.disac``."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from toy_study import TOY_STUDY

import pipeline
from pipeline import analysis
from pipeline.account import account, account_lines
from pipeline.address import find_cell
from pipeline.asking import ask
from pipeline.cube import publish_cube, publish_group
from pipeline.errors import UsageError
from pipeline.plan import Plan, make_plan, refreshed
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.surfaces import compute_surfaces
from pipeline.sweep import Sweep
from pipeline.zarrio import Labelled

DESIGNS = ("size.count: [1, 2]", "size.count: [1, 2]\n      design: {path: options.method, values: [plain, fancy]}")
PART = TOY_STUDY.replace(*DESIGNS).replace('"0:40:10"', "[0, 13, 20, 30]").replace("axes:", "where: {count: 2}\n    axes:")
AXES = PART.partition("axes:")[2].partition("\nsurfaces")[0].replace("[0, 13, 20, 30]", "[0, 13, 20, 25, 30]")
WHOLE = PART.replace("\nsurfaces", f"\n  - where: {{level: [0, 25], realisation: [0, 2]}}\n    axes:{AXES}\nsurfaces")
"""The second grid plans cells that are not computed, and not every cell of the cube."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The plan of a published cube with cells of every status: a level that is missing, a count that is not planned."""
    store = LocalStore(tmp_path_factory.mktemp("accessors"))
    with ThreadPoolExecutor(1) as pool:
        Sweep(make_plan(load_study(PART), store), store, pool, lambda: 1).run()
    plan = make_plan(load_study(WHOLE), store)
    publish_cube(plan, store)
    return plan


@pytest.fixture(scope="module")
def tree(plan: Plan) -> xr.DataTree:
    return pipeline.open_store(plan.ledger.store.location())


@pytest.fixture(scope="module")
def cube(tree: xr.DataTree) -> xr.Dataset:
    return tree["toy-study/cube"].to_dataset()


def test_a_tree_names_its_studies_and_is_lazy(tree: xr.DataTree, cube: xr.Dataset) -> None:
    assert tree.disac.studies() == ["toy-study"]
    assert not cube["error_m"].variable._in_memory
    assert type(tree["toy-study/cube"].disac) is type(cube.disac)


def test_a_tree_without_a_store_says_so(cube: xr.Dataset) -> None:
    alone = xr.DataTree.from_dict({"/a/cube": cube})
    assert alone.disac.studies() == ["a"]
    with pytest.raises(UsageError, match="which store"):
        alone.disac.detail("00")


def test_statuses_are_words_with_counts(cube: xr.Dataset) -> None:
    codes, counts = np.unique(cube["status"].values, return_counts=True)
    assert codes.tolist() == [0, 1, 2, 4, 5]
    status = cube.disac.status()
    assert status.index.tolist() == ["missing", "not_planned", "ok", "infeasible", "failed"]
    assert status.tolist() == counts.tolist()
    frame = cube.disac.status("design", "level")
    assert frame.sum().to_dict() == status.to_dict()
    for design in ("plain", "fancy"):
        for level in cube["level"].values:
            here = cube["status"].sel(design=design, level=level).values
            assert frame.loc[(design, level), "ok"] == (here == 2).sum()
    with pytest.raises(UsageError, match="did you mean 'design'"):
        cube.disac.status("desing")


def test_the_mask_of_feasible_cells_keeps_the_axes(cube: xr.Dataset) -> None:
    mask = cube.disac.feasible()
    assert mask.dims == cube["status"].dims
    assert (mask.values == np.isin(cube["status"].values, [2, 3])).all()
    assert int(cube["error_m"].where(mask).count()) == int(mask.sum())


CELLS = {
    "ok": {"level": 20, "count": 2, "design": "fancy", "realisation": 1},
    "infeasible": {"level": 30, "count": 2, "design": "plain", "realisation": 0},
    "failed": {"level": 13, "count": 2, "design": "plain", "realisation": 2},
    "missing": {"level": 25, "count": 2, "design": "plain", "realisation": 2},
}


@pytest.mark.parametrize("status", CELLS)
def test_why_is_the_account_of_the_command(plan: Plan, cube: xr.Dataset, tree: xr.DataTree, status: str) -> None:
    number = find_cell(plan, [f"{name}={value}" for name, value in CELLS[status].items()])
    expected = account(plan, number)
    assert expected["status"] == status
    assert cube.disac.why(**CELLS[status]) == expected
    assert repr(cube.disac.why(**CELLS[status])) == "\n".join(account_lines(expected))
    part = tree["toy-study/cube"].sel(design=[CELLS[status]["design"]]).isel(design=0)
    assert part.disac.why(**{name: value for name, value in CELLS[status].items() if name != "design"}) == expected
    cell = cube.disac.cell(**CELLS[status])
    assert (cell.status, cell.key, dict(cell.coordinates)) == (status, plan.keys[number].tobytes().hex(), CELLS[status])


def test_a_cell_has_its_values_without_padding(plan: Plan, cube: xr.Dataset, tree: xr.DataTree) -> None:
    cell = cube.disac.cell(**CELLS["ok"])
    at = cube.sel(CELLS["ok"])
    assert cell.values["error_m"] == at["error_m"].values.item()
    assert cell.values["profile"].tolist() == [0.0, 1.0]
    assert cube.disac.cell(level=0, count=1, design="plain", realisation=0).status == "missing"
    assert {"status", "message", "n_tap"}.isdisjoint(cell.values)
    assert cell.units == {"error_m": "m", "solve_seconds": "s"}
    assert tree.disac.detail(cell.key)["samples"].shape == (3,)
    assert cube.disac.cell(**CELLS["infeasible"]).message == "The level is out of reach."
    assert "error_m" in repr(cell)
    assert "design=plain realisation=0: infeasible. The level is out of reach" in repr(cube.disac.cell(**CELLS["infeasible"]))


def test_questions_that_name_no_cell_are_answered_with_a_way_out(cube: xr.Dataset) -> None:
    for named, sentence in (
        ({"level": 20}, "give a value of count, design, realisation, too"),
        (CELLS["ok"] | {"level": 21}, r"21 is not a value of 'level'.*0.0, 13.0"),
        (CELLS["ok"] | {"design": "plian"}, "did you mean 'plain'"),
        (CELLS["ok"] | {"levle": 20}, "did you mean 'level'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            cube.disac.cell(**named)
    with pytest.raises(UsageError, match="does not plan this cell"):
        cube.disac.why(level=20, count=1, design="plain", realisation=0)
    assert cube.disac.cell(level=20, count=1, design="plain", realisation=0).status == "not_planned"
    with pytest.raises(UsageError, match="does not say from which store"):
        cube.where(cube["level"] > 0).disac.why(**CELLS["ok"])
    with pytest.raises(UsageError, match="an earlier version"):
        cube.assign_attrs(study_text="").disac.why(**CELLS["ok"])
    with pytest.raises(UsageError, match="no 'status'"):
        cube[["error_m"]].disac.feasible()


def test_why_of_a_study_with_overrides_and_a_coupled_axis(tmp_path: Path) -> None:
    text = TOY_STUDY.replace(
        "size.count: [1, 2]",
        "size: {entries: [{label: s\U0001f600, set: {size.count: 1, draw.seed: 1}}, "
        "{label: l, set: {size.count: 3, draw.seed: 4}}]}",
    ).replace('"0:2:1"', "[0]")
    store = LocalStore(tmp_path)
    plan = make_plan(load_study(text, overrides=["axes.level=[0.1, 0.3]", "signal.shape=round"]), store)
    with ThreadPoolExecutor(1) as pool:
        Sweep(plan, store, pool, lambda: 1).run()
    plan = refreshed(plan, store)
    publish_cube(plan, store)
    cube = pipeline.open_store(tmp_path)["toy-study/cube"]
    for label in ("s\U0001f600", "l"):
        number = find_cell(plan, ["level=0.3", f"size={label}"])
        assert cube.disac.why(level=0.3, size=label) == account(plan, number)
    assert cube.sel(size="l").disac.cell(level=0.3).values["steps"] == 3


def test_the_table_is_tidy_and_has_units(cube: xr.Dataset) -> None:
    frame = cube.disac.to_dataframe()
    assert len(frame) == int(cube.disac.feasible().sum())
    assert frame.attrs["units"] == {"error_m": "m", "solve_seconds": "s"} | (
        {"level": cube["level"].attrs["units"]} if cube["level"].attrs["units"] != "1" else {}
    )
    assert frame["error_m"].attrs["units"]["error_m"] == "m"
    assert {"level", "count", "design", "realisation", "error_m", "gain_real", "status"} <= set(frame.columns)
    mean = frame[frame["level"] == 20].groupby("design")["error_m"].mean()
    expected = cube["error_m"].where(cube.disac.feasible()).sel(level=20).mean(["count", "realisation"])
    np.testing.assert_allclose(mean[["plain", "fancy"]], expected.sel(design=["plain", "fancy"]))
    part = cube.sel(design="fancy").disac.to_dataframe()
    pd.testing.assert_frame_equal(
        part[frame.columns.tolist()], frame[frame["design"] == "fancy"].reset_index(drop=True), check_like=True
    )
    surfaces = compute_surfaces(cube.load(), over="realisation", edge=None, paired=None)
    assert {"level", "count", "design"} <= set(surfaces.disac.to_dataframe().columns)


def test_a_cube_is_told_in_a_few_lines(cube: xr.Dataset, tree: xr.DataTree) -> None:
    text = repr(cube.disac)
    assert text.splitlines()[0] == "toy-study: A toy"
    for words in ("experiment   toy", "ok 12", "failed 6", "0, 13, 20, 25, 30 dB", "plain, fancy", "error_m"):
        assert words in text, words
    assert text.count("\n") < 30
    assert "at           design fancy" in repr(cube.sel(design="fancy").disac)
    page = cube.disac._repr_html_()
    assert re.sub(r"<[^>]*>", "", page).count("error_m") == 1
    assert "http" not in page
    assert "toy-study" in repr(tree.disac)
    assert "toy-study" in tree.disac._repr_html_()


def test_the_worst_certificate_is_told_by_status(tmp_path: Path) -> None:
    gaps = {"status": np.array([2, 2, 3, 4], dtype=np.uint8), "relative_gap": np.array([1e-9, -2e-8, 1e-3, 5.0])}
    arrays = {name: Labelled(("x",), data) for name, data in gaps.items()} | {"x": Labelled(("x",), np.arange(4.0))}
    publish_group(LocalStore(tmp_path), "cubes/s/", "k", arrays, {"study": "s"})
    text = repr(pipeline.open_store(tmp_path)["s/cube"].disac)
    assert "worst of ok: relative_gap 2.0e-08; worst of inaccurate: relative_gap 1.0e-03" in text


def test_texts_of_a_cube_reach_neither_terminal_nor_page(cube: xr.Dataset) -> None:
    bad = cube.assign_attrs(title="\x1b[2J<script>", study="\u202e")
    assert not set(repr(bad.disac)) & set("\x1b\u202e")
    assert "<script" not in bad.disac._repr_html_()


def test_a_plot_shows_means_of_feasible_cells(cube: xr.Dataset) -> None:
    with mpl.rc_context({"backend": "agg"}):
        ax = cube.disac.plot("error_m", count=2)
        assert [line.get_label() for line in ax.lines] == ["plain", "fancy"]
        expected = cube["error_m"].where(cube.disac.feasible()).sel(count=2, design="fancy").mean("realisation")
        np.testing.assert_allclose(ax.lines[1].get_ydata(), expected)
        assert ax.get_ylabel() == "error (m), mean of feasible cells"
        same = cube.disac.plot("error_m", x="design", colour="count", level=20, ax=ax.figure.add_subplot())
        assert all(line.get_linestyle() == "None" for line in same.lines), "a line joins no texts"
        for arguments, sentence in (
            ({}, "give a label of count, design"),
            ({"count": 2, "x": "levle"}, "did you mean 'level'"),
            ({"count": 3}, "3 is not"),
        ):
            with pytest.raises(UsageError, match=sentence):
                cube.disac.plot("error_m", **arguments)
        with pytest.raises(UsageError, match="did you mean 'error_m'"):
            cube.disac.plot("eror_m")


def test_questions_are_those_of_the_analysis(cube: xr.Dataset, tree: xr.DataTree) -> None:
    node = tree["toy-study/cube"].disac
    pairs = [
        (node.edge("level", toward="higher"), analysis.feasibility_edge(cube, "level", toward="higher")),
        (node.exchange("error_m", "level", "count", logarithmic=True),
         analysis.exchange_rate(cube, "error_m", "level", "count", logarithmic=True)),
        (node.worth("error_m", "count"), analysis.worth_of_one_more(cube, "error_m", "count")),
        (node.best("error_m", "design", "max"), analysis.best_value(cube, "error_m", "design", "max")),
        (node.pareto({"error_m": "min", "level": "max"}), analysis.nondominated(cube, {"error_m": "min", "level": "max"})),
    ]  # fmt: skip
    for ours, expected in pairs:
        xr.testing.assert_identical(ours, expected)
    wish = "error_m <= 3 m in 50 % of realisations"
    assert node.ask(wish, minimise="level").rows == ask(cube, wish, minimise="level").rows


def test_the_study_of_a_cube_is_stored_without_its_report(cube: xr.Dataset) -> None:
    stored = json.loads(cube.attrs["study_text"])
    assert stored["study"] == "toy-study"
    assert {"surfaces", "report"}.isdisjoint(stored)

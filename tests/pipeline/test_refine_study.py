"""A refinement of a study: cells in the ledger, the derived study, repetition after an end, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import toy
import xarray as xr

from pipeline.cube import build_cube, publish_cube
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES
from pipeline.layout import refined_study
from pipeline.plan import Plan, make_plan
from pipeline.refining import (
    Goal,
    NoisyError,
    Refinement,
    Round,
    Step,
    StudyLattice,
    Tolerance,
    derived_study,
    metric_of,
    open_refined,
    refine_study,
    study_lattice,
)
from pipeline.store import LocalStore, Store
from pipeline.study import Study, load_study
from pipeline.sweep import Sweep

TEXT = """\
study: toy-study
experiment: toy
grids:
  - axes:
      level: {path: signal.level_db, values: "0:40:10"}
      shape: {path: signal.shape, values: [round, flat]}
      count: {path: size.count, values: [1, 2]}
      realisation: {path: draw.realisation, values: "0:2:1"}
surfaces: {over: realisation, edge: level}
"""


def load(more: Sequence[str], text: str = TEXT) -> Study:
    return load_study(text, overrides=more)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    toy.COUNTED.clear()
    return LocalStore(tmp_path / "results")


def sweeper(store: Store) -> Callable[[Plan], None]:
    def sweep(plan: Plan) -> None:
        with ThreadPoolExecutor(2) as pool:
            Sweep(plan, store, pool, lambda: 2).run()

    return sweep


def refined(
    store: Store, tolerance: float = 0.02, on_round: Callable[[Round], None] = lambda one: None, **named: object
) -> Refinement:  # fmt: skip
    lattice = study_lattice(load, **named)  # type: ignore[arg-type]
    metric = metric_of(lattice.base.study, "error_m")
    return refine_study(lattice, metric, Goal(Tolerance(tolerance)), store, sweeper(store), on_round)


def test_the_axes_are_the_numeric_ones_with_points_between() -> None:
    lattice = study_lattice(load)
    assert [axis.name for axis in lattice.axes] == ["level"]
    assert (lattice.shape, lattice.draws, len(lattice.slices)) == ((65,), 3, 4)
    assert lattice.axes[0].labels[1] == 0.625


def test_the_cells_agree_with_the_dense_study_and_their_keys_are_shared(store: Store) -> None:
    found = refined(store)
    cells = found.refined.cells
    dense = make_plan(load(["axes.level=" + str(list(found.lattice.axes[0].labels))]), store)
    assert len(dense.todo) == len(dense.keys) - cells
    assert len(make_plan(load(()), store).todo) == 0  # the study's own values are points of the lattice
    sweeper(store)(dense)
    arrays, _ = build_cube(make_plan(load(["axes.level=" + str(list(found.lattice.axes[0].labels))]), store))
    data = found.dataset()
    assert data["error_m"].dims == arrays["error_m"].dims
    assert (data["status"].values == arrays["status"].data).all()
    truth = xr.DataArray(arrays["error_m"].data, data["error_m"].coords, data["error_m"].dims)
    mean, told = truth.mean("realisation"), data["error_m_mean_feasible"]
    assert float((abs(told - mean) / mean).max()) <= 0.02
    computed = data["computed"].values == 1
    assert computed.sum() == cells
    np.testing.assert_array_equal(data["error_m"].values[computed], arrays["error_m"].data[computed])
    assert 0 < float(data["computed_share"].mean()) < 1


def test_the_derived_study_plans_exactly_the_cells_that_were_asked_for(store: Store) -> None:
    found = refined(store)
    file = store.path(found.publish(store))
    assert file is not None
    plan = make_plan(load_study(file), store)
    assert plan.study.name == "toy-study-refined"
    assert (len(plan.keys), len(plan.todo)) == (found.refined.cells, 0)
    path = store.path(publish_cube(plan, store))
    assert path is not None
    cube = xr.open_zarr(path)
    assert cube["shape"].values.tolist() == ["round", "flat"]
    planned = cube["status"] != STATUS_CODES["not_planned"]
    assert int(planned.sum()) == found.refined.cells < cube["status"].size
    filled = open_refined(store, "toy-study").sel(level=cube["level"])
    assert (planned == (filled["computed"] == 1)).all()
    assert found.publish(store) == refined_study("toy-study-refined")  # once more changes nothing
    with pytest.raises(UsageError, match="did you mean 'toy-study'"):
        open_refined(store, "toy-stud")


def test_a_coupled_and_a_structured_axis_stay_as_they_are(store: Store) -> None:
    text = TEXT.replace(
        "shape: {path: signal.shape, values: [round, flat]}",
        """places: {path: size.places_m, values: [[[0, 0]], [[1, 2]]]}
      kind:
        entries:
          - {label: B, set: {signal.shape: round, draw.seed: 3}}
          - {label: A, set: {signal.shape: flat, draw.seed: 4}}""",
    )
    lattice = study_lattice(lambda more: load(more, text))
    metric = metric_of(lattice.base.study, "error_m")
    found = refine_study(lattice, metric, Goal(Tolerance(0.3)), store, sweeper(store))
    plan = make_plan(load_study(derived_study(lattice, found.known)), store)
    assert (len(plan.keys), len(plan.todo)) == (found.refined.cells, 0)
    assert found.dataset()["kind"].values.tolist() == ["B", "A"]


COLUMNS = """
from toy import ToyVariable

class Scaled:
    variables = (ToyVariable("scaled_m", unit="m"),)
    needs = ("error_m", "profile")

    def compute(self, options, stored):
        return {"scaled_m": 2.0 * stored["error_m"] + 0.0 * stored["profile"].sum(axis=1)}

columns = Scaled()
"""


@pytest.mark.parametrize(("name", "factor"), [("error_m", 1.0), ("scaled_m", 2.0)])
def test_a_variable_and_a_column_of_an_experiment_with_columns_are_refined(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, factor: float
) -> None:
    (tmp_path / "plugin" / "scaled-1.dist-info").mkdir(parents=True)
    (tmp_path / "plugin" / "scaled-1.dist-info" / "METADATA").write_text("Name: scaled\nVersion: 1\n")
    points = f"[disac.columns]\ntoy.scaled = refined_columns_{name}:columns\n"
    (tmp_path / "plugin" / "scaled-1.dist-info" / "entry_points.txt").write_text(points)
    (tmp_path / "plugin" / f"refined_columns_{name}.py").write_text(COLUMNS)
    monkeypatch.syspath_prepend(str(tmp_path / "plugin"))
    lattice = study_lattice(lambda more: load(more, TEXT.replace("[1, 2]", "[1]")), steps={"": Step(16)})
    metric = metric_of(lattice.base.study, name)
    found = refine_study(lattice, metric, Goal(Tolerance(0.02)), store, sweeper(store)).dataset()
    random = 1 + 0.1 * np.random.default_rng([1, 0, 1]).standard_normal()
    assert found[name].sel(level=0.0, shape="flat", count=1, realisation=0).item() == pytest.approx(factor * random)


class EndedError(Exception):
    """The end of the process, for a test."""


@pytest.mark.parametrize("after", [90, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 150))])
def test_ended_anywhere_it_goes_on_and_computes_no_cell_twice(store: Store, after: int) -> None:
    whole = LocalStore(Path(store.location()).parent / "whole")
    expected = refined(whole, steps={"": Step(32)}).dataset()
    toy.COUNTED.clear()

    class Ending(ThreadPoolExecutor):
        """Ends after so many cells: the task that is then submitted is never done."""

        def submit(self, *task: object, **named: object) -> object:  # type: ignore[override]
            if len(toy.COUNTED) >= after:
                raise EndedError
            return super().submit(*task, **named)  # type: ignore[arg-type]

    def ending(plan: Plan) -> None:
        with Ending(1) as pool:
            Sweep(plan, store, pool, lambda: 1).run()

    lattice = study_lattice(load, steps={"": Step(32)})
    metric, goal = metric_of(lattice.base.study, "error_m"), Goal(Tolerance(0.02))
    with pytest.raises(EndedError):
        refine_study(lattice, metric, goal, store, ending)
    assert 0 < len(toy.COUNTED) < expected.attrs["cells"]
    again = refine_study(lattice, metric, goal, store, sweeper(store)).dataset()
    assert again.identical(expected)
    assert len(toy.COUNTED) == again.attrs["cells"]


def test_nothing_is_computed_when_all_cells_are_there(store: Store) -> None:
    refined(store)

    def refuse(plan: Plan) -> None:
        raise AssertionError("nothing is missing")

    lattice = study_lattice(load)
    again = refine_study(lattice, metric_of(lattice.base.study, "error_m"), Goal(Tolerance(0.02)), store, refuse)
    assert again.refined.end == "agreed"


def test_noise_along_an_axis_is_refused(store: Store) -> None:
    # The toy draws its noise of 10 % afresh for each count.
    text = TEXT.replace("values: [1, 2]", "values: [20, 40]").replace("values: [round, flat]", "values: [flat]")
    lattice = study_lattice(lambda more: load(more, text), ["count"])
    with pytest.raises(NoisyError) as error:
        refine_study(lattice, metric_of(lattice.base.study, "error_m"), Goal(Tolerance(0.02)), store, sweeper(store))
    assert error.value.draws == 3
    # (3 * 10 % / 2 %)^2 = 225 draws; few probes estimate it within a factor.
    assert 60 < error.value.needed < 800


def test_points_between_labels_are_predicted(store: Store) -> None:
    found = refined(store)
    levels = np.array([0.0, 3.3, 17.77, 29.0, 29.8, 35.0])
    values, status = found.predict({"level": levels}, shape="flat", count=2)
    assert status[:4].tolist() == [[STATUS_CODES["ok"]] * 3] * 4
    assert status[4].tolist() == [STATUS_CODES["missing"]] * 3  # between the last feasible label and the first infeasible one
    assert status[5].tolist() == [STATUS_CODES["infeasible"]] * 3
    random = [1 + 0.1 * np.random.default_rng([1, draw, 2]).standard_normal() for draw in range(3)]
    exact = 10 ** (levels[:4, np.newaxis] / 20) / 2 * np.array(random)
    assert (np.abs(values[:4] / exact - 1) <= 0.02).all()
    with pytest.raises(UsageError, match="did you mean 'level'"):
        found.predict({"levl": levels}, shape="flat", count=2)
    with pytest.raises(UsageError, match="2 lattices match"):
        found.predict({"level": levels}, shape="flat")
    with pytest.raises(UsageError, match="'flt' is no label"):
        found.predict({"level": levels}, shape="flt", count=2)
    with pytest.raises(UsageError, match="0 to 40"):
        found.predict({"level": [50.0]}, shape="flat", count=2)


@pytest.mark.parametrize(
    ("change", "named", "words"),
    [
        ({}, {"names": ["levl"]}, "did you mean 'level'"),
        ({}, {"names": ["shape"]}, "is not numeric"),
        ({}, {"names": ["realisation"]}, "is the averaged axis"),
        ({}, {"names": ["level", "level"]}, "written twice"),
        ({}, {"steps": {"levels": Step(4)}}, "did you mean 'level'"),
        ({"surfaces:": "where: {level: 0}\nsurfaces:"}, {}, "write it inside the grid"),
        ({'"0:40:10"': "[7]"}, {}, "no numeric axis"),
        ({'"0:40:10"': "[7]"}, {"names": ["level"]}, "one value"),
        ({"size.count, values: [1, 2]": "draw.seed, values: [1, 90000]"}, {}, "20,000,000"),
    ],
)
def test_what_cannot_be_refined_is_said(change: dict[str, str], named: dict[str, object], words: str) -> None:
    text = TEXT
    for old, new in change.items():
        text = text.replace(old, new)
    with pytest.raises(UsageError, match=words):
        study_lattice(lambda more: load(more, text), **named)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "words"),
    [("eror_m", "did you mean 'error_m'"), ("profile", "not one real number"), ("note", "not one real number"),
     ("solve_seconds", "volatile")],
)  # fmt: skip
def test_metrics_that_cannot_be_refined(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        metric_of(load(()), name)


def test_a_study_that_leaves_cells_of_the_lattice_out_is_refused(store: Store) -> None:
    text = TEXT.replace("surfaces:", "    exclude: [{level: {min: 12, max: 15}}]\nsurfaces:")
    lattice = study_lattice(lambda more: load(more, text))
    with pytest.raises(UsageError, match="leaves out cells of the lattice"):
        refine_study(lattice, metric_of(lattice.base.study, "error_m"), Goal(Tolerance(0.02)), store, sweeper(store))


def test_labels_that_the_scenario_refuses_are_said_with_a_way_out(store: Store) -> None:
    def refusing(more: Sequence[str]) -> Study:
        return load([text.replace("0.625", '"high"') for text in more])

    lattice = study_lattice(load)
    with pytest.raises(UsageError, match=r"cannot be used.*--step level="):
        StudyLattice(refusing, *(getattr(lattice, name) for name in ("base", "axes", "places", "over", "slices"))).plan(
            np.array([[0, 1, 0]]), store
        )

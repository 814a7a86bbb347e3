"""The place whose network a report draws, and the scenes of what is stored there."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.named_axes import report_axes
from pipeline.plan import Plan, make_plan
from pipeline.scene_cells import DrawnPlace, _shown, drawn_place, drawn_scenes
from pipeline.scenes import scene_modules, scenes_of
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

Write = Callable[..., Path]

MODULE = """
from types import SimpleNamespace

class ToyScenes:
    needs = ("samples",)

    def scene(self, scenario, options, stored):
        if stored is not None and options.method == "fancy":
            raise ArithmeticError("too fancy")
        return SimpleNamespace(level=scenario.signal.level_db, method=options.method, stored=stored)

scenes = ToyScenes()
"""

METHODS = ("size.count: [1, 2]", "size.count: [1, 2]\n      options.method: [plain, fancy]")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Install scenes for the toy experiment."""

    def installed() -> None:
        number = len(list(tmp_path.glob("scenes-*")))
        folder, module = tmp_path / f"scenes-{number}", f"{tmp_path.name}_scenes"
        (folder / f"toy_scenes_{number}-1.dist-info").mkdir(parents=True)
        about = folder / f"toy_scenes_{number}-1.dist-info"
        (about / "METADATA").write_text(f"Name: toy-scenes-{number}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[disac.scenes]\ntoy = {module}:scenes\n")
        (folder / f"{module}.py").write_text(MODULE)
        monkeypatch.syspath_prepend(str(folder))

    return installed


def planned(file: Path, store: LocalStore, *, sweep: bool = True) -> Plan:
    if sweep:
        with ThreadPoolExecutor(1) as pool:
            Sweep(make_plan(load_study(file), store), store, pool, lambda: 1).run()
    return make_plan(load_study(file), store)


def report_with(cell: str) -> tuple[str, str]:
    return "report: {", f"report: {{cell: {cell}, "


def test_an_experiment_without_scenes_is_drawn_without_a_network(study_file: Write, tmp_path: Path) -> None:
    assert scenes_of("toy") is None
    assert scene_modules("toy") == []
    assert drawn_place(planned(study_file(), LocalStore(tmp_path / "store"), sweep=False), "realisation") is None


def test_the_place_is_in_the_middle_of_what_is_feasible(study_file: Write, tmp_path: Path, install: Callable[[], None]) -> None:
    install()
    place = drawn_place(planned(study_file(METHODS), LocalStore(tmp_path / "store")), "realisation")
    assert place is not None
    # 30 and 40 dB are infeasible; 20 dB is in the middle of 0 to 40 dB.
    assert place.at == {"level": 20.0, "count": 1, "realisation": 0}
    assert place.designs == {"method": ["plain", "fancy"]}
    assert [cell.labels for cell in place.cells] == [{"method": "plain"}, {"method": "fancy"}]
    assert (place.feasible, place.planned, place.named) == (2, 2, False)
    assert DrawnPlace.model_validate(json.loads(json.dumps(place.model_dump(mode="json")))) == place


def test_the_study_names_the_place_and_the_designs(study_file: Write, tmp_path: Path, install: Callable[[], None]) -> None:
    install()
    file = study_file(METHODS, report_with("{level: 40, options.method: fancy, realisation: 1}"))
    place = drawn_place(planned(file, LocalStore(tmp_path / "store")), "realisation")
    assert place is not None
    assert place.at == {"level": 40.0, "count": 1, "realisation": 1}
    assert [cell.labels for cell in place.cells] == [{"method": "fancy"}]
    assert place.named


@pytest.mark.parametrize(("cell", "words"), [
    ("{levle: 10}", "did you mean 'level'"), ("{level: 11}", "names no value of the axis 'level'"),
    ("{level: 10, count: 2}", "no planned cell has these values together"),
])  # fmt: skip
def test_a_place_that_does_not_exist_is_refused(study_file: Write, tmp_path: Path, cell: str, words: str) -> None:
    left_out = 'values: "0:2:1"}', 'values: "0:2:1"}\n    exclude: [{level: 10, count: 2}]'
    plan = make_plan(load_study(study_file(left_out, report_with(cell))), LocalStore(tmp_path / "store"))
    with pytest.raises(UsageError, match=words) as error:
        report_axes(plan.cells, "realisation")
    assert "report.cell" in str(error.value)


def test_an_axis_that_is_set_otherwise_leaves_what_is_left_of_the_named_cell(
    study_file: Write, tmp_path: Path, install: Callable[[], None]
) -> None:  # fmt: skip
    install()
    file, store = study_file(report_with("{count: [1, 2], level: 20}")), LocalStore(tmp_path / "results")
    plan = make_plan(load_study(file, overrides=["axes.level=[0, 10]", "axes.size.count=[2]"]), store)
    place = drawn_place(plan, "realisation")
    assert place is not None
    assert place.at["count"] == 2
    assert place.at["level"] in (0.0, 10.0)
    with pytest.raises(UsageError, match="names no value"):
        drawn_place(
            make_plan(load_study(file, overrides=["axes.level=[0, 10]", "report.cell={level: 20}"]), store), "realisation"
        )


def test_a_scene_is_made_of_what_is_stored(study_file: Write, tmp_path: Path, install: Callable[[], None]) -> None:
    install()
    store = LocalStore(tmp_path / "store")
    plan = planned(study_file(METHODS), store)
    place = drawn_place(plan, "realisation")
    assert place is not None
    plain, fancy = drawn_scenes(store, place)
    assert (plain.missing, plain.scene.level, plain.scene.method) == ("", 20.0, "plain")
    assert set(plain.scene.stored) == {"samples"}
    assert fancy.scene.stored is None
    assert fancy.missing == "Its signal cannot be judged (ArithmeticError: too fancy)."
    store.delete(f"ledger/segments/{place.cells[0].segment}.zip")
    assert drawn_scenes(store, place)[0].missing == f"The segment {place.cells[0].segment} is gone."


@pytest.mark.parametrize(("changes", "sweep", "words"), [
    ((), False, "The cell is not computed."),
    ((report_with("{level: 40}"),), True, "The cell is infeasible: no signal is sent."),
    ((("surfaces:", "keep: [error_m]\nsurfaces:"),), True, "The study keeps no `samples`: name it in `keep`."),
])  # fmt: skip
def test_a_scene_without_a_signal_says_why(
    study_file: Write, tmp_path: Path, install: Callable[[], None], changes: tuple[tuple[str, str], ...], sweep: bool,
    words: str,
) -> None:  # fmt: skip
    install()
    store = LocalStore(tmp_path / "store")
    place = drawn_place(planned(study_file(*changes), store, sweep=sweep), "realisation")
    assert place is not None
    (found,) = drawn_scenes(store, place)
    assert found.missing == words
    assert found.scene.stored is None


def test_two_scenes_of_one_experiment_are_refused(install: Callable[[], None]) -> None:
    install()
    install()
    with pytest.raises(UsageError, match="several scenes of the experiment 'toy'"):
        scenes_of("toy")


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 24))
def test_the_designs_that_are_shown_are_feasible_ones_if_there_are_any(feasible: list[bool], most: int) -> None:
    good = np.array(feasible)
    shown = _shown(good, most)
    assert 1 <= len(shown) <= max(most, 1)
    assert len(set(shown.tolist())) == len(shown)
    assert (np.diff(shown) > 0).all()
    if len(good) <= most:
        assert len(shown) == len(good)
    elif good.any():
        assert good[shown].all()
        assert len(shown) == min(most, good.sum())

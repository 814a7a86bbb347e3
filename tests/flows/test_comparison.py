"""Comparisons of published cubes: sources, names, what is published, and what reads it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_study import TOY_STUDY
from typer.testing import CliRunner

import pipeline
from flows.cli import app
from flows.comparison import Comparison, comparison_of, find_source
from flows.run import Run
from pipeline.cube import published_key
from pipeline.errors import UsageError
from pipeline.layout import cube_folder
from pipeline.store import open_store_backend
from pipeline.sweep import Sweep

Write = Callable[..., Path]


def publish(file: Path, store: Path, *overrides: str) -> Run:
    """Compute a study in this process and publish its cube."""
    run = Run(file, str(store), overrides)
    with ThreadPoolExecutor(1) as pool:
        Sweep(run.plan, run.store, pool, lambda: 1).run()
    run.publish()
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two versions of a study, and a study with the other method that has no axis of counts."""
    folder = tmp_path_factory.mktemp("made")
    fancy = TOY_STUDY.replace("toy-study", "fancy").replace("experiment: toy", "experiment: toy\noptions: {method: fancy}")
    fancy = fancy.replace("      size.count: [1, 2]\n", "").replace(", colour: count", "")
    for text in (TOY_STUDY.replace("0:40:10", "0:10:10"), TOY_STUDY, fancy):
        file = folder / "study.yaml"
        file.write_text(text, encoding="utf-8")
        publish(file, folder / "results")
    return folder / "results"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A copy of that store."""
    return Path(shutil.copytree(made, tmp_path / "results", symlinks=True))


def compare(store: Path, *sources: str, upto: str = "aggregate", **choices: Any) -> Comparison:
    """Make a comparison, up to one of its steps."""
    made = Comparison(sources, str(store), **choices)
    for name, step in made.steps.items():
        step()
        if name == upto:
            break
    return made


def test_two_studies_become_one_cube_with_surfaces_and_a_page(store: Path) -> None:
    made = compare(store, "toy-study", "fancy", name="methods", edge="level", upto="report")
    results = pipeline.open_store(store)
    cube, surfaces = results["methods/cube"].to_dataset().load(), results["methods/surfaces"].to_dataset().load()
    assert cube["source"].values.tolist() == ["toy-study", "fancy"]
    assert dict(cube.sizes) == {"source": 2, "level": 5, "count": 2, "realisation": 3, "tap": 2}
    # The study without the axis stands at the base value of its scenario: two things.
    assert (cube["status"].sel(source="fancy", count=1) == 1).all()
    at = {"count": 2, "level": [0.0, 10.0, 20.0]}
    plain, fancy = (cube["error_m"].sel(source=source, **at) for source in ("toy-study", "fancy"))
    np.testing.assert_array_equal(fancy.values, plain.values * 0.5)
    difference = cube["difference_error_m"].sel(source="fancy", **at)
    np.testing.assert_array_equal(difference.values, fancy.values - plain.values)
    assert surfaces.attrs["paired"] == "source"
    assert (surfaces.attrs["over"], surfaces.attrs["edge"]) == ("realisation", "level")
    assert made.page.is_file()
    assert "toy-study and fancy, compared" in made.page.read_text()
    assert made.words() == "'methods' compares toy-study, fancy."


def test_the_difference_has_the_interval_of_paired_cells(store: Path) -> None:
    from scipy.stats import ttest_rel

    from pipeline.statistics import statistic

    compare(store, "toy-study", "fancy", name="methods")
    results = pipeline.open_store(store)
    cube, surfaces = results["methods/cube"].to_dataset().load(), results["methods/surfaces"].to_dataset().load()
    at = {"count": 2, "level": 10.0}
    plain, fancy = (cube["error_m"].sel(source=source, **at).values for source in ("toy-study", "fancy"))
    band = ttest_rel(fancy, plain).confidence_interval(0.95)
    for name, expected in {"mean_feasible": (fancy - plain).mean(), "ci_low": band.low, "ci_high": band.high}.items():
        found = statistic(surfaces, "difference_error_m", name).sel(source="fancy", **at)
        np.testing.assert_allclose(float(found), expected, rtol=1e-9)


def test_versions_and_stores_are_sources(store: Path, tmp_path: Path) -> None:
    backend = open_store_backend(str(store))
    latest = published_key(backend, cube_folder("toy-study"))
    (older,) = {p.name for p in (store / "cubes/toy-study/versions").iterdir()} - {latest}
    other = tmp_path / "other"
    shutil.copytree(store, other, symlinks=True)
    sources = ("toy-study", f"toy-study@{older[:8].upper()}", f"{other}:fancy", f"{other}:toy-study@{older}")
    made = compare(store, *sources, name="all", upto="join")
    cube = pipeline.open_store(store, "all")["all/cube"].to_dataset().load()
    assert [source.key for source in made.sources][:2] == [latest, older]
    assert cube["source"].values.tolist() == list(sources)
    counts = (cube["status"] != 1).sum(["level", "count", "realisation"])
    assert counts.values.tolist() == [30, 12, 15, 12]


def test_a_comparison_is_made_again_when_a_source_has_changed(store: Path, study_file: Write) -> None:
    folder = cube_folder("methods")
    backend = compare(store, "toy-study", "fancy", name="methods", upto="join").store
    first = published_key(backend, folder)
    assert published_key(compare(store, "toy-study", "fancy", name="methods", upto="join").store, folder) == first
    publish(study_file(), store, "axes.level=0:50:10")
    compare(store, "toy-study", "fancy", name="methods", upto="join")
    assert published_key(backend, folder) != first
    assert pipeline.open_store(store, "methods")["methods/cube"].sizes["level"] == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("toy-stduy", "no cube of 'toy-stduy' in '.*' .did you mean 'toy-study'..; there are fancy, toy-study"),
        ("toy-study@", "'toy-study@': 2 versions begin so; there are [0-9a-f]{32}, [0-9a-f]{32}$"),
        ("toy-study@zz", "'toy-study@zz': 0 versions begin so"),
        ("nowhere:toy-study", "no store at 'nowhere'"),
        ("../x", "'../x' is no source: expected STUDY, STUDY@"),
    ],
)
def test_what_is_no_source_is_refused(store: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_source(text, str(store))


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"name": "toy-study"}, "--name 'toy-study': a study has this name"),
        ({"name": "quick"}, "--name 'quick': a study has this name"),
        ({"name": "Two"}, "--name 'Two': expected lower-case"),
        ({"over": "realisatoin"}, "--over 'realisatoin': no such axis .did you mean 'realisation'"),
        ({"edge": "realisation"}, "--edge 'realisation': expected a numeric axis that is not averaged"),
    ],
)
def test_choices_that_do_not_fit_are_refused(store: Path, choices: dict[str, str], said: str) -> None:
    before = sorted(path.name for path in (store / "cubes").iterdir())
    with pytest.raises(UsageError, match=said):
        compare(store, "toy-study", "fancy", **choices)
    assert sorted(path.name for path in (store / "cubes").iterdir()) == before


def test_one_source_or_one_twice_is_no_comparison(store: Path) -> None:
    with pytest.raises(UsageError, match="needs two sources"):
        Comparison(["toy-study"], str(store))
    with pytest.raises(UsageError, match="'fancy' is named twice"):
        Comparison(["fancy", "toy-study", "fancy"], str(store))


def test_the_commands_compare_report_and_name_what_did_not_fit(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute_flows(calls: list[Any], cluster: str | None, console: Any) -> None:
        from flows import deployable

        for call in calls:
            assert call.parameters.items() <= getattr(deployable, call.name).validate_parameters(call.parameters).items()
            call.steps.rest()

    monkeypatch.setattr("flows.execute.execute_flows", execute_flows)
    cube = store / "cubes" / "fancy"
    _change_unit(store)
    answer = CliRunner().invoke(
        app, ["compare", "toy-study", "fancy", "--store", str(store)], env={"COLUMNS": "300"}, catch_exceptions=False
    )
    assert answer.exit_code == 0, answer.output
    assert cube.is_dir()
    assert "note: the variable 'error_m' is left out: its unit is 'm' in toy-study, 'km' in fancy" in answer.output
    page = store / "reports" / "toy-study-vs-fancy" / "index.html"
    assert f"Report: {page}" in answer.output
    shutil.rmtree(store / "reports")
    shutil.rmtree(store / "surfaces")
    answer = CliRunner().invoke(app, ["report", "toy-study-vs-fancy", "--store", str(store)], catch_exceptions=False)
    assert (answer.exit_code, answer.output.strip()) == (0, str(page))
    assert page.is_file()
    assert comparison_of(open_store_backend(str(store)), "toy-study") is None


def _change_unit(store: Path) -> None:
    """Publish the cube of 'fancy' once more with another unit of its errors."""
    from dataclasses import replace

    from pipeline.archive import StoredFiles
    from pipeline.cube import publish_group, published_version
    from pipeline.zarrio import group_attributes, read_group

    backend = open_store_backend(str(store))
    files = StoredFiles(backend, str(published_version(backend, cube_folder("fancy"))))
    arrays = read_group(files)
    arrays["error_m"] = replace(arrays["error_m"], attributes=dict(arrays["error_m"].attributes) | {"units": "km"})
    publish_group(backend, cube_folder("fancy"), "f" * 32, arrays, group_attributes(files) | {"cube_key": "f" * 32})

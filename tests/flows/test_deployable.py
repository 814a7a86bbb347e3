"""Flows that stand alone: their parameters, their steps, and what prefect.yaml says of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import Flow
from prefect.exceptions import ParameterBindError, ParameterTypeError
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import get_call_parameters
from ruamel.yaml import YAML
from typer.testing import CliRunner
from without_prefect import command

import pipeline
from flows import deployable, standalone, up_to_date
from flows.cli import app
from flows.run import Run
from pipeline.errors import UsageError
from pipeline.lock import StudyLockedError, study_lock
from pipeline.sweep import Sweep

ROOT = Path(__file__).resolve().parents[2]
Write = Callable[..., Path]
FLOWS: dict[str, Flow[..., Any]] = {
    name: getattr(deployable, name) for name in ("sweep", "aggregate", "report", "compare", "study", "refine")
}


@pytest.fixture
def stored(study_file: Write, tmp_path: Path) -> tuple[Path, Path]:
    """A study file, and a store with all its cells and its cube."""
    file, store = study_file(), tmp_path / "results"
    run = Run(file, str(store))
    with ThreadPoolExecutor(1) as pool:
        Sweep(run.plan, run.store, pool, lambda: 1).run()
    run.publish()
    return file, store


def _deployments() -> list[dict[str, Any]]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "prefect.yaml")
    return list(found["deployments"])


def test_the_deployments_are_those_of_the_flows() -> None:
    named = {deployment["name"]: deployment for deployment in _deployments()}
    assert set(named) == set(FLOWS)
    for name, deployment in named.items():
        flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
        assert flow is FLOWS[name]
        assert flow.name == f"disac-{name}"
        assert deployment["parameters"].items() <= flow.validate_parameters(deployment["parameters"]).items()
        assert deployment["work_pool"] == {"name": "disac"}


def test_an_automation_aggregates_what_a_sweep_publishes(stored: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    emitted: list[tuple[str, dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(standalone, "emit_event", lambda event, resource, payload: emitted.append((event, resource, payload)))
    monkeypatch.setattr(standalone, "compute_missing", lambda *_: 0)
    file, store = stored
    with standalone.sweeping(str(file), str(store), ["axes.level=0:40:10"], None, None, None, None) as work:
        for name in ("plan", "sweep", "publish"):
            work.do(name)
        assert not emitted
    ((event, resource, payload),) = emitted
    (deployment,) = [d for d in _deployments() if "triggers" in d]
    (trigger,) = deployment["triggers"]
    assert deployment["name"] == "aggregate"
    assert trigger["expect"] == [event]
    assert resource["prefect.resource.id"].startswith(trigger["match"]["prefect.resource.id"].removesuffix("*"))
    given = {
        name: payload[template.strip("{} ").removeprefix("event.payload.")] for name, template in trigger["parameters"].items()
    }
    assert given == {"study": str(file), "store": str(store), "overrides": ["axes.level=0:40:10"]}
    assert given.items() <= deployable.aggregate.validate_parameters(given).items()


@pytest.mark.parametrize(
    ("flow", "parameters", "said"),
    [
        ("sweep", {"study": "quick", "workers": 0}, "workers"),
        ("sweep", {"study": "quick", "max_core_hours": -1.0}, "max_core_hours"),
        ("sweep", {"study": ""}, "study"),
        ("aggregate", {"study": "quick", "overrides": ["axes.level"]}, "overrides"),
        ("report", {"study": 3}, "study"),
        ("refine", {"study": "quick"}, "on"),
        ("refine", {"study": "quick", "on": "rcrb_m", "budget": 0}, "budget"),
        ("refine", {"study": "quick", "on": "rcrb_m", "axes": "sinr_db"}, "axes"),
        ("compare", {"sources": ["quick"]}, "sources"),
        ("compare", {"sources": ["quick", "joint"], "name": "../x"}, "name"),
    ],
)
def test_parameters_are_checked_before_a_flow_begins(flow: str, parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterTypeError, match=said):
        FLOWS[flow].validate_parameters(parameters)


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ParameterBindError, match="worker"):
        get_call_parameters(deployable.aggregate, (), {"study": "quick", "worker": 2})


def test_every_parameter_of_a_flow_has_words() -> None:
    for name, flow in FLOWS.items():
        for parameter, about in flow.parameters.properties.items():
            assert about.get("description", "").endswith("."), (name, parameter)


def test_aggregate_and_report_alone_publish_what_is_missing(stored: tuple[Path, Path]) -> None:
    file, store = stored
    with standalone.aggregating(str(file), str(store), [], None, None) as work:
        key = work.do("aggregate")
    run = Run(file, str(store))
    assert (key, run.stale()) == (run.surface_key, ["report"])
    with standalone.reporting(str(file), str(store), []) as work:
        assert work.do("report") == run.derivation.report_version
    run.refresh()
    assert run.stale() == []
    assert run.report_file.is_file()


def test_a_study_without_cells_is_refused(study_file: Write, tmp_path: Path) -> None:
    with (
        standalone.aggregating(str(study_file()), str(tmp_path / "results"), [], None, None) as work,
        pytest.raises(UsageError, match=r"no cell of 'toy-study' is in '.*' yet: run `disac run /"),
    ):
        work.do("aggregate")


def test_two_sweeps_of_one_study_do_not_run_at_once(stored: tuple[Path, Path]) -> None:
    file, store = stored
    run = Run(file, str(store))
    with study_lock(run.store, "toy-study"), pytest.raises(StudyLockedError, match="'toy-study' is being run by"):  # noqa: SIM117
        with standalone.studying(str(file), str(store), [], None, None, None, None):
            pass


def test_a_named_cluster_computes_the_blocks_of_a_large_cube(
    stored: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    @contextmanager
    def connect(name: str | None, workers: int | None, *, insecure: bool) -> Iterator[Any]:
        with ThreadPoolExecutor(1) as pool:
            asked.append((name, workers, insecure, pool))
            yield SimpleNamespace(executor=lambda: pool)

    monkeypatch.setattr("flows.cluster.connect", connect)
    file, store = stored
    run = Run(file, str(store))
    assert up_to_date.fresh_surfaces(run, "local", 2) == run.surface_key
    assert asked == []  # the cube is small
    shutil.rmtree(store / "surfaces")
    monkeypatch.setattr("flows.derive.WHOLE_BYTES", 1)
    with pytest.raises(UsageError, match="no such profile"):
        up_to_date.fresh_surfaces(run, "nowhere")
    assert up_to_date.fresh_surfaces(run, "local", 2) == run.surface_key
    ((*given, pool),) = asked
    assert given == ["local", 2, False]
    assert pool._threads  # it has done work
    assert run.stale() == ["report"]


def test_the_command_aggregates_several_studies(
    stored: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def execute_flows(asked: list[Any], cluster: str | None, console: Any) -> None:
        calls.extend(asked)
        for call in asked:
            call.steps.rest()

    monkeypatch.setattr("flows.execute.execute_flows", execute_flows)
    file, store = stored
    code, said = command("aggregate", file, store)
    run = Run(file, str(store))
    assert (code, len(calls), run.stale()) == (0, 1, ["report"]), said
    assert f"toy-study: surfaces {run.surface_key} of 30 of 30 cells" in said
    assert calls[0].parameters == {
        "study": str(file), "store": str(store), "overrides": [], "cluster": None, "workers": None
    }  # fmt: skip
    assert FLOWS[calls[0].name].validate_parameters(calls[0].parameters) == calls[0].parameters
    assert command("aggregate", file, store)[0] == 0
    assert len(calls) == 1
    assert "over" in pipeline.open_store(store)["toy-study/surfaces"].attrs


def test_the_command_refuses_a_cluster_that_is_none(stored: tuple[Path, Path]) -> None:
    file, store = stored
    with pytest.raises(UsageError, match="no such profile"):
        CliRunner().invoke(app, ["aggregate", str(file), "--store", str(store), "--cluster", "nowhere"], catch_exceptions=False)


def test_prefects_own_command_needs_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pipeline.errors import SurroundingsError

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(SurroundingsError, match="disac server start"):
        CliRunner().invoke(app, ["prefect", "deploy", "--all"], catch_exceptions=False)


def test_prefects_own_command_has_the_server_and_no_telemetry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from flows.settings import prepare_environment

    called: list[tuple[list[str], dict[str, str]]] = []

    def execve(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        called.append((arguments, environment))

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    prepare_environment()
    monkeypatch.setattr("os.execve", execve)
    CliRunner().invoke(app, ["prefect", "worker", "start", "--pool", "disac", "--help"], catch_exceptions=False)
    ((arguments, environment),) = called
    assert arguments[1:] == ["-m", "prefect", "worker", "start", "--pool", "disac", "--help"]
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert (environment["DO_NOT_TRACK"], environment["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")
    assert "PREFECT_LOGGING_LEVEL" not in environment

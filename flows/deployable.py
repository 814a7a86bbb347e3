"""Prefect's flows: ``sweep``, ``aggregate``, ``report``, ``study`` (these three in this order), ``compare`` and ``refine``.

Each flow has a handful of tasks, never a task per cell. Its parameters are plain data that Prefect checks before it starts. So
each flow runs when it is called from Python, and as a deployment that ``prefect.yaml`` describes. The commands ``disac run``,
``disac aggregate`` and ``disac compare`` call the same flows, and do the steps themselves: see :func:`steps_from`.
"""

# Prefect reads the types of the parameters, and its settings when it is imported.
# ruff: noqa: E402, B006

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Annotated

from pydantic import Field

from flows.settings import prepare_environment

prepare_environment()

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows import standalone
from flows.callable_flow import callable_flow
from flows.refining import Wish
from flows.steps import Work

# Prefect checks these types, and shows the words on each parameter; it reads docstrings with `Args` only.
StudySource = Annotated[str, Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
StoreFolder = Annotated[str, Field(min_length=1)]
Overrides = list[Annotated[str, Field(pattern=r"^[^=\s]+=")]]
Workers = Annotated[int, Field(ge=1)]
CoreHours = Annotated[float, Field(ge=0)]
Sources = Annotated[list[Text], Field(min_length=2)]
Texts = list[Text]
Cells = Annotated[int, Field(ge=1)]
ComparisonName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]

_given: ContextVar[Work | None] = ContextVar("work whose steps the caller of a flow does", default=None)


@contextmanager
def steps_from(work: Work) -> Iterator[None]:
    """Let the flows that are called in this context take their steps from ``work`` in place of steps of their own."""
    token = _given.set(work)
    try:
        yield
    finally:
        _given.reset(token)


@contextmanager
def _work(own: Callable[[], AbstractContextManager[Work]]) -> Iterator[Work]:
    """Provide the caller's work; if the flow stands alone, its own."""
    given = _given.get()
    if given is not None:
        yield given
        return
    with own() as work:
        yield work


def _tasks(work: Work, *names: str) -> str:
    """Do steps as Prefect's tasks; return the outcome of the last one."""

    def as_task(name: str) -> str:
        @task(name=name, cache_policy=NO_CACHE)
        def carried_out() -> str:
            return str(work.do(name))

        return carried_out()

    return [as_task(name) for name in names][-1]


@callable_flow("disac-sweep")
def sweep(
    study: StudySource, store: StoreFolder = "results", overrides: Overrides = [], cluster: str | None = None,
    workers: Workers | None = None, max_core_hours: CoreHours | None = None, deadline: str | None = None,
) -> str:  # fmt: skip
    """Compute the missing cells of a study and publish its cube; return the cube's key.

    A sweep that stands alone then emits the event ``disac.cube.published``.

    Args:
        study: A study of data/studies by name, or the path of a study file.
        store: Folder that holds ledger, cubes, surfaces and reports.
        overrides: Changed values of the study, such as axes.sinr_db=0:40:10.
        cluster: A profile of dask_config.yaml, or the address of a Dask scheduler; null: the configuration's profile.
        workers: Local worker processes; null: the profile's number.
        max_core_hours: Worker time that the sweep may spend; null: no limit.
        deadline: Latest end of the sweep: a duration, a time of day or a moment; null: no limit.
    """
    with _work(lambda: standalone.sweeping(study, store, overrides, cluster, workers, max_core_hours, deadline)) as work:
        return _tasks(work, "plan", "sweep", "publish")


@callable_flow("disac-aggregate")
def aggregate(
    study: StudySource, store: StoreFolder = "results", overrides: Overrides = [], cluster: str | None = None,
    workers: Workers | None = None,
) -> str:  # fmt: skip
    """Publish the surfaces and claims of the stored cells; return the surfaces' key. No cell is computed.

    Args:
        study: A study of data/studies by name, or the path of a study file.
        store: Folder that holds ledger, cubes, surfaces and reports.
        overrides: Changed values of the study, such as axes.sinr_db=0:40:10.
        cluster: A profile of dask_config.yaml, or the address of a Dask scheduler; null: this process does the work.
        workers: Local worker processes; null: the profile's number.
    """
    with _work(lambda: standalone.aggregating(study, store, overrides, cluster, workers)) as work:
        return _tasks(work, "aggregate")


@callable_flow("disac-report")
def report(study: StudySource, store: StoreFolder = "results", overrides: Overrides = []) -> str:
    """Write the report of the stored cells or of a comparison; return its version. No cell is computed.

    Args:
        study: A study of data/studies by name, the path of a study file, or a comparison by name.
        store: Folder that holds ledger, cubes, surfaces and reports.
        overrides: Changed values of the study, such as axes.sinr_db=0:40:10.
    """
    with _work(lambda: standalone.reporting(study, store, overrides)) as work:
        return _tasks(work, "report")


@callable_flow("disac-study")
def study(
    study: StudySource, store: StoreFolder = "results", overrides: Overrides = [], cluster: str | None = None,
    workers: Workers | None = None, max_core_hours: CoreHours | None = None, deadline: str | None = None,
) -> str:  # fmt: skip
    """Compute the missing cells of a study, publish cube and surfaces and write the report; return the report's version.

    Args:
        study: A study of data/studies by name, or the path of a study file.
        store: Folder that holds ledger, cubes, surfaces and reports.
        overrides: Changed values of the study, such as axes.sinr_db=0:40:10.
        cluster: A profile of dask_config.yaml, or the address of a Dask scheduler; null: the configuration's profile.
        workers: Local worker processes; null: the profile's number.
        max_core_hours: Worker time that the sweep may spend; null: no limit.
        deadline: Latest end of the sweep: a duration, a time of day or a moment; null: no limit.
    """
    limits = (max_core_hours, deadline)
    with (
        _work(lambda: standalone.studying(study, store, overrides, cluster, workers, *limits)) as work,
        steps_from(work),
    ):
        sweep(study, store, overrides, cluster, workers, *limits)
        aggregate(study, store, overrides, cluster, workers)
        written = report(study, store, overrides)
        create_markdown_artifact(work.words(), key=f"study-{work.name}")
        return written


@callable_flow("disac-compare", run_name="{sources}")
def compare(
    sources: Sources,
    store: StoreFolder = "results",
    name: ComparisonName | None = None,
    over: str | None = None,
    edge: str | None = None,
) -> str:
    """Join published cubes into one, and publish it with its surfaces and report; return the name of the comparison.

    Args:
        sources: Published cubes: STUDY, STUDY@VERSION (its beginning) or STORE:STUDY. Differences are from the first one.
        store: Store of the comparison, and of the sources that name none.
        name: Name of the comparison; null: made of the sources.
        over: Axis to average over, or none; null: realisation, if there is one.
        edge: Numeric axis along which the largest feasible value is found; null: none.
    """
    with _work(lambda: standalone.comparing(sources, store, name, over, edge)) as work:
        _tasks(work, "join", "aggregate", "report")
        create_markdown_artifact(work.words(), key=f"comparison-{work.name}")
        return work.name


@callable_flow("disac-refine")
def refine(
    study: StudySource, on: Text, tolerance: Text = "2%", axes: Texts = [], step: Texts = [], budget: Cells | None = None,
    store: StoreFolder = "results", overrides: Overrides = [], cluster: str | None = None, workers: Workers | None = None,
    max_core_hours: CoreHours | None = None, deadline: str | None = None,
) -> str:  # fmt: skip
    """Compute few cells of a dense lattice so that interpolation keeps a tolerance; return the file of the derived study.

    Cube, surfaces and report of the derived study are published, and the filled lattice.

    Args:
        study: A study of data/studies by name, or the path of a study file.
        on: Variable or column that is refined.
        tolerance: Largest error of its mean: a share such as 2%, or a number in its unit.
        axes: Axes to refine; an empty list means all numeric axes with points between their ends.
        step: Finest steps: 1/64 of each axis, NAME=1/32 or NAME=0.5.
        budget: Most cells, stored ones included; null: no limit.
        store: Folder that holds ledger, cubes, surfaces and reports.
        overrides: Changed values of the study, such as axes.sinr_db=0:40:10.
        cluster: A profile of dask_config.yaml, or the address of a Dask scheduler; null: the configuration's profile.
        workers: Local worker processes; null: the profile's number.
        max_core_hours: Worker time that the refinement may spend; null: no limit.
        deadline: Latest end of the refinement: a duration, a time of day or a moment; null: no limit.
    """
    wish = Wish(study, on, tolerance, axes, step, budget, overrides)
    limits = (max_core_hours, deadline)
    with _work(lambda: standalone.refining(wish, store, cluster, workers, *limits)) as work:
        file = _tasks(work, "refine")
        _tasks(work, "report")
        create_markdown_artifact(work.words(), key=f"refinement-{work.name}")
        return file

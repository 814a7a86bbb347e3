"""The work of flows that stand alone: each context gives the steps of one flow, and holds what they need meanwhile.

Nothing here touches signals or other processes of the caller, which may be a notebook or a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect.events import emit_event
from rich.console import Console

from flows.comparison import Comparison, comparison_of, fresh_comparison
from flows.limits import budget_of
from flows.refined_words import sentences, summary_of
from flows.refining import Wish, asked_for, derived_file, refined
from flows.rounds import sweeps
from flows.run import Run
from flows.steps import Steps, Work
from flows.sweeping import compute_missing
from flows.terms import Terms
from flows.up_to_date import fresh_report, fresh_surfaces
from pipeline.lock import study_lock
from pipeline.refining import Refinement
from pipeline.store import open_store_backend

PUBLISHED = "disac.cube.published"
"""Name of the event that a sweep emits. Automations answer it; ``prefect.yaml`` has one."""


@contextmanager
def sweeping(
    study: str, store: str, overrides: Sequence[str], cluster: str | None, workers: int | None, max_core_hours: float | None,
    deadline: str | None,
) -> Iterator[Work]:  # fmt: skip
    """Compute and publish a study under its lock; emit :data:`PUBLISHED` at the end."""
    run = Run(study, store, overrides)
    terms = Terms(cluster, workers, budget=budget_of(max_core_hours, deadline))
    with study_lock(run.store, run.study.name):
        yield Work(run.study.name, Steps(_sweep(run, terms)).do, run.words)
    _emit_published(run)


@contextmanager
def studying(
    study: str, store: str, overrides: Sequence[str], cluster: str | None, workers: int | None, max_core_hours: float | None,
    deadline: str | None,
) -> Iterator[Work]:  # fmt: skip
    """Compute and publish a study, its surfaces and its report under its lock."""
    run = Run(study, store, overrides)
    terms = Terms(cluster, workers, budget=budget_of(max_core_hours, deadline))
    later = {"aggregate": lambda: fresh_surfaces(run, cluster, workers), "report": lambda: fresh_report(run)}
    with study_lock(run.store, run.study.name):
        yield Work(run.study.name, Steps(_sweep(run, terms) | later).do, run.words)


@contextmanager
def aggregating(
    study: str, store: str, overrides: Sequence[str], cluster: str | None, workers: int | None
) -> Iterator[Work]:  # fmt: skip
    """Publish the surfaces of a study's stored cells."""
    run = Run(study, store, overrides)
    yield Work(run.study.name, Steps({"aggregate": lambda: fresh_surfaces(run, cluster, workers)}).do, run.words)


@contextmanager
def reporting(study: str, store: str, overrides: Sequence[str]) -> Iterator[Work]:
    """Write the report of a study's stored cells, or of a comparison."""
    comparison = comparison_of(open_store_backend(store), study)
    if comparison is not None:
        yield Work(study, Steps({"report": lambda: fresh_comparison(comparison)}).do, lambda: study)
        return
    run = Run(study, store, overrides)
    yield Work(run.study.name, Steps({"report": lambda: fresh_report(run)}).do, run.words)


@contextmanager
def comparing(
    sources: Sequence[str], store: str, name: str | None, over: str | None, edge: str | None
) -> Iterator[Work]:  # fmt: skip
    """Publish a comparison with its surfaces and report."""
    comparison = Comparison(sources, store, name, over=over, edge=edge)
    yield Work(comparison.name, Steps(comparison.steps).do, comparison.words)


@contextmanager
def refining(
    wish: Wish, store: str, cluster: str | None, workers: int | None, max_core_hours: float | None, deadline: str | None
) -> Iterator[Work]:  # fmt: skip
    """Refine a study under the lock of its derived study, and publish cube, surfaces and report of that one."""
    asked, backend = asked_for(wish), open_store_backend(store)
    terms = Terms(cluster, workers, budget=budget_of(max_core_hours, deadline))
    found: list[Refinement] = []

    def refine() -> str:
        found.append(refined(asked, backend, sweep, terms.budget, Console()))
        return derived_file(asked, backend)

    def report() -> str:
        return fresh_report(Run(derived_file(asked, backend), store))

    def words() -> str:
        return "\n\n".join(sentences(summary_of(asked, found[0])))

    with study_lock(backend, asked.derived), sweeps(backend, terms, Console()) as sweep:
        yield Work(asked.derived, Steps({"refine": refine, "report": report}).do, words)


def _sweep(run: Run, terms: Terms) -> dict[str, Callable[[], Any]]:
    from flows.cluster import connect

    def sweep() -> int:
        return compute_missing(run, terms, lambda: connect(terms.cluster, terms.workers), Console(), lambda: None)

    return {"plan": run.begin, "sweep": sweep, "publish": run.publish}


def _emit_published(run: Run) -> None:
    resource = {"prefect.resource.id": f"disac.cube.{run.study.name}", "prefect.resource.name": run.study.name}
    emit_event(PUBLISHED, resource, payload=run.parameters | {"cube_key": run.plan.cube_key})

"""The command ``ask``: which points of a study meet a wish, and what the cheapest of them are."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.commands.common import (
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    AsJson,
    ClusterName,
    CoreHours,
    Deadline,
    Force,
    Insecure,
    Overrides,
    StoreFolder,
    StudyName,
    WorkerCount,
    emit,
)
from pipeline.terminal_text import printable

_NARROWEST, _WIDEST = 60, 160


def ask(
    study: StudyName,
    wish: Annotated[str, typer.Argument(help="Such as 'error_m <= 5 cm and rate_bps_hz >= 4 in 90 % of realisations'.")],
    minimise: Annotated[
        str, typer.Option("--minimise", help="What is to be small, the most important first: node_count,-se_bps_hz.")
    ] = "",
    store: StoreFolder = "results",
    set_: Overrides = None,
    decide: Annotated[
        bool, typer.Option("--decide", help="Compute more realisations of undecided points, the cheapest points first.")
    ] = False,
    most: Annotated[int, typer.Option("--most-realisations", min=1, help="Most realisations of a point with --decide.")] = 100,
    cluster: ClusterName = None,
    workers: WorkerCount = None,
    insecure: Insecure = False,
    force: Force = False,
    max_core_hours: CoreHours = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Say which points of a study meet a wish in so many of their realisations, which are cheapest, and what just misses.

    Exit code 0: the question is answered, also if no point meets the wish. 3: no point is known to meet it, but some are
    undecided. 1: some cells of the study failed.
    """
    from flows.asking import Question
    from pipeline.asking.shown import as_data, as_text
    from pipeline.errors import UsageError

    question = Question(study, store, set_ or (), wish, [minimise])
    if not decide and not question.base.plan.choice.present.any():
        raise UsageError(f"no cell of '{question.base.study.name}' is in '{store}' yet: run `disac run {study}` first")
    if decide:
        answer = _decided(question, most, cluster, workers, insecure, force, max_core_hours, deadline, as_json)
    else:
        answer = question.answer()
    if as_json:
        emit({"study": question.base.study.name} | as_data(answer))
    else:
        width = min(max(Console().width, _NARROWEST), _WIDEST)
        print(printable(as_text(answer, _shown, width)))
    sys.stdout.flush()
    if not answer.counts["met"] and answer.counts["undecided"]:
        raise typer.Exit(EXIT_INCOMPLETE)
    raise typer.Exit(EXIT_FAILED if question.plan.failed.any() else 0)


def _shown(value: Any, unit: str) -> str:
    from flows.field_values import field_value

    return field_value(value, unit)


def _decided(
    question: Any, most: int, cluster: str | None, workers: int | None, insecure: bool, force: bool,
    max_core_hours: float | None, deadline: str | None, as_json: bool,
) -> Any:  # fmt: skip
    from flows.deciding import decide
    from flows.limits import budget_of
    from flows.rounds import rounds
    from flows.terms import Terms

    console, budget = Console(stderr=as_json), budget_of(max_core_hours, deadline)

    def tell(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    with rounds(
        question.base.store, question.base.study.name, Terms(cluster, workers, insecure, force, budget), console
    ) as sweep:
        answer = decide(question, sweep, most=most, budget=budget, tell=tell)
    console.print()
    return answer

"""The interface between the engine and experiments, and the search for an experiment by its name.

The engine uses experiments through these Protocols only; it imports no science. It finds an experiment by the entry point in
the group ``disac.experiments``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel

from pipeline.errors import UsageError, near_miss
from pipeline.installed import installed

STATUS_CODES: dict[str, int] = {
    "missing": 0,
    "not_planned": 1,
    "ok": 2,
    "inaccurate": 3,
    "infeasible": 4,
    "failed": 5,
}
"""Status of a cell (rule C1). These numbers never change."""

RAISED = "Raised an exception: "
"""Beginning of the sentence of a cell whose experiment raised: an error of the program, not a finding of a method."""

STATUS_NAMES = {code: name for name, code in STATUS_CODES.items()}

ENTRY_POINT_GROUP = "disac.experiments"

EARLIEST_IMPORT = time.time()
"""Time at which this module was imported: no experiment was loaded through this module earlier."""


class Variable(Protocol):
    """A variable of an experiment's output schema (rule C2)."""

    @property
    def name(self) -> str: ...
    @property
    def dims(self) -> tuple[str, ...]: ...  # own dimensions of one cell; () for a scalar
    @property
    def coords(self) -> Mapping[str, tuple[Any, ...]]: ...  # labels of own dimensions of fixed length, may be empty
    @property
    def dtype(self) -> str: ...  # numpy name, or "str" for variable-length UTF-8
    @property
    def unit(self) -> str: ...
    @property
    def long_name(self) -> str: ...
    @property
    def kind(self) -> Literal["cube", "detail"]: ...
    @property
    def volatile(self) -> bool: ...  # seconds, host: outside the promise of equal bits (rule R2)

    # ``optional: bool``, where a variable has it, says that a cell may leave it out; see is_optional.


@runtime_checkable
class Experiment(Protocol):
    """A computation that takes scenarios and returns labelled results."""

    @property
    def name(self) -> str: ...
    @property
    def scenario_model(self) -> type[BaseModel]: ...
    @property
    def options_model(self) -> type[BaseModel]: ...
    @property
    def line_axes(self) -> tuple[str, ...]: ...  # dotted scenario paths that run() may see together in one call
    @property
    def variables(self) -> tuple[Variable, ...]: ...
    @property
    def modules(self) -> tuple[str, ...]: ...  # modules whose code defines the result (roots of the code digest)

    def run(self, scenarios: Sequence[Any], options: Any) -> Sequence[Mapping[str, Any]]:
        """Evaluate one line of cells.

        The scenarios differ along ``line_axes`` only. The method returns one mapping per scenario with ``status`` (ok,
        inaccurate, infeasible or failed), ``message`` (a sentence, may be empty for ``ok``) and a value per variable name. A
        cell that is ok or inaccurate gives every variable that is not declared optional (rule W6). A variable that is left
        out takes its missing value.
        """
        ...


@runtime_checkable
class Recheckable(Protocol):
    """An experiment that can judge a stored result from the design or proof stored beside it."""

    def recheck(self, scenario: Any, options: Any, stored: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each promise that a stored result does not keep.

        The stored result holds all its variables, detail included, and its ``status``.
        """
        ...


@runtime_checkable
class Resourceful(Protocol):
    """An experiment whose tasks need more from a worker than one thread."""

    @property
    def resources(self) -> Mapping[str, float]: ...  # of ONE task, such as {"memory": 4e9, "GPU": 1}; memory in bytes


@runtime_checkable
class Costed(Protocol):
    """An experiment that estimates the cost of its cells before any cell has run."""

    @property
    def rough_costs(self) -> Sequence[tuple[Mapping[str, Any], float]]:
        """Return pairs of options and rough seconds of a cell with all these options on one core; the first match counts."""
        ...


@runtime_checkable
class Sharing(Protocol):
    """An experiment whose cells share their costly part along some axes."""

    def shared_axes(self, options: Any) -> Sequence[str]:
        """Return the dotted scenario paths of ``line_axes`` along which cells with these options share the costly part."""
        ...


@runtime_checkable
class Headlined(Protocol):
    """An experiment that names the variable that a report shows if the study names none."""

    @property
    def main_metric(self) -> str: ...


def rough_seconds(experiment: Experiment, options: Mapping[str, Any]) -> float | None:
    """Return the rough seconds of one cell with these options; None if the experiment gives no estimate."""
    costs = experiment.rough_costs if isinstance(experiment, Costed) else ()
    return next((cost for chosen, cost in costs if all(options.get(k) == v for k, v in chosen.items())), None)


def is_optional(variable: Variable) -> bool:
    """Return whether a variable is optional (rule W6).

    A cell that is ok may leave an optional variable out, or give fewer entries than the variable's dimension has labels.
    """
    return bool(getattr(variable, "optional", False))


def experiment_names() -> list[str]:
    """Return the names of all installed experiments."""
    return sorted(installed(ENTRY_POINT_GROUP).names)


def load_experiment(name: str) -> Experiment:
    """Find an experiment by its entry point.

    Raises
    ------
    UsageError
        If no installed distribution offers the name.
    """
    for point in installed(ENTRY_POINT_GROUP).select(name=name):
        experiment: Experiment = point.load()
        return experiment
    names = experiment_names()
    raise UsageError(f"experiment '{name}' is not installed; known: {', '.join(names)}{near_miss(name, names)}")

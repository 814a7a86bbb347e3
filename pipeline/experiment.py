"""What the engine asks of an experiment, and how it finds one.

The engine meets experiments through these Protocols only; it imports no science. An experiment is found by its entry
point in the group ``disac.experiments``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel

from pipeline.errors import UsageError, near_miss

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
"""How the sentence of a failed cell begins whose experiment raised: an error of the program, not a finding of a method."""

STATUS_NAMES = {code: name for name, code in STATUS_CODES.items()}

ENTRY_POINT_GROUP = "disac.experiments"

EARLIEST_IMPORT = time.time()
"""No experiment was loaded through this module before."""


class Variable(Protocol):
    """One variable of an experiment's output schema (rule C2)."""

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
    """Scenario in, labelled result out."""

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

        The scenarios differ along ``line_axes`` only. Returns one mapping per scenario with ``status`` (ok, inaccurate,
        infeasible or failed), ``message`` (a sentence, may be empty for ``ok``) and a value per variable name. A cell that is
        ok or inaccurate gives every variable that is not declared optional (rule W6); one left out takes its missing value.
        """
        ...


@runtime_checkable
class Recheckable(Protocol):
    """An experiment that can judge a stored result from the design or proof stored beside it."""

    def recheck(self, scenario: Any, options: Any, stored: Mapping[str, Any]) -> list[str]:
        """Sentences on what a result (all its stored variables, detail included, and its ``status``) promises and does not
        keep."""
        ...


@runtime_checkable
class Resourceful(Protocol):
    """An experiment whose tasks need more of a worker than one thread."""

    @property
    def resources(self) -> Mapping[str, float]: ...  # of ONE task, such as {"memory": 4e9, "GPU": 1}; memory in bytes


@runtime_checkable
class Costed(Protocol):
    """An experiment that says what its cells cost before anything has run."""

    @property
    def rough_costs(self) -> Sequence[tuple[Mapping[str, Any], float]]:
        """Options, and the rough seconds of a cell on one core where all of them are chosen; the first that fits counts."""
        ...


@runtime_checkable
class Sharing(Protocol):
    """An experiment whose cells share their costly part along some axes."""

    def shared_axes(self, options: Any) -> Sequence[str]:
        """Dotted scenario paths, among ``line_axes``, along which cells with these options share it."""
        ...


@runtime_checkable
class Headlined(Protocol):
    """An experiment that names the variable that a report shows where its study names none."""

    @property
    def main_metric(self) -> str: ...


def rough_seconds(experiment: Experiment, options: Mapping[str, Any]) -> float | None:
    """Rough seconds of one cell with these options; None where the experiment does not say."""
    costs = experiment.rough_costs if isinstance(experiment, Costed) else ()
    return next((cost for chosen, cost in costs if all(options.get(k) == v for k, v in chosen.items())), None)


def is_optional(variable: Variable) -> bool:
    """Whether a cell that is ok may leave the variable out, or give less of it than its dimension has labels (rule W6)."""
    return bool(getattr(variable, "optional", False))


@lru_cache(maxsize=8)
def _installed(path: tuple[str, ...]) -> EntryPoints:
    """The experiments that are installed along a path; looking through all distributions takes a hundredth of a second."""
    return entry_points(group=ENTRY_POINT_GROUP)


def experiment_names() -> list[str]:
    """Names of all installed experiments."""
    return sorted(_installed(tuple(sys.path)).names)


def load_experiment(name: str) -> Experiment:
    """Find an experiment by its entry point.

    Raises
    ------
    UsageError
        If no installed distribution offers the name.
    """
    for point in _installed(tuple(sys.path)).select(name=name):
        experiment: Experiment = point.load()
        return experiment
    names = experiment_names()
    raise UsageError(f"experiment '{name}' is not installed; known: {', '.join(names)}{near_miss(name, names)}")

"""Columns of a cube that no cell stores: they are computed from a cell's options and its stored values (rule C8).

A set of columns is found by its entry point in the group ``disac.columns``. The entry point's name is the name of the
experiment, a dot, and a name of the set. For a new or changed column no cell runs again: the next run publishes the cube again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.experiment import Experiment, Variable
from pipeline.installed import installed

if TYPE_CHECKING:
    from pipeline.grid import Cells
    from pipeline.study import Study

COLUMN_GROUP = "disac.columns"


class Columns(Protocol):
    """Variables with one number for each cell, computed when a cube is published."""

    @property
    def variables(self) -> tuple[Variable, ...]: ...
    @property
    def needs(self) -> tuple[str, ...]:
        """Return the variables of kind ``cube`` that the columns need. A study that keeps fewer has no such columns."""
        ...

    def compute(self, options: Any, stored: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Compute the columns of the cells that have the same options.

        Parameters
        ----------
        options
            The experiment's options, validated.
        stored
            The values of each variable in ``needs`` [cells, own dimensions]; missing values for cells without one.

        Returns
        -------
        Mapping of str to array, shape [cells]
            The values of each of ``variables`` by its name.
        """
        ...


def columns_of(experiment: Experiment) -> dict[str, Columns]:
    """Return the installed columns for an experiment, by the names of their entry points.

    Raises
    ------
    UsageError
        If a column has the name of a variable, or two columns have one name.
    """
    found = {p.name: p for p in installed(COLUMN_GROUP) if p.name.partition(".")[0] == experiment.name}
    columns = {name: found[name].load() for name in sorted(found)}
    taken = {variable.name: f"the experiment '{experiment.name}'" for variable in experiment.variables}
    for name, each in columns.items():
        for variable in each.variables:
            if variable.name in taken:
                raise UsageError(f"the columns '{name}' declare '{variable.name}', which {taken[variable.name]} declares, too")
            taken[variable.name] = f"'{name}'"
    return columns


def column_names(experiment: Experiment) -> list[str]:
    """Return the names of all columns that are installed for an experiment."""
    return [variable.name for each in columns_of(experiment).values() for variable in each.variables]


def kept_columns(study: Study) -> dict[str, Columns]:
    """Return the columns for which a study keeps all the variables that they need."""
    kept = {v.name for v in study.experiment.variables if v.kind == "cube" and (study.keep is None or v.name in study.keep)}
    return {name: each for name, each in columns_of(study.experiment).items() if kept.issuperset(each.needs)}


def columns_digest(study: Study) -> dict[str, str]:
    """Return the digest of the module that defines each of a study's columns: an edit of the module makes another cube."""
    modules = {name: sys.modules[type(each).__module__] for name, each in kept_columns(study).items()}
    return {
        name: blake2b(Path(str(module.__file__)).read_bytes(), digest_size=16).hexdigest() for name, module in modules.items()
    }


def computed_columns(
    study: Study, cells: Cells, there: NDArray[np.bool_], stored: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[Variable, NDArray[Any]]]:
    """Compute the columns of a study's cells.

    Parameters
    ----------
    there
        Mask of the planned cells that are stored [cells].
    stored
        Variables of the stored cells by their names [stored cells, own dimensions].

    Yields
    ------
    variable, values
        A column and its values [stored cells], in the dtype that the column declares.

    Raises
    ------
    UsageError
        If columns give other names or shapes than they declare.
    """
    groups = list(cells.by_options(np.flatnonzero(there)))
    for name, columns in kept_columns(study).items():
        dense = {v.name: np.empty(int(there.sum()), dtype=np.dtype(v.dtype)) for v in columns.variables}
        for options, places in groups:
            values = columns.compute(options, {needed: stored[needed][places] for needed in columns.needs})
            if set(values) != set(dense):
                raise UsageError(f"the columns '{name}' declare {sorted(dense)} and give {sorted(values)}")
            for column, given in values.items():
                if np.shape(given) != (len(places),):
                    raise UsageError(f"the columns '{name}': '{column}' has shape {np.shape(given)} for {len(places)} cells")
                dense[column][places] = given
        yield from ((variable, dense[variable.name]) for variable in columns.variables)

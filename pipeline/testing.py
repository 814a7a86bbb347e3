"""One shared test that every experiment passes (rule R2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.grid import expand
from pipeline.study import Study


def check_line_independence(study: Study, *, cells: int = 7) -> list[Mapping[str, Any]]:
    """Check that the results of a study's first line do not depend on how its cells are grouped and ordered.

    The line runs as a whole, in pieces of 1 and 2 cells, permuted, and after its last cell. No bit may differ, except in
    variables that are declared volatile. A worker runs one line after the other, so an experiment without line axes, whose
    lines are single cells, is tested, too.

    Parameters
    ----------
    cells
        Most cells of the line that are run.

    Returns
    -------
    list
        The results of the line, one for each cell.

    Raises
    ------
    AssertionError
        If a bit differs; the error names the first variable and cell that differ.
    """
    planned = expand(study)
    along = [a for a, axis in enumerate(planned.axes) if set(axis.paths) <= set(study.experiment.line_axes)]
    others = [a for a in range(len(planned.axes)) if a not in along]
    first = planned.index[0, others]
    line = np.flatnonzero((planned.index[:, others] == first).all(axis=1))[:cells]
    scenarios = [planned.scenario(int(i)) for i in line]
    options = planned.options(int(line[0]))
    run, count = study.experiment.run, len(scenarios)
    whole = run(scenarios, options)
    back = np.random.default_rng(0).permutation(count)
    permuted = run([scenarios[i] for i in back], options)
    for size in (1, 2):
        cut = [r for start in range(0, count, size) for r in run(scenarios[start : start + size], options)]
        _compare(study, whole, cut, f"pieces of {size}")
    _compare(study, [whole[i] for i in back], permuted, "permuted")
    last = len(planned.index) - 1
    run([planned.scenario(last)], planned.options(last))
    _compare(study, whole[:1], run(scenarios[:1], options), "after the last cell")
    return list(whole)


def _compare(study: Study, expected: Any, found: Any, how: str) -> None:
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert a["status"] == b["status"], f"{how}: cell {number}: status {a['status']} became {b['status']}"
        for variable in study.experiment.variables:
            if not variable.volatile:
                assert _bits(a, variable.name) == _bits(b, variable.name), f"{how}: cell {number}: '{variable.name}' differs"


def _bits(result: Mapping[str, Any], name: str) -> bytes | None:
    if name not in result:
        return None
    value = np.asarray(result[name])
    return str(value).encode() if value.dtype.kind in "UOT" else value.tobytes()

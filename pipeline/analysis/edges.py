"""How far a numeric axis can be followed until cells become infeasible, bracketed for each realisation."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.cells import (
    REALISATION,
    Bool,
    Float,
    check_names,
    coordinates,
    feasible_cells,
    long_name_of,
    numeric_labels,
    other_axes,
    units_of,
    worded,
)
from pipeline.analysis.intervals import CONFIDENCE, STATISTIC_AXIS, check_confidence, student
from pipeline.errors import UsageError

CASES = {
    "bracketed": "The edge lies between the last feasible and the first infeasible value.",
    "everywhere": "The last value of the axis is feasible, and no value is known to be infeasible: the edge lies beyond it.",
    "nowhere": "The first value of the axis is infeasible already: the edge lies before it.",
    "no_infeasible_known": "Every decided value is feasible, and cells after the last feasible value are missing.",
    "no_feasible_known": "The first decided value is infeasible, and cells before it are missing.",
    "undecided": "No cell is decided.",
}
"""What is known of the edge of one realisation."""

MEANS = {
    "all_bracketed": "Every realisation is bracketed: the mean edge lies between the two means.",
    "some_bracketed": "The means are of the bracketed realisations alone, no fair sample of all; see `realisations`.",
    "one_bracketed": "One realisation alone is bracketed: there is no interval.",
    "none_bracketed": "No realisation is bracketed: there is no mean; see `realisations`.",
}
"""What the statistics over realisations are of."""


def feasibility_edge(
    cube: xr.Dataset,
    along: str,
    over: str | None = REALISATION,
    *,
    toward: Literal["higher", "lower"] | None = None,
    confidence: float = CONFIDENCE,
) -> xr.Dataset:
    """Bracket the edge of feasibility along a numeric axis, for each realisation and over realisations.

    The axis is followed from its easy end to its hard end. The first infeasible value is the first one there that is known to
    be infeasible; the last feasible value is the last one before it that is known to be feasible. Cells that are missing,
    failed or not planned are not decided: they widen the bracket and are counted.

    Parameters
    ----------
    cube
        A cube. The labels of ``along`` may stand in any order.
    along
        Numeric axis.
    over
        Axis of realisations; None if there is none.
    toward
        Whether cells become infeasible toward ``higher`` or ``lower`` values. Without it the end is taken that has fewer
        feasible cells, and ``higher`` if both have as many.
    confidence
        Of the Student intervals.

    Returns
    -------
    xarray.Dataset
        ``last_feasible`` and ``first_infeasible`` (units of the axis; NaN where ``status`` says why), ``status`` (words of
        :data:`CASES`), ``undecided_between`` (cells between the two values that are not decided), ``feasible_again``
        (whether a value beyond the first infeasible one is feasible) and ``last_feasible_again``, for each realisation.
        ``last_feasible_mean`` and ``first_infeasible_mean`` with the dimension ``statistic``, over the bracketed realisations,
        ``means_status`` (words of :data:`MEANS`), ``realisations`` (their number in each ``case``) and
        ``feasible_again_count``. If all are bracketed, the mean edge lies between the lower ``ci_low`` and the higher
        ``ci_high`` of both with at least the stated confidence.

    Raises
    ------
    UsageError
        If an axis does not exist or is not numeric.
    """
    check_confidence(confidence)
    check_names(cube, "case")
    rest = other_axes(cube, over, along)
    labels = numeric_labels(cube, along)
    if toward not in (None, "higher", "lower"):
        raise UsageError(f"toward '{toward}': 'higher' or 'lower' is needed, or None")
    order = np.argsort(labels, kind="stable")
    feasible, infeasible = (np.moveaxis(a, len(rest), -1)[..., order] for a in feasible_cells(cube, (*rest, along), over))
    chosen = toward or _hard_end(feasible, infeasible)
    if chosen == "lower":
        order, feasible, infeasible = order[::-1], feasible[..., ::-1], infeasible[..., ::-1]
    found = _brackets(labels[order], feasible, infeasible)
    return _labelled(cube, found, rest, along, over, chosen, confidence)


def _hard_end(feasible: Bool, infeasible: Bool) -> str:
    """Return the end of the sorted axis with fewer feasible cells, of lines whose two ends are both decided."""
    ends = np.stack([feasible[..., 0], feasible[..., -1]], -1)
    decided = ends | np.stack([infeasible[..., 0], infeasible[..., -1]], -1)
    low, high = (ends & decided.all(-1, keepdims=True)).reshape(-1, 2).sum(0)
    return "lower" if low < high else "higher"


def _brackets(values: Float, feasible: Bool, infeasible: Bool) -> dict[str, NDArray[Any]]:
    """Return both ends of the bracket of each line [..., n], from the easy end on."""
    length = values.size
    places = np.arange(length)
    some_infeasible = infeasible.any(-1)
    first = np.where(some_infeasible, infeasible.argmax(-1), length)
    before = feasible & (places < first[..., np.newaxis])
    some_feasible = before.any(-1)
    last = np.where(some_feasible, length - 1 - before[..., ::-1].argmax(-1), -1)
    beyond = feasible & (places > first[..., np.newaxis])
    again = beyond.any(-1)
    code = np.select(
        [
            some_feasible & some_infeasible,
            some_feasible & (last == length - 1),
            some_infeasible & (first == 0),
            some_feasible,
            some_infeasible,
        ],
        range(5),
        default=5,
    )
    padded = np.append(values, np.nan)
    return {
        "last": padded[last],
        "first": padded[first],
        "code": code,
        # Between the two ends no cell is feasible and none is infeasible: all of them are undecided.
        "between": first - last - 1,
        "again": again,
        "last_again": padded[np.where(again, length - 1 - beyond[..., ::-1].argmax(-1), -1)],
    }


def _labelled(
    cube: xr.Dataset, found: dict[str, NDArray[Any]], rest: tuple[str, ...], along: str, over: str | None, toward: str,
    confidence: float,
) -> xr.Dataset:  # fmt: skip
    units, axis = units_of(cube[along]), long_name_of(cube[along])
    lines = rest if over is None else (*rest, over)
    shape = tuple(cube.sizes[d] for d in lines)
    ends = {"last_feasible": ("last", f"last feasible {axis}"), "first_infeasible": ("first", f"first infeasible {axis}")}
    bracketed = found["code"] == 0
    data: dict[str, Any] = {}
    for name, (key, words) in ends.items():
        data[name] = (lines, found[key].reshape(shape), {"units": units, "long_name": words})
        mean = student(np.where(bracketed, found[key], 0.0), bracketed, confidence)
        data[f"{name}_mean"] = ((*rest, "statistic"), mean, {"units": units, "long_name": f"{words}, bracketed realisations"})
    data["status"] = worded(lines, found["code"].reshape(shape), CASES, f"what is known of the edge along {axis}")
    between = np.where(bracketed, found["between"], 0).reshape(shape)
    data["undecided_between"] = (lines, between, {"units": "1", "long_name": "undecided cells within the bracket"})
    data["feasible_again"] = (
        lines,
        found["again"].reshape(shape),
        {"long_name": "whether a value beyond the first infeasible one is feasible"},
    )
    words = f"last feasible {axis} beyond the first infeasible one"
    data["last_feasible_again"] = (lines, found["last_again"].reshape(shape), {"units": units, "long_name": words})
    count = bracketed.sum(-1)
    state = np.select([count == 0, count == 1, count == bracketed.shape[-1]], [3, 2, 0], default=1)
    data["means_status"] = worded(rest, state, MEANS, "what the means over realisations are of")
    cases = np.stack([(found["code"] == code).sum(-1) for code in range(len(CASES))], axis=-1)
    data["realisations"] = ((*rest, "case"), cases, {"units": "1", "long_name": "realisations in each case"})
    again = found["again"].sum(-1)
    data["feasible_again_count"] = (rest, again, {"units": "1", "long_name": "realisations that are feasible again"})
    kept = coordinates(cube, lines) | {
        "statistic": STATISTIC_AXIS,
        "case": ("case", np.array(list(CASES), dtype=object), {"long_name": "what is known of the edge"}),
    }
    return xr.Dataset(data, kept, {"along": along, "over": over or "", "toward": toward, "confidence": confidence})

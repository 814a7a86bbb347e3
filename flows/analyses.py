"""Standing questions to the main variable of a report: which design is best, what a step is worth, what the variance is from.

The answers of :mod:`pipeline.analysis` are published beside the surfaces as one group, so that a report computes nothing. Each
answer has names of its own: ``best_winner``, ``variance_share``, ``sinr_db_ratio`` along ``sinr_db_step``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from flows.report.measured import best_is
from pipeline import analysis
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES
from pipeline.statistics import STATISTIC
from pipeline.study import SurfaceSpec

MOST_CELLS = 5_000_000
"""Most cells of a cube that is analysed as a whole, in memory."""
BEST, VARIANCE, EDGE, FRONT = "best", "variance", "edge", "front"
_STEPS = ("change", "rate", "ratio", "status", "ratio_status")
_SHARES = ("share", "share_all_realisations", "first_order", "total_share", "status", "interval_status")
_VERDICTS = ("winner", "runner_up", "margin", "status", "state", "behind")
_BRACKETS = ("last_feasible_mean", "first_infeasible_mean", "means_status", "realisations")
_UNBEATEN = ("status", "nondominated_count", "margin", "margin_status")


def analyses_of(cube: xr.Dataset, metric: str, spec: SurfaceSpec, front: Sequence[str] = ()) -> xr.Dataset:
    """Answer the standing questions to one variable of a cube.

    Parameters
    ----------
    cube
        A cube that holds ``status`` and the variable.
    metric
        Name of the variable: one real number for each cell.
    spec
        The axes of realisations (``over``), of what is compared (``paired``), and of feasibility (``edge``).
    front
        Two variables of the cube whose nondominated points are sought; none: no front.

    Returns
    -------
    xarray.Dataset
        ``best_*`` of :func:`pipeline.analysis.best_value` along the paired axis, if the field says which values are good; of a
        positive variable by its logarithm, so that margins are factors (attribute ``scale``: ``factor`` or ``difference``);
        ``variance_*`` of :func:`pipeline.analysis.variance_shares`; ``<axis>_*`` of :func:`pipeline.analysis.change_per_step`
        for each numeric axis with two values or more; ``edge_*`` of :func:`pipeline.analysis.feasibility_edge` along the edge
        axis; ``front_*`` of :func:`pipeline.analysis.nondominated`. The attribute ``refused`` holds a sentence for each
        question without an answer, as JSON.
    """
    found, refused = [], {}
    for name, kept, question in _questions(cube, metric, spec, front):
        try:
            found.append(_named(question(), name, kept, cube))
        except UsageError as error:
            refused[name] = str(error)
    answers = xr.merge(found, join="exact", compat="equals", combine_attrs="override") if found else xr.Dataset()
    aside = " ".join(str(name) for name in answers.coords if name not in answers.dims)
    scale = found[0].attrs.get("scale", "difference") if found else "difference"
    told = {"scale": scale, "metric": metric, "refused": json.dumps(refused), "coordinates": aside}
    return answers.drop_attrs(deep=False).assign_attrs(told)


def _questions(
    cube: xr.Dataset, metric: str, spec: SurfaceSpec, front: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...], Callable[[], xr.Dataset]]]:
    """Give each question with its name and the variables of its answer that are kept."""
    axes = [str(d) for d in cube["status"].dims]
    direction = _direction(metric)
    if spec.paired in axes and direction is not None:
        yield BEST, _VERDICTS, lambda: _best(cube, metric, str(spec.paired), direction, spec.over)
    if sum(cube.sizes[axis] > 1 for axis in axes) > 1:
        yield VARIANCE, _SHARES, lambda: analysis.variance_shares(cube, metric, spec.over)
    if spec.edge in axes:
        yield EDGE, _BRACKETS, lambda: analysis.feasibility_edge(cube, str(spec.edge), spec.over)
    ways = {name: _direction(name) for name in front if _direction(name) is not None}
    if len(ways) > 1:
        yield FRONT, _UNBEATEN, lambda: analysis.nondominated(cube, ways, spec.over)
    for axis in axes:
        if axis != spec.over and cube.sizes[axis] > 1 and axis in cube.coords and cube[axis].dtype.kind in "iuf":

            def steps(axis: str = axis) -> xr.Dataset:
                return analysis.change_per_step(cube, metric, axis, spec.over)

            yield axis, _STEPS, steps


def _best(cube: xr.Dataset, metric: str, axis: str, direction: Literal["min", "max"], over: str | None) -> xr.Dataset:
    """Find the best values by ratios where all values are positive: realisations differ more in size than designs do."""
    feasible = cube["status"].isin([STATUS_CODES["ok"], STATUS_CODES["inaccurate"]])
    values = cube[metric].where(feasible)
    if values.dtype.kind != "f" or not bool((values.isnull() | (values > 0)).all()):
        return analysis.best_value(cube, metric, axis, direction, over).assign_attrs(scale="difference")
    logarithms = cube.assign({metric: np.log(values).assign_attrs(cube[metric].attrs, units="1")})
    found = analysis.best_value(logarithms, metric, axis, direction, over)
    for name in ("margin", "behind"):
        is_count = found["statistic"] == "count"
        with np.errstate(over="ignore"):
            factor = xr.where(is_count, found[name], np.exp(found[name].where(~is_count)))
        found[name] = factor.transpose(*found[name].dims).assign_attrs(found[name].attrs)
    return found.assign_attrs(scale="factor")


def _direction(metric: str) -> Literal["min", "max"] | None:
    return {"smallest": "min", "largest": "max"}.get(str(best_is(metric)))  # type: ignore[return-value]


def _named(answer: xr.Dataset, name: str, kept: tuple[str, ...], cube: xr.Dataset) -> xr.Dataset:
    """Return the kept variables under names that begin with the question's; axes of the cube and statistics keep theirs."""
    part = answer[[variable for variable in kept if variable in answer]]
    shared = {*map(str, cube.coords), *map(str, cube.dims), STATISTIC}
    own = [str(d) for d in (*part.dims, *part.data_vars, *part.coords) if str(d) not in shared]
    return part.rename({one: one if one.startswith(f"{name}_") else f"{name}_{one}" for one in dict.fromkeys(own)})

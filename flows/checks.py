"""Checks: they judge a statement of a paper by a cube and its surfaces. Claims name the checks (:mod:`flows.claims`).

The checks here know labelled numbers and nothing of the field. A check that knows the field is installed by an entry point
(:mod:`flows.installed_checks`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from flows.curve_checks import crossing_gap, crossings_rise, ratio_is, rise_width
from flows.evidence import FEASIBLE, SLACK, Outcome, has_labels, log_ratio, mean_and_half_width, undecided, values_of
from flows.field_values import field_value
from flows.installed_checks import CellCheck, installed_checks, load_check
from pipeline.statistics import edge_variable, has_statistic, statistic


def _lower(cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, axis: str, low: str, high: str) -> Outcome:
    """Judge whether a variable is lower at one label than at another, in the geometric mean over common realisations.

    All points count at which both labels have realisations. The check holds if every point agrees and the ratio's 95 % band
    over realisations excludes one. It fails if a point is reversed beyond its own band, or if all points are equal within
    their bands.
    """
    if not has_labels(cube, axis, low, high):
        return undecided(f"the study lacks {low} or {high}")
    ratio = log_ratio(cube, variable, axis, low, high)
    over = surfaces.attrs.get("over") or ratio.dims[-1]
    pairs = ratio.transpose(..., over).values.reshape(-1, ratio.sizes[over])
    pairs = pairs[np.isfinite(pairs).any(axis=-1)]
    if not pairs.size:
        return undecided("no realisation is feasible for both")
    points = [mean_and_half_width(point) for point in pairs]
    # The points share their realisations, so the mean of a realisation over all points is one draw.
    drawn = [line[np.isfinite(line)].mean() for line in pairs.T if np.isfinite(line).any()]
    mean, half = mean_and_half_width(np.array(drawn))
    agree = sum(m > SLACK for m, _ in points)
    clear = sum(m - h > SLACK for m, h in points)
    reversed_clearly = sum(m + h < -SLACK for m, h in points)
    share = np.exp([m for m, _ in points])
    ours = f"{high} / {low} = {share.min():.3f} to {share.max():.3f}"
    band = f"{np.exp(mean - half):.3f} to {np.exp(mean + half):.3f}" if np.isfinite(half) else "unknown, one realisation"
    evidence = (
        f"{agree} of {len(points)} points agree, {clear} of them with their whole band; {reversed_clearly} contradict with "
        f"their whole band; overall ratio {np.exp(mean):.3f}, 95 % band {band}; {int(np.isfinite(pairs).sum())} pairs of cells"
    )
    equal = all(abs(m) + h <= SLACK for m, h in points)
    if equal or reversed_clearly or mean + half < -SLACK:
        return "fails", ours, evidence
    return ("holds" if agree == len(points) and mean - half > SLACK else "undecided"), ours, evidence


def _never_above(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, axis: str, low: str, high: str, factor: float = 1.0
) -> Outcome:  # fmt: skip
    """Judge whether a variable at one label is nowhere higher than a factor times its value at another label.

    The check compares each realisation, with a tolerance for the accuracy of the solvers.
    """
    if not has_labels(cube, axis, low, high):
        return undecided(f"the study lacks {low} or {high}")
    values = values_of(cube, variable)
    ratio = (values.sel({axis: high}) / values.sel({axis: low})).values
    ratio = ratio[np.isfinite(ratio)]
    if not ratio.size:
        return undecided("no realisation is feasible for both")
    wrong = int((ratio * factor < 1.0 - SLACK).sum())
    ours = f"{high} / {low} = {ratio.min():.4f} to {ratio.max():.3f}"
    return ("fails" if wrong else "holds"), ours, f"{ratio.size - wrong} of {ratio.size} pairs of cells agree"


def _near(cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, bound: str, axis: str, at: float, factor: float) -> Outcome:
    """Judge whether a variable's mean over realisations is within a factor of the mean of another variable.

    The check covers the given value of an axis and all larger values. It uses the 95 % band of the mean: the band must
    overlap the range from 1 / factor to factor, and all of it must lie below twice the factor.
    """
    if bound not in cube or axis not in cube.coords:
        return undecided(f"the study keeps no {bound} along {axis}")
    over = surfaces.attrs.get("over")
    far = cube.where(cube[axis] >= at, drop=True)
    ratio = far[variable].mean(over) / far[bound].mean(over)
    spread = far[variable].std(over, ddof=1) / np.sqrt(far.sizes[over]) / far[bound].mean(over)
    half = stdtrit(max(far.sizes[over] - 1, 1), 0.975) * spread
    known = np.isfinite(ratio.values) & np.isfinite(half.values)
    if not known.any():
        return undecided("no cell is feasible there")
    low, high = (ratio - half).values[known], (ratio + half).values[known]
    good = (low <= factor) & (high >= 1.0 / factor) & (high < 2.0 * factor)
    ours = f"{variable} / {bound} = {ratio.values[known].min():.3f} to {ratio.values[known].max():.3f}"
    return (
        ("holds" if good.all() else "fails"),
        ours,
        f"{int(good.sum())} of {good.size} points from {axis} {field_value(at, cube[axis].attrs.get('units', '1'))}",
    )


def _monotone(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, axis: str, sign: int = 1, start: float | None = None,
    averaged: bool = False,
) -> Outcome:  # fmt: skip
    """Judge whether a variable never falls (never rises for ``sign`` -1) along an axis or a dimension.

    With ``start`` only the values of the axis from it on count. The check compares neighbouring feasible cells of each
    realisation. With ``averaged`` it compares the means over the common realisations of neighbouring values of the axis. Then
    it holds if no mean moves the wrong way, and fails if a mean does so with all of its 95 % band.
    """
    found = values_of(cube, variable)
    if start is not None and axis in found.dims:
        found = found.sel({axis: found[axis] >= start})
    if axis not in found.dims or found.sizes[axis] < 2:
        return undecided(f"the study has one value of {axis}")
    word = "fall" if sign > 0 else "rise"
    if averaged:
        return _monotone_in_the_mean(found, axis, sign, surfaces.attrs.get("over"), word)
    values = found.transpose(..., axis).values
    values = values.reshape(-1, values.shape[-1])
    changes = []
    for line in values:
        known = line[np.isfinite(line)]
        changes.append(np.diff(known) / known[:-1])
    change = np.concatenate(changes) if changes else np.empty(0)
    if not change.size:
        return undecided("no two neighbouring cells are feasible")
    wrong = int((sign * change < -SLACK).sum())
    ours = f"change per step {100 * change.min():+.2f} % to {100 * change.max():+.1f} %"
    return ("holds" if wrong == 0 else "fails"), ours, f"{change.size - wrong} of {change.size} steps do not {word}"


def _monotone_in_the_mean(values: xr.DataArray, axis: str, sign: int, over: str | None, word: str) -> Outcome:
    """Judge the steps of the mean along an axis, relative to the mean before the step.

    Each mean is taken over the realisations that have values at both ends of the step.
    """
    if over not in values.dims:
        return undecided("there are no realisations")
    table = values.transpose(..., axis, over).values
    table = table.reshape(-1, *table.shape[-2:])
    steps = []
    for line in table:
        for before, after in pairwise(line):
            known = np.isfinite(before) & np.isfinite(after)
            if known.any() and before[known].mean() > 0:
                mean, half = mean_and_half_width(sign * (after - before)[known])
                scale = before[known].mean()
                steps.append((mean / scale, half / scale))
    if not steps:
        return undecided("no realisation is feasible at two neighbouring values")
    wrong = sum(m < -SLACK for m, _ in steps)
    clear = sum(m + h < -SLACK for m, h in steps)
    changes = [100 * sign * m for m, _ in steps]
    ours = f"change of the mean per step {min(changes):+.2f} % to {max(changes):+.1f} %"
    evidence = f"{len(steps) - wrong} of {len(steps)} steps of the mean do not {word}, {clear} do beyond their 95 % band"
    return ("fails" if clear else "undecided" if wrong else "holds"), ours, evidence


def _ratio_falls(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, axis: str, low: str, high: str, along: str, floor: float
) -> Outcome:  # fmt: skip
    """Judge whether the ratio of two labels falls from the first to the last value of another axis, but not below a floor.

    The ratio must fall by more than its 95 % band. The check uses the realisations that are feasible for both labels at both
    ends, and shows the geometric mean at every value.
    """
    if not has_labels(cube, axis, low, high) or along not in cube.dims or cube.sizes[along] < 2:
        return undecided(f"the study lacks {low}, {high} or values of {along}")
    ratio = log_ratio(cube, variable, axis, low, high).transpose(along, ...)
    table = ratio.values.reshape(ratio.sizes[along], -1)
    change = table[-1] - table[0]
    if not np.isfinite(change).any():
        return undecided("no realisation is feasible at both ends")
    mean, half = mean_and_half_width(change)
    means = [float(np.exp(row[np.isfinite(row)].mean())) if np.isfinite(row).any() else np.nan for row in table]
    ours = f"{high} / {low} = " + ", ".join(f"{m:.3f}" for m in means)
    evidence = f"at {along} {_named(cube, along)}; last to first {np.exp(mean):.3f}, 95 % band to {np.exp(mean + half):.3f}"
    if mean + half < -SLACK and means[-1] > floor - SLACK:
        return "holds", ours, evidence
    return ("fails" if mean - half > SLACK else "undecided"), ours, evidence


def _named(cube: xr.Dataset, axis: str) -> str:
    return ", ".join(field_value(label, cube[axis].attrs.get("units", "1")) for label in cube[axis].values.tolist())


def _ratio_stays(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, axis: str, low: str, high: str, along: str, tolerance: float
) -> Outcome:  # fmt: skip
    """Judge whether the ratio of two labels is equal at the first and last value of another axis, up to a relative tolerance.

    The check judges every point of the remaining axes, on the realisations that are feasible for both labels at both ends. It
    holds if the 95 % band of the mean change lies within the tolerance at each point. It fails if a band lies outside.
    """
    if not has_labels(cube, axis, low, high) or along not in cube.dims or cube.sizes[along] < 2:
        return undecided(f"the study lacks {low}, {high} or values of {along}")
    ratio = log_ratio(cube, variable, axis, low, high)
    over = surfaces.attrs.get("over") or ratio.dims[-1]
    table = ratio.transpose(along, ..., over).values.reshape(ratio.sizes[along], -1, ratio.sizes[over])
    change = table[-1] - table[0]
    change = change[np.isfinite(change).any(axis=-1)]
    if not change.size:
        return undecided("no realisation is feasible at both ends")
    points = [mean_and_half_width(point) for point in change]
    allowed = np.log1p(tolerance)
    within = sum(abs(m) + h <= allowed for m, h in points)
    outside = sum(abs(m) - h > allowed for m, h in points)
    shares = np.exp([m for m, _ in points])
    ours = f"{high} / {low} changes by a factor of {shares.min():.3f} to {shares.max():.3f}"
    told = f"{within} of {len(points)} points within {tolerance:.0%}, {outside} clearly outside"
    evidence = f"from the first to the last {along}; {told}"
    if outside:
        return "fails", ours, evidence
    return ("holds" if within == len(points) else "undecided"), ours, evidence


def _within(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, low: float = -np.inf, high: float = np.inf,
    relative_to: str | None = None, along: str | None = None,
) -> Outcome:  # fmt: skip
    """Judge whether a variable, or its ratio to another variable, lies between two limits at every feasible cell.

    In decibels the difference is taken in place of the ratio. ``relative_to`` may also name an axis. ``along`` names an axis:
    the evidence lists the values of this axis at which a limit is broken.
    """
    values = values_of(cube, variable)
    decibels = cube[variable].attrs.get("units") == "dB"
    if relative_to is not None:
        reference = cube[relative_to] if relative_to in cube.dims else values_of(cube, relative_to)
        values = values - reference if decibels else values / reference
    feasible = cube["status"].isin(FEASIBLE)
    known = feasible & ~np.isnan(values)
    count, total = int(known.sum()), int(feasible.sum())
    if not count:
        return undecided("no feasible cell has a value")
    good = known & (values >= low) & (values <= high)
    wrong = count - int(good.sum())
    found = values.values[known.values]
    unit = "" if relative_to and not decibels else cube[variable].attrs.get("units", "").removesuffix("1")
    name = variable if relative_to is None else f"{variable} {'-' if decibels else '/'} {relative_to}"
    ours = f"{name} = {found.min():.3g} to {found.max():.3g} {unit}".rstrip()
    evidence = f"{count - wrong} of {count} cells within the limits, median {np.median(found):.3g}"
    if along is not None and wrong:
        broken = (known & ~good).any([d for d in good.dims if d != along])
        evidence += f"; broken at {along} {_named(cube.isel({along: np.flatnonzero(broken.values)}), along)}"
    if wrong:
        return "fails", ours, evidence
    if count < total:
        return "undecided", ours, f"{evidence}; {total - count} feasible cells have no value"
    return "holds", ours, evidence


def _logarithmic(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, along: str, power: float, tolerance: float
) -> Outcome:  # fmt: skip
    """Judge whether ``variable = 1 / (a + b ln n)^power`` along an axis with numbers n as labels, and not a power of n.

    Both laws are fitted to the geometric means over all other axes, and compared by the root mean square of the relative
    residuals. The check holds if the logarithmic law fits within the tolerance and the power law does not. It fails if the
    logarithmic law does not fit. If both fit, the check decides nothing.
    """
    if along not in cube.dims or cube.sizes[along] < 4:
        return undecided(f"the study has fewer than four values of {along}")
    number = np.array([float(label) for label in cube[along].values.tolist()])
    table = np.log(values_of(cube, variable).transpose(along, ...).values.reshape(len(number), -1))
    table = table[:, np.isfinite(table).all(axis=0)]
    if not table.size:
        return undecided("no line has a value at every point")
    mean, x = table.mean(axis=1), np.log(number)
    line = np.exp(-mean / power)
    fitted = np.polyval(np.polyfit(x, line, 1), x)
    law = np.sqrt(np.mean((power * np.log(np.maximum(fitted, 1e-12 * line.max()) / line)) ** 2))
    exponent, shift = np.polyfit(x, mean, 1)
    other = np.sqrt(np.mean((exponent * x + shift - mean) ** 2))
    ours = f"residual {100 * law:.1f} % as 1 / (a + b ln n)^{power:g}, {100 * other:.1f} % as n^{exponent:.2f}"
    evidence = (
        f"{variable} at {along} {_named(cube, along)}: {', '.join(f'{v:.3g}' for v in np.exp(mean))}; {table.shape[1]} lines"
    )
    if law > tolerance:
        return "fails", ours, evidence
    return ("holds" if other > tolerance else "undecided"), ours, evidence


def _quoted(cube: xr.Dataset, surfaces: xr.Dataset, *, because: str, variable: str | None = None, axis: str = "") -> Outcome:
    """Return no verdict on a statement that cannot be judged here, with the reason.

    Our number is the geometric mean of a variable at each value of an axis.
    """
    if variable is None:
        return undecided(because)
    if axis not in cube.dims:
        return undecided(f"the study has no axis {axis}")
    table = values_of(cube, variable).transpose(axis, ...).values.reshape(cube.sizes[axis], -1)
    means = [float(np.exp(np.log(row[np.isfinite(row)]).mean())) if np.isfinite(row).any() else np.nan for row in table]
    unit = cube[variable].attrs.get("units", "")
    return "undecided", f"{', '.join(f'{m:.3g}' for m in means)} {unit} at {axis} {_named(cube, axis)}", because


def _edge_moves(cube: xr.Dataset, surfaces: xr.Dataset, *, edge: str, axis: str, sign: int) -> Outcome:
    """Judge whether the mean feasibility edge rises (1), stays (0) or falls (-1) along an axis.

    All labels count that have the edge at two values or more.
    """
    name = edge_variable(edge)
    means = statistic(surfaces, name, "mean_feasible") if has_statistic(surfaces, name, "mean_feasible") else None
    if means is None or axis not in means.dims or means.sizes[axis] < 2:
        return undecided(f"the study has no edge along {axis}")
    table = np.moveaxis(means.values, list(means.dims).index(axis), -1).reshape(-1, means.sizes[axis])
    lines = [line[np.isfinite(line)] for line in table]
    steps = np.concatenate([np.diff(line) for line in lines])
    if not steps.size:
        return undecided(f"nothing is planned at two values of {axis}")
    unit = means.attrs.get("units", "")
    between = {1: " < ", 0: " = ", -1: " > "}[sign]
    ours = "; ".join(between.join(f"{v:.1f}" for v in line) for line in lines if len(line) > 1) + f" {unit}"
    if sign == 0:
        stay = int((np.abs(steps) <= SLACK).sum())
        return ("holds" if stay == steps.size else "fails"), ours, f"{stay} of {steps.size} steps stay"
    evidence = f"{int((sign * steps > 0).sum())} of {steps.size} steps {'rise' if sign > 0 else 'fall'}"
    if (sign * steps < 0).any():
        return "fails", ours, evidence
    if (steps == 0).any():
        return "undecided", ours, f"{evidence}; the others are within one step of the grid"
    return "holds", ours, evidence


def _certified(cube: xr.Dataset, surfaces: xr.Dataset, *, limit: float) -> Outcome:
    """Judge whether the relative gap between value and dual bound is at most a limit at every feasible cell."""
    if "relative_gap" not in cube:
        return undecided("the study keeps no relative gap")
    feasible = cube["status"].isin(FEASIBLE).values
    if not feasible.any():
        return undecided("no cell is feasible")
    gap = np.abs(cube["relative_gap"].values[feasible])
    good = int((gap <= limit).sum())
    if not np.isfinite(gap).any():
        return "fails", "no gap is known", f"0 of {gap.size} cells"
    ours = f"largest gap {gap[np.isfinite(gap)].max():.1e}"
    return ("holds" if good == gap.size else "fails"), ours, f"{good} of {gap.size} cells at or below {limit:g}"


def by_cells(
    check: CellCheck, cube: xr.Dataset, surfaces: xr.Dataset, *, axis: str | None = None, value: Any = None, **arguments: Any
) -> Outcome:  # fmt: skip
    """Return the verdict of an installed check on the feasible cells, or on the feasible cells at one value of an axis."""
    if axis is not None:
        if not has_labels(cube, axis, value):
            return undecided(f"the study lacks {value}")
        cube = cube.sel({axis: value})
    lacking = [name for name in check.variables if name not in cube.variables]
    if lacking:
        return undecided(f"the study keeps no {' and no '.join(lacking)}")
    status = cube["status"]
    feasible = status.isin(FEASIBLE).values
    whole = {name: cube[name].broadcast_like(status).transpose(*status.dims).values for name in check.variables}
    return check.judge({name: values[feasible] for name, values in whole.items()}, **arguments)


def _near_while(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, bound: str, margin: str, factor: float
) -> Outcome:  # fmt: skip
    """Judge as ``near`` does, at all points where the variable ``margin`` is not negative.

    The variable's mean over realisations must be within a factor of the mean of ``bound``. The evidence gives the ratio at the
    other points.
    """
    over = surfaces.attrs.get("over")
    if not {bound, margin} <= set(cube) or not over:
        return undecided(f"the study keeps no {bound} and {margin} over realisations")
    values, bounds, room = (values_of(cube, name).transpose(..., over).values for name in (variable, bound, margin))
    points = [
        (r[k].min() >= 0, v[k].mean() / b[k].mean(), mean_and_half_width(v[k])[1] / b[k].mean())
        for v, b, r in zip(*(part.reshape(-1, part.shape[-1]) for part in (values, bounds, room)), strict=True)
        if (k := np.isfinite(v) & np.isfinite(b) & np.isfinite(r)).any()
    ]
    inside, outside = ([p[1:] for p in points if bool(p[0]) is kept] for kept in (True, False))
    if not inside:
        return undecided(f"{margin} is negative everywhere")
    good = sum(m - h <= factor and m + h >= 1.0 / factor and m + h < 2.0 * factor for m, h in inside)
    ours = f"{variable} / {bound} = {min(inside)[0]:.3f} to {max(inside)[0]:.3f}"
    evidence = f"{good} of {len(inside)} points with {margin} not negative"
    if outside:
        evidence += f"; {min(outside)[0]:.3g} to {max(outside)[0]:.3g} at the {len(outside)} points where it is negative"
    return ("holds" if good == len(inside) else "fails"), ours, evidence


def _mean_within(
    cube: xr.Dataset, surfaces: xr.Dataset, *, variable: str, low: float = -np.inf, high: float = np.inf
) -> Outcome:  # fmt: skip
    """Judge whether a variable's mean over realisations lies between two limits at every point of the grid.

    For a variable with dimensions of its own the mean is also over its entries. The check holds if every 95 % band lies
    inside. It fails if a band lies outside.
    """
    over = surfaces.attrs.get("over")
    if not over:
        return undecided("there are no realisations")
    values, axes = values_of(cube, variable), list(cube["status"].dims)
    draws = values.mean([d for d in values.dims if d not in axes]).transpose(..., over).values
    draws = draws.reshape(-1, draws.shape[-1])
    points = [mean_and_half_width(line) for line in draws[np.isfinite(draws).any(axis=-1)]]
    if not points:
        return undecided("no cell is feasible")
    inside = sum(m - h >= low and m + h <= high for m, h in points)
    outside = sum(m + h < low or m - h > high for m, h in points)
    ours = f"{min(points)[0]:.3g} to {max(points)[0]:.3g} {cube[variable].attrs.get('units', '')}".removesuffix(" 1").strip()
    evidence = f"{inside} of {len(points)} points with all of their band inside, {outside} outside"
    return ("fails" if outside else "holds" if inside == len(points) else "undecided"), ours, evidence


CHECKS: dict[str, Callable[..., Outcome]] = {
    "lower": _lower,
    "never_above": _never_above,
    "near": _near,
    "nondecreasing": partial(_monotone, sign=1),
    "nonincreasing": partial(_monotone, sign=-1),
    "ratio_falls": partial(_ratio_falls, floor=1.0),
    "ratio_changes": partial(_ratio_falls, floor=0.0),
    "ratio_stays": _ratio_stays,
    "within": _within,
    "logarithmic": _logarithmic,
    "quoted": _quoted,
    "edge_decreasing": partial(_edge_moves, sign=-1),
    "edge_increasing": partial(_edge_moves, sign=1),
    "edge_equal": partial(_edge_moves, sign=0),
    "certified": _certified,
    "near_while": _near_while,
    "mean_within": _mean_within,
    "crossing_gap": crossing_gap,
    "crossings_rise": crossings_rise,
    "ratio_is": ratio_is,
    "rise_width": rise_width,
}


def find_check(name: str) -> Callable[..., Outcome]:
    """Return the check of a name: a check of :data:`CHECKS`, else an installed check.

    Raises
    ------
    UsageError
        If there is no such check.
    """
    return CHECKS[name] if name in CHECKS else partial(by_cells, load_check(name, CHECKS))


def check_names() -> list[str]:
    """Return the names of all checks, the installed checks included."""
    return [*CHECKS, *installed_checks()]


def check_arguments(name: str) -> dict[str, bool]:
    """Return the arguments that a check takes from a claim, and for each whether the check needs it."""
    check = find_check(name)
    # A claim cannot give an argument that a partial check fixes.
    fixed = getattr(check, "keywords", {})
    signatures = [inspect.signature(check)]
    if name not in CHECKS:
        signatures.append(inspect.signature(load_check(name).judge))
    return {
        argument: parameter.default is parameter.empty
        for signature in signatures
        for argument, parameter in signature.parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and argument not in fixed
    }

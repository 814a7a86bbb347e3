"""The curves of a trade-off: the choice of the curves that are drawn, their looks, and their legend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.report.choice import EXPORT, MOST_CURVES, choose
from flows.report.legends import Entry, Group, by_axis, one_by_one
from flows.report.measured import Measured, Place
from flows.report.words import DASHES, colours, lighter

_WAY = f"To see others, give an axis plots of its own by `report.panels`, or narrow the study by `where`; {EXPORT}"

_SHADES = 5
"""Shades of one colour that a reader can tell apart. There are fewer shades than dashes, and fewer dashes than colours."""


@dataclass(frozen=True)
class Curve:
    """A curve: the place on the axes of the curves that it stands for, its name, and its looks.

    The name is the labels in words; it is empty if there is one curve only.
    """

    at: Place
    name: str
    colour: str
    dash: str


@dataclass(frozen=True)
class Series:
    """The curves of a section, the axes of their places, their legend, and a sentence on the curves that are left out."""

    axes: tuple[str, ...]
    curves: list[Curve]
    legend: list[Group]
    left_out: str


def curve_series(measured: Measured, spec: Mapping[str, Any], besides: Sequence[str]) -> Series:
    """Return the curves of a section, no two of which look alike.

    A hue stands for a value of the axis ``colour``, a dash for a value of ``style``. Lighter shades stand for the values of
    all other axes, and for values of ``style`` beyond the number of dashes.

    Parameters
    ----------
    measured
        Variable that is drawn.
    spec
        The completed ``report`` section.
    besides
        Axes that have no curves of their own: the axis along the curves, and the axes of the panels.
    """
    axes, hued, dashed = tuple(a for a in measured.axes if a not in besides), spec.get("colour"), spec.get("style")
    values = measured.ordered((*axes, *(a for a in measured.axes if a in besides))).mean
    full = np.isfinite(values).any(axis=tuple(range(len(axes), values.ndim)))
    choice = choose(full, MOST_CURVES, [MOST_CURVES if a == hued else len(DASHES) if a == dashed else _SHADES for a in axes])
    # If all curves are drawn, a value has the same looks in every section, whichever other cells are feasible there.
    whole = len(choice.places) == choice.total and max(full.shape, default=1) <= MOST_CURVES
    rank = {
        a: {i: n for n, i in enumerate(range(size) if whole else sorted({at[d] for at in choice.places}))}
        for d, (a, size) in enumerate(zip(axes, full.shape, strict=True))
    }
    palette = colours(len(rank.get(str(hued), [0])), ordered=is_ordered(measured, hued))
    shaded = [a for a in axes if a not in (hued, dashed)]
    sizes = (-(-len(rank.get(str(dashed), [0])) // len(DASHES)), *(len(rank[a]) for a in shaded))
    curves = []
    for at in choice.places:
        number = {a: rank[a][i] for a, i in zip(axes, at, strict=True)}
        more, dash = divmod(number.get(str(dashed), 0), len(DASHES))
        shade = int(np.ravel_multi_index((more, *(number[a] for a in shaded)), sizes))
        colour = lighter(palette[number.get(str(hued), 0)], shade / math.prod(sizes))
        curves.append(Curve(at, ", ".join(measured.words(axes, at)), colour, DASHES[dash]))
    legend = _legend(measured, spec, axes, curves, plain=math.prod(sizes) == 1)
    return Series(axes, curves, legend, choice.left_out("curves", [measured.title_of(a) for a in axes], _WAY))


def is_ordered(measured: Measured, axis: str | None) -> bool:
    """Return whether the labels of an axis are numbers."""
    return axis in measured.labels and measured.labels[axis].dtype.kind in "iuf"


def _legend(
    measured: Measured, spec: Mapping[str, Any], axes: tuple[str, ...], curves: list[Curve], *, plain: bool
) -> list[Group]:
    """Return a group for the colours and one for the dashes where these two tell all curves apart, else an entry a curve."""
    if len(curves) < 2:
        return []
    if not plain:
        return one_by_one([c.name for c in curves], [Entry("", c.colour, dash=c.dash) for c in curves])
    places, groups = [curve.at for curve in curves], []
    for axis, is_hue in ((spec.get("colour"), True), (spec.get("style"), False)):
        if axis in axes:
            a = axes.index(axis)
            signs = {c.at[a]: Entry("", c.colour) if is_hue else Entry("", "#444444", dash=c.dash) for c in curves}
            groups += by_axis(measured, axes, places, axis, signs)
    return groups

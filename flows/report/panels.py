"""Sections of a page and their panels: small plots of one kind that share axes, colours and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flows.report.choice import EXPORT, choose
from flows.report.legends import Group
from flows.report.measured import Measured


@dataclass(frozen=True)
class Panel:
    """A plot with its heading; ``legend`` is what this plot alone needs. A ``new_row`` begins at the left."""

    key: str
    heading: str
    plot: Any
    legend: Sequence[Group] = ()
    new_row: bool = False


@dataclass(frozen=True)
class Section:
    """Panels with a heading, sentences for the reader, and a legend that all share.

    ``wide`` panels stand one below the other.
    """

    key: str
    title: str
    notes: Sequence[str]
    panels: Sequence[Panel]
    legend: Sequence[Group] = ()
    wide: bool = field(default=False)


@dataclass(frozen=True)
class Places:
    """The places of the panels: for each its words, and the numbers of its values; a sentence on those that are left out."""

    found: list[tuple[str, dict[str, int]]]
    left_out: str


def panel_places(measured: Measured, axes: Sequence[str], most: int) -> Places:
    """Return at most ``most`` combinations of values of some axes where the variable has a value."""
    axes = [axis for axis in axes if axis in measured.axes]
    rest = [axis for axis in measured.axes if axis not in axes]
    values = measured.ordered((*axes, *rest)).mean
    full = np.isfinite(values).any(axis=tuple(range(len(axes), values.ndim)))
    choice = choose(full, most)
    found = [(", ".join(measured.words(axes, at)), dict(zip(axes, at, strict=True))) for at in choice.places]
    way = f"Narrow the study by `where` to see others; {EXPORT}"
    return Places(found, choice.left_out("plots", [measured.title_of(axis) for axis in axes], way))

"""Legends: they stand beside the plots of a section, name each thing once, and a click on an entry fades what it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import markupsafe

from flows.report.measured import Measured, Place
from flows.report.words import short


@dataclass(frozen=True)
class Entry:
    """An entry: a sign, its words, and the numbers of the drawn things that it stands for.

    ``kind`` is the sign's form: ``line``, ``dot``, ``area`` or ``edge``.
    """

    words: str
    colour: str
    kind: str = "line"
    dash: str = "solid"
    marker: str = "circle"
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Group:
    """Entries with a heading: the values of one axis."""

    title: str
    entries: Sequence[Entry]


def by_axis(
    measured: Measured, axes: Sequence[str], places: Sequence[Place], axis: str | None, signs: dict[int, Entry]
) -> list[Group]:
    """Return the group of one axis: an entry for each of its values among the places.

    Parameters
    ----------
    measured, axes, places
        Variable, the axes that the places count, and the places that are drawn; a thing's number is its place's number.
    axis
        Axis of the group; None gives no group.
    signs
        Sign of each value of the axis, by the value's number; words and numbers are filled in.
    """
    if axis is None or axis not in axes:
        return []
    a = axes.index(axis)
    values = sorted({at[a] for at in places})
    if len(values) < 2:
        return []
    found = []
    for value in values:
        sign = signs[value]
        numbers = tuple(n for n, at in enumerate(places) if at[a] == value)
        words = measured.entry(axis, value)
        found.append(Entry(words, sign.colour, sign.kind, sign.dash, sign.marker, numbers))
    return [Group(measured.heading_of(axis), found)]


def one_by_one(names: Sequence[str], signs: Sequence[Entry]) -> list[Group]:
    """Return a group with an entry for each thing; no group for a single thing."""
    if len(names) < 2:
        return []
    entries = [
        Entry(short(name), s.colour, s.kind, s.dash, s.marker, (n,))
        for n, (name, s) in enumerate(zip(names, signs, strict=True))
    ]
    return [Group("", entries)]


_POINTS = {
    "square": "11,2 19,2 19,10 11,10", "triangle": "15,1 20,10 10,10", "diamond": "15,0 20,6 15,12 10,6",
    "inverted_triangle": "10,2 20,2 15,11", "plus": "13,1 17,1 17,4 20,4 20,8 17,8 17,11 13,11 13,8 10,8 10,4 13,4",
}  # fmt: skip


def sign(entry: Entry) -> markupsafe.Markup:
    """Return the sign of an entry as the content of an SVG element of 30 by 12 pixels."""
    if entry.kind == "area":
        shape = '<rect x="6" y="0.5" width="18" height="11" fill="{c}" stroke="#C3C9D1"/>'
    elif entry.kind == "dot":
        points = _POINTS.get(entry.marker)
        shape = f'<polygon points="{points}" fill="{{c}}"/>' if points else '<circle cx="15" cy="6" r="4.5" fill="{c}"/>'
    else:
        dash = "" if entry.dash == "solid" else f' stroke-dasharray="{entry.dash}"'
        shape = f'<line x1="0" y1="6" x2="30" y2="6" stroke="{{c}}" stroke-width="2.5"{dash}/>'
    return markupsafe.Markup(shape).format(c=entry.colour)

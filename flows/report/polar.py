"""Beam patterns in polar form: a half disc for each node, its boresight upwards, rings in decibels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bokeh.models import DataRange1d, HoverTool
from bokeh.plotting import figure
from numpy.typing import NDArray

from flows.report.words import short
from pipeline.scenes import Beam, Mark

Float = NDArray[np.float64]

RING_DB = 10
"""Step of the rings."""
FLOOR_DB = -20
"""Level at the centre; lower levels are drawn there."""
_SPOKES_DEG = (-60, -30, 0, 30, 60)
_INK, _SOFT, _GRID = "#1c2430", "#5b6675", "#D5DAE1"
_MARKS = {"target": ("star", _INK, "dashed"), "user": ("circle", _SOFT, "dotted")}
"""Marker, colour and dash of each kind of marked direction."""


@dataclass(frozen=True)
class Pattern:
    """A beam to draw: its number in the legend, its words, its colour."""

    beam: Beam
    number: int
    words: str
    colour: str


def rim_db(beams: Sequence[Beam]) -> int:
    """Return the level of the outermost ring that all plots share: the first ring above every beam."""
    most = max((float(beam.gain.max()) for beam in beams), default=1.0)
    return RING_DB * max(1, int(np.ceil(10.0 * np.log10(most) / RING_DB)))


def polar_plot(patterns: Sequence[Pattern], marks: Sequence[Mark], rim: int, step: int, key: str) -> figure:
    """Draw what one node radiates over angle.

    Parameters
    ----------
    patterns
        The beams of the designs.
    marks
        The marked directions of the node.
    rim
        Level of the outermost ring, dB.
    step
        Of so many angles one is drawn.
    key
        Name of the section: its legend fades what stands in it.
    """
    # The data range leaves room for the words outside the rim; matching keeps circles round at every width.
    plot = figure(
        sizing_mode="stretch_width", height=270, match_aspect=True, tools="save", toolbar_location=None,
        outline_line_color=None, x_range=DataRange1d(range_padding=0.02), y_range=DataRange1d(range_padding=0.02), min_border=2,
    )  # fmt: skip
    plot.axis.visible, plot.grid.visible = False, False
    _rings(plot, rim)
    for mark in sorted(marks, key=lambda mark: mark.kind == "target"):
        marker, colour, dash = _MARKS[mark.kind]
        (x,), (y,) = _at(np.array([mark.angle_rad]), np.array([1.0]))
        plot.line([0.0, x], [0.0, y], line_color=colour, line_dash=dash, line_width=1)
        place = f"{mark.kind} {mark.number} at {np.rad2deg(mark.angle_rad):.1f}°{', behind the array' if mark.behind else ''}"
        fill = colour if mark.kind == "target" else "#FFFFFF"
        drawn = plot.scatter(
            [x], [y], marker=marker, size=13 if mark.kind == "target" else 8, fill_color=fill, line_color=colour, name=place
        )
        plot.add_tools(HoverTool(tooltips="$name", renderers=[drawn]))
    lines = []
    for pattern in patterns:
        kept = slice(None, None, step)
        x, y = _at(pattern.beam.angles_rad[kept], radius(pattern.beam.gain[kept], rim))
        looks = {"line_color": pattern.colour, "line_width": line_width(len(lines), len(patterns))}
        places = x.astype(np.float32), y.astype(np.float32)
        lines.append(plot.line(*places, name=told(pattern), **looks))
        lines[-1].tags = [key, pattern.number]
    if lines:
        plot.add_tools(HoverTool(tooltips="$name", renderers=lines))
    return plot


def line_width(number: int, count: int) -> float:
    """Return the width of one of several lines, drawn one above the other: each shows at both sides of the next."""
    return 2.0 if count < 2 else 3.2 - 1.6 * number / (count - 1)


def radius(gain: Float, rim: float) -> Float:
    """Return the distance from the centre, 0 at the floor and 1 at the rim, of linear gains [A]."""
    level = 10.0 * np.log10(np.maximum(gain, 10.0 ** (FLOOR_DB / 10.0)))
    return (level - FLOOR_DB) / (rim - FLOOR_DB)


def told(pattern: Pattern) -> str:
    """Return what a pointer on a beam tells."""
    beam = pattern.beam
    peak, most = int(np.argmax(beam.gain)), float(beam.gain.max())
    return (
        f"{short(pattern.words)}: up to {10.0 * np.log10(most):.1f} dB at {np.rad2deg(beam.angles_rad[peak]):.1f}°, "
        f"{100.0 * beam.power_share:.3g} % of the power"
    )


def _at(angles_rad: Float, distance: Float) -> tuple[Float, Float]:
    """Return the places of angles that count anticlockwise from the boresight, which points upwards."""
    return -distance * np.sin(angles_rad), distance * np.cos(angles_rad)


def _rings(plot: figure, rim: int) -> None:
    half, names = np.linspace(-np.pi / 2, np.pi / 2, 91), []
    for level in range(FLOOR_DB + RING_DB, rim + 1, RING_DB):
        distance = (level - FLOOR_DB) / (rim - FLOOR_DB)
        own = level == 0
        plot.line(*_at(half, np.full(91, distance)), line_color=_SOFT if own else _GRID, line_width=1.2 if own else 1)
        names.append((distance, f"{level:d} dB" if level == rim else f"{level:d}".replace("-", "−")))
    plot.line([-1.0, 1.0], [0.0, 0.0], line_color=_GRID)
    looks = {"text_font_size": "8pt", "text_color": _SOFT}
    places, words = zip(*names, strict=True)
    plot.text(list(places), [-0.02] * len(places), list(words), text_align="center", text_baseline="top", **looks)
    spokes = np.deg2rad(np.array(_SPOKES_DEG, dtype=float))
    ends = _at(spokes, np.ones(len(spokes)))
    plot.segment(np.zeros(len(spokes)), np.zeros(len(spokes)), *ends, line_color=_GRID)
    outside = _at(spokes, np.full(len(spokes), 1.1))
    words = [f"{angle:d}°".replace("-", "−") for angle in _SPOKES_DEG]
    plot.text(*outside, words, text_align="center", text_baseline="middle", **looks)
    # Words take no part in the range: this point makes room for them.
    plot.scatter([0.0, 0.0, -1.08, 1.08], [-0.1, 1.18, 0.0, 0.0], size=1, alpha=0.0)

"""Beam patterns in polar form: a half disc for each node, its boresight upwards, rings in decibels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import holoviews as hv
import numpy as np
from numpy.typing import NDArray

from flows.report.drawing import layer, to_scale
from flows.report.words import short
from pipeline.scenes import Beam, Mark

Float = NDArray[np.float64]

RING_DB = 10
"""Step of the rings."""
FLOOR_DB = -20
"""Level at the centre; lower levels are drawn there."""
_SPOKES_DEG = (-60, -30, 0, 30, 60)
_INK, _SOFT, _GRID = "#1c2430", "#5b6675", "#D5DAE1"
_MARKS = {"target": ("star", _INK, "6"), "user": ("circle", _SOFT, "2 4")}
"""Marker, colour, and lengths of dashes and gaps, of each kind of marked direction."""


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


def polar_plot(patterns: Sequence[Pattern], marks: Sequence[Mark], rim: int, step: int, key: str) -> hv.Overlay:
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
    layers = _rings(rim)
    if marks:
        layers += _marked(sorted(marks, key=lambda mark: mark.kind == "target"))
    lines = []
    for number, pattern in enumerate(patterns):
        kept = slice(None, None, step)
        x, y = _at(pattern.beam.angles_rad[kept], radius(pattern.beam.gain[kept], rim))
        looks = {"color": pattern.colour, "line_width": line_width(number, len(patterns)), "words": told(pattern)}
        lines.append({"x": x.astype(np.float32), "y": y.astype(np.float32)} | looks)
    if lines:
        beams = hv.Contours(lines, ["x", "y"], ["color", "line_width", "words"])
        looks = {"color": hv.dim("color"), "line_width": hv.dim("line_width")}
        layers.append(layer(beams, "@words", numbers=[pattern.number for pattern in patterns], **looks))
    # The range leaves room for the words outside the rim.
    bare = {"xaxis": None, "yaxis": None, "show_grid": False, "show_frame": False, "toolbar": None, "border": 2}
    return to_scale(layers, 270, key=key, room=0.02, tools=["save"], **bare)


def _marked(marks: Sequence[Mark]) -> list[Any]:
    """Return the marked directions: a line from the node and a sign at the rim."""
    x, y = _at(np.array([mark.angle_rad for mark in marks]), np.ones(len(marks)))
    kinds = [mark.kind for mark in marks]
    markers, inks, dashes = (np.array([_MARKS[kind][i] for kind in kinds], dtype=object) for i in range(3))
    ends = {"x0": np.zeros(len(x)), "y0": np.zeros(len(x)), "x1": x, "y1": y, "color": inks, "line_dash": dashes}
    spokes = hv.Segments(ends, ["x0", "y0", "x1", "y1"], ["color", "line_dash"])
    places = [
        f"{mark.kind} {mark.number} at {np.rad2deg(mark.angle_rad):.1f}°{', behind the array' if mark.behind else ''}"
        for mark in marks
    ]
    table = {
        "x": x, "y": y, "words": np.array(places, dtype=object), "marker": markers, "line_color": inks,
        "size": np.where(np.array(kinds) == "target", 13, 8),
        "fill_color": np.where(np.array(kinds) == "target", inks, "#FFFFFF"),
    }  # fmt: skip
    mapped = ("marker", "line_color", "size", "fill_color")
    signs = hv.Points(table, ["x", "y"], ["words", *mapped])
    return [
        layer(spokes, color=hv.dim("color"), line_dash=hv.dim("line_dash"), line_width=1),
        layer(signs, "@words", **{name: hv.dim(name) for name in mapped}),
    ]


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


def _rings(rim: int) -> list[Any]:
    half, rings, names = np.linspace(-np.pi / 2, np.pi / 2, 91), [], []
    for level in range(FLOOR_DB + RING_DB, rim + 1, RING_DB):
        distance = (level - FLOOR_DB) / (rim - FLOOR_DB)
        x, y = _at(half, np.full(91, distance))
        looks = {"color": _SOFT, "line_width": 1.2} if level == 0 else {"color": _GRID, "line_width": 1.0}
        rings.append({"x": x, "y": y} | looks)
        names.append((distance, -0.02, f"{level:d} dB" if level == rim else f"{level:d}".replace("-", "−")))
    spokes = np.deg2rad(np.array(_SPOKES_DEG, dtype=float))
    x, y = _at(spokes, np.ones(len(spokes)))
    straight = [(-1.0, 0.0, 1.0, 0.0), *((0.0, 0.0, *end) for end in zip(x.tolist(), y.tolist(), strict=True))]
    outside = zip(*(part.tolist() for part in _at(spokes, np.full(len(spokes), 1.1))), strict=True)
    angles = [(*place, f"{angle:d}°".replace("-", "−")) for place, angle in zip(outside, _SPOKES_DEG, strict=True)]
    looks = {"text_font_size": "8pt", "text_color": _SOFT, "text_align": "center"}
    circles = hv.Contours(rings, ["x", "y"], ["color", "line_width"])
    # Words take no part in the range: these points make room for them.
    room = hv.Points([(0.0, -0.1), (0.0, 1.18), (-1.08, 0.0), (1.08, 0.0)])
    return [
        layer(circles, color=hv.dim("color"), line_width=hv.dim("line_width")),
        layer(hv.Segments(straight, ["x0", "y0", "x1", "y1"]), color=_GRID, line_width=1),
        layer(hv.Labels(names, ["x", "y"], "text"), text_baseline="top", **looks),
        layer(hv.Labels(angles, ["x", "y"], "text"), text_baseline="middle", **looks),
        layer(room, size=1, alpha=0.0),
    ]

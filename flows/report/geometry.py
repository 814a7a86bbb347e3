"""The network of one cell: a map to scale, the error ellipses about each target, and the beam pattern of each node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.models import Arrow, CustomJSTickFormatter, VeeHead
from numpy.typing import NDArray

from flows.field_values import Scaled, prefixed, scaled
from flows.report.drawing import layer, to_scale
from flows.report.legends import Entry, one_by_one
from flows.report.panels import Panel, Section
from flows.report.polar import Pattern, line_width, polar_plot, rim_db
from flows.report.words import colours, label, place, short, unit_of_axis, within
from pipeline.scene_cells import DrawnCell, DrawnPlace, DrawnScene
from pipeline.scenes import Ellipse, Scene

Float = NDArray[np.float64]

KEY = "network"
"""Name of the section."""

HELD = 0.95
"""Share of Gaussian errors that an ellipse holds."""
SCALE = float(np.sqrt(-2.0 * np.log(1.0 - HELD)))
"""Half axes of that ellipse over those of one standard deviation."""

MOST_TARGETS = 4
"""Most targets with a plot of their ellipses."""
MOST_NODES = 8
"""Most nodes with a plot of their beams."""
_MOST_POINTS = 30_000
"""Most points of all beams of a page."""
_THIN = 30.0
"""Length over width from which an ellipse looks like a line."""
_MOST_STRETCH = 6.0
"""Largest half axis that is shown whole, over the median one."""
_INK, _SOFT = "#1c2430", "#5b6675"


@dataclass(frozen=True)
class _Drawn:
    """A design as it is drawn: its number, words and colour."""

    number: int
    words: str
    colour: str
    scene: Scene
    missing: str


def network_section(
    cube: xr.Dataset, spec: Mapping[str, Any], there: DrawnPlace, scenes: Sequence[DrawnScene]
) -> Section:  # fmt: skip
    """Draw the network of one cell.

    Parameters
    ----------
    cube
        As published; it has the words of the axes.
    spec
        The completed ``report`` section.
    there, scenes
        The place, and the scene of each of its designs.
    """
    designs = _designs(cube, spec, there, scenes)
    network, targets = designs[0].scene, min(MOST_TARGETS, len(designs[0].scene.targets_m))
    drawn = [d for d in designs if d.scene.ellipses or d.scene.beams]
    panels = [Panel(f"{KEY} map", "Map", map_plot(network))]
    with_errors = [d for d in drawn if d.scene.ellipses]
    for target in range(targets if with_errors else 0):
        which = f" {target}" if len(network.targets_m) > 1 else ""
        heading = f"Error ellipses about {'target' + which if which else 'the target'}"
        panels.append(Panel(f"{KEY} target {target}", heading, ellipse_plot(with_errors, target)))
    panels += _polar_panels(drawn, network)
    errors = [_error(d) for d in drawn]
    names = [f"{d.words}, {error}" if error else d.words for d, error in zip(drawn, errors, strict=True)]
    legend = [
        Entry(short(name), d.colour, numbers=(d.number,)) for name, d in zip(names, drawn, strict=True)
    ] if len(drawn) > 1 else []  # fmt: skip
    groups = one_by_one(names, legend) if legend else []
    return Section(KEY, _place_words(cube, there), _notes(there, designs, drawn), panels, groups)


def _designs(
    cube: xr.Dataset, spec: Mapping[str, Any], there: DrawnPlace, scenes: Sequence[DrawnScene]
) -> list[_Drawn]:  # fmt: skip
    """Return the designs with their words and colours: those of the page's plots where one axis distinguishes both."""
    axes = list(there.designs)
    hued = axes[0] if len(axes) == 1 and axes[0] in (spec.get("colour"), spec.get("x")) else None
    palette = colours(len(there.designs[hued]) if hued else len(scenes), ordered=False)
    found = []
    for number, one in enumerate(scenes):
        hue = there.designs[hued].index(one.cell.labels[hued]) if hued else number
        found.append(_Drawn(number, _words(cube, one.cell), palette[hue], one.scene, one.missing))
    return found


def _words(cube: xr.Dataset, cell: DrawnCell) -> str:
    return ", ".join(label(axis, value, unit_of_axis(cube, axis)) for axis, value in cell.labels.items()) or "The signal"


def _place_words(cube: xr.Dataset, there: DrawnPlace) -> str:
    words = ", ".join(short(place(cube, axis, value)) for axis, value in there.at.items())
    return words[:1].upper() + words[1:] if words else "The only cell"


def _notes(there: DrawnPlace, designs: Sequence[_Drawn], drawn: Sequence[_Drawn]) -> list[str]:
    """Return the paragraphs above the plots: the cell and its designs, the ellipses, the beams."""
    first = [_chosen(there), "`report.cell` in the study names another cell."]
    if len(there.cells) < there.planned:
        which = "those that are feasible" if len(there.cells) == there.feasible else "evenly spaced ones"
        first.append(f"{len(there.cells)} of {there.planned} designs are drawn, {which}: `report.cell` may name others.")
    for sentence in dict.fromkeys(d.missing for d in designs if d.missing):
        names = [d.words for d in designs if d.missing == sentence]
        first.append(sentence if len(names) == len(designs) else f"{'; '.join(names)}: {within(sentence)}")
    with_errors = [d for d in drawn if d.scene.ellipses]
    scene, found = designs[0].scene, [" ".join(first)]
    if with_errors:
        found.append(" ".join(_error_notes(with_errors)))
    beams, notes = [], list(scene.notes)
    if any(d.scene.beams for d in drawn):
        beams.append(
            "A beam pattern shows all that a node sends, summed over subcarriers, over the angle from its boresight, which "
            "points upwards. 0 dB is the same power from a single antenna; M antennas have 10 log10 M at an angle that they "
            "match."
        )
        if any(mark.behind for marks in scene.marks for mark in marks):
            beams.append("A linear array radiates behind itself as in front: a mark of what is behind is folded to the front.")
    return [*found, " ".join([*beams, *notes])] if beams or notes else found


def _error_notes(designs: Sequence[_Drawn]) -> list[str]:
    """Return the sentences on the ellipses."""
    held, targets = f"{100 * HELD:g} %", len(designs[0].scene.ellipses)
    found = [
        f"Each ellipse holds {held} of Gaussian errors: its half axes are {SCALE:.3g} standard deviations. Its covariance is "
        f"{designs[0].scene.error_words}. It is drawn to a scale of its own, not that of the map."
    ]
    roots = "the root of that bound" + (", summed over the targets" if targets > 1 else "")
    alone = f"{roots[:1].upper()}{roots[1:]} is {_error(designs[0])}."
    found.append(f"The legend gives {roots}." if len(designs) > 1 else alone)
    if any(_stretched(designs, target) for target in range(targets)):
        found.append("An ellipse that is far longer than the others runs out of its plot.")
    ratios = [a / max(b, 1e-300) for d in designs for ellipse in d.scene.ellipses for a, b in [ellipse.semi_axes_m]]
    if np.median(ratios) > _THIN:
        found.append("The ellipses are too thin to show their width: point at one to read both half axes.")
    return found


def _chosen(there: DrawnPlace) -> str:
    good = f"{there.feasible} of {there.planned} designs are feasible here" if there.planned > 1 else ""
    if there.named:
        return f"The study names this cell{f'; {good}' if good else ''}."
    told = f" ({there.feasible} of {there.planned})" if there.planned > 1 else ""
    return f"Of the cells where most designs are feasible{told}, this one is the nearest to the middle of the axes."


def _error(drawn: _Drawn) -> str:
    """Return the root of the bound, over all targets, in words."""
    squares = sum(a**2 + b**2 for ellipse in drawn.scene.ellipses for a, b in [ellipse.semi_axes_m])
    return prefixed(float(np.sqrt(squares)), "m", 3) if drawn.scene.ellipses else ""


_FRAME: dict[str, Any] = {"tools": ["pan", "wheel_zoom", "save", "reset"], "xticks": 5, "yticks": 5}


def map_plot(scene: Scene) -> hv.Overlay:
    """Draw nodes with their arrays and boresights, users and targets, to scale."""
    places = np.array([node.position_m for node in scene.nodes])
    facing = np.array([(np.cos(node.boresight_rad), np.sin(node.boresight_rad)) for node in scene.nodes])
    everything = np.concatenate([places, scene.users_m, scene.targets_m])
    size = float(max(np.ptp(everything, axis=0).max(), 1e-9))
    across = 0.035 * size * np.stack([-facing[:, 1], facing[:, 0]], axis=-1)
    arrays = hv.Segments(np.concatenate([places - across, places + across], axis=-1), ["x0", "y0", "x1", "y1"])
    tips = places + 0.14 * size * facing
    roles = ["" if n.transmits and n.receives else ", sends" if n.transmits else ", receives" for n in scene.nodes]
    names = [f"node {number}{role}" for number, role in enumerate(roles)]
    aligns = ["center" if abs(x) < 0.5 else "left" if x < 0 else "right" for x in facing[:, 0]]
    away = np.where(np.array(aligns) == "center", 0.07, 0.03)[:, np.newaxis] * size * facing
    # Words take no part in the range: points behind the nodes make room for them.
    room = np.concatenate([places, places - 0.18 * size * facing])
    layers = [
        # HoloViews has no arrow whose length is one of the map: a hook draws it.
        layer(arrays, color=_INK, line_width=5, hooks=[lambda plot, _: _draw_arrows(plot, places, tips)]),
        _words_at(places - away, names, _INK, aligns),
        layer(hv.Points(room), size=1, alpha=0.0),
    ]
    star = {"marker": "star", "size": 15, "fill_color": _INK, "line_color": _INK}
    circle = {"marker": "circle", "size": 9, "fill_color": "#FFFFFF", "line_color": _SOFT}
    below, beside = {"glyph.y_offset": 13}, {"glyph.x_offset": 11}
    for kind, at, looks in (("user", scene.users_m, circle), ("target", scene.targets_m, star)):
        if not len(at):
            continue
        names = [f"{kind} {number}" if len(at) > 1 else kind for number in range(len(at))]
        told = [f"({x:.4g} m, {y:.4g} m)" for x, y in at]
        table = {"x": at[:, 0], "y": at[:, 1], "name": np.array(names, dtype=object), "at": np.array(told, dtype=object)}
        layers.append(layer(hv.Points(table, ["x", "y"], ["name", "at"]), [("", "@name"), ("at", "@at")], **looks))
        user = kind == "user"
        aligns = ["center" if user else "left"] * len(at)
        layers.append(_words_at(at, names, _SOFT if user else _INK, aligns, backend_opts=below if user else beside))
    return to_scale(layers, 360, room=0.08, xlabel="x [m]", ylabel="y [m]", **_FRAME)


def _draw_arrows(plot: Any, tails: Float, tips: Float) -> None:
    for (x, y), (x_end, y_end) in zip(tails.tolist(), tips.tolist(), strict=True):
        head = VeeHead(size=9, fill_color=_INK, line_color=_INK)
        ends = {"x_start": x, "y_start": y, "x_end": x_end, "y_end": y_end}
        plot.state.add_layout(Arrow(**ends, end=head, line_color=_INK, line_width=1.5))


def _words_at(at: Float, words: Sequence[str], colour: str, aligns: Sequence[str], **looks: Any) -> Any:
    table = {"x": at[:, 0], "y": at[:, 1], "text": np.array(words, dtype=object), "align": np.array(aligns, dtype=object)}
    return layer(
        hv.Labels(table, ["x", "y"], ["text", "align"]), text_font_size="9pt", text_color=colour,
        text_align=hv.dim("align"), text_baseline="middle", **looks,
    )  # fmt: skip


def outline(ellipse: Ellipse, count: int = 121) -> tuple[Float, Float]:
    """Return the ellipse that holds :data:`HELD` of the errors, from its centre, m."""
    turn, at = ellipse.orientation_rad, np.linspace(0.0, 2.0 * np.pi, count)
    long, short_ = SCALE * np.array(ellipse.semi_axes_m)
    u, v = long * np.cos(at), short_ * np.sin(at)
    return u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)


def _longest(designs: Sequence[_Drawn], target: int) -> Float:
    return SCALE * np.array([d.scene.ellipses[target].semi_axes_m[0] for d in designs])


def _stretched(designs: Sequence[_Drawn], target: int) -> bool:
    longest = _longest(designs, target)
    return bool(longest.max() > _MOST_STRETCH * np.median(longest))


def ellipse_plot(designs: Sequence[_Drawn], target: int) -> hv.Overlay:
    """Draw the ellipses of all designs about one target."""
    longest = _longest(designs, target)
    most = min(float(longest.max()), _MOST_STRETCH * float(np.median(longest)))
    scale = scaled([most], "m")
    lines = []
    for number, design in enumerate(designs):
        ellipse = design.scene.ellipses[target]
        x, y = outline(ellipse)
        looks = {"color": design.colour, "line_width": line_width(number, len(designs))}
        lines.append({"x": x, "y": y, "words": _told(design, ellipse, scale)} | looks)
    mapped = {"color": hv.dim("color"), "line_width": hv.dim("line_width")}
    outlines = hv.Contours(lines, ["x", "y"], ["color", "line_width", "words"])
    layers = [
        layer(outlines, "@words", numbers=[design.number for design in designs], **mapped),
        layer(hv.Points([(0.0, 0.0)]), marker="star", size=12, fill_color=_INK, line_color=_INK),
        layer(hv.Points([(-most, 0.0), (most, 0.0), (0.0, -most), (0.0, most)]), size=1, alpha=0.0),
    ]
    code = "return String(parseFloat((tick / factor).toPrecision(6))).replace('-', '−')"
    axes: dict[str, Any] = {}
    for name in ("x", "y"):
        axes[f"{name}label"] = f"{name} from the target [{scale.unit}]"
        axes[f"{name}formatter"] = CustomJSTickFormatter(code=code, args={"factor": scale.factor})
    over = [2] if _stretched(designs, target) else [0]
    return to_scale(layers, 360, key=KEY, room=0.06, over=over, **axes, **_FRAME)


def _told(design: _Drawn, ellipse: Ellipse, scale: Scaled) -> str:
    long, across = (scale.text(SCALE * a, 3) for a in ellipse.semi_axes_m)
    turn = np.rad2deg(ellipse.orientation_rad)
    return f"{short(design.words)}: half axes {long} and {across} {scale.unit}, the longer one at {turn:.0f}°"


def _polar_panels(drawn: Sequence[_Drawn], network: Scene) -> list[Panel]:
    beams = [beam for d in drawn for beam in d.scene.beams]
    if not beams:
        return []
    rim, found = rim_db(beams), []
    step = max(1, -(-sum(len(beam.gain) for beam in beams) // _MOST_POINTS))
    for node in [n for n in range(len(network.nodes)) if network.nodes[n].transmits][:MOST_NODES]:
        patterns = [Pattern(b, d.number, d.words, d.colour) for d in drawn for b in d.scene.beams if b.node == node]
        plot = polar_plot(patterns, network.marks[node], rim, step, KEY)
        heading = f"Beam pattern of node {node}{'' if patterns else ': silent'}"
        found.append(Panel(f"{KEY} node {node}", heading, plot, new_row=not found))
    return found

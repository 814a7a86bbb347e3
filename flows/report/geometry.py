"""The network of one cell: a map to scale, the error ellipses about each target, and the beam pattern of each node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import Arrow, CustomJSTickFormatter, DataRange1d, HoverTool, VeeHead
from bokeh.plotting import figure
from numpy.typing import NDArray

from flows.field_values import Scaled, prefixed, scaled
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


def _equal_figure(height: int, room: float) -> figure:
    """Return a figure in which a metre is as long along both axes, at every width of the page."""
    plot = figure(
        sizing_mode="stretch_width", height=height, match_aspect=True, tools="pan,wheel_zoom,save,reset",
        toolbar_location="above", min_border_right=12,
        x_range=DataRange1d(range_padding=room), y_range=DataRange1d(range_padding=room),
    )  # fmt: skip
    plot.toolbar.logo, plot.toolbar.autohide = None, True
    for axis in plot.axis:
        axis.axis_label_text_font_size, axis.major_label_text_font_size = "10pt", "9pt"
        axis.axis_label_text_font_style, axis.ticker.desired_num_ticks = "normal", 5
    for grid in plot.grid:
        grid.grid_line_color = "#E7EAEE"
    return plot


def map_plot(scene: Scene) -> figure:
    """Draw nodes with their arrays and boresights, users and targets, to scale."""
    places = np.array([node.position_m for node in scene.nodes])
    everything = np.concatenate([places, scene.users_m, scene.targets_m])
    size = float(max(np.ptp(everything, axis=0).max(), 1e-9))
    plot = _equal_figure(360, 0.08)
    plot.xaxis.axis_label, plot.yaxis.axis_label = "x [m]", "y [m]"
    for node, (x, y) in zip(scene.nodes, places, strict=True):
        along = np.array([np.cos(node.boresight_rad), np.sin(node.boresight_rad)])
        across = 0.035 * size * np.array([-along[1], along[0]])
        plot.line([x - across[0], x + across[0]], [y - across[1], y + across[1]], line_color=_INK, line_width=5)
        tip = 0.14 * size * along
        head = VeeHead(size=9, fill_color=_INK, line_color=_INK)
        plot.add_layout(
            Arrow(x_start=x, y_start=y, x_end=x + tip[0], y_end=y + tip[1], end=head, line_color=_INK, line_width=1.5)
        )
    roles = ["" if n.transmits and n.receives else ", sends" if n.transmits else ", receives" for n in scene.nodes]
    for number, (node, at) in enumerate(zip(scene.nodes, places, strict=True)):
        behind = -np.array([np.cos(node.boresight_rad), np.sin(node.boresight_rad)])
        align = "center" if abs(behind[0]) < 0.5 else "left" if behind[0] > 0 else "right"
        away = (0.03 if align != "center" else 0.07) * size * behind
        _words_at(plot, (at + away)[np.newaxis], [f"node {number}{roles[number]}"], _INK, align=align)
    facing = np.array([(np.cos(node.boresight_rad), np.sin(node.boresight_rad)) for node in scene.nodes])
    for reach in (0.0, 0.18):  # words take no part in the range: points behind the nodes make room for them
        plot.scatter(*(places - reach * size * facing).T, size=1, alpha=0.0)
    star = {"marker": "star", "size": 15, "fill_color": _INK, "line_color": _INK}
    circle = {"marker": "circle", "size": 9, "fill_color": "#FFFFFF", "line_color": _SOFT}
    for kind, at, looks in (("user", scene.users_m, circle), ("target", scene.targets_m, star)):
        names = [f"{kind} {number}" if len(at) > 1 else kind for number in range(len(at))]
        told = [f"({x:.4g} m, {y:.4g} m)" for x, y in at]
        source = {"x": at[:, 0], "y": at[:, 1], "name": names, "at": told}
        drawn = plot.scatter("x", "y", source=source, **looks)
        plot.add_tools(HoverTool(tooltips=[("", "@name"), ("at", "@at")], renderers=[drawn]))
        if kind == "user":
            _words_at(plot, at, names, _SOFT, align="center", y_offset=13)
        else:
            _words_at(plot, at, names, _INK, x_offset=11)
    return plot


def _words_at(
    plot: figure, at: Float, words: Sequence[str], colour: str, *, align: str = "left", x_offset: int = 0, y_offset: int = 0
) -> None:  # fmt: skip
    plot.text(
        at[:, 0], at[:, 1], list(words), text_font_size="9pt", text_color=colour, text_align=align, text_baseline="middle",
        x_offset=x_offset, y_offset=y_offset,
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


def ellipse_plot(designs: Sequence[_Drawn], target: int) -> figure:
    """Draw the ellipses of all designs about one target."""
    longest = _longest(designs, target)
    most = min(float(longest.max()), _MOST_STRETCH * float(np.median(longest)))
    scale = scaled([most], "m")
    plot = _equal_figure(360, 0.06)
    lines = []
    for design in designs:
        ellipse = design.scene.ellipses[target]
        x, y = outline(ellipse)
        told = _told(design, ellipse, scale)
        looks = {"line_color": design.colour, "line_width": line_width(len(lines), len(designs))}
        lines.append(plot.line(x, y, name=told, **looks))
        lines[-1].tags = [KEY, design.number]
    plot.scatter([0.0], [0.0], marker="star", size=12, fill_color=_INK, line_color=_INK)
    plot.add_tools(HoverTool(tooltips="$name", renderers=lines))
    edge = plot.scatter([-most, most, 0.0, 0.0], [0.0, 0.0, -most, most], size=1, alpha=0.0)
    for drawn in (plot.x_range, plot.y_range):
        drawn.renderers = [edge] if _stretched(designs, target) else [*lines]
    for axis, name in zip(plot.axis, ("x", "y"), strict=True):
        axis.axis_label = f"{name} from the target [{scale.unit}]"
        axis.formatter = CustomJSTickFormatter(
            code="return String(parseFloat((tick / factor).toPrecision(6))).replace('-', '−')", args={"factor": scale.factor}
        )
    return plot


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

"""Panels as HoloViews objects on its Bokeh back end: their layers, their frame, and the figure that a page embeds.

HoloViews computes the range of every dimension of every element in order to choose limits and colours. All panels state both,
so `normalize` and `apply_ranges` are off: an overlay of 12 curves took 69 ms of CPU time with ranges and takes 29 ms without.
An element costs about 10 ms and the frame 15 ms. Elements are vectorised: 24 curves as 24 elements took 167 ms. A page with all
that it may show (20 panels of 20 curves, 30 variables) takes 2.3 s.

HoloViews only logs what goes wrong in a hook: tests look at what the hooks of this module leave in the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import holoviews as hv
import holoviews.plotting.bokeh
import numpy as np
from bokeh.models import CustomJSTickFormatter, DataRange1d
from bokeh.plotting import figure
from numpy.typing import NDArray

from flows.report.axes import Axis

GRID = {"grid_line_color": "#E7EAEE"}
SIZES = {"labels": "10pt", "xticks": "9pt", "yticks": "9pt"}
"""Looks of the grid and sizes of the letters of all panels."""

_TOOLS = ("pan", "box_zoom", "save", "reset")
_TITLE = 48
"""Letters that fit along an axis."""
_NARROW = 34
"""Letters along an axis of one of several plots side by side."""
_ROOM = 70
"""Letters that fit side by side below an axis."""

_TICK = """
const v = tick / factor, size = Math.abs(v);
if (unit !== null) {
  const power = size === 0 ? 0 : Math.max(-15, Math.min(12, 3 * Math.floor(Math.log10(size) / 3 + 1e-9)));
  const plain = size >= 0.1 && size < 1e4 ? 0 : power;
  const symbol =
    {'-15': 'f', '-12': 'p', '-9': 'n', '-6': 'µ', '-3': 'm', '0': '', '3': 'k', '6': 'M', '9': 'G', '12': 'T'}[plain];
  return parseFloat((v / 10 ** plain).toPrecision(6)) + ' ' + symbol + unit;
}
if (size === 0 || (size >= 1e-4 && size < 1e6)) return String(parseFloat(v.toPrecision(6)));
const power = Math.floor(Math.log10(size) + 1e-9), front = parseFloat((v / 10 ** power).toPrecision(3));
const raised = String(power).split('').map(c => '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'['-0123456789'.indexOf(c)]).join('');
return (front === 1 ? '' : front + '×') + '10' + raised;
"""
"""How a page writes a tick: in the unit of the title, else with a unit and prefix of its own, never with an ``e``."""


def layer(
    element: Any, tips: Sequence[tuple[str, str]] | str = (), *, numbers: Sequence[int] | NDArray[Any] = (), whole: float = 1.0,
    **looks: Any,
) -> Any:  # fmt: skip
    """Return a HoloViews element with its looks and, if there are any, its tooltips.

    Parameters
    ----------
    element
        What is drawn; the tooltips show its value dimensions.
    tips
        Words and columns of the tooltip: ``("", "@curve")``; or one text with columns.
    numbers
        The number of each drawn thing, by which entries of legends name it; none: no legend fades it.
    whole
        Opacity of the things that are not faded.
    looks
        Options of the element. A look that differs between the drawn things is ``hv.dim(name of a value dimension)``.
    """
    more: dict[str, Any] = {"apply_ranges": False, "normalize": False, "show_legend": False, "default_tools": []}
    if tips:
        more |= {"tools": ["hover"], "hover_tooltips": tips if isinstance(tips, str) else list(tips)}
    if len(numbers):
        more["hooks"] = [lambda plot, _: _number(plot, np.asarray(numbers, dtype=np.int32), whole)]
    return element.opts(backend="bokeh", **more | looks)


def panel(
    layers: Sequence[Any], x: Axis, y: Axis, height: int, *, key: str = "", narrow: bool = False, **options: Any
) -> hv.Overlay:
    """Return the layers in a frame that takes the width of its place in the page.

    Parameters
    ----------
    layers
        From below, each from :func:`layer`; there may be none.
    x, y
        Axes; one whose limits fall is drawn in reverse.
    height
        Pixels.
    key
        Name of the section: a legend fades what stands in its own section.
    narrow
        Whether several such plots stand side by side: then there are fewer ticks, and titles have shorter lines.
    options
        Options of HoloViews that replace those of all panels.
    """
    inclined = x.names is not None and sum(map(len, x.names)) > _ROOM
    axes: dict[str, Any] = {"xrotation": 45 if inclined else 0}
    for name, axis in (("x", x), ("y", y)):
        low, high = sorted(axis.limits)
        axes |= {
            f"{name}lim": (low, high), f"log{name}": axis.log, f"invert_{name}axis": axis.limits[0] > axis.limits[1],
            f"{name}label": fill(axis.title, _NARROW if narrow else _TITLE), f"{name}ticks": _ticks(axis, narrow=narrow),
        }  # fmt: skip
        if axis.names is None:
            axes[f"{name}formatter"] = CustomJSTickFormatter(code=_TICK, args={"factor": axis.factor, "unit": axis.unit})
    return _framed(layers, height, _TOOLS, lambda plot, _: _finish(plot, key), axes | options)


def to_scale(
    layers: Sequence[Any], height: int, *, key: str = "", room: float, over: Sequence[int] = (), tools: Sequence[str],
    **options: Any,
) -> hv.Overlay:  # fmt: skip
    """Return the layers in a frame in which a unit is as long along both axes, at every width of the page.

    Parameters
    ----------
    layers, height, key, options
        As for :func:`panel`.
    room
        Share of the range that is left free.
    over
        Numbers of the layers that set the range; none: all do.
    tools
        Names of the tools.
    """

    def finish(plot: Any, _: Any) -> None:
        _finish(plot, key)
        parts = [subplot.handles["glyph_renderer"] for subplot in plot.subplots.values()]
        ranges = {"range_padding": room, "renderers": [parts[number] for number in over] or "auto"}
        border = options.get("border", plot.state.min_border_right)
        plot.state.update(
            match_aspect=True, x_range=DataRange1d(**ranges), y_range=DataRange1d(**ranges), min_border_right=border
        )

    return _framed(layers, height, tools, finish, options)


def _framed(layers: Sequence[Any], height: int, tools: Sequence[str], hook: Any, options: dict[str, Any]) -> hv.Overlay:
    first, *others = list(layers) or [layer(hv.Points([]))]
    common: dict[str, Any] = {
        "responsive": True, "height": height, "border": 5, "toolbar": "above", "autohide_toolbar": True, "show_legend": False,
        "active_tools": ["pan"] if "pan" in tools else [], "show_grid": True, "normalize": False, "gridstyle": GRID,
        "fontsize": SIZES, "hooks": [hook],
    }  # fmt: skip
    # An overlay has the tools of its elements, and none of its own.
    first = first.opts(backend="bokeh", default_tools=list(tools))
    return hv.Overlay([first, *others]).opts(backend="bokeh", **common | options)


def rendered(drawn: hv.Overlay) -> figure:
    """Return the Bokeh figure of a panel."""
    return hv.render(drawn, backend="bokeh")


def _ticks(axis: Axis, *, narrow: bool) -> Any:
    if axis.ticks is None:
        return 4 if narrow else None
    return list(axis.ticks) if axis.names is None else list(zip(axis.ticks, axis.names, strict=True))


def _finish(plot: Any, key: str) -> None:
    """Set what options of HoloViews cannot say: a wider border, upright titles, the section whose legend fades the layers."""
    drawn = plot.state
    drawn.toolbar.logo, drawn.min_border_right = None, 12
    for axis in (drawn.xaxis[0], drawn.yaxis[0]):
        axis.axis_label_text_font_style = "normal"
    for subplot in plot.subplots.values():
        source = subplot.handles["source"]
        if "number" in source.data:
            source.tags = [key]


def _number(plot: Any, numbers: NDArray[np.int32], whole: float) -> None:
    """Add what a click on a legend needs: the numbers of the drawn things, and a column for their opacity."""
    source, glyph = plot.handles["source"], plot.handles["glyph"]
    source.data["number"], source.data["alpha"] = numbers, np.full(len(numbers), whole, dtype=np.float32)
    parts = glyph.properties() & {"fill_alpha", "line_alpha"}
    glyph.update(**{part: "alpha" for part in parts if getattr(glyph, part) != 0})

"""Fronts: two variables against each other, what is dominated greyed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from flows.report.axes import Axis, amount
from flows.report.choice import evenly
from flows.report.curves import is_ordered
from flows.report.drawing import layer, panel
from flows.report.legends import Entry, Group
from flows.report.measured import Measured, best_is, is_measured, measured
from flows.report.panels import Panel, Section, panel_places
from flows.report.plots import points, texts, value_axis
from flows.report.words import colours, field_words, within
from pipeline.dominance import is_nondominated

MOST_FRONTS = 4
"""Most panels of a front."""
_MOST_GREY = 1500
"""Most dominated points in a panel."""
_GREY = "#C3C9D1"


def front_of(surfaces: xr.Dataset, spec: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the two variables of the front: those of the report, or a rate and the main metric; None if there are none."""
    if spec.get("front"):
        first, second = spec["front"]
        return (first, second) if is_measured(surfaces, first) and is_measured(surfaces, second) else None
    also = [name for name in spec.get("also") or () if name in field_words().rates]
    rate = next((r for r in (*also, *field_words().rates) if is_measured(surfaces, r) and r != spec["y"]), None)
    if rate is None or not is_measured(surfaces, spec["y"]) or best_is(str(spec["y"])) is None:
        return None
    return rate, str(spec["y"])


def front_section(surfaces: xr.Dataset, spec: Mapping[str, Any]) -> Section | None:
    """Draw two variables against each other, every point of the grid a dot; return None if there is nothing to draw."""
    pair = front_of(surfaces, spec)
    if pair is None or best_is(pair[0]) is None or best_is(pair[1]) is None:
        return None
    across, up = measured(surfaces, pair[0]), measured(surfaces, pair[1])
    if set(across.axes) != set(up.axes):
        return None
    across = across.ordered(up.axes)
    if (np.isfinite(across.mean) & np.isfinite(up.mean)).sum() < 3 or np.nanstd(across.mean) == 0.0:
        return None
    split = [axis for axis in spec.get("panels") or () if axis in up.axes][:1]
    places = panel_places(up, split, MOST_FRONTS)
    hues = [axis for axis in (spec.get("colour"), *up.axes) if axis in up.axes and axis not in split]
    hued = max(hues, key=lambda axis: (not is_ordered(up, axis), up.sizes[axis]), default=None)
    axes = value_axis(across, log=False), value_axis(up, log=bool(spec.get("log_y")) and bool((up.mean > 0).any()))
    palette = colours(up.sizes[hued] if hued else 1, ordered=is_ordered(up, hued))
    panels, met = [], set()
    for number, (name, chosen) in enumerate(places.found):
        plot, front = _front_plot(across.part(chosen), up.part(chosen), axes, hued, palette, narrow=len(places.found) > 1)
        panels.append(Panel(f"front {number}", name, plot))
        met |= front
    entries = [Entry(up.entry(hued, i), palette[i], "dot", numbers=(i,)) for i in sorted(met)] if hued else []
    legend = [
        Group(
            up.heading_of(hued) if hued else "", [*entries, Entry("Dominated: another point is better in both", _GREY, "dot")]
        )
    ]
    words = {"smallest": "low", "largest": "high"}
    note = (
        f"Each dot is a point of the grid. {up.title} should be {words[str(best_is(up.name))]}, {within(across.title)} "
        f"{words[str(best_is(across.name))]}. A line joins the points that no other point beats in both."
    )
    title = f"{up.title} against {within(across.title)}"
    return Section("front", title, [n for n in (note, places.left_out) if n], panels, legend)


def _front_plot(
    across: Measured, up: Measured, axes: tuple[Axis, Axis], hued: str | None, palette: Sequence[str], *, narrow: bool
) -> tuple[hv.Overlay, set[int]]:
    """Draw one panel; return it and the values of the hue that are on the front."""
    ways = (str(best_is(across.name)), str(best_is(up.name)))
    known = np.isfinite(across.mean) & np.isfinite(up.mean) & ((up.mean > 0) if axes[1].log else True)
    places = np.argwhere(known)
    x, y = across.mean[known], up.mean[known]
    free = is_nondominated(np.stack([v if way == "smallest" else -v for v, way in zip((x, y), ways, strict=True)], axis=1))
    grey = np.flatnonzero(~free)
    grey = grey[evenly(len(grey), _MOST_GREY)] if len(grey) else grey
    on = np.flatnonzero(free)
    on = on[np.argsort(x[on], kind="stable")]
    steps = "steps-post" if ways[0] == "smallest" else "steps-pre"
    layers = [layer(hv.Curve((x[on], y[on]), "x", "y"), interpolation=steps, color="#9AA3AE", line_width=1)]
    tips = [("", "@words"), (across.title, "@first"), (up.title, "@second")]
    shade = up.axes.index(hued) if hued else None
    met: set[int] = set()
    for chosen, looks in ((grey, {"size": 5, "fill_alpha": 0.8}), (on, {"size": 9})):
        if not len(chosen):
            continue
        hue = places[chosen, shade] if shade is not None else np.zeros(len(chosen), dtype=np.int64)
        front = chosen is on
        met |= set(hue.tolist()) if front else set()
        table = {
            "x": x[chosen], "y": y[chosen],
            "color": texts(palette[int(h)] for h in hue) if front else texts([_GREY] * len(chosen)),
            "words": texts(", ".join(up.words(up.axes, tuple(places[i]))) for i in chosen),
            "first": texts(amount(v, across.unit) for v in x[chosen]), "second": texts(amount(v, up.unit) for v in y[chosen]),
        }  # fmt: skip
        numbers = hue if front else ()
        layers.append(layer(points(table), tips, numbers=numbers, color=hv.dim("color"), line_alpha=0, **looks))
    return panel(layers, *axes, 360, key="front", narrow=narrow), met

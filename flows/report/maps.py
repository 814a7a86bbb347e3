"""Maps of a variable over two long numeric axes: colours, lines of equal value, the edge of feasibility, the best design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import contourpy
import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.palettes import Viridis256
from numpy.typing import NDArray

from flows.field_values import scaled
from flows.report.axes import Axis, geometric, levels, number_axis
from flows.report.axes import amount as amount_of
from flows.report.drawing import layer, panel
from flows.report.legends import Entry, Group
from flows.report.measured import Float, Measured
from flows.report.plots import label_below, texts
from flows.report.words import colours, label, lighter, short, with_unit, within

LONG = 8
"""Fewest values of an axis that a map is drawn along."""
EDGE = "#D7263D"
DOT = "#10151C"
_NONE = "#E9ECF0"
"""Colour of places without a feasible cell."""
_MARGIN = 0.05
"""Share of a map along its frame that has no labels of lines."""
_PALETTE = tuple(Viridis256[40:])
"""The darkest colours are left out: lines and labels must be read on all of them."""


@dataclass(frozen=True)
class Ground:
    """What all maps of a section share: axes, borders of the places along both axes, and the scale of the colours."""

    x: Axis
    y: Axis
    borders: tuple[Float, Float]
    names: tuple[list[str], list[str]]
    span: tuple[float, float]
    log: bool
    lines: list[float]

    @property
    def palette(self) -> tuple[str, ...]:
        """Return the colours from the least to the largest value."""
        return _PALETTE

    def colour(self, value: float) -> str:
        """Return the colour of a value."""
        low, high, at = (np.log(v) if self.log else v for v in (*self.span, value))
        share = 0.5 if high == low else (at - low) / (high - low)
        return _PALETTE[int(np.clip(share, 0, 1) * (len(_PALETTE) - 1))]


def ground(measured: Measured, x: str, y: str, *, log: bool) -> Ground:
    """Return the axes and colours of maps over two numeric axes."""
    drawn = measured.mean[np.isfinite(measured.mean) & ((measured.mean > 0) if log else True)]
    span = (float(drawn.min()), float(drawn.max()))
    # Few outliers must not take all colours.
    if drawn.size > 50 and not log:
        span = (float(np.quantile(drawn, 0.01)), float(np.quantile(drawn, 0.99)))
    axes, borders, names = [], [], []
    for axis in (x, y):
        values, unit = np.asarray(measured.values_of(axis), dtype=float), measured.unit_of(axis)
        on_log = geometric(values, unit)
        edges = borders_of(values, log=on_log)
        title = measured.title_of(axis).removesuffix(f" [{unit}]")
        axes.append(number_axis(title, unit, edges, log=on_log, room=0.0))
        borders.append(edges)
        names.append([label_below(v, unit) for v in values.tolist()])
    return Ground(
        axes[0], axes[1], (borders[0], borders[1]), (names[0], names[1]), span, log, levels(*span, log=log)
    )  # fmt: skip


def borders_of(values: Float, *, log: bool) -> Float:
    """Return the borders between neighbouring values, halfway on their scale, and one beyond either end."""
    at = np.log(values) if log else values
    between = 0.5 * (at[1:] + at[:-1])
    found = np.concatenate([[2 * at[0] - between[0]], between, [2 * at[-1] - between[-1]]])
    return np.exp(found) if log else found


def map_plot(measured: Measured, shared: Ground, dotted: NDArray[np.bool_] | None = None) -> hv.Overlay:
    """Draw a variable [x, y] as a map with lines of equal value and the edge of what is feasible in every realisation.

    Parameters
    ----------
    dotted
        Places [x, y] that get a dot.
    """
    mean = np.where(measured.mean > 0, measured.mean, np.nan) if shared.log else measured.mean
    told = {
        "words": [amount_of(v, measured.unit) for v in mean.ravel()],
        "count": [f"{f:.0f} of {p:.0f}" for f, p in zip(measured.feasible.ravel(), measured.planned.ravel(), strict=True)],
    }
    tips = [(measured.title, "@words"), ("feasible", "@count")]
    layers = [_mesh(shared, mean.astype(np.float32), told, tips, cmap=list(_PALETTE), clim=shared.span, logz=shared.log)]
    if not measured.own:
        layers.insert(0, _empty(measured, shared))
    layers += _lines(measured, mean, shared)
    if not measured.own:
        layers += _edge(measured, shared)
    if dotted is not None:
        layers.append(_dots(measured, dotted))
    return panel(layers, shared.x, shared.y, 360, narrow=True, show_grid=False)


@dataclass(frozen=True)
class Verdict:
    """Which value of an axis is the best at each place [x, y], by number (-1: none), and where it is told from all others."""

    winner: NDArray[np.int64]
    told_apart: NDArray[np.bool_]


def verdict_of(answers: xr.Dataset | None, measured: Measured, axis: str, chosen: Mapping[str, int]) -> Verdict | None:
    """Return the stored verdict on the best value of an axis for the part [x, y, axis] of a variable; None without one.

    Parameters
    ----------
    answers
        Answers to standing questions.
    measured
        The part, whose labels are those of the map.
    chosen
        The place (by number) of the axes that the part lacks.
    """
    if answers is None or "best_winner" not in answers or answers.attrs.get("metric") != measured.name:
        return None
    over = [a for a in measured.axes if a != axis]
    if set(answers["best_winner"].dims) != {*over, *chosen} or axis not in answers.coords:
        return None
    part = answers[["best_winner", "best_status"]].isel(dict(chosen)).sel({a: measured.values_of(a) for a in over})
    number = {value: i for i, value in enumerate(measured.values_of(axis))}
    winner = part["best_winner"].transpose(*over).values
    status = part["best_status"].transpose(*over).values
    places = np.array([number.get(w, -1) for w in winner.ravel().tolist()], dtype=np.int64).reshape(winner.shape)
    return Verdict(places, np.isin(status, ("best", "equal", "only_one")))


def best_plot(
    measured: Measured, axis: str, shared: Ground, best: str, verdict: Verdict | None = None
) -> tuple[hv.Overlay, list[int]]:  # fmt: skip
    """Draw which value of an unordered axis is the best at each place of a variable [x, y, axis].

    With a verdict its winners are drawn, pale where they are not told from all others.

    Returns
    -------
    plot
        The map.
    found
        The values of the axis that are the best somewhere, by number, in the order of the colours of :func:`best_legend`.
    """
    values = best_values(measured)
    known = np.isfinite(values)
    worst = np.inf if best == "smallest" else -np.inf
    filled = np.where(known, values, worst)
    winner = filled.argmin(axis=-1) if best == "smallest" else filled.argmax(axis=-1)
    met = known.any(axis=-1)
    sure = met
    if verdict is not None:
        winner, met = np.maximum(verdict.winner, 0), verdict.winner >= 0
        sure = verdict.told_apart
    found = sorted(set(winner[met].tolist()))
    palette = best_colours(measured.sizes[axis])
    names = [short(label(axis, v, measured.unit_of(axis))) for v in measured.values_of(axis)]
    reached = np.take_along_axis(values, winner[..., np.newaxis], axis=-1)[..., 0]
    doubt = ["" if s else ", not told from another" for s in sure.ravel()]
    told = {
        "best": [names[i] + d if m else "–" for i, m, d in zip(winner.ravel(), met.ravel(), doubt, strict=True)],
        "words": [amount_of(v, measured.unit) for v in reached.ravel()],
    }
    tips = [("best", "@best"), (measured.title, "@words")]
    both = [*palette, *(lighter(colour, _PALE) for colour in palette)]
    numbers = np.where(met, winner + np.where(sure, 0, len(palette)), np.nan).astype(np.float32)
    mesh = _mesh(shared, numbers, told, tips, cmap=both, clim=(-0.5, len(both) - 0.5))
    return panel([mesh], shared.x, shared.y, 360, narrow=True, show_grid=False), found


_PALE = 0.65
"""How much lighter a winner is that is not told from all others."""


def best_values(measured: Measured) -> Float:
    """Return what is compared: means over common realisations where the surfaces have them, else means."""
    paired = measured.paired
    return paired if paired is not None and np.isfinite(paired).any() else measured.mean


def best_colours(count: int) -> tuple[str, ...]:
    """Return the colours of the values of an unordered axis."""
    return tuple(lighter(colour, 0.35) for colour in colours(count, ordered=False))


def map_legend(measured: Measured, shared: Ground) -> list[Group]:
    """Return the scale of the colours by its lines of equal value, and the sign of the edge."""
    scale = scaled(shared.lines or shared.span, measured.unit)
    unit = scale.unit if scale.common else ""
    entries = [Entry(scale.text(v), shared.colour(v), "area") for v in shared.lines or shared.span]
    found = [Group(with_unit(measured.title, unit or "1"), entries)]
    if not measured.own and (measured.feasible < measured.planned).any():
        found.append(
            Group(
                "",
                [
                    Entry("Feasible in every realisation up to here", EDGE, "edge"),
                    Entry("No realisation is feasible", _NONE, "area"),
                ],
            )
        )
    return found


def _mesh(
    shared: Ground,
    values: NDArray[np.float32],
    told: Mapping[str, Sequence[str]],
    tips: Sequence[tuple[str, str]],
    **looks: Any,
) -> Any:
    """Return numbers [x, y] as a mesh of colours, with tooltips that name the place first."""
    across, up = shared.names
    words = {"across": np.repeat(across, len(up)).tolist(), "up": up * len(across)} | dict(told)
    grids = [texts(column).reshape(values.shape).T for column in words.values()]
    corners = (borders.astype(np.float32) for borders in shared.borders)
    mesh = hv.QuadMesh((*corners, values.T, *grids), ["x", "y"], ["value", *words])
    place = [(axis.title.partition(" [")[0], f"@{name}") for axis, name in ((shared.x, "across"), (shared.y, "up"))]
    # A line of the same colour closes the gaps that browsers leave between the places.
    return layer(mesh, [*place, *tips], hooks=[_closed], **looks)


def _closed(plot: Any, _: Any) -> None:
    plot.handles["glyph"].update(line_color=plot.handles["glyph"].fill_color, line_alpha=1.0, line_width=0.5)


def _empty(measured: Measured, shared: Ground) -> Any:
    """Return the places where no planned realisation is feasible."""
    rows, columns = np.nonzero((measured.planned > 0) & (measured.feasible == 0))
    xs, ys = (borders.astype(np.float32) for borders in shared.borders)
    corners = {"x0": xs[rows], "y0": ys[columns], "x1": xs[rows + 1], "y1": ys[columns + 1]}
    return layer(hv.Rectangles(corners, list(corners)), color=_NONE, line_color=_NONE, line_width=0.5)


def _dots(measured: Measured, dotted: NDArray[np.bool_]) -> Any:
    values = [np.asarray(measured.values_of(axis), dtype=np.float32) for axis in measured.axes]
    points = {name: one[at] for name, one, at in zip(("x", "y"), values, np.nonzero(dotted), strict=True)}
    return layer(hv.Points(points, ["x", "y"]), color=DOT, size=2.5)


def _lines(measured: Measured, mean: Float, shared: Ground) -> list[Any]:
    """Return lines of equal value with their values. Between cells they are interpolated: they are for the eye."""
    if min(mean.shape) < 2 or not shared.lines:
        return []
    x, y = (
        _scaled(np.asarray(measured.values_of(a), dtype=float), axis)
        for a, axis in zip(measured.axes, (shared.x, shared.y), strict=True)
    )
    heights = np.log(mean) if shared.log else mean
    generator = contourpy.contour_generator(x, y, np.ma.masked_invalid(heights).T)
    scale = scaled(shared.lines, measured.unit)
    parts: list[Float] = []
    places = []
    for level in shared.lines:
        lines: Sequence[Any] = generator.lines(float(np.log(level) if shared.log else level))
        for line in lines:
            # A row of NaN between them makes one line of all: many small ones would take many bytes.
            parts += [line, np.full((1, 2), np.nan)]
        if lines:
            at = _label_place(max(lines, key=len), x, y)
            if at is not None:
                places.append((_unscaled(at[0], shared.x), _unscaled(at[1], shared.y), scale.text(level, 3)))
    if not parts:
        return []
    whole = np.concatenate(parts)
    ends = {"x": _unscaled(whole[:, 0], shared.x), "y": _unscaled(whole[:, 1], shared.y)}
    ends = {name: values.astype(np.float32) for name, values in ends.items()}
    drawn = [layer(hv.Contours([ends], ["x", "y"]), color="white", line_width=1.3)]
    if places:
        looks = {"text_font_size": "8.5pt", "text_align": "center", "text_baseline": "middle", "text_color": "#10151C"}
        ground = {"background_fill_color": "white", "background_fill_alpha": 0.75, "backend_opts": {"glyph.padding": 1}}
        drawn.append(layer(hv.Labels(places, ["x", "y"], "text"), **looks, **ground))
    return drawn


def _label_place(line: Float, x: Float, y: Float) -> Float | None:
    """Return the middle of the part of a line that is not close to the frame; None if there is no such part."""
    ends = np.array([x[0], y[0]]), np.array([x[-1], y[-1]])
    share = (line - ends[0]) / (ends[1] - ends[0])
    inner = line[((share > _MARGIN) & (share < 1 - _MARGIN)).all(axis=1)]
    return inner[len(inner) // 2] if len(inner) else None


def _scaled(values: Any, axis: Axis) -> Any:
    return np.log(values) if axis.log else values


def _unscaled(values: Any, axis: Axis) -> Any:
    return np.exp(values) if axis.log else values


def edge_segments(measured: Measured, shared: Ground) -> Float:
    """Return the border between places where every planned realisation is feasible and places where some are not.

    Returns
    -------
    Segments [segment, end, coordinate].
    """
    planned = measured.planned > 0
    whole = planned & (measured.feasible == measured.planned)
    xs, ys = shared.borders
    i, j = np.nonzero((whole[1:] != whole[:-1]) & planned[1:] & planned[:-1])
    k, m = np.nonzero((whole[:, 1:] != whole[:, :-1]) & planned[:, 1:] & planned[:, :-1])
    upright = np.stack([xs[i + 1], ys[j], xs[i + 1], ys[j + 1]], axis=-1)
    level = np.stack([xs[k], ys[m + 1], xs[k + 1], ys[m + 1]], axis=-1)
    return np.concatenate([upright, level]).reshape(-1, 2, 2)


def _edge(measured: Measured, shared: Ground) -> list[Any]:
    ends = edge_segments(measured, shared)
    if not len(ends):
        return []
    return [layer(hv.Segments(ends.reshape(-1, 4), ["x0", "y0", "x1", "y1"]), color=EDGE, line_width=2.5)]


def best_legend(measured: Measured, axis: str, found: Sequence[int]) -> list[Group]:
    """Return the colours of the values that are the best somewhere."""
    palette = best_colours(measured.sizes[axis])
    entries = [Entry(measured.entry(axis, i), palette[i], "area") for i in found]
    return [Group(f"Best: {within(measured.heading_of(axis))}", entries)]

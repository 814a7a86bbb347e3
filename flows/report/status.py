"""The map of the status of every cell."""

from __future__ import annotations

import itertools

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flows.field_values import below_heading
from flows.report.axes import Axis
from flows.report.choice import MOST_COLUMNS, MOST_LETTERS, evenly
from flows.report.drawing import SIZES, layer, panel
from flows.report.words import STATUS_COLOURS, axis_title, label, short, unit_of_axis
from pipeline.experiment import STATUS_CODES

MOST_MAP_ROWS, MOST_MAP_COLUMNS = 48, 120
"""Most rows and columns of places that a page can show and a person can read."""

_WORDS = 36
"""Most letters of a row's name: longer names would leave no room for the map."""


def status_map(cube: xr.Dataset, x: str, over: str | None) -> tuple[hv.Overlay, str]:
    """Draw the status of every place on the grid: the axis ``x`` against the other axes, a row per combination.

    Realisations have no rows of their own, and if there are very many rows, the longest axes have none either. The cells that
    share a place are shown by their gravest status; hovering shows the counts.

    Returns
    -------
    plot
        The map.
    folded
        A sentence on the cells that share a place; empty if every cell has a place of its own.
    """
    status = cube["status"]
    folded, shown = _folded(status, x, over)
    codes = status.transpose(*shown, x, *folded).values
    codes = codes.reshape(-1, status.sizes[x], int(np.prod([status.sizes[d] for d in folded], dtype=int)))
    names = [
        ", ".join(label(d, v, unit_of_axis(cube, d)) for d, v in zip(shown, place, strict=True)) or "all"
        for place in itertools.product(*(cube[d].values.tolist() for d in shown))
    ]
    size = -(-status.sizes[x] // MOST_MAP_COLUMNS)
    starts = np.arange(0, status.sizes[x], size)
    words = [short(below_heading(value, unit_of_axis(cube, x))) for value in cube[x].values]
    at = [_span(words[start], words[min(start + size, status.sizes[x]) - 1]) for start in starts]
    counts = {n: np.add.reduceat((codes == c).sum(-1), starts, axis=1) for n, c in STATUS_CODES.items() if n != "not_planned"}
    rows, columns = np.nonzero(sum(counts.values()))
    counts = {name: count[rows, columns] for name, count in counts.items()}
    table = {
        "x0": columns - 0.5, "y0": rows - 0.5, "x1": columns + 0.5, "y1": rows + 0.5,
        "color": np.array(list(STATUS_COLOURS.values()), dtype=object)[gravest(counts).astype(int)],
        "at": np.array(at, dtype=object)[columns], "row": np.array([short(n) for n in names], dtype=object)[rows],
        "counts": _counted(counts),
    }  # fmt: skip
    tips = [(axis_title(cube, x), "@at"), ("", "@row"), ("", "@counts")]
    ticks = [(int(i), short(words[starts[i]], MOST_LETTERS)) for i in evenly(len(at), MOST_COLUMNS)]
    # The labels of the x axis are inclined and need room below it.
    height = min(1400, 75 + 17 * len(names) + int(5.5 * max(8, *(len(word) for _, word in ticks))))
    across = Axis(axis_title(cube, x), (-0.5, len(at) - 0.5), ticks=[n for n, _ in ticks], names=[word for _, word in ticks])
    numbered = [float(i) for i in range(len(names))]
    up = Axis("", (len(names) - 0.5, -0.5), ticks=numbered, names=[short(name, _WORDS) for name in names])
    places = hv.Rectangles(table, ["x0", "y0", "x1", "y1"], ["color", "at", "row", "counts"])
    cells = layer(places, tips, color=hv.dim("color"), line_color="white")
    looks = {"toolbar": None, "show_grid": False, "xrotation": 60, "fontsize": SIZES | {"yticks": "8pt"}}
    return panel([cells], across, up, height, **looks), _sentence(cube, x, folded, size)


def _folded(status: xr.DataArray, x: str, over: str | None) -> tuple[list[str], list[str]]:
    """Return the axes whose values share a place, and the axes that have rows.

    While there are too many rows, the longest axis gives up its rows.
    """
    folded = [d for d in map(str, status.dims) if d == over]
    shown = [d for d in map(str, status.dims) if d not in (x, *folded)]
    while shown and np.prod([status.sizes[d] for d in shown], dtype=float) > MOST_MAP_ROWS:
        folded.append(max(shown, key=lambda d: status.sizes[d]))
        shown.remove(folded[-1])
    return folded, shown


def _sentence(cube: xr.Dataset, x: str, folded: list[str], size: int) -> str:
    shared = [f"all {cube.sizes[d]:,} values of {axis_title(cube, d)}" for d in folded if cube.sizes[d] > 1]
    if size > 1:
        shared.append(f"{size:,} neighbouring values of {axis_title(cube, x)}")
    return f"A place stands for {' and '.join(shared)}." if shared else ""


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def gravest(counts: dict[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return the status that a place shows, as its number in ``STATUS_COLOURS``, from the counts of its cells by status."""
    partly = (counts["infeasible"] > 0) & (counts["ok"] > 0)
    grave = [counts["failed"] > 0, counts["missing"] > 0, counts["inaccurate"] > 0, partly, counts["infeasible"] > 0]
    names = list(STATUS_COLOURS)
    shown = ("failed", "missing", "inaccurate", "partly infeasible", "infeasible")
    return np.select(grave, [float(names.index(name)) for name in shown], float(names.index("ok")))


def _counted(counts: dict[str, NDArray[np.int64]]) -> NDArray[np.object_]:
    """Return the counts in words, in the order of the codes."""
    names = sorted(counts, key=lambda name: STATUS_CODES[name])
    rows = zip(*(counts[name].tolist() for name in names), strict=True)
    words = [", ".join(f"{n} {c}" for n, c in zip(names, row, strict=True) if c) for row in rows]
    return np.array(words, dtype=object)

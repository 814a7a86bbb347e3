"""Maps of the lattice that a refinement has filled: what was computed has a dot, the rest is interpolated."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import xarray as xr

from flows.report.legends import Entry, Group
from flows.report.maps import DOT, LONG, ground, map_legend, map_plot
from flows.report.measured import Measured
from flows.report.panels import Panel, Section, panel_places
from flows.report.words import title_and_unit
from pipeline.experiment import STATUS_CODES

_MOST_PLACES = 26_000
"""Most places of all maps together."""


def filled_section(filled: xr.Dataset, *, log: bool, panels: int) -> Section | None:
    """Return the maps of a filled lattice; None if it has not two long refined axes, or nothing on it is feasible.

    Parameters
    ----------
    filled
        As :func:`pipeline.refining.open_refined` gives it.
    log
        Whether the colours have a logarithmic scale.
    panels
        Most maps: there is one for each combination of the other axes.
    """
    over = [axis for axis in json.loads(filled.attrs["axes"]) if filled.sizes[axis] >= LONG]
    found = _measured(filled)
    if len(over) != 2 or not np.isfinite(found.mean).any():
        return None
    share = filled["computed_share"].transpose(*found.axes).values
    computed = replace(found, mean=share)
    most = max(1, min(panels, _MOST_PLACES // (filled.sizes[over[0]] * filled.sizes[over[1]])))
    places = panel_places(found, [axis for axis in found.axes if axis not in over], most)
    shared = ground(found, over[0], over[1], log=log and bool((found.mean > 0).any()))
    drawn = [
        Panel(
            f"{found.name} filled {number}",
            name,
            map_plot(found.part(chosen).ordered(over), shared, computed.part(chosen).ordered(over).mean > 0),
        )
        for number, (name, chosen) in enumerate(places.found)
    ]
    tolerance = filled.attrs["tolerance"]
    within = f"{100 * tolerance:g} %" if filled.attrs["tolerance_is_relative"] else f"{tolerance:g} {found.unit}"
    cells, of = filled.attrs["cells"], filled.attrs["lattice_cells"]
    note = f"{cells:,} of {of:,} cells are computed; between them boxes interpolate to within {within} (see `disac refine`)."
    legend = [*map_legend(found, shared), Group("", [Entry("Computed; elsewhere interpolated", DOT, "dot")])]
    return Section(
        found.name, f"{found.title}, filled by interpolation", [note, *filter(None, [places.left_out])], drawn, legend
    )


def _measured(filled: xr.Dataset) -> Measured:
    """Return the refined variable with its counts; a cell counts as feasible if it is computed or interpolated so."""
    name = str(filled.attrs["refined_variable"])
    mean, status = filled[f"{name}_mean_feasible"], filled["status"]
    axes = tuple(str(dim) for dim in mean.dims)
    over = [dim for dim in status.dims if dim not in mean.dims]
    usable = status.isin([STATUS_CODES["ok"], STATUS_CODES["inaccurate"]])
    feasible = usable.sum(over).transpose(*axes).values.astype(np.float64)
    planned = (status != STATUS_CODES["not_planned"]).sum(over).transpose(*axes).values.astype(np.float64)
    title, unit = title_and_unit(filled[name].attrs, name)
    values = mean.values
    return Measured(
        name, title, unit, axes, (), values, values, values, None, feasible, planned, filled.coords.to_dataset()
    )  # fmt: skip

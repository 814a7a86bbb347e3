"""The outcome of a refinement: as plain data, and in sentences."""

from __future__ import annotations

from typing import Any

from flows.refining import Asked
from pipeline.layout import refined_study
from pipeline.refining import Refinement, coarsest_dense
from pipeline.refining.known import FAILED


def summary_of(asked: Asked, refinement: Refinement) -> dict[str, Any]:
    """Return the outcome of a refinement as plain data."""
    refined, tolerance = refinement.refined, asked.goal.tolerance
    dense = coarsest_dense(refined.trees)
    return {
        "study": asked.derived,
        "on": asked.metric.name,
        "tolerance": tolerance.size,
        "tolerance_is_relative": tolerance.relative,
        "unit": asked.metric.unit,
        "end": refined.end,
        "rounds": len(refined.rounds),
        "cells": refined.cells,
        "lattice_cells": refined.lattice_cells,
        "failed": sum(int((tree.kinds == FAILED).sum()) for tree in refined.trees),
        "open_boxes": refined.open_boxes,
        "checks": refined.checks,
        "proven_share": refined.proven_share(),
        "noise": refined.noise,
        "dense": None if dense is None else {"labels": dense.labels, "cells": dense.cells},
        "axes": {axis.name: {"labels": len(axis.labels), "scale": axis.scale} for axis in asked.lattice.axes},
        "study_file": refined_study(asked.derived),
    }


def sentences(summary: dict[str, Any]) -> list[str]:
    """Return the outcome of a refinement in sentences."""
    size, unit = summary["tolerance"], "" if summary["unit"] == "1" else f" {summary['unit']}"
    tolerance = f"{100.0 * size:g} %" if summary["tolerance_is_relative"] else f"{size:g}{unit}"
    share = summary["cells"] / summary["lattice_cells"]
    cells = f"{summary['cells']:,} of {summary['lattice_cells']:,} cells of the lattice ({share:.1%})"
    agree = f"{summary['checks']} fresh check points agree, so with 95 % confidence at least {summary['proven_share']:.0%}"
    found = {
        "agreed": f"{summary['on']} within {tolerance} from {cells}: {agree} of the other points do.",
        "complete": f"{summary['on']} is computed on the whole lattice: {cells}.",
        "budget": f"The budget ended with {cells}; {summary['open_boxes']:,} boxes still want cells. Give a larger --budget.",
        "stopped": f"Stopped with {cells}; {summary['open_boxes']:,} boxes still want cells. The same command goes on.",
    }
    lines = [found[summary["end"]]]
    names = list(summary["axes"])
    if summary["dense"] is not None:
        labels = summary["dense"]["labels"]
        shape = " x ".join(f"{name} {count}" for name, count in zip(names, labels, strict=True))
        lines.append(f"The coarsest dense grid of equal accuracy: {shape}, {summary['dense']['cells']:,} cells.")
    if summary["failed"]:
        lines.append(f"{summary['failed']:,} cells failed; see `disac status {summary['study_file']}`.")
    lines.append(f"Study: {summary['study']}, its file in the store: {summary['study_file']}")
    if "report" in summary:
        lines.append(f"Report: {summary['report']}")
    return lines

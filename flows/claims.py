"""Claims: a paper's sentences as checks on a cube and its surfaces, with our numbers and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from ruamel.yaml import YAML

from flows.checks import CHECKS
from flows.data_files import data_dir
from flows.evidence import Outcome, undecided
from pipeline.experiment import STATUS_CODES

LARGEST = "largest"
"""In a claim's ``where``: of each point the largest value of the axis that is planned there."""


def evaluate_claims(study: str, cube: xr.Dataset, surfaces: xr.Dataset) -> list[dict[str, Any]]:
    """Judge every claim that names the study.

    Parameters
    ----------
    study
        A study's name, or a paper's for all of its claims.
    cube, surfaces
        As published; a claim whose cells they lack stays undecided.

    Returns
    -------
    list of dict
        ``id, paper, figure, studies, statement, source, reading, ours, verdict, reason, evidence``; the verdict is ``holds``,
        ``fails`` or ``undecided`` (with the reason as evidence); ``reason`` says why a sentence fails, or holds in part only,
        and may be empty.
    """
    rows = []
    for file in sorted((data_dir() / "claims").glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        if study not in text:
            continue
        content = _parsed(text)
        if study not in (content["paper"], *content["studies"]):
            continue
        for claim in content["claims"]:
            verdict, ours, evidence = _judged(claim, cube, surfaces)
            about = {"paper": content["paper"], "figure": content["figure"], "studies": ", ".join(content["studies"])}
            told = {key: claim[key] for key in ("id", "statement", "source", "reading")}
            found = {"ours": ours, "verdict": verdict, "reason": claim.get("reason", ""), "evidence": evidence}
            rows.append(about | told | found)
    return rows


@cache
def _parsed(text: str) -> Any:
    """A file of claims; parsing takes a good part of a second."""
    return YAML(typ="safe", pure=True).load(text)


def _judged(claim: Mapping[str, Any], cube: xr.Dataset, surfaces: xr.Dataset) -> Outcome:
    for name in (claim["with"].get("variable"), claim["with"].get("relative_to")):
        if name is not None and name not in cube:
            return undecided(f"the study keeps no {name}")
    where = claim.get("where", {})
    for axis in where:
        if axis not in cube.dims:
            return undecided(f"the study has no axis {axis}")
    for axis, condition in where.items():
        if condition != LARGEST and not _matching(cube[axis].values, condition).any():
            return undecided(f"the study lacks {axis} {condition}")
    part, shown = _where(cube, where), _where(surfaces, {a: c for a, c in where.items() if a in surfaces.dims and c != LARGEST})
    return _on_what_is_there(part, CHECKS[claim["check"]](part, shown, **claim["with"]))


def _where(data: xr.Dataset, conditions: Mapping[str, Any]) -> xr.Dataset:
    """The part of a cube or of surfaces where every axis has a value, one of a list, or one within {min, max}.

    :data:`LARGEST` takes the last value along the axis that is planned at a point, and the axis out of the cube.
    """
    for axis, condition in conditions.items():
        if condition == LARGEST:
            planned = (data["status"] != STATUS_CODES["not_planned"]) * xr.DataArray(np.arange(data.sizes[axis]), dims=axis)
            data = data.isel({axis: planned.max(axis)})
        else:
            data = data.isel({axis: np.flatnonzero(_matching(data[axis].values, condition))})
    return data


def _matching(labels: NDArray[Any], condition: Any) -> NDArray[np.bool_]:
    if isinstance(condition, Mapping):
        return (labels >= condition.get("min", -np.inf)) & (labels <= condition.get("max", np.inf))
    wanted = condition if isinstance(condition, list) else [condition]
    return np.array([label in wanted for label in labels.tolist()], dtype=bool)


def _on_what_is_there(cube: xr.Dataset, outcome: Outcome) -> Outcome:
    """A claim about all cells cannot hold while some are to be computed; failed cells are told."""
    verdict, ours, evidence = outcome
    missing, failed = (int((cube["status"] == STATUS_CODES[name]).sum()) for name in ("missing", "failed"))
    if failed:
        evidence += f"; {failed} failed cells left out"
    if missing and verdict == "holds":
        return "undecided", ours, f"{evidence}; holds so far, {missing} cells are missing"
    return verdict, ours, evidence

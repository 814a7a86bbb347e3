"""Claims: the statements of a paper as checks on a cube and its surfaces, with our numbers and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.checks import check_arguments, check_names, find_check
from flows.data_files import data_dir
from flows.evidence import Outcome, undecided
from flows.verdicts import Whose
from pipeline.errors import UsageError, broken_rule, near_miss
from pipeline.experiment import STATUS_CODES

LARGEST = "largest"
"""Word in a claim's ``where`` for the largest value of the axis that is planned at each point."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Part):
    """A statement and the check that judges it."""

    id: str = Field(min_length=1)
    whose: Whose
    statement: str = Field(min_length=1)
    source: str = Field(min_length=1)
    reading: str = Field(min_length=1)
    reason: str = ""
    where: dict[str, Any] = Field(default_factory=dict)
    check: str
    arguments: dict[str, Any] = Field(alias="with")

    @model_validator(mode="after")
    def _check_takes_the_arguments(self) -> Claim:
        known = check_names()
        if self.check not in known:
            raise ValueError(f"check '{self.check}' is not known{near_miss(self.check, known)}; accepted: {', '.join(known)}")
        taken = check_arguments(self.check)
        for name in self.arguments:
            if name not in taken:
                raise ValueError(
                    f"with.{name} is no argument of '{self.check}'{near_miss(name, taken)}; accepted: {', '.join(taken)}"
                )
        lacking = [name for name, needed in taken.items() if needed and name not in self.arguments]
        if lacking:
            raise ValueError(f"with: '{self.check}' needs {', '.join(lacking)} too")
        return self


class ClaimsFile(_Part):
    """The content of a file of claims: statements, and the studies that judge them."""

    paper: str
    figure: str
    studies: list[str] = Field(min_length=1)
    claims: list[Claim] = Field(min_length=1)


def load_claims(file: Path) -> ClaimsFile:
    """Read and check a file of claims.

    Raises
    ------
    UsageError
        If the file is no YAML, a field is missing, unknown or of the wrong kind, a check or its argument is unknown, or two
        claims have one identity; the message names the file, the claim and the accepted values.
    """
    return _loaded(file, file.read_text(encoding="utf-8"))


@cache
def _loaded(file: Path, text: str) -> ClaimsFile:
    """Parse the text of a file of claims; the result is cached, because parsing takes a good part of a second."""
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UsageError(f"{file}: no valid YAML: {error}") from error
    try:
        loaded = ClaimsFile.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{file}: {_broken(error, content)}") from error
    identities = [claim.id for claim in loaded.claims]
    twice = [name for name in dict.fromkeys(identities) if identities.count(name) > 1]
    if twice:
        raise UsageError(f"{file}: claim '{twice[0]}' is written twice")
    return loaded


def _broken(error: ValidationError, content: Any) -> str:
    """Return the first rule that a file of claims breaks, with the place and the accepted values."""
    errors = error.errors(include_url=False)
    # A misspelt name tells more than the message that the right name is missing.
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    place = list(first["loc"])
    model: type[BaseModel] = ClaimsFile
    if len(place) > 1 and place[0] == "claims":
        found = content["claims"][place[1]]
        named = found.get("id", place[1]) if isinstance(found, dict) else place[1]
        place, model = [f"claim '{named}'", *place[2:]], Claim
    words = broken_rule(first)
    if first["type"] == "extra_forbidden":
        accepted = [field.alias or name for name, field in model.model_fields.items()]
        words = f"not known{near_miss(str(place[-1]), accepted)}; accepted: {', '.join(accepted)}"
    return ": ".join(map(str, [*place, words]))


def evaluate_claims(study: str, cube: xr.Dataset, surfaces: xr.Dataset) -> list[dict[str, Any]]:
    """Judge every claim that names the study.

    Parameters
    ----------
    study
        Name of a study, or of a paper for all claims on the paper.
    cube, surfaces
        As published; a claim stays undecided if its cells are missing.

    Returns
    -------
    list of dict
        ``id, paper, figure, studies, whose, statement, source, reading, ours, verdict, reason, evidence``; ``whose`` is
        ``paper`` or ``ours``; the verdict is ``holds``, ``fails`` or ``undecided`` (with the reason as evidence); ``reason``
        says why a sentence fails, or holds in part only, and may be empty.

    Raises
    ------
    UsageError
        If a file that names the study is no valid file of claims.
    """
    rows = []
    for file in sorted((data_dir() / "claims").glob("*.yaml")):
        if study not in file.read_text(encoding="utf-8"):
            continue
        content = load_claims(file)
        if study not in (content.paper, *content.studies):
            continue
        for claim in content.claims:
            verdict, ours, evidence = _judged(claim, cube, surfaces)
            about = {"paper": content.paper, "figure": content.figure, "studies": ", ".join(content.studies)}
            told = claim.model_dump(include={"id", "whose", "statement", "source", "reading", "reason"})
            rows.append(about | told | {"ours": ours, "verdict": verdict, "evidence": evidence})
    return rows


def _judged(claim: Claim, cube: xr.Dataset, surfaces: xr.Dataset) -> Outcome:
    for name in (claim.arguments.get("variable"), claim.arguments.get("relative_to")):
        if name is not None and name not in cube:
            return undecided(f"the study keeps no {name}")
    where = claim.where
    for axis in where:
        if axis not in cube.dims:
            return undecided(f"the study has no axis {axis}")
    for axis, condition in where.items():
        if condition != LARGEST and not _matching(cube[axis].values, condition).any():
            return undecided(f"the study lacks {axis} {condition}")
    part, shown = _where(cube, where), _where(surfaces, {a: c for a, c in where.items() if a in surfaces.dims and c != LARGEST})
    return _on_what_is_there(part, find_check(claim.check)(part, shown, **claim.arguments))


def _where(data: xr.Dataset, conditions: Mapping[str, Any]) -> xr.Dataset:
    """Return the part of a cube or of surfaces that meets the conditions: a value, a list of values, or {min, max} for an axis.

    :data:`LARGEST` takes at each point the last planned value along the axis; the result does not have the axis.
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
    """Complete an outcome for missing and failed cells.

    A claim about all cells cannot hold while cells are missing. The evidence names the number of failed cells.
    """
    verdict, ours, evidence = outcome
    missing, failed = (int((cube["status"] == STATUS_CODES[name]).sum()) for name in ("missing", "failed"))
    if failed:
        evidence += f"; {failed} failed cells left out"
    if missing and verdict == "holds":
        return "undecided", ours, f"{evidence}; holds so far, {missing} cells are missing"
    return verdict, ours, evidence

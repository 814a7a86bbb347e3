"""Conditions of a grid, ``where`` and ``exclude``: find the labels of axes that they name (rule G1)."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import near_miss
from pipeline.study import Study
from pipeline.values import KeyPath, as_text, axis_values, is_range

_SHOWN = 20
"""Number of labels that an error shows and in which it searches a near miss."""


def labels_named(
    study: Study,
    condition: Mapping[str, Any],
    at: KeyPath,
    names: Sequence[Sequence[str]],
    places: Sequence[Mapping[str, int]],
    labels: Sequence[Sequence[Any]],
    own: Collection[str],
) -> dict[int, NDArray[np.bool_]]:
    """Return for each axis of the cube (by its number) a mask of the labels that a condition names.

    Parameters
    ----------
    condition
        Axis -> value, list, range, or {min, max}.
    at
        Key path of the condition in the file.
    names
        Accepted names of each axis: first its name, then its paths.
    places, labels
        For each axis the number of each label by the label's text, and the labels.
    own
        Names of the axes that the grid has.

    Raises
    ------
    UsageError
        For an axis that the grid lacks, a value that no label has, or bounds where labels have no order.
    """
    found: dict[int, NDArray[np.bool_]] = {}
    if not condition:
        raise study.source.error(at, "an empty condition names every cell; name at least one axis")
    for name, wanted in condition.items():
        number = next((a for a, called in enumerate(names) if name in called), None)
        if number is None or names[number][0] not in own:
            raise study.source.error(
                (*at, name), f"no axis '{name}' in this grid{near_miss(name, own)}; axes: {', '.join(own)}"
            )
        if isinstance(wanted, dict):
            hit = _within(study, wanted, (*at, name), labels[number])
        else:
            hit = _listed(study, wanted, (*at, name), places[number], labels[number])
        found[number] = found.get(number, True) & hit
    return found


def _within(study: Study, bounds: Mapping[str, Any], at: KeyPath, labels: Sequence[Any]) -> NDArray[np.bool_]:
    if not set(bounds) <= {"min", "max"} or not bounds:
        raise study.source.error(at, f"found {bounds!r}; write a value, a list, or {{min: ..., max: ...}}")
    low, high = bounds.get("min", -np.inf), bounds.get("max", np.inf)
    try:
        return np.array([low <= label <= high for label in labels])
    except TypeError as error:
        raise study.source.error(at, f"the labels of '{at[-1]}' have no order; write a list") from error


def _listed(study: Study, wanted: Any, at: KeyPath, places: Mapping[str, int], labels: Sequence[Any]) -> NDArray[np.bool_]:
    try:
        options = axis_values(wanted) if is_range(wanted) else wanted if isinstance(wanted, list) else [wanted]
    except ValueError as error:
        raise study.source.error(at, str(error)) from error
    numbers = [[places[text] for text in _texts(option) if text in places] for option in options]
    unknown = [option for option, hits in zip(options, numbers, strict=True) if not hits]
    # A range may hold values that no label has; a value that is written out must be a label.
    if len(unknown) == len(options) or (unknown and not is_range(wanted)):
        few = [str(label) for label in labels[:_SHOWN]]
        more = f" and {len(labels) - _SHOWN:,} more" if len(labels) > _SHOWN else ""
        shown = ", ".join(map(repr, unknown[:_SHOWN])) + (", ..." if len(unknown) > _SHOWN else "")
        raise study.source.error(
            at, f"{shown} names no value of the axis '{at[-1]}'{near_miss(str(unknown[0]), few)}; its values: "
            f"{', '.join(few)}{more}"
        )  # fmt: skip
    hit = np.zeros(len(labels), dtype=bool)
    hit[list(itertools.chain.from_iterable(numbers))] = True
    return hit


def _texts(option: Any) -> set[str]:
    """Return the texts of the labels that a value names. A whole number also names the fraction: 10 names the label 10.0."""
    texts = {as_text(option)}
    if isinstance(option, int) and not isinstance(option, bool) and abs(option) <= 2**1023:
        texts.add(as_text(float(option)))
    return texts

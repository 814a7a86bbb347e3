"""Axis values as the fields of scenario and options type them (rule G2)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, FailFast, TypeAdapter, ValidationError

from pipeline.errors import broken_rule
from pipeline.study import OPTIONS, Study
from pipeline.values import KeyPath, build, canonical_text, leaf_value, plain, replace_values

MANY = 10_000
"""Up to here every value is tried in the whole scenario; of longer axes in its own section, and an even choice in the whole."""

PROBES = 200

_PIECE = 10_000
"""Values in one call: a million at once would take two gigabytes."""

Entry = Mapping[str, Any]


def typed_entries(
    study: Study, entries: Sequence[Entry], places: Sequence[KeyPath], beside: Entry
) -> tuple[dict[str, Any], ...]:  # fmt: skip
    """The entries of an axis with values as their fields type them.

    They are tried beside the other axes' first values, then beside the base scenario: a rule across fields refuses a value here
    only if it refuses both, and other combinations when their cell is built.

    Parameters
    ----------
    entries
        Per label the paths and values as written.
    places
        Where each entry stands in the file.
    beside
        First values of the other axes.

    Raises
    ------
    UsageError
        If a value is refused; it names the place and the rule.
    """
    if len(entries) <= MANY or len(entries[0]) > 1:
        return tuple(_typed(study, e, at, beside) for e, at in zip(entries, places, strict=True))
    (path,) = entries[0]
    typed: list[Any] = []
    for start in range(0, len(entries), _PIECE):
        piece = slice(start, start + _PIECE)
        typed += _typed_piece(study, path, entries[piece], places[piece], beside)
    for i in _probes(typed):
        _typed(study, entries[i], places[i], beside)
    return tuple({path: value} for value in typed)


def _typed_piece(study: Study, path: str, entries: Sequence[Entry], places: Sequence[KeyPath], beside: Entry) -> list[Any]:
    """Some values of an axis, typed in one call where their section takes them all, else one by one."""
    values, refused = [entry[path] for entry in entries], 0
    for other in (beside, {}):
        try:
            return _in_their_section(study, path, values, other)
        except ValidationError as error:
            refused = int(error.errors(include_url=False)[0]["loc"][0])
        except ValueError:  # a whole number that no float holds: the whole scenario names it
            break
    # Infinity passes the section's own check: a number that no float holds may stand before the value that the section refuses.
    first = next((i for i, value in enumerate(values[:refused]) if _too_large(value)), refused)
    _typed(study, entries[first], places[first], beside)
    return [_typed(study, entry, at, beside)[path] for entry, at in zip(entries, places, strict=True)]


def _too_large(value: Any) -> bool:
    """Whether a value is a whole number that no float holds."""
    return isinstance(value, int) and abs(value) > sys.float_info.max


def _sides(study: Study) -> tuple[tuple[BaseModel, str], ...]:
    return (study.scenario, ""), (study.options, OPTIONS)


def _own(values: Entry, prefix: str) -> dict[str, Any]:
    """Paths and values of the scenario (no prefix) or of the options."""
    return {p.removeprefix(prefix): v for p, v in values.items() if p.startswith(OPTIONS) == bool(prefix)}


def _typed(study: Study, values: Entry, at: KeyPath, beside: Entry) -> dict[str, Any]:
    typed: dict[str, Any] = {}
    for base, prefix in _sides(study):
        own, other = _own(values, prefix), _own(beside, prefix)
        if not own:
            continue
        content = plain(base)
        try:
            try:
                model = build(type(base), replace_values(content, {**other, **own}))
            except (ValueError, TypeError):
                model = build(type(base), replace_values(content, own))
        except ValidationError as error:
            found = ", ".join(f"{p} = {v!r}" for p, v in values.items())
            raise study.source.error(at, f"{found}: {broken_rule(error.errors()[0])}") from error
        except (ValueError, TypeError) as error:
            raise study.source.error(at, str(error)) from error
        try:
            typed |= {prefix + path: plain(leaf_value(model, path)) for path in own}
        except ValueError as error:  # a whole number that no float holds
            raise study.source.error(at, f"{', '.join(own)}: {error}") from error
    return typed


def _in_their_section(study: Study, path: str, values: Sequence[Any], beside: Entry) -> list[Any]:
    """All values validated in one call, each in the part of the model that holds its field.

    Raises
    ------
    ValidationError
        For the first value that the section refuses.
    ValueError
        For a whole number that no float holds.
    """
    base, prefix = _sides(study)[path.startswith(OPTIONS)]
    section, content = type(base), replace_values(plain(base), _own(beside, prefix))
    *parents, field = path.removeprefix(prefix).split(".")
    for parent in parents:
        nested = section.model_fields[parent].annotation
        assert isinstance(nested, type)
        section, content = nested, content[parent]
    mark = "\0"
    head, tail = json.dumps(content | {field: mark}).split(json.dumps(mark))
    text = "[" + ",".join([head + canonical_text(value) + tail for value in values]) + "]"
    sections: Any = Annotated[list[section], FailFast()]  # type: ignore[valid-type]
    found: list[BaseModel] = TypeAdapter(sections).validate_json(text, strict=True)
    return [plain(getattr(one, field)) for one in found]


def _probes(typed: Sequence[Any]) -> list[int]:
    """Places of values that are tried in the whole: evenly spaced ones and, of numbers, the least and the greatest."""
    even = np.linspace(0, len(typed) - 1, PROBES).astype(int).tolist()
    if all(isinstance(value, int | float) for value in typed):
        even += [int(np.argmin(typed)), int(np.argmax(typed))]
    return sorted(set(even))

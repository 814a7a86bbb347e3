"""Convert the values of axes to the types of the fields of scenario and options (rule G2)."""

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
"""Most values of an axis of which each is tried in the whole scenario.

The values of a longer axis are tried in the section that holds their field, and evenly spaced ones in the whole scenario.
"""

PROBES = 200

_PIECE = 10_000
"""Values that one call validates: a million values at once would take two gigabytes."""

Entry = Mapping[str, Any]


def typed_entries(
    study: Study, entries: Sequence[Entry], places: Sequence[KeyPath], beside: Entry
) -> tuple[dict[str, Any], ...]:  # fmt: skip
    """Return the entries of an axis with each value in the type of its field.

    Each value is tried together with the first values of the other axes, then with the base scenario. A rule across fields
    refuses the value here only if the rule refuses both combinations. Other combinations are tried when their cell is built.

    Parameters
    ----------
    entries
        Per label the paths and values as written.
    places
        Key path of each entry in the file.
    beside
        First values of the other axes.

    Raises
    ------
    UsageError
        If a value is refused; the error names the place and the rule.
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
    """Return some values of an axis in the type of their field.

    One call converts them all if their section accepts them all; else each value has a call of its own.
    """
    values, refused = [entry[path] for entry in entries], 0
    for other in (beside, {}):
        try:
            return _in_their_section(study, path, values, other)
        except ValidationError as error:
            refused = int(error.errors(include_url=False)[0]["loc"][0])
        except ValueError:  # a whole number that no float holds: the check in the whole scenario names it
            break
    # A number that no float holds becomes infinity and passes the section's check: it may precede the value that is refused.
    first = next((i for i, value in enumerate(values[:refused]) if _too_large(value)), refused)
    _typed(study, entries[first], places[first], beside)
    return [_typed(study, entry, at, beside)[path] for entry, at in zip(entries, places, strict=True)]


def _too_large(value: Any) -> bool:
    """Return whether a value is a whole number that no float holds."""
    return isinstance(value, int) and abs(value) > sys.float_info.max


def _sides(study: Study) -> tuple[tuple[BaseModel, str], ...]:
    return (study.scenario, ""), (study.options, OPTIONS)


def _own(values: Entry, prefix: str) -> dict[str, Any]:
    """Return the paths and values that belong to the scenario (no prefix) or to the options."""
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
    """Validate all values in one call, each in the part of the model that holds its field.

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
    """Return the places of the values that are tried in the whole scenario.

    They are evenly spaced; for numbers the least and the greatest are among them.
    """
    even = np.linspace(0, len(typed) - 1, PROBES).astype(int).tolist()
    if all(isinstance(value, int | float) for value in typed):
        even += [int(np.argmin(typed)), int(np.argmax(typed))]
    return sorted(set(even))

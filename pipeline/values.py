"""Values of a study: decimal ranges, canonical text, and leaves of pydantic models by dotted path (rules G2, I1)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_RANGE = re.compile(r"^\s*([^:\s]+)\s*:\s*([^:\s]+)\s*:\s*([^:\s]+)\s*$")
_MOST_VALUES = 1_000_000


def is_range(text: object) -> bool:
    """Whether a value is written as ``start:stop:step``."""
    return isinstance(text, str) and _RANGE.match(text) is not None


def parse_range(text: str) -> tuple[int | float, ...]:
    """Evaluate ``start:stop:step`` in decimal; the stop is included when it is hit (rule G2).

    Examples
    --------
    >>> parse_range("0:1:0.1")[3]
    0.3
    >>> parse_range("10:40:10")
    (10, 20, 30, 40)

    Raises
    ------
    ValueError
        If the parts are not finite numbers, the step is zero or leads away from the stop.
    """
    match = _RANGE.match(text)
    if match is None:
        raise ValueError(f"'{text}' is not a range start:stop:step")
    try:
        start, stop, step = (Decimal(part) for part in match.groups())
    except InvalidOperation as error:
        raise ValueError(f"'{text}': start, stop and step must be numbers") from error
    if not (start.is_finite() and stop.is_finite() and step.is_finite()) or step == 0:
        raise ValueError(f"'{text}': start, stop and step must be finite and the step not zero")
    count = int((stop - start) / step) + 1
    if (stop - start) / step < 0:
        raise ValueError(f"'{text}': the step leads away from the stop")
    if count > _MOST_VALUES:
        raise ValueError(f"'{text}' has {count} values; at most {_MOST_VALUES} are accepted")
    whole = all(part == part.to_integral_value() and "." not in str(part) for part in (start, step))
    values = (start + i * step for i in range(count))
    return tuple(int(v) if whole else float(v) + 0.0 for v in values)


def spaced(start: float, stop: float, points: int, scale: str) -> tuple[float, ...]:
    """``points`` values from start to stop, ends exact, equally spaced on a ``linear`` or ``log`` scale.

    Raises
    ------
    ValueError
        If there are fewer than two points, or a log range touches zero.
    """
    if points < 2:
        raise ValueError(f"points: {points}; at least 2 are needed")
    if scale == "linear":
        inner = [start + (stop - start) * i / (points - 1) for i in range(1, points - 1)]
    else:
        if start <= 0 or stop <= 0:
            raise ValueError("a log range needs a start and a stop above zero")
        ratio = math.log(stop / start) / (points - 1)
        # Twelve digits: the same text on every platform, whatever its exponential rounds to.
        inner = [float(f"{start * math.exp(ratio * i):.12g}") for i in range(1, points - 1)]
    return (float(start), *inner, float(stop))


def plain(value: Any) -> Any:
    """Reduce a value to JSON types with one form per value: -0.0 is 0.0, tuples are lists, NumPy scalars are Python's.

    Raises
    ------
    ValueError
        For NaN or an infinity.
    TypeError
        For a type that has no canonical form.
    """
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, np.generic):
        return plain(value.item())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a value of a study")
        return value + 0.0
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    raise TypeError(f"a {type(value).__name__} has no canonical form")


def canonical_text(value: Any) -> str:
    """One text per value, equal on every platform: compact JSON with sorted keys and shortest round-trip numbers."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def leaf_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted paths and fields of a model's leaves; a nested model is walked, anything else is one leaf."""
    for name, info in model.model_fields.items():
        nested = info.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from leaf_fields(nested, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info


def extra(info: FieldInfo) -> dict[str, Any]:
    """A field's extra schema entries as a dictionary."""
    return dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}


def leaf_value(model: BaseModel, path: str) -> Any:
    """Value of the leaf at a dotted path."""
    node: Any = model
    for part in path.split("."):
        node = getattr(node, part)
    return node


def replace_values(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy nested ``base`` with the leaves at the dotted paths of ``values`` replaced."""
    copy = dict(base)
    for path, value in values.items():
        *parents, last = path.split(".")
        node = copy
        for parent in parents:
            node[parent] = dict(node.get(parent, {}))
            node = node[parent]
        node[last] = value
    return copy


def build(model: type[BaseModel], content: Mapping[str, Any]) -> BaseModel:
    """Validate plain content strictly."""
    return model.model_validate_json(json.dumps(plain(content)), strict=True)


def unit_of(path: str) -> str:
    """Unit of a field by the suffix of its name; '1' where it has none."""
    name = path.rsplit(".", 1)[-1]
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return unit
    return "1"


_UNITS = {
    "_db": "dB", "_dbm": "dBm", "_hz": "Hz", "_m2": "m2", "_m": "m", "_s": "s", "_rad": "rad", "_deg": "deg", "_w": "W",
    "_bytes": "B",
}  # fmt: skip

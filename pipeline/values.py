"""Values of a study: YAML without code, decimal ranges, canonical text, leaves of models by dotted path (rules G2, I1)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, DecimalException, InvalidOperation
from fractions import Fraction
from json.encoder import encode_basestring_ascii
from typing import Any

import numpy as np
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scanner import RoundTripScanner

from pipeline.errors import UsageError

KeyPath = tuple[str | int, ...]

_RANGE = re.compile(r"^\s*([^:\s]+)\s*:\s*([^:\s]+)\s*:\s*([^:\s]+)\s*$")
_MOST_VALUES = 1_000_000
_MOST_YAML_VALUES = 100_000
MOST_YAML_LETTERS = 4_000_000
_MOST_YAML_DEPTH = 64
_TOO_DEEP = f"nested too deeply; {_MOST_YAML_DEPTH} levels are accepted"
_TOO_MANY = f"more than {_MOST_YAML_VALUES:,} values; write long axes as ranges"
_LARGEST = Decimal("1e300")


def dotted(path: KeyPath) -> str:
    """Return a key path as people write it: ``grids[0].axes.sinr_db``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_yaml(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    """Read YAML 1.2 without running anything.

    Parameters
    ----------
    text
        The YAML text.
    name
        Name of the text in errors.

    Returns
    -------
    content, lines
        ``content`` holds plain numbers, texts, lists and mappings; ``lines`` the line of every key path.

    Raises
    ------
    UsageError
        For invalid YAML, another version than 1.2, tags, merge keys, repeated keys, non-finite numbers, or more letters,
        values or levels than a study needs.
    """
    if len(text) > MOST_YAML_LETTERS:
        raise UsageError(f"{name}: more than {MOST_YAML_LETTERS:,} letters; write long axes as ranges")
    loader = YAML(typ="rt", pure=True)
    loader.max_depth, loader.Composer, loader.Scanner = _MOST_YAML_DEPTH, _BoundedComposer, _BoundedScanner
    loader.version = (1, 2)
    lines: dict[KeyPath, int] = {}
    try:
        tree = loader.load(text)
        directive = next((n for n, row in enumerate(text.splitlines(), 1) if row.startswith("%YAML")), None)
        if directive is not None and text.splitlines()[directive - 1].split()[1:2] != ["1.2"]:
            raise UsageError(f"{name}, line {directive}: a study is YAML 1.2; leave the %YAML line out")
        return _untyped(tree, (), 1, name, lines), lines
    except (_BeyondError, MaxDepthExceededError) as error:
        problem = error.problem if isinstance(error, _BeyondError) else _TOO_DEEP
        raise UsageError(f"{name}, line {error.problem_mark.line + 1}: {problem}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{name}{line}: not valid YAML: {error.problem or error.context}") from error
    except (YAMLError, ValueError) as error:
        raise UsageError(f"{name}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{name}: nested too deeply, or an alias that contains itself") from error


class _BeyondError(MarkedYAMLError):
    """The text holds more values or levels than a study needs."""


class _BoundedScanner(RoundTripScanner):
    """A scanner that stops at too many open brackets: the time to look ahead grows with the square of their number."""

    def fetch_flow_collection_start(self, *args: Any, **named: Any) -> None:
        if self.flow_level >= _MOST_YAML_DEPTH:
            raise _BeyondError(problem=_TOO_DEEP, problem_mark=self.reader.get_mark())
        super().fetch_flow_collection_start(*args, **named)


class _BoundedComposer(Composer):
    """A composer that stops as soon as there are more values than a study may have."""

    composed = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.composed += index is not None
        if self.composed > _MOST_YAML_VALUES:
            raise _BeyondError(problem=_TOO_MANY, problem_mark=self.parser.peek_event().start_mark)
        return super().compose_node(parent, index)


def _untyped(node: Any, path: KeyPath, line: int, name: str, lines: dict[KeyPath, int]) -> Any:
    """Reduce a round-trip node to plain Python and note the line of every key path."""
    if len(lines) > _MOST_YAML_VALUES:
        raise UsageError(f"{name}: more than {_MOST_YAML_VALUES:,} values, aliases counted as often as they are used")

    def refuse(message: str) -> UsageError:
        return UsageError(f"{name}, line {line}, {dotted(path) or 'top'}: {message}")

    if getattr(node, "tag", None) is not None and node.tag.value not in (None, ""):
        raise refuse(f"the tag {node.tag.value} is not accepted; write plain values")
    if isinstance(node, CommentedMap):
        if getattr(node, "merge", None):
            raise refuse("merge keys (<<) are not part of YAML 1.2; write the values out")
        content: dict[str, Any] = {}
        for key, value in node.items():
            if str(key) in content:
                raise refuse(f"the key '{key}' is written twice")
            at = (*path, str(key))
            lines[at] = node.lc.key(key)[0] + 1
            content[str(key)] = _untyped(value, at, lines[at], name, lines)
        return content
    if isinstance(node, CommentedSeq):
        places = [((*path, i), node.lc.item(i)[0] + 1) for i in range(len(node))]
        lines.update(places)
        return [_untyped(value, at, row, name, lines) for value, (at, row) in zip(node, places, strict=True)]
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, float) and not math.isfinite(node):
        raise refuse(f"{float(node)} is not a value of a study; write a finite number")
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    raise refuse(f"'{node}' is not a number, text, list or mapping; put it in quotes if it is text")


def is_range(text: object) -> bool:
    """Return whether a value is a text of the form ``start:stop:step``."""
    return isinstance(text, str) and _RANGE.match(text) is not None


def parse_range(text: str) -> tuple[int | float, ...]:
    """Evaluate ``start:stop:step`` in decimal; the stop is included if a step hits it (rule G2).

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
    start, step, count = _steps(text)
    whole = all(part == part.to_integral_value() and "." not in str(part) for part in (start, step))
    values = (start + i * step for i in range(count))
    return tuple(int(v) if whole else float(v) + 0.0 for v in values)


def _steps(text: str) -> tuple[Decimal, Decimal, int]:
    """Return start, step and number of values of a range."""
    match = _RANGE.match(text)
    if match is None:
        raise ValueError(f"'{text}' is not a range start:stop:step")
    try:
        start, stop, step = (Decimal(part) for part in match.groups())
    except InvalidOperation as error:
        raise ValueError(f"'{text}': start, stop and step must be numbers") from error
    if not (start.is_finite() and stop.is_finite() and step.is_finite()) or step == 0:
        raise ValueError(f"'{text}': start, stop and step must be finite and the step not zero")
    try:
        steps = (stop - start) / step
    except DecimalException as error:
        raise ValueError(f"'{text}': start, stop or step is too large or too small") from error
    if steps < 0:
        raise ValueError(f"'{text}': the step leads away from the stop")
    if steps >= _MOST_VALUES:
        raise ValueError(f"'{text}' has more than {_MOST_VALUES} values")
    if max(abs(start), abs(stop)) > _LARGEST:
        raise ValueError(f"'{text}': numbers up to {_LARGEST:.0e} are accepted")
    return start, step, int(steps) + 1


def spaced(start: float, stop: float, points: int, scale: str) -> tuple[float, ...]:
    """Return ``points`` values from start to stop, equally spaced on a ``linear`` or ``log`` scale, with exact ends.

    Raises
    ------
    ValueError
        If there are fewer than two points or too many, or a log range touches zero.
    """
    if not 2 <= points <= _MOST_VALUES:
        raise ValueError(f"points: {points}; 2 to {_MOST_VALUES} are accepted")
    if scale == "linear":
        # Computed exactly from the decimals as written and rounded once: 0.3 and not 0.30000000000000004.
        low, high = Fraction(repr(start)), Fraction(repr(stop))
        whole = low.denominator * high.denominator * (points - 1)
        first, step = int(low * whole), int((high - low) * whole) // (points - 1)
        inner = [(first + step * i) / whole for i in range(1, points - 1)]
    else:
        if start <= 0 or stop <= 0:
            raise ValueError("a log range needs a start and a stop above zero")
        ratio = math.log(stop / start) / (points - 1)
        # Twelve digits give the same text on every platform, however its exponential rounds.
        inner = [float(f"{start * math.exp(ratio * i):.12g}") for i in range(1, points - 1)]
    return (float(start), *inner, float(stop))


def axis_values(written: Any) -> Sequence[Any]:
    """Return the values of an axis that is written as a list, one value, ``start:stop:step``, or start, stop, points, scale.

    Raises
    ------
    ValueError
        If there is no value, or a range cannot be evaluated.
    """
    if written is None:
        raise ValueError("an axis needs 'values' or 'entries'")
    if isinstance(written, Mapping):
        return spaced(written["start"], written["stop"], written["points"], written["scale"])
    if is_range(written):
        return parse_range(written)
    listed = written if isinstance(written, list) else [written]
    if not listed:
        raise ValueError("an axis needs at least one value")
    return listed


def count_values(written: Any) -> int:
    """Return the number of values that :func:`axis_values` returns, without making the values.

    Raises
    ------
    ValueError
        If a range cannot be evaluated.
    """
    if isinstance(written, Mapping):
        return int(written["points"])
    if is_range(written):
        return _steps(written)[2]
    return len(written) if isinstance(written, list) else 1


def label_of(value: Any) -> Any:
    """Return the label of a value: the value itself, or its canonical text if the value is structured."""
    return canonical_text(value) if isinstance(value, list | dict) else value


def labels_of(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the labels of one coordinate: the values themselves, or all as texts if no single type holds them."""
    labels = tuple(label_of(value) for value in values)
    kinds = {"text" if isinstance(x, str) else "truth" if isinstance(x, bool) else "number" for x in labels if x is not None}
    return labels if len(kinds) == 1 and None not in labels else tuple(as_text(x) for x in labels)


def as_text(label: Any) -> str:
    """Return a label as text. The text of a number is the same on an axis of numbers and on an axis of several types."""
    return label if isinstance(label, str) else canonical_text(label)


def plain(value: Any) -> Any:
    """Reduce a value to JSON types, in one form for equal values: -0.0 becomes 0.0, a tuple a list, a NumPy scalar Python's.

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
    """Return the canonical text of a value: compact JSON with sorted keys and shortest round-trip numbers.

    The text is equal on every platform.
    """
    kind = type(value)
    if kind is str:
        return encode_basestring_ascii(value)
    if kind is int:
        return int.__repr__(value)
    if kind is float and math.isfinite(value):
        return float.__repr__(value + 0.0)
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def same_value(a: Any, b: Any) -> bool:
    """Return whether two values are the same value of a study (-0.0 equals 0.0, a list equals a tuple)."""
    return canonical_text(a) == canonical_text(b)


def short_name(path: str, known: Sequence[str]) -> str:
    """Return the shortest ending of a path that no other known path has, with underscores for its dots (rule G3)."""
    parts = path.split(".")
    for n in range(1, len(parts)):
        ending = ".".join(parts[-n:])
        if sum(k == ending or k.endswith(f".{ending}") for k in known) == 1:
            return ending.replace(".", "_")
    return path.replace(".", "_")


def leaf_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield the dotted path and the field of each leaf of a model; nested models are walked, all other fields are leaves."""
    for name, info in model.model_fields.items():
        nested = info.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from leaf_fields(nested, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info


def extra(info: FieldInfo) -> dict[str, Any]:
    """Return a field's extra schema entries as a dictionary."""
    return dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}


def leaf_value(model: BaseModel, path: str) -> Any:
    """Return the value of the leaf at a dotted path."""
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
    """Return the unit of a field by the suffix of its name; '1' if the name has no such suffix."""
    name = path.rsplit(".", 1)[-1]
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return unit
    return "1"


_UNITS = {
    "_db": "dB", "_dbm": "dBm", "_hz": "Hz", "_m2": "m2", "_m": "m", "_s": "s", "_rad": "rad", "_deg": "deg", "_w": "W",
    "_bytes": "B",
}  # fmt: skip

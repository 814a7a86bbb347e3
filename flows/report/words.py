"""Words for labels in legends, axes and tables. The words of the field come from data/words.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from bokeh.colors import RGB
from bokeh.palettes import viridis
from colorcet import glasbey_dark
from pydantic import BaseModel, ConfigDict

from flows.data_files import words_file
from flows.field_values import below_heading, field_value
from pipeline.statistics import described
from pipeline.study import Source, validate
from pipeline.values import read_yaml


class Words(BaseModel):
    """The words of a field, as in data/words.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: dict[str, str]
    values: dict[str, dict[str, str]]
    beside: dict[str, str]
    best: dict[Literal["smallest", "largest"], tuple[str, ...]]
    rates: tuple[str, ...]
    paired: str
    certificates: str


def read_words(file: Path) -> Words:
    """Read the words of a file.

    Raises
    ------
    UsageError
        If the file cannot be used as written; the sentence names file, line, key path and value.
    """
    content, lines = read_yaml(file.read_text(encoding="utf-8"), str(file))
    found: Words = validate(Words, content, Source(str(file), lines), ())
    return found


@cache
def field_words() -> Words:
    """Return the words of this installation."""
    return read_words(words_file())


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette: colour-blind readers can tell its colours apart."""

DASHES = ("solid", "6 4", "2 4", "2 4 6 4", "14 4", "14 4 2 4")
"""Lengths of the drawn pieces and the gaps, in turn."""

STATUS_COLOURS = {
    "ok": "#4C9F70", "inaccurate": "#E9C46A", "partly infeasible": "#8FB8A8", "infeasible": "#B8C4D6", "failed": "#C1121F",
    "missing": "#6A3D9A",
}  # fmt: skip
"""Statuses that a place on the status map may show; a place may stand for several cells."""


def colours(count: int, *, ordered: bool) -> tuple[str, ...]:
    """Return ``count`` colours: for few curves colours that every reader tells apart.

    Many numbers get a scale from dark to light, many names colours as different as so many can be.
    """
    if count <= len(COLOURS):
        return COLOURS[:count]
    return tuple(viridis(count)) if ordered else tuple(glasbey_dark[:count])


def lighter(colour: str, share: float) -> str:
    """Return the colour mixed with white: the larger ``share``, from zero to one, the lighter the colour."""
    if share == 0.0:
        return colour
    whole = RGB.from_hex_string(colour)
    mixed = [round(part + 0.8 * share * (255 - part)) for part in (whole.r, whole.g, whole.b)]
    return RGB(*mixed).to_hex().upper()


def label(axis: str, value: Any, unit: str = "") -> str:
    """Return a value of an axis in words: ``2 users``, ``Orthogonal design (P.2)``, ``bandwidth 5 MHz``.

    ``unit`` is that of the axis. A unit at the end of the axis's name replaces it.
    """
    told = field_words().values.get(axis, {}).get(str(value))
    if told is not None:
        return told
    if axis.endswith("_count"):
        noun = axis.removesuffix("_count").replace("_", " ")
        return f"{value} {noun}{'s' if value != 1 else ''}"
    words = axis.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return value
    words, unit_of_name = _named(axis)
    if isinstance(value, str):
        return f"{words} {value}" if value.isdigit() else f"{words} {field_value(float(value), unit_of_name or unit)}"
    return f"{words} {field_value(value, unit_of_name or unit)}"


_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")

_UNITS = {"db": "dB", "hz": "Hz", "m": "m", "s": "s", "rad": "rad", "deg": "deg"}


def _named(name: str) -> tuple[str, str]:
    """Return the words and the unit of a name that ends with its unit: ``sinr_db`` is SINR in dB."""
    words, _, last = name.rpartition("_")
    words, unit = (words, _UNITS[last]) if last in _UNITS and words else (name, "")
    words = words.replace("_", " ")
    for name_part, written in field_words().names.items():
        words = words.replace(name_part, written)
    return words, unit


def entry(axis: str, value: Any, unit: str = "") -> str:
    """Return the words for a value below a column heading that already names the axis."""
    return label(axis, value) if isinstance(value, str) else below_heading(value, unit)


def unit_of_axis(dataset: xr.Dataset, axis: str) -> str:
    """Return the unit of an axis; ``1`` if it has none."""
    return str(dataset[axis].attrs.get("units", "1"))


def place(dataset: xr.Dataset, axis: str, value: Any) -> str:
    """Return the words for a value of an axis that no heading names: ``SINR target 30 dB``."""
    words = label(axis, value)
    if isinstance(value, str | bool) or axis.endswith("_count"):
        return words
    return f"{dataset[axis].attrs.get('long_name') or axis} {field_value(value, unit_of_axis(dataset, axis))}"


def axis_title(dataset: xr.Dataset, name: str) -> str:
    """Return the long name of a variable or axis with its unit."""
    text, unit = title_and_unit(described(dataset, name), name)
    return with_unit(text, unit)


def title_and_unit(attributes: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Return the long name, and the unit (``1`` if there is none), of a variable or axis with these attributes."""
    # Bins of a variable have no attributes: the name of the bins ends with the unit.
    words, unit_of_name = _named(name)
    text = str(attributes.get("long_name") or words)
    unit = str(attributes.get("units", attributes.get("unit", "1" if attributes.get("long_name") else unit_of_name)))
    text = text.removesuffix(f", {unit}")
    return text[:1].upper() + text[1:], re.sub(r"(?<=[a-zA-Z])2\b", "²", unit) or "1"


def within(title: str) -> str:
    """Return a title within a sentence; abbreviations keep their capitals."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def with_unit(title: str, unit: str) -> str:
    """Return a title with its unit in brackets."""
    return title + (f" [{unit}]" if unit not in ("", "1") else "")


def short(text: str, most: int = 72) -> str:
    """Return a text, cut to ``most`` letters if it is longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def seconds(value: float) -> str:
    """Return a duration in words."""
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"

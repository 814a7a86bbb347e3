"""Cubes and stores in a few lines: as text for a terminal, as HTML for a notebook."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import xarray as xr

from pipeline.experiment import STATUS_CODES
from pipeline.terminal_text import printable

CERTIFICATE = ("relative_gap", "worst_violation")
"""Variables that prove an optimised number."""
_BESIDE_METRICS = ("status", "message")
_MOST_ROWS = 40
_SHOWN_LABELS = 6
_STYLE = "text-align:left;padding:0 1em 0 0;font-weight:normal;vertical-align:top"


@dataclass(frozen=True)
class Table:
    """Rows of texts below a heading."""

    heading: str
    rows: Sequence[tuple[str, ...]]

    def kept(self) -> Sequence[tuple[str, ...]]:
        """Return the rows that are shown."""
        more = len(self.rows) - _MOST_ROWS
        return [*self.rows[:_MOST_ROWS], (f"and {more} more",)] if more > 0 else self.rows


@dataclass(frozen=True)
class Summary:
    """A title, facts by their names, and tables."""

    title: str
    facts: Mapping[str, str]
    tables: Sequence[Table]

    def text(self) -> str:
        """Return the summary for a terminal."""
        lines = [self.title, *(f"  {name:12s} {value}" for name, value in self.facts.items())]
        for table in self.tables:
            rows = table.kept()
            widths = [max(len(cell) for cell in column) for column in _columns(rows)]
            lines.append(table.heading)
            lines += [("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=False))).rstrip() for row in rows]
        return printable("\n".join(lines))

    def html(self) -> str:
        """Return the summary for a notebook: plain tables that ask for nothing outside themselves."""
        facts = _html_rows([(name, value) for name, value in self.facts.items()])
        tables = "".join(f"<div><b>{_html(t.heading)}</b></div><table>{_html_rows(t.kept())}</table>" for t in self.tables)
        return f"<div><div><b>{_html(self.title)}</b></div><table>{facts}</table>{tables}</div>"


def cube_summary(data: xr.Dataset) -> Summary:
    """Return the summary of a cube, of a part of it, or of surfaces."""
    attributes = data.attrs
    title = ": ".join(str(attributes[k]) for k in ("study", "title") if attributes.get(k)) or "data set"
    facts = {name: str(attributes[name]) for name in ("experiment", "paper", "figure") if attributes.get(name)}
    if attributes.get("cube_key"):
        facts["version"] = " ".join([str(attributes["cube_key"])[:12], str(attributes.get("created", ""))]).rstrip()
    if "status" in data:
        counts = status_counts(data["status"])
        facts["cells"] = f"{sum(counts.values()):,}: " + ", ".join(f"{word} {count:,}" for word, count in counts.items())
        if worst := _worst(data):
            facts["certificates"] = worst
    axes = [str(dim) for dim in (data["status"].dims if "status" in data else data.dims)]
    fixed = {str(n): c for n, c in data.coords.items() if c.ndim == 0 and "along" not in c.attrs}
    if fixed:
        facts["at"] = ", ".join(f"{name} {_number(c.values.item())}" for name, c in fixed.items())
    metrics = [str(n) for n in data.data_vars if n not in (*_BESIDE_METRICS, *CERTIFICATE) and not _counts(data, str(n))]
    return Summary(
        title,
        facts,
        [Table("axes", [_axis_row(data, axis) for axis in axes]), Table("metrics", [_row(data[n], axes) for n in metrics])],
    )


def store_summary(location: str, cubes: Mapping[str, xr.Dataset]) -> Summary:
    """Return the summary of a store, from the attributes of its cubes alone."""
    rows: list[tuple[str, ...]] = []
    for name, cube in cubes.items():
        if "status" not in cube:
            rows.append((name, "", "no cube"))
            continue
        present, planned = cube.attrs.get("present", "?"), cube.attrs.get("planned", "?")
        words = ", ".join(f"{word} {count}" for word, count in _told_counts(cube).items())
        shape = " x ".join(f"{dim} {cube.sizes[dim]}" for dim in cube["status"].dims)
        rows.append((name, shape, f"{present} of {planned} cells: {words}", str(cube.attrs.get("created", ""))))
    return Summary(f"store {location}", {}, [Table("studies", rows)])


def status_counts(status: xr.DataArray) -> dict[str, int]:
    """Return the number of cells by status, for the statuses that occur, in the order of their codes."""
    counts = np.bincount(np.asarray(status.values).ravel(), minlength=len(STATUS_CODES))
    return {word: int(counts[code]) for word, code in STATUS_CODES.items() if counts[code]}


def _told_counts(cube: xr.Dataset) -> dict[str, Any]:
    """Return the counts that the attributes of a cube tell; none if they are damaged."""
    try:
        told = json.loads(str(cube.attrs.get("cells_by_status", "")))
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _worst(data: xr.Dataset) -> str:
    """Return the worst certificate of the cells that are ok, and of those that are inaccurate."""
    found = []
    for word in ("ok", "inaccurate"):
        here = data["status"] == STATUS_CODES[word]
        known = {name: abs(data[name]).where(here).max() for name in CERTIFICATE if name in data}
        worst = {name: float(value) for name, value in known.items()}
        if any(np.isfinite(value) for value in worst.values()):
            found.append(f"worst of {word}: " + ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))
    return "; ".join(found)


def _counts(data: xr.Dataset, name: str) -> bool:
    return name.startswith("n_") and name.removeprefix("n_") in data.dims


def _axis_row(data: xr.Dataset, axis: str) -> tuple[str, ...]:
    labels = list(data[axis].values) if axis in data.coords else list(range(data.sizes[axis]))
    shown = [_number(label) for label in labels]
    if len(shown) > _SHOWN_LABELS:
        shown = [*shown[:3], "...", shown[-1]]
    attributes = data[axis].attrs if axis in data.coords else {}
    return axis, str(len(labels)), f"{', '.join(shown)} {_unit(attributes)}".rstrip(), str(attributes.get("long_name", ""))


def _row(variable: xr.DataArray, axes: Sequence[str]) -> tuple[str, ...]:
    own = " x ".join(f"{dim} {variable.sizes[dim]}" for dim in variable.dims if dim not in axes)
    return str(variable.name), _unit(variable.attrs), str(variable.attrs.get("long_name", "")), own


def _unit(attributes: Mapping[Any, Any]) -> str:
    return "" if attributes.get("units") in (None, "1") else str(attributes["units"])


def _number(label: Any) -> str:
    return f"{label:g}" if isinstance(label, float | np.floating) else str(label)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[list[str]]:
    width = max((len(row) for row in rows), default=0)
    return [[row[number] for row in rows if number < len(row)] for number in range(width)]


def _html(text: str) -> str:
    return escape(printable(text))


def _html_rows(rows: Sequence[tuple[str, ...]]) -> str:
    cells = ("".join(f'<td style="{_STYLE}">{_html(cell)}</td>' for cell in row) for row in rows)
    return "".join(f"<tr>{row}</tr>" for row in cells)

"""The axes of plots: their scale, limits, ticks and titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.field_values import plain_digits, prefixed, scaled
from flows.report.choice import MOST_COLUMNS, MOST_LETTERS, evenly
from flows.report.words import short, with_unit

Float = NDArray[np.float64]

_MOST_OWN_TICKS = 8
"""Most values of an axis that all have a tick."""


@dataclass(frozen=True)
class Axis:
    """An axis of a plot.

    Parameters
    ----------
    title
        Words with the unit.
    limits
        Ends of the axis.
    log
        Whether the scale is logarithmic.
    ticks
        Values with ticks; None: chosen by the page.
    names
        Words for the ticks of an axis of texts.
    factor, unit
        What a tick's value is divided by, and the unit that each tick carries; None: the title has it.
    """

    title: str
    limits: tuple[float, float]
    log: bool = False
    ticks: Sequence[float] | None = None
    names: Sequence[str] | None = None
    factor: float = 1.0
    unit: str | None = None

    def text(self, value: float) -> str:
        """Return the words at a tick, for programs that draw without a page."""
        if self.names is not None:
            at = list(self.ticks or ()).index(value) if value in (self.ticks or ()) else None
            return "" if at is None else self.names[at]
        return plain_digits(float(f"{value / self.factor:.6g}")) if self.unit is None else prefixed(value, self.unit)

    @property
    def positions(self) -> str:
        """Return the scale's name."""
        return "log" if self.log else "linear"


def geometric(values: Any, unit: str = "1") -> bool:
    """Return whether numbers rise in about equal ratios, over a factor of four at least. Levels in dB never do."""
    values = np.asarray(values)
    if unit.startswith("dB") or values.dtype.kind not in "iuf" or len(values) < 3 or not (values > 0).all():
        return False
    steps = np.diff(np.log(values.astype(float)))
    return bool((steps > 0).all() and steps.max() / steps.min() < 1.35 and steps.sum() > np.log(3.99))


def number_axis(title: str, unit: str, drawn: Any, *, log: bool = False, own: Sequence[float] = (), room: float = 0.04) -> Axis:
    """Return an axis of numbers.

    Parameters
    ----------
    title, unit
        Words and unit of what it shows.
    drawn
        All values that are drawn along it.
    log
        Whether its scale is logarithmic; values that are not positive are not drawn then.
    own
        Values of the study along it: few of them become the ticks of a logarithmic axis.
    room
        Share of the range that is left free at each end.
    """
    values = np.asarray(drawn, dtype=float).ravel()
    values = values[np.isfinite(values) & ((values > 0) if log else True)]
    values = values if values.size else np.array([1.0])
    scale = scaled(values, unit)
    low, high = limits(values, room, log=log)
    ticks = None
    if log:
        ticks = list(own) if 0 < len(own) <= _MOST_OWN_TICKS else log_ticks(low, high)
    shown = scale.unit if scale.common else ""
    return Axis(with_unit(title, shown), (low, high), log, ticks, None, scale.factor, None if scale.common else scale.unit)


def text_axis(title: str, names: Sequence[str], *, letters: int = MOST_LETTERS, most: int = MOST_COLUMNS) -> Axis:
    """Return an axis of texts, which stand at whole numbers from 0."""
    kept = evenly(len(names), most)
    return Axis(
        title, (-0.6, len(names) - 0.4), ticks=[float(i) for i in kept], names=[short(names[int(i)], letters) for i in kept]
    )


def limits(values: Float, room: float, *, log: bool = False) -> tuple[float, float]:
    """Return the ends of an axis: the range of the values with some room."""
    low, high = (float(np.log10(v)) if log else float(v) for v in (values.min(), values.max()))
    more = room * (high - low) or (0.1 if log else 0.05 * abs(high) or 1.0)
    return (10.0 ** (low - more), 10.0 ** (high + more)) if log else (low - more, high + more)


def log_ticks(low: float, high: float) -> list[float]:
    """Return the ticks of a logarithmic axis: some decades, or 1, 2 and 5 of each decade, or even steps."""
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    span = np.log10(high / low)
    if span > 3.0:
        step = int(np.ceil(span / 5))
        return [float(f"1e{int(d)}") for d in decades if int(d) % step == 0]
    found = [float(f"{m}e{int(d)}") for d in decades for m in (1, 2, 5)]
    if sum(low <= tick <= high for tick in found) >= 3:
        return found
    step = 10.0 ** np.floor(np.log10((high - low) / 3))
    step *= next(m for m in (5.0, 2.0, 1.0) if m * step <= (high - low) / 3)
    even = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return [float(f"{tick:.6g}") for tick in even]


def levels(low: float, high: float, *, log: bool, most: int = 7) -> list[float]:
    """Return round levels between two values, for lines of equal value; none between equal values."""
    if low == high:
        return []
    if log:
        found = [tick for tick in log_ticks(low, high) if low < tick < high]
    else:
        raw = (high - low) / most
        size = 10.0 ** np.floor(np.log10(raw))
        step = next(m * size for m in (1.0, 2.0, 5.0, 10.0) if m * size >= raw)
        found = [float(f"{t:.9g}") for t in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step if low < t < high]
    return [found[int(i)] for i in evenly(len(found), most)] if found else []


def amount(value: float, unit: str) -> str:
    """Return a value with its unit, for tooltips: ``2.131 mm``."""
    return prefixed(float(value), "" if unit == "1" else unit) if np.isfinite(value) else "–"

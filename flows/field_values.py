"""Values as texts: short digits with a prefix of the SI where the unit has one, without an exponent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_ALWAYS = ("Hz", "s", "bit/s")
"""Units that people write with prefixes at every size: 5 MHz, 10 ns."""
_PREFIXED = (*_ALWAYS, "m", "W", "J", "V", "A")
"""Units that take prefixes. Levels (dB), ratios, angles, squares and products of units do not."""
_SYMBOLS = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


@dataclass(frozen=True)
class Scaled:
    """A unit with one prefix for several values: a value is shown as ``value / factor`` with the unit ``unit``.

    ``common`` is false where the values span too many decades for one prefix; then each value carries its own.
    """

    factor: float
    unit: str
    common: bool

    def text(self, value: Any, digits: int = 4) -> str:
        """Return a value below a heading that names the unit: ``2.131`` for 2.131 mm; with its unit where none is common."""
        value = float(value)
        if not np.isfinite(value):
            return "–"
        if not self.common:
            return prefixed(value, self.unit, digits)
        return plain_digits(float(f"{value / self.factor:.{digits}g}"), digits)


def scaled(values: Any, unit: str) -> Scaled:
    """Return the unit in which values are shown together: the prefix that suits their median.

    Parameters
    ----------
    values
        Numbers; those that are not finite, and zeros, do not count.
    unit
        Unit of the values; empty or ``1`` if they have none.
    """
    unit = "" if unit == "1" else unit
    sizes = np.abs(np.asarray(values, dtype=float).ravel())
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if unit not in _PREFIXED or not sizes.size:
        return Scaled(1.0, unit, True)
    if sizes.max() / sizes.min() > _MOST_SPAN:
        return Scaled(1.0, unit, False)
    power = _power(float(np.median(sizes)), unit)
    return Scaled(10.0**power, f"{_SYMBOLS[power]}{unit}", True)


_MOST_SPAN = 2e3
"""Largest ratio of values that one prefix serves."""


def prefixed(value: float, unit: str, digits: int = 4) -> str:
    """Return a number with its unit and prefix: ``2.131 mm``."""
    power = _power(abs(value), unit) if unit in _PREFIXED and value and np.isfinite(value) else 0
    shown = float(f"{value / 10.0**power:.{digits}g}")
    return f"{plain_digits(shown, digits)} {_SYMBOLS[power]}{unit}".rstrip()


def plain_digits(value: float, digits: int = 6) -> str:
    """Return a number without an exponent as far as it can be read so."""
    if value == 0.0 or 1e-3 <= abs(value) < 1e7:
        return str(np.format_float_positional(value, precision=digits, fractional=False, trim="-"))
    return f"{value:.{digits}g}"


def _power(size: float, unit: str) -> int:
    """Return the power of ten of the prefix. From a tenth to ten thousand, most units have none: 0.3 m, 1500 m."""
    if unit not in _ALWAYS and 0.1 <= size < 1e4:
        return 0
    return int(np.clip(3 * np.floor(np.log10(size) / 3 + 1e-9), min(_SYMBOLS), max(_SYMBOLS)))


def field_value(value: Any, unit: str = "") -> str:
    """Return a value of a field with its unit: ``5 MHz``, ``10 ns``, ``0.05 rad``, ``12.5 m``.

    A fraction has up to six significant digits, and no exponent from a thousandth to ten million.

    Parameters
    ----------
    value
        A number, or a text, which is returned as it is.
    unit
        Unit of the field; empty or ``1`` if it has none.
    """
    unit = "" if unit == "1" else unit
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return str(value)
    if unit in _PREFIXED:
        return prefixed(float(value), unit, 6)
    return f"{plain_digits(value) if isinstance(value, float | np.floating) else value} {unit}".rstrip()


def below_heading(value: Any, unit: str = "") -> str:
    """Return a value whose heading names the unit: ``12.5``, but ``5 MHz``, where the prefix is needed."""
    return field_value(value, unit if unit in _ALWAYS else "")

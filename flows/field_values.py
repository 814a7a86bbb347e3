"""Values of fields as texts: short digits with a prefix of the SI where the unit has one, without an exponent."""

from __future__ import annotations

from typing import Any

import numpy as np

_PREFIXED = ("Hz", "s")
"""Units that people write with prefixes: 5 MHz, 10 ns."""


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
    if unit in _PREFIXED and np.isfinite(value):
        from matplotlib.ticker import EngFormatter

        return EngFormatter(unit=unit)(float(value))
    return f"{_digits(value)} {unit}".rstrip()


def below_heading(value: Any, unit: str = "") -> str:
    """Return a value whose heading names the unit: ``12.5``, but ``5 MHz``, where the prefix is needed."""
    return field_value(value, unit if unit in _PREFIXED else "")


def _digits(value: Any) -> str:
    if not isinstance(value, float | np.floating):
        return str(value)
    if value == 0.0 or 1e-3 <= abs(value) < 1e7:
        return np.format_float_positional(value, precision=6, fractional=False, trim="-")
    return f"{value:.6g}"

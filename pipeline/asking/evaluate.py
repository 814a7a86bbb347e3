"""Conditions and numbers of a wish, evaluated in every cell at once.

A condition is true, false, or unknown where a cell does not have a metric. Unknown follows Kleene's rules: a false part makes
``and`` false whatever is unknown, a true part makes ``or`` true.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.asking.columns import Columns
from pipeline.asking.expression import Apply, Both, Compare, Condition, Constant, Either, HasLabel, Name, Number
from pipeline.asking.units import NO_UNIT, Unit
from pipeline.errors import UsageError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """Where a condition is true and where it is false; it is unknown where it is neither. Broadcastable."""

    yes: Mask
    no: Mask


@dataclass(frozen=True)
class Quantity:
    """Numbers with a unit; without a unit (a bare number) they take the unit of what they are compared with."""

    values: Any
    unit: Unit | None
    unknown: Mask | None
    text: str
    exact: Fraction | None = None
    """The value of a constant, so that 7 cm are 0.07 m and not 0.07000000000000001 m."""

    def under(self, unit: Unit | None) -> Any:
        """Return the values in another unit of the same kind."""
        if self.unit is None or unit is None or self.unit.factor == unit.factor:
            return self.values
        ratio = self.unit.factor / unit.factor
        return float(self.exact * ratio) if self.exact is not None else self.values * float(ratio)


class Evaluation:
    """The value of expressions on one cube.

    Parameters
    ----------
    columns
        The cube.
    without_metrics
        Treat every metric as unknown: then what is true or false follows from the axes alone.
    """

    def __init__(self, columns: Columns, *, without_metrics: bool = False) -> None:
        self._columns, self._without_metrics = columns, without_metrics

    def truth(self, condition: Condition) -> Truth:
        """Return where a condition is true and where it is false.

        Raises
        ------
        UsageError
            If a name means nothing, or units do not fit.
        """
        if isinstance(condition, Both | Either):
            parts = [self.truth(part) for part in condition.parts]
            yes, no = [part.yes for part in parts], [part.no for part in parts]
            if isinstance(condition, Both):
                return Truth(reduce(np.logical_and, yes, np.array(True)), reduce(np.logical_or, no, np.array(False)))
            return Truth(reduce(np.logical_or, yes), reduce(np.logical_and, no))
        if isinstance(condition, HasLabel):
            has = self._columns.has_label(condition.name, condition.label)
            return Truth(has, ~has) if condition.equal else Truth(~has, has)
        left, right, unknown = self._sides(condition)
        with np.errstate(invalid="ignore"):
            yes = _COMPARED[condition.sign](left, right)
        return Truth(yes, ~yes) if unknown is None else Truth(yes & ~unknown, ~yes & ~unknown)

    def slack(self, comparison: Compare) -> tuple[NDArray[np.float64], Unit]:
        """Return by how much a comparison holds, in its unit; negative where it is missed, NaN where it is unknown."""
        left, right, unknown = self._sides(comparison)
        with np.errstate(invalid="ignore"):
            difference = np.subtract(left, right) if comparison.sign in (">", ">=") else np.subtract(right, left)
        if comparison.sign in ("==", "!="):
            difference = -np.abs(difference) if comparison.sign == "==" else np.abs(difference)
        slack = np.asarray(difference, dtype=np.float64)
        return (slack if unknown is None else np.where(unknown, np.nan, slack)), self.unit(comparison)

    def unit(self, comparison: Compare) -> Unit:
        """Return the unit in which the two sides of a comparison are compared."""
        sides = [self.number(comparison.left), self.number(comparison.right)]
        return _common(sides, comparison.text) or NO_UNIT

    def _sides(self, comparison: Compare) -> tuple[Any, Any, Mask | None]:
        left, right = self.number(comparison.left), self.number(comparison.right)
        unit = _common([left, right], comparison.text)
        return left.under(unit), right.under(unit), _either(left.unknown, right.unknown)

    def number(self, node: Number) -> Quantity:
        """Return the values of a number in every cell.

        Raises
        ------
        UsageError
            If a name means nothing, or units do not fit.
        """
        if isinstance(node, Constant):
            text = f"{float(node.value):g}" + (f" {node.unit.text}" if node.unit else "")
            return Quantity(np.float64(float(node.value)), node.unit, None, text, node.value)
        if isinstance(node, Name):
            values, unknown = self._columns.number(node.name)
            if self._without_metrics and not self._columns.is_axis(node.name):
                values, unknown = np.array(np.nan), np.array(True)
            return Quantity(values, self._columns.unit(node.name), unknown, node.name)
        return self._applied(node)

    def _applied(self, node: Apply) -> Quantity:
        given = [self.number(argument) for argument in node.arguments]
        unknown = reduce(_either, (one.unknown for one in given))
        with np.errstate(all="ignore"):
            if node.how in ("*", "/"):
                first, second = given
                values = first.values * second.values if node.how == "*" else np.divide(first.values, second.values)
                unit = _product(first.unit, second.unit, 1 if node.how == "*" else -1)
            elif node.how == "log10":
                values, unit = np.log10(given[0].values), None
            else:
                unit = _common(given, node.text)
                values = _SAME_UNIT[node.how](*(one.under(unit) for one in given))
        return Quantity(values, unit, unknown, node.text)


def _minus(first: Any, second: Any = None) -> Any:
    return np.negative(first) if second is None else first - second


_SAME_UNIT: dict[str, Any] = {
    "+": np.add, "-": _minus, "abs": np.abs, "min": lambda *v: reduce(np.minimum, v), "max": lambda *v: reduce(np.maximum, v),
}  # fmt: skip
_COMPARED: dict[str, Any] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal,
    # A label that is no number satisfies no comparison, this one included.
    "!=": lambda a, b: (a < b) | (a > b),
}  # fmt: skip


def _either(first: Mask | None, second: Mask | None) -> Mask | None:
    return first if second is None else second if first is None else first | second


def _product(first: Unit | None, second: Unit | None, sign: int) -> Unit | None:
    if second is None:
        return first
    return (first or NO_UNIT).times(second, sign)


def _common(given: list[Quantity], text: str) -> Unit | None:
    """Return the unit of numbers that are compared or added: that of the first name, else of the first constant.

    Raises
    ------
    UsageError
        If two units do not fit.
    """
    united = [one for one in given if one.unit is not None]
    for one in united[1:]:
        assert one.unit is not None
        assert united[0].unit is not None
        if not one.unit.fits(united[0].unit):
            raise UsageError(f"'{text}': {_told(united[0])} and {_told(one)} do not fit")
    named = [one for one in united if one.exact is None]
    return (named or united)[0].unit if united else None


def _told(one: Quantity) -> str:
    assert one.unit is not None
    if one.exact is not None:
        return f"'{one.text}'"
    return f"'{one.text}' (in {one.unit.text})" if one.unit.powers else f"'{one.text}' (without unit)"

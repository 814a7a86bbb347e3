"""Units of quantities: ``cm``, ``MHz``, ``bit/s/Hz``, ``dB``; what can be compared, and by which factor they differ."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from pipeline.errors import UsageError, near_miss

_PREFIXES = {
    "p": -12, "n": -9, "u": -6, "\N{MICRO SIGN}": -6, "\N{GREEK SMALL LETTER MU}": -6, "m": -3, "c": -2, "d": -1, "k": 3,
    "M": 6, "G": 9, "T": 12,
}  # fmt: skip
_PREFIXED = ("m", "s", "Hz", "W", "rad", "bit", "B", "J", "V", "A", "K", "g", "N")
_WHOLE: dict[str, tuple[str, Fraction]] = {
    "dB": ("dB", Fraction(1)), "dBm": ("dBm", Fraction(1)),
    "deg": ("rad", Fraction(math.pi) / 180), "\N{DEGREE SIGN}": ("rad", Fraction(math.pi) / 180),
    "min": ("s", Fraction(60)), "h": ("s", Fraction(3600)), "%": ("", Fraction(1, 100)), "1": ("", Fraction(1)),
}  # fmt: skip
_FACTOR = re.compile(
    r"(?P<name>[^\W\d_]+|%|\N{DEGREE SIGN}|1)\^?(?P<power>-?\d+|[\N{SUPERSCRIPT TWO}\N{SUPERSCRIPT THREE}])?\Z"
)
_POWERS = {"\N{SUPERSCRIPT TWO}": 2, "\N{SUPERSCRIPT THREE}": 3}


@dataclass(frozen=True)
class Unit:
    """A unit: the powers of its base units, and the number of coherent units that one of it makes."""

    text: str
    powers: tuple[tuple[str, int], ...]
    factor: Fraction

    def fits(self, other: Unit) -> bool:
        """Return whether quantities of both units can be compared and added."""
        return self.powers == other.powers

    def times(self, other: Unit, sign: int = 1) -> Unit:
        """Return the unit of a product (``sign`` 1) or of a quotient (-1)."""
        powers = Counter(dict(self.powers))
        for base, power in other.powers:
            powers[base] += sign * power
        kept = tuple(sorted((base, power) for base, power in powers.items() if power))
        text = self.text if not other.powers else f"{self.text}{'*' if sign > 0 else '/'}{other.text}"
        return Unit(text if kept else "1", kept, self.factor * other.factor**sign)


NO_UNIT = Unit("1", (), Fraction(1))


def read_unit(text: str) -> Unit | None:
    """Return the unit of a text such as ``cm``, ``m2`` or ``bit/s/Hz``; None if a part of it is not known."""
    unit, sign = Unit(text, (), Fraction(1)), 1
    for part in re.split(r"([/*\N{MIDDLE DOT}])", text.strip()):
        if part in ("/", "*", "\N{MIDDLE DOT}"):
            sign = -1 if part == "/" else 1
            continue
        one = _read_factor(part)
        if one is None:
            return None
        unit = unit.times(one, sign)
    return Unit(text.strip(), unit.powers, unit.factor)


def unit_of_variable(text: str) -> Unit:
    """Return the unit that a variable states; a unit that is not known can be compared with itself alone."""
    return NO_UNIT if text in ("", "1") else read_unit(text) or Unit(text, ((text, 1),), Fraction(1))


def unknown_unit(text: str) -> UsageError:
    """Return the error for a unit that is not known, with the near miss."""
    known = [f"{prefix}{base}" for base in _PREFIXED for prefix in ("", *_PREFIXES)] + [*_WHOLE, "bit/s/Hz"]
    shown = ", ".join((*_PREFIXED, "dB", "dBm", "deg", "min", "h", "%"))
    return UsageError(
        f"the unit '{text}' is not known{near_miss(text, known)}; known are {shown} and bit/s/Hz, with prefixes p to T"
    )


def _read_factor(text: str) -> Unit | None:
    found = _FACTOR.match(text)
    if found is None:
        return None
    name, written = found["name"], found["power"]
    power = 1 if written is None else _POWERS.get(written) or int(written)
    base, factor = _WHOLE.get(name, (name, Fraction(1)))
    if name not in _WHOLE and name not in _PREFIXED:
        base = name[1:]
        if name[:1] not in _PREFIXES or base not in _PREFIXED:
            return None
        factor = Fraction(10) ** _PREFIXES[name[0]]
    if abs(power) > 9 or (name in ("dB", "dBm") and power != 1):
        return None
    return Unit(text, ((base, power),) if base and power else (), factor**power)

"""Values of an axis that a person takes for one: texts that look alike, numbers that are nearly equal."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_NEARLY = 1e-9
_MOST_WARNINGS = 3


def look_alike(texts: Iterable[Any]) -> str:
    """Why some text cannot be a label beside the others, as a sentence; empty where all can.

    One text in two Unicode forms makes two labels that nobody tells apart; so does a character that is not seen.
    """
    forms: dict[str, str] = {}
    for text in texts:
        if not isinstance(text, str) or (text.isascii() and text.isprintable()):
            continue
        hidden = next((letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")), None)
        if hidden is not None:
            return f"the label {text!a} holds the character U+{ord(hidden):04X}, which is not seen; leave it out"
        other = forms.setdefault(unicodedata.normalize("NFC", text), text)
        if other != text:
            return f"the labels {other!a} and {text!a} are two forms of one text and look alike; write one of them"
    return ""


def nearly_equal(name: str, labels: Sequence[Any]) -> Iterator[str]:
    """Sentences on numbers of an axis that are not equal and differ by less than a billionth."""
    numbers = sorted(label for label in labels if isinstance(label, float))
    pairs = [(a, b) for a, b in itertools.pairwise(numbers) if a != b and math.isclose(a, b, rel_tol=_NEARLY)]
    for a, b in pairs[:_MOST_WARNINGS]:
        yield f"axis '{name}': {a!r} and {b!r} are nearly equal and two cells each; if one is meant, write it once"
    if len(pairs) > _MOST_WARNINGS:
        yield f"axis '{name}': {len(pairs) - _MOST_WARNINGS} more pairs of values are nearly equal"

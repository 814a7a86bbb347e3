"""Find values of an axis that a person cannot tell apart: texts that look alike, numbers that are nearly equal."""

from __future__ import annotations

import itertools
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

MOST_LETTERS = 4_000
"""Most letters of a label: in a cube each label of an axis takes the bytes of the longest label."""

_NEARLY = 1e-9
_MOST_WARNINGS = 3
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_WITHOUT_SHAPE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Characters, beside the categories above, that Unicode allows a font to draw as nothing."""


def refused_label(values: Iterable[Any]) -> str:
    """Return a sentence that says why a text cannot be a label beside the others; empty if all texts can be labels.

    One text in two Unicode forms makes two labels that look alike, and so does an invisible character. The function compares
    the compatibility forms (NFKC): a micro sign equals a Greek mu, a wide letter the plain letter, every space a plain space.
    """
    forms: dict[str, str] = {}
    for value in values:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
        if not isinstance(text, str):
            continue
        if len(text) > MOST_LETTERS:
            return f"a label has {len(text):,} letters, {text[:20]!a}...; up to {MOST_LETTERS:,} are accepted"
        if not (text.isascii() and text.isprintable()):
            hidden = next((letter for letter in text if unicodedata.category(letter) in _HIDDEN), None)
            if hidden is not None:
                return f"the label {text!a} holds the character U+{ord(hidden):04X}, which is not seen; leave it out"
        form = " ".join(_WITHOUT_SHAPE.sub("", unicodedata.normalize("NFKC", text)).split())
        other = forms.setdefault(form, text)
        if other != text:
            return f"the labels {other!a} and {text!a} are two forms of one text and look alike; write one of them"
    return ""


def nearly_equal(name: str, labels: Sequence[Any]) -> Iterator[str]:
    """Yield sentences on numbers of an axis that are not equal but differ by less than a billionth."""
    numbers = sorted(label for label in labels if isinstance(label, float))
    pairs = [(a, b) for a, b in itertools.pairwise(numbers) if a != b and math.isclose(a, b, rel_tol=_NEARLY)]
    for a, b in pairs[:_MOST_WARNINGS]:
        yield f"axis '{name}': {a!r} and {b!r} are nearly equal but count as two values; if one is meant, write it once"
    if len(pairs) > _MOST_WARNINGS:
        yield f"axis '{name}': {len(pairs) - _MOST_WARNINGS} more pairs of values are nearly equal"

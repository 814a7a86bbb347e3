"""Texts of a store in a form that is safe to print: control characters have no effect."""

from __future__ import annotations

# Control characters, marks that change the direction of writing, line separators, halves of characters.
_UNSEEN = (
    *range(32),
    *range(127, 160),
    0x61C,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
)
_SHOWN = dict.fromkeys(_UNSEEN, "\N{REPLACEMENT CHARACTER}") | {ord(c): c for c in "\n\t"}


def printable(text: object) -> str:
    """Return text from a store as a string that is safe for a terminal."""
    return str(text).translate(_SHOWN)

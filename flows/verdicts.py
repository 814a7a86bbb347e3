"""How many statements hold, counted by whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

Whose = Literal["paper", "ours"]
"""Whose statement a claim is: the paper's own, or ours on what the paper leaves open, presupposes or does not say."""


def count_verdicts(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many statements hold, fail and are undecided: ``{"paper": {"holds": 5, ...}, "ours": {...}}``."""
    counts = {whose: dict.fromkeys(("holds", "fails", "undecided"), 0) for whose in get_args(Whose)}
    for row in rows:
        counts[row["whose"]][row["verdict"]] += 1
    return counts


def counted(rows: Sequence[Mapping[str, Any]]) -> str:
    """The count as a sentence; empty without a claim."""
    named = {"paper": "the paper's statements", "ours": "ours"}
    parts = [
        f"{named[whose]}: {count['holds']} hold, {count['fails']} fail, {count['undecided']} undecided"
        for whose, count in count_verdicts(rows).items()
        if any(count.values())
    ]
    return f"Checked here, {'; '.join(parts)}." if parts else ""

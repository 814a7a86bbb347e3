"""Count the verdicts on statements, separately for the paper's statements and ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

Whose = Literal["paper", "ours"]
"""Author of a claim's statement: the paper, or us on a point that the paper leaves open, presupposes or does not mention."""


def count_verdicts(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Count the statements that hold, fail and are undecided: ``{"paper": {"holds": 5, ...}, "ours": {...}}``."""
    counts = {whose: dict.fromkeys(("holds", "fails", "undecided"), 0) for whose in get_args(Whose)}
    for row in rows:
        counts[row["whose"]][row["verdict"]] += 1
    return counts


def counted(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the counts as a sentence; empty if there is no claim."""
    named = {"paper": "the paper's statements", "ours": "ours"}
    parts = [
        f"{named[whose]}: {count['holds']} hold, {count['fails']} fail, {count['undecided']} undecided"
        for whose, count in count_verdicts(rows).items()
        if any(count.values())
    ]
    return f"Checked here, {'; '.join(parts)}." if parts else ""

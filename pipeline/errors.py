"""Errors that a person can act on.

Every error at the edge says where (file, line, key path), what was found, what would be accepted and, for a near miss,
what was probably meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """The input cannot be used as written; the command line exits with code 2 and prints the message alone."""


class SurroundingsError(Exception):
    """Disk, network or scheduler failed: nothing is recorded about any cell, and running again goes on."""


def near_miss(word: str, accepted: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` when an accepted word is close to ``word``, else an empty string."""
    close = difflib.get_close_matches(word, list(accepted), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""

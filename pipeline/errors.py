"""Errors that tell a person what to do.

Every error about an input names the place (file, line, key path), the value that was found, the values that are accepted and,
for a near miss, the value that was probably meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


_MOST_SHOWN = 2_000


class UsageError(Exception):
    """The input cannot be used as written; the command line prints the message alone and exits with code 2.

    A message that quotes a very long value keeps its beginning and its end.
    """

    def __init__(self, message: str) -> None:
        left_out = len(message) - 2 * _MOST_SHOWN
        if left_out > _MOST_SHOWN:
            message = f"{message[:_MOST_SHOWN]} ... ({left_out:,} letters left out) ... {message[-_MOST_SHOWN:]}"
        super().__init__(message)


class SurroundingsError(Exception):
    """Disk, network or scheduler failed. Nothing is recorded about any cell, and the next run continues the work."""


def near_miss(word: str, accepted: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` when an accepted word is close to ``word``, else an empty string."""
    close = difflib.get_close_matches(word, list(accepted), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def broken_rule(error: Mapping[str, Any]) -> str:
    """Return the sentence of one pydantic error: our own messages unchanged, and for a near miss the accepted choice."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    words = f"{error['msg'][0].lower()}{error['msg'][1:]}"
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        words += near_miss(error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    return words


def broken_field(error: ValidationError) -> str:
    """Return the first field that data from outside breaks, without the data: they may be long and may hold anything."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:80]!r}: {first['msg'][:200]!r}"

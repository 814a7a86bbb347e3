"""What is installed by entry points: experiments, columns and checks name themselves so."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoints, entry_points


def installed(group: str) -> EntryPoints:
    """Return the entry points of a group that are installed along the present path.

    The search reads files of all distributions and takes about 10 ms. So the answer is kept for each group and path. A
    distribution that is installed into a folder of the path while the process runs is found by the next process.
    """
    return _along(group, tuple(sys.path))


@lru_cache(maxsize=32)
def _along(group: str, path: tuple[str, ...]) -> EntryPoints:
    return entry_points(group=group)

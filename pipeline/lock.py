"""A lock per study that saves double work (rule W5). Correctness never rests on it: two runs of one study end alike."""

from __future__ import annotations

import getpass
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psutil

from pipeline.errors import SurroundingsError
from pipeline.store import Store


class StudyLockedError(SurroundingsError):
    """Another run of the study holds the lock."""


@contextmanager
def study_lock(store: Store, study: str, *, force: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a study's lock; one that a dead process of this machine left behind is taken over.

    Gives what releases it at once, for a run that a signal ends.

    Parameters
    ----------
    force
        Take the lock from whoever holds it; that run goes on unharmed.

    Raises
    ------
    StudyLockedError
        If another run holds it; the sentence says who.
    """
    name = f"locks/{study}.json"
    process = psutil.Process()
    own = {
        "host": platform.node(), "process": process.pid, "born": process.create_time(), "user": _user(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    data = json.dumps(own).encode()
    while not store.put_if_absent(name, data, durable=False):
        try:
            found = store.get(name)
        except KeyError:
            continue
        holder = _parsed(found)
        if not force and _may_live(holder):
            who = "{user} on {host}, process {process}, since {since}".format_map({k: holder.get(k, "?") for k in own})
            raise StudyLockedError(
                f"'{study}' is being run by {who}. Wait for it, or give --force: both runs end correct, and some cells are "
                "computed twice"
            )
        if _still(store, name) == found:
            store.delete(name)

    def release() -> None:
        if _still(store, name) == data:
            store.delete(name)

    try:
        yield release
    finally:
        release()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def _still(store: Store, name: str) -> bytes | None:
    try:
        return store.get(name)
    except KeyError:
        return None


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _may_live(holder: dict[str, Any]) -> bool:
    """False only when the holder is known to be dead: a process of this machine that is gone. Torn locks hold nobody."""
    if not holder:
        return False
    if holder.get("host") != platform.node():
        return True
    try:
        return abs(psutil.Process(int(holder["process"])).create_time() - float(holder["born"])) < 2.0
    except (psutil.NoSuchProcess, KeyError, ValueError, TypeError):
        return False
    except psutil.AccessDenied:
        return True

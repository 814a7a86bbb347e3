"""A lock for each study avoids double work (rule W5). Results do not depend on it: two runs of one study give the same cube.

The holder renews its lock as long as its process lives. On the same machine a look at the process shows whether it
lives. A lock of another machine ends when its lease has run out.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from pipeline.errors import SurroundingsError
from pipeline.layout import LOCKS, lock_name
from pipeline.store import Store

RENEW_S = 60.0
LEASE_S = 900.0
"""Length of a lease, fifteen renewals: two machines' clocks may differ by minutes, and a shared folder may hang for minutes."""

_MOMENT = "%Y%m%dT%H%M%SZ"
_MOST_BYTES = 2**16
"""Bytes of a lock that are read at most: a lock holds few words."""


class StudyLockedError(SurroundingsError):
    """Another run of the study holds the lock."""


@contextmanager
def study_lock(store: Store, study: str, *, force: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a study's lock, and renew it meanwhile.

    The lock of another run is taken over if its process on this machine is dead, or if its lease on another machine has run
    out. The context gives a function that releases the lock at once, for a run that a signal ends.

    Parameters
    ----------
    force
        Take the lock from the run that holds it; that run goes on unharmed.

    Raises
    ------
    StudyLockedError
        If another run holds the lock; the sentence says who holds it, and what to do.
    """
    name = lock_name(study)
    process = psutil.Process()
    own = {
        "host": platform.node(), "process": process.pid, "born": process.create_time(), "user": _user(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"), "lease_s": LEASE_S,
    }  # fmt: skip
    data = json.dumps(own).encode()
    while not store.put_if_absent(name, data, durable=False):
        found = _content(store, name)
        if found is None:
            continue
        holder = _parsed(found)
        ends = _lease_end(store, name, holder)
        if not force and _may_live(holder, ends):
            raise StudyLockedError(_who_holds(study, holder, ends))
        if _content(store, name) == found:
            store.delete(name)
    ended = threading.Event()

    def release() -> None:
        ended.set()
        if _content(store, name) == data:
            store.delete(_sign(name))
            store.delete(name)

    _renew(store, name)
    threading.Thread(target=_keep, args=(store, name, data, ended), name="lock", daemon=True).start()
    try:
        yield release
    finally:
        release()


def _keep(store: Store, name: str, data: bytes, ended: threading.Event) -> None:
    """Renew the lock until it is released or somebody else has taken it."""
    while not ended.wait(RENEW_S) and _content(store, name) == data:
        _renew(store, name)


def _sign(name: str) -> str:
    return f"{name.removesuffix('.json')}.alive"


def _renew(store: Store, name: str) -> None:
    """Leave a sign of life: a pointer whose target is the moment."""
    with contextlib.suppress(OSError, SurroundingsError):  # a folder that hangs may answer the next time
        store.publish_pointer(_sign(name), f"{LOCKS}at/{datetime.now(UTC).strftime(_MOMENT)}")


def _lease_end(store: Store, name: str, holder: dict[str, Any]) -> datetime | None:
    """Return the moment when the lock ends without another sign of life; None for a lock without a lease."""
    try:
        seen = datetime.fromisoformat(str(holder["since"]))
        sign = store.read_pointer(_sign(name))
        if sign is not None:
            seen = max(seen, datetime.strptime(sign.rsplit("/", 1)[-1], _MOMENT).replace(tzinfo=UTC))
        return seen + timedelta(seconds=float(holder["lease_s"]))
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _who_holds(study: str, holder: dict[str, Any], ends: datetime | None) -> str:
    told = {part: str(holder.get(part, "?")) for part in ("user", "host", "process", "since")}
    who = "{user} on {host}, process {process}, since {since}".format_map(told)
    if holder.get("host") == platform.node():
        when = ""
    elif ends is None:
        when = " Whether that run still lives is not known: if it has ended, --force takes its lock."
    else:
        when = f" Its lock ends at {ends.isoformat(timespec='seconds')} unless that run renews it."
    return (
        f"'{study}' is being run by {who}.{when} Wait for it, or give --force: then both runs give correct results, but "
        "some cells are computed twice"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def _content(store: Store, name: str) -> bytes | None:
    """Return the content of a lock, up to the length that a lock may have; None if there is no lock."""
    try:
        with store.open(name) as file:
            return file.read(_MOST_BYTES)
    except KeyError:
        return None


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _may_live(holder: dict[str, Any], ends: datetime | None) -> bool:
    """Return False if the holder is dead: its process on this machine is gone, or its lease has run out.

    A torn lock has no holder.
    """
    if not holder:
        return False
    if holder.get("host") != platform.node():
        return ends is None or datetime.now(UTC) < ends
    try:
        return abs(psutil.Process(int(holder["process"])).create_time() - float(holder["born"])) < 2.0
    except (psutil.NoSuchProcess, KeyError, ValueError, TypeError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True

"""Where bytes live: one small interface, on a local folder or in memory (rules S2, S6)."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Protocol
from uuid import uuid4

FAULT_POINTS = (
    "put:before-write", "put:after-write", "put:before-publish", "put:after-publish",
    "pointer:before-swap", "pointer:after-swap",
)  # fmt: skip
"""Moments at which a kill must lose nothing that was acknowledged and show nothing half written."""

Fault = Callable[[str, str], None]
"""Called with a fault point and a name; it may raise, or kill the process."""

_STALE_TEMPORARY_S = 24 * 3600.0


@dataclass(frozen=True)
class Entry:
    """One stored object."""

    name: str
    size: int
    mtime_ns: int


class Store(Protocol):
    """Immutable named bytes, and pointers that change atomically. Names are relative paths with '/'."""

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        """Store bytes under a name, whole or not at all; False if the name is taken (its bytes stay)."""
        ...

    def get(self, name: str) -> bytes:
        """Bytes of a name; KeyError if there is none."""
        ...

    def list(self, prefix: str) -> list[Entry]:
        """Objects whose name begins with the prefix (a folder with its '/'), by name; no temporaries, no pointers."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens if it is gone."""
        ...

    def publish_pointer(self, name: str, target: str) -> None:
        """Let ``name`` point to ``target``, atomically."""
        ...

    def read_pointer(self, name: str) -> str | None:
        """What a pointer names, or None."""
        ...

    def location(self) -> str:
        """What :func:`open_store_backend` takes to open this store from another process."""
        ...

    def path(self, name: str) -> Path | None:
        """Local path of a name, for readers that need files; None where there is none."""
        ...


def content_name(data: bytes) -> str:
    """Name of bytes by their content: 128-bit blake2b, hexadecimal."""
    return blake2b(data, digest_size=16).hexdigest()


def check_name(name: str) -> str:
    """Return the name if it is a plain relative path.

    Raises
    ------
    ValueError
        If it is absolute, empty, or climbs.
    """
    if not name or name.startswith("/") or any(part in ("", ".", "..") for part in name.rstrip("/").split("/")):
        raise ValueError(f"not a store name: {name!r}")
    return name


def _no_fault(point: str, name: str) -> None:
    pass


class LocalStore:
    """A folder of a local or shared file system."""

    def __init__(self, root: str | Path, fault: Fault = _no_fault) -> None:
        self._root = Path(root).absolute()
        self._fault = fault

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        """See :class:`Store`. Written beside its place, then linked to its name, which fails if the name is taken."""
        path = self._root / check_name(name)
        if path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{uuid4().hex}.tmp"
        self._fault("put:before-write", name)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                self._fault("put:after-write", name)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            self._fault("put:before-publish", name)
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            _sync_folder(path.parent)
        self._fault("put:after-publish", name)
        return True

    def get(self, name: str) -> bytes:
        """See :class:`Store`."""
        try:
            return (self._root / check_name(name)).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise KeyError(name) from error

    def list(self, prefix: str) -> list[Entry]:
        """See :class:`Store`."""
        folder = self._root / check_name(prefix)
        if not folder.is_dir():
            return []
        found: list[Entry] = []
        waiting = [str(folder)]
        while waiting:
            with os.scandir(waiting.pop()) as scan:
                for item in scan:
                    if item.name.startswith(".") or item.is_symlink():
                        continue
                    if item.is_dir():
                        waiting.append(item.path)
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        stat = item.stat()
                        name = Path(item.path).relative_to(self._root).as_posix()
                        found.append(Entry(name, stat.st_size, stat.st_mtime_ns))
        return sorted(found, key=lambda entry: entry.name)

    def delete(self, name: str) -> None:
        """See :class:`Store`. Folders that become empty go too."""
        path = self._root / check_name(name)
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == self._root:
                break
            try:
                parent.rmdir()
            except OSError:
                break

    def publish_pointer(self, name: str, target: str) -> None:
        """See :class:`Store`. A relative symbolic link, renamed into place."""
        path, aim = self._root / check_name(name), self._root / check_name(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{uuid4().hex}.tmp"
        temporary.symlink_to(os.path.relpath(aim, path.parent))
        self._fault("pointer:before-swap", name)
        temporary.replace(path)
        self._fault("pointer:after-swap", name)

    def read_pointer(self, name: str) -> str | None:
        """See :class:`Store`."""
        path = self._root / check_name(name)
        try:
            target = path.readlink()
        except OSError:
            return None
        return os.path.relpath(path.parent / target, self._root)

    def location(self) -> str:
        """See :class:`Store`: the absolute path."""
        return str(self._root)

    def path(self, name: str) -> Path | None:
        """See :class:`Store`."""
        return self._root / check_name(name)

    def sweep_temporaries(self, *, older_than_s: float = _STALE_TEMPORARY_S) -> int:
        """Remove what writers killed long ago left behind; returns how many."""
        limit, removed = time.time() - older_than_s, 0
        for file in self._root.rglob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if file.lstat().st_mtime < limit:
                    file.unlink()
                    removed += 1
        return removed


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MemoryStore:
    """The same in memory, for models and fault tests; shared by all threads of a process."""

    def __init__(self, fault: Fault = _no_fault) -> None:
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._pointers: dict[str, str] = {}
        self._lock = threading.Lock()
        self._fault = fault
        self._location = f"memory://{uuid4().hex}"
        _MEMORY[self._location] = self

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        """See :class:`Store`."""
        check_name(name)
        for point in ("put:before-write", "put:after-write", "put:before-publish"):
            self._fault(point, name)
        with self._lock:
            if name in self._objects:
                return False
            self._objects[name] = (bytes(data), time.time_ns())
        self._fault("put:after-publish", name)
        return True

    def get(self, name: str) -> bytes:
        """See :class:`Store`."""
        return self._objects[check_name(name)][0]

    def list(self, prefix: str) -> list[Entry]:
        """See :class:`Store`."""
        folder = check_name(prefix).rstrip("/") + "/"
        with self._lock:
            found = [Entry(n, len(d), t) for n, (d, t) in self._objects.items() if n.startswith(folder)]
        return sorted(found, key=lambda entry: entry.name)

    def delete(self, name: str) -> None:
        """See :class:`Store`."""
        with self._lock:
            self._objects.pop(check_name(name), None)

    def publish_pointer(self, name: str, target: str) -> None:
        """See :class:`Store`."""
        check_name(name)
        self._fault("pointer:before-swap", name)
        self._pointers[name] = check_name(target)
        self._fault("pointer:after-swap", name)

    def read_pointer(self, name: str) -> str | None:
        """See :class:`Store`."""
        return self._pointers.get(check_name(name))

    def location(self) -> str:
        """See :class:`Store`: valid within this process."""
        return self._location

    def path(self, name: str) -> Path | None:
        """See :class:`Store`: there is none."""
        return None


_MEMORY: dict[str, MemoryStore] = {}


def open_store_backend(location: str) -> Store:
    """Open a store by its location: a folder, or the address of a memory store of this process.

    Raises
    ------
    KeyError
        If a memory store of that address does not exist in this process.
    """
    return _MEMORY[location] if location.startswith("memory://") else LocalStore(location)

"""Stores of bytes: one small interface, implemented by a local folder and in memory (rules S2, S6)."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

from pipeline.errors import SurroundingsError, UsageError
from pipeline.files import File, kind_of, link, open_plain, scan, sync, told

FAULT_POINTS = (
    "put:before-write", "put:after-write", "put:before-publish", "put:after-publish",
    "pointer:before-swap", "pointer:after-swap",
)  # fmt: skip
"""Moments at which a kill must lose nothing that was acknowledged and show nothing half written."""

Fault = Callable[[str, str], None]
"""Called with a fault point and a name; it may raise, or kill the process."""

T = TypeVar("T")

_STALE_TEMPORARY_S = 24 * 3600.0
_ATTEMPTS = 100
MOST_BYTES = 2**31 - 1
"""No object that a store is asked for whole is larger."""
MOST_RECORD_BYTES = 2**24
"""No record (of a plan, of an adoption) is larger."""


@dataclass(frozen=True)
class Entry:
    """One stored object."""

    name: str
    size: int
    mtime_ns: int


class Store(Protocol):
    """Immutable named bytes, and pointers that change atomically. Names are relative paths with '/'.

    A name is that of an object, of a pointer or of a folder, one of them at a time. Pointers are not followed: read
    the pointer, then use the name it gives. What a disk or a network refuses is a SurroundingsError that names the path.
    """

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        """Store bytes under a name, whole or not at all; False if the name is taken (its bytes stay).

        When it returns, either way, the object survives a power cut, unless ``durable`` is False.
        """
        ...

    def open(self, name: str) -> File:
        """An object as a file to read; KeyError if there is none."""
        ...

    def get(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Bytes of a name; KeyError if there is none, or one of more than ``most`` bytes."""
        ...

    def list(self, prefix: str) -> list[Entry]:
        """Objects below a folder, by name; no pointers and nothing whose name has a part that begins with '.'."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object or a pointer; nothing happens if it is gone."""
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


def content_name(data: bytes | File) -> str:
    """Name of bytes, or of a file of them, by their content: 128-bit blake2b, hexadecimal."""
    if isinstance(data, bytes):
        return blake2b(data, digest_size=16).hexdigest()
    data.seek(0)
    return file_digest(data, lambda: blake2b(digest_size=16)).hexdigest()


def check_name(name: str) -> str:
    """Return the name if it is a plain relative path.

    Raises
    ------
    ValueError
        If it is absolute, empty, climbs, or is not written in the one canonical way.
    """
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"not a store name: {name!r}")
    return name


def check_folder(prefix: str) -> str:
    """The same for a folder's name, which may end with '/'."""
    return check_name(prefix.removesuffix("/"))


class RefusedError(SurroundingsError, ValueError):
    """Something else stands where a name belongs."""


def refused(name: str, what: str) -> RefusedError:
    """The error that says what stands in a name's place."""
    return RefusedError(f"'{name}' cannot be stored: {what}")


def no_fault(point: str, name: str) -> None:
    """The faults of a store that nobody ends."""


class LocalStore:
    """A folder of a local or shared file system."""

    def __init__(self, root: str | Path, fault: Fault = no_fault) -> None:
        self._root = Path(root).absolute()
        self._fault = fault
        self._settled: set[Path] = set()

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        """See :class:`Store`. Written beside its place, then linked to its name, which fails if the name is taken."""
        path = self._root / check_name(name)
        with told(path, len(data)):
            kind = kind_of(path)
            if kind not in (None, stat.S_IFREG):
                raise refused(name, "it is a folder or a pointer, or something else that is no plain file")
            written = kind is None and self._again(lambda: self._write(path, name, data, durable))
            if durable:
                sync(path)  # whoever put it before may not have got so far
                self._sync_folders(path.parent)
        if written:
            self._fault("put:after-publish", name)
        return written

    def _again(self, act: Callable[[], T]) -> T:
        """Do what goes through a temporary file again if a collector takes that away (an impatient one, or a wrong clock)."""
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                return act()
        raise OSError(f"temporary files below {self._root} disappear as often as they are made")

    def _write(self, path: Path, name: str, data: bytes, durable: bool) -> bool:
        self._fault("put:before-write", name)
        temporary, file = self._beside(path, name, lambda temporary: temporary.open("xb"))
        try:
            with file:
                file.write(data)
                self._fault("put:after-write", name)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            self._fault("put:before-publish", name)
            return link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _beside(self, path: Path, name: str, create: Callable[[Path], T]) -> tuple[Path, T]:
        """Create a temporary beside ``path``; again if :meth:`delete` removes the empty folder in between."""
        for _ in range(_ATTEMPTS):
            temporary = path.parent / f".{uuid4().hex}.tmp"
            with contextlib.suppress(FileNotFoundError):
                self._make_folder(path, name)
                return temporary, create(temporary)
        raise OSError(f"{path.parent} disappears as often as it is made")

    def _crosses_pointer(self, name: str) -> bool:
        return any((self._root / folder).is_symlink() for folder in folders_of(name))

    def _make_folder(self, path: Path, name: str) -> None:
        if self._crosses_pointer(name) or any((self._root / folder).is_file() for folder in folders_of(name)):
            raise refused(name, "a part of its path is an object or a pointer")
        if not path.parent.is_dir():
            self._settled.clear()
            # An error that a folder exists tells that it did a moment ago: whoever removed it, the loop makes it again.
            with contextlib.suppress(FileExistsError):
                path.parent.mkdir(parents=True, exist_ok=True)

    def _sync_folders(self, folder: Path) -> None:
        """Make the entries of a folder, and once per process those that lead to it, survive a power cut."""
        sync(folder)
        while folder != self._root.parent and folder not in self._settled:
            sync(folder.parent)
            self._settled.add(folder)
            folder = folder.parent

    def open(self, name: str) -> File:
        """See :class:`Store`."""
        path = self._root / check_name(name)
        with told(path):
            if self._crosses_pointer(name):
                raise KeyError(name)
            try:
                return open_plain(path)
            except FileNotFoundError as error:
                raise KeyError(name) from error

    def get(self, name: str, most: int = MOST_BYTES) -> bytes:
        """See :class:`Store`."""
        with self.open(name) as file, told(self._root / name):
            if os.fstat(file.fileno()).st_size > most:
                raise KeyError(name)
            return file.read()

    def list(self, prefix: str) -> list[Entry]:
        """See :class:`Store`."""
        found: list[Entry] = []
        folder = check_folder(prefix)
        skipped = len(str(self._root).rstrip("/")) + 1
        with told(self._root / folder):
            waiting = [] if self._crosses_pointer(f"{folder}/below") else [str(self._root / folder)]
            while waiting:
                for item in scan(waiting.pop()):
                    if item.name.startswith("."):
                        continue
                    if item.is_dir(follow_symlinks=False):
                        waiting.append(item.path)
                    elif item.is_file(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):
                            about = item.stat(follow_symlinks=False)
                            found.append(Entry(item.path[skipped:], about.st_size, about.st_mtime_ns))
        return sorted(found, key=lambda entry: entry.name)

    def delete(self, name: str) -> None:
        """See :class:`Store`. Folders that become empty go too."""
        path = self._root / check_name(name)
        with told(path, writing=0), contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if self._crosses_pointer(name):
                return
            path.unlink()
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
        with told(path, writing=0):
            if kind_of(path) not in (None, stat.S_IFLNK):
                raise refused(name, "it is an object or a folder, not a pointer")
            self._again(lambda: self._swap(path, name, os.path.relpath(aim, path.parent)))
            self._sync_folders(path.parent)
        self._fault("pointer:after-swap", name)

    def _swap(self, path: Path, name: str, relative: str) -> None:
        temporary, _ = self._beside(path, name, lambda temporary: temporary.symlink_to(relative))
        try:
            self._fault("pointer:before-swap", name)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def read_pointer(self, name: str) -> str | None:
        """See :class:`Store`. A link that leads out of the store is no pointer."""
        path = self._root / check_name(name)
        with told(path):
            if self._crosses_pointer(name) or kind_of(path) != stat.S_IFLNK:
                return None
            try:
                target = os.path.relpath(path.parent / path.readlink(), self._root)
            except FileNotFoundError:  # deleted since the look before: a lock that has just been released
                return None
        with contextlib.suppress(ValueError):
            return check_name(target)
        return None

    def location(self) -> str:
        """See :class:`Store`: the absolute path."""
        return str(self._root)

    def path(self, name: str) -> Path | None:
        """See :class:`Store`."""
        return self._root / check_folder(name)

    def sweep_temporaries(
        self, *, older_than_s: float = _STALE_TEMPORARY_S, dry_run: bool = False
    ) -> tuple[tuple[str, int], ...]:
        """Remove what writers killed long ago left behind; returns names and sizes."""
        limit = time.time() - older_than_s
        found: tuple[tuple[str, int], ...] = ()
        with told(self._root, writing=0):
            for file in sorted(self._root.rglob(".*.tmp")):
                with contextlib.suppress(FileNotFoundError):
                    about = file.lstat()
                    if about.st_mtime < limit and not stat.S_ISDIR(about.st_mode):
                        found += ((str(file.relative_to(self._root)), about.st_size),)
                        if not dry_run:
                            file.unlink()
        return found


def folders_of(name: str) -> list[str]:
    """Folders that a name lies in."""
    return [str(parent) for parent in PurePosixPath(name).parents if str(parent) != "."]


IN_MEMORY: WeakValueDictionary[str, Store] = WeakValueDictionary()
"""Stores of this process that no other can open, by their location."""


def open_store_backend(location: str) -> Store:
    """Open a store by its location: a folder, or the address of a memory store of this process.

    Raises
    ------
    UsageError
        If there is something else than a folder, or the address is of another kind, or of a memory store that this process
        does not hold.
    """
    if "://" not in location:
        return LocalStore(_checked_folder(location))
    if location in IN_MEMORY:
        return IN_MEMORY[location]
    raise UsageError(f"no store at '{location}': a store is a folder; memory:// addresses serve one process only")


def _checked_folder(location: str) -> Path:
    """A folder, or a place where one can be made."""
    for path in (Path(location), *Path(location).parents):
        # One look only: another process may make the folder at this moment.
        with told(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(path.stat().st_mode):
                break
            raise UsageError(f"no store at '{location}': '{path}' is no folder; a store is a folder")
    return Path(location)

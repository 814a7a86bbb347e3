"""Stores of bytes: a small interface, with an implementation in a local folder and one in memory (rules S2, S6)."""

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
"""Moments at which a test may kill the writer: no acknowledged object may be lost, no half-written object may be visible."""

Fault = Callable[[str, str], None]
"""A function that a store calls with a fault point and a name; it may raise, or kill the process."""

T = TypeVar("T")

_STALE_TEMPORARY_S = 24 * 3600.0
_ATTEMPTS = 100
MOST_BYTES = 2**31 - 1
"""Most bytes of an object that is read as a whole."""
MOST_RECORD_BYTES = 2**24
"""Most bytes of a record (of a plan or of an adoption)."""


@dataclass(frozen=True)
class Entry:
    """A stored object."""

    name: str
    size: int
    mtime_ns: int


class Store(Protocol):
    """Immutable named bytes, and pointers that change atomically. Names are relative paths with '/'.

    A name belongs to an object, a pointer or a folder, to one of them at a time. Pointers are not followed: read the pointer,
    then use the name that it gives. If a disk or a network refuses an action, a SurroundingsError names the path.
    """

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        """Store bytes under a name, whole or not at all; return False if the name is taken (its bytes stay).

        After the return, in both cases, the object survives a power cut, unless ``durable`` is False.
        """
        ...

    def open(self, name: str) -> File:
        """Open an object as a file for reading; KeyError if there is no object."""
        ...

    def get(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Return the bytes of an object; KeyError if there is no object, or it has more than ``most`` bytes."""
        ...

    def list(self, prefix: str) -> list[Entry]:
        """List the objects below a folder by name, without pointers and without names of which a part begins with '.'."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object or a pointer; nothing happens if it does not exist."""
        ...

    def publish_pointer(self, name: str, target: str) -> None:
        """Let ``name`` point to ``target``, atomically."""
        ...

    def read_pointer(self, name: str) -> str | None:
        """Return the name to which a pointer points; None if there is no pointer."""
        ...

    def location(self) -> str:
        """Return the location with which :func:`open_store_backend` opens this store, also in another process."""
        ...

    def path(self, name: str) -> Path | None:
        """Return the local path of a name, for readers that need files; None if the store has no local files."""
        ...


def content_name(data: bytes | File) -> str:
    """Return the name of bytes, or of a file's bytes, from their content: 128-bit blake2b, hexadecimal."""
    if isinstance(data, bytes):
        return blake2b(data, digest_size=16).hexdigest()
    data.seek(0)
    return file_digest(data, lambda: blake2b(digest_size=16)).hexdigest()


def check_name(name: str) -> str:
    """Return the name if it is a plain relative path.

    Raises
    ------
    ValueError
        If the name is absolute or empty, leads upwards ('..'), or is not in canonical form.
    """
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"not a store name: {name!r}")
    return name


def check_folder(prefix: str) -> str:
    """Return a folder's name if it is a plain relative path; it may end with '/'."""
    return check_name(prefix.removesuffix("/"))


class RefusedError(SurroundingsError, ValueError):
    """An object of another kind stands in a name's place."""


def refused(name: str, what: str) -> RefusedError:
    """Return the error that says what stands in a name's place."""
    return RefusedError(f"'{name}' cannot be stored: {what}")


def no_fault(point: str, name: str) -> None:
    """Do nothing: the fault function of a store outside fault tests."""


class LocalStore:
    """A folder of a local or shared file system."""

    def __init__(self, root: str | Path, fault: Fault = no_fault) -> None:
        self._root = Path(root).absolute()
        self._fault = fault
        self._settled: set[Path] = set()

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        """See :class:`Store`. The file is written beside its place, then linked to its name; the link fails if it is taken."""
        path = self._root / check_name(name)
        with told(path, len(data)):
            kind = kind_of(path)
            if kind not in (None, stat.S_IFREG):
                raise refused(name, "it is a folder or a pointer, or something else that is no plain file")
            written = kind is None and self._again(lambda: self._write(path, name, data, durable))
            if durable:
                sync(path)  # an earlier writer of the object may have ended before this step
                self._sync_folders(path.parent)
        if written:
            self._fault("put:after-publish", name)
        return written

    def _again(self, act: Callable[[], T]) -> T:
        """Repeat an action that uses a temporary file if a collector (impatient, or by a wrong clock) removes the file."""
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                return act()
        raise OSError(f"temporary files below {self._root} disappear each time they are made")

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
        """Create a temporary file beside ``path``; try again if :meth:`delete` removes the empty folder in between."""
        for _ in range(_ATTEMPTS):
            temporary = path.parent / f".{uuid4().hex}.tmp"
            with contextlib.suppress(FileNotFoundError):
                self._make_folder(path, name)
                return temporary, create(temporary)
        raise OSError(f"{path.parent} disappears each time it is made")

    def _crosses_pointer(self, name: str) -> bool:
        return any((self._root / folder).is_symlink() for folder in folders_of(name))

    def _make_folder(self, path: Path, name: str) -> None:
        if self._crosses_pointer(name) or any((self._root / folder).is_file() for folder in folders_of(name)):
            raise refused(name, "a part of its path is an object or a pointer")
        if not path.parent.is_dir():
            self._settled.clear()
            # The error says that the folder existed a moment ago. If it was removed since, the loop makes it again.
            with contextlib.suppress(FileExistsError):
                path.parent.mkdir(parents=True, exist_ok=True)

    def _sync_folders(self, folder: Path) -> None:
        """Make the entries of a folder survive a power cut; once per process also the entries of the folders above it."""
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
        """See :class:`Store`. Folders that become empty are removed, too."""
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
        """See :class:`Store`. The pointer is a relative symbolic link that is renamed into place."""
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
            except FileNotFoundError:  # deleted since the check above, such as a lock that has just been released
                return None
        with contextlib.suppress(ValueError):
            return check_name(target)
        return None

    def location(self) -> str:
        """See :class:`Store`. The location is the absolute path."""
        return str(self._root)

    def path(self, name: str) -> Path | None:
        """See :class:`Store`."""
        return self._root / check_folder(name)

    def sweep_temporaries(
        self, *, older_than_s: float = _STALE_TEMPORARY_S, dry_run: bool = False
    ) -> tuple[tuple[str, int], ...]:
        """Remove temporary files of writers that were killed long ago; return their names and sizes."""
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
    """Return the folders that contain a name."""
    return [str(parent) for parent in PurePosixPath(name).parents if str(parent) != "."]


IN_MEMORY: WeakValueDictionary[str, Store] = WeakValueDictionary()
"""Stores of this process that no other process can open, by their location."""


def open_store_backend(location: str) -> Store:
    """Open a store by its location: a folder, or the address of a memory store of this process.

    Raises
    ------
    UsageError
        If the location is no folder, the address is of another kind, or it names a memory store that this process does not
        hold.
    """
    if "://" not in location:
        return LocalStore(_checked_folder(location))
    if location in IN_MEMORY:
        return IN_MEMORY[location]
    raise UsageError(f"no store at '{location}': a store is a folder; memory:// addresses serve one process only")


def _checked_folder(location: str) -> Path:
    """Return the location's path if it is a folder, or if a folder can be made there."""
    for path in (Path(location), *Path(location).parents):
        # Check only once: another process may make the folder at this moment.
        with told(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(path.stat().st_mode):
                break
            raise UsageError(f"no store at '{location}': '{path}' is no folder; a store is a folder")
    return Path(location)

"""Open files of a folder that another person may have made. Only plain files are opened. Every refusal is one sentence."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import SurroundingsError

File = io.BufferedReader | io.BytesIO
"""Bytes to read, from a disk or from memory."""

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})
"""Errors that say that no plain file is there."""

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def open_plain(path: Path) -> io.BufferedReader:
    """Open a plain file for reading. The function never waits, never follows a link and never opens a device.

    Raises
    ------
    FileNotFoundError
        If the path is no plain file: it is absent, a folder, a link, a pipe, a socket or a device.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # opening a device may already do something
            raise FileNotFoundError(errno.ENOENT, "no plain file", str(path))
        # Another process may have replaced the file since the check above.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in ABSENT:
            raise FileNotFoundError(errno.ENOENT, "no plain file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "no plain file", str(path))
    return os.fdopen(descriptor, "rb")


def check_plain(folder: Path) -> None:
    """Refuse a folder that holds, at any depth, anything but folders and plain files.

    Raises
    ------
    ValueError
        If there is a link, a pipe, a socket or a device.
    """
    with told(folder):
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                if kind_of(Path(place, name)) not in (stat.S_IFDIR, stat.S_IFREG):
                    raise ValueError(f"'{name}' is neither a folder nor a plain file")


@contextlib.contextmanager
def told(path: Path, writing: int | None = None) -> Iterator[None]:
    """Replace an error of the system at ``path`` by one sentence; ``writing`` is the number of bytes being written there.

    Raises
    ------
    SurroundingsError
        In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        what = "cannot be read" if writing is None else "cannot be written"
        kept = "" if writing is None else ". Finished cells are kept: correct this, then run again to go on"
        raise SurroundingsError(f"'{path}' {what}: {_cause(path, error, writing)}{kept}") from error


def _cause(path: Path, error: OSError, writing: int | None) -> str:
    words = error.strerror or str(error)
    if error.errno in _FULL:
        return f"{words} ({_free(path)}" + (f", {writing:,} bytes are needed)" if writing else ")")
    if error.errno == errno.EFBIG:
        return f"{words} ({writing or 0:,} bytes are needed, the limit of this process is lower: ulimit -f)"
    return words


def _free(path: Path) -> str:
    """Return words that say how much space is free on the disk of a path."""
    try:
        return f"{shutil.disk_usage(next(p for p in path.parents if p.is_dir())).free:,} bytes are free"
    except OSError:
        return "how much is free cannot be read"


def link(temporary: Path, path: Path) -> bool:
    """Give a complete file its name; return False if the name is taken."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Without hard links a race of two writers keeps the later bytes: a name made from the content has equal bytes anyway.
        if path.exists():
            return False
        temporary.replace(path)
    return True


def kind_of(path: Path) -> int | None:
    """Return the kind of file at a path (a file type of :mod:`stat`); None if there is none. Links are not followed."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise


def scan(folder: str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        yield from entries


def sync(path: Path) -> None:
    """Wait until a file's content or a folder's entries are on the disk; a path that is gone or not readable needs no wait."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

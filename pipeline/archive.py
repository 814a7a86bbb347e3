"""Archives of the store: zip files whose entries are not compressed and stand one after the other, with nothing between them.

The archive may come from another person. Every header is checked before it is used. So no archive makes a reader take more
memory than the archive has bytes.
"""

from __future__ import annotations

import io
import struct
import zipfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping

from pipeline.files import File
from pipeline.store import Store, check_name

MOST_BYTES = 2**31 - 1
"""Most bytes of an archive: a larger zip file needs another format of its headers."""

_MOST_DIRECTORY_BYTES = 2 * 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_END = struct.Struct("<4sHHHHIIH")
_LOCAL_HEADER_BYTES = 30
_UTF8_NAME = 0x800


class Files(Mapping[str, bytes]):
    """Named bytes that are read only when they are needed; their size is known before."""

    @abstractmethod
    def __contains__(self, name: object) -> bool:
        """Return whether the name exists; its bytes are not read."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the number of bytes of a name."""

    def start(self, name: str) -> bytes:
        """Return the first bytes of a name, at least as many as a header has."""
        return self[name]


class StoredFiles(Files):
    """The objects below a folder of a store, by their names inside the folder."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self._sizes = {entry.name.removeprefix(f"{folder}/"): entry.size for entry in store.list(folder)}

    def __getitem__(self, name: str) -> bytes:
        return self._store.get(f"{self._folder}/{name}", self._sizes[name])

    def start(self, name: str) -> bytes:
        """See :class:`Files`."""
        with self._store.open(f"{self._folder}/{name}") as file:
            return file.read(64)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, name: object) -> bool:
        return name in self._sizes

    def size(self, name: str) -> int:
        """See :class:`Files`."""
        return self._sizes[name]


class ArchiveError(ValueError):
    """The bytes are not an archive as :func:`pack` writes it."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the bytes of an archive of the files; the same files give the same bytes.

    Raises
    ------
    ArchiveError
        If the archive would be larger than an archive may be.
    """
    buffer = io.BytesIO()
    try:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
            for name, data in files.items():
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    except zipfile.LargeZipFile as error:
        raise ArchiveError(f"the results of one task are {sum(map(len, files.values())):,} bytes, more than 2 GiB") from error
    return buffer.getvalue()


class Archive(Files):
    """An archive that is open for reading.

    Raises
    ------
    ArchiveError
        If the archive holds anything but plain stored entries that fill it without gap or overlap.
    """

    def __init__(self, file: File) -> None:
        directory = _directory_start(file)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise ArchiveError(f"not an archive: {error}") from error
        self._entries = {info.filename: info for info in self._zip.infolist()}
        if len(self._entries) != len(self._zip.infolist()):
            raise ArchiveError("an entry is there twice")
        _check_entries(self._zip.infolist(), directory)

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._zip.read(self._entries[name])
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error) as error:
            raise ArchiveError(f"entry {name!r} cannot be read: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def size(self, name: str) -> int:
        """See :class:`Files`."""
        return self._entries[name].file_size


def _directory_start(file: File) -> int:
    """Return the position where the list of entries begins, from the archive's last bytes.

    A list that is larger than the lists of this project's archives is refused before it is read.
    """
    length = file.seek(0, io.SEEK_END)
    if not _END.size <= length <= MOST_BYTES:
        raise ArchiveError(f"not an archive: {length:,} bytes")
    file.seek(length - _END.size)
    signature, *disks, _, _, size, start, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\5\6" or any(disks) or comment or start + size + _END.size != length:
        raise ArchiveError("not an archive: it does not end with the list of its entries")
    if size > _MOST_DIRECTORY_BYTES:
        raise ArchiveError(f"the list of its entries takes {size:,} bytes, more than {_MOST_DIRECTORY_BYTES:,}")
    return start


def _check_entries(entries: list[zipfile.ZipInfo], directory: int) -> None:
    """Check that all entries are stored under plain names and fill the archive up to its directory, one after the other."""
    end = 0
    for info in sorted(entries, key=lambda info: info.header_offset):
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ~_UTF8_NAME or info.compress_size != info.file_size:
            raise ArchiveError(f"entry {info.filename!r} is not stored as it is")
        try:
            check_name(info.filename)
        except ValueError as error:
            raise ArchiveError(str(error)) from error
        if not info.filename.isprintable():
            raise ArchiveError(f"entry {info.filename!r} has a name that cannot be shown")
        if info.orig_filename != info.filename or info.header_offset != end:
            raise ArchiveError(f"entry {info.filename!r} does not begin where the entry before it ends")
        encoded = info.filename.encode("utf-8" if info.flag_bits & _UTF8_NAME else "cp437")
        end += _LOCAL_HEADER_BYTES + len(encoded) + info.file_size
    if end != directory:
        raise ArchiveError("there are bytes between its entries and their list")

"""A store in memory, for models and fault tests."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

from pipeline.files import File
from pipeline.store import IN_MEMORY, MOST_BYTES, Entry, Fault, check_folder, check_name, folders_of, no_fault, refused


class MemoryStore:
    """A store in memory that all threads of a process share, for models and fault tests."""

    def __init__(self, fault: Fault = no_fault) -> None:
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._pointers: dict[str, str] = {}
        self._folders: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._fault = fault
        self._location = f"memory://{uuid4().hex}"
        IN_MEMORY[self._location] = self

    def put_if_absent(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        """See :class:`Store`."""
        if check_name(name) in self._pointers or self._folders[name]:
            raise refused(name, "it is a folder or a pointer")
        if name in self._objects:
            return False
        for point in ("put:before-write", "put:after-write", "put:before-publish"):
            self._fault(point, name)
        with self._lock:
            if name in self._objects:
                return False
            self._enter(name)
            self._objects[name] = (bytes(data), time.time_ns())
        self._fault("put:after-publish", name)
        return True

    def _enter(self, name: str) -> None:
        folders = folders_of(name)
        if any(folder in self._objects or folder in self._pointers for folder in folders):
            raise refused(name, "a part of its path is an object or a pointer")
        self._folders.update(folders)

    def get(self, name: str, most: int = MOST_BYTES) -> bytes:
        """See :class:`Store`."""
        data = self._objects[check_name(name)][0]
        if len(data) > most:
            raise KeyError(name)
        return data

    def open(self, name: str) -> File:
        """See :class:`Store`."""
        return io.BytesIO(self.get(name))

    def list(self, prefix: str) -> list[Entry]:
        """See :class:`Store`."""
        folder = check_folder(prefix) + "/"
        with self._lock:
            found = [
                Entry(n, len(data), moment)
                for n, (data, moment) in self._objects.items()
                if n.startswith(folder) and "/." not in n[len(folder) - 1 :]
            ]
        return sorted(found, key=lambda entry: entry.name)

    def delete(self, name: str) -> None:
        """See :class:`Store`."""
        with self._lock:
            if self._objects.pop(check_name(name), None) or self._pointers.pop(name, None):
                self._folders.subtract(folders_of(name))

    def publish_pointer(self, name: str, target: str) -> None:
        """See :class:`Store`."""
        if check_name(name) in self._objects or self._folders[name]:
            raise refused(name, "it is an object or a folder, not a pointer")
        check_name(target)
        self._fault("pointer:before-swap", name)
        with self._lock:
            if name not in self._pointers:
                self._enter(name)
            self._pointers[name] = target
        self._fault("pointer:after-swap", name)

    def read_pointer(self, name: str) -> str | None:
        """See :class:`Store`."""
        return self._pointers.get(check_name(name))

    def location(self) -> str:
        """See :class:`Store`. The location is valid within this process."""
        return self._location

    def path(self, name: str) -> Path | None:
        """See :class:`Store`. An object in memory has no path."""
        return None

"""A folder that is used again and again: after each use what differs from the original is copied again, and nothing else."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

State = tuple[object, ...]


class KeptFolder:
    """A copy of a folder that can be made like the original again.

    A file counts as touched if its inode, its size or one of its times has changed. No program can set the time of the last
    change of an inode.

    Parameters
    ----------
    original, path
        Folder that nobody changes, and the place of its copy.
    """

    def __init__(self, original: Path, path: Path) -> None:
        self._original, self.path = original, path
        shutil.copytree(original, path, symlinks=True)
        self._states = _states(path)

    def mend(self) -> None:
        """Put back what has changed."""
        now = _states(self.path)
        for name in sorted(now.keys() - self._states.keys(), reverse=True):
            _remove(self.path / name)
        touched = {name for name in self._states if now.get(name) != self._states[name]}
        for name in sorted(touched):  # a folder comes before what it holds
            _remove(self.path / name)
            source, target = self._original / name, self.path / name
            if source.is_dir() and not source.is_symlink():
                target.mkdir()
            else:
                shutil.copy2(source, target, follow_symlinks=False)
        if touched:
            self._states = _states(self.path)


def _states(root: Path) -> dict[str, State]:
    """What tells of each entry whether it has changed: of a folder its kind and inode, since its entries are told apart."""
    found: dict[str, State] = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name, about = os.path.join(folder, entry.name), entry.stat(follow_symlinks=False)  # noqa: PTH118
                if stat.S_ISDIR(about.st_mode):
                    found[name] = about.st_mode, about.st_ino
                    waiting.append(name)
                else:
                    found[name] = about.st_mode, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
    return found


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()

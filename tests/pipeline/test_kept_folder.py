"""The folder that hostile tests share is the sound one again after each of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kept_folder import KeptFolder


def told(root: Path) -> dict[str, tuple[bytes | str, int]]:
    """Content and rights of all that is in a folder, links not followed."""
    return {
        str(path.relative_to(root)): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "no file",
            path.lstat().st_mode,
        )
        for path in root.rglob("*")
    }


def rewritten(root: Path) -> None:
    """Other bytes of the same length, with the old time."""
    file = root / "a" / "file"
    about = file.stat()
    file.write_bytes(b"12345")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def emptied(root: Path) -> None:
    shutil.rmtree(root / "a")
    (root / "a").symlink_to("b")


def filled(root: Path) -> None:
    (root / "a" / "new" / "deep").mkdir(parents=True)
    (root / "a" / "new" / "deep" / "file").write_text("x")
    os.mkfifo(root / "b" / "fifo")


def relinked(root: Path) -> None:
    (root / "b" / "link").unlink()
    (root / "b" / "link").mkdir()
    (root / "b" / "link" / "file").write_text("x")


CHANGES: list[Callable[[Path], None]] = [
    rewritten, emptied, filled, relinked, lambda root: (root / "a" / "file").unlink(),
    lambda root: (root / "a" / "file").chmod(0o777), lambda root: (root / "a").rename(root / "c"),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_done_to_it_is_put_back(tmp_path: Path, change: Callable[[Path], None]) -> None:
    sound = tmp_path / "sound"
    (sound / "a").mkdir(parents=True)
    (sound / "b").mkdir()
    (sound / "a" / "file").write_bytes(b"abcde")
    (sound / "b" / "link").symlink_to("../a/file")
    kept = KeptFolder(sound, tmp_path / "kept")
    before = told(sound)
    for _ in range(2):
        change(kept.path)
        assert told(kept.path) != before
        kept.mend()
        assert told(kept.path) == before == told(sound)

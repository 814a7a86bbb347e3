"""What somebody may put into a store that he hands on: builders of attacks, by name."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shutil
import socket
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numcodecs.zstd import compress

from pipeline.store import content_name

Files = dict[str, bytes]
Attack = Callable[[Path], None]

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egood"
SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def segments(root: Path) -> list[Path]:
    return sorted((root / "ledger" / "segments").glob("*.zip"))


def entries(file: Path) -> Files:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, method)
    return buffer.getvalue()


def plant(root: Path, data: bytes) -> None:
    """Put bytes into the ledger under their right name."""
    (root / "ledger" / "segments" / f"{content_name(data)}.zip").write_bytes(data)


def _segment(change: Callable[[Files], None], method: int = zipfile.ZIP_STORED) -> Attack:
    """Another segment beside the sound ones: one of them, changed."""

    def build(root: Path) -> None:
        files = entries(segments(root)[0])
        change(files)
        plant(root, packed(files, method))

    return build


def _raw(change: Callable[[bytes], bytes]) -> Attack:
    """The same with its bytes changed."""
    return lambda root: plant(root, change(segments(root)[0].read_bytes()))


def _json(name: str, change: Callable[[Any], None]) -> Callable[[Files], None]:
    def act(files: Files) -> None:
        content = json.loads(files[name])
        change(content)
        files[name] = json.dumps(content).encode()

    return act


def _metadata(array: str, **values: Any) -> Callable[[Files], None]:
    return _json(f"{array}/zarr.json", lambda about: about.update(values))


def _attribute(name: str, value: Any) -> Callable[[Files], None]:
    return _json("zarr.json", lambda root: root["attributes"].update({name: value}))


def _put(name: str, data: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({name: data})


def _all(*changes: Callable[[Files], None]) -> Callable[[Files], None]:
    def act(files: Files) -> None:
        for change in changes:
            change(files)

    return act


def _grid(*shape: int) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


NUMBERS = {"name": "bytes", "configuration": {"endian": "little"}}
ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}


def zstd_header(size: int) -> bytes:
    """The beginning of a frame that declares a size, followed by nothing of use."""
    return b"\x28\xb5\x2f\xfd\xc0\x50" + size.to_bytes(8, "little") + b"\x01\x00\x00"


def bomb(size: int) -> bytes:
    """Zeros that zstd packs."""
    return bytes(compress(b"\0" * size))


# --- the archive -----------------------------------------------------------------------------------------------------

_END = struct.Struct("<4sHHHHIIH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")


def _deflated_zeros(root: Path) -> None:
    """A segment of a megabyte with 600 MB in it, made piece by piece."""
    files = entries(segments(root)[0])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        with archive.open("error_m/c/9", "w") as entry:
            for _ in range(600):
                entry.write(b"\0" * 2**20)
    plant(root, buffer.getvalue())


def _central(change: Callable[[list[Any], bytes], tuple[list[Any], bytes]], entry: int = 0) -> Callable[[bytes], bytes]:
    """Change the fields and the tail (name, extra, comment) of one entry of the directory."""

    def act(data: bytes) -> bytes:
        *_, size, start, _ = _END.unpack(data[-_END.size :])
        at, parts = start, []
        while at < start + size:
            fields = list(_CENTRAL.unpack(data[at : at + _CENTRAL.size]))
            length = sum(fields[10:13])
            parts.append((fields, data[at + _CENTRAL.size : at + _CENTRAL.size + length]))
            at += _CENTRAL.size + length
        parts[entry] = change(*parts[entry])
        directory = b"".join(_CENTRAL.pack(*fields) + tail for fields, tail in parts)
        end = _END.pack(b"PK\5\6", 0, 0, len(parts), len(parts), len(directory), start, 0)
        return data[:start] + directory + end

    return act


def _field(number: int, value: int | Callable[[int], int]) -> Callable[[bytes], bytes]:
    def change(fields: list[Any], tail: bytes) -> tuple[list[Any], bytes]:
        fields[number] = value(fields[number]) if callable(value) else value
        return fields, tail

    return _central(change)


def _zip64(fields: list[Any], tail: bytes) -> tuple[list[Any], bytes]:
    """Sizes moved into an extra field that says 2**40 bytes."""
    extra = struct.pack("<HHQQ", 1, 16, 2**40, 2**40)
    fields[8] = fields[9] = 0xFFFFFFFF
    fields[11] = len(extra)
    return fields, tail + extra


def _many_entries(data: bytes) -> bytes:
    """A directory with a million entries of no name."""
    *_, start, _ = _END.unpack(data[-_END.size :])
    directory = _CENTRAL.pack(b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) * 1_000_000
    return data[:start] + directory + _END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), start, 0)


def _twice(data: bytes) -> bytes:
    """One entry listed twice."""
    *_, size, start, _ = _END.unpack(data[-_END.size :])
    fields = _CENTRAL.unpack(data[start : start + _CENTRAL.size])
    first = data[start : start + _CENTRAL.size + sum(fields[10:13])]
    directory = first + data[start : start + size]
    return data[:start] + directory + _END.pack(b"PK\5\6", 0, 0, 0, 0, len(directory), start, 0)


def _renamed(new: bytes) -> Callable[[bytes], bytes]:
    """The first entry under another name of the same length."""

    def act(data: bytes) -> bytes:
        old = b"canonical/c/0"
        assert len(new) == len(old)
        assert data.count(old) == 2
        return data.replace(old, new)

    return act


def _spare(root: Path) -> None:
    """A file of a terabyte that takes no room on the disk."""
    with (root / "ledger" / "segments" / f"{'0' * 32}.zip").open("wb") as file:
        file.truncate(2**40)


ARCHIVES: dict[str, Attack] = {
    "deflated": _deflated_zeros,
    "bzip2": _segment(lambda files: None, zipfile.ZIP_BZIP2),
    "lzma": _segment(lambda files: None, zipfile.ZIP_LZMA),
    "a terabyte of nothing": _spare,
    "a million entries": _raw(_many_entries),
    "an entry twice": _raw(_twice),
    "two names for the same bytes": _raw(_field(16, lambda offset: offset + 1)),
    "zip64 that lies": _raw(_central(_zip64)),
    "a size that lies": _raw(_field(9, 2**31)),
    "both sizes lie": _raw(lambda data: _field(8, 2**31)(_field(9, 2**31)(data))),
    "an unknown method": _raw(_field(4, 99)),
    "a version of the future": _raw(_field(2, 99)),
    "encrypted": _raw(_field(3, 1)),
    "a checksum that lies": _raw(_central(lambda f, t: ([*f[:7], f[7] ^ 1, *f[8:]], t), entry=-1)),
    "bytes before it": _raw(lambda data: b"#!/bin/sh\n" + data),
    "bytes after it": _raw(lambda data: data + b"\0"),
    "nothing": _raw(lambda data: b""),
    "no archive": _raw(lambda data: zlib.compress(data)),
    "cut": _raw(lambda data: data[: len(data) // 2]),
    "a name that climbs": _raw(_renamed(b"../../../../x")),
    "a name from the root": _raw(_renamed(b"/etc/passwd_x")),
    "a name with a NUL": _raw(_renamed(b"canonical/c/\0")),
    "a name of escapes": _raw(_renamed(b"\x1b[2Jcal/c/\n\n0")),
}

# --- what the metadata say -------------------------------------------------------------------------------------------

_HUGE = 10**12


def _origins(files: Files) -> None:
    """Every cell comes from the eighth of the segments that this one was made of."""
    about = json.loads(files["steps/zarr.json"])
    cells = about["shape"][0]
    files["origin/zarr.json"] = json.dumps(about | {"data_type": "int32"}).encode()
    files["origin/c/0"] = b"\7\0\0\0" * cells


def _bombed(files: Files) -> None:
    files["status/c/0"] = bomb(2**28)  # here, since to pack it takes a quarter of a second


METADATA: dict[str, Attack] = {
    "nested JSON": _segment(_put("zarr.json", b'{"attributes":' * 100_000)),
    "nested JSON of an array": _segment(_put("key/zarr.json", b"[" * 100_000)),
    "a number of a million digits": _segment(_put("zarr.json", b'{"attributes": {"format_version": ' + b"9" * 10**6 + b"}}")),
    "a shape of a million digits": _segment(_put("key/zarr.json", b'{"shape": [' + b"9" * 10**6 + b"]}")),
    "no JSON": _segment(_put("zarr.json", b"\xff\xfe")),
    "a list": _segment(_put("zarr.json", b"[]")),
    "no metadata": _segment(lambda files: files.pop("zarr.json")),
    "no keys": _segment(lambda files: files.pop("key/zarr.json")),
    "no chunk of keys and a huge shape": _segment(
        _all(_metadata("key", shape=[_HUGE, 16], chunk_grid=_grid(_HUGE, 16)), lambda files: files.pop("key/c/0/0"))
    ),
    "a huge shape in slabs": _segment(_metadata("key", shape=[_HUGE, 16], chunk_grid=_grid(4 * 2**20, 16))),
    "a huge shape of nothing": _segment(_metadata("status", shape=[_HUGE, 0], chunk_grid=_grid(_HUGE, 1))),
    "another chunk shape": _segment(_metadata("status", chunk_grid=_grid(1))),
    "a chunk shape of zero": _segment(_metadata("status", chunk_grid=_grid(0))),
    "a negative shape": _segment(_metadata("status", shape=[-1])),
    "a shape of text": _segment(_metadata("status", shape=["4"])),
    "objects": _segment(_metadata("status", data_type="object")),
    "dates": _segment(_metadata("status", data_type={"name": "numpy.datetime64", "configuration": {"unit": "s"}})),
    "pickles": _segment(_metadata("status", codecs=[{"name": "numcodecs.pickle", "configuration": {}}])),
    "shards": _segment(_metadata("status", codecs=[{"name": "sharding_indexed", "configuration": {}}])),
    "blosc": _segment(_metadata("status", codecs=[{"name": "bytes"}, {"name": "blosc", "configuration": {}}])),
    "zstd many times": _segment(_metadata("status", codecs=[{"name": "bytes"}, *[ZSTD] * 9])),
    "no codec": _segment(_metadata("status", codecs=[])),
    "transformers": _segment(_metadata("status", storage_transformers=[{"name": "x"}])),
    "another fill value": _segment(_metadata("status", fill_value=2)),
    "dimensions too many": _segment(_metadata("status", dimension_names=["cell"] * 3)),
    "another byte order": _segment(_metadata("status", codecs=[{"name": "bytes", "configuration": {"endian": "big"}}])),
    "keys of one cell": _segment(_all(_metadata("key", shape=[1, 16], chunk_grid=_grid(1, 16)), _put("key/c/0/0", b"k" * 16))),
    "a status that there is not": _segment(lambda files: files.update({"status/c/0": b"\xfa" * len(files["status/c/0"])})),
    "a zstd frame of a terabyte": _segment(
        _all(_metadata("status", codecs=[{"name": "bytes"}, ZSTD]), _put("status/c/0", zstd_header(2**40)))
    ),
    "a zstd bomb": _segment(_all(_metadata("status", codecs=[{"name": "bytes"}, ZSTD]), _bombed)),
    "no zstd": _segment(_all(_metadata("status", codecs=[{"name": "bytes"}, ZSTD]), _put("status/c/0", b"\x28\xb5\x2f\xfd"))),
    "format of text": _segment(_attribute("format_version", "1")),
    "another format": _segment(_attribute("format", "disac-other")),
    "a later format": _segment(_attribute("format_version", 99)),
    "a variable of objects": _segment(_json("zarr.json", lambda r: r["attributes"]["schema"]["error_m"].update(dtype="O"))),
    "a variable of a terabyte": _segment(
        _json("zarr.json", lambda r: r["attributes"]["schema"]["error_m"].update(dtype=f"({_HUGE},)f8"))
    ),
    "seconds that are none": _segment(_attribute("cost", {"x": [1, float("nan")]})),
    "endless seconds": _segment(_attribute("cost", {"x": [1, float("inf")]})),
    "negative seconds": _segment(_attribute("cost", {"x": [1, -5.0]})),
    "negative cells": _segment(_attribute("cost", {"x": [-1, 5.0]})),
    "origins that climb": _segment(_attribute("origins", [{"name": "../../inputs/x"}])),
    "origins of other segments": _segment(_all(_attribute("origins", [{"name": "0" * 32}]), _origins)),
}

_WRONG: tuple[Any, ...] = (None, 7, "text", ["x"], {"x": ["x"]}, [[[]]])
TYPES: dict[str, Attack] = {
    f"{name} is {json.dumps(value)}": _segment(_attribute(name, value))
    for name in (
        "schema",
        "manifest",
        "environment",
        "cost",
        "origins",
        "experiment",
        "code_digest",
        "options",
        "format_version",
    )
    for value in _WRONG
    if (name, value) not in (("experiment", "text"), ("format_version", 7), ("options", {"x": ["x"]}))
}

# --- values: what is decoded only when it is asked for ---------------------------------------------------------------

_TEXT = [{"name": "vlen-utf8", "configuration": {}}]


def _replacing(change: Callable[[Files], None]) -> Attack:
    """The sound segments give way to the changed ones."""

    def build(root: Path) -> None:
        for file in segments(root):
            files = entries(file)
            change(files)
            file.unlink()
            plant(root, packed(files))

    return build


def _long_profile(files: Files) -> None:
    cells = json.loads(files["profile/zarr.json"])["shape"][0]
    _metadata("profile", shape=[cells, _HUGE], chunk_grid=_grid(1, _HUGE))(files)
    del files["profile/c/0/0"]


def _packed_profile(files: Files) -> None:
    cells = json.loads(files["profile/zarr.json"])["shape"][0]
    shape = [cells, 2**20]
    _metadata("profile", shape=shape, chunk_grid=_grid(*shape), codecs=[NUMBERS, ZSTD])(files)
    files["profile/c/0/0"] = bomb(2**29)


VALUES: dict[str, Attack] = {
    "a profile of a terabyte": _replacing(_long_profile),
    "a packed profile of half a gigabyte": _replacing(_packed_profile),
    "texts of a terabyte": _replacing(
        _all(_metadata("message", codecs=[*_TEXT, ZSTD]), _put("message/c/0", zstd_header(2**40)))
    ),
    "more texts than are there": _replacing(_put("message/c/0", b"\xff" * 4)),
    "texts longer than they are": _replacing(lambda f: f.update({"message/c/0": f["message/c/0"][:4] + b"\xff" * 400})),
    "texts of no code": _replacing(lambda f: f.update({"message/c/0": _texts(f, b"\xff\xfe")})),
    "no value at all": _replacing(lambda files: files.pop("error_m/zarr.json")),
    "another type than declared": _replacing(
        lambda f: f.update({"error_m/zarr.json": f["steps/zarr.json"], "error_m/c/0": f["steps/c/0"]})
    ),
}


def _texts(files: Files, text: bytes) -> bytes:
    count = json.loads(files["message/zarr.json"])["shape"][0]
    return struct.pack("<I", count) + (struct.pack("<I", len(text)) + text) * count


def spoken(text: str) -> Attack:
    """Failed cells that say ``text``, in segments that are sound otherwise."""

    def change(files: Files) -> None:
        files["status/c/0"] = b"\5" * len(files["status/c/0"])
        for name in ("message", "traceback"):
            files[f"{name}/c/0"] = _texts(files, text.encode())
        _attribute("host", text)(files)
        _json("zarr.json", lambda r: r["attributes"]["environment"].update({"numpy": text, text: text}))(files)

    return _replacing(change)


# --- what is no file -------------------------------------------------------------------------------------------------


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = Path.cwd()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        os.chdir(path.parent)  # the address of a socket is short
        try:
            listening.bind(path.name)
        finally:
            os.chdir(here)


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        os.mkfifo(path)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


KINDS: dict[str, Callable[[Path], None]] = {
    "fifo": _fifo, "socket": _socket, "device": _device, "folder": lambda path: path.mkdir(), "dangling": _link("nothing"),
    "loop": lambda path: path.symlink_to(path.name), "passwd": _link("/etc/passwd"), "zero": _link("/dev/zero"),
    "climbing": _link("../../../../../../etc"), "inside": _link("../../ledger/segments"), "long": _link("x" * 4000),
}  # fmt: skip

PLACES = (
    "ledger/segments/{segment}", "ledger/index/latest", "ledger/index/{index}", "ledger/segments", "ledger/index",
    "adoptions/a.json", "adoptions", "locks/toy-study.json", "locks", "plans/toy-study/latest", "plans/toy-study/{record}",
    "plans", "cubes/toy-study/latest", "cubes/toy-study/versions/{cube}", "cubes/toy-study/versions/{cube}/zarr.json",
    "cubes/toy-study/versions/{cube}/error_m/c/0/0/0", "cubes/toy-study/versions/{cube}/note/zarr.json", "cubes",
    "surfaces/toy-study/latest", "surfaces/toy-study/versions/{surfaces}/zarr.json", "reports/toy-study/latest",
    "reports/toy-study/index.html", "reports/toy-study/versions", "inputs",
)  # fmt: skip


def place(root: Path, pattern: str) -> Path:
    """A place of the store, by what stands there."""
    first = {"segment": "ledger/segments", "index": "ledger/index", "record": "plans/toy-study"}
    names = {name: min(f.name for f in (root / folder).iterdir() if not f.is_symlink()) for name, folder in first.items()}
    for kind in ("cubes", "surfaces"):
        names[kind.removesuffix("s") if kind == "cubes" else kind] = next((root / kind / "toy-study/versions").iterdir()).name
    return root / pattern.format(**names)


def replace(path: Path, make: Callable[[Path], None]) -> None:
    """Put something else where a file or a folder stood."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)


# --- records, indices, published versions ----------------------------------------------------------------------------

_ESCAPES = {"older": ESCAPE, "newer": "../..", "scenario": {ESCAPE: ESCAPE}, "axes": {ESCAPE: {"labels": [ESCAPE]}}}
RECORDS: dict[str, bytes] = {
    "nothing": b"", "no JSON": b"{", "a list": b"[1]", "nested": b"[" * 100_000, "digits": b"9" * 10**6,
    "other fields": b'{"older": 1, "newer": {}, "scenario": [], "axes": {"level": 3}}', "no text": b"\xff\xfe\0",
    "names": json.dumps(_ESCAPES).encode(),
}  # fmt: skip


_HERE = {"host": platform.node(), "process": 1, "born": 0.0, "user": ESCAPE, "since": "2026-01-01", "lease_s": 1}
LOCKS: dict[str, bytes] = RECORDS | {
    "no process": json.dumps(_HERE | {"process": float("inf")}).encode(),
    "a huge process": json.dumps(_HERE | {"process": 10**30}).encode(),
    "a negative process": json.dumps(_HERE | {"process": -1}).encode(),
    "an endless lease": json.dumps(_HERE | {"host": ESCAPE, "lease_s": 1e300}).encode(),
    "a long lock": b" " * 2**20,
}


def published(root: Path, kind: str) -> Path:
    """The folder of the published version."""
    return (root / kind / "toy-study" / "latest").resolve()


def _version(kind: str, change: Callable[[Path], None]) -> Attack:
    return lambda root: change(published(root, kind))


def _file_json(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return act


def _both(array: str, **values: Any) -> Callable[[Path], None]:
    """Change an array's metadata where it stands and where it is repeated."""

    def act(folder: Path) -> None:
        _file_json(f"{array}/zarr.json", lambda about: about.update(values))(folder)
        _file_json("zarr.json", lambda r: r["consolidated_metadata"]["metadata"][array].update(values))(folder)

    return act


def _chunk(array: str, data: bytes) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        next(file for file in (folder / array / "c").rglob("*") if file.is_file()).write_bytes(data)

    return act


def _also(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        for change in changes:
            change(folder)

    return act


def _sparse_chunk(folder: Path) -> None:
    with next(file for file in (folder / "error_m" / "c").rglob("*") if file.is_file()).open("wb") as file:
        file.truncate(2**40)


def _written(data: bytes) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        (folder / "zarr.json").write_bytes(data)

    return act


PUBLISHED: dict[str, Attack] = {
    "cube: a chunk of a terabyte": _version("cubes", _sparse_chunk),
    "cube: a chunk cut": _version("cubes", _chunk("error_m", b"1234")),
    "cube: a zstd bomb": _version(
        "cubes", _also(_both("error_m", codecs=[NUMBERS, ZSTD]), _chunk("error_m", zstd_header(2**40)))
    ),
    "cube: texts that lie": _version("cubes", _chunk("message", b"\xff" * 4)),
    "cube: a shape of a terabyte": _version(
        "cubes", _both("profile", shape=[2, 1, 2, _HUGE], chunk_grid=_grid(1, 1, 2, _HUGE))
    ),
    "cube: objects": _version("cubes", _both("note", data_type="object")),
    "cube: nested": _version("cubes", _written(b"[" * 10**5)),
    "surfaces: no metadata": _version("surfaces", lambda folder: (folder / "zarr.json").unlink()),
}
"""What neither our reader nor Zarr is to read."""

ATTRIBUTES: dict[str, Attack] = {
    "cube: no attributes": _version("cubes", _file_json("zarr.json", lambda r: r.update(attributes={}))),
    "cube: attributes of text": _version("cubes", _file_json("zarr.json", lambda r: r.update(attributes="text"))),
    "cube: counts of text": _version("cubes", _file_json("zarr.json", lambda r: r["attributes"].update(planned="many"))),
    "cube: statuses of no JSON": _version(
        "cubes", _file_json("zarr.json", lambda r: r["attributes"].update(cells_by_status="["))
    ),
    "surfaces: claims of text": _version("surfaces", _file_json("zarr.json", lambda r: r["attributes"].update(claims="[1]"))),
    "surfaces: claims nested": _version(
        "surfaces", _file_json("zarr.json", lambda r: r["attributes"].update(claims="[" * 10**5))
    ),
}
"""What a report would stumble over."""


def _asked(name: str, value: object) -> Attack:
    return _version("cubes", _file_json("zarr.json", lambda root: root["attributes"].update({name: value})))


_STUDY = "study: toy-study\nexperiment: toy\naxes: {level: {path: signal.level_db, values: [0]}}\n"
ASKED: dict[str, Attack] = {
    "a study with a device": _asked("study_text", f"{_STUDY}scenario: {{table: /dev/zero}}\n"),
    "another study": _asked("study_text", _STUDY),
    "a study of no mapping": _asked("study_text", "[1,\n2]"),
    "a nested study": _asked("study_text", "[" * 10**4 + "\n"),
    "the path of a study": _asked("study_text", "/dev/zero"),
    "a study of a number": _asked("study_text", 5),
    "another experiment": _asked("study_text", _STUDY.replace("toy\n", "os:system\n")),
    "a manifest of no JSON": _asked("manifest", "["),
    "a manifest of numbers": _asked("manifest", '{"a": 1}'),
    "no code": _asked("code_digest", None),
}
"""What a question about one cell would stumble over."""

REPEATED: dict[str, Attack] = {
    "cube: other metadata beside it": _version(
        "cubes", _file_json("zarr.json", lambda r: r["consolidated_metadata"]["metadata"]["error_m"].update(shape=[_HUGE]))
    ),
}
"""What Zarr alone reads."""


def index_files(root: Path) -> Iterator[tuple[Path, Files]]:
    """The key index of a store."""
    for file in (root / "ledger" / "index").glob("*.zip"):
        yield file, entries(file)


def _index(change: Callable[[Files], None], method: int = zipfile.ZIP_STORED) -> Attack:
    """The key index changed, under its right name."""

    def build(root: Path) -> None:
        ((file, files),) = index_files(root)
        change(files)
        data = packed(files, method)
        file.unlink()
        (file.parent / f"{content_name(data)}.zip").write_bytes(data)
        (file.parent / "latest").unlink()
        (file.parent / "latest").symlink_to(f"{content_name(data)}.zip")

    return build


INDICES: dict[str, Attack] = {
    "deflated": _index(lambda files: None, zipfile.ZIP_DEFLATED),
    "no head": _index(lambda files: files.pop("head.json")),
    "nested": _index(_put("head.json", b"[" * 10**5)),
    "other fields": _index(_put("head.json", b'{"format": 3, "segments": [{}], "shared": 3}')),
    "keys cut": _index(lambda files: files.update(keys=files["keys"][:-1])),
    "cells that are not there": _index(_json("head.json", lambda h: h["segments"][0].update(cells=10**9))),
    "origins out of range": _index(lambda files: files.update(origin=b"\x7f" * len(files["origin"]))),
    "negative seconds": _index(_json("head.json", lambda h: h["segments"][0].update(cost={"x": [1, -1.0]}))),
    "a status that there is not": _index(lambda files: files.update(status=b"\xfa" * len(files["status"]))),
    "rows exchanged": _index(lambda files: files.update(keys=files["keys"][16:] + files["keys"][:16])),
}
